//! Signals in, orders out.

use std::sync::Arc;

use qt_market::Side;

use super::digest::Key;
use super::{Settled, Trader};
use crate::event::{Effect, NewOrder};
use crate::ids::{ClientOrderId, SignalId};
use crate::order::{Doubt, Order, OrderState, Step};
use crate::report::{Report, ReportBody};
use crate::risk::{self, Refusal, Verdict};
use crate::signal::{InvalidSignal, Signal};
use crate::time::UtcMillis;

/// The order in which signals go: sales first, then the smaller priority, then the older.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    is_purchase: bool,
    priority: i64,
    created_at: i64,
    signal: SignalId,
}

impl Rank {
    pub(super) fn of(signal: &Signal) -> Self {
        Self {
            is_purchase: signal.side == Side::Buy,
            priority: signal.execution_priority,
            // One without a time goes after those that have one.
            created_at: signal.created_at.map_or(i64::MAX, |at| at.0),
            signal: signal.id.clone(),
        }
    }
}

/// True for the codes of gates that open by a fact and not by time.
pub(super) fn waits_for_facts(code: &str) -> bool {
    matches!(
        code,
        "REDUCING" | "OUTSIDE_CAGE" | "BOOK_UNKNOWN" | "SHARES_HELD" | "SELL_BARRIER" | "CASH"
    )
}

/// What is known of a signal that the backend shows.
enum Known {
    New,
    NextAttempt,
    /// A next attempt that may come once the one before has ended.
    NotYet,
    Already,
}

/// Why a signal was not taken that whoever brought it must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It is for another account.
    NotOurs,
    /// It may be taken later.
    NotNow,
}

impl Trader {
    pub(super) fn take_signals(
        &mut self,
        taken: &[Signal],
        invalid: &[InvalidSignal],
        now: UtcMillis,
        effects: &mut Vec<Effect>,
    ) {
        for signal in invalid {
            self.refuse(signal, effects);
        }
        if self.halted.is_some() {
            // They stay with the backend, which shows them again once trading goes on.
            return;
        }
        // An odd sale may be the rest beside a sale of the same batch, which must be known then.
        let (odd, others): (Vec<_>, Vec<_>) = taken.iter().partition(|signal| self.is_odd_sale(signal));
        for signal in others.into_iter().chain(odd) {
            self.take(signal, now, effects);
        }
    }

    /// True for a sale that only the rest of a holding may be.
    fn is_odd_sale(&self, signal: &Signal) -> bool {
        // A purchase is held to whole lots whatever is held.
        let is_lot = || {
            let day = self.day.civil();
            self.market()
                .check_quantity(&signal.symbol, Side::Buy, signal.size, None, false, day)
        };
        signal.side == Side::Sell && self.settings.gates.market_rules && is_lot().is_err()
    }

    /// What the sales that are lots by themselves and have not been sent yet will hold beside an odd one.
    fn unsent_beside(&self, order: &Order) -> risk::Unsent {
        if !self.is_odd_sale(&order.signal) {
            return risk::Unsent::default();
        }
        let rank = (Rank::of(&order.signal), order.id);
        let mut unsent = risk::Unsent::default();
        for other in self.live_orders() {
            let signal = &other.signal;
            let waits = matches!(other.state, OrderState::Intended | OrderState::Deferred);
            let counts = waits && signal.side == Side::Sell && signal.symbol == order.signal.symbol;
            if !counts || other.id == order.id || self.is_odd_sale(signal) {
                continue;
            }
            unsent.all = unsent.all.saturating_add(signal.size);
            if other.state == OrderState::Intended && (Rank::of(signal), other.id) < rank {
                unsent.before = unsent.before.saturating_add(signal.size);
            }
        }
        unsent
    }

    /// Keeps only the signals that would lead to something, so that what the backend shows again
    /// and again never enters the journal twice. Those that must not be forgotten by whoever brought them are given back:
    /// a backend that is asked shows them again by itself, and one that hands them out once does not.
    pub fn retain_news(
        &self,
        taken: &mut Vec<Signal>,
        invalid: &mut Vec<InvalidSignal>,
    ) -> Vec<(SignalId, Left)> {
        invalid.retain(|signal| self.is_news(signal));
        let mut left = Vec::new();
        taken.retain(|signal| {
            let why = if self.is_ours(signal) {
                match self.known(signal) {
                    Known::New | Known::NextAttempt if self.halted.is_none() => return true,
                    Known::New | Known::NextAttempt | Known::NotYet => Left::NotNow,
                    Known::Already => return false,
                }
            } else {
                Left::NotOurs
            };
            left.push((signal.id.clone(), why));
            false
        });
        left
    }

    fn is_ours(&self, signal: &Signal) -> bool {
        // The number is hashed only where somebody asked for the comparison.
        if let (Some(mark), Some(theirs)) = (&self.settings.gates.account_mark, &signal.account_id)
            && super::account_mark(theirs) != *mark
        {
            return false;
        }
        match (
            &signal.securities_account_id,
            &self.settings.securities_account_id,
        ) {
            (Some(theirs), Some(ours)) => theirs == ours,
            _ => true,
        }
    }

    /// True when some attempt at the signal, not only the latest, allows no other beside it.
    fn is_barred(&self, signal: &SignalId) -> bool {
        self.revived.contains(signal) || self.settled(signal).is_some_and(|settled| !settled.reopens)
    }

    fn known(&self, signal: &Signal) -> Known {
        if self.is_barred(&signal.id) {
            return Known::Already;
        }
        if let Some(order) = self.order_of_signal(&signal.id) {
            return match signal.retry_count > order.signal.retry_count {
                true if order.allows_next_attempt() => Known::NextAttempt,
                true if !order.state.is_ended() => Known::NotYet,
                _ => Known::Already,
            };
        }
        match self.settled(&signal.id) {
            Some(Settled { retry_count, reopens }) if reopens && signal.retry_count > retry_count => {
                Known::NextAttempt
            }
            Some(_) => Known::Already,
            // One that was not understood and has been mended comes with a higher count.
            None => match self.refused.get(&signal.id) {
                Some(retry_count) if signal.retry_count <= *retry_count => Known::Already,
                _ => Known::New,
            },
        }
    }

    fn take(&mut self, signal: &Signal, now: UtcMillis, effects: &mut Vec<Effect>) {
        if !self.is_ours(signal) || matches!(self.known(signal), Known::Already | Known::NotYet) {
            return;
        }
        let id = ClientOrderId::derive(&self.settings.account_key, &signal.id, signal.retry_count);
        if self.orders.contains_key(&id) {
            return;
        }
        self.insert(Order::new(id, Arc::new(signal.clone()), now));
        self.run_checks(id, now, effects);
    }

    /// Puts an order that was never sent through the checks.
    pub(super) fn run_checks(&mut self, id: ClientOrderId, now: UtcMillis, effects: &mut Vec<Effect>) {
        let Some(order) = self.whole(id) else { return };
        let signal = &order.signal;
        let is_latest = |signal: &SignalId, id| self.by_signal.get(&Key::of(&signal.0)) == Some(&id);
        let plan = signal.plan_id.as_deref();
        let rate = self.settings.gates.rate;
        let context = risk::Context {
            now,
            barred_since: self.exposure.barred_since(id),
            connected: self.connected,
            reducing: self.reducing.as_deref(),
            settings: &self.settings,
            market: self.market(),
            exposure: &self.exposure,
            plan: plan.map_or_else(Default::default, |plan| self.exposure.plan_sales(plan, is_latest)),
            day_has_room: rate.is_none_or(|rate| self.exposure.governor.day_has_room(&rate)),
            unsent: self.unsent_beside(order),
        };
        let verdict = if self.is_barred(&order.signal.id) {
            // While this attempt waited, the one before it turned out to be at the broker.
            let reason = "an earlier attempt was at the broker after all; this one was never sent".to_owned();
            Verdict::Deny(Refusal {
                code: "EARLIER_ATTEMPT_FOUND",
                reason,
            })
        } else {
            risk::check(&order.signal, &context)
        };
        let was_intended = order.state == OrderState::Intended;
        if matches!(&verdict, Verdict::Defer(refusal) if refusal.code == "SELL_BARRIER") {
            self.exposure.bar(id, now);
        }
        self.change(id, now, effects, |order| match verdict {
            Verdict::Pass(limit) => {
                order.limit = limit;
                order.code = None;
                order.reason = None;
                if was_intended {
                    Ok(())
                } else {
                    order.step(Step::Intend, now)
                }
            }
            Verdict::Defer(refusal) => {
                order.code = Some(refusal.code.to_owned());
                order.reason = Some(refusal.reason);
                order.step(Step::Defer, now)
            }
            Verdict::Deny(refusal) => {
                order.code = Some(refusal.code.to_owned());
                order.reason = Some(refusal.reason);
                order.step(Step::Deny, now)
            }
        });
    }

    fn is_news(&self, signal: &InvalidSignal) -> bool {
        let Some(id) = &signal.id else { return false };
        let fresh = self
            .refused
            .get(id)
            .is_none_or(|retry_count| signal.retry_count > *retry_count);
        fresh && !self.by_signal.contains_key(&Key::of(&id.0)) && self.settled(id).is_none()
    }

    fn refuse(&mut self, signal: &InvalidSignal, effects: &mut Vec<Effect>) {
        let Some(id) = signal.id.as_ref().filter(|_| self.is_news(signal)) else {
            return;
        };
        self.refused.insert(id.clone(), signal.retry_count);
        let order = ClientOrderId::derive(&self.settings.account_key, id, signal.retry_count);
        // No alarm: whoever made it is told by the backend, and whoever read it has logged it.
        effects.push(Effect::Report(Report {
            order,
            signal: id.clone(),
            step: "failed".into(),
            body: ReportBody::Failed {
                last_error: signal.reason.clone(),
            },
        }));
    }

    /// Signals that the backend holds as submitted and this journal does not know: the journal may
    /// be lost, so the broker is asked, and nothing is sent.
    pub(super) fn take_held(&mut self, signals: &[Signal], now: UtcMillis, effects: &mut Vec<Effect>) {
        let mut adopted = false;
        for signal in signals {
            let today = signal.created_at.is_some_and(|at| at.trading_date() == self.day);
            let known = self.by_signal.contains_key(&Key::of(&signal.id.0))
                || self.settled(&signal.id).is_some()
                || self.refused.contains_key(&signal.id);
            if !today || known || !self.is_ours(signal) {
                continue;
            }
            let id = ClientOrderId::derive(&self.settings.account_key, &signal.id, signal.retry_count);
            let mut order = Order::new(id, Arc::new(signal.clone()), now);
            order.state = OrderState::Unknown;
            order.sent_at = signal.created_at;
            order.reason = Some("the backend holds it as submitted and this journal does not know it".into());
            order.doubt = Some(Doubt {
                began: now,
                since: now,
                outstanding: false,
                snapshots: 0,
                held: true,
                alarmed: false,
            });
            order.told.submitted = true;
            self.insert(order);
            adopted = true;
        }
        if adopted {
            effects.push(Effect::Ask);
        }
    }

    /// True when an order that is ready may go to the broker.
    pub(super) fn may_release(&self, now: UtcMillis) -> bool {
        let rate = self.settings.gates.rate;
        self.connected
            && self.reconciled
            && self.halted.is_none()
            && self.submitting < self.settings.max_in_flight
            && !self.ready.is_empty()
            && rate.is_none_or(|rate| self.exposure.governor.lets_order(&rate, self.submitting, now))
    }

    /// Puts the orders through the gates again that wait for something that only facts bring about: such a fact came.
    pub(super) fn look_again(&mut self, now: UtcMillis, effects: &mut Vec<Effect>) {
        for id in self.waiting.clone() {
            self.run_checks(id, now, effects);
        }
    }

    fn count_sent(&mut self, id: ClientOrderId, now: UtcMillis) {
        let gates = &self.settings.gates;
        let window_ms = gates.duplicate_window_ms;
        if gates.rate.is_some() {
            self.exposure.governor.order_left();
        }
        let order = self.orders.get(&id).and_then(super::Slot::whole);
        if let Some(order) = order.filter(|_| window_ms > 0) {
            self.exposure.sent(order, window_ms, now);
        }
    }

    /// Hands intended orders to the broker, as many as may be on their way at once.
    pub(super) fn release(&mut self, now: UtcMillis, effects: &mut Vec<Effect>) {
        while self.may_release(now) {
            let Some((_, id)) = self.ready.first().cloned() else {
                return;
            };
            // Time has passed since it was decided: every check again.
            self.run_checks(id, now, effects);
            if self
                .order(id)
                .is_none_or(|order| order.state != OrderState::Intended)
            {
                continue;
            }
            self.change(id, now, effects, |order| {
                order.sent_at = Some(now);
                order.step(Step::Send, now)
            });
            self.count_sent(id, now);
            if let Some(order) = self.whole(id) {
                effects.push(Effect::Submit(Box::new(NewOrder {
                    id,
                    symbol: order.signal.symbol,
                    side: order.signal.side,
                    size: order.signal.size,
                    limit: order.limit,
                    not_after: order.signal.valid_until,
                    strategy: order.signal.strategy.clone(),
                })));
            }
        }
    }
}
