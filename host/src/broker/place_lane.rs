//! The lane in which orders are given to the plugin, one at a time, watched by a deadline.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qt_core::{ClientOrderId, Event, NewOrder};
use qt_plugin_api::PlaceResult;

use super::convert;
use super::link::Placed;
use super::supervisor::Supervisor;
use crate::clock::Clock;
use crate::engine::input::{Input, Sender};
use crate::monitor::meters::{BrokerCall, Meters};

/// Orders that wait for the plugin, and the call that is under way.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Instant, Box<NewOrder>)>,
    current: Option<Call>,
    closed: bool,
    /// True while the plugin is being exchanged for another version of it.
    exchanged: bool,
}

#[derive(Debug, Clone, Copy)]
struct Call {
    id: ClientOrderId,
    since: Instant,
    overdue: bool,
}

/// The lane, shared by those who fill it, its thread and its watchdog.
#[derive(Debug, Clone, Default)]
pub(super) struct PlaceLane {
    shared: Arc<(Mutex<Queue>, Condvar)>,
}

impl PlaceLane {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing in here panics while it holds the lock; were it to, the queue is still whole.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an order, or gives back its name once the lane is closed: nobody would ever call the plugin with it.
    pub(super) fn push(&self, order: Box<NewOrder>) -> Result<(), ClientOrderId> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(order.id);
        }
        queue.waiting.push_back((Instant::now(), order));
        drop(queue);
        self.shared.1.notify_one();
        Ok(())
    }

    /// Ends the lane after the call that is under way; gives back what was not called.
    pub(super) fn close(&self) -> Vec<ClientOrderId> {
        let mut queue = self.queue();
        queue.closed = true;
        self.shared.1.notify_all();
        queue.waiting.drain(..).map(|(_, order)| order.id).collect()
    }

    /// Says that the plugin is being exchanged, or that this is over.
    pub(super) fn set_exchanged(&self, exchanged: bool) {
        self.queue().exchanged = exchanged;
    }

    /// True while the plugin is being exchanged.
    pub(super) fn is_exchanged(&self) -> bool {
        self.queue().exchanged
    }

    /// True while a call is under way.
    pub(super) fn is_calling(&self) -> bool {
        self.queue().current.is_some()
    }

    /// True when no order waits and none is under way.
    pub(super) fn is_empty(&self) -> bool {
        let queue = self.queue();
        queue.waiting.is_empty() && queue.current.is_none()
    }

    /// Gives back what was not called, and goes on.
    pub(super) fn take_waiting(&self) -> Vec<ClientOrderId> {
        self.queue()
            .waiting
            .drain(..)
            .map(|(_, order)| order.id)
            .collect()
    }

    /// True while a call has not come back in time.
    pub(super) fn is_stuck(&self) -> bool {
        self.queue().current.is_some_and(|call| call.overdue)
    }

    /// What has become overdue since the last look: a call without an answer, and orders that have
    /// waited behind such a call too long and were never handed over.
    pub(super) fn overdue(&self, deadline: Duration) -> Vec<Event> {
        let mut queue = self.queue();
        let mut events = Vec::new();
        let Some(call) = queue
            .current
            .as_mut()
            .filter(|call| call.since.elapsed() >= deadline)
        else {
            return events;
        };
        if !call.overdue {
            call.overdue = true;
            let reason = format!("the plugin has not answered within {} s", deadline.as_secs_f32());
            events.push(Event::Unanswered {
                id: call.id,
                reason,
                outstanding: true,
            });
        }
        while queue
            .waiting
            .front()
            .is_some_and(|(since, _)| since.elapsed() >= deadline)
        {
            let Some((_, order)) = queue.waiting.pop_front() else {
                break;
            };
            let reason = "the plugin hangs in an earlier call".to_owned();
            events.push(Event::NotSent { id: order.id, reason });
        }
        events
    }

    fn next(&self) -> Option<Box<NewOrder>> {
        let mut queue = self.queue();
        queue.current = None;
        loop {
            if queue.closed {
                return None;
            }
            if let Some((_, order)) = queue.waiting.pop_front() {
                queue.current = Some(Call {
                    id: order.id,
                    since: Instant::now(),
                    overdue: false,
                });
                return Some(order);
            }
            queue = self.shared.1.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The thread of the lane.
    pub(super) fn run(&self, broker: &Supervisor, engine: &Sender, clock: Clock, meters: &Meters) {
        while let Some(order) = self.next() {
            let event = meters.timed(BrokerCall::Place, || place(broker, &order, clock));
            // Before the answer leaves, so that a deadline that passes now is not held against it.
            self.queue().current = None;
            crate::failpoint::die_at("after-call");
            if engine.blocking_send(Input::Fact(event)).is_err() {
                return;
            }
        }
    }
}

fn place(broker: &Supervisor, order: &NewOrder, clock: Clock) -> Event {
    let id = order.id;
    if order.not_after.is_some_and(|until| until.0 <= clock.now_ms()) {
        return Event::NotSent {
            id,
            reason: "valid_until passed while it waited for the plugin".into(),
        };
    }
    crate::failpoint::die_at("before-call");
    let answer = match broker.place(&convert::request(order)) {
        Placed::Answer(answer) => answer,
        Placed::NotSent(reason) => return Event::NotSent { id, reason },
    };
    match answer {
        PlaceResult::Accepted { broker_order_id } if broker_order_id.is_empty() => Event::Unanswered {
            id,
            reason: "the plugin accepted it without naming it".into(),
            outstanding: false,
        },
        PlaceResult::Accepted { broker_order_id } => Event::Accepted {
            id,
            broker_order_id: broker_order_id.as_str().into(),
        },
        PlaceResult::Rejected { reason } => Event::Rejected { id, reason },
        PlaceResult::Unknown { reason } => Event::Unanswered {
            id,
            reason,
            outstanding: false,
        },
    }
}
