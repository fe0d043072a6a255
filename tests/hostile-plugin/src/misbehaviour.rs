//! What is done wrong, when, and how.

// Memory faults are what this is for.
#![allow(unsafe_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use qt_plugin_api::{LogLevel, OpenContext, OpenError};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::Value;

macro_rules! kinds {
    ($($kind:ident = $name:literal),* $(,)?) => {
        /// One way to misbehave; see the crate's documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($kind),* }

        const KINDS: &[(&str, Kind)] = &[$(($name, Kind::$kind)),*];
    };
}

kinds! {
    PanicInPlace = "panic-in-place",
    PanicAfterAccepting = "panic-after-accepting",
    PanicInControl = "panic-in-control",
    PanicInOpen = "panic-in-open",
    PanicInConnection = "panic-in-connection",
    PanicInDrop = "panic-in-drop",
    SegfaultInPlace = "segfault-in-place",
    SegfaultInOpen = "segfault-in-open",
    AbortInPlace = "abort-in-place",
    ExitInPlace = "exit-in-place",
    StackOverflowInPlace = "stack-overflow-in-place",
    DieAfterAccepting = "die-after-accepting",
    DieInControl = "die-in-control",
    DieFromAThread = "die-from-a-thread",
    HangInPlace = "hang-in-place",
    HangAfterAccepting = "hang-after-accepting",
    HangInControl = "hang-in-control",
    FailsInControl = "fails-in-control",
    HangInOpen = "hang-in-open",
    SlowOpen = "slow-open",
    AwayInOpen = "away-in-open",
    AwayInConnection = "away-in-connection",
    HidesHoldings = "hides-holdings",
    HangInClose = "hang-in-close",
    HangInExit = "hang-in-exit",
    LeavesAHelper = "leaves-a-helper",
    SpinInPlace = "spin-in-place",
    Slow = "slow",
    Talks = "talks",
    Leak = "leak",
    GarbageOnStdout = "garbage-on-stdout",
    RejectAccepted = "reject-accepted",
    RejectUnknown = "reject-unknown",
    AcceptNothing = "accept-nothing",
    NamelessAcceptance = "nameless-acceptance",
    PlacesTwice = "places-twice",
    DropsEvents = "drops-events",
    DuplicateEvents = "duplicate-events",
    LateEvents = "late-events",
    DuplicateTradeIds = "duplicate-trade-ids",
    HalfSnapshots = "half-snapshots",
    ShrinkingFills = "shrinking-fills",
    WrongClientOrderId = "wrong-client-order-id",
    CutClientOrderId = "cut-client-order-id",
    AnswersAfterClose = "answers-after-close",
    IgnoresMistakes = "ignores-mistakes",
    OverstatesCash = "overstates-cash",
    OverstatesHoldings = "overstates-holdings",
    SellsToday = "sells-today",
    FloatMoney = "float-money",
    SilentRejection = "silent-rejection",
    RepeatsOrders = "repeats-orders",
    CancelsNothing = "cancels-nothing",
    HidesRacedFills = "hides-raced-fills",
    IgnoresNotAfter = "ignores-not-after",
    WritesElsewhere = "writes-elsewhere",
    TellsAccount = "tells-account",
    LeaksHandles = "leaks-handles",
    UnpricedHoldings = "unpriced-holdings",
    ZeroQuotes = "zero-quotes",
    SkipsTrades = "skips-trades",
    PanicInQuotes = "panic-in-quotes",
}

/// A test that wants another version of this plugin changes the last character in the file.
const FILE_MARK: &str = "hostile-file:0";

fn is_changed_file() -> bool {
    std::hint::black_box(FILE_MARK).ends_with('1')
}

/// Comes before the configuration.
const VARIABLE: &str = "QT_HOSTILE";
const STRIKES: &str = "hostile-strikes";
/// What a test puts there to end an absence.
const IS_THERE: &str = "hostile-is-there";

/// What is done wrong, and when.
pub(crate) struct Misbehaviour {
    kind: Option<Kind>,
    after: u64,
    at_most: Option<u64>,
    ms: u64,
    strikes: PathBuf,
    chances: AtomicU64,
}

impl Misbehaviour {
    /// Takes its own options out of the block; what is left is the simulated broker's.
    pub(crate) fn take(config: &mut Value, data_dir: &Path) -> Result<Self, OpenError> {
        let Value::Object(block) = config else {
            return Err(OpenError::new("the block `hostile` is no block"));
        };
        let mut number = |key: &str| match block.remove(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(OpenError::new(format!("`{key}` is {value} and no whole number"))),
            },
        };
        let (after, at_most, ms) = (number("after")?, number("at_most")?, number("ms")?);
        let configured = match block.remove("misbehaviour") {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(other) => return Err(OpenError::new(format!("`misbehaviour` is {other} and no name"))),
        };
        let named = std::env::var(VARIABLE)
            .ok()
            .filter(|name| !name.is_empty())
            .or(configured);
        let mut kind = named.map(|name| known(&name)).transpose()?;
        let changed_only = match block.remove("changed_file_only") {
            None => false,
            Some(Value::Bool(only)) => only,
            Some(other) => {
                return Err(OpenError::new(format!(
                    "`changed_file_only` is {other}, not true or false"
                )));
            }
        };
        if changed_only && !is_changed_file() {
            kind = None;
        }
        if kind == Some(Kind::IgnoresMistakes)
            && serde_json::from_value::<crate::options::Options>(Value::Object(block.clone())).is_err()
        {
            block.clear();
        }
        let fault = match kind {
            Some(
                Kind::DropsEvents
                | Kind::DuplicateTradeIds
                | Kind::WrongClientOrderId
                | Kind::CutClientOrderId,
            ) => Some("fault_no_events"),
            Some(Kind::DuplicateEvents) => Some("fault_duplicate_events"),
            Some(Kind::LateEvents) => Some("fault_reorder_events"),
            _ => None,
        };
        if let Some(fault) = fault {
            block.insert(fault.to_owned(), Value::Bool(true));
        }
        Ok(Self {
            kind,
            after: after.unwrap_or(0),
            at_most,
            ms: ms.unwrap_or(1000),
            strikes: data_dir.join(STRIKES),
            chances: AtomicU64::new(0),
        })
    }

    /// Whether this is the kind, struck or not.
    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.kind == Some(kind)
    }

    /// Counts a chance of a kind, and tells whether it strikes.
    pub(crate) fn strikes(&self, kind: Kind) -> bool {
        if !self.is(kind) || self.chances.fetch_add(1, Ordering::Relaxed) < self.after {
            return false;
        }
        let Some(at_most) = self.at_most else { return true };
        let so_far = std::fs::metadata(&self.strikes).map_or(0, |metadata| metadata.len());
        // On the disk before it happens, since the process may not live to say so.
        so_far < at_most
            && std::fs::File::options()
                .create(true)
                .append(true)
                .open(&self.strikes)
                .and_then(|mut file| file.write_all(b"x"))
                .is_ok()
    }

    /// Whether the broker is away just now.
    pub(crate) fn is_away(&self) -> bool {
        self.is(Kind::AwayInConnection) && !self.strikes.with_file_name(IS_THERE).exists()
    }

    /// Whether it does not list its holdings just now.
    pub(crate) fn hides_holdings(&self) -> bool {
        self.is(Kind::HidesHoldings) && !self.strikes.with_file_name(IS_THERE).exists()
    }

    /// How long.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

fn known(name: &str) -> Result<Kind, OpenError> {
    let found = KINDS.iter().find(|(known, _)| *known == name);
    found.map(|(_, kind)| *kind).ok_or_else(|| {
        let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        OpenError::new(format!(
            "`{name}` is no misbehaviour; known are {}",
            names.join(", ")
        ))
    })
}

/// Writes to where nothing is.
pub(crate) fn segfault() {
    let nowhere = std::ptr::without_provenance_mut::<u8>(8);
    // SAFETY: none; no page is mapped there, and the fault is the purpose.
    unsafe { nowhere.write_volatile(1) }
}

/// Recurses until the stack ends.
#[allow(unconditional_recursion, reason = "the purpose")]
pub(crate) fn overflow(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    overflow(depth + 1) + page[511]
}

/// Never comes back.
pub(crate) fn hang() {
    loop {
        std::thread::park();
    }
}

/// Has the process hang at its end, as a library does that waits for its own thread there.
pub(crate) fn hang_in_exit() {
    unsafe extern "C" {
        fn atexit(what: extern "C" fn()) -> std::ffi::c_int;
    }
    extern "C" fn wait() {
        hang();
    }
    // SAFETY: the function lives as long as the process, since a plugin is never unloaded.
    unsafe { atexit(wait) };
}

/// Starts a process that works on by itself, and writes its number down.
pub(crate) fn leave_a_helper(data_dir: &Path) {
    let helper = std::process::Command::new("sleep")
        .arg("600")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    if let Ok(helper) = helper {
        let _ = std::fs::write(data_dir.join("hostile-helper"), helper.id().to_string());
    }
}

/// Never comes back, and lets nobody else use the processor meanwhile.
pub(crate) fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

/// Keeps 8 MiB for ever, and touches them.
pub(crate) fn leak() {
    std::mem::forget(std::hint::black_box(vec![1_u8; 8 << 20]));
}

/// Says what the host offers, and far more than anybody would read; and counts.
pub(crate) fn talk(cx: &OpenContext) {
    let (log, metrics) = (&cx.log, &cx.metrics);
    let is = |level| log.enabled(level);
    log.info(format!(
        "offered: clock {} trace {} debug {} info {} error {}",
        cx.clock.now_ms(),
        is(LogLevel::Trace),
        is(LogLevel::Debug),
        is(LogLevel::Info),
        is(LogLevel::Error)
    ));
    for line in 0..1000 {
        log.info(format!("line {line} of a flood"));
    }
    metrics.gauge("hostile_level", Decimal::from(5));
    metrics.gauge("hostile_level", Decimal::from(7));
    metrics.observe("hostile_spread", Decimal::from(-1));
    metrics.observe("hostile_spread", Decimal::from(4));
}

/// Bytes without a meaning, one of them a frame's beginning, and then a flood of lines.
pub(crate) fn garbage() {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(b"\xff\xfe\0\0\x01QTWK\x1b[2J{\"protocol\":1}\n");
    for _ in 0..200 {
        let _ = out.write_all(b"noise\n");
    }
    let _ = out.flush();
}

/// A price that went through a binary fraction.
pub(crate) fn through_a_float(price: Decimal) -> Decimal {
    // The neighbour, since some prices come through whole.
    let float = price.to_f32().unwrap_or_default().next_up();
    Decimal::from_f64_retain(f64::from(float)).unwrap_or(price)
}

/// A file where the plugin has no business: in the current folder and in the one for temporary files.
pub(crate) fn write_elsewhere() {
    for folder in [PathBuf::from("."), std::env::temp_dir()] {
        let _ = std::fs::write(folder.join("hostile-was-here"), "x");
    }
}

/// Keeps a file open for ever.
pub(crate) fn leak_handle() {
    if let Ok(file) = std::env::current_exe().and_then(std::fs::File::open) {
        std::mem::forget(file);
    }
}
