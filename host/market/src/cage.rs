//! The price cage: how far from the market a limit may be in continuous trading.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::dated::on;
use crate::symbol::{Side, Symbol};
use crate::tick::{Toward, round_to_tick};
use crate::{Market, Price};

/// What is known of a symbol's market, in yuan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotes {
    /// The highest price that somebody buys at.
    pub best_bid: Option<Price>,
    /// The lowest price that somebody sells at.
    pub best_ask: Option<Price>,
    /// The last trade's price.
    pub last: Option<Price>,
    /// The previous close.
    pub previous_close: Option<Price>,
}

impl Quotes {
    /// What an order's price is measured against: the best price on the other side, else the best on its own, else the
    /// last, else the previous close.
    #[must_use]
    pub fn base(&self, side: Side) -> Option<Price> {
        let (other, own) = match side {
            Side::Buy => (self.best_ask, self.best_bid),
            Side::Sell => (self.best_bid, self.best_ask),
        };
        other.or(own).or(self.last).or(self.previous_close)
    }
}

impl Market {
    /// The worst limit that continuous trading takes: a purchase may not be above it, a sale not below.
    ///
    /// `None` where the board has no cage on that day, or `base` is no price.
    #[must_use]
    pub fn cage(&self, symbol: &Symbol, side: Side, base: Price, date: Date) -> Option<Price> {
        let rules = self.rules(self.board(symbol))?;
        let rule = on(&rules.cages, date)?;
        if base <= Decimal::ZERO {
            return None;
        }
        let tick = self.tick(symbol, date);
        let ticks = tick.checked_mul(Decimal::from(rule.ticks))?;
        let price = match side {
            Side::Buy => {
                let share = round_to_tick(base.checked_mul(Decimal::ONE + rule.up)?, tick, Toward::Nearest);
                share.max(base.checked_add(ticks)?)
            }
            Side::Sell => {
                let share = round_to_tick(base.checked_mul(Decimal::ONE - rule.down)?, tick, Toward::Nearest);
                share.min(base.checked_sub(ticks)?).max(tick)
            }
        };
        Some(price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn each_board_has_its_cage() {
        let now = date(2026, 11, 24);
        for (symbol, side, base, day, expected) in [
            ("600519.SH", Side::Buy, "100.00", now, Some("102.00")),
            ("600519.SH", Side::Sell, "100.00", now, Some("98.00")),
            // Ten ticks are more than two percent of a cheap share.
            ("600519.SH", Side::Buy, "3.00", now, Some("3.10")),
            ("600519.SH", Side::Sell, "3.00", now, Some("2.90")),
            ("688981.SH", Side::Buy, "3.00", now, Some("3.06")),
            ("300750.SZ", Side::Sell, "100.00", now, Some("98.00")),
            ("920002.BJ", Side::Buy, "10.00", now, Some("10.50")),
            ("920002.BJ", Side::Buy, "1.00", now, Some("1.10")),
            ("600519.SH", Side::Buy, "100.00", date(2023, 4, 7), None),
            ("510300.SH", Side::Buy, "4.000", now, None),
            ("600519.SH", Side::Sell, "0.05", now, Some("0.01")),
            ("600519.SH", Side::Buy, "0", now, None),
        ] {
            let cage = Market::builtin().cage(&symbol.parse().unwrap(), side, d(base), day);
            assert_eq!(cage, expected.map(d), "{symbol} {side} {base} {day}");
        }
    }

    #[test]
    fn the_base_is_the_other_sides_best_then_ones_own_then_the_last_then_the_close() {
        let mut quotes = Quotes {
            best_bid: Some(d("9.9")),
            best_ask: Some(d("10.1")),
            last: Some(d("10")),
            previous_close: Some(d("9")),
        };
        assert_eq!(quotes.base(Side::Buy), Some(d("10.1")));
        assert_eq!(quotes.base(Side::Sell), Some(d("9.9")));
        quotes.best_ask = None;
        assert_eq!(quotes.base(Side::Buy), Some(d("9.9")));
        quotes.best_bid = None;
        assert_eq!(quotes.base(Side::Sell), Some(d("10")));
        quotes.last = None;
        assert_eq!(quotes.base(Side::Buy), Some(d("9")));
        assert_eq!(Quotes::default().base(Side::Buy), None);
    }

    proptest! {
        #[test]
        fn a_cage_contains_its_base_and_lies_on_a_tick(
            symbol in proptest::sample::select(&["600519.SH", "300750.SZ", "688981.SH", "920002.BJ"][..]),
            ticks in 1i64..10_000_000,
        ) {
            let market = Market::builtin();
            let (symbol, day) = (symbol.parse().unwrap(), date(2026, 11, 24));
            let base = Decimal::from(ticks) * market.tick(&symbol, day);
            let highest = market.cage(&symbol, Side::Buy, base, day).unwrap();
            let lowest = market.cage(&symbol, Side::Sell, base, day).unwrap();
            prop_assert!(lowest <= base && base <= highest);
            prop_assert!((highest % market.tick(&symbol, day)).is_zero() && (lowest % market.tick(&symbol, day)).is_zero());
        }
    }
}
