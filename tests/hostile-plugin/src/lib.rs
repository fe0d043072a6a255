//! A broker plugin that misbehaves in one way at a time, on request. Beneath it lies the simulated broker with its
//! ledger, which tells a test what the broker truly did, whatever the plugin said about it.
//!
//! # Options
//! The block `hostile` takes every option of `simulated`, and these:
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `misbehaviour` | none | one of the names below; the environment's `QT_HOSTILE` comes before it |
//! | `after` | 0 | in each process, that many chances pass by first |
//! | `at_most` | no limit | in all processes together; counted in the file `hostile-strikes` of the data folder |
//! | `changed_file_only` | false | only a file in which a test changed `hostile-file:0` to `hostile-file:1` |
//! | `ms` | 1000 | how long, where it is about time |
//!
//! # Misbehaviours
//! A chance is a call of the kind that the name says; without one it is a place.
//!
//! | name | what happens |
//! |---|---|
//! | `panic-in-place` | a panic, before the broker has the order |
//! | `panic-after-accepting` | a panic, once the broker has the order |
//! | `panic-in-control` | a panic in the list of the day's orders |
//! | `panic-in-open` | a panic in `open` |
//! | `panic-in-connection` | a panic when asked for the connection |
//! | `panic-in-drop` | a panic when it is dropped |
//! | `segfault-in-place` | a write to where nothing is |
//! | `segfault-in-open` | the same in `open` |
//! | `abort-in-place` | the process aborts, before the broker has the order |
//! | `exit-in-place` | the process exits with code 3, before the broker has the order |
//! | `stack-overflow-in-place` | a recursion without an end |
//! | `die-after-accepting` | the process aborts when the broker has the order, and before the answer |
//! | `die-in-control` | the process aborts in the list of the day's orders |
//! | `die-from-a-thread` | the process aborts from a thread of its own, `ms` after it was opened |
//! | `hang-in-place` | the call never comes back, and the broker never has the order |
//! | `hang-after-accepting` | the call never comes back, and the broker has the order |
//! | `hang-in-control` | the list of the day's orders never comes |
//! | `fails-in-control` | the list of the day's orders is an error |
//! | `hang-in-open` | `open` never comes back |
//! | `slow-open` | `open` comes back after `ms` |
//! | `away-in-open` | `open` says that the broker's terminal is not running, which may pass |
//! | `away-in-connection` | the connection is down until the file `hostile-is-there` lies in the data folder |
//! | `hides-holdings` | the list of holdings fails until the file `hostile-is-there` lies in the data folder |
//! | `hang-in-close` | `close` never comes back |
//! | `hang-in-exit` | the process hangs when it is to exit |
//! | `leaves-a-helper` | `open` starts a process, whose number is in the data folder's `hostile-helper` |
//! | `spin-in-place` | as `hang-in-place`, with a busy processor |
//! | `slow` | a place takes `ms` longer, with the order at the broker before that |
//! | `talks` | `open` tells what the host offers, and a thousand lines more; places are counted |
//! | `leak` | each place and each list keeps 8 MiB for ever |
//! | `garbage-on-stdout` | every call writes bytes without a meaning to standard output, and a flood of lines |
//! | `reject-accepted` | an order that the broker accepted is answered as rejected |
//! | `reject-unknown` | a lost answer is called a rejection; the order is at the broker |
//! | `accept-nothing` | the answer is an acceptance of an order that the broker never had; only one without a last time |
//! | `nameless-acceptance` | an acceptance without the broker's id |
//! | `places-twice` | the broker gets the order a second time under another client order id |
//! | `drops-events` | no event is told |
//! | `duplicate-events` | every event is told twice |
//! | `late-events` | events of one step come in the reverse order |
//! | `duplicate-trade-ids` | all trades of the lists have one id, and events tell of none |
//! | `half-snapshots` | every other row of the lists is missing |
//! | `shrinking-fills` | the lists show an order's fill, and later none |
//! | `wrong-client-order-id` | rows bear a client order id with its last letter changed, and no event is told |
//! | `cut-client-order-id` | rows bear the first eight letters of the client order id, and no event is told |
//! | `answers-after-close` | once closed, it still takes orders: the answer is an acceptance |
//! | `ignores-mistakes` | a block with a mistake is taken for an empty one |
//! | `overstates-cash` | more cash may be used than there is |
//! | `overstates-holdings` | more shares may be sold than are held |
//! | `sells-today` | shares bought today are shown as ones that may be sold |
//! | `float-money` | the orders' prices went through a binary fraction |
//! | `silent-rejection` | a rejection has no reason |
//! | `repeats-orders` | a client order id that comes again becomes another order |
//! | `cancels-nothing` | a cancel is called sent, and nothing happens |
//! | `hides-raced-fills` | an order whose cancel was asked for is shown as cancelled, filled or not |
//! | `ignores-not-after` | an order is taken after the time that it is good for |
//! | `writes-elsewhere` | `open` writes a file into the current folder and the one for temporary files |
//! | `tells-account` | `open` logs the account number |
//! | `leaks-handles` | each place keeps a file open for ever |
//! | `unpriced-holdings` | the holdings have no prices; those that it is asked for have |
//! | `zero-quotes` | a price that is not known is told as zero |
//! | `skips-trades` | the pages of trades leave every other one out |
//! | `panic-in-quotes` | a panic when it is asked for prices, which the holdings lack |

mod misbehaviour;

// The broker's own modules, by their source: as a library it would bring its own manifest and root along.
#[path = "../../../plugins/simulated/src/book.rs"]
mod book;
#[path = "../../../plugins/simulated/src/broker.rs"]
mod broker;
#[path = "../../../plugins/simulated/src/failpoints.rs"]
mod failpoints;
#[path = "../../../plugins/simulated/src/fault.rs"]
mod fault;
#[path = "../../../plugins/simulated/src/fees.rs"]
mod fees;
#[path = "../../../plugins/simulated/src/floor.rs"]
mod floor;
#[path = "../../../plugins/simulated/src/ledger.rs"]
mod ledger;
#[path = "../../../plugins/simulated/src/options.rs"]
mod options;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use broker::Simulated;
use misbehaviour::{Kind, Misbehaviour};
use qt_plugin_api::{
    AccountRow, Broker, CallError, CancelRequest, CancelResult, ConnectionState, Decimal, HostMetrics,
    OpenContext, OpenError, OrderRequest, OrderRow, OrderStatus, PlaceResult, PositionRow, Quote, Quotes,
    TradeRow, TradesPage, TradesSince,
};

/// The broker, and what it does wrong.
pub struct Hostile {
    broker: Simulated,
    misbehaviour: Misbehaviour,
    /// Orders whose fill was shown.
    shown: Mutex<BTreeSet<String>>,
    /// Client order ids that were placed.
    placed: Mutex<BTreeSet<String>>,
    /// Client order ids whose cancel was asked for.
    cancelled: Mutex<BTreeSet<String>>,
    closed: std::sync::atomic::AtomicBool,
    /// Where it counts, if it does.
    metrics: Option<HostMetrics>,
}

impl Hostile {
    fn strikes(&self, kind: Kind) -> bool {
        self.misbehaviour.strikes(kind)
    }

    fn noise(&self) {
        if self.strikes(Kind::GarbageOnStdout) {
            misbehaviour::garbage();
        }
        if self.strikes(Kind::Leak) {
            misbehaviour::leak();
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The order as the broker gets it.
    fn bent(&self, order: &OrderRequest) -> OrderRequest {
        let mut order = order.clone();
        if self.strikes(Kind::IgnoresNotAfter) {
            order.not_after_ms = None;
        }
        if self.misbehaviour.is(Kind::RepeatsOrders)
            && !lock(&self.placed).insert(order.client_order_id.clone())
            && self.strikes(Kind::RepeatsOrders)
        {
            order.client_order_id = turned(&order.client_order_id);
        }
        order
    }

    /// What happens before the broker has the order.
    fn before(&self) {
        self.noise();
        if self.strikes(Kind::PanicInPlace) {
            panic!("misbehaviour: panic-in-place");
        }
        if self.strikes(Kind::SegfaultInPlace) {
            misbehaviour::segfault();
        }
        if self.strikes(Kind::AbortInPlace) {
            std::process::abort();
        }
        if self.strikes(Kind::ExitInPlace) {
            std::process::exit(3);
        }
        if self.strikes(Kind::StackOverflowInPlace) {
            misbehaviour::overflow(0);
        }
        if self.strikes(Kind::HangInPlace) {
            misbehaviour::hang();
        }
        if self.strikes(Kind::SpinInPlace) {
            misbehaviour::spin();
        }
        if self.strikes(Kind::LeaksHandles) {
            misbehaviour::leak_handle();
        }
    }

    /// What happens once the broker has the order.
    fn after(&self, order: &OrderRequest, answer: PlaceResult) -> PlaceResult {
        if let PlaceResult::Rejected { .. } = answer
            && self.strikes(Kind::SilentRejection)
        {
            return PlaceResult::Rejected {
                reason: String::new(),
            };
        }
        let accepted = matches!(answer, PlaceResult::Accepted { .. });
        if !accepted {
            return answer;
        }
        if self.strikes(Kind::DieAfterAccepting) {
            std::process::abort();
        }
        if self.strikes(Kind::PanicAfterAccepting) {
            panic!("misbehaviour: panic-after-accepting");
        }
        if self.strikes(Kind::HangAfterAccepting) {
            misbehaviour::hang();
        }
        if self.strikes(Kind::Slow) {
            std::thread::sleep(self.misbehaviour.time());
        }
        if self.strikes(Kind::PlacesTwice) {
            let again = OrderRequest {
                client_order_id: turned(&order.client_order_id),
                ..order.clone()
            };
            let _ = self.broker.place_order(&again);
        }
        if self.strikes(Kind::RejectAccepted) {
            return PlaceResult::Rejected {
                reason: "misbehaviour: reject-accepted".into(),
            };
        }
        if self.strikes(Kind::RejectUnknown) {
            return PlaceResult::Rejected {
                reason: "the answer did not come within 5 s".into(),
            };
        }
        if self.strikes(Kind::NamelessAcceptance) {
            return PlaceResult::Accepted {
                broker_order_id: String::new(),
            };
        }
        answer
    }

    fn client_order_id(&self, id: Option<String>) -> Option<String> {
        let id = id?;
        if self.strikes(Kind::WrongClientOrderId) {
            return Some(turned(&id));
        }
        if self.strikes(Kind::CutClientOrderId) {
            return Some(id.chars().take(8).collect());
        }
        Some(id)
    }

    fn halved<T>(&self, rows: Vec<T>) -> Vec<T> {
        if !self.strikes(Kind::HalfSnapshots) {
            return rows;
        }
        let every_other = rows.into_iter().enumerate().filter(|(at, _)| at % 2 == 0);
        every_other.map(|(_, row)| row).collect()
    }

    fn shrunk(&self, mut row: OrderRow) -> OrderRow {
        if row.filled_quantity > 0 && self.misbehaviour.is(Kind::ShrinkingFills) {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            if !shown.insert(row.broker_order_id.clone()) && self.strikes(Kind::ShrinkingFills) {
                row.filled_quantity = 0;
            }
        }
        row
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An id of the same form that is not the same.
fn turned(id: &str) -> String {
    let mut letters: Vec<char> = id.chars().collect();
    if let Some(last) = letters.last_mut() {
        *last = if *last == 'A' { 'B' } else { 'A' };
    }
    letters.into_iter().collect()
}

impl Broker for Hostile {
    fn open(mut cx: OpenContext) -> Result<Self, OpenError> {
        let misbehaviour = Misbehaviour::take(&mut cx.config, &cx.data_dir)?;
        if misbehaviour.strikes(Kind::PanicInOpen) {
            panic!("misbehaviour: panic-in-open");
        }
        if misbehaviour.strikes(Kind::SegfaultInOpen) {
            misbehaviour::segfault();
        }
        if misbehaviour.strikes(Kind::HangInOpen) {
            misbehaviour::hang();
        }
        if misbehaviour.strikes(Kind::SlowOpen) {
            std::thread::sleep(misbehaviour.time());
        }
        if misbehaviour.strikes(Kind::AwayInOpen) {
            return Err(OpenError::temporary("misbehaviour: the terminal is not running"));
        }
        if misbehaviour.strikes(Kind::WritesElsewhere) {
            misbehaviour::write_elsewhere();
        }
        if misbehaviour.strikes(Kind::HangInExit) {
            misbehaviour::hang_in_exit();
        }
        if misbehaviour.strikes(Kind::LeavesAHelper) {
            misbehaviour::leave_a_helper(&cx.data_dir);
        }
        if misbehaviour.strikes(Kind::TellsAccount) {
            cx.log.info(format!(
                "logging in as {}",
                cx.account_id.as_deref().unwrap_or_default()
            ));
        }
        if misbehaviour.strikes(Kind::DieFromAThread) {
            let wait = misbehaviour.time();
            std::thread::spawn(move || {
                std::thread::sleep(wait);
                std::process::abort();
            });
        }
        let metrics = misbehaviour.is(Kind::Talks).then(|| {
            misbehaviour::talk(&cx);
            cx.metrics.clone()
        });
        Ok(Self {
            broker: Simulated::open(cx)?,
            misbehaviour,
            shown: Mutex::default(),
            placed: Mutex::default(),
            cancelled: Mutex::default(),
            closed: std::sync::atomic::AtomicBool::new(false),
            metrics,
        })
    }

    fn place_order(&self, order: &OrderRequest) -> PlaceResult {
        self.before();
        if let Some(metrics) = &self.metrics {
            metrics.count("hostile_places", 1);
        }
        // Only of an order that the broker would have taken: it does one thing wrong at a time.
        let is_good = !self.is_closed() && order.not_after_ms.is_none();
        if (is_good && self.strikes(Kind::AcceptNothing))
            || (self.is_closed() && self.strikes(Kind::AnswersAfterClose))
        {
            return PlaceResult::Accepted {
                broker_order_id: "NOTHING".into(),
            };
        }
        let answer = self.broker.place_order(&self.bent(order));
        self.after(order, answer)
    }

    fn cancel_order(&self, cancel: &CancelRequest) -> CancelResult {
        self.noise();
        if !self.is_closed() && self.strikes(Kind::CancelsNothing) {
            return CancelResult::Sent;
        }
        lock(&self.cancelled).insert(cancel.client_order_id.clone());
        self.broker.cancel_order(cancel)
    }

    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        self.noise();
        if self.strikes(Kind::PanicInControl) {
            panic!("misbehaviour: panic-in-control");
        }
        if self.strikes(Kind::DieInControl) {
            std::process::abort();
        }
        if self.strikes(Kind::FailsInControl) {
            return Err(CallError::new("misbehaviour: fails-in-control"));
        }
        if self.strikes(Kind::HangInControl) {
            misbehaviour::hang();
        }
        let rows = self.halved(self.broker.orders_today()?);
        let bent = rows.into_iter().map(|mut row| {
            if let Some(price) = row.limit_price
                && self.strikes(Kind::FloatMoney)
            {
                row.limit_price = Some(misbehaviour::through_a_float(price));
            }
            let id = row.client_order_id.clone().unwrap_or_default();
            if lock(&self.cancelled).contains(&id) && self.strikes(Kind::HidesRacedFills) {
                (row.status, row.filled_quantity) = (OrderStatus::Cancelled, 0);
            }
            row.client_order_id = self.client_order_id(row.client_order_id.take());
            self.shrunk(row)
        });
        Ok(bent.collect())
    }

    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        let rows = self.halved(self.broker.trades_today()?);
        let bent = rows.into_iter().map(|mut row| {
            row.client_order_id = self.client_order_id(row.client_order_id.take());
            if self.strikes(Kind::DuplicateTradeIds) {
                row.trade_id = "T".into();
            }
            row
        });
        Ok(bent.collect())
    }

    fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        if self.misbehaviour.hides_holdings() {
            return Err(CallError::new("misbehaviour: hides-holdings"));
        }
        let mut rows = self.halved(self.broker.positions()?);
        for row in &mut rows {
            if self.misbehaviour.is(Kind::PanicInQuotes) || self.strikes(Kind::UnpricedHoldings) {
                (row.last_price, row.previous_close) = (None, None);
            }
            if self.strikes(Kind::SellsToday) {
                row.available_qty = row.quantity - row.frozen_qty;
            }
            if self.strikes(Kind::OverstatesHoldings) {
                row.available_qty = row.quantity + 100;
            }
        }
        Ok(rows)
    }

    fn account(&self) -> Result<AccountRow, CallError> {
        let mut row = self.broker.account()?;
        if self.strikes(Kind::OverstatesCash) {
            row.available_cash = row.cash + rust_decimal::Decimal::ONE;
        }
        Ok(row)
    }

    fn connection(&self) -> ConnectionState {
        if self.strikes(Kind::PanicInConnection) {
            panic!("misbehaviour: panic-in-connection");
        }
        if self.misbehaviour.is_away() {
            return ConnectionState::Disconnected {
                reason: "misbehaviour: the broker is away".into(),
            };
        }
        self.broker.connection()
    }

    fn close(&self) {
        self.closed.store(true, std::sync::atomic::Ordering::Relaxed);
        if self.strikes(Kind::HangInClose) {
            std::thread::sleep(Duration::MAX);
        }
        self.broker.close();
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        if self.strikes(Kind::PanicInDrop) {
            panic!("misbehaviour: panic-in-drop");
        }
    }
}

impl Quotes for Hostile {
    fn quotes(&self, symbols: &[String]) -> Result<Vec<Quote>, CallError> {
        if self.strikes(Kind::PanicInQuotes) {
            panic!("panic-in-quotes");
        }
        let zero = self.strikes(Kind::ZeroQuotes);
        let known = symbols.iter().filter(|symbol| !symbol.starts_with("999999"));
        let rows = known.map(|symbol| Quote {
            symbol: symbol.clone(),
            last_price: Some(if zero { Decimal::ZERO } else { Decimal::TEN }),
            previous_close: Some(Decimal::new(995, 2)),
            ..Quote::default()
        });
        Ok(rows.collect())
    }
}

impl TradesSince for Hostile {
    fn trades_since(&self, cursor: Option<&str>) -> Result<TradesPage, CallError> {
        let all = self.trades_today()?;
        let known = cursor.and_then(|cursor| cursor.parse().ok());
        let from = known.filter(|from| *from <= all.len()).unwrap_or(0);
        let mut trades = all[from..].to_vec();
        if self.strikes(Kind::SkipsTrades) {
            trades = trades.into_iter().step_by(2).collect();
        }
        Ok(TradesPage {
            trades,
            cursor: all.len().to_string(),
        })
    }
}

qt_plugin_api::export_broker! {
    type: Hostile,
    name: "hostile",
    version: env!("CARGO_PKG_VERSION"),
    description: "Misbehaves on request; for tests alone",
    capabilities: ["place", "cancel", "orders", "trades", "positions", "account", "events", "paper"],
    interfaces: [quotes, trades],
}
