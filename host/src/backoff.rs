//! How long to wait before the next try.

use std::time::Duration;

/// A wait that the backend asks for is honoured up to here; more would look like a standstill.
pub(crate) const MAX_ASKED: Duration = Duration::from_secs(600);

/// Nobody waits longer than this since his own last try where the backend answers others meanwhile.
pub(crate) const WHERE_OTHERS_ARE_ANSWERED: Duration = Duration::from_secs(1);

/// Waits that double from `least` to `most`, each with a random part so that hosts do not march in step.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    least: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts at `least` and stays at `most` at the end.
    pub(crate) const fn new(least: Duration, most: Duration) -> Self {
        Self {
            least,
            most,
            failures: 0,
        }
    }

    /// The wait after one more failure; at least what the backend asked for.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let full = self
            .least
            .saturating_mul(1 << self.failures.min(16))
            .min(self.most);
        self.failures = self.failures.saturating_add(1);
        with_jitter(full).max(asked.unwrap_or_default().min(MAX_ASKED))
    }

    /// All is well again.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many failures in a row.
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }
}

/// Between half of `full` and all of it.
fn with_jitter(full: Duration) -> Duration {
    let half = full / 2;
    let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
    half + Duration::from_micros(rand::random_range(0..=micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_bounds_and_honour_what_is_asked() {
        let (least, most) = (Duration::from_millis(500), Duration::from_secs(60));
        let mut backoff = Backoff::new(least, most);
        let mut full = least;
        for _ in 0..40 {
            let wait = backoff.next(None);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} is outside {full:?}");
            full = (full * 2).min(most);
        }
        let asked = Duration::from_secs(90);
        assert_eq!(backoff.next(Some(asked)), asked);
        assert_eq!(backoff.next(Some(Duration::from_secs(86_400))), MAX_ASKED);
        backoff.reset();
        assert!(backoff.next(Some(Duration::ZERO)) <= least);
        assert_eq!(backoff.failures(), 1);
    }
}
