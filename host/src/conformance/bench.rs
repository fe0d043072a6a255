//! What every case works with: its folder, sessions of the plugin, orders with names of their own, and waits that end.

use std::path::{Path, PathBuf};
use std::time::Instant;

use qt_core::{ClientOrderId, SignalId};
use qt_plugin_api::{
    CallError, CancelRequest, ConnectionState, OrderRequest, OrderRow, PlaceResult, Side, TradeRow,
};
use rust_decimal::Decimal;
use serde_json::Value;

use super::session::{Broken, LOOK, NotOpen, Place, Session};
use super::{OPENS, Stop, Subject};
use crate::system;

/// Readings without a new event after which no more is expected.
const QUIET: u32 = 8;

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        let case = match broken {
            Broken::Died(_) => "QT-C220",
            Broken::Late(_) => "QT-C230",
            Broken::Panicked(_) => "QT-C210",
        };
        Self::Inconclusive(format!("{}; see {case}", broken.text()))
    }
}

impl From<NotOpen> for Stop {
    fn from(failure: NotOpen) -> Self {
        Self::Inconclusive(format!(
            "the plugin does not open ({}); see {OPENS}",
            failure.text()
        ))
    }
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        Self::Inconclusive(format!("a list could not be read: {}", error.reason))
    }
}

/// An order that the plugin accepted.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) request: OrderRequest,
    pub(super) broker_order_id: String,
}

impl Placed {
    /// Whether a row is this order's, by either id: whether both are right is a case of its own.
    pub(super) fn is_in(&self, row: &OrderRow) -> bool {
        self.has(&row.broker_order_id, row.client_order_id.as_deref())
    }

    /// Whether a trade is this order's.
    pub(super) fn is_of(&self, row: &TradeRow) -> bool {
        self.has(&row.broker_order_id, row.client_order_id.as_deref())
    }

    fn has(&self, broker_order_id: &str, client_order_id: Option<&str>) -> bool {
        (!self.broker_order_id.is_empty() && broker_order_id == self.broker_order_id)
            || client_order_id == Some(self.request.client_order_id.as_str())
    }
}

/// Both lists, read one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Lists {
    pub(super) orders: Vec<OrderRow>,
    pub(super) trades: Vec<TradeRow>,
}

/// One case at work.
pub(super) struct Bench<'a> {
    pub(super) subject: &'a Subject,
    folder: PathBuf,
    story: Vec<String>,
    run: String,
    orders: u32,
    /// Every name that an order was given.
    named: Vec<String>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(subject: &'a Subject, id: &str) -> Result<Self, String> {
        let folder = subject.folder.join(id);
        for name in ["data", "elsewhere"] {
            system::create_private_dir(&folder.join(name)).map_err(|e| e.to_string())?;
        }
        Ok(Self {
            subject,
            folder,
            story: Vec::new(),
            // No two runs share a name: the broker may remember those of the last one.
            run: format!("{id}-{:032x}", rand::random::<u128>()),
            orders: 0,
            named: Vec::new(),
        })
    }

    /// Notes what was done.
    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.story.push(text.into());
    }

    pub(super) fn into_story(self) -> Vec<String> {
        self.story
    }

    /// The plugin's folder in this case.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where the plugin has no business.
    pub(super) fn elsewhere(&self) -> PathBuf {
        self.folder.join("elsewhere")
    }

    /// Whether orders may be placed.
    pub(super) fn may_place(&self) -> bool {
        (self.subject.is_paper() || self.subject.place_orders)
            && self.subject.can("place")
            && self.subject.can("orders")
    }

    /// Opens the plugin with a block of the configuration.
    pub(super) fn start(&self, config: &Value, elsewhere: Option<&Path>) -> Result<Session, NotOpen> {
        let data_dir = self.data_dir();
        let place = Place {
            data_dir: &data_dir,
            elsewhere,
            config,
        };
        Session::start(self.subject, &place)
    }

    /// Opens the plugin as it is configured, and waits until it is connected or patience ends.
    pub(super) fn open(&mut self) -> Result<Session, Stop> {
        self.say("opened the plugin in a process of its own");
        let session = self.start(&self.subject.config, None)?;
        self.connect(&session);
        Ok(session)
    }

    /// Opens the plugin again, after its process was ended.
    pub(super) fn reopen(&mut self) -> Result<Session, Stop> {
        self.say("opened it again, in a new process over the same data folder");
        let session = self.start(&self.subject.config, None)?;
        self.connect(&session);
        Ok(session)
    }

    fn connect(&self, session: &Session) {
        let until = Instant::now() + self.subject.patience;
        // What breaks here breaks again in the call that counts.
        while let Ok(ConnectionState::Connecting | ConnectionState::Disconnected { .. }) =
            session.connection()
        {
            if Instant::now() >= until {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// A buy of the symbol that is tested with, under a name that nobody used before.
    pub(super) fn buy(&mut self, price: Decimal) -> OrderRequest {
        self.orders += 1;
        let id = ClientOrderId::derive("conformance", &SignalId(self.run.clone()), self.orders);
        self.named.push(id.to_string());
        let (symbol, quantity) = (self.subject.symbol.clone(), self.subject.quantity);
        OrderRequest {
            strategy: "conformance".to_owned(),
            ..OrderRequest::new(id.to_string(), symbol, Side::Buy, quantity, Some(price))
        }
    }

    /// Places an order that must be accepted for the case to go on.
    pub(super) fn place(&mut self, session: &Session, order: &OrderRequest) -> Result<Placed, Stop> {
        self.say(format!(
            "placed {}: buy {} {} at {}",
            order.client_order_id,
            order.quantity,
            order.symbol,
            order.limit_price.unwrap_or_default()
        ));
        match session.place(order)? {
            PlaceResult::Accepted { broker_order_id } => Ok(Placed {
                request: order.clone(),
                broker_order_id,
            }),
            PlaceResult::Rejected { reason } => Err(Stop::Inconclusive(format!(
                "the order was refused ({reason}); --symbol and --price name one that is taken"
            ))),
            PlaceResult::Unknown { reason } => Err(Stop::Inconclusive(format!(
                "the order's outcome is unknown ({reason})"
            ))),
        }
    }

    /// A buy at the price that fills.
    pub(super) fn place_buy(&mut self, session: &Session) -> Result<Placed, Stop> {
        let order = self.buy(self.subject.price);
        self.place(session, &order)
    }

    /// Both lists.
    pub(super) fn lists(&self, session: &Session) -> Result<Lists, Stop> {
        // Orders last: every trade that is seen then has its order there.
        let trades = if self.subject.can("trades") {
            session.trades()??
        } else {
            Vec::new()
        };
        Ok(Lists {
            orders: session.orders()??,
            trades,
        })
    }

    /// Reads both lists until `done`, at most for as long as patience lasts; the last reading either way.
    pub(super) fn lists_until(
        &self,
        session: &Session,
        mut done: impl FnMut(&Lists) -> bool,
    ) -> Result<Lists, Stop> {
        let until = Instant::now() + self.subject.patience;
        loop {
            let lists = self.lists(session)?;
            if done(&lists) || Instant::now() >= until {
                return Ok(lists);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Reads both lists until every order is finished and its trades say the same.
    pub(super) fn settled(&self, session: &Session, orders: &[Placed]) -> Result<Lists, Stop> {
        let trades = self.subject.can("trades");
        self.lists_until(session, |lists| {
            orders.iter().all(|order| {
                let row = lists.orders.iter().find(|row| order.is_in(row));
                row.is_some_and(|row| {
                    let sum = super::judge::traded(&lists.trades, &row.broker_order_id);
                    row.status.is_final() && (!trades || sum == row.filled_quantity)
                })
            })
        })
    }

    /// The row of an order in lists that were read already.
    pub(super) fn row<'l>(&self, lists: &'l Lists, order: &Placed) -> Result<&'l OrderRow, Stop> {
        let row = lists.orders.iter().find(|row| order.is_in(row));
        row.ok_or_else(|| {
            Stop::Inconclusive(format!(
                "the accepted order {} does not show in the day's orders; see QT-C120",
                order.request.client_order_id
            ))
        })
    }

    /// Asks for an order's cancel.
    pub(super) fn cancel_request(order: &Placed) -> CancelRequest {
        CancelRequest {
            client_order_id: order.request.client_order_id.clone(),
            broker_order_id: Some(order.broker_order_id.clone()).filter(|id| !id.is_empty()),
            extras: String::new(),
        }
    }

    /// Asks for the cancel of every order of this case that still rests: with money, none is left behind.
    pub(super) fn tidy(&mut self) {
        if self.named.is_empty() || self.subject.is_paper() {
            return;
        }
        let Ok(session) = self.reopen() else { return };
        let Ok(Ok(rows)) = session.orders() else { return };
        for row in rows.into_iter().filter(|row| !row.status.is_final()) {
            let Some(client_order_id) = row.client_order_id.filter(|id| self.named.contains(id)) else {
                continue;
            };
            self.say(format!(
                "asked for the cancel of {client_order_id}, which still rested"
            ));
            let cancel = CancelRequest {
                client_order_id,
                broker_order_id: Some(row.broker_order_id),
                extras: String::new(),
            };
            session.cancel(&cancel).ok();
        }
    }

    /// Waits until no more events come.
    pub(super) fn quiet(&self, session: &Session) {
        let until = Instant::now() + self.subject.patience;
        let (mut seen, mut readings) = (usize::MAX, 0);
        while readings < QUIET && Instant::now() < until {
            let now = session.heard().events.len();
            readings = if now == seen { readings + 1 } else { 0 };
            seen = now;
            std::thread::sleep(LOOK);
        }
    }
}
