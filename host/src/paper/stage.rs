//! The core and the exchange, face to face, and the time between them.

use std::collections::{BTreeMap, VecDeque};

use qt_core::{
    BookFact, BrokerFill, BrokerOrder, BrokerOrderId, BrokerOrderStatus, ClientOrderId, Effect, Event,
    FillId, Holding, NewOrder, OrderState, Signal, SignalId, Trader, UtcMillis,
};
use qt_exchange::{Exchange, Fact, Kind, Moment, Placed, Quote, Ticket, from_e4, time, to_e4};
use qt_market::{Phase, Price, Symbol};
use rust_decimal::Decimal;
use serde_json::json;

use super::report::Tally;
use super::{Curve, PaperError, Play, Played};

const MINUTE_MS: i64 = 60_000;
/// Half past three and a little: nothing is traded any more on a day.
const DAY_ENDS: i64 = (15 * 60 + 35) * 60_000;

pub(super) struct Stage {
    trader: Trader,
    exchange: Exchange,
    signals: VecDeque<Signal>,
    now: Moment,
    /// The moment up to which quotes are complete.
    settled: Moment,
    ledger: Vec<String>,
    tally: Tally,
    curve: Curve,
    /// When the run began.
    begins: Moment,
    cash_before: Decimal,
    /// Shares that were there at the start, and what they were worth at the first price that was seen of them.
    held_before: BTreeMap<Symbol, i64>,
    worth_before: BTreeMap<Symbol, Decimal>,
    /// Symbols that signals name, so that the gates know their prices before they are held.
    watched: BTreeMap<Symbol, ()>,
    /// Signals that wait, and for what, so that it is said once.
    waiting: BTreeMap<SignalId, Option<String>>,
}

impl Stage {
    pub(super) fn new(play: Play, first: Moment) -> Result<Self, PaperError> {
        let exchange = Exchange::new(play.market, play.flow, play.account, play.dividends);
        let begins = play
            .signals
            .first()
            .and_then(|signal| signal.created_at)
            .map_or(first, |at| at.0.min(first));
        let mut stage = Self {
            trader: Trader::new(),
            cash_before: exchange.account().cash(),
            held_before: exchange
                .account()
                .holdings()
                .map(|(symbol, held)| (*symbol, held.total))
                .collect(),
            worth_before: BTreeMap::new(),
            exchange,
            signals: play.signals.into(),
            now: begins,
            begins,
            settled: Moment::MIN,
            ledger: Vec::new(),
            tally: Tally::default(),
            curve: Curve::default(),
            watched: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        stage.tally.wished(stage.signals.iter());
        let compared = Event::Reconciled {
            asked_at: UtcMillis(begins),
            absent: Vec::new(),
            alike: Vec::new(),
            foreign: 0,
        };
        let up = Event::Connection {
            up: true,
            reason: String::new(),
        };
        let started = Event::HostStarted {
            settings: play.settings,
        };
        for event in [started, up, compared] {
            stage.handle(event)?;
        }
        Ok(stage)
    }

    pub(super) const fn fills(&self) -> usize {
        self.tally.fills()
    }

    /// A quote comes: first what was wished before it, then what it does.
    pub(super) fn quote(&mut self, quote: &Quote) -> Result<(), PaperError> {
        if quote.at > self.settled {
            self.settle()?;
            self.take_signals(quote.at)?;
            self.go_to(quote.at)?;
            self.settled = quote.at;
        }
        // What was held at the start is worth what the first quote of it says: the day before, where that tells.
        if let Some(held) = self.held_before.remove(&quote.symbol) {
            let price = from_e4(quote.previous_close.unwrap_or_else(|| quote.what.first()));
            let worth = price.saturating_mul(Decimal::from(held));
            self.worth_before.insert(quote.symbol, worth);
            // Until now the curve knew it at its cost.
            let mut holdings = self.exchange.account().holdings();
            let cost = holdings.find_map(|(symbol, held)| (*symbol == quote.symbol).then_some(held.cost));
            self.curve.revalue(worth - cost.unwrap_or(worth));
        }
        self.exchange.quote(quote);
        self.hear()
    }

    /// What the account was worth at the start: cash, and the shares at their first prices, at cost where none came.
    fn started_with(&self) -> Decimal {
        let priced: Decimal = self.worth_before.values().sum();
        let holdings = self.exchange.account().holdings();
        let unseen: Decimal = holdings
            .filter(|(symbol, _)| self.held_before.contains_key(symbol))
            .map(|(_, held)| held.cost)
            .sum();
        self.cash_before.saturating_add(priced).saturating_add(unseen)
    }

    /// All quotes of a moment are in: the core looks at what time has brought, and what the account is worth is kept.
    fn settle(&mut self) -> Result<(), PaperError> {
        if self.settled == Moment::MIN {
            return Ok(());
        }
        self.tick()?;
        if self.curve.is_empty() {
            // What is lost before the first moment's end is lost too.
            self.curve.add(UtcMillis(self.begins), self.started_with());
        }
        self.curve.add(UtcMillis(self.now), self.exchange.total_asset());
        Ok(())
    }

    fn tick(&mut self) -> Result<(), PaperError> {
        if self.trader.live_count() > 0 {
            self.show_book()?;
        }
        if self.trader.is_due(UtcMillis(self.now)) {
            self.handle(Event::Tick)?;
        }
        Ok(())
    }

    /// Signals that were made before `until` come to the core, each batch at its own time.
    fn take_signals(&mut self, until: Moment) -> Result<(), PaperError> {
        loop {
            let made = |signal: &Signal| signal.created_at.unwrap_or_default().0;
            let Some(at) = self.signals.front().map(made).filter(|at| *at < until) else {
                return Ok(());
            };
            self.go_to(at)?;
            let mut taken = Vec::new();
            while let Some(signal) = self.signals.pop_front_if(|signal| made(signal) == at) {
                self.watched.insert(signal.symbol, ());
                let price = self.exchange.venue().last(&signal.symbol).map(from_e4);
                self.tally.arrived(&signal, price);
                taken.push(signal);
            }
            self.show_book()?;
            let names: Vec<SignalId> = taken.iter().map(|signal| signal.id.clone()).collect();
            self.handle(Event::Signals {
                taken,
                invalid: Vec::new(),
            })?;
            names.iter().for_each(|name| self.note(name));
        }
    }

    /// Time passes. A day ends on that day, and what waited for the next one's opening auction goes into it.
    fn go_to(&mut self, at: Moment) -> Result<(), PaperError> {
        let (from, to) = (time::date_of(self.now), time::date_of(at));
        if from != to {
            let ends = time::moment(from, DAY_ENDS);
            if ends > self.now {
                self.pass(ends)?;
            }
            self.keep_states();
            // What the day ended with is what the next one begins with.
            self.show_book()?;
            if let Some(opens) = self.opening(to).filter(|opens| *opens < at) {
                self.pass(opens)?;
            }
        }
        self.pass(at)
    }

    /// Time passes; where quotes are far apart, it still does minute by minute for orders that wait for their time.
    fn pass(&mut self, at: Moment) -> Result<(), PaperError> {
        while self.trader.live_count() > 0 && at.saturating_sub(self.now) > MINUTE_MS && at != Moment::MAX {
            self.step(self.now + MINUTE_MS)?;
        }
        self.step(at)
    }

    fn step(&mut self, at: Moment) -> Result<(), PaperError> {
        self.now = self.now.max(at);
        self.exchange.advance(self.now);
        self.hear()?;
        self.tick()
    }

    /// When the opening auction of a day begins for what is watched.
    fn opening(&self, date: jiff::civil::Date) -> Option<Moment> {
        let market = self.exchange.venue().market();
        let symbol = self.watched.keys().next()?;
        let first = market
            .windows(symbol, date)
            .iter()
            .find(|window| window.phase == Phase::OpeningAuction)?;
        Some(time::moment(date, first.from))
    }

    fn show_book(&mut self) -> Result<(), PaperError> {
        let book = self.book();
        if self.trader.wants_book(&book) {
            self.handle(Event::BookSeen(Box::new(book)))?;
        }
        Ok(())
    }

    fn book(&self) -> BookFact {
        let (venue, account) = (self.exchange.venue(), self.exchange.account());
        let holding = |symbol: &Symbol, total, sellable, frozen| Holding {
            symbol: *symbol,
            total,
            sellable,
            frozen,
            last_price: venue.last(symbol).map(from_e4),
            previous_close: venue.previous_close(symbol).map(from_e4),
            special_treatment: false,
            trading_day: None,
        };
        let mut holdings: Vec<Holding> = account
            .holdings()
            .map(|(symbol, held)| holding(symbol, held.total, held.sellable(), held.frozen))
            .collect();
        let held: Vec<Symbol> = holdings.iter().map(|holding| holding.symbol).collect();
        let watched = self
            .watched
            .keys()
            .filter(|symbol| held.binary_search(symbol).is_err());
        holdings.extend(watched.map(|symbol| holding(symbol, 0, 0, 0)));
        BookFact {
            asked_at: UtcMillis(self.now),
            total_asset: self.exchange.total_asset(),
            available_cash: account.available_cash(),
            day_pnl: None,
            holdings,
        }
    }

    /// The core takes an event, and what it asks for is done, until nothing more follows.
    fn handle(&mut self, event: Event) -> Result<(), PaperError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let effects = self
                .trader
                .handle(UtcMillis(self.now), &event)
                .map_err(|source| PaperError::Core {
                    at: time::show(self.now),
                    source,
                })?;
            for effect in effects {
                self.carry_out(effect, &mut events);
            }
        }
        self.look_at_waiting();
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Submit(order) => self.submit(&order, events),
            Effect::Cancel { id, .. } => {
                let problem = self.exchange.cancel(self.now, id.as_str()).err();
                events.push_back(Event::CancelAnswered {
                    id,
                    problem: problem.map(|rejection| rejection.to_string()),
                });
                self.collect(events);
            }
            Effect::Ask => events.push_back(Event::Reconciled {
                asked_at: UtcMillis(self.now),
                absent: Vec::new(),
                alike: Vec::new(),
                foreign: 0,
            }),
            Effect::Report(_) | Effect::Note(_) => {}
            Effect::Alarm(alarm) => {
                let line = json!({ "ts": self.now, "time": time::show(self.now), "event": "alarm", "code": alarm.code, "reason": alarm.text });
                self.ledger.push(line.to_string());
            }
        }
    }

    fn submit(&mut self, order: &NewOrder, events: &mut VecDeque<Event>) {
        if let Some(known) = self.trader.order(order.id) {
            self.tally.sent(order.id, known.signal.id.clone());
        }
        let kind = match order.limit.map(to_e4) {
            Some(Some(limit)) => Kind::Limit(limit),
            None => Kind::BestFiveThenCancel,
            Some(None) => {
                let reason = "[PRICE_TICK] 委托价格错误 (the limit has more than four decimals)".to_owned();
                events.push_back(Event::Rejected { id: order.id, reason });
                return;
            }
        };
        let ticket = Ticket {
            symbol: order.symbol,
            side: order.side,
            quantity: order.size,
            kind,
        };
        let placed = self.exchange.submit(self.now, order.id.as_str(), &ticket);
        if let Placed::Rejected(rejection) = placed {
            events.push_back(Event::Rejected {
                id: order.id,
                reason: rejection.to_string(),
            });
        }
        self.collect(events);
    }

    /// What happened at the exchange while nobody asked comes to the core.
    fn hear(&mut self) -> Result<(), PaperError> {
        let mut events = VecDeque::new();
        self.collect(&mut events);
        while let Some(event) = events.pop_front() {
            self.handle(event)?;
        }
        Ok(())
    }

    /// Facts of the exchange become lines of the ledger, figures, and events for the core.
    fn collect(&mut self, events: &mut VecDeque<Event>) {
        for fact in self.exchange.take_facts() {
            self.ledger.push(fact.line());
            self.tally.book(&fact);
            let Ok(id) = fact.client_order_id.parse::<ClientOrderId>() else {
                continue;
            };
            if let Some(event) = event_of(&fact, id) {
                events.push_back(event);
            }
        }
    }

    /// A signal that was taken and not sent: what the gates said of it.
    fn note(&mut self, name: &SignalId) {
        let Some(order) = self.trader.order_of_signal(name) else {
            return;
        };
        if !matches!(order.state, OrderState::Denied | OrderState::Deferred) {
            return;
        }
        if self.waiting.get(name) == Some(&order.code) {
            return;
        }
        let word = if order.state == OrderState::Denied {
            "denied"
        } else {
            "deferred"
        };
        let line = json!({
            "ts": self.now, "time": time::show(self.now), "event": word, "client_order_id": order.id.to_string(), "signal": name.0,
            "symbol": order.signal.symbol.to_string(), "side": order.signal.side.as_str(), "quantity": order.signal.size,
            "code": order.code, "reason": order.reason,
        });
        self.ledger.push(line.to_string());
        if order.state == OrderState::Denied {
            self.waiting.remove(name);
        } else {
            self.waiting.insert(name.clone(), order.code.clone());
        }
    }

    /// Those that waited may have been denied since.
    fn look_at_waiting(&mut self) {
        let waiting: Vec<SignalId> = self.waiting.keys().cloned().collect();
        for name in &waiting {
            let state = self.trader.order_of_signal(name).map(|order| order.state);
            if state.is_none_or(|state| !matches!(state, OrderState::Denied | OrderState::Deferred)) {
                self.waiting.remove(name);
            } else {
                self.note(name);
            }
        }
    }

    /// What became of the day's signals, before the core forgets those that ended.
    fn keep_states(&mut self) {
        for order in self.trader.orders() {
            self.tally.became(&order);
        }
    }

    /// The quotes are at their end: what was wished later still comes, and the last day ends.
    pub(super) fn end(mut self, quotes: u64) -> Result<Played, PaperError> {
        self.settle()?;
        self.take_signals(Moment::MAX)?;
        let date = time::date_of(self.now);
        self.pass(self.now.max(time::moment(date, DAY_ENDS)))?;
        self.curve.add(UtcMillis(self.now), self.exchange.total_asset());
        self.keep_states();
        let price = |symbol: &Symbol| -> Option<Price> { self.exchange.venue().last(symbol).map(from_e4) };
        let worth = (self.started_with(), self.exchange.total_asset());
        let report = self.tally.report(
            self.curve,
            worth,
            quotes,
            (self.exchange.account(), &self.worth_before),
            price,
        );
        let mut ledger = self.ledger.join("\n");
        if !ledger.is_empty() {
            ledger.push('\n');
        }
        Ok(Played { report, ledger })
    }
}

fn event_of(fact: &Fact, id: ClientOrderId) -> Option<Event> {
    let broker_order_id = BrokerOrderId(fact.order?.to_string());
    let side = fact.side?;
    match fact.event {
        qt_exchange::Event::Accepted => Some(Event::Accepted { id, broker_order_id }),
        qt_exchange::Event::Fill => Some(Event::FillSeen(BrokerFill {
            fill_id: FillId(fact.fill?.to_string()),
            id: Some(id),
            broker_order_id,
            symbol: fact.symbol,
            side,
            size: fact.quantity,
            price: fact.price?,
            commission: fact
                .fees
                .map(|fees| fees.commission.saturating_add(fees.exchange_fee)),
            stamp_tax: fact.fees.map(|fees| fees.stamp_tax),
            transfer_fee: fact.fees.map(|fees| fees.transfer_fee),
            at: UtcMillis(fact.ts),
        })),
        qt_exchange::Event::Ended => Some(Event::OrderSeen(BrokerOrder {
            id: Some(id),
            broker_order_id,
            symbol: fact.symbol,
            side,
            size: fact.ordered,
            status: BrokerOrderStatus::Cancelled,
            filled: fact.ordered - fact.quantity,
            reason: Some(fact.reason.clone()),
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use qt_core::Settings;
    use qt_exchange::{Account, Bar, Happened, Liquidity, YUAN};
    use qt_market::{Market, parse_time};

    use super::*;

    /// What the first bar takes from what was held at the start is a drawdown; that a symbol is first quoted later is none.
    #[test]
    fn the_largest_drawdown_counts_from_what_the_run_started_with() {
        let at = |clock| time::moment(jiff::civil::date(2026, 11, 24), parse_time(clock).unwrap());
        let bar = |clock, symbol: &str, yuan: i64, before: i64| {
            let price = yuan * YUAN;
            Quote {
                at: at(clock),
                symbol: symbol.parse().unwrap(),
                what: Happened::Bar(Bar {
                    open: price,
                    high: price,
                    low: price,
                    close: price,
                    volume: 1_000,
                }),
                previous_close: Some(before * YUAN),
            }
        };
        let held = [("600519.SH", 100), ("000858.SZ", 50)]
            .map(|(symbol, cost): (&str, i64)| (symbol.parse().unwrap(), 1_000, cost.into()));
        let play = Play {
            settings: Settings::default(),
            market: Arc::new(Market::builtin().clone()),
            flow: Liquidity::default(),
            account: Account::new(Decimal::ZERO, held),
            dividends: Vec::new(),
            signals: Vec::new(),
        };
        let mut stage = Stage::new(play, at("09:31")).unwrap();
        for quote in [
            bar("09:31", "600519.SH", 90, 100),
            bar("09:32", "600519.SH", 95, 100),
            // It was bought at 50, and closed at 20 the day before.
            bar("09:33", "000858.SZ", 20, 20),
        ] {
            stage.quote(&quote).unwrap();
        }
        let report = stage.end(3).unwrap().report;
        assert_eq!(report.start, Decimal::from(120_000));
        assert_eq!(report.end, Decimal::from(115_000));
        let first = report.samples.first().unwrap();
        assert_eq!(
            (first.total_asset, first.drawdown_pct),
            (report.start, Decimal::ZERO)
        );
        // 10,000 of 120,000.
        assert_eq!(report.max_drawdown_pct, "8.333333".parse().unwrap());
        assert_eq!(report.max_drawdown_at, Some(UtcMillis(at("09:31"))));
    }
}
