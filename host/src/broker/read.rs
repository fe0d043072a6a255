//! Questions to a plugin that change nothing: each answer is complete, or it is an error.

use qt_core::portfolio::{Account, Position};
use qt_core::{BrokerFill, UtcMillis};
use qt_plugin_api::host::LoadedBroker;
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

/// Every holding.
pub(crate) fn positions(broker: &LoadedBroker) -> Result<Vec<Position>, String> {
    let rows = broker.positions().map_err(|e| e.to_string())?;
    rows.iter()
        .map(|row| convert::position(row).map_err(|e| e.to_string()))
        .collect()
}

/// The balances.
pub(crate) fn account(broker: &LoadedBroker) -> Result<Account, String> {
    let row = broker.account().map_err(|e| e.to_string())?;
    Ok(convert::account(&row))
}

/// Every trade of the account today, those that are not ours too.
pub(crate) fn trades_today(broker: &LoadedBroker) -> Result<Vec<BrokerFill>, String> {
    let rows = broker.trades_today().map_err(|e| e.to_string())?;
    rows.iter()
        .filter_map(|row| convert::fill(row).map_err(|e| e.to_string()).transpose())
        .collect()
}
