//! What the core is told, and what it asks for.

use qt_market::{Price, Shares, Side, Symbol};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::ids::{BrokerOrderId, ClientOrderId, FillId};
use crate::report::Report;
use crate::signal::{InvalidSignal, Signal};
use crate::time::UtcMillis;
use crate::trader::Settings;

/// A fact. Only facts change the core, and every fact is durable before its effects leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A process started on this journal: no call of the one before it will be answered.
    HostStarted {
        /// What holds from now on; part of the journal, so that a replay decides alike.
        settings: Settings,
    },
    /// The backend's pending signals.
    Signals {
        /// Those that can be understood.
        taken: Vec<Signal>,
        /// Those that cannot.
        invalid: Vec<InvalidSignal>,
    },
    /// Signals that the backend holds as submitted, asked for at the start.
    HeldAsSubmitted {
        /// The signals.
        signals: Vec<Signal>,
    },
    /// The broker took the order.
    Accepted {
        /// Ours.
        id: ClientOrderId,
        /// The broker's.
        broker_order_id: BrokerOrderId,
    },
    /// The broker refused the order, definitely.
    Rejected {
        /// Ours.
        id: ClientOrderId,
        /// The broker's words.
        reason: String,
    },
    /// It cannot be told whether the broker took the order.
    Unanswered {
        /// Ours.
        id: ClientOrderId,
        /// What happened.
        reason: String,
        /// True while the call may still come back with an answer.
        outstanding: bool,
    },
    /// The call was never made, and will not be.
    NotSent {
        /// Ours.
        id: ClientOrderId,
        /// Why.
        reason: String,
    },
    /// The broker showed an order, pushed or in a snapshot.
    OrderSeen(BrokerOrder),
    /// The broker showed a trade, pushed or in a snapshot.
    FillSeen(BrokerFill),
    /// A complete snapshot of orders and trades was compared; what it changed went before.
    Reconciled {
        /// When the snapshot was asked for.
        asked_at: UtcMillis,
        /// Orders of ours that should have been in it and were not.
        absent: Vec<ClientOrderId>,
        /// Absent orders of ours beside an order without our id that looks the same.
        alike: Vec<(ClientOrderId, BrokerOrderId)>,
        /// Orders in it that are not ours.
        foreign: u64,
    },
    /// The broker's connection came or went.
    Connection {
        /// True when orders can be sent.
        up: bool,
        /// Why not.
        reason: String,
    },
    /// Somebody wants an order cancelled.
    CancelWanted {
        /// Ours.
        id: ClientOrderId,
        /// Who or what asks.
        by: String,
    },
    /// The plugin answered a cancel.
    CancelAnswered {
        /// Ours.
        id: ClientOrderId,
        /// `None` when it was passed on, else why not.
        problem: Option<String>,
    },
    /// A person decided an order under review.
    Decided {
        /// Ours.
        id: ClientOrderId,
        /// The broker's id where the order was accepted; `None`: it never was.
        accepted_as: Option<BrokerOrderId>,
    },
    /// No new orders from now on.
    Halted {
        /// Why.
        reason: String,
    },
    /// Only sales from now on.
    Reducing {
        /// Why.
        reason: String,
    },
    /// New orders again, of either side.
    HaltLifted,
    /// What the broker says that the account holds, for the gates.
    BookSeen(Box<BookFact>),
    /// The clock was set, or the machine slept: times before and after do not compare.
    ClockJumped,
    /// Time passed that something waits for.
    Tick,
}

/// What the broker says that the account holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookFact {
    /// When it was asked: it says nothing of what came later.
    pub asked_at: UtcMillis,
    /// All that the account is worth, in yuan.
    pub total_asset: Decimal,
    /// Cash that may be used, in yuan.
    pub available_cash: Decimal,
    /// What today earned in yuan, money that came or went apart; `None` where it cannot be told.
    #[serde(default)]
    pub day_pnl: Option<Decimal>,
    /// Every holding.
    pub holdings: Vec<Holding>,
}

/// One holding, as far as gates need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// What is held.
    pub symbol: Symbol,
    /// Shares held.
    pub total: Shares,
    /// Shares that may be sold now.
    pub sellable: Shares,
    /// Shares that open orders hold.
    #[serde(default)]
    pub frozen: Shares,
    /// In yuan, where there is one.
    pub last_price: Option<Price>,
    /// In yuan, where known.
    pub previous_close: Option<Price>,
    /// Under special treatment (ST), by its name.
    #[serde(default)]
    pub special_treatment: bool,
    /// Which trading day since its listing this is, where its name tells: then other price limits hold, or none.
    #[serde(default)]
    pub trading_day: Option<u32>,
}

/// What a broker says about an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerOrder {
    /// Ours, where the broker kept it and it is one of ours by its form.
    pub id: Option<ClientOrderId>,
    /// The broker's.
    pub broker_order_id: BrokerOrderId,
    /// What is traded.
    pub symbol: Symbol,
    /// Buy or sell.
    pub side: Side,
    /// Shares ordered.
    pub size: Shares,
    /// Where it stands.
    pub status: BrokerOrderStatus,
    /// Shares filled, as the order's row says; its trades may show later.
    pub filled: Shares,
    /// The broker's words.
    pub reason: Option<String>,
}

/// Where an order stands at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BrokerOrderStatus {
    /// On its way to the exchange, or resting there, or partly filled.
    Open,
    /// All filled.
    Filled,
    /// Ended by a cancel, with or without a fill.
    Cancelled,
    /// Refused by broker or exchange.
    Rejected,
    /// The broker itself does not know.
    Unclear,
}

/// What a broker says about a trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerFill {
    /// The trade's name.
    pub fill_id: FillId,
    /// Ours, where the broker kept it.
    pub id: Option<ClientOrderId>,
    /// The broker's.
    pub broker_order_id: BrokerOrderId,
    /// What was traded.
    pub symbol: Symbol,
    /// Buy or sell.
    pub side: Side,
    /// Shares.
    pub size: Shares,
    /// Yuan a share.
    pub price: Price,
    /// In yuan, where the broker says.
    pub commission: Option<Decimal>,
    /// In yuan, where the broker says.
    pub stamp_tax: Option<Decimal>,
    /// In yuan, where the broker says.
    pub transfer_fee: Option<Decimal>,
    /// When it was traded.
    pub at: UtcMillis,
}

/// All orders and all trades of the day; complete by its type, since a failed query makes none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When it was asked for: it says nothing of what came later.
    pub asked_at: UtcMillis,
    /// Every order of the account today.
    pub orders: Vec<BrokerOrder>,
    /// Every trade of the account today.
    pub fills: Vec<BrokerFill>,
}

/// What the core asks for. None leaves before its event is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Give this order to the broker.
    Submit(Box<NewOrder>),
    /// Ask the broker to cancel.
    Cancel {
        /// Ours.
        id: ClientOrderId,
        /// The broker's, where known.
        broker_order_id: Option<BrokerOrderId>,
    },
    /// Post this to the backend.
    Report(Report),
    /// Ask the broker for a snapshot soon.
    Ask,
    /// Tell a person.
    Alarm(Alarm),
    /// Tell who reads the log: nobody has to act on it.
    Note(Alarm),
}

/// An order for the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// Ours; travels with the order.
    pub id: ClientOrderId,
    /// What to trade.
    pub symbol: Symbol,
    /// Buy or sell.
    pub side: Side,
    /// Shares.
    pub size: Shares,
    /// Limit in yuan; `None` is a market order.
    pub limit: Option<Price>,
    /// Not to be sent after this moment.
    pub not_after: Option<UtcMillis>,
    /// The strategy's key.
    pub strategy: Option<String>,
}

/// Something a person should know at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// A stable word, such as `FILL_AFTER_END`.
    pub code: &'static str,
    /// A sentence.
    pub text: String,
}
