//! What holds after any sequence of events, sensible or not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use qt_core::{
    BrokerOrderStatus, ClientOrderId, Effect, Event, ExecutionStatus, Frame, Order, OrderState, Report,
    ReportBody, SignalId, Trader, UtcMillis,
};

use support::moves::{self, Move, Stage, Wish};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_the_machine_keeps_its_promises(run in moves::runs(), gated in 0..4_u8) {
        let watch = Watch::new();
        // Gates open, shut, and opened and shut again by later starts.
        let gates = match gated {
            0 => Vec::new(),
            1 => vec![moves::gates(), qt_core::Gates::default()],
            2 => vec![qt_core::Gates::default(), moves::gates()],
            _ => vec![moves::gates()],
        };
        watch.play(gates, &run);
    }
}

/// The moment from which a purchase waited behind sales stayed in memory when a later start opened the gate, and was in no
/// checkpoint: a restored core went on otherwise than the one that had run.
#[test]
fn a_purchase_that_waited_behind_sales_is_the_same_after_a_checkpoint_though_the_gate_was_opened() {
    let run = [
        (0, Move::Signals(vec![Wish::of(2, false, false)])),
        (0, Move::Signals(vec![Wish::of(0, true, true)])),
        (0, Move::Book(3, 0)),
        (0, Move::Start),
        (-30_000, Move::Reduce),
    ];
    Watch::new().play(vec![moves::gates(), qt_core::Gates::default()], &run);
}

/// `PROPTEST_CASES` where it is set.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

/// A core, everything that was seen of it, and a second core that is restored again and again.
struct Watch {
    trader: Trader,
    restored: Trader,
    journal: Vec<(UtcMillis, Event)>,
    /// The last copy of every order there ever was, as a store would keep it.
    store: HashMap<ClientOrderId, Vec<u8>>,
    keys: HashSet<String>,
    told: HashMap<ClientOrderId, Vec<Report>>,
    submitted: HashSet<(SignalId, u32)>,
    held: HashSet<ClientOrderId>,
}

impl Watch {
    fn new() -> Self {
        Self {
            trader: Trader::new(),
            restored: Trader::new(),
            journal: Vec::new(),
            store: HashMap::new(),
            keys: HashSet::new(),
            told: HashMap::new(),
            submitted: HashSet::new(),
            held: HashSet::new(),
        }
    }

    /// Plays a run behind a start, with these gates from one start to the next.
    fn play(mut self, gates: Vec<qt_core::Gates>, run: &[(i64, Move)]) {
        let mut stage = Stage::with(gates);
        let mut now = support::MORNING;
        let began = [
            (0, Move::Start),
            (0, Move::Connection(true)),
            (0, Move::Look(0, 0)),
        ];
        for (ms, play) in began.iter().chain(run) {
            now = now.plus_ms(*ms);
            for event in stage.events(play, &self.trader, now) {
                self.take(now, &event);
            }
        }
        self.replay();
    }

    fn take(&mut self, now: UtcMillis, event: &Event) {
        let before: HashMap<_, _> = self
            .trader
            .orders()
            .map(|order| (order.id, order.into_owned()))
            .collect();
        let digest = self.trader.digest();
        let day = self.trader.now().trading_date();
        let result = self.trader.handle(now, event);
        assert_eq!(
            result,
            self.restored.handle(now, event),
            "a restored core does otherwise"
        );
        assert_eq!(
            self.trader.digest(),
            self.restored.digest(),
            "a restored core is otherwise afterwards"
        );
        let Ok(effects) = result else {
            assert_eq!(digest, self.trader.digest(), "a refused event changed the state");
            assert!(
                self.trader
                    .orders()
                    .all(|order| before.get(&order.id) == Some(&*order))
            );
            return;
        };
        self.journal.push((now, event.clone()));
        let turned = day != self.trader.now().trading_date() && day.0 != 0;
        for id in before.keys().filter(|id| self.trader.order(**id).is_none()) {
            assert!(turned && before[id].state.is_ended(), "{id} vanished");
        }
        for order in self.trader.orders() {
            self.inspect(before.get(&order.id), &order, event, turned);
            if !before.contains_key(&order.id) && matches!(event, Event::HeldAsSubmitted { .. }) {
                self.held.insert(order.id);
            }
        }
        for effect in &effects {
            self.effect(effect);
        }
        self.restore();
    }

    fn inspect(&self, before: Option<&Order>, order: &Order, event: &Event, turned: bool) {
        let filled = order.filled();
        let unique: HashSet<_> = order.fills.iter().map(|fill| &fill.id).collect();
        assert_eq!(
            unique.len(),
            order.fills.len(),
            "a trade was booked twice: {order:?}"
        );
        assert!(
            before.is_none_or(|before| filled >= before.filled()),
            "fills shrank: {order:?}"
        );
        let size = order.signal.size;
        let fits = match order.state {
            OrderState::Filled => filled >= size,
            OrderState::PartiallyFilled => (1..size).contains(&filled),
            OrderState::PartiallyCancelled => filled > 0,
            OrderState::Missing | OrderState::Review => filled < size,
            _ => filled == 0,
        };
        assert!(fits, "{} of {size} filled and {}", filled, order.state);
        if before.map(|before| before.state) != Some(order.state) {
            assert!(
                has_evidence(before, order, event, turned),
                "{before:?}\nbecame {order:?}\nby {event:?}"
            );
        }
    }

    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Report(report) => self.report(report),
            Effect::Alarm(alarm) => assert_ne!(alarm.code, "ILLEGAL_STEP", "{}", alarm.text),
            Effect::Submit(new) => {
                let signal = self.trader.order(new.id).unwrap().signal.clone();
                let attempt = (signal.id.clone(), signal.retry_count);
                assert!(self.submitted.insert(attempt), "{signal:?} was sent twice");
                let last = |order: &Order| {
                    self.trader
                        .order(order.id)
                        .map_or(order.state, |order| order.state)
                };
                let stored = self
                    .store
                    .values()
                    .map(|bytes| Cow::Owned(qt_core::unpack(bytes).unwrap()));
                let others = stored.chain(self.trader.orders());
                for other in others.filter(|other| other.signal.id == signal.id && other.id != new.id) {
                    assert!(last(&other).allows_next_attempt(), "sent beside {other:?}");
                }
                assert!(self.trader.is_connected() && self.trader.is_reconciled());
                assert!(self.trader.halted().is_none(), "sent after a halt");
            }
            Effect::Cancel { id, .. } => {
                let order = self.trader.order(*id).unwrap();
                assert!(order.cancel.is_some(), "nobody wanted {order:?} cancelled");
            }
            Effect::Ask | Effect::Note(_) => {}
        }
    }

    fn report(&mut self, report: &Report) {
        assert!(self.keys.insert(report.key()), "{} was told twice", report.key());
        let told = self.told.entry(report.order).or_default();
        let submitted = self.held.contains(&report.order)
            || told
                .iter()
                .any(|earlier| matches!(earlier.body, ReportBody::Submitted { .. }));
        let last_fill = told.iter().rev().find_map(|earlier| match &earlier.body {
            ReportBody::Execution(execution) => Some(execution.filled_size),
            _ => None,
        });
        match &report.body {
            ReportBody::Submitted { .. } => assert!(!submitted),
            ReportBody::Execution(execution) => {
                assert!(
                    submitted || execution.status == ExecutionStatus::Rejected,
                    "{told:?}\nthen {report:?}"
                );
                let grows = last_fill.is_none_or(|last| execution.filled_size >= last);
                assert!(grows, "{last_fill:?} then {report:?}");
            }
            ReportBody::Concluded { filled, .. } => {
                let Some(ReportBody::Execution(end)) = told.last().map(|last| &last.body) else {
                    panic!("concluded after {:?}", told.last())
                };
                assert_ne!(
                    end.status,
                    ExecutionStatus::PartialFilled,
                    "concluded before an end"
                );
                assert_eq!(end.filled_size, *filled);
            }
            ReportBody::Failed { .. } => assert!(!submitted || told.last().is_some_and(is_refusal)),
            ReportBody::RetryPending { .. } => assert_eq!(last_fill, None),
        }
        told.push(report.clone());
    }

    /// Keeps changed orders as a store does, and brings up a second core from the store.
    fn restore(&mut self) {
        for order in self.trader.changed() {
            self.store
                .insert(order.keys().unwrap().id, order.bytes().to_vec());
        }
        self.trader.changed_are_kept();
        let frame: Frame =
            serde_json::from_str(&serde_json::to_string(&self.trader.frame()).unwrap()).unwrap();
        self.restored = Trader::restore(frame);
        for bytes in self.store.values() {
            self.restored.put_back(bytes).unwrap();
        }
        assert_eq!(
            self.trader.digest(),
            self.restored.digest(),
            "a restored core is otherwise"
        );
    }

    fn replay(&mut self) {
        let mut again = Trader::new();
        for (now, event) in &self.journal {
            again.handle(*now, event).unwrap();
        }
        assert_eq!(
            again.digest(),
            self.trader.digest(),
            "a replay gives another state"
        );
        assert_eq!(again.frame(), self.trader.frame());
    }
}

fn is_refusal(report: &Report) -> bool {
    matches!(&report.body, ReportBody::Execution(end) if end.status == ExecutionStatus::Rejected)
}

/// True when `event`, or the turn of the day, can have brought the order where it is.
fn has_evidence(before: Option<&Order>, order: &Order, event: &Event, turned: bool) -> bool {
    let id = order.id;
    let named = |of: Option<ClientOrderId>, broker: &qt_core::BrokerOrderId| {
        of == Some(id) || order.broker_order_id.as_ref() == Some(broker)
    };
    let row = match event {
        Event::OrderSeen(row) if named(row.id, &row.broker_order_id) => Some(row),
        _ => None,
    };
    let fill = matches!(event, Event::FillSeen(fill) if named(fill.id, &fill.broker_order_id));
    let accepted = matches!(event, Event::Accepted { id: of, .. } if *of == id);
    let decided = |taken: bool| matches!(event, Event::Decided { id: of, accepted_as } if *of == id && accepted_as.is_some() == taken);
    let ended =
        row.is_some_and(|row| !matches!(row.status, BrokerOrderStatus::Open | BrokerOrderStatus::Unclear));
    match order.state {
        OrderState::Working => accepted || row.is_some() || decided(true),
        OrderState::PartiallyFilled => fill || accepted || row.is_some() || decided(true),
        OrderState::Filled => fill || ended,
        OrderState::Cancelled => ended,
        OrderState::PartiallyCancelled => fill || ended || turned || decided(true),
        OrderState::Expired => turned || decided(true),
        OrderState::Rejected => ended || matches!(event, Event::Rejected { id: of, .. } if *of == id),
        OrderState::NotAccepted => decided(false) || never_sent(event, id) || proved_absent(before, event),
        OrderState::Missing => matches!(event, Event::Reconciled { absent, .. } if absent.contains(&id)),
        OrderState::Unknown => match before {
            None => matches!(event, Event::HeldAsSubmitted { .. }),
            Some(_) => {
                matches!(event, Event::HostStarted { .. })
                    || matches!(event, Event::Unanswered { id: of, .. } if *of == id)
            }
        },
        OrderState::Review => {
            turned || matches!(event, Event::Reconciled { absent, .. } if absent.contains(&id))
        }
        OrderState::Submitting | OrderState::Intended | OrderState::Deferred | OrderState::Denied => {
            before.is_none_or(|before| matches!(before.state, OrderState::Intended | OrderState::Deferred))
        }
    }
}

fn never_sent(event: &Event, id: ClientOrderId) -> bool {
    matches!(event, Event::NotSent { id: of, .. } if *of == id)
}

/// Three complete snapshots, asked for over a minute in which no call could still be answered.
fn proved_absent(before: Option<&Order>, event: &Event) -> bool {
    let Event::Reconciled { asked_at, absent, .. } = event else {
        return false;
    };
    before.is_some_and(|before| {
        let doubt = before.doubt.unwrap();
        absent.contains(&before.id)
            && !doubt.outstanding
            && !doubt.held
            && doubt.snapshots >= 2
            && asked_at.since_ms(doubt.since) >= 60_000
            && before.broker_order_id.is_none()
    })
}
