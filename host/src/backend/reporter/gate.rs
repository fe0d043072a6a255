//! Whether posts go out at all: a dead backend is one wait with a single probe, not one a report.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{Backoff, MAX_ASKED, WHERE_OTHERS_ARE_ANSWERED};

/// So many different orders in a row without one success mean that it is not about an order.
const SUSPECTS: usize = 3;
const LEAST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A post that failed, and what that says about the backend as a whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure<'a> {
    /// Whose post it was.
    pub(super) order: &'a str,
    /// True when the gate was closed as it started.
    pub(super) probe: bool,
    /// True when it cannot be about this order alone.
    pub(super) everything: bool,
    /// How long the backend asks to wait.
    pub(super) asked: Option<Duration>,
    /// The exact wait, in place of one that grows.
    pub(super) fixed: Option<Duration>,
}

impl Failure<'_> {
    /// No probe goes sooner, whatever the backend answers others: that it takes posts again is not said by that.
    fn least_wait(&self) -> Duration {
        self.asked.or(self.fixed).unwrap_or_default().min(MAX_ASKED)
    }
}

/// Open, or closed until a probe gets through.
#[derive(Debug)]
pub(super) struct Gate {
    closed: Option<Closed>,
    backoff: Backoff,
    suspects: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Closed {
    until: Instant,
    /// Not before then, even where the backend answers others.
    earliest: Instant,
    probing: bool,
}

impl Gate {
    pub(super) const fn new() -> Self {
        Self {
            closed: None,
            backoff: Backoff::new(LEAST_WAIT, LONGEST_WAIT),
            suspects: Vec::new(),
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// True when a post may start now.
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.closed
            .is_none_or(|closed| !closed.probing && closed.until <= now)
    }

    /// A post starts. True when it is the probe: its failure must say so.
    pub(super) fn starts(&mut self) -> bool {
        match &mut self.closed {
            Some(closed) => {
                closed.probing = true;
                true
            }
            None => false,
        }
    }

    /// When the next probe is due, where one is and none is out.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.closed
            .filter(|closed| !closed.probing)
            .map(|closed| closed.until)
    }

    /// A post got a sane answer. True when that opened the gate.
    pub(super) fn succeeded(&mut self) -> bool {
        self.suspects.clear();
        self.backoff.reset();
        self.closed.take().is_some()
    }

    /// A post failed. True when that closed the gate.
    pub(super) fn failed(&mut self, failure: Failure<'_>, now: Instant) -> bool {
        if self.suspects.len() < SUSPECTS && !self.suspects.iter().any(|known| known == failure.order) {
            self.suspects.push(failure.order.to_owned());
        }
        match &mut self.closed {
            None if failure.everything || self.suspects.len() >= SUSPECTS => {
                self.close(failure, now);
                true
            }
            None => false,
            Some(_) if failure.probe => {
                self.close(failure, now);
                false
            }
            // The other posts that were out when it closed say nothing new: the wait does not grow.
            Some(closed) => {
                let least = failure.least_wait();
                closed.until = closed.until.max(now + least);
                closed.earliest = closed.earliest.max(now + least);
                false
            }
        }
    }

    /// The next probe may go at once.
    pub(super) const fn probe_now(&mut self, now: Instant) {
        if let Some(closed) = &mut self.closed {
            closed.until = now;
        }
    }

    /// The backend answers others: a wait that has grown long is cut short, but for what the backend asked for and for one that
    /// is fixed.
    pub(super) fn others_are_answered(&mut self) {
        if let Some(closed) = &mut self.closed {
            closed.until = closed.until.min(closed.earliest);
        }
    }

    fn close(&mut self, failure: Failure<'_>, now: Instant) {
        let wait = failure.fixed.unwrap_or_else(|| self.backoff.next(failure.asked));
        self.closed = Some(Closed {
            until: now + wait,
            earliest: now + failure.least_wait().max(WHERE_OTHERS_ARE_ANSWERED),
            probing: false,
        });
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
