//! Tables, and how a file is opened.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::{JournalError, wal};
use crate::system;

/// The format that this program writes: how facts and orders lie in the file, and the rules by which they are replayed. A core
/// that decides otherwise would find every journal of before damaged.
pub(super) const FORMAT: i64 = 4;

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

-- Reports: state 0 waiting, 1 delivered, 2 dead letter, 3 dropped by a person. The hash is that of the order, the body
-- and what was put in its place: what is posted is what was decided.
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, order_id TEXT NOT NULL, body TEXT NOT NULL, edited TEXT,
    hash INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0, error TEXT,
    made_ms INTEGER NOT NULL, done_ms INTEGER);
CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (id) WHERE state = 0;
CREATE INDEX IF NOT EXISTS outbox_dead ON outbox (id) WHERE state = 2;
";

/// KiB of pages that a connection keeps. What is written and read is mostly the newest, so that
/// more would only be memory.
const CACHE_KIB: i64 = 512;

/// Opens for writing and makes the tables where they are missing.
pub(super) fn open(path: &Path) -> Result<Connection, JournalError> {
    hold_to_files(path)?;
    keep_private(path).map_err(|source| JournalError::unreadable(path, source))?;
    connect_to_write(path).map_err(|error| explained(path, error))
}

/// Its owner's alone: SQLite gives the files beside the main one the same rights.
fn keep_private(path: &Path) -> std::io::Result<()> {
    let made = system::private_options().write(true).create_new(true).open(path);
    match made {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e),
        Ok(_) | Err(_) => {}
    }
    system::make_private(path)?;
    system::make_private(&wal::beside(path))?;
    system::make_private(&wal::index_of(path))
}

fn connect_to_write(path: &Path) -> Result<Connection, JournalError> {
    let at = |source| JournalError::sql(path, source);
    let conn = Connection::open(path).map_err(at)?;
    conn.busy_timeout(std::time::Duration::from_secs(5)).map_err(at)?;
    conn.pragma_update(None, "journal_mode", "WAL").map_err(at)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(at)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB).map_err(at)?;
    let found = format_of(&conn, path)?;
    if found == 0 {
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;"
        ))
        .map_err(at)?;
    } else {
        hold_to_format(path, found)?;
    }
    Ok(conn)
}

/// Opens a second connection that only looks.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, JournalError> {
    hold_to_files(path)?;
    let conn = connect_to_read(path).map_err(|error| explained(path, error))?;
    match format_of(&conn, path).map_err(|error| explained(path, error))? {
        0 => Err(JournalError::Absent {
            path: path.to_owned(),
        }),
        found => hold_to_format(path, found).map(|()| conn),
    }
}

fn connect_to_read(path: &Path) -> Result<Connection, JournalError> {
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
    Ok(conn)
}

/// A connection to read what can still be read, and the folder with the copy that it reads where the journal is damaged:
/// SQLite would write into the journal's own files, and what it takes for a torn tail would be gone.
pub(super) fn open_to_save(path: &Path) -> Result<(Connection, Option<TempDir>), JournalError> {
    let unreadable = |source| JournalError::unreadable(path, source);
    let damage = wal::find_damage(path).map_err(unreadable)?;
    let is_usable = || {
        let conn = connect_to_read(path)?;
        format_of(&conn, path).map(|_| conn)
    };
    let is_sound = damage.is_none() && hold_to_main_file(path).is_ok();
    match is_sound.then(is_usable) {
        Some(Err(error)) if !error.is_damage() => return Err(error),
        Some(Ok(conn)) => return Ok((conn, None)),
        Some(Err(_)) | None => {}
    }
    let folder = tempfile::tempdir().map_err(unreadable)?;
    let copy = wal::mended_copy(path, damage.as_ref(), folder.path()).map_err(unreadable)?;
    let at = |source| JournalError::sql(path, source);
    let conn = Connection::open(copy).map_err(at)?;
    // With this, and as the first that it is told, SQLite also reads a file that is shorter than its first page says.
    conn.pragma_update(None, "writable_schema", true).map_err(at)?;
    conn.pragma_update(None, "query_only", true).map_err(at)?;
    Ok((conn, Some(folder)))
}

fn format_of(conn: &Connection, path: &Path) -> Result<i64, JournalError> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|source| JournalError::sql(path, source))
}

fn hold_to_format(path: &Path, found: i64) -> Result<(), JournalError> {
    if found == FORMAT {
        return Ok(());
    }
    Err(JournalError::OtherFormat {
        path: path.to_owned(),
        found,
        known: FORMAT,
    })
}

/// What SQLite would not notice, or would even make worse: to be called before it opens the files.
fn hold_to_files(path: &Path) -> Result<(), JournalError> {
    let unreadable = |source| JournalError::unreadable(path, source);
    if let Some(damage) = wal::find_damage(path).map_err(unreadable)? {
        return Err(JournalError::damaged(path, damage.what()));
    }
    hold_to_main_file(path)
}

/// SQLite removes a write-ahead file beside a main file that is empty or not there.
fn hold_to_main_file(path: &Path) -> Result<(), JournalError> {
    let length = std::fs::metadata(path).map_or(0, |file| file.len());
    let unreadable = |source| JournalError::unreadable(path, source);
    if length == 0 && wal::holds_commits(path).map_err(unreadable)? {
        let what = "it is empty or not there, and its -wal file holds commits";
        return Err(JournalError::damaged(path, what));
    }
    Ok(())
}

/// Says of a damaged main file that its end is missing, where that is so. To be called when no connection of this process
/// is in use any more: closing a file gives back what SQLite locked in it.
pub(super) fn explained(path: &Path, error: JournalError) -> JournalError {
    match (error.is_damage(), cut_of(path)) {
        (true, Some((there, expected))) => {
            let what = format!(
                "its end is missing: the file has {there} bytes where its first page says {expected}. It was cut, as by a copy \
                 that was not finished or by the repair of a file system"
            );
            JournalError::damaged(path, what)
        }
        _ => error,
    }
}

/// The length of the main file and the one that its first page says, where the former is less.
fn cut_of(path: &Path) -> Option<(u64, u64)> {
    let mut head = [0; 32];
    let mut file = std::fs::File::open(path).ok()?;
    std::io::Read::read_exact(&mut file, &mut head).ok()?;
    let there = file.metadata().ok()?.len();
    let page = match u16::from_be_bytes([head[16], head[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    let pages = u32::from_be_bytes([head[28], head[29], head[30], head[31]]);
    let expected = page.checked_mul(u64::from(pages))?;
    (head.starts_with(b"SQLite format 3\0") && there < expected).then_some((there, expected))
}
