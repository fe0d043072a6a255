//! What the backend wishes.

use qt_market::{Price, Shares, Side, Symbol};
use serde::{Deserialize, Serialize};

use crate::ids::SignalId;
use crate::time::UtcMillis;

/// One trading signal, checked for shape: what is absent in it was absent on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The backend's name for it.
    pub id: SignalId,
    /// How often it was tried before, as the backend counts; the number of the attempt.
    pub retry_count: u32,
    /// What to trade.
    pub symbol: Symbol,
    /// Buy or sell.
    pub side: Side,
    /// How many shares; more than zero.
    pub size: Shares,
    /// Limit in yuan; `None` is a market order.
    #[serde(default, with = "crate::decimal::option")]
    pub price: Option<Price>,
    /// The strategy's key.
    pub strategy: Option<String>,
    /// The strategy's name for people.
    pub strategy_name: Option<String>,
    /// When the backend made it.
    pub created_at: Option<UtcMillis>,
    /// The backend's account that it is meant for.
    pub securities_account_id: Option<String>,
    /// The broker's account number that it is meant for.
    pub account_id: Option<String>,
    /// The broker's word on the wire, echoed in reports.
    pub broker: Option<String>,
    /// Not to be sent before.
    pub activate_after: Option<UtcMillis>,
    /// Not to live longer.
    pub valid_until: Option<UtcMillis>,
    /// Smaller goes first; 1000 where the backend says nothing.
    pub execution_priority: i64,
    /// The price the strategy looked at, in yuan.
    #[serde(default, with = "crate::decimal::option")]
    pub reference_price: Option<Price>,
    /// How far from the reference a limit may go, in hundredths of a percent.
    pub max_slippage_bps: Option<u32>,
    /// A sale never goes below, in yuan.
    #[serde(default, with = "crate::decimal::option")]
    pub price_floor: Option<Price>,
    /// A purchase never goes above, in yuan.
    #[serde(default, with = "crate::decimal::option")]
    pub price_ceiling: Option<Price>,
    /// The limit that the backend worked out itself, in yuan; it goes before `price`.
    #[serde(default, with = "crate::decimal::option")]
    pub effective_limit_price: Option<Price>,
    /// Signals of one plan: its sales go before its purchases.
    pub plan_id: Option<String>,
}

/// A signal that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidSignal {
    /// Its name, where at least that could be read.
    pub id: Option<SignalId>,
    /// The field, its value and what was expected.
    pub reason: String,
    /// How often it was tried before, 0 where that could not be read.
    pub retry_count: u32,
}
