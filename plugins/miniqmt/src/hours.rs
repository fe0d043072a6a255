//! When the terminal is expected to be down: it wants a restart and a login every day.

use jiff::{Timestamp, civil::Weekday, tz::Offset};

const MINUTES: u16 = 24 * 60;
/// Beijing has had no summer time since 1991.
const BEIJING: Offset = Offset::constant(8);

/// Spans of the day in Beijing, and perhaps the weekend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hours {
    /// From and to, in minutes; a span that ends before it begins goes over midnight.
    spans: Vec<(u16, u16)>,
    weekend: bool,
}

impl Hours {
    /// Reads "16:00-08:30" and "weekend".
    ///
    /// # Errors
    /// Says which word cannot be read.
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let mut hours = Self::default();
        for word in words {
            if word.eq_ignore_ascii_case("weekend") {
                hours.weekend = true;
                continue;
            }
            let span = word
                .split_once('-')
                .and_then(|(from, to)| Some((minutes(from)?, minutes(to)?)));
            let span = span.ok_or_else(|| {
                format!("`expected_down`: `{word}` is neither a span such as \"16:00-08:30\" nor \"weekend\"")
            })?;
            hours.spans.push(span);
        }
        Ok(hours)
    }

    /// Whether the terminal is expected to be down at a time in milliseconds since 1970 UTC.
    pub(crate) fn contain(&self, now_ms: i64) -> bool {
        let Ok(now) = Timestamp::from_millisecond(now_ms) else {
            return false;
        };
        let now = BEIJING.to_datetime(now);
        if self.weekend && matches!(now.date().weekday(), Weekday::Saturday | Weekday::Sunday) {
            return true;
        }
        let minute = u16::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).unwrap_or(0);
        self.spans.iter().any(|&(from, to)| {
            if from <= to {
                (from..to).contains(&minute)
            } else {
                minute >= from || minute < to
            }
        })
    }
}

fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let all = hours.checked_mul(60)?.checked_add(minutes)?;
    (minutes < 60 && all <= MINUTES).then_some(all)
}

/// The day in Beijing, as days since 1970.
pub(crate) fn day(ms: i64) -> i64 {
    const DAY_MS: i64 = 86_400_000;
    ms.saturating_add(8 * 3_600_000).div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a time").as_millisecond()
    }

    #[test]
    fn spans_may_go_over_midnight_and_the_weekend_is_whole() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let hours = Hours::parse(&words(&["16:00-08:30", "11:30-13:00", "weekend"])).expect("hours");
        // A Tuesday, a Friday and a Saturday.
        for (time, down) in [
            ("2026-11-24T00:29:59Z", true),
            ("2026-11-24T00:30:00Z", false),
            ("2026-11-24T03:29:00Z", false),
            ("2026-11-24T03:30:00Z", true),
            ("2026-11-24T05:00:00Z", false),
            ("2026-11-24T07:59:00Z", false),
            ("2026-11-24T08:00:00Z", true),
            ("2026-11-27T02:00:00Z", false),
            ("2026-11-27T16:30:00Z", true),
            ("2026-11-28T02:00:00Z", true),
        ] {
            assert_eq!(hours.contain(at(time)), down, "{time}");
        }
        assert!(!Hours::default().contain(0));
        for bad in ["16:00", "16-17", "24:01-01:00", "16:60-17:00", "never"] {
            assert!(Hours::parse(&words(&[bad])).expect_err("bad").contains(bad));
        }
    }

    #[test]
    fn a_day_begins_at_midnight_in_beijing() {
        assert_eq!(
            day(at("2026-11-24T15:59:59Z")) + 1,
            day(at("2026-11-24T16:00:00Z"))
        );
    }
}
