//! Questions to a plugin that change nothing: each answer is complete, or it is an error.

use qt_core::portfolio::{Account, Position};
use qt_core::{BrokerFill, UtcMillis};
use qt_plugin_api::{AccountRow, CallError, PositionRow, TradeRow};
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
}
