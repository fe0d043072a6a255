//! The orders of one symbol that rest, by price and then by time.

use std::collections::{BTreeMap, HashMap, VecDeque};

use qt_market::{Shares, Side};

use crate::price::E4;

/// Name of an order in a book.
pub type OrderId = u64;

/// The name of all orders that are the market's and nobody's here.
pub const FLOW: OrderId = 0;

/// What a resting order gave to one that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The order that rested.
    pub maker: OrderId,
    /// Its price, which is the trade's.
    pub price: E4,
    /// Shares.
    pub quantity: Shares,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    owner: OrderId,
    quantity: Shares,
}

#[derive(Debug, Clone, Default)]
struct Level {
    queue: VecDeque<Entry>,
    /// Shares of these that are the market's.
    flow: Shares,
    total: Shares,
}

impl Level {
    fn push(&mut self, owner: OrderId, quantity: Shares) {
        self.total += quantity;
        if owner == FLOW {
            self.flow += quantity;
            // Nobody stands between two of the market's, so that they are one.
            if let Some(last) = self.queue.back_mut().filter(|last| last.owner == FLOW) {
                last.quantity += quantity;
                return;
            }
        }
        self.queue.push_back(Entry { owner, quantity });
    }

    /// Takes up to `quantity` from the front.
    fn take(
        &mut self,
        price: E4,
        mut quantity: Shares,
        gone: &mut Vec<OrderId>,
        hits: &mut Vec<Hit>,
    ) -> Shares {
        while quantity > 0 {
            let Some(first) = self.queue.front_mut() else {
                break;
            };
            let part = quantity.min(first.quantity);
            first.quantity -= part;
            quantity -= part;
            self.total -= part;
            hits.push(Hit {
                maker: first.owner,
                price,
                quantity: part,
            });
            if first.owner == FLOW {
                self.flow -= part;
            }
            if first.quantity == 0 {
                if first.owner != FLOW {
                    gone.push(first.owner);
                }
                self.queue.pop_front();
            }
        }
        quantity
    }

    /// Makes the market's part as large as `quantity`: what is new goes behind everybody, what is gone went from behind.
    fn set_flow(&mut self, quantity: Shares) {
        if quantity >= self.flow {
            if quantity > self.flow {
                self.push(FLOW, quantity - self.flow);
            }
            return;
        }
        let mut less = self.flow - quantity;
        self.flow = quantity;
        self.total -= less;
        for entry in self.queue.iter_mut().rev().filter(|entry| entry.owner == FLOW) {
            let part = less.min(entry.quantity);
            entry.quantity -= part;
            less -= part;
            if less == 0 {
                break;
            }
        }
        self.queue.retain(|entry| entry.quantity > 0);
    }
}

/// One side. The key is the price, below zero for bids, so that the best level is always the first.
#[derive(Debug, Clone, Default)]
struct Half(BTreeMap<E4, Level>);

const fn key(side: Side, price: E4) -> E4 {
    match side {
        Side::Buy => -price,
        Side::Sell => price,
    }
}

const fn other(side: Side) -> Side {
    match side {
        Side::Buy => Side::Sell,
        Side::Sell => Side::Buy,
    }
}

/// The order book of one symbol.
#[derive(Debug, Clone, Default)]
pub struct Book {
    bids: Half,
    asks: Half,
    places: HashMap<OrderId, (Side, E4)>,
    gone: Vec<OrderId>,
}

impl Book {
    const fn half(&self, side: Side) -> &Half {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }

    const fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    /// The best price on a side.
    #[must_use]
    pub fn best(&self, side: Side) -> Option<E4> {
        self.half(side).0.keys().next().map(|at| at.abs())
    }

    /// The best price on a side at which somebody rests who is not the market.
    #[must_use]
    pub fn best_own(&self, side: Side) -> Option<E4> {
        let levels = self.half(side).0.iter();
        levels
            .filter(|(_, level)| level.total > level.flow)
            .map(|(at, _)| at.abs())
            .next()
    }

    /// Prices and shares on a side, the best first.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = (E4, Shares)> + '_ {
        self.half(side)
            .0
            .iter()
            .map(|(at, level)| (at.abs(), level.total))
    }

    /// Shares that an order of `side` could take at `worst` or better, from as many levels as `levels`.
    #[must_use]
    pub fn takeable(&self, side: Side, worst: E4, levels: usize) -> Shares {
        self.levels(other(side))
            .take(levels)
            .take_while(|(price, _)| !is_worse(side, *price, worst))
            .map(|(_, quantity)| quantity)
            .fold(0, Shares::saturating_add)
    }

    /// An order comes: it takes what rests on the other side at `worst` or better, the best price first and the oldest
    /// order at a price first, from as many levels as `levels`. What is left of `quantity` comes back.
    pub fn take(
        &mut self,
        side: Side,
        worst: E4,
        mut quantity: Shares,
        levels: usize,
        hits: &mut Vec<Hit>,
    ) -> Shares {
        let mut gone = std::mem::take(&mut self.gone);
        let half = self.half_mut(other(side));
        for _ in 0..levels {
            let Some(mut first) = half.0.first_entry().filter(|_| quantity > 0) else {
                break;
            };
            let price = first.key().abs();
            if is_worse(side, price, worst) {
                break;
            }
            quantity = first.get_mut().take(price, quantity, &mut gone, hits);
            if first.get().queue.is_empty() {
                first.remove();
            }
        }
        for order in gone.drain(..) {
            self.places.remove(&order);
        }
        self.gone = gone;
        quantity
    }

    /// An order rests from now on, behind all that rest at its price.
    pub fn rest(&mut self, order: OrderId, side: Side, price: E4, quantity: Shares) {
        if quantity <= 0 {
            return;
        }
        if order != FLOW {
            self.places.insert(order, (side, price));
        }
        let levels = &mut self.half_mut(side).0;
        levels.entry(key(side, price)).or_default().push(order, quantity);
    }

    /// Takes an order out; what was left of it.
    pub fn remove(&mut self, order: OrderId) -> Option<Shares> {
        let (side, price) = self.places.remove(&order)?;
        let levels = &mut self.half_mut(side).0;
        let level = levels.get_mut(&key(side, price))?;
        let place = level.queue.iter().position(|entry| entry.owner == order)?;
        let entry = level.queue.remove(place)?;
        level.total -= entry.quantity;
        if level.queue.is_empty() {
            levels.remove(&key(side, price));
        }
        Some(entry.quantity)
    }

    /// The market shows nothing on a side any more but at these prices.
    pub fn withdraw(&mut self, side: Side, shown: &[(E4, Shares)]) {
        let is_shown = |at: E4| {
            shown
                .iter()
                .any(|(price, quantity)| *price == at && *quantity > 0)
        };
        self.half_mut(side).0.retain(|at, level| {
            if level.flow > 0 && !is_shown(at.abs()) {
                level.set_flow(0);
            }
            !level.queue.is_empty()
        });
    }

    /// The market shows these levels on a side and no others; who rests there keeps the place before what is new. None
    /// may cross the other side: what does comes by [`Self::take`] first.
    pub fn show(&mut self, side: Side, shown: &[(E4, Shares)]) {
        self.withdraw(side, shown);
        let levels = &mut self.half_mut(side).0;
        for (price, quantity) in shown.iter().filter(|(_, quantity)| *quantity > 0) {
            levels.entry(key(side, *price)).or_default().set_flow(*quantity);
        }
    }

    /// Everybody who bids `price` or more, and everybody who asks `price` or less, trades at it, up to `volume` shares a
    /// side: the end of an auction.
    pub fn uncross(&mut self, price: E4, volume: Shares, hits: &mut Vec<Hit>) {
        for side in [Side::Buy, Side::Sell] {
            let from = hits.len();
            self.take(other(side), price, volume, usize::MAX, hits);
            // All trade at the one price, whatever their limits were.
            for hit in &mut hits[from..] {
                hit.price = price;
            }
        }
    }

    /// True where somebody could trade with somebody.
    #[must_use]
    pub fn is_crossed(&self) -> bool {
        matches!((self.best(Side::Buy), self.best(Side::Sell)), (Some(bid), Some(ask)) if bid >= ask)
    }

    /// How many orders rest that are not the market's.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True where none rests that is not the market's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// True where an order of `side` with the limit `worst` does not trade at `price`.
const fn is_worse(side: Side, price: E4, worst: E4) -> bool {
    match side {
        Side::Buy => price > worst,
        Side::Sell => price < worst,
    }
}
