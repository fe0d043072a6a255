//! The ledger file: facts as JSON lines, in the operating system's hands before anybody hears of them.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use qt_plugin_api::Side;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::failpoints;

/// Kind of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Accepted,
    Rejected,
    Fill,
    Cancelled,
    /// A company paid `price` a share for `quantity` shares; only of the exchange.
    Dividend,
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fact {
    pub(crate) event: Kind,
    /// Milliseconds since 1970 UTC.
    pub(crate) ts: i64,
    pub(crate) client_order_id: String,
    pub(crate) broker_order_id: String,
    pub(crate) symbol: String,
    #[serde(with = "side_word")]
    pub(crate) side: Side,
    /// Shares ordered, filled, or cancelled.
    pub(crate) quantity: u64,
    /// The limit, or the price of a fill.
    #[serde(with = "exact")]
    pub(crate) price: Option<Decimal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fill_id: Option<String>,
    #[serde(default, with = "exact", skip_serializing_if = "Option::is_none")]
    pub(crate) commission: Option<Decimal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The host's time, where `ts` is a session's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host_ts: Option<i64>,
    #[serde(default, with = "exact", skip_serializing_if = "Option::is_none")]
    pub(crate) stamp_tax: Option<Decimal>,
    #[serde(default, with = "exact", skip_serializing_if = "Option::is_none")]
    pub(crate) transfer_fee: Option<Decimal>,
    /// What was bought may be sold on the same day.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) same_day: bool,
    /// Nothing of the order rests: what does not fill as it comes is cancelled.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) at_once: bool,
    /// Where an order without a limit rests.
    #[serde(default, with = "exact", skip_serializing_if = "Option::is_none")]
    pub(crate) rests_at: Option<Decimal>,
}

impl Default for Fact {
    fn default() -> Self {
        Self {
            event: Kind::Accepted,
            ts: 0,
            client_order_id: String::new(),
            broker_order_id: String::new(),
            symbol: String::new(),
            side: Side::Buy,
            quantity: 0,
            price: None,
            fill_id: None,
            commission: None,
            reason: None,
            host_ts: None,
            stamp_tax: None,
            transfer_fee: None,
            same_day: false,
            at_once: false,
            rests_at: None,
        }
    }
}

impl Fact {
    /// When it was on the host's clock.
    pub(crate) fn host_ms(&self) -> i64 {
        self.host_ts.unwrap_or(self.ts)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

mod side_word {
    use qt_plugin_api::Side;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(side: &Side, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match side {
            Side::Buy => "buy",
            Side::Sell => "sell",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Side, D::Error> {
        match <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.as_ref() {
            "buy" => Ok(Side::Buy),
            "sell" => Ok(Side::Sell),
            other => Err(D::Error::custom(format!(
                "{other:?} is neither \"buy\" nor \"sell\""
            ))),
        }
    }
}

/// A JSON number with exactly the decimal's digits, never by way of a float.
mod exact {
    use std::str::FromStr;

    use rust_decimal::Decimal;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error, ser};
    use serde_json::Number;

    pub(super) fn serialize<S: Serializer>(
        value: &Option<Decimal>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let number = value
            .map(|v| Number::from_str(&v.to_string()).map_err(ser::Error::custom))
            .transpose()?;
        number.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Decimal>, D::Error> {
        let number = Option::<Number>::deserialize(deserializer)?;
        number
            .map(|n| Decimal::from_str_exact(&n.to_string()).map_err(D::Error::custom))
            .transpose()
    }
}

/// Why a fact is not in the ledger.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// For certain: the file is as it was.
    NotWritten(io::Error),
    /// Part of it may be in the file, and nothing more may follow.
    Torn(io::Error),
    /// It is in the file, and the books do not take it.
    Contradicts(String),
}

impl std::fmt::Display for AppendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotWritten(e) => write!(f, "the ledger cannot be written: {e}"),
            Self::Torn(e) => write!(f, "the ledger may be torn: {e}"),
            Self::Contradicts(e) => write!(f, "the ledger contradicts the books: {e}"),
        }
    }
}

/// The open ledger. Dropping it lets the next process in.
#[derive(Debug)]
pub(crate) struct Ledger(Option<Writer>);

#[derive(Debug)]
struct Writer {
    file: File,
    len: u64,
    line: Vec<u8>,
    torn: bool,
    // Held for its lock alone, which ends with it.
    _lock: File,
}

impl Ledger {
    /// Opens the file, or makes it, and reads what it holds.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Fact>), String> {
        let failed =
            |what: &str, e: io::Error| format!("the ledger {} cannot be {what}: {e}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| failed("made", e))?;
        }
        let lock = lock(path)?;
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|e| failed("opened", e))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| failed("read", e))?;
        let (whole, facts) = whole_lines(path, &bytes)?;
        let len = whole as u64;
        if whole < bytes.len() {
            file.set_len(len)
                .map_err(|e| failed("rid of its torn last line", e))?;
        }
        file.seek(SeekFrom::Start(len))
            .map_err(|e| failed("written", e))?;
        let writer = Writer {
            file,
            len,
            line: Vec::with_capacity(512),
            torn: false,
            _lock: lock,
        };
        Ok((Self(Some(writer)), facts))
    }

    /// Reads what the file holds, if there is one, beside the process that writes it: takes no lock and changes
    /// nothing, so a line that is being written is not there yet.
    pub(crate) fn open_to_read(path: &Path) -> Result<(Self, Vec<Fact>), String> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(format!("the ledger {} cannot be read: {e}", path.display())),
        };
        let (_, facts) = whole_lines(path, &bytes)?;
        Ok((Self(None), facts))
    }

    /// Writes one line and hands it to the operating system.
    pub(crate) fn append(&mut self, fact: &Fact) -> Result<(), AppendError> {
        let read_only = || AppendError::NotWritten(io::Error::other("it was opened to be read only"));
        self.0.as_mut().ok_or_else(read_only)?.append(fact)
    }
}

impl Writer {
    fn append(&mut self, fact: &Fact) -> Result<(), AppendError> {
        if self.torn {
            return Err(AppendError::NotWritten(io::Error::other(
                "an earlier line is torn; restart the broker",
            )));
        }
        self.line.clear();
        serde_json::to_writer(&mut self.line, fact).map_err(|e| AppendError::NotWritten(e.into()))?;
        self.line.push(b'\n');
        let Err(cause) = failpoints::full().and_then(|()| self.file.write_all(&self.line)) else {
            self.len += self.line.len() as u64;
            return Ok(());
        };
        let undone = self
            .file
            .set_len(self.len)
            .and_then(|()| self.file.seek(SeekFrom::Start(self.len)));
        if undone.is_err() {
            self.torn = true;
            return Err(AppendError::Torn(cause));
        }
        Err(AppendError::NotWritten(cause))
    }
}

/// The lock lies beside the ledger, so that others can read the ledger on every system.
fn lock(ledger: &Path) -> Result<File, String> {
    let mut name = ledger.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let file = opened.map_err(|e| format!("the lock {} cannot be opened: {e}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!(
            "the ledger {} is in use by another broker; end the other program, or give this one a `ledger` of its own",
            ledger.display()
        )),
        Err(TryLockError::Error(e)) => Err(format!("{} cannot be locked: {e}", path.display())),
    }
}

/// The length of all whole lines and the facts in them: a last line without its end was never answered for.
fn whole_lines(path: &Path, bytes: &[u8]) -> Result<(usize, Vec<Fact>), String> {
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let facts = parse(&bytes[..whole]).map_err(|(line, why)| {
        format!(
            "the ledger {} is damaged in line {line} ({why}); mend that line, or move the file away to start with an \
             empty one",
            path.display()
        )
    })?;
    Ok((whole, facts))
}

fn parse(bytes: &[u8]) -> Result<Vec<Fact>, (usize, String)> {
    let lines = bytes
        .split(|b| *b == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty());
    lines
        .map(|(i, line)| serde_json::from_slice(line).map_err(|e| (i + 1, e.to_string())))
        .collect()
}
