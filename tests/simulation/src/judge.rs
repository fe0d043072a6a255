//! The judge: what must hold at every step and at the end, measured against the ledger's truth.

use std::collections::{HashMap, HashSet};

use qt_core::{
    Alarm, BrokerOrderStatus, ClientOrderId, Effect, Event, ExecutionStatus, NewOrder, Order, OrderState,
    Report, ReportBody, SignalId, Trader, UtcMillis,
};
use qt_market::{Price, Shares};

use crate::backend::Status;
use crate::fault::Fault;
use crate::host::Host;
use crate::journal::RowState;
use crate::world::{Broken, World};

/// What was seen of an order last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    state: OrderState,
    filled: Shares,
}

impl Seen {
    /// What is to be seen of it now.
    #[must_use]
    pub fn of(order: &Order) -> Self {
        Self {
            state: order.state,
            filled: order.filled(),
        }
    }
}

/// What the judge remembers beyond the host's deaths.
#[derive(Debug, Default)]
pub struct Judge {
    submitted: HashSet<ClientOrderId>,
    called: HashSet<ClientOrderId>,
    signal_of: HashMap<ClientOrderId, SignalId>,
    under_review: HashSet<ClientOrderId>,
    alarmed: HashSet<ClientOrderId>,
    disproved: bool,
    /// The most shares that a durable report has told of an order.
    told: HashMap<ClientOrderId, Shares>,
    judged_rows: usize,
    said_again: usize,
}

impl World {
    /// A core that was read from the journal: nothing durable may have shrunk.
    pub(crate) fn judge_restart(&mut self, host: &Host) -> Result<(), Broken> {
        for (id, told) in &self.judge.told {
            let filled = host.trader.order(*id).map(|order| order.filled());
            if filled.is_some_and(|filled| filled < *told) {
                let what = format!("order {id} had {told} shares reported and a restart knows of {filled:?}");
                return self.broken(what);
            }
        }
        Ok(())
    }

    /// One fact was handled.
    pub(crate) fn judge_turn(
        &mut self,
        host: &mut Host,
        event: &Event,
        effects: &[Effect],
    ) -> Result<(), Broken> {
        let trader = &host.trader;
        for order in trader.orders() {
            let now = Seen::of(&order);
            let before = host.seen.insert(order.id, now);
            if before == Some(now) {
                continue;
            }
            self.judge
                .signal_of
                .entry(order.id)
                .or_insert_with(|| order.signal.id.clone());
            if before.is_some_and(|before| now.filled < before.filled) {
                return self.broken(format!("fills shrank: {order:?}"));
            }
            if before.map(|before| before.state) != Some(now.state) {
                self.note(&order);
                if let Err(what) = self.evidence(&order, trader) {
                    return self.broken(format!(
                        "{} without evidence ({what}), by {event:?}: {order:?}",
                        order.state
                    ));
                }
            }
        }
        for effect in effects {
            self.judge_decision(trader, effect)?;
        }
        // The reports of one fact are at most a handful for each order it touches.
        if effects.len() > 16 + 8 * trader.orders().count() {
            return self.broken(format!("{} effects of one fact", effects.len()));
        }
        Ok(())
    }

    fn note(&mut self, order: &Order) {
        match order.state {
            OrderState::Review => {
                self.counts.reviews += 1;
                self.judge.under_review.insert(order.id);
            }
            OrderState::Missing => self.counts.missing += 1,
            OrderState::NotAccepted => self.counts.proofs += 1,
            _ => {}
        }
    }

    fn judge_decision(&mut self, trader: &Trader, effect: &Effect) -> Result<(), Broken> {
        match effect {
            Effect::Submit(order) => {
                if trader.halted().is_some() {
                    return self.broken(format!("order {} is sent after a halt", order.id));
                }
                if !trader.is_connected() || !trader.is_reconciled() {
                    return self.broken(format!(
                        "order {} is sent before the books were compared",
                        order.id
                    ));
                }
            }
            Effect::Alarm(alarm) if alarm.code == "ILLEGAL_STEP" => {
                return self.broken(format!("an illegal step: {}", alarm.text));
            }
            Effect::Cancel { id, .. } if trader.order(*id).is_none_or(|order| order.cancel.is_none()) => {
                return self.broken(format!("nobody wanted order {id} cancelled"));
            }
            _ => {}
        }
        Ok(())
    }

    /// An order's state against the ledger.
    fn evidence(&self, order: &Order, trader: &Trader) -> Result<(), String> {
        let row = self.broker.row(order.id);
        let status = row.map(|row| row.status);
        let truth = row.map_or(0, crate::broker::Row::filled);
        let filled = order.filled();
        let told_late = row.is_some_and(|row| row.told_late);
        let day_over = order.day() < trader.now().trading_date();
        // A person, or a wrong clock, may have said that the day is over.
        let lax = told_late || (day_over && (self.clock_lied || self.judge.under_review.contains(&order.id)));
        let all = filled == truth || lax;
        let fits = match order.state {
            OrderState::Filled => filled >= order.signal.size && filled == truth,
            OrderState::Cancelled => status == Some(BrokerOrderStatus::Cancelled) && filled == 0 && all,
            OrderState::PartiallyCancelled => {
                let ended = status == Some(BrokerOrderStatus::Cancelled)
                    || (status == Some(BrokerOrderStatus::Filled) && told_late);
                filled > 0 && (ended || day_over) && all
            }
            OrderState::Expired => day_over && filled == 0 && all,
            OrderState::Rejected => {
                row.is_none_or(|row| row.status == BrokerOrderStatus::Rejected) && {
                    !self.broker.in_flight.contains_key(&order.id)
                }
            }
            OrderState::NotAccepted => {
                let overdue = self.broker.overdue.contains(&order.id);
                // By a clock that is hours wrong the day of the order goes on after its lists are gone.
                let today = UtcMillis(self.true_ms).trading_date();
                let misdated = self.clock_lied && row.is_some_and(|row| row.day != today);
                overdue
                    || misdated
                    || (row.is_none_or(|row| !row.counts()) && !self.broker.in_flight.contains_key(&order.id))
            }
            OrderState::Denied => !self.judge.called.contains(&order.id),
            OrderState::Working | OrderState::PartiallyFilled => row.is_some(),
            _ => true,
        };
        if fits {
            Ok(())
        } else {
            Err(format!("the ledger says {status:?} with {truth} filled: {row:?}"))
        }
    }

    /// A submit leaves the engine.
    pub(crate) fn judge_submit(&mut self, id: ClientOrderId) -> Result<(), Broken> {
        if self.judge.submitted.insert(id) {
            Ok(())
        } else {
            self.broken(format!("order {id} left twice"))
        }
    }

    /// A call that places an order is about to be made.
    pub(crate) fn judge_call(&mut self, order: &NewOrder) -> Result<(), Broken> {
        if !self.judge.called.insert(order.id) {
            return self.broken(format!("order {} was called twice", order.id));
        }
        let signal = self.judge.signal_of.get(&order.id);
        let first = signal
            .is_some_and(|signal| order.id == ClientOrderId::derive(&self.settings.account_key, signal, 0));
        self.counts.next_attempts += u64::from(!first);
        Ok(())
    }

    /// The broker takes an order: no other attempt at the signal may live or have traded.
    pub(crate) fn judge_acceptance(&mut self, id: ClientOrderId) -> Result<(), Broken> {
        let Some(signal) = self.judge.signal_of.get(&id).cloned() else {
            return Ok(());
        };
        for row in &self.broker.rows {
            let Some(other) = row.id.filter(|other| *other != id) else {
                continue;
            };
            let same = self.judge.signal_of.get(&other) == Some(&signal);
            // A broker that breaks its promise can make two of one; then there must be an alarm.
            let overdue = self.broker.overdue.contains(&other) || self.broker.overdue.contains(&id);
            let excused = overdue || (self.clock_lied && row.day != UtcMillis(self.true_ms).trading_date());
            if same && row.counts() && !excused {
                return self.broken(format!("two orders of signal {signal}: {id} beside {row:?}"));
            }
        }
        Ok(())
    }

    /// An alarm reaches a person.
    pub(crate) fn judge_alarm(&mut self, alarm: &Alarm) -> Result<(), Broken> {
        let named = alarm.text.split(' ').nth(1).and_then(|word| word.parse().ok());
        match (alarm.code, named) {
            ("REVIEW" | "ORDER_MISSING", Some(id)) => {
                self.judge.alarmed.insert(id);
            }
            ("ABSENCE_DISPROVED", _) => self.judge.disproved = true,
            _ => {}
        }
        Ok(())
    }

    /// A report reaches the backend for the first time.
    pub(crate) fn judge_report(&mut self, row: usize, report: &Report) -> Result<(), Broken> {
        let before = self.backend.about.get(&report.order);
        // A dead letter that was set free comes late, and what it would hide is said again after it.
        let is_late = self.journal.outbox.get(row).is_some_and(|row| row.freed);
        if before.is_some_and(|before| before.iter().any(|(other, _)| *other > row)) && !is_late {
            return self.broken(format!("{} came after a later report", report.key()));
        }
        Ok(())
    }

    /// What became durable, and how much waits.
    pub(crate) fn judge_bounds(&mut self, host: &Host) -> Result<(), Broken> {
        for index in self.judge.judged_rows..self.journal.outbox.len() {
            let crate::journal::Row { report, again, .. } = &self.journal.outbox[index];
            self.judge.said_again += usize::from(*again);
            let ReportBody::Execution(execution) = &report.body else {
                continue;
            };
            if *again
                && self
                    .judge
                    .told
                    .get(&report.order)
                    .is_some_and(|told| execution.filled_size <= *told)
            {
                continue;
            }
            let told = self.judge.told.entry(report.order).or_default();
            let grows = execution.filled_size > *told;
            let ends = execution.status != ExecutionStatus::PartialFilled;
            if execution.filled_size < *told || !(grows || ends) {
                let what = format!("{} shares were told, then {report:?}", *told);
                return self.broken(what);
            }
            *told = execution.filled_size;
        }
        self.judge.judged_rows = self.journal.outbox.len();
        let way = usize::try_from(self.settings.max_in_flight).unwrap_or(usize::MAX);
        if host.lane.len() > way {
            return self.broken(format!("{} orders wait for the plugin", host.lane.len()));
        }
        let attempts = self.judge.signal_of.len();
        let fills: usize = self.broker.rows.iter().map(|row| row.trades.len()).sum();
        // Each attempt has its steps and at most one wait of each kind; each trade its execution.
        let made = self.journal.outbox.len() - self.judge.said_again;
        if made > 10 * (attempts + self.backend.signals.len() + 1) + 2 * fills {
            return self.broken(format!(
                "{} reports of {attempts} attempts",
                self.journal.outbox.len()
            ));
        }
        if host.trader.live_count() > attempts {
            return self.broken(format!("{} live orders of {attempts}", host.trader.live_count()));
        }
        if self.idle_ticks > 20 {
            return self.broken("ticks that change nothing follow one another".into());
        }
        Ok(())
    }

    /// True when nothing more will happen.
    pub(crate) fn is_quiet(&self) -> bool {
        let Some(host) = &self.host else { return false };
        let person = self.swarm.has(Fault::PersonDecides);
        let settled = host.trader.live_orders().all(|order| match order.state {
            OrderState::Review => !person,
            _ => self.is_early(order),
        });
        let reported = self.journal.waiting.is_empty()
            && self
                .journal
                .outbox
                .iter()
                .all(|row| row.state == RowState::Delivered);
        let pending = self
            .backend
            .signals
            .iter()
            .filter(|held| held.status == Status::Pending);
        let mut taken: Vec<_> = pending.map(|held| held.signal.clone()).collect();
        host.trader.retain_news(&mut taken, &mut Vec::new());
        settled
            && reported
            && taken.is_empty()
            && !host.failing
            && host.inbox.is_empty()
            && host.batch.is_empty()
            && host.lane.is_empty()
            && host.call.is_none()
            && self.broker.in_flight.is_empty()
    }

    /// Everything has come to rest, or should have.
    pub(crate) fn judge_end(&mut self) -> Result<(), Broken> {
        let Some(mut host) = self.host.take() else {
            return self.broken("the host never came back".into());
        };
        for order in host.trader.live_orders().filter(|order| !self.is_early(order)) {
            self.judge_open(order)?;
        }
        if let Some((row, order)) = self.journal.waiting.first_key_value() {
            return self.broken(format!("report {row} of order {order} was never delivered"));
        }
        for index in 0..self.broker.rows.len() {
            self.judge_row(&host, index)?;
        }
        self.judge_replay(&mut host)
    }

    /// By a clock that was set back, its time has not come: the signal's own times count by that clock.
    fn is_early(&self, order: &Order) -> bool {
        let later = |at: Option<UtcMillis>| at.is_some_and(|at| at > self.wall());
        let waits = match order.state {
            OrderState::Deferred => later(order.signal.activate_after),
            OrderState::Working | OrderState::PartiallyFilled => later(order.signal.valid_until),
            _ => false,
        };
        self.clock_lied && waits
    }

    fn judge_open(&self, order: &Order) -> Result<(), Broken> {
        let today = UtcMillis(self.true_ms).trading_date();
        let row = self.broker.row(order.id);
        if !matches!(order.state, OrderState::Review | OrderState::Missing) {
            return self.broken(format!(
                "{} is no end: {order:?}; in the ledger {row:?}",
                order.state
            ));
        }
        if !self.judge.alarmed.contains(&order.id) {
            return self.broken(format!("nobody was told of {order:?}"));
        }
        let shown = row.is_some_and(|row| row.day == today && row.shown.is_some());
        // A clock that is wrong may end a day at noon; then a person is asked too early.
        if shown && order.day() == today && !self.clock_lied {
            return self.broken(format!(
                "a person is asked although the books show it: {order:?}; {row:?}"
            ));
        }
        Ok(())
    }

    /// The backend's records against a row of the ledger.
    fn judge_row(&self, host: &Host, index: usize) -> Result<(), Broken> {
        let row = &self.broker.rows[index];
        let Some(id) = row.id.filter(|_| row.counts()) else {
            return Ok(());
        };
        let about = self.backend.about.get(&id);
        // The backend holds what it heard last.
        let mut told = about
            .into_iter()
            .flatten()
            .filter_map(|(_, report)| match &report.body {
                ReportBody::Execution(execution) => Some(execution),
                _ => None,
            });
        let last = told.next_back();
        let told = last.map_or(0, |execution| execution.filled_size);
        // What only a person can find may stay unknown: its day is over, or it lost our id.
        let open = host
            .trader
            .order(id)
            .is_some_and(|order| order.state == OrderState::Review);
        let of_the_past = row.day != UtcMillis(self.true_ms).trading_date();
        if self.judge.under_review.contains(&id) && (of_the_past || open || row.shown.is_none()) {
            return Ok(());
        }
        // The lists show one day: what came into them after the last look of its day is not there.
        let unknowable = self.broker.overdue.contains(&id) || row.told_late;
        let anonymous = self.broker.overdue.contains(&id) && row.shown.is_none();
        // A wrong clock can end a day at noon, or let its lists go by unread.
        if ((unknowable || self.clock_lied) && of_the_past) || anonymous || (unknowable && self.clock_lied) {
            return Ok(());
        }
        if told != row.filled() {
            return self.broken(format!("{told} shares were reported of {row:?}"));
        }
        let amount = last.map_or(Price::ZERO, |last| last.filled_price * Price::from(told));
        if (amount - row.amount()).abs() > Price::new(1, 3) {
            return self.broken(format!("{amount} yuan were reported of {row:?}"));
        }
        let lives = host.trader.order(id).is_some_and(|order| self.is_early(&order));
        if row.status != BrokerOrderStatus::Open && !lives {
            let ended = last.is_some_and(|last| last.status != ExecutionStatus::PartialFilled);
            if !ended {
                return self.broken(format!("its end was never reported: {row:?}"));
            }
        }
        if self.broker.overdue.contains(&id) && !self.judge.disproved {
            let doubled = host.trader.order(id).is_some_and(|order| order.revived);
            if doubled {
                return self.broken(format!("a proof was wrong and nobody was told: {row:?}"));
            }
        }
        Ok(())
    }

    /// Replay equals live, from the start and from the checkpoint.
    fn judge_replay(&self, host: &mut Host) -> Result<(), Broken> {
        let mut again = Trader::new();
        if let Err(e) = self.journal.replay(&mut again, 0) {
            return self.broken(e);
        }
        let mut loaded = match self.journal.load() {
            Ok(loaded) => loaded,
            Err(e) => return self.broken(e),
        };
        for other in [&mut again, &mut loaded] {
            if other.digest() != host.trader.digest() || other.frame() != host.trader.frame() {
                return self.broken("a replay gives another state than the one that lives".into());
            }
            let same = other
                .orders()
                .all(|order| host.trader.order(order.id) == Some(order));
            if !same {
                return self.broken("a replay gives other orders under the same digest".into());
            }
        }
        Ok(())
    }
}
