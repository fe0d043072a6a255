//! Prices that nobody recorded: a random walk within the day's limits, or one that stands still.

use qt_market::{Phase, Symbol};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use crate::flow::{Happened, Quote, Tick};
use crate::price::E4;
use crate::time::{Moment, date_of, moment, time_of_day};

/// What a walk does in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From one trade of the market to its next, in ms.
    pub step_ms: i64,
    /// By how many ticks the price moves at most in a step; 0 for a price that stands still.
    pub ticks: u16,
    /// Shares that the market trades in a step, on average.
    pub volume: i64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            step_ms: 3_000,
            ticks: 2,
            volume: 20_000,
        }
    }
}

/// One symbol's walk. What it shows at a moment depends on the seed and the symbol alone, and never on when it is asked.
#[derive(Debug, Clone)]
pub struct Walk {
    symbol: Symbol,
    pace: Pace,
    random: Xoshiro256PlusPlus,
    last: E4,
    at: Moment,
}

impl Walk {
    /// A walk from `price` that begins after `from`.
    #[must_use]
    pub fn new(seed: u64, symbol: Symbol, price: E4, from: Moment, pace: Pace) -> Self {
        // The symbol's digits and exchange make the streams of two symbols part.
        let name = symbol.to_string();
        let own = name.bytes().fold(seed, |sum, byte| {
            sum.wrapping_mul(1_099_511_628_211) ^ u64::from(byte)
        });
        Self {
            symbol,
            pace,
            random: Xoshiro256PlusPlus::seed_from_u64(own),
            last: price,
            at: from,
        }
    }

    /// Whose prices these are.
    #[must_use]
    pub const fn symbol(&self) -> Symbol {
        self.symbol
    }

    /// When its next quote comes, where that is no later than `until`.
    #[must_use]
    pub fn next_at(&self, market: &qt_market::Market, until: Moment) -> Option<Moment> {
        self.next_moment(market, until).map(|(at, _)| at)
    }

    /// The next quote no later than `until`, by the windows of the market and within `limits`.
    pub fn next(
        &mut self,
        market: &qt_market::Market,
        limits: impl Fn() -> Option<(E4, E4)>,
        tick: impl Fn() -> E4,
        until: Moment,
    ) -> Option<Quote> {
        let (at, phase) = self.next_moment(market, until)?;
        let opens = crate::time::day_number(at) != crate::time::day_number(self.at);
        self.at = at;
        let moves = i64::from(self.pace.ticks);
        // After hours everybody trades at the close.
        if moves > 0 && phase != Phase::AfterHours {
            let span = u64::from(self.pace.ticks) * 2 + 1;
            let drawn = i64::try_from(self.random.next_u64() % span).unwrap_or(0);
            let wished = self.last + (drawn - moves) * tick();
            // The limits of a new day are made from the last price; a first step stays within them by far.
            let (lower, upper) = limits().filter(|_| !opens).unwrap_or((tick(), E4::MAX));
            self.last = wished.clamp(lower.min(upper), upper).max(tick());
        }
        let volume = self.volume();
        Some(Quote {
            at,
            symbol: self.symbol,
            what: Happened::Tick(Tick {
                last: self.last,
                volume,
                levels: None,
            }),
            previous_close: None,
        })
    }

    fn volume(&mut self) -> i64 {
        let average = self.pace.volume.max(1);
        if self.pace.ticks == 0 {
            return average;
        }
        let drawn = self.random.next_u64() % u64::try_from(average * 2).unwrap_or(1);
        i64::try_from(drawn).unwrap_or(average).max(1)
    }

    /// The next moment at which the market trades: at the end of an auction, and each step of the rest.
    fn next_moment(&self, market: &qt_market::Market, until: Moment) -> Option<(Moment, Phase)> {
        let mut date = date_of(self.at);
        let mut time = time_of_day(self.at);
        // No holiday is nearly so long; a bound stands on every loop.
        for _ in 0..60 {
            let windows = market.windows(&self.symbol, date);
            for (place, window) in windows.iter().enumerate() {
                let is_auction = matches!(window.phase, Phase::OpeningAuction | Phase::ClosingAuction);
                let ends_here = windows
                    .get(place + 1)
                    .is_none_or(|next| next.phase != window.phase);
                let next = if is_auction && ends_here {
                    window.to
                } else if is_auction {
                    continue;
                } else {
                    let step = self.pace.step_ms.max(1);
                    window.from + ((time - window.from).max(0) / step + 1) * step
                };
                if next > time && next <= window.to {
                    let at = moment(date, next);
                    return (at <= until).then_some((at, window.phase));
                }
            }
            date = market.calendar().next_trading_day(date);
            time = -1;
            if moment(date, 0) > until {
                return None;
            }
        }
        None
    }
}
