//! What a plugin gets hold of: the sink and the host's services, both over one counted context.

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use abi_stable::{
    StableAbi,
    std_types::{ROption, RStr},
};

use serde::{Deserialize, Serialize};

use crate::{
    convert,
    services::LogLevel,
    v1::{
        host::{HOST_CLOCK_V1, HOST_LOG_V1, HostClockV1, HostHandle, HostLogV1, HostTable, RInterface},
        sink::{SinkHandle, SinkTable},
        values::{RAccountRow, RConnection, ROrderError, ROrderRow, RPositionRow, RTradeRow},
    },
    values::{AccountRow, ConnectionState, OrderRow, PositionRow, TradeRow},
};

/// What a plugin told on its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// An order changed.
    Order(OrderRow),
    /// A trade was made.
    Trade(TradeRow),
    /// The connection changed.
    Connection(ConnectionState),
    /// The account's money changed.
    Account(AccountRow),
    /// A holding changed.
    Position(PositionRow),
    /// An order failed after it had been accepted.
    OrderError {
        /// Our id.
        client_order_id: String,
        /// What the broker said.
        reason: String,
    },
    /// Something happened that could not be read: only a snapshot can tell what.
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
}

/// One line of a plugin's for the log.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// Weight.
    pub level: LogLevel,
    /// The part of the plugin that speaks.
    pub target: &'a str,
    /// What it says.
    pub message: &'a str,
    /// A JSON object, or empty.
    pub fields: &'a str,
}

type OnEvent = Box<dyn Fn(u64, Event) + Send + Sync>;
type OnLog = Box<dyn Fn(LogLine<'_>) + Send + Sync>;
type Now = Box<dyn Fn() -> i64 + Send + Sync>;

/// Where a plugin's events, log lines and questions go.
pub struct Callbacks {
    on_event: OnEvent,
    on_log: OnLog,
    now_ms: Now,
}

impl Callbacks {
    /// Events go to `on_event`, with numbers from 1 on without a gap. It must only hand them on: whoever calls the
    /// broker from it waits for itself.
    pub fn new(on_event: impl Fn(u64, Event) + Send + Sync + 'static) -> Self {
        Self {
            on_event: Box::new(on_event),
            on_log: Box::new(|_| {}),
            now_ms: Box::new(system_now_ms),
        }
    }

    /// Takes log lines. Without it they go nowhere.
    #[must_use]
    pub fn with_log(mut self, on_log: impl Fn(LogLine<'_>) + Send + Sync + 'static) -> Self {
        self.on_log = Box::new(on_log);
        self
    }

    /// Tells the time, in milliseconds since 1970 UTC. Without it the system does.
    #[must_use]
    pub fn with_clock(mut self, now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.now_ms = Box::new(now_ms);
        self
    }
}

fn system_now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The context, lent to a plugin for the length of `open`; the plugin counts itself as a user if it keeps it.
pub(super) struct Lent(Arc<Callbacks>);

impl Lent {
    pub(super) fn new(callbacks: Callbacks) -> Self {
        Self(Arc::new(callbacks))
    }

    fn context(&self) -> *const c_void {
        Arc::as_ptr(&self.0).cast()
    }

    pub(super) fn sink(&self) -> SinkHandle {
        SinkHandle {
            context: self.context(),
            table: &SINK,
        }
    }

    pub(super) fn host(&self) -> HostHandle {
        HostHandle {
            context: self.context(),
            table: &HOST,
        }
    }
}

static SINK: SinkTable = SinkTable {
    retain,
    release,
    order: on_order,
    trade: on_trade,
    connection: on_connection,
    account: on_account,
    position: on_position,
    order_error: on_order_error,
};

static HOST: HostTable = HostTable {
    retain,
    release,
    query,
};

static LOG: HostLogV1 = HostLogV1 { log: on_log };

static CLOCK: HostClockV1 = HostClockV1 { now_ms: on_now };

/// A panic of the host's own must not run into the plugin's frames.
fn guarded<R>(otherwise: R, work: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        otherwise
    })
}

unsafe extern "C" fn retain(context: *const c_void) {
    // SAFETY: the context is the pointer of a live Arc of ours.
    unsafe { Arc::increment_strong_count(context.cast::<Callbacks>()) }
}

unsafe extern "C" fn release(context: *const c_void) {
    // SAFETY: it takes back what `retain` counted.
    guarded((), || unsafe {
        Arc::decrement_strong_count(context.cast::<Callbacks>())
    });
}

/// # Safety
/// The context must be counted as used.
unsafe fn emit(context: *const c_void, seq: u64, read: impl FnOnce() -> Result<Event, String>) {
    guarded((), || {
        // SAFETY: the caller vouches for the context.
        let callbacks = unsafe { &*context.cast::<Callbacks>() };
        let event = read().unwrap_or_else(|reason| Event::Unreadable { reason });
        (callbacks.on_event)(seq, event);
    });
}

unsafe extern "C" fn on_order(context: *const c_void, seq: u64, row: ROrderRow) {
    // SAFETY: the plugin counts itself as a user of the context.
    unsafe { emit(context, seq, || convert::order_row_in(row).map(Event::Order)) }
}

unsafe extern "C" fn on_trade(context: *const c_void, seq: u64, row: RTradeRow) {
    // SAFETY: the plugin counts itself as a user of the context.
    unsafe { emit(context, seq, || convert::trade_in(row).map(Event::Trade)) }
}

unsafe extern "C" fn on_connection(context: *const c_void, seq: u64, state: RConnection) {
    // SAFETY: the plugin counts itself as a user of the context.
    unsafe {
        emit(context, seq, || {
            Ok(Event::Connection(convert::connection_in(state)))
        })
    }
}

unsafe extern "C" fn on_account(context: *const c_void, seq: u64, row: RAccountRow) {
    // SAFETY: the plugin counts itself as a user of the context.
    unsafe { emit(context, seq, || convert::account_in(row).map(Event::Account)) }
}

unsafe extern "C" fn on_position(context: *const c_void, seq: u64, row: RPositionRow) {
    // SAFETY: the plugin counts itself as a user of the context.
    unsafe { emit(context, seq, || convert::position_in(row).map(Event::Position)) }
}

unsafe extern "C" fn on_order_error(context: *const c_void, seq: u64, error: ROrderError) {
    let event = || {
        Ok(Event::OrderError {
            client_order_id: error.client_order_id.into_string(),
            reason: error.reason.into_string(),
        })
    };
    // SAFETY: the plugin counts itself as a user of the context.
    unsafe { emit(context, seq, event) }
}

unsafe extern "C" fn query(_context: *const c_void, name: RStr<'_>) -> ROption<RInterface> {
    let found = match name.as_str() {
        HOST_LOG_V1 => interface(&LOG),
        HOST_CLOCK_V1 => interface(&CLOCK),
        _ => return ROption::RNone,
    };
    ROption::RSome(found)
}

fn interface<T: StableAbi>(table: &'static T) -> RInterface {
    RInterface {
        table: std::ptr::from_ref(table).cast(),
        layout: T::LAYOUT,
    }
}

unsafe extern "C" fn on_log(
    context: *const c_void,
    level: u8,
    target: RStr<'_>,
    message: RStr<'_>,
    fields: RStr<'_>,
) {
    guarded((), || {
        // SAFETY: the plugin counts itself as a user of the context.
        let callbacks = unsafe { &*context.cast::<Callbacks>() };
        (callbacks.on_log)(LogLine {
            level: LogLevel::from_code(level),
            target: target.as_str(),
            message: message.as_str(),
            fields: fields.as_str(),
        });
    });
}

unsafe extern "C" fn on_now(context: *const c_void) -> i64 {
    guarded(0, || {
        // SAFETY: the plugin counts itself as a user of the context.
        let callbacks = unsafe { &*context.cast::<Callbacks>() };
        (callbacks.now_ms)()
    })
}
