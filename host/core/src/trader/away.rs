//! A broker that is away is an emergency in a session, and out of the sessions an everyday thing until the next one opens.

use serde::{Deserialize, Serialize};

use super::{Trader, alarm};
use crate::event::{Alarm, Effect};
use crate::time::UtcMillis;

/// A start gives the connection so long to come up before its absence is told.
const START_MS: i64 = 60_000;

/// The broker is away, and nobody was alarmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Away {
    reason: String,
    /// Not told before.
    from: UtcMillis,
}

impl Trader {
    /// The connection is lost.
    pub(super) fn left(&mut self, reason: &str, now: UtcMillis, effects: &mut Vec<Effect>) {
        let away = Away {
            reason: reason.to_owned(),
            from: now,
        };
        // Out of the sessions no order waits for it: terminals are restarted every day. The next session tells of it.
        if !self.is_session(now) {
            effects.push(Effect::Note(Alarm {
                code: CODE,
                text: text(reason),
            }));
        }
        self.away = Some(away);
    }

    /// A process that starts has no connection yet. What was told before it counts for nothing.
    pub(super) fn away_since_start(&mut self, now: UtcMillis) {
        self.away = Some(Away {
            reason: "it has not been since the host started".to_owned(),
            from: now.plus_ms(START_MS),
        });
    }

    /// A broker that is known to be away says why.
    pub(super) fn still_away(&mut self, reason: &str) {
        if let Some(away) = self.away.as_mut().filter(|_| !reason.is_empty()) {
            reason.clone_into(&mut away.reason);
        }
    }

    /// The clock was set back: no moment is waited for that may never come.
    pub(super) fn away_not_later_than(&mut self, now: UtcMillis) {
        if let Some(away) = &mut self.away {
            away.from = away.from.min(now.plus_ms(START_MS));
        }
    }

    /// True when a person is to be told of the broker's absence. The calendar is looked at only while it is away.
    pub(super) fn is_absence_due(&self, now: UtcMillis) -> bool {
        let is_over = |away: &Away| away.from <= now;
        self.away.as_ref().is_some_and(is_over) && self.is_session(now)
    }

    /// Tells of it once.
    pub(super) fn tell_of_absence(&mut self, now: UtcMillis, effects: &mut Vec<Effect>) {
        if self.is_absence_due(now)
            && let Some(away) = self.away.take()
        {
            effects.push(alarm(CODE, text(&away.reason)));
        }
    }

    fn is_session(&self, now: UtcMillis) -> bool {
        let sessions = &self.settings.gates.sessions;
        sessions.are_open_for_all(self.market(), now)
    }
}

const CODE: &str = "BROKER_DOWN";

fn text(reason: &str) -> String {
    format!("the broker is not connected: {reason}")
}
