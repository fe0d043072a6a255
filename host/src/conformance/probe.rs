//! The probe: a process of its own in which one plugin is loaded and called as a case says. Nothing of the kit's
//! judgement happens here, so that a plugin that takes its process down takes no verdict with it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use qt_plugin_api::host::{Callbacks, Event, LoadedBroker, LogLine, OpenArgs, is_panic};
use qt_plugin_api::{OrderRequest, PlaceResult};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::broker::worker::line::{Line, LineReader, LineWriter, Role};
use crate::broker::worker::{self, Reasoned};
pub(super) use crate::broker::worker::{Ask as Call, Told as Called};
use crate::clock::Clock;
use crate::{plugin, system};

/// No settings are longer.
const LONGEST_SETUP: u64 = 4 << 20;

/// What a probe is told, as one line of JSON on its standard input: the account number shows in no list of processes.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) socket: PathBuf,
    pub(super) secret: String,
    pub(super) plugin: PathBuf,
    pub(super) sha256: String,
    pub(super) config: Value,
    pub(super) data_dir: PathBuf,
    pub(super) account_id: Option<String>,
    pub(super) memory: u64,
}

/// What a probe is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    Place(OrderRequest),
    /// Any other call of the plugin, as a worker's host makes it.
    Call(Call),
    /// Drops the broker.
    Free,
    /// What the probe's process holds.
    Usage,
}

impl Ask {
    /// Its name for people.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Place(_) => "place_order",
            Self::Call(Call::Cancel(_)) => "cancel_order",
            Self::Call(Call::Orders) => "orders_today",
            Self::Call(Call::Trades) => "trades_today",
            Self::Call(Call::Positions) => "positions",
            Self::Call(Call::Account) => "account",
            Self::Call(Call::Connection) => "connection",
            Self::Call(Call::Quotes(_)) => "quotes",
            Self::Call(Call::TradesSince(_)) => "trades_since",
            Self::Call(Call::Close) => "close",
            Self::Free => "drop",
            Self::Usage => "usage",
        }
    }
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// True where the plugin's code panicked in this call.
    pub(super) is_panic: bool,
    pub(super) told: Told,
}

/// What came of an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Told {
    Place(PlaceResult),
    Call(Called),
    Freed,
    Usage(Option<system::Usage>),
    /// The broker was dropped before.
    Gone,
}

impl Reasoned for Told {
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Place(answer) => answer.reason(),
            Self::Call(answer) => answer.reason(),
            Self::Freed | Self::Usage(_) | Self::Gone => None,
        }
    }
}

/// What comes on the third line.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, and most are the large one"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum News {
    Event(u64, Event),
    Log(String),
}

type Slot = Arc<Mutex<Option<Arc<LoadedBroker>>>>;

/// Works until whoever started it is gone.
///
/// # Errors
///
/// It was not started by the kit.
pub(crate) fn run() -> Result<(), String> {
    let mut stdin = BufReader::new(std::io::stdin());
    let mut line = Vec::new();
    (&mut stdin)
        .take(LONGEST_SETUP)
        .read_until(b'\n', &mut line)
        .map_err(|e| e.to_string())?;
    let setup: Setup = serde_json::from_slice(&line)
        .map_err(|_| "`qt-host probe` is started by `qt-host plugins test` alone".to_owned())?;
    std::thread::Builder::new()
        .name("judge-gone".into())
        .spawn(move || {
            let mut bytes = [0; 64];
            while matches!(stdin.read(&mut bytes), Ok(count) if count > 0) {}
            system::exit(0)
        })
        .map_err(|e| e.to_string())?;
    let gone = Arc::new(AtomicBool::new(false));
    let line = |role| Line::call(&setup.socket, &setup.secret, role).map(|line| line.split(&gone));
    let (orders, control, events) = (line(Role::Orders)?, line(Role::Control)?, line(Role::Events)?);
    let (reader, mut writer) = control;
    let opened = open(&setup, events.1);
    let told: Result<(), String> = opened.as_ref().map(|_| ()).map_err(Clone::clone);
    writer.write(&told)?;
    let Ok(broker) = opened else {
        // The judge ends this process once it has read that. A pipe of Windows whose caller is gone before it was taken up
        // is lost with all that was said.
        std::thread::sleep(worker::LET_GO_WITHIN);
        return Ok(());
    };
    let slot: Slot = Arc::new(Mutex::new(Some(Arc::new(broker))));
    let own = Arc::clone(&slot);
    std::thread::Builder::new()
        .name("orders".into())
        .spawn(move || serve(orders.0, orders.1, &own))
        .map_err(|e| e.to_string())?;
    serve(reader, writer, &slot);
    system::exit(0)
}

fn open(setup: &Setup, mut events: LineWriter) -> Result<LoadedBroker, String> {
    system::limit_memory(setup.memory).map_err(|e| format!("its memory cannot be limited: {e}"))?;
    let plugin = plugin::load_copy(Path::new(&setup.plugin), &setup.sha256).map_err(|e| e.to_string())?;
    let clock = Clock::system();
    // Written in the order of the calls: whoever holds this lock speaks.
    let (to_judge, news) = std::sync::mpsc::channel::<News>();
    std::thread::Builder::new()
        .name("news".into())
        .spawn(move || {
            while let Ok(said) = news.recv() {
                if events.write(&said).is_err() {
                    return;
                }
            }
        })
        .map_err(|e| e.to_string())?;
    let log = to_judge.clone();
    let callbacks = Callbacks::new(move |number, event| {
        to_judge.send(News::Event(number, event)).ok();
    })
    .with_clock(move || clock.now_ms())
    .with_log(move |line: LogLine<'_>| {
        log.send(News::Log(format!("{} {}", line.message, line.fields)))
            .ok();
    });
    let args = OpenArgs {
        config: &setup.config,
        data_dir: &setup.data_dir,
        account_id: setup.account_id.as_deref(),
        callbacks,
    };
    plugin.open(args).map_err(|e| e.reason)
}

fn serve(mut reader: LineReader, mut writer: LineWriter, slot: &Slot) {
    while let Ok(ask) = reader.read::<Ask>() {
        if writer.write(&answer(&ask, slot)).is_err() {
            return;
        }
    }
}

fn answer(ask: &Ask, slot: &Slot) -> Answer {
    let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let unspoilt = |told| Answer {
        is_panic: false,
        told,
    };
    match ask {
        Ask::Usage => return unspoilt(Told::Usage(system::own_usage())),
        Ask::Free => {
            let broker = held.take();
            drop(held);
            drop(broker);
            return unspoilt(Told::Freed);
        }
        _ => {}
    }
    let Some(broker) = held.clone() else {
        return unspoilt(Told::Gone);
    };
    drop(held);
    let was_poisoned = broker.is_poisoned();
    let told = match ask {
        Ask::Place(order) => Told::Place(broker.place_order(order)),
        Ask::Call(call) => Told::Call(worker::carry_out(&broker, call)),
        Ask::Free | Ask::Usage => Told::Gone,
    };
    // The plugin says that it panicked at some time; where it had before, the words say whether it did again.
    let is_panic = broker.is_poisoned() && (!was_poisoned || told.reason().is_some_and(is_panic));
    Answer { is_panic, told }
}
