//! A long reading says how far it is, to people and to the system's keeper, which would take the silence for a hang.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::info;

use crate::clock::Clock;
use crate::system::notify::{self, Stand};

/// Between two lines, and before the first one.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// How long the keeper is asked to wait from each line on: the rows of a whole line pass within it on any disk.
const WAIT: Duration = Duration::from_secs(60);

/// One reading of the journal's commits.
#[derive(Debug)]
pub(super) struct Progress {
    path: PathBuf,
    what: &'static str,
    last: i64,
    next: Instant,
}

impl Progress {
    /// A reading that begins now and ends with commit `last`; `what` is done to each commit, as "replayed".
    pub(super) fn new(path: &Path, what: &'static str, last: i64) -> Self {
        Self {
            path: path.to_owned(),
            what,
            last,
            next: Clock::system().monotonic() + SAY_EVERY,
        }
    }

    /// Commit `seq` is read; says so where that has been silent for long.
    pub(super) fn read(&mut self, seq: i64) {
        crate::failpoint::die_at("journal-read");
        if let Some(line) = self.line(seq, Clock::system().monotonic()) {
            info!("{line}");
            notify::tell(Stand::Starting {
                within: WAIT,
                status: &line,
            });
        }
    }

    fn line(&mut self, seq: i64, now: Instant) -> Option<String> {
        if now < self.next {
            return None;
        }
        self.next = now + SAY_EVERY;
        Some(format!(
            "the journal {} is being read: commit {seq} of {} is {}",
            crate::system::shown(&self.path),
            self.last,
            self.what
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_says_a_line_every_two_seconds_and_none_before() {
        let mut progress = Progress::new(Path::new("journal.db"), "replayed", 900);
        let begun = progress.next - SAY_EVERY;
        let at = |ms: u64| begun + Duration::from_millis(ms);
        assert_eq!(progress.line(10, at(1_999)), None);
        assert_eq!(
            progress.line(20, at(2_000)).as_deref(),
            Some("the journal journal.db is being read: commit 20 of 900 is replayed")
        );
        assert_eq!(progress.line(30, at(3_999)), None);
        assert!(progress.line(40, at(4_000)).is_some());
    }
}
