//! `host.opening/1`: more about a broker that does not open than ABI 1 can say.

use std::ffi::c_void;

use abi_stable::StableAbi;

/// Name of [`HostOpeningV1`].
pub const NAME: &str = "host.opening/1";

/// What a plugin may tell the host while `open` is under way.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("host.opening/1: during open"))]
pub struct HostOpeningV1 {
    /// The failure that `open` is about to answer with may pass by itself: the host should try again.
    pub is_temporary: unsafe extern "C" fn(context: *const c_void),
}
