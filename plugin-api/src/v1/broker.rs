//! The core broker table: what every broker can do.

use std::ffi::c_void;

use abi_stable::{
    StableAbi,
    std_types::{ROption, RStr, RString},
};

use super::{
    host::{HostHandle, RInterface},
    sink::SinkHandle,
    values::{
        RAccountRow, RAnswer, RCancelRequest, RConnection, ROrderRequest, ROrderRow, RPositionRow, RRows,
        RTradeRow,
    },
};

/// Calls on one open broker. Any thread may make them, several at once. None of them unwinds.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/broker/1"))]
pub struct BrokerTable {
    /// Places an order.
    pub place_order: unsafe extern "C" fn(broker: *const c_void, order: &ROrderRequest<'_>) -> RAnswer,
    /// Asks for an order's cancel.
    pub cancel_order: unsafe extern "C" fn(broker: *const c_void, cancel: &RCancelRequest<'_>) -> RAnswer,
    /// Every order of the day.
    pub orders_today: unsafe extern "C" fn(broker: *const c_void) -> RRows<ROrderRow>,
    /// Every trade of the day.
    pub trades_today: unsafe extern "C" fn(broker: *const c_void) -> RRows<RTradeRow>,
    /// Every holding.
    pub positions: unsafe extern "C" fn(broker: *const c_void) -> RRows<RPositionRow>,
    /// The account, as exactly one row.
    pub account: unsafe extern "C" fn(broker: *const c_void) -> RRows<RAccountRow>,
    /// State of the connection.
    pub connection: unsafe extern "C" fn(broker: *const c_void) -> RConnection,
    /// Ends the session; further calls change nothing.
    pub close: unsafe extern "C" fn(broker: *const c_void),
    /// 1 once the author's code has panicked in this broker, else 0. What it holds can then no longer be trusted.
    pub poisoned: unsafe extern "C" fn(broker: *const c_void) -> u8,
    /// Asks for a named interface, such as `broker.quotes/1`.
    pub query: unsafe extern "C" fn(broker: *const c_void, name: RStr<'_>) -> ROption<RInterface>,
    /// Frees the broker. Nothing may be called afterwards.
    pub free: unsafe extern "C" fn(broker: *const c_void),
}

/// What a broker gets when it is opened, lent for the length of the call.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/open/1"))]
pub struct ROpenContext<'a> {
    /// The plugin's own configuration block, as JSON text.
    pub config: RStr<'a>,
    /// A folder that the plugin may write to.
    pub data_dir: RStr<'a>,
    /// The broker's number of the account, where one is configured.
    pub account_id: ROption<RStr<'a>>,
    /// Where events go.
    pub sink: SinkHandle,
    /// The host's services.
    pub host: HostHandle,
    /// JSON text, or empty.
    pub extras: RStr<'a>,
}

/// An open broker, or why there is none.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/opened/1: 1=open 2=failed"))]
pub struct ROpened {
    /// A code of `codes::call`.
    pub code: u8,
    /// First argument of every call; null after a failure.
    pub broker: *const c_void,
    /// The calls.
    pub table: &'static BrokerTable,
    /// Why it failed, else empty.
    pub error: RString,
}
