//! The host's side of a worker: starts it, calls it, and ends it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use interprocess::local_socket::{Listener as Socket, Stream};
use qt_plugin_api::host::{Event, LogLine};
use qt_plugin_api::{
    AccountRow, CallError, CancelRequest, CancelResult, ConnectionState, OrderRequest, OrderRow, PlaceResult,
    PositionRow, Quote, TradeRow,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::frame::{
    Answer, Ask, FrameError, News, Numbered, Opened, Order, PROTOCOL, Reader, Reasoned, Told, Writer,
};
use super::output::{self, Source};
use super::stream::{self, Patient};
use super::{Limits, Setup};
use crate::broker::link::{BrokerLink, Keeper, OpenFailure, Opener, Placed};
use crate::broker::{Listener, LiveConfig, services};
use crate::system;
use crate::telemetry;

/// How long a worker may take from its start to its third call.
const CALLS_WITHIN: Duration = Duration::from_secs(20);
/// How long a caller may take to say who it is.
const GREETS_WITHIN: Duration = Duration::from_secs(5);
/// How long a process whose streams have ended may take to end too.
const ENDS_WITHIN: Duration = Duration::from_millis(200);
/// How long a killed process may take to be gone; one that the system holds longer is left to it.
const DIES_WITHIN: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(2);

/// Opens brokers of a plugin, each in a worker of its own.
pub(crate) struct Worker {
    /// Its name and version.
    pub(crate) title: String,
    /// The private copy of its file.
    pub(crate) plugin: PathBuf,
    /// SHA-256 of the copy.
    pub(crate) sha256: String,
    /// Its block of the configuration.
    pub(crate) config: Value,
    /// Where that block is read again.
    pub(crate) live: LiveConfig,
    /// Its folder.
    pub(crate) data_dir: PathBuf,
    /// The broker's number of the account.
    pub(crate) account_id: Option<String>,
    /// What the worker may do and use.
    pub(crate) limits: Limits,
    /// Where its events go.
    pub(crate) listener: Listener,
}

impl Opener for Worker {
    fn open(&self, keeper: Keeper) -> Result<Arc<dyn BrokerLink>, OpenFailure> {
        let until = Instant::now() + CALLS_WITHIN;
        let folder = system::socket_folder().map_err(|e| format!("no folder for its socket: {e}"))?;
        let unique = random_word();
        let socket = system::socket_path(folder.path(), &unique);
        let listening = stream::listen(&socket).map_err(|e| format!("no socket for it: {e}"))?;
        let setup = Setup {
            protocol: PROTOCOL,
            socket,
            secret: random_word(),
            plugin: self.plugin.clone(),
            sha256: self.sha256.clone(),
            config: self.config.clone(),
            live: self.live.clone(),
            data_dir: self.data_dir.clone(),
            account_id: self.account_id.clone(),
            memory: self.limits.memory,
            level: services::most_verbose(),
            now_ms: self.listener.now_ms(),
        };
        let process = Arc::new(Process::start(&setup)?);
        let called = process.callers(&listening, &setup.secret, until);
        // Whoever comes now comes too late.
        drop(listening);
        drop(folder);
        let [orders, control, events] = called.inspect_err(|_| process.end())?;
        let gone = Arc::new(AtomicBool::new(false));
        self.listen(events, &gone, &keeper)
            .inspect_err(|_| process.end())?;
        let mut control = Channel::new(control, &gone);
        self.wait_until_open(&process, &mut control)
            .inspect_err(|_| process.end())?;
        Ok(Arc::new(Session {
            orders: Mutex::new(Channel::new(orders, &gone)),
            control: Mutex::new(control),
            calls: [Mutex::default(), Mutex::default()],
            lost: Mutex::default(),
            kill_after: self.limits.kill_after,
            process,
            gone,
            keeper,
        }))
    }

    fn describe(&self) -> String {
        format!("{} in a worker", self.title)
    }
}

impl Worker {
    /// Waits for the plugin to open. The process is ended when that takes too long, which ends the wait everywhere.
    fn wait_until_open(&self, process: &Arc<Process>, control: &mut Channel) -> Result<(), OpenFailure> {
        let (opened, is_open) = std::sync::mpsc::channel::<()>();
        let (limit, doomed) = (self.limits.open_within, Arc::clone(process));
        let guard = std::thread::spawn(move || {
            let late = is_open.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
            if late {
                doomed.end();
            }
            late
        });
        let answer = control.reader.read::<Opened>();
        drop(opened);
        let late = guard.join().unwrap_or(false);
        match answer {
            Ok(Opened(Ok(()))) => Ok(()),
            Ok(Opened(Err(failure))) => Err(failure),
            // Whatever it waited for may come yet.
            Err(_) if late => Err(OpenFailure {
                reason: format!(
                    "the plugin has not opened within {} s and its worker was killed; `open_within_seconds` in `plugin_options` gives it longer",
                    self.limits.open_within.as_secs_f32()
                ),
                refused: false,
                temporary: true,
            }),
            Err(e) => Err(process.fate(&e).into()),
        }
    }

    /// Takes what the plugin tells, on a thread of its own that ends with the stream.
    fn listen(&self, events: Stream, gone: &Arc<AtomicBool>, keeper: &Keeper) -> Result<(), String> {
        let listener = self.listener.clone();
        let session = listener.session(Arc::clone(keeper));
        let mut reader = Reader::new(Patient::new(Arc::new(events), Arc::clone(gone)));
        telemetry::thread("worker-events", move || {
            loop {
                match reader.read::<News>() {
                    Ok(News::Event(number, event)) => session.numbered(number, event),
                    Ok(News::Metrics { series, dropped }) => listener.metrics(&series, dropped),
                    Ok(News::Log {
                        level,
                        target,
                        message,
                        fields,
                    }) => services::log(LogLine {
                        level,
                        target: &target,
                        message: &message,
                        fields: &fields,
                    }),
                    Err(FrameError::Ended) => return,
                    Err(e) => {
                        // The session sees to it: dropping the stream ends the worker.
                        tracing::error!("the events of the worker cannot be read: {e}; it is ended");
                        session.event(Event::Unreadable {
                            reason: e.to_string(),
                        });
                        return;
                    }
                }
            }
        })
        .map(drop)
        .map_err(|e| format!("the system gives no thread for it: {e}"))
    }
}

fn random_word() -> String {
    data_encoding::HEXLOWER.encode(&rand::random::<[u8; 16]>())
}

/// The process of a worker.
struct Process {
    child: Mutex<Child>,
    /// It and what it starts.
    family: system::Family,
    /// Open for as long as the host lives: its end tells the worker that the host is gone.
    stdin: Mutex<Option<ChildStdin>>,
}

impl Process {
    fn start(setup: &Setup) -> Result<Self, String> {
        let program =
            system::own_executable().map_err(|e| format!("the program's own file is not known: {e}"))?;
        let mut command = Command::new(&program);
        command
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // What a plugin has no business with, and would inherit.
        crate::secrets::hide_from(|name| {
            command.env_remove(name);
        });
        system::in_own_group(&mut command);
        let mut child = command.spawn().map_err(|e| {
            format!(
                "its worker cannot be started ({}: {e}); put the program's file back, or start the host again",
                system::shown(&program)
            )
        })?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let family = system::Family::of(&child).map_err(|e| {
            child.kill().ok();
            format!(
                "its worker cannot be bound to this process ({e}) and would outlive it; start the host again"
            )
        })?;
        let process = Self {
            child: Mutex::new(child),
            family,
            stdin: Mutex::new(stdin),
        };
        let started = process.tell(setup).and_then(|()| {
            let thread = |e| format!("the system gives no thread for it: {e}");
            if let Some(stdout) = stdout {
                output::capture(stdout, Source::Out, setup.account_id.clone()).map_err(thread)?;
            }
            if let Some(stderr) = stderr {
                output::capture(stderr, Source::Err, setup.account_id.clone()).map_err(thread)?;
            }
            Ok(())
        });
        if let Err(e) = started {
            process.end();
            return Err(e);
        }
        Ok(process)
    }

    fn tell(&self, setup: &Setup) -> Result<(), String> {
        let mut line = serde_json::to_vec(setup)
            .map_err(|e| format!("its settings cannot be written for its worker: {e}"))?;
        line.push(b'\n');
        let mut stdin = lock(&self.stdin);
        let written = match stdin.as_mut() {
            Some(stdin) => stdin.write_all(&line).and_then(|()| stdin.flush()),
            None => Ok(()),
        };
        written.map_err(|e| format!("its worker does not take its settings: {e}"))
    }

    /// The three calls, in the order of their roles.
    fn callers(&self, listening: &Socket, secret: &str, until: Instant) -> Result<[Stream; 3], String> {
        let mut found = [None, None, None];
        while found.iter().any(Option::is_none) {
            let called = stream::accept(listening, until, || self.status().is_none());
            let Some(stream) = called.map_err(|e| format!("its worker cannot be heard: {e}"))? else {
                return Err(match self.status() {
                    Some(status) => format!("its worker ended at its start ({status}); the log says more"),
                    None => format!("its worker has not called within {} s", CALLS_WITHIN.as_secs()),
                });
            };
            // A stranger's stream closes here, and the wait goes on.
            let stream = Arc::new(stream);
            match stream::greeting(&stream, GREETS_WITHIN) {
                Ok(hello) if hello.secret == secret => {
                    found[hello.role as usize] = Arc::into_inner(stream);
                }
                Err(e @ FrameError::OtherProtocol { .. }) => return Err(e.to_string()),
                Ok(_) | Err(_) => tracing::warn!("somebody who is no worker of this host called its socket"),
            }
        }
        match found {
            [Some(orders), Some(control), Some(events)] => Ok([orders, control, events]),
            _ => Err("its worker called in a way that nobody knows".to_owned()),
        }
    }

    fn status(&self) -> Option<ExitStatus> {
        system::ended(&self.family, &mut lock(&self.child)).ok().flatten()
    }

    fn status_within(&self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            let status = self.status();
            if status.is_some() || Instant::now() >= until {
                return status;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What became of a process whose stream failed.
    fn fate(&self, error: &FrameError) -> String {
        match self.status_within(ENDS_WITHIN) {
            Some(status) => format!("its worker ended ({status})"),
            None => format!("its worker cannot be spoken to: {error}"),
        }
    }

    fn end(&self) {
        lock(&self.stdin).take();
        system::kill_family(&self.family, &mut lock(&self.child));
        if self.status_within(DIES_WITHIN).is_none() {
            tracing::error!("a worker was killed and the system does not end it; it is left alone");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream on which calls are answered one after the other.
struct Channel {
    writer: Writer<SharedStream>,
    reader: Reader<Patient>,
    last: u64,
}

/// A stream's writing side.
struct SharedStream(Arc<Stream>);

impl Write for SharedStream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        (&*self.0).flush()
    }
}

impl Channel {
    fn new(stream: Stream, gone: &Arc<AtomicBool>) -> Self {
        let stream = Arc::new(stream);
        Self {
            writer: Writer::new(SharedStream(Arc::clone(&stream))),
            reader: Reader::new(Patient::new(stream, Arc::clone(gone))),
            last: 0,
        }
    }

    fn call<T: Serialize, R: DeserializeOwned>(&mut self, what: T) -> Result<Answer<R>, FrameError> {
        self.last += 1;
        let number = self.last;
        self.writer.write(&Numbered { number, what })?;
        let answer: Answer<R> = self.reader.read()?;
        if answer.number == number {
            return Ok(answer);
        }
        let text = format!("the answer to call {} came for call {number}", answer.number);
        Err(FrameError::Malformed(text))
    }
}

/// A call that is under way.
type Call = Option<(&'static str, Instant)>;

/// One open broker in one worker.
struct Session {
    orders: Mutex<Channel>,
    control: Mutex<Channel>,
    calls: [Mutex<Call>; 2],
    lost: Mutex<Option<String>>,
    kill_after: Duration,
    process: Arc<Process>,
    gone: Arc<AtomicBool>,
    keeper: Keeper,
}

impl Session {
    fn lose(&self, reason: String) {
        lock(&self.lost).get_or_insert(reason);
        self.keeper.wake();
    }

    fn lost(&self) -> Option<String> {
        lock(&self.lost).clone()
    }

    fn call<T: Serialize, R: DeserializeOwned + Reasoned>(
        &self,
        channel: &Mutex<Channel>,
        slot: usize,
        name: &'static str,
        what: T,
    ) -> Result<R, String> {
        let mut channel = lock(channel);
        *lock(&self.calls[slot]) = Some((name, Instant::now()));
        let answer = channel.call(what);
        *lock(&self.calls[slot]) = None;
        let answer: Answer<R> = answer.map_err(|e| {
            let reason = self.process.fate(&e);
            self.lose(reason.clone());
            format!("{name}: {reason}")
        })?;
        // Whatever state the plugin is in after a panic, nobody uses it again.
        if answer.is_poisoned {
            let reason = answer.what.reason().unwrap_or("before this answer came");
            self.lose(format!(
                "the plugin panicked ({name}: {reason}) and its worker is ended"
            ));
        }
        Ok(answer.what)
    }

    fn ask(&self, name: &'static str, ask: Ask) -> Result<Told, String> {
        match self.lost() {
            Some(reason) => Err(reason),
            None => self.call(&self.control, 1, name, ask),
        }
    }

    fn rows<T>(
        &self,
        name: &'static str,
        ask: Ask,
        read: impl FnOnce(Told) -> Option<Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let told = self.ask(name, ask).map_err(CallError::new)?;
        read(told).unwrap_or_else(|| Err(CallError::new(self.wrong_answer(name))))
    }

    fn wrong_answer(&self, name: &str) -> String {
        let reason = format!("its worker answered `{name}` with something else, and is ended");
        self.lose(reason.clone());
        reason
    }

    fn overdue(&self) -> Option<String> {
        self.calls.iter().find_map(|call| {
            let (name, since) = (*lock(call))?;
            (since.elapsed() >= self.kill_after).then(|| {
                format!(
                    "a call ({name}) has not come back within {} s, and its worker is killed",
                    self.kill_after.as_secs_f32()
                )
            })
        })
    }
}

impl BrokerLink for Session {
    fn place(&self, order: &OrderRequest) -> Placed {
        if let Some(reason) = self.lost() {
            return Placed::NotSent(reason);
        }
        let answer = self.call(&self.orders, 0, "place", Order::Place(order.clone()));
        Placed::Answer(answer.unwrap_or_else(|reason| PlaceResult::Unknown { reason }))
    }

    fn cancel(&self, cancel: &CancelRequest) -> CancelResult {
        match self.ask("cancel", Ask::Cancel(cancel.clone())) {
            Ok(Told::Cancel(answer)) => answer,
            Ok(_) => CancelResult::Unknown {
                reason: self.wrong_answer("cancel"),
            },
            Err(reason) => CancelResult::Unknown { reason },
        }
    }

    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        self.rows("today's orders", Ask::Orders, |told| match told {
            Told::Orders(rows) => Some(rows),
            _ => None,
        })
    }

    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        self.rows("today's trades", Ask::Trades, |told| match told {
            Told::Trades(rows) => Some(rows),
            _ => None,
        })
    }

    fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        self.rows("positions", Ask::Positions, |told| match told {
            Told::Positions(rows) => Some(rows),
            _ => None,
        })
    }

    fn account(&self) -> Result<AccountRow, CallError> {
        self.rows("account", Ask::Account, |told| match told {
            Told::Account(row) => Some(row),
            _ => None,
        })
    }

    fn quotes(&self, symbols: &[String]) -> Option<Result<Vec<Quote>, CallError>> {
        match self.ask("quotes", Ask::Quotes(symbols.to_vec())) {
            Ok(Told::Quotes(rows)) => rows,
            Ok(_) => Some(Err(CallError::new(self.wrong_answer("quotes")))),
            Err(reason) => Some(Err(CallError::new(reason))),
        }
    }

    fn connection(&self) -> ConnectionState {
        match self.ask("connection", Ask::Connection) {
            Ok(Told::Connection(state)) => state,
            Ok(_) => ConnectionState::Disconnected {
                reason: self.wrong_answer("connection"),
            },
            Err(reason) => ConnectionState::Disconnected { reason },
        }
    }

    fn close(&self) {
        self.ask("close", Ask::Close).ok();
        if self.process.status_within(super::CLOSE_LIMIT).is_none() {
            self.end();
        }
    }

    fn fault(&self) -> Option<String> {
        if let Some(reason) = self.lost().or_else(|| self.overdue()) {
            return Some(reason);
        }
        let status = self.process.status()?;
        Some(format!("its worker ended ({status})"))
    }

    fn end(&self) {
        lock(&self.lost).get_or_insert("its worker was ended".to_owned());
        self.gone.store(true, Ordering::Release);
        self.process.end();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}
