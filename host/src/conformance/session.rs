//! The judge's side of a probe: starts it, calls it with a deadline, and keeps all that it says.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qt_plugin_api::host::{Event, is_panic};
use qt_plugin_api::{
    AccountRow, CallError, CancelRequest, CancelResult, ConnectionState, OrderRequest, OrderRow, PlaceResult,
    PositionRow, Quote, TradeRow, TradesPage,
};

use super::probe::{Answer, Ask, Call, Called, News, Setup, Told};
use super::spoken::{Answers, Spoken, news, without_a_worker};
use super::{CALLS_WITHIN, Subject};
use crate::broker::worker::line::{Exchange, Line, Role};
use crate::broker::worker::{self, Reasoned};
use crate::clock::Clock;
use crate::config::Lane;
use crate::system;

/// What a plugin writes to one of its streams is kept up to here, and counted beyond.
const MOST_KEPT: usize = 64 << 10;
/// More than a plugin needs for ten thousand orders; a leak ends here and not at the machine's end.
const MEMORY: u64 = 2 << 30;
/// How often a state that something else brings about is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(15);
/// How long what an ended process wrote may take to be read.
const DRAINS_WITHIN: Duration = Duration::from_secs(5);

/// Why a call has no answer that can be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broken {
    /// The process is gone.
    Died(String),
    /// It did not come back in time.
    Late(String),
    /// It came back as a panic.
    Panicked(String),
}

impl Broken {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Died(text) | Self::Late(text) | Self::Panicked(text) => text,
        }
    }
}

/// Why a plugin is not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotOpen {
    /// It says so.
    Refused(String),
    /// It broke.
    Broken(Broken),
}

impl NotOpen {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Refused(text) => text,
            Self::Broken(broken) => broken.text(),
        }
    }
}

/// What a plugin wrote to one of its streams.
#[derive(Debug, Default)]
pub(super) struct Captured {
    pub(super) text: Vec<u8>,
    pub(super) bytes: u64,
    /// Nothing more can come.
    ended: bool,
}

struct Calls {
    spoken: Spoken,
    answers: Receiver<Result<Answer, String>>,
}

/// What the plugin told by itself, with the numbers of its events.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) events: Vec<(u64, Event)>,
    pub(super) log: Vec<String>,
}

/// A plugin that is open in a probe.
pub(super) struct Session {
    child: Mutex<Child>,
    family: system::Family,
    stdin: Mutex<Option<ChildStdin>>,
    orders: Mutex<Calls>,
    control: Mutex<Calls>,
    lane: Lane,
    /// A worker ends with its session.
    is_closed: AtomicBool,
    heard: Arc<Mutex<Heard>>,
    out: Arc<Mutex<Captured>>,
    err: Arc<Mutex<Captured>>,
    gone: Arc<AtomicBool>,
    deadline: Duration,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a probe works.
pub(super) struct Place<'a> {
    /// The plugin's folder.
    pub(super) data_dir: &'a Path,
    /// Current folder, home and folder for temporary files, where they are to be watched.
    pub(super) elsewhere: Option<&'a Path>,
    /// The configuration block.
    pub(super) config: &'a serde_json::Value,
}

impl Session {
    /// Starts a probe and opens the plugin in it.
    pub(super) fn start(subject: &Subject, place: &Place<'_>) -> Result<Self, NotOpen> {
        let broken = |text: String| NotOpen::Broken(Broken::Died(text));
        let exchange = Exchange::new().map_err(|e| broken(format!("no socket for its process: {e}")))?;
        let lane = subject.lane;
        let mut child =
            spawn(place, lane).map_err(|e| broken(format!("its process cannot be started: {e}")))?;
        let family = system::Family::of(&child).map_err(|e| {
            child.kill().ok();
            broken(format!("its process cannot be bound to this one: {e}"))
        })?;
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (out, err) = (capture(stdout), capture(stderr));
        let setup = setup(subject, place, &exchange);
        if let (Ok(mut line), Some(stdin)) = (setup, stdin.as_mut()) {
            line.push(b'\n');
            // A process that does not take it does not call either.
            stdin.write_all(&line).and_then(|()| stdin.flush()).ok();
        }
        let called = exchange.lines(Instant::now() + CALLS_WITHIN, || {
            matches!(system::ended(&family, &mut child), Ok(None))
        });
        let Ok(Some([orders, control, events])) = called else {
            let status = system::ended(&family, &mut child).ok().flatten();
            end(&family, &mut child);
            return Err(broken(format!("its process does not call back ({status:?})")));
        };
        let gone = Arc::new(AtomicBool::new(false));
        let (opened, is_open) = std::sync::mpsc::channel();
        let control = calls(control, &gone, lane, Role::Control, Some(opened));
        let session = Self {
            child: Mutex::new(child),
            family,
            stdin: Mutex::new(stdin),
            orders: Mutex::new(calls(orders, &gone, lane, Role::Orders, None)),
            control: Mutex::new(control),
            lane,
            is_closed: AtomicBool::new(false),
            heard: listen(events, &gone, lane),
            out,
            err,
            gone,
            deadline: subject.deadline,
        };
        match is_open.recv_timeout(subject.open_within) {
            Ok(Ok(Ok(()))) => Ok(session),
            Ok(Ok(Err(reason))) if is_panic(&reason) => Err(NotOpen::Broken(Broken::Panicked(reason))),
            Ok(Ok(Err(reason))) => Err(NotOpen::Refused(reason)),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Err(broken(format!(
                "`open` took its process down: {}",
                session.fate()
            ))),
            Err(RecvTimeoutError::Timeout) => Err(NotOpen::Broken(Broken::Late(format!(
                "`open` has not come back within {} s",
                subject.open_within.as_secs_f32()
            )))),
        }
    }

    /// A call on the lane for orders, or on the one for all else.
    pub(super) fn call(&self, ask: &Ask) -> Result<Told, Broken> {
        let is_closed = self.is_closed.load(Ordering::Acquire);
        if self.lane == Lane::Worker
            && let Some(told) = without_a_worker(ask, is_closed)
        {
            return Ok(told);
        }
        let calls = if matches!(ask, Ask::Place(_)) {
            &self.orders
        } else {
            &self.control
        };
        let mut calls = lock(calls);
        let name = ask.name();
        let died = || Broken::Died(format!("`{name}` took its process down: {}", self.fate()));
        if self.gone.load(Ordering::Acquire) || calls.spoken.say(ask).is_err() {
            return Err(died());
        }
        match calls.answers.recv_timeout(self.deadline) {
            Ok(Ok(answer)) => {
                if answer.told == Told::Call(Called::Closed) {
                    self.is_closed.store(true, Ordering::Release);
                }
                match panic_of(name, &answer) {
                    Some(panic) => Err(Broken::Panicked(panic)),
                    None => Ok(answer.told),
                }
            }
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Err(died()),
            Err(RecvTimeoutError::Timeout) => {
                self.kill();
                Err(Broken::Late(format!(
                    "`{name}` has not come back within {} s",
                    self.deadline.as_secs_f32()
                )))
            }
        }
    }

    pub(super) fn place(&self, order: &OrderRequest) -> Result<PlaceResult, Broken> {
        match self.call(&Ask::Place(order.clone()))? {
            Told::Place(answer) => Ok(answer),
            other => Err(mixed_up("place_order", &other)),
        }
    }

    pub(super) fn cancel(&self, cancel: &CancelRequest) -> Result<CancelResult, Broken> {
        match self.call(&Ask::Call(Call::Cancel(cancel.clone())))? {
            Told::Call(Called::Cancel(answer)) => Ok(answer),
            other => Err(mixed_up("cancel_order", &other)),
        }
    }

    pub(super) fn orders(&self) -> Result<Result<Vec<OrderRow>, CallError>, Broken> {
        match self.call(&Ask::Call(Call::Orders))? {
            Told::Call(Called::Orders(answer)) => Ok(answer),
            other => Err(mixed_up("orders_today", &other)),
        }
    }

    pub(super) fn trades(&self) -> Result<Result<Vec<TradeRow>, CallError>, Broken> {
        match self.call(&Ask::Call(Call::Trades))? {
            Told::Call(Called::Trades(answer)) => Ok(answer),
            other => Err(mixed_up("trades_today", &other)),
        }
    }

    pub(super) fn positions(&self) -> Result<Result<Vec<PositionRow>, CallError>, Broken> {
        match self.call(&Ask::Call(Call::Positions))? {
            Told::Call(Called::Positions(answer)) => Ok(answer),
            other => Err(mixed_up("positions", &other)),
        }
    }

    pub(super) fn account(&self) -> Result<Result<AccountRow, CallError>, Broken> {
        match self.call(&Ask::Call(Call::Account))? {
            Told::Call(Called::Account(answer)) => Ok(answer),
            other => Err(mixed_up("account", &other)),
        }
    }

    pub(super) fn connection(&self) -> Result<ConnectionState, Broken> {
        match self.call(&Ask::Call(Call::Connection))? {
            Told::Call(Called::Connection(answer)) => Ok(answer),
            other => Err(mixed_up("connection", &other)),
        }
    }

    /// Prices of these symbols; nothing where the plugin offers none.
    pub(super) fn quotes(&self, symbols: &[String]) -> Result<Option<Result<Vec<Quote>, CallError>>, Broken> {
        match self.call(&Ask::Call(Call::Quotes(symbols.to_vec())))? {
            Told::Call(Called::Quotes(answer)) => Ok(answer),
            other => Err(mixed_up("quotes", &other)),
        }
    }

    /// The trades since a cursor; nothing where the plugin does not tell them so.
    pub(super) fn trades_since(
        &self,
        cursor: Option<&str>,
    ) -> Result<Option<Result<TradesPage, CallError>>, Broken> {
        match self.call(&Ask::Call(Call::TradesSince(cursor.map(str::to_owned))))? {
            Told::Call(Called::TradesSince(answer)) => Ok(answer),
            other => Err(mixed_up("trades_since", &other)),
        }
    }

    pub(super) fn usage(&self) -> Result<Option<system::Usage>, Broken> {
        match self.call(&Ask::Usage)? {
            Told::Usage(answer) => Ok(answer),
            other => Err(mixed_up("usage", &other)),
        }
    }

    /// What the plugin told so far.
    pub(super) fn heard(&self) -> MutexGuard<'_, Heard> {
        lock(&self.heard)
    }

    /// What it wrote to standard output.
    pub(super) fn stdout(&self) -> MutexGuard<'_, Captured> {
        lock(&self.out)
    }

    /// What it wrote to standard error.
    pub(super) fn stderr(&self) -> MutexGuard<'_, Captured> {
        lock(&self.err)
    }

    /// Ends the process and waits until all that it wrote is here, unless something else keeps its streams open.
    pub(super) fn drain(&self) {
        self.kill();
        let until = Instant::now() + DRAINS_WITHIN;
        while !(self.stdout().ended && self.stderr().ended) && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
    }

    /// How the process ended, if it did.
    pub(super) fn status(&self) -> Option<String> {
        let status = system::ended(&self.family, &mut lock(&self.child))
            .ok()
            .flatten()?;
        Some(status.to_string())
    }

    fn fate(&self) -> String {
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            if let Some(status) = self.status() {
                return status;
            }
            std::thread::sleep(LOOK);
        }
        "it does not answer any more".to_owned()
    }

    /// Ends the process as a loss of power would.
    pub(super) fn kill(&self) {
        self.gone.store(true, Ordering::Release);
        lock(&self.stdin).take();
        end(&self.family, &mut lock(&self.child));
    }
}

/// Ends a process with what it started, and waits for it by way of its family: once nobody else has waited for it, its number
/// may be another process's, whose group must not be killed.
fn end(family: &system::Family, child: &mut Child) {
    system::kill_family(family, child);
    let until = Instant::now() + DRAINS_WITHIN;
    while matches!(system::ended(family, child), Ok(None)) && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.kill();
    }
}

fn mixed_up(name: &str, told: &Told) -> Broken {
    Broken::Died(format!("`{name}` was answered by {told:?}"))
}

/// The panic that an answer tells of.
fn panic_of(name: &str, answer: &Answer) -> Option<String> {
    let reason = answer.told.reason();
    answer.is_panic.then(|| match reason {
        Some(reason) => format!("`{name}` panicked ({reason})"),
        None => format!("`{name}` panicked"),
    })
}

/// What the child is told, as one line of JSON.
fn setup(subject: &Subject, place: &Place<'_>, exchange: &Exchange) -> serde_json::Result<Vec<u8>> {
    match subject.lane {
        Lane::InProcess => serde_json::to_vec(&Setup {
            socket: exchange.socket().to_owned(),
            secret: exchange.secret().to_owned(),
            plugin: subject.copy.clone(),
            sha256: subject.sha256.clone(),
            config: place.config.clone(),
            data_dir: place.data_dir.to_owned(),
            account_id: subject.account_id.clone(),
            memory: MEMORY,
        }),
        Lane::Worker => serde_json::to_vec(&worker::Setup::of(&worker::Guest {
            exchange,
            plugin: &subject.copy,
            sha256: &subject.sha256,
            config: place.config,
            data_dir: place.data_dir,
            account_id: subject.account_id.as_deref(),
            memory: MEMORY,
            now_ms: Clock::system().now_ms(),
        })),
    }
}

fn spawn(place: &Place<'_>, lane: Lane) -> std::io::Result<Child> {
    let mut command = Command::new(system::own_executable()?);
    command
        .arg(match lane {
            Lane::InProcess => "probe",
            Lane::Worker => "worker",
        })
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // What a plugin has no business with, and would inherit.
    crate::secrets::hide_from(|name| {
        command.env_remove(name);
    });
    if let Some(elsewhere) = place.elsewhere {
        command.current_dir(elsewhere);
        for name in ["HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"] {
            command.env(name, elsewhere);
        }
    }
    system::in_own_group(&mut command);
    command.spawn()
}

fn capture(stream: Option<impl Read + Send + 'static>) -> Arc<Mutex<Captured>> {
    let captured = Arc::<Mutex<Captured>>::default();
    let own = Arc::clone(&captured);
    if let Some(mut stream) = stream {
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                let mut captured = lock(&own);
                captured.bytes += count as u64;
                let room = MOST_KEPT.saturating_sub(captured.text.len()).min(count);
                captured.text.extend_from_slice(&bytes[..room]);
            }
            lock(&own).ended = true;
        });
    }
    captured
}

type Opened = Result<Result<(), String>, String>;

/// A line of calls, whose first word on the one for all but orders says whether the plugin is open.
fn calls(
    line: Line,
    gone: &Arc<AtomicBool>,
    lane: Lane,
    role: Role,
    opened: Option<std::sync::mpsc::Sender<Opened>>,
) -> Calls {
    let (reader, writer) = line.split(gone);
    let mut reader = Answers::new(reader, lane, role);
    let (to_caller, answers) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        if opened.is_some_and(|opened| opened.send(reader.opened()).is_err()) {
            return;
        }
        loop {
            let told = reader.next();
            let last = told.is_err();
            if to_caller.send(told).is_err() || last {
                return;
            }
        }
    });
    Calls {
        spoken: Spoken::new(writer, lane),
        answers,
    }
}

fn listen(line: Line, gone: &Arc<AtomicBool>, lane: Lane) -> Arc<Mutex<Heard>> {
    let heard = Arc::<Mutex<Heard>>::default();
    let own = Arc::clone(&heard);
    let (mut reader, _) = line.split(gone);
    std::thread::spawn(move || {
        while let Ok(said) = news(&mut reader, lane) {
            let mut heard = lock(&own);
            match said {
                Some(News::Event(number, event)) => heard.events.push((number, event)),
                Some(News::Log(line)) => heard.log.push(line),
                None => {}
            }
        }
    });
    heard
}
