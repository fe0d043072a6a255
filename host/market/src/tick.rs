//! The smallest step of a price.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::symbol::{Exchange, Symbol};
use crate::{Market, Price};

/// Of an unknown board: the finest there is, so that nobody's price is changed on a guess.
const FINEST: Decimal = Decimal::from_parts(1, 0, 0, false, 3);

/// The smallest step of a symbol's price, in yuan (B shares: in their own currency), by the newest rule there is.
///
/// Of an unknown board it is the finest there is, so that nobody's price is changed on a guess.
#[must_use]
pub fn tick(symbol: &Symbol) -> Decimal {
    Market::builtin().tick(symbol, Date::MAX)
}

impl Market {
    /// The smallest step of a symbol's price on a day, as [`tick`].
    #[must_use]
    pub fn tick(&self, symbol: &Symbol, date: Date) -> Decimal {
        let rows = self
            .rules(self.board(symbol))
            .map_or(&[][..], |rules| &rules.ticks);
        let fits =
            |exchange: &Option<Exchange>| exchange.is_none_or(|exchange| exchange == symbol.exchange());
        rows.iter()
            .filter(|(exchange, row)| fits(exchange) && row.since <= date)
            .max_by_key(|(_, row)| row.since)
            .map_or(FINEST, |(_, row)| row.value)
    }
}

/// Which neighbouring tick a price goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toward {
    /// The next tick below.
    Down,
    /// The next tick above.
    Up,
    /// The nearer one; a half goes up, as the exchanges round limit prices.
    Nearest,
    /// The nearer one; a half goes to the even tick, as figures are shown.
    NearestEven,
}

/// `price` moved to a whole number of ticks, written with the tick's decimal places.
///
/// A price that is on a tick stays. So does one at the end of what a decimal holds, where the next
/// tick cannot be written, and any price where `tick` is not above zero.
#[must_use]
pub fn round_to_tick(price: Price, tick: Decimal, toward: Toward) -> Price {
    try_round(price, tick, toward).unwrap_or(price)
}

fn try_round(price: Price, tick: Decimal, toward: Toward) -> Option<Price> {
    if tick <= Decimal::ZERO {
        return None;
    }
    let mut rest = price.checked_rem(tick)?;
    if rest < Decimal::ZERO {
        // The remainder takes the sign of the price; ticks are counted from below.
        rest += tick;
    }
    let below = price.checked_sub(rest)?;
    let up = match toward {
        Toward::Down => false,
        Toward::Up => !rest.is_zero(),
        Toward::Nearest => rest >= tick - rest,
        Toward::NearestEven if rest == tick - rest => {
            !below.checked_rem(tick.checked_mul(Decimal::TWO)?)?.is_zero()
        }
        Toward::NearestEven => rest > tick - rest,
    };
    let mut rounded = if up { below.checked_add(tick)? } else { below };
    rounded.rescale(tick.scale());
    Some(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;
    const FINE: Decimal = FINEST;
    const STOCK: Decimal = Decimal::from_parts(1, 0, 0, false, 2);
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn every_board_has_its_tick() {
        for (text, expected) in [
            ("600519.SH", "0.01"),
            ("300750.SZ", "0.01"),
            ("688981.SH", "0.01"),
            ("920002.BJ", "0.01"),
            ("510300.SH", "0.001"),
            ("159915.SZ", "0.001"),
            ("113050.SH", "0.001"),
            ("900948.SH", "0.001"),
            ("200596.SZ", "0.01"),
            ("204001.SH", "0.001"),
        ] {
            assert_eq!(tick(&text.parse().unwrap()), d(expected), "{text}");
        }
    }

    #[test]
    fn halves_go_up_or_to_the_even_tick_as_asked() {
        for (price, toward, expected) in [
            ("34.295", Toward::NearestEven, "34.30"),
            ("46.305", Toward::NearestEven, "46.30"),
            ("46.305", Toward::Nearest, "46.31"),
            ("46.3049", Toward::Nearest, "46.30"),
            ("46.3001", Toward::Up, "46.31"),
            ("46.3099", Toward::Down, "46.30"),
            ("46.3", Toward::Up, "46.30"),
            ("-0.001", Toward::Down, "-0.01"),
            ("-0.001", Toward::Up, "0.00"),
            ("-0.005", Toward::Nearest, "0.00"),
        ] {
            assert_eq!(
                round_to_tick(d(price), d("0.01"), toward).to_string(),
                expected,
                "{price}"
            );
        }
        assert_eq!(round_to_tick(d("1.03"), d("0.05"), Toward::Nearest), d("1.05"));
    }

    #[test]
    fn what_cannot_be_rounded_stays() {
        for price in [Decimal::MAX, Decimal::MIN, d("0.1")] {
            assert_eq!(round_to_tick(price, Decimal::ZERO, Toward::Up), price);
            assert_eq!(round_to_tick(price, -Decimal::ONE, Toward::Up), price);
        }
        assert_eq!(round_to_tick(Decimal::MAX, d("0.01"), Toward::Up), Decimal::MAX);
        let finest = Decimal::from_parts(1, 0, 0, false, 28);
        assert_eq!(round_to_tick(finest, d("0.001"), Toward::Up), d("0.001"));
    }

    proptest! {
        #[test]
        fn a_rounded_price_is_a_neighbouring_tick_of_it(
            mantissa in -10_000_000_000i64..10_000_000_000, scale in 0u32..8, fine in any::<bool>(),
        ) {
            let price = Decimal::new(mantissa, scale);
            let tick = if fine { FINE } else { STOCK };
            let down = round_to_tick(price, tick, Toward::Down);
            let up = round_to_tick(price, tick, Toward::Up);
            prop_assert!(down <= price && price <= up);
            prop_assert_eq!(up - down, if down == price { Decimal::ZERO } else { tick });
            for toward in [Toward::Down, Toward::Up, Toward::Nearest, Toward::NearestEven] {
                let rounded = round_to_tick(price, tick, toward);
                prop_assert!(rounded == down || rounded == up);
                prop_assert!((rounded % tick).is_zero());
                prop_assert_eq!(rounded.scale(), tick.scale());
                prop_assert_eq!(round_to_tick(rounded, tick, toward), rounded);
            }
            let nearest = round_to_tick(price, tick, Toward::Nearest);
            prop_assert!((nearest - price).abs() * Decimal::TWO <= tick);
            prop_assert!((nearest - price).abs() * Decimal::TWO < tick || nearest == up);
            let even = round_to_tick(price, tick, Toward::NearestEven);
            prop_assert_eq!(even, price.round_dp(tick.scale()));
        }

        #[test]
        fn every_tick_stays_where_it_is(ticks in 0i64..100_000_000, fine in any::<bool>()) {
            let tick = if fine { FINE } else { STOCK };
            let price = Decimal::from(ticks) * tick;
            for toward in [Toward::Down, Toward::Up, Toward::Nearest, Toward::NearestEven] {
                prop_assert_eq!(round_to_tick(price, tick, toward), price);
            }
        }
    }
}
