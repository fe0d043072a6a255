//! The main job and what bad input gets, with the real binary and the real plugin.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

use qt_test_support::{Backend, Desk, judge, plugin, qt_host, wait_until};
use serde_json::{Value, json};

fn signal(id: &str) -> Value {
    json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5, "status": "pending",
            "is_executable": true, "mode": "live" })
}

fn posts(state: &Value, id: &str) -> usize {
    state["signals"][id]["posts"].as_array().map_or(0, Vec::len)
}

#[test]
fn signals_become_orders_and_reports_and_a_stop_ends_well() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let host = desk.host("");
    backend.add(&signal("S1"));
    wait_until("S1 is reported", || posts(&backend.state(), "S1") == 3);
    backend.add(&signal("S2"));
    wait_until("S2 is reported", || posts(&backend.state(), "S2") == 3);
    assert_eq!(host.stop(), Some(0));
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
    for line in [
        "quantTrader started. API=http://",
        "Fetched 1 pending signals",
        "Reported execution for order_id=S1",
        "Log file: ",
    ] {
        assert!(
            desk.log().contains(line),
            "{line} is not in the log:\n{}",
            desk.log()
        );
    }
    assert!(!desk.log().contains(&backend.token));
}

#[test]
fn a_second_host_on_one_data_folder_is_told_who_has_it() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let _first = desk.host("");
    wait_until("the first trades", || desk.log().contains("quantTrader started"));
    let second = desk.run(&[]);
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        said.contains("another qt-host already trades") && said.contains("process "),
        "{said}"
    );
}

#[test]
fn a_halt_stops_new_orders_over_a_restart_until_it_is_lifted() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let host = desk.host("");
    wait_until("it trades", || desk.log().contains("quantTrader started"));
    assert!(desk.run(&["halt", "--reason", "lunch"]).status.success());
    assert_eq!(host.stop(), Some(0));
    backend.add(&signal("S1"));
    let host = desk.host("");
    wait_until("the signal was seen", || {
        desk.log().contains("Fetched 1 pending signals")
    });
    assert!(
        desk.ledger().iter().all(|line| line["event"] != "accepted"),
        "an order in spite of the halt"
    );
    assert!(desk.run(&["resume"]).status.success());
    wait_until("S1 is reported", || posts(&backend.state(), "S1") == 3);
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn an_open_order_is_cancelled_on_request_and_so_reported() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "simulated": { "fill": "never" } }));
    let host = desk.host("");
    backend.add(&signal("S1"));
    wait_until("S1 is submitted", || posts(&backend.state(), "S1") == 1);
    let said = desk.run(&["cancel", "S1"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    wait_until("the end is reported", || {
        let state = backend.state();
        state["signals"]["S1"]["posts"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|post| post["body"]["status"] == "cancelled")
    });
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_dead_letter_is_listed_mended_and_sent_again() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    backend.fault(&json!({ "mode": "refuse", "path": "/executions", "requests": 1 }));
    let host = desk.host("");
    backend.add(&signal("S1"));
    let list = || -> Value {
        serde_json::from_slice(&desk.run(&["reports", "list", "--json"]).stdout).unwrap_or(Value::Null)
    };
    wait_until("it is a dead letter", || {
        list()
            .as_array()
            .is_some_and(|rows| rows.iter().any(|row| row["state"] == "dead"))
    });
    let id = list()[0]["id"].to_string();
    assert!(desk.run(&["reports", "retry", &id]).status.success());
    wait_until("all is told", || posts(&backend.state(), "S1") == 3);
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_journal_with_a_flipped_byte_stops_with_4_and_a_cut_tail_loses_only_the_last_write() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let mut host = desk.host("");
    backend.add(&Value::Array((0..50).map(|n| signal(&format!("S{n}"))).collect()));
    wait_until("all is reported", || {
        (0..50).all(|n| posts(&backend.state(), &format!("S{n}")) == 3)
    });
    host.kill();
    let wal = desk.path("data/journal.db-wal");
    let bytes = std::fs::read(&wal).unwrap();
    assert!(bytes.len() > 8192, "the test needs a tail to cut");
    std::fs::write(&wal, &bytes[..bytes.len() - 100]).unwrap();
    let verified = desk.run(&["journal", "verify"]);
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    // A clean end brings everything into the main file; then one byte of a commit is flipped.
    assert_eq!(desk.host("").stop(), Some(0));
    let main = desk.path("data/journal.db");
    let mut bytes = std::fs::read(&main).unwrap();
    let needle = b"\"Signals\"";
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    // SQLite leaves stale copies in its pages, which nobody reads: every copy is flipped.
    for at in places {
        bytes[at + 1] ^= 0x20;
    }
    std::fs::write(&main, bytes).unwrap();
    let verified = desk.run(&["journal", "verify"]);
    assert_eq!(
        verified.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
    assert!(String::from_utf8_lossy(&verified.stderr).contains("journal export"));
}

#[test]
fn a_list_of_good_and_bad_plugins_names_both_and_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(plugin("simulated")).unwrap();
    let ending = std::env::consts::DLL_SUFFIX;
    std::fs::write(folder.path().join(format!("good{ending}")), &whole).unwrap();
    std::fs::write(folder.path().join(format!("text{ending}")), "not a library").unwrap();
    std::fs::write(
        folder.path().join(format!("cut{ending}")),
        &whole[..whole.len() / 3],
    )
    .unwrap();
    let home = folder.path().join("home");
    let out = Command::new(qt_host())
        .args(["plugins", "list", "--json", "--plugin-dir"])
        .arg(folder.path())
        .arg("--data-dir")
        .arg(home)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0));
    let rows: Value = serde_json::from_slice(&out.stdout).unwrap();
    let own: Vec<&Value> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| {
            row["path"]
                .as_str()
                .unwrap()
                .starts_with(folder.path().to_str().unwrap())
        })
        .collect();
    let count = |state: &str| own.iter().filter(|row| row["state"] == state).count();
    assert_eq!((count("usable"), count("refused")), (1, 2), "{own:#?}");
    assert!(
        own.iter()
            .filter(|row| row["state"] == "refused")
            .all(|row| row["code"].as_str().unwrap().starts_with("QT-P"))
    );
}

#[test]
fn what_cannot_start_says_so_with_its_exit_code_and_sends_no_order() {
    let backend = Backend::start();
    backend.add(&signal("S1"));
    for (more, code, word) in [
        (json!({ "broker": "simulatd" }), 3, "simulated"),
        (json!({ "broker": "miniqmt" }), 1, "not available"),
        (json!({ "plugins": ["/nowhere/libx.so"] }), 3, "/nowhere/libx.so"),
        (json!({ "api_token": 12345 }), 2, "api_token"),
        (json!({ "poll_interval": -1 }), 2, "poll_interval"),
        (json!({ "data_dir": "/proc/nowhere" }), 2, "/proc/nowhere"),
    ] {
        let desk = Desk::new(&backend, &more);
        let out = desk.run(&[]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{more}: {said}");
        assert!(said.contains(word) && !said.contains("12345"), "{more}: {said}");
        assert!(desk.ledger().iter().all(|line| line["event"] != "accepted"));
    }
}
