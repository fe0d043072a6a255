//! Ended orders are packed in memory, and nothing is different for it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use qt_core::{BrokerOrderStatus, Event, OrderState, Snapshot, reconcile};
use support::{Desk, buy};

fn ended() -> Desk {
    let mut desk = Desk::open();
    desk.signals(vec![buy("S1", 300)]);
    desk.accept("S1", "B1");
    desk.fill("S1", "B1", "T1", 100, "43.2100");
    let row = qt_core::BrokerOrder {
        id: Some(desk.order("S1").id),
        broker_order_id: "B1".into(),
        symbol: desk.order("S1").signal.symbol,
        side: desk.order("S1").signal.side,
        size: 300,
        status: BrokerOrderStatus::Cancelled,
        filled: 100,
        reason: Some("cancelled by the exchange".into()),
    };
    desk.take(Event::OrderSeen(row));
    assert_eq!(desk.state("S1"), OrderState::PartiallyCancelled);
    desk
}

#[test]
fn packing_changes_neither_the_order_nor_the_digest() {
    let mut desk = ended();
    let before = desk.order("S1").into_owned();
    let digest = desk.trader.digest();
    assert_eq!(*desk.order("S1"), before);
    assert_eq!(desk.trader.digest(), digest);
    // The scale of a price is part of it: what a journal says stays what was said.
    assert_eq!(desk.order("S1").fills[0].price.to_string(), "43.2100");
}

#[test]
fn a_late_fill_is_booked_on_a_packed_order_with_an_alarm() {
    let mut desk = ended();
    let digest = desk.trader.digest();
    desk.alarms.clear();
    desk.fill("S1", "B1", "T2", 100, "43.3");
    assert_eq!(desk.alarms, ["FILL_AFTER_END"]);
    assert_eq!(desk.order("S1").filled(), 200);
    assert_ne!(desk.trader.digest(), digest);
    // And once more, now that it is packed again: known trades bring nothing.
    desk.fill("S1", "B1", "T2", 100, "43.3");
    assert_eq!(desk.order("S1").filled(), 200);
}

#[test]
fn a_snapshot_of_packed_orders_brings_only_what_is_new() {
    let mut desk = ended();
    desk.trader.digest();
    let order = desk.order("S1").into_owned();
    let row = qt_core::BrokerOrder {
        id: None,
        broker_order_id: "B1".into(),
        symbol: order.signal.symbol,
        side: order.signal.side,
        size: 300,
        status: BrokerOrderStatus::Cancelled,
        filled: 100,
        reason: None,
    };
    let trade = |name: &str| qt_core::BrokerFill {
        fill_id: qt_core::FillId(name.into()),
        id: None,
        broker_order_id: "B1".into(),
        symbol: order.signal.symbol,
        side: order.signal.side,
        size: 100,
        price: "43.21".parse().unwrap(),
        commission: None,
        stamp_tax: None,
        transfer_fee: None,
        at: desk.now,
    };
    let snapshot = Snapshot {
        asked_at: desk.now,
        orders: vec![row],
        fills: vec![trade("T1"), trade("T9")],
    };
    let events = reconcile::diff(&desk.trader, &snapshot);
    let fills: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::FillSeen(fill) => Some(fill.fill_id.0.as_str()),
            Event::OrderSeen(row) => panic!("{row:?} tells nothing new"),
            _ => None,
        })
        .collect();
    assert_eq!(fills, ["T9"]);
}

#[test]
fn a_packed_order_is_never_taken_again() {
    let mut desk = ended();
    desk.trader.digest();
    let mut again = buy("S1", 300);
    assert!(desk.signals(vec![again.clone()]).is_empty());
    again.retry_count = 1;
    assert!(desk.signals(vec![again]).is_empty());
}
