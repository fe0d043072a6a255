#![doc = include_str!("../README.md")]
// The boundary itself; every use says why it is sound.
#![allow(unsafe_code)]
// The ABI derive of an older edition writes these into its expansions.
#![allow(non_local_definitions, improper_ctypes_definitions)]

mod block;
mod broker;
mod convert;
mod export;
mod glue;
#[cfg(feature = "host")]
pub mod host;
#[doc(hidden)]
pub mod interfaces;
pub mod manifest;
mod services;
#[cfg(feature = "host")]
pub mod template;
#[cfg(feature = "schema")]
pub mod testing;
#[cfg(feature = "tracing")]
pub mod trace;
#[doc(hidden)]
pub mod v1;
mod values;

pub use broker::{Broker, OpenContext};
pub use interfaces::{
    doctor::{Doctor, DoctorContext, Finding, Health},
    quotes::{Quote, Quotes},
    trades::{TradesPage, TradesSince},
};
pub use rust_decimal::{self, Decimal};
#[cfg(feature = "schema")]
pub use schemars;
pub use serde;
pub use serde_json;
pub use services::{EventSink, HostClock, HostConfig, HostLog, HostMetrics, LogLevel, MetricKind};
#[cfg(feature = "tracing")]
pub use tracing;
pub use values::{
    AccountKind, AccountRow, CallError, CancelRequest, CancelResult, ConnectionState, FailedKind, OpenError,
    OrderErrorRow, OrderRequest, OrderRow, OrderStatus, PlaceResult, PositionRow, PriceKind, Side, TradeRow,
};

/// For the macro alone.
#[doc(hidden)]
pub mod __private {
    pub use abi_stable::library::LibHeader;

    pub use crate::{
        glue::{Export, header},
        interfaces::Interface,
        manifest::{HEADER_LEN, Parts, as_str, section, text, text_len},
    };
}
