//! The model broker: a ledger of its own, and many ways not to tell what is in it.

use std::collections::HashMap;

use qt_core::{
    BrokerFill, BrokerOrder, BrokerOrderId, BrokerOrderStatus, ClientOrderId, Effect, Event, FillId,
    NewOrder, Snapshot, TradingDate, UtcMillis,
};
use qt_market::{Price, Shares, Side, Symbol};

use crate::fault::Fault;
use crate::host::Input;
use crate::world::{Action, Broken, World};

/// A promise of the model: what was accepted or traded is in every list so much later.
pub const SHOWN_WITHIN_MS: i64 = 20_000;
/// A promise of the model: an order arrives at most so long after its call was made.
pub const ARRIVES_WITHIN_MS: i64 = 20_000;

/// An order in the ledger.
#[derive(Debug, Clone)]
pub struct Row {
    /// Our id; `None` for somebody else's order.
    pub id: Option<ClientOrderId>,
    /// Our id as the broker shows it.
    pub shown: Option<ClientOrderId>,
    /// The broker's name for it.
    pub name: BrokerOrderId,
    /// What is traded.
    pub symbol: Symbol,
    /// Buy or sell.
    pub side: Side,
    /// Shares ordered.
    pub size: Shares,
    /// Yuan.
    pub limit: Option<Price>,
    /// Where it stands.
    pub status: BrokerOrderStatus,
    /// Its trades.
    pub trades: Vec<BrokerFill>,
    /// From when each trade is shown.
    pub trade_shown_ms: Vec<i64>,
    /// The day, by the exchange's own calendar.
    pub day: TradingDate,
    /// When it was taken.
    pub taken_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// It was refused at the door and never lived.
    pub refused: bool,
    /// A trade was shown after the end: for a while the row said less than the truth.
    pub told_late: bool,
}

impl Row {
    /// Shares filled in truth.
    #[must_use]
    pub fn filled(&self) -> Shares {
        self.trades.iter().map(|trade| trade.size).sum()
    }

    /// Yuan traded in truth.
    #[must_use]
    pub fn amount(&self) -> Price {
        self.trades
            .iter()
            .map(|trade| trade.price * Price::from(trade.size))
            .sum()
    }

    /// True when the order lives, or has traded: beside it there may be no other.
    #[must_use]
    pub fn counts(&self) -> bool {
        !self.refused && (self.status != BrokerOrderStatus::Rejected || !self.trades.is_empty())
    }

    /// The row as a list shows it to somebody who sees what is older than `seen_ms`.
    fn show(&self, now_ms: i64, seen_ms: i64) -> BrokerOrder {
        let ended = self.ended_ms.is_none_or(|at| at <= seen_ms);
        let shown = self.trades.iter().zip(&self.trade_shown_ms);
        let filled = shown
            .filter(|(_, from)| **from <= now_ms && **from <= seen_ms)
            .map(|(trade, _)| trade.size)
            .sum();
        BrokerOrder {
            id: self.shown,
            broker_order_id: self.name.clone(),
            symbol: self.symbol,
            side: self.side,
            size: self.size,
            status: if ended {
                self.status
            } else {
                BrokerOrderStatus::Open
            },
            filled,
            reason: (self.status == BrokerOrderStatus::Rejected).then(|| "no".to_owned()),
        }
    }
}

/// How an order's call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It is taken.
    Take,
    /// It is refused.
    Refuse,
}

/// The ledger.
#[derive(Debug, Default)]
pub struct Broker {
    /// Every order, ours and others'.
    pub rows: Vec<Row>,
    /// Where ours are.
    pub by_id: HashMap<ClientOrderId, usize>,
    /// Orders that are on their way to the ledger.
    pub in_flight: HashMap<ClientOrderId, i64>,
    /// Orders that broke the promise to arrive in time.
    pub overdue: Vec<ClientOrderId>,
    /// The connection.
    pub up: bool,
    named: (TradingDate, u32),
}

impl Broker {
    /// The ledger's row of an order of ours.
    #[must_use]
    pub fn row(&self, id: ClientOrderId) -> Option<&Row> {
        self.by_id.get(&id).map(|index| &self.rows[*index])
    }
}

/// The exchange takes orders on weekdays from 9:15 to 15:00.
pub const CLOSE_MS: i64 = 15 * 3_600_000;
const OPEN_MS: i64 = 9 * 3_600_000 + 15 * 60_000;

/// True while the exchange is open, by its own clock.
#[must_use]
pub fn is_open(true_ms: i64) -> bool {
    let at = UtcMillis(true_ms);
    let since = at.since_ms(at.trading_date().start());
    !is_weekend(at.trading_date()) && (OPEN_MS..CLOSE_MS).contains(&since)
}

/// Saturday and Sunday; 1970-01-01 was a Thursday.
#[must_use]
pub const fn is_weekend(day: TradingDate) -> bool {
    matches!((day.0 + 3).rem_euclid(7), 5 | 6)
}

impl World {
    fn next_name(&mut self) -> BrokerOrderId {
        let today = UtcMillis(self.true_ms).trading_date();
        let again = self.swarm.has(Fault::NamesReused) && self.broker.named.0 != today;
        if again && self.broker.named.1 > 0 {
            self.broker.named.1 = 0;
            self.counts.faults[Fault::NamesReused as usize] += 1;
        }
        self.broker.named.0 = today;
        self.broker.named.1 += 1;
        BrokerOrderId(format!("B{}", self.broker.named.1))
    }

    /// A call that places an order: decides what the broker does and what the caller hears.
    pub(crate) fn call_place(&mut self, order: Box<NewOrder>) {
        let id = order.id;
        let unanswered = |reason: &str| Event::Unanswered {
            id,
            reason: reason.to_owned(),
            outstanding: false,
        };
        let quick = self.dice.between(5, 60);
        if !self.broker.up {
            let lost = unanswered("the connection is lost");
            return self.after(quick, Action::CallReturns(self.incarnation, id, Some(lost)));
        }
        let taken = |world: &mut Self, order: Box<NewOrder>, delay: i64| {
            world.broker.in_flight.insert(id, world.true_ms + delay);
            world.after(delay, Action::Arrives(order, Arrival::Take));
        };
        let inc = self.incarnation;
        if self.strike(Fault::OrderRefused) {
            self.broker.in_flight.insert(id, self.true_ms);
            return self.after(quick, Action::Arrives(order, Arrival::Refuse));
        }
        if self.strike(Fault::AnswerLate) {
            let arrives = self.dice.between(1, ARRIVES_WITHIN_MS);
            taken(self, order, arrives);
            let late = self.dice.between(8_000, 90_000).max(arrives);
            return self.after(late, Action::CallReturns(inc, id, None));
        }
        if self.strike(Fault::AnswerNever) {
            return taken(self, order, quick);
        }
        if self.strike(Fault::OrderLostAnswerNever) {
            return;
        }
        if self.strike(Fault::OrderOverdue) {
            let late = self.dice.between(70_000, 400_000);
            self.broker.overdue.push(id);
            taken(self, order, late);
            return self.after(quick, Action::CallReturns(inc, id, Some(unanswered("lost"))));
        }
        for (fault, delay) in [
            (Fault::AcceptedSilently, 3),
            (Fault::OrderSlow, ARRIVES_WITHIN_MS),
        ] {
            if self.strike(fault) {
                let arrives = self.dice.between(1, delay);
                taken(self, order, arrives);
                return self.after(quick, Action::CallReturns(inc, id, Some(unanswered("lost"))));
            }
        }
        if self.strike(Fault::OrderLost) {
            return self.after(quick, Action::CallReturns(inc, id, Some(unanswered("lost"))));
        }
        taken(self, order, quick);
        let answer = quick + self.dice.between(0, 40);
        self.after(answer, Action::CallReturns(inc, id, None));
    }

    /// What a call hears that comes back with the broker's word.
    pub(crate) fn answer_of(&self, id: ClientOrderId) -> Event {
        match self.broker.row(id) {
            Some(row) if row.refused => Event::Rejected {
                id,
                reason: "refused".into(),
            },
            Some(row) => Event::Accepted {
                id,
                broker_order_id: row.name.clone(),
            },
            None => Event::Unanswered {
                id,
                reason: "lost".into(),
                outstanding: false,
            },
        }
    }

    /// An order reaches the ledger.
    pub(crate) fn arrive(&mut self, order: &NewOrder, how: Arrival) -> Result<(), Broken> {
        self.broker.in_flight.remove(&order.id);
        let refused = how == Arrival::Refuse || !is_open(self.true_ms);
        // A broker that swallows an order without a word is at fault, and in the calm nobody is.
        let may_be_unlisted = how == Arrival::Refuse || self.calm_since_ms.is_none();
        if refused && may_be_unlisted && self.dice.chance(500) {
            // Refused at the door, and in no list: a row that never was cannot be asked for.
            if how == Arrival::Refuse {
                let reason = "refused".to_owned();
                let said = Event::Rejected { id: order.id, reason };
                self.after(1, Action::CallReturns(self.incarnation, order.id, Some(said)));
            }
            return Ok(());
        }
        let cut = self.strike(Fault::RemarkCut);
        let name = self.next_name();
        let index = self.broker.rows.len();
        self.broker.rows.push(Row {
            id: Some(order.id),
            shown: (!cut).then_some(order.id),
            name,
            symbol: order.symbol,
            side: order.side,
            size: order.size,
            limit: order.limit,
            status: if refused {
                BrokerOrderStatus::Rejected
            } else {
                BrokerOrderStatus::Open
            },
            trades: Vec::new(),
            trade_shown_ms: Vec::new(),
            day: UtcMillis(self.true_ms).trading_date(),
            taken_ms: self.true_ms,
            ended_ms: refused.then_some(self.true_ms),
            refused,
            told_late: false,
        });
        if self.broker.by_id.insert(order.id, index).is_some() {
            return self.broken(format!("the broker was given order {} twice", order.id));
        }
        self.say(|world| format!("ledger: {:?}", world.broker.rows[index]));
        if how == Arrival::Refuse {
            self.after(1, Action::CallReturns(self.incarnation, order.id, None));
        }
        if !refused {
            self.counts.accepted += 1;
            self.judge_acceptance(order.id)?;
            self.live_on(index);
        }
        self.push_row(index);
        Ok(())
    }

    /// What the market will do with an order.
    fn live_on(&mut self, index: usize) {
        if self.strike(Fault::RefusedByExchange) {
            let wait = self.dice.between(100, 3_000);
            return self.after(wait, Action::Ends(index, BrokerOrderStatus::Rejected));
        }
        if self.strike(Fault::CancelledByBroker) {
            let wait = self.dice.between(1_000, 60_000);
            self.after(wait, Action::Ends(index, BrokerOrderStatus::Cancelled));
        }
        for _ in 0..self.dice.between(0, 3) {
            let wait = self.dice.between(1, 90_000);
            self.after(wait, Action::Trades(index));
        }
    }

    /// Some of an order is traded.
    pub(crate) fn trade(&mut self, index: usize, shown_after_ms: i64) {
        let row = &self.broker.rows[index];
        let open = row.size - row.filled();
        if row.status != BrokerOrderStatus::Open || open <= 0 || !is_open(self.true_ms) {
            return;
        }
        let all = self.dice.chance(500);
        let size = if all { open } else { self.dice.between(1, open) };
        let cents = self.dice.between(900, 1100);
        let told = self.dice.chance(500);
        let row = &mut self.broker.rows[index];
        row.trades.push(BrokerFill {
            fill_id: FillId(format!("T{}", row.trades.len() + 1)),
            id: row.shown,
            broker_order_id: row.name.clone(),
            symbol: row.symbol,
            side: row.side,
            size,
            price: Price::new(cents, 2),
            commission: told.then(|| Price::new(5, 0)),
            stamp_tax: told.then_some(Price::ZERO),
            transfer_fee: told.then_some(Price::ZERO),
            at: UtcMillis(self.true_ms),
        });
        row.trade_shown_ms.push(self.true_ms + shown_after_ms);
        let trade = row.trades.len() - 1;
        if shown_after_ms == 0 && row.filled() >= row.size {
            row.status = BrokerOrderStatus::Filled;
            row.ended_ms = Some(self.true_ms);
        }
        if row.id.is_some() {
            self.counts.fills += 1;
        }
        self.say(|world| format!("trade: {:?}", world.broker.rows[index].trades[trade]));
        self.after(shown_after_ms, Action::TellTrade(index, trade));
        self.after(shown_after_ms, Action::TellRow(index));
    }

    /// An order ends.
    pub(crate) fn end(&mut self, index: usize, status: BrokerOrderStatus) {
        let row = &self.broker.rows[index];
        if row.status != BrokerOrderStatus::Open {
            return;
        }
        let refusal_of_traded = status == BrokerOrderStatus::Rejected && !row.trades.is_empty();
        if refusal_of_traded {
            return;
        }
        if status == BrokerOrderStatus::Cancelled && self.strike(Fault::FillDuringCancel) {
            self.trade(index, 0);
        } else if status == BrokerOrderStatus::Cancelled && self.strike(Fault::FillAfterCancel) {
            let wait = self.dice.between(1, SHOWN_WITHIN_MS);
            self.broker.rows[index].told_late = true;
            self.trade(index, wait);
        }
        let row = &mut self.broker.rows[index];
        if row.status == BrokerOrderStatus::Open {
            row.status = if row.filled() >= row.size {
                BrokerOrderStatus::Filled
            } else {
                status
            };
            row.ended_ms = Some(self.true_ms);
        }
        self.say(|world| format!("ledger: {:?}", world.broker.rows[index]));
        self.push_row(index);
    }

    /// Tells of an order by itself.
    pub(crate) fn push_row(&mut self, index: usize) {
        let row = &self.broker.rows[index];
        let mut shown = row.show(self.true_ms, self.true_ms);
        if shown.status == BrokerOrderStatus::Open && self.strike(Fault::RowUnclear) {
            shown.status = BrokerOrderStatus::Unclear;
        }
        self.push(Event::OrderSeen(shown));
    }

    /// Tells of a trade by itself.
    pub(crate) fn push_trade(&mut self, index: usize, trade: usize) {
        let event = Event::FillSeen(self.broker.rows[index].trades[trade].clone());
        self.push(event);
    }

    fn push(&mut self, event: Event) {
        if !self.broker.up || self.host.is_none() || self.strike(Fault::PushLost) {
            return;
        }
        let inc = self.incarnation;
        if self.strike(Fault::RowUnreadable) {
            // An event that cannot be read is a reason to ask for the lists.
            return self.after(5, Action::ToHost(inc, Input::Wants(Effect::Ask)));
        }
        if self.strike(Fault::PushTwice) {
            let again = self.dice.between(1, 60_000);
            self.after(again, Action::ToHost(inc, Input::Fact(event.clone())));
        }
        let late = if self.strike(Fault::PushLate) { 30_000 } else { 60 };
        let wait = self.dice.between(1, late);
        self.after(wait, Action::ToHost(inc, Input::Fact(event)));
    }

    /// A call that cancels an order, and what it hears.
    pub(crate) fn call_cancel(&mut self, id: ClientOrderId, name: Option<&BrokerOrderId>) {
        let today = UtcMillis(self.true_ms).trading_date();
        let found = self.broker.rows.iter().position(|row| {
            row.day == today && (row.shown == Some(id) || name.is_some_and(|name| *name == row.name))
        });
        let open = found.filter(|index| self.broker.rows[*index].status == BrokerOrderStatus::Open);
        let problem = match open {
            _ if !self.broker.up => Some("the connection is lost"),
            None => Some("refused: there is no such open order"),
            Some(_) if self.strike(Fault::CancelRefused) => Some("refused: not now"),
            Some(_) if self.strike(Fault::CancelIgnored) => None,
            Some(index) => {
                let wait = self.dice.between(1, 2_000);
                self.after(wait, Action::Ends(index, BrokerOrderStatus::Cancelled));
                if self.strike(Fault::CancelUnanswered) {
                    Some("no answer")
                } else {
                    None
                }
            }
        };
        let wait = self.dice.between(1, 500);
        let problem = problem.map(str::to_owned);
        let answer = Event::CancelAnswered { id, problem };
        self.after(wait, Action::ToHost(self.incarnation, Input::Fact(answer)));
    }

    /// A list of the day's orders, taken at this moment; `None` where it fails.
    pub(crate) fn list_orders(&mut self, asked_at: UtcMillis) -> Option<(Snapshot, i64)> {
        if !self.broker.up || self.strike(Fault::SnapshotFails) {
            return None;
        }
        if self.strike(Fault::SnapshotUnreadable) {
            return None;
        }
        let lag = if self.strike(Fault::SnapshotLags) {
            self.dice.between(1, SHOWN_WITHIN_MS)
        } else {
            0
        };
        let (now, seen) = (self.true_ms, self.true_ms - lag);
        let today = UtcMillis(now).trading_date();
        let rows = self.broker.rows.iter();
        let orders = rows
            .filter(|row| row.day == today && row.taken_ms <= seen)
            .map(|row| row.show(now, seen));
        let snapshot = Snapshot {
            asked_at,
            orders: orders.collect(),
            fills: Vec::new(),
        };
        Some((snapshot, lag))
    }

    /// Adds the day's trades, taken at a later moment.
    pub(crate) fn list_trades(&mut self, snapshot: &mut Snapshot, lag: i64) -> bool {
        if !self.broker.up || self.strike(Fault::SnapshotFails) {
            return false;
        }
        let seen = self.true_ms - lag;
        let today = UtcMillis(self.true_ms).trading_date();
        for row in self.broker.rows.iter().filter(|row| row.day == today) {
            for (trade, from) in row.trades.iter().zip(&row.trade_shown_ms) {
                if *from <= seen {
                    snapshot.fills.push(trade.clone());
                }
            }
        }
        true
    }

    /// Somebody else's order comes into the books.
    pub(crate) fn foreign_order(&mut self, twin: bool) {
        let name = self.next_name();
        let (symbol, side, size) = if twin {
            let Some(signal) = self.backend.signals.last().map(|held| &held.signal) else {
                return;
            };
            (signal.symbol, signal.side, signal.size)
        } else {
            let side = if self.dice.chance(500) {
                Side::Buy
            } else {
                Side::Sell
            };
            (crate::backend::symbol(0), side, 100 * self.dice.between(1, 9))
        };
        // Another program may write remarks that have the form of ours.
        let shown = (!twin && self.dice.chance(300))
            .then(|| ClientOrderId::derive("somebody", &name.0.as_str().into(), 0));
        let index = self.broker.rows.len();
        self.broker.rows.push(Row {
            id: None,
            shown,
            name,
            symbol,
            side,
            size,
            limit: None,
            status: BrokerOrderStatus::Open,
            trades: Vec::new(),
            trade_shown_ms: Vec::new(),
            day: UtcMillis(self.true_ms).trading_date(),
            taken_ms: self.true_ms,
            ended_ms: None,
            refused: false,
            told_late: false,
        });
        self.say(|world| format!("somebody else: {:?}", world.broker.rows[index]));
        self.push_row(index);
        let wait = self.dice.between(1, 60_000);
        self.after(wait, Action::Trades(index));
    }
}
