//! Faults on request: what a backend may do to its clients, made to order.

use serde::{Deserialize, Serialize};

/// How a request is mistreated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// Not at all: ends every fault.
    Up,
    /// The connection is closed before the request was read.
    Down,
    /// The request is applied and the connection closed without an answer.
    CloseAfterProcessing,
    /// Answered with 500, not applied.
    Http500,
    /// Applied and answered late, after `delay_ms`.
    Slow,
    /// Answered with 200 and a page of HTML, not applied.
    Html,
    /// Answered with 401, not applied.
    Unauthorized,
    /// Answered with 403, not applied.
    Forbidden,
    /// Answered with 429 and `Retry-After`, not applied.
    RetryAfter,
    /// Answered with 422, not applied.
    Refuse,
    /// Answered with 422 and FastAPI's list of faults, which holds what was sent, not applied.
    Echo,
    /// Answered with 404, not applied: a backend that does not have this call.
    NotFound,
    /// More signals are listed than were asked for.
    IgnoreLimit,
}

/// One fault, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    /// What happens.
    pub(super) mode: Mode,
    /// To how many requests; until changed where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) requests: Option<u64>,
    /// Only to requests whose path contains this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// How late a slow answer is, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) delay_ms: Option<u64>,
    /// What `Retry-After` says, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_s: Option<u64>,
}

/// The faults in force.
#[derive(Debug, Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
}

impl Faults {
    /// Puts a fault in force; one for the same path gives way, and `up` without a path ends all.
    pub(super) fn set(&mut self, fault: Fault) {
        match (&fault.mode, &fault.path) {
            (Mode::Up, None) => self.list.clear(),
            _ => self.list.retain(|other| other.path != fault.path),
        }
        if fault.mode != Mode::Up && fault.requests != Some(0) {
            self.list.push(fault);
        }
    }

    /// The fault that a request to this path meets; it is used up by one request.
    pub(super) fn take(&mut self, path: &str) -> Option<Fault> {
        let meets = |fault: &Fault| fault.path.as_deref().is_none_or(|part| path.contains(part));
        let at = self.list.iter().position(meets)?;
        let fault = self.list[at].clone();
        self.use_up(at);
        Some(fault)
    }

    /// Takes a `down` that holds for every path, for a connection of which nothing was read.
    pub(super) fn take_down(&mut self) -> bool {
        let Some(at) = self
            .list
            .iter()
            .position(|fault| fault.mode == Mode::Down && fault.path.is_none())
        else {
            return false;
        };
        self.use_up(at);
        true
    }

    /// Whether connections are to be closed unread.
    pub(super) fn is_down(&self) -> bool {
        self.list
            .iter()
            .any(|fault| fault.mode == Mode::Down && fault.path.is_none())
    }

    /// The faults in force, for a person.
    pub(super) fn list(&self) -> &[Fault] {
        &self.list
    }

    fn use_up(&mut self, at: usize) {
        if let Some(left) = &mut self.list[at].requests {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.list.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(mode: Mode, requests: Option<u64>, path: Option<&str>) -> Fault {
        Fault {
            mode,
            requests,
            path: path.map(str::to_owned),
            delay_ms: None,
            retry_after_s: None,
        }
    }

    #[test]
    fn a_fault_is_used_up_and_meets_only_its_path() {
        let mut faults = Faults::default();
        faults.set(fault(Mode::Http500, Some(2), Some("executions")));
        assert_eq!(faults.take("/api/trader/signals"), None);
        assert_eq!(
            faults.take("/api/trader/executions").map(|f| f.mode),
            Some(Mode::Http500)
        );
        assert_eq!(
            faults.take("/api/trader/executions").map(|f| f.mode),
            Some(Mode::Http500)
        );
        assert_eq!(faults.take("/api/trader/executions"), None);
    }

    #[test]
    fn up_ends_everything_and_a_new_fault_replaces_the_old() {
        let mut faults = Faults::default();
        faults.set(fault(Mode::Down, None, None));
        faults.set(fault(Mode::Slow, None, None));
        assert!(!faults.is_down());
        assert_eq!(faults.list().len(), 1);
        faults.set(fault(Mode::Html, None, Some("x")));
        faults.set(fault(Mode::Up, None, None));
        assert!(faults.list().is_empty());
    }

    #[test]
    fn down_counts_connections() {
        let mut faults = Faults::default();
        faults.set(fault(Mode::Down, Some(1), None));
        assert!(faults.is_down());
        assert!(faults.take_down());
        assert!(!faults.is_down() && !faults.take_down());
    }
}
