//! What happened, as a ledger keeps it.

use qt_market::{FeeBreakdown, Shares, Side, Symbol};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::book::OrderId;
use crate::time::Moment;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The exchange took an order.
    Accepted,
    /// Broker or exchange refused one.
    Rejected,
    /// An order traded.
    Fill,
    /// An order ended with some of it not filled.
    Ended,
    /// A cancel was refused.
    CancelRejected,
    /// A company paid.
    Dividend,
}

/// Fees in yuan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Fees {
    /// The broker's.
    pub commission: Decimal,
    /// The state's.
    pub stamp_tax: Decimal,
    /// The clearing house's.
    pub transfer_fee: Decimal,
    /// The exchange's and the regulator's, where the commission does not contain them.
    pub exchange_fee: Decimal,
}

impl Fees {
    /// All together.
    #[must_use]
    pub fn total(&self) -> Decimal {
        [self.stamp_tax, self.transfer_fee, self.exchange_fee]
            .into_iter()
            .fold(self.commission, Decimal::saturating_add)
    }

    pub(crate) fn since(now: &FeeBreakdown, before: &FeeBreakdown) -> Self {
        Self {
            commission: now.commission.saturating_sub(before.commission),
            stamp_tax: now.stamp_tax.saturating_sub(before.stamp_tax),
            transfer_fee: now.transfer_fee.saturating_sub(before.transfer_fee),
            exchange_fee: now.exchange_fee.saturating_sub(before.exchange_fee),
        }
    }
}

/// One line of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// When, in milliseconds since 1970 UTC.
    pub ts: Moment,
    /// The same for people, in Shanghai.
    pub time: String,
    /// What.
    pub event: Event,
    /// The exchange's number of the order; `None` for what never became one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    /// The client's name of the order; empty where it is about none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_order_id: String,
    /// Of what.
    pub symbol: Symbol,
    /// Buy or sell.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "side_word")]
    pub side: Option<Side>,
    /// Shares ordered, filled, left at the end, or paid for.
    pub quantity: Shares,
    /// Shares of the whole order, for who follows it; 0 where it is about none.
    #[serde(skip)]
    pub ordered: Shares,
    /// The limit, the trade's price, or what was paid a share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Decimal>,
    /// The trade's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fill: Option<u64>,
    /// What the trade cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fees: Option<Fees>,
    /// The code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Why, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Cash after it, in yuan.
    pub cash: Decimal,
}

#[expect(clippy::ref_option, reason = "serde hands it over so")]
fn side_word<S: serde::Serializer>(side: &Option<Side>, serializer: S) -> Result<S::Ok, S::Error> {
    side.map(Side::as_str).serialize(serializer)
}

impl Fact {
    /// The line without its end.
    #[must_use]
    pub fn line(&self) -> String {
        // Every key is text and every value has a form in JSON, so that there is nothing to fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}
