//! One attempt at one signal, from the wish to its end.

mod state;
mod tell;

use std::sync::Arc;

use qt_market::{Price, Shares};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

pub use state::{IllegalTransition, OrderState, Step, TRANSITIONS};

use crate::event::BrokerFill;
use crate::ids::{BrokerOrderId, ClientOrderId, FillId};
use crate::signal::Signal;
use crate::time::{TradingDate, UtcMillis};

/// One attempt at one signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    // What a packed order is looked at for comes first, so that the rest need not be read.
    /// Ours; the broker keeps it too.
    pub id: ClientOrderId,
    /// Where it stands.
    pub state: OrderState,
    /// It was taken for never at the broker, and the broker had it after all: a next attempt may
    /// have been made, so that no further one is ever made by itself.
    pub revived: bool,
    /// When the signal was taken.
    pub received_at: UtcMillis,
    /// When it was handed to the broker.
    pub sent_at: Option<UtcMillis>,
    /// When it ended.
    pub ended_at: Option<UtcMillis>,
    /// The broker's name for it, once known.
    pub broker_order_id: Option<BrokerOrderId>,
    /// Its trades, each once.
    pub fills: Vec<Fill>,
    /// What was wished.
    pub signal: Arc<Signal>,
    /// The limit that is sent, in yuan; `None` is a market order.
    #[serde(default, with = "crate::decimal::option")]
    pub limit: Option<Price>,
    /// The code of the check that deferred or denied it.
    pub code: Option<String>,
    /// Why it stands where it stands, for a person.
    pub reason: Option<String>,
    /// When the broker was first known to have it.
    pub accepted_at: Option<UtcMillis>,
    /// When the last complete snapshot that showed it was asked for.
    pub last_seen_at: Option<UtcMillis>,
    /// Shares filled as the broker's row says; its trades may show later.
    pub broker_filled: Shares,
    /// The broker shows it ended, while trades that its row counts are still to come.
    pub broker_ended: bool,
    /// Set once somebody wants it cancelled.
    pub cancel: Option<Cancel>,
    /// Set while it cannot be told whether the broker has it.
    pub doubt: Option<Doubt>,
    /// What the backend has been told.
    pub told: Told,
}

/// One trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// The broker's name for it.
    pub id: FillId,
    /// Shares.
    pub size: Shares,
    /// Yuan a share.
    #[serde(with = "crate::decimal")]
    pub price: Price,
    /// In yuan, where the broker said.
    #[serde(default, with = "crate::decimal::option")]
    pub commission: Option<Decimal>,
    /// In yuan, where the broker said.
    #[serde(default, with = "crate::decimal::option")]
    pub stamp_tax: Option<Decimal>,
    /// In yuan, where the broker said.
    #[serde(default, with = "crate::decimal::option")]
    pub transfer_fee: Option<Decimal>,
    /// When it was traded.
    pub at: UtcMillis,
}

impl From<&BrokerFill> for Fill {
    fn from(fill: &BrokerFill) -> Self {
        Self {
            id: fill.fill_id.clone(),
            size: fill.size,
            price: fill.price,
            commission: fill.commission,
            stamp_tax: fill.stamp_tax,
            transfer_fee: fill.transfer_fee,
            at: fill.at,
        }
    }
}

/// A cancel that is under way until the broker shows an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// Who or what asked.
    pub by: String,
    /// When it was first wanted.
    pub wanted_at: UtcMillis,
    /// When it was last passed on.
    pub sent_at: Option<UtcMillis>,
    /// How often it was passed on.
    pub tries: u32,
    /// What the broker said against it.
    pub problem: Option<String>,
}

/// What is known while it cannot be told whether the broker has the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// When the doubt began, or the process did: a person is told when it lasts long.
    pub began: UtcMillis,
    /// From when on looks at the broker's books count: the broker has been there ever since.
    pub since: UtcMillis,
    /// True while the call may still come back.
    pub outstanding: bool,
    /// Complete snapshots since then that lacked it.
    pub snapshots: u32,
    /// The backend held it as submitted and this journal did not know it: absence proves nothing.
    pub held: bool,
    /// A person was told that it lasts long.
    pub alarmed: bool,
}

/// What the backend has been told, so that each thing is told once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The broker took it.
    pub submitted: bool,
    /// Cumulative fill of the last execution.
    pub filled: Shares,
    /// The end.
    pub ended: Option<OrderState>,
    /// The codes of the checks that it waited for.
    pub deferred: Vec<String>,
}

impl Order {
    /// A fresh one, before the checks.
    #[must_use]
    pub fn new(id: ClientOrderId, signal: Arc<Signal>, now: UtcMillis) -> Self {
        Self {
            id,
            limit: None,
            state: OrderState::Intended,
            code: None,
            reason: None,
            broker_order_id: None,
            received_at: now,
            sent_at: None,
            accepted_at: None,
            ended_at: None,
            last_seen_at: None,
            fills: Vec::new(),
            broker_filled: 0,
            broker_ended: false,
            cancel: None,
            doubt: None,
            revived: false,
            told: Told::default(),
            signal,
        }
    }

    /// Shares filled: the sum over its trades.
    #[must_use]
    pub fn filled(&self) -> Shares {
        self.fills
            .iter()
            .map(|fill| fill.size)
            .fold(0, Shares::saturating_add)
    }

    /// Shares still to be filled; zero once ended.
    #[must_use]
    pub fn open_size(&self) -> Shares {
        if self.state.is_ended() {
            0
        } else {
            self.signal.size.saturating_sub(self.filled()).max(0)
        }
    }

    /// Yuan traded: the sum of price times shares; saturates where no real trade can be.
    #[must_use]
    pub fn amount(&self) -> Decimal {
        self.fills.iter().fold(Decimal::ZERO, |sum, fill| {
            sum.saturating_add(fill.price.saturating_mul(Decimal::from(fill.size)))
        })
    }

    /// Average price of its trades in yuan, exact to eight decimals; zero without a trade.
    #[must_use]
    pub fn avg_price(&self) -> Price {
        match self.filled() {
            0 => Decimal::ZERO,
            filled => (self.amount() / Decimal::from(filled)).round_dp(8).normalize(),
        }
    }

    /// The day in Shanghai on which it was handed to the broker, else on which it was taken.
    #[must_use]
    pub fn day(&self) -> TradingDate {
        self.sent_at.unwrap_or(self.received_at).trading_date()
    }

    /// True when a later attempt at the same signal cannot make two live orders of it.
    #[must_use]
    pub const fn allows_next_attempt(&self) -> bool {
        self.state.allows_next_attempt() && !self.revived
    }

    /// True when it is beyond doubt that the broker took it.
    #[must_use]
    pub fn was_accepted(&self) -> bool {
        self.accepted_at.is_some() || !self.fills.is_empty()
    }

    /// Takes a step of the table.
    ///
    /// # Errors
    ///
    /// [`IllegalTransition`], and the order is as it was.
    pub(crate) fn step(&mut self, step: Step, now: UtcMillis) -> Result<(), IllegalTransition> {
        let after = self.state.after(step)?;
        self.revived |= self.state.allows_next_attempt() && !after.allows_next_attempt();
        self.state = after;
        if self.state.is_ended() {
            self.ended_at.get_or_insert(now);
            self.doubt = None;
        } else {
            self.ended_at = None;
        }
        if self.state.is_working() {
            self.doubt = None;
            self.accepted_at.get_or_insert(now);
        }
        Ok(())
    }
}
