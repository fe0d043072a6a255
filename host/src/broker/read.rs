//! Questions to a plugin that change nothing: each answer is complete, or it is an error.

use qt_core::portfolio::{Account, Position};
use qt_core::{BrokerFill, UtcMillis};
use qt_plugin_api::{AccountRow, CallError, PositionRow, Quote, TradeRow};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::convert;

/// Holdings and balances, complete. It travels as JSON from a running host to who asks it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Book {
    /// Every holding.
    pub(crate) positions: Vec<Position>,
    /// The balances.
    pub(crate) account: Account,
    /// Every trade of the account today, or why they cannot be had; `None` where nobody asked.
    pub(crate) trades_today: Option<Result<Vec<BrokerFill>, String>>,
    /// When they were asked for.
    pub(crate) asked_at: UtcMillis,
}

/// What a plugin must offer to be asked for its book.
const OF_A_BOOK: [&str; 2] = ["positions", "account"];

/// Why a plugin with these capabilities is not asked for its book; nothing where it is.
///
/// An author who offers no positions has to answer something, and mostly answers with an empty list:
/// taken for the truth, it would have the backend forget every holding.
pub(crate) fn lacks_a_book(capabilities: &[String]) -> Option<String> {
    let missing: Vec<_> = OF_A_BOOK
        .into_iter()
        .filter(|wanted| !capabilities.iter().any(|word| word == wanted))
        .collect();
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "the plugin does not offer {}: it lists no such capability",
        missing.join(" and ")
    ))
}

/// Every holding.
pub(crate) fn positions(rows: Result<Vec<PositionRow>, CallError>) -> Result<Vec<Position>, String> {
    let rows = rows.map_err(|e| e.to_string())?;
    rows.iter()
        .map(|row| convert::position(row).map_err(|e| e.to_string()))
        .collect()
}

/// The balances.
pub(crate) fn account(row: Result<AccountRow, CallError>) -> Result<Account, String> {
    let row = row.map_err(|e| e.to_string())?;
    Ok(convert::account(&row))
}

/// The holdings of which the broker's list does not say the last price or the close before.
pub(crate) fn without_price(positions: &[Position]) -> Vec<String> {
    let lacks = |p: &&Position| p.total != 0 && (p.last_price.is_none() || p.previous_close.is_none());
    positions
        .iter()
        .filter(lacks)
        .map(|p| p.symbol.to_string())
        .collect()
}

/// Puts prices where a holding has none. What the list of holdings says itself stays, and a price that is none is
/// passed over.
pub(crate) fn put_prices(positions: &mut [Position], quotes: &[Quote]) {
    let price = |price: Option<Decimal>| price.filter(|price| *price > Decimal::ZERO);
    for position in positions {
        let symbol = position.symbol.to_string();
        let Some(quote) = quotes.iter().find(|quote| quote.symbol == symbol) else {
            continue;
        };
        position.last_price = position.last_price.or(price(quote.last_price));
        position.previous_close = position.previous_close.or(price(quote.previous_close));
    }
}

/// Asks for the prices that holdings lack. A plugin that offers none or fails leaves them as they are: what has no price
/// is valued at its cost and marked so.
pub(crate) fn complete_prices(
    positions: &mut [Position],
    ask: impl FnOnce(&[String]) -> Option<Result<Vec<Quote>, CallError>>,
) {
    let symbols = without_price(positions);
    if symbols.is_empty() {
        return;
    }
    match ask(&symbols) {
        Some(Ok(quotes)) => put_prices(positions, &quotes),
        Some(Err(e)) => tracing::debug!("the plugin gives no prices of {}: {e}", symbols.join(", ")),
        None => {}
    }
}

/// Every trade of the account today, those that are not ours too.
pub(crate) fn trades_today(rows: Result<Vec<TradeRow>, CallError>) -> Result<Vec<BrokerFill>, String> {
    convert::all(rows.map_err(|e| e.to_string())?, convert::fill).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_offers_no_positions_is_not_taken_for_an_empty_account() {
        let words = |words: &[&str]| -> Vec<String> { words.iter().map(|w| (*w).to_owned()).collect() };
        assert_eq!(lacks_a_book(&words(&["place", "account", "positions"])), None);
        let lacking = lacks_a_book(&words(&["place", "account"])).unwrap();
        assert!(lacking.contains("does not offer positions:"), "{lacking}");
        assert!(lacks_a_book(&[]).unwrap().contains("positions and account"));
    }

    fn holding(symbol: &str, total: i64, last: Option<i64>, close: Option<i64>) -> Position {
        Position {
            symbol: symbol.parse().unwrap(),
            name: None,
            total,
            sellable: total,
            frozen: 0,
            avg_cost: Decimal::TEN,
            last_price: last.map(Decimal::from),
            previous_close: close.map(Decimal::from),
        }
    }

    fn quote(symbol: &str, last: i64, close: i64) -> Quote {
        Quote {
            symbol: symbol.to_owned(),
            last_price: Some(last.into()),
            previous_close: Some(close.into()),
            ..Quote::default()
        }
    }

    #[test]
    fn quotes_fill_what_the_list_of_holdings_lacks_and_nothing_else() {
        let mut held = vec![
            holding("600519.SH", 100, Some(1700), Some(1690)),
            holding("000858.SZ", 100, Some(140), None),
            holding("300750.SZ", 100, None, None),
            holding("601318.SH", 100, None, None),
            holding("600036.SH", 0, None, None),
        ];
        complete_prices(&mut held, |symbols| {
            assert_eq!(symbols, ["000858.SZ", "300750.SZ", "601318.SH"]);
            let foreign = quote("600519.SH", 1, 1);
            Some(Ok(vec![
                quote("000858.SZ", 999, 138),
                quote("300750.SZ", -3, 0),
                foreign,
                quote("nonsense", 1, 1),
            ]))
        });
        let prices: Vec<_> = held.iter().map(|p| (p.last_price, p.previous_close)).collect();
        let yuan = |price: i64| Some(Decimal::from(price));
        assert_eq!(prices[0], (yuan(1700), yuan(1690)));
        assert_eq!(prices[1], (yuan(140), yuan(138)));
        assert_eq!(prices[2..], [(None, None), (None, None), (None, None)]);
    }

    #[test]
    fn a_plugin_without_prices_and_one_that_fails_leave_holdings_as_they_are() {
        for answer in [None, Some(Err(CallError::new("no line")))] {
            let mut held = vec![holding("600519.SH", 100, None, None)];
            complete_prices(&mut held, |_| answer);
            assert_eq!(held, [holding("600519.SH", 100, None, None)]);
        }
        let mut held = vec![holding("600519.SH", 100, Some(1), Some(1))];
        complete_prices(&mut held, |_| panic!("nothing is missing"));
    }
}
