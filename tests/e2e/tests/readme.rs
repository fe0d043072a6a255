//! Pastes what the README says: a command there that does not exist, or has a wrong flag, fails here.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use qt_test_support::{Backend, CLOCK_OFFSET, qt_host, to_ten_in_shanghai_ms, wait_until};
use serde_json::{Value, json};

/// What the README calls the backend's address.
const ADDRESS: &str = "127.0.0.1:8000";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The README's fenced blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let readme = text_of("README.md");
    let mut found = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if kind == language {
            found.push(block.join("\n"));
        }
    }
    assert!(!found.is_empty(), "the README has no {language} block");
    found
}

/// Commands that stand between backticks in the README's text and tables.
fn spans(first_word: &str) -> Vec<String> {
    let readme = text_of("README.md");
    let mut outside = true;
    let text: Vec<&str> = readme
        .lines()
        .filter(|line| {
            let fence = line.starts_with("```");
            outside ^= fence;
            outside && !fence
        })
        .collect();
    let text = text.join("\n");
    let spans = text.split('`').skip(1).step_by(2);
    spans
        .filter(|span| span.split(' ').next() == Some(first_word) && span.contains(' '))
        .map(str::to_owned)
        .collect()
}

/// A folder with `qt-host` on its path and a home of its own.
struct Shell {
    folder: tempfile::TempDir,
    address: String,
    clock_offset_ms: i64,
}

impl Shell {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(qt_host(), folder.path().join("bin/qt-host")).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        Self {
            folder,
            address,
            clock_offset_ms: to_ten_in_shanghai_ms(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let line = line.replace(ADDRESS, &self.address);
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-eu", "-c", &line])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("HOME", self.folder.path())
            .env(CLOCK_OFFSET, self.clock_offset_ms.to_string())
            .env("XDG_DATA_HOME", self.path("share"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    fn paste(&self, line: &str) -> String {
        let out = self.run(line);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{line}\n{said}");
        String::from_utf8(out.stdout).unwrap()
    }
}

/// A process that ends with the test.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn the_first_two_commands_are_what_the_gate_runs() {
    let blocks = blocks("sh");
    assert_eq!(blocks[..2], ["cargo demo", "cargo all-tests"]);
    let gate = text_of(".ci/run");
    let aliases = text_of(".cargo/config.toml");
    let tasks = text_of("tests/tasks/src/main.rs");
    for command in &blocks[..2] {
        assert!(
            gate.lines().any(|line| line == command),
            ".ci/run does not call `{command}`"
        );
        let alias = command.trim_start_matches("cargo ");
        let line = aliases
            .lines()
            .find(|line| line.starts_with(&format!("{alias} = ")))
            .unwrap_or_else(|| panic!("no alias {alias}"));
        let task = line.trim_end_matches('"').rsplit(' ').next().unwrap();
        assert!(tasks.contains(&format!("\"{task}\" => ")), "{line}");
    }
    // The gate lints and documents besides.
    for word in [
        "cargo fmt --all --check",
        "-D warnings",
        "cargo clippy --workspace --all-targets",
        "cargo doc --workspace",
    ] {
        assert!(gate.contains(word), "{word}");
    }
}

#[test]
fn every_other_cargo_command_exists_with_its_flags() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let cargo = || {
        let mut command = Command::new(&cargo);
        command.current_dir(root());
        command
    };
    let metadata = cargo()
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages: Vec<&str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    let aliases = text_of(".cargo/config.toml");
    let blocks = blocks("sh");
    let lines = blocks.iter().flat_map(|block| block.lines()).map(str::to_owned);
    let mut checked = 0;
    for line in lines
        .chain(spans("cargo"))
        .filter(|line| line.starts_with("cargo "))
    {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        if aliases.contains(&format!("{} = ", words[0])) {
            continue;
        }
        // The parser reads the flags in turn and stops at the help.
        let out = cargo().args(&words).arg("-h").output().unwrap();
        assert!(
            out.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        for pair in words.windows(2).filter(|pair| pair[0] == "-p") {
            assert!(packages.contains(&pair[1]), "{line}: no package {}", pair[1]);
        }
        checked += 1;
    }
    assert!(checked > 0);
}

#[test]
fn the_sandbox_by_hand_can_be_pasted_and_trades() {
    let shell = Shell::new();
    let blocks = blocks("sh");
    let block = blocks
        .iter()
        .find(|block| block.contains("sandbox --listen"))
        .unwrap();
    let mut last = String::new();
    let mut backend = None;
    for line in block.lines() {
        if let Some(line) = line.strip_suffix(" &") {
            let mut command = shell.command(&format!("exec {line}"));
            backend = Some(Background(command.stdout(Stdio::null()).spawn().unwrap()));
            wait_until("the token is there", || shell.path("sandbox.token").exists());
        } else {
            last = shell.paste(line);
        }
    }
    assert!(backend.is_some());
    let state: Value = serde_json::from_str(&last).unwrap();
    let signals = state["signals"].as_object().unwrap();
    assert_eq!(signals.len(), 1);
    let posts = signals.values().next().unwrap()["posts"].as_array().unwrap();
    assert!(
        posts
            .iter()
            .any(|post| post["kind"] == "execution" && post["body"]["status"] == "filled"),
        "{last}"
    );
}

/// The README's configuration for this backend.
fn write_config(shell: &Shell, backend: &Backend) {
    let mut config: Value = serde_json::from_str(&blocks("json")[0]).unwrap();
    assert_eq!(config["api_base_url"], format!("http://{ADDRESS}/api"));
    config["api_base_url"] = json!(backend.base_url);
    config["api_token"] = json!(backend.token);
    std::fs::write(shell.path("config.json"), config.to_string()).unwrap();
    shell.paste("chmod 600 config.json");
}

/// A backend that stays: its first line, then its end.
fn listens(shell: &Shell, line: &str) {
    let mut command = shell.command(&format!("exec {}", line.replace(ADDRESS, "127.0.0.1:0")));
    let mut child = Background(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut first = String::new();
    BufReader::new(child.0.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.contains("http://127.0.0.1:"), "{line}: {first}");
}

#[test]
fn every_command_of_the_tables_runs_beside_a_host_and_takes_json() {
    let shell = Shell::new();
    let backend = Backend::start();
    write_config(&shell, &backend);
    backend.add(&json!({ "order_id": "README-1", "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 135.5 }));
    let mut host = shell.command("exec qt-host --config config.json");
    let host = Background(host.stderr(Stdio::null()).spawn().unwrap());
    let told = || {
        backend.state()["signals"]["README-1"]["posts"]
            .as_array()
            .unwrap()
            .len()
    };
    wait_until("the signal is reported", || told() == 3);

    let commands = spans("qt-host");
    assert!(commands.len() > 8, "{commands:#?}");
    for written in &commands {
        let line = written
            .replace("SYMBOL", "000858.SZ")
            .replace("ORDER", "README-1")
            .replace("BROKER_ID", "SIM-1");
        if line.contains("--listen") {
            listens(&shell, &line);
            listens(&shell, &format!("{line} --json"));
            continue;
        }
        // A terminal of a broker is not here, and the host is needed to the end: both have tests of their own.
        let is_elsewhere = line.contains("--broker miniqmt") || line.starts_with("qt-host stop");
        if line == "qt-host --config config.json" || is_elsewhere {
            continue;
        }
        // Without a terminal nobody is asked.
        let line = if line.contains(" resolve ") {
            format!("{line} --yes")
        } else {
            line
        };
        let environment = format!(
            "TRADER_API_BASE_URL={} TRADER_API_TOKEN={}",
            backend.base_url, backend.token
        );
        // An export replaces no file unasked.
        let again = line
            .replace("book.", "again.")
            .replace("help.", "help2.")
            .replace("my-broker", "my-other");
        for line in [line, format!("{again} --json")] {
            // It looks at the backend's clock, which nobody has moved.
            let clock = if line.contains(" doctor") {
                format!("{CLOCK_OFFSET}=0")
            } else {
                String::new()
            };
            let out = shell.run(&format!("{environment} {clock} {line}"));
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            // The order is filled: there is nothing to cancel or to decide, and that is said.
            let refused = line.contains(" cancel ") || line.contains(" resolve ");
            assert_eq!(out.status.code(), Some(i32::from(refused)), "{line}: {said}");
            if line.ends_with("--json") {
                let text = String::from_utf8_lossy(&out.stdout).into_owned();
                assert!(
                    serde_json::from_str::<Value>(&text).is_ok(),
                    "{line}: {text}{said}"
                );
            }
        }
    }
    drop(host);
}

#[test]
fn the_login_can_be_pasted_and_its_token_is_good() {
    let shell = Shell::new();
    let backend = Backend::start();
    write_config(&shell, &backend);
    let config = std::fs::read_to_string(shell.path("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["api_token"] = json!("keyring");
    std::fs::write(shell.path("config.json"), config.to_string()).unwrap();
    std::fs::write(shell.path("password"), &backend.password).unwrap();
    let block = blocks("sh")
        .into_iter()
        .find(|block| block.contains("qt-host login"));
    let mut said = String::new();
    for line in block.unwrap().lines() {
        // As a script does it, on a server that has no keyring.
        let line = if line.starts_with("qt-host login") {
            format!("{line} --username sandbox --password-stdin < password")
        } else {
            line.to_owned()
        };
        said = shell.paste(&format!("export TRADER_PASSPHRASE=pasted; {line}"));
    }
    assert!(said.contains("takes the token"), "{said}");
}

#[test]
fn completions_and_manual_pages_can_be_pasted() {
    let shell = Shell::new();
    let block = blocks("sh")
        .into_iter()
        .find(|block| block.contains("completions"));
    for line in block.unwrap().lines() {
        shell.paste(line);
    }
    let script = std::fs::read_to_string(shell.path("qt-host.bash")).unwrap();
    assert!(script.contains("whoami"));
    // A shell takes it, and offers the command.
    let asked = "source qt-host.bash; COMP_WORDS=(qt-host who); COMP_CWORD=1; _qt__host qt-host who qt-host; echo \"${COMPREPLY[@]}\"";
    let out = shell.run(&format!("bash -c '{asked}'"));
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "whoami", "{out:?}");
    let pages = std::fs::read_dir(shell.path("man1")).unwrap().count();
    assert!(pages > 40, "{pages}");
    let page = std::fs::read_to_string(shell.path("man1/qt-host-login.1")).unwrap();
    assert!(page.contains("password") && page.contains(".TH"), "{page}");
}
