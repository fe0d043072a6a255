//! The order machine, told as stories.

mod support;

use qt_core::{Effect, Event, ExecutionStatus, OrderState, ReportBody};
use support::{Desk, SECOND, buy, sell};

#[test]
fn a_signal_becomes_an_order_is_filled_and_told_in_order() {
    let mut desk = Desk::open();
    let sent = desk.signals(vec![buy("S1", 200)]);
    assert_eq!(sent.len(), 1);
    desk.accept("S1", "B1");
    desk.fill("S1", "B1", "T1", 100, "10.00");
    desk.fill("S1", "B1", "T2", 100, "10.10");
    assert_eq!(desk.state("S1"), OrderState::Filled);
    let told: Vec<_> = desk.reports.iter().map(|report| report.step.as_str()).collect();
    assert_eq!(
        told,
        ["submitted", "partial_filled-100", "filled-200", "concluded-200"]
    );
    let ReportBody::Concluded { avg_price, .. } = &desk.reports[3].body else {
        panic!("{:?}", desk.reports[3])
    };
    assert_eq!(avg_price.to_string(), "10.05");
}

#[test]
fn sales_go_first_then_priority_then_age() {
    let mut desk = Desk::open();
    let mut urgent = buy("S2", 100);
    urgent.execution_priority = 1;
    let mut old = buy("S3", 100);
    old.created_at = Some(qt_core::UtcMillis(5));
    let mut young = buy("S1", 100);
    young.created_at = Some(qt_core::UtcMillis(6));
    let sent = desk.signals(vec![young, old, urgent, sell("S4", 100)]);
    let names: Vec<_> = sent
        .iter()
        .map(|id| desk.trader.order(*id).unwrap().signal.id.0.clone())
        .collect();
    assert_eq!(names, ["S4", "S2", "S3", "S1"]);
}

#[test]
fn a_signal_shown_again_is_never_taken_twice() {
    let mut desk = Desk::open();
    assert_eq!(desk.signals(vec![buy("S1", 100), buy("S1", 100)]).len(), 1);
    assert_eq!(desk.signals(vec![buy("S1", 100)]).len(), 0);
    let mut again = buy("S1", 100);
    again.retry_count = 7;
    assert_eq!(
        desk.signals(vec![again.clone()]).len(),
        0,
        "an order that may be live has no next attempt"
    );
    desk.accept("S1", "B1");
    desk.fill("S1", "B1", "T1", 100, "10");
    assert_eq!(desk.signals(vec![again]).len(), 0, "a filled one has none either");
}

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
fn a_person_decides_only_what_is_under_review() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    let before = desk.trader.digest();
    let refused = desk.trader.handle(
        desk.now,
        &Event::Decided {
            id,
            accepted_as: None,
        },
    );
    assert!(refused.is_err());
    assert_eq!(before, desk.trader.digest());
}

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
fn a_halt_takes_no_signals_and_sends_nothing() {
    let mut desk = Desk::open();
    desk.take(Event::Halted {
        reason: "lunch".into(),
    });
    assert!(desk.signals(vec![buy("S1", 100)]).is_empty());
    assert!(desk.trader.order_of_signal(&"S1".into()).is_none());
    desk.take(Event::HaltLifted);
    assert_eq!(desk.signals(vec![buy("S1", 100)]).len(), 1);
}

#[test]
fn waiting_for_the_broker_is_told_once_and_ends_when_it_comes() {
    let mut desk = Desk::open();
    desk.take(Event::Connection {
        up: false,
        reason: "cable".into(),
    });
    assert!(desk.signals(vec![buy("S1", 100)]).is_empty());
    assert_eq!(desk.state("S1"), OrderState::Deferred);
    assert_eq!(desk.reports.len(), 1);
    desk.pass(10 * SECOND);
    assert_eq!(desk.reports.len(), 1);
    desk.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    assert_eq!(desk.reconcile().len(), 1);
}

#[test]
fn times_of_a_signal_are_kept() {
    let mut desk = Desk::open();
    let mut early = buy("S1", 100);
    early.activate_after = Some(desk.now.plus_ms(5 * SECOND));
    let mut late = buy("S2", 100);
    late.valid_until = Some(desk.now);
    assert!(desk.signals(vec![early, late]).is_empty());
    assert_eq!(desk.state("S1"), OrderState::Deferred);
    assert_eq!(desk.state("S2"), OrderState::Denied);
    desk.pass(5 * SECOND);
    assert_eq!(desk.state("S1"), OrderState::Submitting);
}

#[test]
fn no_more_orders_are_on_their_way_than_allowed() {
    let mut desk = Desk::open();
    desk.settings.max_in_flight = 2;
    desk.restart();
    desk.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    desk.reconcile();
    let sent = desk.signals((0..5).map(|n| buy(&format!("S{n}"), 100)).collect());
    assert_eq!(sent.len(), 2);
    desk.accept("S0", "B0");
    assert_eq!(desk.state("S2"), OrderState::Submitting);
    assert_eq!(desk.state("S3"), OrderState::Intended);
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

#[test]
fn limits_are_protected_and_rounded_against_the_trader() {
    struct Case(
        &'static str,
        Option<&'static str>,
        Option<&'static str>,
        Option<&'static str>,
        Option<&'static str>,
    );
    // side, price, reference, bound (ceiling or floor), expected; slippage is 100 bps.
    for Case(side, price, reference, bound, expected) in [
        Case("buy", None, None, None, None),
        Case("buy", Some("10.019"), None, None, Some("10.01")),
        Case("sell", Some("10.011"), None, None, Some("10.02")),
        Case("buy", None, Some("10.00"), None, Some("10.10")),
        Case("sell", None, Some("10.00"), None, Some("9.90")),
        Case("buy", Some("11"), Some("10"), None, Some("10.10")),
        Case("buy", Some("11"), None, Some("10.5"), Some("10.50")),
        Case("sell", Some("9"), None, Some("9.5"), Some("9.50")),
        Case("sell", None, Some("10"), Some("9.99"), Some("9.99")),
    ] {
        let mut desk = Desk::open();
        let mut signal = if side == "buy" {
            buy("S1", 100)
        } else {
            sell("S1", 100)
        };
        let decimal = |text: &str| text.parse().unwrap();
        signal.price = price.map(decimal);
        signal.reference_price = reference.map(decimal);
        if side == "buy" {
            signal.price_ceiling = bound.map(decimal);
        } else {
            signal.price_floor = bound.map(decimal);
        }
        desk.signals(vec![signal]);
        assert_eq!(
            desk.order("S1").limit,
            expected.map(decimal),
            "{side} {price:?} {reference:?} {bound:?}"
        );
    }
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
fn a_jump_of_the_clock_or_a_start_does_not_count_as_time_without_the_order() {
    for jump in [true, false] {
        let mut desk = Desk::open();
        let id = desk.signals(vec![buy("S1", 100)])[0];
        desk.lose_answer(id);
        desk.pass(3600 * SECOND);
        if jump {
            desk.take(Event::ClockJumped);
        } else {
            desk.restart();
        }
        for _ in 0..5 {
            desk.pass(SECOND);
            desk.reconcile();
        }
        assert_eq!(desk.state("S1"), OrderState::Unknown);
    }
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
fn a_cancel_wanted_under_review_leaves_once_a_person_finds_the_order() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.lose_answer(id);
    desk.pass(SECOND);
    desk.stranger("S1", "B7");
    desk.reconcile();
    desk.take(Event::CancelWanted {
        id,
        by: "a person".into(),
    });
    desk.take(Event::Decided {
        id,
        accepted_as: Some("B7".into()),
    });
    assert_eq!(desk.pass(SECOND), 1);
}

#[test]
fn a_person_cannot_undo_what_the_broker_showed() {
    let mut desk = Desk::open();
    desk.signals(vec![buy("S1", 300)]);
    desk.fill("S1", "B1", "T1", 100, "10");
    desk.pass(24 * 3600 * SECOND);
    assert_eq!(desk.state("S1"), OrderState::Review);
    let id = desk.order("S1").id;
    for accepted_as in [None, Some("B2".into())] {
        let before = desk.trader.digest();
        let said = Event::Decided { id, accepted_as };
        assert!(desk.trader.handle(desk.now, &said).is_err());
        assert_eq!(before, desk.trader.digest());
    }
    desk.take(Event::Rejected {
        id,
        reason: "late".into(),
    });
    assert_eq!(desk.state("S1"), OrderState::Review);
    desk.take(Event::Decided {
        id,
        accepted_as: Some("B1".into()),
    });
    assert_eq!(desk.state("S1"), OrderState::PartiallyCancelled);
}

#[test]
fn an_order_that_an_earlier_journal_sent_is_taken_over_and_not_sent_again() {
    let mut desk = Desk::open();
    desk.restart();
    desk.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    desk.signals(vec![buy("S1", 100)]);
    assert_eq!(desk.state("S1"), OrderState::Intended);
    desk.broker_has("S1", "B1");
    assert!(desk.reconcile().is_empty());
    assert_eq!(desk.state("S1"), OrderState::Working);
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
    let orders: Vec<_> = desk.trader.orders().cloned().collect();
    desk.trader = qt_core::Trader::restore(desk.trader.frame(), orders, []);
    let mut third = buy("S1", 100);
    third.retry_count = 2;
    assert!(desk.signals(vec![third]).is_empty());
    assert_eq!(
        desk.trader.order_of_broker(&"B1".into()).map(|order| order.id),
        Some(id)
    );
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
