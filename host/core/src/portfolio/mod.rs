//! The book: what is held and what it is worth. Knows no broker.
//!
//! Figures are kept to ten decimal places of a yuan, so that a total is the sum of its parts to the
//! last digit in any order; only what is shown is rounded further, once, by [`round2`].
//! Percentages are percent, not fractions: 1.65 is 1.65 %.

mod equity;
mod exact;
mod fills;
mod grid;
mod pnl;
mod risk;
mod sizing;
mod today;
mod totals;

pub use equity::{CurvePoint, EquityCurve, EquityError, EquityPoint, equity_curve};
pub use fills::trades_of;
pub use grid::{GridLevel, GridOptions, GridSuggestion, Ladder, ladder, suggest_grid};
pub use pnl::{Trade, TradeBook, TradeFigures};
pub use risk::{RiskFigures, RiskLevel, RiskThresholds, assess};
pub use sizing::{SizeBasis, SizeOption, Sizing, size};
pub use today::{SymbolToday, TodayPnl, TodayUnknown, today};
pub use totals::{PositionFigures, PriceSource, Totals, Valuation, value};

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

/// Why the book cannot be worked out. Each names the symbol that is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortfolioError {
    /// A figure is larger than a decimal holds with its cents.
    #[error("{symbol}: {what} is too large to be worked out: check its quantity and price")]
    TooLarge {
        /// Where it happened; in a total, the position that made it too large.
        symbol: Symbol,
        /// Which figure.
        what: &'static str,
    },
    /// Fewer than no shares.
    #[error("{symbol}: {what} is {quantity}, which cannot be below zero")]
    Negative {
        /// The position.
        symbol: Symbol,
        /// Which number.
        what: &'static str,
        /// Its value.
        quantity: Shares,
    },
    /// There is nothing to work on.
    #[error("{symbol}: no shares are held, so there is no grid to suggest")]
    NothingHeld {
        /// The position.
        symbol: Symbol,
    },
    /// A price that is none.
    #[error("{symbol}: price {price} is not above zero: give a price in yuan")]
    NoPrice {
        /// What was asked about.
        symbol: Symbol,
        /// The price.
        price: Price,
    },
    /// An option outside its range.
    #[error("{symbol}: {option} is {value}: expected {expected}")]
    Option {
        /// What was asked about.
        symbol: Symbol,
        /// The option.
        option: &'static str,
        /// Its value.
        value: Decimal,
        /// What it may be.
        expected: &'static str,
    },
    /// A size that the exchange would refuse.
    #[error(transparent)]
    Lot(#[from] qt_market::LotError),
    /// Fees that cannot be worked out.
    #[error(transparent)]
    Fees(#[from] qt_market::FeeError),
}

/// `figure` as it is shown: two decimal places, half to even, and never a negative zero.
#[must_use]
pub fn round2(figure: Decimal) -> Decimal {
    let mut rounded = figure.round_dp(2);
    if rounded.is_zero() {
        rounded = Decimal::ZERO;
    }
    rounded.rescale(2);
    rounded
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    pub(crate) fn position(symbol: &str, total: Shares, cost: &str, last: Option<&str>) -> Position {
        Position {
            symbol: symbol.parse().unwrap(),
            name: None,
            total,
            sellable: total,
            frozen: 0,
            avg_cost: d(cost),
            last_price: last.map(d),
            previous_close: None,
        }
    }

    /// The three holdings of the specification's examples.
    pub(crate) fn example() -> Vec<Position> {
        vec![
            position("000858.SZ", 1000, "42.50", Some("43.20")),
            position("002050.SZ", 500, "38.00", Some("37.50")),
            position("600519.SH", 100, "1850", Some("1920")),
        ]
    }

    #[test]
    fn what_is_shown_is_rounded_half_to_even_and_has_no_negative_zero() {
        for (figure, shown) in [
            ("34.295", "34.30"),
            ("46.305", "46.30"),
            ("40.375", "40.38"),
            ("-0.005", "0.00"),
            ("-0.0051", "-0.01"),
            ("7", "7.00"),
        ] {
            assert_eq!(round2(d(figure)).to_string(), shown, "{figure}");
        }
    }
}
