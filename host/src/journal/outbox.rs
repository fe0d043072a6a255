//! Reports on their way to the backend, as rows.

use std::path::Path;

use qt_core::Report;
use rusqlite::{Connection, Row};
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

/// Reports that wait, as they were read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting {
    /// Those that can be posted.
    pub(crate) items: Vec<OutboxItem>,
    /// Those that are damaged, and what is wrong with each: they hold up no other.
    pub(crate) damaged: Vec<(i64, String)>,
}

/// How much waits to be posted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Reports that wait.
    pub(crate) waiting: usize,
    /// When the oldest of them was made, Unix ms, where that is known.
    pub(crate) oldest_ms: Option<i64>,
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
    pub(crate) fn waiting(&self, after: i64, limit: usize) -> Result<Waiting, JournalError> {
        let at = |source| JournalError::sql(&self.path, source);
        let sql = "SELECT id, order_id, body, edited, hash FROM outbox WHERE state = 0 AND id > ?1 ORDER BY id LIMIT ?2";
        let mut query = self.conn.prepare_cached(sql).map_err(at)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = query.query([after, limit]).map_err(at)?;
        let mut waiting = Waiting::default();
        while let Some(row) = rows.next().map_err(at)? {
            match read_item(row, &self.path) {
                Ok(item) => waiting.items.push(item),
                Err(JournalError::Damaged { what, .. }) => {
                    waiting.damaged.push((row.get(0).map_err(at)?, what));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(waiting)
    }

    /// How many reports wait, and since when the oldest does.
    pub(crate) fn backlog(&self) -> Result<Backlog, JournalError> {
        let at = |source| JournalError::sql(&self.path, source);
        let sql = "SELECT count(*), (SELECT made_ms FROM outbox WHERE state = 0 ORDER BY id LIMIT 1) FROM outbox WHERE state = 0";
        let mut query = self.conn.prepare_cached(sql).map_err(at)?;
        query
            .query_row([], |row| {
                let waiting: i64 = row.get(0)?;
                Ok(Backlog {
                    waiting: usize::try_from(waiting).unwrap_or(0),
                    oldest_ms: row.get(1)?,
                })
            })
            .map_err(at)
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
        let sql = format!(
            "SELECT id, order_id, body, edited, hash, state, error, made_ms, done_ms FROM outbox WHERE {filter}"
        );
        let mut query = self.conn.prepare(&sql).map_err(at)?;
        let mut rows = query.query(params).map_err(at)?;
        let mut reports = Vec::new();
        while let Some(row) = rows.next().map_err(at)? {
            let item = read_item(row, &self.path)?;
            reports.push(ReportRow {
                id: item.id,
                state: state_of(row.get(5).map_err(at)?),
                report: item.report,
                edited: item.edited,
                error: row.get(6).map_err(at)?,
                made_ms: row.get(7).map_err(at)?,
                done_ms: row.get(8).map_err(at)?,
            });
        }
        Ok(reports)
    }
}

/// The report of a row of `id, order_id, body, edited, hash`, held to its check sum.
pub(super) fn read_item(row: &Row<'_>, path: &Path) -> Result<OutboxItem, JournalError> {
    let id: i64 = row.get(0).map_err(|source| JournalError::sql(path, source))?;
    let damaged = |what: String| JournalError::damaged(path, format!("report {id} {what}"));
    let unread = |e: rusqlite::Error| damaged(format!("cannot be read: {e}"));
    let order_id: String = row.get(1).map_err(unread)?;
    let body: String = row.get(2).map_err(unread)?;
    let edited: Option<String> = row.get(3).map_err(unread)?;
    let hash: i64 = row.get(4).map_err(unread)?;
    if hash_of(&order_id, &body, edited.as_deref()) != hash {
        return Err(damaged("does not fit its check sum".into()));
    }
    let report = serde_json::from_str(&body).map_err(|e| damaged(format!("cannot be read: {e}")))?;
    Ok(OutboxItem {
        id,
        order_id,
        report,
        edited,
    })
}

/// Reads every report and holds it to its check sum; how many they are.
pub(super) fn hold_to_sums(conn: &Connection, path: &Path) -> Result<u64, JournalError> {
    let at = |source| JournalError::sql(path, source);
    let sql = "SELECT id, order_id, body, edited, hash FROM outbox";
    let mut query = conn.prepare(sql).map_err(at)?;
    let mut rows = query.query([]).map_err(at)?;
    let mut count = 0;
    while let Some(row) = rows.next().map_err(at)? {
        read_item(row, path)?;
        count += 1;
    }
    Ok(count)
}

/// Holds every report to its check sum and its state to what stands beside it, and the lists by which reports are found to
/// the reports that there are: one that is in no list would never be posted. Nothing is parsed.
pub(super) fn hold_to_lists(conn: &Connection, path: &Path) -> Result<u64, JournalError> {
    let at = |source| JournalError::sql(path, source);
    // One moment of a journal that a host may be writing to: rows and lists are counted one after the other.
    let moment = conn.unchecked_transaction().map_err(at)?;
    let conn: &Connection = &moment;
    let sql = "SELECT id, order_id, body, edited, hash, state, done_ms FROM outbox NOT INDEXED";
    let mut query = conn.prepare(sql).map_err(at)?;
    let mut rows = query.query([]).map_err(at)?;
    let (mut count, mut waiting, mut dead) = (0, 0_i64, 0_i64);
    while let Some(row) = rows.next().map_err(at)? {
        let id: i64 = row.get(0).map_err(at)?;
        let damaged = |what: &str| JournalError::damaged(path, format!("report {id} {what}"));
        let text = |column| {
            let value = row.get_ref(column).ok();
            value.and_then(|value| value.as_str_or_null().ok())
        };
        let (Some(Some(order_id)), Some(Some(body)), Some(edited)) = (text(1), text(2), text(3)) else {
            return Err(damaged("cannot be read"));
        };
        let hash: i64 = row.get(4).map_err(|_| damaged("has no check sum"))?;
        if hash_of(order_id, body, edited) != hash {
            return Err(damaged("does not fit its check sum"));
        }
        let state: i64 = row.get(5).map_err(|_| damaged("has no state"))?;
        let done: Option<i64> = row.get(6).map_err(|_| damaged("cannot be read"))?;
        // The check sum does not cover the state, which changes; what waits has no moment at which it was done.
        if !(0..=3).contains(&state) || (state == 0) != done.is_none() {
            return Err(damaged("is said to be where it cannot be"));
        }
        count += 1;
        waiting += i64::from(state == 0);
        dead += i64::from(state == 2);
    }
    for (state, index, found) in [(0, "outbox_waiting", waiting), (2, "outbox_dead", dead)] {
        let sql = format!("SELECT count(*) FROM outbox INDEXED BY {index} WHERE state = {state}");
        let listed: i64 = conn.query_row(&sql, [], |row| row.get(0)).map_err(at)?;
        if listed != found {
            let what = format!("{found} reports are in state {state}, and its list has {listed}");
            return Err(JournalError::damaged(path, what));
        }
    }
    Ok(count)
}

/// The check sum of a report's row.
pub(super) fn hash_of(order_id: &str, body: &str, edited: Option<&str>) -> i64 {
    use xxhash_rust::xxh3::Xxh3;
    let mut hash = Xxh3::new();
    for part in [order_id, body] {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    if let Some(edited) = edited {
        hash.update(&[1]);
        hash.update(edited.as_bytes());
    }
    hash.digest().cast_signed()
}

const fn state_of(number: i64) -> ReportState {
    match number {
        0 => ReportState::Waiting,
        1 => ReportState::Delivered,
        2 => ReportState::Dead,
        _ => ReportState::Dropped,
    }
}
