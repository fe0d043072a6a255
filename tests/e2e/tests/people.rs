//! What people do: decide, halt, cancel, mend reports; and what a lost journal leaves to do.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use qt_test_support::{Backend, Desk, PATIENCE, judge, wait_until};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(86_400);

fn signal(id: &str) -> Value {
    json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 })
}

fn bodies(backend: &Backend, id: &str) -> Vec<Value> {
    let state = backend.state();
    let posts = state["signals"][id]["posts"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    posts.iter().map(|post| post["body"].clone()).collect()
}

fn was_told(backend: &Backend, id: &str, status: &str) -> bool {
    bodies(backend, id).iter().any(|body| body["status"] == status)
}

fn order(desk: &Desk, id: &str) -> Value {
    let orders = desk.json(&["orders", "--since", "2000-01-01"]);
    let found = orders
        .as_array()
        .unwrap()
        .iter()
        .find(|order| order["signal"] == id);
    found.cloned().unwrap_or(Value::Null)
}

fn wait_for_state(desk: &Desk, id: &str, state: &str) {
    wait_until(&format!("{id} is {state}: {}", desk.log()), || {
        order(desk, id)["state"] == state
    });
}

/// A desk with one order that nobody but a person can decide; the host is down.
fn desk_with_review(backend: &Backend, failpoint: &str) -> Desk {
    let mut desk = Desk::new(backend, &json!({}));
    backend.add(&signal("S1"));
    let mut host = desk.host(failpoint);
    assert!(host.dies_within(PATIENCE), "{}", desk.log());
    desk.let_pass(DAY);
    let host = desk.trading();
    wait_for_state(&desk, "S1", "REVIEW");
    assert_eq!(host.stop(), Some(0));
    desk
}

#[test]
fn a_review_is_listed_and_decided_as_accepted_without_a_host() {
    let backend = Backend::start();
    let desk = desk_with_review(&backend, "sim-after-ledger=return");
    let broker_id = desk.ledger()[0]["broker_order_id"].as_str().unwrap().to_owned();
    let listed = desk.json(&["orders", "--review"]);
    assert_eq!(listed[0]["signal"], "S1");
    assert!(desk.done(&["orders", "--review"]).contains("REVIEW"));

    // Nobody is there to confirm; a decision that says nothing; an order that nobody knows.
    let accepted = format!("accepted:{broker_id}");
    let said = desk.fails(2, &["orders", "resolve", "S1", "--as", &accepted]);
    assert!(said.contains("--yes"), "{said}");
    let said = desk.fails(2, &["orders", "resolve", "S1", "--as", "accepted:", "--yes"]);
    assert!(said.contains("accepted:BROKER_ID or not-accepted"), "{said}");
    let said = desk.fails(1, &["orders", "resolve", "S9", "--as", "not-accepted", "--yes"]);
    assert!(said.contains("no order `S9`"), "{said}");
    assert_eq!(order(&desk, "S1")["state"], "REVIEW");

    let said = desk.done(&["orders", "resolve", "S1", "--as", &accepted, "--yes"]);
    assert!(said.contains(&broker_id), "{said}");
    assert_eq!(order(&desk, "S1")["broker_order_id"], broker_id);
    assert_ne!(order(&desk, "S1")["state"], "REVIEW");
    assert!(
        desk.done(&["orders", "--review"])
            .contains("nothing waits for a person")
    );
    // It is in the journal, and it is decided once.
    assert!(desk.done(&["journal", "show", "S1"]).contains("Decided"));
    let said = desk.fails(1, &["orders", "resolve", "S1", "--as", "not-accepted", "--yes"]);
    assert!(said.contains("nothing for a person to decide"), "{said}");
    let host = desk.trading();
    wait_until("the backend is told", || !bodies(&backend, "S1").is_empty());
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.accepted(), 1, "it was sent again");
}

#[test]
fn a_review_is_decided_as_not_accepted_beside_a_running_host_and_may_be_tried_again() {
    let backend = Backend::start();
    let desk = desk_with_review(&backend, "sim-before-ledger=return");
    let host = desk.trading();
    let answer = desk.json(&["orders", "resolve", "S1", "--as", "not-accepted", "--yes"]);
    assert_eq!(answer["done"], true);
    wait_until("the backend is told", || {
        was_told(&backend, "S1", "retry_pending")
    });
    // The backend shows it again as its next attempt, and that is one order.
    wait_until("the next attempt is filled", || {
        was_told(&backend, "S1", "filled")
    });
    assert_eq!(desk.accepted(), 1);
    assert_eq!(host.stop(), Some(0));
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
}

#[test]
fn a_halt_can_cancel_what_is_open_and_lasts_over_kills_until_it_is_lifted() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "simulated": { "fill": "never" } }));
    let mut host = desk.trading();
    backend.add(&json!([signal("A"), signal("B")]));
    wait_for_state(&desk, "A", "WORKING");
    wait_for_state(&desk, "B", "WORKING");
    let said = desk.done(&["halt", "--reason", "news", "--cancel-open"]);
    assert!(said.contains("news") && said.contains("2 open orders"), "{said}");
    wait_until("both ends are told", || {
        was_told(&backend, "A", "cancelled") && was_told(&backend, "B", "cancelled")
    });
    backend.add(&signal("C"));
    host.kill();
    for _ in 0..2 {
        let mut host = desk.trading();
        wait_until("signals were fetched", || {
            desk.log()
                .rsplit("quantTrader started")
                .next()
                .unwrap()
                .contains("Fetched")
        });
        assert_eq!(desk.accepted(), 2, "an order in spite of the halt");
        host.kill();
    }
    // Lifted while no host runs.
    assert!(desk.done(&["resume"]).contains("news"));
    assert!(desk.done(&["resume"]).contains("was not halted"));
    let host = desk.trading();
    wait_for_state(&desk, "C", "WORKING");
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.accepted(), 3);
}

#[test]
fn cancel_all_cancels_every_open_order_and_needs_a_running_host() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "simulated": { "fill": "partial" } }));
    let host = desk.trading();
    let mut large = signal("LARGE");
    large["size"] = json!(400);
    backend.add(&json!([large, { "order_id": "FAR", "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 40 }]));
    wait_for_state(&desk, "LARGE", "PARTIALLY_FILLED");
    wait_for_state(&desk, "FAR", "WORKING");
    let answer = desk.json(&["cancel", "--all"]);
    assert!(
        answer["text"].as_str().unwrap().contains("2 open orders"),
        "{answer}"
    );
    wait_for_state(&desk, "LARGE", "PARTIALLY_CANCELLED");
    wait_for_state(&desk, "FAR", "CANCELLED");
    assert!(desk.done(&["cancel", "--all"]).contains("0 open orders"));
    let said = desk.fails(1, &["cancel", "FAR"]);
    assert!(said.contains("CANCELLED already"), "{said}");
    let said = desk.fails(2, &["cancel"]);
    assert!(said.contains("--all") || said.contains("ORDER"), "{said}");
    wait_until("the ends are told", || backend.state()["counts"]["ended"] == 2);
    assert_eq!(host.stop(), Some(0));
    let said = desk.fails(1, &["cancel", "--all"]);
    assert!(said.contains("start it, then cancel"), "{said}");
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
}

fn bodies_that_are_none_change_nothing(desk: &Desk, file: &std::path::Path, id: &str) {
    let path = file.to_str().unwrap();
    for (text, word) in [("not json", "not JSON"), ("[1]", "no object")] {
        std::fs::write(file, text).unwrap();
        let said = desk.fails(2, &["reports", "retry", id, "--body", path]);
        assert!(said.contains(word) && said.contains("body.json"), "{said}");
    }
    let said = desk.fails(2, &["reports", "retry", id, "--body", "/nowhere/body.json"]);
    assert!(said.contains("/nowhere/body.json"), "{said}");
    assert_eq!(desk.json(&["reports", "show", id])["state"], "dead");
}

#[test]
fn a_dead_letter_is_shown_edited_and_resent_or_dropped() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    backend.fault(&json!({ "mode": "refuse", "path": "/executions", "requests": 2 }));
    backend.add(&json!([signal("A"), signal("B")]));
    let host = desk.trading();
    let dead = || desk.json(&["reports", "list"]);
    wait_until("both are dead letters", || {
        dead()
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["state"] == "dead")
            .count()
            == 2
    });
    let id_of = |signal: &str| {
        let rows = dead();
        let row = rows
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["signal"] == signal);
        row.unwrap()["id"].to_string()
    };
    let (a, b) = (id_of("A"), id_of("B"));
    let shown = desk.done(&["reports", "show", &a]);
    assert!(
        shown.contains("422") && shown.contains("\"filled_size\":100") && shown.contains("/executions"),
        "{shown}"
    );

    let file = desk.path("body.json");
    let path = file.to_str().unwrap();
    bodies_that_are_none_change_nothing(&desk, &file, &a);
    let mut body = desk.json(&["reports", "show", &a])["body"].clone();
    body["strategy"] = json!("mended by hand");
    std::fs::write(&file, body.to_string()).unwrap();
    desk.done(&["reports", "retry", &a, "--body", path]);
    wait_until("the edited body is there", || {
        bodies(&backend, "A")
            .iter()
            .any(|body| body["strategy"] == "mended by hand")
    });
    desk.done(&["reports", "drop", &b]);
    wait_until("nothing is left", || dead().as_array().unwrap().is_empty());
    let all = desk.json(&["reports", "list", "--all"]);
    let state = |id: &str| {
        let row = all
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["id"].as_i64() == id.parse().ok());
        row.unwrap()["state"].clone()
    };
    assert_eq!((state(&a), state(&b)), (json!("delivered"), json!("dropped")));
    for id in [&a, &b] {
        let said = desk.fails(1, &["reports", "retry", id]);
        assert!(said.contains("not a dead letter"), "{said}");
    }
    let said = desk.fails(1, &["reports", "show", "999999"]);
    assert!(said.contains("no report 999999"), "{said}");
    assert_eq!(host.stop(), Some(0));
    // What was dropped stays so.
    assert_eq!(desk.trading().stop(), Some(0));
    assert!(
        bodies(&backend, "B")
            .iter()
            .all(|body| body["status"] != "filled"),
        "a dropped report was sent"
    );
}

#[test]
fn a_dead_letter_is_resent_without_a_host_and_goes_out_at_the_next_start() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    backend.fault(&json!({ "mode": "refuse", "path": "/executions", "requests": 1 }));
    backend.add(&signal("A"));
    let host = desk.trading();
    wait_until("it is a dead letter", || {
        desk.json(&["reports", "list"])
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["state"] == "dead")
    });
    assert_eq!(host.stop(), Some(0));
    desk.done(&["reports", "retry", "--all"]);
    assert!(!was_told(&backend, "A", "filled"));
    let host = desk.trading();
    wait_until("it is told", || was_told(&backend, "A", "filled"));
    assert_eq!(host.stop(), Some(0));
    let executions = bodies(&backend, "A")
        .iter()
        .filter(|body| body["status"] == "filled")
        .count();
    assert_eq!(executions, 1);
}

/// The journal is lost, the backend holds the signal as submitted, the broker has the order: it is taken up.
#[test]
fn a_submitted_signal_is_taken_up_from_the_broker_when_the_journal_is_lost() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "simulated": { "fill": "never" } }));
    backend.add(&signal("S1"));
    let host = desk.trading();
    wait_until("S1 is submitted", || was_told(&backend, "S1", "submitted"));
    let before = order(&desk, "S1");
    assert_eq!(host.stop(), Some(0));
    std::fs::remove_dir_all(desk.path("data")).unwrap();
    let host = desk.trading();
    wait_for_state(&desk, "S1", "WORKING");
    let after = order(&desk, "S1");
    assert_eq!(after["order"], before["order"]);
    assert_eq!(after["broker_order_id"], before["broker_order_id"]);
    desk.done(&["cancel", "S1"]);
    wait_until("its end is told", || was_told(&backend, "S1", "cancelled"));
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.accepted(), 1, "a second order");
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
}

/// The journal is lost and the broker does not show the order: absence proves nothing, a person decides.
#[test]
fn a_submitted_signal_that_the_broker_does_not_show_is_left_to_a_person() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "simulated": { "fill": "never" } }));
    backend.add(&signal("S1"));
    let host = desk.trading();
    wait_until("S1 is submitted", || was_told(&backend, "S1", "submitted"));
    assert_eq!(host.stop(), Some(0));
    std::fs::remove_dir_all(desk.path("data")).unwrap();
    std::fs::rename(desk.ledger_path(), desk.path("yesterdays-ledger.jsonl")).unwrap();
    let host = desk.trading();
    wait_for_state(&desk, "S1", "REVIEW");
    assert_eq!(desk.accepted(), 0, "it was sent again");
    assert_eq!(host.stop(), Some(0));
}
