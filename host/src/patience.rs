//! Ends a host that hangs, where the system has nobody who would: a task of Windows and an agent of launchd are started again
//! when the process has ended, and know of nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::error;

use crate::clock::Clock;
use crate::monitor::Monitor;
use crate::{system, telemetry};

/// How long a host may be ill without a break.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A runtime that has not come to its keeper's round for so long is ill itself; it does every five seconds.
const SILENT_AFTER: Duration = Duration::from_secs(15);
/// How long the last line of the log may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Beats with each round that the runtime makes. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// The runtime turns.
    pub(crate) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Looks at the host from a thread of its own, and ends the process with code 1 once it has been ill for too long. Every order
/// stands in the journal.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn watch(monitor: Monitor, pulse: Pulse) -> std::io::Result<()> {
    let most = crate::failpoint::number("patience-seconds").map_or(PATIENCE, Duration::from_secs);
    telemetry::thread("patience", move || {
        let mut illness = Illness::new(most, Clock::system().monotonic());
        loop {
            std::thread::sleep(LOOK_EVERY);
            let now = Clock::system().monotonic();
            let ill = monitor.health(now).ill;
            if let Some(why) = illness.look(ill.first().cloned(), pulse.count(), now) {
                error!(
                    critical = true,
                    "this host has been ill for {} s and nobody ends it: {why}. It ends with code 1, to be started again, and \
                     finds every order in the journal; please report this with the log",
                    most.as_secs()
                );
                std::thread::sleep(LAST_WORDS);
                system::exit(1);
            }
        }
    })
    .map(drop)
}

/// For how long the host has been ill.
#[derive(Debug)]
struct Illness {
    most: Duration,
    since: Option<Instant>,
    beats: u64,
    beat_at: Instant,
}

impl Illness {
    fn new(most: Duration, now: Instant) -> Self {
        Self {
            most,
            since: None,
            beats: 0,
            beat_at: now,
        }
    }

    /// Why the host is to end, once it has been ill for long enough.
    fn look(&mut self, ill: Option<String>, beats: u64, now: Instant) -> Option<String> {
        if beats != self.beats {
            (self.beats, self.beat_at) = (beats, now);
        }
        let is_silent = now.saturating_duration_since(self.beat_at) >= SILENT_AFTER;
        let silence = || format!("its tasks have made no turn for {} s", SILENT_AFTER.as_secs());
        let Some(why) = ill.or_else(|| is_silent.then(silence)) else {
            self.since = None;
            return None;
        };
        let since = *self.since.get_or_insert(now);
        (now.saturating_duration_since(since) >= self.most).then_some(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_ends_once_it_has_been_ill_without_a_break_for_a_minute() {
        let begun = Instant::now();
        let mut illness = Illness::new(PATIENCE, begun);
        let mut look = |second: u64, is_ill: bool| {
            let ill = is_ill.then(|| "the engine has made no turn".to_owned());
            illness.look(ill, second, begun + Duration::from_secs(second))
        };
        assert_eq!(look(1, false), None);
        assert_eq!(look(2, true), None);
        assert_eq!(look(61, true), None);
        assert_eq!(look(62, true).as_deref(), Some("the engine has made no turn"));
        assert_eq!(look(63, false), None);
        assert_eq!(look(100, true), None, "it was well in between");
    }

    #[test]
    fn a_runtime_that_makes_no_round_is_ill_and_a_machine_that_slept_is_not() {
        let begun = Instant::now();
        let mut illness = Illness::new(PATIENCE, begun);
        let mut look = |second: u64, beats| illness.look(None, beats, begun + Duration::from_secs(second));
        assert_eq!(look(5, 1), None);
        assert_eq!(look(20, 1), None);
        assert_eq!(look(79, 1), None);
        assert!(look(80, 1).unwrap().contains("no turn for 15 s"));
        // It wakes up after an hour, and its rounds with it.
        assert!(look(3_600, 1).is_some());
        assert_eq!(look(3_601, 2), None);
        assert_eq!(look(7_200, 2), None);
        assert_eq!(look(7_201, 3), None);
    }
}
