//! How many orders and cancels left, so that an account never trades at high frequency by accident.
//!
//! A token is taken when an order is decided and comes back one second after its call was answered: it may have reached
//! the exchange at any moment between. Whatever a plugin does with its queue, no second sees more of them than there are
//! tokens. A bucket that fills by time alone would let two bursts fall into one second.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::gates::Rate;
use crate::ids::ClientOrderId;
use crate::time::UtcMillis;

/// How long after its answer a token comes back.
const SECOND_MS: i64 = 1_000;

/// The tokens that are out, and the day's counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Governor {
    /// When tokens come back, and how many; in order.
    back_at: VecDeque<(UtcMillis, u32)>,
    /// Cancels whose calls have not been answered: how many of an order, since one may be sent again while a call hangs.
    cancels: BTreeMap<ClientOrderId, u32>,
    /// Orders of the day.
    orders_today: u32,
    /// Cancels of the day.
    cancels_today: u32,
    /// A person was told that the day's number is used up.
    told: bool,
}

impl Governor {
    fn out(&self, submitting: u32, now: UtcMillis) -> u32 {
        let waiting: u32 = self
            .back_at
            .iter()
            .filter(|(at, _)| *at > now)
            .map(|(_, count)| count)
            .sum();
        waiting
            .saturating_add(self.cancels_under_way())
            .saturating_add(submitting)
    }

    fn cancels_under_way(&self) -> u32 {
        self.cancels
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// True when one more order may leave in this second.
    pub(super) fn lets_order(&self, rate: &Rate, submitting: u32, now: UtcMillis) -> bool {
        self.out(submitting, now) < rate.per_second.saturating_sub(rate.cancel_reserve_per_second)
    }

    /// True when one more cancel may leave in this second.
    pub(super) fn lets_cancel(&self, rate: &Rate, submitting: u32, now: UtcMillis) -> bool {
        self.out(submitting, now) < rate.per_second
    }

    /// True when the day has room for one more order.
    pub(super) fn day_has_room(&self, rate: &Rate) -> bool {
        self.today() < rate.per_day.saturating_sub(rate.cancel_reserve_per_day)
    }

    /// Orders and cancels of the day.
    pub(super) const fn today(&self) -> u32 {
        self.orders_today.saturating_add(self.cancels_today)
    }

    pub(super) fn order_left(&mut self) {
        self.orders_today = self.orders_today.saturating_add(1);
    }

    /// True when a person must be told that even the cancels' share of the day is used up. They go nevertheless: an
    /// order that cannot be cancelled is the greater harm.
    pub(super) fn cancel_left(&mut self, id: ClientOrderId, rate: &Rate) -> bool {
        let count = self.cancels.entry(id).or_default();
        *count = count.saturating_add(1);
        self.cancels_today = self.cancels_today.saturating_add(1);
        let first = self.today() > rate.per_day && !self.told;
        self.told |= first;
        first
    }

    pub(super) fn order_answered(&mut self, now: UtcMillis) {
        self.give_back_later(now, 1);
    }

    pub(super) fn cancel_answered(&mut self, id: ClientOrderId, now: UtcMillis) {
        let Some(count) = self.cancels.get_mut(&id) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.cancels.remove(&id);
        }
        self.give_back_later(now, 1);
    }

    /// The process that made the calls has ended: no answer comes any more.
    pub(super) fn calls_ended(&mut self, now: UtcMillis) {
        let count = self.cancels_under_way();
        self.cancels.clear();
        if count > 0 {
            self.give_back_later(now, count);
        }
    }

    fn give_back_later(&mut self, now: UtcMillis, count: u32) {
        while self.back_at.front().is_some_and(|(at, _)| *at <= now) {
            self.back_at.pop_front();
        }
        let at = now.plus_ms(SECOND_MS);
        match self.back_at.back_mut() {
            Some((last, sum)) if *last >= at => *sum = sum.saturating_add(count),
            _ => self.back_at.push_back((at, count)),
        }
    }

    pub(super) fn clock_set_back(&mut self, now: UtcMillis) {
        for (at, _) in &mut self.back_at {
            *at = (*at).min(now.plus_ms(SECOND_MS));
        }
    }

    pub(super) fn new_day(&mut self) {
        self.orders_today = 0;
        self.cancels_today = 0;
        self.told = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SignalId;
    use proptest::prelude::*;

    const RATE: Rate = Rate {
        per_second: 299,
        cancel_reserve_per_second: 0,
        per_day: 1_000,
        cancel_reserve_per_day: 100,
    };

    #[test]
    fn a_token_comes_back_a_second_after_the_answer() {
        let mut governor = Governor::default();
        let start = UtcMillis(1_000_000);
        for _ in 0..298 {
            governor.order_answered(start);
        }
        assert!(governor.lets_order(&RATE, 0, start));
        assert!(
            !governor.lets_order(&RATE, 1, start),
            "one that is not answered counts too"
        );
        governor.order_answered(start.plus_ms(400));
        assert!(!governor.lets_order(&RATE, 0, start.plus_ms(999)));
        assert!(governor.lets_order(&RATE, 297, start.plus_ms(1_000)));
        assert!(!governor.lets_order(&RATE, 298, start.plus_ms(1_000)));
        assert!(governor.lets_order(&RATE, 298, start.plus_ms(1_400)));
    }

    #[test]
    fn two_hanging_calls_of_one_order_hold_two_tokens() {
        let rate = Rate {
            per_second: 3,
            ..RATE
        };
        let id = ClientOrderId::derive("a", &SignalId("s".into()), 0);
        let start = UtcMillis(1_000_000);
        let twice = || {
            let mut governor = Governor::default();
            governor.cancel_left(id, &rate);
            governor.cancel_left(id, &rate);
            governor
        };
        let mut governor = twice();
        assert!(governor.lets_cancel(&rate, 0, start));
        assert!(
            !governor.lets_cancel(&rate, 1, start),
            "two hang, one is submitted"
        );
        // Each answer gives one back, a second later.
        governor.cancel_answered(id, start);
        governor.cancel_answered(id, start.plus_ms(500));
        governor.cancel_answered(id, start.plus_ms(500));
        let free = |at| {
            (1..4)
                .take_while(|n| governor.lets_cancel(&rate, n - 1, at))
                .count()
        };
        assert_eq!(free(start.plus_ms(999)), 1);
        assert_eq!(free(start.plus_ms(1_000)), 2);
        assert_eq!(free(start.plus_ms(1_500)), 3);
        // The process that made the calls has ended.
        let mut governor = twice();
        governor.calls_ended(start);
        assert!(!governor.lets_cancel(&rate, 1, start.plus_ms(999)));
        assert!(governor.lets_cancel(&rate, 2, start.plus_ms(1_000)));
    }

    #[test]
    fn the_day_keeps_a_reserve_for_cancels_and_then_says_so_once() {
        let mut governor = Governor::default();
        for _ in 0..900 {
            assert!(governor.day_has_room(&RATE));
            governor.order_left();
        }
        assert!(!governor.day_has_room(&RATE));
        let id = ClientOrderId::derive("a", &SignalId("s".into()), 0);
        let told: Vec<bool> = (0..102).map(|_| governor.cancel_left(id, &RATE)).collect();
        assert_eq!(told.iter().filter(|told| **told).count(), 1);
        assert!(told[100], "the 1001st of the day");
        governor.new_day();
        assert!(governor.day_has_room(&RATE));
    }

    proptest! {
        /// Orders are decided whenever the governor lets them, and arrive at the exchange at any moment until they are
        /// answered: no second sees more of them than allowed.
        #[test]
        fn no_second_sees_more_than_allowed(
            per_second in 1u32..8, steps in prop::collection::vec((0i64..400, 0u8..4, 0i64..3_000), 1..120),
        ) {
            let rate = Rate { per_second, cancel_reserve_per_second: 0, per_day: u32::MAX, cancel_reserve_per_day: 0 };
            let mut governor = Governor::default();
            let mut now = UtcMillis(0);
            // Arrival and answer of each call that is under way.
            let mut calls: Vec<(i64, i64)> = Vec::new();
            let mut arrivals = Vec::new();
            for (pass, tries, latency) in steps {
                now = now.plus_ms(pass);
                calls.retain(|(_, answer)| {
                    if *answer <= now.0 {
                        governor.order_answered(now);
                    }
                    *answer > now.0
                });
                for _ in 0..tries {
                    if governor.lets_order(&rate, u32::try_from(calls.len()).unwrap(), now) {
                        calls.push((now.0 + latency / 2, now.0 + latency));
                        arrivals.push(now.0 + latency / 2);
                    }
                }
            }
            arrivals.sort_unstable();
            for (i, first) in arrivals.iter().enumerate() {
                let within = arrivals[i..].iter().filter(|at| **at < first + 1_000).count();
                prop_assert!(within <= per_second as usize, "{within} from {first} on");
            }
        }
    }
}
