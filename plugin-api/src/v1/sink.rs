//! The way of events from a plugin to the host.

use std::ffi::c_void;

use abi_stable::StableAbi;

use super::values::{RAccountRow, RConnection, ROrderError, ROrderRow, RPositionRow, RTradeRow};

/// The host's end of the event queue. `seq` starts at 1 and grows by 1 with every event of one broker.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/sink/1"))]
pub struct SinkTable {
    /// Counts one more user of the context.
    pub retain: unsafe extern "C" fn(context: *const c_void),
    /// Counts one user less; the last one frees the context.
    pub release: unsafe extern "C" fn(context: *const c_void),
    /// An order changed.
    pub order: unsafe extern "C" fn(context: *const c_void, seq: u64, row: ROrderRow),
    /// A trade was made.
    pub trade: unsafe extern "C" fn(context: *const c_void, seq: u64, row: RTradeRow),
    /// The connection changed.
    pub connection: unsafe extern "C" fn(context: *const c_void, seq: u64, state: RConnection),
    /// The account changed.
    pub account: unsafe extern "C" fn(context: *const c_void, seq: u64, row: RAccountRow),
    /// A holding changed.
    pub position: unsafe extern "C" fn(context: *const c_void, seq: u64, row: RPositionRow),
    /// An order failed after it had been accepted, or a cancel after it had been sent.
    pub order_error: unsafe extern "C" fn(context: *const c_void, seq: u64, error: ROrderError),
}

/// The table with what it works on. Lent for the length of `open`; a plugin that keeps it calls `retain`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
#[sabi(tag = abi_stable::tag!("qt/sink-handle/1"))]
pub struct SinkHandle {
    /// First argument of every call.
    pub context: *const c_void,
    /// The calls.
    pub table: &'static SinkTable,
}
