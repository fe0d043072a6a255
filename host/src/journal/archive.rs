//! Old rows leave for a file of their own. That a signal was dealt with stays for ever.

use std::path::Path;

use rusqlite::{Connection, params};
use serde::Serialize;

use super::{Journal, JournalError};

/// What was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Archived {
    /// Commits.
    pub(crate) commits: usize,
    /// Ended orders.
    pub(crate) orders: usize,
    /// Delivered or dropped reports.
    pub(crate) reports: usize,
}

impl Journal {
    /// Moves what is older than `before_ms` (Unix ms) into the new file `to`, in one transaction:
    /// commits that a checkpoint covers, orders that ended, reports that are done with.
    ///
    /// # Errors
    ///
    /// [`JournalError`], and then nothing was moved.
    pub(crate) fn archive(
        &mut self,
        to: &Path,
        before_ms: i64,
        before_day: i64,
    ) -> Result<Archived, JournalError> {
        let at = |source| JournalError::sql(to, source);
        self.attach(to).map_err(at)?;
        let moved = self.move_rows(before_ms, before_day);
        // Detached either way, so that the journal can go on.
        self.connection()
            .execute("DETACH DATABASE archive", [])
            .map_err(at)?;
        let moved = moved.map_err(at)?;
        self.connection().execute_batch("VACUUM").map_err(at)?;
        Ok(moved)
    }

    fn attach(&self, to: &Path) -> rusqlite::Result<()> {
        let conn: &Connection = self.connection();
        conn.execute("ATTACH DATABASE ?1 AS archive", [to.to_string_lossy()])?;
        conn.execute_batch(
            "CREATE TABLE archive.commits AS SELECT * FROM main.commits WHERE 0;
             CREATE TABLE archive.orders AS SELECT * FROM main.orders WHERE 0;
             CREATE TABLE archive.outbox AS SELECT * FROM main.outbox WHERE 0;",
        )
    }

    fn move_rows(&mut self, before_ms: i64, before_day: i64) -> rusqlite::Result<Archived> {
        let covered = self.checkpoint_seq();
        let tx = self.connection_mut().transaction()?;
        let commits = "seq < ?1 AND at_ms < ?2";
        tx.execute(
            &format!("INSERT INTO archive.commits SELECT * FROM main.commits WHERE {commits}"),
            params![covered, before_ms],
        )?;
        let commits = tx.execute(
            &format!("DELETE FROM main.commits WHERE {commits}"),
            params![covered, before_ms],
        )?;
        tx.execute(
            "INSERT INTO archive.orders SELECT * FROM main.orders WHERE ended_day < ?1",
            [before_day],
        )?;
        tx.execute(
            "INSERT OR REPLACE INTO main.settled SELECT signal, max(retry_count), max(reopens) FROM main.orders
             WHERE ended_day < ?1 GROUP BY signal",
            [before_day],
        )?;
        let orders = tx.execute("DELETE FROM main.orders WHERE ended_day < ?1", [before_day])?;
        let done = "state IN (1, 3) AND done_ms < ?1";
        tx.execute(
            &format!("INSERT INTO archive.outbox SELECT * FROM main.outbox WHERE {done}"),
            [before_ms],
        )?;
        let reports = tx.execute(&format!("DELETE FROM main.outbox WHERE {done}"), [before_ms])?;
        tx.commit()?;
        Ok(Archived {
            commits,
            orders,
            reports,
        })
    }
}
