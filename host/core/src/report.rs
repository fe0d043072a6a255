//! What is posted to the backend, before it has a wire shape.

use qt_market::{Price, Shares, Side, Symbol};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::ids::{BrokerOrderId, ClientOrderId, SignalId};
use crate::time::UtcMillis;

/// One post about one order. Posts of an order go out in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The attempt it is about.
    pub order: ClientOrderId,
    /// The signal it is about.
    pub signal: SignalId,
    /// The step within the order, such as `submitted` or `fill-300`; with `order` it makes the key.
    pub step: String,
    /// What is said. All numbers are absolute, so that a repeat changes nothing.
    pub body: ReportBody,
}

impl Report {
    /// The idempotency key: derived from the order and the step alone.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}-{}", self.order, self.step)
    }

    /// Its kind, for lists.
    #[must_use]
    pub const fn kind(&self) -> ReportKind {
        match self.body {
            ReportBody::Submitted { .. } => ReportKind::Submitted,
            ReportBody::Execution(_) => ReportKind::Execution,
            ReportBody::Concluded { .. } => ReportKind::Concluded,
            ReportBody::Failed { .. } => ReportKind::Failed,
            ReportBody::RetryPending { .. } => ReportKind::RetryPending,
        }
    }
}

/// The kind of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// Status `submitted`.
    Submitted,
    /// An execution.
    Execution,
    /// The status post after an end with a fill.
    Concluded,
    /// Status `failed`.
    Failed,
    /// Status `retry_pending`.
    RetryPending,
}

/// What a report says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportBody {
    /// The broker took the order.
    Submitted {
        /// The broker's name for it.
        broker_order_id: BrokerOrderId,
        /// When it was taken.
        submitted_at: UtcMillis,
    },
    /// The cumulative fill changed, or the order ended.
    Execution(Box<Execution>),
    /// The order ended with a fill.
    Concluded {
        /// Shares filled in all.
        filled: Shares,
        /// Average price in yuan.
        avg_price: Price,
        /// Time of the last fill.
        executed_at: UtcMillis,
    },
    /// It never reached the market and waiting will not change that.
    Failed {
        /// Why, for a person.
        last_error: String,
    },
    /// It did not reach the market yet; the cause may pass.
    RetryPending {
        /// Why, for a person.
        last_error: String,
        /// The number of the next attempt.
        retry_count: u32,
    },
}

/// The state of an order's execution, cumulative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// What was traded.
    pub symbol: Symbol,
    /// Buy or sell.
    pub side: Side,
    /// Shares ordered.
    pub size: Shares,
    /// The signal's price in yuan, `None` for a market order.
    pub target_price: Option<Price>,
    /// Average price of the fills in yuan, zero where there is none.
    pub filled_price: Price,
    /// Shares filled so far.
    pub filled_size: Shares,
    /// Fees so far.
    pub fees: Fees,
    /// Where the order stands.
    pub status: ExecutionStatus,
    /// The broker's name for the order, once known.
    pub broker_order_id: Option<BrokerOrderId>,
    /// Copied from the signal.
    pub broker: Option<String>,
    /// Copied from the signal, else from the configuration.
    pub securities_account_id: Option<String>,
    /// Copied from the signal.
    pub account_id: Option<String>,
    /// Copied from the signal.
    pub strategy: Option<String>,
    /// Copied from the signal.
    pub strategy_name: Option<String>,
    /// When this became so.
    pub at: UtcMillis,
    /// Why it ended, where the broker or we gave a reason.
    pub reason: Option<String>,
    /// What a person may do with the rest of an order that ended partly filled or unfilled.
    pub chase: Option<Chase>,
}

/// Fees in yuan, cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fees {
    /// The broker's commission.
    pub commission: Decimal,
    /// Stamp duty.
    pub stamp_tax: Decimal,
    /// Transfer fee.
    pub transfer_fee: Decimal,
    /// How much of the total is our estimate and not the broker's word.
    pub estimated: Decimal,
}

impl Fees {
    /// All fees together, in yuan.
    #[must_use]
    pub fn total(&self) -> Decimal {
        self.commission
            .saturating_add(self.stamp_tax)
            .saturating_add(self.transfer_fee)
    }
}

/// Where an execution stands, in the backend's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// Some is filled, the rest is open.
    PartialFilled,
    /// All is filled.
    Filled,
    /// Some is filled, the rest will not be.
    PartialCancelled,
    /// Nothing is filled, nothing will be.
    Cancelled,
    /// The broker refused it.
    Rejected,
}

impl ExecutionStatus {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PartialFilled => "partial_filled",
            Self::Filled => "filled",
            Self::PartialCancelled => "partial_cancelled",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
        }
    }
}

/// A suggestion for the rest of an order that ended early; never acted on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chase {
    /// Shares that were not filled.
    pub remaining_size: Shares,
    /// The next limit to try, in yuan.
    pub next_limit_price: Option<Price>,
}
