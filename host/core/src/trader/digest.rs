//! One number for the whole state, kept up to date as orders change.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::slot::Slot;
use super::{Settled, Trader};
use crate::ids::{ClientOrderId, SignalId};
use crate::order::Order;
use crate::time::UtcMillis;

/// The sum over all orders, and the orders whose share is out of date.
#[derive(Debug, Clone, Default)]
pub(super) struct Digest {
    sum: u64,
    stale: BTreeSet<ClientOrderId>,
    unsaved: BTreeSet<ClientOrderId>,
    /// Changed and left the memory before anybody kept a copy.
    retired: Vec<Slot>,
}

impl Digest {
    pub(super) fn touch(&mut self, id: ClientOrderId) {
        self.stale.insert(id);
        self.unsaved.insert(id);
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
        postcard::to_stdvec(&rest).map_or(0, |bytes| xxh3_64(&bytes))
    }

    /// The orders that changed since [`Self::changed_are_kept`], for whoever keeps copies of them.
    pub fn changed(&self) -> impl Iterator<Item = Cow<'_, Order>> {
        let retired = self.digest.retired.iter().filter_map(Slot::order);
        retired.chain(self.digest.unsaved.iter().filter_map(|id| self.order(*id)))
    }

    /// Copies of all that changed are kept now.
    pub fn changed_are_kept(&mut self) {
        self.digest.retired = Vec::new();
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
            reconciled: self.reconciled,
            foreign: self.foreign,
        }
    }

    /// The state that a checkpoint holds: its frame, the orders that were in memory, and the
    /// signals of earlier days.
    #[must_use]
    pub fn restore(
        frame: Frame,
        orders: impl IntoIterator<Item = Order>,
        settled: impl IntoIterator<Item = (SignalId, Settled)>,
    ) -> Self {
        let mut trader = Self {
            day: frame.now.trading_date(),
            now: frame.now,
            settings: frame.settings,
            refused: frame.refused,
            halted: frame.halted,
            connected: frame.connected,
            reconciled: frame.reconciled,
            foreign: frame.foreign,
            ..Self::default()
        };
        for (signal, entry) in settled {
            trader.settle(&signal, entry);
        }
        for order in orders {
            trader.insert_restored(order);
        }
        trader.changed_are_kept();
        trader
    }

    fn insert_restored(&mut self, order: Order) {
        use crate::order::OrderState::{Intended, Submitting, Unknown};
        let id = order.id;
        if !order.state.is_ended() {
            self.live.insert(id);
        }
        self.index_restored(&order);
        if order.state == Intended {
            self.ready.insert((super::intake::Rank::of(&order.signal), id));
        }
        if order.state == Submitting {
            self.submitting += 1;
        }
        if order.state == Unknown {
            self.unknown += 1;
        }
        // Packed at once: a day's ended orders are never all in memory as they are.
        let mut slot = Slot::new(order);
        self.digest.sum = self.digest.sum.wrapping_add(slot.refresh());
        self.orders.insert(id, slot);
    }

    fn index_restored(&mut self, order: &Order) {
        let newest = self
            .order_of_signal(&order.signal.id)
            .is_none_or(|other| other.signal.retry_count <= order.signal.retry_count);
        if newest {
            self.by_signal.insert(Key::of(&order.signal.id.0), order.id);
        }
        if order.revived {
            self.revived.insert(order.signal.id.clone());
        }
        self.index_broker(order.id, (order.day(), order.broker_order_id.clone()));
    }

    pub(super) fn settle(&mut self, signal: &SignalId, entry: Settled) {
        let kept = self.settled.entry(Key::of(&signal.0)).or_insert(entry);
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
}

impl Frame {
    /// The latest moment that the state has seen.
    #[must_use]
    pub const fn now(&self) -> UtcMillis {
        self.now
    }
}
