//! What others may look at while the host trades: figures for Prometheus, and whether it is well.
//!
//! Everything in here reads what the rooms have put down already; no room waits for it.

pub(crate) mod http;
pub(crate) mod meters;
mod render;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qt_plugin_api::ConnectionState;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::backend::gauge::Gauge;
use crate::broker::supervisor::Seen;
use crate::engine::Status;
use crate::gating::Sessions;
use meters::Meters;

pub(crate) use render::started;

/// An engine that makes no turn for so long hangs: it makes twenty in a second.
const HANGS_AFTER: Duration = Duration::from_secs(15);

/// What is to be looked at of one account that trades.
#[derive(Clone)]
pub(crate) struct Watched {
    /// Its figures.
    pub(crate) meters: Meters,
    /// How far its reports are.
    pub(crate) gauge: Gauge,
    /// How far its engine is.
    pub(crate) status: watch::Receiver<Status>,
    /// Its broker's connection.
    pub(crate) seen: watch::Receiver<Seen>,
    /// Its plugin's name and version.
    pub(crate) plugin: (String, String),
    /// Its journal, where it has one.
    pub(crate) journal: Option<PathBuf>,
    /// When its broker is expected to be connected.
    pub(crate) sessions: Sessions,
    /// A report that waits for longer is late.
    pub(crate) late_after: Duration,
}

/// The accounts of a host. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Monitor(Arc<Mutex<Accounts>>);

#[derive(Default)]
struct Accounts {
    watched: Vec<Watched>,
    /// Accounts that are not traded, and why.
    down: Vec<(String, String)>,
    data_dir: PathBuf,
}

/// Whether the host is well, with a reason for each thing that is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// Why a restart might help; empty where none is needed.
    pub(crate) ill: Vec<String>,
    /// Why no orders go out at the moment; empty where they do.
    pub(crate) not_ready: Vec<String>,
    /// What the backend does not learn of, though orders go.
    pub(crate) late: Vec<String>,
}

impl Health {
    /// As it is answered over HTTP.
    fn json(reasons: &[String], good: &str, bad: &str) -> Value {
        let word = if reasons.is_empty() { good } else { bad };
        json!({ "status": word, "reasons": reasons })
    }
}

impl Monitor {
    /// Of a host with its data in this folder.
    pub(crate) fn new(data_dir: PathBuf) -> Self {
        let monitor = Self::default();
        monitor.accounts().data_dir = data_dir;
        monitor
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        // Accounts are only added: there is nothing to repair.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An account trades from now on.
    pub(crate) fn watch(&self, account: Watched) {
        self.accounts().watched.push(account);
    }

    /// An account is not traded.
    pub(crate) fn is_down(&self, label: String, reason: String) {
        self.accounts().down.push((label, reason));
    }

    /// The accounts that trade.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        self.accounts().watched.clone()
    }

    /// The accounts that are not traded, and why.
    pub(crate) fn down(&self) -> Vec<(String, String)> {
        self.accounts().down.clone()
    }

    /// Where the data lies.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.accounts().data_dir.clone()
    }

    /// How the host is at this moment.
    pub(crate) fn health(&self, now: Instant) -> Health {
        let accounts = self.accounts();
        let mut health = Health::default();
        if accounts.watched.is_empty() && accounts.down.is_empty() {
            health.not_ready.push("no account has started yet".to_owned());
        }
        for account in &accounts.watched {
            examine(account, now, &mut health);
        }
        // A restart would end the others that trade: it helps where nothing turns any more.
        if health.ill.len() < accounts.watched.len() {
            health.ill.clear();
        }
        for (label, reason) in &accounts.down {
            health
                .not_ready
                .push(format!("{label}: it is not traded: {reason}"));
        }
        health
    }
}

fn examine(account: &Watched, now: Instant, health: &mut Health) {
    let label = account.meters.label();
    let has_ended = account.status.has_changed().is_err();
    if hangs(account, now).is_some() {
        let hangs = format!(
            "{label}: the engine has made no turn for {} s",
            HANGS_AFTER.as_secs()
        );
        health.ill.push(hangs.clone());
        health.not_ready.push(hangs);
    }
    let status = account.status.borrow();
    let mut not_ready = |reason: String| health.not_ready.push(format!("{label}: {reason}"));
    if has_ended {
        not_ready("the engine has ended".to_owned());
        health.ill.push(format!("{label}: the engine has ended"));
        return;
    }
    if let Some(reason) = &status.halted {
        not_ready(format!("trading is halted: {reason}"));
    }
    if !status.connected {
        not_ready(format!(
            "the broker is not connected{}",
            why(&account.seen.borrow())
        ));
    } else if !status.ready {
        not_ready("the broker's books are not compared yet".to_owned());
    }
    if status.journal_failing {
        not_ready("the journal cannot be written".to_owned());
    }
    let waits = account.gauge.report_waits(now);
    if waits >= account.late_after {
        let seconds = waits.as_secs();
        health.late.push(format!(
            "{label}: a report has waited for {seconds} s to be posted"
        ));
    }
    let mut not_ready = |reason: String| health.not_ready.push(format!("{label}: {reason}"));
    if let Some(trouble) = account.gauge.trouble() {
        not_ready(trouble);
    } else if account.gauge.last_poll().is_none() {
        not_ready("the backend has not answered yet".to_owned());
    } else if let Some(late) = overdue(account, now) {
        not_ready(late);
    }
}

/// For how long its engine has made no turn, where it hangs. One that has ended does not.
pub(crate) fn hangs(account: &Watched, now: Instant) -> Option<Duration> {
    let ago = account.meters.since_turn(now)?;
    (ago > HANGS_AFTER && account.status.has_changed().is_ok()).then_some(ago)
}

/// For how long signals should have been asked for and were not, where that is so.
pub(crate) fn overdue(account: &Watched, now: Instant) -> Option<String> {
    let is_ready = {
        let status = account.status.borrow();
        status.ready && !status.journal_failing
    };
    let late = account.gauge.poll_overdue(now).filter(|_| is_ready)?;
    Some(format!(
        "the backend has not been asked for signals, {} s after it was to be; see the log",
        late.as_secs()
    ))
}

/// Why there is no connection, where the broker said so.
pub(crate) fn why(seen: &Seen) -> String {
    match &seen.state {
        ConnectionState::Disconnected { reason } if !reason.is_empty() => format!(": {reason}"),
        _ if !seen.lost.is_empty() => format!(": {}", seen.lost),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: ConnectionState) -> Seen {
        Seen {
            number: 1,
            state,
            lost: String::new(),
        }
    }

    struct Scene {
        monitor: Monitor,
        meters: Meters,
        gauge: Gauge,
        status: watch::Sender<Status>,
        _seen: watch::Sender<Seen>,
    }

    fn scene() -> Scene {
        let (status, status_seen) = watch::channel(Status {
            ready: true,
            connected: true,
            ..Status::default()
        });
        let (seen, seen_seen) = watch::channel(seen(ConnectionState::Connected));
        let (meters, gauge) = (Meters::new("SA-1/****0001"), Gauge::default());
        let monitor = Monitor::new(PathBuf::new());
        monitor.watch(Watched {
            meters: meters.clone(),
            gauge: gauge.clone(),
            status: status_seen,
            seen: seen_seen,
            plugin: ("mine".to_owned(), "1".to_owned()),
            journal: None,
            sessions: Sessions::default(),
            late_after: Duration::from_secs(300),
        });
        gauge.set_last_poll(qt_core::UtcMillis(1));
        Scene {
            monitor,
            meters,
            gauge,
            status,
            _seen: seen,
        }
    }

    #[test]
    fn before_any_account_starts_the_host_is_well_and_not_ready() {
        let health = Monitor::default().health(Instant::now());
        assert!(health.ill.is_empty());
        assert_eq!(health.not_ready, ["no account has started yet"]);
    }

    #[test]
    fn an_account_that_trades_is_ready_and_each_trouble_is_named() {
        let scene = scene();
        let now = Instant::now();
        assert_eq!(scene.monitor.health(now), Health::default());
        scene.status.send_modify(|status| {
            status.halted = Some("by hand".to_owned());
            status.connected = false;
            status.journal_failing = true;
        });
        scene.gauge.set_trouble("no answer".to_owned());
        let health = scene.monitor.health(now);
        assert!(health.ill.is_empty(), "{health:?}");
        assert_eq!(
            health.not_ready,
            [
                "SA-1/****0001: trading is halted: by hand",
                "SA-1/****0001: the broker is not connected",
                "SA-1/****0001: the journal cannot be written",
                "SA-1/****0001: no answer",
            ]
        );
    }

    #[test]
    fn a_report_that_waits_long_is_said_though_orders_go() {
        let scene = scene();
        let now = Instant::now();
        scene.gauge.set_report_waits_since(Some(now));
        let soon = scene.monitor.health(now + Duration::from_secs(299));
        assert_eq!(soon, Health::default());
        let health = scene.monitor.health(now + Duration::from_secs(300));
        assert!(health.ill.is_empty() && health.not_ready.is_empty(), "{health:?}");
        assert_eq!(
            health.late,
            ["SA-1/****0001: a report has waited for 300 s to be posted"]
        );
        scene.gauge.set_report_waits_since(None);
        assert_eq!(
            scene.monitor.health(now + Duration::from_secs(900)),
            Health::default()
        );
    }

    #[test]
    fn an_engine_that_hangs_or_ended_is_ill() {
        let scene = scene();
        let now = Instant::now();
        scene.meters.turned(now);
        assert!(scene.monitor.health(now + HANGS_AFTER).ill.is_empty());
        let late = scene.monitor.health(now + HANGS_AFTER + Duration::from_secs(1));
        assert_eq!(late.ill, late.not_ready);
        assert_eq!(late.ill, ["SA-1/****0001: the engine has made no turn for 15 s"]);
        drop(scene.status);
        let ended = scene.monitor.health(now);
        assert_eq!(ended.ill, ["SA-1/****0001: the engine has ended"]);
        assert_eq!(ended.not_ready, ["SA-1/****0001: the engine has ended"]);
    }

    #[test]
    fn an_account_that_is_not_traded_makes_the_host_not_ready_but_not_ill() {
        let scene = scene();
        scene
            .monitor
            .is_down("SA-2".to_owned(), "its journal is damaged".to_owned());
        let health = scene.monitor.health(Instant::now());
        assert!(health.ill.is_empty());
        assert_eq!(
            health.not_ready,
            ["SA-2: it is not traded: its journal is damaged"]
        );
    }

    /// One account's fault must not end the others that trade, by way of the system's watchdog.
    #[test]
    fn an_engine_that_ended_beside_one_that_turns_makes_the_host_not_ready_but_not_ill() {
        let (scene, other) = (scene(), scene());
        let ended = other.monitor.watched().remove(0);
        drop(other);
        scene.monitor.watch(ended);
        let now = Instant::now();
        let health = scene.monitor.health(now);
        assert!(health.ill.is_empty(), "{health:?}");
        assert_eq!(health.not_ready, ["SA-1/****0001: the engine has ended"]);
        drop(scene.status);
        assert_eq!(scene.monitor.health(now).ill.len(), 2);
    }

    #[test]
    fn a_poll_that_does_not_come_is_told_of_where_signals_could_be_taken() {
        let scene = scene();
        let now = Instant::now();
        scene.gauge.set_poll_due(Some(now));
        assert_eq!(scene.monitor.health(now), Health::default());
        let later = now + Duration::from_secs(30);
        assert_eq!(
            scene.monitor.health(later).not_ready,
            [
                "SA-1/****0001: the backend has not been asked for signals, 30 s after it was to be; see the log"
            ]
        );
        scene.status.send_modify(|status| status.ready = false);
        assert_eq!(
            scene.monitor.health(later).not_ready,
            ["SA-1/****0001: the broker's books are not compared yet"]
        );
    }
}
