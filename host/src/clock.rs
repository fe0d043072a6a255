//! The only place that asks the time. Everything else is handed it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall clock and monotonic clock may part by so much before that counts as a jump, in milliseconds. Clocks that are
/// kept by NTP are moved by far less at a time.
const JUMP_MS: i64 = 2_000;

/// A process that asks the time many times a second and has not for so long was asleep, in milliseconds. It matters
/// where the monotonic clock counts a machine's sleep and so does not show it.
const ASLEEP_MS: i64 = 60_000;

/// One for the process: every room is to have the same time.
static STEADY: Mutex<Option<Steady>> = Mutex::new(None);

/// Reads the system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// The system's clock.
    pub const fn system() -> Self {
        Self
    }

    /// Wall-clock time: milliseconds since 1970-01-01 00:00 UTC. Within a process it never goes back: where the wall
    /// clock is set back, it goes on from where it was. It may jump forwards.
    pub fn now_ms(self) -> i64 {
        with_steady(|steady, wall_ms, at| steady.read(wall_ms, at))
    }

    /// What the wall clock shows at this moment, in milliseconds since 1970-01-01 00:00 UTC: it goes back when it is set back.
    /// To be held against what another process of this machine has read of it.
    pub fn wall_ms(self) -> i64 {
        wall_ms()
    }

    /// Monotonic time, for deadlines and time-outs: it never jumps.
    pub fn monotonic(self) -> Instant {
        Instant::now()
    }

    /// How far the wall clock jumped since this was last asked, in milliseconds; negative when it was set back.
    pub fn take_jump(self) -> Option<Jump> {
        with_steady(|steady, wall_ms, at| {
            steady.read(wall_ms, at);
            steady.jump.take()
        })
    }

    /// Makes time go on from `last_ms` where the wall clock is behind it; by how much it is, in milliseconds.
    pub fn go_on_from(self, last_ms: i64) -> Option<i64> {
        with_steady(|steady, wall_ms, at| steady.go_on_from(last_ms, wall_ms, at))
    }
}

/// What happened to the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jump {
    /// It is further on than the time that passed, by so many milliseconds: it was set, or the machine slept.
    Ahead(i64),
    /// It was set back, by so many milliseconds.
    Back(i64),
}

fn with_steady<T>(act: impl FnOnce(&mut Steady, i64, Instant) -> T) -> T {
    // Nothing in here panics while it holds the lock; were it to, the readings are still whole.
    let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    // Both clocks are read under the lock, so that readings come in the order of time.
    let (wall_ms, at) = (wall_ms(), Instant::now());
    act(
        steady.get_or_insert_with(|| Steady::new(wall_ms, at)),
        wall_ms,
        at,
    )
}

fn wall_ms() -> i64 {
    let offset_ms = test_offset_ms();
    // A clock set before 1970 reads as 1970: it is wrong either way, and no date follows from it.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis())
        .unwrap_or(i64::MAX)
        .saturating_add(offset_ms)
}

/// A wall clock that never goes back, and that knows when it jumped.
#[derive(Debug)]
struct Steady {
    /// How far its time is ahead of the wall clock, since that was set back.
    ahead_ms: i64,
    last_ms: i64,
    last_at: Instant,
    jump: Option<Jump>,
}

impl Steady {
    const fn new(wall_ms: i64, at: Instant) -> Self {
        Self {
            ahead_ms: 0,
            last_ms: wall_ms,
            last_at: at,
            jump: None,
        }
    }

    fn read(&mut self, wall_ms: i64, at: Instant) -> i64 {
        let passed = at.saturating_duration_since(self.last_at).as_millis();
        let passed_ms = i64::try_from(passed).unwrap_or(i64::MAX);
        let expected_ms = self.last_ms.saturating_add(passed_ms);
        let off_ms = wall_ms.saturating_add(self.ahead_ms).saturating_sub(expected_ms);
        if off_ms.saturating_abs() > JUMP_MS {
            // Back: the difference is kept. Ahead: what is kept is given up first.
            self.ahead_ms = self.ahead_ms.saturating_sub(off_ms).max(0);
            self.jump = Some(if off_ms > 0 {
                Jump::Ahead(off_ms)
            } else {
                Jump::Back(off_ms.saturating_neg())
            });
        } else if passed_ms > ASLEEP_MS {
            self.jump = Some(Jump::Ahead(passed_ms));
        }
        self.last_ms = wall_ms.saturating_add(self.ahead_ms).max(self.last_ms);
        self.last_at = at;
        self.last_ms
    }

    fn go_on_from(&mut self, last_ms: i64, wall_ms: i64, at: Instant) -> Option<i64> {
        let behind_ms = last_ms.saturating_sub(self.read(wall_ms, at));
        if behind_ms <= 0 {
            return None;
        }
        self.ahead_ms = self.ahead_ms.saturating_add(behind_ms);
        self.last_ms = last_ms;
        (behind_ms > JUMP_MS).then_some(behind_ms)
    }
}

/// How far a test moves the wall clock, in milliseconds: by `QT_TEST_CLOCK_OFFSET_MS`, and while the process runs by
/// what the file that `QT_TEST_CLOCK_FILE` names holds.
#[cfg(feature = "failpoints")]
fn test_offset_ms() -> i64 {
    use std::sync::OnceLock;
    static OFFSET: OnceLock<(i64, Option<std::ffi::OsString>)> = OnceLock::new();
    let number = |text: String| text.trim().parse::<i64>().ok();
    let (fixed_ms, file) = OFFSET.get_or_init(|| {
        let fixed = std::env::var("QT_TEST_CLOCK_OFFSET_MS").ok().and_then(number);
        (fixed.unwrap_or(0), std::env::var_os("QT_TEST_CLOCK_FILE"))
    });
    let moved = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    fixed_ms.saturating_add(moved.and_then(number).unwrap_or(0))
}

#[cfg(not(feature = "failpoints"))]
const fn test_offset_ms() -> i64 {
    0
}

/// So long before a moment, or as long as can be said: some systems have no moment before they were started.
pub(crate) fn longest_before(moment: Instant, mut time: Duration) -> Instant {
    loop {
        match moment.checked_sub(time) {
            Some(before) => return before,
            None => time /= 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Windows has no moment before its start: an old report counted as one of now, for as long as the machine ran.
    #[test]
    fn a_moment_longer_ago_than_can_be_said_is_no_moment_of_now() {
        let now = Instant::now();
        assert!(longest_before(now, Duration::MAX) < now);
        let second = Duration::from_secs(1);
        assert_eq!(longest_before(now + second, second), now);
    }

    #[test]
    fn wall_clock_is_in_milliseconds_and_monotonic_never_goes_back() {
        let clock = Clock::system();
        let (wall, first) = (clock.now_ms(), clock.monotonic());
        // 2020-01-01 and 2200-01-01: seconds or microseconds would fall outside.
        assert!((1_577_836_800_000..7_258_118_400_000).contains(&wall), "{wall}");
        assert!(clock.monotonic() >= first);
    }

    /// A clock in hand: both readings are given.
    struct Bench {
        steady: Steady,
        start: Instant,
    }

    impl Bench {
        fn new(wall_ms: i64) -> Self {
            let start = Instant::now();
            Self {
                steady: Steady::new(wall_ms, start),
                start,
            }
        }

        fn read(&mut self, wall_ms: i64, passed_ms: u64) -> (i64, Option<Jump>) {
            let now = self
                .steady
                .read(wall_ms, self.start + Duration::from_millis(passed_ms));
            (now, self.steady.jump.take())
        }
    }

    #[test]
    fn a_clock_that_is_kept_by_small_steps_does_not_jump_and_never_goes_back() {
        let mut bench = Bench::new(1_000_000);
        assert_eq!(bench.read(1_000_050, 50), (1_000_050, None));
        assert_eq!(
            bench.read(1_001_500, 100),
            (1_001_500, None),
            "a second and a half ahead"
        );
        assert_eq!(
            bench.read(1_000_150, 150),
            (1_001_500, None),
            "and back: time stands meanwhile"
        );
        assert_eq!(bench.read(1_001_600, 1_600), (1_001_600, None));
    }

    #[test]
    fn a_clock_set_ahead_or_a_machine_that_slept_is_one_jump() {
        let mut bench = Bench::new(1_000_000);
        assert_eq!(
            bench.read(4_600_050, 50),
            (4_600_050, Some(Jump::Ahead(3_600_000)))
        );
        assert_eq!(bench.read(4_600_100, 100), (4_600_100, None), "told once");
        // Where the monotonic clock counts the sleep, nobody asked for a long time.
        assert_eq!(
            bench.read(8_200_100, 3_600_100),
            (8_200_100, Some(Jump::Ahead(3_600_000)))
        );
    }

    #[test]
    fn time_goes_on_at_its_pace_after_the_clock_was_set_back() {
        let mut bench = Bench::new(10_000_000);
        let back = 10_000_000 - 3_600_000;
        assert_eq!(
            bench.read(back + 50, 50),
            (10_000_050, Some(Jump::Back(3_600_000)))
        );
        assert_eq!(bench.read(back + 90_000 - 40_000, 50_000), (10_050_000, None));
        // Set right again: what was kept is given up, and time neither stands nor jumps.
        let (now, jump) = bench.read(10_050_050, 50_050);
        assert_eq!((now, jump), (10_050_050, Some(Jump::Ahead(3_600_000))));
        assert_eq!(bench.read(10_050_100, 50_100), (10_050_100, None));
    }

    #[test]
    fn a_start_before_the_last_moment_goes_on_from_it() {
        let start = Instant::now();
        let mut steady = Steady::new(1_000_000, start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(steady.go_on_from(900_000, 1_000_000, at(0)), None);
        assert_eq!(
            steady.go_on_from(1_000_500, 1_000_000, at(0)),
            None,
            "hardly worth a word"
        );
        assert_eq!(steady.read(1_000_010, at(10)), 1_000_510);
        assert_eq!(steady.go_on_from(5_000_000, 1_000_010, at(10)), Some(3_999_490));
        assert_eq!(steady.read(1_000_110, at(110)), 5_000_100);
        assert_eq!(steady.jump, None);
    }
}
