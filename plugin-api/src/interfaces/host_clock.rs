//! `host.clock/1`: the host's time.

use std::ffi::c_void;

use abi_stable::StableAbi;

/// Name of [`HostClockV1`].
pub const NAME: &str = "host.clock/1";

/// The host's clock, which a test may hold still.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("host.clock/1: unix ms"))]
pub struct HostClockV1 {
    /// Milliseconds since 1970-01-01 UTC.
    pub now_ms: unsafe extern "C" fn(context: *const c_void) -> i64,
}
