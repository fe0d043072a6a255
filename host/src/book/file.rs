//! A book in a file: the product's own export, or a plain list of positions in the contract's names.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use qt_core::UtcMillis;
use qt_core::portfolio::{Account, Position, TradeBook};
use qt_market::{Shares, Symbol};
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
        // Texts of the file stand in it, which may hold anything.
        reason: reason.replace(char::is_control, " "),
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
    match ending.to_str() {
        Some("csv") => Ok(Content {
            positions: csv_positions(csv_file(path)?)?,
            ..Content::default()
        }),
        _ => json(&text_of(path)?),
    }
}

/// What spreadsheets put in front of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

fn unreadable(e: &std::io::Error) -> String {
    format!("it cannot be read ({e}); give broker, journal or the path of a JSON or CSV file with --from")
}

fn not_utf8(e: &dyn std::fmt::Display) -> String {
    format!("it is not UTF-8 ({e}); give a JSON or CSV file, saved as UTF-8")
}

fn text_of(path: &Path) -> Result<String, String> {
    let mut bytes = std::fs::read(path).map_err(|e| unreadable(&e))?;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(|e| not_utf8(&e))
}

/// A CSV file from its first row on, to be read a row at a time.
fn csv_file(path: &Path) -> Result<impl Read, String> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(|e| unreadable(&e))?);
    if file
        .fill_buf()
        .map_err(|e| unreadable(&e))?
        .starts_with(BYTE_ORDER_MARK)
    {
        file.consume(BYTE_ORDER_MARK.len());
    }
    Ok(file)
}

fn csv_folder(folder: &Path) -> Result<Content, String> {
    let file: PathBuf = folder.join(POSITIONS_CSV);
    if !file.is_file() {
        return Err(format!("it is a folder without {POSITIONS_CSV}; name a file"));
    }
    let accounts = folder.join(ACCOUNT_CSV);
    let account = if accounts.is_file() {
        let mut rows = CsvRows::new(csv_file(&accounts)?)?;
        let account = match rows.next_row()? {
            None => None,
            Some(row) => Some(account_of(&row).map_err(|e| format!("{ACCOUNT_CSV}: {e}"))?),
        };
        if rows.next_row()?.is_some() {
            return Err(format!("{ACCOUNT_CSV} has more than one account"));
        }
        account
    } else {
        None
    };
    Ok(Content {
        positions: csv_positions(csv_file(&file)?)?,
        account,
        as_of: described_moment(&folder.join(SCHEMA_JSON)),
    })
}

/// When the folder's tables were true, where what lies beside them says so.
fn described_moment(schema: &Path) -> Option<UtcMillis> {
    let value: Value = serde_json::from_str(&std::fs::read_to_string(schema).ok()?).ok()?;
    AS_OF.iter().find_map(|key| moment(value.get(*key)?))
}

/// The rows of a CSV text, one at a time: a large book is not held twice, and no row costs more memory than the last.
struct CsvRows<R> {
    reader: csv::Reader<R>,
    headers: Vec<String>,
    record: csv::StringRecord,
}

/// One of them, by the names in the first line; an empty field is none.
struct CsvRow<'a> {
    headers: &'a [String],
    record: &'a csv::StringRecord,
}

impl<R: Read> CsvRows<R> {
    fn new(from: R) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(from);
        let headers = reader.headers().map_err(|e| csv_problem(&e))?;
        Ok(Self {
            headers: headers.iter().map(str::to_owned).collect(),
            reader,
            record: csv::StringRecord::new(),
        })
    }

    fn next_row(&mut self) -> Result<Option<CsvRow<'_>>, String> {
        let there = self
            .reader
            .read_record(&mut self.record)
            .map_err(|e| csv_problem(&e))?;
        Ok(there.then_some(CsvRow {
            headers: &self.headers,
            record: &self.record,
        }))
    }
}

fn csv_problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => not_utf8(error),
        csv::ErrorKind::Io(e) => unreadable(e),
        _ => error.to_string(),
    }
}

/// A value of a row.
enum Field<'a> {
    /// Text, which may hold a number.
    Text(&'a str),
    /// A number's digits.
    Number(String),
    /// Something else, as it is written.
    Other(String),
}

/// A row of whatever format.
trait Fields {
    /// The value under a name; none where it is missing or null.
    fn field(&self, name: &str) -> Option<Field<'_>>;
}

impl Fields for CsvRow<'_> {
    fn field(&self, name: &str) -> Option<Field<'_>> {
        let place = self.headers.iter().position(|header| header == name)?;
        self.record
            .get(place)
            .filter(|text| !text.is_empty())
            .map(Field::Text)
    }
}

impl Fields for Row {
    fn field(&self, name: &str) -> Option<Field<'_>> {
        match self.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(Field::Text(text)),
            Value::Number(number) => Some(Field::Number(number.to_string())),
            other => Some(Field::Other(other.to_string())),
        }
    }
}

/// The positions in a CSV text.
fn csv_positions(from: impl Read) -> Result<Vec<Position>, String> {
    let mut rows = CsvRows::new(from)?;
    if !rows.headers.iter().any(|name| name == "symbol") {
        return Err("its first line names no column `symbol`".to_owned());
    }
    let mut list = Positions::default();
    while let Some(row) = rows.next_row()? {
        list.add(&row)?;
    }
    Ok(list.positions)
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

/// Positions as they are read, each symbol once.
#[derive(Default)]
struct Positions {
    positions: Vec<Position>,
    seen: HashSet<Symbol>,
}

impl Positions {
    fn add(&mut self, row: &impl Fields) -> Result<(), String> {
        let place = self.positions.len() + 1;
        let position = position_of(row).map_err(|e| format!("position {place}: {e}"))?;
        if !self.seen.insert(position.symbol) {
            return Err(format!(
                "position {place}: {} stands there twice; keep one of them",
                position.symbol
            ));
        }
        self.positions.push(position);
        Ok(())
    }
}

fn positions(rows: &[Row]) -> Result<Vec<Position>, String> {
    let mut list = Positions::default();
    rows.iter().try_for_each(|row| list.add(row))?;
    Ok(list.positions)
}

fn position_of(row: &impl Fields) -> Result<Position, String> {
    let symbol = text(row, "symbol")
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
    let (last_price, previous_close) = match text(row, "price_source") {
        Some("cost") => (None, known_close),
        Some("previous_close") => (None, known_close.or(price)),
        _ => (price, known_close),
    };
    Ok(Position {
        symbol,
        name: text(row, "name").map(str::to_owned),
        total,
        sellable: shares(row, "available_qty")?.unwrap_or(total),
        frozen: shares(row, "frozen_qty")?.unwrap_or(0),
        avg_cost: needed(amount(row, "avg_cost")?, "avg_cost")?,
        last_price,
        previous_close,
    })
}

fn account_of(row: &impl Fields) -> Result<Account, String> {
    let figure = |key| needed(amount(row, key)?, key);
    Ok(Account {
        account_id: text(row, "account_id").unwrap_or_default().to_owned(),
        total_asset: figure("total_asset")?,
        cash: figure("cash")?,
        available_cash: figure("available_cash")?,
        frozen_cash: figure("frozen_cash")?,
        market_value: figure("market_value")?,
    })
}

fn text<'a>(row: &'a impl Fields, key: &str) -> Option<&'a str> {
    match row.field(key)? {
        Field::Text(text) => Some(text),
        Field::Number(_) | Field::Other(_) => None,
    }
}

fn needed<T>(value: Option<T>, key: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("`{key}` is missing"))
}

/// A number's digits, whether it stands in quotation marks or not; never by way of a float.
fn digits<'a>(row: &'a impl Fields, key: &str) -> Result<Option<Cow<'a, str>>, String> {
    match row.field(key) {
        None => Ok(None),
        Some(Field::Number(number)) => Ok(Some(number.into())),
        Some(Field::Text(text)) => Ok(Some(text.trim().into())),
        Some(Field::Other(other)) => Err(format!("`{key}` is {other}, not a number")),
    }
}

fn amount(row: &impl Fields, key: &str) -> Result<Option<Decimal>, String> {
    digits(row, key)?
        .map(|text| parse_decimal(&text).ok_or_else(|| format!("`{key}` is `{text}`, not a number")))
        .transpose()
}

fn shares(row: &impl Fields, key: &str) -> Result<Option<Shares>, String> {
    let whole = |text: Cow<'_, str>| {
        if let Ok(shares) = text.parse() {
            return Ok(shares);
        }
        // Such as 100.0, or 1e2.
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
        let table = "symbol, quantity,avg_cost,current_price,name\n000858.SZ,1000,42.50,43.20,\n";
        assert_eq!(csv_positions(table.as_bytes()).unwrap(), list.positions);
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
        let table = "symbol,quantity,avg_cost,current_price,price_source\n000001.SZ,100,10,10,cost\n000002.SZ,100,10,9,previous_close\n";
        let read = csv_positions(table.as_bytes()).unwrap();
        assert_eq!((read[0].last_price, read[0].previous_close), (None, None));
        assert_eq!(
            (read[1].last_price, read[1].previous_close),
            (None, Some(9.into()))
        );
    }

    #[test]
    fn a_parquet_file_is_named_as_what_it_is_whatever_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("e.parquet");
        std::fs::write(&file, b"PAR1\xFF\xFE\x00").unwrap();
        let tables = folder.path().join("all.parquet");
        std::fs::create_dir(&tables).unwrap();
        for path in [file, tables] {
            let error = read(&path).unwrap_err().to_string();
            assert!(
                error.contains("a Parquet file is not read back; give the same export as .json or .csv"),
                "{error}"
            );
        }
        let error = read(&folder.path().join("none.parquet")).unwrap_err().to_string();
        assert!(error.contains("cannot be read"), "{error}");
    }

    #[test]
    fn a_folder_whose_account_table_is_empty_and_a_mark_in_front_are_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(ACCOUNT_CSV), "account_id,total_asset\n").unwrap();
        let table = "\u{feff}symbol,quantity,avg_cost\n000858.SZ,100,1\n";
        std::fs::write(folder.path().join(POSITIONS_CSV), table).unwrap();
        let content = content(folder.path()).unwrap();
        assert_eq!((content.positions.len(), content.account), (1, None));
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
        for table in ["a,b\n", "a,b\n1,2\n", ""] {
            let error = csv_positions(table.as_bytes()).unwrap_err();
            assert!(error.contains("no column `symbol`"), "{table}: {error}");
        }
        let latin = csv_positions(&b"symbol,name\n000858.SZ,\xE9\n"[..]).unwrap_err();
        assert!(latin.contains("saved as UTF-8"), "{latin}");
        let twice =
            csv_positions(&b"symbol,quantity,avg_cost\n000858.SZ,1,1\n000858.SZ,1,1\n"[..]).unwrap_err();
        assert!(
            twice.starts_with("position 2: 000858.SZ stands there twice"),
            "{twice}"
        );
    }
}
