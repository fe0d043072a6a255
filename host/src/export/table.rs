//! Tables as every format sees them: columns that say what they are, and cells.

use std::borrow::Cow;

use qt_core::{TradingDate, UtcMillis};
use rust_decimal::Decimal;

/// Decimal places of every decimal in an export, as the analyzer keeps them.
pub(crate) const SCALE: u32 = 10;
/// Digits of every decimal in a Parquet file: the most that 128 bits hold.
pub(crate) const PRECISION: u32 = 38;

/// What kind of value a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// UTF-8 text.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// An exact decimal with up to [`SCALE`] places.
    Decimal,
    /// A moment, to the millisecond.
    Timestamp,
    /// A day in Shanghai.
    Date,
}

impl Kind {
    /// The word in the schema.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "int64",
            Self::Decimal => "decimal(38, 10)",
            Self::Timestamp => "timestamp[ms, UTC]",
            Self::Date => "date",
        }
    }
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// It is no number.
    None,
    /// Yuan.
    Cny,
    /// Yuan a share.
    CnyPerShare,
    /// Shares.
    Shares,
    /// Percent: 1.65 is 1.65 %.
    Percent,
    /// Calendar days.
    Days,
    /// Things.
    Count,
    /// Points from 0 to 100.
    Points,
    /// Yuan that one yuan of the first day has become.
    Ratio,
}

impl Unit {
    /// The word in the schema; `None` for what is no number.
    pub(crate) const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Cny => Some("CNY"),
            Self::CnyPerShare => Some("CNY/share"),
            Self::Shares => Some("shares"),
            Self::Percent => Some("percent"),
            Self::Days => Some("days"),
            Self::Count => Some("count"),
            Self::Points => Some("points"),
            Self::Ratio => Some("ratio"),
        }
    }
}

/// What a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColumnInfo {
    /// Its name, the same in every format and in every version.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// What it counts.
    pub(crate) unit: Unit,
    /// Whether a value may be missing.
    pub(crate) nullable: bool,
    /// What it means, a sentence.
    pub(crate) meaning: &'static str,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    /// There is none.
    Missing,
    /// See [`Kind::Text`].
    Text(Cow<'a, str>),
    /// See [`Kind::Integer`].
    Integer(i64),
    /// See [`Kind::Decimal`].
    Decimal(Decimal),
    /// See [`Kind::Timestamp`].
    Timestamp(UtcMillis),
    /// See [`Kind::Date`].
    Date(TradingDate),
}

impl<'a> Cell<'a> {
    /// Text that is there already.
    pub(crate) fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// Text that something is shown as.
    pub(crate) fn shown(what: impl std::fmt::Display) -> Self {
        Self::Text(Cow::Owned(what.to_string()))
    }

    /// What is there, or nothing.
    pub(crate) fn or_missing<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Missing, cell)
    }

    /// A decimal to [`SCALE`] places, half to even.
    pub(crate) fn decimal(figure: Decimal) -> Self {
        Self::Decimal(if figure.scale() > SCALE {
            figure.round_dp(SCALE)
        } else {
            figure
        })
    }

    /// The value as text, for formats that have only that; `None` where there is none.
    pub(crate) fn into_text(self) -> Option<Cow<'a, str>> {
        Some(match self {
            Self::Missing => return None,
            Self::Text(text) => text,
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Decimal(figure) => Cow::Owned(digits(figure)),
            Self::Timestamp(at) => Cow::Owned(moment(at)),
            Self::Date(day) => Cow::Owned(day.to_string()),
        })
    }
}

/// All digits of a decimal, without trailing zeros and without a negative zero.
pub(crate) fn digits(figure: Decimal) -> String {
    figure.normalize().to_string()
}

/// A moment as ISO 8601 with Shanghai's offset, to the millisecond.
pub(crate) fn moment(at: UtcMillis) -> String {
    let day = at.trading_date();
    let ms = at.since_ms(day.start());
    let (seconds, ms) = (ms / 1000, ms % 1000);
    format!(
        "{day}T{:02}:{:02}:{:02}.{ms:03}+08:00",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// A column and how its value is found in a row.
pub(crate) struct Column<R> {
    /// What it is.
    pub(crate) info: ColumnInfo,
    /// Its value in a row.
    pub(crate) of: fn(&R) -> Cell<'_>,
}

/// A table with its rows.
pub(crate) struct Table<'a> {
    /// Its name, the same in every format and in every version.
    pub(crate) name: &'static str,
    /// What its rows are.
    pub(crate) meaning: &'static str,
    /// True where there is never more than one row.
    pub(crate) single: bool,
    /// Its columns, in order.
    pub(crate) columns: Vec<ColumnInfo>,
    /// How many rows there are.
    pub(crate) rows: usize,
    cell: Box<dyn Fn(usize, usize) -> Cell<'a> + 'a>,
}

impl<'a> Table<'a> {
    /// A table of `rows`.
    pub(crate) fn new<R>(
        name: &'static str,
        meaning: &'static str,
        columns: Vec<Column<R>>,
        rows: &'a [R],
    ) -> Self {
        Self {
            name,
            meaning,
            single: false,
            columns: columns.iter().map(|column| column.info).collect(),
            rows: rows.len(),
            cell: Box::new(move |row, column| match (rows.get(row), columns.get(column)) {
                (Some(row), Some(column)) => (column.of)(row),
                _ => Cell::Missing,
            }),
        }
    }

    /// The same table as one that never has more than one row.
    pub(crate) fn single(self) -> Self {
        Self { single: true, ..self }
    }

    /// The value of a column in a row, both from 0; missing beyond their ends.
    pub(crate) fn cell(&self, row: usize, column: usize) -> Cell<'a> {
        (self.cell)(row, column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_text_are_exact_and_say_their_zone() {
        let d = |text: &str| text.parse::<Decimal>().unwrap();
        for (cell, text) in [
            (Cell::decimal(d("42.5000")), "42.5"),
            (Cell::decimal(d("-0.00")), "0"),
            (Cell::decimal(d("1000")), "1000"),
            (Cell::decimal(d("0.00000000005")), "0"),
            (Cell::decimal(d("0.00000000015")), "0.0000000002"),
            (
                Cell::decimal(d("79228162514264337593543950335")),
                "79228162514264337593543950335",
            ),
            (
                Cell::Timestamp(UtcMillis(1_795_535_999_999)),
                "2026-11-24T23:59:59.999+08:00",
            ),
            (Cell::Date(TradingDate(20_781)), "2026-11-24"),
            (Cell::Integer(-7), "-7"),
        ] {
            assert_eq!(cell.into_text().as_deref(), Some(text));
        }
        assert_eq!(Cell::Missing.into_text(), None);
    }
}
