//! The configuration through the real program: every mistake at once, the right exit code, and never the token.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used)]

mod accounts;
mod streams;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.sig";

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        path
    }

    /// The program in an environment that holds nothing of this machine's.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qt-host"));
        command
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TRADER_") {
                command.env_remove(name);
            }
        }
        command
            .env("HOME", self.path())
            .env("LOCALAPPDATA", self.path())
            .env("TZ", "Asia/Shanghai");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(!text(&output.stdout).contains(TOKEN) && !text(&output.stderr).contains(TOKEN));
        output
    }

    /// The message of a refused configuration.
    fn refused(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        self.file(name, content);
        let output = self.run(&["config", "check", "--config", name]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty());
        text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn good_json() -> String {
    format!(
        r#"{{"api_base_url": "http://127.0.0.1:1/api/", "api_token": "{TOKEN}", "poll_interval": 0.2, "log_level": "debug",
            "securities_account_id": "6763f8a2d9e4b1a2c3d4e5f6", "broker": "miniQMT",
            "miniQMT": {{"account_id": "55000001", "session_path": "/q/userdata_mini"}}}}"#
    )
}

#[test]
fn the_specifications_file_works_and_shows_no_secret() {
    let home = Home::new();
    home.file("config.json", good_json());
    let check = home.run(&["--config", "config.json", "config", "check"]);
    assert_eq!(check.status.code(), Some(0), "{check:?}");
    assert_eq!(text(&check.stdout), "config.json: no mistakes\n");
    assert_eq!(text(&check.stderr), "");

    let show = home.run(&["config", "show", "--config", "config.json"]);
    let shown: serde_json::Value = serde_json::from_slice(&show.stdout).unwrap();
    assert_eq!(shown["api_base_url"], "http://127.0.0.1:1/api");
    assert_eq!(shown["api_token"], "***");
    assert_eq!(shown["miniQMT"]["account_id"], "***");
    assert_eq!(shown["miniQMT"]["session_path"], "/q/userdata_mini");
    assert_eq!(shown["poll_interval"].to_string(), "0.2");
    assert_eq!(
        shown["execution"]["sell_order_timeout_seconds"].to_string(),
        "90.0"
    );
    assert!(!text(&show.stdout).contains("55000001"));
}

#[test]
fn what_is_shown_is_a_file_that_means_the_same() {
    let home = Home::new();
    home.file("config.json", good_json());
    let first = home.run(&["config", "show", "--config", "config.json"]);
    home.file("again.json", &first.stdout);
    let second = home.run(&["config", "show", "--config", "again.json"]);
    assert_eq!(text(&first.stdout), text(&second.stdout));
}

#[test]
fn toml_means_the_same_as_json() {
    let home = Home::new();
    home.file("config.json", good_json());
    let toml = format!(
        "api_base_url = \"http://127.0.0.1:1/api/\"\napi_token = \"{TOKEN}\"\npoll_interval = 0.2\nlog_level = \"debug\"\n\
         securities_account_id = \"6763f8a2d9e4b1a2c3d4e5f6\"\nbroker = \"miniQMT\"\n\
         [miniQMT]\naccount_id = \"55000001\"\nsession_path = \"/q/userdata_mini\"\n"
    );
    home.file("config.toml", toml);
    let json = home.run(&["config", "show", "--config", "config.json"]);
    let toml = home.run(&["config", "show", "--config", "config.toml"]);
    assert_eq!(toml.status.code(), Some(0), "{toml:?}");
    assert_eq!(text(&json.stdout), text(&toml.stdout));
}

#[test]
fn every_mistake_is_said_at_once_with_line_value_and_near_miss() {
    let home = Home::new();
    let said = home.refused(
        "config.json",
        format!(
            "{{\n\"api_base_url\": \"ftp://host/api\",\n\"api_tokn\": \"{TOKEN}\",\n\"poll_interval\": -1,\n\"log_level\": \"INFOO\",\n\
             \"execution\": {{\"max_in_flight\": 0.5,\n\"cancel_retry_grace_second\": 3}},\n\"plugins\": [\"a\", 7],\n\"webhook\": 5,\n\
             \"simulatd\": {{}},\n\"other\": {{\"x\": 1}}}}"
        ),
    );
    let expected = [
        "error: the configuration has 9 mistakes:",
        "config.json:2: api_base_url = \"ftp://host/api\": starts with ftp:",
        "config.json:3: api_tokn: unknown key; did you mean `api_token`?",
        "config.json:4: poll_interval = -1: expected seconds from 0.01 to 3600, such as 1.0",
        "config.json:5: log_level = \"INFOO\": expected one of DEBUG, INFO, WARNING, ERROR, CRITICAL; did you mean `INFO`?",
        "config.json:6: execution.max_in_flight = 0.5: expected a whole number from 1 to 100000",
        "config.json:7: execution.cancel_retry_grace_second: unknown key; did you mean `cancel_retry_grace_seconds`?",
        "config.json:8: plugins[1] = 7: expected a path",
        "config.json:9: webhook: unknown key; known here: api_base_url",
        "config.json:10: simulatd: unknown key; did you mean `simulated`?",
    ];
    for line in expected {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
}

#[test]
fn mistakes_are_also_said_in_json() {
    let home = Home::new();
    home.file(
        "config.json",
        format!("{{\"api_token\": \"{TOKEN}\",\n \"pol_interval\": 2}}"),
    );
    let output = home.run(&["config", "check", "--json", "--config", "config.json"]);
    assert_eq!(output.status.code(), Some(2));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["ok"], false);
    assert_eq!(answer["mistakes"][0]["line"], 2);
    assert_eq!(answer["mistakes"][0]["near_miss"], "poll_interval");
    assert_eq!(answer["mistakes"][1]["key"], "api_base_url");
    assert_eq!(answer["mistakes"].as_array().unwrap().len(), 2);
}

#[test]
fn a_number_as_token_is_refused_and_not_shown() {
    let home = Home::new();
    let said = home.refused(
        "config.json",
        r#"{"api_base_url": "http://h/api", "api_token": 987654321}"#,
    );
    assert!(
        said.contains("api_token: is a number (not shown)") && !said.contains("987"),
        "{said}"
    );
    let said = home.refused(
        "config.toml",
        "api_base_url = \"http://h/api\"\napi_token = 987654321\n",
    );
    assert!(
        said.contains("config.toml:2: api_token: is a number (not shown)") && !said.contains("987"),
        "{said}"
    );
    let said = home.refused("config.json", r#"{"miniQMT": {"account_id": 55000001}}"#);
    assert!(
        said.contains("miniQMT.account_id: expected a text") && !said.contains("5500"),
        "{said}"
    );
}

#[test]
fn a_token_is_not_shown_by_any_other_mistake_around_it() {
    let home = Home::new();
    let files = [
        ("a.json", format!("{{\"api_token\": {TOKEN}}}")),
        ("b.json", format!("{{\"api_token\": \"{TOKEN}\" \"x\": 1}}")),
        ("c.json", format!("{{\"api_token\": [\"{TOKEN}\"]}}")),
        ("d.json", format!("{{\"api_token\": \"Bearer {TOKEN}\"}}")),
        ("e.json", format!("{{\"api_tocken\": \"{TOKEN}\"}}")),
        (
            "f.json",
            format!("{{\"api_token\": \"{TOKEN}\", \"api_token\": \"{TOKEN}\"}}"),
        ),
        ("g.json", format!("\"{TOKEN}\"")),
        (
            "h.json",
            format!("{{\"api_base_url\": \"http://me:{TOKEN}@host/api\"}}"),
        ),
        ("i.toml", format!("api_token = {TOKEN}\n")),
        ("j.toml", format!("api_token = \"{TOKEN}\n")),
        (
            "k.toml",
            format!("api_token = '{TOKEN}'\napi_token = '{TOKEN}'\n"),
        ),
        ("l.toml", format!("{TOKEN}\n")),
    ];
    for (name, content) in files {
        let said = home.refused(name, content);
        for part in TOKEN.split('.') {
            assert!(!said.contains(part), "{name}: {said}");
        }
    }
}

#[test]
fn unusable_files_are_refused_with_what_to_do() {
    let home = Home::new();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("empty.json", b"".to_vec(), "the file is empty"),
        ("blank.toml", b" \n\n".to_vec(), "the file is empty"),
        (
            "latin.json",
            b"{\n\"broker\": \"caf\xe9\"}".to_vec(),
            "latin.json:2: the file is not UTF-8",
        ),
        (
            "wide.json",
            b"\xff\xfe{\0}\0".to_vec(),
            "UTF-16; save it as UTF-8",
        ),
        (
            "syntax.json",
            b"{\n  \"broker\": \"x\"\n  \"risk\": {}}".to_vec(),
            "syntax.json:3: this is not JSON: expected `,` or `}` (column 3)",
        ),
        (
            "syntax.toml",
            b"broker = \"x\"\nrisk = = 3\n".to_vec(),
            "syntax.toml:2: this is not TOML",
        ),
        (
            "twice.json",
            b"{\"risk\": {\"drawdown_pct\": 1,\n\"drawdown_pct\": 2}}".to_vec(),
            "twice.json:2: risk.drawdown_pct: this key stands twice",
        ),
        (
            "twice.toml",
            b"broker = \"a\"\nbroker = \"b\"\n".to_vec(),
            "twice.toml:2: this is not TOML: duplicate key",
        ),
        ("list.json", b"[1]".to_vec(), "expected an object in braces"),
    ];
    for (name, content, expected) in cases {
        let said = home.refused(name, content);
        assert!(said.contains(expected), "{name}: {said}");
    }
    let said = home.refused("huge.json", vec![b' '; 2 * 1024 * 1024]);
    assert!(said.contains("larger than 1024 KiB"), "{said}");
    let deep = [vec![b'['; 200_000], vec![b']'; 200_000]].concat();
    assert!(
        home.refused("deep.json", &deep)
            .contains("not JSON: recursion limit")
    );
}

#[test]
fn a_folder_and_a_missing_file_are_named() {
    let home = Home::new();
    for (name, expected) in [(".", "this is a folder"), ("no.json", "cannot be read")] {
        let output = home.run(&["--config", name]);
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        assert!(said.contains(expected) && said.contains("--config"), "{said}");
    }
}

#[test]
fn a_byte_order_mark_is_harmless() {
    let home = Home::new();
    home.file("bom.json", format!("\u{feff}{}", good_json()));
    home.file("bom.toml", "\u{feff}broker = \"x\"\r\n");
    assert_eq!(
        home.run(&["config", "check", "--config", "bom.json"])
            .status
            .code(),
        Some(0)
    );
    assert_eq!(
        home.run(&["config", "show", "--config", "bom.toml"])
            .status
            .code(),
        Some(0)
    );
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_gets_a_warning_with_the_command() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let path = home.file("my config.json", good_json());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = home.run(&["config", "check", "--config", "my config.json"]);
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stderr);
    assert!(
        said.contains("(mode 0644)") && said.contains("chmod 600 'my config.json'"),
        "{said}"
    );
}

#[test]
fn environment_fills_in_and_flags_win() {
    let home = Home::new();
    home.file("config.json", r#"{"broker": "fromfile", "log_level": null}"#);
    let output = home
        .command(&[
            "config",
            "show",
            "--config",
            "config.json",
            "--poll-interval",
            "0.5",
        ])
        .env("TRADER_API_BASE_URL", "https://env/api//")
        .env("TRADER_API_TOKEN", TOKEN)
        .env("TRADER_BROKER", "fromenv")
        .env("TRADER_LOG_LEVEL", "warning")
        .env("TRADER_POLL_INTERVAL", "7")
        .env("TRADER_DATA_DIR", "")
        .env("TRADER_MINIQMT_ACCOUNT_ID", "55000001")
        .env("TRADER_MINIQMT_XT_PATH", "/xt")
        .output()
        .unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["api_base_url"], "https://env/api");
    assert_eq!(shown["broker"], "fromfile");
    assert_eq!(shown["log_level"], "WARNING");
    assert_eq!(shown["poll_interval"].to_string(), "0.5");
    assert_eq!(
        shown["miniQMT"],
        serde_json::json!({"account_id": "***", "xt_path": "/xt"})
    );
    assert!(!text(&output.stdout).contains(TOKEN));
}

#[test]
fn the_file_wins_over_the_variable_by_either_name_of_the_terminals_folder() {
    let home = Home::new();
    home.file(
        "config.json",
        r#"{"broker": "miniQMT", "miniQMT": {"account_id": "1", "session_path": "/file"}}"#,
    );
    let output = home
        .command(&["config", "show", "--config", "config.json"])
        .env("TRADER_MINIQMT_XT_PATH", "/variable")
        .output()
        .unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        shown["miniQMT"],
        serde_json::json!({"account_id": "***", "session_path": "/file"})
    );
}

#[test]
fn wrong_variables_and_flags_are_named_as_such() {
    let home = Home::new();
    let output = home
        .command(&[
            "config",
            "check",
            "--api-base-url",
            "host:8000/api",
            "--poll-interval",
            "-1",
        ])
        .env("TRADER_API_TOKEN", format!("{TOKEN} {TOKEN}"))
        .env("TRADER_LOG_LEVEL", "loud")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("flag --api-base-url: api_base_url = \"host:8000/api\""),
        "{said}"
    );
    assert!(
        said.contains("flag --poll-interval: poll_interval = -1: expected seconds"),
        "{said}"
    );
    assert!(
        said.contains("environment variable TRADER_LOG_LEVEL: log_level = \"loud\""),
        "{said}"
    );
    assert!(
        said.contains("environment variable TRADER_API_TOKEN: api_token: has spaces"),
        "{said}"
    );
    assert!(!said.contains("eyJ"), "{said}");
}

#[test]
fn nothing_given_says_both_things_that_are_missing() {
    let output = Home::new().run(&[]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("api_base_url: is missing") && said.contains("TRADER_API_TOKEN"),
        "{said}"
    );
}

#[test]
fn the_log_starts_as_the_specification_shows() {
    let home = Home::new();
    home.file("config.json", good_json().replace("debug", "INFO"));
    let output = home.run(&["--config", "config.json", "--once"]);
    let console = text(&output.stderr);
    let folder = if cfg!(windows) {
        "quantTrader/logs"
    } else {
        ".local/share/quantTrader/logs"
    };
    let path = home.path().join(folder).join("quantTrader.log");
    let log = std::fs::read_to_string(&path).unwrap();
    let shown = if cfg!(windows) {
        path.display().to_string()
    } else {
        format!("~/{folder}/quantTrader.log")
    };
    for line in [
        "quantTrader logging initialized",
        &format!("Log file: {shown}"),
        "Log level: INFO",
    ] {
        let line = format!(" [INFO] quantTrader: {line}\n");
        assert!(
            log.contains(&line) && console.contains(&line),
            "{line} is not in\n{log}\nor\n{console}"
        );
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }
}

#[test]
fn data_dir_moves_the_log_and_an_unusable_one_is_refused() {
    let home = Home::new();
    home.file("config.json", good_json());
    home.run(&["--config", "config.json", "--data-dir", "here"]);
    assert!(home.path().join("here/logs/quantTrader.log").is_file());
    home.file("blocked", "a file, not a folder");
    let output = home.run(&["--config", "config.json", "--data-dir", "blocked"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("blocked") && said.contains("--data-dir"), "{said}");
    std::fs::create_dir_all(home.path().join("odd/logs/quantTrader.log")).unwrap();
    let output = home.run(&["--config", "config.json", "--data-dir", "odd"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cannot be written"), "{output:?}");
}

#[test]
fn usage_mistakes_exit_with_2() {
    let home = Home::new();
    for arguments in [
        vec!["--confg", "x"],
        vec!["tradee"],
        vec!["--once", "config", "show"],
        vec!["--token=x"],
    ] {
        let output = home.run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
    let help = home.run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("Examples:") && text(&help.stdout).contains("Exit codes:"));
}

#[test]
fn plugin_options_are_shown_and_their_mistakes_named() {
    let home = Home::new();
    let file = home.file(
        "good.json",
        r#"{"plugin_options": {"mine": {"lane": "worker", "memory_limit_mb": 512}}}"#,
    );
    let shown = home.run(&["config", "show", "--config", file.to_str().unwrap()]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let options = &shown["plugin_options"]["mine"];
    assert_eq!(options["lane"], "worker", "{shown}");
    assert_eq!(options["memory_limit_mb"], 512);
    assert_eq!(options["respawn_at_most_seconds"].to_string(), "30.0");
    let bad = r#"{
  "plugin_options": {
    "mine": {"lane": "workr", "memory_limit": 512},
    "twice": {}, "TWICE": {},
    "other": 7
  }
}"#;
    let file = home.file("bad.json", bad);
    let output = home.run(&["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    for part in [
        "did you mean",
        "worker, in-process",
        "plugin_options.mine.memory_limit",
        "stands as `TWICE` already",
        "plugin_options.other",
        "expected a block in braces",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let output = home.run(&["--lane", "both", "config", "check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("in-process"));
}

#[test]
fn plugins_are_listed_and_a_bad_file_is_refused_with_its_code() {
    let home = Home::new();
    std::fs::create_dir(home.path().join("dir")).unwrap();
    home.file("dir/libtext.so", "just text, no library, whatever its name says");
    home.file("config.json", r#"{"plugin_dirs": ["dir"]}"#);
    for arguments in [
        vec!["plugins", "list", "--json", "--plugin-dir", "dir"],
        vec!["--config", "config.json", "plugins", "list", "--json"],
    ] {
        let output = home.run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let ours = |row: &&serde_json::Value| {
            row["path"]
                .as_str()
                .is_some_and(|path| path.ends_with("libtext.so"))
        };
        let row = rows.as_array().unwrap().iter().find(ours).unwrap();
        assert_eq!(row["code"], "QT-P004");
    }
}
