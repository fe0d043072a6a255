//! The structs that cross the boundary. `extras` is JSON text for what has no field, or empty.

use abi_stable::{
    StableAbi,
    std_types::{ROption, RStr, RString, RVec},
};

use super::money::RMoney;

/// An order to place, lent for the length of the call.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/order-request/1: side 1=buy 2=sell, quantity in shares, price in yuan, price kind 1-8, time in unix ms"))]
pub struct ROrderRequest<'a> {
    /// Our id, 20 ASCII characters.
    pub client_order_id: RStr<'a>,
    /// Code and exchange, `000858.SZ`.
    pub symbol: RStr<'a>,
    /// A code of `codes::side`.
    pub side: u8,
    /// Shares.
    pub quantity: u64,
    /// Yuan a share. For a market order the protecting price, or none.
    pub limit_price: ROption<RMoney>,
    /// A code of `codes::price`.
    pub price_kind: u8,
    /// The order must not reach the exchange after this time.
    pub not_after_ms: ROption<i64>,
    /// Name of the strategy behind the order, for the broker's records.
    pub strategy: RStr<'a>,
    /// JSON text, or empty.
    pub extras: RStr<'a>,
}

/// An order to cancel, lent for the length of the call.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/cancel-request/1"))]
pub struct RCancelRequest<'a> {
    /// Our id.
    pub client_order_id: RStr<'a>,
    /// The broker's id, where it is known.
    pub broker_order_id: ROption<RStr<'a>>,
    /// JSON text, or empty.
    pub extras: RStr<'a>,
}

/// Answer to a place or a cancel.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/answer/1: 1=done 2=rejected 3=unknown"))]
pub struct RAnswer {
    /// A code of `codes::answer`.
    pub code: u8,
    /// The broker's id or the reason, by the code.
    pub text: RString,
    /// JSON text, or empty.
    pub extras: RString,
}

/// Answer to a call that reads rows: all of them, or an error.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/rows/1: 1=complete 2=failed"))]
pub struct RRows<T> {
    /// A code of `codes::call`.
    pub code: u8,
    /// Every row; empty and without meaning after a failure.
    pub rows: RVec<T>,
    /// Why it failed, else empty.
    pub error: RString,
}

/// An order as the broker shows it.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/order-row/1: side 1=buy 2=sell, status codes 1-9, shares, yuan, unix ms"))]
pub struct ROrderRow {
    /// Our id; none for an order that is not ours or whose remark is unreadable.
    pub client_order_id: ROption<RString>,
    /// The broker's id.
    pub broker_order_id: RString,
    /// Code and exchange.
    pub symbol: RString,
    /// A code of `codes::side`.
    pub side: u8,
    /// A code of `codes::status`.
    pub status: u8,
    /// Shares ordered.
    pub quantity: u64,
    /// Shares filled so far.
    pub filled_quantity: u64,
    /// Yuan a share; none for a market order.
    pub limit_price: ROption<RMoney>,
    /// Average price of what is filled, yuan a share, where the broker tells.
    pub avg_fill_price: ROption<RMoney>,
    /// The exchange's own id, where the broker tells.
    pub exchange_order_id: ROption<RString>,
    /// Why it ended, where it ended badly; else empty.
    pub reason: RString,
    /// The broker's number for the reason, where it has one.
    pub error_code: ROption<i64>,
    /// When the broker took it, where the broker tells.
    pub placed_ms: ROption<i64>,
    /// Last change.
    pub updated_ms: i64,
    /// JSON text, or empty.
    pub extras: RString,
}

/// One trade: a fill of one order at one price.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/trade-row/1: side 1=buy 2=sell, shares, yuan, unix ms"))]
pub struct RTradeRow {
    /// The broker's id of the trade, unique within the day.
    pub trade_id: RString,
    /// Our id of the order.
    pub client_order_id: ROption<RString>,
    /// The broker's id of the order.
    pub broker_order_id: RString,
    /// Code and exchange.
    pub symbol: RString,
    /// A code of `codes::side`.
    pub side: u8,
    /// Shares.
    pub quantity: u64,
    /// Yuan a share.
    pub price: RMoney,
    /// Commission in yuan, where the broker tells.
    pub commission: ROption<RMoney>,
    /// Stamp tax in yuan, where the broker tells.
    pub stamp_tax: ROption<RMoney>,
    /// Transfer fee in yuan, where the broker tells.
    pub transfer_fee: ROption<RMoney>,
    /// When it was made.
    pub traded_ms: i64,
    /// JSON text, or empty.
    pub extras: RString,
}

/// A holding.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/position-row/1: shares, yuan"))]
pub struct RPositionRow {
    /// Code and exchange.
    pub symbol: RString,
    /// Name of the security.
    pub name: ROption<RString>,
    /// Shares held.
    pub quantity: u64,
    /// Shares that may be sold now.
    pub available_qty: u64,
    /// Shares bound by open sales.
    pub frozen_qty: u64,
    /// Shares bought and not yet delivered, where the broker tells; a part of `quantity`.
    pub on_road_qty: ROption<u64>,
    /// Shares held when the day began, where the broker tells.
    pub yesterday_qty: ROption<u64>,
    /// Yuan a share.
    pub avg_cost: RMoney,
    /// Yuan a share.
    pub last_price: ROption<RMoney>,
    /// Yuan a share.
    pub previous_close: ROption<RMoney>,
    /// Yuan.
    pub market_value: ROption<RMoney>,
    /// JSON text, or empty.
    pub extras: RString,
}

/// The account's money.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/account-row/1: yuan, kind 1=cash 2=credit 3=other"))]
pub struct RAccountRow {
    /// The broker's number of the account.
    pub account_id: RString,
    /// A code of `codes::account`.
    pub kind: u8,
    /// Cash and holdings together.
    pub total_asset: RMoney,
    /// Cash, the frozen part included.
    pub cash: RMoney,
    /// Cash that a new order may use.
    pub available_cash: RMoney,
    /// Cash bound by open buys.
    pub frozen_cash: RMoney,
    /// Cash that may be taken out, where the broker tells.
    pub withdrawable_cash: ROption<RMoney>,
    /// Value of all holdings.
    pub market_value: RMoney,
    /// JSON text, or empty.
    pub extras: RString,
}

/// State of the connection to the broker.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/connection/1: 1=connected 2=connecting 3=disconnected"))]
pub struct RConnection {
    /// A code of `codes::connection`.
    pub code: u8,
    /// Why it is gone, else empty.
    pub reason: RString,
}

/// An order that failed after it had been accepted, or a cancel that failed after it had been sent.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/order-error/1: kind 1=order 2=cancel"))]
pub struct ROrderError {
    /// A code of `codes::failed`.
    pub kind: u8,
    /// Our id; none where the broker names only its own.
    pub client_order_id: ROption<RString>,
    /// The broker's id, where it is known.
    pub broker_order_id: ROption<RString>,
    /// What the broker said.
    pub reason: RString,
    /// The broker's number for the reason, where it has one.
    pub error_code: ROption<i64>,
    /// JSON text, or empty.
    pub extras: RString,
}
