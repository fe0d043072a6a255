//! What is counted while trading goes on. Counting is a few atomic additions: nobody who trades waits for who looks.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{
    CounterVec, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec,
    Opts, Registry,
};
use qt_core::OrderState;
use qt_plugin_api::host::MetricRegistry;
use rust_decimal::Decimal;

use crate::clock::Clock;

/// From half a millisecond, which a call within the machine takes, to the longest deadlines.
const BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
];

/// Every family of the process, in the one registry that is shown.
pub(super) struct Families {
    pub(super) registry: Registry,
    signals: IntCounterVec,
    arrived: IntCounterVec,
    ended: IntCounterVec,
    refusals: IntCounterVec,
    fills: IntCounterVec,
    compared: IntCounterVec,
    posts: IntCounterVec,
    alerts: IntCounterVec,
    broker_calls: HistogramVec,
    backend_calls: HistogramVec,
    pub(super) orders: IntGaugeVec,
    pub(super) unknown_seconds: GaugeVec,
    pub(super) barrier_seconds: GaugeVec,
    pub(super) outbox: IntGaugeVec,
    pub(super) journal_bytes: IntGaugeVec,
    pub(super) states: IntGaugeVec,
    pub(super) plugin: IntGaugeVec,
    pub(super) openings: IntGaugeVec,
    pub(super) plugin_own: GaugeVec,
    pub(super) yuan: GaugeVec,
    pub(super) positions: IntGaugeVec,
    pub(super) position_shares: IntGaugeVec,
    pub(super) position_value: GaugeVec,
    pub(super) last_poll: GaugeVec,
    pub(super) process: [(IntGaugeVec, &'static str); 3],
    pub(super) process_cpu: CounterVec,
    pub(super) process_started: GaugeVec,
    pub(super) disk_free: IntGaugeVec,
    stream: IntGaugeVec,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(Families::new);

/// The families of this process.
pub(super) fn families() -> &'static Families {
    &FAMILIES
}

/// Names and labels stand in this file: one that is wrong fails with the first test that counts anything.
#[allow(clippy::expect_used, reason = "the names are constants of this file")]
fn made<T: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    family: prometheus::Result<T>,
) -> T {
    let family = family.expect("a name or label of a metric is not valid");
    registry
        .register(Box::new(family.clone()))
        .expect("two metrics have one name");
    family
}

impl Families {
    fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            made(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let whole = |name: &str, help: &str, labels: &[&str]| {
            made(&registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            made(&registry, GaugeVec::new(Opts::new(name, help), labels))
        };
        let times = |name: &str, help: &str, labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
            made(&registry, HistogramVec::new(options, labels))
        };
        let version = env!("CARGO_PKG_VERSION");
        whole("qt_build_info", "The program's version.", &["version"])
            .with_label_values(&[version])
            .set(1);
        Self {
            signals: counter(
                "qt_signals_total",
                "New signals, by whether they could be understood.",
                &["account", "outcome"],
            ),
            arrived: counter(
                "qt_signals_arrived_total",
                "Signals as they came, repeats included, by the way they came.",
                &["way"],
            ),
            ended: counter(
                "qt_orders_ended_total",
                "Orders that ended, by the state they ended in.",
                &["account", "state"],
            ),
            refusals: counter(
                "qt_gate_refusals_total",
                "Orders that a gate did not let pass, by its code.",
                &["account", "outcome", "code"],
            ),
            fills: counter("qt_fills_total", "Trades that were booked.", &["account"]),
            compared: counter(
                "qt_books_compared_total",
                "Comparisons with the broker's books.",
                &["account"],
            ),
            posts: counter(
                "qt_posts_total",
                "Posts of reports, by what came of them; `repeated` ones are tried again.",
                &["account", "outcome"],
            ),
            alerts: counter(
                "qt_alerts_total",
                "Alerts, by what became of them.",
                &["kind", "outcome"],
            ),
            broker_calls: times(
                "qt_broker_call_seconds",
                "Calls of the broker's plugin.",
                &["account", "call"],
            ),
            backend_calls: times(
                "qt_backend_call_seconds",
                "Calls of the backend, answered or not.",
                &["call", "outcome"],
            ),
            orders: whole(
                "qt_orders",
                "Orders that have not ended, by state.",
                &["account", "state"],
            ),
            unknown_seconds: gauge(
                "qt_oldest_unknown_seconds",
                "How long the oldest order is unknown by now; 0 without one.",
                &["account"],
            ),
            barrier_seconds: gauge(
                "qt_oldest_barrier_wait_seconds",
                "How long the oldest purchase waits for its plan's sales; 0 without one.",
                &["account"],
            ),
            outbox: whole(
                "qt_outbox_depth",
                "Reports that are committed and not delivered.",
                &["account"],
            ),
            journal_bytes: whole(
                "qt_journal_bytes",
                "The journal's file and what belongs to it.",
                &["account"],
            ),
            states: whole(
                "qt_account_state",
                "1 where it is so: ready, connected, halted, journal_failing, backend_answers, trading.",
                &["account", "state"],
            ),
            plugin: whole(
                "qt_plugin_info",
                "The broker's plugin and the state of its connection.",
                &["account", "plugin", "version", "state"],
            ),
            openings: whole(
                "qt_plugin_changes",
                "How often the broker was lost or opened since the start.",
                &["account"],
            ),
            plugin_own: gauge(
                "qt_plugin_metric",
                "What the broker's plugin counts by itself. The reading is `sum` for a counter and `last` for a gauge; a \
                 histogram has `count`, `sum`, `min` and `max`.",
                &["account", "metric", "labels", "reading"],
            ),
            yuan: gauge(
                "qt_account_yuan",
                "Balances and P&L in yuan, as the broker said last.",
                &["account", "what"],
            ),
            positions: whole("qt_positions", "Symbols that are held.", &["account"]),
            position_shares: whole(
                "qt_position_shares",
                "Shares that are held.",
                &["account", "symbol"],
            ),
            position_value: gauge(
                "qt_position_value_yuan",
                "What they are worth in yuan.",
                &["account", "symbol"],
            ),
            last_poll: gauge(
                "qt_last_poll_timestamp_seconds",
                "When signals were last fetched, in seconds since 1970.",
                &["account"],
            ),
            process: [
                (
                    whole("process_resident_memory_bytes", "Resident memory in bytes.", &[]),
                    "memory",
                ),
                (whole("process_open_fds", "Open file handles.", &[]), "handles"),
                (whole("process_threads", "Threads.", &[]), "threads"),
            ],
            process_cpu: made(
                &registry,
                CounterVec::new(
                    Opts::new(
                        "process_cpu_seconds_total",
                        "Time of processors that it has taken, in seconds.",
                    ),
                    &[],
                ),
            ),
            process_started: gauge(
                "process_start_time_seconds",
                "When it started, in seconds since 1970.",
                &[],
            ),
            disk_free: whole(
                "qt_disk_free_bytes",
                "Free space where the data folder lies.",
                &[],
            ),
            stream: whole(
                "qt_signals_stream_connected",
                "1 while signals are pushed by the backend.",
                &[],
            ),
            registry,
        }
    }
}

/// What became of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Posted {
    /// Acknowledged.
    Delivered,
    /// Not known to be done: it goes again.
    Repeated,
    /// Refused for good: a dead letter.
    Dead,
    /// The token was refused: it goes again.
    TokenRefused,
}

/// What a call of a plugin was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BrokerCall {
    /// An order.
    Place,
    /// A cancel.
    Cancel,
    /// Today's orders or trades.
    Lists,
    /// Positions or balances.
    Book,
}

impl BrokerCall {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Place, "place"),
        (Self::Cancel, "cancel"),
        (Self::Lists, "lists"),
        (Self::Book, "book"),
    ];
}

/// An account's figures, as the broker said last.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    /// Name and yuan.
    pub(crate) yuan: Vec<(&'static str, Decimal)>,
    /// Symbol, shares, and their value where it is known.
    pub(crate) positions: Vec<(String, i64, Option<Decimal>)>,
}

/// How an account's orders stand; a look is taken once in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OrderCounts {
    /// Live orders by state, in the order of [`OrderState::ALL`].
    pub(crate) by_state: [u64; OrderState::ALL.len()],
    /// Since when the oldest order is unknown, in ms since 1970; 0 without one.
    pub(crate) unknown_since_ms: i64,
    /// Since when the oldest purchase waits for sales of its plan; 0 without one.
    pub(crate) barrier_since_ms: i64,
}

impl OrderCounts {
    /// How many are in a state.
    pub(crate) fn of(&self, state: OrderState) -> u64 {
        let place = OrderState::ALL.iter().position(|other| *other == state);
        place.map_or(0, |place| self.by_state[place])
    }
}

/// One account's meters. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Meters(Arc<Account>);

struct Account {
    label: String,
    taken: IntCounter,
    invalid: IntCounter,
    fills: IntCounter,
    compared: IntCounter,
    posts: [IntCounter; 4],
    calls: Vec<Histogram>,
    dead: AtomicU64,
    turned_ms: AtomicI64,
    counts: Mutex<OrderCounts>,
    figures: Mutex<Figures>,
    day_pnl: Mutex<Option<Decimal>>,
    /// What the broker's plugin counts by itself.
    plugin: MetricRegistry,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

impl Default for Meters {
    /// Of an account that nobody shows.
    fn default() -> Self {
        Self::of("", &Families::new())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept is replaced as a whole: there is nothing to repair.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The start of the process's steady time, from which turns are counted.
static STEADY: LazyLock<Instant> = LazyLock::new(|| Clock::system().monotonic());

fn steady_ms(at: Instant) -> i64 {
    let since = at.saturating_duration_since(*STEADY).as_millis();
    // 0 says that there was no turn yet.
    i64::try_from(since).unwrap_or(i64::MAX).saturating_add(1)
}

impl Meters {
    /// Of the account with this label, which must not give its number away.
    pub(crate) fn new(label: &str) -> Self {
        Self::of(label, families())
    }

    fn of(label: &str, all: &Families) -> Self {
        LazyLock::force(&STEADY);
        let posts = ["delivered", "repeated", "dead", "token_refused"]
            .map(|outcome| all.posts.with_label_values(&[label, outcome]));
        let calls = BrokerCall::ALL.map(|(_, call)| all.broker_calls.with_label_values(&[label, call]));
        Self(Arc::new(Account {
            label: label.to_owned(),
            taken: all.signals.with_label_values(&[label, "taken"]),
            invalid: all.signals.with_label_values(&[label, "invalid"]),
            fills: all.fills.with_label_values(&[label]),
            compared: all.compared.with_label_values(&[label]),
            posts,
            calls: calls.into(),
            dead: AtomicU64::new(0),
            turned_ms: AtomicI64::new(0),
            counts: Mutex::default(),
            figures: Mutex::default(),
            day_pnl: Mutex::default(),
            plugin: MetricRegistry::default(),
        }))
    }

    /// What the broker's plugin counts by itself.
    pub(crate) fn of_plugin(&self) -> &MetricRegistry {
        &self.0.plugin
    }

    /// The account, as it is shown.
    pub(crate) fn label(&self) -> &str {
        &self.0.label
    }

    /// New signals.
    pub(crate) fn signals(&self, taken: usize, invalid: usize) {
        self.0.taken.inc_by(taken as u64);
        self.0.invalid.inc_by(invalid as u64);
    }

    /// A trade was booked.
    pub(crate) fn fill(&self) {
        self.0.fills.inc();
    }

    /// The broker's books were compared.
    pub(crate) fn compared(&self) {
        self.0.compared.inc();
    }

    /// An order ended.
    pub(crate) fn ended(&self, state: OrderState) {
        if self.label().is_empty() {
            return;
        }
        families()
            .ended
            .with_label_values(&[self.label(), state.as_str()])
            .inc();
    }

    /// A gate did not let an order pass.
    pub(crate) fn refused(&self, outcome: &'static str, code: &str) {
        if self.label().is_empty() {
            return;
        }
        families()
            .refusals
            .with_label_values(&[self.label(), outcome, code])
            .inc();
    }

    /// A post came back.
    pub(crate) fn posted(&self, outcome: Posted) {
        let place = match outcome {
            Posted::Delivered => 0,
            Posted::Repeated => 1,
            Posted::Dead => 2,
            Posted::TokenRefused => 3,
        };
        self.0.posts[place].inc();
        if outcome == Posted::Dead {
            self.0.dead.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reports that the backend refused for good since the start.
    pub(crate) fn dead_letters(&self) -> u64 {
        self.0.dead.load(Ordering::Relaxed)
    }

    /// Does a call of the plugin and takes its time.
    pub(crate) fn timed<T>(&self, call: BrokerCall, work: impl FnOnce() -> T) -> T {
        let began = Clock::system().monotonic();
        let answer = work();
        let place = BrokerCall::ALL.iter().position(|(other, _)| *other == call);
        if let Some(histogram) = place.and_then(|place| self.0.calls.get(place)) {
            histogram.observe(began.elapsed().as_secs_f64());
        }
        answer
    }

    /// The engine made a turn at this moment.
    pub(crate) fn turned(&self, at: Instant) {
        self.0.turned_ms.store(steady_ms(at), Ordering::Relaxed);
    }

    /// How long ago the engine made its last turn; `None` before the first.
    pub(crate) fn since_turn(&self, now: Instant) -> Option<Duration> {
        let turned_ms = self.0.turned_ms.load(Ordering::Relaxed);
        let ago_ms = steady_ms(now).saturating_sub(turned_ms);
        (turned_ms != 0).then(|| Duration::from_millis(u64::try_from(ago_ms).unwrap_or(0)))
    }

    /// How the orders stand.
    pub(crate) fn set_counts(&self, counts: OrderCounts) {
        *locked(&self.0.counts) = counts;
    }

    /// How the orders stood at the last look.
    pub(crate) fn counts(&self) -> OrderCounts {
        *locked(&self.0.counts)
    }

    /// What the broker says of the account.
    pub(crate) fn set_figures(&self, figures: Figures) {
        *locked(&self.0.figures) = figures;
    }

    /// What the account earned today, where that is known.
    pub(crate) fn set_day_pnl(&self, pnl: Option<Decimal>) {
        *locked(&self.0.day_pnl) = pnl;
    }

    /// What it said last.
    pub(crate) fn figures(&self) -> Figures {
        let mut figures = locked(&self.0.figures).clone();
        figures
            .yuan
            .extend(locked(&self.0.day_pnl).map(|pnl| ("today_pnl", pnl)));
        figures
    }
}

/// Signals came, new or not.
pub(crate) fn arrived(way: &'static str, count: usize) {
    families().arrived.with_label_values(&[way]).inc_by(count as u64);
}

/// The stream of signals stands, or not.
pub(crate) fn stream_connected(is_connected: bool) {
    families()
        .stream
        .with_label_values::<&str>(&[])
        .set(i64::from(is_connected));
}

/// A call of the backend came back or was given up.
pub(crate) fn backend_call(call: &'static str, outcome: &'static str, took: Duration) {
    families()
        .backend_calls
        .with_label_values(&[call, outcome])
        .observe(took.as_secs_f64());
}

/// An alert was delivered, failed, or held back.
pub(crate) fn alert(kind: &'static str, outcome: &'static str) {
    families().alerts.with_label_values(&[kind, outcome]).inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_as_long_ago_as_the_time_that_passed_since() {
        let meters = Meters::new("turns");
        let now = Clock::system().monotonic();
        assert_eq!(meters.since_turn(now), None);
        meters.turned(now);
        let later = now + Duration::from_secs(7);
        assert_eq!(meters.since_turn(later), Some(Duration::from_secs(7)));
        assert_eq!(meters.since_turn(now), Some(Duration::ZERO));
    }

    #[test]
    fn a_plugins_answer_passes_through_its_timing() {
        let meters = Meters::new("timing");
        assert_eq!(meters.timed(BrokerCall::Cancel, || 7), 7);
        let counts = meters.0.calls.iter().map(Histogram::get_sample_count);
        assert_eq!(counts.collect::<Vec<_>>(), [0, 1, 0, 0]);
    }
}
