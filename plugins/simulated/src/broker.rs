//! The broker itself: threads, answers, events, and the faults that were asked for.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use qt_plugin_api::{
    AccountRow, Broker, CallError, CancelRequest, CancelResult, ConnectionState, EventSink, HostClock,
    HostLog, OpenContext, OpenError, OrderRequest, OrderRow, OrderStatus, PlaceResult, PositionRow, TradeRow,
};
use rust_decimal::Decimal;

use qt_exchange::from_e4;
use qt_market::Market;

use exchanged::number_of;
use unwritten::{Happened, Unwritten};

use crate::{
    book::{Book, day_of},
    failpoints,
    floor::{self, Floor, Now},
    ledger::{AppendError, Fact, Kind, Ledger},
    options::{FillMode, Options},
};

// The hostile plugin has this file by its path, too.
#[path = "exchanged.rs"]
mod exchanged;
#[path = "unwritten.rs"]
mod unwritten;

/// An event that waits to be told.
enum Told {
    Order(OrderRow),
    Trade(TradeRow),
}

/// What lies under the lock. Without a ledger the broker is closed.
struct State {
    book: Book,
    ledger: Option<Ledger>,
    told: VecDeque<Told>,
    due: VecDeque<(Instant, usize)>,
    /// What happened and could not be written yet.
    unwritten: Unwritten,
    /// The exchange, where one fills the orders.
    floor: Option<Floor>,
}

struct Shared {
    state: Mutex<State>,
    // Wakes whoever waits: for the end, or for a fill that is due.
    wake: Condvar,
    // Held while events are told, so that they keep their order without the state being locked.
    telling: Mutex<()>,
    options: Options,
    account_id: String,
    sink: EventSink,
    log: HostLog,
    clock: HostClock,
}

/// How the answer to an accepted order goes astray.
enum Answer {
    Plain,
    Silent,
    Never,
}

/// A broker with a ledger of its own; see the crate's documentation.
pub struct Simulated {
    shared: Arc<Shared>,
    filler: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const CLOSED: &str = "the simulated broker is closed";

impl Shared {
    /// Waits, but not beyond the end of the broker.
    fn pause(&self, ms: u64) {
        if ms == 0 {
            return;
        }
        let state = lock(&self.state);
        let open = |s: &mut State| s.ledger.is_some();
        drop(
            self.wake
                .wait_timeout_while(state, Duration::from_millis(ms), open),
        );
    }

    /// Tells what waits. Never called with the state locked: the sink may wait for the host.
    fn tell(&self) {
        let _in_order = lock(&self.telling);
        loop {
            let mut batch = std::mem::take(&mut lock(&self.state).told);
            if batch.is_empty() {
                return;
            }
            if batch.len() > 1 && self.options.fault_reorder_events.strikes() {
                batch.make_contiguous().reverse();
            }
            for told in batch {
                if self.options.fault_no_events.strikes() {
                    continue;
                }
                let times = if self.options.fault_duplicate_events.strikes() {
                    2
                } else {
                    1
                };
                for _ in 0..times {
                    match &told {
                        Told::Order(row) => self.sink.order(row.clone()),
                        Told::Trade(row) => self.sink.trade(row.clone()),
                    }
                }
            }
        }
    }

    fn enter(&self, state: &mut State, fact: &Fact) -> Result<usize, AppendError> {
        let closed = || AppendError::NotWritten(std::io::Error::other(CLOSED));
        state.ledger.as_mut().ok_or_else(closed)?.append(fact)?;
        if fact.event == Kind::Accepted {
            failpoints::pass("sim-after-ledger");
        }
        // What is in the ledger was checked against the book before, under the same lock.
        state.book.apply(fact).map_err(AppendError::Contradicts)
    }

    fn tell_order(&self, state: &mut State, at: usize) {
        let order = state.book.order(at);
        if !order.silent {
            let row = order.row.clone();
            state.told.push_back(Told::Order(row));
        }
    }

    /// Decides and enters an order; says how its answer goes astray.
    fn take(&self, order: &OrderRequest) -> (PlaceResult, Answer) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let rejected = |reason: String| (PlaceResult::Rejected { reason }, Answer::Plain);
        if state.ledger.is_none() {
            return rejected(CLOSED.to_owned());
        }
        let now = self.roll(state);
        if let Some(at) = state.book.find(&order.client_order_id) {
            return (repeated(state.book.order(at), order), Answer::Plain);
        }
        if let Some(why) = state.unwritten.objection() {
            return rejected(why);
        }
        let objection = if self.options.fill == FillMode::Reject {
            Some("the simulated broker rejects every order (`fill` is `reject`)".to_owned())
        } else {
            objection(state, order, now)
        };
        failpoints::pass("sim-before-ledger");
        let broker_order_id = state.book.next_order_id();
        let mut fact = first_fact(order, &broker_order_id, now, objection.clone());
        if let Some(floor) = &state.floor {
            (fact.at_once, fact.rests_at) = floor.rests(order);
        }
        let at = match self.enter(state, &fact) {
            Ok(at) => at,
            Err(e @ AppendError::NotWritten(_)) => return rejected(e.to_string()),
            Err(e) => {
                let reason = e.to_string();
                return (PlaceResult::Unknown { reason }, Answer::Plain);
            }
        };
        if let Some(reason) = objection {
            return rejected(reason);
        }
        let answer = self.answer();
        if matches!(answer, Answer::Silent) {
            state.book.silence(at);
        }
        self.tell_order(state, at);
        if state.floor.is_some() {
            self.meet(state, at, order, now);
        } else {
            self.fill_now_or_later(state, at, now.ts);
        }
        (PlaceResult::Accepted { broker_order_id }, answer)
    }

    fn answer(&self) -> Answer {
        if self.options.fault_never_answer.strikes() {
            Answer::Never
        } else if self.options.fault_accept_silently.strikes() {
            Answer::Silent
        } else {
            Answer::Plain
        }
    }

    fn fill_now_or_later(&self, state: &mut State, at: usize, now_ms: i64) {
        if self.options.fill_after_ms == 0 {
            return self.fill_by_mode(state, at, now_ms);
        }
        let due = Instant::now() + Duration::from_millis(self.options.fill_after_ms);
        state.due.push_back((due, at));
        self.wake.notify_all();
    }

    /// Fills as much of an open order as the configuration says.
    fn fill_by_mode(&self, state: &mut State, at: usize, now_ms: i64) {
        if !state.book.is_open(at) {
            return;
        }
        let order = state.book.order(at);
        let Some(price) = state.book.fill_price(&order.row) else {
            return;
        };
        let quantity = match self.options.fill {
            FillMode::Immediate => order.remaining(),
            FillMode::Partial if order.row.filled_quantity == 0 => half(order.row.quantity),
            FillMode::Partial | FillMode::Never | FillMode::Reject | FillMode::Exchange => return,
        };
        self.fill(state, at, quantity, price, Now::host(now_ms));
    }

    /// Brings the books, and the exchange where there is one, to the present moment.
    fn roll(&self, state: &mut State) -> Now {
        let host_ms = self.clock.now_ms();
        // What happened before comes first, and nothing more happens until it is written.
        let is_written = self.write_what_happened(state);
        let Some(mut floor) = state.floor.take() else {
            if is_written {
                state.book.roll(host_ms);
            }
            return Now::host(host_ms);
        };
        let now = floor.now(host_ms);
        if !is_written {
            state.floor = Some(floor);
            return now;
        }
        let at = |ts| Now { ts, ..now };
        let mut happened = Vec::new();
        floor.catch_up(now.ts, |ts, outcome| happened.push((at(ts), outcome)));
        state.floor = Some(floor);
        for (when, outcome) in happened {
            self.settle(state, outcome, when);
        }
        if !state.unwritten.is_empty() {
            return now;
        }
        state.book.roll(now.ts);
        self.pay_dividends(state, now);
        if let Some(floor) = &state.floor {
            for symbol in state.book.held_symbols() {
                let (last, previous_close) = floor.prices(&symbol);
                state.book.set_prices(&symbol, last, previous_close);
            }
        }
        now
    }

    fn cancel(&self, cancel: &CancelRequest) -> CancelResult {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let rejected = |reason: String| CancelResult::Rejected { reason };
        if state.ledger.is_none() {
            return rejected(CLOSED.to_owned());
        }
        let now = self.roll(state);
        let Some(at) = state.book.find(&cancel.client_order_id) else {
            return rejected(format!(
                "no order has the client order id {}",
                cancel.client_order_id
            ));
        };
        if !state.book.is_open(at) {
            return rejected(format!(
                "the order is finished ({:?})",
                state.book.order(at).row.status
            ));
        }
        if let Some(why) = state.unwritten.objection() {
            return rejected(why);
        }
        if self.options.fault_refuse_cancels.strikes() {
            return rejected("the broker refuses the cancel".to_owned());
        }
        let row = &state.book.order(at).row;
        if self.options.fault_fill_during_cancel.strikes()
            && let Some(price) = row.limit_price.or_else(|| state.book.fill_price(row))
        {
            let rest = state.book.order(at).remaining();
            if let Some(floor) = &mut state.floor {
                // It is out of the exchange's hands; whether that takes cancels now plays no part in the fault.
                let _ = floor.venue.cancel(now.ts, number_of(at));
            }
            self.fill(state, at, rest, price, now);
            return CancelResult::Sent;
        }
        if let Some(floor) = &state.floor
            && let Err(rejection) = floor.venue.check_cancel(now.ts, number_of(at))
        {
            return rejected(rejection.to_string());
        }
        let rest = state.book.order(at).remaining();
        let fact = next_fact(Kind::Cancelled, &state.book.order(at).row, rest, now);
        match self.enter(state, &fact) {
            Ok(at) => {
                if let Some(floor) = &mut state.floor {
                    // It was asked for leave a moment ago under the same lock.
                    let _ = floor.venue.cancel(now.ts, number_of(at));
                }
                self.tell_order(state, at);
                CancelResult::Sent
            }
            Err(e @ AppendError::NotWritten(_)) => rejected(e.to_string()),
            Err(e) => CancelResult::Unknown {
                reason: e.to_string(),
            },
        }
    }

    /// Reads from the books, unless they are closed or the fault strikes.
    fn read<R>(&self, what: &str, read: impl FnOnce(&Book, Seen) -> R) -> Result<R, CallError> {
        let mut state = lock(&self.state);
        if state.ledger.is_none() {
            return Err(CallError::new(CLOSED));
        }
        if self.options.fault_snapshot_fails.strikes() {
            return Err(CallError::new(format!(
                "the query for {what} failed (`fault_snapshot_fails`)"
            )));
        }
        let now = self.roll(&mut state);
        let host_ms = now.host_ts.unwrap_or(now.ts);
        let seen = Seen {
            until_ms: host_ms - i64::from(self.options.snapshot_lag_ms),
            host_day_ms: now.host_ts,
        };
        let shown = read(&state.book, seen);
        drop(state);
        // What happened earlier may have been written only now.
        self.tell();
        Ok(shown)
    }

    /// Fills what is due, until the broker is closed.
    fn fill_later(&self) {
        loop {
            let mut state = lock(&self.state);
            if state.ledger.is_none() {
                return;
            }
            let now = Instant::now();
            match state.due.front().copied() {
                Some((due, at)) if due <= now => {
                    state.due.pop_front();
                    let now_ms = self.roll(&mut state).ts;
                    self.fill_by_mode(&mut state, at, now_ms);
                    drop(state);
                    self.tell();
                }
                Some((due, _)) => drop(self.wake.wait_timeout(state, due - now)),
                None if state.unwritten.is_empty() => drop(self.wake.wait(state)),
                None => {
                    let (mut state, _) = self
                        .wake
                        .wait_timeout(state, unwritten::PAUSE)
                        .unwrap_or_else(PoisonError::into_inner);
                    self.write_what_happened(&mut state);
                    drop(state);
                    self.tell();
                }
            }
        }
    }
}

/// Half an order in lots of 100, at least one lot, at most all of it.
fn half(quantity: u64) -> u64 {
    (quantity / 2 / 100 * 100).max(100).min(quantity)
}

/// What a list is to show.
#[derive(Clone, Copy)]
struct Seen {
    /// Nothing younger than this, on the host's clock.
    until_ms: i64,
    /// The host's time, where the session has another: a list shows the host's day.
    host_day_ms: Option<i64>,
}

/// Why an order cannot be taken: by the exchange first, then by the books.
fn objection(state: &mut State, order: &OrderRequest, now: Now) -> Option<String> {
    let host_ms = now.host_ts.unwrap_or(now.ts);
    let Some(floor) = &mut state.floor else {
        return state.book.objection(order, host_ms, None);
    };
    if order.client_order_id.is_empty() {
        return state.book.objection(order, host_ms, None);
    }
    let ticket = match floor.ticket(order) {
        Ok(ticket) => ticket,
        Err(why) => return Some(why),
    };
    let sellable = i64::try_from(state.book.available(&order.symbol)).unwrap_or(i64::MAX);
    if let Err(rejection) = floor.venue.check(now.ts, &ticket, sellable) {
        return Some(rejection.to_string());
    }
    let worst = floor.venue.worst_price(&ticket).map(from_e4);
    // The books' own words for too little cash get the code that a counter has for it.
    let why = state.book.objection(order, host_ms, worst)?;
    Some(if why.starts_with("not enough cash") {
        format!("[NO_CASH] 资金可用数不足 ({why})")
    } else {
        why
    })
}

fn first_fact(order: &OrderRequest, broker_order_id: &str, now: Now, objection: Option<String>) -> Fact {
    Fact {
        event: if objection.is_some() {
            Kind::Rejected
        } else {
            Kind::Accepted
        },
        ts: now.ts,
        host_ts: now.host_ts,
        client_order_id: order.client_order_id.clone(),
        broker_order_id: broker_order_id.to_owned(),
        symbol: order.symbol.clone(),
        side: order.side,
        quantity: order.quantity,
        price: order.limit_price,
        reason: objection,
        ..Fact::default()
    }
}

fn next_fact(event: Kind, row: &OrderRow, quantity: u64, now: Now) -> Fact {
    Fact {
        event,
        ts: now.ts,
        host_ts: now.host_ts,
        client_order_id: row.client_order_id.clone().unwrap_or_default(),
        broker_order_id: row.broker_order_id.clone(),
        symbol: row.symbol.clone(),
        side: row.side,
        quantity,
        price: row.limit_price,
        ..Fact::default()
    }
}

/// The answer to an id that was there before: the same as the first time, and nothing new.
fn repeated(known: &crate::book::Order, order: &OrderRequest) -> PlaceResult {
    if !known.is_for(order) {
        let reason = format!(
            "the client order id {} already stands for another order",
            order.client_order_id
        );
        return PlaceResult::Rejected { reason };
    }
    if known.row.status == OrderStatus::Rejected {
        return PlaceResult::Rejected {
            reason: known.row.reason.clone(),
        };
    }
    PlaceResult::Accepted {
        broker_order_id: known.row.broker_order_id.clone(),
    }
}

/// The books as the ledger tells them.
fn replay(
    options: &Options,
    path: &std::path::Path,
    facts: &[Fact],
    market: Option<Arc<Market>>,
) -> Result<Book, OpenError> {
    let mut book = Book::new(options);
    if let Some(market) = market {
        book.charge_by(market);
    }
    for (i, fact) in facts.iter().enumerate() {
        book.apply(fact).map_err(|why| {
            OpenError::new(format!(
                "line {} of the ledger {} contradicts the lines before or the configured start ({why}); give the \
                 `cash` and `positions` it began with, or move the file away",
                i + 1,
                path.display()
            ))
        })?;
    }
    Ok(book)
}

impl Broker for Simulated {
    fn open(cx: OpenContext) -> Result<Self, OpenError> {
        failpoints::setup();
        let options: Options = cx.config()?;
        options
            .check()
            .map_err(|e| OpenError::new(format!("the configuration block `simulated`: {e}")))?;
        let path: PathBuf = cx.data_dir.join(&options.ledger);
        let (ledger, facts) = if options.read_only {
            Ledger::open_to_read(&path)
        } else {
            Ledger::open(&path)
        }
        .map_err(OpenError::new)?;
        let wrong = |e: String| OpenError::new(format!("the configuration block `simulated`: {e}"));
        let market = if options.fill == FillMode::Exchange {
            Some(floor::tables(&options, &cx.data_dir).map_err(wrong)?)
        } else {
            None
        };
        let mut book = replay(&options, &path, &facts, market.clone())?;
        let host_ms = cx.clock.now_ms();
        let last_ts = facts.iter().map(|fact| fact.ts).max();
        let floor = if let Some(market) = market.filter(|_| !options.read_only) {
            let mut floor = Floor::open(&options, market, &cx.data_dir, host_ms, last_ts).map_err(wrong)?;
            if let Some(last_ts) = last_ts {
                floor.forget_dividends_until(last_ts);
            }
            Some(floor)
        } else {
            book.roll(host_ms);
            None
        };
        // Who only looks leaves open orders to whoever trades.
        let resumed = if options.read_only {
            Vec::new()
        } else {
            book.open_orders()
        };
        let state = State {
            book,
            ledger: Some(ledger),
            told: VecDeque::new(),
            due: VecDeque::new(),
            unwritten: Unwritten::default(),
            floor,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            telling: Mutex::new(()),
            options,
            account_id: cx.account_id.unwrap_or_else(|| "SIMULATED".to_owned()),
            sink: cx.sink,
            log: cx.log,
            clock: cx.clock,
        });
        // An exchange goes on while its client is away: what could have filled has filled.
        let plays = lock(&shared.state).floor.is_some();
        if plays {
            shared.resume(&resumed, last_ts, host_ms);
        }
        for at in resumed.into_iter().filter(|_| !plays) {
            let now_ms = shared.clock.now_ms();
            shared.fill_now_or_later(&mut lock(&shared.state), at, now_ms);
        }
        shared.tell();
        let pause = lock(&shared.state)
            .floor
            .as_ref()
            .map(|floor| Duration::from_millis(floor.pause_ms));
        let filler = if pause.is_some() || (shared.options.fill_after_ms > 0 && !shared.options.read_only) {
            let own = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("simulated-fills".to_owned());
            let spawned = thread.spawn(move || match pause {
                Some(pause) => own.play(pause),
                None => own.fill_later(),
            });
            Some(spawned.map_err(|e| OpenError::new(format!("no thread for later fills: {e}")))?)
        } else {
            None
        };
        Ok(Self {
            shared,
            filler: Mutex::new(filler),
        })
    }

    fn place_order(&self, order: &OrderRequest) -> PlaceResult {
        let shared = &self.shared;
        shared.pause(shared.options.latency_ms);
        let (result, answer) = shared.take(order);
        shared.tell();
        match (answer, &result) {
            (Answer::Plain, PlaceResult::Accepted { .. }) => {
                shared.pause(shared.options.fault_answer_late_ms);
                result
            }
            (Answer::Plain, _) => result,
            (Answer::Silent, _) => {
                shared.pause(shared.options.answer_after_ms);
                PlaceResult::Unknown {
                    reason: "the broker's answer was lost (`fault_accept_silently`)".to_owned(),
                }
            }
            (Answer::Never, _) => {
                let open = |s: &mut State| s.ledger.is_some();
                drop(shared.wake.wait_while(lock(&shared.state), open));
                PlaceResult::Unknown {
                    reason: "the broker never answered (`fault_never_answer`)".to_owned(),
                }
            }
        }
    }

    fn cancel_order(&self, cancel: &CancelRequest) -> CancelResult {
        self.shared.pause(self.shared.options.latency_ms);
        let result = self.shared.cancel(cancel);
        self.shared.tell();
        result
    }

    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        self.shared.read("orders", |book, seen| match seen.host_day_ms {
            Some(now_ms) => book.of_host_day(now_ms, seen.until_ms).0,
            None => book.orders_until(seen.until_ms),
        })
    }

    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        self.shared.read("trades", |book, seen| match seen.host_day_ms {
            Some(now_ms) => book.of_host_day(now_ms, seen.until_ms).1,
            None => book.trades_until(seen.until_ms),
        })
    }

    fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        self.shared.read("positions", |book, _| book.positions())
    }

    fn account(&self) -> Result<AccountRow, CallError> {
        self.shared
            .read("the account", |book, _| book.account(&self.shared.account_id))
    }

    fn connection(&self) -> ConnectionState {
        if lock(&self.shared.state).ledger.is_some() {
            ConnectionState::Connected
        } else {
            ConnectionState::Disconnected {
                reason: CLOSED.to_owned(),
            }
        }
    }

    fn close(&self) {
        // The ledger's lock goes with it, so that another broker can open it at once.
        lock(&self.shared.state).ledger = None;
        self.shared.wake.notify_all();
        if let Some(thread) = lock(&self.filler).take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.close();
    }
}
