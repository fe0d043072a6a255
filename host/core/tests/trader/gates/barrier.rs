//! Purchases of a plan wait for its sales.

use qt_core::{Effect, Event, Gates, OrderState, SellBarrier, Signal, TradingSessions};

use super::{desk, with};
use crate::support::{MORNING, SECOND, buy, sell};

fn barrier(mode: SellBarrier) -> Gates {
    Gates {
        sell_barrier: mode,
        sell_barrier_timeout_ms: 30_000,
        ..Gates::default()
    }
}

fn planned(signal: Signal) -> Signal {
    with(signal, |s| s.plan_id = Some("P".into()))
}

#[test]
fn purchases_of_a_plan_wait_for_its_sales() {
    for (mode, waits) in [
        (SellBarrier::Off, false),
        (SellBarrier::Soft, true),
        (SellBarrier::Hard, true),
    ] {
        let mut desk = desk(barrier(mode));
        let other = with(buy("S3", 100), |s| s.plan_id = Some("Q".into()));
        let sent = desk.signals(vec![planned(buy("S1", 100)), planned(sell("S2", 100)), other]);
        assert_eq!(sent.len(), if waits { 2 } else { 3 }, "{mode:?}");
        if !waits {
            continue;
        }
        assert_eq!(desk.order("S1").code.as_deref(), Some("SELL_BARRIER"));
        desk.accept("S2", "B2");
        assert_eq!(desk.state("S1"), OrderState::Deferred);
        desk.fill("S2", "B2", "T1", 100, "10");
        assert_eq!(
            desk.state("S1"),
            OrderState::Submitting,
            "{mode:?}: the sale has ended"
        );
    }
}

/// Both came at 9:00 and waited for the exchange to open: the time that the purchase gives the sales begins there.
#[test]
fn the_wait_for_a_session_uses_up_no_barrier() {
    for mode in [SellBarrier::Soft, SellBarrier::Hard] {
        let mut desk = desk(Gates {
            sessions: TradingSessions::CnA,
            ..barrier(mode)
        });
        desk.now = MORNING.plus_ms(86_400_000 - 3_600 * SECOND);
        desk.signals(vec![planned(buy("S1", 100)), planned(sell("S2", 100))]);
        assert_eq!(desk.order("S1").code.as_deref(), Some("OUTSIDE_SESSION"));
        desk.pass(15 * 60 * SECOND);
        assert_eq!(desk.state("S2"), OrderState::Submitting);
        assert_eq!(desk.order("S1").code.as_deref(), Some("SELL_BARRIER"));
        desk.pass(29 * SECOND);
        assert!(desk.alarms.is_empty(), "{:?}", desk.alarms);
        assert_eq!(desk.order("S1").code.as_deref(), Some("SELL_BARRIER"), "{mode:?}");
        desk.pass(SECOND);
        match mode {
            SellBarrier::Soft => assert_eq!(desk.state("S1"), OrderState::Submitting),
            _ => assert_eq!(desk.alarms, ["SELL_BARRIER_LONG"]),
        }
    }
}

#[test]
fn a_hard_barrier_that_waits_long_tells_a_person_once_and_stays_shut() {
    let mut hard = desk(barrier(SellBarrier::Hard));
    hard.signals(vec![planned(buy("S1", 100)), planned(sell("S2", 100))]);
    hard.accept("S2", "B2");
    hard.pass(29 * SECOND);
    assert!(hard.alarms.is_empty(), "{:?}", hard.alarms);
    hard.now = hard.now.plus_ms(SECOND);
    assert!(hard.trader.is_due(hard.now));
    let effects = hard.take(Event::Tick);
    let said = effects.iter().find_map(|effect| match effect {
        Effect::Alarm(alarm) => Some((alarm.code, alarm.text.clone())),
        _ => None,
    });
    let (code, text) = said.unwrap();
    assert_eq!(code, "SELL_BARRIER_LONG");
    assert!(
        text.contains("the purchase S1 of 000858.SZ has waited for 30 s: it waits until 1 sales of plan P"),
        "{text}"
    );
    // It is said once, over a restart too, and nothing opens by it.
    hard.restart();
    for _ in 0..10 {
        hard.pass(30 * SECOND);
    }
    let said = hard.alarms.iter().filter(|code| **code == "SELL_BARRIER_LONG");
    assert_eq!((said.count(), hard.state("S1")), (1, OrderState::Deferred));
    hard.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    hard.broker_has("S2", "B2");
    hard.reconcile();
    hard.fill("S2", "B2", "T1", 100, "10");
    assert_eq!(hard.state("S1"), OrderState::Submitting);
    // A soft one tells nobody: it opens.
    let mut soft = desk(barrier(SellBarrier::Soft));
    soft.signals(vec![planned(buy("S1", 100)), planned(sell("S2", 100))]);
    soft.pass(60 * SECOND);
    assert!(!soft.alarms.contains(&"SELL_BARRIER_LONG"), "{:?}", soft.alarms);
}

#[test]
fn a_soft_barrier_opens_by_time_and_a_hard_one_only_by_knowledge() {
    let mut soft = desk(barrier(SellBarrier::Soft));
    soft.signals(vec![planned(buy("S1", 100)), planned(sell("S2", 100))]);
    soft.pass(29 * SECOND);
    assert_eq!(soft.state("S1"), OrderState::Deferred);
    soft.pass(SECOND);
    assert_eq!(soft.state("S1"), OrderState::Submitting);

    let mut hard = desk(barrier(SellBarrier::Hard));
    hard.signals(vec![planned(buy("S1", 100)), planned(sell("S2", 100))]);
    let id = hard.order("S2").id;
    hard.lose_answer(id);
    hard.pass(40 * SECOND);
    assert_eq!(
        hard.state("S1"),
        OrderState::Deferred,
        "nobody knows what became of the sale"
    );
    for _ in 0..3 {
        hard.now = hard.now.plus_ms(30 * SECOND);
        hard.reconcile();
    }
    assert_eq!(hard.state("S2"), OrderState::NotAccepted);
    assert_eq!(hard.state("S1"), OrderState::Deferred, "it may be tried again");
    let again = with(planned(sell("S2", 100)), |s| s.retry_count = 1);
    assert_eq!(hard.signals(vec![again]).len(), 1);
    hard.accept("S2", "B2");
    hard.fill("S2", "B2", "T1", 100, "10");
    assert_eq!(hard.state("S1"), OrderState::Submitting);
}

#[test]
fn a_clock_that_is_set_back_takes_the_barriers_moment_along() {
    let mut soft = desk(barrier(SellBarrier::Soft));
    soft.now = MORNING.plus_ms(3 * 3_600 * SECOND);
    soft.signals(vec![planned(buy("S1", 100)), planned(sell("S2", 100))]);
    soft.now = MORNING;
    soft.take(Event::ClockJumped);
    soft.pass(29 * SECOND);
    assert_eq!(soft.state("S1"), OrderState::Deferred);
    soft.pass(SECOND);
    assert_eq!(soft.state("S1"), OrderState::Submitting);
}
