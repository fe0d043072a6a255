//! What nobody can tell: lost answers, absence, and what proves it.

use qt_core::{Event, OrderState};

use crate::support::{Desk, SECOND, buy};

#[test]
fn a_lost_answer_is_unknown_and_is_adopted_by_its_id() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.take(Event::Unanswered {
        id,
        reason: "time-out".into(),
        outstanding: true,
    });
    assert_eq!(desk.state("S1"), OrderState::Unknown);
    desk.pass(SECOND);
    desk.broker_has("S1", "B9");
    desk.reconcile();
    assert_eq!(desk.state("S1"), OrderState::Working);
    assert_eq!(desk.reports.last().unwrap().step, "submitted");
}

#[test]
fn absence_proves_nothing_while_the_call_may_still_answer() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.take(Event::Unanswered {
        id,
        reason: "time-out".into(),
        outstanding: true,
    });
    for _ in 0..20 {
        desk.pass(30 * SECOND);
        desk.reconcile();
    }
    assert_eq!(desk.state("S1"), OrderState::Unknown);
    // The call ends without an answer: only now does the counting begin.
    desk.take(Event::Unanswered {
        id,
        reason: "lost".into(),
        outstanding: false,
    });
    desk.pass(SECOND);
    desk.reconcile();
    desk.reconcile();
    desk.reconcile();
    assert_eq!(
        desk.state("S1"),
        OrderState::Unknown,
        "several snapshots, but too little time"
    );
    desk.pass(60 * SECOND);
    desk.reconcile();
    assert_eq!(desk.state("S1"), OrderState::NotAccepted);
    assert_eq!(desk.reports.last().unwrap().step, "retry-1");
    let mut next = buy("S1", 100);
    next.retry_count = 1;
    assert_eq!(
        desk.signals(vec![next]).len(),
        1,
        "only now may a next attempt exist"
    );
}

#[test]
fn a_late_answer_after_the_proof_revives_the_order_with_an_alarm() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.take(Event::Unanswered {
        id,
        reason: "lost".into(),
        outstanding: false,
    });
    for _ in 0..3 {
        desk.pass(30 * SECOND);
        desk.reconcile();
    }
    assert_eq!(desk.state("S1"), OrderState::NotAccepted);
    desk.accept("S1", "B1");
    assert_eq!(desk.state("S1"), OrderState::Working);
    assert!(desk.alarms.contains(&"ABSENCE_DISPROVED"));
    assert_eq!(desk.reports.last().unwrap().step, "submitted");
}

#[test]
fn an_order_like_ours_without_our_id_goes_to_a_person() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.take(Event::Unanswered {
        id,
        reason: "lost".into(),
        outstanding: false,
    });
    desk.pass(SECOND);
    desk.stranger("S1", "B7");
    desk.reconcile();
    assert_eq!(desk.state("S1"), OrderState::Review);
    desk.take(Event::Decided {
        id,
        accepted_as: Some("B7".into()),
    });
    assert_eq!(desk.state("S1"), OrderState::Working);
    desk.reconcile();
    assert_eq!(desk.state("S1"), OrderState::Working);
}

#[test]
fn missing_is_not_an_end() {
    let mut desk = Desk::open();
    desk.signals(vec![buy("S1", 100)]);
    desk.accept("S1", "B1");
    desk.pass(61 * SECOND);
    desk.reconcile();
    assert_eq!(desk.state("S1"), OrderState::Missing);
    assert!(desk.alarms.contains(&"ORDER_MISSING"));
    desk.broker_has("S1", "B1");
    desk.reconcile();
    assert_eq!(desk.state("S1"), OrderState::Working);
}

#[test]
fn three_snapshots_that_come_back_late_prove_nothing_of_the_time_between() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.lose_answer(id);
    desk.pass(SECOND);
    let early = desk.now;
    desk.pass(70 * SECOND);
    for _ in 0..3 {
        desk.take(Event::Reconciled {
            asked_at: early,
            absent: vec![id],
            alike: Vec::new(),
            foreign: 0,
        });
    }
    assert_eq!(desk.state("S1"), OrderState::Unknown);
}

#[test]
fn a_jump_of_the_clock_a_start_or_an_absence_of_the_broker_does_not_count_as_time_without_the_order() {
    for case in ["jump", "start", "absence"] {
        let mut desk = Desk::open();
        let id = desk.signals(vec![buy("S1", 100)])[0];
        desk.lose_answer(id);
        if case == "absence" {
            desk.take(Event::Connection {
                up: false,
                reason: "gone".into(),
            });
        }
        desk.pass(3600 * SECOND);
        match case {
            "jump" => drop(desk.take(Event::ClockJumped)),
            "start" => desk.restart(),
            _ => drop(desk.take(Event::Connection {
                up: true,
                reason: String::new(),
            })),
        }
        for _ in 0..5 {
            desk.pass(SECOND);
            desk.reconcile();
        }
        assert_eq!(desk.state("S1"), OrderState::Unknown, "{case}");
    }
}

/// Each return of the broker begins the proof of absence anew, and must not put off the word to a person as well.
#[test]
fn a_broker_that_comes_and_goes_does_not_keep_a_long_doubt_from_being_told() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.lose_answer(id);
    for _ in 0..8 {
        for up in [false, true] {
            let reason = "gone".to_owned();
            desk.take(Event::Connection { up, reason });
        }
        desk.reconcile();
        desk.pass(20 * SECOND);
    }
    assert_eq!(desk.state("S1"), OrderState::Unknown);
    let told = desk.alarms.iter().filter(|code| **code == "UNKNOWN_LONG");
    assert_eq!(told.count(), 1);
}

#[test]
fn a_missing_order_with_a_fill_that_is_accepted_late_can_still_end() {
    let mut desk = Desk::open();
    desk.signals(vec![buy("S1", 300)]);
    desk.fill("S1", "B1", "T1", 100, "10");
    desk.pass(61 * SECOND);
    desk.reconcile();
    assert_eq!(desk.state("S1"), OrderState::Missing);
    desk.accept("S1", "B1");
    assert_eq!(desk.state("S1"), OrderState::PartiallyFilled);
    desk.broker_ended("S1", "B1", 100);
    assert_eq!(desk.state("S1"), OrderState::PartiallyCancelled);
}

#[test]
fn a_signal_whose_first_attempt_came_back_has_no_third() {
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
    let mut third = buy("S1", 100);
    third.retry_count = 2;
    assert!(
        desk.signals(vec![third]).is_empty(),
        "the first attempt is at the broker"
    );
}

#[test]
fn a_row_that_the_broker_is_not_sure_of_is_neither_told_nor_ruled_out() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.lose_answer(id);
    desk.pass(SECOND);
    desk.broker_has("S1", "B1");
    desk.books.orders[0].status = qt_core::BrokerOrderStatus::Unclear;
    desk.reconcile();
    assert!(desk.reports.is_empty(), "{:?}", desk.reports);
    desk.books.orders.clear();
    for _ in 0..4 {
        desk.pass(30 * SECOND);
        desk.reconcile();
    }
    assert_eq!(desk.state("S1"), OrderState::Review);
}

#[test]
fn an_attempt_that_still_waits_is_denied_when_the_one_before_it_comes_back() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.lose_answer(id);
    for _ in 0..3 {
        desk.pass(30 * SECOND);
        desk.reconcile();
    }
    desk.restart();
    desk.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    let mut second = buy("S1", 100);
    second.retry_count = 1;
    assert!(desk.signals(vec![second]).is_empty());
    desk.take(Event::Accepted {
        id,
        broker_order_id: "B1".into(),
    });
    assert!(desk.reconcile().is_empty());
    assert_eq!(desk.state("S1"), OrderState::Denied);
    assert_eq!(desk.trader.order(id).unwrap().state, OrderState::Working);
}

#[test]
fn a_broker_name_that_comes_again_does_not_hide_an_order_without_our_id() {
    let mut desk = Desk::open();
    let ids = desk.signals(vec![buy("S1", 100), buy("S2", 300)]);
    desk.accept("S1", "B1");
    desk.fill("S1", "B1", "T1", 100, "10");
    desk.lose_answer(ids[1]);
    desk.pass(SECOND);
    desk.stranger("S2", "B1");
    desk.reconcile();
    assert_eq!(desk.state("S2"), OrderState::Review);
}
