//! A disk without room: what happened is kept, is told by nobody, and comes when there is room again.
#![cfg(feature = "failpoints")]

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering};

use common::*;
use qt_plugin_api::{host::Event, *};
use serde_json::json;

const FULL: &str = "sim-ledger-full";

/// The points are the process's, so that one test has them at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn trades_told(bench: &Bench) -> usize {
    let events = bench.events();
    events
        .iter()
        .filter(|event| matches!(event, Event::Trade(_)))
        .count()
}

#[test]
fn a_fill_that_cannot_be_written_is_not_lost() {
    let _alone = alone();
    let bench = Bench::new();
    // 2026-11-24 09:31:10 in Shanghai.
    bench.now_ms.store(1_795_483_870_000, Ordering::SeqCst);
    let bars = "time,symbol,open,high,low,close,volume,previous_close\n\
        2026-11-24 09:31,000858.SZ,150,150.5,149.5,150,40000,150\n\
        2026-11-24 09:32,000858.SZ,150,150,149,149,8000,150\n\
        2026-11-24 09:33,000858.SZ,149,149,148,148,8000,150\n";
    std::fs::write(bench.dir.path().join("bars.csv"), bars).expect("quotes");
    let broker = bench.open(json!({
        "cash": 1_000_000, "positions": held(), "fill": "exchange",
        "exchange": {"quotes": "bars.csv", "participation_pct": 100, "session_from": "2026-11-24T09:31:10"}
    }));
    accepted(broker.place_order(&order("A", Side::Buy, 6_000, Some("149.50"))));

    fail::cfg(FULL, "return").expect("the point");
    bench.now_ms.fetch_add(60_000, Ordering::SeqCst);
    let row = &broker.orders_today().expect("orders")[0];
    assert_eq!((row.status, row.filled_quantity), (OrderStatus::Working, 0));
    assert_eq!((trades_told(&bench), bench.count("fill")), (0, 0));
    let why = reason(broker.place_order(&order("B", Side::Buy, 100, Some("149"))));
    assert!(why.contains("wait for the ledger"), "{why}");
    match broker.cancel_order(&cancel("A")) {
        CancelResult::Rejected { reason } => assert!(reason.contains("wait for the ledger"), "{reason}"),
        other => panic!("a cancel of what has traded: {other:?}"),
    }

    fail::remove(FULL);
    let row = &broker.orders_today().expect("orders")[0];
    assert!(row.filled_quantity > 0, "the fill is lost: {row:?}");
    let filled: u64 = broker
        .trades_today()
        .expect("trades")
        .iter()
        .map(|trade| trade.quantity)
        .sum();
    assert_eq!(filled, row.filled_quantity);
    assert_eq!(bench.count("fill"), trades_told(&bench));
    let held = &broker.positions().expect("positions")[0];
    assert_eq!(held.quantity, 1_000 + filled);
    assert_eq!((bench.count("accepted"), bench.count("cancelled")), (1, 0));
}

#[test]
fn a_fill_at_once_that_cannot_be_written_comes_later_and_once() {
    let _alone = alone();
    let bench = Bench::new();
    let broker = bench.open(json!({"positions": held()}));
    // There is room for the acceptance, and none for the fill.
    fail::cfg(FULL, "1*off->return").expect("the point");
    accepted(broker.place_order(&order("A", Side::Buy, 100, Some("151"))));
    assert_eq!(
        broker.orders_today().expect("orders")[0].status,
        OrderStatus::Working
    );
    assert_eq!((trades_told(&bench), bench.count("fill")), (0, 0));
    fail::remove(FULL);
    for _ in 0..2 {
        assert_eq!(
            broker.orders_today().expect("orders")[0].status,
            OrderStatus::Filled
        );
        assert_eq!((trades_told(&bench), bench.count("fill")), (1, 1));
    }
}
