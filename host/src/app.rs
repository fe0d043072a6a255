//! Puts the rooms together and takes them down again.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use qt_core::UtcMillis;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{Span, error, info, warn};

use crate::alerts;
use crate::backend::client::{Client, ClientSettings, SetupError, Token};
use crate::backend::keeper::{self, KeeperLinks};
use crate::backend::nats::Nats;
use crate::backend::poller::{self, PollLinks, PollSettings, Route};
use crate::broker::supervisor::First;
use crate::clock::Clock;
use crate::config::{ApiBaseUrl, Config, SignalsStream};
use crate::desk::{Desk, Opened, Place, Shared};
use crate::down::Down;
use crate::journal::JournalError;
use crate::kept::Kept;
use crate::layout;
use crate::lease::{self, Lease, LeaseError};
use crate::monitor::{self, Monitor};
use crate::patience::{self, Pulse};
use crate::plugin::PluginError;
use crate::round;
use crate::secrets::{self, NoToken};
use crate::system::notify::{self, Stand};
use crate::system::{self, ShutdownCause, ShutdownReceiver, ShutdownSender};
use crate::telemetry::{self, TRADER_LOOP};
use crate::tend::tended;

/// Between two questions to NATS.
const NATS_PAUSE: Duration = Duration::from_millis(5);

/// How often the system's keeper is told how it stands, at least.
const KEEPER_LOOK: Duration = Duration::from_secs(5);

/// How long an account that is still starting may take to do so, before the host ends without it.
const START_GRACE: Duration = Duration::from_secs(2);

/// How long people may be told that nothing trades any more, before the host ends.
const LAST_ALERTS: Duration = Duration::from_secs(5);

/// Why trading did not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// What may be otherwise at the next start, which the system's keeper is to make.
    #[error("{0}")]
    NotNow(String),
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
    /// One account of several.
    #[error("account {account}: {source}")]
    OfAccount {
        /// The account.
        account: String,
        /// What is the matter with it.
        source: Box<AppError>,
    },
    /// Code of ours panicked.
    #[error("it panicked while it started ({0}); please report this with the log")]
    Panicked(String),
    /// Nothing trades any more.
    #[error(
        "every engine has ended by a fault of its own, and nothing is sent, cancelled or watched any more: start qt-host again, which \
         finds every order in the journal, and please report this with the log"
    )]
    EnginesEnded,
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
    /// The one round that was asked for was made, and something was left with whoever publishes signals.
    #[error(
        "the round was made, and not all of it was taken: {reason}; the next start takes what can be taken then"
    )]
    LeftBehind {
        /// What was left, and why.
        reason: String,
    },
    /// The system gives no thread or no runtime.
    #[error("the system gives no thread to run on: {0}")]
    Threads(#[from] std::io::Error),
}

impl AppError {
    /// Names the account where there are several.
    fn of(self, config: &Config) -> Self {
        if !config.is_one_of_several() {
            return self;
        }
        Self::OfAccount {
            account: config.account_label(),
            source: Box::new(self),
        }
    }

    /// Whether a person has to mend the configuration, which is one for all accounts.
    fn is_a_setting(&self) -> bool {
        matches!(self, Self::Journal(JournalError::OtherAccount { .. }))
    }
}

/// How it is started.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// For one round.
    pub(crate) once: bool,
    /// By what starts it again when it has ended, and does nothing else for it.
    pub(crate) kept: Option<Kept>,
}

/// Trades until a signal asks for the end, or for one round.
///
/// # Errors
///
/// [`AppError`]. Where one of several accounts could not be traded, its error comes when the others have ended.
pub(crate) fn run(
    config: &Config,
    way: Way,
    asks: &ShutdownSender,
    end: ShutdownReceiver,
) -> Result<(), AppError> {
    monitor::started(Clock::system().wall_ms());
    let has_started = Arc::new(AtomicBool::new(false));
    let result = run_until(config, &way, asks, end, &has_started);
    if let Err(why) = &result
        && !has_started.load(Ordering::Relaxed)
        && !way.once
        // Who starts it by hand reads it. A task of Windows has a window, and nobody before it.
        && (way.kept.is_some() || !std::io::stderr().is_terminal())
        && !is_traded_by_another(config, why)
        && let Ok(home) = config.home_dir()
    {
        alerts::tell_of_failed_start(&config.alerts, home, &why.to_string());
    }
    result
}

/// Another host has the place of this one, or of each of its accounts: then nothing has stopped. It may fail sooner than at
/// that: at the port for metrics, which the other one has, too.
fn is_traded_by_another(config: &Config, why: &AppError) -> bool {
    if matches!(why, AppError::Lease(LeaseError::Held { .. })) {
        return true;
    }
    let is_held = |folder: Result<_, _>| {
        folder.is_ok_and(|folder: std::path::PathBuf| lease::is_held_by_another(&folder))
    };
    is_held(config.home_dir())
        || config
            .each_account()
            .is_ok_and(|each| each.iter().all(|account| is_held(account.data_dir())))
}

fn run_until(
    config: &Config,
    way: &Way,
    asks: &ShutdownSender,
    end: ShutdownReceiver,
    has_started: &Arc<AtomicBool>,
) -> Result<(), AppError> {
    let once = way.once;
    // Before anybody replaces the file: a worker must be the program that the host is.
    system::own_executable()?;
    // One that is taken is known before anything is touched.
    let metrics = config
        .metrics
        .map(monitor::http::bind)
        .transpose()
        .map_err(AppError::NotNow)?;
    let (stop, stopped) = watch::channel(false);
    let (alerts, alerting) = alerts::start(&config.alerts, &stopped).map_err(AppError::Setting)?;
    let each = config.each_account()?;
    layout::check(config, &each)?;
    let _lease = lease_of_all(config, &each)?;
    let places = take(&each)?;
    let (client, token) = client(config, &places)?;
    let (opened, down) = open(&each, places)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    if let Some((source, can_log_in)) = token {
        let (client, shutdown) = (Arc::clone(&client), stopped.clone());
        let keep = move || {
            keeper::run(KeeperLinks {
                client: Arc::clone(&client),
                source: source.clone(),
                can_log_in,
                shutdown: shutdown.clone(),
                now_ms: || Clock::system().now_ms(),
            })
        };
        runtime.spawn(tended("keeper of the token", stopped.clone(), keep, |_| {}));
    }
    if let Some(credentials) = client.nats_credentials() {
        let (credentials, shutdown) = (Arc::clone(credentials), stopped.clone());
        let watch = move || Arc::clone(&credentials).watch(shutdown.clone(), || Clock::system().now_ms());
        runtime.spawn(tended(
            "watch over the credentials",
            stopped.clone(),
            watch,
            |_| {},
        ));
    }
    let several = each.iter().any(Config::is_one_of_several);
    let (deaths, died) = mpsc::unbounded_channel();
    let house = House {
        config,
        shared: Shared {
            client,
            stopped,
            asks: asks.clone(),
            first: match (once, several) {
                (true, _) => First::MustOpen,
                (false, true) => First::MayFail,
                (false, false) => First::MayWait,
            },
            monitor: Monitor::new(config.home_dir()?),
            alerts,
            deaths,
        },
        metrics,
        stop,
        desks: Vec::new(),
        down,
        has_started: Arc::clone(has_started),
        pulse: Pulse::default(),
        kept: way.kept.clone(),
    };
    // A keeper that wants to hear that the host lives ends it by itself.
    if way.kept.is_some() && notify::watchdog().is_none() {
        patience::watch(house.shared.monitor.clone(), house.pulse.clone())?;
    }
    if let Some(alerting) = alerting {
        runtime.spawn(alerting);
    }
    let result = runtime.block_on(house.trade(opened, once.then_some(asks), end, died));
    // A plugin's thread that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

/// Where the backend's token comes from, and whether another one can be had without a person.
type TokenSource = (secrets::Source, bool);

/// The way to the backend; and where its token comes from, where it wants one, with whether another one can be had without
/// a person.
fn client(config: &Config, places: &[Place]) -> Result<(Arc<Client>, Option<TokenSource>), AppError> {
    if let Some(nats) = &config.nats {
        check_nats(config, nats, places)?;
        let nats = Nats::new(nats, config.ca_certificate.as_deref()).map_err(AppError::Setting)?;
        return Ok((Arc::new(Client::over_nats(config, nats)?), None));
    }
    let (url, token) = config.backend().map_err(|e| AppError::Setting(e.to_string()))?;
    check_exposure(config, url, places)?;
    let (source, found) = secrets::open(config, url.as_str(), token).map_err(|e| match e {
        NoToken::Wrong(why) => AppError::Setting(why),
        NoToken::NotNow(_) => AppError::NotNow(e.to_string()),
    })?;
    let client = Client::new(&ClientSettings {
        token: Some(Token::new(found.token.expose())?),
        remedy: source.remedy(),
        ..ClientSettings::of(config, url.as_str())?
    })?;
    Ok((Arc::new(client), Some((source, found.can_log_in))))
}

/// As [`check_exposure`], for servers of NATS that are spoken to without TLS.
fn check_nats(config: &Config, nats: &crate::config::Nats, places: &[Place]) -> Result<(), AppError> {
    let is_live = places.iter().any(|place| !place.is_paper());
    if !nats.is_exposed() || !is_live || config.allow_insecure_http {
        return Ok(());
    }
    Err(AppError::Setting(format!(
        "`nats.url` is {}: without TLS everybody on the way can change signals, and a broker here moves money. Give a tls:// \
         address, or say \"allow_insecure_http\": true where the way is safe otherwise",
        nats.url
    )))
}

/// Plain HTTP with another machine shows the token and the orders to everybody on the way, who may change them, too.
fn check_exposure(config: &Config, url: &ApiBaseUrl, places: &[Place]) -> Result<(), AppError> {
    if !url.is_exposed() {
        return Ok(());
    }
    let live = places.iter().find(|place| !place.is_paper());
    if let Some(place) = live.filter(|_| !config.allow_insecure_http) {
        return Err(AppError::Setting(format!(
            "`api_base_url` is {url}: over plain HTTP everybody on the way can read the token and change signals, and the \
             broker `{}` moves money. Give an https:// address (`ca_certificate` names the certificate of an authority of \
             your own), or say \"allow_insecure_http\": true where the way is safe otherwise",
            place.adapter()
        )));
    }
    warn!(
        "the way to the backend at {url} is plain HTTP: everybody on it can read the token and change signals; give an \
         https:// address"
    );
    Ok(())
}

/// Where there are several accounts, the host has a place of its own besides those that they have.
fn lease_of_all(config: &Config, each: &[Config]) -> Result<Option<Lease>, AppError> {
    if !each.iter().any(Config::is_one_of_several) {
        return Ok(None);
    }
    let home = config.home_dir()?;
    system::create_private_dir(&home)?;
    Ok(Some(Lease::take(&home, Clock::system().now_ms())?))
}

/// An account whose journal is open, with its configuration.
type Ready = (Config, Opened);

/// Takes every account's place. A wrong setting or plugin of one is for a person to mend before anything starts.
fn take(each: &[Config]) -> Result<Vec<Place>, AppError> {
    let clock = Clock::system();
    let taken = each.iter().map(|config| {
        let place = about(config).in_scope(|| Place::take(config, clock));
        place.map_err(|e| e.of(config))
    });
    taken.collect()
}

/// Opens the journals. One that is unsafe keeps its own account from trading, and no other.
fn open(each: &[Config], places: Vec<Place>) -> Result<(Vec<Ready>, Vec<Down>), AppError> {
    let (mut opened, mut down) = (Vec::new(), Vec::new());
    for (config, place) in each.iter().zip(places) {
        match about(config).in_scope(|| place.open()) {
            Ok(account) => opened.push((config.clone(), account)),
            Err(e) if !config.is_one_of_several() || e.is_a_setting() => return Err(e.of(config)),
            Err(e) => down.push(Down::new(config, e.of(config))),
        }
    }
    match down.pop() {
        Some(last) if opened.is_empty() => Err(last.into_error()),
        last => {
            down.extend(last);
            Ok((opened, down))
        }
    }
}

/// What is said of one of several accounts says so.
fn about(config: &Config) -> Span {
    if config.is_one_of_several() {
        telemetry::of_account(&config.account_label())
    } else {
        Span::none()
    }
}

/// Everything at work.
struct House<'a> {
    config: &'a Config,
    shared: Shared,
    metrics: Option<std::net::TcpListener>,
    stop: watch::Sender<bool>,
    desks: Vec<Desk>,
    down: Vec<Down>,
    /// Some account trades, or did.
    has_started: Arc<AtomicBool>,
    /// Beats with each round of the keeper's.
    pulse: Pulse,
    kept: Option<Kept>,
}

impl House<'_> {
    async fn trade(
        mut self,
        opened: Vec<Ready>,
        once: Option<&ShutdownSender>,
        mut end: ShutdownReceiver,
        mut died: mpsc::UnboundedReceiver<()>,
    ) -> Result<(), AppError> {
        let mut routes: Vec<Route> = opened.iter().map(|(_, account)| account.route()).collect();
        routes.extend(self.down.iter().map(Down::route));
        let poller = tokio::spawn(self.poll(once.is_some(), routes));
        let mut beside: Vec<JoinHandle<()>> = Vec::new();
        beside.push(tokio::spawn(tell_keeper(
            self.shared.monitor.clone(),
            self.pulse.clone(),
        )));
        if let Some(listener) = self.metrics.take() {
            beside.push(tokio::spawn(monitor::http::serve(
                listener,
                self.shared.monitor.clone(),
            )));
        }
        if self.config.alerts.tell_somebody() {
            beside.push(tokio::spawn(self.watch()));
        }
        for down in &self.down {
            self.shared.monitor.is_down(down.label(), down.reason());
        }
        beside.extend(
            self.down
                .iter()
                .map(|down| tokio::spawn(down.remind(&self.shared))),
        );
        let mut starting: FuturesUnordered<_> = opened
            .into_iter()
            .map(|account| start(account, self.shared.clone()))
            .collect();
        let (mut round, mut dead) = (None, 0);
        let cause = loop {
            tokio::select! {
                Some((config, started)) = starting.next() => match started {
                    Ok(desk) => {
                        if self.desks.is_empty() {
                            self.say_started();
                        }
                        self.desks.push(desk);
                    }
                    // Nothing else trades, and nothing else will.
                    Err(e) if self.desks.is_empty() && starting.is_empty() => return Err(e),
                    Err(e) => {
                        let down = Down::new(&config, e);
                        self.shared.monitor.is_down(down.label(), down.reason());
                        beside.push(tokio::spawn(down.remind(&self.shared)));
                        self.down.push(down);
                    }
                },
                Some(()) = died.recv() => dead += 1,
                cause = end.wait() => break Some(cause),
            }
            // Whatever keeps the host alive starts it again. While another account trades, that goes on.
            if dead > 0 && dead == self.desks.len() && starting.is_empty() {
                break None;
            }
            if let Some(asks) = once.filter(|_| starting.is_empty() && round.is_none()) {
                let links = self.desks.iter_mut().filter_map(Desk::take_round).collect();
                round = Some(tokio::spawn(round::end_after_one(links, asks.clone())));
            }
        };
        if cause.is_none() {
            self.mourn(&mut end).await;
        } else if cause != Some(ShutdownCause::Requested) {
            info!(target: TRADER_LOOP, "stopping: what is in hand is finished, new signals stay with the backend");
        }
        let kept = self.kept.take();
        let kept = kept.map(|kept| (kept.start_to_stay_ended(end.cause()), kept));
        notify::tell(Stand::Stopping);
        self.stop.send_replace(true);
        // One that is just opening has an engine in a moment, which may have been handed signals: it ends as the others do.
        while let Ok(Some((_, started))) = timeout(START_GRACE, starting.next()).await {
            self.desks.extend(started);
        }
        // The queue of an engine that hangs may be full.
        let stopping = join_all(self.desks.iter().map(Desk::stop_orders));
        timeout(START_GRACE, stopping).await.ok();
        poller.await.ok();
        beside.iter().for_each(JoinHandle::abort);
        if let Some((told, kept)) = kept {
            kept.wait(told).await;
        }
        join_all(self.desks.into_iter().map(Desk::end)).await;
        info!(target: TRADER_LOOP, "quantTrader stopped");
        let Some(cause) = cause else {
            return Err(AppError::EnginesEnded);
        };
        round::result(round, cause).await?;
        self.down
            .into_iter()
            .next()
            .map_or(Ok(()), |down| Err(down.into_error()))
    }

    fn say_started(&self) {
        self.has_started.store(true, Ordering::Relaxed);
        if let Some(nats) = &self.config.nats {
            info!(target: TRADER_LOOP, "quantTrader started. NATS={}", nats.url);
        } else if let Some(url) = &self.config.api_base_url {
            info!(target: TRADER_LOOP, "quantTrader started. API={url}");
        }
        notify::tell(Stand::Ready);
    }

    /// Says that nothing trades any more, and waits until people were told.
    async fn mourn(&self, end: &mut ShutdownReceiver) {
        error!(target: TRADER_LOOP, critical = true, "{}", AppError::EnginesEnded);
        if self.config.alerts.tell_somebody() {
            timeout(LAST_ALERTS, end.wait()).await.ok();
        }
    }

    /// Looks for what people must be told, until the host ends.
    fn watch(&self) -> impl Future<Output = ()> + Send + 'static {
        let (settings, monitor) = (self.config.alerts.clone(), self.shared.monitor.clone());
        let (client, alerts) = (Arc::clone(&self.shared.client), self.shared.alerts.clone());
        let has_started = Arc::clone(&self.has_started);
        let watch = move || {
            alerts::watch(
                settings.clone(),
                monitor.clone(),
                Arc::clone(&client),
                alerts.clone(),
                Arc::clone(&has_started),
            )
        };
        tended("watch for alerts", self.shared.stopped.clone(), watch, |_| {})
    }

    fn poll_settings(&self, once: bool) -> PollSettings {
        PollSettings {
            limit: usize::try_from(self.config.execution.signals_limit).unwrap_or(500),
            // A server of NATS is asked and waits until there is something.
            interval: if self.config.nats.is_some() {
                NATS_PAUSE
            } else {
                self.config.poll_interval
            },
            now: || UtcMillis(Clock::system().now_ms()),
            // One round is one answer.
            stream: if once || self.config.nats.is_some() {
                SignalsStream::Off
            } else {
                self.config.signals_stream
            },
        }
    }

    /// Polls until the host ends, or until no account is left.
    fn poll(&self, once: bool, routes: Vec<Route>) -> impl Future<Output = ()> + Send + 'static {
        let settings = self.poll_settings(once);
        let (client, shutdown) = (Arc::clone(&self.shared.client), self.shared.stopped.clone());
        let gauges: Vec<_> = routes.iter().map(|route| route.gauge.clone()).collect();
        let poll = move || {
            let links = PollLinks {
                client: Arc::clone(&client),
                routes: routes.clone(),
                shutdown: shutdown.clone(),
            };
            poller::run(settings.clone(), links)
        };
        tended("poller", self.shared.stopped.clone(), poll, move |why| {
            gauges.iter().for_each(|gauge| gauge.set_trouble(why.clone()));
        })
    }
}

/// Tells the system's keeper that the host lives, as long as it does: one whose engine hangs says nothing, and is started
/// again; every order stands in the journal.
async fn tell_keeper(monitor: Monitor, pulse: Pulse) {
    let every = notify::watchdog().map_or(KEEPER_LOOK, |within| (within / 3).min(KEEPER_LOOK));
    let mut said = String::new();
    loop {
        pulse.beat();
        let health = monitor.health(Clock::system().monotonic());
        if health.ill.is_empty() {
            notify::tell(Stand::Alive);
        }
        let status = match health.ill.first().or_else(|| health.not_ready.first()) {
            None => match health.late.first() {
                None => "orders go".to_owned(),
                Some(reason) => format!("orders go, and {reason}"),
            },
            Some(reason) => format!("no orders go: {reason}"),
        };
        let status = status.replace(char::is_control, " ");
        if status != said {
            notify::tell(Stand::Status(&status));
            said = status;
        }
        tokio::time::sleep(every).await;
    }
}

/// Starts an account on a thread of its own: a plugin that hangs while it opens keeps no other account waiting.
async fn start((config, opened): Ready, shared: Shared) -> (Config, Result<Desk, AppError>) {
    let span = about(&config);
    let started = tokio::task::spawn_blocking(move || span.in_scope(|| opened.start(&shared))).await;
    let started = started.unwrap_or_else(|e| Err(AppError::Panicked(e.to_string())));
    let started = started.map_err(|e| e.of(&config));
    (config, started)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Environment, Flags};

    /// The port for metrics is bound first: a second start told that nothing is traded, while the first host traded.
    #[test]
    fn a_start_that_fails_while_another_host_trades_says_nothing_of_a_host_that_has_not_started() {
        let folder = tempfile::tempdir().unwrap();
        let sources = config::Sources {
            flags: Flags {
                data_dir: Some(folder.path().to_owned()),
                ..Flags::default()
            },
            environment: Environment::default(),
            ..config::Sources::default()
        };
        let config = config::load(&sources, config::Purpose::Look).unwrap().config;
        let taken = AppError::NotNow("the address is taken".to_owned());
        assert!(!is_traded_by_another(&config, &taken));
        let lease = Lease::take(folder.path(), 0).unwrap();
        assert!(!is_traded_by_another(&config, &taken), "it is this process");
        std::fs::write(folder.path().join("host.holder"), "process 0 since then").unwrap();
        assert!(is_traded_by_another(&config, &taken));
        drop(lease);
        assert!(!is_traded_by_another(&config, &taken));
        let io = |source| LeaseError::Io {
            path: "host.lock".to_owned(),
            source,
        };
        let lock = AppError::Lease(io(std::io::Error::other("read-only")));
        assert!(!is_traded_by_another(&config, &lock), "nobody trades");
    }
}
