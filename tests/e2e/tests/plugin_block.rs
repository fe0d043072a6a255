//! A mistake in a plugin's block of the configuration is said before any of its code runs, wherever that would be.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use qt_test_support::{Backend, Desk};
use serde_json::{Value, json};

const SECRET: &str = "55000001-not-for-anybody";

/// A desk whose block has a wrong value, a wrong word, and a misspelt key with something behind it.
fn wrong(backend: &Backend) -> Desk {
    Desk::new(
        backend,
        &json!({ "simulated": { "latency_ms": "soon", "fill": "sometimes", "acount_id": SECRET } }),
    )
}

#[track_caller]
fn is_told(said: &str) {
    for part in [
        "QT-P035",
        "`simulated.latency_ms` is \"soon\", and must be",
        "`simulated.fill` is \"sometimes\", and must be one of `immediate`",
        "`simulated.acount_id` is unknown",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains(SECRET), "{said}");
}

#[test]
fn no_host_starts_on_a_block_that_does_not_fit() {
    let backend = Backend::start();
    let desk = wrong(&backend);
    for lane in ["in-process", "worker"] {
        is_told(&desk.fails(2, &["--once", "--lane", lane]));
    }
    // What the plugin makes when it opens, and what the host makes for an account, are both not there.
    assert!(!desk.ledger_path().exists());
    assert!(!desk.path("data/plugin-data").exists());
    assert!(!desk.path("data/journal.db").exists());
    assert_eq!(backend.state()["requests"]["signals"], Value::Null);
}

#[test]
fn commands_that_ask_the_broker_say_so_too() {
    let backend = Backend::start();
    let desk = wrong(&backend);
    for command in ["positions", "summary", "account"] {
        is_told(&desk.fails(2, &[command]));
    }
    assert!(!desk.ledger_path().exists());
}

#[test]
fn the_doctor_finds_it_in_the_block_of_what_is_configured() {
    let backend = Backend::start();
    let desk = wrong(&backend);
    let out = desk.run(&["plugins", "doctor", "simulated"]);
    assert_eq!(out.status.code(), Some(1));
    is_told(&String::from_utf8(out.stdout).unwrap());
    let out = desk.run(&["plugins", "doctor", "simulated", "--json"]);
    let rows: Value = serde_json::from_slice(&out.stdout).unwrap();
    let found: Vec<&Value> = rows[0]["findings"].as_array().unwrap().iter().collect();
    assert_eq!(found.len(), 3, "{rows:#}");
    assert!(
        found.iter().all(|finding| finding["code"] == "QT-P035"),
        "{rows:#}"
    );
    desk.configure(&backend, &json!({}));
    assert!(desk.run(&["plugins", "doctor", "simulated"]).status.success());
}
