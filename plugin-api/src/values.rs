//! The plain structs that an author and the host work with. `extras` is JSON text, or empty.
//!
//! Their serde form is for a host that runs a plugin in a process of its own: a decimal is its text, so that binary
//! formats keep every digit.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Which way an order goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Side {
    /// Shares come, money goes.
    Buy,
    /// Shares go, money comes.
    Sell,
}

/// How an order's price is meant. A broker that lacks a kind rejects the order; it never takes another kind instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PriceKind {
    /// At the limit or better.
    #[default]
    Limit,
    /// At the market, in the way that the broker or the exchange has.
    Market,
    /// Against the best five levels; the rest is cancelled.
    BestFiveThenCancel,
    /// Against the best five levels; the rest becomes a limit order.
    BestFiveThenLimit,
    /// At the best price of the other side.
    OppositeBest,
    /// At the best price of the own side.
    OwnBest,
    /// What fills at once; the rest is cancelled.
    ImmediateOrCancel,
    /// All of it at once, or nothing.
    FillOrKill,
}

impl PriceKind {
    /// What an order with or without a limit is, where nothing else is said.
    #[must_use]
    pub const fn of(limit_price: Option<Decimal>) -> Self {
        if limit_price.is_some() {
            Self::Limit
        } else {
            Self::Market
        }
    }
}

/// A state of an order, as the broker shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OrderStatus {
    /// Taken, not at the exchange yet.
    Pending,
    /// At the exchange, nothing filled.
    Working,
    /// At the exchange, a part filled.
    PartiallyFilled,
    /// Filled to the last share.
    Filled,
    /// A cancel is on its way.
    CancelPending,
    /// Ended by a cancel after a part was filled.
    PartiallyCancelled,
    /// Ended by a cancel with nothing filled.
    Cancelled,
    /// Refused by the broker or the exchange.
    Rejected,
    /// The broker cannot tell.
    Unknown,
}

impl OrderStatus {
    /// Whether nothing more can happen to the order.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Filled | Self::PartiallyCancelled | Self::Cancelled | Self::Rejected
        )
    }
}

/// An order to place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRequest {
    /// Our id, 20 ASCII characters; it must come back whole in every row of this order.
    pub client_order_id: String,
    /// Code and exchange, `000858.SZ`.
    pub symbol: String,
    /// Buy or sell.
    pub side: Side,
    /// Shares.
    pub quantity: u64,
    /// Yuan a share. For any other kind than [`PriceKind::Limit`] the protecting price, or `None`.
    #[serde(with = "rust_decimal::serde::str_option")]
    pub limit_price: Option<Decimal>,
    /// How the price is meant.
    pub price_kind: PriceKind,
    /// The order must not reach the exchange after this time, in milliseconds since 1970 UTC.
    pub not_after_ms: Option<i64>,
    /// Name of the strategy behind the order, for the broker's records.
    pub strategy: String,
    /// JSON text, or empty.
    pub extras: String,
}

impl OrderRequest {
    /// An order with a limit, or at the market without one.
    #[must_use]
    pub fn new(
        client_order_id: impl Into<String>,
        symbol: impl Into<String>,
        side: Side,
        quantity: u64,
        limit_price: Option<Decimal>,
    ) -> Self {
        Self {
            client_order_id: client_order_id.into(),
            symbol: symbol.into(),
            side,
            quantity,
            limit_price,
            price_kind: PriceKind::of(limit_price),
            not_after_ms: None,
            strategy: String::new(),
            extras: String::new(),
        }
    }
}

/// An order to cancel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// Our id.
    pub client_order_id: String,
    /// The broker's id, where it is known.
    pub broker_order_id: Option<String>,
    /// JSON text, or empty.
    pub extras: String,
}

/// What became of a place. The three are kept apart because money hangs on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlaceResult {
    /// The broker has it.
    Accepted {
        /// The broker's id.
        broker_order_id: String,
    },
    /// The broker refused it for certain; no such order exists.
    Rejected {
        /// What the broker said.
        reason: String,
    },
    /// A time-out, a lost answer: it may exist or not.
    Unknown {
        /// What happened.
        reason: String,
    },
}

/// What became of a cancel. Only the order's rows tell whether it took effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelResult {
    /// On its way.
    Sent,
    /// Refused for certain, because the order is finished or nobody knows it.
    Rejected {
        /// What the broker said.
        reason: String,
    },
    /// A time-out, a lost answer: it may take effect or not.
    Unknown {
        /// What happened.
        reason: String,
    },
}

/// An order as the broker shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRow {
    /// Our id; `None` for an order that is not ours or whose remark is unreadable.
    pub client_order_id: Option<String>,
    /// The broker's id.
    pub broker_order_id: String,
    /// Code and exchange.
    pub symbol: String,
    /// Buy or sell.
    pub side: Side,
    /// Shares ordered.
    pub quantity: u64,
    /// Yuan a share; `None` for a market order.
    #[serde(with = "rust_decimal::serde::str_option")]
    pub limit_price: Option<Decimal>,
    /// State.
    pub status: OrderStatus,
    /// Shares filled so far; it never shrinks.
    pub filled_quantity: u64,
    /// Average price of what is filled, in yuan a share, where the broker tells.
    #[serde(with = "rust_decimal::serde::str_option")]
    pub avg_fill_price: Option<Decimal>,
    /// The exchange's own id, where the broker tells.
    pub exchange_order_id: Option<String>,
    /// Why it ended, where it ended badly; else empty.
    pub reason: String,
    /// The broker's number for the reason, where it has one. People read the reason; nobody decides by the number.
    pub error_code: Option<i64>,
    /// When the broker took it, in milliseconds since 1970 UTC, where the broker tells.
    pub placed_ms: Option<i64>,
    /// Last change, in milliseconds since 1970 UTC.
    pub updated_ms: i64,
    /// JSON text, or empty.
    pub extras: String,
}

impl OrderRow {
    /// The row of an order that was just accepted: working, nothing filled.
    #[must_use]
    pub fn working(order: &OrderRequest, broker_order_id: &str, updated_ms: i64) -> Self {
        Self {
            client_order_id: Some(order.client_order_id.clone()),
            broker_order_id: broker_order_id.to_owned(),
            symbol: order.symbol.clone(),
            side: order.side,
            quantity: order.quantity,
            limit_price: order.limit_price,
            status: OrderStatus::Working,
            filled_quantity: 0,
            avg_fill_price: None,
            exchange_order_id: None,
            reason: String::new(),
            error_code: None,
            placed_ms: Some(updated_ms),
            updated_ms,
            extras: String::new(),
        }
    }
}

/// One trade: a fill of one order at one price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TradeRow {
    /// The broker's id of the trade, unique within the day.
    pub trade_id: String,
    /// Our id of the order; `None` where the order is not ours.
    pub client_order_id: Option<String>,
    /// The broker's id of the order.
    pub broker_order_id: String,
    /// Code and exchange.
    pub symbol: String,
    /// Buy or sell.
    pub side: Side,
    /// Shares.
    pub quantity: u64,
    /// Yuan a share.
    #[serde(with = "rust_decimal::serde::str")]
    pub price: Decimal,
    /// Commission in yuan for this trade alone, where the broker tells.
    #[serde(with = "rust_decimal::serde::str_option")]
    pub commission: Option<Decimal>,
    /// Stamp tax in yuan, where the broker tells.
    #[serde(with = "rust_decimal::serde::str_option")]
    pub stamp_tax: Option<Decimal>,
    /// Transfer fee in yuan, where the broker tells.
    #[serde(with = "rust_decimal::serde::str_option")]
    pub transfer_fee: Option<Decimal>,
    /// When it was made, in milliseconds since 1970 UTC.
    pub traded_ms: i64,
    /// JSON text, or empty.
    pub extras: String,
}

/// A holding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionRow {
    /// Code and exchange.
    pub symbol: String,
    /// Name of the security.
    pub name: Option<String>,
    /// Shares held.
    pub quantity: u64,
    /// Shares that may be sold now.
    pub available_qty: u64,
    /// Shares bound by open sales.
    pub frozen_qty: u64,
    /// Shares bought and not yet delivered, where the broker tells; a part of `quantity`.
    pub on_road_qty: Option<u64>,
    /// Shares held when the day began, where the broker tells.
    pub yesterday_qty: Option<u64>,
    /// Yuan a share.
    #[serde(with = "rust_decimal::serde::str")]
    pub avg_cost: Decimal,
    /// Yuan a share.
    #[serde(with = "rust_decimal::serde::str_option")]
    pub last_price: Option<Decimal>,
    /// Yuan a share.
    #[serde(with = "rust_decimal::serde::str_option")]
    pub previous_close: Option<Decimal>,
    /// Yuan.
    #[serde(with = "rust_decimal::serde::str_option")]
    pub market_value: Option<Decimal>,
    /// JSON text, or empty.
    pub extras: String,
}

/// What kind of account it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AccountKind {
    /// Trades with its own money alone.
    #[default]
    Cash,
    /// May borrow money and shares.
    Credit,
    /// Anything else.
    Other,
}

/// The account's money, all in yuan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    /// The broker's number of the account.
    pub account_id: String,
    /// What kind of account it is.
    pub kind: AccountKind,
    /// Cash and holdings together.
    #[serde(with = "rust_decimal::serde::str")]
    pub total_asset: Decimal,
    /// Cash, the frozen part included.
    #[serde(with = "rust_decimal::serde::str")]
    pub cash: Decimal,
    /// Cash that a new order may use.
    #[serde(with = "rust_decimal::serde::str")]
    pub available_cash: Decimal,
    /// Cash bound by open buys.
    #[serde(with = "rust_decimal::serde::str")]
    pub frozen_cash: Decimal,
    /// Cash that may be taken out, where the broker tells.
    #[serde(with = "rust_decimal::serde::str_option")]
    pub withdrawable_cash: Option<Decimal>,
    /// Value of all holdings.
    #[serde(with = "rust_decimal::serde::str")]
    pub market_value: Decimal,
    /// JSON text, or empty.
    pub extras: String,
}

/// What failed after it had been taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailedKind {
    /// An order.
    #[default]
    Order,
    /// The cancel of an order; the order itself stands.
    Cancel,
}

/// An order that failed after it had been accepted, or a cancel that failed after it had been sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderErrorRow {
    /// What failed.
    pub kind: FailedKind,
    /// Our id; `None` where the broker names only its own.
    pub client_order_id: Option<String>,
    /// The broker's id, where it is known.
    pub broker_order_id: Option<String>,
    /// What the broker said.
    pub reason: String,
    /// The broker's number for the reason, where it has one.
    pub error_code: Option<i64>,
    /// JSON text, or empty.
    pub extras: String,
}

/// State of the connection between plugin and broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectionState {
    /// Orders can be placed.
    Connected,
    /// Being made.
    Connecting,
    /// Lost or never made.
    Disconnected {
        /// Why.
        reason: String,
    },
}

/// A call that reads has failed. Never answer with a part of the rows instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallError {
    /// What failed, in words for the user.
    pub reason: String,
}

/// A broker could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OpenError {
    /// What failed and what to do, in words for the user.
    pub reason: String,
    /// True where it may pass by itself, as when the broker's terminal is not running: the host then tries again, with
    /// growing waits. Otherwise a person has to mend something, such as the configuration, and a host that starts ends.
    pub is_temporary: bool,
}

impl OpenError {
    /// What a person has to mend.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_temporary: false,
        }
    }

    /// What may pass by itself: the host tries again.
    #[must_use]
    pub fn temporary(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_temporary: true,
        }
    }
}

impl CallError {
    /// An error with this reason.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

macro_rules! reason_error {
    ($name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.reason)
            }
        }

        impl std::error::Error for $name {}
    };
}

reason_error!(CallError);
reason_error!(OpenError);
