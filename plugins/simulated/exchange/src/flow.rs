//! What the market does: quotes, and the trades behind them.

use qt_market::{Shares, Symbol};

use crate::price::E4;
use crate::time::Moment;

/// Levels that a tick shows on each side.
pub const SHOWN: usize = 5;

/// Price and shares of a level; nothing rests where the shares are zero.
pub type Shown = [(E4, Shares); SHOWN];

/// What a source of quotes says of a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// When. A bar is known at its end.
    pub at: Moment,
    /// Of what.
    pub symbol: Symbol,
    /// What happened.
    pub what: Happened,
    /// The close before this day, where the source tells.
    pub previous_close: Option<E4>,
}

/// What happened in the market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// A trade, and what is shown after it.
    Tick(Tick),
    /// The trades of some time.
    Bar(Bar),
}

/// A snapshot of the market.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tick {
    /// The last trade's price.
    pub last: E4,
    /// Shares traded since the tick before.
    pub volume: Shares,
    /// Bids and asks, the best first, where the source tells.
    pub levels: Option<(Shown, Shown)>,
}

/// Some time's trades.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bar {
    /// The first price.
    pub open: E4,
    /// The highest.
    pub high: E4,
    /// The lowest.
    pub low: E4,
    /// The last.
    pub close: E4,
    /// Shares traded.
    pub volume: Shares,
}

/// How much of the market's flow is there for whoever trades here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liquidity {
    /// The part of the traded shares that orders here may have, in percent, 1 to 100.
    pub participation_pct: u8,
    /// How many levels rest on each side where the source shows none.
    pub levels: u8,
}

impl Default for Liquidity {
    fn default() -> Self {
        Self {
            participation_pct: 25,
            levels: 5,
        }
    }
}

impl Liquidity {
    /// The part of `volume` that orders here may have, in whole lots of `step`.
    #[must_use]
    pub fn share(&self, volume: Shares, step: Shares) -> Shares {
        let part = volume.saturating_mul(Shares::from(self.participation_pct.clamp(1, 100))) / 100;
        part - part % step.max(1)
    }

    /// The shares of the market that `part` is the part of.
    #[must_use]
    pub fn behind(&self, part: Shares) -> Shares {
        let percent = Shares::from(self.participation_pct.clamp(1, 100));
        part.saturating_mul(100) / percent
    }
}

impl Happened {
    /// The last price.
    #[must_use]
    pub const fn last(&self) -> E4 {
        match self {
            Self::Tick(tick) => tick.last,
            Self::Bar(bar) => bar.close,
        }
    }

    /// The first price, at which an auction before it ended.
    #[must_use]
    pub const fn first(&self) -> E4 {
        match self {
            Self::Tick(tick) => tick.last,
            Self::Bar(bar) => bar.open,
        }
    }

    /// Shares traded.
    #[must_use]
    pub const fn volume(&self) -> Shares {
        match self {
            Self::Tick(tick) => tick.volume,
            Self::Bar(bar) => bar.volume,
        }
    }
}

impl Bar {
    /// The bar as four trades: a rising one first fell to its low, a falling one first rose to its high. That is a guess,
    /// since a bar does not tell, and the same one every time.
    #[must_use]
    pub const fn path(&self) -> [(E4, Shares); 4] {
        let (first, second) = if self.close >= self.open {
            (self.low, self.high)
        } else {
            (self.high, self.low)
        };
        let part = self.volume / 4;
        [
            (self.open, part),
            (first, part),
            (second, part),
            (self.close, self.volume - 3 * part),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_four_trades_that_lose_no_share() {
        let bar = Bar {
            open: 10,
            high: 14,
            low: 9,
            close: 12,
            volume: 1003,
        };
        assert_eq!(bar.path(), [(10, 250), (9, 250), (14, 250), (12, 253)]);
        let fell = Bar { close: 9, ..bar };
        assert_eq!(fell.path()[1..3], [(14, 250), (9, 250)]);
    }

    #[test]
    fn a_share_of_the_flow_is_in_whole_lots() {
        let quarter = Liquidity::default();
        assert_eq!(quarter.share(1_999, 100), 400);
        assert_eq!(quarter.share(300, 100), 0);
        assert_eq!(quarter.share(300, 1), 75);
        assert_eq!(quarter.behind(75), 300);
    }
}
