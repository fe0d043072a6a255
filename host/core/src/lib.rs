//! The pure heart: what is decided, and never how it is carried out.
//!
//! Nothing here does IO, asks for the time, draws random numbers or logs. `Trader::handle` takes
//! an [`Event`] and the time at which it is handled and gives the [`Effect`]s it calls for.

pub mod event;
pub mod ids;
pub mod portfolio;
pub mod report;
pub mod signal;
pub mod time;

pub use event::{BrokerFill, BrokerOrder, BrokerOrderStatus, Effect, Event, Snapshot};
pub use ids::{BrokerOrderId, ClientOrderId, FillId, SignalId};
pub use report::{Report, ReportBody, ReportKind};
pub use signal::{InvalidSignal, Signal};
pub use time::{TradingDate, UtcMillis};
