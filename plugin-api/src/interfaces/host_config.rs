//! `host.config/1`: the plugin's configuration block as it stands now.

use std::ffi::c_void;

use abi_stable::{StableAbi, std_types::RString};

/// Name of [`HostConfigV1`].
pub const NAME: &str = "host.config/1";

/// The block, or why it cannot be read.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("host.config/1 block: 1=read 2=failed"))]
pub struct RBlock {
    /// A code of `codes::call`.
    pub code: u8,
    /// JSON text of the block; empty after a failure.
    pub text: RString,
    /// Why it failed, else empty.
    pub error: RString,
}

/// The plugin's own configuration.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("host.config/1"))]
pub struct HostConfigV1 {
    /// Reads the plugin's own block again.
    pub read: unsafe extern "C" fn(context: *const c_void) -> RBlock,
}
