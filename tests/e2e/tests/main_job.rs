//! The main job, with the real binary and the real plugin.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use qt_test_support::{Backend, Desk, judge, wait_until};
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

/// The first answer of all holds what the backend has as submitted, and is no round yet.
#[test]
fn once_does_not_end_before_it_has_asked_for_pending_signals() {
    let backend = Backend::start();
    for round in 0..5 {
        let desk = Desk::new(&backend, &json!({ "data_dir": "own" }));
        let id = format!("ONCE-{round}");
        backend.add(&signal(&id));
        let out = desk.run(&["--once"]);
        assert_eq!(
            out.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        assert_eq!(
            posts(&backend.state(), &id),
            3,
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}
