#![doc = include_str!("../README.md")]
// The boundary itself; every use says why it is sound.
#![allow(unsafe_code)]
// The ABI derive of an older edition writes these into its expansions.
#![allow(non_local_definitions, improper_ctypes_definitions)]

mod broker;
mod convert;
mod export;
mod glue;
#[cfg(feature = "host")]
pub mod host;
pub mod manifest;
mod services;
#[doc(hidden)]
pub mod v1;
mod values;

pub use broker::{Broker, OpenContext};
pub use rust_decimal::{self, Decimal};
pub use serde;
pub use serde_json;
pub use services::{EventSink, HostClock, HostLog, LogLevel};
pub use values::{
    AccountRow, CallError, CancelRequest, CancelResult, ConnectionState, OpenError, OrderRequest, OrderRow,
    OrderStatus, PlaceResult, PositionRow, Side, TradeRow,
};

/// For the macro alone.
#[doc(hidden)]
pub mod __private {
    pub use abi_stable::library::LibHeader;

    pub use crate::{
        glue::{Export, header},
        manifest::{HEADER_LEN, Parts, as_str, section, text, text_len},
    };
}
