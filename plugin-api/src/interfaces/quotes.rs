//! `broker.quotes/1`: prices of symbols, so that holdings and orders can be valued.

use std::ffi::c_void;

use abi_stable::{
    StableAbi,
    std_types::{ROption, RSlice, RStr, RString},
};

use super::{Interface, offer};
use crate::{
    broker::Broker,
    convert,
    glue::Instance,
    v1::{money::RMoney, values::RRows},
    values::CallError,
};

/// Name of [`QuotesV1`].
pub const NAME: &str = "broker.quotes/1";

/// Prices of one symbol. A price that the broker does not know is absent, never zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Quote {
    /// Code and exchange, `000858.SZ`.
    pub symbol: String,
    /// Price of the last trade, in yuan a share.
    pub last_price: Option<rust_decimal::Decimal>,
    /// Close of the trading day before, in yuan a share.
    pub previous_close: Option<rust_decimal::Decimal>,
    /// When the last price was made, in milliseconds since 1970 UTC.
    pub at_ms: Option<i64>,
    /// JSON text, or empty.
    pub extras: String,
}

/// A [`Quote`] as it is written, money as text: not every format has decimals.
#[derive(serde::Serialize, serde::Deserialize)]
struct Written {
    symbol: String,
    #[serde(with = "rust_decimal::serde::str_option")]
    last_price: Option<rust_decimal::Decimal>,
    #[serde(with = "rust_decimal::serde::str_option")]
    previous_close: Option<rust_decimal::Decimal>,
    at_ms: Option<i64>,
    extras: String,
}

impl From<Quote> for Written {
    fn from(quote: Quote) -> Self {
        let Quote {
            symbol,
            last_price,
            previous_close,
            at_ms,
            extras,
        } = quote;
        Self {
            symbol,
            last_price,
            previous_close,
            at_ms,
            extras,
        }
    }
}

impl From<Written> for Quote {
    fn from(written: Written) -> Self {
        let Written {
            symbol,
            last_price,
            previous_close,
            at_ms,
            extras,
        } = written;
        Self {
            symbol,
            last_price,
            previous_close,
            at_ms,
            extras,
        }
    }
}

/// For a broker that knows prices. Announce it by `interfaces: [quotes]` in
/// [`export_broker!`](crate::export_broker).
pub trait Quotes: Broker {
    /// Prices of these symbols, in any order. A symbol that the broker does not know is left out.
    ///
    /// # Errors
    /// When the broker does not answer.
    fn quotes(&self, symbols: &[String]) -> Result<Vec<Quote>, CallError>;
}

/// [`Quote`] as it crosses the boundary.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("broker.quotes/1 row: yuan, unix ms"))]
pub struct RQuote {
    /// Code and exchange.
    pub symbol: RString,
    /// Yuan a share.
    pub last_price: ROption<RMoney>,
    /// Yuan a share.
    pub previous_close: ROption<RMoney>,
    /// When the last price was made.
    pub at_ms: ROption<i64>,
    /// JSON text, or empty.
    pub extras: RString,
}

/// The table. Its functions take the broker as their context.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("broker.quotes/1"))]
pub struct QuotesV1 {
    /// Prices of these symbols.
    pub quotes: unsafe extern "C" fn(broker: *const c_void, symbols: RSlice<'_, RStr<'_>>) -> RRows<RQuote>,
}

/// For the macro alone.
#[doc(hidden)]
#[must_use]
pub fn interface<B: Quotes>() -> Interface {
    Interface(offer(Producer::<B>::TABLE))
}

struct Producer<B>(std::marker::PhantomData<B>);

impl<B: Quotes> Producer<B> {
    const TABLE: &'static QuotesV1 = &QuotesV1 { quotes: Self::quotes };

    unsafe extern "C" fn quotes(broker: *const c_void, symbols: RSlice<'_, RStr<'_>>) -> RRows<RQuote> {
        // SAFETY: the host calls with what `open` gave.
        let instance = unsafe { Instance::<B>::borrow(broker) };
        let read = |broker: &B| {
            let symbols: Vec<String> = symbols.iter().map(|s| s.as_str().to_owned()).collect();
            broker.quotes(&symbols)
        };
        instance.rows(read, quote_out)
    }
}

fn quote_out(quote: Quote) -> RQuote {
    RQuote {
        symbol: quote.symbol.into(),
        last_price: convert::option_out(quote.last_price),
        previous_close: convert::option_out(quote.previous_close),
        at_ms: quote.at_ms.into(),
        extras: quote.extras.into(),
    }
}

#[cfg_attr(not(feature = "host"), allow(dead_code))]
pub(crate) fn quote_in(quote: RQuote) -> Result<Quote, convert::Fault> {
    Ok(Quote {
        symbol: quote.symbol.into_string(),
        last_price: convert::option_in("last_price", quote.last_price)?,
        previous_close: convert::option_in("previous_close", quote.previous_close)?,
        at_ms: quote.at_ms.into_option(),
        extras: quote.extras.into_string(),
    })
}
