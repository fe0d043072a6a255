//! What a broker keeps of one client: cash and shares, what open orders bind of them, and what cannot be sold yet.

use std::collections::{BTreeMap, HashMap};

use jiff::civil::Date;
use qt_market::{FeeBreakdown, Market, Price, Shares, Side, Symbol};
use rust_decimal::Decimal;

use crate::book::OrderId;
use crate::fact::Fees;
use crate::reject::{self, Rejection};

/// What a company pays on a day to who holds its shares before that day opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dividend {
    /// Whose.
    pub symbol: Symbol,
    /// The ex-date.
    pub date: Date,
    /// Yuan a share.
    pub cash: Decimal,
    /// New shares a share.
    pub shares: Decimal,
}

/// Shares of one symbol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// All.
    pub total: Shares,
    /// What open sales hold.
    pub frozen: Shares,
    /// What was paid for them, in yuan, fees apart.
    pub cost: Decimal,
    /// What cannot be sold yet, with how many trading days it still takes.
    locked: Vec<(u8, Shares)>,
}

impl Holding {
    /// Shares that may be sold now.
    #[must_use]
    pub fn sellable(&self) -> Shares {
        (self.total - self.frozen - self.locked()).max(0)
    }

    fn locked(&self) -> Shares {
        self.locked.iter().map(|(_, shares)| shares).sum()
    }
}

/// What an open order binds.
#[derive(Debug, Clone)]
struct Bound {
    symbol: Symbol,
    side: Side,
    /// The most that a share of a purchase may cost.
    worst: Price,
    rest: Shares,
    /// What it traded so far, in yuan.
    amount: Decimal,
    fees: FeeBreakdown,
    cash: Decimal,
}

/// One client's account.
#[derive(Debug, Clone, Default)]
pub struct Account {
    cash: Decimal,
    frozen_cash: Decimal,
    holdings: BTreeMap<Symbol, Holding>,
    bound: HashMap<OrderId, Bound>,
}

impl Account {
    /// An account with cash and shares that may all be sold; `cost` is yuan a share.
    #[must_use]
    pub fn new(cash: Decimal, holdings: impl IntoIterator<Item = (Symbol, Shares, Decimal)>) -> Self {
        let holding = |(symbol, total, cost): (Symbol, Shares, Decimal)| {
            let cost = cost.saturating_mul(Decimal::from(total));
            (
                symbol,
                Holding {
                    total,
                    cost,
                    ..Holding::default()
                },
            )
        };
        Self {
            cash,
            holdings: holdings.into_iter().map(holding).collect(),
            ..Self::default()
        }
    }

    /// All cash, in yuan.
    #[must_use]
    pub const fn cash(&self) -> Decimal {
        self.cash
    }

    /// Cash that open purchases bind.
    #[must_use]
    pub const fn frozen_cash(&self) -> Decimal {
        self.frozen_cash
    }

    /// Cash that may be used.
    #[must_use]
    pub fn available_cash(&self) -> Decimal {
        self.cash.saturating_sub(self.frozen_cash)
    }

    /// Every holding, those that were sold out too.
    pub fn holdings(&self) -> impl Iterator<Item = (&Symbol, &Holding)> {
        self.holdings.iter()
    }

    /// Shares of a symbol that may be sold now.
    #[must_use]
    pub fn sellable(&self, symbol: &Symbol) -> Shares {
        self.holdings.get(symbol).map_or(0, Holding::sellable)
    }

    /// All that it is worth at these prices; a symbol without one counts at its cost.
    #[must_use]
    pub fn total_asset(&self, price: impl Fn(&Symbol) -> Option<Price>) -> Decimal {
        self.holdings.iter().fold(self.cash, |sum, (symbol, holding)| {
            let worth = price(symbol).map_or(holding.cost, |price| {
                price.saturating_mul(Decimal::from(holding.total))
            });
            sum.saturating_add(worth)
        })
    }

    /// Binds what an order may need.
    ///
    /// # Errors
    /// There is not so much of it.
    pub(crate) fn bind(
        &mut self,
        order: OrderId,
        (symbol, side, rest): (Symbol, Side, Shares),
        worst: Price,
        market: &Market,
        date: Date,
    ) -> Result<(), Rejection> {
        let mut bound = Bound {
            symbol,
            side,
            worst,
            rest,
            amount: Decimal::ZERO,
            fees: FeeBreakdown::default(),
            cash: Decimal::ZERO,
        };
        match side {
            Side::Sell => {
                let sellable = self.sellable(&symbol);
                if rest > sellable {
                    let total = self.holdings.get(&symbol).map_or(0, |holding| holding.total);
                    return Err(reject::no_shares(&symbol, rest, sellable, total));
                }
                self.holdings.entry(symbol).or_default().frozen += rest;
            }
            Side::Buy => {
                let needed = bound.need(market, date);
                let available = self.available_cash();
                if needed > available {
                    return Err(reject::no_cash(&symbol, needed, available));
                }
                bound.cash = needed;
                self.frozen_cash += needed;
            }
        }
        self.bound.insert(order, bound);
        Ok(())
    }

    /// A part of an order traded: cash and shares change hands. What it cost comes back.
    pub(crate) fn trade(
        &mut self,
        order: OrderId,
        quantity: Shares,
        price: Price,
        settlement_days: u8,
        market: &Market,
        date: Date,
    ) -> Fees {
        let Some(mut bound) = self.bound.remove(&order) else {
            return Fees::default();
        };
        let amount = price.saturating_mul(Decimal::from(quantity));
        bound.amount = bound.amount.saturating_add(amount);
        bound.rest -= quantity;
        let fees = market
            .fees_of_amount(&bound.symbol, bound.side, bound.amount, date)
            .unwrap_or_default();
        let cost = Fees::since(&fees, &bound.fees);
        bound.fees = fees;
        let holding = self.holdings.entry(bound.symbol).or_default();
        match bound.side {
            Side::Buy => {
                holding.total += quantity;
                holding.cost = holding.cost.saturating_add(amount);
                if settlement_days > 0 {
                    holding.locked.push((settlement_days, quantity));
                }
                self.cash = self.cash.saturating_sub(amount).saturating_sub(cost.total());
                self.frozen_cash -= bound.cash;
                bound.cash = if bound.rest > 0 {
                    bound.need(market, date)
                } else {
                    Decimal::ZERO
                };
                self.frozen_cash += bound.cash;
            }
            Side::Sell => {
                let left = holding.total - quantity;
                holding.cost = holding
                    .cost
                    .saturating_mul(Decimal::from(left))
                    .checked_div(Decimal::from(holding.total))
                    .unwrap_or_default();
                holding.total = left;
                holding.frozen -= quantity;
                self.cash = self.cash.saturating_add(amount).saturating_sub(cost.total());
            }
        }
        if bound.rest > 0 {
            self.bound.insert(order, bound);
        }
        cost
    }

    /// An order ended: nothing is bound for it any more.
    pub(crate) fn release(&mut self, order: OrderId) {
        let Some(bound) = self.bound.remove(&order) else {
            return;
        };
        match bound.side {
            Side::Buy => self.frozen_cash -= bound.cash,
            Side::Sell => {
                if let Some(holding) = self.holdings.get_mut(&bound.symbol) {
                    holding.frozen -= bound.rest;
                }
            }
        }
    }

    /// True while something is bound for an order.
    pub(crate) fn is_bound(&self, order: OrderId) -> bool {
        self.bound.contains_key(&order)
    }

    /// A trading day begins: what was bought before comes nearer to being sold.
    pub(crate) fn new_day(&mut self) {
        for holding in self.holdings.values_mut() {
            for (days, _) in &mut holding.locked {
                *days = days.saturating_sub(1);
            }
            holding.locked.retain(|(days, _)| *days > 0);
        }
        self.holdings
            .retain(|_, holding| holding.total > 0 || holding.frozen > 0);
    }

    /// A company pays: the shares it is paid for, or `None` where none are held.
    pub(crate) fn pay(&mut self, dividend: &Dividend) -> Option<Shares> {
        let holding = self
            .holdings
            .get_mut(&dividend.symbol)
            .filter(|holding| holding.total > 0)?;
        let held = holding.total;
        self.cash = self
            .cash
            .saturating_add(dividend.cash.saturating_mul(Decimal::from(held)));
        // Less than a share is not given.
        let given = dividend.shares.saturating_mul(Decimal::from(held)).floor();
        holding.total += Shares::try_from(given).unwrap_or(0);
        Some(held)
    }
}

impl Bound {
    /// What the rest may still cost, in yuan.
    fn need(&self, market: &Market, date: Date) -> Decimal {
        let rest = self.worst.saturating_mul(Decimal::from(self.rest));
        let all = self.amount.saturating_add(rest);
        let fees = market
            .fees_of_amount(&self.symbol, self.side, all, date)
            .unwrap_or_default();
        rest.saturating_add(Fees::since(&fees, &self.fees).total())
    }
}
