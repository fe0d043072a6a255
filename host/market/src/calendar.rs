//! The days on which the exchanges trade.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, Weekday};

/// Weekdays in a year's list on which nothing is traded; weekends never are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calendar {
    years: BTreeMap<i16, Year>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Year {
    provisional: bool,
    closed: BTreeSet<Date>,
}

/// How many days before its last year ends a calendar is said to need another one.
const WARN_DAYS: i32 = 45;

impl Calendar {
    pub(crate) fn add(&mut self, year: i16, provisional: bool, closed: Vec<Date>) {
        let closed = closed.into_iter().collect();
        self.years.insert(year, Year { provisional, closed });
    }

    /// True on a day on which the exchanges trade. Of a year that no list is known for, every weekday is taken for one.
    #[must_use]
    pub fn is_trading_day(&self, date: Date) -> bool {
        let weekend = matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday);
        let listed = || {
            self.years
                .get(&date.year())
                .is_some_and(|year| year.closed.contains(&date))
        };
        !weekend && !listed()
    }

    /// The first trading day after `date`.
    #[must_use]
    pub fn next_trading_day(&self, date: Date) -> Date {
        let mut day = date;
        // No holiday is nearly so long; a bound stands on every loop.
        for _ in 0..60 {
            let Ok(next) = day.tomorrow() else { break };
            day = next;
            if self.is_trading_day(day) {
                break;
            }
        }
        day
    }

    /// The last year whose holidays are known, provisional ones apart.
    #[must_use]
    pub fn last_sure_year(&self) -> Option<i16> {
        self.years
            .iter()
            .rev()
            .find(|(_, year)| !year.provisional)
            .map(|(number, _)| *number)
    }

    /// What should be said about the calendar on `date`: that it ends soon, is provisional, or has ended.
    #[must_use]
    pub fn warning(&self, date: Date) -> Option<String> {
        const MEND: &str =
            "update the program, or give a file with a [calendar.YEAR] table as `market_tables`";
        let year = date.year();
        let Some(known) = self.years.get(&year) else {
            return Some(format!(
                "the holidays of {year} are not known, every weekday counts as a trading day; {MEND}"
            ));
        };
        if known.provisional {
            return Some(format!(
                "the holidays of {year} are provisional, bridging days are missing; {MEND}"
            ));
        }
        let next = year.checked_add(1)?;
        let left = date.last_of_year().since(date).ok()?.get_days();
        let sure = self.years.get(&next).is_some_and(|year| !year.provisional);
        (left <= WARN_DAYS && !sure)
            .then(|| format!("the calendar's last sure year {year} ends in {left} days, and the holidays of {next} are not known for sure; {MEND}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::Market;
    use jiff::civil::date;

    #[test]
    fn weekends_and_holidays_are_no_trading_days() {
        let calendar = Market::builtin().calendar();
        for (day, open) in [
            (date(2026, 11, 24), true),
            (date(2026, 11, 21), false),
            (date(2026, 10, 8), true),
            (date(2026, 10, 7), false),
            // A working Saturday is no trading day.
            (date(2026, 10, 10), false),
            (date(2024, 2, 9), false),
            (date(2024, 2, 8), true),
            (date(2025, 1, 27), true),
            (date(2025, 1, 28), false),
            (date(2027, 2, 5), false),
            (date(2027, 2, 4), true),
        ] {
            assert_eq!(calendar.is_trading_day(day), open, "{day}");
        }
        assert_eq!(calendar.next_trading_day(date(2026, 9, 30)), date(2026, 10, 8));
        assert_eq!(calendar.next_trading_day(date(2026, 11, 20)), date(2026, 11, 23));
    }

    #[test]
    fn every_year_has_as_many_trading_days_as_its_source() {
        let calendar = Market::builtin().calendar();
        for (year, count) in [(2022, 242), (2023, 242), (2024, 242), (2025, 243), (2026, 242)] {
            let mut day = date(year - 1, 12, 31);
            let mut days = 0;
            loop {
                day = calendar.next_trading_day(day);
                if day.year() != year {
                    break;
                }
                days += 1;
            }
            assert_eq!(days, count, "{year}");
        }
    }

    /// A statutory holiday of 2027 on a Saturday or Sunday closes the next weekday that is none.
    #[test]
    fn a_holiday_on_a_weekend_is_made_up_for_on_a_working_day() {
        let calendar = Market::builtin().calendar();
        for (holidays, opens) in [
            (vec![(2, 5), (2, 6), (2, 7), (2, 8)], (2, 11)),
            (vec![(5, 1), (5, 2)], (5, 5)),
            (vec![(10, 1), (10, 2), (10, 3)], (10, 6)),
        ] {
            let days: Vec<_> = holidays
                .iter()
                .map(|(month, day)| date(2027, *month, *day))
                .collect();
            let before = days[0].yesterday().unwrap();
            let next = calendar.next_trading_day(before);
            assert_eq!(next, date(2027, opens.0, opens.1), "after {before}");
            // As many weekdays are closed as there are holidays.
            let closed = before
                .series(jiff::Span::new().days(1))
                .skip(1)
                .take_while(|day| *day < next)
                .filter(|day| day.weekday().to_monday_one_offset() < 6)
                .count();
            assert_eq!(closed, days.len(), "{days:?}");
        }
        assert!(
            calendar
                .warning(date(2027, 2, 9))
                .unwrap()
                .contains("provisional")
        );
    }

    #[test]
    fn the_end_of_the_calendar_is_announced() {
        let calendar = Market::builtin().calendar();
        assert_eq!(calendar.last_sure_year(), Some(2026));
        assert_eq!(calendar.warning(date(2026, 11, 15)), None);
        assert!(
            calendar
                .warning(date(2026, 11, 24))
                .unwrap()
                .contains("ends in 37 days")
        );
        assert!(
            calendar
                .warning(date(2027, 3, 1))
                .unwrap()
                .contains("provisional")
        );
        assert!(calendar.warning(date(2028, 3, 1)).unwrap().contains("not known"));
        assert_eq!(calendar.warning(date(2025, 12, 30)), None);
    }
}
