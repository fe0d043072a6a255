//! Offers an interface that today's host does not know, and asks for a service that it lacks.

mod broker;

use broker::Exhibit;
use qt_plugin_api::*;

fn at_open(cx: &OpenContext) -> Result<(), OpenError> {
    if cx.log.tomorrow() {
        return Err(OpenError::new("the host claims to have a service of tomorrow"));
    }
    Ok(())
}

impl Depth for Exhibit {
    fn depth(&self, _: &str) -> u64 {
        5
    }
}

export_broker! {
    type: Exhibit,
    name: "museum-newer",
    version: "1.0.0",
    description: "Offers an interface of tomorrow",
    capabilities: ["place", "orders", "trades"],
    interfaces: [depth],
}
