//! The broker's books: cash, holdings, orders, trades. They change by facts of the ledger alone, so that a replay
//! gives what was there before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use qt_exchange::time::date_of;
use qt_market::{FeeBreakdown, Market};
use qt_plugin_api::{AccountRow, OrderRequest, OrderRow, OrderStatus, PositionRow, Side, TradeRow};
use rust_decimal::Decimal;

use crate::{
    fees,
    ledger::{Fact, Kind},
    options::Options,
};

/// Day in China, whose clocks have been 8 hours ahead of UTC all year since 1991.
pub(crate) fn day_of(ms: i64) -> i64 {
    (ms + 8 * 3_600_000).div_euclid(86_400_000)
}

/// An order, finished or not.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) row: OrderRow,
    pub(crate) accepted_ms: i64,
    /// The session's day on which it came.
    pub(crate) session_day: i64,
    /// The session's moment at which it came.
    pub(crate) placed: i64,
    /// Nothing of it rests.
    pub(crate) at_once: bool,
    /// Where it rests, if it has no limit.
    pub(crate) rests_at: Option<Decimal>,
    /// The price of its latest trade.
    pub(crate) last_price: Option<Decimal>,
    /// No event may tell of it; a fault of this process's, so the ledger does not know it.
    pub(crate) silent: bool,
    turnover: Decimal,
    frozen_cash: Decimal,
}

impl Order {
    /// Shares that can still be filled.
    pub(crate) fn remaining(&self) -> u64 {
        self.row.quantity.saturating_sub(self.row.filled_quantity)
    }

    /// Whether a repeat with the same id wishes the same.
    pub(crate) fn is_for(&self, order: &OrderRequest) -> bool {
        let row = &self.row;
        row.symbol == order.symbol
            && row.side == order.side
            && row.quantity == order.quantity
            && row.limit_price == order.limit_price
    }
}

#[derive(Debug, Default)]
struct Holding {
    quantity: u64,
    cost: Decimal,
    bought_today: u64,
    // A broker shows what was sold out until the day is over.
    sold_today: bool,
    // What was not sellable when the ledger began.
    locked: u64,
    frozen: u64,
    name: Option<String>,
    previous_close: Option<Decimal>,
}

impl Holding {
    fn available(&self) -> u64 {
        self.quantity
            .saturating_sub(self.bought_today + self.locked + self.frozen)
    }
}

/// All books of one broker.
#[derive(Debug)]
pub(crate) struct Book {
    day: Option<i64>,
    cash: Decimal,
    frozen_cash: Decimal,
    holdings: BTreeMap<String, Holding>,
    prices: BTreeMap<String, Decimal>,
    orders: Vec<Order>,
    trades: Vec<TradeRow>,
    by_client: HashMap<String, usize>,
    by_broker: HashMap<String, usize>,
    open: BTreeSet<usize>,
    first_order_today: usize,
    first_trade_today: usize,
    /// The rules that fees go by; without them there is the commission alone.
    market: Option<Arc<Market>>,
}

impl Book {
    /// The books at the start of the ledger.
    pub(crate) fn new(options: &Options) -> Self {
        let mut prices = options.prices.clone();
        let mut holdings = BTreeMap::new();
        for p in &options.positions {
            if let Some(price) = p.last_price {
                prices.insert(p.symbol.clone(), price);
            }
            let holding = Holding {
                quantity: p.quantity,
                cost: p.avg_cost * Decimal::from(p.quantity),
                locked: p.quantity - p.available_qty.unwrap_or(p.quantity),
                name: p.name.clone(),
                previous_close: p.previous_close,
                ..Holding::default()
            };
            holdings.insert(p.symbol.clone(), holding);
        }
        Self {
            day: None,
            cash: options.cash,
            frozen_cash: Decimal::ZERO,
            holdings,
            prices,
            orders: Vec::new(),
            trades: Vec::new(),
            by_client: HashMap::new(),
            by_broker: HashMap::new(),
            open: BTreeSet::new(),
            first_order_today: 0,
            first_trade_today: 0,
            market: None,
        }
    }

    /// Charges what these rules say, and not the commission alone.
    pub(crate) fn charge_by(&mut self, market: Arc<Market>) {
        self.market = Some(market);
    }

    /// What an order costs that has traded so much.
    fn fees(&self, symbol: &str, side: Side, turnover: Decimal, ts: i64) -> FeeBreakdown {
        let commission_alone = || FeeBreakdown {
            commission: fees::commission(turnover),
            ..FeeBreakdown::default()
        };
        let Some(market) = &self.market else {
            return commission_alone();
        };
        let side = match side {
            Side::Buy => qt_market::Side::Buy,
            Side::Sell => qt_market::Side::Sell,
        };
        let symbol = market.symbol(symbol).ok();
        let fees = symbol.and_then(|symbol| market.fees_of_amount(&symbol, side, turnover, date_of(ts)).ok());
        fees.unwrap_or_else(commission_alone)
    }

    /// Turns the page when a new day has come: open orders lapse, and what was bought can be sold.
    pub(crate) fn roll(&mut self, now_ms: i64) {
        let today = day_of(now_ms);
        let Some(day) = self.day.replace(today) else {
            return;
        };
        if today <= day {
            self.day = Some(day);
            return;
        }
        for at in std::mem::take(&mut self.open) {
            self.release(at);
        }
        for holding in self.holdings.values_mut() {
            (holding.bought_today, holding.locked, holding.frozen) = (0, 0, 0);
            holding.sold_today = false;
        }
        self.first_order_today = self.orders.len();
        self.first_trade_today = self.trades.len();
    }

    pub(crate) fn order(&self, at: usize) -> &Order {
        &self.orders[at]
    }

    pub(crate) fn silence(&mut self, at: usize) {
        self.orders[at].silent = true;
    }

    /// Where an order stands, by our id.
    pub(crate) fn find(&self, client_order_id: &str) -> Option<usize> {
        self.by_client.get(client_order_id).copied()
    }

    pub(crate) fn is_open(&self, at: usize) -> bool {
        self.open.contains(&at)
    }

    pub(crate) fn open_orders(&self) -> Vec<usize> {
        self.open.iter().copied().collect()
    }

    pub(crate) fn next_order_id(&self) -> String {
        format!("S{:08}", self.orders.len() + 1)
    }

    pub(crate) fn next_fill_id(&self) -> String {
        format!("F{:08}", self.trades.len() + 1)
    }

    /// The price at which an order would fill now, if it would.
    pub(crate) fn fill_price(&self, row: &OrderRow) -> Option<Decimal> {
        let last = self.prices.get(&row.symbol).copied();
        match (row.limit_price, last, row.side) {
            (None, last, _) => last,
            // A symbol without a price takes the limit for one.
            (Some(limit), None, _) => Some(limit),
            (Some(limit), Some(last), Side::Buy) => (limit >= last).then_some(last),
            (Some(limit), Some(last), Side::Sell) => (limit <= last).then_some(last),
        }
    }

    /// Why an order cannot be taken. `worst` is what a share of it may cost, where that is neither its limit nor the
    /// last price.
    pub(crate) fn objection(
        &self,
        order: &OrderRequest,
        now_ms: i64,
        worst: Option<Decimal>,
    ) -> Option<String> {
        if order.client_order_id.is_empty() || order.symbol.is_empty() {
            return Some("an order needs a client order id and a symbol".to_owned());
        }
        if order.quantity == 0 {
            return Some("the quantity is 0".to_owned());
        }
        if order.limit_price.is_some_and(|p| p <= Decimal::ZERO) {
            return Some("the limit price is not above 0".to_owned());
        }
        if order.not_after_ms.is_some_and(|until| now_ms > until) {
            return Some("the order came after the time it was good for".to_owned());
        }
        let Some(price) = worst
            .or(order.limit_price)
            .or_else(|| self.prices.get(&order.symbol).copied())
        else {
            return Some(format!(
                "no last price is known for {}, so a market order cannot fill",
                order.symbol
            ));
        };
        match order.side {
            Side::Sell => {
                let available = self.holdings.get(&order.symbol).map_or(0, Holding::available);
                (order.quantity > available).then(|| {
                    format!(
                        "not enough shares: {} of {} can be sold, {} asked",
                        available, order.symbol, order.quantity
                    )
                })
            }
            Side::Buy => {
                let Some(turnover) = price.checked_mul(Decimal::from(order.quantity)) else {
                    return Some("the order's value is too large to count".to_owned());
                };
                let (need, have) = (
                    turnover + self.fees(&order.symbol, order.side, turnover, now_ms).total(),
                    self.cash - self.frozen_cash,
                );
                (need > have)
                    .then(|| format!("not enough cash: {need} needed with the commission, {have} available"))
            }
        }
    }

    /// What a further fill of an order costs.
    pub(crate) fn fees_for(&self, at: usize, quantity: u64, price: Decimal, ts: i64) -> FeeBreakdown {
        let order = &self.orders[at];
        let of = |turnover| self.fees(&order.row.symbol, order.row.side, turnover, ts);
        let (before, after) = (
            of(order.turnover),
            of(order.turnover + price * Decimal::from(quantity)),
        );
        FeeBreakdown {
            commission: after.commission - before.commission,
            stamp_tax: after.stamp_tax - before.stamp_tax,
            transfer_fee: after.transfer_fee - before.transfer_fee,
            exchange_fee: after.exchange_fee - before.exchange_fee,
        }
    }

    /// Shares of a symbol that may be sold now.
    pub(crate) fn available(&self, symbol: &str) -> u64 {
        self.holdings.get(symbol).map_or(0, Holding::available)
    }

    /// Shares of a symbol that are held.
    pub(crate) fn held(&self, symbol: &str) -> u64 {
        self.holdings.get(symbol).map_or(0, |holding| holding.quantity)
    }

    /// The symbols that are held.
    pub(crate) fn held_symbols(&self) -> Vec<String> {
        self.holdings.keys().cloned().collect()
    }

    /// What a symbol is worth now.
    pub(crate) fn set_prices(
        &mut self,
        symbol: &str,
        last: Option<Decimal>,
        previous_close: Option<Decimal>,
    ) {
        if let Some(last) = last {
            self.prices.insert(symbol.to_owned(), last);
        }
        if let Some(holding) = self.holdings.get_mut(symbol).filter(|_| previous_close.is_some()) {
            holding.previous_close = previous_close;
        }
    }

    /// Enters one fact.
    ///
    /// # Errors
    /// When it contradicts what is in the books.
    pub(crate) fn apply(&mut self, fact: &Fact) -> Result<usize, String> {
        self.roll(fact.ts);
        match fact.event {
            Kind::Accepted | Kind::Rejected => self.enter(fact),
            Kind::Fill => self.fill(fact),
            Kind::Cancelled => self.cancel(fact),
            Kind::Dividend => {
                self.cash += fact.price.unwrap_or_default() * Decimal::from(fact.quantity);
                Ok(0)
            }
        }
    }

    fn enter(&mut self, fact: &Fact) -> Result<usize, String> {
        if self.by_client.contains_key(&fact.client_order_id) {
            return Err(format!(
                "the client order id {} was there before",
                fact.client_order_id
            ));
        }
        let accepted = fact.event == Kind::Accepted;
        let row = OrderRow {
            client_order_id: Some(fact.client_order_id.clone()),
            broker_order_id: fact.broker_order_id.clone(),
            symbol: fact.symbol.clone(),
            side: fact.side,
            quantity: fact.quantity,
            limit_price: fact.price,
            status: if accepted {
                OrderStatus::Working
            } else {
                OrderStatus::Rejected
            },
            filled_quantity: 0,
            avg_fill_price: None,
            exchange_order_id: None,
            reason: fact.reason.clone().unwrap_or_default(),
            error_code: None,
            placed_ms: Some(fact.host_ms()),
            updated_ms: fact.host_ms(),
            extras: String::new(),
        };
        let at = self.orders.len();
        self.by_client.insert(fact.client_order_id.clone(), at);
        self.by_broker.insert(fact.broker_order_id.clone(), at);
        let (turnover, frozen_cash) = (Decimal::ZERO, Decimal::ZERO);
        self.orders.push(Order {
            row,
            accepted_ms: fact.host_ms(),
            session_day: day_of(fact.ts),
            placed: fact.ts,
            at_once: fact.at_once,
            rests_at: fact.rests_at,
            last_price: None,
            silent: false,
            turnover,
            frozen_cash,
        });
        if accepted {
            self.open.insert(at);
            self.freeze(at, fact.ts);
        }
        Ok(at)
    }

    fn fill(&mut self, fact: &Fact) -> Result<usize, String> {
        let at = self.open_of(fact)?;
        let price = fact.price.ok_or("a fill without a price")?;
        let trade_id = fact.fill_id.clone().ok_or("a fill without a fill_id")?;
        let commission = fact.commission.unwrap_or_default();
        let cost = commission + fact.stamp_tax.unwrap_or_default() + fact.transfer_fee.unwrap_or_default();
        if fact.quantity > self.orders[at].remaining() {
            return Err(format!("{} is filled beyond its quantity", fact.broker_order_id));
        }
        let turnover = price * Decimal::from(fact.quantity);
        self.release(at);
        let holding = self.holdings.entry(fact.symbol.clone()).or_default();
        match fact.side {
            Side::Buy => {
                holding.quantity += fact.quantity;
                holding.bought_today += if fact.same_day { 0 } else { fact.quantity };
                holding.cost += turnover;
                self.cash -= turnover + cost;
            }
            Side::Sell => {
                let left = holding.quantity.checked_sub(fact.quantity).ok_or_else(|| {
                    format!(
                        "it sells {} of {}, and {} are held",
                        fact.quantity, fact.symbol, holding.quantity
                    )
                })?;
                holding.cost = holding.cost * Decimal::from(left) / Decimal::from(holding.quantity);
                holding.quantity = left;
                holding.sold_today = true;
                self.cash += turnover - cost;
            }
        }
        self.prices.entry(fact.symbol.clone()).or_insert(price);
        let order = &mut self.orders[at];
        order.turnover += turnover;
        order.last_price = Some(price);
        order.row.filled_quantity += fact.quantity;
        order.row.updated_ms = fact.host_ms();
        if order.remaining() == 0 {
            order.row.status = OrderStatus::Filled;
            self.open.remove(&at);
        } else {
            order.row.status = OrderStatus::PartiallyFilled;
            self.freeze(at, fact.ts);
        }
        self.trades.push(TradeRow {
            trade_id,
            client_order_id: Some(fact.client_order_id.clone()),
            broker_order_id: fact.broker_order_id.clone(),
            symbol: fact.symbol.clone(),
            side: fact.side,
            quantity: fact.quantity,
            price,
            commission: Some(commission),
            stamp_tax: fact.stamp_tax,
            transfer_fee: fact.transfer_fee,
            traded_ms: fact.host_ms(),
            extras: String::new(),
        });
        Ok(at)
    }

    fn cancel(&mut self, fact: &Fact) -> Result<usize, String> {
        let at = self.open_of(fact)?;
        self.release(at);
        self.open.remove(&at);
        let row = &mut self.orders[at].row;
        row.updated_ms = fact.host_ms();
        if let Some(reason) = &fact.reason {
            row.reason.clone_from(reason);
        }
        row.status = if row.filled_quantity == 0 {
            OrderStatus::Cancelled
        } else {
            OrderStatus::PartiallyCancelled
        };
        Ok(at)
    }

    fn open_of(&self, fact: &Fact) -> Result<usize, String> {
        let at = self.by_broker.get(&fact.broker_order_id).copied();
        at.filter(|at| self.open.contains(at))
            .ok_or_else(|| format!("{} is no open order of that day", fact.broker_order_id))
    }

    /// Binds what the rest of an order may need: cash for a buy, shares for a sale.
    fn freeze(&mut self, at: usize, ts: i64) {
        let order = &self.orders[at];
        let remaining = order.remaining();
        match order.row.side {
            Side::Sell => {
                self.holdings.entry(order.row.symbol.clone()).or_default().frozen += remaining;
            }
            Side::Buy => {
                let last = || self.prices.get(&order.row.symbol).copied();
                let price = order.row.limit_price.or_else(last).unwrap_or_default();
                let rest = price * Decimal::from(remaining);
                let of = |turnover| self.fees(&order.row.symbol, Side::Buy, turnover, ts).total();
                let bound = rest + of(order.turnover + rest) - of(order.turnover);
                self.orders[at].frozen_cash = bound;
                self.frozen_cash += bound;
            }
        }
    }

    fn release(&mut self, at: usize) {
        let order = &mut self.orders[at];
        match order.row.side {
            Side::Sell => {
                if let Some(holding) = self.holdings.get_mut(&order.row.symbol) {
                    holding.frozen = holding.frozen.saturating_sub(order.remaining());
                }
            }
            Side::Buy => self.frozen_cash -= std::mem::take(&mut order.frozen_cash),
        }
    }

    /// Today's orders that were accepted no later than `until_ms`.
    pub(crate) fn orders_until(&self, until_ms: i64) -> Vec<OrderRow> {
        let today = &self.orders[self.first_order_today..];
        today
            .iter()
            .filter(|o| o.accepted_ms <= until_ms)
            .map(|o| o.row.clone())
            .collect()
    }

    /// Today's trades that were made no later than `until_ms`.
    pub(crate) fn trades_until(&self, until_ms: i64) -> Vec<TradeRow> {
        let today = &self.trades[self.first_trade_today..];
        today
            .iter()
            .filter(|t| t.traded_ms <= until_ms)
            .cloned()
            .collect()
    }

    /// Orders and trades of the host's day, which is not the session's.
    pub(crate) fn of_host_day(&self, now_ms: i64, until_ms: i64) -> (Vec<OrderRow>, Vec<TradeRow>) {
        let today = day_of(now_ms);
        let orders = self.orders.iter().filter(|order| {
            order.accepted_ms <= until_ms
                && (day_of(order.accepted_ms) == today || day_of(order.row.updated_ms) == today)
        });
        let trades = self
            .trades
            .iter()
            .filter(|trade| trade.traded_ms <= until_ms && day_of(trade.traded_ms) == today);
        (
            orders.map(|order| order.row.clone()).collect(),
            trades.cloned().collect(),
        )
    }

    pub(crate) fn last_trade(&self) -> Option<&TradeRow> {
        self.trades.last()
    }

    pub(crate) fn positions(&self) -> Vec<PositionRow> {
        let shown = self
            .holdings
            .iter()
            .filter(|(_, h)| h.quantity > 0 || h.sold_today);
        shown
            .map(|(symbol, h)| {
                let last = self.prices.get(symbol).copied();
                let avg_cost = h.cost.checked_div(Decimal::from(h.quantity));
                PositionRow {
                    symbol: symbol.clone(),
                    name: h.name.clone(),
                    quantity: h.quantity,
                    available_qty: h.available(),
                    frozen_qty: h.frozen,
                    avg_cost: avg_cost.unwrap_or_default().normalize(),
                    last_price: last,
                    previous_close: h.previous_close,
                    market_value: last.map(|p| p * Decimal::from(h.quantity)),
                    ..PositionRow::default()
                }
            })
            .collect()
    }

    pub(crate) fn account(&self, account_id: &str) -> AccountRow {
        let market_value = self.positions().iter().filter_map(|p| p.market_value).sum();
        AccountRow {
            account_id: account_id.to_owned(),
            total_asset: self.cash + market_value,
            cash: self.cash,
            available_cash: self.cash - self.frozen_cash,
            frozen_cash: self.frozen_cash,
            market_value,
            ..AccountRow::default()
        }
    }
}
