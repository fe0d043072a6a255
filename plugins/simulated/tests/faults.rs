//! Each fault does what its option says, and no more.

mod common;

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use common::*;
use qt_plugin_api::{host::Event, *};
use serde_json::json;

fn buy(id: &str) -> OrderRequest {
    order(id, Side::Buy, 100, Some("10"))
}

/// Waits until the condition holds; the bound only ends a test that would fail anyway.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn accepted_silently_is_unknown_and_in_the_ledger() {
    let bench = Bench::new();
    let broker = bench.open(json!({"fault_accept_silently": 1, "answer_after_ms": 5}));
    assert!(matches!(
        broker.place_order(&buy("A")),
        PlaceResult::Unknown { .. }
    ));
    assert_eq!(bench.events(), []);
    assert_eq!((bench.count("accepted"), bench.count("fill")), (1, 1));
    assert_eq!(
        broker.orders_today().expect("orders")[0]
            .client_order_id
            .as_deref(),
        Some("A")
    );
    accepted(broker.place_order(&buy("B")));
    assert_eq!(bench.events().len(), 3);
}

#[test]
fn a_late_answer_is_late() {
    let bench = Bench::new();
    let broker = bench.open(json!({"fault_answer_late_ms": 30, "latency_ms": 10}));
    let start = Instant::now();
    accepted(broker.place_order(&buy("A")));
    assert!(start.elapsed() >= Duration::from_millis(40));
}

#[test]
fn an_answer_that_never_comes_ends_with_close() {
    let bench = Bench::new();
    let broker = Arc::new(bench.open(json!({"fault_never_answer": true})));
    let (into, from) = mpsc::channel();
    let caller = Arc::clone(&broker);
    let thread = std::thread::spawn(move || into.send(caller.place_order(&buy("A"))));
    until("the order is accepted", || {
        broker.orders_today().is_ok_and(|rows| rows.len() == 1)
    });
    assert!(from.try_recv().is_err(), "no answer yet");
    broker.close();
    assert!(matches!(
        from.recv().expect("an answer"),
        PlaceResult::Unknown { .. }
    ));
    thread.join().expect("joins").expect("sent");
}

#[test]
fn a_snapshot_lags_by_its_time() {
    let bench = Bench::new();
    let broker = bench.open(json!({"snapshot_lag_ms": 1000}));
    accepted(broker.place_order(&buy("A")));
    assert_eq!(
        (
            broker.orders_today().expect("orders").len(),
            broker.trades_today().expect("trades").len()
        ),
        (0, 0)
    );
    bench.now_ms.fetch_add(1000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        (
            broker.orders_today().expect("orders").len(),
            broker.trades_today().expect("trades").len()
        ),
        (1, 1)
    );
}

#[test]
fn snapshots_fail_so_many_times() {
    let bench = Bench::new();
    let broker = bench.open(json!({"fault_snapshot_fails": 2}));
    assert!(broker.orders_today().is_err() && broker.account().is_err());
    assert!(broker.orders_today().is_ok());
}

#[test]
fn events_come_twice_reversed_or_not_at_all() {
    let kinds = |fault: &str| {
        let bench = Bench::new();
        accepted(bench.open(json!({ fault: true })).place_order(&buy("A")));
        let kind = |e: &Event| match e {
            Event::Order(row) => format!("{:?}", row.status),
            Event::Trade(_) => "Trade".to_owned(),
            other => format!("{other:?}"),
        };
        (
            bench.events().iter().map(kind).collect::<Vec<_>>(),
            bench.count("fill"),
        )
    };
    let twice = ["Working", "Working", "Trade", "Trade", "Filled", "Filled"];
    assert_eq!(
        kinds("fault_duplicate_events"),
        (twice.map(String::from).to_vec(), 1)
    );
    assert_eq!(
        kinds("fault_reorder_events"),
        (["Filled", "Trade", "Working"].map(String::from).to_vec(), 1)
    );
    assert_eq!(kinds("fault_no_events"), (vec![], 1));
}

#[test]
fn cancels_are_refused_and_then_taken() {
    let bench = Bench::new();
    let broker = bench.open(json!({"fill": "never", "fault_refuse_cancels": 2}));
    accepted(broker.place_order(&buy("A")));
    assert!(matches!(
        broker.cancel_order(&cancel("A")),
        CancelResult::Rejected { .. }
    ));
    assert!(matches!(
        broker.cancel_order(&cancel("A")),
        CancelResult::Rejected { .. }
    ));
    assert_eq!(broker.cancel_order(&cancel("A")), CancelResult::Sent);
    assert_eq!(bench.count("cancelled"), 1);
}

#[test]
fn an_order_fills_while_its_cancel_is_on_the_way() {
    let bench = Bench::new();
    let broker = bench.open(json!({"fill": "never", "fault_fill_during_cancel": true}));
    accepted(broker.place_order(&buy("A")));
    assert_eq!(broker.cancel_order(&cancel("A")), CancelResult::Sent);
    assert_eq!(
        broker.orders_today().expect("orders")[0].status,
        OrderStatus::Filled
    );
    assert_eq!((bench.count("cancelled"), bench.count("fill")), (0, 1));
}

#[test]
fn later_fills_come_from_a_thread_and_after_a_restart_too() {
    let bench = Bench::new();
    let broker = bench.open(json!({"fill_after_ms": 60_000}));
    accepted(broker.place_order(&buy("A")));
    assert_eq!(bench.count("fill"), 0);
    drop(broker);
    let broker = bench.open(json!({"fill_after_ms": 1}));
    until("the fill comes", || {
        broker.trades_today().is_ok_and(|rows| rows.len() == 1)
    });
    until("its events come", || {
        bench.events().iter().any(|e| matches!(e, Event::Trade(_)))
    });
    accepted(broker.place_order(&buy("B")));
    until("the second fill comes", || {
        broker.trades_today().is_ok_and(|rows| rows.len() == 2)
    });
}

#[test]
fn ten_thousand_orders_are_all_in_the_ledger_once() {
    let bench = Bench::new();
    let broker = Arc::new(bench.open(json!({"cash": 100_000_000})));
    let threads: Vec<_> = (0..4)
        .map(|t| {
            let broker = Arc::clone(&broker);
            std::thread::spawn(move || {
                (0..2500).for_each(|i| drop(accepted(broker.place_order(&buy(&format!("{t}-{i}"))))))
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().expect("joins"));
    let ids: std::collections::HashSet<String> = bench
        .ledger()
        .iter()
        .filter(|l| l["event"] == "fill")
        .map(|l| l["fill_id"].to_string())
        .collect();
    assert_eq!((bench.count("accepted"), ids.len()), (10_000, 10_000));
    assert_eq!(bench.events().len(), 30_000);
}
