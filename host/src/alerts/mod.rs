//! Tells people what they must know at once: a command is run or a robot's webhook is called.
//!
//! Whoever raises an alert waits for nothing. What is said is limited in rate, and the addresses of robots, which are as
//! good as passwords, stand in no line of the log.

mod conditions;
mod deliver;
mod format;
mod start;
mod told;
mod watch;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use self::told::Ledger;
use crate::clock::Clock;
use crate::config;
use crate::monitor::meters;
use crate::telemetry::QUANT_TRADER;
use crate::tend::tended;

pub(crate) use deliver::Channels;
pub(crate) use start::tell_of_failed_start;
pub(crate) use watch::run as watch;

/// Alerts that may wait for a slow robot. More are dropped, and the log says so.
const WAITING: usize = 256;
/// The word for what must not wait.
const CRITICAL: &str = "critical";
const HOUR: Duration = Duration::from_secs(3600);

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A person, or a limit, has stopped new orders.
    Halt,
    /// It is not known for long whether the broker has an order.
    Unknown,
    /// Only a person can decide about an order.
    Review,
    /// The backend refuses a report for good.
    DeadLetter,
    /// The token ends soon, or has ended.
    Token,
    /// The broker is not connected while its market is open.
    BrokerDown,
    /// The backend does not answer.
    BackendDown,
    /// The journal cannot be written.
    Journal,
    /// An account is not traded at all.
    NotTraded,
    /// Little space is left where the journal lies.
    DiskLow,
    /// Purchases wait long for their plan's sales.
    SellBarrier,
    /// Reports wait long to be posted.
    ReportsLate,
    /// A person tries whether alerts arrive.
    Test,
}

impl Kind {
    /// All of them.
    const ALL: [Self; 13] = [
        Self::Halt,
        Self::Unknown,
        Self::Review,
        Self::DeadLetter,
        Self::Token,
        Self::BrokerDown,
        Self::BackendDown,
        Self::Journal,
        Self::NotTraded,
        Self::DiskLow,
        Self::SellBarrier,
        Self::ReportsLate,
        Self::Test,
    ];

    /// A stable word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Halt => "halt",
            Self::Unknown => "unknown",
            Self::Review => "review",
            Self::DeadLetter => "dead_letter",
            Self::Token => "token",
            Self::BrokerDown => "broker_down",
            Self::BackendDown => "backend_down",
            Self::Journal => "journal",
            Self::NotTraded => "not_traded",
            Self::DiskLow => "disk_low",
            Self::SellBarrier => "sell_barrier",
            Self::ReportsLate => "reports_late",
            Self::Test => "test",
        }
    }

    /// Whether money may be lost meanwhile, where it has got so bad.
    const fn is_critical(self, level: u64) -> bool {
        match self {
            Self::Halt
            | Self::Unknown
            | Self::Review
            | Self::BrokerDown
            | Self::Journal
            | Self::NotTraded => true,
            Self::Token => level >= watch::NO_TOKEN,
            _ => false,
        }
    }
}

/// One thing to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alert {
    /// What it is about.
    pub(crate) kind: Kind,
    /// False where it is over.
    pub(crate) is_raised: bool,
    /// Money may be lost meanwhile.
    pub(crate) is_critical: bool,
    /// How bad it is, by what it is about; where it is over, how bad it was.
    pub(crate) level: u64,
    /// The account, its number masked; `None` where it concerns the host.
    pub(crate) account: Option<String>,
    /// A sentence, and what to do.
    pub(crate) text: String,
    /// When, in ms since 1970.
    pub(crate) at_ms: i64,
}

impl Alert {
    /// `critical` or `warning`.
    const fn severity(&self) -> &'static str {
        if self.is_critical { CRITICAL } else { "warning" }
    }
}

/// Something about an account, or about the host.
type Key = (Kind, Option<String>);

/// Where alerts are put. Cheap to clone; without channels it swallows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alerts {
    sender: Option<mpsc::Sender<Alert>>,
    /// What nobody heard of, until whoever raised it asks.
    unheard: Arc<Mutex<BTreeSet<Key>>>,
    /// What was heard, for the process after this one.
    ledger: Arc<Mutex<Option<Ledger>>>,
}

impl Alerts {
    /// From now on it is taken down what was heard.
    fn keep(&self, ledger: Ledger) {
        *self.ledger.lock().unwrap_or_else(PoisonError::into_inner) = Some(ledger);
    }

    fn was_heard(&self, alert: &Alert) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ledger) = &mut *ledger {
            ledger.heard(alert, Clock::system().now_ms());
        }
    }

    /// Says something; never waits.
    fn put(&self, alert: Alert) {
        let Some(sender) = &self.sender else { return };
        if let Err(full) = sender.try_send(alert) {
            let alert = full.into_inner();
            meters::alert(alert.kind.name(), "dropped");
            warn!(target: QUANT_TRADER, "an alert ({}) was dropped: too many wait to be delivered", alert.kind.name());
            self.was_not_heard(&alert);
        }
    }

    fn was_not_heard(&self, alert: &Alert) {
        if alert.is_raised {
            let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
            unheard.insert((alert.kind, alert.account.clone()));
        }
    }

    /// What nobody heard of since this was asked last.
    fn take_unheard(&self) -> BTreeSet<Key> {
        std::mem::take(&mut self.unheard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Makes the place where alerts are put, and what delivers them until it is broken off.
///
/// # Errors
///
/// A sentence about the configuration, with no secret in it.
pub(crate) fn start(
    settings: &config::Alerts,
    stopped: &tokio::sync::watch::Receiver<bool>,
) -> Result<(Alerts, Option<impl Future<Output = ()> + Send + 'static>), String> {
    if !settings.tell_somebody() {
        return Ok((Alerts::default(), None));
    }
    let channels = Channels::new(settings)?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let alerts = Alerts {
        sender: Some(sender),
        ..Alerts::default()
    };
    let fates = Alerts {
        sender: None,
        ..alerts.clone()
    };
    let state = Arc::new((tokio::sync::Mutex::new(receiver), Limits::default()));
    let most = settings.max_per_hour;
    // What was on its way when it ended counts as unheard, and is told again while it lasts.
    let deliver = move || deliver_all(Arc::clone(&state), channels.clone(), most, fates.clone());
    let deliver = tended("delivery of alerts", stopped.clone(), deliver, |_| {});
    Ok((alerts, Some(deliver)))
}

/// The alerts of the last hour, of which there may be so many.
#[derive(Debug, Default)]
struct Hourly {
    said_ms: std::collections::VecDeque<i64>,
    held_back: u64,
}

impl Hourly {
    /// How many were held back before this one, where it may be said.
    fn admit(&mut self, now_ms: i64, most: u32) -> Option<u64> {
        let hour_ms = i64::try_from(HOUR.as_millis()).unwrap_or(i64::MAX);
        while self
            .said_ms
            .front()
            .is_some_and(|at| now_ms.saturating_sub(*at) >= hour_ms)
        {
            self.said_ms.pop_front();
        }
        if self.said_ms.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
            self.held_back += 1;
            return None;
        }
        self.said_ms.push_back(now_ms);
        Some(std::mem::take(&mut self.held_back))
    }

    /// One that was admitted reached nobody: its place is free again, and what it would have told of is told with a later one.
    fn give_back(&mut self, at_ms: i64, held_back: u64) {
        if let Some(place) = self.said_ms.iter().rposition(|at| *at == at_ms) {
            self.said_ms.remove(place);
        }
        self.held_back += held_back;
    }
}

/// What may be said: what is critical has a count of its own, so that warnings never use it up.
#[derive(Debug, Default)]
struct Limits {
    critical: Mutex<Hourly>,
    others: Mutex<Hourly>,
}

impl Limits {
    fn of(&self, is_critical: bool) -> std::sync::MutexGuard<'_, Hourly> {
        let hourly = if is_critical { &self.critical } else { &self.others };
        hourly.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An alert on its way, by every channel at once.
struct Job {
    alert: Alert,
    held_back: u64,
    fates: Alerts,
    /// Channels that have not answered yet, and whether one of those that have delivered it.
    fate: Mutex<(usize, bool)>,
}

impl Drop for Job {
    /// The delivery ended by a fault of its own before every channel had answered.
    fn drop(&mut self) {
        let fate = self.fate.get_mut().unwrap_or_else(PoisonError::into_inner);
        if matches!(*fate, (1.., false)) {
            meters::alert(self.alert.kind.name(), "failed");
            self.fates.was_not_heard(&self.alert);
        }
    }
}

impl Job {
    /// One channel has done with it; the last one says what became of the alert.
    fn done(&self, is_delivered: bool, limits: &Limits) {
        let (kind, text) = (self.alert.kind.name(), &self.alert.text);
        let mut fate = self.fate.lock().unwrap_or_else(PoisonError::into_inner);
        fate.0 -= 1;
        if is_delivered && !fate.1 {
            // At once: where the process ends with the other channels still trying, it was heard all the same.
            self.fates.was_heard(&self.alert);
        }
        fate.1 |= is_delivered;
        match *fate {
            (0, true) => {
                meters::alert(kind, "delivered");
                info!(target: QUANT_TRADER, "Alert delivered: {kind}: {text}");
            }
            (0, false) => {
                meters::alert(kind, "failed");
                limits
                    .of(self.alert.is_critical)
                    .give_back(self.alert.at_ms, self.held_back);
                self.fates.was_not_heard(&self.alert);
            }
            _ => {}
        }
    }
}

/// What waits, and what was said: both outlast a delivery that ends by a fault of its own.
type Waiting = (tokio::sync::Mutex<mpsc::Receiver<Alert>>, Limits);

async fn deliver_all(state: Arc<Waiting>, channels: Channels, most: u32, fates: Alerts) {
    let (alerts, limits) = &*state;
    let mut alerts = alerts.lock().await;
    let (senders, workers): (Vec<_>, Vec<_>) = channels
        .apart()
        .into_iter()
        .map(|channel| {
            let (sender, jobs) = mpsc::channel(WAITING);
            (sender, work(jobs, channel, limits))
        })
        .unzip();
    tokio::join!(
        admit_all(&mut alerts, senders, most, &fates, limits),
        join_all(workers)
    );
}

/// Hands out what may be said.
async fn admit_all(
    alerts: &mut mpsc::Receiver<Alert>,
    channels: Vec<mpsc::Sender<Arc<Job>>>,
    most: u32,
    fates: &Alerts,
    limits: &Limits,
) {
    while let Some(alert) = alerts.recv().await {
        let (admitted, held_back) = {
            let mut hourly = limits.of(alert.is_critical);
            (hourly.admit(alert.at_ms, most), hourly.held_back)
        };
        let Some(before) = admitted else {
            meters::alert(alert.kind.name(), "held_back");
            if held_back == 1 {
                warn!(target: QUANT_TRADER, "more than {most} alerts in an hour: the rest is counted and told with a later one");
            }
            if alert.is_critical {
                fates.was_not_heard(&alert);
            }
            continue;
        };
        let job = Arc::new(Job {
            alert,
            held_back: before,
            fates: fates.clone(),
            fate: Mutex::new((channels.len(), false)),
        });
        for channel in &channels {
            if let Err(full) = channel.try_send(Arc::clone(&job)) {
                full.into_inner().done(false, limits);
            }
        }
    }
}

/// Delivers by one channel, in the order in which things were said.
async fn work(mut jobs: mpsc::Receiver<Arc<Job>>, channel: Channels, limits: &Limits) {
    while let Some(job) = jobs.recv().await {
        crate::failpoint::die_at("alert");
        let result = channel.deliver(&job.alert, job.held_back).await;
        if let Err(reason) = &result {
            let (kind, text) = (job.alert.kind.name(), &job.alert.text);
            error!(target: QUANT_TRADER, "an alert ({kind}: {text}) could not be delivered: {reason}; try `qt-host alerts test`");
        }
        job.done(result.is_ok(), limits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_an_hour_and_the_rest_is_counted() {
        let mut hourly = Hourly::default();
        assert_eq!(hourly.admit(0, 2), Some(0));
        assert_eq!(hourly.admit(1000, 2), Some(0));
        assert_eq!(hourly.admit(2000, 2), None);
        assert_eq!(hourly.admit(3_599_999, 2), None);
        // The first is an hour old now: its place is free, and what was held back is told.
        assert_eq!(hourly.admit(3_600_000, 2), Some(2));
        assert_eq!(hourly.admit(3_600_500, 2), None);
        assert_eq!(hourly.admit(3_601_000, 2), Some(1));
    }

    fn alert(kind: Kind, at_ms: i64) -> Alert {
        Alert {
            kind,
            is_raised: true,
            is_critical: kind.is_critical(0),
            level: 1,
            account: None,
            text: format!("{at_ms}"),
            at_ms,
        }
    }

    #[test]
    fn without_a_channel_nobody_is_told_and_nothing_waits() {
        Alerts::default().put(alert(Kind::Token, 0));
    }

    /// A flood of warnings keeps no order in doubt from being told, and what is held back all the same is told later.
    #[tokio::test]
    async fn warnings_never_use_up_what_is_there_for_what_is_critical() {
        let (sender, mut alerts) = mpsc::channel(WAITING);
        let (channel, mut jobs) = mpsc::channel(WAITING);
        for at_ms in 0..9 {
            sender.send(alert(Kind::DeadLetter, at_ms)).await.unwrap();
        }
        // A halt was one of the warnings, and came up to an hour late.
        for kind in [Kind::Halt, Kind::Journal, Kind::Unknown] {
            sender.send(alert(kind, 10)).await.unwrap();
        }
        drop(sender);
        let unheard = Alerts::default();
        let limits = Limits::default();
        admit_all(&mut alerts, vec![channel], 2, &unheard, &limits).await;
        let mut said = Vec::new();
        while let Some(job) = jobs.recv().await {
            job.done(true, &limits);
            said.push(job.alert.kind);
        }
        assert_eq!(
            said,
            [Kind::DeadLetter, Kind::DeadLetter, Kind::Halt, Kind::Journal]
        );
        assert_eq!(unheard.take_unheard(), BTreeSet::from([(Kind::Unknown, None)]));
    }

    /// While a robot was away its alerts used up the hour, and what was raised once it was back was held back.
    #[tokio::test]
    async fn an_alert_that_reached_nobody_gives_its_place_in_the_hour_back() {
        let (unheard, limits) = (Alerts::default(), Limits::default());
        let mut said = Vec::new();
        for at_ms in 0..6 {
            let (sender, mut alerts) = mpsc::channel(WAITING);
            let (channel, mut jobs) = mpsc::channel(WAITING);
            sender.send(alert(Kind::Halt, at_ms)).await.unwrap();
            drop(sender);
            admit_all(&mut alerts, vec![channel], 2, &unheard, &limits).await;
            if let Some(job) = jobs.recv().await {
                // The robot comes back at the fourth.
                job.done(at_ms >= 3, &limits);
                said.push((at_ms, job.held_back));
            }
        }
        assert_eq!(said, [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)]);
        assert_eq!(limits.of(true).held_back, 1);
        limits.of(true).give_back(4, 3);
        assert_eq!(limits.of(true).admit(7, 2), Some(4));
    }

    #[test]
    fn an_alert_is_unheard_where_every_channel_failed() {
        for (channels, is_heard) in [
            ([false, true], true),
            ([true, false], true),
            ([false, false], false),
        ] {
            let unheard = Alerts::default();
            let job = Job {
                alert: alert(Kind::Journal, 0),
                held_back: 0,
                fates: unheard.clone(),
                fate: Mutex::new((2, false)),
            };
            let limits = Limits::default();
            channels.into_iter().for_each(|one| job.done(one, &limits));
            assert_eq!(unheard.take_unheard().is_empty(), is_heard, "{channels:?}");
        }
    }

    fn job(unheard: &Alerts, channels: usize) -> Job {
        Job {
            alert: alert(Kind::Halt, Clock::system().now_ms()),
            held_back: 0,
            fates: unheard.clone(),
            fate: Mutex::new((channels, false)),
        }
    }

    /// An alert that was on its way as its delivery ended by a fault of its own was taken for one that was heard.
    #[test]
    fn an_alert_that_was_on_its_way_as_its_delivery_ended_is_unheard() {
        let limits = Limits::default();
        for (channels, done, is_unheard) in [
            (1, vec![], true),
            (2, vec![false], true),
            (2, vec![true], false),
            (1, vec![true], false),
        ] {
            let unheard = Alerts::default();
            let job = job(&unheard, channels);
            done.iter().for_each(|one| job.done(*one, &limits));
            drop(job);
            assert_eq!(
                !unheard.take_unheard().is_empty(),
                is_unheard,
                "{channels} {done:?}"
            );
        }
    }

    /// Each start of a host that dies before its robot has answered told nobody, and the back-off grew all the same.
    #[test]
    fn what_nobody_heard_is_not_there_for_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Ledger::open(folder.path().to_owned(), Clock::system().now_ms());
        let told = || open().told(Clock::system().now_ms()).count();
        let limits = Limits::default();
        for (channels, done, heard) in [
            // It ends with the process, before any channel has answered.
            (2, vec![], 0),
            (2, vec![false, false], 0),
            // The other channel still tries.
            (2, vec![true], 1),
        ] {
            let alerts = Alerts::default();
            alerts.keep(open());
            let job = job(&alerts, channels);
            done.iter().for_each(|one| job.done(*one, &limits));
            assert_eq!(told(), heard, "{done:?}");
        }
        let starts: Vec<_> = open()
            .told(Clock::system().now_ms())
            .map(|told| told.starts)
            .collect();
        assert_eq!(starts, [1]);
    }
}
