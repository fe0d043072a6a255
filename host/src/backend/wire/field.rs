//! Reading one object field by field, each mistake said with field, value and what was expected.

use qt_core::UtcMillis;
use qt_market::Price;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::number;
use super::shown;

/// What is wrong with a field, for a person.
pub(super) type Problem = String;

/// No share costs more, in yuan.
const MAX_PRICE: Decimal = Decimal::from_parts(10_000_000, 0, 0, false, 0);
/// Decimals of a price that mean something.
const PRICE_DECIMALS: u32 = 6;
/// Backends compute with binary floats: 15.5 may arrive as 15.499999999999998. What is nearer than
/// this to a price of six decimals is that price.
const FLOAT_NOISE: Decimal = Decimal::from_parts(1, 0, 0, false, 9);
/// From here on a number of time is milliseconds: as seconds it would be the year 5138.
const FIRST_MILLIS: Decimal = Decimal::from_parts(1_215_752_192, 23, 0, false, 0);
/// 9999-12-31, in milliseconds; what is later was meant in another unit.
const LAST_MOMENT_MS: i64 = 253_402_214_400_000;
/// Names and keys are not longer.
const MAX_TEXT: usize = 256;
/// Eight hours: a time without an offset is meant in Shanghai, where the market is.
const SHANGHAI: jiff::tz::Offset = jiff::tz::Offset::constant(8);

/// An object being read.
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// The value, unless it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A value that must be there and that `read` understands.
    pub(super) fn required<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, Problem> {
        match self.get(name) {
            None => Err(format!("`{name}` is missing: expected {expected}")),
            Some(value) => read(value).ok_or_else(|| unexpected(name, value, expected)),
        }
    }

    /// A value that may be absent or null, but that `read` must understand where it is there.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        self.get(name)
            .map(|value| read(value).ok_or_else(|| unexpected(name, value, expected)))
            .transpose()
    }

    /// A name or key; a number is taken for its digits, an empty text for none.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        let read = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.as_str().to_owned()),
            _ => None,
        };
        let fits = |text: &String| text.chars().count() <= MAX_TEXT && !text.chars().any(char::is_control);
        let text = self.optional(name, "a text of at most 256 characters", |v| read(v).filter(fits))?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// A price in yuan.
    pub(super) fn price(&self, name: &str) -> Result<Option<Price>, Problem> {
        self.optional(
            name,
            "a price in yuan above 0, at most 10000000, with at most 6 decimals",
            price,
        )
    }

    /// A moment.
    pub(super) fn time(&self, name: &str) -> Result<Option<UtcMillis>, Problem> {
        self.optional(name, "Unix seconds, milliseconds or an ISO 8601 time", time)
    }
}

fn unexpected(name: &str, value: &Value, expected: &str) -> Problem {
    if name == "account_id" {
        // The broker's account number never shows up in a log or in a report.
        return format!("`{name}` cannot be used (its value is not shown): expected {expected}");
    }
    format!("`{name}` is {}: expected {expected}", shown(value))
}

fn price(value: &Value) -> Option<Price> {
    let given = number::decimal(value)?;
    let price = given.round_dp(PRICE_DECIMALS);
    let near = (price - given).abs() <= FLOAT_NOISE;
    (near && price > Decimal::ZERO && price <= MAX_PRICE).then(|| price.normalize())
}

/// Unix seconds (with a fraction), milliseconds, or ISO 8601, each as a number or a text.
pub(super) fn time(value: &Value) -> Option<UtcMillis> {
    if let Some(number) = number::decimal(value) {
        let ms = if number.abs() >= FIRST_MILLIS {
            number
        } else {
            number.checked_mul(Decimal::ONE_THOUSAND)?
        };
        let ms = i64::try_from(ms.floor()).ok()?;
        return (ms.abs() <= LAST_MOMENT_MS).then_some(UtcMillis(ms));
    }
    let text = value.as_str()?.trim();
    let moment = match text.parse::<jiff::Timestamp>() {
        Ok(moment) => moment,
        Err(_) => SHANGHAI
            .to_timestamp(text.parse::<jiff::civil::DateTime>().ok()?)
            .ok()?,
    };
    Some(UtcMillis(moment.as_millisecond()))
}
