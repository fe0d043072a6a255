//! Numbers as they come: JSON numbers or texts, never by way of a binary float.

use rust_decimal::Decimal;
use serde_json::Value;

/// Longer texts are no numbers that trading knows.
const MAX_TEXT: usize = 64;
/// Digits that a `Decimal` is sure to hold.
const MAX_DIGITS: usize = 28;

/// A number, from a JSON number or a text that holds one.
pub(super) fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => parse(number.as_str()),
        Value::String(text) => parse(text.trim()),
        _ => None,
    }
}

/// A whole number; `100.0` and `1e2` are whole.
pub(super) fn whole(value: &Value) -> Option<i64> {
    let number = decimal(value)?;
    if !number.fract().is_zero() {
        return None;
    }
    i64::try_from(number).ok()
}

/// Reads `-12.5e3` exactly; `None` where it is no number or has more digits than can be held.
pub(super) fn parse(text: &str) -> Option<Decimal> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (text, 0),
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits_only = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits_only(integer) || !digits_only(fraction) {
        return None;
    }
    let digits = format!("{integer}{fraction}");
    let without_end = digits.trim_end_matches('0');
    let significant = without_end.trim_start_matches('0');
    if significant.is_empty() {
        return Some(Decimal::ZERO);
    }
    // The number is `significant` times ten to the power of `power`.
    let trailing = i32::try_from(digits.len() - without_end.len()).ok()?;
    let power = exponent + trailing - i32::try_from(fraction.len()).ok()?;
    let zeros = usize::try_from(power).unwrap_or(0);
    if significant.len() + zeros > MAX_DIGITS {
        return None;
    }
    let units: i128 = significant.parse().ok()?;
    let units = units.checked_mul(10i128.checked_pow(u32::try_from(zeros).ok()?)?)?;
    let scale = power.min(0).unsigned_abs();
    Decimal::try_from_i128_with_scale(if negative { -units } else { units }, scale).ok()
}

fn parse_exponent(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    // Four digits are beyond anything that could be held, and cannot overflow what follows.
    let fits = (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let size: i32 = if fits { digits.parse().ok()? } else { return None };
    Some(if text.starts_with('-') { -size } else { size })
}
