//! A desk to tell stories at: a core, a clock that is moved by hand, and a broker's books.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its own part of the desk, and a test may panic"
)]

pub mod moves;

use std::borrow::Cow;

use qt_core::{
    BrokerFill, BrokerOrder, BrokerOrderStatus, ClientOrderId, Effect, Event, Gates, Order, OrderState,
    Report, Settings, Signal, Snapshot, Trader, UtcMillis, reconcile,
};
use qt_market::{Shares, Side};

pub const SECOND: i64 = 1_000;
/// 2026-11-24 10:00 in Shanghai.
pub const MORNING: UtcMillis = UtcMillis(1_795_485_600_000);

pub struct Desk {
    pub trader: Trader,
    pub now: UtcMillis,
    pub settings: Settings,
    pub reports: Vec<Report>,
    pub alarms: Vec<&'static str>,
    pub books: Snapshot,
    pub journal: Vec<(UtcMillis, Event)>,
}

pub fn buy(name: &str, size: Shares) -> Signal {
    Signal {
        id: name.into(),
        symbol: "000858.SZ".parse().unwrap(),
        side: Side::Buy,
        size,
        price: Some("10.01".parse().unwrap()),
        retry_count: 0,
        strategy: None,
        strategy_name: None,
        created_at: None,
        securities_account_id: None,
        account_id: None,
        broker: None,
        activate_after: None,
        valid_until: None,
        execution_priority: 1000,
        reference_price: None,
        max_slippage_bps: None,
        price_floor: None,
        price_ceiling: None,
        effective_limit_price: None,
        plan_id: None,
    }
}

pub fn sell(name: &str, size: Shares) -> Signal {
    Signal {
        side: Side::Sell,
        ..buy(name, size)
    }
}

impl Desk {
    /// A desk that is connected and has compared the books.
    pub fn open() -> Self {
        Self::with(Gates::default())
    }

    /// The same with gates that are set so.
    pub fn with(gates: Gates) -> Self {
        let settings = Settings {
            account_key: "test".into(),
            gates: gates.into(),
            ..Settings::default()
        };
        let mut desk = Self {
            trader: Trader::new(),
            now: MORNING,
            settings,
            reports: Vec::new(),
            alarms: Vec::new(),
            books: Snapshot::default(),
            journal: Vec::new(),
        };
        desk.restart();
        desk.take(Event::Connection {
            up: true,
            reason: String::new(),
        });
        desk.reconcile();
        desk
    }

    pub fn restart(&mut self) {
        self.take(Event::HostStarted {
            settings: self.settings.clone(),
        });
    }

    pub fn take(&mut self, event: Event) -> Vec<Effect> {
        self.journal.push((self.now, event.clone()));
        let effects = self.trader.handle(self.now, &event).unwrap();
        for effect in &effects {
            match effect {
                Effect::Report(report) => self.reports.push(report.clone()),
                Effect::Alarm(alarm) => self.alarms.push(alarm.code),
                _ => {}
            }
        }
        effects
    }

    /// Shows signals and gives the ids of the orders that were sent.
    pub fn signals(&mut self, taken: Vec<Signal>) -> Vec<ClientOrderId> {
        let effects = self.take(Event::Signals {
            taken,
            invalid: Vec::new(),
        });
        submitted(&effects)
    }

    pub fn order(&self, signal: &str) -> Cow<'_, Order> {
        self.trader
            .order_of_signal(&signal.into())
            .unwrap_or_else(|| panic!("no order for {signal}"))
    }

    pub fn state(&self, signal: &str) -> OrderState {
        self.order(signal).state
    }

    pub fn accept(&mut self, signal: &str, broker: &str) {
        let id = self.order(signal).id;
        self.take(Event::Accepted {
            id,
            broker_order_id: broker.into(),
        });
    }

    pub fn fill(&mut self, signal: &str, broker: &str, trade: &str, size: Shares, price: &str) {
        let order = self.order(signal);
        let fill = BrokerFill {
            fill_id: qt_core::FillId(trade.into()),
            id: Some(order.id),
            broker_order_id: broker.into(),
            symbol: order.signal.symbol,
            side: order.signal.side,
            size,
            price: price.parse().unwrap(),
            commission: None,
            stamp_tax: None,
            transfer_fee: None,
            at: self.now,
        };
        self.take(Event::FillSeen(fill));
    }

    /// The call came back without an answer.
    pub fn lose_answer(&mut self, id: ClientOrderId) {
        self.take(Event::Unanswered {
            id,
            reason: "lost".into(),
            outstanding: false,
        });
    }

    fn row(&self, signal: &str, broker: &str, status: BrokerOrderStatus, filled: Shares) -> BrokerOrder {
        let order = self.order(signal);
        BrokerOrder {
            id: Some(order.id),
            broker_order_id: broker.into(),
            symbol: order.signal.symbol,
            side: order.signal.side,
            size: order.signal.size,
            status,
            filled,
            reason: None,
        }
    }

    /// The broker pushes that an order ended with so much filled.
    pub fn broker_ended(&mut self, signal: &str, broker: &str, filled: Shares) {
        let row = self.row(signal, broker, BrokerOrderStatus::Cancelled, filled);
        self.take(Event::OrderSeen(row));
    }

    /// The broker's books hold an order of ours.
    pub fn broker_has(&mut self, signal: &str, broker: &str) {
        let row = self.row(signal, broker, BrokerOrderStatus::Open, 0);
        self.books.orders.push(row);
    }

    /// The broker's books hold an order like ours that does not carry our id.
    pub fn stranger(&mut self, signal: &str, broker: &str) {
        let row = BrokerOrder {
            id: None,
            ..self.row(signal, broker, BrokerOrderStatus::Open, 0)
        };
        self.books.orders.push(row);
    }

    /// Compares the books and gives the ids of the orders that were sent.
    pub fn reconcile(&mut self) -> Vec<ClientOrderId> {
        self.books.asked_at = self.now;
        let mut sent = Vec::new();
        for event in reconcile::diff(&self.trader, &self.books) {
            sent.extend(submitted(&self.take(event)));
        }
        sent
    }

    /// Lets time pass and gives the number of cancels that left.
    pub fn pass(&mut self, ms: i64) -> usize {
        self.now = self.now.plus_ms(ms);
        if !self.trader.is_due(self.now) {
            return 0;
        }
        let effects = self.take(Event::Tick);
        effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Cancel { .. }))
            .count()
    }
}

pub fn submitted(effects: &[Effect]) -> Vec<ClientOrderId> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Submit(order) => Some(order.id),
            _ => None,
        })
        .collect()
}
