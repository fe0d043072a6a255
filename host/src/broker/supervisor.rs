//! Keeps a broker open: ends one that is of no use any more and opens it anew, with growing waits.
//!
//! While there is none, orders are not sent and questions fail. Each change of the broker is told to the core as a
//! loss of the connection, whose return makes it compare the books before anything new is sent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use qt_plugin_api::{
    AccountRow, CallError, CancelRequest, CancelResult, ConnectionState, OrderRequest, OrderRow, PositionRow,
    Quote, TradeRow,
};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::link::{BrokerLink, Keeper, Keeps, OpenFailure, Opener, Placed};
use crate::backoff::Backoff;
use crate::telemetry;

/// How often a broker that says nothing is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// A broker that lived this many times longer than the wait before it counts as well again.
const WELL_AFTER_WAITS: u32 = 10;

/// How long a broker may take to close or to end before nobody waits for it any more.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// How often a lane that still calls a broker that has ended is looked at.
const LETS_GO_LOOK: Duration = Duration::from_millis(2);

/// Does something that may hang in a plugin, and waits for it no longer than `limit`. True when it is done.
fn within(limit: Duration, work: impl FnOnce() + Send + 'static) -> bool {
    let (done, is_done) = std::sync::mpsc::channel();
    let started = telemetry::thread("broker-closing", move || {
        work();
        done.send(()).ok();
    });
    let is_done = started.is_ok() && is_done.recv_timeout(limit).is_ok();
    if !is_done {
        warn!(
            "the plugin does not close within {} s; it is left alone",
            limit.as_secs()
        );
    }
    is_done
}

/// Ends a broker and frees it, once no lane calls it any more: what a plugin does when it is freed may take its time or
/// hang, and never on the thread that hands orders over. False when that takes too long, so that it may still live.
fn free(link: Arc<dyn BrokerLink>) -> bool {
    within(CLOSE_WITHIN, move || {
        link.end();
        // Nobody takes it up again, so that this only sinks.
        while Arc::strong_count(&link) > 1 {
            std::thread::sleep(LETS_GO_LOOK);
        }
    })
}

/// How long to wait between two tries to open a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waits {
    /// The first time.
    pub(crate) least: Duration,
    /// At the end.
    pub(crate) most: Duration,
}

/// What a broker that does not open the first time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// There is nothing to trade with.
    MustOpen,
    /// One that may pass by itself is waited for, as after a loss; any other is for a person to mend.
    MayWait,
    /// It is tried on, whatever the plugin says of it: others trade meanwhile.
    MayFail,
}

impl First {
    fn waits_for(self, failure: &OpenFailure) -> bool {
        match self {
            Self::MustOpen => false,
            Self::MayWait => failure.temporary,
            Self::MayFail => !failure.refused,
        }
    }
}

/// The connection as the watchdog sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Grows whenever a broker is lost or opened: who saw another number has missed a loss.
    pub(crate) number: u64,
    /// Its state.
    pub(crate) state: ConnectionState,
    /// Why the last one was lost.
    pub(crate) lost: String,
}

/// Keeps one broker of one plugin open.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    seen: watch::Sender<Seen>,
    /// How many sessions were opened, one after the other.
    sessions: AtomicU64,
    /// True while the broker is not to be read, since it is about to be closed.
    reads_held: AtomicBool,
    /// Called once a broker was opened or has told that it is away, so that somebody asks for its connection at once.
    ask: Box<dyn Fn() + Send + Sync>,
}

struct State {
    link: Option<Arc<dyn BrokerLink>>,
    opener: Arc<dyn Opener>,
    /// See [`Seen::number`].
    number: u64,
    /// Why there is no broker.
    down: String,
    opened_at: Instant,
    open_at: Instant,
    backoff: Backoff,
    last_wait: Duration,
    closing: bool,
    exchange: Option<Exchange>,
}

/// What is opened where the one that was asked for does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// The one before.
    Before,
    /// None: the one that was asked for is tried until it opens.
    None,
}

/// What is to be opened in the present one's place, and who waits for it.
struct Exchange {
    opener: Arc<dyn Opener>,
    fallback: Fallback,
    tell: Sender<Result<(), String>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &State, connection: ConnectionState) {
        self.seen.send_modify(|seen| {
            seen.number = state.number;
            seen.lost.clone_from(&state.down);
            seen.state = connection;
        });
    }
}

impl Supervisor {
    /// Opens the broker for the first time and keeps it open from then on. A first failure that is waited for is
    /// taken as a lost broker is: it is told, and tried again.
    ///
    /// # Errors
    ///
    /// Why it cannot be opened, where [`First`] does not wait for that.
    pub(crate) fn open(
        opener: Arc<dyn Opener>,
        waits: Waits,
        first: First,
        ask: impl Fn() + Send + Sync + 'static,
    ) -> Result<Arc<Self>, OpenFailure> {
        let now = Instant::now();
        let (seen, _) = watch::channel(Seen {
            number: 0,
            state: ConnectionState::Connecting,
            lost: String::new(),
        });
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                link: None,
                opener,
                number: 0,
                down: "it is being opened".to_owned(),
                opened_at: now,
                open_at: now,
                backoff: Backoff::new(waits.least, waits.most),
                last_wait: waits.least,
                closing: false,
                exchange: None,
            }),
            wake: Condvar::new(),
            seen,
            sessions: AtomicU64::new(0),
            reads_held: AtomicBool::new(false),
            ask: Box::new(ask),
        });
        let (tell, told) = std::sync::mpsc::channel();
        let own = Arc::clone(&shared);
        // On a thread of its own: the plugin's code may block, and never in the runtime's threads.
        telemetry::thread("broker-keeper", move || own.run(&tell, first))
            .map_err(|e| format!("the system gives no thread for it: {e}"))?;
        told.recv()
            .map_err(|_| OpenFailure::from("it panicked".to_owned()))??;
        Ok(Arc::new(Self { shared }))
    }

    /// The connection, as it changes.
    pub(crate) fn seen(&self) -> watch::Receiver<Seen> {
        self.shared.seen.subscribe()
    }

    /// Asks the broker for its connection and makes the answer known.
    pub(crate) fn look(&self) {
        let (number, link) = {
            let state = self.shared.state();
            let Some(link) = &state.link else { return };
            (state.number, Arc::clone(link))
        };
        let connection = link.connection();
        let state = self.shared.state();
        // The answer of a broker that was lost meanwhile is worth nothing.
        if state.number != number {
            return;
        }
        self.shared.seen.send_if_modified(|seen| {
            let changed = seen.number != number || seen.state != connection;
            seen.number = number;
            seen.state = connection;
            changed
        });
    }

    fn link(&self) -> Result<Arc<dyn BrokerLink>, String> {
        let state = self.shared.state();
        match &state.link {
            Some(link) => Ok(Arc::clone(link)),
            None => Err(format!("the plugin is not running: {}", state.down)),
        }
    }

    fn read<T>(&self, read: impl FnOnce(&dyn BrokerLink) -> Result<T, CallError>) -> Result<T, CallError> {
        if self.shared.reads_held.load(Ordering::Acquire) {
            return Err(CallError::new("the plugin is being exchanged"));
        }
        read(&*self.link().map_err(CallError::new)?)
    }

    /// Has lists and books refused, or read again: one that begins while the broker is about to be closed would hold up
    /// its end for as long as it takes.
    pub(crate) fn hold_reads(&self, held: bool) {
        self.shared.reads_held.store(held, Ordering::Release);
    }

    /// Gives an order to the broker, if there is one.
    pub(crate) fn place(&self, order: &OrderRequest) -> Placed {
        self.link().map_or_else(Placed::NotSent, |link| link.place(order))
    }

    /// Passes a cancel on, if there is a broker.
    pub(crate) fn cancel(&self, cancel: &CancelRequest) -> CancelResult {
        match self.link() {
            Ok(link) => link.cancel(cancel),
            Err(reason) => CancelResult::Unknown { reason },
        }
    }

    /// Every order of the day.
    pub(crate) fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        self.read(|link| link.orders_today())
    }

    /// Every trade of the day.
    pub(crate) fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        self.read(|link| link.trades_today())
    }

    /// Every holding.
    pub(crate) fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        self.read(|link| link.positions())
    }

    /// The account's money.
    pub(crate) fn account(&self) -> Result<AccountRow, CallError> {
        self.read(|link| link.account())
    }

    /// Prices of these symbols, where the plugin offers them.
    pub(crate) fn quotes(&self, symbols: &[String]) -> Option<Result<Vec<Quote>, CallError>> {
        if self.shared.reads_held.load(Ordering::Acquire) {
            return None;
        }
        self.link().ok()?.quotes(symbols)
    }

    /// Closes the broker and opens another one in its place; it takes as long as that does. Where the other one cannot
    /// be opened, `fallback` says which one is opened, and tried until it is.
    ///
    /// # Errors
    ///
    /// Why the other one is not open, and whether the fallback is.
    pub(crate) fn exchange(&self, opener: Arc<dyn Opener>, fallback: Fallback) -> Result<(), String> {
        let (tell, told) = std::sync::mpsc::channel();
        {
            let mut state = self.shared.state();
            // Set under the same lock, so that nobody waits for a keeper that has ended.
            if state.closing {
                return Err("the host is being stopped".to_owned());
            }
            state.exchange = Some(Exchange {
                opener,
                fallback,
                tell,
            });
        }
        self.shared.wake.notify_all();
        told.recv()
            .unwrap_or_else(|_| Err("the host is being stopped".to_owned()))
    }

    /// What opens the present broker.
    pub(crate) fn opener(&self) -> Arc<dyn Opener> {
        Arc::clone(&self.shared.state().opener)
    }

    /// Closes the broker for good.
    pub(crate) fn close(&self) {
        if let Some(link) = self.take_for_good() {
            link.close();
        }
    }

    fn take_for_good(&self) -> Option<Arc<dyn BrokerLink>> {
        let mut state = self.shared.state();
        state.closing = true;
        // Whoever waits for it learns that nothing comes of it.
        state.exchange = None;
        state.down = "it was closed".to_owned();
        let link = state.link.take();
        drop(state);
        self.shared.wake.notify_all();
        link
    }
}

/// Where an account's start failed after its broker was opened, nobody is left to close it, and the session would hold the
/// account until the process ends.
impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(link) = self.take_for_good() {
            // Never on this thread, which may be the runtime's.
            telemetry::thread("broker-closing", move || {
                link.close();
                link.end();
            })
            .ok();
        }
    }
}

/// What the keeper does next.
enum Next {
    End,
    Lost(Arc<dyn BrokerLink>, String),
    Open(Arc<dyn Opener>),
    Exchange(Option<Arc<dyn BrokerLink>>, Exchange),
}

impl Shared {
    fn run(self: Arc<Self>, tell: &Sender<Result<(), OpenFailure>>, first: First) {
        let opener = Arc::clone(&self.state().opener);
        match self.open(&*opener) {
            Ok(link) => self.take_up(&opener, link),
            Err(failure) if first.waits_for(&failure) => {
                self.open_failed(&*opener, &failure.reason);
            }
            Err(failure) => {
                tell.send(Err(failure)).ok();
                return;
            }
        }
        tell.send(Ok(())).ok();
        loop {
            match self.wait() {
                Next::End => return,
                Next::Lost(link, reason) => self.lose(link, &reason),
                Next::Exchange(link, exchange) => self.exchange(link, exchange),
                Next::Open(opener) => match self.open(&*opener) {
                    Ok(link) => self.take_up(&opener, link),
                    Err(failure) => self.open_failed(&*opener, &failure.reason),
                },
            }
        }
    }

    fn wait(&self) -> Next {
        let mut state = self.state();
        loop {
            if state.closing {
                return Next::End;
            }
            if let Some(exchange) = state.exchange.take() {
                return Next::Exchange(state.link.clone(), exchange);
            }
            if let Some(link) = &state.link {
                let link = Arc::clone(link);
                // Looking may take a moment, and nobody else should wait for it.
                drop(state);
                if let Some(reason) = link.fault() {
                    return Next::Lost(link, reason);
                }
                state = self.state();
            } else if Instant::now() >= state.open_at {
                return Next::Open(Arc::clone(&state.opener));
            }
            if state.closing || state.exchange.is_some() {
                continue;
            }
            let waited = self.wake.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn open(self: &Arc<Self>, opener: &dyn Opener) -> Result<Arc<dyn BrokerLink>, OpenFailure> {
        let session = self.sessions.fetch_add(1, Ordering::AcqRel) + 1;
        let keeper: Keeper = Arc::new(Own {
            shared: Arc::downgrade(self),
            session,
        });
        opener.open(keeper)
    }

    fn take_up(&self, opener: &Arc<dyn Opener>, link: Arc<dyn BrokerLink>) {
        let mut state = self.state();
        if state.closing {
            drop(state);
            link.close();
            return link.end();
        }
        state.number += 1;
        state.opened_at = Instant::now();
        state.link = Some(link);
        self.publish(&state, ConnectionState::Connecting);
        drop(state);
        info!("the broker plugin {} is open", opener.describe());
        (self.ask)();
    }

    /// Takes the broker away: from now on nothing is sent, and the core is told why.
    fn take_down(&self, reason: &str) -> Option<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.closing {
            return None;
        }
        state.link = None;
        state.number += 1;
        reason.clone_into(&mut state.down);
        let connection = ConnectionState::Disconnected {
            reason: reason.to_owned(),
        };
        self.publish(&state, connection);
        Some(state)
    }

    fn exchange(self: &Arc<Self>, old: Option<Arc<dyn BrokerLink>>, exchange: Exchange) {
        let Some(mut state) = self.take_down("the plugin is being exchanged") else {
            return;
        };
        let before = Arc::clone(&state.opener);
        state.backoff.reset();
        drop(state);
        if let Some(link) = old {
            let closing = Arc::clone(&link);
            within(CLOSE_WITHIN, move || closing.close());
            if !free(link) {
                // Two sessions at one account could place an order twice.
                let result = Err(self.not_freed(exchange.fallback, &before, &exchange.opener));
                exchange.tell.send(result).ok();
                return;
            }
        }
        let result = match self.open(&*exchange.opener) {
            Ok(link) => {
                self.state().opener = Arc::clone(&exchange.opener);
                self.take_up(&exchange.opener, link);
                Ok(())
            }
            Err(failure) => Err(match exchange.fallback {
                Fallback::Before => self.go_back(&before, &failure),
                Fallback::None => {
                    self.state().opener = Arc::clone(&exchange.opener);
                    self.open_failed(&*exchange.opener, &failure.reason);
                    format!(
                        "{} could not be opened again ({}), which is tried on",
                        exchange.opener.describe(),
                        failure.reason
                    )
                }
            }),
        };
        exchange.tell.send(result).ok();
    }

    fn go_back(self: &Arc<Self>, before: &Arc<dyn Opener>, failure: &OpenFailure) -> String {
        match self.open(&**before) {
            Ok(link) => {
                self.take_up(before, link);
                format!("{}; {} is back", failure.reason, before.describe())
            }
            Err(again) => {
                self.open_failed(&**before, &again.reason);
                format!(
                    "{}; {} could not be opened again either ({}), which is tried on",
                    failure.reason,
                    before.describe(),
                    again.reason
                )
            }
        }
    }

    /// The one that was there has not let go of the account: nothing is opened beside it before it has.
    fn not_freed(&self, fallback: Fallback, before: &Arc<dyn Opener>, asked: &Arc<dyn Opener>) -> String {
        let next = match fallback {
            Fallback::Before => before,
            Fallback::None => asked,
        };
        let reason = format!(
            "{} has not closed within {} s, and nothing is opened beside it; if it runs in this process, start the host again to be rid of it",
            before.describe(),
            CLOSE_WITHIN.as_secs()
        );
        self.state().opener = Arc::clone(next);
        self.open_failed(&**next, &reason);
        reason
    }

    fn lose(&self, link: Arc<dyn BrokerLink>, reason: &str) {
        let Some(mut state) = self.take_down(reason) else {
            return;
        };
        if state.opened_at.elapsed() >= state.last_wait.saturating_mul(WELL_AFTER_WAITS) {
            state.backoff.reset();
        }
        let wait = state.delay();
        drop(state);
        error!(
            critical = true,
            "the broker plugin was lost: {reason}; no orders go to it until it is open again, in {} s",
            wait.as_secs_f32()
        );
        // One that does not go keeps its seat, so that what is opened next waits for it and says so.
        free(link);
    }

    fn open_failed(&self, opener: &dyn Opener, reason: &str) {
        let mut state = self.state();
        state.down = format!("it cannot be opened: {reason}");
        let connection = ConnectionState::Disconnected {
            reason: state.down.clone(),
        };
        let wait = state.delay();
        self.publish(&state, connection);
        drop(state);
        warn!(
            "the broker plugin {} cannot be opened ({reason}); it is tried again in {} s",
            opener.describe(),
            wait.as_secs_f32()
        );
    }
}

/// What a session holds of its keeper.
struct Own {
    shared: Weak<Shared>,
    /// Which one of all that were opened it is.
    session: u64,
}

impl Keeps for Own {
    fn wake(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.wake.notify_all();
        }
    }

    /// It counts from now on, and however soon it is over: what happened meanwhile may never have been told. The plugin is
    /// asked at once how it stands now; what was asked before counts no more.
    fn is_away(&self, reason: &str) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let mut state = shared.state();
        // What one that is gone had still to say is not about the one in its place.
        let is_last = shared.sessions.load(Ordering::Acquire) == self.session;
        if state.closing || state.link.is_none() || !is_last {
            return;
        }
        state.number += 1;
        reason.clone_into(&mut state.down);
        let reason = reason.to_owned();
        shared.publish(&state, ConnectionState::Disconnected { reason });
        drop(state);
        (shared.ask)();
    }
}

impl State {
    fn delay(&mut self) -> Duration {
        let wait = self.backoff.next(None);
        self.last_wait = wait;
        self.open_at = Instant::now() + wait;
        wait
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
