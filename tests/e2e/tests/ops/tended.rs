//! Poller and reporter end by a fault of their own, and the host goes on.

use std::time::Duration;

use qt_test_support::{Backend, Desk, judge, wait_until};
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
