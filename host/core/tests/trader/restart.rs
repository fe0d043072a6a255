//! Starts, nights, and what outlives them.

use qt_core::{Effect, Event, OrderState};

use crate::support::{Desk, SECOND, buy};

#[test]
fn a_restart_doubts_what_was_on_its_way_and_sends_nothing_before_the_books_are_compared() {
    let mut desk = Desk::open();
    desk.signals(vec![buy("S1", 100)]);
    desk.restart();
    assert_eq!(desk.state("S1"), OrderState::Unknown);
    desk.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    assert!(desk.signals(vec![buy("S2", 100)]).is_empty());
    assert_eq!(desk.state("S2"), OrderState::Intended);
    let sent = desk.reconcile();
    assert_eq!(sent.len(), 1);
    assert_eq!(desk.state("S2"), OrderState::Submitting);
}

#[test]
fn an_unknown_order_goes_to_a_person_over_night() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.take(Event::Unanswered {
        id,
        reason: "lost".into(),
        outstanding: false,
    });
    desk.pass(24 * 3600 * SECOND);
    assert_eq!(desk.state("S1"), OrderState::Review);
    desk.reconcile();
    desk.reconcile();
    assert_eq!(desk.state("S1"), OrderState::Review);
}

#[test]
fn ended_orders_leave_the_memory_and_are_still_never_taken_again() {
    let mut desk = Desk::open();
    desk.signals(vec![buy("S1", 100)]);
    desk.accept("S1", "B1");
    desk.fill("S1", "B1", "T1", 100, "10");
    desk.pass(24 * 3600 * SECOND);
    assert_eq!(desk.trader.orders().count(), 0);
    desk.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    assert!(desk.signals(vec![buy("S1", 100)]).is_empty());
    assert!(desk.trader.order_of_signal(&"S1".into()).is_none());
}

#[test]
fn a_signal_held_as_submitted_that_the_journal_lost_is_adopted_or_reviewed_never_sent() {
    let mut desk = Desk::open();
    let mut known = buy("S1", 100);
    known.created_at = Some(desk.now);
    let mut lost = buy("S2", 100);
    lost.created_at = Some(desk.now);
    let mut ancient = buy("S3", 100);
    ancient.created_at = Some(desk.now.plus_ms(-72 * 3600 * SECOND));
    let effects = desk.take(Event::HeldAsSubmitted {
        signals: vec![known, lost, ancient],
    });
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Submit(_))));
    desk.broker_has("S1", "B1");
    for _ in 0..10 {
        desk.pass(30 * SECOND);
        desk.reconcile();
    }
    assert_eq!(desk.state("S1"), OrderState::Working);
    assert_eq!(desk.state("S2"), OrderState::Review);
    assert!(desk.trader.order_of_signal(&"S3".into()).is_none());
}

/// At a day's end the revived orders that ended leave the memory. Once, all signals with a revived order were forgotten
/// with them: of one whose other revived order was still at work, a further attempt would have been a second live order.
#[test]
fn forget_ended_keeps_the_bar_of_a_revived_order_that_is_still_there() {
    const HOUR: i64 = 3_600 * SECOND;
    let mut desk = Desk::open();
    let revive = |desk: &mut Desk, name: &str, broker: &str| {
        let id = desk.signals(vec![buy(name, 100)])[0];
        desk.lose_answer(id);
        for _ in 0..3 {
            desk.pass(30 * SECOND);
            desk.reconcile();
        }
        assert_eq!(desk.state(name), OrderState::NotAccepted);
        desk.take(Event::Accepted {
            id,
            broker_order_id: broker.into(),
        });
        assert!(desk.order(name).revived);
    };
    revive(&mut desk, "OVER", "B1");
    desk.fill("OVER", "B1", "T1", 100, "10");
    revive(&mut desk, "OPEN", "B2");
    // The next day: the one is forgotten, the other, whose books were not seen after the close, is before a person.
    desk.now = desk.now.plus_ms(24 * HOUR);
    desk.take(Event::Tick);
    assert!(desk.trader.order_of_signal(&"OVER".into()).is_none());
    assert_eq!(desk.state("OPEN"), OrderState::Review);
    for name in ["OVER", "OPEN"] {
        let mut again = buy(name, 100);
        again.retry_count = 1;
        assert!(desk.signals(vec![again]).is_empty(), "another attempt at {name}");
    }
}

#[test]
fn a_restored_core_knows_what_was_revived_and_whom_the_broker_calls_what() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.lose_answer(id);
    for _ in 0..3 {
        desk.pass(30 * SECOND);
        desk.reconcile();
    }
    let mut second = buy("S1", 100);
    second.retry_count = 1;
    let next = desk.signals(vec![second])[0];
    desk.take(Event::Accepted {
        id,
        broker_order_id: "B1".into(),
    });
    desk.take(Event::Rejected {
        id: next,
        reason: "no cash".into(),
    });
    let mut restored = qt_core::Trader::restore(desk.trader.frame());
    for order in desk.trader.changed() {
        restored.put_back(order.bytes()).unwrap();
    }
    desk.trader = restored;
    let mut third = buy("S1", 100);
    third.retry_count = 2;
    assert!(desk.signals(vec![third]).is_empty());
    assert_eq!(
        desk.trader.order_of_broker(&"B1".into()).map(|order| order.id),
        Some(id)
    );
}
