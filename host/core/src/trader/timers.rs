//! What time alone brings about.

use std::borrow::Cow;
use std::collections::BTreeSet;

use qt_market::{Market, Side};

use super::digest::Key;
use super::slot::Slot;
use super::{Exposure, Settings, Settled, Trader, alarm, market_of};
use crate::event::Effect;
use crate::ids::ClientOrderId;
use crate::order::{Order, OrderState, Step};
use crate::time::UtcMillis;

/// How long it may stay unclear whether the broker has an order before a person is told.
const UNKNOWN_ALARM_MS: i64 = 60_000;

/// A clock that is corrected by so little is not taken for one that was wrong.
const CLOCK_SLACK_MS: i64 = 2_000;

/// Of every order the moment from which on it may be due, so that a turn looks at those alone and not at all that live.
#[derive(Debug, Clone, Default)]
pub(super) struct Wakes(BTreeSet<(UtcMillis, ClientOrderId)>);

impl Wakes {
    /// An order that woke at `before` wakes at `after` now.
    pub(super) fn change(&mut self, id: ClientOrderId, before: Option<UtcMillis>, after: Option<UtcMillis>) {
        if before == after {
            return;
        }
        if let Some(at) = before {
            self.0.remove(&(at, id));
        }
        if let Some(at) = after {
            self.0.insert((at, id));
        }
    }

    fn until(&self, now: UtcMillis) -> impl Iterator<Item = ClientOrderId> {
        self.0
            .iter()
            .take_while(move |(at, _)| *at <= now)
            .map(|(_, id)| *id)
    }
}

/// The earliest moment at which something may be due for an order, whatever else happens but a change of it; `None` where
/// time brings nothing about.
pub(super) fn wakes_at(
    settings: &Settings,
    market: &Market,
    exposure: &Exposure,
    order: &Order,
) -> Option<UtcMillis> {
    match order.state {
        // What waits for the link is looked at whenever that may be up.
        OrderState::Deferred
            if matches!(order.code.as_deref(), Some("NOT_CONNECTED" | "OUTSIDE_SESSION")) =>
        {
            Some(UtcMillis(i64::MIN))
        }
        OrderState::Deferred => {
            let barrier = order.code.as_deref() == Some("SELL_BARRIER");
            // Of a hard barrier a person is told once; of a soft one it is the end.
            let waits = barrier && !is_told_of_barrier(order);
            let since = exposure.barred_since(order.id).filter(|_| waits);
            let timeout = since.map(|since| since.plus_ms(settings.gates.sell_barrier_timeout_ms));
            let moments = [order.signal.activate_after, order.signal.valid_until, timeout];
            moments.into_iter().flatten().min()
        }
        OrderState::Working | OrderState::PartiallyFilled | OrderState::Missing => match &order.cancel {
            None => Some(expires_at(settings, market, order)),
            Some(cancel) => Some(cancel.sent_at.map_or(UtcMillis(i64::MIN), |at| {
                at.plus_ms(settings.cancel_wait_ms(cancel.tries))
            })),
        },
        OrderState::Unknown => {
            let doubt = order.doubt.filter(|doubt| !doubt.alarmed)?;
            Some(doubt.began.plus_ms(UNKNOWN_ALARM_MS))
        }
        _ => None,
    }
}

/// What stands among the codes of an order's waiting once a person was told that its barrier waits long. It is no gate's.
const BARRIER_LONG: &str = "SELL_BARRIER_LONG";

fn is_told_of_barrier(order: &Order) -> bool {
    order.told.deferred.iter().any(|code| code == BARRIER_LONG)
}

/// When an order is to be cancelled by itself.
fn expires_at(settings: &Settings, market: &Market, order: &Order) -> UtcMillis {
    order.signal.valid_until.unwrap_or_else(|| {
        let rest = match order.signal.side {
            Side::Buy => settings.buy_timeout_ms,
            Side::Sell => settings.sell_timeout_ms,
        };
        let from = order.accepted_at.or(order.sent_at).unwrap_or(order.received_at);
        crate::risk::rested(&settings.gates, market, &order.signal.symbol, from, rest)
    })
}

/// What is due for an order.
enum Due {
    Check,
    Cancel,
    CancelAgain,
    UnknownAlarm,
    BarrierAlarm,
}

impl Trader {
    /// True when a [`crate::Event::Tick`] at `now` would change something.
    #[must_use]
    pub fn is_due(&self, now: UtcMillis) -> bool {
        // What waited while the clock showed an earlier day.
        let released = now.trading_date() >= self.day && self.may_release(now);
        let now = now.max(self.now);
        released || now.trading_date() != self.day || self.is_absence_due(now) || self.some_order_is_due(now)
    }

    fn some_order_is_due(&self, now: UtcMillis) -> bool {
        let is_due = |order: &Order| self.due(order, now).is_some();
        let found = self.wakes.until(now).filter_map(|id| self.whole(id)).any(is_due);
        debug_assert_eq!(
            found,
            self.live_orders().any(is_due),
            "an order is due that is not awake"
        );
        found
    }

    /// Other limits: every order wakes at another time.
    pub(super) fn wake_anew(&mut self) {
        let wakes = self
            .live_orders()
            .filter_map(|order| Some((self.wakes_at(order)?, order.id)));
        self.wakes = Wakes(wakes.collect());
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
        self.away_not_later_than(now);
        if is_behind {
            let text = format!(
                "the clock was set back to before {}, a day that had begun; nothing is sent until it shows that day again",
                self.day
            );
            effects.push(alarm("CLOCK_BEHIND", text));
        }
        self.exposure.clock_set_back(now);
        let ids: Vec<_> = self.orders.keys().copied().collect();
        for id in ids {
            let key = self.order(id).map(|order| order.received_at);
            if let Some(received_at) = key.filter(|at| *at > now) {
                self.digest.rekeyed(received_at, id);
            }
            self.change(id, now, effects, |order| {
                order.not_later_than(now);
                if let Some(doubt) = order.doubt.as_mut().filter(|_| is_far) {
                    doubt.held = true;
                }
                Ok(())
            });
        }
        // What purchases are held back by moved before the orders did.
        self.wake_anew();
    }

    pub(super) fn run_timers(&mut self, now: UtcMillis, effects: &mut Vec<Effect>) {
        let mut due: Vec<_> = self
            .wakes
            .until(now)
            .filter_map(|id| self.whole(id))
            .filter_map(|order| self.due(order, now).map(|due| (order.id, due)))
            .collect();
        due.sort_unstable_by_key(|(id, _)| *id);
        for (id, due) in due {
            match due {
                Due::Check => self.run_checks(id, now, effects),
                Due::Cancel => self.cancel_wanted(id, "expiry", now, effects),
                Due::CancelAgain => self.send_cancel(id, now, effects),
                Due::BarrierAlarm => self.tell_of_barrier(id, now, effects),
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
                let ready = match order.code.as_deref() {
                    _ if waits_for_link => self.connected,
                    Some("OUTSIDE_SESSION") => {
                        let symbol = &order.signal.symbol;
                        crate::risk::session_is_open(&self.settings.gates, self.market(), symbol, now)
                    }
                    Some("SELL_BARRIER") => self.barrier_is_over(order, now),
                    Some(code) if super::intake::waits_for_facts(code) => false,
                    _ => past(order.signal.activate_after),
                };
                if ready || past(order.signal.valid_until) {
                    return Some(Due::Check);
                }
                self.barrier_waits_long(order, now).then_some(Due::BarrierAlarm)
            }
            OrderState::Working | OrderState::PartiallyFilled | OrderState::Missing => {
                self.due_cancel(order, now)
            }
            OrderState::Unknown => {
                let doubt = order.doubt.filter(|doubt| !doubt.alarmed)?;
                (now.since_ms(doubt.began) >= UNKNOWN_ALARM_MS).then_some(Due::UnknownAlarm)
            }
            _ => None,
        }
    }

    /// True when a soft barrier has held a purchase for as long as it may.
    fn barrier_is_over(&self, order: &Order, now: UtcMillis) -> bool {
        let gates = &self.settings.gates;
        gates.sell_barrier == super::SellBarrier::Soft
            && self.barred_ms(order, now) >= gates.sell_barrier_timeout_ms
    }

    /// For how long sales of its plan have held a purchase back.
    fn barred_ms(&self, order: &Order, now: UtcMillis) -> i64 {
        self.exposure
            .barred_since(order.id)
            .map_or(0, |since| now.since_ms(since))
    }

    /// True when a hard barrier has held a purchase for longer than it usually takes, and nobody was told.
    fn barrier_waits_long(&self, order: &Order, now: UtcMillis) -> bool {
        let gates = &self.settings.gates;
        gates.sell_barrier == super::SellBarrier::Hard
            && order.code.as_deref() == Some("SELL_BARRIER")
            && !is_told_of_barrier(order)
            && self.barred_ms(order, now) >= gates.sell_barrier_timeout_ms
    }

    /// A hard barrier never opens by time: whoever can look at the sales is told that it holds.
    fn tell_of_barrier(&mut self, id: ClientOrderId, now: UtcMillis, effects: &mut Vec<Effect>) {
        self.change(id, now, effects, |order| {
            order.told.deferred.push(BARRIER_LONG.to_owned());
            Ok(())
        });
        let Some(order) = self.whole(id) else { return };
        let seconds = self.barred_ms(order, now) / 1000;
        let text = format!(
            "the purchase {} of {} has waited for {seconds} s: it {}; look at those sales, or cancel the purchase",
            order.signal.id,
            order.signal.symbol,
            order.reason.as_deref().unwrap_or("waits for sales of its plan")
        );
        effects.push(alarm(BARRIER_LONG, text));
    }

    fn due_cancel(&self, order: &Order, now: UtcMillis) -> Option<Due> {
        let Some(cancel) = &order.cancel else {
            return (now >= self.expires_at(order)).then_some(Due::Cancel);
        };
        let Some(sent_at) = cancel.sent_at else {
            // It was wanted while nobody could say what the broker calls the order.
            return (self.connected && self.may_cancel(now)).then_some(Due::CancelAgain);
        };
        let wait = self.settings.cancel_wait_ms(cancel.tries);
        (now.since_ms(sent_at) >= wait && self.connected && self.may_cancel(now)).then_some(Due::CancelAgain)
    }

    /// When an order is to be cancelled by itself.
    #[must_use]
    pub fn expires_at(&self, order: &Order) -> UtcMillis {
        expires_at(&self.settings, self.market(), order)
    }

    /// The earliest moment at which something may be due for an order.
    pub(super) fn wakes_at(&self, order: &Order) -> Option<UtcMillis> {
        wakes_at(&self.settings, self.market(), &self.exposure, order)
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
        let market = market_of(self.market.as_ref());
        self.exposure.new_day(today, market, self.settings.day_close_ms);
        self.look_again = true;
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
            OrderState::Deferred | OrderState::Intended if self.has_missed_its_day(order) => {
                self.change(id, now, effects, |order| {
                    let waited = order.reason.take().map_or_else(String::new, |reason| format!(" ({reason})"));
                    order.code = Some("DAY_OVER".into());
                    order.reason = Some(format!(
                        "its day is over and it was never sent{waited}; give the signal a valid_until where it is to wait longer"
                    ));
                    order.step(Step::Deny, now)
                });
            }
            _ => {}
        }
    }

    /// True for an order that was to go on an earlier day: what was wished for then, at that day's prices, may be wrong now. A
    /// signal that says how long it is good for is taken at its word.
    fn has_missed_its_day(&self, order: &Order) -> bool {
        let signal = &order.signal;
        let from = signal
            .activate_after
            .map_or(order.received_at, |at| at.max(order.received_at));
        let gates = &self.settings.gates;
        signal.valid_until.is_none()
            && crate::risk::first_day(gates, self.market(), &signal.symbol, from) < self.day.civil()
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
        let mut some_revived = false;
        for id in over {
            let Some(slot) = self.orders.remove(&id) else {
                continue;
            };
            let Some(order) = slot.order().map(Cow::into_owned) else {
                continue;
            };
            let woke = self.wakes_at(&order);
            self.wakes.change(id, woke, None);
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
            some_revived |= order.revived;
        }
        if some_revived {
            // Another attempt at the same signal may have been revived too, and is still here.
            let revived = self.orders().filter(|order| order.revived);
            self.revived = revived.map(|order| order.signal.id.clone()).collect();
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
