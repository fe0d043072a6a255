//! Values that change by law: each with the first day on which it holds.

use jiff::civil::Date;

/// A value and the first day on which it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since<T> {
    /// The first day, in Shanghai.
    pub since: Date,
    /// What holds from then on.
    pub value: T,
}

/// What holds on `date`; `None` before the first entry. The table may lie in any order.
pub(crate) fn on<T: Copy>(table: &[Since<T>], date: Date) -> Option<T> {
    table
        .iter()
        .filter(|entry| entry.since <= date)
        .max_by_key(|entry| entry.since)
        .map(|entry| entry.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn since<T>(year: i16, month: i8, day: i8, value: T) -> Since<T> {
        Since {
            since: date(year, month, day),
            value,
        }
    }

    #[test]
    fn an_entry_holds_from_its_day_until_the_next() {
        let table = [since(2023, 8, 28, 2), since(2008, 9, 19, 1)];
        assert_eq!(on(&table, date(2008, 9, 18)), None);
        assert_eq!(on(&table, date(2008, 9, 19)), Some(1));
        assert_eq!(on(&table, date(2023, 8, 27)), Some(1));
        assert_eq!(on(&table, date(2023, 8, 28)), Some(2));
        assert_eq!(on(&table, date(2100, 1, 1)), Some(2));
    }
}
