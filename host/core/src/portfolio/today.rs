//! What a day earned, from prices and trades, so that deposits and withdrawals do not count.

use qt_market::{Price, Shares, Side, Symbol};
use rust_decimal::Decimal;

use super::exact::At;
use super::totals::price_of;
use super::{PortfolioError, Position, PriceSource, Trade};

/// A day's P&L in yuan; total = overnight + trades − fees, each the sum over the symbols.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TodayPnl {
    /// (price − previous close) × shares held overnight.
    pub overnight: Decimal,
    /// Today's trades against the price: what they realised and what they have not yet.
    pub trades: Decimal,
    /// Fees of today's trades, as a positive number; also of symbols that are left out else.
    pub fees: Decimal,
    /// All together.
    pub total: Decimal,
    /// What the shares held overnight were worth at the previous close, of the symbols that can be told.
    pub opening_value: Decimal,
    /// One for each symbol that is held or was traded today and can be told, by symbol.
    pub symbols: Vec<SymbolToday>,
    /// What cannot be told and is left out of the sums, fees apart.
    pub unknown: Vec<TodayUnknown>,
}

impl TodayPnl {
    /// True where nothing of the day can be told: there is something to tell, and all of it is unknown.
    /// Its sums are those of nothing then, and are not to be shown as figures.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        self.symbols.is_empty() && !self.unknown.is_empty()
    }
}

/// A symbol's part of the day, in yuan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SymbolToday {
    /// The symbol.
    pub symbol: Symbol,
    /// (price − previous close) × shares held overnight.
    pub overnight: Decimal,
    /// Today's trades against the price.
    pub trades: Decimal,
    /// Fees of today's trades, as a positive number.
    pub fees: Decimal,
    /// overnight + trades − fees.
    pub total: Decimal,
}

/// A symbol whose day cannot be told, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TodayUnknown {
    /// The symbol.
    pub symbol: Symbol,
    /// Why, for a person.
    pub reason: &'static str,
}

/// What was traded of a symbol today.
#[derive(Clone, Copy, Default)]
struct Traded {
    bought: Shares,
    sold: Shares,
    /// Sold amount − bought amount.
    cash: Decimal,
    fees: Decimal,
}

/// A symbol with its holding, where there is one, and what was traded of it.
struct Day<'a> {
    position: Option<&'a Position>,
    traded: Traded,
}

/// The P&L of the day whose trades `trades_today` are, all of them, with `positions` after them.
///
/// The broker's snapshot should still hold symbols that were sold out today, with no shares, since
/// their previous close is needed.
///
/// # Errors
/// A trade without shares, a negative holding, or a figure that no decimal holds.
pub fn today(positions: &[Position], trades_today: &[Trade]) -> Result<TodayPnl, PortfolioError> {
    let held = by_symbol(positions);
    let traded = traded(trades_today)?;
    let mut all = TodayPnl {
        symbols: Vec::with_capacity(held.len()),
        ..TodayPnl::default()
    };
    let mut last = None;
    for (symbol, day) in merged(&held, &traded) {
        let at = At(symbol, "today's P&L");
        all.fees = at.add(all.fees, day.traded.fees)?;
        match of_symbol(symbol, &day)? {
            Ok((one, opening)) => {
                all.opening_value = at.add(all.opening_value, opening)?;
                all.overnight = at.add(all.overnight, one.overnight)?;
                all.trades = at.add(all.trades, one.trades)?;
                all.symbols.push(one);
            }
            Err(reason) => all.unknown.push(TodayUnknown { symbol, reason }),
        }
        last = Some(at);
    }
    if let Some(at) = last {
        all.total = at.sub(at.add(all.overnight, all.trades)?, all.fees)?;
    }
    Ok(all)
}

/// The positions by symbol; of two of one symbol the later counts. Sorted once and only where they are not: a tree of a
/// large book costs more with every position.
fn by_symbol(positions: &[Position]) -> Vec<&Position> {
    let mut held: Vec<&Position> = positions.iter().collect();
    if !positions.is_sorted_by(|a, b| a.symbol < b.symbol) {
        held.sort_by_cached_key(|position| position.symbol);
        // Equal ones stand in the book's order, and the first of a row of them is kept: turned round, that is the last.
        held.reverse();
        held.dedup_by_key(|position| position.symbol);
        held.reverse();
    }
    held
}

/// What was traded of each symbol, by symbol.
fn traded(trades: &[Trade]) -> Result<Vec<(Symbol, Traded)>, PortfolioError> {
    let mut sorted: Vec<&Trade> = trades.iter().collect();
    sorted.sort_by_key(|trade| trade.symbol);
    let mut all: Vec<(Symbol, Traded)> = Vec::new();
    for trade in sorted {
        let at = At(trade.symbol, "the sum of today's trades");
        let too_large = PortfolioError::TooLarge {
            symbol: trade.symbol,
            what: at.1,
        };
        let mut sum = match all.last() {
            Some((symbol, sum)) if *symbol == trade.symbol => *sum,
            _ => {
                all.push((trade.symbol, Traded::default()));
                Traded::default()
            }
        };
        let amount = trade.amount()?;
        let (count, cash) = match trade.side {
            Side::Buy => (&mut sum.bought, -amount),
            Side::Sell => (&mut sum.sold, amount),
        };
        *count = count.checked_add(trade.size).ok_or(too_large)?;
        sum.cash = at.add(sum.cash, cash)?;
        sum.fees = at.add(sum.fees, trade.fees)?;
        if let Some((_, last)) = all.last_mut() {
            *last = sum;
        }
    }
    Ok(all)
}

/// Each symbol of either list once, in order; both lists are in order already.
fn merged<'a>(
    held: &'a [&'a Position],
    traded: &'a [(Symbol, Traded)],
) -> impl Iterator<Item = (Symbol, Day<'a>)> {
    let mut held = held.iter().copied().peekable();
    let mut traded = traded.iter().peekable();
    std::iter::from_fn(move || {
        let of_position = held.peek().map(|position| position.symbol);
        let of_trade = traded.peek().map(|(symbol, _)| *symbol);
        let symbol = match (of_position, of_trade) {
            (Some(position), Some(trade)) => position.min(trade),
            (position, trade) => position.or(trade)?,
        };
        let day = Day {
            position: held.next_if(|position| position.symbol == symbol),
            traded: traded
                .next_if(|(of, _)| *of == symbol)
                .map(|(_, sum)| *sum)
                .unwrap_or_default(),
        };
        Some((symbol, day))
    })
}

/// A symbol's part of the day, and what its shares held overnight were worth at the previous close.
type Told = (SymbolToday, Decimal);

/// A symbol's part of the day, or why it cannot be told.
fn of_symbol(symbol: Symbol, day: &Day<'_>) -> Result<Result<Told, &'static str>, PortfolioError> {
    let at = At(symbol, "today's P&L");
    let traded = &day.traded;
    let held = day.position.map_or(0, |position| position.total);
    if held < 0 {
        return Err(PortfolioError::Negative {
            symbol,
            what: "the quantity",
            quantity: held,
        });
    }
    let too_large = PortfolioError::TooLarge { symbol, what: at.1 };
    let overnight_shares = held
        .checked_add(traded.sold)
        .and_then(|shares| shares.checked_sub(traded.bought))
        .ok_or(too_large)?;
    if overnight_shares < 0 {
        return Ok(Err(
            "fewer shares are held than today's trades leave: the snapshot lags, or shares left",
        ));
    }
    let close = day
        .position
        .and_then(|position| position.previous_close)
        .filter(|c| *c > Decimal::ZERO);
    let now = day
        .position
        .map(price_of)
        .filter(|(_, source)| *source != PriceSource::Cost);
    let (price, close): (Price, Price) = match (now, close) {
        (Some((price, _)), Some(close)) => (price, close),
        // Nothing was held overnight: the close is multiplied by nothing.
        (Some((price, _)), None) if overnight_shares == 0 => (price, price),
        // Nothing is held any more and nothing was: only the trades count, at any price.
        (None, _) if overnight_shares == 0 && held == 0 => (Decimal::ZERO, Decimal::ZERO),
        (Some(_), None) => return Ok(Err("its previous close is not known")),
        (None, _) => return Ok(Err("neither its price nor its previous close is known")),
    };
    let overnight_shares = Decimal::from(overnight_shares);
    let overnight = at.mul(at.sub(price, close)?, overnight_shares)?;
    let opening = at.mul(close, overnight_shares)?;
    // Bought shares are worth the price now, sold ones would be: the difference to what was paid.
    let net = Decimal::from(traded.bought) - Decimal::from(traded.sold);
    let trades = at.add(traded.cash, at.mul(net, price)?)?;
    let total = at.sub(at.add(overnight, trades)?, traded.fees)?;
    let one = SymbolToday {
        symbol,
        overnight,
        trades,
        fees: traded.fees,
        total,
    };
    Ok(Ok((one, opening)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{d, position};
    use super::*;
    use crate::time::UtcMillis;
    use proptest::prelude::*;

    fn held(symbol: &str, total: Shares, last: Option<&str>, close: Option<&str>) -> Position {
        Position {
            previous_close: close.map(d),
            ..position(symbol, total, "1", last)
        }
    }

    fn trade(symbol: &str, side: Side, size: Shares, price: &str, fees: &str) -> Trade {
        Trade {
            symbol: symbol.parse().unwrap(),
            side,
            size,
            price: d(price),
            fees: d(fees),
            at: UtcMillis(0),
        }
    }

    #[test]
    fn overnight_shares_and_trades_each_earn_their_part() {
        let positions = [
            held("000858.SZ", 1000, Some("43.20"), Some("43.00")),
            held("002050.SZ", 300, Some("37.50"), Some("38.00")),
            held("600519.SH", 0, Some("1920"), Some("1900")),
        ];
        let trades = [
            trade("002050.SZ", Side::Buy, 100, "37.00", "5.04"),
            trade("600519.SH", Side::Sell, 100, "1910", "145.16"),
        ];
        let day = today(&positions, &trades).unwrap();
        let parts: Vec<_> = day
            .symbols
            .iter()
            .map(|s| (s.overnight, s.trades, s.fees, s.total))
            .collect();
        assert_eq!(
            parts,
            [
                (d("200"), d("0"), d("0"), d("200")),
                // 200 overnight lost 0.50 each; 100 bought at 37.00 are worth 37.50.
                (d("-100"), d("50"), d("5.04"), d("-55.04")),
                // 100 overnight gained 20 each and were sold 10 below the price now.
                (d("2000"), d("-1000"), d("145.16"), d("854.84")),
            ]
        );
        assert_eq!(
            (day.overnight, day.trades, day.fees),
            (d("2100"), d("-950"), d("150.20"))
        );
        assert_eq!(day.total, d("999.80"));
        // 1000 at 43.00, 200 at 38.00 and 100 at 1900.
        assert_eq!(day.opening_value, d("240600"));
        assert!(day.unknown.is_empty());
    }

    #[test]
    fn what_cannot_be_told_is_listed_and_left_out() {
        let positions = [
            held("000001.SZ", 100, Some("10"), None),
            held("000002.SZ", 100, None, None),
            held("000858.SZ", 100, None, Some("43")),
            held("002050.SZ", 100, Some("38"), None),
            held("300750.SZ", 100, Some("38"), Some("38")),
        ];
        let trades = [
            // Bought today: no close is needed.
            trade("002050.SZ", Side::Buy, 100, "37", "5"),
            // Came and went today, and no row is left.
            trade("113050.SH", Side::Buy, 10, "120", "1"),
            trade("113050.SH", Side::Sell, 10, "121", "1"),
            // Sold out, and no row is left that knows its close.
            trade("600519.SH", Side::Sell, 100, "1910", "100"),
            // The snapshot does not show this purchase yet.
            trade("300750.SZ", Side::Buy, 200, "38", "5"),
        ];
        let day = today(&positions, &trades).unwrap();
        let known: Vec<_> = day
            .symbols
            .iter()
            .map(|s| (s.symbol.to_string(), s.total))
            .collect();
        assert_eq!(
            known,
            [
                ("000858.SZ".to_owned(), d("0")),
                ("002050.SZ".to_owned(), d("95")),
                ("113050.SH".to_owned(), d("8")),
            ]
        );
        let unknown: Vec<_> = day.unknown.iter().map(|u| u.symbol.to_string()).collect();
        assert_eq!(unknown, ["000001.SZ", "000002.SZ", "300750.SZ", "600519.SH"]);
        // Fees are known even where the rest is not.
        assert_eq!((day.fees, day.total), (d("112"), d("-2")));
    }

    #[test]
    fn a_day_of_which_nothing_can_be_told_is_no_day_that_earned_nothing() {
        let dark = held("000001.SZ", 100, Some("10"), None);
        let bright = held("000858.SZ", 100, Some("43"), Some("43"));
        let unknown = |positions: &[Position]| today(positions, &[]).unwrap().is_unknown();
        assert!(unknown(std::slice::from_ref(&dark)));
        assert!(!unknown(&[dark, bright]));
        assert!(!unknown(&[]), "an empty book earned nothing, and that is known");
    }

    #[test]
    fn a_book_in_any_order_has_the_same_day_and_of_two_rows_the_later_counts() {
        let sorted = [
            held("000001.SZ", 100, Some("11"), Some("10")),
            held("000858.SZ", 100, Some("44"), Some("43")),
            held("600519.SH", 100, Some("1910"), Some("1900")),
        ];
        let trades = [
            trade("600519.SH", Side::Buy, 100, "1900", "5"),
            trade("300750.SZ", Side::Buy, 100, "200", "5"),
            trade("000001.SZ", Side::Sell, 100, "11", "6"),
        ];
        let day = today(&sorted, &trades).unwrap();
        let symbols: Vec<_> = day.symbols.iter().map(|one| one.symbol.to_string()).collect();
        assert_eq!(symbols, ["000001.SZ", "000858.SZ", "600519.SH"]);
        assert_eq!(day.unknown[0].symbol.to_string(), "300750.SZ");
        let [a, b, c] = sorted;
        let stale = held("000858.SZ", 7, Some("1"), None);
        let mixed = [c, stale, b, a];
        assert_eq!(today(&mixed, &trades).unwrap(), day);
    }

    #[test]
    fn absurd_days_are_refused_by_name() {
        let max = Decimal::MAX.to_string();
        let buy = |size, price: &str| trade("000858.SZ", Side::Buy, size, price, "0");
        for (positions, trades) in [
            (vec![held("000858.SZ", -1, Some("1"), Some("1"))], vec![]),
            (vec![held("000858.SZ", i64::MAX, Some(&max), Some("1"))], vec![]),
            (vec![], vec![buy(i64::MAX, "1"), buy(1, "1")]),
            (vec![], vec![buy(0, "1")]),
            (vec![], vec![buy(2, &max)]),
        ] {
            let error = today(&positions, &trades).unwrap_err();
            assert!(error.to_string().starts_with("000858.SZ: "), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_day_is_the_change_of_wealth_without_transfers(
            overnight in 0i64..1_000, close in 1i64..10_000, last in 1i64..10_000,
            trades in proptest::collection::vec((any::<bool>(), 1i64..100, 1i64..10_000, 0i64..2_000), 0..20),
        ) {
            let (close, last) = (Decimal::new(close, 2), Decimal::new(last, 2));
            let (mut shares, mut cash) = (overnight, Decimal::ZERO);
            let mut booked = Vec::new();
            for (buy, size, cents, fees) in trades {
                let side = if buy || shares < size { Side::Buy } else { Side::Sell };
                let (price, fees) = (Decimal::new(cents, 2), Decimal::new(fees, 2));
                let amount = Decimal::from(size) * price;
                (shares, cash) = match side {
                    Side::Buy => (shares + size, cash - amount - fees),
                    Side::Sell => (shares - size, cash + amount - fees),
                };
                booked.push(trade("000858.SZ", side, size, &price.to_string(), &fees.to_string()));
            }
            let position = held("000858.SZ", shares, Some(&last.to_string()), Some(&close.to_string()));
            let day = today(&[position], &booked).unwrap();
            let wealth = Decimal::from(shares) * last + cash - Decimal::from(overnight) * close;
            prop_assert_eq!(day.total, wealth);
            prop_assert_eq!(day.total, day.overnight + day.trades - day.fees);
        }
    }
}
