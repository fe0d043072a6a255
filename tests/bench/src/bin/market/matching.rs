//! How many orders a second meet each other: the book alone, the exchange with its rules, and both with an account.

use std::sync::Arc;
use std::time::Instant;

use qt_exchange::{
    Account, Bar, Book, Exchange, Happened, Kind, Liquidity, Moment, OrderId, Placed, Quote, Ticket, Venue,
    time,
};
use qt_market::{Market, Shares, Side, Symbol};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

const ORDERS: u64 = 400_000;
const ROUNDS: usize = 5;
/// Orders a second that the matching has to reach.
const LEAST: f64 = 200_000.0;

/// What comes: most orders rest near the middle, some meet what rests, and a quarter are cancels.
enum Come {
    Order(Side, i64, Shares),
    Cancel(u64),
}

fn flow(depth: i64) -> Vec<Come> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    let mut draw = |below: u64| i64::try_from(random.next_u64() % below).unwrap();
    (0..ORDERS)
        .map(|n| match draw(100) {
            0..25 => Come::Cancel(u64::try_from(draw(n.max(1))).unwrap() + 1),
            kind => {
                let side = if draw(2) == 0 { Side::Buy } else { Side::Sell };
                // One in five reaches over the middle.
                let away = if kind < 40 {
                    -draw(3)
                } else {
                    1 + draw(u64::try_from(depth).unwrap())
                };
                let ticks = match side {
                    Side::Buy => -away,
                    Side::Sell => away,
                };
                Come::Order(side, 1_000_000 + ticks * 100, 100 * (1 + draw(20)))
            }
        })
        .collect()
}

/// Orders a second of the book alone, and how many levels rest at the end.
fn book(flow: &[Come]) -> (f64, usize) {
    let mut book = Book::default();
    let mut hits = Vec::new();
    let began = Instant::now();
    let mut next: OrderId = 0;
    for come in flow {
        match come {
            Come::Order(side, price, quantity) => {
                next += 1;
                hits.clear();
                let rest = book.take(*side, *price, *quantity, usize::MAX, &mut hits);
                book.rest(next, *side, *price, rest);
            }
            Come::Cancel(order) => {
                book.remove(*order % next.max(1));
            }
        }
    }
    let took = began.elapsed().as_secs_f64();
    assert!(!book.is_crossed());
    let levels = book.levels(Side::Buy).count() + book.levels(Side::Sell).count();
    (flow.len() as f64 / took, levels)
}

fn opening() -> (Symbol, Moment, Quote) {
    let symbol: Symbol = "600519.SH".parse().unwrap();
    let at = time::moment(jiff::civil::date(2026, 11, 24), (9 * 60 + 31) * 60_000);
    let bar = Bar {
        open: 1_000_000,
        high: 1_000_000,
        low: 1_000_000,
        close: 1_000_000,
        volume: 1_000_000,
    };
    let quote = Quote {
        at,
        symbol,
        what: Happened::Bar(bar),
        previous_close: Some(1_000_000),
    };
    (symbol, at, quote)
}

/// Orders a second of the exchange with every rule, on the side that buys: one account never meets itself.
fn venue(flow: &[Come]) -> f64 {
    let (symbol, at, quote) = opening();
    let mut venue = Venue::new(Arc::new(Market::builtin().clone()), Liquidity::default());
    let mut outcomes = Vec::new();
    venue.quote(&quote, &mut outcomes);
    let began = Instant::now();
    let mut next: OrderId = 0;
    for come in flow {
        outcomes.clear();
        match come {
            Come::Order(side, price, quantity) => {
                let ticket = ticket(symbol, *side, *price, *quantity);
                if venue.check(at + 1, &ticket, Shares::MAX).is_ok() {
                    next += 1;
                    venue.place_order(at + 1, next, &ticket, &mut outcomes).unwrap();
                }
            }
            Come::Cancel(order) => {
                let _ = venue.cancel(at + 1, *order % next.max(1));
            }
        }
    }
    assert!(next > 100_000, "{next}");
    flow.len() as f64 / began.elapsed().as_secs_f64()
}

fn ticket(symbol: Symbol, side: Side, price: i64, quantity: Shares) -> Ticket {
    Ticket {
        symbol,
        side,
        quantity,
        kind: Kind::Limit(price.clamp(981_000, 1_019_000)),
    }
}

/// Orders a second with cash, shares, fees and a fact for each thing that happens.
fn exchange(flow: &[Come]) -> f64 {
    let (symbol, at, quote) = opening();
    let account = Account::new(100_000_000_000i64.into(), [(symbol, 10_000_000_000, 100.into())]);
    let mut exchange = Exchange::new(
        Arc::new(Market::builtin().clone()),
        Liquidity::default(),
        account,
        Vec::new(),
    );
    exchange.quote(&quote);
    let names: Vec<String> = (0..=ORDERS).map(|n| format!("N{n}")).collect();
    let began = Instant::now();
    let mut next: usize = 0;
    for come in flow {
        match come {
            Come::Order(side, price, quantity) => {
                let ticket = ticket(symbol, *side, *price, *quantity);
                if let Placed::Accepted(_) = exchange.submit(at + 1, &names[next], &ticket) {
                    next += 1;
                }
            }
            Come::Cancel(order) => {
                let order = usize::try_from(*order).unwrap() % next.max(1);
                let _ = exchange.cancel(at + 1, &names[order]);
            }
        }
        if exchange.take_facts().len() > 1_000 {
            unreachable!("so much does not happen at once");
        }
    }
    assert!(next > 100_000, "{next}");
    flow.len() as f64 / began.elapsed().as_secs_f64()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

pub(crate) fn measure_all() -> bool {
    println!(
        "Matching: {ORDERS} orders and cancels on one symbol, median of {ROUNDS} rounds, orders a second:\n"
    );
    println!("  {:<34} {:>10} {:>14}", "", "levels", "orders a second");
    let mut alone = f64::MAX;
    for depth in [10, 100, 1_000] {
        let flow = flow(depth);
        let rounds: Vec<(f64, usize)> = (0..ROUNDS).map(|_| book(&flow)).collect();
        let rate = median(rounds.iter().map(|(rate, _)| *rate).collect());
        println!("  {:<34} {:>10} {rate:>14.0}", "the book alone", rounds[0].1);
        alone = alone.min(rate);
    }
    let flow = flow(100);
    let with_rules = median((0..ROUNDS).map(|_| venue(&flow)).collect());
    println!(
        "  {:<34} {:>10} {with_rules:>14.0}",
        "with every rule of the exchange", ""
    );
    let with_account = median((0..ROUNDS).map(|_| exchange(&flow)).collect());
    println!(
        "  {:<34} {:>10} {with_account:>14.0}",
        "with an account and a ledger's facts", ""
    );
    println!(
        "\n  the slowest book alone: {:.1} times the {LEAST:.0} that are asked for",
        alone / LEAST
    );
    alone >= LEAST
}
