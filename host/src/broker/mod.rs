//! The worker of one plugin: two lanes, a watchdog, and the plugin's own events.

mod control_lane;
mod convert;
pub(crate) mod in_process;
pub(crate) mod link;
mod place_lane;
pub(crate) mod read;
pub(crate) mod seat;
mod services;
pub(crate) mod supervisor;
pub(crate) mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use qt_core::{ClientOrderId, Event, NewOrder};
use qt_plugin_api::ConnectionState;
use qt_plugin_api::host as plugin;
use tokio::sync::{oneshot, watch};
use tracing::{Instrument, warn};

use control_lane::{ControlLane, Job, Watched};
use link::Keeper;
use place_lane::PlaceLane;
pub(crate) use read::Book;
pub(crate) use services::LiveConfig;
use supervisor::{Seen, Supervisor};

use crate::clock::Clock;
use crate::engine::input::{Input, Sender, ToBroker};
use crate::monitor::meters::Meters;
use crate::telemetry;

/// Where the engine sends its requests. Never blocks, so that the engine never waits for a plugin.
#[derive(Debug, Clone)]
pub(crate) struct BrokerSender {
    place: PlaceLane,
    control: mpsc::Sender<Job>,
    watched: Watched,
}

impl BrokerSender {
    /// Passes an order on.
    ///
    /// # Errors
    ///
    /// No more orders are taken: this one was not sent and will not be.
    pub(crate) fn place(&self, order: Box<NewOrder>) -> Result<(), ClientOrderId> {
        self.place.push(order)
    }

    /// Passes a request on.
    pub(crate) fn send(&self, request: ToBroker) {
        let job = match request {
            ToBroker::Cancel { id, broker_order_id } => Job::Cancel { id, broker_order_id },
            ToBroker::Ask => Job::Ask,
        };
        // The lane ends last; what it can no longer take stands in the journal for the next start.
        self.control.send(job).ok();
    }

    /// Has the connection asked for at once.
    pub(crate) fn look(&self) {
        self.control.send(Job::Look).ok();
    }

    /// Says that the plugin is being exchanged: the core then sends nothing new.
    pub(crate) fn begin_exchange(&self) {
        self.place.set_exchanged(true);
    }

    /// The exchange is over, one way or the other.
    pub(crate) fn end_exchange(&self) {
        self.place.set_exchanged(false);
    }

    /// True when no order waits and no call is under way, in either lane.
    pub(crate) fn is_drained(&self) -> bool {
        self.place.is_empty() && !self.watched.is_calling()
    }

    /// True while a call is under way, in either lane.
    pub(crate) fn is_calling(&self) -> bool {
        self.place.is_calling() || self.watched.is_calling()
    }

    /// Gives back the orders that the plugin has not seen.
    pub(crate) fn take_waiting(&self) -> Vec<qt_core::ClientOrderId> {
        self.place.take_waiting()
    }

    /// Holdings and balances, fresh and complete, or why there are none; today's trades beside them
    /// where they are wanted.
    pub(crate) async fn book(&self, deadline: Duration, with_trades: bool) -> Result<Book, String> {
        let (reply, answer) = oneshot::channel();
        self.control
            .send(Job::Book { with_trades, reply })
            .map_err(|_| "the broker's lane has ended".to_owned())?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(book)) => book,
            Ok(Err(_)) => Err("the broker's lane has ended".to_owned()),
            Err(_) => Err(format!(
                "the plugin has not answered within {} s",
                deadline.as_secs_f32()
            )),
        }
    }
}

/// The lanes before they run: made first, so that the engine can be given its sender.
pub(crate) struct Lanes {
    sender: BrokerSender,
    jobs: mpsc::Receiver<Job>,
    meters: Meters,
}

impl Lanes {
    /// Empty lanes, whose calls are timed by these meters.
    pub(crate) fn new(meters: Meters) -> Self {
        let (control, jobs) = mpsc::channel();
        Self {
            sender: BrokerSender {
                place: PlaceLane::default(),
                control,
                watched: Watched::default(),
            },
            jobs,
            meters,
        }
    }

    /// Where requests go.
    pub(crate) fn sender(&self) -> BrokerSender {
        self.sender.clone()
    }

    /// Starts the threads and the watchdog, which ends with `shutdown`'s sender. `no_book` says why the
    /// plugin is not asked for its book, where it is not.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub(crate) fn run(
        self,
        broker: Arc<Supervisor>,
        engine: Sender,
        clock: Clock,
        deadline: Duration,
        no_book: Option<String>,
    ) -> std::io::Result<Running> {
        let seen = broker.seen();
        let watched = self.sender.watched.clone();
        let control = ControlLane {
            broker: Arc::clone(&broker),
            engine: engine.clone(),
            jobs: self.jobs,
            watched: watched.clone(),
            clock,
            no_book,
            meters: self.meters.clone(),
        };
        let meters = self.meters.clone();
        let place = self.sender.place.clone();
        let to_engine = engine.clone();
        telemetry::thread("broker-orders", {
            let place = place.clone();
            move || place.run(&broker, &to_engine, clock, &meters)
        })?;
        let closing = telemetry::thread("broker-control", move || control.run())?;
        let watchdog = watchdog(place, watched, seen, engine, deadline);
        let watchdog = tokio::spawn(watchdog.in_current_span());
        Ok(Running {
            sender: self.sender,
            closing,
            watchdog,
            meters: self.meters,
        })
    }
}

/// Lanes at work.
pub(crate) struct Running {
    sender: BrokerSender,
    closing: std::thread::JoinHandle<()>,
    watchdog: tokio::task::JoinHandle<()>,
    meters: Meters,
}

impl Running {
    /// Takes no more orders; gives those that never reached the plugin.
    pub(crate) fn stop_orders(&self) -> Vec<qt_core::ClientOrderId> {
        self.sender.place.close()
    }

    /// Closes the plugin, waiting at most `grace`: a plugin that hangs does not keep the process.
    pub(crate) async fn close(self, grace: Duration) {
        self.sender.control.send(Job::Close).ok();
        let closing = self.closing;
        let ended = tokio::task::spawn_blocking(move || closing.join().ok());
        if tokio::time::timeout(grace, ended).await.is_err() {
            warn!(
                "the plugin does not close within {} s; the process ends without it",
                grace.as_secs_f32()
            );
        }
        self.watchdog.abort();
        services::tell_metrics(self.meters.of_plugin());
    }
}

/// Looks at both lanes' deadlines and tells the engine whether orders can be sent.
async fn watchdog(
    place: PlaceLane,
    control: Watched,
    mut connection: watch::Receiver<Seen>,
    engine: Sender,
    deadline: Duration,
) {
    let mut told: Option<bool> = None;
    let mut number = 0;
    let every = (deadline / 10).clamp(Duration::from_millis(10), Duration::from_millis(250));
    loop {
        tokio::select! {
            changed = connection.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(every) => {}
        }
        let mut inputs: Vec<Input> = place.overdue(deadline).into_iter().map(Input::Fact).collect();
        inputs.extend(control.overdue(deadline));
        let seen = connection.borrow_and_update().clone();
        // However short the loss was: what happened meanwhile is asked for before anything new is sent.
        if seen.number != number && told == Some(true) {
            told = Some(false);
            inputs.push(Input::Fact(Event::Connection {
                up: false,
                reason: seen.lost.clone(),
            }));
        }
        number = seen.number;
        let reason = if place.is_exchanged() {
            Some("the plugin is being exchanged".to_owned())
        } else if place.is_stuck() || control.is_stuck() {
            Some("the plugin does not answer".to_owned())
        } else {
            match &seen.state {
                ConnectionState::Connected => None,
                ConnectionState::Connecting => Some("it is connecting".to_owned()),
                ConnectionState::Disconnected { reason } => Some(reason.clone()),
            }
        };
        let up = reason.is_none();
        // Before the first word of the plugin there is nothing to tell: it starts as down.
        if told != Some(up) && (up || told.is_some()) {
            told = Some(up);
            inputs.push(Input::Fact(Event::Connection {
                up,
                reason: reason.unwrap_or_default(),
            }));
        }
        for input in inputs {
            if engine.send(input).await.is_err() {
                return;
            }
        }
    }
}

/// Where the things go that a plugin tells by itself, on threads of its own.
#[derive(Clone)]
pub(crate) struct Listener {
    engine: Sender,
    sender: BrokerSender,
    clock: Clock,
    meters: Meters,
}

/// Takes the events of one session of a plugin.
pub(crate) struct Session {
    listener: Listener,
    /// The number of the last one; they come from 1 on without a gap.
    last: AtomicU64,
    keeper: Keeper,
}

impl Session {
    /// Takes an event with its number. Where one is missing, which may have been a fill, the lists are asked for.
    pub(crate) fn numbered(&self, number: u64, event: plugin::Event) {
        let gap = self.gap_before(number);
        self.event(event);
        if let Some(last) = gap {
            warn!("event {number} of the plugin came after event {last}; its lists are asked for");
            self.listener.sender.send(ToBroker::Ask);
        }
    }

    /// Takes an event. It blocks while the engine's queue is full, which keeps the order and drops none.
    pub(crate) fn event(&self, event: plugin::Event) {
        match &event {
            plugin::Event::Connection(ConnectionState::Disconnected { reason }) => {
                self.keeper.is_away(reason)
            }
            // How it stands is asked, so that an older word that comes late says nothing.
            plugin::Event::Connection(_) => self.listener.sender.look(),
            _ => self.listener.event(event),
        }
    }

    /// Takes note of a number; the one before it, where others between the two have not come. Two threads of a plugin may
    /// overtake each other, which looks the same and asks for lists that were not needed.
    fn gap_before(&self, number: u64) -> Option<u64> {
        let last = self.last.fetch_max(number, Ordering::AcqRel);
        (number > last.saturating_add(1)).then_some(last)
    }
}

impl Listener {
    /// A listener that tells `engine`, and asks `sender` for what cannot be read.
    pub(crate) const fn new(engine: Sender, sender: BrokerSender, clock: Clock, meters: Meters) -> Self {
        Self {
            engine,
            sender,
            clock,
            meters,
        }
    }

    /// The host's time.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Takes what a plugin in a worker has counted.
    pub(crate) fn metrics(&self, series: &[plugin::Series], dropped: u64) {
        let metrics = self.meters.of_plugin();
        series.iter().for_each(|series| metrics.add(series));
        metrics.add_dropped(dropped);
    }

    /// What takes one session's events.
    pub(crate) fn session(&self, keeper: Keeper) -> Session {
        Session {
            listener: self.clone(),
            last: AtomicU64::new(0),
            keeper,
        }
    }

    fn event(&self, event: plugin::Event) {
        let (row, ask) = match event {
            plugin::Event::Order(row) => (convert::order(row).map(|row| row.map(Event::OrderSeen)), false),
            plugin::Event::Trade(row) => {
                crate::failpoint::die_at("fill-seen");
                (convert::fill(row).map(|row| row.map(Event::FillSeen)), false)
            }
            // Its order's row says the same; the books decide.
            plugin::Event::OrderError { .. } | plugin::Event::Unreadable { .. } => (Ok(None), true),
            plugin::Event::Connection(_) | plugin::Event::Account(_) | plugin::Event::Position(_) => {
                (Ok(None), false)
            }
        };
        match row {
            Ok(Some(event)) => drop(self.engine.blocking_send(Input::Fact(event))),
            Ok(None) if ask => self.sender.send(ToBroker::Ask),
            Ok(None) => {}
            Err(e) => {
                warn!("an event of the plugin cannot be used ({e}); its lists are asked for instead");
                self.sender.send(ToBroker::Ask);
            }
        }
    }

    /// For a plugin in this process.
    fn callbacks(&self, live: LiveConfig, keeper: Keeper) -> plugin::Callbacks {
        let (session, clock) = (self.session(keeper), self.clock);
        let meters = self.meters.clone();
        // The plugin's own threads know of no span.
        let about = tracing::Span::current();
        plugin::Callbacks::new(move |number, event| session.numbered(number, event))
            .with_clock(move || clock.now_ms())
            .with_log(move |line| about.in_scope(|| services::log(line)))
            .with_log_filter(services::log_enabled)
            .with_metrics(move |value| meters.of_plugin().record(value))
            .with_config(move || live.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account_event() -> plugin::Event {
        plugin::Event::Account(qt_plugin_api::AccountRow::default())
    }

    struct Nobody;

    impl link::Keeps for Nobody {
        fn wake(&self) {}

        fn is_away(&self, _: &str) {}
    }

    /// A number that is missing may have been a fill's: the broker's lists say what it was.
    #[test]
    fn a_gap_in_a_sessions_events_asks_for_the_lists() {
        let (engine, _inputs) = tokio::sync::mpsc::channel(8);
        let lanes = Lanes::new(Meters::default());
        let listener = Listener::new(engine, lanes.sender(), Clock::system(), Meters::default());
        let asked = || {
            lanes
                .jobs
                .try_iter()
                .filter(|job| matches!(job, Job::Ask))
                .count()
        };
        let session = listener.session(Arc::new(Nobody));
        for (number, asks) in [(1, 0), (2, 0), (4, 1), (3, 0), (5, 0), (9, 1), (10, 0)] {
            session.numbered(number, account_event());
            assert_eq!(asked(), asks, "at {number}");
        }
        // Another session counts for itself.
        listener.session(Arc::new(Nobody)).numbered(1, account_event());
        assert_eq!(asked(), 0);
        listener.session(Arc::new(Nobody)).numbered(2, account_event());
        assert_eq!(asked(), 1, "the first one is missing");
    }
}
