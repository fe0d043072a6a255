//! The worker's side: loads the plugin, and carries the host's calls to it and its events to the host.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use interprocess::local_socket::Stream;
use qt_plugin_api::LogLevel;
use qt_plugin_api::host::{Callbacks, LoadedBroker, LogLine, MetricRegistry, OpenArgs};

use super::frame::{Answer, Ask, Hello, News, Numbered, Opened, Order, PROTOCOL, Reader, Role, Told, Writer};
use super::output::{self, Floods};
use super::{CLOSE_LIMIT, Setup, stream};
use crate::broker::link::OpenFailure;
use crate::broker::seat::{self, Seat};
use crate::clock::Clock;
use crate::plugin;
use crate::system;

/// No settings are longer.
const LONGEST_SETUP: u64 = 4 << 20;
/// Lines of the plugin's that go to the host's log in a second, and as many of what went wrong: they share the stream of its
/// fills.
const LINES: u32 = 200;
/// How often the host hears what was counted.
const COUNTS_EVERY: Duration = Duration::from_secs(1);

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    /// Standard input does not say what to do.
    #[error(
        "`qt-host worker` is started by qt-host itself, which tells it over standard input what to do; {0}"
    )]
    NotAsked(String),
    /// The host cannot be called.
    #[error("the host cannot be called at {path}: {source}")]
    NoHost {
        /// The socket.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The host cannot be spoken to.
    #[error("the host cannot be spoken to: {0}")]
    Stream(String),
    /// The system gives no thread.
    #[error("the system gives no thread to run on: {0}")]
    Thread(#[from] std::io::Error),
}

/// The plugin's broker, once it is open.
type Slot = Arc<OnceLock<LoadedBroker>>;

/// Works until the host closes the session or is gone; it never comes back from that.
///
/// # Errors
///
/// [`WorkerError`], before the plugin is open. What is wrong with the plugin is told to the host instead.
pub(crate) fn run() -> Result<(), WorkerError> {
    crate::failpoint::arm();
    let mut stdin = BufReader::new(std::io::stdin());
    let setup = read_setup(&mut stdin)?;
    let broker = Slot::default();
    leave_with_the_host(stdin, Arc::clone(&broker))?;
    let orders = call(&setup, Role::Orders)?;
    let control = call(&setup, Role::Control)?;
    let events = call(&setup, Role::Events)?;
    let mut writer = Writer::new(&*control);
    let teller = Teller {
        news: Arc::new(Mutex::new(Writer::new(Owned(events)))),
        metrics: Arc::default(),
        flood: Arc::new(Mutex::new(Floods::new(LINES, Clock::system().monotonic()))),
        broker: Arc::clone(&broker),
    };
    let opened = open(&setup, &teller, &broker);
    let failed = opened.is_err();
    writer
        .write(&Opened(opened.map(drop)))
        .map_err(|e| WorkerError::Stream(e.to_string()))?;
    if failed {
        // The host ends this process once it has read that. A pipe of Windows whose caller is gone before it was taken up
        // is lost with all that was said.
        std::thread::sleep(super::LET_GO_WITHIN);
        return Ok(());
    }
    let own = Arc::clone(&broker);
    std::thread::Builder::new()
        .name("orders".into())
        .spawn(move || serve_orders(&orders, &own))?;
    let counts = teller.clone();
    std::thread::Builder::new().name("counts".into()).spawn(move || {
        loop {
            std::thread::sleep(COUNTS_EVERY);
            counts.tell_counts();
        }
    })?;
    serve_control(Reader::new(&*control), writer, &broker, &teller);
    leave(&broker)
}

fn read_setup(stdin: &mut impl BufRead) -> Result<Setup, WorkerError> {
    let mut line = Vec::new();
    stdin
        .take(LONGEST_SETUP)
        .read_until(b'\n', &mut line)
        .map_err(|e| WorkerError::NotAsked(e.to_string()))?;
    // The line holds secrets: what is wrong with it is told by its place alone.
    let setup: Setup = serde_json::from_slice(&line).map_err(|e| {
        WorkerError::NotAsked(format!("what came cannot be read from column {} on", e.column()))
    })?;
    if setup.protocol == PROTOCOL {
        return Ok(setup);
    }
    Err(WorkerError::NotAsked(format!(
        "the host speaks version {} of the protocol and this program version {PROTOCOL}: it was replaced on the disk while the host ran; start the host again",
        setup.protocol
    )))
}

/// Standard input ends when the host does, however it ends, and whatever the plugin is doing then.
fn leave_with_the_host(mut stdin: impl Read + Send + 'static, broker: Slot) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("host-gone".into())
        .spawn(move || {
            let mut bytes = [0; 64];
            while matches!(stdin.read(&mut bytes), Ok(count) if count > 0) {}
            leave(&broker)
        })
        .map(drop)
}

/// Closes the plugin, if it closes in time, and ends the process with all that it started.
fn leave(broker: &Slot) -> ! {
    if broker.get().is_some() {
        let (done, closed) = std::sync::mpsc::channel();
        let broker = Arc::clone(broker);
        let closing = std::thread::Builder::new().spawn(move || {
            if let Some(broker) = broker.get() {
                broker.close();
            }
            done.send(()).ok();
        });
        if closing.is_ok() {
            closed.recv_timeout(CLOSE_LIMIT).ok();
        }
    }
    system::end_with_family()
}

fn call(setup: &Setup, role: Role) -> Result<Arc<Stream>, WorkerError> {
    let stream = stream::call(&setup.socket).map_err(|source| WorkerError::NoHost {
        path: system::shown(&setup.socket),
        source,
    })?;
    let hello = Hello {
        role,
        secret: setup.secret.clone(),
    };
    let stream = Arc::new(stream);
    Writer::new(&*stream)
        .greet(&hello)
        .map_err(|e| WorkerError::Stream(e.to_string()))?;
    Ok(stream)
}

/// Takes the seat, loads the plugin and opens its broker.
fn open(setup: &Setup, teller: &Teller, broker: &Slot) -> Result<(), OpenFailure> {
    // Held until the process ends.
    let seat = Box::leak(Box::new(Seat::new(&setup.data_dir)));
    seat.take(seat::PATIENCE)?;
    if let Some(bytes) = setup.memory {
        system::limit_memory(bytes).map_err(|e| {
            format!("its memory cannot be limited to {bytes} bytes ({e}); change `memory_limit_mb` in `plugin_options`")
        })?;
    }
    let module = plugin::load_copy(Path::new(&setup.plugin), &setup.sha256).map_err(|e| OpenFailure {
        reason: e.to_string(),
        refused: true,
        temporary: false,
    })?;
    let args = OpenArgs {
        config: &setup.config,
        data_dir: &setup.data_dir,
        account_id: setup.account_id.as_deref(),
        callbacks: callbacks(setup, teller),
    };
    let opened = module.open(args)?;
    broker
        .set(opened)
        .map_err(|_| "it is open already".to_owned().into())
}

/// Says to the host what the plugin tells by itself.
#[derive(Clone)]
struct Teller {
    news: Arc<Mutex<Writer<Owned>>>,
    /// What the plugin has counted and the host has not heard yet.
    metrics: Arc<MetricRegistry>,
    /// The plugin's lines for the log.
    flood: Arc<Mutex<Floods>>,
    broker: Slot,
}

impl Teller {
    /// At once and in order. A host that does not take it is waited for: no event is ever dropped.
    fn tell(&self, said: &News) {
        let told = self
            .news
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(said);
        if told.is_err() {
            // Events that nobody can hear are lost money; the host's end is seen elsewhere, but a broken stream
            // is an end as well. Another thread leaves, since this one is the plugin's.
            let broker = Arc::clone(&self.broker);
            std::thread::spawn(move || leave(&broker));
        }
    }

    /// What was counted since the last time: by the plugin, and of its lines that were left out.
    fn tell_counts(&self) {
        let left_out = self.flood().rest();
        self.tell_left_out(left_out);
        let (series, dropped) = self.metrics.take();
        if !series.is_empty() || dropped > 0 {
            self.tell(&News::Metrics { series, dropped });
        }
    }

    /// A line for the log, unless there are too many of them: fills must not wait behind them.
    fn tell_line(&self, line: LogLine<'_>) {
        let passing = self.flood().line(line.level, Instant::now());
        self.tell_left_out(passing.left_out);
        if passing.passes {
            self.tell(&News::Log {
                level: line.level,
                target: line.target.to_owned(),
                message: line.message.to_owned(),
                fields: line.fields.to_owned(),
            });
        }
    }

    fn tell_left_out(&self, count: u64) {
        if count > 0 {
            self.tell(&News::Log {
                level: LogLevel::Warning,
                target: "log".to_owned(),
                message: output::left_out(count),
                fields: String::new(),
            });
        }
    }

    fn flood(&self) -> MutexGuard<'_, Floods> {
        self.flood.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn callbacks(setup: &Setup, teller: &Teller) -> Callbacks {
    let clock = Clock::system();
    // As the host, whose journal may be ahead of a clock that was set back.
    clock.go_on_from(setup.now_ms);
    let (live, level) = (setup.live.clone(), setup.level);
    let (events, lines, metrics) = (teller.clone(), teller.clone(), Arc::clone(&teller.metrics));
    Callbacks::new(move |number, event| events.tell(&News::Event(number, event)))
        .with_clock(move || clock.now_ms())
        .with_config(move || live.read())
        .with_metrics(move |value| metrics.record(value))
        .with_log_filter(move |asked| level.is_some_and(|least| asked >= least))
        .with_log(move |line: LogLine<'_>| lines.tell_line(line))
}

/// A stream's writing side that keeps it open.
struct Owned(Arc<Stream>);

impl Write for Owned {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        (&*self.0).flush()
    }
}

/// Carries orders to the plugin until the stream ends.
fn serve_orders(stream: &Stream, broker: &Slot) {
    let (mut reader, mut writer) = (Reader::new(stream), Writer::new(stream));
    let Some(broker) = broker.get() else { return };
    loop {
        let Ok(call) = reader.read::<Numbered<Order>>() else {
            return;
        };
        let Order::Place(order) = &call.what;
        crate::failpoint::die_at("worker-before-call");
        let what = broker.place_order(order);
        crate::failpoint::die_at("worker-after-call");
        let is_poisoned = broker.is_poisoned();
        let number = call.number;
        let answer = Answer {
            number,
            is_poisoned,
            what,
        };
        if writer.write(&answer).is_err() {
            return;
        }
    }
}

/// Carries all other calls to the plugin until the session is closed or the stream ends.
fn serve_control(mut reader: Reader<&Stream>, mut writer: Writer<&Stream>, broker: &Slot, teller: &Teller) {
    let Some(broker) = broker.get() else { return };
    loop {
        let Ok(call) = reader.read::<Numbered<Ask>>() else {
            return;
        };
        let closes = call.what == Ask::Close;
        let what = carry_out(broker, &call.what);
        if closes {
            // Before the answer, after which the host waits for nothing more.
            teller.tell_counts();
        }
        let answer = Answer {
            number: call.number,
            is_poisoned: broker.is_poisoned(),
            what,
        };
        if writer.write(&answer).is_err() || closes {
            return;
        }
    }
}

/// Calls the plugin as it is asked to be called.
pub(crate) fn carry_out(broker: &LoadedBroker, ask: &Ask) -> Told {
    match ask {
        Ask::Cancel(cancel) => Told::Cancel(broker.cancel_order(cancel)),
        Ask::Orders => Told::Orders(broker.orders_today()),
        Ask::Trades => Told::Trades(broker.trades_today()),
        Ask::Positions => Told::Positions(broker.positions()),
        Ask::Account => Told::Account(broker.account()),
        Ask::Connection => Told::Connection(broker.connection()),
        Ask::Quotes(symbols) => Told::Quotes(broker.quotes().map(|link| link.quotes(symbols))),
        Ask::TradesSince(cursor) => {
            let page = |link: qt_plugin_api::host::TradesLink<'_>| link.trades_since(cursor.as_deref());
            Told::TradesSince(broker.trades().map(page))
        }
        Ask::Close => {
            broker.close();
            Told::Closed
        }
    }
}
