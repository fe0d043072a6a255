//! The hunt: every command and every failure at DEBUG, and then the token, its halves, the password and the passphrase are
//! looked for in all that was printed, logged, kept or exported, and in the command lines of all processes.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use parquet::file::reader::{FileReader, SerializedFileReader};
use qt_test_support::{Backend, Desk, qt_host, wait_until};
use serde_json::json;

use super::*;

/// What must be found nowhere, each with its name.
#[derive(Clone, Default)]
struct Needles(Vec<(String, String)>);

impl Needles {
    fn add(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= 8, "{name} is too short to be looked for");
        let half = secret.len() / 2;
        let encoded = data_encoding::BASE64.encode(secret.as_bytes());
        // An encoding's end depends on what follows.
        let encoded = &encoded[..encoded.len() - 4];
        for (part, text) in [
            ("whole", secret),
            ("first half", &secret[..half]),
            ("second half", &secret[half..]),
            ("in base 64", encoded),
        ] {
            self.0.push((format!("{name}, {part}"), text.to_owned()));
        }
    }

    fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        // What is looked for is ASCII, which stays as it is whatever stands around it.
        let text = String::from_utf8_lossy(bytes);
        self.0
            .iter()
            .filter(|(_, needle)| text.contains(needle.as_str()))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

/// A token's first half is the same head for all tokens, which is no secret: what is looked for begins behind it.
fn secret_part(token: &str) -> &str {
    token.split_once('.').map_or(token, |(_, rest)| rest)
}

/// Looks at the command lines of all processes all the time.
struct Watch {
    stop: Arc<AtomicBool>,
    looked: Arc<AtomicUsize>,
    found: Arc<Mutex<Vec<String>>>,
    needles: Arc<Mutex<Needles>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn start(needles: &Needles) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let looked = Arc::new(AtomicUsize::new(0));
        let found: Arc<Mutex<Vec<String>>> = Arc::default();
        let needles = Arc::new(Mutex::new(needles.clone()));
        let own = (
            Arc::clone(&stop),
            Arc::clone(&looked),
            Arc::clone(&found),
            Arc::clone(&needles),
        );
        let thread = std::thread::spawn(move || {
            let (stop, looked, found, needles) = own;
            while !stop.load(Ordering::Relaxed) {
                let needles = needles.lock().unwrap().clone();
                for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                    // Processes end while one looks.
                    let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
                        continue;
                    };
                    if line.is_empty() {
                        continue;
                    }
                    looked.fetch_add(1, Ordering::Relaxed);
                    for name in needles.found_in(&line) {
                        found
                            .lock()
                            .unwrap()
                            .push(format!("{name} in {}", entry.path().display()));
                    }
                }
                std::thread::sleep(Duration::from_millis(40));
            }
        });
        Self {
            stop,
            looked,
            found,
            needles,
            thread: Some(thread),
        }
    }

    fn end(mut self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        (
            self.looked.load(Ordering::Relaxed),
            self.found.lock().unwrap().clone(),
        )
    }
}

struct Hunt {
    desk: Desk,
    needles: Needles,
    watch: Option<Watch>,
    /// Commands by their names, without arguments.
    ran: BTreeSet<String>,
    outputs: usize,
    found: Vec<String>,
}

impl Hunt {
    fn searched(&mut self, what: &str, bytes: &[u8]) {
        self.outputs += 1;
        for name in self.needles.found_in(bytes) {
            self.found.push(format!("{name} in {what}"));
        }
    }

    fn took(&mut self, what: &str, out: &Output) {
        self.searched(&format!("the output of {what}"), &out.stdout);
        self.searched(&format!("the errors of {what}"), &out.stderr);
    }

    /// Runs a command and searches both of its streams; how it ends is not the matter here.
    fn run(&mut self, line: &str) -> Output {
        let words: Vec<&str> = line.split_whitespace().collect();
        let names: Vec<&str> = words
            .iter()
            .copied()
            .take_while(|word| word.bytes().all(|b| b.is_ascii_lowercase()))
            .collect();
        let out = self
            .desk
            .command()
            .args(["--log-level", "DEBUG"])
            .args(&words)
            // Where a service of the user would be looked for.
            .env("XDG_CONFIG_HOME", self.desk.path("home"))
            .current_dir(self.desk.path(""))
            .output()
            .unwrap();
        self.took(line, &out);
        // One that stumbled over its command line has seen nothing secret.
        if !is_usage_error(&out) {
            for count in 1..=names.len() {
                self.ran.insert(names[..count].join(" "));
            }
        }
        out
    }

    fn add(&mut self, name: &str, secret: &str) {
        self.needles.add(name, secret);
        if let Some(watch) = &self.watch {
            *watch.needles.lock().unwrap() = self.needles.clone();
        }
    }
}

/// What the reader of command lines ends every complaint with.
fn is_usage_error(out: &Output) -> bool {
    out.status.code() == Some(2) && text(&out.stderr).contains("For more information, try '--help'")
}

/// Every command that people see, subcommands included, as the help has them.
fn commands(prefix: &[&str]) -> Vec<String> {
    let out = std::process::Command::new(qt_host())
        .args(prefix)
        .arg("--help")
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let Some((_, list)) = text.split_once("Commands:\n") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for line in list.lines().take_while(|line| !line.is_empty()) {
        let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
        let Some(name) = name
            .and_then(|rest| rest.split(' ').next())
            .filter(|name| *name != "help")
        else {
            continue;
        };
        let path = [prefix, &[name]].concat();
        found.push(path.join(" "));
        found.extend(commands(&path));
    }
    found
}

/// Every command in turn, beside a host that trades. `plugins` that change what lies there come last.
const LINES: [&str; 69] = [
    "config check",
    "config check --json",
    "config show",
    "whoami",
    "whoami --json",
    "doctor",
    "doctor --json",
    "doctor --bundle help.zip",
    "positions",
    "positions --json",
    "positions --history",
    "summary",
    "summary --chart book.svg",
    "summary --json",
    "grid 000858.SZ",
    "risk",
    "account",
    "account --json",
    "size 000858.SZ 43.5",
    "export book.json",
    "export book.csv",
    "export book.parquet",
    "export --schema",
    "orders",
    "orders --json",
    "orders resolve S1 --as not-accepted --yes",
    "fills",
    "cancel S1",
    "halt --reason lunch",
    "resume",
    "gates",
    "gates --json",
    "compliance report",
    "reports list --all --json",
    "reports show 1",
    "reports retry 1",
    "reports drop 1",
    "journal verify",
    "journal show S1",
    "journal export saved.jsonl",
    "journal archive old.db",
    "plugins list",
    "plugins list --json",
    "plugins inspect simulated",
    "plugins doctor",
    "plugins doctor --json",
    "plugins new my-broker",
    "plugins test simulated --list",
    "plugins history simulated",
    "plugins trust simulated",
    "plugins untrust simulated",
    "plugins install absent.so",
    "plugins upgrade absent.so",
    "plugins swap absent.so",
    "plugins rollback simulated",
    "plugins remove simulated",
    "completions bash",
    "completions zsh",
    "completions fish",
    "completions powershell",
    "man",
    "man --out man",
    "alerts test",
    "service status --name hunted",
    "service install --print",
    "service uninstall --name hunted",
    "service start --name hunted",
    "service stop --name hunted",
    "login",
];

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// The zip's files, unpacked.
fn unpacked(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    (0..zip.len())
        .map(|index| {
            let mut file = zip.by_index(index).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            (file.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

/// The rows of a Parquet file, which is compressed.
fn rows(path: &Path) -> Vec<String> {
    let file = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let rows = file.get_row_iter(None).unwrap();
    rows.map(|row| row.unwrap().to_string()).collect()
}

fn hunt(backend: &Backend) -> Hunt {
    let desk = keyring_desk(backend, &json!({}));
    let mut hunt = Hunt {
        desk,
        needles: Needles::default(),
        watch: None,
        ran: BTreeSet::new(),
        outputs: 0,
        found: Vec::new(),
    };
    hunt.add("the password", &backend.password);
    hunt.add("the passphrase", PASSPHRASE);
    hunt.watch = Some(Watch::start(&hunt.needles));
    hunt
}

/// Logs in, and adds the token that came of it to what is looked for.
fn login_of(hunt: &mut Hunt, backend: &Backend) {
    let arguments = ["--store", "file", "--remember-password", "--log-level", "DEBUG"];
    let out = log_in(&hunt.desk, &backend.password, &arguments);
    assert!(out.status.success(), "{}", text(&out.stderr));
    hunt.took("login", &out);
    hunt.ran.insert("login".to_owned());
}

/// The failures of the way to the backend, while a host trades.
fn backend_fails(hunt: &mut Hunt, backend: &Backend) {
    backend.revoke();
    wait_until("a new login was made", || {
        hunt.desk.log().contains("a new login gave another one")
    });
    // It says again what it was told, to the host and to a person.
    backend.fault(&json!({ "mode": "echo", "path": "login" }));
    backend.revoke();
    wait_until("the host's login is refused", || {
        hunt.desk
            .log()
            .contains("refuses the login that is kept (422: Field required)")
    });
    let out = log_in(&hunt.desk, &backend.password, &[]);
    assert!(
        text(&out.stderr).contains("422: Field required"),
        "{}",
        text(&out.stderr)
    );
    hunt.took("login that is repeated", &out);
    backend.fault(&json!({ "mode": "up" }));
    login_of(hunt, backend);
    for fault in [
        "retry_after",
        "refuse",
        "echo",
        "not_found",
        "http500",
        "html",
        "down",
        "close_after_processing",
    ] {
        // What slows the host down comes to it last.
        backend.fault(&json!({ "mode": fault }));
        backend.add(&signal(&format!("F-{fault}")));
        hunt.run("whoami");
        let out = log_in(&hunt.desk, &backend.password, &["--remember-password"]);
        hunt.took("login with a fault", &out);
        backend.fault(&json!({ "mode": "up" }));
    }
    hunt.run("doctor");
    let out = log_in(&hunt.desk, &format!("{}x", backend.password), &[]);
    hunt.took("login with a wrong password", &out);
}

/// Configurations that are wrong just where the secret stands.
fn configurations_fail(hunt: &mut Hunt, backend: &Backend, token: &str) {
    let wrong = [
        json!({ "api_token": format!("{token} {token}") }),
        json!({ "api_token": [token] }),
        json!({ "api_token": { "token": token } }),
        json!({ "api_tokn": token }),
        json!({ "api_token": token, "broker": "absent" }),
        json!({ "api_token": token, "simulated": { "fill": "sometimes" } }),
        json!({ "api_token": token, "api_base_url": "http://127.0.0.1:1/api" }),
        json!({ "api_token": token, "api_base_url": format!("http://u:{}@127.0.0.1/api", backend.password) }),
        json!({ "api_token": token, "data_dir": hunt.desk.config() }),
        json!({ "api_token": "file:passphrase" }),
        json!({ "api_token": "env:QT_NO_SUCH_TOKEN" }),
        json!({ "simulated": { "password": backend.password, "token": token } }),
    ];
    for more in wrong {
        configure(&hunt.desk, backend, &more);
        for line in ["config check --json", "config show", "--once", "whoami"] {
            hunt.run(line);
        }
    }
    let config = std::fs::read_to_string(hunt.desk.config()).unwrap();
    private(&hunt.desk, "config.json", &config[..config.len() - 1]);
    hunt.run("config check");
    configure(&hunt.desk, backend, &json!({}));
    private(&hunt.desk, "passphrase", "another passphrase");
    hunt.run("whoami");
    hunt.run("--once");
    private(&hunt.desk, "passphrase", PASSPHRASE);
}

/// Signals and quotes of the examples, and then the signals that wait at the backend.
fn on_paper(hunt: &mut Hunt) {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/paper");
    let (signals, quotes) = (examples.join("signals.jsonl"), examples.join("quotes.csv"));
    let quotes = quotes.display();
    let line = format!(
        "paper --signals {} --quotes {quotes} --ledger run.jsonl --picture run.svg",
        signals.display()
    );
    let out = hunt.run(&line);
    assert!(out.status.success(), "{}", text(&out.stderr));
    hunt.run(&format!("paper --signals backend --quotes {quotes} --json"));
}

/// A host whose backend is NATS, with the credentials of a user, some of them broken.
fn nats_fails(hunt: &mut Hunt, backend: &Backend) {
    const SEED: &str = "SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM";
    let claims =
        data_encoding::BASE64URL_NOPAD.encode(br#"{"jti":"HUNTEDHUNTED","sub":"UHUNTED","nats":{}}"#);
    hunt.add("a seed of NATS", SEED);
    hunt.add("a user's token of NATS", &claims);
    let whole = format!(
        "-----BEGIN NATS USER JWT-----\neyJ0eXAiOiJKV1QifQ.{claims}.c2lnbmVk\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"
    );
    let broken = whole
        .replace("SEED-----\n", "SEED-----\nx")
        .replace("JWT-----\n", "JWT-----\n\n");
    for credentials in [whole.as_str(), &broken, SEED] {
        private(&hunt.desk, "nats.creds", credentials);
        let nats = json!({ "url": "nats://127.0.0.1:1", "credentials": hunt.desk.path("nats.creds") });
        configure(
            &hunt.desk,
            backend,
            &json!({ "backend": "nats", "nats": nats, "log_level": "DEBUG" }),
        );
        for line in [
            "config check --json",
            "config show",
            "doctor",
            "doctor --bundle nats.zip",
            "--once",
        ] {
            hunt.run(line);
        }
    }
}

#[test]
fn no_secret_is_in_any_output_log_journal_export_or_command_line() {
    let backend = Backend::with(&["--token-life", "3600"]);
    let mut hunt = hunt(&backend);
    let token = backend.log_in();
    hunt.add("a token of the configuration", secret_part(&token));
    login_of(&mut hunt, &backend);
    let sealed = hunt.desk.path("data/login.enc");
    assert!(sealed.exists());

    // A host at DEBUG whose token is in the keyring, and every command beside it.
    let robot = "http://127.0.0.1:1/robot/send?access_token=5f0c8e7d21b94a3e9c6d";
    hunt.add("a robot's address", "access_token=5f0c8e7d21b94a3e9c6d");
    let robots = json!({ "webhook": { "format": "dingtalk", "url": robot, "secret": "SEC31f2a9d0c4b7e8" } });
    hunt.add("a robot's secret", "SEC31f2a9d0c4b7e8");
    let more = json!({ "log_level": "DEBUG", "alerts": robots });
    configure(&hunt.desk, &backend, &more);
    let mut host = hunt.desk.trading();
    backend.add(&signal("S1"));
    wait_until("S1 is reported", || posts(&backend, "S1") == 3);
    for line in LINES {
        hunt.run(line);
    }
    // Its place is taken, so that it ends.
    let taken = backend
        .base_url
        .trim_start_matches("http://")
        .trim_end_matches("/api");
    hunt.run(&format!("sandbox --listen {taken}"));
    on_paper(&mut hunt);
    // Its pins are from before and after `untrust`, and would refuse the plugin from now on.
    std::fs::remove_file(hunt.desk.path("data/plugins.lock")).unwrap();
    backend_fails(&mut hunt, &backend);
    host.kill();
    let host = hunt.desk.trading();
    backend.add(&signal("S2"));
    wait_until("S2 is reported", || posts(&backend, "S2") >= 3);
    hunt.run("stop");
    drop(host);

    // Then one whose token stands in the configuration: `api_token` itself is what is looked for.
    let token = backend.log_in();
    hunt.add("the token in force", secret_part(&token));
    configure(
        &hunt.desk,
        &backend,
        &json!({ "api_token": token, "log_level": "DEBUG", "alerts": robots }),
    );
    let host = hunt.desk.trading();
    backend.add(&signal("S3"));
    wait_until("S3 is reported", || posts(&backend, "S3") >= 3);
    for line in LINES.iter().take(14) {
        hunt.run(line);
    }
    hunt.run("doctor --bundle again.zip");
    backend.revoke();
    wait_until("the token is refused", || {
        hunt.desk.log().contains("What to do: log in again")
    });
    assert_eq!(host.stop(), Some(0));
    configurations_fail(&mut hunt, &backend, &token);
    nats_fails(&mut hunt, &backend);
    configure(&hunt.desk, &backend, &json!({}));

    // A journal that is damaged.
    let journal = hunt.desk.path("data/journal.db");
    let mut bytes = std::fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5a);
    std::fs::write(&journal, bytes).unwrap();
    for line in ["--once", "journal verify", "doctor", "orders"] {
        hunt.run(line);
    }
    hunt.run("logout");
    conclude(hunt);
}

fn conclude(mut hunt: Hunt) {
    let all = commands(&[]);
    assert!(all.len() > 40, "{all:?}");
    let left: Vec<&String> = all.iter().filter(|name| !hunt.ran.contains(*name)).collect();
    assert!(left.is_empty(), "commands that were not run: {left:?}");

    let (lines, in_lines) = hunt.watch.take().unwrap().end();
    let folder = hunt.desk.path("");
    let mut searched = 0;
    let mut unpacked_files = 0;
    let mut parquet_rows = 0;
    for path in files(&folder) {
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        // Where the secret was put by its owner.
        if ["config.json", "passphrase", "nats.creds"].contains(&&*name) {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        hunt.searched(&name, &bytes);
        hunt.searched(&format!("the name of {name}"), name.as_bytes());
        searched += 1;
        if name.ends_with(".zip") {
            for (inner, bytes) in unpacked(&path) {
                hunt.searched(&format!("{name}/{inner}"), &bytes);
                unpacked_files += 1;
            }
        }
        if name.ends_with(".parquet") {
            for row in rows(&path) {
                hunt.searched(&format!("a row of {name}"), row.as_bytes());
                parquet_rows += 1;
            }
        }
    }
    let log = std::fs::read_to_string(hunt.desk.path("data/logs/quantTrader.log")).unwrap();
    assert!(log.contains("[DEBUG]"), "nothing was logged at DEBUG");
    assert!(
        unpacked_files >= 8 && parquet_rows >= 1,
        "{unpacked_files} {parquet_rows}"
    );
    println!(
        "the hunt: {} commands, {} streams, files and names searched ({searched} files, {unpacked_files} of bundles, {parquet_rows} rows of Parquet), {lines} \
         command lines of processes, for {} needles: {} found",
        hunt.ran.len(),
        hunt.outputs,
        hunt.needles.0.len(),
        hunt.found.len() + in_lines.len()
    );
    assert!(lines > 100 && searched > 20, "{lines} {searched}");
    assert_eq!(hunt.found, [""; 0]);
    assert_eq!(in_lines, [""; 0]);
}

/// The hunt itself: what is put before it is found.
#[test]
fn the_hunt_finds_what_is_there() {
    let mut needles = Needles::default();
    needles.add("it", "0123456789abcdef");
    for (text, count) in [
        ("x 0123456789abcdef y", 3),
        ("01234567", 1),
        ("...89abcdef", 1),
        ("MDEyMzQ1Njc4OWFiY2RlZg==", 1),
        ("0123456", 0),
    ] {
        assert_eq!(needles.found_in(text.as_bytes()).len(), count, "{text}");
    }
}
