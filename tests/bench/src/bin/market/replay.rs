//! A year of minute bars of 300 symbols, read as CSV and played against the exchange with orders in it.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::civil::{Date, date};
use qt_exchange::{Account, Exchange, Feed, Kind, Liquidity, Placed, Ticket, from_e4, time};
use qt_market::{Market, Side, Symbol};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

const SYMBOLS: usize = 300;
const MOST: Duration = Duration::from_secs(60);

/// The file, made a day at a time as it is read, since nobody needs a gigabyte of it on a disk.
pub(crate) struct Year {
    day: Date,
    symbols: Vec<(Symbol, i64)>,
    random: Xoshiro256PlusPlus,
    text: String,
    at: usize,
    /// What its making took, which is no part of the replay.
    making: Duration,
    bytes: u64,
}

impl Year {
    pub(crate) fn new() -> Self {
        let symbol = |n: usize| {
            (
                format!("{:06}.SH", 600_000 + n).parse().unwrap(),
                100_000 + i64::try_from(n).unwrap() * 1_000,
            )
        };
        Self {
            day: date(2024, 12, 31),
            symbols: (0..SYMBOLS).map(symbol).collect(),
            random: Xoshiro256PlusPlus::seed_from_u64(11),
            text: "time,symbol,open,high,low,close,volume,previous_close\n".to_owned(),
            at: 0,
            making: Duration::ZERO,
            bytes: 0,
        }
    }

    /// What was made last: the first line, and then a day.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Makes the next day; false after the last.
    pub(crate) fn next_day(&mut self) -> bool {
        let began = Instant::now();
        self.day = Market::builtin().calendar().next_trading_day(self.day);
        if self.day.year() != 2025 {
            return false;
        }
        self.text.clear();
        self.at = 0;
        let before: Vec<i64> = self.symbols.iter().map(|(_, price)| *price).collect();
        let minutes = (9 * 60 + 31..=11 * 60 + 30).chain(13 * 60 + 1..=15 * 60);
        for minute in minutes {
            for (place, (symbol, price)) in self.symbols.iter_mut().enumerate() {
                let drawn = self.random.next_u64();
                let open = *price;
                let moves = i64::try_from(drawn % 5).unwrap() - 2;
                *price = (open + moves * 100).clamp(
                    before[place] * 91 / 100 / 100 * 100,
                    before[place] * 109 / 100 / 100 * 100,
                );
                let (high, low) = (open.max(*price) + 100, open.min(*price) - 100);
                let shown = |price: i64| (price / 10_000, price % 10_000 / 100);
                let ((o, oc), (h, hc), (l, lc), (c, cc), (b, bc)) = (
                    shown(open),
                    shown(high),
                    shown(low),
                    shown(*price),
                    shown(before[place]),
                );
                let volume = (drawn >> 8) % 500 * 100;
                let (hours, minutes) = (minute / 60, minute % 60);
                writeln!(
                    self.text,
                    "{} {hours:02}:{minutes:02}:00,{symbol},{o}.{oc:02},{h}.{hc:02},{l}.{lc:02},{c}.{cc:02},{volume},{b}.{bc:02}",
                    self.day
                )
                .unwrap();
            }
        }
        self.making += began.elapsed();
        true
    }
}

impl Read for Year {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.text.len() && !self.next_day() {
            return Ok(0);
        }
        let part = (self.text.len() - self.at).min(into.len());
        into[..part].copy_from_slice(&self.text.as_bytes()[self.at..self.at + part]);
        self.at += part;
        self.bytes += part as u64;
        Ok(part)
    }
}

pub(crate) fn measure_all() -> bool {
    let market = Arc::new(Market::builtin().clone());
    let account = Account::new(1_000_000_000.into(), []);
    let mut exchange = Exchange::new(Arc::clone(&market), Liquidity::default(), account, Vec::new());
    let mut year = Year::new();
    let began = Instant::now();
    let mut last = began;
    let (mut bars, mut orders, mut facts) = (0u64, 0u64, 0u64);
    {
        let mut feed = Feed::new(&mut year, &market).unwrap();
        while let Some(quote) = feed.next_quote().unwrap() {
            exchange.quote(&quote);
            bars += 1;
            // One order an hour and symbol, at the last price: it rests and fills as the market trades.
            if bars.is_multiple_of(61) {
                let last_price = exchange.venue().last(&quote.symbol).unwrap();
                let ticket = Ticket {
                    symbol: quote.symbol,
                    side: Side::Buy,
                    quantity: 100,
                    kind: Kind::Limit(last_price),
                };
                let placed = exchange.submit(quote.at, &format!("N{bars}"), &ticket);
                orders += u64::from(matches!(placed, Placed::Accepted(_)));
            }
            facts += exchange.take_facts().len() as u64;
            if last.elapsed() > Duration::from_secs(2) {
                last = Instant::now();
                let worth = exchange
                    .account()
                    .total_asset(|symbol| exchange.venue().last(symbol).map(from_e4));
                eprintln!(
                    "  replay: {}, {bars} bars, {facts} facts, worth {}",
                    time::date_of(quote.at),
                    worth.round_dp(0)
                );
            }
        }
    }
    let took = began.elapsed() - year.making;
    println!(
        "Replay: a year of minute bars of {SYMBOLS} symbols as CSV, {:.2} GB, with {orders} orders and {facts} facts:\n",
        year.bytes as f64 / 1e9
    );
    println!("  bars            {bars:>12}");
    println!(
        "  seconds         {:>12.1}   of {} at most; the making of the file took {:.1} besides",
        took.as_secs_f64(),
        MOST.as_secs(),
        year.making.as_secs_f64()
    );
    println!("  bars a second   {:>12.0}", bars as f64 / took.as_secs_f64());
    took < MOST
}
