//! What a plugin may ask of the host, and how either side asks the other for named interfaces.

use std::ffi::c_void;

use abi_stable::{
    StableAbi,
    std_types::{ROption, RStr},
    type_layout::TypeLayout,
};

/// A named interface: a table together with its layout, which whoever asked checks before use.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
#[sabi(tag = abi_stable::tag!("qt/interface/1"))]
pub struct RInterface {
    /// The table. Its functions take the context of the object that was asked.
    pub table: *const c_void,
    /// Layout of the table's type.
    pub layout: &'static TypeLayout,
}

/// The host, as a plugin sees it.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("qt/host/1"))]
pub struct HostTable {
    /// Counts one more user of the context.
    pub retain: unsafe extern "C" fn(context: *const c_void),
    /// Counts one user less; the last one frees the context.
    pub release: unsafe extern "C" fn(context: *const c_void),
    /// Asks for a service by name, such as `host.log/1`.
    pub query: unsafe extern "C" fn(context: *const c_void, name: RStr<'_>) -> ROption<RInterface>,
}

/// The table with what it works on. Lent for the length of `open`; a plugin that keeps it calls `retain`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
#[sabi(tag = abi_stable::tag!("qt/host-handle/1"))]
pub struct HostHandle {
    /// First argument of every call.
    pub context: *const c_void,
    /// The calls.
    pub table: &'static HostTable,
}

/// Name of [`HostLogV1`].
pub const HOST_LOG_V1: &str = "host.log/1";

/// Lines for the host's log.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("host.log/1: level 1=debug 2=info 3=warning 4=error"))]
pub struct HostLogV1 {
    /// Writes one line; `fields` is a JSON object or empty.
    pub log: unsafe extern "C" fn(
        context: *const c_void,
        level: u8,
        target: RStr<'_>,
        message: RStr<'_>,
        fields: RStr<'_>,
    ),
}

/// Name of [`HostClockV1`].
pub const HOST_CLOCK_V1: &str = "host.clock/1";

/// The host's clock, which a test may hold still.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("host.clock/1: unix ms"))]
pub struct HostClockV1 {
    /// Milliseconds since 1970-01-01 UTC.
    pub now_ms: unsafe extern "C" fn(context: *const c_void) -> i64,
}
