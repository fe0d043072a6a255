//! Time as a value that is passed in.

use std::fmt;

use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;
/// Asia/Shanghai is eight hours ahead of UTC and has kept no summer time since 1991.
const SHANGHAI_OFFSET_MS: i64 = 8 * 3_600_000;

/// A moment, in milliseconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct UtcMillis(pub i64);

impl UtcMillis {
    /// The calendar day in Shanghai that this moment belongs to.
    #[must_use]
    pub const fn trading_date(self) -> TradingDate {
        TradingDate(self.0.saturating_add(SHANGHAI_OFFSET_MS).div_euclid(DAY_MS))
    }

    /// This moment and `ms` milliseconds more.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; negative when the clock went back.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A calendar day in Shanghai, as days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct TradingDate(pub i64);

impl TradingDate {
    /// The first moment of this day.
    #[must_use]
    pub const fn start(self) -> UtcMillis {
        UtcMillis(self.0.saturating_mul(DAY_MS).saturating_sub(SHANGHAI_OFFSET_MS))
    }

    /// Day of the week, 0 for Monday to 6 for Sunday. Day 0 was a Thursday.
    #[must_use]
    pub const fn weekday(self) -> i64 {
        self.0.saturating_add(3).rem_euclid(7)
    }

    /// Year, month and day.
    #[must_use]
    pub fn civil(self) -> jiff::civil::Date {
        let epoch = jiff::civil::date(1970, 1, 1);
        i32::try_from(self.0)
            .ok()
            .and_then(|days| epoch.checked_add(jiff::Span::new().try_days(days).ok()?).ok())
            .unwrap_or(epoch)
    }
}

impl fmt::Display for TradingDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.civil(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_turns_at_midnight_in_shanghai() {
        // 2026-11-24 15:59:59.999 UTC is one millisecond before 2026-11-25 in Shanghai.
        let before = UtcMillis(1_795_535_999_999);
        assert_eq!(before.trading_date().to_string(), "2026-11-24");
        assert_eq!(before.plus_ms(1).trading_date().to_string(), "2026-11-25");
        assert_eq!(before.plus_ms(1), before.plus_ms(1).trading_date().start());
        // 2026-11-24 is a Tuesday.
        assert_eq!(before.trading_date().weekday(), 1);
        assert_eq!(TradingDate(-4).weekday(), 6);
    }
}
