//! Rules of China's A-share market, pure: every time and date is passed in.
//!
//! What the exchanges and the state may change stands in tables with the day it took effect. The
//! grades in their comments: O is an exchange's or regulator's text, S is press, a broker or a
//! reprint, U is unconfirmed.

mod board;
mod dated;
mod fees;
mod limits;
mod lot;
mod symbol;
mod tick;

pub use board::Board;
pub use dated::Since;
pub use fees::{FeeBreakdown, FeeError, FeeSchedule};
pub use limits::{Listing, PriceLimits, limit_rates, price_limits};
pub use lot::{LotError, LotRule, check_market_quantity, check_quantity, lot_rule, round_down_to_lot};
pub use symbol::{Exchange, ParseSymbolError, Side, Symbol};
pub use tick::{Toward, round_to_tick, tick};

/// Price of one share or unit in yuan.
pub type Price = rust_decimal::Decimal;

/// Number of shares (or units of a bond or fund); never negative in an order.
pub type Shares = i64;
