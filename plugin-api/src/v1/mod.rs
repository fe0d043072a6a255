//! ABI 1 as it lies in memory. Frozen: nothing in this folder may change, whatever the version of the crate.
//!
//! Whoever needs more gives it a name (`broker.quotes/1`) and has it asked for by `query`. Every pointer to a
//! table lives as long as the process, since a loaded plugin is never unloaded.

pub mod broker;
pub mod codes;
pub mod host;
pub mod money;
pub mod root;
pub mod sink;
pub mod values;

/// The number of this ABI, as it stands in every manifest and in the root module.
pub const ABI: u32 = 1;

/// The symbol under which a plugin exports its library header.
pub const ROOT_SYMBOL: &str = "qt_plugin_root_v1";
