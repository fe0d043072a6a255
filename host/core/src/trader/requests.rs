//! What people ask for, what the connection does, and a process's start.

use std::sync::Arc;

use qt_market::Market;

use super::{Settings, Trader, alarm};
use crate::event::Effect;
use crate::ids::{BrokerOrderId, ClientOrderId};
use crate::order::{Cancel, Doubt, OrderState, Step};
use crate::time::UtcMillis;

impl Trader {
    pub(super) fn host_started(&mut self, settings: &Settings, now: UtcMillis, effects: &mut Vec<Effect>) {
        self.settings = settings.clone();
        self.use_tables();
        if settings.gates.are_open() {
            self.exposure.forget();
        } else {
            self.exposure.settles_in(settings.gates.book_settle_ms);
            self.exposure.host_started(now);
        }
        self.wake_anew();
        self.look_again = true;
        self.connected = false;
        self.away_since_start(now);
        self.reconciled = false;
        self.restart_doubts(now, effects);
        self.restart_alarms(now, effects);
        let lost: Vec<_> = self
            .live_orders()
            .filter(|order| matches!(order.state, OrderState::Submitting | OrderState::Unknown))
            .map(|order| order.id)
            .collect();
        for id in lost {
            self.change(id, now, effects, |order| {
                order.doubt_it(
                    "the process ended before the broker's answer was in the journal",
                    false,
                    now,
                )
            });
        }
        self.remind(effects);
        effects.push(Effect::Ask);
    }

    /// The process before may have died before its alarm was seen.
    fn remind(&self, effects: &mut Vec<Effect>) {
        // Every order of the day is looked at only where there is one to find.
        if !self.revived.is_empty() {
            let mut revived: Vec<_> = self.orders().filter(|order| order.revived).collect();
            revived.sort_unstable_by_key(|order| order.id);
            effects.extend(
                revived
                    .iter()
                    .map(|order| super::evidence::proof_was_wrong(order)),
            );
        }
        for order in self.live_orders() {
            let id = order.id;
            if order.state == OrderState::Review {
                let reason = order.reason.as_deref().unwrap_or("its state is unclear");
                let text = format!("order {id} needs a person: {reason}; see `qt-host orders --review`");
                effects.push(alarm("REVIEW", text));
            } else if order.state == OrderState::Missing {
                let text = format!("order {id} is no longer in the broker's list; it stays open here");
                effects.push(alarm("ORDER_MISSING", text));
            }
        }
    }

    /// Two moments with a start, a clock's jump or a broker's absence between them say nothing of the time that passed, in
    /// which nobody looked: what absence is to prove is counted anew.
    pub(super) fn restart_doubts(&mut self, now: UtcMillis, effects: &mut Vec<Effect>) {
        self.change_doubts(now, effects, |doubt| {
            doubt.since = now;
            doubt.snapshots = 0;
        });
    }

    /// What a start or a clock's jump left unclear has not lasted long for anybody to see. A broker's absence does not count:
    /// one that comes and goes must not keep a person from being told.
    pub(super) fn restart_alarms(&mut self, now: UtcMillis, effects: &mut Vec<Effect>) {
        self.change_doubts(now, effects, |doubt| doubt.began = now);
    }

    fn change_doubts(&mut self, now: UtcMillis, effects: &mut Vec<Effect>, change: impl Fn(&mut Doubt)) {
        let doubted: Vec<_> = self
            .live_orders()
            .filter(|order| order.doubt.is_some())
            .map(|order| order.id)
            .collect();
        for id in doubted {
            self.change(id, now, effects, |order| {
                order.doubt.as_mut().map(&change);
                Ok(())
            });
        }
    }

    pub(super) fn connection(&mut self, up: bool, reason: &str, now: UtcMillis, effects: &mut Vec<Effect>) {
        if up == self.connected {
            self.still_away(reason);
            return;
        }
        self.connected = up;
        if up {
            self.away = None;
            // What happened while it was away is asked for before anything new is sent.
            self.reconciled = false;
            self.exposure.forget_book();
            self.restart_doubts(now, effects);
            effects.push(Effect::Ask);
        } else {
            self.left(reason, now, effects);
        }
    }

    pub(super) fn cancel_wanted(
        &mut self,
        id: ClientOrderId,
        by: &str,
        now: UtcMillis,
        effects: &mut Vec<Effect>,
    ) {
        let Some(order) = self.whole(id) else { return };
        match order.state {
            OrderState::Deferred | OrderState::Intended => self.change(id, now, effects, |order| {
                order.code = Some("CANCELLED_BEFORE_SENT".into());
                order.reason = Some(format!("cancelled by {by} before it was sent"));
                order.step(Step::Deny, now)
            }),
            state if state.is_ended() => {}
            _ => {
                self.change(id, now, effects, |order| {
                    let fresh = Cancel {
                        by: by.to_owned(),
                        wanted_at: now,
                        sent_at: None,
                        tries: 0,
                        problem: None,
                    };
                    order.cancel.get_or_insert(fresh);
                    Ok(())
                });
                self.send_waiting_cancel(id, now, effects);
            }
        }
    }

    /// Passes on a cancel that was wanted before the order could be named to the broker.
    pub(super) fn send_waiting_cancel(
        &mut self,
        id: ClientOrderId,
        now: UtcMillis,
        effects: &mut Vec<Effect>,
    ) {
        let waiting = self.whole(id).is_some_and(|order| {
            order.state.is_working()
                && order
                    .cancel
                    .as_ref()
                    .is_some_and(|cancel| cancel.sent_at.is_none())
        });
        if waiting {
            self.send_cancel(id, now, effects);
        }
    }

    /// Takes the market's rules that the settings bring.
    pub(super) fn use_tables(&mut self) {
        let tables = self.settings.gates.tables.as_deref();
        // They were read before they came into the settings; were one unreadable, the program's own would hold.
        self.market = tables.and_then(|text| Market::read(text).ok()).map(Arc::new);
    }

    /// True when one more cancel may leave in this second.
    pub(super) fn may_cancel(&self, now: UtcMillis) -> bool {
        let rate = self.settings.gates.rate;
        rate.is_none_or(|rate| self.exposure.governor.lets_cancel(&rate, self.submitting, now))
    }

    pub(super) fn send_cancel(&mut self, id: ClientOrderId, now: UtcMillis, effects: &mut Vec<Effect>) {
        if !self.may_cancel(now) {
            // It stays wanted, and goes with the next tick that has room for it.
            return;
        }
        if let Some(rate) = self.settings.gates.rate
            && self.exposure.governor.cancel_left(id, &rate)
        {
            let text = format!(
                "more than {} orders and cancels left today; cancels still go",
                rate.per_day
            );
            effects.push(alarm("RATE_DAY_CANCELS", text));
        }
        self.change(id, now, effects, |order| {
            if let Some(cancel) = &mut order.cancel {
                cancel.sent_at = Some(now);
                cancel.tries = cancel.tries.saturating_add(1);
                cancel.problem = None;
            }
            Ok(())
        });
        if let Some(order) = self.whole(id) {
            effects.push(Effect::Cancel {
                id,
                broker_order_id: order.broker_order_id.clone(),
            });
        }
    }

    pub(super) fn cancel_answered(
        &mut self,
        id: ClientOrderId,
        problem: Option<&str>,
        effects: &mut Vec<Effect>,
    ) {
        let now = self.now;
        if self.settings.gates.rate.is_some() {
            self.exposure.governor.cancel_answered(id, now);
        }
        self.change(id, now, effects, |order| {
            if let Some(cancel) = &mut order.cancel {
                cancel.problem = problem.map(str::to_owned);
            }
            Ok(())
        });
        // The broker passes a cancel on, or refuses it since the order has ended: its books tell.
        effects.push(Effect::Ask);
    }

    pub(super) fn decided(
        &mut self,
        id: ClientOrderId,
        accepted_as: Option<&BrokerOrderId>,
        now: UtcMillis,
        effects: &mut Vec<Effect>,
    ) {
        let today = self.day;
        self.change(id, now, effects, |order| {
            let Some(broker_order_id) = accepted_as else {
                order.reason = Some("a person says that the broker never accepted it".into());
                return order.step(Step::ProveAbsent, now);
            };
            order.broker_order_id = Some(broker_order_id.clone());
            if order.day() == today {
                return order.take_up(now);
            }
            // Its day is over, and the broker's lists no longer show that day.
            order.reason = Some("a person says that it was accepted; its day is over".into());
            order.step(
                if order.fills.is_empty() {
                    Step::Expire
                } else {
                    Step::EndPart
                },
                now,
            )
        });
        effects.push(Effect::Ask);
    }
}
