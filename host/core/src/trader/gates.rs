//! What the gates are set to. It enters the journal with each start of a process, so that a replay decides alike.

use std::collections::BTreeMap;

use qt_market::{Board, TimeOfDay};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// When signals may go to the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TradingSessions {
    /// At any time.
    #[default]
    Any,
    /// While the symbol's exchange takes orders, after hours apart.
    CnA,
    /// On trading days within these windows, in ms since midnight in Shanghai; the end is not part of one.
    Windows(Vec<(TimeOfDay, TimeOfDay)>),
}

/// Whether purchases of a plan wait for its sales.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SellBarrier {
    /// They do not: sales merely go first.
    #[default]
    Off,
    /// They do, but no longer than the time-out.
    Soft,
    /// They do until every sale is known to have ended: where that cannot be told, they wait.
    Hard,
}

/// Limits of an account or of one strategy, in yuan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest value of one order.
    pub max_order_value: Option<Decimal>,
    /// The largest value that is bought and sold in a day: what is filled, and what open orders may still fill.
    pub max_turnover: Option<Decimal>,
}

/// How many orders and cancels may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// In any one second, orders and cancels together.
    pub per_second: u32,
    /// Of these, so many are for cancels alone.
    pub cancel_reserve_per_second: u32,
    /// In one day, orders and cancels together.
    pub per_day: u32,
    /// Of these, so many are for cancels alone.
    pub cancel_reserve_per_day: u32,
}

/// The settings of all gates. The default has every gate open that can be closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gates {
    /// The market's tables as text, where a gate goes by them: a later program may bring others.
    pub tables: Option<String>,
    /// What the account's number must hash to in a signal that names one; see [`account_mark`].
    pub account_mark: Option<String>,
    /// When signals may go.
    pub sessions: TradingSessions,
    /// Outside of the sessions a signal is refused instead of waiting for the next one.
    pub reject_outside_session: bool,
    /// Symbol, lot, size and price limits are held to the exchange's rules.
    pub market_rules: bool,
    /// Which boards may be traded; empty for all that are known.
    pub boards: Vec<Board>,
    /// A limit must lie within the price cage around the last known price.
    pub cage: bool,
    /// How old a price may be that the cage goes by, in ms.
    pub quote_max_age_ms: i64,
    /// Sellable shares and cash are counted, from the broker's own figures.
    pub books: bool,
    /// How long after an order was accepted, or ended, the broker's figures may still lack it, in ms. Until then it holds
    /// what it held, besides.
    pub book_settle_ms: i64,
    /// Whether purchases of a plan wait for its sales.
    pub sell_barrier: SellBarrier,
    /// For how long, in ms; a hard barrier tells a person then.
    pub sell_barrier_timeout_ms: i64,
    /// The same symbol, side and size within this time, in ms, counts as the same order; 0 turns it off.
    pub duplicate_window_ms: i64,
    /// How far a limit may be from the reference, as a fraction.
    pub max_reference_deviation: Option<Decimal>,
    /// The account's limits.
    pub account: Limits,
    /// The largest share of all assets that one position may come to by a purchase, as a fraction.
    pub max_position_share: Option<Decimal>,
    /// The loss of a day, in yuan, from which on nothing is bought.
    pub max_day_loss: Option<Decimal>,
    /// Limits by the strategy's key.
    pub strategies: BTreeMap<String, Limits>,
    /// How many orders and cancels may leave.
    pub rate: Option<Rate>,
}

impl Gates {
    /// True where every gate is open.
    #[must_use]
    pub fn are_open(&self) -> bool {
        *self == Self::default()
    }

    /// True where orders have to be followed for a gate.
    pub(crate) fn follow_orders(&self) -> bool {
        self.books
            || self.market_rules
            || self.max_position_share.is_some()
            || self.account.max_turnover.is_some()
            || self
                .strategies
                .values()
                .any(|limits| limits.max_turnover.is_some())
    }

    /// True where the broker's own figures are needed.
    #[must_use]
    pub fn need_books(&self) -> bool {
        self.books
            || self.market_rules
            || self.cage
            || self.max_position_share.is_some()
            || self.max_day_loss.is_some()
    }
}

/// What stands for an account's number in the settings, so that the journal does not hold it once more.
#[must_use]
pub fn account_mark(account_id: &str) -> String {
    let hash = Sha256::digest(["account\0", account_id].concat());
    data_encoding::HEXLOWER.encode(&hash[..8])
}
