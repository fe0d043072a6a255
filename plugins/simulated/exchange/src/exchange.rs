//! The exchange with one client's account at it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use qt_market::{Market, Shares, Side, Symbol};
use rust_decimal::Decimal;

use crate::account::{Account, Dividend};
use crate::book::OrderId;
use crate::fact::{Event, Fact, Fees};
use crate::flow::{Liquidity, Quote};
use crate::price::from_e4;
use crate::reject::{Rejection, reject};
use crate::time::{Moment, date_of, day_number, show};
use crate::venue::{End, Kind, Outcome, Ticket, Venue};

/// What became of an order that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// The exchange has it under this number.
    Accepted(OrderId),
    /// It was refused, and no such order exists.
    Rejected(Rejection),
}

#[derive(Debug, Clone)]
struct Live {
    name: String,
    symbol: Symbol,
    side: Side,
    ordered: Shares,
}

/// An exchange and an account, which tell what happens as facts.
#[derive(Debug, Clone)]
pub struct Exchange {
    venue: Venue,
    account: Account,
    dividends: Vec<Dividend>,
    live: BTreeMap<OrderId, Live>,
    by_name: BTreeMap<String, OrderId>,
    names: HashSet<String>,
    next_order: OrderId,
    next_fill: u64,
    day: Option<i64>,
    outcomes: Vec<Outcome>,
    facts: Vec<Fact>,
}

impl Exchange {
    /// An exchange with these rules and this account. Dividends are paid only where some are given.
    #[must_use]
    pub fn new(market: Arc<Market>, flow: Liquidity, account: Account, dividends: Vec<Dividend>) -> Self {
        Self {
            venue: Venue::new(market, flow),
            account,
            dividends,
            live: BTreeMap::new(),
            by_name: BTreeMap::new(),
            names: HashSet::new(),
            next_order: 1,
            next_fill: 1,
            day: None,
            outcomes: Vec::new(),
            facts: Vec::new(),
        }
    }

    /// The exchange's side.
    #[must_use]
    pub const fn venue(&self) -> &Venue {
        &self.venue
    }

    /// The exchange's side, to list symbols in.
    pub const fn venue_mut(&mut self) -> &mut Venue {
        &mut self.venue
    }

    /// The client's side.
    #[must_use]
    pub const fn account(&self) -> &Account {
        &self.account
    }

    /// All that the account is worth, at the last prices.
    #[must_use]
    pub fn total_asset(&self) -> Decimal {
        self.account
            .total_asset(|symbol| self.venue.last(symbol).map(from_e4))
    }

    /// What happened since this was last asked.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// An order comes, under a name that no other may have.
    pub fn submit(&mut self, at: Moment, name: &str, ticket: &Ticket) -> Placed {
        self.advance(at);
        let order = self.next_order;
        match self.try_submit(at, order, name, ticket) {
            Ok(()) => {
                self.next_order += 1;
                Placed::Accepted(order)
            }
            Err(rejection) => {
                let mut fact = self.fact(at, Event::Rejected, ticket.symbol);
                fact.client_order_id = name.to_owned();
                fact.side = Some(ticket.side);
                fact.quantity = ticket.quantity;
                fact.price = limit_of(ticket);
                fact.code = Some(rejection.code);
                fact.reason = rejection.to_string();
                self.facts.push(fact);
                Placed::Rejected(rejection)
            }
        }
    }

    fn try_submit(
        &mut self,
        at: Moment,
        order: OrderId,
        name: &str,
        ticket: &Ticket,
    ) -> Result<(), Rejection> {
        if self.names.contains(name) {
            return Err(reject(
                "DUPLICATE_ID",
                format!("{name} stands for an order already"),
            ));
        }
        let date = date_of(at);
        self.venue
            .check(at, ticket, self.account.sellable(&ticket.symbol))?;
        let worst = self.venue.worst_price(ticket).map(from_e4).unwrap_or_default();
        let wish = (ticket.symbol, ticket.side, ticket.quantity);
        self.account.bind(order, wish, worst, self.venue.market(), date)?;
        let mut outcomes = std::mem::take(&mut self.outcomes);
        outcomes.clear();
        if let Err(rejection) = self.venue.place_order(at, order, ticket, &mut outcomes) {
            self.account.release(order);
            self.outcomes = outcomes;
            return Err(rejection);
        }
        self.names.insert(name.to_owned());
        self.by_name.insert(name.to_owned(), order);
        let live = Live {
            name: name.to_owned(),
            symbol: ticket.symbol,
            side: ticket.side,
            ordered: ticket.quantity,
        };
        let mut fact = self.of_order(at, Event::Accepted, (order, &live), ticket.quantity);
        self.live.insert(order, live);
        fact.price = limit_of(ticket);
        self.facts.push(fact);
        self.settle(at, outcomes);
        Ok(())
    }

    /// Somebody wants an order cancelled, by its name.
    ///
    /// # Errors
    /// It is not known, has ended, or the exchange takes no cancels now.
    pub fn cancel(&mut self, at: Moment, name: &str) -> Result<(), Rejection> {
        self.advance(at);
        let order = self.by_name.get(name).copied();
        let done = match order {
            Some(order) => self.venue.cancel(at, order),
            None if self.names.contains(name) => Err(reject("ORDER_ENDED", format!("{name} has ended"))),
            None => Err(reject("NO_SUCH_ORDER", format!("no order is called {name}"))),
        };
        match done {
            Ok(outcome) => {
                self.settle(at, vec![outcome]);
                Ok(())
            }
            Err(rejection) => {
                if let Some((order, live)) = order.and_then(|order| self.live.get_key_value(&order)) {
                    let mut fact = self.of_order(at, Event::CancelRejected, (*order, live), 0);
                    fact.code = Some(rejection.code);
                    fact.reason = rejection.to_string();
                    self.facts.push(fact);
                }
                Err(rejection)
            }
        }
    }

    /// Takes in a quote. Quotes come in the order of time.
    pub fn quote(&mut self, quote: &Quote) {
        self.advance(quote.at);
        let mut outcomes = std::mem::take(&mut self.outcomes);
        outcomes.clear();
        self.venue.quote(quote, &mut outcomes);
        self.settle(quote.at, outcomes);
    }

    /// Time passes: orders lapse, and a new trading day begins.
    pub fn advance(&mut self, at: Moment) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        outcomes.clear();
        self.venue.advance(at, &mut outcomes);
        self.settle(at, outcomes);
        let number = day_number(at);
        if self.day == Some(number) {
            return;
        }
        let is_later = self.day.is_some_and(|day| day < number);
        self.day = Some(self.day.map_or(number, |day| day.max(number)));
        if is_later && self.venue.market().calendar().is_trading_day(date_of(at)) {
            self.account.new_day();
            self.pay_dividends(at);
        }
    }

    fn pay_dividends(&mut self, at: Moment) {
        let date = date_of(at);
        let mut due = Vec::new();
        // What fell on a day without trading is paid on the next one with.
        self.dividends.retain(|dividend| {
            let is_due = dividend.date <= date;
            if is_due {
                due.push(dividend.clone());
            }
            !is_due
        });
        for dividend in due {
            if let Some(held) = self.account.pay(&dividend) {
                let mut fact = self.fact(at, Event::Dividend, dividend.symbol);
                fact.quantity = held;
                fact.price = Some(dividend.cash);
                self.facts.push(fact);
            }
        }
    }

    /// Books what happened at the exchange.
    fn settle(&mut self, at: Moment, mut outcomes: Vec<Outcome>) {
        for outcome in outcomes.drain(..) {
            match outcome {
                Outcome::Fill {
                    order,
                    quantity,
                    price,
                } => self.fill(at, order, quantity, from_e4(price)),
                Outcome::Ended { order, rest, why } => self.end(at, order, rest, why),
            }
        }
        self.outcomes = outcomes;
    }

    fn fill(&mut self, at: Moment, order: OrderId, quantity: Shares, price: Decimal) {
        let Some(live) = self.live.get(&order) else { return };
        let days = self.venue.settlement_days(&live.symbol);
        let fees: Fees = self
            .account
            .trade(order, quantity, price, days, self.venue.market(), date_of(at));
        let mut fact = self.of_order(at, Event::Fill, (order, live), quantity);
        fact.price = Some(price);
        fact.fill = Some(self.next_fill);
        fact.fees = Some(fees);
        self.facts.push(fact);
        self.next_fill += 1;
        if !self.account.is_bound(order) {
            self.forget(order);
        }
    }

    fn end(&mut self, at: Moment, order: OrderId, rest: Shares, why: End) {
        self.account.release(order);
        let Some(live) = self.live.get(&order) else { return };
        let mut fact = self.of_order(at, Event::Ended, (order, live), rest);
        fact.reason = why.reason().to_owned();
        self.facts.push(fact);
        self.forget(order);
    }

    fn forget(&mut self, order: OrderId) {
        if let Some(live) = self.live.remove(&order) {
            self.by_name.remove(&live.name);
        }
    }

    fn of_order(&self, at: Moment, event: Event, (order, live): (OrderId, &Live), quantity: Shares) -> Fact {
        let mut fact = self.fact(at, event, live.symbol);
        fact.order = Some(order);
        fact.client_order_id = live.name.clone();
        fact.side = Some(live.side);
        fact.quantity = quantity;
        fact.ordered = live.ordered;
        fact
    }

    fn fact(&self, at: Moment, event: Event, symbol: Symbol) -> Fact {
        Fact {
            ts: at,
            time: show(at),
            event,
            order: None,
            client_order_id: String::new(),
            symbol,
            side: None,
            quantity: 0,
            ordered: 0,
            price: None,
            fill: None,
            fees: None,
            code: None,
            reason: String::new(),
            cash: self.account.cash(),
        }
    }
}

fn limit_of(ticket: &Ticket) -> Option<Decimal> {
    match ticket.kind {
        Kind::Limit(price) | Kind::ImmediateOrCancel(price) | Kind::FillOrKill(price) => Some(from_e4(price)),
        _ => None,
    }
}
