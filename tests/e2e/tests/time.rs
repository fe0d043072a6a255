//! Days and clocks: an order overnight, a clock that jumps.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use qt_test_support::{Backend, Desk, judge, wait_until};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(86_400);

fn signal(id: &str) -> Value {
    json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 })
}

fn statuses(backend: &Backend, id: &str) -> Vec<String> {
    let state = backend.state();
    let posts = state["signals"][id]["posts"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    posts
        .iter()
        .filter_map(|post| post["body"]["status"].as_str().map(str::to_owned))
        .collect()
}

fn state_of(desk: &Desk, id: &str) -> String {
    let orders = desk.json(&["orders", "--since", "2000-01-01"]);
    let found = orders
        .as_array()
        .unwrap()
        .iter()
        .find(|order| order["signal"] == id);
    found.map_or_else(String::new, |order| order["state"].as_str().unwrap().to_owned())
}

/// K12, for each way in which the day before can end: killed within the call, with the order at the broker or not,
/// and killed after the call came back without an answer.
#[test]
fn an_unknown_order_overnight_goes_before_a_person_and_is_never_sent_again() {
    let slow = json!({ "unknown_settle_seconds": 3600, "unknown_poll_seconds": 3600, "reconcile_interval_seconds": 3600 });
    for failpoint in [
        "sim-after-ledger=return",
        "sim-before-ledger=return",
        "after-call=return",
    ] {
        let backend = Backend::start();
        // An event that came before the end would tell what became of it.
        let silent = json!({ "fault_no_events": true });
        let mut desk = Desk::new(&backend, &json!({ "execution": slow, "simulated": silent }));
        backend.add(&signal("S1"));
        let mut host = desk.host(failpoint);
        assert!(host.dies_within(qt_test_support::PATIENCE), "{}", desk.log());
        let accepted = desk.accepted();

        desk.let_pass(DAY);
        desk.configure(&backend, &json!({}));
        let host = desk.trading();
        wait_until(
            &format!("{failpoint}: S1 is before a person: {}", desk.log()),
            || state_of(&desk, "S1") == "REVIEW",
        );
        assert!(desk.log().contains("needs a person"), "{}", desk.log());
        backend.add(&signal("S2"));
        wait_until("S2 is filled", || {
            statuses(&backend, "S2").contains(&"filled".to_owned())
        });
        assert_eq!(desk.accepted(), accepted + 1, "{failpoint}: S1 was sent again");
        let waiting = desk.json(&["orders", "--review"]);
        assert_eq!(waiting.as_array().unwrap().len(), 1, "{waiting}");
        assert!(
            waiting[0]["reason"].as_str().unwrap().contains("day"),
            "{waiting}"
        );
        assert_eq!(host.stop(), Some(0));
        // A week and a restart later it still waits.
        desk.let_pass(7 * DAY);
        assert_eq!(desk.trading().stop(), Some(0));
        assert_eq!(state_of(&desk, "S1"), "REVIEW");
        assert_eq!(desk.accepted(), accepted + 1);
    }
}

/// K15, ahead: it is told, in the journal, and trading goes on.
#[test]
fn a_clock_that_jumps_ahead_is_noticed_and_written_down() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    desk.set_clock(0);
    let host = desk.trading();
    desk.set_clock(1_800_000);
    wait_until("the jump is in the log", || {
        desk.log().contains("the clock is 1800 s further on")
    });
    backend.add(&signal("S1"));
    wait_until("S1 is filled", || {
        statuses(&backend, "S1").contains(&"filled".to_owned())
    });
    assert_eq!(host.stop(), Some(0));
    let facts = desk.done(&["journal", "export", "-"]);
    assert_eq!(facts.matches("ClockJumped").count(), 1, "{facts}");
    assert_eq!(desk.json(&["journal", "verify"])["whole"], true);
}

/// K15, back: timers go on. They would stand still for as long as the clock was set back.
#[test]
fn a_clock_that_is_set_back_stops_no_timer_and_a_restart_goes_on_from_there() {
    let backend = Backend::start();
    let quick = json!({ "buy_order_timeout_seconds": 0.5, "cancel_retry_grace_seconds": 0.2, "cancel_retry_interval_seconds": 0.2 });
    let desk = Desk::new(
        &backend,
        &json!({ "simulated": { "fill": "never" }, "execution": quick }),
    );
    desk.set_clock(0);
    let host = desk.trading();
    desk.set_clock(-7_200_000);
    wait_until("the jump is in the log", || {
        desk.log()
            .lines()
            .any(|line| line.contains("[CRITICAL]") && line.contains("set back by 7200 s"))
    });
    backend.add(&signal("S1"));
    wait_until("S1 expires", || {
        statuses(&backend, "S1").contains(&"cancelled".to_owned())
    });
    // A command is not taken for one of two hours ago.
    desk.done(&["halt", "--reason", "the clock is wrong"]);
    desk.done(&["resume"]);
    assert_eq!(host.stop(), Some(0));
    // The journal knows later moments than the clock.
    let host = desk.trading();
    assert!(
        desk.log().contains("behind the last moment in the journal"),
        "{}",
        desk.log()
    );
    backend.add(&signal("S2"));
    wait_until("S2 expires", || {
        statuses(&backend, "S2").contains(&"cancelled".to_owned())
    });
    assert_eq!(host.stop(), Some(0));
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
}

/// K15, with an outcome that is unknown: the time that the clock skipped proves nothing.
#[test]
fn a_jump_is_no_time_over_which_absence_was_seen() {
    let backend = Backend::start();
    let settle = json!({ "unknown_settle_seconds": 3000, "unknown_poll_seconds": 0.05 });
    let desk = Desk::new(&backend, &json!({ "execution": settle }));
    desk.set_clock(0);
    backend.add(&signal("S1"));
    let mut host = desk.host("sim-before-ledger=return");
    assert!(host.dies_within(qt_test_support::PATIENCE), "{}", desk.log());
    let host = desk.trading();
    wait_until("S1 is unknown", || state_of(&desk, "S1") == "UNKNOWN");
    desk.set_clock(3_100_000);
    wait_until("the jump is in the journal", || {
        desk.done(&["journal", "export", "-"]).contains("ClockJumped")
    });
    // More complete lists than are asked for, all after the jump.
    let lists = || {
        desk.done(&["journal", "export", "-"])
            .matches("Reconciled")
            .count()
    };
    let before = lists();
    wait_until("the books were compared again", || lists() > before + 3);
    assert_eq!(state_of(&desk, "S1"), "UNKNOWN");
    assert_eq!(desk.accepted(), 0);
    assert_eq!(host.stop(), Some(0));
}
