//! Symbols as the backend and the brokers write them: six digits and an exchange, `000858.SZ`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Market;

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
    /// A bare code that two exchanges use.
    #[error(
        "`{0}` is traded or listed on more than one exchange: write it with its suffix, such as {0}.SZ or {0}.SH"
    )]
    Ambiguous(String),
    /// A bare code that no exchange is known to use.
    #[error("`{0}` belongs to no exchange that is known here: write it with its suffix, .SH, .SZ or .BJ")]
    NoExchange(String),
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

impl Market {
    /// Reads a symbol with or without its suffix. A bare code is taken only where one exchange alone uses it.
    ///
    /// # Errors
    /// [`ParseSymbolError`], where it is no symbol or could be more than one.
    pub fn symbol(&self, text: &str) -> Result<Symbol, ParseSymbolError> {
        let text = text.trim();
        if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse();
        }
        let exchange = self.exchange_of_bare(text).map_err(|ambiguous| {
            if ambiguous {
                ParseSymbolError::Ambiguous(text.to_owned())
            } else {
                ParseSymbolError::NoExchange(text.to_owned())
            }
        })?;
        format!("{text}.{}", exchange.suffix()).parse()
    }
}

impl FromStr for Symbol {
    type Err = ParseSymbolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // It is shown, and what was read may hold what moves a terminal's cursor.
        let shown = |c: char| if c.is_control() { '?' } else { c };
        let malformed = || ParseSymbolError::Malformed(text.chars().take(40).map(shown).collect());
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
    fn a_bare_code_is_taken_only_where_it_can_mean_one_thing() {
        let market = Market::builtin();
        for (text, expected) in [
            ("600519", Ok("600519.SH")),
            ("688981", Ok("688981.SH")),
            ("510300", Ok("510300.SH")),
            ("900948", Ok("900948.SH")),
            ("113050", Ok("113050.SH")),
            ("002050", Ok("002050.SZ")),
            ("300750", Ok("300750.SZ")),
            ("159915", Ok("159915.SZ")),
            ("161725", Ok("161725.SZ")),
            ("200596", Ok("200596.SZ")),
            ("920002", Ok("920002.BJ")),
            (" 600519 ", Ok("600519.SH")),
            ("000001.SZ", Ok("000001.SZ")),
            ("000001", Err("more than one exchange")),
            ("000858", Err("more than one exchange")),
            ("123107", Err("more than one exchange")),
            ("700000", Err("no exchange that is known")),
            ("60051", Err("is not a symbol")),
            ("60051\u{1b}[2J", Err("`60051?[2J` is not a symbol")),
            ("6005190", Err("is not a symbol")),
        ] {
            match (market.symbol(text), expected) {
                (Ok(symbol), Ok(expected)) => assert_eq!(symbol.to_string(), expected),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
            }
        }
    }

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
