//! What a plugin gets hold of: the sink and the host's services, both over one counted context.

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use abi_stable::std_types::{ROption, RStr, RString};
use rust_decimal::Decimal;
use serde_json::Value;

use serde::{Deserialize, Serialize};

use crate::{
    convert,
    interfaces::{
        host_clock::{self, HostClockV1},
        host_config::{self, HostConfigV1, RBlock},
        host_log::{self, HostLogV1},
        host_metrics::{self, HostMetricsV1},
        host_opening::{self, HostOpeningV1},
        offer,
    },
    services::{LogLevel, MetricKind},
    v1::{
        codes::call,
        host::{HostHandle, HostTable, RInterface},
        money::RMoney,
        sink::{SinkHandle, SinkTable},
        values::{RAccountRow, RConnection, ROrderError, ROrderRow, RPositionRow, RTradeRow},
    },
    values::{AccountRow, ConnectionState, OrderErrorRow, OrderRow, PositionRow, TradeRow},
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
    /// An order failed after it had been accepted, or a cancel after it had been sent.
    OrderError(OrderErrorRow),
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

/// One value of a plugin's metric.
#[derive(Clone, Copy, Debug)]
pub struct MetricValue<'a> {
    /// How it behaves.
    pub kind: MetricKind,
    /// What is counted, and in which unit.
    pub name: &'a str,
    /// A JSON object of strings, or empty.
    pub labels: &'a str,
    /// The value.
    pub value: Decimal,
}

type OnEvent = Box<dyn Fn(u64, Event) + Send + Sync>;
type OnLog = Box<dyn Fn(LogLine<'_>) + Send + Sync>;
type LogEnabled = Box<dyn Fn(LogLevel) -> bool + Send + Sync>;
type OnMetric = Box<dyn Fn(MetricValue<'_>) + Send + Sync>;
type ReadConfig = Box<dyn Fn() -> Result<Value, String> + Send + Sync>;
type Now = Box<dyn Fn() -> i64 + Send + Sync>;

/// Where a plugin's events, log lines and questions go.
pub struct Callbacks {
    on_event: OnEvent,
    on_log: OnLog,
    log_enabled: LogEnabled,
    on_metric: OnMetric,
    /// None until the host or `open` gives one.
    read_config: Option<ReadConfig>,
    now_ms: Now,
    /// The plugin said of its failure to open that it may pass.
    is_temporary: AtomicBool,
}

impl Callbacks {
    /// Events go to `on_event`, with numbers from 1 on without a gap. It must only hand them on: whoever calls the
    /// broker from it waits for itself.
    pub fn new(on_event: impl Fn(u64, Event) + Send + Sync + 'static) -> Self {
        Self {
            on_event: Box::new(on_event),
            on_log: Box::new(|_| {}),
            log_enabled: Box::new(|_| true),
            on_metric: Box::new(|_| {}),
            read_config: None,
            now_ms: Box::new(system_now_ms),
            is_temporary: AtomicBool::new(false),
        }
    }

    /// Takes log lines. Without it they go nowhere.
    #[must_use]
    pub fn with_log(mut self, on_log: impl Fn(LogLine<'_>) + Send + Sync + 'static) -> Self {
        self.on_log = Box::new(on_log);
        self
    }

    /// Tells which lines are written at all. Without it all are.
    #[must_use]
    pub fn with_log_filter(mut self, enabled: impl Fn(LogLevel) -> bool + Send + Sync + 'static) -> Self {
        self.log_enabled = Box::new(enabled);
        self
    }

    /// Takes values of metrics. Without it they go nowhere.
    #[must_use]
    pub fn with_metrics(mut self, on_metric: impl Fn(MetricValue<'_>) + Send + Sync + 'static) -> Self {
        self.on_metric = Box::new(on_metric);
        self
    }

    /// Reads the plugin's block of the configuration again. Without it the block of `open` is given.
    #[must_use]
    pub fn with_config(mut self, read: impl Fn() -> Result<Value, String> + Send + Sync + 'static) -> Self {
        self.read_config = Some(Box::new(read));
        self
    }

    /// Gives the block of `open` where the host said nothing else.
    pub(super) fn or_config(mut self, block: &Value) -> Self {
        if self.read_config.is_none() {
            let block = block.clone();
            self.read_config = Some(Box::new(move || Ok(block.clone())));
        }
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

    /// Whether the plugin said of its failure to open that it may pass.
    pub(super) fn is_temporary(&self) -> bool {
        self.0.is_temporary.load(Ordering::Acquire)
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

static LOG: HostLogV1 = HostLogV1 {
    enabled: log_enabled,
    log: on_log,
};

static CLOCK: HostClockV1 = HostClockV1 { now_ms: on_now };

static CONFIG: HostConfigV1 = HostConfigV1 { read: read_config };

static METRICS: HostMetricsV1 = HostMetricsV1 { record: on_metric };

static OPENING: HostOpeningV1 = HostOpeningV1 {
    is_temporary: on_temporary,
};

unsafe extern "C" fn on_temporary(context: *const c_void) {
    // SAFETY: the plugin counts itself as a user of the context.
    let callbacks = unsafe { &*context.cast::<Callbacks>() };
    callbacks.is_temporary.store(true, Ordering::Release);
}

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
    // SAFETY: the plugin counts itself as a user of the context.
    unsafe {
        emit(context, seq, || {
            convert::order_error_in(error).map(Event::OrderError)
        })
    }
}

unsafe extern "C" fn query(_context: *const c_void, name: RStr<'_>) -> ROption<RInterface> {
    let found = match name.as_str() {
        host_log::NAME => offer(&LOG),
        host_clock::NAME => offer(&CLOCK),
        host_config::NAME => offer(&CONFIG),
        host_metrics::NAME => offer(&METRICS),
        host_opening::NAME => offer(&OPENING),
        _ => return ROption::RNone,
    };
    ROption::RSome(found)
}

unsafe extern "C" fn log_enabled(context: *const c_void, level: u8) -> u8 {
    guarded(1, || {
        // SAFETY: the plugin counts itself as a user of the context.
        let callbacks = unsafe { &*context.cast::<Callbacks>() };
        u8::from((callbacks.log_enabled)(LogLevel::from_code(level)))
    })
}

unsafe extern "C" fn read_config(context: *const c_void) -> RBlock {
    let read = || {
        // SAFETY: the plugin counts itself as a user of the context.
        let callbacks = unsafe { &*context.cast::<Callbacks>() };
        let read = callbacks.read_config.as_ref();
        read.map_or_else(|| Err("no configuration is known".to_owned()), |read| read())
    };
    match guarded(Err("the host failed to read it".to_owned()), read) {
        Ok(block) => RBlock {
            code: call::OK,
            text: block.to_string().into(),
            error: RString::new(),
        },
        Err(why) => RBlock {
            code: call::FAILED,
            text: RString::new(),
            error: why.into(),
        },
    }
}

unsafe extern "C" fn on_metric(
    context: *const c_void,
    kind: u8,
    name: RStr<'_>,
    labels: RStr<'_>,
    value: RMoney,
) {
    guarded((), || {
        // SAFETY: the plugin counts itself as a user of the context.
        let callbacks = unsafe { &*context.cast::<Callbacks>() };
        // A value that cannot be read is no number at all; the plugin's trading does not hang on it.
        if let (Some(kind), Ok(value)) = (MetricKind::from_code(kind), convert::money_in("value", value)) {
            let (name, labels) = (name.as_str(), labels.as_str());
            (callbacks.on_metric)(MetricValue {
                kind,
                name,
                labels,
                value,
            });
        }
    });
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
