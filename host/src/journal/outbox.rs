//! Reports on their way to the backend, as rows.

use std::path::Path;

use qt_core::Report;
use rusqlite::Connection;
use serde::Serialize;

use super::{JournalError, schema};

/// A report that waits to be posted.
#[derive(Debug, Clone)]
pub(crate) struct OutboxItem {
    /// The row.
    pub(crate) id: i64,
    /// The order it is about: rows of one order go in the order of their ids.
    pub(crate) order_id: String,
    /// What to post.
    pub(crate) report: Report,
    /// What a person put in the place of its body.
    pub(crate) edited: Option<String>,
}

/// Where a report stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReportState {
    /// Not acknowledged yet.
    Waiting,
    /// Acknowledged.
    Delivered,
    /// Refused by the backend.
    Dead,
    /// Given up by a person.
    Dropped,
}

/// A report, for lists.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReportRow {
    /// The row.
    pub(crate) id: i64,
    /// Where it stands.
    pub(crate) state: ReportState,
    /// What was to be posted.
    pub(crate) report: Report,
    /// What a person put in the place of its body.
    pub(crate) edited: Option<String>,
    /// What the backend said.
    pub(crate) error: Option<String>,
    /// When it was made, Unix ms.
    pub(crate) made_ms: i64,
    /// When it was acknowledged or refused, Unix ms.
    pub(crate) done_ms: Option<i64>,
}

/// Reads reports on a connection of its own, so that posting never waits for the writer.
#[derive(Debug)]
pub(crate) struct OutboxReader {
    conn: Connection,
    path: std::path::PathBuf,
}

impl OutboxReader {
    /// Opens the journal at `path` to read from.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        Ok(Self {
            conn: schema::open_to_read(path)?,
            path: path.to_owned(),
        })
    }

    /// Up to `limit` waiting reports with an id above `after`, by id.
    pub(crate) fn waiting(&self, after: i64, limit: usize) -> Result<Vec<OutboxItem>, JournalError> {
        let at = |source| JournalError::sql(&self.path, source);
        let mut query = self
            .conn
            .prepare_cached("SELECT id, order_id, body, edited FROM outbox WHERE state = 0 AND id > ?1 ORDER BY id LIMIT ?2")
            .map_err(at)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = query.query([after, limit]).map_err(at)?;
        let mut items = Vec::new();
        while let Some(row) = rows.next().map_err(at)? {
            let id: i64 = row.get(0).map_err(at)?;
            let body: String = row.get(2).map_err(at)?;
            items.push(OutboxItem {
                id,
                order_id: row.get(1).map_err(at)?,
                report: self.parse(id, &body)?,
                edited: row.get(3).map_err(at)?,
            });
        }
        Ok(items)
    }

    /// Reports in one of `states`, newest first, at most `limit`.
    pub(crate) fn list(&self, states: &[ReportState], limit: usize) -> Result<Vec<ReportRow>, JournalError> {
        let wanted: Vec<String> = states.iter().map(|state| (*state as i64).to_string()).collect();
        let filter = format!("state IN ({}) ORDER BY id DESC LIMIT {limit}", wanted.join(","));
        self.rows(&filter, &[])
    }

    /// The report of this row.
    pub(crate) fn get(&self, id: i64) -> Result<Option<ReportRow>, JournalError> {
        Ok(self.rows("id = ?1", &[&id])?.pop())
    }

    /// All reports about an order, in the order in which they go.
    pub(crate) fn of_order(&self, order_id: &str) -> Result<Vec<ReportRow>, JournalError> {
        self.rows("order_id = ?1 ORDER BY id", &[&order_id])
    }

    fn rows(&self, filter: &str, params: &[&dyn rusqlite::ToSql]) -> Result<Vec<ReportRow>, JournalError> {
        let at = |source| JournalError::sql(&self.path, source);
        let sql =
            format!("SELECT id, state, body, edited, error, made_ms, done_ms FROM outbox WHERE {filter}");
        let mut query = self.conn.prepare(&sql).map_err(at)?;
        let mut rows = query.query(params).map_err(at)?;
        let mut reports = Vec::new();
        while let Some(row) = rows.next().map_err(at)? {
            let id: i64 = row.get(0).map_err(at)?;
            let body: String = row.get(2).map_err(at)?;
            reports.push(ReportRow {
                id,
                state: state_of(row.get(1).map_err(at)?),
                report: self.parse(id, &body)?,
                edited: row.get(3).map_err(at)?,
                error: row.get(4).map_err(at)?,
                made_ms: row.get(5).map_err(at)?,
                done_ms: row.get(6).map_err(at)?,
            });
        }
        Ok(reports)
    }

    fn parse(&self, id: i64, body: &str) -> Result<Report, JournalError> {
        serde_json::from_str(body)
            .map_err(|e| JournalError::damaged(&self.path, format!("report {id} cannot be read: {e}")))
    }
}

const fn state_of(number: i64) -> ReportState {
    match number {
        0 => ReportState::Waiting,
        1 => ReportState::Delivered,
        2 => ReportState::Dead,
        _ => ReportState::Dropped,
    }
}
