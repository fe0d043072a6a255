//! The named interfaces of an open broker. A link borrows its broker, so none outlives it.

use abi_stable::std_types::{RSlice, RStr};

use super::broker::{LoadedBroker, complete};
use crate::{
    convert,
    interfaces::{
        quotes::{Quote, QuotesV1, quote_in},
        trades::{TradesPage, TradesV1},
    },
    v1::values::RRows,
    values::CallError,
};

/// `broker.quotes/1` of an open broker.
#[derive(Clone, Copy)]
pub struct QuotesLink<'a> {
    broker: &'a LoadedBroker,
    table: &'static QuotesV1,
}

impl<'a> QuotesLink<'a> {
    pub(super) fn new(broker: &'a LoadedBroker, table: &'static QuotesV1) -> Self {
        Self { broker, table }
    }

    /// Prices of these symbols, in any order; a symbol that the broker does not know is left out.
    ///
    /// # Errors
    /// When the plugin fails, or one row cannot be read.
    pub fn quotes<S: AsRef<str>>(&self, symbols: &[S]) -> Result<Vec<Quote>, CallError> {
        let symbols: Vec<RStr<'_>> = symbols.iter().map(|s| RStr::from_str(s.as_ref())).collect();
        // SAFETY: the table was checked, and the broker lives as long as this link.
        let given = unsafe { (self.table.quotes)(self.broker.context(), RSlice::from_slice(&symbols)) };
        complete("quotes", given, quote_in)
    }
}

/// `broker.trades/1` of an open broker.
#[derive(Clone, Copy)]
pub struct TradesLink<'a> {
    broker: &'a LoadedBroker,
    table: &'static TradesV1,
}

impl<'a> TradesLink<'a> {
    pub(super) fn new(broker: &'a LoadedBroker, table: &'static TradesV1) -> Self {
        Self { broker, table }
    }

    /// Every trade since `cursor`, which an earlier page gave; from the day's start without one. Trades that were told
    /// before may come again.
    ///
    /// # Errors
    /// When the plugin fails, or one row cannot be read. The cursor that was asked with stays good.
    pub fn trades_since(&self, cursor: Option<&str>) -> Result<TradesPage, CallError> {
        let cursor = cursor.map(RStr::from_str).into();
        // SAFETY: the table was checked, and the broker lives as long as this link.
        let page = unsafe { (self.table.trades_since)(self.broker.context(), cursor) };
        let rows = RRows {
            code: page.code,
            rows: page.trades,
            error: page.error,
        };
        Ok(TradesPage {
            trades: complete("trades", rows, convert::trade_in)?,
            cursor: page.cursor.into_string(),
        })
    }
}
