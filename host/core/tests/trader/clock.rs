//! A clock that is set, and alarms that a death swallowed: what the simulation found.

use qt_core::{Event, OrderState, UtcMillis};

use crate::support::{Desk, MORNING, SECOND, buy, sell};

const HOUR: i64 = 3_600 * SECOND;

/// Sets the desk's clock, as the host notices it.
fn set_clock(desk: &mut Desk, now: UtcMillis) {
    desk.now = now;
    desk.take(Event::ClockJumped);
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_an_order_from_being_cancelled() {
    let mut desk = Desk::open();
    set_clock(&mut desk, MORNING.plus_ms(3 * HOUR));
    desk.signals(vec![sell("S1", 100)]);
    desk.accept("S1", "B1");
    set_clock(&mut desk, MORNING.plus_ms(SECOND));
    assert_eq!(desk.pass(89 * SECOND), 0);
    assert_eq!(desk.pass(SECOND), 1, "not three hours later");
}

#[test]
fn after_the_clock_was_set_back_absence_proves_nothing() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.lose_answer(id);
    set_clock(&mut desk, MORNING.plus_ms(-HOUR));
    for _ in 0..4 {
        desk.pass(30 * SECOND);
        desk.reconcile();
    }
    assert_eq!(desk.state("S1"), OrderState::Review);
}

#[test]
fn a_correction_by_a_second_leaves_the_proof_of_absence_possible() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.lose_answer(id);
    set_clock(&mut desk, MORNING.plus_ms(-SECOND));
    for _ in 0..4 {
        desk.pass(30 * SECOND);
        desk.reconcile();
    }
    assert_eq!(desk.state("S1"), OrderState::NotAccepted);
}

#[test]
fn a_clock_set_back_while_no_process_ran_is_noticed_at_the_start() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.lose_answer(id);
    desk.now = MORNING.plus_ms(-HOUR);
    desk.restart();
    assert_eq!(desk.trader.now(), desk.now);
    for _ in 0..4 {
        desk.pass(30 * SECOND);
        desk.reconcile();
    }
    assert_eq!(desk.state("S1"), OrderState::Review);
}

#[test]
fn nothing_is_sent_while_the_clock_shows_a_day_before_one_that_had_begun() {
    let mut desk = Desk::open();
    let tomorrow = MORNING.plus_ms(24 * HOUR);
    set_clock(&mut desk, tomorrow);
    set_clock(&mut desk, MORNING);
    assert!(desk.alarms.contains(&"CLOCK_BEHIND"));
    assert!(desk.signals(vec![buy("S1", 100)]).is_empty());
    assert_eq!(desk.state("S1"), OrderState::Intended);
    assert!(!desk.trader.is_due(desk.now), "a tick would change nothing yet");
    desk.now = tomorrow;
    assert!(desk.trader.is_due(desk.now));
    desk.pass(0);
    assert_eq!(desk.state("S1"), OrderState::Submitting);
}

#[test]
fn a_start_repeats_the_alarms_that_a_death_may_have_swallowed() {
    let mut desk = Desk::open();
    let ids = desk.signals(vec![buy("S1", 100), buy("S2", 200), buy("S3", 300)]);
    desk.accept("S3", "B3");
    desk.lose_answer(ids[0]);
    desk.lose_answer(ids[1]);
    desk.pass(SECOND);
    desk.broker_has("S3", "B3");
    desk.stranger("S1", "B7");
    desk.reconcile();
    assert_eq!(desk.state("S1"), OrderState::Review);
    desk.books.orders.clear();
    for _ in 0..3 {
        desk.pass(30 * SECOND);
        desk.reconcile();
    }
    assert_eq!(desk.state("S3"), OrderState::Missing);
    desk.accept("S2", "B2");
    desk.alarms.clear();
    desk.restart();
    for code in ["REVIEW", "ORDER_MISSING", "ABSENCE_DISPROVED"] {
        assert!(desk.alarms.contains(&code), "{code}: {:?}", desk.alarms);
    }
}

#[test]
fn a_trade_of_an_order_taken_for_never_accepted_warns_of_a_second_order() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 300)])[0];
    desk.lose_answer(id);
    for _ in 0..3 {
        desk.pass(30 * SECOND);
        desk.reconcile();
    }
    assert_eq!(desk.state("S1"), OrderState::NotAccepted);
    desk.fill("S1", "B1", "T1", 100, "10");
    assert!(desk.alarms.contains(&"ABSENCE_DISPROVED"));
}
