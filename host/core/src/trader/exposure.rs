//! What the account holds, and what our orders may still do to it.
//!
//! The broker's own figures are the base. They already contain the orders that the broker had for a while when it was
//! asked; every other one holds shares or cash here, those of unclear state too, until the broker's figures contain it. A
//! broker may show an order later than it accepted it, so that a moment before the question is not enough: what is held
//! twice for some seconds waits, and what is held by nothing is sold or spent twice.

use std::collections::{BTreeMap, HashMap, VecDeque};

use qt_market::{Market, Price, Shares, Side, Symbol};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::governor::Governor;
use crate::event::{BookFact, Holding};
use crate::ids::{ClientOrderId, SignalId};
use crate::order::{Order, OrderState};
use crate::time::{TradingDate, UtcMillis};

/// No figure of an order that can be real is larger; what is absurd must not make a sum overflow.
const MOST_SHARES: Shares = 1_000_000_000_000;
const MOST_YUAN: Decimal = Decimal::from_parts(2_764_472_320, 232_830, 0, false, 0);

/// A figure that can be added and taken away again without a rest.
fn countable(yuan: Decimal) -> Decimal {
    yuan.clamp(Decimal::ZERO, MOST_YUAN)
        .round_dp_with_strategy(4, rust_decimal::RoundingStrategy::AwayFromZero)
}

/// What an order holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hold {
    symbol: Symbol,
    side: Side,
    strategy: Option<String>,
    /// Since when the broker is known to have it.
    accepted_at: Option<UtcMillis>,
    ended_at: Option<UtcMillis>,
    /// Shares open and filled.
    shares: Shares,
    /// What is filled, and what the open rest comes to, in yuan.
    value: Decimal,
    /// That with its fees.
    cost: Decimal,
    /// What of the value is filled.
    filled: Decimal,
}

impl Hold {
    /// True when the broker's figures of `asked_at` contain it, which may take them `settle_ms`.
    fn is_in(&self, asked_at: UtcMillis, settle_ms: i64) -> bool {
        self.accepted_at
            .is_some_and(|at| asked_at.since_ms(at) > settle_ms)
    }

    /// True when it has ended, and the broker's figures contain all that it came to.
    fn is_over(&self, asked_at: UtcMillis, settle_ms: i64) -> bool {
        self.ended_at.is_some_and(|at| asked_at.since_ms(at) > settle_ms)
    }
}

/// An order that was sent, for the look at duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Sent {
    at: UtcMillis,
    signal: SignalId,
    symbol: Symbol,
    side: Side,
    size: Shares,
}

/// Sales of one plan.
#[derive(Debug, Clone, Default)]
struct Plan {
    /// Those that have not ended.
    open: BTreeMap<ClientOrderId, SignalId>,
    /// Those that never reached the broker and may be tried again.
    lost: BTreeMap<ClientOrderId, SignalId>,
}

/// Sales that a purchase waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanSales {
    /// How many have not ended.
    pub open: usize,
    /// How many never reached the broker and may be tried again.
    pub lost: usize,
}

/// Everything that gates count.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Exposure {
    book: Option<BookFact>,
    holds: BTreeMap<ClientOrderId, Hold>,
    recent: VecDeque<Sent>,
    turnover: Decimal,
    turnover_by_strategy: BTreeMap<String, Decimal>,
    /// All assets when the day began.
    day_began_with: Option<Decimal>,
    /// What today earned, as it was last told.
    day_pnl: Option<Decimal>,
    /// When the broker last told what all is worth, and what it told.
    last_worth: Option<(UtcMillis, Decimal)>,
    /// Since when purchases have been held back by sales of their plan.
    barred: BTreeMap<ClientOrderId, UtcMillis>,
    pub(super) governor: Governor,
    /// What follows is worked out from the above, from the settings or from the orders.
    #[serde(skip)]
    settle_ms: i64,
    #[serde(skip)]
    by_symbol: HashMap<Symbol, Held>,
    #[serde(skip)]
    held_cash: Decimal,
    #[serde(skip)]
    prices: HashMap<Symbol, usize>,
    #[serde(skip)]
    plans: HashMap<String, Plan>,
}

/// What orders of one symbol hold.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    sold: Shares,
    bought_value: Decimal,
}

impl PartialEq for Exposure {
    fn eq(&self, other: &Self) -> bool {
        // What is worked out follows from the rest.
        let all = |of: &Self| (of.turnover, of.day_began_with, of.day_pnl, of.last_worth);
        all(self) == all(other)
            && self.book == other.book
            && self.barred == other.barred
            && self.holds == other.holds
            && self.recent == other.recent
            && self.turnover_by_strategy == other.turnover_by_strategy
            && self.governor == other.governor
    }
}

impl Eq for Exposure {}

impl Exposure {
    /// How late the broker's figures may be, by the settings. Follow it with what works out anew.
    pub(super) const fn settles_in(&mut self, ms: i64) {
        self.settle_ms = ms;
    }

    /// Forgets what was counted: every gate is open.
    pub(super) fn forget(&mut self) {
        *self = Self {
            plans: std::mem::take(&mut self.plans),
            barred: std::mem::take(&mut self.barred),
            ..Self::default()
        };
    }

    /// The broker's figures, once there are any since the start.
    pub(crate) const fn book(&self) -> Option<&BookFact> {
        self.book.as_ref()
    }

    /// What the broker says of one symbol.
    pub(crate) fn holding(&self, symbol: &Symbol) -> Option<&Holding> {
        let place = *self.prices.get(symbol)?;
        self.book.as_ref()?.holdings.get(place)
    }

    /// Shares of `symbol` that sales hold which the broker's figures do not contain.
    pub(crate) fn sold(&self, symbol: &Symbol) -> Shares {
        self.by_symbol.get(symbol).map_or(0, |held| held.sold)
    }

    /// Yuan that purchases hold which the broker's figures do not contain.
    pub(crate) const fn held_cash(&self) -> Decimal {
        self.held_cash
    }

    /// Yuan that open purchases of `symbol`, and filled ones that the broker's figures do not contain, come to.
    pub(crate) fn bought_value(&self, symbol: &Symbol) -> Decimal {
        self.by_symbol
            .get(symbol)
            .map_or(Decimal::ZERO, |held| held.bought_value)
    }

    /// What of [`Self::bought_value`] is filled or has ended, and may be in the broker's figures already: it is counted twice then.
    pub(crate) fn doubtful_value(&self, symbol: &Symbol) -> Decimal {
        let Some(asked_at) = self.book.as_ref().map(|book| book.asked_at) else {
            return Decimal::ZERO;
        };
        let bought = self
            .holds
            .values()
            .filter(|hold| hold.side == Side::Buy && hold.symbol == *symbol);
        let doubtful = bought.map(|hold| match hold.ended_at {
            Some(at) if at < asked_at => hold.value,
            _ => hold.filled,
        });
        doubtful.sum()
    }

    /// Yuan bought and sold today, open orders with it.
    pub(crate) fn turnover(&self, strategy: Option<&str>) -> Decimal {
        match strategy {
            None => self.turnover,
            Some(strategy) => self
                .turnover_by_strategy
                .get(strategy)
                .copied()
                .unwrap_or_default(),
        }
    }

    /// What the day has lost so far, in yuan; below zero for a gain. Where the broker's figures do not tell, all assets are
    /// compared with those at the day's beginning, and money that was paid in or out is in it.
    pub(crate) fn day_loss(&self) -> Option<Decimal> {
        let book = self.book.as_ref()?;
        // Figures that do not tell it once are no reason to count otherwise within a day.
        match self.day_pnl {
            Some(pnl) => Some(-pnl),
            None => Some(self.day_began_with?.saturating_sub(book.total_asset)),
        }
    }

    /// Another signal's order alike that was sent within `window_ms`.
    pub(crate) fn twin(
        &self,
        signal: &crate::Signal,
        window_ms: i64,
        now: UtcMillis,
    ) -> Option<(&SignalId, i64)> {
        let alike = |sent: &&Sent| {
            sent.symbol == signal.symbol
                && sent.side == signal.side
                && sent.size == signal.size
                && sent.signal != signal.id
                && now.since_ms(sent.at) < window_ms
        };
        self.recent
            .iter()
            .rev()
            .find(alike)
            .map(|sent| (&sent.signal, now.since_ms(sent.at)))
    }

    /// True when the broker's figures of now would tell more than those that are known; `price_age_ms` is how long a price is
    /// taken for the present one, where that matters.
    pub(crate) fn wants(&self, book: &BookFact, price_age_ms: Option<i64>) -> bool {
        let Some(known) = &self.book else { return true };
        if book.asked_at < known.asked_at {
            return false;
        }
        let of = |book: &BookFact| (book.total_asset, book.available_cash, book.day_pnl);
        let same = of(known) == of(book) && known.holdings == book.holdings;
        // The same price once more is news where an old one says nothing.
        let ages = price_age_ms.is_some_and(|most| book.asked_at.since_ms(known.asked_at) >= most);
        // One that has ended is still counted until later figures contain it for certain.
        let counts = |hold: &Hold| !hold.is_in(known.asked_at, self.settle_ms) || hold.ended_at.is_some();
        !same || ages || self.holds.values().any(counts)
    }

    pub(super) fn see_book(&mut self, book: &BookFact) {
        if self
            .book
            .as_ref()
            .is_some_and(|known| known.asked_at > book.asked_at)
        {
            return;
        }
        self.day_began_with.get_or_insert(book.total_asset);
        self.last_worth = Some((book.asked_at, book.total_asset));
        self.day_pnl = book.day_pnl.or(self.day_pnl);
        let asked_at = book.asked_at;
        let settle_ms = self.settle_ms;
        self.holds.retain(|_, hold| !hold.is_over(asked_at, settle_ms));
        self.book = Some(book.clone());
        self.rebuild();
    }

    /// A process that starts does not know what happened while none ran.
    pub(super) fn host_started(&mut self, now: UtcMillis) {
        self.governor.calls_ended(now);
        self.forget_book();
    }

    /// What the broker told no longer holds: the day is another one, or it was away meanwhile. What is decided by it waits
    /// until it tells anew.
    pub(super) fn forget_book(&mut self) {
        self.book = None;
        self.rebuild();
    }

    /// A day begins; what all was worth at the end of the last day on which there was trading before is what it begins with.
    pub(super) fn new_day(&mut self, today: TradingDate, market: &Market, close_ms: i64) {
        self.turnover = Decimal::ZERO;
        self.turnover_by_strategy.clear();
        self.recent.clear();
        self.holds.retain(|_, hold| hold.ended_at.is_none());
        self.day_pnl = None;
        let is_last = |at: UtcMillis| {
            let day = at.trading_date();
            let was_over =
                at.since_ms(day.start()) >= close_ms || !market.calendar().is_trading_day(day.civil());
            was_over && market.calendar().next_trading_day(day.civil()) >= today.civil()
        };
        // With a day of trading in between, nobody knows what that day lost: the first figures of today are the base.
        self.day_began_with = self
            .last_worth
            .and_then(|(at, worth)| is_last(at).then_some(worth));
        for plan in self.plans.values_mut() {
            plan.lost.clear();
        }
        self.plans.retain(|_, plan| !plan.open.is_empty());
        self.governor.new_day();
        self.forget_book();
    }

    /// An order left; `window_ms` is how long it is kept for the look at duplicates.
    pub(super) fn sent(&mut self, order: &Order, window_ms: i64, now: UtcMillis) {
        while self
            .recent
            .front()
            .is_some_and(|sent| now.since_ms(sent.at) >= window_ms)
        {
            self.recent.pop_front();
        }
        if window_ms > 0 {
            self.recent.push_back(Sent {
                at: now,
                signal: order.signal.id.clone(),
                symbol: order.signal.symbol,
                side: order.signal.side,
                size: order.signal.size,
            });
        }
    }

    /// Takes in what became of an order. `ended_with` is what was filled of it, in yuan, where it had ended before: such an
    /// order may hold nothing any more, and its fills are counted already. The turnover is that of `today`'s orders.
    pub(super) fn follow(
        &mut self,
        order: &Order,
        ended_with: Option<Decimal>,
        today: TradingDate,
        market: &Market,
    ) {
        let was_sent = order.sent_at.is_some() || order.accepted_at.is_some() || !order.fills.is_empty();
        if !was_sent {
            return;
        }
        let before = self.holds.remove(&order.id);
        if let Some(hold) = &before {
            self.count(hold, false);
        }
        let hold = self.hold_of(order, market);
        let counted = match (before, ended_with) {
            (Some(hold), _) => hold.value,
            (None, Some(amount)) => countable(amount),
            (None, None) => Decimal::ZERO,
        };
        let grown = if order.day() == today {
            hold.value - counted
        } else {
            Decimal::ZERO
        };
        self.turnover = self.turnover.saturating_add(grown).max(Decimal::ZERO);
        if let Some(strategy) = &hold.strategy {
            let sum = self.turnover_by_strategy.entry(strategy.clone()).or_default();
            *sum = sum.saturating_add(grown).max(Decimal::ZERO);
        }
        self.count(&hold, true);
        self.holds.insert(order.id, hold);
    }

    fn hold_of(&self, order: &Order, market: &Market) -> Hold {
        let signal = &order.signal;
        let open = order.open_size();
        let price = self.price_of(&signal.symbol, order.limit, signal.reference_price);
        let rest = price.unwrap_or_default().saturating_mul(Decimal::from(open));
        let value = order.amount().saturating_add(rest);
        let fees = market
            .fees_of_amount(&signal.symbol, signal.side, value, order.day().civil())
            .map_or(Decimal::ZERO, |fees| fees.total());
        Hold {
            symbol: signal.symbol,
            side: signal.side,
            strategy: signal.strategy.clone(),
            accepted_at: order.accepted_at,
            ended_at: order.ended_at.filter(|_| order.state.is_ended()),
            shares: open.saturating_add(order.filled()).min(MOST_SHARES),
            value: countable(value),
            cost: countable(value.saturating_add(fees)),
            filled: countable(order.amount()),
        }
    }

    /// What a share is taken to cost: the limit, else the last price, else the strategy's reference.
    pub(crate) fn price_of(
        &self,
        symbol: &Symbol,
        limit: Option<Price>,
        reference: Option<Price>,
    ) -> Option<Price> {
        limit
            .or_else(|| self.holding(symbol).and_then(|holding| holding.last_price))
            .or(reference)
    }

    fn count(&mut self, hold: &Hold, add: bool) {
        let known = self
            .book
            .as_ref()
            .is_some_and(|book| hold.is_in(book.asked_at, self.settle_ms));
        // The open rest of a purchase is no position yet, whoever knows of it; what the broker's figures contain of a
        // known one is in the position itself, so that it is rather counted twice than not at all.
        let sign = if add { Decimal::ONE } else { Decimal::NEGATIVE_ONE };
        let held = self.by_symbol.entry(hold.symbol).or_default();
        match hold.side {
            Side::Sell if !known => held.sold += if add { hold.shares } else { -hold.shares },
            Side::Sell => {}
            Side::Buy => {
                held.bought_value += sign * hold.value;
                if !known {
                    self.held_cash += sign * hold.cost;
                }
            }
        }
    }

    /// Sales of its plan hold a purchase back; the first moment counts.
    pub(super) fn bar(&mut self, id: ClientOrderId, now: UtcMillis) {
        self.barred.entry(id).or_insert(now);
    }

    /// Nothing holds it back any more.
    pub(super) fn unbar(&mut self, id: ClientOrderId) {
        self.barred.remove(&id);
    }

    /// True where sales of their plans have held purchases back.
    pub(super) fn bars_any(&self) -> bool {
        !self.barred.is_empty()
    }

    /// Since when sales of its plan have held a purchase back.
    pub(super) fn barred_since(&self, id: ClientOrderId) -> Option<UtcMillis> {
        self.barred.get(&id).copied()
    }

    /// The clock was set back: no moment lies behind the present.
    pub(super) fn clock_set_back(&mut self, now: UtcMillis) {
        self.governor.clock_set_back(now);
        for since in self.barred.values_mut() {
            *since = now.min(*since);
        }
    }

    /// Works out anew what is worked out.
    pub(super) fn rebuild(&mut self) {
        self.by_symbol.clear();
        self.held_cash = Decimal::ZERO;
        let holds = std::mem::take(&mut self.holds);
        for hold in holds.values() {
            self.count(hold, true);
        }
        self.holds = holds;
        let holdings = self.book.as_ref().map_or(&[][..], |book| &book.holdings);
        self.prices = holdings
            .iter()
            .enumerate()
            .map(|(place, holding)| (holding.symbol, place))
            .collect();
    }

    /// Keeps the sales of a plan in view. True when one of them ended.
    pub(super) fn follow_plan(&mut self, order: &Order) -> bool {
        let Some(name) = order
            .signal
            .plan_id
            .as_ref()
            .filter(|_| order.signal.side == Side::Sell)
        else {
            return false;
        };
        let plan = self.plans.entry(name.clone()).or_default();
        let signal = order.signal.id.clone();
        if !order.state.is_ended() {
            // Another attempt takes the place of the one that was lost.
            plan.lost.retain(|_, lost| *lost != signal);
            plan.open.insert(order.id, signal);
            return false;
        }
        if order.state == OrderState::NotAccepted {
            plan.lost.insert(order.id, signal);
        } else {
            plan.lost.remove(&order.id);
        }
        let ended = plan.open.remove(&order.id).is_some();
        if plan.open.is_empty() && plan.lost.is_empty() {
            self.plans.remove(name);
        }
        ended
    }

    /// The sales that a purchase of `plan` may have to wait for.
    pub(crate) fn plan_sales(
        &self,
        plan: &str,
        is_latest: impl Fn(&SignalId, ClientOrderId) -> bool,
    ) -> PlanSales {
        self.plans
            .get(plan)
            .map_or_else(PlanSales::default, |plan| PlanSales {
                open: plan.open.len(),
                lost: plan
                    .lost
                    .iter()
                    .filter(|(id, signal)| is_latest(signal, **id))
                    .count(),
            })
    }
}
