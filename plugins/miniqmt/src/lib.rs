//! The XtQuant terminal (miniQMT) as a broker.
//!
//! The terminal is spoken to by a bridge, one Python file that this plugin carries (`bridge.py`): a supervised child
//! over its standard streams, or a bridge on another machine over TLS. `PROTOCOL.md` says what travels between the two.
//! The options lie in the configuration's block `miniQMT`; `config-schema.json` describes them.
//!
//! An order's client order id is in the bridge's record, on the disk, before the terminal is called. Whatever is not
//! certain after that (a number of -1, an answer that is lost, a bridge that died) is unknown, and is decided by the
//! exact remark in the day's orders and trades alone. `qt-host doctor --broker miniqmt` says what is wrong with a set-up.

mod books;
mod broker;
mod convert;
mod doctor;
mod frame;
mod hours;
mod line;
mod options;
mod python;
mod remark;
mod remote;
mod rows;
mod session;
mod system;

pub use broker::MiniQmt;

qt_plugin_api::export_broker! {
    type: MiniQmt,
    name: "miniQMT",
    version: env!("CARGO_PKG_VERSION"),
    description: "The XtQuant terminal (miniQMT) of Chinese brokers",
    capabilities: ["place", "cancel", "orders", "trades", "positions", "account", "events", "read_only"],
    interfaces: [doctor],
    licence: "MIT OR Apache-2.0",
    config_schema: include_str!("../config-schema.json"),
}
