//! The book: what is held and what it is worth. Knows no broker.

use qt_market::{Price, Shares, Symbol};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// A holding, as a broker shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// What is held.
    pub symbol: Symbol,
    /// Its name for people, where the broker gives one.
    pub name: Option<String>,
    /// Shares held.
    pub total: Shares,
    /// Shares that may be sold now.
    pub sellable: Shares,
    /// Shares held by open orders.
    pub frozen: Shares,
    /// The broker's average cost in yuan; may be negative once profits are booked against it.
    pub avg_cost: Price,
    /// Last price in yuan; `None` where there is none, as for a suspended stock.
    pub last_price: Option<Price>,
    /// Yesterday's closing price in yuan, where known.
    pub previous_close: Option<Price>,
}

/// Balances, as a broker shows them, in yuan.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The broker's account number: a secret, masked in logs.
    pub account_id: String,
    /// All that the account is worth.
    pub total_asset: Decimal,
    /// Cash, frozen or not.
    pub cash: Decimal,
    /// Cash that may be used now.
    pub available_cash: Decimal,
    /// Cash held by open orders.
    pub frozen_cash: Decimal,
    /// What the holdings are worth.
    pub market_value: Decimal,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The account number is left out: this may end up in a log.
        f.debug_struct("Account")
            .field("total_asset", &self.total_asset)
            .field("cash", &self.cash)
            .finish_non_exhaustive()
    }
}
