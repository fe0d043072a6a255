//! The journal: what was decided and what happened, durable before anything follows from it.
//!
//! One SQLite file (WAL, `synchronous=FULL`). A commit holds the facts of one turn of the engine,
//! the reports that follow from them, and the digest of the state after them; it is one
//! transaction and thus one fsync, however many facts it holds. The state of the orders is kept
//! apart as of a checkpoint, so that a start replays only what came since.

mod archive;
mod free;
mod load;
mod outbox;
mod progress;
mod schema;
#[cfg(test)]
mod tests;
mod verify;
mod volatile;
mod wal;
mod write;

use std::path::{Path, PathBuf};

pub(crate) use load::{Loaded, every_order, load, open_read_only, orders_since};
pub(crate) use outbox::{Backlog, OutboxReader, ReportRow, ReportState, Waiting};
pub(crate) use verify::{cancel_answers, export, facts_of, verify};
pub(crate) use volatile::{BacklogReader, Store, Volatile, WaitingRows};
pub(crate) use write::{Batch, Journal};

use qt_core::{Event, UtcMillis};
use serde::{Deserialize, Serialize};

/// The journal's name within the data folder.
pub(crate) const FILE_NAME: &str = "journal.db";

/// One fact and the moment at which it was handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fact {
    /// When.
    pub(crate) at: UtcMillis,
    /// What.
    pub(crate) event: Event,
}

/// What can go wrong with the journal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// SQLite says no: a full disk, a lost file, a lock.
    #[error("the journal {path} cannot be used: {source}")]
    Sql {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// What is in it cannot be right. Trading on it could place an order twice.
    #[error(
        "the journal {path} is damaged: {what}. Trading stops. To save what is there, copy the file with its -wal and -shm \
         neighbours to a safe place and run `qt-host journal export FILE`; then compare with the broker's own lists before \
         you start with a new data folder"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which row, and what does not fit.
        what: String,
    },
    /// It belongs to another account.
    #[error(
        "the journal {path} belongs to another account or broker than the one configured; set `data_dir` to another folder, \
         one for each account"
    )]
    OtherAccount {
        /// The file.
        path: PathBuf,
    },
    /// The system does not let its files be read.
    #[error("the journal {path} can neither be read nor made: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Made by another program.
    #[error(
        "the journal {path} has format {found}, and this program reads and writes format {known} alone; use the program that made \
         it, or let that one's orders end, keep the file by `qt-host journal export FILE`, and start with a new data folder"
    )]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The format known here.
        known: i64,
    },
    /// There is none.
    #[error("there is no journal at {path}; it is made when trading starts with this data folder")]
    Absent {
        /// The file.
        path: PathBuf,
    },
}

impl JournalError {
    /// True when what is stored is wrong, and not merely out of reach.
    pub(crate) const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    fn unreadable(path: &Path, source: std::io::Error) -> Self {
        Self::Unreadable {
            path: path.to_owned(),
            source,
        }
    }

    fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what: what.into(),
        }
    }

    /// Tells damage that SQLite itself found from a file that is out of reach.
    fn sql(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match source.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::damaged(path, source.to_string()),
            _ => Self::Sql {
                path: path.to_owned(),
                source,
            },
        }
    }
}

/// The link of a commit to the one before it: a flipped byte anywhere breaks the chain.
fn link(before: i64, seq: i64, facts: &[u8], digest: i64) -> i64 {
    use xxhash_rust::xxh3::Xxh3;
    let mut hash = Xxh3::new();
    hash.update(&before.to_le_bytes());
    hash.update(&seq.to_le_bytes());
    hash.update(facts);
    hash.update(&digest.to_le_bytes());
    hash.digest().cast_signed()
}

/// The check of a row that stands alone.
fn check_of(bytes: &[u8]) -> i64 {
    xxhash_rust::xxh3::xxh3_64(bytes).cast_signed()
}
