//! One number for the whole state, kept up to date as orders change.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::slot::{Head, Slot};
use super::{Settled, Trader};
use crate::ids::{ClientOrderId, SignalId};
use crate::order::Order;
use crate::time::{TradingDate, UtcMillis};

/// The sum over all orders, and the orders whose share is out of date.
#[derive(Debug, Clone, Default)]
pub(super) struct Digest {
    sum: u64,
    stale: BTreeSet<ClientOrderId>,
    unsaved: BTreeSet<ClientOrderId>,
    /// Changed and left the memory before anybody kept a copy.
    retired: Vec<Slot>,
    /// What orders were kept by, whose time of receipt was moved since.
    rekeyed: Vec<(UtcMillis, ClientOrderId)>,
}

impl Digest {
    pub(super) fn touch(&mut self, id: ClientOrderId) {
        self.stale.insert(id);
        self.unsaved.insert(id);
    }

    /// It is kept by another time of receipt than this from now on.
    pub(super) fn rekeyed(&mut self, received_at: UtcMillis, id: ClientOrderId) {
        self.rekeyed.push((received_at, id));
    }

    /// It was unpacked: the next digest packs it again.
    pub(super) fn look_again(&mut self, id: ClientOrderId) {
        self.stale.insert(id);
    }

    pub(super) fn forget(&mut self, slot: Slot, id: ClientOrderId) {
        self.sum = self.sum.wrapping_sub(slot.hash());
        self.stale.remove(&id);
        if self.unsaved.remove(&id) {
            self.retired.push(slot);
        }
    }
}

impl Trader {
    /// A number that is equal for equal states. It does not depend on the way that led there.
    pub fn digest(&mut self) -> u64 {
        for id in std::mem::take(&mut self.digest.stale) {
            if let Some(slot) = self.orders.get_mut(&id) {
                let before = slot.hash();
                let after = slot.refresh();
                self.digest.sum = self.digest.sum.wrapping_sub(before).wrapping_add(after);
            }
        }
        // Whom the broker's absence was told is no part of it, so that journals of before it was noted still fit.
        let rest = (
            self.digest.sum,
            self.orders.len(),
            self.live.len(),
            self.submitting,
            &self.refused,
            &self.halted,
            self.day,
            (self.connected, self.reconciled, self.foreign),
        );
        let base = postcard::to_stdvec(&rest).map_or(0, |bytes| xxh3_64(&bytes));
        if self.settings.gates.are_open() && self.reducing.is_none() {
            // As it was before there were gates, so that journals of that time still fit.
            return base;
        }
        let gated = (base, &self.reducing, &self.exposure);
        postcard::to_stdvec(&gated).map_or(0, |bytes| xxh3_64(&bytes))
    }

    /// The orders that changed since [`Self::changed_are_kept`], for whoever keeps copies of them.
    pub fn changed(&self) -> impl Iterator<Item = PackedOrder<'_>> {
        let unsaved = self.digest.unsaved.iter().filter_map(|id| self.orders.get(id));
        let slots = self.digest.retired.iter().chain(unsaved);
        slots.map(|slot| PackedOrder(slot.packed()))
    }

    /// Times of receipt and ids by which no order is to be kept any longer, since its time was moved when a clock was set
    /// back. Copies by them may exist.
    pub fn rekeyed(&self) -> impl Iterator<Item = (UtcMillis, ClientOrderId)> {
        self.digest.rekeyed.iter().copied()
    }

    /// Copies of all that changed are kept now.
    pub fn changed_are_kept(&mut self) {
        self.digest.retired = Vec::new();
        self.digest.rekeyed = Vec::new();
        self.digest.unsaved.clear();
    }

    /// How many orders [`Self::changed`] would give.
    #[must_use]
    pub fn changed_count(&self) -> usize {
        self.digest.retired.len() + self.digest.unsaved.len()
    }

    /// What is not an order, for a checkpoint.
    #[must_use]
    pub fn frame(&self) -> Frame {
        Frame {
            settings: self.settings.clone(),
            now: self.now,
            refused: self.refused.clone(),
            halted: self.halted.clone(),
            connected: self.connected,
            away: self.away.clone(),
            reconciled: self.reconciled,
            foreign: self.foreign,
            reducing: self.reducing.clone(),
            // Who waited behind sales keeps that moment, also where a later start opened the gate.
            exposure: (!self.settings.gates.are_open() || self.exposure.bars_any())
                .then(|| Box::new(self.exposure.clone())),
        }
    }

    /// The state that a checkpoint holds begins with its frame. To it come the orders that were in memory
    /// ([`Self::put_back`]) and the signals of earlier days ([`Self::put_back_settled`]).
    #[must_use]
    pub fn restore(frame: Frame) -> Self {
        let mut exposure = frame.exposure.map(|exposure| *exposure).unwrap_or_default();
        exposure.settles_in(frame.settings.gates.book_settle_ms);
        exposure.rebuild();
        let mut trader = Self {
            exposure,
            reducing: frame.reducing,
            day: frame.now.trading_date(),
            now: frame.now,
            settings: frame.settings,
            refused: frame.refused,
            halted: frame.halted,
            connected: frame.connected,
            away: frame.away,
            reconciled: frame.reconciled,
            foreign: frame.foreign,
            ..Self::default()
        };
        trader.use_tables();
        trader
    }

    /// Puts an order back that [`Self::changed`] gave. One that has ended is looked at and copied, and no more; of one
    /// that ended before the frame's day only that stays.
    ///
    /// # Errors
    ///
    /// The bytes are damaged, and nothing was changed.
    pub fn put_back(&mut self, bytes: &[u8]) -> Result<(), NotPacked> {
        use crate::order::OrderState::{Intended, Submitting, Unknown};
        let head = Head::of(bytes).ok_or(NotPacked)?;
        if head.ended_day().is_some_and(|day| day < self.day) {
            self.settle(Key::of(head.signal.id), head.settled());
            return Ok(());
        }
        let slot = Slot::from_packed(bytes, head.state).ok_or(NotPacked)?;
        let (id, state) = (head.id, head.state);
        if !state.is_ended() {
            self.live.insert(id);
        }
        self.index_restored(&head);
        if let (Intended, Some(order)) = (state, slot.whole()) {
            self.ready.insert((super::intake::Rank::of(&order.signal), id));
        }
        self.restore_waiting(&slot, state);
        self.submitting += u32::from(state == Submitting);
        self.unknown += usize::from(state == Unknown);
        if let Some(order) = slot.whole() {
            let wakes = self.wakes_at(order);
            self.wakes.change(id, None, wakes);
        }
        self.digest.sum = self.digest.sum.wrapping_add(slot.hash());
        self.orders.insert(id, slot);
        Ok(())
    }

    /// Puts back that a signal was dealt with whose order is kept elsewhere.
    pub fn put_back_settled(&mut self, signal: &str, entry: Settled) {
        self.settle(Key::of(signal), entry);
    }

    /// What gates know of orders without keeping it: who waits, and the sales of plans.
    fn restore_waiting(&mut self, slot: &Slot, state: crate::order::OrderState) {
        use crate::order::OrderState::{Deferred, NotAccepted};
        if state.is_ended() && state != NotAccepted {
            return;
        }
        let Some(order) = slot.order() else { return };
        if state == Deferred && order.code.as_deref().is_some_and(super::intake::waits_for_facts) {
            self.waiting.insert(order.id);
        }
        self.exposure.follow_plan(&order);
    }

    fn index_restored(&mut self, head: &Head<'_>) {
        let signal = Key::of(head.signal.id);
        let other = self.by_signal.get(&signal).and_then(|id| self.order(*id));
        if other.is_none_or(|other| other.signal.retry_count <= head.signal.retry_count) {
            self.by_signal.insert(signal, head.id);
        }
        if head.revived {
            self.revived.insert(head.signal.id.into());
        }
        self.index_broker(head.id, head.day(), head.broker_order_id);
    }

    pub(super) fn settle(&mut self, signal: Key, entry: Settled) {
        let kept = self.settled.entry(signal).or_insert(entry);
        // One attempt that allows no other is enough, in whatever order they come.
        *kept = Settled {
            retry_count: entry.retry_count.max(kept.retry_count),
            reopens: entry.reopens && kept.reopens,
        };
    }

    pub(super) fn settled(&self, signal: &SignalId) -> Option<Settled> {
        self.settled.get(&Key::of(&signal.0)).copied()
    }

    /// Adds an order to every index.
    pub(super) fn insert(&mut self, order: Order) {
        let id = order.id;
        let signal = Arc::clone(&order.signal);
        let state = order.state;
        self.by_signal.insert(Key::of(&signal.id.0), id);
        if !state.is_ended() {
            self.live.insert(id);
        }
        if state == crate::order::OrderState::Unknown {
            self.unknown += 1;
        }
        if state == crate::order::OrderState::Intended {
            self.ready.insert((super::intake::Rank::of(&signal), id));
        }
        let wakes = self.wakes_at(&order);
        self.wakes.change(id, None, wakes);
        self.exposure.follow_plan(&order);
        self.orders.insert(id, Slot::new(order));
        self.digest.touch(id);
    }
}

/// A name as 128 bits, so that two never fall together: 16 bytes instead of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 16]);

impl Key {
    pub(super) fn of(name: &str) -> Self {
        Self(xxh3_128(name.as_bytes()).to_le_bytes())
    }
}

/// An order as bytes, for a checkpoint.
#[derive(Debug)]
pub struct PackedOrder<'a>(Cow<'a, [u8]>);

/// What a checkpoint finds orders by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedKeys<'a> {
    /// Ours.
    pub id: ClientOrderId,
    /// When its signal came: with the id what a copy is kept by. A clock that is set back may move it ([`Trader::rekeyed`]).
    pub received_at: UtcMillis,
    /// The backend's name for the signal.
    pub signal: &'a str,
    /// What is kept of it once its day is over.
    pub settled: Settled,
    /// Where it stands.
    pub state: crate::order::OrderState,
    /// As [`Order::day`](crate::Order::day).
    pub day: TradingDate,
    /// The day on which it ended, if it has.
    pub ended_day: Option<TradingDate>,
}

impl PackedOrder<'_> {
    /// What [`Trader::put_back`] and [`unpack`](super::unpack) read.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What it is found by.
    ///
    /// # Errors
    ///
    /// It could not be packed, and must not be kept so.
    pub fn keys(&self) -> Result<PackedKeys<'_>, NotPacked> {
        let head = Head::of(&self.0).ok_or(NotPacked)?;
        Ok(PackedKeys {
            id: head.id,
            received_at: head.received_at,
            signal: head.signal.id,
            settled: head.settled(),
            state: head.state,
            day: head.day(),
            ended_day: head.ended_day(),
        })
    }
}

/// Bytes that are no packed order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no packed order")]
pub struct NotPacked;

/// What a checkpoint keeps besides the orders.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Frame {
    settings: super::Settings,
    now: UtcMillis,
    refused: std::collections::BTreeMap<SignalId, u32>,
    halted: Option<String>,
    connected: bool,
    reconciled: bool,
    foreign: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    away: Option<super::away::Away>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reducing: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exposure: Option<Box<super::Exposure>>,
}

impl Frame {
    /// The latest moment that the state has seen.
    #[must_use]
    pub const fn now(&self) -> UtcMillis {
        self.now
    }
}
