//! Moves for the property tests: drawn blindly, and made into events by what stands at the moment.

use proptest::prelude::*;
use qt_core::{
    BookFact, BrokerFill, BrokerOrder, BrokerOrderStatus, ClientOrderId, Event, Gates, Holding,
    InvalidSignal, Limits, Rate, SellBarrier, Settings, Signal, Snapshot, Trader, TradingSessions, UtcMillis,
    reconcile,
};

use super::{buy, sell};

const ACCOUNT: &str = "test";

/// One thing that may happen. Numbers choose among what there is when its turn comes.
#[derive(Debug, Clone)]
pub enum Move {
    Start,
    Signals(Vec<Wish>),
    Invalid(u8, u8),
    Held(u8, u8),
    Accepted(u8, u8),
    Rejected(u8),
    Unanswered(u8, bool),
    NotSent(u8),
    Row(Row),
    Fill(Trade),
    /// A look at the books that earlier rows and trades make up, some of them left out.
    Look(u16, u16),
    /// A comparison made up from nothing.
    Compared(u8, u8, bool),
    Connection(bool),
    CancelWanted(u8),
    CancelAnswered(u8, bool),
    Decided(u8, Option<u8>),
    Halt(bool),
    Reduce,
    /// The broker's figures: cash in thousands, and how many shares can be sold.
    Book(u8, u8),
    Jump,
    Tick,
}

#[derive(Debug, Clone)]
pub struct Wish {
    signal: u8,
    retry: u8,
    sale: bool,
    size: u8,
    early: bool,
    short: bool,
}

impl Wish {
    /// A first try of one lot.
    pub fn of(signal: u8, sale: bool, early: bool) -> Self {
        Self {
            signal,
            retry: 0,
            sale,
            size: 1,
            early,
            short: false,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Row {
    order: u8,
    broker: u8,
    status: u8,
    filled: u8,
    named: bool,
    wrong: bool,
}

#[derive(Debug, Clone)]
pub struct Trade {
    order: u8,
    broker: u8,
    trade: u8,
    size: u8,
    named: bool,
    absurd: bool,
}

/// A run: how much time passes before each move, and the move.
pub fn runs() -> impl Strategy<Value = Vec<(i64, Move)>> {
    let pass = prop_oneof![
        8 => Just(0_i64),
        8 => 1..2_000_i64,
        6 => Just(21_000_i64),
        3 => Just(61_000_i64),
        1 => Just(3_600_000_i64),
        1 => Just(86_400_000_i64),
        1 => Just(-30_000_i64),
    ];
    prop::collection::vec((pass, one_move()), 1..70)
}

fn one_move() -> impl Strategy<Value = Move> {
    let few = 0..4_u8;
    let wish =
        (0..3_u8, 0..3_u8, any::<bool>(), 1..4_u8, 0..8_u8).prop_map(|(signal, retry, sale, size, time)| {
            Wish {
                signal,
                retry,
                sale,
                size,
                early: time == 0,
                short: time == 1,
            }
        });
    let row = (few.clone(), few.clone(), 0..7_u8, 0..4_u8, 0..4_u8, 0..12_u8).prop_map(
        |(order, broker, status, filled, named, wrong)| Row {
            order,
            broker,
            status,
            filled,
            named: named > 0,
            wrong: wrong == 0,
        },
    );
    let trade = (few.clone(), few.clone(), 0..5_u8, 1..4_u8, 0..4_u8, 0..12_u8).prop_map(
        |(order, broker, trade, size, named, absurd)| Trade {
            order,
            broker,
            trade,
            size,
            named: named > 0,
            absurd: absurd == 0,
        },
    );
    prop_oneof![
        2 => Just(Move::Start),
        8 => prop::collection::vec(wish, 1..4).prop_map(Move::Signals),
        1 => (0..4_u8, 0..3_u8).prop_map(|(signal, retry)| Move::Invalid(signal, retry)),
        1 => (0..4_u8, 0..3_u8).prop_map(|(signal, retry)| Move::Held(signal, retry)),
        6 => (few.clone(), few.clone()).prop_map(|(order, broker)| Move::Accepted(order, broker)),
        2 => few.clone().prop_map(Move::Rejected),
        5 => (few.clone(), any::<bool>()).prop_map(|(order, open)| Move::Unanswered(order, open)),
        2 => few.clone().prop_map(Move::NotSent),
        6 => row.prop_map(Move::Row),
        6 => trade.prop_map(Move::Fill),
        9 => (any::<u16>(), 0..3_u16).prop_map(|(mask, all)| Move::Look(if all > 0 { u16::MAX } else { mask }, all)),
        2 => (few.clone(), 0..3_u8, any::<bool>()).prop_map(|(order, ago, twin)| Move::Compared(order, ago, twin)),
        5 => (0..4_u8).prop_map(|up| Move::Connection(up > 0)),
        3 => few.clone().prop_map(Move::CancelWanted),
        1 => (few.clone(), any::<bool>()).prop_map(|(order, good)| Move::CancelAnswered(order, good)),
        3 => (few.clone(), prop::option::of(few.clone())).prop_map(|(order, broker)| Move::Decided(order, broker)),
        1 => any::<bool>().prop_map(Move::Halt),
        1 => Just(Move::Reduce),
        5 => (0..8_u8, 0..9_u8).prop_map(|(cash, sellable)| Move::Book(cash, sellable)),
        1 => Just(Move::Jump),
        5 => Just(Move::Tick),
    ]
}

/// What the moves have made so far.
#[derive(Debug, Default)]
pub struct Stage {
    books: Snapshot,
    /// What each start brings, one after the other.
    gates: Vec<Gates>,
    starts: usize,
}

impl Stage {
    /// A stage whose starts bring these gates, one after the other.
    pub fn with(gates: Vec<Gates>) -> Self {
        Self {
            gates,
            ..Self::default()
        }
    }

    /// The events that a move comes to.
    pub fn events(&mut self, play: &Move, trader: &Trader, now: UtcMillis) -> Vec<Event> {
        let reason = String::from("said so");
        vec![match play {
            Move::Start => Event::HostStarted {
                settings: Settings {
                    account_key: ACCOUNT.into(),
                    max_in_flight: 2,
                    gates: self.next_gates().into(),
                    ..Settings::default()
                },
            },
            Move::Signals(wishes) => Event::Signals {
                taken: wishes.iter().map(|wish| wish.signal(now)).collect(),
                invalid: Vec::new(),
            },
            Move::Invalid(signal, retry) => {
                let id = Some(format!("S{signal}").as_str().into());
                let invalid = vec![InvalidSignal {
                    id,
                    reason,
                    retry_count: u32::from(*retry),
                }];
                Event::Signals {
                    taken: Vec::new(),
                    invalid,
                }
            }
            Move::Held(signal, retry) => {
                let mut held = buy(&format!("S{signal}"), 200);
                held.retry_count = u32::from(*retry);
                held.created_at = Some(now);
                Event::HeldAsSubmitted { signals: vec![held] }
            }
            Move::Accepted(order, broker) => Event::Accepted {
                id: pick(trader, *order),
                broker_order_id: name(*broker),
            },
            Move::Rejected(order) => Event::Rejected {
                id: pick(trader, *order),
                reason,
            },
            Move::Unanswered(order, outstanding) => Event::Unanswered {
                id: pick(trader, *order),
                reason,
                outstanding: *outstanding,
            },
            Move::NotSent(order) => Event::NotSent {
                id: pick(trader, *order),
                reason,
            },
            Move::Row(row) => Event::OrderSeen(self.row(row, trader)),
            Move::Fill(trade) => Event::FillSeen(self.trade(trade, trader, now)),
            Move::Look(mask, _) => return reconcile::diff(trader, &self.look(*mask, now)),
            Move::Compared(order, ago, twin) => {
                let id = pick(trader, *order);
                let alike = if *twin {
                    vec![(id, name(*order))]
                } else {
                    Vec::new()
                };
                let asked_at = now.plus_ms(-i64::from(*ago) * 20_000);
                Event::Reconciled {
                    asked_at,
                    absent: vec![id],
                    alike,
                    foreign: u64::from(*ago),
                }
            }
            Move::Connection(up) => Event::Connection { up: *up, reason },
            Move::CancelWanted(order) => Event::CancelWanted {
                id: pick(trader, *order),
                by: reason,
            },
            Move::CancelAnswered(order, good) => Event::CancelAnswered {
                id: pick(trader, *order),
                problem: (!good).then_some(reason),
            },
            Move::Decided(order, broker) => Event::Decided {
                id: pick(trader, *order),
                accepted_as: broker.map(name),
            },
            Move::Halt(true) => Event::Halted { reason },
            Move::Halt(false) => Event::HaltLifted,
            Move::Reduce => Event::Reducing { reason },
            Move::Book(cash, sellable) => Event::BookSeen(Box::new(book(*cash, *sellable, now))),
            Move::Jump => Event::ClockJumped,
            Move::Tick => Event::Tick,
        }]
    }

    fn next_gates(&mut self) -> Gates {
        let gates = self.gates.get(self.starts % self.gates.len().max(1)).cloned();
        self.starts += 1;
        gates.unwrap_or_default()
    }

    fn row(&mut self, row: &Row, trader: &Trader) -> BrokerOrder {
        let id = pick(trader, row.order);
        let model = trader
            .order(id)
            .map_or_else(|| buy("S0", 100), |order| (*order.signal).clone());
        let made = BrokerOrder {
            id: row.named.then_some(id),
            broker_order_id: of(trader, id, row.broker),
            symbol: model.symbol,
            side: model.side,
            size: if row.wrong { 7 } else { model.size },
            status: match row.status {
                0..=2 => BrokerOrderStatus::Open,
                3 => BrokerOrderStatus::Filled,
                4 => BrokerOrderStatus::Cancelled,
                5 => BrokerOrderStatus::Rejected,
                _ => BrokerOrderStatus::Unclear,
            },
            filled: i64::from(row.filled) * 100,
            reason: None,
        };
        self.books
            .orders
            .retain(|other| other.broker_order_id != made.broker_order_id);
        self.books.orders.push(made.clone());
        made
    }

    fn trade(&mut self, trade: &Trade, trader: &Trader, now: UtcMillis) -> BrokerFill {
        let id = pick(trader, trade.order);
        let model = trader
            .order(id)
            .map_or_else(|| buy("S0", 100), |order| (*order.signal).clone());
        let absurd = rust_decimal::Decimal::MAX;
        let made = BrokerFill {
            fill_id: format!("T{}", trade.trade).as_str().into(),
            id: trade.named.then_some(id),
            broker_order_id: of(trader, id, trade.broker),
            symbol: model.symbol,
            side: model.side,
            size: if trade.absurd {
                i64::MAX
            } else {
                i64::from(trade.size) * 100
            },
            price: if trade.absurd {
                absurd
            } else {
                rust_decimal::Decimal::TEN
            },
            commission: trade.absurd.then_some(absurd),
            stamp_tax: None,
            transfer_fee: None,
            at: now,
        };
        self.books.fills.push(made.clone());
        made
    }

    fn look(&self, mask: u16, now: UtcMillis) -> Snapshot {
        let shown = |index: usize| mask & (1 << (index % 16)) != 0;
        let orders = self
            .books
            .orders
            .iter()
            .enumerate()
            .filter(|(index, _)| shown(*index));
        let fills = self
            .books
            .fills
            .iter()
            .enumerate()
            .filter(|(index, _)| shown(*index + 5));
        Snapshot {
            asked_at: now,
            orders: orders.map(|(_, row)| row.clone()).collect(),
            fills: fills.map(|(_, fill)| fill.clone()).collect(),
        }
    }
}

fn book(cash: u8, sellable: u8, now: UtcMillis) -> BookFact {
    let holding = Holding {
        symbol: "000858.SZ".parse().unwrap(),
        total: 800,
        sellable: i64::from(sellable) * 100,
        frozen: 0,
        last_price: Some(rust_decimal::Decimal::TEN),
        previous_close: Some(rust_decimal::Decimal::TEN),
        special_treatment: false,
        trading_day: None,
    };
    BookFact {
        asked_at: now.plus_ms(-i64::from(sellable) * 100),
        total_asset: rust_decimal::Decimal::from(u32::from(cash) * 1000 + 8000),
        available_cash: rust_decimal::Decimal::from(u32::from(cash) * 1000),
        day_pnl: None,
        holdings: vec![holding],
    }
}

/// Gates that all do something to what the moves wish.
pub fn gates() -> Gates {
    let limits = |order: u32, day: u32| Limits {
        max_order_value: Some(order.into()),
        max_turnover: Some(day.into()),
    };
    Gates {
        sessions: TradingSessions::CnA,
        market_rules: true,
        cage: true,
        quote_max_age_ms: 5_000,
        books: true,
        book_settle_ms: 40,
        sell_barrier: SellBarrier::Hard,
        sell_barrier_timeout_ms: 5_000,
        duplicate_window_ms: 500,
        max_reference_deviation: Some("0.1".parse().unwrap()),
        account: limits(2_900, 9_000),
        max_position_share: Some("0.9".parse().unwrap()),
        max_day_loss: Some(6_000.into()),
        strategies: [("slow".to_owned(), limits(1_500, 3_000))].into(),
        rate: Some(Rate {
            per_second: 3,
            cancel_reserve_per_second: 1,
            per_day: 12,
            cancel_reserve_per_day: 4,
        }),
        ..Gates::default()
    }
}

impl Wish {
    fn signal(&self, now: UtcMillis) -> Signal {
        let name = format!("S{}", self.signal);
        let size = i64::from(self.size) * 100;
        let mut signal = if self.sale {
            sell(&name, size)
        } else {
            buy(&name, size)
        };
        signal.retry_count = u32::from(self.retry);
        signal.activate_after = self.early.then(|| now.plus_ms(5_000));
        signal.valid_until = self.short.then(|| now.plus_ms(20_000));
        signal.plan_id = (self.size < 3).then(|| "plan".to_owned());
        signal.strategy = (self.size == 2).then(|| "slow".to_owned());
        signal
    }
}

fn name(number: u8) -> qt_core::BrokerOrderId {
    format!("B{number}").as_str().into()
}

/// The broker's name for an order: mostly the one that it has already, so that rows fit.
fn of(trader: &Trader, id: ClientOrderId, number: u8) -> qt_core::BrokerOrderId {
    let known = trader.order(id).and_then(|order| order.broker_order_id.clone());
    known.filter(|_| number > 0).unwrap_or_else(|| name(number))
}

/// An order: one that is there, live ones first, or one that nobody knows.
fn pick(trader: &Trader, number: u8) -> ClientOrderId {
    let mut ids: Vec<_> = trader
        .orders()
        .map(|order| (order.state.is_ended(), order.id))
        .collect();
    ids.sort_unstable();
    ids.get(usize::from(number))
        .map_or_else(|| ClientOrderId::derive(ACCOUNT, &"S9".into(), 0), |(_, id)| *id)
}
