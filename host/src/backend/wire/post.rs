//! What is posted, byte for byte: exact decimal numbers, times as Unix seconds with a fraction.

use std::fmt::{Display, Write as _};

use qt_core::report::{Execution, Report, ReportBody};
use qt_core::{TradingDate, UtcMillis};
use qt_market::{Price, Shares, Symbol};
use reqwest::Method;
use rust_decimal::Decimal;

/// One call that changes something at the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Post {
    /// POST, but for the clean-up.
    pub(crate) method: Method,
    /// Where, under the base address.
    pub(crate) path: String,
    /// JSON.
    pub(crate) body: Vec<u8>,
    /// The `Idempotency-Key`, where the call has one: visible ASCII characters only.
    pub(crate) key: Option<String>,
}

/// The calls that not every backend has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// `POST trader/positions/sync`
    Positions,
    /// `DELETE trader/positions/cleanup`
    Cleanup,
    /// `POST trader/account/sync`
    Account,
    /// `POST trader/positions/snapshot`
    Snapshot,
    /// `POST trader/heartbeat`
    Heartbeat,
}

impl CallKind {
    /// Where, under the base address.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Positions => "trader/positions/sync",
            Self::Cleanup => "trader/positions/cleanup",
            Self::Account => "trader/account/sync",
            Self::Snapshot => "trader/positions/snapshot",
            Self::Heartbeat => "trader/heartbeat",
        }
    }
}

/// A position as the backend is shown it; what is `None` is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PositionRow {
    /// What is held.
    pub(crate) symbol: Symbol,
    /// Shares held.
    pub(crate) quantity: Shares,
    /// Shares that may be sold now.
    pub(crate) available_qty: Shares,
    /// Shares held by open orders.
    pub(crate) frozen_qty: Shares,
    /// Average cost in yuan.
    pub(crate) avg_cost: Price,
    /// Last price in yuan; `None` where none is known.
    pub(crate) current_price: Option<Price>,
    /// In yuan.
    pub(crate) market_value: Option<Decimal>,
    /// In yuan.
    pub(crate) unrealized_pnl: Option<Decimal>,
    /// In percent.
    pub(crate) unrealized_pnl_pct: Option<Decimal>,
}

/// Balances as the backend is shown them, in yuan.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AccountRow {
    /// The broker's account number.
    pub(crate) account_id: String,
    /// All that the account is worth.
    pub(crate) total_asset: Decimal,
    /// Cash, frozen or not.
    pub(crate) cash: Decimal,
    /// Cash that may be used now.
    pub(crate) available_cash: Decimal,
    /// Cash held by open orders.
    pub(crate) frozen_cash: Decimal,
    /// What the holdings are worth.
    pub(crate) market_value: Decimal,
}

impl std::fmt::Debug for AccountRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The account number is left out: this may end up in a log.
        f.debug_struct("AccountRow")
            .field("total_asset", &self.total_asset)
            .finish_non_exhaustive()
    }
}

/// What the backend is told about the host itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    /// A word such as `running` or `halted`.
    pub(crate) status: String,
    /// The configured broker's word.
    pub(crate) broker: String,
    /// Reports that wait to be posted.
    pub(crate) pending_execution_count: usize,
    /// When the last answer with signals came.
    pub(crate) last_signal_poll_at: Option<UtcMillis>,
    /// The broker's account number.
    pub(crate) account_id: Option<String>,
}

/// The post that carries a report.
pub(crate) fn report(report: &Report) -> Post {
    let key = visible(&report.key());
    let (path, body) = match &report.body {
        ReportBody::Execution(execution) => (
            "trader/executions".to_owned(),
            execution_body(report, execution, &key),
        ),
        other => (
            format!("trader/signals/{}/status", visible(&report.signal.0)),
            status_body(other),
        ),
    };
    Post {
        method: Method::POST,
        path,
        body,
        key: Some(key),
    }
}

/// The post that carries a report, with the body that a person put in its place.
pub(crate) fn report_with_body(made: &Report, body: String) -> Post {
    Post {
        body: body.into_bytes(),
        ..report(made)
    }
}

fn status_body(body: &ReportBody) -> Vec<u8> {
    match body {
        ReportBody::Submitted {
            broker_order_id,
            submitted_at,
        } => Object::new()
            .text("status", "submitted")
            .text("qmt_order_id", &broker_order_id.0)
            .number("submitted_at", seconds(*submitted_at)),
        ReportBody::Concluded {
            filled,
            avg_price,
            executed_at,
        } => Object::new()
            .number("filled_qty", filled)
            .number("avg_price", exact(*avg_price))
            .number("executed_at", seconds(*executed_at)),
        ReportBody::Failed { last_error } => Object::new()
            .text("status", "failed")
            .text("last_error", last_error),
        ReportBody::RetryPending {
            last_error,
            retry_count,
        } => Object::new()
            .text("status", "retry_pending")
            .text("last_error", last_error)
            .number("retry_count", retry_count),
        // Executions have an address of their own.
        ReportBody::Execution(_) => Object::new(),
    }
    .end()
}

fn execution_body(report: &Report, execution: &Execution, key: &str) -> Vec<u8> {
    let fees = execution.fees;
    let mut object = Object::new()
        .text("order_id", &report.signal.0)
        .text("execution_id", key)
        .text("symbol", &execution.symbol.to_string())
        .text("action", execution.side.as_str())
        .number("size", execution.size)
        .maybe_number("target_price", execution.target_price.map(exact))
        .number("filled_price", exact(execution.filled_price))
        .number("filled_size", execution.filled_size)
        .number("commission", exact(fees.commission))
        .number("stamp_tax", exact(fees.stamp_tax))
        .number("transfer_fee", exact(fees.transfer_fee))
        .number("total_fee", exact(fees.total()))
        .number("estimated_fee", exact(fees.estimated))
        .text("status", execution.status.as_str())
        .maybe_text("broker", execution.broker.as_deref())
        .maybe_text(
            "qmt_order_id",
            execution.broker_order_id.as_ref().map(|id| id.0.as_str()),
        )
        .maybe_text(
            "securities_account_id",
            execution.securities_account_id.as_deref(),
        )
        .maybe_text("account_id", execution.account_id.as_deref())
        .maybe_text("strategy", execution.strategy.as_deref())
        .maybe_text("strategy_name", execution.strategy_name.as_deref())
        .text("mode", "live")
        .number("timestamp", seconds(execution.at));
    if let Some(reason) = &execution.reason {
        object = object.text("reason", reason);
    }
    if let Some(chase) = execution.chase {
        let suggestion = Object::new()
            .number("remaining_size", chase.remaining_size)
            .maybe_number("next_limit_price", chase.next_limit_price.map(exact));
        object = object.nested("chase", &suggestion.end());
    }
    object.end()
}

/// The holdings.
pub(crate) fn positions(rows: &[PositionRow], at: UtcMillis, securities_account_id: Option<&str>) -> Post {
    let body = Object::new()
        .nested("positions", &position_list(rows, at))
        .maybe_text("securities_account_id", securities_account_id);
    plain(Method::POST, CallKind::Positions, body)
}

/// Asks the backend to forget every position but these.
pub(crate) fn cleanup<'a>(
    current: impl Iterator<Item = &'a Symbol>,
    securities_account_id: Option<&str>,
) -> Post {
    let symbols = list(current.map(|symbol| format!("\"{symbol}\"").into_bytes()));
    let body = Object::new()
        .nested("current_symbols", &symbols)
        .maybe_text("securities_account_id", securities_account_id);
    plain(Method::DELETE, CallKind::Cleanup, body)
}

/// The balances.
pub(crate) fn account(row: &AccountRow, at: UtcMillis, securities_account_id: Option<&str>) -> Post {
    let data = Object::new()
        .text("account_id", &row.account_id)
        .number("total_asset", exact(row.total_asset))
        .number("cash", exact(row.cash))
        .number("available_cash", exact(row.available_cash))
        .number("frozen_cash", exact(row.frozen_cash))
        .number("market_value", exact(row.market_value))
        .number("synced_at", seconds(at));
    let body = Object::new()
        .nested("account_data", &data.end())
        .maybe_text("securities_account_id", securities_account_id);
    plain(Method::POST, CallKind::Account, body)
}

/// The book of one day. `total_pnl` is null where it is known of no holding.
pub(crate) fn snapshot(
    rows: &[PositionRow],
    total_value: Decimal,
    total_pnl: Option<Decimal>,
    at: UtcMillis,
    securities_account_id: Option<&str>,
) -> Post {
    let date: TradingDate = at.trading_date();
    let book = Object::new()
        .number("timestamp", seconds(at))
        .text("date", &date.to_string())
        .nested("positions", &position_list(rows, at))
        .number("total_value", exact(total_value))
        .maybe_number("total_pnl", total_pnl.map(exact));
    let body = Object::new()
        .nested("snapshot", &book.end())
        .maybe_text("securities_account_id", securities_account_id);
    plain(Method::POST, CallKind::Snapshot, body)
}

/// The host's sign of life.
pub(crate) fn heartbeat(beat: &Heartbeat, securities_account_id: Option<&str>) -> Post {
    let body = Object::new()
        .text("status", &beat.status)
        .text("broker", &beat.broker)
        .number("pending_execution_count", beat.pending_execution_count)
        .maybe_number("last_signal_poll_at", beat.last_signal_poll_at.map(seconds))
        .maybe_text("account_id", beat.account_id.as_deref())
        .maybe_text("securities_account_id", securities_account_id);
    plain(Method::POST, CallKind::Heartbeat, body)
}

fn plain(method: Method, kind: CallKind, body: Object) -> Post {
    Post {
        method,
        path: kind.path().to_owned(),
        body: body.end(),
        key: None,
    }
}

fn position_list(rows: &[PositionRow], at: UtcMillis) -> Vec<u8> {
    list(rows.iter().map(|row| {
        Object::new()
            .text("symbol", &row.symbol.to_string())
            .number("quantity", row.quantity)
            .number("available_qty", row.available_qty)
            .number("frozen_qty", row.frozen_qty)
            .number("avg_cost", exact(row.avg_cost))
            .maybe_number("current_price", row.current_price.map(exact))
            .maybe_number("market_value", row.market_value.map(exact))
            .maybe_number("unrealized_pnl", row.unrealized_pnl.map(exact))
            .maybe_number("unrealized_pnl_pct", row.unrealized_pnl_pct.map(exact))
            .number("synced_at", seconds(at))
            .end()
    }))
}

fn list(items: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = vec![b'['];
    for (index, item) in items.enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(&item);
    }
    bytes.push(b']');
    bytes
}

/// A decimal as JSON shows it: never an exponent, no zeros at its end, `0` and not `-0`.
fn exact(number: Decimal) -> Decimal {
    number.normalize()
}

/// Unix seconds with the milliseconds behind the point.
fn seconds(at: UtcMillis) -> Decimal {
    Decimal::new(at.0, 3)
}

/// Percent-encodes what is not a letter, a digit or one of `-._~`: fit for a path and a header.
fn visible(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// An object being written. Its numbers go through their decimal text, never through a float.
struct Object(Vec<u8>);

impl Object {
    fn new() -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.push(b'{');
        Self(bytes)
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn text(mut self, name: &str, text: &str) -> Self {
        self.name(name);
        // A text always has a JSON form, and a Vec takes all that is written to it.
        let _ = serde_json::to_writer(&mut self.0, text);
        self
    }

    fn maybe_text(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self.nested(name, b"null"),
        }
    }

    fn number(mut self, name: &str, number: impl Display) -> Self {
        use std::io::Write as _;
        self.name(name);
        // A Vec takes all that is written to it.
        let _ = write!(self.0, "{number}");
        self
    }

    fn maybe_number(self, name: &str, number: Option<Decimal>) -> Self {
        match number {
            Some(number) => self.number(name, number),
            None => self.nested(name, b"null"),
        }
    }

    fn nested(mut self, name: &str, json: &[u8]) -> Self {
        self.name(name);
        self.0.extend_from_slice(json);
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}
