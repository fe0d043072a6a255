//! Offers no interface at all.

mod broker;

use broker::Exhibit;
use qt_plugin_api::*;

fn at_open(_: &OpenContext) -> Result<(), OpenError> {
    Ok(())
}

export_broker! {
    type: Exhibit,
    name: "museum-bare",
    version: "1.0.0",
    description: "Offers no interface",
    capabilities: ["place", "orders", "trades"],
}
