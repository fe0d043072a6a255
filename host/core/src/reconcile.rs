//! Compares the broker's books with ours and says what is new, as events.

use std::collections::HashSet;

use qt_market::{Shares, Side, Symbol};

use crate::event::{BrokerOrder, BrokerOrderStatus, Event, Snapshot};
use crate::ids::{BrokerOrderId, ClientOrderId, FillId};
use crate::order::{Order, OrderState};
use crate::time::{TradingDate, UtcMillis};
use crate::trader::{Glimpse, Trader};

/// The events that `snapshot` calls for, trades before the end they lead to; empty when it shows
/// nothing that is not known.
///
/// Only differences become events, so that the journal does not grow with every look.
#[must_use]
pub fn diff(trader: &Trader, snapshot: &Snapshot) -> Vec<Event> {
    let mut events = Vec::new();
    let mut shown: HashSet<ClientOrderId> = HashSet::new();
    let mut strangers: Vec<&BrokerOrder> = Vec::new();
    for row in &snapshot.orders {
        let found = trader.glimpse(row.id, &row.broker_order_id);
        match found.filter(|order| row.id == Some(order.id()) || looks_like(order.wish(), row)) {
            None => strangers.push(row),
            Some(order) => {
                shown.insert(order.id());
                if brings_news(&order, row) {
                    events.push(Event::OrderSeen(row.clone()));
                }
            }
        }
    }
    for fill in &snapshot.fills {
        let found = trader.glimpse(fill.id, &fill.broker_order_id);
        let fits = |order: &Glimpse<'_>| {
            let (symbol, side, _) = order.wish();
            fill.id == Some(order.id()) || (symbol == fill.symbol && side == fill.side)
        };
        if let Some(order) = found.filter(fits) {
            shown.insert(order.id());
            if order.booked(&fill.fill_id).is_none() {
                events.push(Event::FillSeen(fill.clone()));
            }
        }
    }
    let absent: Vec<_> = trader
        .live_orders()
        .filter(|order| should_show(order, snapshot) && !shown.contains(&order.id))
        .collect();
    let alike = absent
        .iter()
        .filter_map(|order| twin(order, &strangers))
        .collect();
    let foreign = strangers.len() as u64;
    if is_worth_an_event(trader, &absent, foreign) {
        let absent = absent.iter().map(|order| order.id).collect();
        events.push(Event::Reconciled {
            asked_at: snapshot.asked_at,
            absent,
            alike,
            foreign,
        });
    }
    events
}

/// True when an order or a trade that the broker pushed tells something that is not known yet.
#[must_use]
pub fn is_news(trader: &Trader, event: &Event) -> bool {
    match event {
        Event::OrderSeen(row) => {
            let order = trader.glimpse(row.id, &row.broker_order_id);
            order.is_some_and(|order| brings_news(&order, row))
        }
        Event::FillSeen(fill) => {
            let order = trader.glimpse(fill.id, &fill.broker_order_id);
            order.is_some_and(|order| order.booked(&fill.fill_id) != Some(fill.size))
        }
        Event::BookSeen(book) => trader.wants_book(book),
        _ => true,
    }
}

impl Glimpse<'_> {
    fn id(&self) -> ClientOrderId {
        match self {
            Self::Whole(order) => order.id,
            Self::Packed(head) => head.id,
        }
    }

    /// The day on which it ended, if it has.
    pub(crate) fn ended_day(&self) -> Option<TradingDate> {
        match self {
            Self::Whole(order) => order
                .ended_at
                .filter(|_| order.state.is_ended())
                .map(UtcMillis::trading_date),
            Self::Packed(head) => head.ended_day(),
        }
    }

    /// What was to be traded.
    fn wish(&self) -> (Symbol, Side, Shares) {
        match self {
            Self::Whole(order) => (order.signal.symbol, order.signal.side, order.signal.size),
            Self::Packed(head) => (head.signal.symbol, head.signal.side, head.signal.size),
        }
    }

    /// The shares of this trade, if it is booked.
    fn booked(&self, id: &FillId) -> Option<Shares> {
        match self {
            Self::Whole(order) => order
                .fills
                .iter()
                .find(|fill| fill.id == *id)
                .map(|fill| fill.size),
            Self::Packed(head) => head
                .fills
                .iter()
                .find(|fill| fill.id == id.0)
                .map(|fill| fill.size),
        }
    }
}

fn brings_news(known: &Glimpse<'_>, row: &BrokerOrder) -> bool {
    let state = match known {
        Glimpse::Whole(order) => order.state,
        Glimpse::Packed(head) => head.state,
    };
    let revived = state == OrderState::NotAccepted && row.status != BrokerOrderStatus::Rejected;
    let order = match known {
        Glimpse::Whole(order) if !state.is_ended() => order,
        _ => return revived,
    };
    let settled = state.is_working() && state != OrderState::Missing;
    let ended = !matches!(row.status, BrokerOrderStatus::Open | BrokerOrderStatus::Unclear);
    !settled
        || order.broker_order_id.is_none()
        || row.filled > order.broker_filled
        || (ended && !order.broker_ended)
}

/// True when the order was, or may have been, at the broker before the snapshot was asked for.
fn should_show(order: &Order, snapshot: &Snapshot) -> bool {
    let since = match order.state {
        OrderState::Unknown => order.doubt.map(|doubt| doubt.since),
        OrderState::Working | OrderState::PartiallyFilled | OrderState::Missing => order.accepted_at,
        _ => None,
    };
    since.is_some_and(|since| since < snapshot.asked_at)
}

/// An order without our id that looks like this one: it decides nothing, a person does.
fn twin(order: &Order, strangers: &[&BrokerOrder]) -> Option<(ClientOrderId, BrokerOrderId)> {
    if order.state != OrderState::Unknown {
        return None;
    }
    strangers
        .iter()
        .find(|row| row.id.is_none() && looks_like(Glimpse::Whole(order).wish(), row))
        .map(|row| (order.id, row.broker_order_id.clone()))
}

/// A broker's name alone does not make a row ours: names come again on another day.
fn looks_like(wish: (Symbol, Side, Shares), row: &BrokerOrder) -> bool {
    wish == (row.symbol, row.side, row.size)
}

fn is_worth_an_event(trader: &Trader, absent: &[&Order], foreign: u64) -> bool {
    !trader.is_reconciled()
        || foreign != trader.foreign_orders()
        || absent.iter().any(|order| order.state != OrderState::Missing)
        || trader.live_orders().any(|order| order.state.is_working())
}
