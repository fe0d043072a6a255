//! Puts the rooms together and takes them down again.

use std::sync::Arc;
use std::time::Duration;

use qt_core::UtcMillis;
use tokio::sync::watch;
use tracing::info;

use crate::backend::client::{Client, ClientSettings, SetupError, Token};
use crate::backend::poller::{self, PollLinks, PollSettings};
use crate::clock::Clock;
use crate::config::Config;
use crate::desk::{Opened, Place, Shared};
use crate::journal::JournalError;
use crate::lease::LeaseError;
use crate::plugin::PluginError;
use crate::round;
use crate::system::{self, ShutdownCause, ShutdownReceiver, ShutdownSender};
use crate::telemetry::TRADER_LOOP;

/// Why trading did not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] system::SystemError),
    /// Another host trades.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The plugin.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The plugin, once its worker looked at it.
    #[error("{0}")]
    Refused(String),
    /// The broker said no.
    #[error("the broker plugin `{name}` cannot start: {reason}")]
    Open {
        /// The plugin.
        name: String,
        /// Its words.
        reason: String,
    },
    /// The address or the token.
    #[error(transparent)]
    Backend(#[from] SetupError),
    /// The one round that was asked for could not be made.
    #[error(
        "the round was not made: {reason}; {waiting} reports wait in the journal and go out at the next start"
    )]
    NoRound {
        /// What the backend did or did not do.
        reason: String,
        /// Reports not delivered.
        waiting: usize,
    },
    /// The system gives no thread or no runtime.
    #[error("the system gives no thread to run on: {0}")]
    Threads(#[from] std::io::Error),
}

/// Trades until a signal asks for the end, or for one round where `once` is set.
///
/// # Errors
///
/// [`AppError`], and then no order was sent.
pub(crate) fn run(
    config: &Config,
    once: bool,
    asks: &ShutdownSender,
    end: ShutdownReceiver,
) -> Result<(), AppError> {
    // Before anybody replaces the file: a worker must be the program that the host is.
    system::own_executable()?;
    let opened = Place::take(config, Clock::system())?.open()?;
    let (url, token) = config.backend().map_err(|e| AppError::Setting(e.to_string()))?;
    let client = Arc::new(Client::new(&ClientSettings::new(
        url.as_str(),
        Token::new(token.expose())?,
    ))?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(trade(config, opened, client, once.then_some(asks), end));
    // A plugin's thread that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

async fn trade(
    config: &Config,
    opened: Opened,
    client: Arc<Client>,
    once: Option<&ShutdownSender>,
    mut end: ShutdownReceiver,
) -> Result<(), AppError> {
    let (stop, stopped) = watch::channel(false);
    let shared = Shared { client, stopped };
    let route = opened.route();
    let mut desk = opened.start(&shared)?;
    if let Some(url) = &config.api_base_url {
        info!(target: TRADER_LOOP, "quantTrader started. API={url}");
    }
    let poller = tokio::spawn(poller::run(
        PollSettings {
            limit: usize::try_from(config.execution.signals_limit).unwrap_or(500),
            interval: config.poll_interval,
            now: || UtcMillis(Clock::system().now_ms()),
        },
        PollLinks {
            client: Arc::clone(&shared.client),
            route,
            shutdown: shared.stopped.clone(),
        },
    ));
    let links = desk.take_round();
    let round = once
        .zip(links)
        .map(|(asks, links)| tokio::spawn(round::end_after_one(vec![links], asks.clone())));
    let cause = end.wait().await;
    if cause != ShutdownCause::Requested {
        info!(target: TRADER_LOOP, "stopping: what is in hand is finished, new signals stay with the backend");
    }
    stop.send_replace(true);
    desk.stop_orders().await;
    poller.await.ok();
    desk.end().await;
    info!(target: TRADER_LOOP, "quantTrader stopped");
    round::result(round, cause).await
}
