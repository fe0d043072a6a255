//! What a plugin exports: one library header that leads to this module.

// The derive writes accessors without documentation and names with underscores.
#![allow(missing_docs, non_camel_case_types, non_local_definitions)]

use abi_stable::{
    StableAbi,
    library::RootModule,
    sabi_types::VersionStrings,
    std_types::{ROption, RStr},
};

use super::{
    broker::{ROpenContext, ROpened},
    host::RInterface,
};

/// The root module of a plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RootRef, prefix_fields = RootPrefix)))]
#[sabi(missing_field(panic))]
#[sabi(tag = abi_stable::tag!("qt/root/1"))]
pub struct Root {
    /// The number of the ABI, which is 1.
    pub abi: u32,
    /// What the plugin says of itself: the same JSON text as in its manifest.
    pub statement: extern "C" fn() -> RStr<'static>,
    /// Opens a broker.
    pub open: unsafe extern "C" fn(context: &ROpenContext<'_>) -> ROpened,
    /// Asks the plugin for a named interface that needs no open broker.
    #[sabi(last_prefix_field)]
    pub query: extern "C" fn(name: RStr<'_>) -> ROption<RInterface>,
}

impl RootModule for RootRef {
    abi_stable::declare_root_module_statics! {RootRef}
    const BASE_NAME: &'static str = "qt_plugin";
    const NAME: &'static str = "qt_plugin";
    // The version of the ABI and not of the crate: a newer plugin-api of the same ABI has the same number.
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}
