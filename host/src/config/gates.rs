//! What the configuration says of the gates: a part of the `execution` block, and the `gates` block.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use qt_core::{Gates, Limits, Rate, SellBarrier, TradingSessions};
use qt_market::{Board, Market, parse_time};
use rust_decimal::Decimal;
use serde_json::Value;

use super::walk::Block;

const DAY: &str = "86400";
/// How late a broker's figures may be: terminals ask the counter for them every second or two.
const BOOK_SETTLE: Duration = Duration::from_secs(3);

/// The settings of the gates. What is `None` depends on whether the broker moves money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateConfig {
    /// When signals may go.
    pub sessions: Option<TradingSessions>,
    /// Outside of them signals are refused.
    pub reject_outside_session: bool,
    /// Whether purchases of a plan wait for its sales.
    pub sell_barrier: SellBarrier,
    /// For how long.
    pub sell_barrier_timeout: Duration,
    /// Whether orders are held to the exchange's rules.
    pub market_rules: Option<bool>,
    /// A file with tables in place of the program's.
    pub market_tables: Option<PathBuf>,
    /// Which boards may be traded; empty for all.
    pub boards: Vec<Board>,
    /// Whether limits must lie within the price cage.
    pub price_cage: bool,
    /// How old a price may be that the cage goes by.
    pub quote_max_age: Duration,
    /// Whether shares and cash are counted.
    pub books: Option<bool>,
    /// How late the broker's figures may be.
    pub book_settle: Option<Duration>,
    /// Within which time the same wish counts as the same order; zero for never.
    pub duplicate_window: Duration,
    /// How far a limit may be from the reference, in percent.
    pub max_reference_deviation_pct: Option<Decimal>,
    /// The account's limits.
    pub account: Limits,
    /// The largest share of a position, in percent.
    pub max_position_pct: Option<Decimal>,
    /// The loss of a day from which on nothing is bought, in yuan.
    pub max_loss_per_day: Option<Decimal>,
    /// Limits by strategy.
    pub strategies: BTreeMap<String, Limits>,
    /// Orders and cancels a second; 0 for as many as there are.
    pub max_per_second: Option<u32>,
    /// Of these for cancels alone.
    pub cancel_reserve_per_second: u32,
    /// Orders and cancels a day.
    pub max_per_day: u32,
    /// Of these for cancels alone.
    pub cancel_reserve_per_day: u32,
    /// Whether a signal's `account_id` must be the broker's account number.
    pub match_account_id: bool,
}

/// The keys within the `execution` block.
#[derive(Debug)]
pub struct InExecution {
    sessions: Option<TradingSessions>,
    reject_outside_session: bool,
    sell_barrier: SellBarrier,
    sell_barrier_timeout: Duration,
}

/// Reads the keys within the `execution` block.
pub fn in_execution(block: &mut Block<'_>) -> InExecution {
    let barriers = [
        ("off", SellBarrier::Off),
        ("soft", SellBarrier::Soft),
        ("hard", SellBarrier::Hard),
    ];
    InExecution {
        sessions: sessions(block),
        reject_outside_session: block.flag("reject_signals_outside_session", false),
        sell_barrier: block.word("sell_barrier_mode", SellBarrier::Off, &barriers),
        sell_barrier_timeout: block.seconds("sell_barrier_timeout_seconds", "60", "0"..=DAY),
    }
}

fn sessions(block: &mut Block<'_>) -> Option<TradingSessions> {
    const EXPECTED: &str =
        "expected \"CN_A\", \"none\", or a list of windows such as [\"09:30-11:30\", \"13:00-14:57\"]";
    let value = block.take("trading_sessions")?;
    let found = match &value {
        Value::String(word) if word.trim().eq_ignore_ascii_case("CN_A") => Some(TradingSessions::CnA),
        Value::String(word) if word.trim().eq_ignore_ascii_case("none") => Some(TradingSessions::Any),
        Value::Array(items) if !items.is_empty() => {
            let windows: Option<Vec<_>> = items.iter().map(|item| window(item.as_str()?)).collect();
            windows.map(TradingSessions::Windows)
        }
        _ => None,
    };
    if found.is_none() {
        block.wrong("trading_sessions", Some(&value), EXPECTED);
    }
    found
}

fn window(text: &str) -> Option<(i64, i64)> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (parse_time(from.trim())?, parse_time(to.trim())?);
    (from < to).then_some((from, to))
}

/// Reads the `gates` block.
pub fn gates(mut block: Block<'_>, execution: InExecution) -> GateConfig {
    let gates = GateConfig {
        sessions: execution.sessions,
        reject_outside_session: execution.reject_outside_session,
        sell_barrier: execution.sell_barrier,
        sell_barrier_timeout: execution.sell_barrier_timeout,
        market_rules: optional_flag(&mut block, "market_rules"),
        market_tables: block.file_path("market_tables"),
        boards: boards(&mut block),
        price_cage: block.flag("price_cage", false),
        quote_max_age: block.seconds("quote_max_age_seconds", "5", "0.01"..=DAY),
        books: optional_flag(&mut block, "count_shares_and_cash"),
        book_settle: block
            .is_given("book_settle_seconds")
            .then(|| block.seconds("book_settle_seconds", "3", "0"..="60")),
        duplicate_window: block.seconds("duplicate_window_seconds", "0", "0"..=DAY),
        max_reference_deviation_pct: amount(&mut block, "max_reference_deviation_pct", true),
        account: limits(&mut block),
        max_position_pct: amount(&mut block, "max_position_pct", true),
        max_loss_per_day: amount(&mut block, "max_loss_per_day", false),
        strategies: block.inner("strategies").each(|mut block| {
            let limits = limits(&mut block);
            block.finish();
            limits
        }),
        max_per_second: optional_count(&mut block, "max_per_second", 299),
        cancel_reserve_per_second: block.count("cancel_reserve_per_second", 50, 0..=298),
        max_per_day: block.count("max_per_day", 19_000, 1..=19_999),
        cancel_reserve_per_day: block.count("cancel_reserve_per_day", 1_000, 0..=19_998),
        match_account_id: block.flag("match_account_id", false),
    };
    let reserves = [
        (
            "cancel_reserve_per_second",
            gates.cancel_reserve_per_second,
            gates.max_per_second.unwrap_or(250),
        ),
        (
            "cancel_reserve_per_day",
            gates.cancel_reserve_per_day,
            gates.max_per_day,
        ),
    ];
    for (key, reserve, most) in reserves {
        if most > 0 && reserve >= most {
            let expected = format!("expected less than the {most} that the reserve is a part of");
            block.wrong(key, Some(&Value::from(reserve)), expected);
        }
    }
    block.finish();
    gates
}

fn limits(block: &mut Block<'_>) -> Limits {
    Limits {
        max_order_value: amount(block, "max_order_value", false),
        max_turnover: amount(block, "max_turnover_per_day", false),
    }
}

fn optional_flag(block: &mut Block<'_>, key: &'static str) -> Option<bool> {
    block.is_given(key).then(|| block.flag(key, false))
}

fn optional_count(block: &mut Block<'_>, key: &'static str, most: u32) -> Option<u32> {
    block.is_given(key).then(|| block.count(key, most, 0..=most))
}

fn boards(block: &mut Block<'_>) -> Vec<Board> {
    let names = |text: &str| {
        serde_json::from_value::<Board>(Value::String(text.to_owned()))
            .map(|_| ())
            .map_err(|_| "main, chinext, star, bse, fund, convertible_bond or b_share".to_owned())
    };
    let texts = block.texts(
        "boards",
        "a board: main, chinext, star, bse, fund, convertible_bond or b_share",
        names,
    );
    texts
        .into_iter()
        .filter_map(|text| serde_json::from_value(Value::String(text)).ok())
        .collect()
}

/// An amount in yuan, or a percentage, above zero.
fn amount(block: &mut Block<'_>, key: &'static str, percent: bool) -> Option<Decimal> {
    let value = block.take(key)?;
    let text = value.as_number().map(|number| number.as_str().to_owned());
    let given = text
        .and_then(|text| super::parse_decimal(&text))
        .filter(|given| *given > Decimal::ZERO);
    let given = given.filter(|given| !percent || *given <= Decimal::ONE_HUNDRED);
    if given.is_none() {
        let expected = if percent {
            "expected a percentage above 0, up to 100"
        } else {
            "expected an amount in yuan above 0"
        };
        block.wrong(key, Some(&value), expected);
    }
    given
}

impl GateConfig {
    /// The gates for a broker that moves money, or for one on paper.
    ///
    /// # Errors
    /// The file of market tables cannot be read: which, why, and what to do.
    pub fn resolve(&self, is_paper: bool, account_id: Option<&str>) -> Result<Gates, String> {
        let default_sessions = if is_paper {
            TradingSessions::Any
        } else {
            TradingSessions::CnA
        };
        let sessions = self.sessions.clone().unwrap_or(default_sessions);
        let market_rules = self.market_rules.unwrap_or(!is_paper);
        let books = self.books.unwrap_or(!is_paper);
        let fraction = |percent: Decimal| percent / Decimal::ONE_HUNDRED;
        let goes_by_tables = market_rules || books || self.price_cage || sessions != TradingSessions::Any;
        let tables = if goes_by_tables || self.market_tables.is_some() {
            Some(self.tables()?)
        } else {
            None
        };
        let mut gates = Gates {
            tables,
            account_mark: account_id
                .filter(|_| self.match_account_id)
                .map(qt_core::account_mark),
            reject_outside_session: self.reject_outside_session && sessions != TradingSessions::Any,
            sessions,
            market_rules,
            boards: self.boards.clone(),
            cage: self.price_cage,
            quote_max_age_ms: if self.price_cage {
                millis(self.quote_max_age)
            } else {
                0
            },
            books,
            book_settle_ms: 0,
            sell_barrier: self.sell_barrier,
            sell_barrier_timeout_ms: if self.sell_barrier == SellBarrier::Off {
                0
            } else {
                millis(self.sell_barrier_timeout)
            },
            duplicate_window_ms: millis(self.duplicate_window),
            max_reference_deviation: self.max_reference_deviation_pct.map(fraction),
            account: self.account.clone(),
            max_position_share: self.max_position_pct.map(fraction),
            max_day_loss: self.max_loss_per_day,
            strategies: self.strategies.clone(),
            rate: self.rate(is_paper),
        };
        if gates.need_books() {
            // One on paper shows an order as soon as it has it.
            let settle = if is_paper { Duration::ZERO } else { BOOK_SETTLE };
            gates.book_settle_ms = millis(self.book_settle.unwrap_or(settle));
        }
        Ok(gates)
    }

    /// How many orders and cancels may leave; `None` for as many as there are.
    pub fn rate(&self, is_paper: bool) -> Option<Rate> {
        let per_second = self.max_per_second.unwrap_or(if is_paper { 0 } else { 250 });
        (per_second > 0).then_some(Rate {
            per_second,
            cancel_reserve_per_second: self.cancel_reserve_per_second,
            per_day: self.max_per_day,
            cancel_reserve_per_day: self.cancel_reserve_per_day,
        })
    }

    /// The market's rules in force.
    ///
    /// # Errors
    /// The file of market tables cannot be read: which, why, and what to do.
    pub fn market(&self) -> Result<Market, String> {
        if self.market_tables.is_none() {
            return Ok(Market::builtin().clone());
        }
        Market::read(&self.tables()?).map_err(|error| format!("gates.market_tables: {error}"))
    }

    /// The tables in force as text.
    fn tables(&self) -> Result<String, String> {
        let Some(path) = &self.market_tables else {
            return Ok(Market::builtin().text().to_owned());
        };
        let shown = crate::system::shown(path);
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!("gates.market_tables: {shown} cannot be read: {error}; check the path")
        })?;
        let market = Market::with_overrides(&text)
            .map_err(|error| format!("gates.market_tables: {shown}: {error}"))?;
        Ok(market.text().to_owned())
    }

    /// The block in the form of the file.
    pub fn shown(&self) -> Value {
        let limits = |limits: &Limits| serde_json::json!({ "max_order_value": limits.max_order_value, "max_turnover_per_day": limits.max_turnover });
        let strategies: serde_json::Map<String, Value> = self
            .strategies
            .iter()
            .map(|(name, own)| (name.clone(), limits(own)))
            .collect();
        let seconds = |duration: Duration| {
            let text = super::walk::seconds_text(duration);
            text.parse::<serde_json::Number>()
                .map_or(Value::String(text), Value::Number)
        };
        let number = |value: Option<Decimal>| {
            value.map_or(Value::Null, |value| {
                let text = value.normalize().to_string();
                text.parse::<serde_json::Number>()
                    .map_or(Value::String(text), Value::Number)
            })
        };
        let mut block = serde_json::json!({
            "market_rules": self.market_rules,
            "market_tables": self.market_tables.as_ref().map(|path| path.display().to_string()),
            "boards": self.boards,
            "price_cage": self.price_cage,
            "quote_max_age_seconds": seconds(self.quote_max_age),
            "count_shares_and_cash": self.books,
            "book_settle_seconds": self.book_settle.map(seconds),
            "duplicate_window_seconds": seconds(self.duplicate_window),
            "max_reference_deviation_pct": number(self.max_reference_deviation_pct),
            "max_order_value": number(self.account.max_order_value),
            "max_turnover_per_day": number(self.account.max_turnover),
            "max_position_pct": number(self.max_position_pct),
            "max_loss_per_day": number(self.max_loss_per_day),
            "strategies": strategies,
            "max_per_second": self.max_per_second,
            "cancel_reserve_per_second": self.cancel_reserve_per_second,
            "max_per_day": self.max_per_day,
            "cancel_reserve_per_day": self.cancel_reserve_per_day,
            "match_account_id": self.match_account_id,
        });
        if let Some(block) = block.as_object_mut() {
            block.retain(|_, value| !value.is_null());
        }
        block
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
