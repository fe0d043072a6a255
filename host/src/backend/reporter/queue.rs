//! Which report goes next: in sequence per order, orders side by side. Pure; time is passed in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use qt_core::Report;
use tokio::time::Instant;

use crate::backoff::Backoff;

/// One row of the outbox that waits to be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutboxRow {
    /// The row; rows of one order are posted by ascending id.
    pub(crate) id: i64,
    /// What must go in sequence shares this.
    pub(crate) order_key: String,
    /// What is posted.
    pub(crate) report: Report,
    /// The body that a person put in its place.
    pub(crate) override_body: Option<String>,
    /// How often it was tried before, for messages.
    pub(crate) attempts: u32,
}

/// The first wait after a failure that concerns one order alone, and the longest.
const LEAST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// In the line of those that may go.
    Ready,
    /// Its first row is being posted.
    Posting,
    /// Its first row failed and waits for its time.
    Waiting(Instant),
}

#[derive(Debug)]
struct Order {
    rows: VecDeque<OutboxRow>,
    lane: Lane,
    backoff: Backoff,
}

/// The rows held in memory.
#[derive(Debug, Default)]
pub(super) struct Queue {
    orders: HashMap<Arc<str>, Order>,
    ready: VecDeque<Arc<str>>,
    waiting: BinaryHeap<Reverse<(Instant, Arc<str>)>>,
    held: HashSet<i64>,
    delivered: Ids,
}

impl Queue {
    /// How many rows are held, those being posted included.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Takes a row in, unless it is held already or was delivered since the start.
    pub(super) fn insert(&mut self, row: OutboxRow) {
        if self.delivered.contains(row.id) || !self.held.insert(row.id) {
            return;
        }
        if let Some(order) = self.orders.get_mut(row.order_key.as_str()) {
            // A resent dead letter is older than what waits behind it.
            let place = order.rows.partition_point(|other| other.id < row.id);
            order.rows.insert(place, row);
            return;
        }
        let key: Arc<str> = row.order_key.as_str().into();
        let backoff = Backoff::new(LEAST_WAIT, LONGEST_WAIT);
        self.orders.insert(
            key.clone(),
            Order {
                rows: VecDeque::from([row]),
                lane: Lane::Ready,
                backoff,
            },
        );
        self.ready.push_back(key);
    }

    /// The next row that may be posted.
    pub(super) fn next(&mut self) -> Option<OutboxRow> {
        let key = self.ready.pop_front()?;
        let order = self.orders.get_mut(&key)?;
        order.lane = Lane::Posting;
        order.rows.pop_front()
    }

    /// When the next waiting order may go again, where one waits.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((due, _))| *due)
    }

    /// True when an order may go now.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The backend has it.
    pub(super) fn delivered(&mut self, id: i64, key: &str) {
        self.delivered.insert(id);
        self.gone(id, key);
    }

    /// The backend refused it for good; what follows it may go.
    pub(super) fn refused(&mut self, id: i64, key: &str) {
        self.gone(id, key);
    }

    /// It comes again after all others that are ready; used when nothing reaches the backend.
    pub(super) fn again(&mut self, row: OutboxRow) {
        if let Some((key, order)) = self.put_back(row) {
            order.lane = Lane::Ready;
            self.ready.push_back(key);
        }
    }

    /// It comes again after a wait of its own; gives the wait and how often in a row it failed.
    pub(super) fn later(&mut self, row: OutboxRow, asked: Option<Duration>, now: Instant) -> (Duration, u32) {
        let Some((key, order)) = self.put_back(row) else {
            return (Duration::ZERO, 0);
        };
        let wait = order.backoff.next(asked);
        order.lane = Lane::Waiting(now + wait);
        let tries = order.backoff.failures();
        self.waiting.push(Reverse((now + wait, key)));
        (wait, tries)
    }

    /// Every waiting order may go now: the backend was away and is back.
    pub(super) fn wake_all(&mut self) {
        while let Some(Reverse((_, key))) = self.waiting.pop() {
            self.make_ready(key);
        }
    }

    /// Lets those go whose wait is over.
    pub(super) fn wake(&mut self, now: Instant) {
        while self.next_due().is_some_and(|due| due <= now) {
            if let Some(Reverse((_, key))) = self.waiting.pop() {
                self.make_ready(key);
            }
        }
    }

    fn make_ready(&mut self, key: Arc<str>) {
        if let Some(order) = self.orders.get_mut(&key)
            && matches!(order.lane, Lane::Waiting(_))
        {
            order.lane = Lane::Ready;
            self.ready.push_back(key);
        }
    }

    fn put_back(&mut self, row: OutboxRow) -> Option<(Arc<str>, &mut Order)> {
        let key = self.orders.get_key_value(row.order_key.as_str())?.0.clone();
        let order = self.orders.get_mut(&key)?;
        let place = order.rows.partition_point(|other| other.id < row.id);
        order.rows.insert(place, row);
        Some((key, order))
    }

    fn gone(&mut self, id: i64, key: &str) {
        self.held.remove(&id);
        let Some((key, _)) = self.orders.get_key_value(key) else {
            return;
        };
        let key = key.clone();
        if let Some(order) = self.orders.get_mut(&key) {
            order.backoff.reset();
            if order.rows.is_empty() {
                self.orders.remove(&key);
            } else {
                order.lane = Lane::Ready;
                self.ready.push_back(key);
            }
        }
    }
}

/// A set of row ids as ranges: what is delivered is nearly all of them, so that it stays small.
#[derive(Debug, Default)]
struct Ids(BTreeMap<i64, i64>);

impl Ids {
    fn contains(&self, id: i64) -> bool {
        self.0
            .range(..=id)
            .next_back()
            .is_some_and(|(_, last)| *last >= id)
    }

    fn insert(&mut self, id: i64) {
        if self.contains(id) {
            return;
        }
        let mut range = (id, id);
        if let Some((&first, &last)) = self.0.range(..id).next_back()
            && last + 1 == id
        {
            range.0 = first;
        }
        if let Some(next) = id.checked_add(1)
            && let Some(last) = self.0.remove(&next)
        {
            range.1 = last;
        }
        self.0.insert(range.0, range.1);
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
