//! An exchange to tell stories at: one client with 1,000,000 yuan, 1,000 Moutai at 100 and 1,050 Wuliangye at 10.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses its own part, and may panic"
)]

use std::sync::Arc;

use qt_exchange::{
    Account, Bar, Event, Exchange, Fact, Happened, Kind, Liquidity, Moment, Placed, Quote, Tick, Ticket,
    parse_e4, time,
};
use qt_market::{Market, Shares, Side, parse_time};

pub const MOUTAI: &str = "600519.SH";
pub const WULIANGYE: &str = "000858.SZ";

/// A time on Tuesday, 2026-11-24, in Shanghai.
pub fn at(clock: &str) -> Moment {
    on(24, clock)
}

/// A time on a day of November 2026.
pub fn on(day: i8, clock: &str) -> Moment {
    time::moment(jiff::civil::date(2026, 11, day), parse_time(clock).unwrap())
}

pub fn exchange() -> Exchange {
    exchange_with(Liquidity {
        participation_pct: 100,
        levels: 5,
    })
}

pub fn exchange_with(flow: Liquidity) -> Exchange {
    let holdings = [(MOUTAI, 1_000, 100), (WULIANGYE, 1_050, 10)]
        .map(|(symbol, total, cost): (&str, Shares, i64)| (symbol.parse().unwrap(), total, cost.into()));
    let market = Arc::new(Market::builtin().clone());
    Exchange::new(market, flow, Account::new(1_000_000.into(), holdings), Vec::new())
}

pub fn bar(when: Moment, symbol: &str, prices: [&str; 4], volume: Shares, close_before: &str) -> Quote {
    let [open, high, low, close] = prices.map(|price| parse_e4(price.as_bytes()).unwrap());
    Quote {
        at: when,
        symbol: symbol.parse().unwrap(),
        what: Happened::Bar(Bar {
            open,
            high,
            low,
            close,
            volume,
        }),
        previous_close: parse_e4(close_before.as_bytes()),
    }
}

pub fn tick(when: Moment, symbol: &str, last: &str, volume: Shares) -> Quote {
    Quote {
        at: when,
        symbol: symbol.parse().unwrap(),
        what: Happened::Tick(Tick {
            last: parse_e4(last.as_bytes()).unwrap(),
            volume,
            levels: None,
        }),
        previous_close: None,
    }
}

pub fn limit(symbol: &str, side: Side, quantity: Shares, price: &str) -> Ticket {
    Ticket {
        symbol: symbol.parse().unwrap(),
        side,
        quantity,
        kind: Kind::Limit(parse_e4(price.as_bytes()).unwrap()),
    }
}

/// `ok`, or the code of the refusal.
pub fn verdict(placed: &Placed) -> &'static str {
    match placed {
        Placed::Accepted(_) => "ok",
        Placed::Rejected(rejection) => rejection.code,
    }
}

/// Fills as `name quantity@price`.
pub fn fills(facts: &[Fact]) -> Vec<String> {
    let fills = facts.iter().filter(|fact| fact.event == Event::Fill);
    fills
        .map(|fact| {
            format!(
                "{} {}@{}",
                fact.client_order_id,
                fact.quantity,
                fact.price.unwrap()
            )
        })
        .collect()
}
