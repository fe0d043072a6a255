//! Rules of China's A-share market, pure: every time and date is passed in.
//!
//! What the exchanges and the state may change stands in a data file (`data/cn_a.toml`) with the day it
//! took effect and its source; [`Market`] holds its tables, and a user's file may replace any of them.

mod board;
mod cage;
mod calendar;
mod dated;
mod fees;
mod limits;
mod lot;
mod session;
mod symbol;
mod tables;
mod tick;

pub use board::Board;
pub use cage::Quotes;
pub use calendar::Calendar;
pub use dated::Since;
pub use fees::{FeeBreakdown, FeeError, FeeSchedule};
pub use limits::{Listing, PriceLimits, limit_rates, price_limits};
pub use lot::{LotError, LotRule, check_market_quantity, check_quantity, lot_rule, round_down_to_lot};
pub use session::{Phase, TimeOfDay, Window, parse_time, show_time};
pub use symbol::{Exchange, ParseSymbolError, Side, Symbol};
pub use tables::{HighFrequency, Market, TableError};
pub use tick::{Toward, round_to_tick, tick};

/// Price of one share or unit in yuan.
pub type Price = rust_decimal::Decimal;

/// Number of shares (or units of a bond or fund); never negative in an order.
pub type Shares = i64;
