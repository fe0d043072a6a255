//! What the rooms around the engine tell it.

use qt_core::{BrokerOrderId, ClientOrderId, Event, InvalidSignal, Left, Signal, SignalId, Snapshot};
use tokio::sync::{mpsc, oneshot};

use super::command::{Command, Reply};

/// How many inputs may wait. A sender that finds it full waits in turn.
pub(crate) const CAPACITY: usize = 4096;

/// The sending half: cheap to clone, one for each room that reports to the engine.
pub(crate) type Sender = mpsc::Sender<Input>;

/// What became of signals that were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// How many were new.
    pub(crate) new: usize,
    /// Those that were not taken and that whoever brought them must keep. Every other one is durable.
    pub(crate) left: Vec<(SignalId, Left)>,
}

/// One message to the engine.
#[derive(Debug)]
pub(crate) enum Input {
    /// Signals from the backend; the answer comes once what they caused is durable.
    Signals {
        /// Understood.
        taken: Vec<Signal>,
        /// Not understood.
        invalid: Vec<InvalidSignal>,
        /// What became of them; `None` where nothing could be made durable, and they are to be given again.
        done: oneshot::Sender<Option<Received>>,
    },
    /// Signals that the backend holds as submitted, fetched once before the first poll.
    HeldAsSubmitted(Vec<Signal>),
    /// A fact from the broker's side.
    Fact(Event),
    /// A complete snapshot, or why there is none.
    Snapshot(Result<Snapshot, String>),
    /// The backend acknowledged these outbox rows.
    Posted(Vec<i64>),
    /// The backend refused this outbox row for good: it becomes a dead letter.
    DeadLetter {
        /// The outbox row.
        id: i64,
        /// The answer's status and the start of its text.
        error: String,
    },
    /// The backend's answer says that the token is no good; true once it is good again.
    TokenRefused(bool),
    /// A person asks for something; the answer comes once it is durable.
    Command {
        /// What.
        command: Command,
        /// What came of it.
        reply: oneshot::Sender<Reply>,
    },
    /// Finish what is in hand and end.
    Stop,
}

/// What the engine asks of the broker's room besides new orders. None of it is sent before its cause is durable.
#[derive(Debug)]
pub(crate) enum ToBroker {
    /// Pass a cancel on.
    Cancel {
        /// Ours.
        id: ClientOrderId,
        /// The broker's.
        broker_order_id: Option<BrokerOrderId>,
    },
    /// Ask for all orders and trades of the day.
    Ask,
}
