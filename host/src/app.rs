//! Puts the rooms together and takes them down again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use qt_core::{Event, Settings, UtcMillis};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::backend::client::{Client, ClientSettings, SetupError, Token};
use crate::backend::gauge::Gauge;
use crate::backend::poller::{self, PollLinks, PollSettings};
use crate::backend::reporter::{self, OutboxRow, OutboxSource, ReportLinks, ReportSettings};
use crate::broker::link::OpenFailure;
use crate::broker::seat::Seat;
use crate::broker::supervisor::Supervisor;
use crate::broker::{self, Lanes, Listener};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::input::{CAPACITY, Input, Sender};
use crate::engine::{AskEvery, Engine, OutboxSignal, Status};
use crate::equity::EquityKeeper;
use crate::exchange::Exchange;
use crate::hosting::{self, Room};
use crate::journal::{Journal, JournalError, Loaded, Store, Volatile, WaitingRows};
use crate::lease::{Lease, LeaseError};
use crate::plugin::{self, PluginError};
use crate::system::{self, ShutdownCause, ShutdownReceiver, ShutdownSender};
use crate::telemetry::TRADER_LOOP;

/// How long reports still go out at the end.
const REPORT_GRACE: Duration = Duration::from_millis(1500);
/// How long one round waits for the broker's books at its end.
const BOOKS_GRACE: Duration = Duration::from_secs(5);
/// How long a plugin may take to close.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

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
    let clock = Clock::system();
    // Before anybody replaces the file: a worker must be the program that the host is.
    system::own_executable()?;
    let data_dir = config.data_dir()?;
    system::create_private_dir(&data_dir)?;
    let lease = Lease::take(&data_dir, clock.now_ms())?;
    let wanted = config.names_broker.then_some(config.broker.as_str());
    let plugin = plugin::keep(&search_plan(config, &data_dir), wanted, &data_dir)?;
    info!(
        "Broker plugin: {} {} from {} (SHA-256 {})",
        plugin.name(),
        plugin.manifest().version,
        system::shown(plugin.path()),
        plugin.sha256()
    );
    // Before the journal is touched: a slip of the pen in the configuration changes nothing.
    hosting::block(config, &plugin)?;
    let account_key = account_key(config, plugin.name());
    let (journal, loaded) = open_journal(config, &data_dir, &account_key)?;
    if loaded.seq > 0 {
        let open = loaded.trader.live_orders().count();
        info!(
            "the journal holds {open} open orders; {} facts were replayed and give the state that was",
            loaded.replayed
        );
    }
    if let Some(behind_ms) = clock.go_on_from(loaded.trader.now().0) {
        warn!(
            "the clock is {} s behind the last moment in the journal; times go on from that moment. If the clock was \
             wrong then by a day or more, start with a new `data_dir` once no order is open",
            behind_ms / 1000
        );
    }
    let (url, token) = config.backend().map_err(|e| AppError::Setting(e.to_string()))?;
    let client = Arc::new(Client::new(&ClientSettings::new(
        url.as_str(),
        Token::new(token.expose())?,
    ))?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let host = Host {
        config,
        clock,
        data_dir: &data_dir,
        account_key,
    };
    let result = runtime.block_on(host.trade(journal, loaded, client, &plugin, once, asks, end));
    // A plugin's thread that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    drop(lease);
    result
}

/// Where plugins are looked for.
pub(crate) fn search_plan(config: &Config, data_dir: &Path) -> plugin::SearchPlan {
    let trust = &config.plugin_trust;
    plugin::SearchPlan::new(&config.plugins, &config.plugin_dirs, data_dir).trusting(
        plugin::TrustPolicy::new(
            trust.lock.as_deref(),
            data_dir,
            &trust.trusted_keys,
            trust.require_signature,
            config.securities_account_id.as_deref(),
        ),
    )
}

/// The journal in the data folder, or memory where the configuration switches it off.
fn open_journal(
    config: &Config,
    data_dir: &Path,
    account_key: &str,
) -> Result<(Store, Loaded), JournalError> {
    if config.journal.enabled {
        let (journal, loaded) = Journal::open(&data_dir.join(crate::journal::FILE_NAME), Some(account_key))?;
        Ok((journal.into(), loaded))
    } else {
        Ok((Store::Volatile(Volatile::default()), Loaded::default()))
    }
}

/// Names account and adapter without giving the account's number away.
pub(crate) fn account_key(config: &Config, adapter: &str) -> String {
    let account = config
        .securities_account_id
        .clone()
        .or_else(|| broker_account(config, adapter))
        .unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(adapter.to_ascii_lowercase());
    hash.update([0]);
    hash.update(account);
    data_encoding::HEXLOWER.encode(&hash.finalize()[..8])
}

/// The broker's number of the account, where configured.
pub(crate) fn broker_account(config: &Config, adapter: &str) -> Option<String> {
    config
        .plugin_blocks
        .get(adapter)?
        .get("account_id")
        .and_then(serde_json::Value::as_str)
        .map(str::to_owned)
}

/// What trading needs to know throughout.
struct Host<'a> {
    config: &'a Config,
    clock: Clock,
    data_dir: &'a Path,
    account_key: String,
}

impl Host<'_> {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a room that is handed over once"
    )]
    async fn trade(
        self,
        journal: Store,
        loaded: Loaded,
        client: Arc<Client>,
        plugin: &plugin::KeptPlugin,
        once: bool,
        asks: &ShutdownSender,
        mut end: ShutdownReceiver,
    ) -> Result<(), AppError> {
        let (engine_in, inputs) = mpsc::channel(CAPACITY);
        let lanes = Lanes::new();
        let to_broker = lanes.sender();
        let room = self.room(plugin.name(), &engine_in, &to_broker)?;
        let broker = self.open(plugin, &room, &to_broker)?;
        let outbox = OutboxSignal::default();
        let ask_every = AskEvery {
            normally_ms: millis(self.config.execution.reconcile_interval),
            in_doubt_ms: millis(self.config.execution.unknown_poll),
        };
        let rows = Rows(journal.reader()?);
        let (mut engine, status) = Engine::new(
            journal,
            loaded,
            self.clock,
            ask_every,
            to_broker.clone(),
            outbox.clone(),
        );
        engine.start(self.settings())?;
        let exchange = Exchange::new(
            room,
            plugin.clone(),
            Arc::clone(&broker),
            to_broker.clone(),
            engine_in.clone(),
            status.clone(),
        );
        let lanes = lanes.run(
            broker,
            engine_in.clone(),
            self.clock,
            self.config.execution.call_deadline,
            broker::read::lacks_a_book(&plugin.manifest().capabilities),
        )?;
        let here = tokio::runtime::Handle::current();
        let engine = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || here.block_on(engine.run(inputs)))?;

        self.say_started();
        let (stop, stopped) = watch::channel(false);
        let gauge = Gauge::new(Arc::clone(&outbox.depth));
        let tasks = self.spawn_backend(&client, &engine_in, &gauge, &outbox, rows, &status, &stopped);
        let sync = tokio::spawn(crate::book_sync::run(
            self.config.clone(),
            crate::book_sync::SyncLinks {
                client: Arc::clone(&client),
                broker: to_broker.clone(),
                status: status.clone(),
                gauge: gauge.clone(),
                adapter: plugin.name().to_owned(),
                account_id: broker_account(self.config, plugin.name()),
                equity: EquityKeeper::open(&self.data_dir.join(crate::equity::FILE_NAME), &self.account_key),
            },
        ));
        let control = tokio::spawn(crate::control::serve(
            self.data_dir.to_owned(),
            engine_in.clone(),
            crate::control::BookLinks {
                broker: to_broker.clone(),
                adapter: plugin.name().to_owned(),
                deadline: self.config.execution.call_deadline,
            },
            Arc::new(exchange),
            move || Clock::system().now_ms(),
        ));
        let links = RoundLinks {
            status,
            gauge,
            broker: to_broker,
            asks: asks.clone(),
        };
        let round = once.then(|| tokio::spawn(end_after_one_round(links)));
        let cause = end.wait().await;
        if cause != ShutdownCause::Requested {
            info!(target: TRADER_LOOP, "stopping: what is in hand is finished, new signals stay with the backend");
        }
        stop.send_replace(true);
        for id in lanes.stop_orders() {
            let reason = "the host is being stopped".to_owned();
            engine_in
                .send(Input::Fact(Event::NotSent { id, reason }))
                .await
                .ok();
        }
        tasks.poller.await.ok();
        tasks.reporter.await.ok();
        tasks.ready.abort();
        sync.abort();
        control.abort();
        engine_in.send(Input::Stop).await.ok();
        drop(engine_in);
        tokio::task::spawn_blocking(move || engine.join().ok()).await.ok();
        lanes.close(CLOSE_GRACE).await;
        info!(target: TRADER_LOOP, "quantTrader stopped");
        round_result(round, cause).await
    }

    /// What the plugin of this host is opened with.
    fn room(&self, name: &str, engine: &Sender, to_broker: &broker::BrokerSender) -> Result<Room, AppError> {
        Ok(Room {
            config: self.config.clone(),
            data_dir: self.data_dir.to_owned(),
            account_id: broker_account(self.config, name),
            listener: Listener::new(engine.clone(), to_broker.clone(), self.clock),
            seat: Arc::new(Seat::new(&hosting::plugin_folder(self.data_dir, name)?)),
        })
    }

    fn open(
        &self,
        plugin: &plugin::KeptPlugin,
        room: &Room,
        to_broker: &broker::BrokerSender,
    ) -> Result<Arc<Supervisor>, AppError> {
        let name = plugin.name().to_owned();
        let opener = room.opener(plugin)?;
        let nudge = to_broker.clone();
        Supervisor::open(opener, hosting::waits(self.config, &name), move || nudge.look()).map_err(
            |failure| match failure {
                OpenFailure {
                    reason,
                    refused: true,
                } => AppError::Refused(reason),
                OpenFailure { reason, .. } => AppError::Open { name, reason },
            },
        )
    }

    fn settings(&self) -> Settings {
        let execution = &self.config.execution;
        Settings {
            account_key: self.account_key.clone(),
            securities_account_id: self.config.securities_account_id.clone(),
            buy_timeout_ms: millis(execution.buy_order_timeout),
            sell_timeout_ms: millis(execution.sell_order_timeout),
            cancel_grace_ms: millis(execution.cancel_retry_grace),
            cancel_interval_ms: millis(execution.cancel_retry_interval),
            max_in_flight: execution.max_in_flight,
            unknown_snapshots: execution.unknown_snapshots,
            unknown_settle_ms: millis(execution.unknown_settle),
            chase_bps: execution.chase_bps,
            max_slippage_bps: execution.max_slippage_bps,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Settings::default()
        }
    }

    fn say_started(&self) {
        if let Some(url) = &self.config.api_base_url {
            info!(target: TRADER_LOOP, "quantTrader started. API={url}");
        }
        if !self.config.journal.enabled {
            warn!("the journal is switched off: an order may be lost or placed twice after a crash");
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is a link that is handed over once"
    )]
    fn spawn_backend(
        &self,
        client: &Arc<Client>,
        engine: &Sender,
        gauge: &Gauge,
        outbox: &OutboxSignal,
        rows: Rows,
        status: &watch::Receiver<Status>,
        stopped: &watch::Receiver<bool>,
    ) -> Tasks {
        let (ready, is_ready) = watch::channel(false);
        let ready = tokio::spawn(tell_ready(status.clone(), ready));
        let poller = tokio::spawn(poller::run(
            PollSettings {
                limit: usize::try_from(self.config.execution.signals_limit).unwrap_or(500),
                interval: self.config.poll_interval,
                now: || UtcMillis(Clock::system().now_ms()),
            },
            PollLinks {
                client: Arc::clone(client),
                engine: engine.clone(),
                gauge: gauge.clone(),
                ready: is_ready,
                shutdown: stopped.clone(),
            },
        ));
        let reporter = tokio::spawn(reporter::run(
            ReportSettings {
                concurrency: usize::try_from(self.config.execution.report_concurrency).unwrap_or(16),
                grace: REPORT_GRACE,
            },
            ReportLinks {
                client: Arc::clone(client),
                engine: engine.clone(),
                gauge: gauge.clone(),
                source: Box::new(rows),
                new_rows: Arc::clone(&outbox.added),
                reload: Arc::clone(&outbox.reload),
                shutdown: stopped.clone(),
            },
        ));
        Tasks {
            poller,
            reporter,
            ready,
        }
    }
}

struct Tasks {
    poller: tokio::task::JoinHandle<()>,
    reporter: tokio::task::JoinHandle<()>,
    ready: tokio::task::JoinHandle<()>,
}

/// Signals are taken once the books were compared, and while intent can be made durable.
async fn tell_ready(mut status: watch::Receiver<Status>, ready: watch::Sender<bool>) {
    let mut compared = false;
    loop {
        let now = {
            let seen = status.borrow_and_update();
            compared |= seen.ready;
            compared && !seen.journal_failing
        };
        ready.send_if_modified(|was| std::mem::replace(was, now) != now);
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// What the end of one round depends on.
struct RoundLinks {
    status: watch::Receiver<Status>,
    gauge: Gauge,
    broker: broker::BrokerSender,
    asks: ShutdownSender,
}

impl RoundLinks {
    /// An answer with pending signals was taken, nothing is on its way and everything is reported.
    fn is_quiet(&self) -> bool {
        self.gauge.rounds() > 0 && self.status.borrow().on_their_way == 0 && self.gauge.depth() == 0
    }
}

/// What became of the round, if there was to be one; a signal that ended the process before it has nothing to say.
async fn round_result(
    round: Option<tokio::task::JoinHandle<Result<(), AppError>>>,
    cause: ShutdownCause,
) -> Result<(), AppError> {
    match round {
        Some(round) if cause == ShutdownCause::Requested => round.await.unwrap_or(Ok(())),
        Some(round) => {
            round.abort();
            Ok(())
        }
        None => Ok(()),
    }
}

/// Asks for the end once all is quiet and stayed so over a look at the broker's books, which show fills that are on
/// their way here; or once the backend does not answer, since waiting for it is not what one round means.
async fn end_after_one_round(links: RoundLinks) -> Result<(), AppError> {
    let mut quiet_at: Option<(u64, std::time::Instant)> = None;
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let result = if let Some(reason) = links.gauge.trouble() {
            let waiting = links.gauge.depth();
            Err(AppError::NoRound { reason, waiting })
        } else if links.is_quiet() {
            let compared = links.status.borrow().compared;
            let (before, since) = *quiet_at.get_or_insert((compared, Clock::system().monotonic()));
            // The first look may have been asked for before all was quiet.
            if compared < before + 2 && since.elapsed() < BOOKS_GRACE {
                links.broker.send(crate::engine::input::ToBroker::Ask);
                continue;
            }
            Ok(())
        } else {
            continue;
        };
        links.asks.request(ShutdownCause::Requested);
        return result;
    }
}

/// The journal's rows, as the reporter wants them.
struct Rows(WaitingRows);

impl OutboxSource for Rows {
    fn load(&mut self, after_id: i64, limit: usize) -> Result<Vec<OutboxRow>, String> {
        let items = (self.0)(after_id, limit).map_err(|e| e.to_string())?;
        Ok(items
            .into_iter()
            .map(|item| OutboxRow {
                id: item.id,
                order_key: item.order_id,
                report: item.report,
                override_body: item.edited,
                attempts: 0,
            })
            .collect())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
