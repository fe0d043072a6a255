//! What the gates add to a batch of signals: all open against all shut, in turns, with everything else alike.
//! What counts is the time from the batch to its orders, in the core alone, since nothing else takes part in it.

use std::time::Instant;

use qt_core::{
    BookFact, Event, Gates, Holding, Limits, Rate, SellBarrier, Settings, Signal, Trader, TradingSessions,
    UtcMillis,
};
use qt_market::{Market, Side};
use rust_decimal::Decimal;

/// 2026-11-24 10:00 in Shanghai.
const MORNING: UtcMillis = UtcMillis(1_795_485_600_000);
const BATCH: usize = 500;
const ROUNDS: usize = 41;
/// By how much the gates may slow a signal down.
const MOST_MICROS: f64 = 20.0;

fn symbol(n: usize) -> qt_market::Symbol {
    format!("{:06}.SH", 600_000 + n % 300).parse().unwrap()
}

fn shut() -> Gates {
    let limits = |order: u32, day: u32| Limits {
        max_order_value: Some(order.into()),
        max_turnover: Some(day.into()),
    };
    Gates {
        tables: Some(Market::builtin().text().to_owned()),
        sessions: TradingSessions::CnA,
        market_rules: true,
        cage: true,
        quote_max_age_ms: 5_000,
        books: true,
        sell_barrier: SellBarrier::Soft,
        sell_barrier_timeout_ms: 60_000,
        duplicate_window_ms: 1_000,
        max_reference_deviation: Some(Decimal::new(10, 2)),
        account: limits(1_000_000, 1_000_000_000),
        max_position_share: Some(Decimal::new(50, 2)),
        max_day_loss: Some(1_000_000.into()),
        strategies: [("momentum".to_owned(), limits(500_000, 900_000_000))].into(),
        rate: Some(Rate {
            per_second: 1_000,
            cancel_reserve_per_second: 10,
            per_day: 100_000,
            cancel_reserve_per_day: 10,
        }),
        ..Gates::default()
    }
}

/// Every size once for each symbol and side, so that none is a duplicate.
fn signal(n: usize) -> Signal {
    let side = if n.is_multiple_of(2) {
        Side::Buy
    } else {
        Side::Sell
    };
    Signal {
        id: qt_core::SignalId(format!("S{n}")),
        retry_count: 0,
        symbol: symbol(n),
        side,
        size: 100 * (i64::try_from(n / 300).unwrap() + 1),
        price: Some(Decimal::TEN),
        strategy: Some("momentum".into()),
        strategy_name: None,
        created_at: Some(MORNING),
        securities_account_id: None,
        account_id: None,
        broker: None,
        activate_after: None,
        valid_until: Some(MORNING.plus_ms(60_000)),
        execution_priority: 1000,
        reference_price: Some(Decimal::TEN),
        max_slippage_bps: None,
        price_floor: None,
        price_ceiling: None,
        effective_limit_price: None,
        plan_id: None,
    }
}

fn trader(gates: Gates) -> Trader {
    let mut trader = Trader::new();
    let settings = Settings {
        account_key: "bench".into(),
        max_in_flight: 10_000,
        gates: gates.into(),
        ..Settings::default()
    };
    let up = Event::Connection {
        up: true,
        reason: String::new(),
    };
    let compared = Event::Reconciled {
        asked_at: MORNING,
        absent: Vec::new(),
        alike: Vec::new(),
        foreign: 0,
    };
    for event in [Event::HostStarted { settings }, up, compared] {
        trader.handle(MORNING, &event).unwrap();
    }
    let holding = |n| Holding {
        symbol: symbol(n),
        total: 100_000,
        sellable: 100_000,
        frozen: 0,
        last_price: Some(Decimal::TEN),
        previous_close: Some(Decimal::TEN),
        special_treatment: false,
        trading_day: None,
    };
    let book = BookFact {
        asked_at: MORNING,
        total_asset: 1_000_000_000.into(),
        available_cash: 500_000_000.into(),
        day_pnl: None,
        holdings: (0..300).map(holding).collect(),
    };
    trader.handle(MORNING, &Event::BookSeen(Box::new(book))).unwrap();
    trader
}

/// Microseconds a signal, from the batch to its orders.
fn measure(gates: Gates, batch: &Event) -> f64 {
    let mut trader = trader(gates);
    let began = Instant::now();
    let effects = trader.handle(MORNING, batch).unwrap();
    let took = began.elapsed();
    let sent = effects
        .iter()
        .filter(|effect| matches!(effect, qt_core::Effect::Submit(_)))
        .count();
    assert_eq!(sent, BATCH, "not every signal became an order");
    took.as_secs_f64() * 1e6 / BATCH as f64
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// True where the gates are as fast as they must be.
pub(crate) fn measure_all() -> bool {
    let batch = Event::Signals {
        taken: (0..BATCH).map(signal).collect(),
        invalid: Vec::new(),
    };
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        open.push(measure(Gates::default(), &batch));
        closed.push(measure(shut(), &batch));
    }
    let added: Vec<f64> = open
        .iter()
        .zip(&closed)
        .map(|(open, closed)| closed - open)
        .collect();
    let (open, closed, added) = (median(open), median(closed), median(added));
    println!(
        "Gates: a batch of {BATCH} signals through the core, median of {ROUNDS} rounds in turns, microseconds a signal:\n"
    );
    println!("  every gate open   {open:>8.2}");
    println!("  every gate shut   {closed:>8.2}");
    println!("  added             {added:>8.2}   of {MOST_MICROS:.0} at most");
    added <= MOST_MICROS
}
