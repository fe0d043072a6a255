//! Orders at the exchange: where one fills them, instead of the mode that the options name.

use std::time::Duration;

use qt_exchange::{End, Outcome, from_e4};

use super::*;

impl Shared {
    pub(super) fn pay_dividends(&self, state: &mut State, now: Now) {
        let due = state
            .floor
            .as_mut()
            .map(|floor| floor.due_dividends(now.ts))
            .unwrap_or_default();
        for (symbol, cash) in due {
            let symbol = symbol.to_string();
            let held = state.book.held(&symbol);
            if held == 0 {
                continue;
            }
            let fact = Fact {
                event: Kind::Dividend,
                ts: now.ts,
                host_ts: now.host_ts,
                symbol,
                quantity: held,
                price: Some(cash),
                ..Fact::default()
            };
            self.happened(state, Happened::Paid(Box::new(fact)), now);
        }
    }

    /// A taken order meets what rests at the exchange.
    pub(super) fn meet(&self, state: &mut State, at: usize, order: &OrderRequest, now: Now) {
        let Some(floor) = &mut state.floor else { return };
        let mut outcomes = Vec::new();
        let placed = match floor.ticket(order) {
            Ok(ticket) => floor
                .venue
                .place_order(now.ts, number_of(at), &ticket, &mut outcomes)
                .map_err(|rejection| rejection.to_string()),
            Err(why) => Err(why),
        };
        for outcome in outcomes {
            self.settle(state, outcome, now);
        }
        // It was let pass a moment ago under the same lock, so that this is a fault of ours; the order must not hang.
        if let Err(why) = placed {
            self.end(state, at, why, now);
        }
    }

    /// Books what happened at the exchange.
    pub(super) fn settle(&self, state: &mut State, outcome: Outcome, now: Now) {
        match outcome {
            Outcome::Fill {
                order,
                quantity,
                price,
            } => {
                let quantity = u64::try_from(quantity).unwrap_or_default();
                self.fill(state, place_of(order), quantity, from_e4(price), now);
            }
            Outcome::Ended { order, why, .. } => {
                self.end(state, place_of(order), why.reason().to_owned(), now)
            }
        }
    }

    /// Takes up orders that were open when the process before ended: what of them has not lapsed rests again.
    pub(super) fn resume(&self, open: &[usize], last_ts: Option<i64>, host_ms: i64) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let Some(mut floor) = state.floor.take() else {
            return;
        };
        let now = floor.now(host_ms);
        // What the market did before the last line of the ledger has had its effect; what it did since then has not.
        let began = floor.began();
        let since = last_ts.filter(|ts| day_of(*ts) == day_of(began)).unwrap_or(began);
        floor.catch_up(since, |_, _| {});
        let mut over = Vec::new();
        for at in open {
            let order = state.book.order(*at);
            if order.session_day != day_of(began) {
                over.push((*at, End::DayOver));
            } else if let Some(resting) = floor.resting(order) {
                floor.venue.restore(since, number_of(*at), resting);
            } else {
                over.push((*at, End::NotAtOnce));
            }
        }
        state.floor = Some(floor);
        for (at, why) in over {
            self.end(state, at, why.reason().to_owned(), now);
        }
        self.roll(state);
    }

    /// Lets the exchange go on while nobody asks, until the broker is closed.
    pub(super) fn play(&self, pause: Duration) {
        loop {
            let mut state = lock(&self.state);
            if state.ledger.is_none() {
                return;
            }
            self.roll(&mut state);
            drop(state);
            self.tell();
            let state = lock(&self.state);
            if state.ledger.is_none() {
                return;
            }
            drop(self.wake.wait_timeout(state, pause));
        }
    }
}

/// The exchange's number of the order that stands at a place in the book.
pub(super) fn number_of(at: usize) -> u64 {
    u64::try_from(at).unwrap_or(u64::MAX - 1) + 1
}

fn place_of(order: u64) -> usize {
    usize::try_from(order.saturating_sub(1)).unwrap_or(usize::MAX)
}
