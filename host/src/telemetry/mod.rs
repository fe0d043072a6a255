//! What the program says while it runs: the console and a log file that rotates.

mod files;
mod format;
mod layer;
mod level;
mod queue;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::Span;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter};

pub use format::LogFormat;
pub use level::LogLevel;

use crate::system;
use files::{Console, LogFile};
use layer::LineLayer;
use queue::Queue;

/// The target of what concerns the program as a whole.
pub const QUANT_TRADER: &str = "quantTrader";
/// The target of the trading loop, as the specification's examples have it.
pub const TRADER_LOOP: &str = "quant_trader.trader_loop";

/// The field by which a line names its account, where there are several.
const ACCOUNT: &str = "account";

/// What everything that is said within it is about.
pub fn of_account(label: &str) -> Span {
    tracing::error_span!(target: QUANT_TRADER, "account", account = %label)
}

/// Starts a thread whose lines are about what those of the starting one are about.
///
/// # Errors
/// The system gives no thread.
pub fn thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<T>> {
    let span = Span::current();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || span.in_scope(work))
}

/// The log file's name; backups add `.1` to `.5`.
pub const LOG_FILE: &str = "quantTrader.log";

/// Targets whose lower levels are logged. Libraries speak from WARNING on only: at DEBUG some of them write headers,
/// and the token is one.
const OWN_TARGETS: [&str; 4] = ["quantTrader", "quant_trader", "qt_", "plugin"];

/// How long the end of the program waits for a log that cannot be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The folder cannot be made.
    #[error("no log can be kept: {0}")]
    Folder(#[from] system::SystemError),
    /// The file cannot be opened for writing.
    #[error(
        "the log file {path} cannot be written: {source}; make it and its folder writable for your user, or name \
         another folder with --data-dir"
    )]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The thread that writes cannot be started.
    #[error(
        "the thread that writes the log cannot be started: {0}; the system is short of threads or memory"
    )]
    Thread(std::io::Error),
    /// A second call in one process.
    #[error("logging is started already in this process")]
    Twice,
}

/// Keeps the log going; what has been said is written out when it is dropped.
#[derive(Debug)]
pub struct Guard {
    queue: Arc<Queue>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.queue.flush(FLUSH_TIMEOUT);
    }
}

/// Starts logging to the console (standard error) and to a file in `log_dir`, which is made if need be, and says so
/// in the log. To be called once in a process.
///
/// # Errors
/// The folder or file cannot be used; the message says what to do.
pub fn init(level: LogLevel, format: LogFormat, log_dir: &Path) -> Result<Guard, TelemetryError> {
    system::create_private_dir(log_dir)?;
    let file = log_dir.join(LOG_FILE);
    let log = LogFile::open(&file).map_err(|source| TelemetryError::File {
        path: system::shown(&file),
        source,
    })?;
    let queue = Queue::start(Console::new(), log).map_err(TelemetryError::Thread)?;
    let least = level.as_tracing();
    let targets = filter::Targets::new()
        .with_default(least.min(filter::LevelFilter::WARN))
        .with_targets(OWN_TARGETS.map(|target| (target, least)));
    let layer = LineLayer::new(level, format, Arc::clone(&queue)).with_filter(targets);
    tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .map_err(|_| TelemetryError::Twice)?;
    tracing::info!(target: QUANT_TRADER, "quantTrader logging initialized");
    tracing::info!(target: QUANT_TRADER, "Log file: {}", system::shown(&file));
    tracing::info!(target: QUANT_TRADER, "Log level: {level}");
    Ok(Guard { queue })
}
