//! The way of a broker's events to the host.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    convert,
    v1::sink::SinkHandle,
    values::{AccountRow, ConnectionState, OrderErrorRow, OrderRow, PositionRow, TradeRow},
};

/// Takes events to the host, each with a number that grows by one. Clones share the numbering.
///
/// A call returns once the event is in the host's hands. It may wait while the host's queue is full, so
/// do not hold a lock over it that `place_order` needs.
#[derive(Clone)]
pub struct EventSink(Arc<SinkInner>);

struct SinkInner {
    handle: SinkHandle,
    // Held over the whole delivery, so that events arrive in the order of their numbers.
    last_seq: Mutex<u64>,
}

// SAFETY: the host's contexts may be used from any thread; that is a part of ABI 1.
unsafe impl Send for SinkInner {}
// SAFETY: as above; the table's functions may run at the same time.
unsafe impl Sync for SinkInner {}

impl Drop for SinkInner {
    fn drop(&mut self) {
        // SAFETY: `open` counted this user, and nobody uses the context after the last clone is gone.
        unsafe { (self.handle.table.release)(self.handle.context) }
    }
}

impl EventSink {
    /// # Safety
    /// The handle must be alive for the length of this call.
    pub(crate) unsafe fn retained(handle: SinkHandle) -> Self {
        // SAFETY: the caller vouches for the handle.
        unsafe { (handle.table.retain)(handle.context) };
        Self(Arc::new(SinkInner {
            handle,
            last_seq: Mutex::new(0),
        }))
    }

    fn next(&self) -> MutexGuard<'_, u64> {
        let mut seq = self.0.last_seq.lock().unwrap_or_else(PoisonError::into_inner);
        *seq += 1;
        seq
    }

    /// An order changed.
    pub fn order(&self, row: OrderRow) {
        let (row, seq, to) = (convert::order_row_out(row), self.next(), self.0.handle);
        // SAFETY: the context is counted as used for as long as `self` lives.
        unsafe { (to.table.order)(to.context, *seq, row) }
    }

    /// A trade was made.
    pub fn trade(&self, row: TradeRow) {
        let (row, seq, to) = (convert::trade_out(row), self.next(), self.0.handle);
        // SAFETY: the context is counted as used for as long as `self` lives.
        unsafe { (to.table.trade)(to.context, *seq, row) }
    }

    /// The connection changed.
    pub fn connection(&self, state: ConnectionState) {
        let (state, seq, to) = (convert::connection_out(state), self.next(), self.0.handle);
        // SAFETY: the context is counted as used for as long as `self` lives.
        unsafe { (to.table.connection)(to.context, *seq, state) }
    }

    /// The account's money changed.
    pub fn account(&self, row: AccountRow) {
        let (row, seq, to) = (convert::account_out(row), self.next(), self.0.handle);
        // SAFETY: the context is counted as used for as long as `self` lives.
        unsafe { (to.table.account)(to.context, *seq, row) }
    }

    /// A holding changed.
    pub fn position(&self, row: PositionRow) {
        let (row, seq, to) = (convert::position_out(row), self.next(), self.0.handle);
        // SAFETY: the context is counted as used for as long as `self` lives.
        unsafe { (to.table.position)(to.context, *seq, row) }
    }

    /// An order failed after it had been accepted.
    pub fn order_error(&self, client_order_id: impl Into<String>, reason: impl Into<String>) {
        self.failed(OrderErrorRow {
            client_order_id: Some(client_order_id.into()),
            reason: reason.into(),
            ..OrderErrorRow::default()
        });
    }

    /// An order failed after it had been accepted, or a cancel after it had been sent, with all that is known of it.
    pub fn failed(&self, row: OrderErrorRow) {
        let (row, seq, to) = (convert::order_error_out(row), self.next(), self.0.handle);
        // SAFETY: the context is counted as used for as long as `self` lives.
        unsafe { (to.table.order_error)(to.context, *seq, row) }
    }
}
