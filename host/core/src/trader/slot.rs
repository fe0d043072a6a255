//! An order in memory: whole while it lives, packed once it has ended.
//!
//! Whole, an order takes some 2 KB; packed, some 200 bytes. Nothing is lost by it: a late fill
//! unpacks the order, is booked, and packs it again, so that a day may end 100,000 orders.

use std::borrow::Cow;

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use super::Settled;
use crate::ids::ClientOrderId;
use crate::order::{Order, OrderState};
use crate::time::{TradingDate, UtcMillis};

/// An order and its share of the digest.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    /// Its share may be out of date.
    Whole(Box<(Order, u64)>),
    /// What [`pack`] made of it; its share is the hash of that.
    Packed(Box<[u8]>),
}

/// The first fields of a packed order, read in place without unpacking the rest: those of [`Order`] in their order.
#[derive(Debug, Deserialize)]
pub(crate) struct Head<'a> {
    pub(crate) id: ClientOrderId,
    pub(crate) state: OrderState,
    pub(super) revived: bool,
    pub(super) received_at: UtcMillis,
    sent_at: Option<UtcMillis>,
    ended_at: Option<UtcMillis>,
    pub(super) broker_order_id: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) fills: Vec<FillHead<'a>>,
    pub(crate) signal: SignalHead<'a>,
}

impl<'a> Head<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        postcard::take_from_bytes(bytes).ok().map(|(head, _)| head)
    }

    /// As [`Order::day`].
    pub(super) fn day(&self) -> TradingDate {
        self.sent_at.unwrap_or(self.received_at).trading_date()
    }

    /// The day on which it ended.
    pub(crate) fn ended_day(&self) -> Option<TradingDate> {
        self.ended_at
            .filter(|_| self.state.is_ended())
            .map(UtcMillis::trading_date)
    }

    /// What is kept of it once its day is over.
    pub(super) const fn settled(&self) -> Settled {
        Settled {
            retry_count: self.signal.retry_count,
            // As `Order::allows_next_attempt`.
            reopens: self.state.allows_next_attempt() && !self.revived,
        }
    }
}

/// A signal, read in place: the first fields of [`crate::signal::Signal`] in their order.
#[derive(Debug, Deserialize)]
pub(crate) struct SignalHead<'a> {
    pub(super) id: &'a str,
    pub(super) retry_count: u32,
    pub(crate) symbol: qt_market::Symbol,
    pub(crate) side: qt_market::Side,
    pub(crate) size: qt_market::Shares,
}

/// A trade, read in place: the fields of [`crate::order::Fill`] in their order.
#[derive(Debug, Deserialize)]
pub(crate) struct FillHead<'a> {
    pub(crate) id: &'a str,
    pub(crate) size: qt_market::Shares,
    _price: (i128, u32),
    _fees: [Option<(i128, u32)>; 3],
    _at: UtcMillis,
}

/// An order as a comparison with the broker's books needs it.
#[derive(Debug)]
pub(crate) enum Glimpse<'a> {
    Whole(&'a Order),
    Packed(Head<'a>),
}

/// An order as bytes, which [`unpack`] reads.
fn pack(order: &Order) -> Vec<u8> {
    // These types always serialise; were one not to, the digest would differ and tell.
    postcard::to_stdvec(order).unwrap_or_default()
}

/// The order that [`Trader::changed`](super::Trader::changed) gave as bytes; `None` where they are damaged.
#[must_use]
pub fn unpack(bytes: &[u8]) -> Option<Order> {
    postcard::from_bytes(bytes).ok()
}

impl Slot {
    pub(super) fn new(order: Order) -> Self {
        Self::Whole(Box::new((order, 0)))
    }

    /// One that was packed: an order that has ended stays so.
    pub(super) fn from_packed(bytes: &[u8], state: OrderState) -> Option<Self> {
        if state.is_ended() {
            return Some(Self::Packed(bytes.into()));
        }
        Some(Self::Whole(Box::new((unpack(bytes)?, xxh3_64(bytes)))))
    }

    /// Its bytes.
    pub(super) fn packed(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Whole(slot) => Cow::Owned(pack(&slot.0)),
            Self::Packed(bytes) => Cow::Borrowed(bytes),
        }
    }

    /// The order, unpacked where it has to be.
    pub(super) fn order(&self) -> Option<Cow<'_, Order>> {
        match self {
            Self::Whole(slot) => Some(Cow::Borrowed(&slot.0)),
            Self::Packed(bytes) => unpack(bytes).map(Cow::Owned),
        }
    }

    /// The order, unless it is packed.
    pub(super) fn whole(&self) -> Option<&Order> {
        match self {
            Self::Whole(slot) => Some(&slot.0),
            Self::Packed(_) => None,
        }
    }

    pub(super) fn glimpse(&self) -> Option<Glimpse<'_>> {
        match self {
            Self::Whole(slot) => Some(Glimpse::Whole(&slot.0)),
            Self::Packed(bytes) => Head::of(bytes).map(Glimpse::Packed),
        }
    }

    /// Its share of the digest, as of the last [`Self::refresh`].
    pub(super) fn hash(&self) -> u64 {
        match self {
            Self::Whole(slot) => slot.1,
            Self::Packed(bytes) => xxh3_64(bytes),
        }
    }

    /// Makes it whole.
    pub(super) fn unpack(&mut self) -> Option<&mut Order> {
        if let Self::Packed(bytes) = self {
            *self = Self::Whole(Box::new((unpack(bytes)?, self.hash())));
        }
        match self {
            Self::Whole(slot) => Some(&mut slot.0),
            Self::Packed(_) => None,
        }
    }

    /// Brings its share of the digest up to date, and packs it if it has ended.
    pub(super) fn refresh(&mut self) -> u64 {
        let Self::Whole(slot) = self else {
            return self.hash();
        };
        let bytes = pack(&slot.0);
        let hash = xxh3_64(&bytes);
        slot.1 = hash;
        // One that would come back otherwise stays whole.
        if slot.0.state.is_ended() && unpack(&bytes).as_ref() == Some(&slot.0) {
            *self = Self::Packed(bytes.into_boxed_slice());
        }
        hash
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use qt_market::Side;

    use super::*;
    use crate::ids::{BrokerOrderId, FillId, SignalId};
    use crate::order::Fill;
    use crate::signal::Signal;
    use crate::time::UtcMillis;

    fn filled() -> Order {
        let signal = Signal {
            id: SignalId("5f0c3f0e-6a0f-4d8e-9a52-0a8f2a0d7c11".into()),
            symbol: "000858.SZ".parse().unwrap(),
            side: Side::Buy,
            size: 300,
            price: Some("43.50".parse().unwrap()),
            retry_count: 0,
            strategy: Some("momentum".into()),
            strategy_name: None,
            created_at: Some(UtcMillis(1_795_485_600_000)),
            securities_account_id: None,
            account_id: None,
            broker: None,
            activate_after: None,
            valid_until: None,
            execution_priority: 1000,
            reference_price: None,
            max_slippage_bps: None,
            price_floor: None,
            price_ceiling: None,
            effective_limit_price: None,
            plan_id: None,
        };
        let id = ClientOrderId::derive("account", &signal.id, 0);
        let mut order = Order::new(id, Arc::new(signal), UtcMillis(1_795_485_600_123));
        order.state = OrderState::Filled;
        order.broker_order_id = Some(BrokerOrderId("SIM00000001".into()));
        order.sent_at = Some(UtcMillis(1_795_485_600_200));
        order.ended_at = Some(UtcMillis(1_795_485_600_789));
        for (name, price) in [
            ("T1", "43.2100"),
            ("T2", "-0.0"),
            ("T3", "79228162514264337593543950335"),
        ] {
            order.fills.push(Fill {
                id: FillId(name.into()),
                size: 100,
                price: price.parse().unwrap(),
                commission: Some("5".parse().unwrap()),
                stamp_tax: None,
                transfer_fee: Some("0.0432".parse().unwrap()),
                at: UtcMillis(1_795_485_600_456),
            });
        }
        order
    }

    #[test]
    fn an_ended_order_is_packed_small_and_comes_back_as_it_was() {
        let order = filled();
        let mut slot = Slot::new(order.clone());
        let hash = slot.refresh();
        let Slot::Packed(bytes) = &slot else {
            panic!("an ended order stays whole")
        };
        assert!(bytes.len() < 272, "{} bytes", bytes.len());
        assert_eq!(slot.hash(), hash);
        assert_eq!(slot.order().unwrap().into_owned(), order);
        assert_eq!(*slot.unpack().unwrap(), order);
        assert_eq!(slot.refresh(), hash);
        assert!(slot.whole().is_none());
    }

    #[test]
    fn the_head_of_a_packed_order_is_the_order() {
        let order = filled();
        let mut slot = Slot::new(order.clone());
        slot.refresh();
        let Some(Glimpse::Packed(head)) = slot.glimpse() else {
            panic!("an ended order stays whole")
        };
        assert_eq!((head.id, head.state), (order.id, order.state));
        assert_eq!(head.day(), order.day());
        assert_eq!(head.ended_day(), order.ended_at.map(|at| at.trading_date()));
        assert_eq!(head.broker_order_id, Some("SIM00000001"));
        let settled = head.settled();
        assert_eq!(
            (settled.retry_count, settled.reopens),
            (order.signal.retry_count, order.allows_next_attempt())
        );
        let signal = &head.signal;
        assert_eq!(signal.id, order.signal.id.0);
        assert_eq!(
            (signal.symbol, signal.side, signal.size),
            (order.signal.symbol, order.signal.side, order.signal.size)
        );
        let read: Vec<_> = head.fills.iter().map(|fill| (fill.id, fill.size)).collect();
        assert_eq!(read, [("T1", 100), ("T2", 100), ("T3", 100)]);
    }

    /// Journals hold orders so. Whoever changes what `Order` or `Signal` hold gives journals another format, and
    /// reads the old one for as long as there are journals of it.
    #[test]
    fn the_bytes_of_an_order_never_change() {
        let hex: String = pack(&filled()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "14374f4654574e584b4756585853553647514d5a510b00f6a5c0b4c1680190a7c0b4c16801aab0c0b4c168010b53494d\
        303030303030303103025431c801c8df3404010a000001e0060490abc0b4c168025432c8010001010a000001e0060490\
        abc0b4c168025433c801feffffffffffffffffffffffff3f00010a000001e0060490abc0b4c168243566306333663065\
        2d366130662d346438652d396135322d30613866326130643763313100093030303835382e535a00d80401fc43020108\
        6d6f6d656e74756d000180a4c0b4c1680000000000d00f00000000000000000000000000000000000000";

    #[test]
    fn damaged_bytes_are_no_order() {
        let bytes = pack(&filled());
        let mut trader = crate::Trader::new();
        for cut in 0..bytes.len() {
            assert!(unpack(&bytes[..cut]).is_none(), "cut at {cut}");
        }
        assert!(trader.put_back(&bytes[..20]).is_err());
        assert_eq!(trader.orders().count(), 0);
        trader.put_back(&bytes).unwrap();
        assert_eq!(trader.orders().count(), 1);
    }

    #[test]
    fn a_live_order_stays_whole() {
        let mut order = filled();
        order.state = OrderState::PartiallyFilled;
        let mut slot = Slot::new(order);
        slot.refresh();
        assert!(slot.whole().is_some());
    }
}
