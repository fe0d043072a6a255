//! One snapshot of the account a day, kept for the equity curve.
//!
//! A file of its own beside the journal: the journal holds what trading must be able to trust, has
//! one writer, and every row of it is replayed or linked. A lost point of a curve is a lost point of
//! a curve; it must never be able to stop trading, nor trading wait for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use qt_core::{TradingDate, UtcMillis};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};
use rust_decimal::Decimal;
use tracing::warn;

use crate::system;

/// The file's name within the data folder.
pub(crate) const FILE_NAME: &str = "equity.db";
/// The format that this program writes.
const FORMAT: i64 = 2;
const BUSY: Duration = Duration::from_secs(5);

const TABLE: &str = "
-- Amounts in yuan as their digits; day counts from 1970-01-01, in Shanghai. The last snapshot of a day stays.
CREATE TABLE IF NOT EXISTS equity (
    account TEXT NOT NULL, day INTEGER NOT NULL, at_ms INTEGER NOT NULL, total_asset TEXT NOT NULL, cash TEXT NOT NULL,
    market_value TEXT NOT NULL, unrealized_pnl TEXT NOT NULL, positions INTEGER NOT NULL, day_pnl TEXT,
    PRIMARY KEY (account, day)) WITHOUT ROWID;
";
/// What format 2 has beyond format 1.
const SECOND: &str = "ALTER TABLE equity ADD COLUMN opening_value TEXT;";

/// What an account was worth at a moment. Amounts in yuan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The day in Shanghai.
    pub(crate) day: TradingDate,
    /// When the broker was asked.
    pub(crate) at: UtcMillis,
    /// All that the account was worth.
    pub(crate) total_asset: Decimal,
    /// Cash, a part of it.
    pub(crate) cash: Decimal,
    /// What the holdings were worth.
    pub(crate) market_value: Decimal,
    /// That − what they cost.
    pub(crate) unrealized_pnl: Decimal,
    /// How many holdings.
    pub(crate) positions: i64,
    /// What the day earned, transfers apart; `None` where the broker did not tell all that is needed.
    pub(crate) day_pnl: Option<Decimal>,
    /// What the shares held overnight were worth at the previous close; `None` as `day_pnl`, and in snapshots of format 1.
    pub(crate) opening_value: Option<Decimal>,
}

/// Why the snapshots cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EquityStoreError {
    /// SQLite or the system says no.
    #[error("the snapshots {path} cannot be used: {reason}")]
    Io {
        /// The file.
        path: String,
        /// What is said.
        reason: String,
    },
    /// What is in it cannot be right.
    #[error("the snapshots {path} are damaged: {what}; move the file away, and the curve starts anew")]
    Damaged {
        /// The file.
        path: String,
        /// Which row, and what does not fit.
        what: String,
    },
    /// Made by a newer program.
    #[error(
        "the snapshots {path} have format {found}, and this program knows formats up to {FORMAT}; use the newer program"
    )]
    TooNew {
        /// The file.
        path: String,
        /// Its format.
        found: i64,
    },
}

fn sql_error(path: &Path) -> impl Fn(rusqlite::Error) -> EquityStoreError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    move |source| {
        let path = system::shown(path);
        match source.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => EquityStoreError::Damaged {
                path,
                what: source.to_string(),
            },
            _ => EquityStoreError::Io {
                path,
                reason: source.to_string(),
            },
        }
    }
}

fn check_format(conn: &Connection, path: &Path) -> Result<i64, EquityStoreError> {
    let found = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(sql_error(path))?;
    if found > FORMAT {
        return Err(EquityStoreError::TooNew {
            path: system::shown(path),
            found,
        });
    }
    Ok(found)
}

/// Writes the snapshots of one account.
pub(crate) struct EquityStore {
    conn: Connection,
    path: PathBuf,
    account: String,
}

impl EquityStore {
    /// Opens the file, making it where it is missing. `account` names the account without giving
    /// its number away.
    ///
    /// # Errors
    ///
    /// [`EquityStoreError`].
    pub(crate) fn open(path: &Path, account: &str) -> Result<Self, EquityStoreError> {
        // SQLite would make it readable by all that the umask lets in.
        system::open_private_append(path).map_err(|e| EquityStoreError::Io {
            path: system::shown(path),
            reason: e.to_string(),
        })?;
        let at = sql_error(path);
        let conn = Connection::open(path).map_err(&at)?;
        conn.busy_timeout(BUSY).map_err(&at)?;
        conn.pragma_update(None, "synchronous", "FULL").map_err(&at)?;
        let found = check_format(&conn, path)?;
        if found < FORMAT {
            let first = if found == 0 { TABLE } else { "" };
            conn.execute_batch(&format!(
                "BEGIN IMMEDIATE; {first} {SECOND} PRAGMA user_version = {FORMAT}; COMMIT;"
            ))
            .map_err(&at)?;
        }
        Ok(Self {
            conn,
            path: path.to_owned(),
            account: account.to_owned(),
        })
    }

    /// Stores a snapshot durably; the latest of a day stays. Weekends are left out: nothing is traded on
    /// them, and brokers repeat Friday's figures.
    ///
    /// # Errors
    ///
    /// [`EquityStoreError`].
    pub(crate) fn put(&self, snapshot: &Snapshot) -> Result<(), EquityStoreError> {
        if snapshot.day.weekday() >= 5 {
            return Ok(());
        }
        self.conn
            .execute(
                "INSERT INTO equity VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (account, day) DO UPDATE SET
                 at_ms = excluded.at_ms, total_asset = excluded.total_asset, cash = excluded.cash,
                 market_value = excluded.market_value, unrealized_pnl = excluded.unrealized_pnl,
                 positions = excluded.positions, day_pnl = excluded.day_pnl, opening_value = excluded.opening_value WHERE excluded.at_ms >= equity.at_ms",
                (
                    &self.account,
                    snapshot.day.0,
                    snapshot.at.0,
                    snapshot.total_asset.to_string(),
                    snapshot.cash.to_string(),
                    snapshot.market_value.to_string(),
                    snapshot.unrealized_pnl.to_string(),
                    snapshot.positions,
                    snapshot.day_pnl.map(|pnl| pnl.to_string()),
                    snapshot.opening_value.map(|value| value.to_string()),
                ),
            )
            .map(|_| ())
            .map_err(sql_error(&self.path))
    }
}

/// Stores snapshots beside what else runs. A store that fails is said once and stops nothing.
pub(crate) struct EquityKeeper {
    store: Option<EquityStore>,
    failing: bool,
}

impl EquityKeeper {
    /// Opens the store; without it, nothing is kept.
    pub(crate) fn open(path: &Path, account: &str) -> Self {
        let store = EquityStore::open(path, account);
        if let Err(e) = &store {
            warn!("no snapshots are kept for the equity curve: {e}");
        }
        Self {
            failing: store.is_err(),
            store: store.ok(),
        }
    }

    /// Stores one, away from the runtime's threads: it waits for the disk.
    pub(crate) async fn keep(&mut self, snapshot: Snapshot) {
        let Some(store) = self.store.take() else {
            return;
        };
        let stored = tokio::task::spawn_blocking(move || (store.put(&snapshot), store)).await;
        let Ok((stored, store)) = stored else {
            return;
        };
        self.store = Some(store);
        if let Err(e) = &stored
            && !self.failing
        {
            warn!("the day's snapshot is not kept for the equity curve, later ones are tried again: {e}");
        }
        self.failing = stored.is_err();
    }
}

/// The snapshots of an account, oldest first; of the one that was stored last where none is named.
/// None where there is no file yet.
///
/// # Errors
///
/// [`EquityStoreError`].
pub(crate) fn read(path: &Path, account: Option<&str>) -> Result<Vec<Snapshot>, EquityStoreError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let at = sql_error(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(&at)?;
    conn.busy_timeout(BUSY).map_err(&at)?;
    // A file that no host has opened since is read as it is.
    let opening_value = match check_format(&conn, path)? {
        0 => return Ok(Vec::new()),
        1 => "NULL",
        _ => "opening_value",
    };
    let account = match account {
        Some(account) => Some(account.to_owned()),
        None => conn
            .query_row(
                "SELECT account FROM equity ORDER BY at_ms DESC LIMIT 1",
                [],
                |row| row.get(0),
            )
            .optional()
            .map_err(&at)?,
    };
    let Some(account) = account else {
        return Ok(Vec::new());
    };
    let mut query = conn
        .prepare(&format!(
            "SELECT day, at_ms, total_asset, cash, market_value, unrealized_pnl, positions, day_pnl, {opening_value}
             FROM equity WHERE account = ?1 ORDER BY day"
        ))
        .map_err(&at)?;
    let mut rows = query.query([account]).map_err(&at)?;
    let mut snapshots = Vec::new();
    while let Some(row) = rows.next().map_err(&at)? {
        snapshots.push(snapshot(row, path)?);
    }
    Ok(snapshots)
}

fn snapshot(row: &Row<'_>, path: &Path) -> Result<Snapshot, EquityStoreError> {
    let at = sql_error(path);
    let day = TradingDate(row.get(0).map_err(&at)?);
    let damaged = |name: &str, text: &str| EquityStoreError::Damaged {
        path: system::shown(path),
        what: format!("{name} of {day} is `{text}`, not a number"),
    };
    let amount = |column: usize, name: &str| {
        let text: String = row.get(column).map_err(sql_error(path))?;
        text.parse::<Decimal>().map_err(|_| damaged(name, &text))
    };
    let known = |column: usize, name: &str| {
        let text: Option<String> = row.get(column).map_err(sql_error(path))?;
        text.map(|text| text.parse::<Decimal>().map_err(|_| damaged(name, &text)))
            .transpose()
    };
    Ok(Snapshot {
        day,
        at: UtcMillis(row.get(1).map_err(&at)?),
        total_asset: amount(2, "total_asset")?,
        cash: amount(3, "cash")?,
        market_value: amount(4, "market_value")?,
        unrealized_pnl: amount(5, "unrealized_pnl")?,
        positions: row.get(6).map_err(&at)?,
        day_pnl: known(7, "day_pnl")?,
        opening_value: known(8, "opening_value")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-24, a Tuesday.
    const TUESDAY: i64 = 20_781;

    fn snapshot(day: i64, hour: i64, total: &str) -> Snapshot {
        let day = TradingDate(TUESDAY + day);
        Snapshot {
            day,
            at: day.start().plus_ms(hour * 3_600_000),
            total_asset: total.parse().unwrap(),
            cash: "0.10".parse().unwrap(),
            market_value: "-1.2345678901".parse().unwrap(),
            unrealized_pnl: Decimal::MAX,
            positions: 3,
            day_pnl: None,
            opening_value: None,
        }
    }

    #[test]
    fn the_last_snapshot_of_a_day_stays_and_survives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        assert_eq!(read(&path, None).unwrap(), []);
        let store = EquityStore::open(&path, "a").unwrap();
        assert_eq!(read(&path, None).unwrap(), []);
        store.put(&snapshot(1, 10, "5")).unwrap();
        store.put(&snapshot(0, 15, "2")).unwrap();
        // Late, and from a clock that went back.
        store.put(&snapshot(0, 14, "1")).unwrap();
        let last = Snapshot {
            day_pnl: Some("1.50".parse().unwrap()),
            opening_value: Some("-2.734".parse().unwrap()),
            ..snapshot(0, 16, "3.00")
        };
        store.put(&last).unwrap();
        // Saturday.
        store.put(&snapshot(4, 10, "9")).unwrap();
        drop(store);
        EquityStore::open(&path, "b")
            .unwrap()
            .put(&snapshot(0, 9, "7"))
            .unwrap();
        let expected = [last, snapshot(1, 10, "5")];
        assert_eq!(read(&path, Some("a")).unwrap(), expected);
        assert_eq!(
            read(&path, None).unwrap(),
            expected,
            "the account that was stored last"
        );
        assert_eq!(read(&path, Some("b")).unwrap(), [snapshot(0, 9, "7")]);
        assert_eq!(read(&path, Some("c")).unwrap(), []);
    }

    #[test]
    fn snapshots_of_the_first_format_are_read_and_then_carried_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(&format!("{TABLE} PRAGMA user_version = 1;"))
            .unwrap();
        conn.execute(
            "INSERT INTO equity VALUES ('a', ?1, ?2, '3', '0.10', '-1.2345678901', ?3, 3, NULL)",
            (TUESDAY, snapshot(0, 9, "3").at.0, Decimal::MAX.to_string()),
        )
        .unwrap();
        drop(conn);
        assert_eq!(read(&path, None).unwrap(), [snapshot(0, 9, "3")]);
        let next = Snapshot {
            opening_value: Some(Decimal::ONE),
            ..snapshot(1, 9, "4")
        };
        EquityStore::open(&path, "a").unwrap().put(&next).unwrap();
        assert_eq!(read(&path, None).unwrap(), [snapshot(0, 9, "3"), next]);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        EquityStore::open(&path, "a").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        assert_eq!(system::readable_by_others(&file), None);
    }

    #[test]
    fn a_damaged_or_newer_file_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("newer.db");
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update(None, "user_version", FORMAT + 1).unwrap();
        assert!(matches!(
            read(&path, None),
            Err(EquityStoreError::TooNew { found: 3, .. })
        ));
        assert!(EquityStore::open(&path, "a").is_err());
        let path = folder.path().join("rubbish.db");
        std::fs::write(
            &path,
            "no database, and long enough to be looked at as one".repeat(20),
        )
        .unwrap();
        assert!(matches!(read(&path, None), Err(EquityStoreError::Damaged { .. })));
        let path = folder.path().join(FILE_NAME);
        let store = EquityStore::open(&path, "a").unwrap();
        store.put(&snapshot(0, 9, "1")).unwrap();
        store.conn.execute("UPDATE equity SET cash = 'much'", []).unwrap();
        let error = read(&path, None).unwrap_err().to_string();
        assert!(error.contains("cash of 2026-11-24 is `much`"), "{error}");
    }
}
