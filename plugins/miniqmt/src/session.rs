//! Keeps a bridge running and connected: starts it, compares the books, watches it, and starts another one in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qt_plugin_api::{
    ConnectionState, EventSink, FailedKind, HostClock, HostLog, HostMetrics, OrderRequest, OrderRow,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::books::Books;
use crate::convert;
use crate::frame::{Frame, PROTOCOL};
use crate::hours::Hours;
use crate::line::{self, Line, Lost, News};
use crate::options::{Options, millis};
use crate::python::{self, Python};
use crate::remark::Calibration;
use crate::remote::{self, Purpose};

/// How long a bridge may take for what needs no terminal.
const BRIDGE_WITHIN: Duration = Duration::from_secs(20);
/// How long a bridge may take to answer that it lives, beyond what a call of the terminal's library may take: it answers behind
/// such a call, and ends by itself where that hangs.
const PONG_BESIDES: Duration = Duration::from_secs(5);
/// How often a terminal that is not ready is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// So many orders whose answer did not come are kept for it.
const MOST_UNANSWERED: usize = 1000;
/// A connection that lived this many times longer than the wait before it counts as well again.
const WELL_AFTER_WAITS: u32 = 10;

/// Everything that the broker's calls and the keeper share.
pub(crate) struct Session {
    pub(crate) options: Options,
    pub(crate) hours: Hours,
    pub(crate) data_dir: PathBuf,
    pub(crate) sink: EventSink,
    pub(crate) log: HostLog,
    pub(crate) clock: HostClock,
    pub(crate) metrics: HostMetrics,
    pub(crate) state: Mutex<State>,
    pub(crate) changed: Condvar,
    pub(crate) books: Mutex<Books>,
    pub(crate) calibration: Mutex<Calibration>,
    /// Orders that were sent and not answered, by their ids.
    pub(crate) unanswered: Mutex<BTreeMap<String, OrderRequest>>,
    /// Held while events are told, so that they keep their order.
    telling: Mutex<()>,
    python: Mutex<Option<Python>>,
    /// What was said of rows, so that no list says it again.
    pub(crate) said: Mutex<BTreeSet<String>>,
    /// The bridge that was last spoken to, and the last event that came from it.
    heard: Mutex<Option<(String, u64)>>,
}

/// What changes.
#[derive(Debug)]
pub(crate) struct State {
    /// The line, once the books were compared over it.
    pub(crate) line: Option<Arc<LineHandle>>,
    /// The line over which a connection is being made.
    pub(crate) making: Option<Arc<LineHandle>>,
    /// As the host is told.
    pub(crate) connection: ConnectionState,
    /// Since when the connection stands.
    pub(crate) since: Instant,
    /// True from `close` on.
    pub(crate) closing: bool,
    /// How the first try ended, for `open`.
    first: Option<Result<(), Failed>>,
    /// Why the line must be given up.
    lost: Option<String>,
    /// Events were missed: the books must be compared again.
    resync: bool,
    synced: bool,
}

/// A line that can be shown in `Debug` without its streams.
pub(crate) struct LineHandle(pub(crate) Arc<Line>);

impl std::fmt::Debug for LineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LineHandle")
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// In words.
    pub(crate) reason: String,
    /// True where only a person can mend it.
    pub(crate) is_setup: bool,
    /// True where the bridge has not answered, though its line stands.
    is_silence: bool,
}

fn setup(reason: impl Into<String>) -> Failed {
    Failed {
        reason: reason.into(),
        is_setup: true,
        is_silence: false,
    }
}

pub(crate) fn passing(reason: impl ToString) -> Failed {
    Failed {
        reason: reason.to_string(),
        is_setup: false,
        is_silence: false,
    }
}

/// A question that `line` brought no answer to.
pub(crate) fn unanswered(line: &Line, lost: Lost) -> Failed {
    Failed {
        is_silence: matches!(lost, Lost::NoAnswer(_)) && !line.has_ended(),
        ..passing(lost)
    }
}

/// Takes a refusal for a failure.
pub(crate) fn done(answer: Frame) -> Result<Frame, Failed> {
    if answer.ok {
        return Ok(answer);
    }
    Err(Failed {
        is_setup: answer.code == "setup",
        reason: answer.error,
        is_silence: false,
    })
}

/// A lock that nobody panics under.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the keeper does next.
enum Next {
    End,
    Lost(String),
    Resync,
    Ping,
}

impl Session {
    /// A session that is not connected yet.
    pub(crate) fn new(options: Options, cx: qt_plugin_api::OpenContext) -> Result<Self, String> {
        Ok(Self {
            hours: Hours::parse(&options.expected_down)?,
            options,
            books: Mutex::new(Books::new(cx.clock.now_ms())),
            data_dir: cx.data_dir,
            sink: cx.sink,
            log: cx.log,
            clock: cx.clock,
            metrics: cx.metrics,
            state: Mutex::new(State {
                line: None,
                making: None,
                connection: ConnectionState::Connecting,
                since: Instant::now(),
                closing: false,
                first: None,
                lost: None,
                resync: false,
                synced: false,
            }),
            changed: Condvar::new(),
            calibration: Mutex::default(),
            unanswered: Mutex::default(),
            telling: Mutex::default(),
            python: Mutex::default(),
            said: Mutex::default(),
            heard: Mutex::default(),
        })
    }

    /// The account's number, which is told to nobody.
    pub(crate) fn secret(&self) -> String {
        self.options
            .account_id
            .as_deref()
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// A text for the log or the host, without the account's number.
    pub(crate) fn masked(&self, text: &str) -> String {
        line::without(text, &self.secret())
    }

    /// Waits for the first try to end.
    pub(crate) fn wait_for_first(&self, within: Duration) -> Option<Result<(), Failed>> {
        let state = lock(&self.state);
        let waiting = |state: &mut State| state.first.is_none() && !state.closing;
        let (state, _) = self
            .changed
            .wait_timeout_while(state, within, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        state.first.clone()
    }

    /// The keeper's thread.
    pub(crate) fn run(self: &Arc<Self>) {
        let mut wait = self.options.reconnect_first();
        loop {
            let began = Instant::now();
            let why = match self.attempt() {
                Ok((line, news)) => {
                    let why = self.stand(&line, news);
                    if began.elapsed() >= wait.saturating_mul(WELL_AFTER_WAITS) {
                        wait = self.options.reconnect_first();
                    }
                    why
                }
                Err(failed) => {
                    let reason = failed.reason.clone();
                    let mut state = lock(&self.state);
                    state.first.get_or_insert(Err(failed));
                    drop(state);
                    reason
                }
            };
            if lock(&self.state).closing {
                return self.changed.notify_all();
            }
            self.take_down(&why, wait);
            if self.pause(wait) {
                return;
            }
            wait = wait.saturating_mul(2).min(self.options.reconnect_most());
        }
    }

    /// Waits; true when it is to close.
    fn pause(&self, wait: Duration) -> bool {
        let state = lock(&self.state);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, wait, |state| !state.closing)
            .unwrap_or_else(PoisonError::into_inner);
        state.closing
    }

    fn take_down(&self, why: &str, wait: Duration) {
        let down = self.hours.contain(self.clock.now_ms());
        let why = self.masked(why);
        let reason = if down {
            format!("the terminal is expected to be down now (`expected_down`): {why}")
        } else {
            why
        };
        let text = format!("{reason}; it is tried again in {} s", wait.as_secs_f32());
        if down {
            self.log.info(text);
        } else {
            self.log.warning(text);
        }
        self.metrics.count("miniqmt_connections_lost_total", 1);
        self.publish(None, ConnectionState::Disconnected { reason });
    }

    fn publish(&self, line: Option<Arc<Line>>, connection: ConnectionState) {
        let mut state = lock(&self.state);
        let changed = state.connection != connection;
        // A close that came meanwhile has ended the line, and nobody is to use it.
        state.line = line
            .map(|line| Arc::new(LineHandle(line)))
            .filter(|_| !state.closing);
        state.making = None;
        state.connection = connection.clone();
        drop(state);
        self.changed.notify_all();
        if changed {
            self.sink.connection(connection);
        }
    }

    /// One whole way from nothing to books that were compared.
    fn attempt(self: &Arc<Self>) -> Result<(Arc<Line>, std::thread::JoinHandle<()>), Failed> {
        {
            let mut state = lock(&self.state);
            state.lost = None;
            state.resync = false;
        }
        let (line, news) = self.start()?;
        let listener = self.listen(news).inspect_err(|failed| line.end(&failed.reason))?;
        if !self.begin(&line) {
            line.end("it was closed");
        }
        let made = self
            .greet(&line)
            .and_then(|()| self.connect(&line))
            .and_then(|()| self.sync(&line));
        match made {
            Ok(()) => Ok((line, listener)),
            Err(failed) => {
                if failed.is_silence {
                    line.restart();
                }
                line.end(&failed.reason);
                listener.join().ok();
                Err(failed)
            }
        }
    }

    /// Makes the line known to `close`; false where that has come already.
    fn begin(&self, line: &Arc<Line>) -> bool {
        let mut state = lock(&self.state);
        state.making = Some(Arc::new(LineHandle(Arc::clone(line))));
        !state.closing
    }

    fn start(&self) -> Result<(Arc<Line>, Receiver<News>), Failed> {
        if self.options.remote.is_some() {
            return remote::connect(&self.options, &self.data_dir, Purpose::Trade).map_err(passing);
        }
        let (line, news) = self.start_child()?;
        let python = lock(&self.python).clone();
        let xtquant = python.and_then(|python| python.xtquant);
        let mut config = self.options.for_bridge(&self.data_dir, xtquant.as_deref());
        config["now_ms"] = self.clock.now_ms().into();
        // One that is not ended lives on, and may yet take the record that the next one needs.
        self.demand(
            &line,
            "config",
            config,
            BRIDGE_WITHIN.max(self.options.connect_deadline()),
        )
        .inspect_err(|failed| line.end(&failed.reason))?;
        Ok((line, news))
    }

    fn start_child(&self) -> Result<(Arc<Line>, Receiver<News>), Failed> {
        let bridge = python::bridge(&self.data_dir).map_err(setup)?;
        let python = {
            let mut known = lock(&self.python);
            match &*known {
                Some(python) => python.clone(),
                None => known
                    .insert(python::find(&self.options, &bridge, &self.data_dir).map_err(setup)?)
                    .clone(),
            }
        };
        let log = self.log.clone();
        spawn(&python, &bridge, &self.data_dir, self.secret(), move |said| {
            log.debug(format!("bridge: {said}"));
        })
        .map_err(passing)
    }

    /// Asks, and takes a refusal for a failure.
    fn demand(&self, line: &Line, op: &str, request: Value, within: Duration) -> Result<Frame, Failed> {
        let answer = line.ask(op, request, within);
        answer.map_err(|lost| unanswered(line, lost)).and_then(done)
    }

    fn greet(&self, line: &Line) -> Result<(), Failed> {
        let heard = lock(&self.heard).clone();
        let resume = heard
            .as_ref()
            .map(|(epoch, after)| json!({ "epoch": epoch, "after": after }));
        let account = self.secret();
        let account = (!account.is_empty()).then(|| data_encoding::HEXLOWER.encode(&Sha256::digest(account)));
        let hello = json!({ "protocol": PROTOCOL, "resume": resume, "account": account, "limits": self.options.limits(),
                            "now_ms": self.clock.now_ms() });
        let within = BRIDGE_WITHIN.max(self.options.connect_deadline());
        let answer = self.demand(line, "hello", hello, within)?;
        if !answer.limits && self.options.has_limits() {
            return Err(setup(
                "the bridge at `remote` does not know `caps`, `read_only` and `dry_run` of this block, so orders would go out \
                 without them: start the bridge.py of this release there, or set them in its own configuration and leave them \
                 out here",
            ));
        }
        line.events_from(answer.next.unwrap_or(1));
        self.log.debug(format!(
            "the bridge runs on Python {}; events {}",
            answer.python,
            if answer.resync {
                "begin anew"
            } else {
                "go on where they stopped"
            }
        ));
        *lock(&self.heard) = Some((answer.epoch, answer.next.unwrap_or(1).saturating_sub(1)));
        Ok(())
    }

    fn connect(&self, line: &Line) -> Result<(), Failed> {
        let query_ms = millis(self.options.query_deadline());
        let request = json!({ "query_ms": query_ms });
        let answer = self.demand(line, "connect", request, self.options.connect_deadline())?;
        self.log.info(format!(
            "connected to the terminal through xtquant {}",
            answer.xtquant
        ));
        Ok(())
    }

    /// Compares the books: asks for everything, and tells what differs from what was told. The first time nothing is
    /// told, since the host asks for it itself before it trades.
    pub(crate) fn sync(&self, line: &Line) -> Result<(), Failed> {
        let until = Instant::now() + self.options.connect_deadline();
        let (orders, _) = self.persist(line, until, || self.orders(line))?;
        let (trades, _) = self.persist(line, until, || self.trades(line))?;
        self.persist(line, until, || self.question(line, "positions"))?;
        let assets = self.persist(line, until, || self.question(line, "account"))?;
        if assets.rows.is_empty() {
            return Err(passing("the terminal has no balance of this account yet"));
        }
        let now_ms = self.clock.now_ms();
        let _in_order = lock(&self.telling);
        let news = {
            let mut books = lock(&self.books);
            books.roll(now_ms);
            books.take_orders(orders);
            // A list that lags behind is asked for again by the host; what it has is taken all the same.
            books.take_trades(trades, 0, now_ms).map_err(passing)?;
            books.untold()
        };
        let first = !std::mem::replace(&mut lock(&self.state).synced, true);
        if !first {
            news.trades.into_iter().for_each(|row| self.sink.trade(row));
            news.orders.into_iter().for_each(|row| self.sink.order(row));
        }
        Ok(())
    }

    /// Asks until the terminal is ready, or the line has ended: then it takes another bridge to ask.
    fn persist<T>(
        &self,
        line: &Line,
        until: Instant,
        question: impl Fn() -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        loop {
            match question() {
                Ok(answer) => return Ok(answer),
                Err(failed) if Instant::now() >= until || line.has_ended() => return Err(failed),
                Err(_) => {
                    if self.pause(ASK_AGAIN) {
                        return Err(passing("it is being closed"));
                    }
                }
            }
        }
    }

    /// Asks for rows.
    pub(crate) fn question(&self, line: &Line, op: &str) -> Result<Frame, Failed> {
        let within = self.options.query_deadline();
        // The bridge gives up first, so that its words arrive.
        let request = json!({ "within_ms": millis(within) });
        self.demand(line, op, request, within + within / 4)
    }

    /// How long an order without an outcome counts as one that may live, in milliseconds.
    pub(crate) fn absent_after_ms(&self) -> i64 {
        i64::try_from(millis(self.options.absent_after())).unwrap_or(i64::MAX)
    }

    /// Tells what differs from what was told.
    pub(crate) fn tell_untold(&self) {
        let _in_order = lock(&self.telling);
        let news = lock(&self.books).untold();
        news.trades.into_iter().for_each(|row| self.sink.trade(row));
        news.orders.into_iter().for_each(|row| self.sink.order(row));
    }

    /// Takes events on a thread of their own, since the host may let one wait.
    fn listen(self: &Arc<Self>, news: Receiver<News>) -> Result<std::thread::JoinHandle<()>, Failed> {
        let own = Arc::clone(self);
        std::thread::Builder::new()
            .name("miniqmt-events".into())
            .spawn(move || {
                for news in news {
                    own.hear(news);
                }
            })
            .map_err(|e| passing(format!("the system gives no thread: {e}")))
    }

    fn hear(&self, news: News) {
        match news {
            News::Event { kind, data } => self.event(&kind, data),
            News::Gap => {
                lock(&self.state).resync = true;
                self.changed.notify_all();
            }
            News::Ended(why) => self.lose(why),
        }
    }

    fn lose(&self, why: String) {
        lock(&self.state).lost.get_or_insert(why);
        self.changed.notify_all();
    }

    fn event(&self, kind: &str, data: Value) {
        let now_ms = self.clock.now_ms();
        let _in_order = lock(&self.telling);
        let told = match kind {
            "order" => self.order_event(data, now_ms),
            "trade" => self.trade_row(data, now_ms).map(|row| {
                if let Some(row) = row {
                    let mut books = lock(&self.books);
                    books.roll(now_ms);
                    let told = books.trade_pushed(row);
                    drop(books);
                    told.into_iter().for_each(|row| self.sink.trade(row));
                }
            }),
            "asset" => convert::account(data, &self.options).map(|row| self.sink.account(row)),
            "position" => convert::position(data).map(|row| self.sink.position(row)),
            "order_error" => convert::failed(data, FailedKind::Order).map(|row| self.sink.failed(row)),
            "cancel_error" => convert::failed(data, FailedKind::Cancel).map(|row| self.sink.failed(row)),
            "late" => {
                self.late(&data, now_ms);
                Ok(())
            }
            "down" => {
                self.lose(text(&data, "reason"));
                Ok(())
            }
            "unreadable" => Err(text(&data, "reason")),
            other => Err(format!("an event of the unknown kind `{other}`")),
        };
        if let Err(why) = told {
            self.log
                .warning(format!("{}; the books are compared instead", self.masked(&why)));
            lock(&self.state).resync = true;
            self.changed.notify_all();
        }
    }

    fn order_event(&self, data: Value, now_ms: i64) -> Result<(), String> {
        if let Some(row) = self.order_row(data, false, now_ms)? {
            let mut books = lock(&self.books);
            books.roll(now_ms);
            let told = books.order_pushed(row);
            drop(books);
            told.into_iter().for_each(|row| self.sink.order(row));
        }
        Ok(())
    }

    /// An answer that came after its deadline still names the order. One that the terminal has not shown yet is told as accepted:
    /// its lists may lag for long, and what no list shows would count as never taken.
    fn late(&self, data: &Value, now_ms: i64) {
        let (number, name) = (text(data, "order_id"), text(data, "client_order_id"));
        self.named(&number, &name);
        let sent = lock(&self.unanswered).remove(&name);
        let (news, is_shown) = {
            let mut books = lock(&self.books);
            books.roll(now_ms);
            (books.untold(), books.order(&number).is_some())
        };
        news.trades.into_iter().for_each(|row| self.sink.trade(row));
        news.orders.into_iter().for_each(|row| self.sink.order(row));
        if let Some(sent) = sent.filter(|_| !is_shown) {
            // Not kept in the books: it is no row of the terminal's, and a list without it lacks it.
            self.sink.order(OrderRow {
                placed_ms: None,
                ..OrderRow::working(&sent, &number, now_ms)
            });
        }
    }

    /// Keeps an order until its answer comes.
    pub(crate) fn unanswered_adds(&self, order: &OrderRequest) {
        let mut unanswered = lock(&self.unanswered);
        unanswered.insert(order.client_order_id.clone(), order.clone());
        if unanswered.len() > MOST_UNANSWERED {
            unanswered.pop_first();
        }
    }

    /// Notes the terminal's number of one of our orders.
    pub(crate) fn named(&self, order_id: &str, client_order_id: &str) {
        lock(&self.calibration).numbered(client_order_id);
        lock(&self.books).name(order_id, client_order_id);
    }

    /// Stands by a connection until it is lost; why it was.
    fn stand(self: &Arc<Self>, line: &Arc<Line>, listener: std::thread::JoinHandle<()>) -> String {
        {
            let mut state = lock(&self.state);
            state.since = Instant::now();
            state.first.get_or_insert(Ok(()));
        }
        self.publish(Some(Arc::clone(line)), ConnectionState::Connected);
        let why = loop {
            match self.wait() {
                Next::End => break "it was closed".to_owned(),
                Next::Lost(why) => break why,
                Next::Resync => {
                    if let Err(failed) = self.sync(line) {
                        break failed.reason;
                    }
                }
                Next::Ping => match line.ask("ping", json!({}), self.options.hang_after() + PONG_BESIDES) {
                    Ok(pong) if pong.up == Some(true) => self.remember(line),
                    Ok(_) => break "the bridge has lost the terminal".to_owned(),
                    Err(Lost::NotSent(why) | Lost::NoAnswer(why)) => {
                        line.restart();
                        break why;
                    }
                },
            }
        };
        self.remember(line);
        // From here on nobody gives it an order.
        lock(&self.state).line = None;
        self.changed.notify_all();
        line.end(&why);
        listener.join().ok();
        why
    }

    fn remember(&self, line: &Line) {
        if let Some((_, after)) = &mut *lock(&self.heard) {
            *after = line.last_event().max(*after);
        }
    }

    fn wait(&self) -> Next {
        let quiet = |state: &mut State| !state.closing && state.lost.is_none() && !state.resync;
        let state = lock(&self.state);
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, self.options.heartbeat(), quiet)
            .unwrap_or_else(PoisonError::into_inner);
        if state.closing {
            Next::End
        } else if let Some(why) = state.lost.take() {
            Next::Lost(why)
        } else if std::mem::take(&mut state.resync) {
            Next::Resync
        } else {
            Next::Ping
        }
    }
}

/// Starts a bridge as a child.
///
/// # Errors
/// The system's reason.
pub(crate) fn spawn(
    python: &Python,
    bridge: &Path,
    data_dir: &Path,
    secret: String,
    said: impl Fn(&str) + Send + 'static,
) -> Result<(Arc<Line>, Receiver<News>), String> {
    let (input, output, error) = line::streams();
    let child = python::command(python, bridge, "--stdio", data_dir)
        .stdin(input)
        .stdout(output)
        .stderr(error)
        .spawn()
        .map_err(|e| {
            format!(
                "the bridge cannot be started by {}: {e}",
                python::shown(&python.words)
            )
        })?;
    line::of_child(child, said, secret).map_err(|e| e.to_string())
}

fn text(data: &Value, key: &str) -> String {
    data[key].as_str().unwrap_or_default().to_owned()
}
