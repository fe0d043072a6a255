//! An open broker, with the same calls as the author's trait.

use std::{ffi::c_void, sync::OnceLock};

use abi_stable::{
    StableAbi,
    std_types::{RStr, RVec},
};

use super::links::{QuotesLink, TradesLink};
use crate::{
    convert,
    interfaces::{
        self,
        quotes::{self, QuotesV1},
        trades::{self, TradesV1},
    },
    v1::{
        broker::{BrokerTable, ROpened},
        codes::call,
        values::RRows,
    },
    values::{
        AccountRow, CallError, CancelRequest, CancelResult, ConnectionState, OpenError, OrderRequest,
        OrderRow, PlaceResult, PositionRow, TradeRow,
    },
};

/// An open broker of a plugin. Any thread may call it, several at once; dropping it closes and frees it.
pub struct LoadedBroker {
    broker: *const c_void,
    table: &'static BrokerTable,
    // Asked for once: the comparison of layouts takes longer than most calls.
    quotes: OnceLock<Option<&'static QuotesV1>>,
    trades: OnceLock<Option<&'static TradesV1>>,
}

// SAFETY: the author's trait demands Send; that is a part of ABI 1.
unsafe impl Send for LoadedBroker {}
// SAFETY: the author's trait demands Sync; that is a part of ABI 1.
unsafe impl Sync for LoadedBroker {}

impl LoadedBroker {
    pub(super) fn from_opened(opened: ROpened) -> Result<Self, OpenError> {
        if opened.code == call::OK && !opened.broker.is_null() {
            return Ok(Self {
                broker: opened.broker,
                table: opened.table,
                quotes: OnceLock::new(),
                trades: OnceLock::new(),
            });
        }
        if opened.code == call::FAILED {
            return Err(OpenError::new(opened.error.into_string()));
        }
        Err(OpenError::new(format!(
            "the plugin answered `open` with the code {} and {} broker, which ABI 1 lacks",
            opened.code,
            if opened.broker.is_null() { "no" } else { "a" }
        )))
    }

    /// Places an order.
    #[must_use]
    pub fn place_order(&self, order: &OrderRequest) -> PlaceResult {
        // SAFETY: the pair came from one `open` and is not freed before `self`.
        convert::place_in(unsafe { (self.table.place_order)(self.broker, &convert::order_out(order)) })
    }

    /// Asks for an order's cancel.
    #[must_use]
    pub fn cancel_order(&self, cancel: &CancelRequest) -> CancelResult {
        // SAFETY: as in `place_order`.
        convert::cancel_result_in(unsafe {
            (self.table.cancel_order)(self.broker, &convert::cancel_out(cancel))
        })
    }

    /// Every order of the day.
    ///
    /// # Errors
    /// When the plugin fails, or one row cannot be read.
    pub fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        // SAFETY: as in `place_order`.
        complete(
            "orders",
            unsafe { (self.table.orders_today)(self.broker) },
            convert::order_row_in,
        )
    }

    /// Every trade of the day.
    ///
    /// # Errors
    /// When the plugin fails, or one row cannot be read.
    pub fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        // SAFETY: as in `place_order`.
        complete(
            "trades",
            unsafe { (self.table.trades_today)(self.broker) },
            convert::trade_in,
        )
    }

    /// Every holding.
    ///
    /// # Errors
    /// When the plugin fails, or one row cannot be read.
    pub fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        // SAFETY: as in `place_order`.
        complete(
            "positions",
            unsafe { (self.table.positions)(self.broker) },
            convert::position_in,
        )
    }

    /// The account's money.
    ///
    /// # Errors
    /// When the plugin fails or its answer cannot be read.
    pub fn account(&self) -> Result<AccountRow, CallError> {
        // SAFETY: as in `place_order`.
        let rows = complete(
            "account",
            unsafe { (self.table.account)(self.broker) },
            convert::account_in,
        )?;
        let count = rows.len();
        match <[AccountRow; 1]>::try_from(rows) {
            Ok([row]) => Ok(row),
            Err(_) => Err(CallError::new(format!(
                "the plugin answered with {count} accounts instead of one"
            ))),
        }
    }

    /// State of the connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionState {
        // SAFETY: as in `place_order`.
        convert::connection_in(unsafe { (self.table.connection)(self.broker) })
    }

    /// Whether the plugin's code has panicked in this broker, in whichever call. What it holds can then no longer be
    /// trusted: freeze it, drop it, open another one, and reconcile.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        // SAFETY: as in `place_order`.
        unsafe { (self.table.poisoned)(self.broker) != 0 }
    }

    /// Prices of symbols, where the plugin offers `broker.quotes/1`.
    #[must_use]
    pub fn quotes(&self) -> Option<QuotesLink<'_>> {
        let table = self.quotes.get_or_init(|| self.interface(quotes::NAME));
        Some(QuotesLink::new(self, (*table)?))
    }

    /// Trades since a point, where the plugin offers `broker.trades/1`.
    #[must_use]
    pub fn trades(&self) -> Option<TradesLink<'_>> {
        let table = self.trades.get_or_init(|| self.interface(trades::NAME));
        Some(TradesLink::new(self, (*table)?))
    }

    /// Whether the plugin answers to the name of an interface; nothing is said about its layout.
    #[must_use]
    pub fn offers(&self, name: &str) -> bool {
        // SAFETY: as in `place_order`.
        unsafe { (self.table.query)(self.broker, RStr::from_str(name)) }.is_some()
    }

    fn interface<T: StableAbi>(&self, name: &'static str) -> Option<&'static T> {
        // SAFETY: as in `place_order`.
        let found = unsafe { (self.table.query)(self.broker, RStr::from_str(name)) };
        // SAFETY: the plugin answers with a table of the layout that it names, and is never unloaded.
        unsafe { interfaces::checked::<T>(found.into_option()?) }
    }

    pub(super) fn context(&self) -> *const c_void {
        self.broker
    }

    /// Ends the session; further calls change nothing.
    pub fn close(&self) {
        // SAFETY: as in `place_order`.
        unsafe { (self.table.close)(self.broker) }
    }
}

impl Drop for LoadedBroker {
    fn drop(&mut self) {
        self.close();
        // SAFETY: nobody else holds the pointer, and nothing is called afterwards.
        unsafe { (self.table.free)(self.broker) }
    }
}

/// One row that cannot be read makes the whole snapshot an error.
pub(super) fn complete<R, P>(
    what: &str,
    given: RRows<R>,
    read: fn(R) -> Result<P, String>,
) -> Result<Vec<P>, CallError> {
    match given.code {
        call::OK => {}
        call::FAILED => return Err(CallError::new(given.error.into_string())),
        other => {
            return Err(CallError::new(format!(
                "the plugin answered the query for {what} with the code {other}, which ABI 1 lacks"
            )));
        }
    }
    RVec::into_iter(given.rows)
        .enumerate()
        .map(|(i, row)| read(row).map_err(|why| CallError::new(format!("row {} of {what}: {why}", i + 1))))
        .collect()
}
