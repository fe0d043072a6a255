//! The worker of one plugin: two lanes, a watchdog, and the plugin's own events.

mod control_lane;
mod convert;
mod place_lane;
pub(crate) mod read;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use qt_core::{ClientOrderId, Event, NewOrder};
use qt_plugin_api::ConnectionState;
use qt_plugin_api::host as plugin;
use tokio::sync::{oneshot, watch};
use tracing::warn;

use control_lane::{ControlLane, Job, Watched};
use place_lane::PlaceLane;
pub(crate) use read::Book;

use crate::clock::Clock;
use crate::engine::input::{Input, Sender, ToBroker};

/// Where the engine sends its requests. Never blocks, so that the engine never waits for a plugin.
#[derive(Debug, Clone)]
pub(crate) struct BrokerSender {
    place: PlaceLane,
    control: mpsc::Sender<Job>,
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
}

impl Lanes {
    /// Empty lanes.
    pub(crate) fn new() -> Self {
        let (control, jobs) = mpsc::channel();
        Self {
            sender: BrokerSender {
                place: PlaceLane::default(),
                control,
            },
            jobs,
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
        broker: plugin::LoadedBroker,
        engine: Sender,
        clock: Clock,
        deadline: Duration,
        no_book: Option<String>,
    ) -> std::io::Result<Running> {
        let broker = Arc::new(broker);
        let (connection, seen) = watch::channel(ConnectionState::Connecting);
        let watched = Watched::default();
        let control = ControlLane {
            broker: Arc::clone(&broker),
            engine: engine.clone(),
            jobs: self.jobs,
            watched: watched.clone(),
            clock,
            no_book,
            connection,
        };
        let place = self.sender.place.clone();
        let to_engine = engine.clone();
        std::thread::Builder::new().name("broker-orders".into()).spawn({
            let place = place.clone();
            move || place.run(&broker, &to_engine, clock)
        })?;
        let closing = std::thread::Builder::new()
            .name("broker-control".into())
            .spawn(move || control.run())?;
        let watchdog = tokio::spawn(watchdog(place, watched, seen, engine, deadline));
        Ok(Running {
            sender: self.sender,
            closing,
            watchdog,
        })
    }
}

/// Lanes at work.
pub(crate) struct Running {
    sender: BrokerSender,
    closing: std::thread::JoinHandle<()>,
    watchdog: tokio::task::JoinHandle<()>,
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
    }
}

/// Looks at both lanes' deadlines and tells the engine whether orders can be sent.
async fn watchdog(
    place: PlaceLane,
    control: Watched,
    mut connection: watch::Receiver<ConnectionState>,
    engine: Sender,
    deadline: Duration,
) {
    let mut told: Option<bool> = None;
    let every = (deadline / 10).clamp(Duration::from_millis(10), Duration::from_millis(250));
    loop {
        tokio::select! {
            changed = connection.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(every) => {}
        }
        let mut inputs: Vec<Input> = place.overdue(deadline).into_iter().map(Input::Fact).collect();
        inputs.extend(control.overdue(deadline));
        let reason = if place.is_stuck() || control.is_stuck() {
            Some("the plugin does not answer".to_owned())
        } else {
            match &*connection.borrow() {
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

/// What a plugin tells by itself, on threads of its own.
pub(crate) fn callbacks(engine: Sender, sender: BrokerSender, clock: Clock) -> plugin::Callbacks {
    let on_event = move |_number: u64, event: plugin::Event| {
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
            // Blocking keeps the order of a plugin's events and drops none.
            Ok(Some(event)) => drop(engine.blocking_send(Input::Fact(event))),
            Ok(None) if ask => sender.send(ToBroker::Ask),
            Ok(None) => {}
            Err(e) => {
                warn!("an event of the plugin cannot be used ({e}); its lists are asked for instead");
                sender.send(ToBroker::Ask);
            }
        }
    };
    plugin::Callbacks::new(on_event)
        .with_clock(move || clock.now_ms())
        .with_log(log)
}

fn log(line: plugin::LogLine<'_>) {
    use qt_plugin_api::LogLevel;
    let (target, text, fields) = (line.target, line.message, line.fields);
    match line.level {
        LogLevel::Error => tracing::error!(target: "plugin", part = target, fields, "{text}"),
        LogLevel::Warning => tracing::warn!(target: "plugin", part = target, fields, "{text}"),
        LogLevel::Info => tracing::info!(target: "plugin", part = target, fields, "{text}"),
        LogLevel::Debug => tracing::debug!(target: "plugin", part = target, fields, "{text}"),
    }
}
