//! Tables, and how a file is opened.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::JournalError;

/// The format that this program writes.
pub(super) const FORMAT: i64 = 1;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- One row a turn of the engine: its facts as JSON, the digest of the state after them, and the link.
CREATE TABLE IF NOT EXISTS commits (
    seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, facts TEXT NOT NULL,
    digest INTEGER NOT NULL, link INTEGER NOT NULL);

-- Orders as of the checkpoint, packed as they are in memory: a start copies them and parses nothing. They lie in the
-- order in which they came, and nothing finds them by their ids alone: an id is a hash, and an index of hashes is written
-- all over by every checkpoint, the more the longer the day. `qt-host journal export` gives them as JSON.
CREATE TABLE IF NOT EXISTS orders (
    received_ms INTEGER NOT NULL, id TEXT NOT NULL, signal TEXT NOT NULL, retry_count INTEGER NOT NULL,
    reopens INTEGER NOT NULL, state TEXT NOT NULL, day INTEGER NOT NULL, ended_day INTEGER, body BLOB NOT NULL,
    hash INTEGER NOT NULL, PRIMARY KEY (received_ms, id)) WITHOUT ROWID;

-- Signals whose orders were archived: never to be taken again.
CREATE TABLE IF NOT EXISTS settled (
    signal TEXT PRIMARY KEY, retry_count INTEGER NOT NULL, reopens INTEGER NOT NULL) WITHOUT ROWID;

-- Reports: state 0 waiting, 1 delivered, 2 dead letter, 3 dropped by a person.
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, order_id TEXT NOT NULL, body TEXT NOT NULL, edited TEXT,
    state INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0, error TEXT,
    made_ms INTEGER NOT NULL, done_ms INTEGER);
CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (id) WHERE state = 0;
CREATE INDEX IF NOT EXISTS outbox_dead ON outbox (id) WHERE state = 2;
";

/// KiB of pages that a connection keeps. What is written and read is mostly the newest, so that
/// more would only be memory.
const CACHE_KIB: i64 = 512;

/// Opens for writing and makes the tables where they are missing.
pub(super) fn open(path: &Path) -> Result<Connection, JournalError> {
    let at = |source| JournalError::sql(path, source);
    let conn = Connection::open(path).map_err(at)?;
    conn.busy_timeout(std::time::Duration::from_secs(5)).map_err(at)?;
    conn.pragma_update(None, "journal_mode", "WAL").map_err(at)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(at)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB).map_err(at)?;
    let found: i64 = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(at)?;
    if found > FORMAT {
        return Err(JournalError::TooNew {
            path: path.to_owned(),
            found,
            known: FORMAT,
        });
    }
    if found < FORMAT {
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;"
        ))
        .map_err(at)?;
    }
    Ok(conn)
}

/// Opens a second connection that only looks.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, JournalError> {
    let at = |source| JournalError::sql(path, source);
    if !path.exists() {
        return Err(JournalError::Absent {
            path: path.to_owned(),
        });
    }
    // Not SQLITE_OPEN_READ_ONLY: a reader of a WAL file needs to write its shared index.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(at)?;
    conn.busy_timeout(std::time::Duration::from_secs(5)).map_err(at)?;
    conn.pragma_update(None, "query_only", true).map_err(at)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB).map_err(at)?;
    let found: i64 = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(at)?;
    match found {
        0 => Err(JournalError::Absent {
            path: path.to_owned(),
        }),
        found if found > FORMAT => Err(JournalError::TooNew {
            path: path.to_owned(),
            found,
            known: FORMAT,
        }),
        _ => Ok(conn),
    }
}
