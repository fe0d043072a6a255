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
