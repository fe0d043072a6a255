//! The pure heart: what is decided, and never how it is carried out.
//!
//! Nothing here does IO, asks for the time, draws random numbers or logs. [`Trader::handle`] takes
//! an [`Event`] and the time at which it is handled and gives the [`Effect`]s it calls for.

pub mod decimal;
mod event;
pub mod ids;
pub mod order;
pub mod portfolio;
pub mod reconcile;
pub mod report;
pub mod risk;
pub mod signal;
pub mod time;
pub mod trader;

pub use event::{
    Alarm, BookFact, BrokerFill, BrokerOrder, BrokerOrderStatus, Effect, Event, Holding, NewOrder, Snapshot,
};
pub use ids::{BrokerOrderId, ClientOrderId, FillId, SignalId};
pub use order::{Cancel, Fill, IllegalTransition, Order, OrderState, Step};
pub use report::{Execution, ExecutionStatus, Fees, Report, ReportBody, ReportKind};
pub use signal::{InvalidSignal, Signal};
pub use time::{TradingDate, UtcMillis};
pub use trader::{
    Frame, Gates, HandleError, Left, Limits, NotPacked, PackedKeys, PackedOrder, Rate, SellBarrier, Settings,
    Settled, Trader, TradingSessions, account_mark, unpack,
};
