//! `broker.trades/1`: the trades since a point, so that reconciling need not read the whole day again.

use std::ffi::c_void;

use abi_stable::{
    StableAbi,
    std_types::{ROption, RStr, RString, RVec},
};

use super::{Interface, offer};
use crate::{
    broker::Broker,
    convert,
    glue::Instance,
    v1::{codes::call, values::RTradeRow},
    values::{CallError, TradeRow},
};

/// Name of [`TradesV1`].
pub const NAME: &str = "broker.trades/1";

/// Trades since a point of the day.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TradesPage {
    /// Every trade since then. One that was told before may come again; one must never be missing.
    pub trades: Vec<TradeRow>,
    /// The point up to which they go, in the plugin's own notation: the next question begins there.
    pub cursor: String,
}

/// For a broker that can tell what came since. Announce it by `interfaces: [trades]` in
/// [`export_broker!`](crate::export_broker).
pub trait TradesSince: Broker {
    /// Every trade of the day since `cursor`, which an earlier page gave; from the day's start without one.
    ///
    /// A cursor that means nothing to this broker (it was restarted, or another day has begun) is answered from the
    /// day's start: a trade that comes twice does no harm.
    ///
    /// # Errors
    /// Whenever the page could lack a trade.
    fn trades_since(&self, cursor: Option<&str>) -> Result<TradesPage, CallError>;
}

/// [`TradesPage`] as it crosses the boundary.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("broker.trades/1 page: 1=complete 2=failed"))]
pub struct RTradesPage {
    /// A code of `codes::call`.
    pub code: u8,
    /// Every trade; empty and without meaning after a failure.
    pub trades: RVec<RTradeRow>,
    /// Where the next page begins.
    pub cursor: RString,
    /// Why it failed, else empty.
    pub error: RString,
}

/// The table. Its functions take the broker as their context.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("broker.trades/1"))]
pub struct TradesV1 {
    /// Trades since a cursor; from the day's start without one.
    pub trades_since: unsafe extern "C" fn(broker: *const c_void, cursor: ROption<RStr<'_>>) -> RTradesPage,
}

/// For the macro alone.
#[doc(hidden)]
#[must_use]
pub fn interface<B: TradesSince>() -> Interface {
    Interface(offer(Producer::<B>::TABLE))
}

struct Producer<B>(std::marker::PhantomData<B>);

impl<B: TradesSince> Producer<B> {
    const TABLE: &'static TradesV1 = &TradesV1 {
        trades_since: Self::trades_since,
    };

    unsafe extern "C" fn trades_since(broker: *const c_void, cursor: ROption<RStr<'_>>) -> RTradesPage {
        // SAFETY: the host calls with what `open` gave.
        let instance = unsafe { Instance::<B>::borrow(broker) };
        let result = instance.guard(|broker| {
            let cursor = cursor.into_option();
            let page = broker.trades_since(cursor.as_ref().map(|c| c.as_str()))?;
            let trades: Vec<RTradeRow> = page.trades.into_iter().map(convert::trade_out).collect();
            Ok(RTradesPage {
                code: call::OK,
                trades: trades.into(),
                cursor: page.cursor.into(),
                error: RString::new(),
            })
        });
        let error = match result {
            Ok(Ok(page)) => return page,
            Ok(Err(CallError { reason })) | Err(reason) => reason,
        };
        RTradesPage {
            code: call::FAILED,
            trades: RVec::new(),
            cursor: RString::new(),
            error: error.into(),
        }
    }
}
