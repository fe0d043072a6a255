//! The configuration block.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use crate::fault::Fault;

/// What becomes of an order that could fill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FillMode {
    /// All of it, at once.
    #[default]
    Immediate,
    /// Half of it; the rest stays open.
    Partial,
    /// Nothing; it rests.
    Never,
    /// It is rejected.
    Reject,
    /// What an exchange would make of it.
    Exchange,
}

/// Where the exchange's quotes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// A random walk from the configured prices.
    Walk,
    /// The configured prices, which stand still.
    Fixed,
    /// A CSV file.
    File(String),
}

/// A dividend.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dividend {
    pub(crate) symbol: String,
    date: String,
    #[serde(deserialize_with = "money")]
    pub(crate) cash: Decimal,
}

impl Dividend {
    /// The ex-date.
    pub(crate) fn day(&self) -> Result<jiff::civil::Date, String> {
        self.date.parse().map_err(|_| {
            format!(
                "`exchange.dividends`: {}: `{}` is not a day such as 2026-07-06",
                self.symbol, self.date
            )
        })
    }
}

/// The block `exchange`; see the crate's documentation for the meaning of each key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExchangeOptions {
    quotes: String,
    pub(crate) seed: u64,
    pub(crate) participation_pct: u8,
    pub(crate) levels: u8,
    pub(crate) step_ms: i64,
    pub(crate) ticks_per_step: u16,
    pub(crate) volume_per_step: i64,
    pub(crate) speed: u32,
    session_from: Option<String>,
    pub(crate) special_treatment: Vec<String>,
    pub(crate) market_tables: Option<String>,
    pub(crate) dividends: Vec<Dividend>,
}

impl Default for ExchangeOptions {
    fn default() -> Self {
        Self {
            quotes: "walk".to_owned(),
            seed: 1,
            participation_pct: 25,
            levels: 5,
            step_ms: 3_000,
            ticks_per_step: 2,
            volume_per_step: 20_000,
            speed: 1,
            session_from: None,
            special_treatment: Vec::new(),
            market_tables: None,
            dividends: Vec::new(),
        }
    }
}

impl ExchangeOptions {
    pub(crate) fn quotes(&self) -> Quotes {
        match self.quotes.as_str() {
            "walk" => Quotes::Walk,
            "fixed" => Quotes::Fixed,
            name => Quotes::File(name.to_owned()),
        }
    }

    /// When the session begins, where that is not the host's time.
    pub(crate) fn session_from(&self) -> Result<Option<i64>, String> {
        let Some(text) = &self.session_from else {
            return Ok(None);
        };
        let parsed: Result<jiff::civil::DateTime, _> = text.parse();
        let at = parsed.map_err(|_| {
            format!("`exchange.session_from`: `{text}` is not a time in Shanghai such as 2026-11-24T09:15:00")
        })?;
        let midnight = qt_exchange::time::moment(at.date(), 0);
        let time = i64::from(at.hour()) * 3_600_000
            + i64::from(at.minute()) * 60_000
            + i64::from(at.second()) * 1_000
            + i64::from(at.millisecond());
        Ok(Some(midnight + time))
    }

    fn check(&self) -> Result<(), String> {
        let within = |key: &str, value: i64, most: i64| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(format!(
                    "`exchange.{key}` is {value}, and must be from 1 to {most}"
                ))
            }
        };
        within("participation_pct", self.participation_pct.into(), 100)?;
        within("levels", self.levels.into(), 10)?;
        within("step_ms", self.step_ms, 600_000)?;
        within("volume_per_step", self.volume_per_step, 100_000_000)?;
        within("speed", self.speed.into(), 10_000)?;
        if self.ticks_per_step > 100 {
            return Err(format!(
                "`exchange.ticks_per_step` is {}, and must be from 0 to 100",
                self.ticks_per_step
            ));
        }
        if self.quotes.trim().is_empty() {
            return Err("`exchange.quotes` is empty; give `walk`, `fixed` or a CSV file".to_owned());
        }
        self.session_from()?;
        self.dividends
            .iter()
            .try_for_each(|dividend| dividend.day().map(|_| ()))
    }
}

/// A holding at the start of the ledger.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartPosition {
    pub(crate) symbol: String,
    pub(crate) quantity: u64,
    #[serde(deserialize_with = "money")]
    pub(crate) avg_cost: Decimal,
    #[serde(default, deserialize_with = "money_or_none")]
    pub(crate) last_price: Option<Decimal>,
    #[serde(default)]
    pub(crate) available_qty: Option<u64>,
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default, deserialize_with = "money_or_none")]
    pub(crate) previous_close: Option<Decimal>,
}

/// The whole block; see the crate's documentation for the meaning of each key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    #[serde(deserialize_with = "money")]
    pub(crate) cash: Decimal,
    pub(crate) positions: Vec<StartPosition>,
    #[serde(deserialize_with = "prices")]
    pub(crate) prices: BTreeMap<String, Decimal>,
    pub(crate) ledger: String,
    pub(crate) read_only: bool,
    pub(crate) fill: FillMode,
    pub(crate) exchange: ExchangeOptions,
    pub(crate) latency_ms: u64,
    pub(crate) fill_after_ms: u64,
    pub(crate) answer_after_ms: u64,
    pub(crate) snapshot_lag_ms: u32,
    pub(crate) fault_accept_silently: Fault,
    pub(crate) fault_answer_late_ms: u64,
    pub(crate) fault_never_answer: Fault,
    pub(crate) fault_snapshot_fails: Fault,
    pub(crate) fault_duplicate_events: Fault,
    pub(crate) fault_reorder_events: Fault,
    pub(crate) fault_no_events: Fault,
    pub(crate) fault_refuse_cancels: Fault,
    pub(crate) fault_fill_during_cancel: Fault,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cash: Decimal::from(1_000_000),
            positions: Vec::new(),
            prices: BTreeMap::new(),
            ledger: "simulated-ledger.jsonl".to_owned(),
            read_only: false,
            fill: FillMode::Immediate,
            exchange: ExchangeOptions::default(),
            latency_ms: 0,
            fill_after_ms: 0,
            answer_after_ms: 0,
            snapshot_lag_ms: 0,
            fault_accept_silently: Fault::default(),
            fault_answer_late_ms: 0,
            fault_never_answer: Fault::default(),
            fault_snapshot_fails: Fault::default(),
            fault_duplicate_events: Fault::default(),
            fault_reorder_events: Fault::default(),
            fault_no_events: Fault::default(),
            fault_refuse_cancels: Fault::default(),
            fault_fill_during_cancel: Fault::default(),
        }
    }
}

impl Options {
    /// What the types cannot tell.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.cash.is_sign_negative() {
            return Err(format!("`cash` is {}, and must be 0 or more", self.cash));
        }
        if self.ledger.is_empty() {
            return Err("`ledger` is empty; give a path or leave it out".to_owned());
        }
        self.exchange.check()?;
        if self.fill == FillMode::Exchange && self.fill_after_ms > 0 {
            return Err("`fill_after_ms` says when fills come, and with `fill` as `exchange` the exchange does; leave it out".to_owned());
        }
        for (i, p) in self.positions.iter().enumerate() {
            if p.last_price.is_some_and(|price| price <= Decimal::ZERO) {
                return Err(format!(
                    "positions[{i}] ({}): `last_price` must be above 0; leave it out where there is none",
                    p.symbol
                ));
            }
            if p.available_qty.is_some_and(|a| a > p.quantity) {
                return Err(format!(
                    "positions[{i}] ({}): `available_qty` is above `quantity`",
                    p.symbol
                ));
            }
            if self
                .positions
                .iter()
                .take(i)
                .any(|other| other.symbol == p.symbol)
            {
                return Err(format!("positions[{i}]: {} is listed twice", p.symbol));
            }
        }
        match self.prices.iter().find(|(_, price)| **price <= Decimal::ZERO) {
            Some((symbol, price)) => Err(format!("`prices`: {symbol} is {price}, and must be above 0")),
            None => Ok(()),
        }
    }
}

/// The exact decimal in a JSON number or string.
fn exact(value: &Value) -> Result<Decimal, String> {
    let text = match value {
        Value::Number(n) => n.to_string(),
        Value::String(s) => s.clone(),
        other => return Err(format!("expected an amount, found {other}")),
    };
    let parsed = Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text));
    parsed.map_err(|e| format!("{text} is no amount: {e}"))
}

fn money<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    exact(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn money_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        value => exact(&value).map(Some).map_err(D::Error::custom),
    }
}

fn prices<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Decimal>, D::Error> {
    let given = BTreeMap::<String, Value>::deserialize(deserializer)?;
    let read = |(symbol, value): (String, Value)| Ok((symbol, exact(&value).map_err(D::Error::custom)?));
    given.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_however_they_are_written() {
        let text = r#"{"cash": 1000000.10, "prices": {"A": "0.1", "B": 1e2}}"#;
        let options: Options = serde_json::from_str(text).expect("options");
        assert_eq!(options.cash.to_string(), "1000000.10");
        assert_eq!(options.prices["A"], Decimal::new(1, 1));
        assert_eq!(options.prices["B"], Decimal::from(100));
        let value: Value = serde_json::from_str(text).expect("value");
        assert_eq!(
            Options::deserialize(&value).expect("options").cash.to_string(),
            "1000000.10"
        );
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            r#"{"csah": 1}"#,
            r#"{"cash": "much"}"#,
            r#"{"fill": "sometimes"}"#,
            r#"{"positions": [{"symbol": "A"}]}"#,
        ] {
            assert!(serde_json::from_str::<Options>(text).is_err(), "{text}");
        }
        let twice = r#"{"positions": [{"symbol":"A","quantity":1,"avg_cost":1,"last_price":1},{"symbol":"A","quantity":1,"avg_cost":1,"last_price":1}]}"#;
        let options: Options = serde_json::from_str(twice).expect("options");
        assert!(options.check().expect_err("twice").contains("listed twice"));
    }
}
