//! What the host offers a broker: a sink for events, a log, a clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi_stable::{StableAbi, abi_stability::abi_checking::check_layout_compatibility, std_types::RStr};

use crate::{
    convert,
    v1::{
        codes::level,
        host::{HOST_CLOCK_V1, HOST_LOG_V1, HostClockV1, HostHandle, HostLogV1, RInterface},
        sink::SinkHandle,
        values::ROrderError,
    },
    values::{AccountRow, ConnectionState, OrderRow, PositionRow, TradeRow},
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
        let error = ROrderError {
            client_order_id: client_order_id.into().into(),
            reason: reason.into().into(),
        };
        let (seq, to) = (self.next(), self.0.handle);
        // SAFETY: the context is counted as used for as long as `self` lives.
        unsafe { (to.table.order_error)(to.context, *seq, error) }
    }
}

/// The host's context, counted as used for as long as this lives.
struct HostInner(HostHandle);

// SAFETY: the host's contexts may be used from any thread; that is a part of ABI 1.
unsafe impl Send for HostInner {}
// SAFETY: as above; the table's functions may run at the same time.
unsafe impl Sync for HostInner {}

impl Drop for HostInner {
    fn drop(&mut self) {
        // SAFETY: the constructor counted this user.
        unsafe { (self.0.table.release)(self.0.context) }
    }
}

/// Checks a named interface against what this crate knows by that name.
///
/// # Safety
/// The table must be what the layout says it is.
pub(crate) unsafe fn checked<T: StableAbi>(found: RInterface) -> Option<&'static T> {
    check_layout_compatibility(T::LAYOUT, found.layout).ok()?;
    // SAFETY: the layout fits, and tables live as long as the process.
    unsafe { found.table.cast::<T>().as_ref() }
}

/// Weight of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum LogLevel {
    /// For whoever hunts a fault.
    Debug,
    /// What happens as it should.
    Info,
    /// Odd, and survivable.
    Warning,
    /// Something failed.
    Error,
}

impl LogLevel {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Debug => level::DEBUG,
            Self::Info => level::INFO,
            Self::Warning => level::WARNING,
            Self::Error => level::ERROR,
        }
    }

    /// A level that nobody knows is taken for an error, so that no line is lost.
    #[cfg_attr(not(feature = "host"), allow(dead_code))]
    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            level::DEBUG => Self::Debug,
            level::INFO => Self::Info,
            level::WARNING => Self::Warning,
            _ => Self::Error,
        }
    }
}

/// The host's log. Without one (an older host, a test) lines go nowhere.
#[derive(Clone)]
pub struct HostLog(Option<(Arc<HostInner>, &'static HostLogV1)>);

impl HostLog {
    /// Writes one line. `target` names the part of the plugin that speaks.
    pub fn log(&self, level: LogLevel, target: &str, message: &str) {
        if let Some((host, table)) = &self.0 {
            let (target, message) = (RStr::from_str(target), RStr::from_str(message));
            // SAFETY: the table was checked, and the context is alive while `host` is.
            unsafe { (table.log)(host.0.context, level.code(), target, message, RStr::from_str("")) }
        }
    }

    /// Writes a line for whoever hunts a fault.
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(LogLevel::Debug, "plugin", message.as_ref());
    }

    /// Writes what happens as it should.
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(LogLevel::Info, "plugin", message.as_ref());
    }

    /// Writes what is odd and survivable.
    pub fn warning(&self, message: impl AsRef<str>) {
        self.log(LogLevel::Warning, "plugin", message.as_ref());
    }

    /// Writes what failed.
    pub fn error(&self, message: impl AsRef<str>) {
        self.log(LogLevel::Error, "plugin", message.as_ref());
    }
}

/// The host's clock, which a test may hold still.
#[derive(Clone)]
pub struct HostClock(Option<(Arc<HostInner>, &'static HostClockV1)>);

impl HostClock {
    /// Milliseconds since 1970 UTC; the system's clock where the host offers none.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        if let Some((host, table)) = &self.0 {
            // SAFETY: the table was checked, and the context is alive while `host` is.
            return unsafe { (table.now_ms)(host.0.context) };
        }
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Asks the host for its services.
///
/// # Safety
/// The handle must be alive for the length of this call.
pub(crate) unsafe fn services(handle: HostHandle) -> (HostLog, HostClock) {
    // SAFETY: the caller vouches for the handle.
    unsafe { (handle.table.retain)(handle.context) };
    let host = Arc::new(HostInner(handle));
    let query = |name: &'static str| {
        // SAFETY: the context was just counted as used.
        unsafe { (handle.table.query)(handle.context, RStr::from_str(name)) }.into_option()
    };
    // SAFETY: the host answers with a table of the layout it names.
    let log = query(HOST_LOG_V1).and_then(|i| unsafe { checked::<HostLogV1>(i) });
    // SAFETY: as above.
    let clock = query(HOST_CLOCK_V1).and_then(|i| unsafe { checked::<HostClockV1>(i) });
    (
        HostLog(log.map(|t| (Arc::clone(&host), t))),
        HostClock(clock.map(|t| (host, t))),
    )
}
