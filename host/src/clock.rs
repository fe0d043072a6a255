//! The only place that asks the time. Everything else is handed it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads the system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// The system's clock.
    pub const fn system() -> Self {
        Self
    }

    /// Wall-clock time: milliseconds since 1970-01-01 00:00 UTC. It may jump, forwards and backwards.
    pub fn now_ms(self) -> i64 {
        // A clock set before 1970 reads as 1970: it is wrong either way, and no date follows from it.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis())
            .unwrap_or(i64::MAX)
            .saturating_add(test_offset_ms())
    }

    /// Monotonic time, for deadlines and time-outs: it never jumps.
    pub fn monotonic(self) -> Instant {
        Instant::now()
    }
}

/// How far a test moves the wall clock, in milliseconds, from `QT_TEST_CLOCK_OFFSET_MS`.
#[cfg(feature = "failpoints")]
fn test_offset_ms() -> i64 {
    use std::sync::OnceLock;
    static OFFSET_MS: OnceLock<i64> = OnceLock::new();
    *OFFSET_MS.get_or_init(|| {
        std::env::var("QT_TEST_CLOCK_OFFSET_MS")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    })
}

#[cfg(not(feature = "failpoints"))]
const fn test_offset_ms() -> i64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_is_in_milliseconds_and_monotonic_never_goes_back() {
        let clock = Clock::system();
        let (wall, first) = (clock.now_ms(), clock.monotonic());
        // 2020-01-01 and 2200-01-01: seconds or microseconds would fall outside.
        assert!((1_577_836_800_000..7_258_118_400_000).contains(&wall), "{wall}");
        assert!(clock.monotonic() >= first);
    }
}
