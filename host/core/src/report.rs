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

    /// The same once more, with a key of its own: said after the older report `row`, which was posted late for the
    /// `time`th time, so that what the backend hears last is what holds.
    #[must_use]
    pub fn again_after(&self, row: i64, time: u32) -> Self {
        Self {
            step: format!("{}-again-{row}.{time}", self.step),
            ..self.clone()
        }
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

/// What must be said again when reports of one order are posted late: of `rows`, the order's reports in the sequence in
/// which they were made, with whether each is one that comes late now, the indexes of those that hold and that the late
/// ones would hide. What is said in a status and what in an execution holds side by side. One that comes late itself is
/// said again after an earlier one, too: the backend may have had it before it refused a repeat, and know its key.
#[must_use]
pub fn hidden_by_late(rows: &[(&Report, bool)]) -> Vec<usize> {
    let Some(first) = rows.iter().position(|(_, late)| *late) else {
        return Vec::new();
    };
    let newest = |execution: bool| {
        let is_one =
            |(report, _): &(&Report, bool)| matches!(report.body, ReportBody::Execution(_)) == execution;
        let last = rows.iter().rposition(is_one);
        last.filter(|index| *index > first)
    };
    let mut hidden: Vec<usize> = [newest(true), newest(false)].into_iter().flatten().collect();
    hidden.sort_unstable();
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: &str) -> Report {
        let body = if step.starts_with("fill") {
            let symbol = "000858.SZ".parse().unwrap();
            ReportBody::Execution(Box::new(Execution {
                symbol,
                side: Side::Buy,
                size: 300,
                target_price: None,
                filled_price: Price::ZERO,
                filled_size: 100,
                fees: Fees::default(),
                status: ExecutionStatus::PartialFilled,
                broker_order_id: None,
                broker: None,
                securities_account_id: None,
                account_id: None,
                strategy: None,
                strategy_name: None,
                at: UtcMillis(0),
                reason: None,
                chase: None,
            }))
        } else {
            ReportBody::Failed {
                last_error: String::new(),
            }
        };
        Report {
            order: ClientOrderId::derive("A", &"S".into(), 0),
            signal: "S".into(),
            step: step.into(),
            body,
        }
    }

    #[test]
    fn what_a_late_report_hides_is_said_again() {
        // Steps in the order in which they were made; a star marks those that come late.
        let cases: [(&[&str], &[usize]); 8] = [
            (&["submitted", "fill-100", "fill-300", "concluded"], &[]),
            (&["submitted", "*fill-100", "fill-300", "concluded"], &[2, 3]),
            (&["*submitted", "fill-100", "fill-300", "concluded"], &[2, 3]),
            (&["submitted", "fill-100", "*fill-300", "concluded"], &[3]),
            (&["submitted", "fill-100", "fill-300", "*concluded"], &[]),
            (&["submitted", "*fill-100", "*fill-300", "concluded"], &[2, 3]),
            (&["submitted", "*fill-100", "fill-200", "*fill-300"], &[3]),
            (&["*submitted"], &[]),
        ];
        for (steps, hidden) in cases {
            let reports: Vec<_> = steps
                .iter()
                .map(|step| (report(step.trim_start_matches('*')), step.starts_with('*')))
                .collect();
            let rows: Vec<_> = reports.iter().map(|(report, late)| (report, *late)).collect();
            assert_eq!(hidden_by_late(&rows), hidden, "{steps:?}");
        }
        let again = report("fill-300").again_after(17, 1);
        assert_eq!(again.key(), format!("{}-again-17.1", report("fill-300").key()));
        assert_eq!(again.body, report("fill-300").body);
    }
}
