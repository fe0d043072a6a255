//! One table as Parquet with its types: decimals as decimals, moments as moments.
//!
//! The file format's own writer is used, without Arrow's arrays between: readers find the same
//! types, and the binary stays a good deal smaller.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};
use rust_decimal::Decimal;

use super::table::{Cell, ColumnInfo, Kind, PRECISION, SCALE, Table, moment};
use super::{Meta, schema};

/// Rows that are held at a time, and that a reader finds together.
const ROWS_A_GROUP: usize = 131_072;
/// Bytes of a decimal.
const DECIMAL_BYTES: usize = 16;

/// Writes a table.
///
/// # Errors
///
/// What the writer says, or a figure with more digits than [`PRECISION`].
pub(super) fn write(out: &mut (dyn Write + Send), table: &Table<'_>, meta: &Meta) -> io::Result<()> {
    written(out, table, meta).map_err(|e| match e {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(cause) => *cause,
            Err(cause) => io::Error::other(cause),
        },
        other => io::Error::other(other),
    })
}

fn written(out: &mut (dyn Write + Send), table: &Table<'_>, meta: &Meta) -> Result<(), ParquetError> {
    let fields: Result<Vec<TypePtr>, ParquetError> = table.columns.iter().map(field).collect();
    let group = Type::group_type_builder(table.name)
        .with_fields(fields?)
        .build()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(format!("qt-host {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(key_values(table, meta)))
        .build();
    let mut writer = SerializedFileWriter::new(out, Arc::new(group), Arc::new(properties))?;
    for piece in table.pieces(ROWS_A_GROUP) {
        let piece = piece.map_err(|e| ParquetError::External(Box::new(e)))?;
        let mut rows = writer.next_row_group()?;
        let mut column = 0;
        while let Some(mut into) = rows.next_column()? {
            let values = (0..piece.count()).map(|row| piece.cell(row, column));
            match table.columns.get(column) {
                Some(info) => write_column(&mut into, info, values)?,
                None => {
                    return Err(ParquetError::General(
                        "more columns than the table has".to_owned(),
                    ));
                }
            }
            into.close()?;
            column += 1;
        }
        rows.close()?;
    }
    writer.close().map(|_| ())
}

fn key_values(table: &Table<'_>, meta: &Meta) -> Vec<KeyValue> {
    let one = std::slice::from_ref(table);
    [
        ("quanttrader.format", schema::FORMAT.to_owned()),
        ("quanttrader.schema_version", schema::VERSION.to_string()),
        ("quanttrader.table", table.name.to_owned()),
        ("quanttrader.schema", schema::as_json(one).to_string()),
        ("quanttrader.units", schema::units(one)[table.name].to_string()),
        ("quanttrader.as_of", moment(meta.as_of)),
        ("quanttrader.source", meta.source.clone()),
    ]
    .into_iter()
    .map(|(key, value)| KeyValue::new(key.to_owned(), value))
    .collect()
}

fn field(column: &ColumnInfo) -> Result<TypePtr, ParquetError> {
    // The format counts digits in 32 bits with a sign; these are 38 and 10.
    let (precision, scale) = (PRECISION.cast_signed(), SCALE.cast_signed());
    let (physical, logical) = match column.kind {
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Integer => (Physical::INT64, None),
        Kind::Date => (Physical::INT32, Some(LogicalType::Date)),
        Kind::Timestamp => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::MILLIS)),
        ),
        Kind::Decimal => (
            Physical::FIXED_LEN_BYTE_ARRAY,
            Some(LogicalType::decimal(scale, precision)),
        ),
    };
    let mut builder = Type::primitive_type_builder(column.name, physical)
        .with_logical_type(logical)
        .with_repetition(if column.nullable {
            Repetition::OPTIONAL
        } else {
            Repetition::REQUIRED
        });
    if column.kind == Kind::Decimal {
        builder = builder
            .with_length(DECIMAL_BYTES as i32)
            .with_precision(precision)
            .with_scale(scale);
    }
    builder.build().map(Arc::new)
}

fn write_column<'a>(
    into: &mut SerializedColumnWriter<'_>,
    info: &ColumnInfo,
    cells: impl Iterator<Item = Cell<'a>>,
) -> Result<(), ParquetError> {
    let wrong = || ParquetError::General(format!("column {} holds a value of another type", info.name));
    match info.kind {
        Kind::Text => write_text(into, info, cells),
        Kind::Decimal => write_decimals(into, info, cells),
        Kind::Integer => write_plain::<Int64Type, _>(into, info, cells, |cell| match cell {
            Cell::Integer(number) => Ok(number),
            _ => Err(wrong()),
        }),
        Kind::Timestamp => write_plain::<Int64Type, _>(into, info, cells, |cell| match cell {
            Cell::Timestamp(at) => Ok(at.0),
            _ => Err(wrong()),
        }),
        Kind::Date => write_plain::<Int32Type, _>(into, info, cells, |cell| match cell {
            Cell::Date(day) => i32::try_from(day.0).map_err(|_| wrong()),
            _ => Err(wrong()),
        }),
    }
}

/// One value of a column that allows none, and whether it is there.
type Level = i16;

fn missing(info: &ColumnInfo) -> ParquetError {
    ParquetError::General(format!("column {} lacks a value that it must have", info.name))
}

/// Values that are there, and for each row whether one is.
fn write_plain<'a, T, V>(
    into: &mut SerializedColumnWriter<'_>,
    info: &ColumnInfo,
    cells: impl Iterator<Item = Cell<'a>>,
    value: impl Fn(Cell<'a>) -> Result<V, ParquetError>,
) -> Result<(), ParquetError>
where
    T: DataType<T = V>,
{
    let (mut values, mut levels): (Vec<V>, Vec<Level>) = (Vec::new(), Vec::new());
    for cell in cells {
        if cell == Cell::Missing {
            levels.push(0);
        } else {
            levels.push(1);
            values.push(value(cell)?);
        }
    }
    flush::<T>(into, info, &values, &levels)
}

fn flush<T: DataType>(
    into: &mut SerializedColumnWriter<'_>,
    info: &ColumnInfo,
    values: &[T::T],
    levels: &[Level],
) -> Result<(), ParquetError> {
    if !info.nullable && values.len() != levels.len() {
        return Err(missing(info));
    }
    let levels = info.nullable.then_some(levels);
    into.typed::<T>().write_batch(values, levels, None).map(|_| ())
}

/// Where each value ends in a buffer that all share: one allocation, not one a value.
#[derive(Default)]
struct Shared {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    levels: Vec<Level>,
}

impl Shared {
    fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.end();
    }

    fn push_text(&mut self, cell: &Cell<'_>) -> Result<(), ParquetError> {
        cell.write_text(&mut self.bytes)?;
        self.end();
        Ok(())
    }

    fn end(&mut self) {
        self.ends.push(self.bytes.len());
        self.levels.push(1);
    }

    fn values(self) -> (Vec<ByteArray>, Vec<Level>) {
        let bytes = Bytes::from(self.bytes);
        let mut start = 0;
        let values = self
            .ends
            .into_iter()
            .map(|end| ByteArray::from(bytes.slice(std::mem::replace(&mut start, end)..end)))
            .collect();
        (values, self.levels)
    }
}

fn write_text<'a>(
    into: &mut SerializedColumnWriter<'_>,
    info: &ColumnInfo,
    cells: impl Iterator<Item = Cell<'a>>,
) -> Result<(), ParquetError> {
    let mut shared = Shared::default();
    for cell in cells {
        match cell {
            Cell::Missing => shared.levels.push(0),
            cell @ (Cell::Text(_) | Cell::Symbol(_)) => shared.push_text(&cell)?,
            _ => {
                return Err(ParquetError::General(format!(
                    "column {} holds no text",
                    info.name
                )));
            }
        }
    }
    let (values, levels) = shared.values();
    flush::<ByteArrayType>(into, info, &values, &levels)
}

fn write_decimals<'a>(
    into: &mut SerializedColumnWriter<'_>,
    info: &ColumnInfo,
    cells: impl Iterator<Item = Cell<'a>>,
) -> Result<(), ParquetError> {
    let mut shared = Shared::default();
    for cell in cells {
        match cell {
            Cell::Missing => shared.levels.push(0),
            Cell::Decimal(figure) => {
                let scaled = scaled(figure).ok_or_else(|| {
                    ParquetError::General(format!(
                        "column {}: {figure} has more digits than a Parquet file holds ({PRECISION}, {SCALE} of them behind the \
                         point); write .json or .csv",
                        info.name
                    ))
                })?;
                shared.push(&scaled.to_be_bytes());
            }
            _ => {
                return Err(ParquetError::General(format!(
                    "column {} holds no decimal",
                    info.name
                )));
            }
        }
    }
    let (values, levels) = shared.values();
    let values: Vec<FixedLenByteArray> = values.into_iter().map(FixedLenByteArray::from).collect();
    flush::<FixedLenByteArrayType>(into, info, &values, &levels)
}

/// The decimal times ten to the [`SCALE`], where that has no more than [`PRECISION`] digits.
pub(super) fn scaled(figure: Decimal) -> Option<i128> {
    let missing_places = SCALE.checked_sub(figure.scale())?;
    let scaled = figure
        .mantissa()
        .checked_mul(10i128.checked_pow(missing_places)?)?;
    (scaled.unsigned_abs() < 10u128.pow(PRECISION)).then_some(scaled)
}
