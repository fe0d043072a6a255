//! One account at work: its plugin, journal and engine, its reports, its book, and the folder that commands come by.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use qt_core::{Event, SellBarrier, Settings, UtcMillis};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{Instrument, Span, error, info, warn};

use crate::alerts::Alerts;
use crate::app::AppError;
use crate::backend::client::Client;
use crate::backend::gauge::Gauge;
use crate::backend::poller::Route;
use crate::backend::reporter::{self, OutboxRow, OutboxSource, Page, ReportLinks, ReportSettings};
use crate::book_sync::GateFigures;
use crate::broker::link::OpenFailure;
use crate::broker::supervisor::{First, Supervisor};
use crate::broker::{self, BrokerSender, Lanes, Listener};
use crate::clock::Clock;
use crate::config::{Config, NatsBegin};
use crate::engine::input::{CAPACITY, Input, Sender};
use crate::engine::{AskEvery, Engine, OutboxSignal, Status};
use crate::equity::EquityKeeper;
use crate::exchange::Exchange;
use crate::gating;
use crate::hosting::{self, Room};
use crate::journal::{Backlog, BacklogReader, Journal, JournalError, Loaded, Store, Volatile, WaitingRows};
use crate::lease::Lease;
use crate::monitor::meters::Meters;
use crate::monitor::{Monitor, Watched};
use crate::plugin::{self, KeptPlugin};
use crate::round::RoundLinks;
use crate::system::{self, ShutdownSender};
use crate::telemetry;
use crate::tend::tended;

/// How long reports still go out at the end.
const REPORT_GRACE: Duration = Duration::from_millis(1500);
/// How often it is asked how long reports have waited.
const BACKLOG_EVERY: Duration = Duration::from_secs(5);
/// How long an engine may take to finish, which is a call under way and a commit: beyond that it hangs.
const ENGINE_GRACE: Duration = Duration::from_secs(10);
/// How long a plugin may take to close.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Where plugins are looked for.
pub(crate) fn search_plan(config: &Config, data_dir: &Path) -> plugin::SearchPlan {
    plugin::SearchPlan::new(&config.plugins, &config.plugin_dirs, data_dir).trusting(trust(config, data_dir))
}

/// Which plugins may be loaded.
pub(crate) fn trust(config: &Config, data_dir: &Path) -> plugin::TrustPolicy {
    let trust = &config.plugin_trust;
    plugin::TrustPolicy::new(
        trust.lock.as_deref(),
        data_dir,
        &trust.trusted_keys,
        trust.require_signature,
        config.securities_account_id.as_deref(),
    )
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

/// An account's place: its folder, which nobody else trades with, and its plugin, of which nothing has run.
pub(crate) struct Place {
    config: Config,
    clock: Clock,
    home: PathBuf,
    data_dir: PathBuf,
    plugin: KeptPlugin,
    account_key: String,
    _lease: Lease,
}

impl Place {
    /// Takes the place that a configuration means.
    ///
    /// # Errors
    ///
    /// The folder cannot be used or is another host's, or the plugin is not there, is refused, or does not take its
    /// block of the configuration.
    pub(crate) fn take(config: &Config, clock: Clock) -> Result<Self, AppError> {
        let (home, data_dir) = (config.home_dir()?, config.data_dir()?);
        system::create_private_dir(&data_dir)?;
        let lease = Lease::take(&data_dir, clock.now_ms())?;
        let wanted = config.names_broker.then_some(config.broker.as_str());
        let plugin = plugin::keep(&search_plan(config, &home), wanted, &home)?;
        info!(
            "Broker plugin: {} {} from {} (SHA-256 {})",
            plugin.name(),
            plugin.manifest().version,
            system::shown(plugin.path()),
            plugin.sha256()
        );
        // Before the journal is touched: a slip of the pen in the configuration changes nothing.
        hosting::block(config, &plugin)?;
        Ok(Self {
            config: config.clone(),
            clock,
            home,
            data_dir,
            account_key: account_key(config, plugin.name()),
            plugin,
            _lease: lease,
        })
    }

    /// Whether its broker moves no money, by its plugin's word.
    pub(crate) fn is_paper(&self) -> bool {
        gating::is_paper(self.plugin.manifest())
    }

    /// The name of its broker plugin.
    pub(crate) fn adapter(&self) -> &str {
        self.plugin.name()
    }

    /// Opens the journal, or memory where the configuration switches it off.
    ///
    /// # Errors
    ///
    /// The journal cannot be used, or is not this account's.
    pub(crate) fn open(self) -> Result<Opened, AppError> {
        let (mut journal, loaded) = self.journal()?;
        if loaded.seq > 0 {
            let open = loaded.trader.live_orders().count();
            info!(
                "the journal holds {open} open orders; {} facts were replayed and give the state that was",
                loaded.replayed
            );
        }
        if let Some(behind_ms) = self.clock.go_on_from(loaded.trader.now().0) {
            warn!(
                "the clock is {} s behind the last moment in the journal; times go on from that moment. If the clock was \
                 wrong then by a day or more, start with a new `data_dir` once no order is open",
                behind_ms / 1000
            );
        }
        if !self.config.journal.enabled {
            warn!("the journal is switched off: an order may be lost or placed twice after a crash");
        }
        let began = journal.began(UtcMillis(self.clock.now_ms()))?;
        let (engine_in, inputs) = mpsc::channel(CAPACITY);
        let (ready, is_ready) = watch::channel(false);
        let outbox = OutboxSignal::default();
        Ok(Opened {
            gauge: Gauge::new(Arc::clone(&outbox.depth))
                .with_meters(Meters::new(&self.config.account_label())),
            place: self,
            began,
            journal,
            loaded,
            engine_in,
            inputs,
            ready,
            is_ready,
            outbox,
        })
    }

    fn journal(&self) -> Result<(Store, Loaded), JournalError> {
        if self.config.journal.enabled {
            let path = self.data_dir.join(crate::journal::FILE_NAME);
            let (journal, loaded) = Journal::open(&path, Some(&self.account_key))?;
            Ok((journal.into(), loaded))
        } else {
            Ok((Store::Volatile(Volatile::default()), Loaded::default()))
        }
    }
}

/// What all accounts of a host share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// The backend.
    pub(crate) client: Arc<Client>,
    /// True once the host ends.
    pub(crate) stopped: watch::Receiver<bool>,
    /// Asks for the end of the host.
    pub(crate) asks: ShutdownSender,
    /// What a broker that does not open means.
    pub(crate) first: First,
    /// Who looks on.
    pub(crate) monitor: Monitor,
    /// Where people are told what they must know at once.
    pub(crate) alerts: Alerts,
    /// Told of each engine that ended by a fault of its own.
    pub(crate) deaths: mpsc::UnboundedSender<()>,
}

/// An account whose journal is open, and whose broker is not yet.
pub(crate) struct Opened {
    place: Place,
    /// When its journal was made.
    began: UtcMillis,
    journal: Store,
    loaded: Loaded,
    engine_in: Sender,
    inputs: mpsc::Receiver<Input>,
    ready: watch::Sender<bool>,
    is_ready: watch::Receiver<bool>,
    outbox: OutboxSignal,
    gauge: Gauge,
}

impl Opened {
    /// How its signals come to it.
    pub(crate) fn route(&self) -> Route {
        Route {
            account: self.place.config.securities_account_id.clone(),
            engine: self.engine_in.clone(),
            gauge: self.gauge.clone(),
            ready: self.is_ready.clone(),
            hard_barrier: self.place.config.gates.sell_barrier == SellBarrier::Hard,
            began: (self.place.config.nats.as_ref())
                .is_none_or(|nats| nats.begin == NatsBegin::New)
                .then_some(self.began),
        }
    }

    /// Opens the broker and begins to trade. It blocks while the plugin opens, and needs the runtime's context.
    ///
    /// # Errors
    ///
    /// The broker cannot be opened, the journal not written, or the system gives no thread.
    pub(crate) fn start(self, shared: &Shared) -> Result<Desk, AppError> {
        let place = &self.place;
        let config = &place.config;
        let lanes = Lanes::new(self.gauge.meters().clone());
        let to_broker = lanes.sender();
        let room = place.room(&self.engine_in, &to_broker, self.gauge.meters());
        let broker = place.open_broker(&room, &to_broker, shared.first)?;
        let ask_every = AskEvery {
            normally_ms: millis(config.execution.reconcile_interval),
            in_doubt_ms: millis(config.execution.unknown_poll),
        };
        let rows = Rows(Arc::new(Mutex::new(self.journal.reader()?)));
        let backlog = BacklogRows(Arc::new(Mutex::new(self.journal.backlog_reader()?)));
        let (mut engine, status) = Engine::new(
            self.journal,
            self.loaded,
            place.clock,
            ask_every,
            to_broker.clone(),
            self.outbox.clone(),
        );
        engine.set_meters(self.gauge.meters().clone());
        let is_paper = gating::is_paper(place.plugin.manifest());
        let settings = gating::set(place.settings(), config, is_paper).map_err(AppError::Setting)?;
        let gates = GateFigures::of(&settings, &self.engine_in);
        gating::warn_of_calendar(&settings, place.clock);
        let sessions = gating::Sessions::of(&settings);
        engine.start(settings)?;
        let exchange = Exchange::new(
            room,
            place.plugin.clone(),
            Arc::clone(&broker),
            to_broker.clone(),
            self.engine_in.clone(),
            status.clone(),
        );
        let watched = Watched {
            meters: self.gauge.meters().clone(),
            gauge: self.gauge.clone(),
            status: status.clone(),
            seen: broker.seen(),
            plugin: (
                place.plugin.name().to_owned(),
                place.plugin.manifest().version.clone(),
            ),
            journal: config
                .journal
                .enabled
                .then(|| place.data_dir.join(crate::journal::FILE_NAME)),
            sessions,
            late_after: config.alerts.reports_late_after,
        };
        let lanes = lanes.run(
            broker,
            self.engine_in.clone(),
            place.clock,
            config.execution.call_deadline,
            broker::read::lacks_a_book(&place.plugin.manifest().capabilities),
        )?;
        let here = tokio::runtime::Handle::current();
        let inputs = self.inputs;
        let (alive, ended) = watch::channel(());
        let engine = telemetry::thread("engine", move || {
            let _alive = alive;
            here.block_on(engine.run(inputs));
        })?;
        let mourning = spawn(say_if_dead(ended.clone(), shared.clone()));
        shared.monitor.watch(watched);
        let ready = spawn(tell_ready(status.clone(), self.ready));
        let looks = spawn(look_at_backlog(backlog.clone(), self.gauge.clone()));
        let outbox = Outgoing {
            signal: self.outbox,
            rows,
            backlog,
        };
        let reporter = spawn(place.report(shared, &self.engine_in, &self.gauge, outbox));
        let sync = spawn(place.sync(shared, &to_broker, &status, &self.gauge, gates));
        let control = spawn(place.take_commands(shared, &self.engine_in, &to_broker, exchange));
        Ok(Desk {
            round: Some(RoundLinks {
                status,
                gauge: self.gauge,
                broker: to_broker,
            }),
            engine_in: self.engine_in,
            lanes,
            engine,
            engine_ended: ended,
            reporter,
            beside: [ready, sync, control, mourning, looks],
            span: Span::current(),
            _place: self.place,
        })
    }
}

impl Place {
    /// What the plugin is opened with.
    fn room(&self, engine: &Sender, to_broker: &BrokerSender, meters: &Meters) -> Room {
        let name = self.plugin.name();
        Room {
            config: self.config.clone(),
            home: self.home.clone(),
            data_dir: self.data_dir.clone(),
            account_id: broker_account(&self.config, name),
            listener: Listener::new(engine.clone(), to_broker.clone(), self.clock, meters.clone()),
        }
    }

    fn open_broker(
        &self,
        room: &Room,
        to_broker: &BrokerSender,
        first: First,
    ) -> Result<Arc<Supervisor>, AppError> {
        let name = self.plugin.name().to_owned();
        let opener = room.opener(&self.plugin)?;
        let nudge = to_broker.clone();
        let waits = hosting::waits(&self.config, &name);
        Supervisor::open(opener, waits, first, move || nudge.look()).map_err(|failure| match failure {
            OpenFailure {
                reason,
                refused: true,
                ..
            } => AppError::Refused(reason),
            OpenFailure { reason, .. } => AppError::Open { name, reason },
        })
    }

    fn settings(&self) -> Settings {
        crate::gating::of_execution(&self.config, self.account_key.clone())
    }

    /// Posts the reports until the host ends.
    fn report(
        &self,
        shared: &Shared,
        engine: &Sender,
        gauge: &Gauge,
        outbox: Outgoing,
    ) -> impl Future<Output = ()> + Send + 'static {
        let concurrency = self.config.execution.report_concurrency;
        let settings = ReportSettings {
            concurrency: usize::try_from(concurrency).unwrap_or(16),
            grace: REPORT_GRACE,
            ..ReportSettings::default()
        };
        let (client, shutdown) = (Arc::clone(&shared.client), shared.stopped.clone());
        let (engine, gauge) = (engine.clone(), gauge.clone());
        let mut is_anew = false;
        // One that begins anew reads every row that is not acknowledged, and posts it with the same key.
        let report = move || {
            let links = ReportLinks {
                client: Arc::clone(&client),
                engine: engine.clone(),
                gauge: gauge.clone(),
                source: Box::new(outbox.rows.clone()),
                new_rows: Arc::clone(&outbox.signal.added),
                reload: Arc::clone(&outbox.signal.reload),
                shutdown: shutdown.clone(),
            };
            // What the one before delivered and did not tell is counted off a second time.
            let recount =
                std::mem::replace(&mut is_anew, true).then(|| (outbox.backlog.clone(), gauge.clone()));
            async move {
                if let Some((backlog, gauge)) = recount
                    && let Some(Ok(found)) = backlog.read().await
                {
                    gauge.set_depth(found.waiting);
                }
                reporter::run(settings, links).await;
            }
        };
        tended("reporter", shared.stopped.clone(), report, |_| {})
    }

    /// Takes commands from the account's folder.
    fn take_commands(
        &self,
        shared: &Shared,
        engine: &Sender,
        broker: &BrokerSender,
        exchange: Exchange,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (folder, engine, asks) = (self.data_dir.clone(), engine.clone(), shared.asks.clone());
        let (broker, adapter) = (broker.clone(), self.plugin.name().to_owned());
        let (deadline, exchange) = (self.config.execution.call_deadline, Arc::new(exchange));
        let serve = move || {
            crate::control::serve(
                folder.clone(),
                engine.clone(),
                crate::control::BookLinks {
                    broker: broker.clone(),
                    adapter: adapter.clone(),
                    deadline,
                },
                Arc::clone(&exchange),
                asks.clone(),
                // A halt counts however far the clock was set back.
                || Clock::system().wall_ms(),
            )
        };
        tended("taker of commands", shared.stopped.clone(), serve, |_| {})
    }

    /// Keeps the backend's picture of the account fresh.
    fn sync(
        &self,
        shared: &Shared,
        broker: &BrokerSender,
        status: &watch::Receiver<Status>,
        gauge: &Gauge,
        gates: Option<GateFigures>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let adapter = self.plugin.name().to_owned();
        let (config, account_key) = (self.config.clone(), self.account_key.clone());
        let equity = self.data_dir.join(crate::equity::FILE_NAME);
        let (client, broker) = (Arc::clone(&shared.client), broker.clone());
        let (status, gauge) = (status.clone(), gauge.clone());
        let sync = move || {
            crate::book_sync::run(
                config.clone(),
                crate::book_sync::SyncLinks {
                    client: Arc::clone(&client),
                    broker: broker.clone(),
                    status: status.clone(),
                    gauge: gauge.clone(),
                    adapter: adapter.clone(),
                    account_id: broker_account(&config, &adapter),
                    gates: gates.clone(),
                    equity: EquityKeeper::open(&equity, &account_key),
                },
            )
        };
        tended("keeper of the book", shared.stopped.clone(), sync, |_| {})
    }
}

/// An account that trades.
pub(crate) struct Desk {
    round: Option<RoundLinks>,
    engine_in: Sender,
    lanes: broker::Running,
    engine: std::thread::JoinHandle<()>,
    /// Closed once the engine has ended, however it did.
    engine_ended: watch::Receiver<()>,
    reporter: JoinHandle<()>,
    /// Tasks that may be broken off at any moment.
    beside: [JoinHandle<()>; 5],
    span: Span,
    /// Given back last.
    _place: Place,
}

impl Desk {
    /// What the end of one round depends on; to be taken once.
    pub(crate) fn take_round(&mut self) -> Option<RoundLinks> {
        self.round.take()
    }

    /// Sends nothing more: orders that have not reached the plugin are given back.
    pub(crate) async fn stop_orders(&self) {
        for id in self.lanes.stop_orders() {
            let reason = "the host is being stopped".to_owned();
            self.engine_in
                .send(Input::Fact(Event::NotSent { id, reason }))
                .await
                .ok();
        }
    }

    /// Finishes what is in hand and closes the plugin, once no more signals come.
    pub(crate) async fn end(self) {
        let span = self.span.clone();
        self.end_within().instrument(span).await;
    }

    async fn end_within(mut self) {
        // What an engine that hangs is told fills its queue, and whoever tells it waits.
        let finishes = async {
            (&mut self.reporter).await.ok();
            self.beside.iter().for_each(JoinHandle::abort);
            self.engine_in.send(Input::Stop).await.ok();
            drop(self.engine_in);
            drop(self.round);
            self.engine_ended.changed().await.ok();
        };
        if timeout(REPORT_GRACE * 2 + ENGINE_GRACE, finishes).await.is_ok() {
            self.engine.join().ok();
        } else {
            self.reporter.abort();
            self.beside.iter().for_each(JoinHandle::abort);
            error!(
                critical = true,
                "the engine hangs and has not finished within {} s: the host ends without it, and the next start finds every \
                 order in the journal; please report this with the log",
                (REPORT_GRACE * 2 + ENGINE_GRACE).as_secs()
            );
        }
        self.lanes.close(CLOSE_GRACE).await;
    }
}

/// Starts a task whose lines are about what those of the starting one are about.
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task.in_current_span())
}

/// An engine that ends before it is asked to has panicked: nothing moves for its account any more.
async fn say_if_dead(mut ended: watch::Receiver<()>, shared: Shared) {
    // Nothing is ever sent: what ends the wait is the end of the engine's thread.
    ended.changed().await.ok();
    if !*shared.stopped.borrow() {
        shared.deaths.send(()).ok();
        error!(
            critical = true,
            "the engine has ended by a fault of its own: nothing is sent, cancelled or reported for this account until \
             qt-host is started again, which finds every order in the journal"
        );
    }
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

/// What the reporter reads, and how it learns of more.
struct Outgoing {
    signal: OutboxSignal,
    rows: Rows,
    backlog: BacklogRows,
}

/// How much waits to be posted.
#[derive(Clone)]
struct BacklogRows(Arc<Mutex<BacklogReader>>);

impl BacklogRows {
    /// Nothing where the reading thread panicked.
    async fn read(&self) -> Option<Result<Backlog, JournalError>> {
        let read = Arc::clone(&self.0);
        let reading = tokio::task::spawn_blocking(move || {
            // A reader that panicked has nothing that could be half done.
            let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
            read()
        });
        reading.await.ok()
    }
}

/// Sees how long the oldest report has waited, whatever it waits for.
async fn look_at_backlog(backlog: BacklogRows, gauge: Gauge) {
    loop {
        match backlog.read().await {
            Some(Ok(found)) => gauge.set_report_waits_since(found.oldest_ms.map(|made_ms| {
                let ms = u64::try_from(Clock::system().now_ms().saturating_sub(made_ms)).unwrap_or(0);
                let now = Instant::now();
                crate::clock::longest_before(now, Duration::from_millis(ms))
            })),
            Some(Err(_)) | None => gauge.reports_are_unknown(Instant::now()),
        }
        tokio::time::sleep(BACKLOG_EVERY).await;
    }
}

/// The journal's rows, as the reporter wants them.
#[derive(Clone)]
struct Rows(Arc<Mutex<WaitingRows>>);

impl OutboxSource for Rows {
    fn load(&mut self, after_id: i64, limit: usize) -> Result<Page, String> {
        // A reader that panicked has nothing that could be half done.
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = read(after_id, limit).map_err(|e| e.to_string())?;
        let rows = waiting.items.into_iter().map(|item| OutboxRow {
            id: item.id,
            order_key: item.order_id,
            report: item.report,
            override_body: item.edited,
            attempts: 0,
        });
        Ok(Page {
            rows: rows.collect(),
            damaged: waiting.damaged,
        })
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
