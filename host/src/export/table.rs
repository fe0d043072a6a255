//! Tables as every format sees them: columns that say what they are, and cells.

use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::Deref;

use qt_core::portfolio::PortfolioError;
use qt_core::{TradingDate, UtcMillis};
use qt_market::Symbol;
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
    /// Text too: a symbol, which needs no text of its own to be written.
    Symbol(Symbol),
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

    /// Appends the value as text, for formats that have only that; nothing where there is none.
    pub(crate) fn write_text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Missing => Ok(()),
            Self::Text(text) => out.write_all(text.as_bytes()),
            Self::Symbol(symbol) => {
                out.extend_from_slice(symbol.code().as_bytes());
                out.push(b'.');
                out.write_all(symbol.exchange().suffix().as_bytes())
            }
            Self::Integer(number) => write!(out, "{number}"),
            Self::Decimal(figure) => {
                push_digits(out, *figure);
                Ok(())
            }
            Self::Timestamp(at) => out.write_all(moment(*at).as_bytes()),
            Self::Date(day) => write!(out, "{day}"),
        }
    }
}

/// Appends all digits of a decimal, without trailing zeros and without a negative zero.
///
/// Most figures of a book fit into 64 bits, and are written without the divisions of 96 bits that make up most of the
/// time of an export otherwise.
pub(crate) fn push_digits(out: &mut Vec<u8>, figure: Decimal) {
    let Ok(mut rest) = u64::try_from(figure.mantissa().unsigned_abs()) else {
        out.extend_from_slice(figure.normalize().to_string().as_bytes());
        return;
    };
    if rest == 0 {
        return out.push(b'0');
    }
    let mut places = figure.scale();
    while places > 0 && rest.is_multiple_of(10) {
        rest /= 10;
        places -= 1;
    }
    // From the last digit to the first: 20 digits of 64 bits, or 28 places, a zero and a point before them.
    let mut text = Vec::with_capacity(DIGITS);
    let mut written = 0;
    while rest > 0 || written <= places {
        if written == places && places > 0 {
            text.push(b'.');
        }
        // A remainder by ten is a digit.
        text.push(b'0' + u8::try_from(rest % 10).unwrap_or_default());
        rest /= 10;
        written += 1;
    }
    if figure.is_sign_negative() {
        out.push(b'-');
    }
    out.extend(text.iter().rev());
}

/// The most characters of a decimal of 64 bits.
const DIGITS: usize = 32;

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

/// Some rows of a table.
pub(crate) trait Rows {
    /// How many.
    fn count(&self) -> usize;
    /// The value of a column in a row, both from 0; missing beyond their ends.
    fn cell(&self, row: usize, column: usize) -> Cell<'_>;
}

/// Rows that lie somewhere, or that were made for this.
struct Piece<'p, R, S> {
    rows: S,
    columns: &'p [Column<R>],
}

impl<R, S: Deref<Target = [R]>> Rows for Piece<'_, R, S> {
    fn count(&self) -> usize {
        self.rows.len()
    }

    fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        match (self.rows.get(row), self.columns.get(column)) {
            (Some(row), Some(column)) => (column.of)(row),
            _ => Cell::Missing,
        }
    }
}

/// Where the rows of a table come from.
trait Source {
    /// The rows from one place to another of all places; those that are no row of this table are left out.
    fn piece(&self, from: usize, to: usize) -> Result<Box<dyn Rows + '_>, PortfolioError>;
}

struct Stored<'a, R> {
    rows: &'a [R],
    columns: Vec<Column<R>>,
}

impl<R> Source for Stored<'_, R> {
    fn piece(&self, from: usize, to: usize) -> Result<Box<dyn Rows + '_>, PortfolioError> {
        Ok(Box::new(Piece {
            rows: self.rows.get(from..to).unwrap_or_default(),
            columns: &self.columns,
        }))
    }
}

struct Made<R, F> {
    make: F,
    columns: Vec<Column<R>>,
}

impl<R, F: Fn(usize) -> Result<Option<R>, PortfolioError>> Source for Made<R, F> {
    fn piece(&self, from: usize, to: usize) -> Result<Box<dyn Rows + '_>, PortfolioError> {
        let rows: Result<Vec<R>, _> = (from..to)
            .filter_map(|place| (self.make)(place).transpose())
            .collect();
        Ok(Box::new(Piece {
            rows: rows?,
            columns: &self.columns,
        }))
    }
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
    /// How many places the source has; some may be no row.
    places: usize,
    source: Box<dyn Source + 'a>,
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
            places: rows.len(),
            source: Box::new(Stored { rows, columns }),
        }
    }

    /// A table whose rows are made as they are written, so that a large book is not held twice. `make` gives the row of
    /// each of so many `places`, and none for `places` − `rows` of them.
    pub(crate) fn made<R: 'a>(
        name: &'static str,
        meaning: &'static str,
        columns: Vec<Column<R>>,
        (places, rows): (usize, usize),
        make: impl Fn(usize) -> Result<Option<R>, PortfolioError> + 'a,
    ) -> Self {
        Self {
            name,
            meaning,
            single: false,
            columns: columns.iter().map(|column| column.info).collect(),
            rows,
            places,
            source: Box::new(Made { make, columns }),
        }
    }

    /// The same table as one that never has more than one row.
    pub(crate) fn single(self) -> Self {
        Self { single: true, ..self }
    }

    /// All rows in order, in pieces of at most `size` rows and at least one.
    pub(crate) fn pieces(&self, size: usize) -> impl Iterator<Item = io::Result<Box<dyn Rows + '_>>> {
        (0..self.places)
            .step_by(size.max(1))
            .map(move |from| {
                let to = self.places.min(from.saturating_add(size));
                self.source.piece(from, to).map_err(io::Error::other)
            })
            .filter(|piece| !matches!(piece, Ok(piece) if piece.count() == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(cell: &Cell<'_>) -> String {
        let mut out = Vec::new();
        cell.write_text(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn digits_are_those_of_the_library(mantissa in any::<i128>(), shift in 0u32..127, scale in 0u32..=28) {
            let mantissa = (mantissa >> shift).clamp(-Decimal::MAX.mantissa(), Decimal::MAX.mantissa());
            let figure = Decimal::from_i128_with_scale(mantissa, scale);
            prop_assert_eq!(shown(&Cell::Decimal(figure)), figure.normalize().to_string());
        }
    }

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
            assert_eq!(shown(&cell), text);
        }
        assert_eq!(shown(&Cell::Missing), "");
        assert_eq!(shown(&Cell::Symbol("000858.sz".parse().unwrap())), "000858.SZ");
    }
}
