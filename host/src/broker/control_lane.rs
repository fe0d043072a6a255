//! The lane for all but new orders: cancels, snapshots, the book, the connection. A slow list of
//! orders here never delays an order there.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use qt_core::{BrokerOrderId, ClientOrderId, Event, Snapshot, UtcMillis};
use qt_plugin_api::{CancelRequest, CancelResult};
use tokio::sync::oneshot;

use super::supervisor::Supervisor;
use super::{Book, convert, read};
use crate::clock::Clock;
use crate::engine::input::{Input, Sender};
use crate::monitor::meters::{BrokerCall, Meters};

/// How often the plugin is asked for its connection while nothing else is to be done.
const LOOK_AT_CONNECTION: Duration = Duration::from_millis(500);

/// What the lane is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    Cancel {
        id: ClientOrderId,
        broker_order_id: Option<BrokerOrderId>,
    },
    Ask,
    Book {
        with_trades: bool,
        reply: oneshot::Sender<Result<Book, String>>,
    },
    /// Ask for the connection now.
    Look,
    Close,
}

/// What the lane is doing, for its watchdog.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched(Arc<Mutex<Option<Doing>>>);

#[derive(Debug, Clone, Copy)]
struct Doing {
    what: &'static str,
    cancel: Option<ClientOrderId>,
    since: Instant,
    overdue: bool,
}

impl Watched {
    fn set(&self, doing: Option<Doing>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = doing;
    }

    /// True while a call is under way.
    pub(super) fn is_calling(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|doing| doing.overdue)
    }

    /// What to tell the engine when the lane has become overdue since the last look.
    pub(super) fn overdue(&self, deadline: Duration) -> Option<Input> {
        let mut doing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let doing = doing
            .as_mut()
            .filter(|doing| !doing.overdue && doing.since.elapsed() >= deadline)?;
        doing.overdue = true;
        let problem = format!(
            "the plugin has not answered ({}) within {} s",
            doing.what,
            deadline.as_secs_f32()
        );
        Some(match doing.cancel {
            Some(id) => Input::Fact(Event::CancelAnswered {
                id,
                problem: Some(problem),
            }),
            None => Input::Snapshot(Err(problem)),
        })
    }
}

/// The lane's thread.
pub(super) struct ControlLane {
    pub(super) broker: Arc<Supervisor>,
    pub(super) engine: Sender,
    pub(super) jobs: Receiver<Job>,
    pub(super) watched: Watched,
    pub(super) clock: Clock,
    /// Why the plugin is not asked for its book; `None` where it is.
    pub(super) no_book: Option<String>,
    pub(super) meters: Meters,
}

impl ControlLane {
    /// Runs until told to close, or until nobody asks any more.
    pub(super) fn run(self) {
        let mut waiting: Vec<Job> = Vec::new();
        loop {
            self.look_at_connection();
            match self.jobs.recv_timeout(LOOK_AT_CONNECTION) {
                Ok(job) => waiting.push(job),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            waiting.extend(self.jobs.try_iter());
            if !self.work_off(&mut waiting) {
                break;
            }
        }
        self.watch("close", None, || self.broker.close());
    }

    /// Cancels first; any number of questions for the books is one question.
    fn work_off(&self, waiting: &mut Vec<Job>) -> bool {
        let mut ask = false;
        let mut goes_on = true;
        let (mut books, mut trades) = (Vec::new(), false);
        for job in waiting.drain(..) {
            match job {
                Job::Cancel { id, broker_order_id } => self.cancel(id, broker_order_id),
                Job::Ask => ask = true,
                Job::Book { with_trades, reply } => {
                    trades |= with_trades;
                    books.push(reply);
                }
                // The loop looks before it waits again.
                Job::Look => {}
                Job::Close => goes_on = false,
            }
        }
        if ask && goes_on {
            let snapshot = self.snapshot();
            crate::failpoint::die_at("after-snapshot");
            self.tell(Input::Snapshot(snapshot));
        }
        if !books.is_empty() {
            let book = self.book(trades);
            for reply in books {
                reply.send(book.clone()).ok();
            }
        }
        goes_on
    }

    fn cancel(&self, id: ClientOrderId, broker_order_id: Option<BrokerOrderId>) {
        let request = CancelRequest {
            client_order_id: id.to_string(),
            broker_order_id: broker_order_id.map(|id| id.0),
            extras: String::new(),
        };
        let answer = self.watch("cancel", Some(id), || self.broker.cancel(&request));
        crate::failpoint::die_at("after-cancel");
        let problem = match answer {
            CancelResult::Sent => None,
            CancelResult::Rejected { reason } => Some(format!("refused: {reason}")),
            CancelResult::Unknown { reason } => Some(format!("no answer: {reason}")),
        };
        self.tell(Input::Fact(Event::CancelAnswered { id, problem }));
    }

    /// Orders before trades: an order that ends in between then lacks no trade that it counts.
    fn snapshot(&self) -> Result<Snapshot, String> {
        let asked_at = UtcMillis(self.clock.now_ms());
        let orders = self
            .watch("today's orders", None, || self.broker.orders_today())
            .map_err(|e| e.to_string())?;
        // One list after the other, so that only one of them is ever there in two forms.
        let orders = convert::all(orders, convert::order).map_err(|e| e.to_string())?;
        let trades = self
            .watch("today's trades", None, || self.broker.trades_today())
            .map_err(|e| e.to_string())?;
        let fills = convert::all(trades, convert::fill).map_err(|e| e.to_string())?;
        Ok(Snapshot {
            asked_at,
            orders,
            fills,
        })
    }

    fn book(&self, with_trades: bool) -> Result<Book, String> {
        if let Some(reason) = &self.no_book {
            return Err(reason.clone());
        }
        let asked_at = UtcMillis(self.clock.now_ms());
        let mut positions = self.watch("positions", None, || read::positions(self.broker.positions()))?;
        read::complete_prices(&mut positions, |symbols| {
            self.watch("quotes", None, || self.broker.quotes(symbols))
        });
        let account = self.watch("account", None, || read::account(self.broker.account()))?;
        let trades_today = with_trades.then(|| {
            self.watch("today's trades", None, || {
                read::trades_today(self.broker.trades_today())
            })
        });
        Ok(Book {
            positions,
            account,
            trades_today,
            asked_at,
        })
    }

    fn look_at_connection(&self) {
        self.watch("connection", None, || self.broker.look());
    }

    fn watch<T>(&self, what: &'static str, cancel: Option<ClientOrderId>, call: impl FnOnce() -> T) -> T {
        self.watched.set(Some(Doing {
            what,
            cancel,
            since: Instant::now(),
            overdue: false,
        }));
        let answer = match timed_as(what) {
            Some(kind) => self.meters.timed(kind, call),
            None => call(),
        };
        self.watched.set(None);
        answer
    }

    fn tell(&self, input: Input) {
        // The engine is gone only when the process ends; what was learned is asked again then.
        self.engine.blocking_send(input).ok();
    }
}

/// What a call counts as, for figures.
fn timed_as(what: &str) -> Option<BrokerCall> {
    Some(match what {
        "cancel" => BrokerCall::Cancel,
        "today's orders" | "today's trades" => BrokerCall::Lists,
        "positions" | "account" => BrokerCall::Book,
        _ => return None,
    })
}
