//! The XtQuant terminal (miniQMT) as a broker. This version carries the manifest and says honestly that it cannot trade.

use qt_plugin_api::{
    AccountRow, Broker, CallError, CancelRequest, CancelResult, ConnectionState, OpenContext, OpenError,
    OrderRequest, OrderRow, PlaceResult, PositionRow, TradeRow,
};

const UNAVAILABLE: &str = "miniQMT is not available yet in this version, and no order was or will be sent; \
                           set \"broker\": \"simulated\" to run without a terminal";

/// Never opens; the type has no value, so none of its other methods can be called.
pub enum MiniQmt {}

impl Broker for MiniQmt {
    fn open(_: OpenContext) -> Result<Self, OpenError> {
        Err(OpenError::new(UNAVAILABLE))
    }

    fn place_order(&self, _: &OrderRequest) -> PlaceResult {
        match *self {}
    }

    fn cancel_order(&self, _: &CancelRequest) -> CancelResult {
        match *self {}
    }

    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        match *self {}
    }

    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        match *self {}
    }

    fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        match *self {}
    }

    fn account(&self) -> Result<AccountRow, CallError> {
        match *self {}
    }

    fn connection(&self) -> ConnectionState {
        match *self {}
    }
}

qt_plugin_api::export_broker! {
    type: MiniQmt,
    name: "miniQMT",
    version: env!("CARGO_PKG_VERSION"),
    description: "The XtQuant terminal (miniQMT); not available yet in this version",
    capabilities: [],
    licence: "MIT OR Apache-2.0",
}
