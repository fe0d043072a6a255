//! One number for the whole state, kept up to date as orders change.

use std::collections::BTreeSet;
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{Settled, Trader};
use crate::ids::{ClientOrderId, SignalId};
use crate::order::Order;
use crate::time::UtcMillis;

/// An order and its share of the digest.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) order: Order,
    hash: u64,
}

impl Slot {
    pub(super) const fn new(order: Order) -> Self {
        Self { order, hash: 0 }
    }
}

/// The sum over all orders, and the orders whose share is out of date.
#[derive(Debug, Clone, Default)]
pub(super) struct Digest {
    sum: u64,
    stale: BTreeSet<ClientOrderId>,
    unsaved: BTreeSet<ClientOrderId>,
    /// Changed and left the memory before anybody kept a copy.
    retired: Vec<Order>,
}

impl Digest {
    pub(super) fn touch(&mut self, id: ClientOrderId) {
        self.stale.insert(id);
        self.unsaved.insert(id);
    }

    pub(super) fn forget(&mut self, slot: &Slot, id: ClientOrderId) {
        self.sum = self.sum.wrapping_sub(slot.hash);
        self.stale.remove(&id);
        if self.unsaved.remove(&id) {
            self.retired.push(slot.order.clone());
        }
    }
}

fn hash_of(order: &Order) -> u64 {
    // These types always serialise; were one not to, the digest would differ and tell.
    postcard::to_stdvec(order).map_or(0, |bytes| xxh3_64(&bytes))
}

impl Trader {
    /// A number that is equal for equal states. It does not depend on the way that led there.
    pub fn digest(&mut self) -> u64 {
        for id in std::mem::take(&mut self.digest.stale) {
            if let Some(slot) = self.orders.get_mut(&id) {
                let hash = hash_of(&slot.order);
                self.digest.sum = self.digest.sum.wrapping_sub(slot.hash).wrapping_add(hash);
                slot.hash = hash;
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

    /// The orders that changed since the last call, for whoever keeps copies of them.
    pub fn take_changed(&mut self) -> Vec<Order> {
        let mut changed = std::mem::take(&mut self.digest.retired);
        let ids = std::mem::take(&mut self.digest.unsaved);
        changed.extend(ids.into_iter().filter_map(|id| self.order(id).cloned()));
        changed
    }

    /// Gives back what [`Self::take_changed`] took, when no copies could be kept.
    pub fn put_back_changed(&mut self, changed: Vec<Order>) {
        for order in changed {
            if self.orders.contains_key(&order.id) {
                self.digest.unsaved.insert(order.id);
            } else {
                self.digest.retired.push(order);
            }
        }
    }

    /// How many orders [`Self::take_changed`] would give.
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
        trader.digest.unsaved.clear();
        trader.digest.retired.clear();
        trader
    }

    fn insert_restored(&mut self, order: Order) {
        use crate::order::OrderState::{Intended, Submitting, Unknown};
        let id = order.id;
        if !order.state.is_ended() {
            self.live.insert(id);
        }
        if order.state == Intended {
            self.ready.insert((super::intake::Rank::of(&order.signal), id));
        }
        if order.state == Submitting {
            self.submitting += 1;
        }
        if order.state == Unknown {
            self.unknown += 1;
        }
        let newest = self
            .order_of_signal(&order.signal.id)
            .is_none_or(|other| other.signal.retry_count <= order.signal.retry_count);
        if newest {
            self.by_signal.insert(order.signal.id.clone(), id);
        }
        if order.revived {
            self.revived.insert(order.signal.id.clone());
        }
        self.orders.insert(id, Slot::new(order));
        self.index_broker(id);
        self.digest.touch(id);
    }

    pub(super) fn settle(&mut self, signal: &SignalId, entry: Settled) {
        let kept = self.settled.entry(signal_key(signal)).or_insert(entry);
        // One attempt that allows no other is enough, in whatever order they come.
        *kept = Settled {
            retry_count: entry.retry_count.max(kept.retry_count),
            reopens: entry.reopens && kept.reopens,
        };
    }

    pub(super) fn settled(&self, signal: &SignalId) -> Option<Settled> {
        self.settled.get(&signal_key(signal)).copied()
    }

    /// Adds an order to every index.
    pub(super) fn insert(&mut self, order: Order) {
        let id = order.id;
        let signal = Arc::clone(&order.signal);
        let state = order.state;
        self.by_signal.insert(signal.id.clone(), id);
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

/// 128 bits, so that two signals never fall together: 32 bytes an entry instead of a text.
fn signal_key(signal: &SignalId) -> u128 {
    xxh3_128(signal.0.as_bytes())
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
