//! Trades, cancels and ends.

use qt_core::{Event, ExecutionStatus, OrderState, ReportBody};

use crate::support::{Desk, SECOND, buy, sell};

#[test]
fn an_order_is_cancelled_at_its_time_and_again_until_the_broker_shows_an_end() {
    let mut desk = Desk::open();
    desk.signals(vec![sell("S1", 300)]);
    desk.accept("S1", "B1");
    desk.fill("S1", "B1", "T1", 100, "10");
    assert_eq!(desk.pass(89 * SECOND), 0);
    assert_eq!(desk.pass(SECOND), 1);
    assert_eq!(desk.pass(14 * SECOND), 0);
    assert_eq!(desk.pass(SECOND), 1);
    assert_eq!(desk.pass(24 * SECOND), 0);
    assert_eq!(desk.pass(SECOND), 1);
    assert_eq!(
        desk.state("S1"),
        OrderState::PartiallyFilled,
        "a cancel that was sent ends nothing"
    );
    desk.broker_ended("S1", "B1", 100);
    assert_eq!(desk.state("S1"), OrderState::PartiallyCancelled);
    let ReportBody::Execution(last) = &desk.reports[desk.reports.len() - 2].body else {
        panic!("{:?}", desk.reports)
    };
    assert_eq!(last.status, ExecutionStatus::PartialCancelled);
    let chase = last.chase.expect("a suggestion");
    assert_eq!(
        (
            chase.remaining_size,
            chase.next_limit_price.unwrap().to_string().as_str()
        ),
        (200, "9.98")
    );
}

#[test]
fn an_end_waits_for_the_trades_that_its_row_counts() {
    let mut desk = Desk::open();
    desk.signals(vec![buy("S1", 300)]);
    desk.accept("S1", "B1");
    desk.broker_ended("S1", "B1", 200);
    assert_eq!(desk.state("S1"), OrderState::Working);
    desk.fill("S1", "B1", "T1", 200, "10");
    assert_eq!(desk.state("S1"), OrderState::PartiallyCancelled);
}

#[test]
fn a_fill_after_a_cancel_is_booked_with_an_alarm() {
    let mut desk = Desk::open();
    desk.signals(vec![buy("S1", 300)]);
    desk.accept("S1", "B1");
    desk.broker_ended("S1", "B1", 0);
    assert_eq!(desk.state("S1"), OrderState::Cancelled);
    desk.fill("S1", "B1", "T1", 100, "10");
    assert_eq!(desk.state("S1"), OrderState::PartiallyCancelled);
    assert!(desk.alarms.contains(&"FILL_AFTER_END"));
    assert_eq!(desk.reports.last().unwrap().step, "concluded-100");
}

#[test]
fn the_same_trade_is_booked_once() {
    let mut desk = Desk::open();
    desk.signals(vec![buy("S1", 300)]);
    desk.accept("S1", "B1");
    desk.fill("S1", "B1", "T1", 100, "10");
    let told = desk.reports.len();
    desk.fill("S1", "B1", "T1", 100, "10");
    assert_eq!(desk.reports.len(), told);
    desk.fill("S1", "B1", "T1", 200, "10");
    assert!(desk.alarms.contains(&"TRADE_CHANGED"));
    assert_eq!(desk.order("S1").filled(), 100);
}

#[test]
fn a_working_order_ends_with_its_day_only_if_the_books_were_seen_after_the_close() {
    for (seen_after_close, expected) in [(true, OrderState::Expired), (false, OrderState::Review)] {
        let mut desk = Desk::open();
        let mut signal = buy("S1", 100);
        signal.valid_until = Some(desk.now.plus_ms(48 * 3600 * SECOND));
        desk.signals(vec![signal]);
        desk.accept("S1", "B1");
        desk.broker_has("S1", "B1");
        // The desk opens at 10:00 in Shanghai.
        desk.pass(if seen_after_close {
            6 * 3600 * SECOND
        } else {
            3600 * SECOND
        });
        desk.reconcile();
        desk.pass(14 * 3600 * SECOND);
        assert_eq!(desk.state("S1"), expected);
    }
}

#[test]
fn absurd_fees_of_a_broker_do_not_stop_the_host() {
    let mut desk = Desk::open();
    desk.signals(vec![buy("S1", 300)]);
    desk.accept("S1", "B1");
    for trade in ["T1", "T2"] {
        let order = desk.order("S1");
        let fill = qt_core::BrokerFill {
            fill_id: trade.into(),
            id: Some(order.id),
            broker_order_id: "B1".into(),
            symbol: order.signal.symbol,
            side: order.signal.side,
            size: 100,
            price: rust_decimal::Decimal::MAX,
            commission: Some(rust_decimal::Decimal::MAX),
            stamp_tax: Some(rust_decimal::Decimal::MAX),
            transfer_fee: None,
            at: desk.now,
        };
        desk.take(Event::FillSeen(fill));
    }
    assert_eq!(desk.order("S1").filled(), 200);
}
