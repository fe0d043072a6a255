//! Prices inside the books: whole ten-thousandths of a yuan, which every tick of every board is a multiple of.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

/// A price in ten-thousandths of a yuan.
pub type E4 = i64;

/// A yuan.
pub const YUAN: E4 = 10_000;

/// The price as ten-thousandths; `None` where it has more decimals, or is larger than any price.
#[must_use]
pub fn to_e4(price: Decimal) -> Option<E4> {
    let scaled = price.checked_mul(Decimal::from(YUAN))?;
    if scaled.fract().is_zero() {
        scaled.to_i64()
    } else {
        None
    }
}

/// Ten-thousandths as a price, without zeros at the end.
#[must_use]
pub fn from_e4(price: E4) -> Decimal {
    Decimal::new(price, 4).normalize()
}

/// Reads a decimal such as `1680.5` exactly; `None` where it is none, is below zero, or has a fifth decimal.
///
/// Files of quotes have tens of millions of them, so that they are read where they lie.
#[must_use]
pub fn parse_e4(text: &[u8]) -> Option<E4> {
    let mut value: i64 = 0;
    let mut decimals: Option<u32> = None;
    let mut digits = 0u32;
    for byte in text {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                let digit = i64::from(byte - b'0');
                match &mut decimals {
                    // Zeros beyond the fourth decimal say nothing.
                    Some(4) if digit == 0 => continue,
                    Some(4) => return None,
                    Some(count) => *count += 1,
                    None => {}
                }
                value = value.checked_mul(10)?.checked_add(digit)?;
            }
            b'.' if decimals.is_none() => decimals = Some(0),
            _ => return None,
        }
    }
    if digits == 0 {
        return None;
    }
    value.checked_mul(10i64.pow(4 - decimals.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_price_is_none() {
        for (text, expected) in [
            ("1680.5", Some(16_805_000)),
            ("0.001", Some(10)),
            ("12", Some(120_000)),
            ("12.", Some(120_000)),
            (".5", Some(5_000)),
            ("10.50000000", Some(105_000)),
            ("10.00001", None),
            ("-1", None),
            ("1e3", None),
            ("1.2.3", None),
            ("", None),
            (".", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse_e4(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_price_comes_back_as_it_was(price in 0i64..10_000_000_000) {
            prop_assert_eq!(to_e4(from_e4(price)), Some(price));
            prop_assert_eq!(parse_e4(from_e4(price).to_string().as_bytes()), Some(price));
        }
    }
}
