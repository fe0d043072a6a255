//! The governor of orders and cancels.

use qt_core::{Effect, Event, Gates, OrderState, Rate};

use super::{desk, verdict};
use crate::support::{Desk, SECOND, buy};

fn rate(per_second: u32, reserve: u32) -> Gates {
    let rate = Rate {
        per_second,
        cancel_reserve_per_second: reserve,
        per_day: 20_000,
        cancel_reserve_per_day: 0,
    };
    Gates {
        rate: Some(rate),
        ..Gates::default()
    }
}

/// Answers every call under way, and gives how many there were.
fn answer_all(desk: &mut Desk) -> usize {
    let calls: Vec<_> = desk
        .trader
        .live_orders()
        .filter(|order| order.state == OrderState::Submitting)
        .map(|order| order.id)
        .collect();
    for id in &calls {
        desk.take(Event::Rejected {
            id: *id,
            reason: "no".into(),
        });
    }
    calls.len()
}

#[test]
fn of_299_300_and_301_orders_in_a_second_never_more_than_299_leave() {
    for (count, first) in [(299, 299), (300, 299), (301, 299)] {
        let mut desk = desk(rate(299, 0));
        let sent = desk.signals((0..count).map(|n| buy(&format!("S{n}"), 100)).collect());
        assert_eq!(sent.len(), first, "{count} at once");
        let held = count - first;
        assert_eq!(answer_all(&mut desk), first);
        for _ in 0..9 {
            desk.pass(SECOND / 10);
        }
        desk.pass(99);
        assert_eq!(
            answer_all(&mut desk),
            0,
            "{count}: 999 ms after the answers nothing more left"
        );
        desk.pass(1);
        assert_eq!(
            answer_all(&mut desk),
            held,
            "{count}: the rest left a second after the answers"
        );
        // The rest is told to nobody: it merely keeps its place.
        assert!(
            desk.reports
                .iter()
                .all(|report| !report.step.starts_with("deferred"))
        );
    }
}

#[test]
fn cancels_have_a_reserve_and_wait_beyond_it() {
    let mut desk = desk(rate(10, 4));
    let sent = desk.signals((0..8).map(|n| buy(&format!("S{n}"), 100)).collect());
    assert_eq!(sent.len(), 6);
    let mut cancels = 0;
    for n in 0..6 {
        let name = format!("S{n}");
        desk.accept(&name, &format!("B{n}"));
        let id = desk.order(&name).id;
        let effects = desk.take(Event::CancelWanted {
            id,
            by: "test".into(),
        });
        cancels += effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Cancel { .. }))
            .count();
    }
    assert_eq!(cancels, 4, "six orders and four cancels are ten");
    for n in 0..6 {
        let id = desk.order(&format!("S{n}")).id;
        desk.take(Event::CancelAnswered { id, problem: None });
    }
    assert_eq!(desk.pass(999), 0);
    assert_eq!(desk.pass(1), 2, "the other two go when the second is over");
}

#[test]
fn a_restart_forgets_no_order_of_the_second_and_none_of_the_day() {
    let mut gates = rate(5, 0);
    if let Some(rate) = &mut gates.rate {
        (rate.per_day, rate.cancel_reserve_per_day) = (8, 2);
    }
    let mut desk = desk(gates);
    assert_eq!(
        desk.signals((0..5).map(|n| buy(&format!("S{n}"), 100)).collect())
            .len(),
        5
    );
    assert_eq!(answer_all(&mut desk), 5);
    desk.now = desk.now.plus_ms(10);
    desk.restart();
    desk.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    desk.reconcile();
    assert_eq!(
        desk.signals(vec![buy("S5", 100)]).len(),
        0,
        "the second is not over"
    );
    assert_eq!(desk.state("S5"), OrderState::Intended);
    desk.pass(SECOND);
    assert_eq!(desk.state("S5"), OrderState::Submitting);
    assert_eq!(verdict(&mut desk, buy("S6", 100)), "DENIED RATE_DAY");
    desk.now = desk.now.plus_ms(86_400_000);
    assert_eq!(verdict(&mut desk, buy("S7", 100)), "sent");
}
