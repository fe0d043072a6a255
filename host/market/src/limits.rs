//! Between which prices a symbol may trade on a day.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::Price;
use crate::board::Board;
use crate::dated::{Since, dec, on, since};
use crate::symbol::Symbol;
use crate::tick::{Toward, round_to_tick, tick};

/// How far above and below the base price a symbol may trade, as fractions; `None`: as far as it likes.
type Rates = Option<(Decimal, Decimal)>;

const fn both(rate: Decimal) -> Rates {
    Some((rate, rate))
}

const FIVE: Decimal = dec(5, 2);
const TEN: Decimal = dec(1, 1);
const TWENTY: Decimal = dec(2, 1);
const THIRTY: Decimal = dec(3, 1);

/// Main boards and B shares, O.
const MAIN: [Since<Rates>; 1] = [since(1996, 12, 16, both(TEN))];
/// The same under special treatment (ST), S.
const MAIN_ST: [Since<Rates>; 2] = [since(1998, 4, 22, both(FIVE)), since(2026, 7, 6, both(TEN))];
/// ChiNext, S.
const CHINEXT: [Since<Rates>; 2] = [since(2009, 10, 30, both(TEN)), since(2020, 8, 24, both(TWENTY))];
/// ChiNext under special treatment: as all of ChiNext since the reform, S.
const CHINEXT_ST: [Since<Rates>; 2] = [since(2009, 10, 30, both(FIVE)), since(2020, 8, 24, both(TWENTY))];
/// STAR, S.
const STAR: [Since<Rates>; 1] = [since(2019, 7, 22, both(TWENTY))];
/// Beijing, S.
const BSE: [Since<Rates>; 1] = [since(2021, 11, 15, both(THIRTY))];
/// Funds: 10 % or 20 % by what they hold, which no code tells, so the wider of the two, U.
const FUND: [Since<Rates>; 1] = [since(1998, 4, 7, both(TWENTY))];
/// Convertible bonds, S.
const CONVERTIBLE_BOND: [Since<Rates>; 1] = [since(2022, 8, 1, both(TWENTY))];

/// First day of a convertible bond, S: 57.3 % up, 43.3 % down.
const CONVERTIBLE_BOND_FIRST: [Since<Rates>; 1] = [since(2022, 8, 1, Some((dec(573, 3), dec(433, 3))))];
/// First day on the main boards, S: 44 % up and 36 % down of the issue price until the reform.
const MAIN_FIRST: [Since<Rates>; 2] = [
    since(2014, 1, 1, Some((dec(44, 2), dec(36, 2)))),
    since(2023, 4, 10, None),
];
/// First day on ChiNext, S.
const CHINEXT_FIRST: [Since<Rates>; 2] = [
    since(2014, 1, 1, Some((dec(44, 2), dec(36, 2)))),
    since(2020, 8, 24, None),
];
/// Days without a limit after a listing, S.
const MAIN_FREE_DAYS: [Since<u32>; 1] = [since(2023, 4, 10, 5)];
const CHINEXT_FREE_DAYS: [Since<u32>; 1] = [since(2020, 8, 24, 5)];
const STAR_FREE_DAYS: [Since<u32>; 1] = [since(2019, 7, 22, 5)];
const BSE_FREE_DAYS: [Since<u32>; 1] = [since(2021, 11, 15, 1)];

/// What the code of a symbol does not tell and its limits depend on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listing {
    /// Under special treatment (ST, *ST).
    pub special_treatment: bool,
    /// Which trading day since its listing this is, the first being 1; `None`: listed long ago.
    pub trading_day: Option<u32>,
    /// The rate as a fraction, where a better source than this table names it.
    pub rate: Option<Decimal>,
}

/// The lowest and the highest price of a day, both allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceLimits {
    /// The lowest.
    pub lower: Price,
    /// The highest.
    pub upper: Price,
}

impl PriceLimits {
    /// True where an order may have this price.
    #[must_use]
    pub fn contains(&self, price: Price) -> bool {
        self.lower <= price && price <= self.upper
    }
}

/// How far up and down a symbol may go on `date`, as fractions of the base; `None`: no limit is
/// in force, or none is known.
#[must_use]
pub fn limit_rates(symbol: &Symbol, listing: Listing, date: Date) -> Option<(Decimal, Decimal)> {
    if let Some(rate) = listing.rate {
        return both(rate);
    }
    let board = Board::of(symbol);
    let day = listing.trading_day.unwrap_or(u32::MAX);
    let (first, free_days): (&[Since<Rates>], &[Since<u32>]) = match board {
        Board::Main => (&MAIN_FIRST, &MAIN_FREE_DAYS),
        Board::ChiNext => (&CHINEXT_FIRST, &CHINEXT_FREE_DAYS),
        Board::Star => (&[], &STAR_FREE_DAYS),
        Board::Bse => (&[], &BSE_FREE_DAYS),
        Board::ConvertibleBond => (&CONVERTIBLE_BOND_FIRST, &[]),
        Board::BShare | Board::Fund | Board::Unknown => (&[], &[]),
    };
    if day <= on(free_days, date).unwrap_or(0) {
        return None;
    }
    if day == 1
        && let Some(rates) = on(first, date)
    {
        return rates;
    }
    let table: &[Since<Rates>] = match (board, listing.special_treatment) {
        (Board::Main | Board::BShare, false) => &MAIN,
        (Board::Main | Board::BShare, true) => &MAIN_ST,
        (Board::ChiNext, false) => &CHINEXT,
        (Board::ChiNext, true) => &CHINEXT_ST,
        (Board::Star, _) => &STAR,
        (Board::Bse, _) => &BSE,
        (Board::Fund, _) => &FUND,
        (Board::ConvertibleBond, _) => &CONVERTIBLE_BOND,
        (Board::Unknown, _) => &[],
    };
    on(table, date).flatten()
}

/// The limits of a day from the previous close (on the first day: from the issue price): previous
/// close × (1 ± rate), rounded half up to the tick, S.
///
/// Where that is nearer than one tick, it is one tick away, and nothing is ever below one tick.
/// `None`: no limit is in force or known, or the previous close is no price.
#[must_use]
pub fn price_limits(
    symbol: &Symbol,
    previous_close: Price,
    listing: Listing,
    date: Date,
) -> Option<PriceLimits> {
    if previous_close <= Decimal::ZERO {
        return None;
    }
    let (up, down) = limit_rates(symbol, listing, date)?;
    let tick = tick(symbol);
    let at = |factor: Decimal| {
        Some(round_to_tick(
            previous_close.checked_mul(factor)?,
            tick,
            Toward::Nearest,
        ))
    };
    let upper = at(Decimal::ONE.checked_add(up)?)?.max(previous_close.checked_add(tick)?);
    let lower = at(Decimal::ONE.checked_sub(down)?)?
        .min(previous_close.checked_sub(tick)?)
        .max(tick);
    // A close below one tick cannot be traded at; the limits still hold the price they come from.
    Some(PriceLimits {
        lower: lower.min(previous_close),
        upper,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn limits(symbol: &str, close: &str, listing: Listing, day: Date) -> Option<(String, String)> {
        price_limits(&symbol.parse().unwrap(), d(close), listing, day)
            .map(|limits| (limits.lower.to_string(), limits.upper.to_string()))
    }

    const OLD: Listing = Listing {
        special_treatment: false,
        trading_day: None,
        rate: None,
    };
    const ST: Listing = Listing {
        special_treatment: true,
        trading_day: None,
        rate: None,
    };

    const fn day(trading_day: u32) -> Listing {
        Listing {
            special_treatment: false,
            trading_day: Some(trading_day),
            rate: None,
        }
    }

    #[test]
    fn each_board_and_date_has_its_limits() {
        let now = date(2026, 11, 24);
        for (symbol, close, listing, on_day, expected) in [
            ("600519.SH", "1920.00", OLD, now, Some(("1728.00", "2112.00"))),
            // 10.05 × 1.1 = 11.055 and × 0.9 = 9.045: halves go up.
            ("000858.SZ", "10.05", OLD, now, Some(("9.05", "11.06"))),
            (
                "000858.SZ",
                "10.00",
                ST,
                date(2026, 7, 5),
                Some(("9.50", "10.50")),
            ),
            (
                "000858.SZ",
                "10.00",
                ST,
                date(2026, 7, 6),
                Some(("9.00", "11.00")),
            ),
            (
                "300750.SZ",
                "10.00",
                OLD,
                date(2020, 8, 21),
                Some(("9.00", "11.00")),
            ),
            (
                "300750.SZ",
                "10.00",
                OLD,
                date(2020, 8, 24),
                Some(("8.00", "12.00")),
            ),
            ("300750.SZ", "10.00", ST, now, Some(("8.00", "12.00"))),
            ("688981.SH", "10.00", OLD, now, Some(("8.00", "12.00"))),
            ("920002.BJ", "10.00", OLD, now, Some(("7.00", "13.00"))),
            ("920002.BJ", "10.00", day(1), now, None),
            ("920002.BJ", "10.00", day(2), now, Some(("7.00", "13.00"))),
            ("688981.SH", "10.00", day(5), now, None),
            ("688981.SH", "10.00", day(6), now, Some(("8.00", "12.00"))),
            ("600519.SH", "10.00", day(5), now, None),
            ("600519.SH", "10.00", day(6), now, Some(("9.00", "11.00"))),
            (
                "600519.SH",
                "10.00",
                day(1),
                date(2022, 1, 4),
                Some(("6.40", "14.40")),
            ),
            (
                "600519.SH",
                "10.00",
                day(2),
                date(2022, 1, 4),
                Some(("9.00", "11.00")),
            ),
            ("113050.SH", "100.000", day(1), now, Some(("56.700", "157.300"))),
            ("113050.SH", "100.000", OLD, now, Some(("80.000", "120.000"))),
            ("113050.SH", "100.000", OLD, date(2022, 7, 29), None),
            ("510300.SH", "4.000", OLD, now, Some(("3.200", "4.800"))),
            (
                "510300.SH",
                "4.000",
                Listing {
                    rate: Some(TEN),
                    ..OLD
                },
                now,
                Some(("3.600", "4.400")),
            ),
            // Too cheap for a percentage: one tick either way, and never below one.
            ("600519.SH", "0.03", OLD, now, Some(("0.02", "0.04"))),
            ("600519.SH", "0.01", OLD, now, Some(("0.01", "0.02"))),
            ("204001.SH", "1.00", OLD, now, None),
            ("600519.SH", "0", OLD, now, None),
            ("600519.SH", "-1", OLD, now, None),
        ] {
            let expected = expected.map(|(lower, upper)| (lower.to_owned(), upper.to_owned()));
            assert_eq!(
                limits(symbol, close, listing, on_day),
                expected,
                "{symbol} {close} {on_day}"
            );
        }
        assert_eq!(
            price_limits(&"600519.SH".parse().unwrap(), Decimal::MAX, OLD, now),
            None
        );
    }

    proptest! {
        #[test]
        fn limits_contain_the_previous_close_and_lie_on_ticks(
            symbol in proptest::sample::select(
                &["600519.SH", "300750.SZ", "688981.SH", "920002.BJ", "510300.SH", "113050.SH"][..]),
            ticks in 1i64..10_000_000, st in any::<bool>(), after in 0i64..2_000,
        ) {
            let symbol = symbol.parse().unwrap();
            let tick = tick(&symbol);
            let close = Decimal::from(ticks) * tick;
            let on_day = date(2022, 8, 1) + jiff::Span::new().days(after);
            let limits = price_limits(&symbol, close, if st { ST } else { OLD }, on_day).unwrap();
            prop_assert!(limits.contains(close));
            prop_assert!(limits.lower >= tick && limits.upper > close);
            prop_assert!((limits.lower % tick).is_zero() && (limits.upper % tick).is_zero());
            prop_assert!(!limits.contains(limits.upper + tick) && !limits.contains(limits.lower - tick));
        }
    }
}
