//! Symbols as the backend and the brokers write them: six digits and an exchange, `000858.SZ`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a symbol is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Exchange {
    /// Shanghai.
    SH,
    /// Shenzhen.
    SZ,
    /// Beijing.
    BJ,
}

impl Exchange {
    /// The suffix after the dot.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::SH => "SH",
            Self::SZ => "SZ",
            Self::BJ => "BJ",
        }
    }
}

/// Buy or sell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// Shares come in, cash goes out.
    Buy,
    /// Shares go out, cash comes in.
    Sell,
}

impl Side {
    /// The word on the wire and in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "BUY",
            Self::Sell => "SELL",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A listed instrument: six digits and an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol {
    code: [u8; 6],
    exchange: Exchange,
}

/// Why a text is not a symbol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSymbolError {
    /// No six digits, or no known suffix.
    #[error("`{0}` is not a symbol: expected six digits and .SH, .SZ or .BJ, such as 000858.SZ")]
    Malformed(String),
}

impl Symbol {
    /// The six digits.
    #[must_use]
    pub fn code(&self) -> &str {
        // Only ASCII digits ever get in, so this cannot fail.
        std::str::from_utf8(&self.code).unwrap_or("")
    }

    /// The exchange it is listed on.
    #[must_use]
    pub const fn exchange(&self) -> Exchange {
        self.exchange
    }
}

impl FromStr for Symbol {
    type Err = ParseSymbolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseSymbolError::Malformed(text.chars().take(40).collect());
        let (digits, suffix) = text.split_once('.').ok_or_else(malformed)?;
        let code: [u8; 6] = digits.as_bytes().try_into().map_err(|_| malformed())?;
        if !code.iter().all(u8::is_ascii_digit) {
            return Err(malformed());
        }
        let exchange = match suffix {
            _ if suffix.eq_ignore_ascii_case("SH") => Exchange::SH,
            _ if suffix.eq_ignore_ascii_case("SZ") => Exchange::SZ,
            _ if suffix.eq_ignore_ascii_case("BJ") => Exchange::BJ,
            _ => return Err(malformed()),
        };
        Ok(Self { code, exchange })
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.code(), self.exchange.suffix())
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Symbol {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Symbol {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Reads a symbol where its text lies, without a copy of it.
struct TextVisitor;

impl serde::de::Visitor<'_> for TextVisitor {
    type Value = Symbol;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a symbol such as 000858.SZ")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_symbols_come_back_whole_and_others_are_refused() {
        for text in ["000858.SZ", "600519.SH", "920002.BJ", "000000.SZ"] {
            assert_eq!(text.parse::<Symbol>().unwrap().to_string(), text);
        }
        assert_eq!("000858.sz".parse::<Symbol>().unwrap().to_string(), "000858.SZ");
        for text in [
            "",
            ".",
            "000858",
            "000858.",
            "00085.SZ",
            "0008588.SZ",
            "00085a.SZ",
            "000858.HK",
            "０00858.SZ",
            " 000858.SZ",
        ] {
            assert!(text.parse::<Symbol>().is_err(), "{text:?} was taken");
        }
    }
}
