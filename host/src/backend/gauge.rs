//! What poller and reporter know of each other.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use qt_core::UtcMillis;
use tokio::sync::Notify;

use crate::monitor::meters::Meters;

/// How full the outbox is, and how far it got. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauge(Arc<Readings>, Meters);

#[derive(Debug, Default)]
struct Readings {
    /// Whoever commits rows adds them here, the reporter takes off what is done with.
    depth: Arc<AtomicUsize>,
    settled: AtomicU64,
    last_poll_ms: AtomicI64,
    rounds: AtomicU64,
    /// Why the last poll brought nothing; empty when it was answered.
    trouble: Mutex<String>,
    /// What the stream of signals keeps for this account until later; empty where it keeps nothing.
    waits_for: Mutex<String>,
    /// When the next poll must have begun, where one is to come.
    poll_due: Mutex<Option<Instant>>,
    /// Since when the oldest report waits that is not posted.
    report_waits_since: Mutex<Option<Instant>>,
    moved: Notify,
}

impl Gauge {
    /// A gauge over the count of waiting rows that the engine adds to.
    pub(crate) fn new(depth: Arc<AtomicUsize>) -> Self {
        let readings = Readings {
            depth,
            ..Readings::default()
        };
        Self(Arc::new(readings), Meters::default())
    }

    /// The same, which counts for those who look on.
    pub(crate) fn with_meters(self, meters: Meters) -> Self {
        Self(self.0, meters)
    }

    /// What counts for those who look on.
    pub(crate) const fn meters(&self) -> &Meters {
        &self.1
    }

    /// Reports that are committed and not delivered.
    pub(crate) fn depth(&self) -> usize {
        // A row may be delivered in the moment between its commit and its being counted: then the
        // count is below zero for that moment.
        usize::try_from(self.0.depth.load(Ordering::Relaxed).cast_signed()).unwrap_or(0)
    }

    /// How many delivered posts took a signal off the backend's pending list, since the start.
    pub(crate) fn settled(&self) -> u64 {
        self.0.settled.load(Ordering::Relaxed)
    }

    /// When the last answer with signals came; `None` before the first.
    pub(crate) fn last_poll(&self) -> Option<UtcMillis> {
        Some(self.0.last_poll_ms.load(Ordering::Relaxed))
            .filter(|ms| *ms != 0)
            .map(UtcMillis)
    }

    /// How many answers with pending signals were handed over and are durable, since the start.
    pub(crate) fn rounds(&self) -> u64 {
        self.0.rounds.load(Ordering::Relaxed)
    }

    pub(super) fn add_round(&self) {
        self.0.rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// Why the last poll was not answered; `None` when it was, and before the first.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        Some(trouble.clone()).filter(|text| !text.is_empty())
    }

    pub(crate) fn set_trouble(&self, text: String) {
        *self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// What the stream of signals keeps for this account until later, for a person.
    pub(crate) fn waits_for(&self) -> Option<String> {
        let waits_for = self.0.waits_for.lock().unwrap_or_else(PoisonError::into_inner);
        Some(waits_for.clone()).filter(|text| !text.is_empty())
    }

    pub(super) fn set_waits_for(&self, text: String) {
        *self.0.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// Says by when the next poll will have begun; nothing while no account takes signals.
    pub(crate) fn set_poll_due(&self, by: Option<Instant>) {
        *self.0.poll_due.lock().unwrap_or_else(PoisonError::into_inner) = by;
    }

    /// Since when the oldest report waits; nothing where none does.
    pub(crate) fn set_report_waits_since(&self, since: Option<Instant>) {
        *self
            .0
            .report_waits_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// It cannot be told which reports wait: what was known last goes on, or begins now.
    pub(crate) fn reports_are_unknown(&self, now: Instant) {
        self.0
            .report_waits_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(now);
    }

    /// For how long the oldest report has waited; nothing where none does.
    pub(crate) fn report_waits(&self, now: Instant) -> Duration {
        let since = *self
            .0
            .report_waits_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// So many reports wait, as the journal has it.
    pub(crate) fn set_depth(&self, waiting: usize) {
        self.0.depth.store(waiting, Ordering::Relaxed);
        self.0.moved.notify_one();
    }

    /// For how long the next poll has been overdue; `None` where it is not.
    pub(crate) fn poll_overdue(&self, now: Instant) -> Option<Duration> {
        let due = *self.0.poll_due.lock().unwrap_or_else(PoisonError::into_inner);
        due.and_then(|by| now.checked_duration_since(by))
            .filter(|late| !late.is_zero())
    }

    /// Waits for the next change of depth or count. One waiter at a time.
    pub(super) async fn moved(&self) {
        self.0.moved.notified().await;
    }

    /// One row is delivered or dead.
    pub(super) fn one_less(&self) {
        self.0.depth.fetch_sub(1, Ordering::Relaxed);
        self.0.moved.notify_one();
    }

    /// One signal is off the backend's pending list.
    pub(super) fn settle_one(&self) {
        self.0.settled.fetch_add(1, Ordering::Relaxed);
        self.0.moved.notify_one();
    }

    pub(crate) fn set_last_poll(&self, at: UtcMillis) {
        self.0.last_poll_ms.store(at.0, Ordering::Relaxed);
    }
}
