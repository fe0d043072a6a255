//! `host.log/1`: lines for the host's log.

use std::ffi::c_void;

use abi_stable::{StableAbi, std_types::RStr};

/// Name of [`HostLogV1`].
pub const NAME: &str = "host.log/1";

/// Lines for the host's log.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("host.log/1: level 0=trace 1=debug 2=info 3=warning 4=error"))]
pub struct HostLogV1 {
    /// 1 if the host would write a line of this level, else 0: what is not written need not be put together.
    pub enabled: unsafe extern "C" fn(context: *const c_void, level: u8) -> u8,
    /// Writes one line; `fields` is a JSON object or empty.
    pub log: unsafe extern "C" fn(
        context: *const c_void,
        level: u8,
        target: RStr<'_>,
        message: RStr<'_>,
        fields: RStr<'_>,
    ),
}
