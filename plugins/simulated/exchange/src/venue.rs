//! The exchange itself: which orders it takes, when they meet whom, and when they lapse. It knows nothing of money.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use qt_market::{Listing, Market, Phase, Shares, Side, Symbol};

use crate::book::{FLOW, Hit, OrderId};
use crate::flow::{Liquidity, Quote};
use crate::plan::{Then, check_price, plan};
use crate::price::E4;
use crate::reject::{self, Rejection, reject};
use crate::stock::{Stock, is_auction};
use crate::time::{Moment, day_number, show, time_of_day};

/// How an order's price is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// At this price or better.
    Limit(E4),
    /// Against the best five levels; the rest is cancelled. This is what an order at the market's price is.
    BestFiveThenCancel,
    /// Against the best five levels; the rest rests at the last price it took.
    BestFiveThenLimit,
    /// At the best price of the other side.
    OppositeBest,
    /// At the best price of the own side.
    OwnBest,
    /// What fills at once at this price or better; the rest is cancelled.
    ImmediateOrCancel(E4),
    /// All of it at once at this price or better, or nothing.
    FillOrKill(E4),
}

/// An order as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// What is traded.
    pub symbol: Symbol,
    /// Buy or sell.
    pub side: Side,
    /// Shares.
    pub quantity: Shares,
    /// How the price is meant.
    pub kind: Kind,
}

/// What rests of an order, as it is put back after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resting {
    /// What is traded.
    pub symbol: Symbol,
    /// Buy or sell.
    pub side: Side,
    /// Where it rests.
    pub price: E4,
    /// Shares that are left.
    pub rest: Shares,
    /// When it came.
    pub placed: Moment,
}

/// Why an order ended that is not filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its owner cancelled it.
    Cancelled,
    /// It was for what is there at once, and that was not enough.
    NotAtOnce,
    /// The day is over.
    DayOver,
}

impl End {
    /// The reason in the words of a counter.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Cancelled => "已撤单 (cancelled)",
            Self::NotAtOnce => "未能即时成交，剩余撤销 (what did not fill at once is cancelled)",
            Self::DayOver => "当日收盘未成交，自动撤单 (the day is over)",
        }
    }
}

/// What happened to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It traded.
    Fill {
        /// The order.
        order: OrderId,
        /// Shares.
        quantity: Shares,
        /// The trade's price.
        price: E4,
    },
    /// It ended with `rest` shares left.
    Ended {
        /// The order.
        order: OrderId,
        /// Shares that were not filled.
        rest: Shares,
        /// Why.
        why: End,
    },
}

#[derive(Debug, Clone, Copy)]
struct Open {
    stock: usize,
    side: Side,
    rest: Shares,
    after_hours: bool,
}

/// The exchange: a book a symbol, and what the market does to it.
#[derive(Debug, Clone)]
pub struct Venue {
    market: Arc<Market>,
    flow: Liquidity,
    stocks: Vec<Stock>,
    places: HashMap<Symbol, usize>,
    listings: HashMap<Symbol, Listing>,
    open: BTreeMap<OrderId, Open>,
    hits: Vec<Hit>,
    now: Moment,
    day: i64,
    /// No order lapses before this.
    look_at: Moment,
}

impl Venue {
    /// An exchange with these rules, before any quote.
    #[must_use]
    pub fn new(market: Arc<Market>, flow: Liquidity) -> Self {
        Self {
            market,
            flow,
            stocks: Vec::new(),
            places: HashMap::new(),
            listings: HashMap::new(),
            open: BTreeMap::new(),
            hits: Vec::new(),
            now: 0,
            day: i64::MIN,
            look_at: Moment::MAX,
        }
    }

    /// The rules.
    #[must_use]
    pub fn market(&self) -> &Market {
        &self.market
    }

    /// The latest moment it was told.
    #[must_use]
    pub const fn now(&self) -> Moment {
        self.now
    }

    /// What the code of a symbol does not tell and its limits depend on; to be said before its first quote.
    pub fn list(&mut self, symbol: Symbol, listing: Listing) {
        self.listings.insert(symbol, listing);
    }

    /// The close before the present day, where no quote tells.
    pub fn set_previous_close(&mut self, symbol: Symbol, close: E4, at: Moment) {
        let place = self.place(symbol, at);
        let market = Arc::clone(&self.market);
        if let Some(stock) = self.stocks.get_mut(place) {
            stock.set_previous_close(&market, close);
        }
    }

    fn place(&mut self, symbol: Symbol, at: Moment) -> usize {
        if let Some(place) = self.places.get(&symbol) {
            return *place;
        }
        let listing = self.listings.get(&symbol).copied().unwrap_or_default();
        self.stocks.push(Stock::new(&self.market, symbol, listing, at));
        self.places.insert(symbol, self.stocks.len() - 1);
        self.stocks.len() - 1
    }

    fn stock(&self, symbol: &Symbol) -> Option<&Stock> {
        self.places.get(symbol).and_then(|place| self.stocks.get(*place))
    }

    /// The last price of a symbol.
    #[must_use]
    pub fn last(&self, symbol: &Symbol) -> Option<E4> {
        self.stock(symbol)?.last
    }

    /// The close before the present day.
    #[must_use]
    pub fn previous_close(&self, symbol: &Symbol) -> Option<E4> {
        self.stock(symbol)?.previous_close
    }

    /// The day's lowest and highest price.
    #[must_use]
    pub fn limits(&self, symbol: &Symbol) -> Option<(E4, E4)> {
        self.stock(symbol)?.day.limits
    }

    /// After how many trading days what was bought may be sold.
    #[must_use]
    pub fn settlement_days(&self, symbol: &Symbol) -> u8 {
        self.stock(symbol).map_or(1, |stock| stock.day.settlement_days)
    }

    /// The best price on a side.
    #[must_use]
    pub fn best(&self, symbol: &Symbol, side: Side) -> Option<E4> {
        self.stock(symbol)?.book.best(side)
    }

    /// True where a book is crossed outside of an auction, which must never be.
    #[must_use]
    pub fn is_crossed(&self) -> bool {
        self.stocks
            .iter()
            .any(|stock| !stock.is_gathering() && stock.book.is_crossed())
    }

    /// How many orders rest.
    #[must_use]
    pub fn open_orders(&self) -> usize {
        self.open.len()
    }

    /// What an order may cost a share at most: its limit, or what the market could ask of it.
    #[must_use]
    pub fn worst_price(&self, ticket: &Ticket) -> Option<E4> {
        match ticket.kind {
            Kind::Limit(price) | Kind::ImmediateOrCancel(price) | Kind::FillOrKill(price) => Some(price),
            _ => {
                let stock = self.stock(&ticket.symbol)?;
                match (ticket.side, stock.day.limits) {
                    (Side::Buy, Some((_, upper))) => Some(upper),
                    _ => stock.last,
                }
            }
        }
    }

    /// Whether the exchange takes an order at a moment. `sellable` is what of the holding may be sold.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&mut self, at: Moment, ticket: &Ticket, sellable: Shares) -> Result<(), Rejection> {
        let symbol = ticket.symbol;
        let place = self.place(symbol, at);
        if let Some(stock) = self.stocks.get_mut(place) {
            stock.roll(&self.market, at);
            // The cage goes by what is shown. Where an order rests here it was shown with the last quote.
            if stock.book.is_empty() {
                stock.freshen(&self.flow, &mut Vec::new());
            }
        }
        let Some(stock) = self.stocks.get(place) else {
            return Ok(());
        };
        let date = stock.day.date;
        let at_market = !matches!(ticket.kind, Kind::Limit(_));
        self.market
            .check_quantity(
                &symbol,
                ticket.side,
                ticket.quantity,
                Some(sellable),
                at_market,
                date,
            )
            .map_err(|error| reject::lot(&error))?;
        let Some(window) = stock.window(time_of_day(at)) else {
            return Err(reject(
                "SESSION",
                format!("{symbol}: {} is outside of its trading hours", show(at)),
            ));
        };
        if !stock.is_quoted && time_of_day(at) >= stock.quoted_by() {
            let english = format!(
                "{symbol}: the source has no quote of it on {date} yet, so that it is taken to be suspended"
            );
            return Err(reject("NO_QUOTE", english));
        }
        match ticket.kind {
            Kind::Limit(price) | Kind::ImmediateOrCancel(price) | Kind::FillOrKill(price) => {
                check_price(&self.market, stock, ticket, price, window.phase)?;
            }
            _ => {}
        }
        if at_market && window.phase != Phase::Continuous {
            return Err(reject(
                "MARKET_PHASE",
                format!("{symbol}: {} takes limit orders only", window.phase.name()),
            ));
        }
        // Of an order at the market's price: whether anybody is there for it.
        plan(stock, ticket).map(|_| ())
    }

    /// Takes an order that [`Self::check`] has let pass at the same moment. What happens to it and to others is put into
    /// `outcomes`.
    ///
    /// # Errors
    /// An order at the market's price that nobody is there for.
    pub fn place_order(
        &mut self,
        at: Moment,
        order: OrderId,
        ticket: &Ticket,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), Rejection> {
        debug_assert!(order != FLOW, "the market's own name");
        self.now = self.now.max(at);
        let place = self.place(ticket.symbol, at);
        let Some(stock) = self.stocks.get_mut(place) else {
            return Ok(());
        };
        let mut hits = std::mem::take(&mut self.hits);
        hits.clear();
        let phase = stock.window(time_of_day(at));
        if let Some(window) = phase.filter(|window| is_auction(window.phase)) {
            stock.expect_auction(&window);
        }
        let after_hours = phase.is_some_and(|window| window.phase == Phase::AfterHours);
        if after_hours || stock.is_gathering() {
            // The market's levels are no orders that could be met now.
            stock.hide();
        } else {
            stock.freshen(&self.flow, &mut hits);
        }
        let plan = match plan(stock, ticket) {
            Ok(plan) => plan,
            Err(rejection) => {
                self.hits = hits;
                return Err(rejection);
            }
        };
        let gathers = stock.is_gathering() || after_hours;
        let before = hits.len();
        let mut rest = ticket.quantity;
        if !gathers && plan.quantity > 0 {
            rest = stock
                .book
                .take(ticket.side, plan.worst, ticket.quantity, plan.levels, &mut hits);
        }
        let last_price = hits.get(before..).and_then(|own| own.last()).map(|hit| hit.price);
        let rests_at = match plan.then {
            Then::Rest => Some(if after_hours {
                stock.last.unwrap_or(plan.worst)
            } else {
                plan.worst
            }),
            Then::RestAtLast => last_price,
            Then::End => None,
        };
        if let Some(price) = rests_at.filter(|_| rest > 0) {
            stock.rest(at, order, (ticket.side, price), rest);
        }
        let lapses = crate::time::moment(stock.day.date, stock.lapses_at(after_hours));
        self.open.insert(
            order,
            Open {
                stock: place,
                side: ticket.side,
                rest: ticket.quantity,
                after_hours,
            },
        );
        for hit in &hits[before..] {
            self.traded(order, hit.quantity, hit.price, outcomes);
        }
        self.settle(&hits, outcomes);
        self.hits = hits;
        if rest > 0 && rests_at.is_none() {
            self.open.remove(&order);
            outcomes.push(Outcome::Ended {
                order,
                rest,
                why: End::NotAtOnce,
            });
        }
        self.look_at = self.look_at.min(lapses);
        Ok(())
    }

    /// Whether an order can be taken out now.
    ///
    /// # Errors
    /// It has ended, or the exchange takes no cancels now.
    pub fn check_cancel(&self, at: Moment, order: OrderId) -> Result<(), Rejection> {
        let open = self.open.get(&order);
        let Some(stock) = open.and_then(|open| self.stocks.get(open.stock)) else {
            return Err(reject("ORDER_ENDED", format!("order {order} is not open")));
        };
        let window = stock
            .window(time_of_day(at))
            .filter(|_| day_number(at) == stock.day.number);
        if let Some(window) = window.filter(|window| !window.cancels) {
            let english = format!(
                "{}: no cancels until {}",
                stock.symbol,
                qt_market::show_time(window.to)
            );
            return Err(reject("CANCEL_CLOSED", english));
        }
        Ok(())
    }

    /// Takes an order out.
    ///
    /// # Errors
    /// It has ended, or the exchange takes no cancels now.
    pub fn cancel(&mut self, at: Moment, order: OrderId) -> Result<Outcome, Rejection> {
        self.check_cancel(at, order)?;
        let open = self.open.remove(&order);
        let rest = open.as_ref().map_or(0, |open| open.rest);
        if let Some(stock) = open.and_then(|open| self.stocks.get_mut(open.stock)) {
            stock.book.remove(order);
        }
        Ok(Outcome::Ended {
            order,
            rest,
            why: End::Cancelled,
        })
    }

    /// Takes in a quote. Quotes come in the order of time.
    pub fn quote(&mut self, quote: &Quote, outcomes: &mut Vec<Outcome>) {
        self.advance(quote.at, outcomes);
        let place = self.place(quote.symbol, quote.at);
        let Some(stock) = self.stocks.get_mut(place) else {
            return;
        };
        let mut hits = std::mem::take(&mut self.hits);
        hits.clear();
        stock.quote(&self.market, &self.flow, quote, &mut hits);
        self.settle(&hits, outcomes);
        self.hits = hits;
    }

    /// Time passes: orders whose day is over lapse.
    pub fn advance(&mut self, at: Moment, outcomes: &mut Vec<Outcome>) {
        self.now = self.now.max(at);
        if at >= self.look_at && !self.open.is_empty() {
            self.lapse(at, outcomes);
        }
        let number = day_number(at);
        if number > self.day {
            self.day = number;
            for stock in &mut self.stocks {
                stock.roll(&self.market, at);
            }
        }
    }

    fn lapse(&mut self, at: Moment, outcomes: &mut Vec<Outcome>) {
        let mut over = Vec::new();
        let mut next = Moment::MAX;
        for (order, open) in &self.open {
            let Some(stock) = self.stocks.get(open.stock) else {
                continue;
            };
            let lapses = crate::time::moment(stock.day.date, stock.lapses_at(open.after_hours));
            if lapses <= at {
                over.push((*order, open.stock, open.rest));
            } else {
                next = next.min(lapses);
            }
        }
        for (order, place, rest) in over {
            if let Some(stock) = self.stocks.get_mut(place) {
                stock.book.remove(order);
            }
            self.open.remove(&order);
            outcomes.push(Outcome::Ended {
                order,
                rest,
                why: End::DayOver,
            });
        }
        self.look_at = next;
    }

    /// Where an order that has no limit would come to rest now, where that is known before it meets anybody.
    #[must_use]
    pub fn rests_at(&self, ticket: &Ticket) -> Option<E4> {
        let plan = plan(self.stock(&ticket.symbol)?, ticket).ok()?;
        (plan.then == Then::Rest).then_some(plan.worst)
    }

    /// Puts an order back that rested before a restart; its place among equals is that of the order of calls.
    pub fn restore(&mut self, at: Moment, order: OrderId, resting: Resting) {
        let place = self.place(resting.symbol, at);
        let Some(stock) = self.stocks.get_mut(place) else {
            return;
        };
        // It is of the hours in which it came, whenever it comes back.
        let after_hours = stock
            .window(time_of_day(resting.placed))
            .is_some_and(|window| window.phase == Phase::AfterHours);
        let price = stock.last.filter(|_| after_hours).unwrap_or(resting.price);
        stock.rest(resting.placed, order, (resting.side, price), resting.rest);
        if let Some(window) = stock
            .window(time_of_day(at))
            .filter(|window| is_auction(window.phase))
        {
            stock.expect_auction(&window);
        }
        let lapses = crate::time::moment(stock.day.date, stock.lapses_at(after_hours));
        self.open.insert(
            order,
            Open {
                stock: place,
                side: resting.side,
                rest: resting.rest,
                after_hours,
            },
        );
        self.look_at = self.look_at.min(lapses);
    }

    fn settle(&mut self, hits: &[Hit], outcomes: &mut Vec<Outcome>) {
        for hit in hits.iter().filter(|hit| hit.maker != FLOW) {
            self.traded(hit.maker, hit.quantity, hit.price, outcomes);
        }
    }

    fn traded(&mut self, order: OrderId, quantity: Shares, price: E4, outcomes: &mut Vec<Outcome>) {
        let Some(open) = self.open.get_mut(&order) else {
            return;
        };
        open.rest -= quantity;
        if open.rest == 0 {
            self.open.remove(&order);
        }
        outcomes.push(Outcome::Fill {
            order,
            quantity,
            price,
        });
    }

    /// The best price of a side at which an order of this account rests, for who asks whether they would meet.
    #[must_use]
    pub fn own_best(&self, symbol: &Symbol, side: Side) -> Option<E4> {
        self.stock(symbol)?.book.best_own(side)
    }

    /// Orders that rest, with their side and what is left of them.
    pub fn resting(&self) -> impl Iterator<Item = (OrderId, Side, Shares)> + '_ {
        self.open
            .iter()
            .map(|(order, open)| (*order, open.side, open.rest))
    }
}
