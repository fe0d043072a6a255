//! What the broker answers and shows.

use std::collections::HashSet;

use super::{Trader, alarm};
use crate::event::{BrokerFill, BrokerOrder, BrokerOrderStatus, Effect};
use crate::ids::{BrokerOrderId, ClientOrderId};
use crate::order::{Doubt, Fill, Order, OrderState, Step};
use crate::time::UtcMillis;

impl Trader {
    pub(super) fn accepted(
        &mut self,
        id: ClientOrderId,
        broker_order_id: &BrokerOrderId,
        now: UtcMillis,
        effects: &mut Vec<Effect>,
    ) {
        let Some(order) = self.whole(id) else { return };
        if let Some(known) = order
            .broker_order_id
            .as_ref()
            .filter(|known| *known != broker_order_id)
        {
            let text = format!("order {id} is {known} at the broker, and now also {broker_order_id}");
            effects.push(alarm("TWO_BROKER_ORDERS", text));
            return;
        }
        if order.state == OrderState::NotAccepted {
            effects.push(proof_was_wrong(order));
        }
        self.change(id, now, effects, |order| {
            order.broker_order_id = Some(broker_order_id.clone());
            // A push may have overtaken the answer and ended it already.
            if order.state.is_ended() && order.state != OrderState::NotAccepted {
                return Ok(());
            }
            order.reason = None;
            order.take_up(now)
        });
        self.send_waiting_cancel(id, now, effects);
    }

    pub(super) fn rejected(
        &mut self,
        id: ClientOrderId,
        reason: &str,
        now: UtcMillis,
        effects: &mut Vec<Effect>,
    ) {
        let Some(order) = self.whole(id) else { return };
        match order.state {
            OrderState::Submitting | OrderState::Unknown | OrderState::Review if !order.was_accepted() => {
                self.change(id, now, effects, |order| {
                    order.reason = Some(reason.to_owned());
                    order.step(Step::Refuse, now)
                });
            }
            OrderState::Working | OrderState::PartiallyFilled | OrderState::Missing | OrderState::Review => {
                // The books were seen to hold it: they are believed, and asked again.
                let text = format!(
                    "order {id} is at the broker, yet its call was answered with a refusal: {reason}"
                );
                effects.push(alarm("REFUSED_BUT_LIVE", text));
                effects.push(Effect::Ask);
            }
            _ => {}
        }
    }

    pub(super) fn unanswered(
        &mut self,
        id: ClientOrderId,
        reason: &str,
        outstanding: bool,
        now: UtcMillis,
        effects: &mut Vec<Effect>,
    ) {
        let Some(order) = self.whole(id) else { return };
        if !matches!(order.state, OrderState::Submitting | OrderState::Unknown) {
            return;
        }
        self.change(id, now, effects, |order| order.doubt_it(reason, outstanding, now));
        effects.push(Effect::Ask);
    }

    pub(super) fn not_sent(
        &mut self,
        id: ClientOrderId,
        reason: &str,
        now: UtcMillis,
        effects: &mut Vec<Effect>,
    ) {
        if self
            .order(id)
            .is_some_and(|order| order.state == OrderState::Submitting)
        {
            self.change(id, now, effects, |order| {
                order.reason = Some(format!("never handed to the broker: {reason}"));
                order.step(Step::ProveAbsent, now)
            });
        }
    }

    pub(super) fn order_seen(&mut self, row: &BrokerOrder, now: UtcMillis, effects: &mut Vec<Effect>) {
        let Some(order) = self.find(row.id, &row.broker_order_id) else {
            return;
        };
        let id = order.id;
        if order.signal.symbol != row.symbol || order.signal.side != row.side || order.signal.size != row.size
        {
            let text = format!(
                "order {id} is {} {} {} here and {} {} {} at the broker; the broker's row is not used",
                order.signal.side, order.signal.size, order.signal.symbol, row.side, row.size, row.symbol
            );
            effects.push(alarm("ORDER_DIFFERS", text));
            return;
        }
        if order.state == OrderState::NotAccepted && row.status != BrokerOrderStatus::Rejected {
            effects.push(proof_was_wrong(order));
        }
        self.change(id, now, effects, |order| order.see(row, now));
        if self.whole(id).is_some_and(Order::lacks_trades) {
            effects.push(Effect::Ask);
        }
        self.send_waiting_cancel(id, now, effects);
    }

    pub(super) fn fill_seen(&mut self, seen: &BrokerFill, now: UtcMillis, effects: &mut Vec<Effect>) {
        let Some(order) = self.find(seen.id, &seen.broker_order_id) else {
            return;
        };
        let id = order.id;
        if order.signal.symbol != seen.symbol || order.signal.side != seen.side || seen.size <= 0 {
            let text = format!(
                "trade {} of {} {} {} does not fit order {id}",
                seen.fill_id, seen.side, seen.size, seen.symbol
            );
            effects.push(alarm("TRADE_DIFFERS", text));
            return;
        }
        if let Some(booked) = order.fills.iter().find(|fill| fill.id == seen.fill_id) {
            if booked.size != seen.size || booked.price != seen.price {
                let text = format!(
                    "trade {} of order {id} came again with other figures; the first ones stay",
                    seen.fill_id
                );
                effects.push(alarm("TRADE_CHANGED", text));
            }
            return;
        }
        if order.state == OrderState::NotAccepted {
            effects.push(proof_was_wrong(order));
        }
        if order.state.is_ended() {
            let text = format!(
                "order {id} was {} and trade {} of {} shares still came; it is booked",
                order.state, seen.fill_id, seen.size
            );
            effects.push(alarm("FILL_AFTER_END", text));
        }
        if order.filled().saturating_add(seen.size) > order.signal.size {
            let text = format!(
                "order {id} of {} shares has {} filled with trade {}",
                order.signal.size,
                order.filled().saturating_add(seen.size),
                seen.fill_id
            );
            effects.push(alarm("OVERFILLED", text));
        }
        self.change(id, now, effects, |order| order.book(seen, now));
    }

    pub(super) fn reconciled(
        &mut self,
        asked_at: UtcMillis,
        absent: &[ClientOrderId],
        alike: &[(ClientOrderId, BrokerOrderId)],
        foreign: u64,
        now: UtcMillis,
        effects: &mut Vec<Effect>,
    ) {
        self.foreign = foreign;
        self.reconciled = true;
        for id in absent {
            let twin = alike
                .iter()
                .find(|(ours, _)| ours == id)
                .map(|(_, theirs)| theirs);
            self.absent(*id, asked_at, twin, now, effects);
        }
        let absent: HashSet<_> = absent.iter().copied().collect();
        let shown: Vec<_> = self
            .live_orders()
            .filter(|order| order.state.is_working() && order.accepted_at.is_some_and(|at| at < asked_at))
            .map(|order| order.id)
            .filter(|id| !absent.contains(id))
            .collect();
        for id in shown {
            self.change(id, now, effects, |order| {
                // Snapshots may come back in another order than they were asked for.
                order.last_seen_at = order.last_seen_at.max(Some(asked_at));
                Ok(())
            });
        }
    }

    fn absent(
        &mut self,
        id: ClientOrderId,
        asked_at: UtcMillis,
        twin: Option<&BrokerOrderId>,
        now: UtcMillis,
        effects: &mut Vec<Effect>,
    ) {
        let settings = self.settings.clone();
        let Some(order) = self.whole(id) else { return };
        match order.state {
            OrderState::Unknown => {
                if let Some(twin) = twin {
                    let reason =
                        format!("the broker shows {twin}, which looks the same but does not carry our id");
                    self.put_before_person(id, &reason, now, effects);
                    return;
                }
                self.change(id, now, effects, |order| {
                    if let Some(doubt) = order.doubt.as_mut().filter(|doubt| doubt.since < asked_at) {
                        doubt.snapshots = doubt.snapshots.saturating_add(1);
                    }
                    Ok(())
                });
                self.conclude_absent(id, asked_at, now, effects);
            }
            OrderState::Working | OrderState::PartiallyFilled
                // A fresh order shows late in queries.
                if order
                    .accepted_at
                    .is_some_and(|at| asked_at.since_ms(at) >= settings.unknown_settle_ms)
                => {
                    self.change(id, now, effects, |order| order.step(Step::Miss, now));
                    effects.push(alarm(
                        "ORDER_MISSING",
                        format!("order {id} is no longer in the broker's list; it stays open here"),
                    ));
                }
            _ => {}
        }
    }

    /// Several complete snapshots over a set time, no call that may still answer, and the same day.
    ///
    /// What counts is when the snapshot was asked for: one that comes back late tells of the past.
    fn conclude_absent(
        &mut self,
        id: ClientOrderId,
        asked_at: UtcMillis,
        now: UtcMillis,
        effects: &mut Vec<Effect>,
    ) {
        let Some(order) = self.whole(id) else { return };
        let Some(doubt) = order.doubt else { return };
        let enough = doubt.snapshots >= self.settings.unknown_snapshots
            && asked_at.since_ms(doubt.since) >= self.settings.unknown_settle_ms;
        if !enough || doubt.outstanding {
            return;
        }
        // Where the broker once named it, it was there.
        let named = order.broker_order_id.is_some();
        if doubt.held || named || self.settings.never_resend || order.day() != self.day {
            let reason = if order.day() == self.day {
                "the broker's lists do not show it, which does not prove that it was never there"
            } else {
                "a day has passed, and the broker's lists show only the present one"
            };
            self.put_before_person(id, reason, now, effects);
            return;
        }
        self.change(id, now, effects, |order| {
            order.reason = Some(format!(
                "{} complete snapshots of the broker's books did not show it",
                doubt.snapshots
            ));
            order.step(Step::ProveAbsent, now)
        });
    }

    pub(super) fn put_before_person(
        &mut self,
        id: ClientOrderId,
        reason: &str,
        now: UtcMillis,
        effects: &mut Vec<Effect>,
    ) {
        self.change(id, now, effects, |order| {
            order.reason = Some(reason.to_owned());
            order.step(Step::NeedPerson, now)
        });
        let text = format!("order {id} needs a person: {reason}; see `qt-host orders --review`");
        effects.push(alarm("REVIEW", text));
    }

    /// The order that the event in hand speaks of.
    fn find(&self, id: Option<ClientOrderId>, broker_order_id: &BrokerOrderId) -> Option<&Order> {
        self.named(id, broker_order_id).and_then(|id| self.whole(id))
    }
}

pub(super) fn proof_was_wrong(order: &Order) -> Effect {
    let text = format!(
        "order {} was taken for never accepted, and the broker has it after all; check signal {} for a second order",
        order.id, order.signal.id
    );
    alarm("ABSENCE_DISPROVED", text)
}

impl Order {
    pub(super) fn doubt_it(
        &mut self,
        reason: &str,
        outstanding: bool,
        now: UtcMillis,
    ) -> Result<(), crate::order::IllegalTransition> {
        self.step(Step::LoseAnswer, now)?;
        self.reason = Some(reason.to_owned());
        let fresh = Doubt {
            began: now,
            since: now,
            outstanding,
            snapshots: 0,
            held: false,
            alarmed: false,
        };
        let doubt = self.doubt.get_or_insert(fresh);
        if doubt.outstanding && !outstanding {
            // Until now it could still be accepted: only what is seen from here on counts.
            *doubt = Doubt {
                began: doubt.began,
                alarmed: doubt.alarmed,
                held: doubt.held,
                ..fresh
            };
        }
        doubt.outstanding = outstanding;
        Ok(())
    }

    /// Takes in the broker's row.
    fn see(&mut self, row: &BrokerOrder, now: UtcMillis) -> Result<(), crate::order::IllegalTransition> {
        self.broker_order_id
            .get_or_insert_with(|| row.broker_order_id.clone());
        self.broker_filled = self.broker_filled.max(row.filled);
        if self.state.is_ended() && self.state != OrderState::NotAccepted {
            return Ok(());
        }
        match row.status {
            BrokerOrderStatus::Unclear => Ok(()),
            BrokerOrderStatus::Open => self.show(now),
            BrokerOrderStatus::Rejected if self.fills.is_empty() && row.filled == 0 => {
                if self.state == OrderState::NotAccepted {
                    return Ok(());
                }
                self.reason.clone_from(&row.reason);
                self.step(Step::Refuse, now)
            }
            BrokerOrderStatus::Filled | BrokerOrderStatus::Cancelled | BrokerOrderStatus::Rejected => {
                if row.status == BrokerOrderStatus::Filled {
                    self.broker_filled = self.signal.size;
                }
                if row.reason.is_some() {
                    self.reason.clone_from(&row.reason);
                }
                self.broker_ended = true;
                if self.lacks_trades() {
                    self.show(now)
                } else {
                    self.end(now)
                }
            }
        }
    }

    /// True when the broker's row counts more shares than the trades that were seen.
    pub(super) fn lacks_trades(&self) -> bool {
        self.filled() < self.broker_filled
    }

    /// It is at the broker.
    pub(super) fn take_up(&mut self, now: UtcMillis) -> Result<(), crate::order::IllegalTransition> {
        self.step(
            if self.fills.is_empty() {
                Step::Accept
            } else {
                Step::ShowPart
            },
            now,
        )
    }

    fn show(&mut self, now: UtcMillis) -> Result<(), crate::order::IllegalTransition> {
        self.step(
            if self.fills.is_empty() {
                Step::Show
            } else {
                Step::ShowPart
            },
            now,
        )
    }

    fn end(&mut self, now: UtcMillis) -> Result<(), crate::order::IllegalTransition> {
        let filled = self.filled();
        let step = match filled {
            0 => Step::End,
            _ if filled >= self.signal.size => Step::FillAll,
            _ => Step::EndPart,
        };
        self.step(step, now)
    }

    /// Books a trade that was not booked before.
    fn book(&mut self, seen: &BrokerFill, now: UtcMillis) -> Result<(), crate::order::IllegalTransition> {
        let all = self.filled().saturating_add(seen.size) >= self.signal.size;
        self.broker_order_id
            .get_or_insert_with(|| seen.broker_order_id.clone());
        self.step(if all { Step::FillAll } else { Step::FillSome }, now)?;
        self.fills.push(Fill::from(seen));
        if self.broker_ended && !self.state.is_ended() && !self.lacks_trades() {
            return self.end(now);
        }
        Ok(())
    }
}
