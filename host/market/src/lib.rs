//! Rules of China's A-share market, pure: every time and date is passed in.

mod symbol;

pub use symbol::{Exchange, ParseSymbolError, Side, Symbol};

/// Price of one share or unit in yuan.
pub type Price = rust_decimal::Decimal;

/// Number of shares (or units of a bond or fund); never negative in an order.
pub type Shares = i64;
