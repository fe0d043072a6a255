//! Signals in: what is taken, when and at which limit it is sent.

use qt_core::{Event, Left, OrderState, ReportBody};

use crate::support::{Desk, SECOND, buy, sell};

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

/// A backend that hands a signal out once forgets what it is not told to keep.
#[test]
fn what_a_halt_another_account_or_an_open_attempt_keeps_out_is_given_back() {
    let mut desk = Desk::open();
    desk.settings.securities_account_id = Some("ours".into());
    desk.restart();
    desk.reconcile();
    desk.signals(vec![buy("OPEN", 100)]);
    let mut next = buy("OPEN", 100);
    next.retry_count = 1;
    let mut foreign = buy("FOREIGN", 100);
    foreign.securities_account_id = Some("another".into());
    let all = [buy("OPEN", 100), next, foreign, buy("NEW", 100)];
    let left = |desk: &Desk| {
        let (mut taken, mut invalid) = (all.to_vec(), Vec::new());
        let left = desk.trader.retain_news(&mut taken, &mut invalid);
        let left: Vec<_> = left.into_iter().map(|(id, why)| (id.0, why)).collect();
        (taken.len(), left)
    };
    let kept = [
        ("OPEN".to_owned(), Left::NotNow),
        ("FOREIGN".to_owned(), Left::NotOurs),
    ];
    assert_eq!(left(&desk), (1, kept.to_vec()));
    desk.take(Event::Halted {
        reason: "lunch".into(),
    });
    let new = [("NEW".to_owned(), Left::NotNow)];
    assert_eq!(left(&desk), (0, [&kept[..], &new].concat()));
}
