//! What lies in `examples` works: each configuration, and a third party's broker outside the workspace.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use qt_test_support::{Backend, CLOCK_OFFSET, Desk, plugin, qt_host, to_ten_in_shanghai_ms, wait_until};
use serde_json::{Value, json};

/// What the examples hold where a person puts in an own value.
const ADDRESS: &str = "http://127.0.0.1:8000/api";
const TOKEN: &str = "PASTE-THE-ACCESS-TOKEN-HERE";

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .canonicalize()
        .unwrap()
}

fn configurations() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(examples().join("config")).unwrap();
    let mut found: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(found.len() >= 6, "{found:?}");
    found
}

/// A copy that only its owner may read, with `backend` filled in.
fn copy(example: &Path, folder: &Path, backend: Option<&Backend>) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let mut text = std::fs::read_to_string(example).unwrap();
    if let Some(backend) = backend {
        text = text
            .replace(ADDRESS, &backend.base_url)
            .replace(TOKEN, &backend.token);
    }
    let copy = folder.join(example.file_name().unwrap());
    std::fs::write(&copy, text).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
    copy
}

fn run(config: &Path, arguments: &[&str]) -> Output {
    Command::new(qt_host())
        .args(arguments)
        .arg("--config")
        .arg(config)
        .env(CLOCK_OFFSET, to_ten_in_shanghai_ms().to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn every_configuration_is_without_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    for example in configurations() {
        let config = copy(&example, folder.path(), None);
        let out = run(&config, &["config", "check"]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(
            (out.status.code(), said.as_str()),
            (Some(0), ""),
            "{}",
            example.display()
        );
    }
}

/// Dotted names of every key; a list's entries count as one.
fn keys(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{prefix}{key}");
        keys(inner, &format!("{path}."), found);
        found.insert(path);
    }
}

#[test]
fn the_configuration_with_every_key_has_every_key_with_its_default_and_a_comment() {
    let folder = tempfile::tempdir().unwrap();
    let example = examples().join("config/every-key.toml");
    let config = copy(&example, folder.path(), None);
    let shown: Value = serde_json::from_slice(&run(&config, &["config", "show"]).stdout).unwrap();
    // What is in force says every key that the host knows, whether the file has it or not.
    let mut known = BTreeSet::new();
    keys(&shown, "", &mut known);
    let text = std::fs::read_to_string(&example).unwrap();
    let mut block = String::new();
    let mut written = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            block = format!("{}.", name.trim_matches(['[', ']']));
        } else if let Some((key, _)) = line.split_once(" = ") {
            written.insert(format!("{block}{key}"));
        }
    }
    let absent: Vec<&String> = known
        .iter()
        .filter(|key| {
            !written.contains(*key) && !written.iter().any(|other| other.starts_with(&format!("{key}.")))
        })
        .filter(|key| !key.starts_with("simulated."))
        .collect();
    assert!(absent.is_empty(), "every-key.toml lacks {absent:?}");

    let bare = examples().join("config/simulated-minimal.json");
    let bare = copy(&bare, folder.path(), None);
    let defaults: Value = serde_json::from_slice(&run(&bare, &["config", "show"]).stdout).unwrap();
    for key in [
        "poll_interval",
        "log_level",
        "broker",
        "execution",
        "gates",
        "journal",
        "risk",
        "display",
    ] {
        assert_eq!(shown[key], defaults[key], "{key} is not the default");
    }
    let comments = text.lines().filter(|line| line.starts_with('#')).count();
    assert!(
        comments * 2 > written.len(),
        "{comments} comments on {} keys",
        written.len()
    );
}

#[test]
fn every_simulated_configuration_trades() {
    let mut traded = 0;
    for example in configurations() {
        let folder = tempfile::tempdir().unwrap();
        let backend = Backend::start();
        let config = copy(&example, folder.path(), Some(&backend));
        let shown: Value = serde_json::from_slice(&run(&config, &["config", "show"]).stdout).unwrap();
        if shown["broker"] != "simulated" {
            continue;
        }
        if !shown["plugins"].as_array().unwrap().is_empty() {
            // What the example names must be there: another plugin stands in for a third party's.
            let plugins = folder.path().join("plugins");
            std::fs::create_dir(&plugins).unwrap();
            std::fs::copy(plugin("simulated"), plugins.join("libsimulated.so")).unwrap();
            std::fs::copy(plugin("miniqmt"), plugins.join("libminimal_broker.so")).unwrap();
        }
        // One signal for each account; where the whole file is one account's, it names none.
        let none = vec![json!({})];
        let accounts = shown["accounts"].as_array().filter(|all| !all.is_empty());
        let accounts = accounts.unwrap_or(&none);
        for (number, account) in accounts.iter().enumerate() {
            let mut signal = json!({ "order_id": format!("E{number}"), "symbol": "000858.SZ", "action": "BUY", "size": 100,
                                     "price": 135.5 });
            if let Some(id) = account.get("securities_account_id") {
                signal["securities_account_id"] = id.clone();
            }
            backend.add(&signal);
        }
        let data = folder.path().join("own-data");
        let out = run(&config, &["--once", "--data-dir", data.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(0), "{}: {said}", example.display());
        let state = backend.state();
        for number in 0..accounts.len() {
            let posts = state["signals"][format!("E{number}")]["posts"]
                .as_array()
                .unwrap();
            assert!(
                posts
                    .iter()
                    .any(|post| post["kind"] == "execution" && post["body"]["status"] == "filled"),
                "{}: {posts:#?}\n{said}",
                example.display()
            );
        }
        assert_eq!(state["violations"], json!([]));
        traded += 1;
    }
    assert!(traded >= 5, "{traded}");
}

/// Without this the example could not be built where only the workspace's dependencies were fetched.
#[test]
fn the_example_is_locked_to_the_versions_of_the_workspace() {
    let versions = |path: PathBuf| -> BTreeSet<String> {
        let text = std::fs::read_to_string(&path).unwrap();
        let entries = text.split("[[package]]").skip(1);
        entries
            .map(|entry| entry.trim().lines().take(2).collect::<Vec<_>>().join(" "))
            .collect()
    };
    let ours = versions(examples().join("../Cargo.lock"));
    let theirs = versions(examples().join("minimal-broker/Cargo.lock"));
    let other: Vec<&String> = theirs
        .difference(&ours)
        .filter(|entry| !entry.contains("\"minimal-broker\""))
        .collect();
    assert!(
        theirs.len() > 3 && other.is_empty(),
        "run `cargo update` in examples/minimal-broker: {other:?}"
    );
}

/// The smallest broker that trades. The example of the same name keeps what the conformance kit asks for, too.
const FORTY_LINES: &str = include_str!("../fixtures/forty_lines.rs");

/// Builds it as a crate of its own outside the workspace; its dependencies are kept beside the tests.
fn third_party(folder: &Path) -> PathBuf {
    let source = examples().join("minimal-broker");
    let crate_folder = folder.join("minimal-broker");
    std::fs::create_dir_all(crate_folder.join("src")).unwrap();
    std::fs::copy(source.join("Cargo.lock"), crate_folder.join("Cargo.lock")).unwrap();
    std::fs::write(crate_folder.join("src/lib.rs"), FORTY_LINES).unwrap();
    let manifest = std::fs::read_to_string(source.join("Cargo.toml")).unwrap();
    let api = examples().join("../plugin-api").canonicalize().unwrap();
    let elsewhere = manifest.replace("../../plugin-api", api.to_str().unwrap());
    assert_ne!(
        manifest, elsewhere,
        "the example does not depend on plugin-api by path"
    );
    let depends: Vec<&str> = manifest
        .split("[dependencies]")
        .nth(1)
        .unwrap()
        .lines()
        .filter(|line| line.contains(" = "))
        .collect();
    assert_eq!(
        depends.len(),
        1,
        "it depends on more than plugin-api: {depends:?}"
    );
    std::fs::write(crate_folder.join("Cargo.toml"), elsewhere).unwrap();

    let target = qt_host()
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("third-party");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = Command::new(cargo)
        .args(["build", "--offline", "--locked"])
        .current_dir(&crate_folder)
        .env("CARGO_TARGET_DIR", &target)
        // What the tests themselves are built with is none of a third party's business.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let name = format!(
        "{}minimal_broker{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let built = folder.join(&name);
    std::fs::copy(target.join("debug").join(name), &built).unwrap();
    built
}

#[test]
fn a_third_partys_broker_of_forty_lines_loads_and_trades_within_one_poll() {
    let source = FORTY_LINES;
    let broker = source.split("struct Minimal").nth(1).unwrap();
    let lines = broker.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 45, "the broker has {lines} lines");
    assert!(source.contains("#![forbid(unsafe_code)]"));

    let folder = tempfile::tempdir().unwrap();
    let library = third_party(folder.path());
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "broker": "minimal", "plugins": [library], "poll_interval": 3.0, "minimal": {} }),
    );
    let listed = desk.json(&["plugins", "list"]);
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["name"] == "minimal" && row["state"] == "usable"),
        "{listed:#}"
    );
    let host = desk.trading();
    let fetches = || backend.state()["requests"]["signals"].as_u64().unwrap_or(0);
    for id in ["M1", "M2"] {
        let before = fetches();
        backend.add(
            &json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 }),
        );
        let mut asked = before;
        wait_until("the execution is reported", || {
            let state = backend.state();
            asked = state["requests"]["signals"].as_u64().unwrap_or(0);
            state["signals"][id]["posts"]
                .as_array()
                .unwrap()
                .iter()
                .any(|post| post["body"]["status"] == "filled" && post["body"]["filled_size"] == 100)
        });
        // The first poll after it was added took it; while its reports were on their way one more may have been made.
        assert!(asked <= before + 2, "{id}: {before} polls before, {asked} after");
    }
    assert_eq!(host.stop(), Some(0));
    assert_eq!(backend.state()["violations"], json!([]));
}
