//! When a symbol is traded, and how.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::Market;
use crate::board::Board;
use crate::symbol::{Exchange, Symbol};

/// Milliseconds since midnight in Shanghai.
pub type TimeOfDay = i64;

/// How an exchange trades at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Orders gather and meet at one price.
    OpeningAuction,
    /// Each order meets at once what rests.
    Continuous,
    /// Orders gather and meet at one price, the day's close.
    ClosingAuction,
    /// At the closing price alone.
    AfterHours,
}

impl Phase {
    /// The word for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpeningAuction => "the opening auction",
            Self::Continuous => "continuous trading",
            Self::ClosingAuction => "the closing auction",
            Self::AfterHours => "after-hours trading",
        }
    }
}

/// A stretch of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How is traded.
    pub phase: Phase,
    /// The first moment.
    pub from: TimeOfDay,
    /// The first moment after it.
    pub to: TimeOfDay,
    /// False while an exchange takes no cancels.
    pub cancels: bool,
}

/// Every row of the sessions' table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sessions(Vec<Row>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    since: Date,
    boards: Vec<Board>,
    exchanges: Vec<Exchange>,
    windows: Vec<Window>,
}

impl Sessions {
    pub(crate) fn add(
        &mut self,
        since: Date,
        boards: Vec<Board>,
        exchanges: Vec<Exchange>,
        windows: Vec<(Phase, TimeOfDay, TimeOfDay, bool)>,
    ) {
        let window = |(phase, from, to, cancels)| Window {
            phase,
            from,
            to,
            cancels,
        };
        self.0.push(Row {
            since,
            boards,
            exchanges,
            windows: windows.into_iter().map(window).collect(),
        });
    }

    fn of(&self, board: Board, exchange: Exchange, date: Date) -> &[Window] {
        let fits = |row: &&Row| {
            row.since <= date
                && (row.boards.is_empty() || row.boards.contains(&board))
                && (row.exchanges.is_empty() || row.exchanges.contains(&exchange))
        };
        self.0.iter().rfind(fits).map_or(&[], |row| &row.windows)
    }
}

/// `HH:MM` or `HH:MM:SS` as milliseconds since midnight; 24:00 is the end of the day.
#[must_use]
pub fn parse_time(text: &str) -> Option<TimeOfDay> {
    let mut parts = text.split(':');
    let mut next = |most: i64| {
        let part = parts.next()?;
        let whole = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<i64>().ok().filter(|number| whole && *number <= most)
    };
    let (hours, minutes) = (next(24)?, next(59)?);
    let seconds = if text.len() > 5 { next(59)? } else { 0 };
    let ms = ((hours * 60 + minutes) * 60 + seconds) * 1000;
    (parts.next().is_none() && ms <= 86_400_000).then_some(ms)
}

/// A time of day as `HH:MM`, with seconds where there are any.
#[must_use]
pub fn show_time(ms: TimeOfDay) -> String {
    let seconds = ms.div_euclid(1000);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if rest == 0 {
        format!("{hours:02}:{minutes:02}")
    } else {
        format!("{hours:02}:{minutes:02}:{rest:02}")
    }
}

impl Market {
    /// The windows of a day in which `symbol` is traded; none on a day without trading.
    #[must_use]
    pub fn windows(&self, symbol: &Symbol, date: Date) -> &[Window] {
        if !self.calendar.is_trading_day(date) {
            return &[];
        }
        let board = self.board(symbol);
        self.sessions.of(board, symbol.exchange(), date)
    }

    /// The window that a moment lies in.
    #[must_use]
    pub fn window(&self, symbol: &Symbol, date: Date, time: TimeOfDay) -> Option<Window> {
        let windows = self.windows(symbol, date);
        windows
            .iter()
            .find(|window| window.from <= time && time < window.to)
            .copied()
    }

    /// The window that a moment lies in for the market as a whole, for which Shenzhen's main board stands.
    #[must_use]
    pub fn main_window(&self, date: Date, time: TimeOfDay) -> Option<Window> {
        let windows = self.sessions.of(Board::Main, Exchange::SZ, date);
        windows
            .iter()
            .find(|window| window.from <= time && time < window.to)
            .filter(|_| self.calendar.is_trading_day(date))
            .copied()
    }

    /// The next moment at which trading begins, after one that lies in no window.
    #[must_use]
    pub fn next_opening(&self, symbol: &Symbol, date: Date, time: TimeOfDay) -> (Date, TimeOfDay) {
        let today = self
            .windows(symbol, date)
            .iter()
            .find(|window| window.from > time);
        if let Some(window) = today {
            return (date, window.from);
        }
        let next = self.calendar.next_trading_day(date);
        let first = self.windows(symbol, next).first().map_or(0, |window| window.from);
        (next, first)
    }

    /// After how many trading days a purchase may be sold: 0 on the same day.
    #[must_use]
    pub fn settlement_days(&self, symbol: &Symbol) -> u8 {
        let Some(rules) = self.rules(self.board(symbol)) else {
            return 1;
        };
        let same_day = rules.same_day.iter().any(|(exchange, code)| {
            *exchange == symbol.exchange() && symbol.code().starts_with(code.as_str())
        });
        if same_day { 0 } else { rules.settlement_days }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn phase(symbol: &str, day: Date, time: &str) -> Option<(Phase, bool)> {
        let market = Market::builtin();
        let window = market.window(&symbol.parse().unwrap(), day, parse_time(time).unwrap())?;
        Some((window.phase, window.cancels))
    }

    #[test]
    fn each_moment_has_its_phase() {
        use Phase::{AfterHours, ClosingAuction, Continuous, OpeningAuction};
        let now = date(2026, 11, 24);
        for (symbol, day, time, expected) in [
            ("600519.SH", now, "09:14", None),
            ("600519.SH", now, "09:15", Some((OpeningAuction, true))),
            ("600519.SH", now, "09:20", Some((OpeningAuction, false))),
            ("600519.SH", now, "09:25", None),
            ("600519.SH", now, "09:30", Some((Continuous, true))),
            ("600519.SH", now, "11:29:59", Some((Continuous, true))),
            ("600519.SH", now, "11:30", None),
            ("600519.SH", now, "13:00", Some((Continuous, true))),
            ("600519.SH", now, "14:57", Some((ClosingAuction, false))),
            ("600519.SH", now, "15:00", None),
            ("600519.SH", now, "15:05", Some((AfterHours, true))),
            ("600519.SH", now, "15:30", None),
            ("600519.SH", date(2026, 7, 3), "15:05", None),
            ("688981.SH", date(2026, 7, 3), "15:05", Some((AfterHours, true))),
            ("510300.SH", date(2026, 7, 3), "14:58", Some((Continuous, true))),
            (
                "510300.SH",
                date(2026, 7, 6),
                "14:58",
                Some((ClosingAuction, false)),
            ),
            (
                "159915.SZ",
                date(2026, 7, 3),
                "14:58",
                Some((ClosingAuction, false)),
            ),
            ("600519.SH", date(2018, 8, 17), "14:58", Some((Continuous, true))),
            (
                "600519.SH",
                date(2018, 8, 20),
                "14:58",
                Some((ClosingAuction, false)),
            ),
            ("600519.SH", date(2026, 11, 21), "10:00", None),
            ("600519.SH", date(2026, 10, 1), "10:00", None),
        ] {
            assert_eq!(phase(symbol, day, time), expected, "{symbol} {day} {time}");
        }
    }

    #[test]
    fn the_next_opening_is_found_over_lunch_and_holidays() {
        let market = Market::builtin();
        let symbol = "600519.SH".parse().unwrap();
        for (day, time, expected) in [
            (date(2026, 11, 24), "08:00", (date(2026, 11, 24), "09:15")),
            (date(2026, 11, 24), "12:00", (date(2026, 11, 24), "13:00")),
            (date(2026, 11, 24), "16:00", (date(2026, 11, 25), "09:15")),
            (date(2026, 9, 30), "16:00", (date(2026, 10, 8), "09:15")),
        ] {
            let (next, at) = market.next_opening(&symbol, day, parse_time(time).unwrap());
            assert_eq!((next, show_time(at).as_str()), expected, "{day} {time}");
        }
    }

    #[test]
    fn what_may_be_sold_on_the_day_it_was_bought() {
        let market = Market::builtin();
        for (symbol, days) in [
            ("600519.SH", 1),
            ("510300.SH", 1),
            ("511010.SH", 0),
            ("513100.SH", 0),
            ("518880.SH", 0),
            ("159915.SZ", 1),
            ("113050.SH", 0),
            ("204001.SH", 1),
        ] {
            assert_eq!(market.settlement_days(&symbol.parse().unwrap()), days, "{symbol}");
        }
    }

    #[test]
    fn times_of_day_are_read_strictly() {
        for (text, expected) in [
            ("00:00", Some(0)),
            ("09:30", Some(34_200_000)),
            ("14:57:30", Some(53_850_000)),
            ("24:00", Some(86_400_000)),
            ("24:01", None),
            ("9:30", None),
            ("09:60", None),
            ("09:30:00:00", None),
            ("", None),
            ("nine", None),
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
    }
}
