//! Between which prices a symbol may trade on a day.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::dated::on;
use crate::symbol::Symbol;
use crate::tick::{Toward, round_to_tick};
use crate::{Market, Price};

/// How far above and below the base price a symbol may trade, as fractions; `None`: as far as it likes.
pub(crate) type Rates = Option<(Decimal, Decimal)>;

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

impl Listing {
    /// What a security's short name tells, as exchanges and brokers show it: `ST` and `*ST` mark special treatment, a leading
    /// `N` the first day after a listing and a leading `C` the second to the fifth (the exchanges' trading rules on short
    /// names of new listings). A name in Latin letters, such as a fund's, is none of these.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let name = name.trim();
        let marked = |mark: char| {
            let rest = name.strip_prefix(mark);
            rest.and_then(|rest| rest.chars().next())
                .is_some_and(|second| !second.is_ascii())
        };
        let trading_day = if marked('N') {
            Some(1)
        } else if marked('C') {
            Some(2)
        } else {
            None
        };
        Self {
            special_treatment: name.trim_start_matches('*').starts_with("ST"),
            trading_day,
            rate: None,
        }
    }
}

/// What the tables say of one symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The first day on which it traded.
    pub(crate) first_day: Option<Date>,
    pub(crate) special_treatment: bool,
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
    Market::builtin().limit_rates(symbol, listing, date)
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
    Market::builtin().price_limits(symbol, previous_close, listing, date)
}

impl Market {
    /// What the tables' `listings` say of a symbol on a day comes before what is known from elsewhere, such as its name.
    fn listing_on(&self, symbol: &Symbol, known: Listing, date: Date) -> Listing {
        let Some(listed) = self.listings.get(symbol) else {
            return known;
        };
        Listing {
            special_treatment: known.special_treatment || listed.special_treatment,
            trading_day: match listed.first_day {
                Some(first) => self.trading_day_since(first, date),
                None => known.trading_day,
            },
            rate: known.rate,
        }
    }

    /// Which trading day from `first` on `date` is; none before it, and none of one that is long ago.
    fn trading_day_since(&self, first: Date, date: Date) -> Option<u32> {
        /// More calendar days than the first weeks with the longest holiday in them.
        const LONG_AGO: u32 = 60;
        if date < first {
            return None;
        }
        let (mut day, mut trading_days) = (first, 0);
        for _ in 0..LONG_AGO {
            trading_days += u32::from(self.calendar().is_trading_day(day));
            if day == date {
                return Some(trading_days.max(1));
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    /// As [`limit_rates`], by these tables.
    #[must_use]
    pub fn limit_rates(&self, symbol: &Symbol, listing: Listing, date: Date) -> Option<(Decimal, Decimal)> {
        if let Some(rate) = listing.rate {
            return Some((rate, rate));
        }
        let rules = self.rules(self.board(symbol))?;
        let listing = self.listing_on(symbol, listing, date);
        let day = listing.trading_day.unwrap_or(u32::MAX);
        if day <= on(&rules.free_days, date).unwrap_or(0) {
            return None;
        }
        if day == 1
            && let Some(rates) = on(&rules.first_day, date)
        {
            return rates;
        }
        let special = listing.special_treatment && !rules.limits_st.is_empty();
        on(if special { &rules.limits_st } else { &rules.limits }, date).flatten()
    }

    /// As [`price_limits`], by these tables.
    #[must_use]
    pub fn price_limits(
        &self,
        symbol: &Symbol,
        previous_close: Price,
        listing: Listing,
        date: Date,
    ) -> Option<PriceLimits> {
        if previous_close <= Decimal::ZERO {
            return None;
        }
        let (up, down) = self.limit_rates(symbol, listing, date)?;
        let tick = self.tick(symbol, date);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    use crate::tick::tick;

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
                    rate: Some(Decimal::new(1, 1)),
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
