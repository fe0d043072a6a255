//! What time alone brings about.

use std::borrow::Cow;

use qt_market::Side;

use super::digest::Key;
use super::slot::Slot;
use super::{Settled, Trader, alarm};
use crate::event::Effect;
use crate::ids::ClientOrderId;
use crate::order::{Order, OrderState, Step};
use crate::time::UtcMillis;

/// How long it may stay unclear whether the broker has an order before a person is told.
const UNKNOWN_ALARM_MS: i64 = 60_000;

/// A clock that is corrected by so little is not taken for one that was wrong.
const CLOCK_SLACK_MS: i64 = 2_000;

/// What is due for an order.
enum Due {
    Check,
    Cancel,
    CancelAgain,
    UnknownAlarm,
}

impl Trader {
    /// True when a [`crate::Event::Tick`] at `now` would change something.
    #[must_use]
    pub fn is_due(&self, now: UtcMillis) -> bool {
        // What waited while the clock showed an earlier day.
        let released = now.trading_date() >= self.day && self.may_release();
        let now = now.max(self.now);
        released
            || now.trading_date() != self.day
            || self.live_orders().any(|order| self.due(order, now).is_some())
    }

    /// The clock was set back: times of before are taken for the present, since waiting until the
    /// clock shows them again could take hours in which nothing is cancelled and nothing is proved.
    ///
    /// A day that has begun is never taken back: its orders of yesterday have been settled. How much
    /// time passed in truth nobody can tell, midnight perhaps, so that absence proves nothing any more.
    pub(super) fn follow_clock_back(&mut self, now: UtcMillis, effects: &mut Vec<Effect>) {
        let is_behind = now.trading_date() < self.day;
        let now = now.max(self.day.start());
        if now >= self.now {
            return;
        }
        let is_far = self.now.since_ms(now) > CLOCK_SLACK_MS;
        self.now = now;
        if is_behind {
            let text = format!(
                "the clock was set back to before {}, a day that had begun; nothing is sent until it shows that day again",
                self.day
            );
            effects.push(alarm("CLOCK_BEHIND", text));
        }
        let ids: Vec<_> = self.orders.keys().copied().collect();
        for id in ids {
            self.change(id, now, effects, |order| {
                order.not_later_than(now);
                if let Some(doubt) = order.doubt.as_mut().filter(|_| is_far) {
                    doubt.held = true;
                }
                Ok(())
            });
        }
    }

    pub(super) fn run_timers(&mut self, now: UtcMillis, effects: &mut Vec<Effect>) {
        let due: Vec<_> = self
            .live_orders()
            .filter_map(|order| self.due(order, now).map(|due| (order.id, due)))
            .collect();
        for (id, due) in due {
            match due {
                Due::Check => self.run_checks(id, now, effects),
                Due::Cancel => self.cancel_wanted(id, "expiry", now, effects),
                Due::CancelAgain => self.send_cancel(id, now, effects),
                Due::UnknownAlarm => {
                    self.change(id, now, effects, |order| {
                        if let Some(doubt) = &mut order.doubt {
                            doubt.alarmed = true;
                        }
                        Ok(())
                    });
                    let text = format!("for a minute it has been unclear whether the broker has order {id}");
                    effects.push(alarm("UNKNOWN_LONG", text));
                }
            }
        }
    }

    fn due(&self, order: &Order, now: UtcMillis) -> Option<Due> {
        match order.state {
            OrderState::Deferred => {
                let past = |at: Option<UtcMillis>| at.is_some_and(|at| at <= now);
                let waits_for_link = order.code.as_deref() == Some("NOT_CONNECTED");
                let ready = if waits_for_link {
                    self.connected
                } else {
                    past(order.signal.activate_after)
                };
                (ready || past(order.signal.valid_until)).then_some(Due::Check)
            }
            OrderState::Working | OrderState::PartiallyFilled | OrderState::Missing => {
                self.due_cancel(order, now)
            }
            OrderState::Unknown => {
                let doubt = order.doubt.filter(|doubt| !doubt.alarmed)?;
                (now.since_ms(doubt.since) >= UNKNOWN_ALARM_MS).then_some(Due::UnknownAlarm)
            }
            _ => None,
        }
    }

    fn due_cancel(&self, order: &Order, now: UtcMillis) -> Option<Due> {
        let Some(cancel) = &order.cancel else {
            return (now >= self.expires_at(order)).then_some(Due::Cancel);
        };
        let Some(sent_at) = cancel.sent_at else {
            // It was wanted while nobody could say what the broker calls the order.
            return self.connected.then_some(Due::CancelAgain);
        };
        let wait = if cancel.tries <= 1 {
            self.settings.cancel_grace_ms
        } else {
            self.settings.cancel_interval_ms
        };
        (now.since_ms(sent_at) >= wait && self.connected).then_some(Due::CancelAgain)
    }

    /// When an order is to be cancelled by itself.
    #[must_use]
    pub fn expires_at(&self, order: &Order) -> UtcMillis {
        order.signal.valid_until.unwrap_or_else(|| {
            let rest = match order.signal.side {
                Side::Buy => self.settings.buy_timeout_ms,
                Side::Sell => self.settings.sell_timeout_ms,
            };
            order
                .accepted_at
                .or(order.sent_at)
                .unwrap_or(order.received_at)
                .plus_ms(rest)
        })
    }

    /// A new day in Shanghai: orders live for one day, and the broker's lists show one day.
    pub(super) fn roll_day(&mut self, now: UtcMillis, effects: &mut Vec<Effect>) {
        let today = now.trading_date();
        if today == self.day {
            return;
        }
        let first = self.day == crate::time::TradingDate::default();
        self.day = today;
        if first {
            return;
        }
        let live: Vec<_> = self.live.iter().copied().collect();
        for id in live {
            self.end_of_day(id, now, effects);
        }
        self.forget_ended();
    }

    fn end_of_day(&mut self, id: ClientOrderId, now: UtcMillis, effects: &mut Vec<Effect>) {
        let Some(order) = self.whole(id).filter(|order| order.day() != self.day) else {
            return;
        };
        match order.state {
            OrderState::Unknown => {
                let reason = "a day has passed, and the broker's lists show only the present one";
                self.put_before_person(id, reason, now, effects);
            }
            OrderState::Working | OrderState::PartiallyFilled | OrderState::Missing => {
                let close = order.day().start().plus_ms(self.settings.day_close_ms);
                let seen_after_close =
                    order.last_seen_at.is_some_and(|at| at >= close) && !order.lacks_trades();
                if seen_after_close && order.state != OrderState::Missing {
                    self.change(id, now, effects, |order| {
                        order.reason = Some("its day is over".into());
                        order.step(
                            if order.fills.is_empty() {
                                Step::Expire
                            } else {
                                Step::EndPart
                            },
                            now,
                        )
                    });
                } else {
                    let reason = "its day is over, and the broker's books were not seen after the close: trades may be lacking";
                    self.put_before_person(id, reason, now, effects);
                }
            }
            _ => {}
        }
    }

    /// Orders of earlier days leave the memory; only that they were there is kept.
    fn forget_ended(&mut self) {
        let today = self.day;
        let is_over = |slot: &Slot| {
            let head = slot.glimpse();
            head.is_some_and(|order| order.ended_day().is_some_and(|day| day < today))
        };
        let over = self.orders.iter().filter(|(_, slot)| is_over(slot));
        let over: Vec<_> = over.map(|(id, _)| *id).collect();
        for id in over {
            let Some(slot) = self.orders.remove(&id) else {
                continue;
            };
            let Some(order) = slot.order().map(Cow::into_owned) else {
                continue;
            };
            self.digest.forget(slot, id);
            let entry = Settled {
                retry_count: order.signal.retry_count,
                reopens: order.allows_next_attempt(),
            };
            let signal = Key::of(&order.signal.id.0);
            self.settle(signal, entry);
            if self.by_signal.get(&signal) == Some(&id) {
                self.by_signal.remove(&signal);
            }
            if order.revived {
                self.revived.remove(&order.signal.id);
            }
        }
        // A broker may use a name again on another day.
        self.by_broker.clear();
        let names: Vec<_> = self
            .orders()
            .map(|order| (order.id, order.day(), order.broker_order_id.clone()))
            .collect();
        for (id, day, name) in names {
            self.index_broker(id, day, name.as_ref().map(|name| name.0.as_str()));
        }
    }
}

impl Order {
    /// Takes the moments that the clock showed too early for `now`.
    fn not_later_than(&mut self, now: UtcMillis) {
        let back = |at: &mut UtcMillis| *at = now.min(*at);
        back(&mut self.received_at);
        let cancel = self.cancel.as_mut();
        let doubt = self.doubt.as_mut();
        [
            &mut self.sent_at,
            &mut self.accepted_at,
            &mut self.ended_at,
            &mut self.last_seen_at,
        ]
        .into_iter()
        .flatten()
        .for_each(back);
        if let Some(cancel) = cancel {
            back(&mut cancel.wanted_at);
            cancel.sent_at.iter_mut().for_each(back);
        }
        if let Some(doubt) = doubt {
            back(&mut doubt.since);
        }
    }
}
