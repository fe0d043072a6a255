//! Moments and their day and time of day in Shanghai, which has kept no summer time since 1991.

use jiff::civil::Date;
use qt_market::TimeOfDay;

/// Milliseconds since 1970-01-01 00:00 UTC.
pub type Moment = i64;

const DAY_MS: i64 = 86_400_000;
const SHANGHAI_MS: i64 = 8 * 3_600_000;

/// Days since 1970-01-01 in Shanghai.
pub(crate) const fn day_number(at: Moment) -> i64 {
    at.saturating_add(SHANGHAI_MS).div_euclid(DAY_MS)
}

/// The time of day in Shanghai.
#[must_use]
pub const fn time_of_day(at: Moment) -> TimeOfDay {
    at.saturating_add(SHANGHAI_MS).rem_euclid(DAY_MS)
}

/// The day in Shanghai.
#[must_use]
pub fn date_of(at: Moment) -> Date {
    let epoch = jiff::civil::date(1970, 1, 1);
    let days = jiff::Span::new().try_days(day_number(at));
    days.ok()
        .and_then(|days| epoch.checked_add(days).ok())
        .unwrap_or(epoch)
}

/// The moment of a day and a time of day in Shanghai.
#[must_use]
pub fn moment(date: Date, time: TimeOfDay) -> Moment {
    let epoch = jiff::civil::date(1970, 1, 1);
    let days = date.since(epoch).map_or(0, |span| i64::from(span.get_days()));
    days * DAY_MS + time - SHANGHAI_MS
}

/// A moment as a person in Shanghai writes it.
#[must_use]
pub fn show(at: Moment) -> String {
    let time = time_of_day(at);
    let ms = time % 1000;
    let (hours, minutes, seconds) = (time / 3_600_000, time / 60_000 % 60, time / 1000 % 60);
    let date = date_of(at);
    if ms == 0 {
        format!("{date} {hours:02}:{minutes:02}:{seconds:02}")
    } else {
        format!("{date} {hours:02}:{minutes:02}:{seconds:02}.{ms:03}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_its_day_and_time_of_day() {
        let at = moment(jiff::civil::date(2026, 11, 24), 10 * 3_600_000);
        assert_eq!(at, 1_795_485_600_000);
        assert_eq!(
            (date_of(at), time_of_day(at)),
            (jiff::civil::date(2026, 11, 24), 36_000_000)
        );
        assert_eq!(show(at + 5), "2026-11-24 10:00:00.005");
        assert_eq!(show(at), "2026-11-24 10:00:00");
    }
}
