//! A book in a file: the product's own export, or a plain list of positions in the contract's names.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use qt_core::UtcMillis;
use qt_core::portfolio::{Account, Position, TradeBook};
use qt_market::Shares;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::{BookError, BookSource, BookView};
use crate::config::parse_decimal;
use crate::system;

/// Within the folder that an export as CSV makes.
const POSITIONS_CSV: &str = "positions.csv";
const ACCOUNT_CSV: &str = "account.csv";
const SCHEMA_JSON: &str = "schema.json";
/// The keys under which a file may say when it was true, best first.
const AS_OF: [&str; 3] = ["as_of_ms", "as_of", "exported_at"];

type Row = Map<String, Value>;

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Content {
    positions: Vec<Position>,
    account: Option<Account>,
    as_of: Option<UtcMillis>,
}

/// Reads the book in `path`.
pub(super) fn read(path: &Path) -> Result<BookView, BookError> {
    let failed = |reason: String| BookError::File {
        path: system::shown(path),
        reason,
    };
    let content = content(path).map_err(failed)?;
    let as_of = match content.as_of {
        Some(at) => at,
        None => written_at(path).map_err(failed)?,
    };
    Ok(BookView {
        source: BookSource::File {
            path: path.to_owned(),
        },
        as_of,
        positions: content.positions,
        account: content.account,
        orders: Vec::new(),
        trades: TradeBook::default(),
        today: Err("a file says nothing of today's trades; ask the broker".to_owned()),
        notes: Vec::new(),
    })
}

fn written_at(path: &Path) -> Result<UtcMillis, String> {
    let at = std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .map_err(|e| e.to_string())?;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(UtcMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

fn content(path: &Path) -> Result<Content, String> {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    // Before it is read as text, which it is not.
    if ending == "parquet" && path.exists() {
        return Err("a Parquet file is not read back; give the same export as .json or .csv".to_owned());
    }
    if path.is_dir() {
        return csv_folder(path);
    }
    let text = text_of(path)?;
    match ending.to_str() {
        Some("csv") => Ok(Content {
            positions: csv_positions(&text)?,
            ..Content::default()
        }),
        _ => json(&text),
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|e| {
        let todo = "give broker, journal or the path of a JSON or CSV file with --from";
        format!("it cannot be read ({e}); {todo}")
    })?;
    // Spreadsheets put a byte order mark in front.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let text = std::str::from_utf8(bytes)
        .map_err(|e| format!("it is not UTF-8 ({e}); give a JSON or CSV file, saved as UTF-8"))?;
    Ok(text.to_owned())
}

fn csv_folder(folder: &Path) -> Result<Content, String> {
    let file: PathBuf = folder.join(POSITIONS_CSV);
    if !file.is_file() {
        return Err(format!("it is a folder without {POSITIONS_CSV}; name a file"));
    }
    let accounts = folder.join(ACCOUNT_CSV);
    let account = if accounts.is_file() {
        match csv_rows(&text_of(&accounts)?)?.as_slice() {
            [] => None,
            [row] => Some(account_of(row).map_err(|e| format!("{ACCOUNT_CSV}: {e}"))?),
            rows => {
                return Err(format!(
                    "{ACCOUNT_CSV} has {} accounts instead of one",
                    rows.len()
                ));
            }
        }
    } else {
        None
    };
    Ok(Content {
        positions: csv_positions(&text_of(&file)?)?,
        account,
        as_of: described_moment(&folder.join(SCHEMA_JSON)),
    })
}

/// When the folder's tables were true, where what lies beside them says so.
fn described_moment(schema: &Path) -> Option<UtcMillis> {
    let value: Value = serde_json::from_str(&std::fs::read_to_string(schema).ok()?).ok()?;
    AS_OF.iter().find_map(|key| moment(value.get(*key)?))
}

/// The rows of a CSV text by the names in its first line, one at a time; an empty field is none.
fn each_csv_row(text: &str) -> Result<impl Iterator<Item = Result<Row, String>> + '_, String> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| e.to_string())?.clone();
    let mut records = reader.into_records().peekable();
    if records.peek().is_none() && !headers.iter().any(|name| name == "symbol") {
        return Err("its first line names no column `symbol`".to_owned());
    }
    Ok(records.map(move |record| {
        let record = record.map_err(|e| e.to_string())?;
        Ok(headers
            .iter()
            .zip(&record)
            .filter(|(_, field)| !field.is_empty())
            .map(|(name, field)| (name.to_owned(), Value::String(field.to_owned())))
            .collect())
    }))
}

/// All rows of a small CSV text.
fn csv_rows(text: &str) -> Result<Vec<Row>, String> {
    each_csv_row(text)?.collect()
}

/// The positions in a CSV text: a large book is not held twice.
fn csv_positions(text: &str) -> Result<Vec<Position>, String> {
    positions_of(each_csv_row(text)?)
}

fn json(text: &str) -> Result<Content, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("it is not JSON: {e}"))?;
    let (list, top) = match value {
        Value::Array(list) => (list, Row::new()),
        Value::Object(mut top) => match top.remove("positions") {
            Some(Value::Array(list)) => (list, top),
            _ => return Err("it has no list `positions`; give an export, or a list of positions".to_owned()),
        },
        _ => return Err("it is neither an export nor a list of positions".to_owned()),
    };
    let mut rows = Vec::with_capacity(list.len());
    for (place, row) in (1..).zip(list) {
        match row {
            Value::Object(row) => rows.push(row),
            other => return Err(format!("position {place} is {other}, not an object")),
        }
    }
    let account = match top.get("account") {
        None | Some(Value::Null) => None,
        Some(Value::Object(row)) => Some(account_of(row).map_err(|e| format!("account: {e}"))?),
        Some(_) => return Err("`account` is not an object".to_owned()),
    };
    Ok(Content {
        positions: positions(&rows)?,
        account,
        as_of: AS_OF.iter().find_map(|key| moment(top.get(*key)?)),
    })
}

/// Milliseconds, an ISO 8601 moment, or a date and time in Shanghai.
fn moment(value: &Value) -> Option<UtcMillis> {
    if let Some(ms) = value.as_i64() {
        return Some(UtcMillis(ms));
    }
    let text = value.as_str()?;
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(UtcMillis(at.as_millisecond()));
    }
    let local: jiff::civil::DateTime = text.parse().ok()?;
    let at = jiff::tz::Offset::constant(8).to_timestamp(local).ok()?;
    Some(UtcMillis(at.as_millisecond()))
}

fn positions(rows: &[Row]) -> Result<Vec<Position>, String> {
    positions_of(rows.iter().map(Ok))
}

fn positions_of<R: std::borrow::Borrow<Row>>(
    rows: impl Iterator<Item = Result<R, String>>,
) -> Result<Vec<Position>, String> {
    let mut seen = HashSet::new();
    let mut positions = Vec::new();
    for (place, row) in (1..).zip(rows) {
        let position = position_of(row?.borrow()).map_err(|e| format!("position {place}: {e}"))?;
        if !seen.insert(position.symbol) {
            return Err(format!(
                "position {place}: {} stands there twice; keep one of them",
                position.symbol
            ));
        }
        positions.push(position);
    }
    Ok(positions)
}

fn position_of(row: &Row) -> Result<Position, String> {
    let symbol = row
        .get("symbol")
        .and_then(Value::as_str)
        .ok_or("`symbol` is missing")?
        .parse()
        .map_err(|e: qt_market::ParseSymbolError| e.to_string())?;
    let total = needed(shares(row, "quantity")?, "quantity")?;
    let price = match amount(row, "current_price")? {
        None => amount(row, "last_price")?,
        price => price,
    };
    let known_close = amount(row, "previous_close")?;
    // Our own lists show the price that a position is valued at, and say where it comes from.
    let (last_price, previous_close) = match row.get("price_source").and_then(Value::as_str) {
        Some("cost") => (None, known_close),
        Some("previous_close") => (None, known_close.or(price)),
        _ => (price, known_close),
    };
    Ok(Position {
        symbol,
        name: row.get("name").and_then(Value::as_str).map(str::to_owned),
        total,
        sellable: shares(row, "available_qty")?.unwrap_or(total),
        frozen: shares(row, "frozen_qty")?.unwrap_or(0),
        avg_cost: needed(amount(row, "avg_cost")?, "avg_cost")?,
        last_price,
        previous_close,
    })
}

fn account_of(row: &Row) -> Result<Account, String> {
    let figure = |key| needed(amount(row, key)?, key);
    Ok(Account {
        account_id: row
            .get("account_id")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        total_asset: figure("total_asset")?,
        cash: figure("cash")?,
        available_cash: figure("available_cash")?,
        frozen_cash: figure("frozen_cash")?,
        market_value: figure("market_value")?,
    })
}

fn needed<T>(value: Option<T>, key: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("`{key}` is missing"))
}

/// A number's digits, whether it stands in quotation marks or not; never by way of a float.
fn digits(row: &Row, key: &str) -> Result<Option<String>, String> {
    match row.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
        Some(other) => Err(format!("`{key}` is {other}, not a number")),
    }
}

fn amount(row: &Row, key: &str) -> Result<Option<Decimal>, String> {
    digits(row, key)?
        .map(|text| parse_decimal(&text).ok_or_else(|| format!("`{key}` is `{text}`, not a number")))
        .transpose()
}

fn shares(row: &Row, key: &str) -> Result<Option<Shares>, String> {
    let whole = |text: String| {
        let number = parse_decimal(&text).filter(Decimal::is_integer);
        number
            .and_then(|number| Shares::try_from(number).ok())
            .ok_or_else(|| format!("`{key}` is `{text}`, not a whole number of shares"))
    };
    digits(row, key)?.map(whole).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str =
        r#"{"symbol": "000858.SZ", "quantity": 1000, "avg_cost": 42.50, "current_price": "43.20"}"#;

    #[test]
    fn a_list_an_export_and_a_table_say_the_same() {
        let list = json(&format!("[{ROW}]")).unwrap();
        let export = json(&format!(
            r#"{{"schema_version": 1, "as_of": "2025-12-23T11:45:00", "positions": [{ROW}], "account": null}}"#
        ))
        .unwrap();
        assert_eq!(export.as_of, Some(UtcMillis(1_766_461_500_000)));
        assert_eq!(export.positions, list.positions);
        let rows =
            csv_rows("symbol, quantity,avg_cost,current_price,name\n000858.SZ,1000,42.50,43.20,\n").unwrap();
        assert_eq!(positions(&rows).unwrap(), list.positions);
        let position = &list.positions[0];
        assert_eq!(
            (position.total, position.sellable, position.frozen),
            (1000, 1000, 0)
        );
        assert_eq!(position.avg_cost.to_string(), "42.50");
        assert_eq!(position.last_price.unwrap().to_string(), "43.20");
    }

    #[test]
    fn a_price_that_our_own_list_made_up_is_not_taken_for_one() {
        let rows = csv_rows(
            "symbol,quantity,avg_cost,current_price,price_source\n000001.SZ,100,10,10,cost\n000002.SZ,100,10,9,previous_close\n",
        )
        .unwrap();
        let read = positions(&rows).unwrap();
        assert_eq!((read[0].last_price, read[0].previous_close), (None, None));
        assert_eq!(
            (read[1].last_price, read[1].previous_close),
            (None, Some(9.into()))
        );
    }

    #[test]
    fn what_cannot_be_a_book_says_where_and_why() {
        for (text, part) in [
            ("{}", "no list `positions`"),
            ("7", "neither an export"),
            ("[7]", "position 1 is 7"),
            (r#"[{"quantity": 1}]"#, "`symbol` is missing"),
            (r#"[{"symbol": "858", "quantity": 1}]"#, "`858` is not a symbol"),
            (r#"[{"symbol": "000858.SZ"}]"#, "`quantity` is missing"),
            (
                r#"[{"symbol": "000858.SZ", "quantity": 1.5}]"#,
                "`1.5`, not a whole",
            ),
            (
                r#"[{"symbol": "000858.SZ", "quantity": 1}]"#,
                "`avg_cost` is missing",
            ),
            (
                r#"[{"symbol": "000858.SZ", "quantity": 1, "avg_cost": "much"}]"#,
                "`much`, not a number",
            ),
            (
                r#"{"positions": [], "account": {"cash": 1}}"#,
                "account: `total_asset` is missing",
            ),
        ] {
            let error = json(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let twice = json(&format!("[{ROW},{ROW}]")).unwrap_err();
        assert!(twice.contains("position 2") && twice.contains("twice"), "{twice}");
        assert!(csv_rows("a,b\n").unwrap_err().contains("symbol"));
    }
}
