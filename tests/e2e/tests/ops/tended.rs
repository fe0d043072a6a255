//! Poller and reporter end by a fault of their own, and the host goes on; an engine does, and what keeps the host starts it again.

use std::time::Duration;

use qt_test_support::{Backend, Desk, PATIENCE, judge, wait_until};
use serde_json::{Value, json};

#[test]
fn a_poller_and_a_reporter_that_panic_begin_anew_and_nothing_is_lost_or_told_twice() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let signals: Vec<Value> = (1..=20)
        .map(|number| {
            json!({ "order_id": format!("S{number}"), "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 })
        })
        .collect();
    backend.add(&json!(signals[..10]));
    let mut host = desk.host("poll=3*off->1*panic->off;report=9*off->1*panic->off");
    host.trades();
    for what in ["poller", "reporter"] {
        let line = format!("the {what} has ended by a fault of its own and begins anew");
        wait_until(&format!("{what}: {}", desk.log()), || desk.log().contains(&line));
    }
    backend.add(&json!(signals[10..]));
    wait_until(&format!("all are executed: {}", desk.log()), || {
        backend.summary()["counts"]["concluded"].as_u64() == Some(20)
    });
    assert!(!host.dies_within(Duration::ZERO));
    assert_eq!(host.stop(), Some(0));
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
    assert_eq!(desk.accepted(), 20);
}

fn signals(account: Option<&str>, numbers: std::ops::RangeInclusive<u32>) -> Value {
    let one = |number: u32| {
        let mut one = json!({ "order_id": format!("S{number}"), "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 });
        if let Some(account) = account {
            one["securities_account_id"] = json!(account);
        }
        one
    };
    numbers.map(one).collect()
}

/// Where no watchdog looks, a host whose engine was dead lived on for ever, and nothing traded.
#[test]
fn a_host_whose_only_engine_has_ended_by_a_fault_of_its_own_ends_with_1_and_the_next_one_goes_on() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let mut host = desk.host("after-commit=6*off->panic");
    host.trades();
    backend.add(&signals(None, 1..=30));
    assert!(host.dies_within(PATIENCE), "{}", desk.log());
    assert_eq!(host.stop(), Some(1));
    let log = desk.log();
    assert!(
        log.contains("the engine has ended by a fault of its own"),
        "{log}"
    );
    assert!(
        log.contains("every engine has ended by a fault of its own"),
        "{log}"
    );
    let host = desk.trading();
    wait_until(&format!("all are executed: {}", desk.log()), || {
        backend.summary()["counts"]["concluded"].as_u64() == Some(30)
    });
    assert_eq!(host.stop(), Some(0));
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
}

/// One account's fault must not end the others.
#[test]
fn a_host_of_which_one_engine_has_ended_goes_on_with_the_other() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let account = |id: &str| {
        json!({ "securities_account_id": id, "broker": "simulated",
                "simulated": { "cash": 1_000_000, "ledger": desk.path(&format!("{id}.jsonl")) } })
    };
    desk.configure(
        &backend,
        &json!({ "accounts": [account("SA-1"), account("SA-2")], "simulated": null,
                 "execution": { "position_sync_interval_seconds": 0 } }),
    );
    let mut host = desk.host("after-commit=6*off->1*panic->off");
    host.trades();
    for (account, numbers) in [("SA-1", 1..=10), ("SA-2", 11..=20)] {
        backend.add(&signals(Some(account), numbers));
    }
    wait_until(&format!("one has ended: {}", desk.log()), || {
        desk.log().contains("the engine has ended by a fault of its own")
    });
    for (account, numbers) in [("SA-1", 21..=25), ("SA-2", 26..=30)] {
        backend.add(&signals(Some(account), numbers));
    }
    wait_until(&format!("the other one trades: {}", desk.log()), || {
        backend.summary()["counts"]["concluded"].as_u64() >= Some(15)
    });
    assert!(!host.dies_within(Duration::ZERO), "{}", desk.log());
    assert!(!desk.log().contains("every engine has ended"), "{}", desk.log());
    assert_eq!(host.stop(), Some(0));
}
