//! The whole journal, read from its first commit to its last.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use qt_core::{ClientOrderId, Event, Trader, UtcMillis};
use rusqlite::types::ValueRef;
use serde::Serialize;

use super::load::{Commit, damaged_order, load_from, read_order};
use super::outbox::{hold_to_lists, hold_to_sums};
use super::{Fact, JournalError, open_read_only};

/// What a full reading found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verification {
    /// Commits read.
    pub(crate) commits: u64,
    /// Facts replayed.
    pub(crate) facts: u64,
    /// Orders in the checkpoint, each held to its check sum.
    pub(crate) orders: u64,
    /// Reports in the outbox, each held to its check sum.
    pub(crate) reports: u64,
    /// Commits whose digest was compared with a replay from the first commit on.
    pub(crate) digests_compared: u64,
}

/// Reads everything and compares: SQLite's own structure, every link, every digest by a replay
/// from the first commit, every order's and every report's check sum.
pub(crate) fn verify(path: &Path) -> Result<Verification, JournalError> {
    verify_rows(path).map_err(|error| super::schema::explained(path, error))
}

fn verify_rows(path: &Path) -> Result<Verification, JournalError> {
    let conn = open_read_only(path)?;
    let at = |source| JournalError::sql(path, source);
    let said: String = conn
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(at)?;
    if said != "ok" {
        return Err(JournalError::damaged(path, said));
    }
    let mut found = Verification {
        commits: 0,
        facts: 0,
        orders: 0,
        reports: 0,
        digests_compared: 0,
    };
    verify_commits(&conn, path, &mut found)?;
    let mut query = conn.prepare("SELECT id, body, hash FROM orders").map_err(at)?;
    let mut rows = query.query([]).map_err(at)?;
    while let Some(row) = rows.next().map_err(at)? {
        read_order(row).map_err(|e| damaged_order(row, path, &e))?;
        found.orders += 1;
    }
    found.reports = hold_to_sums(&conn, path)?;
    hold_to_lists(&conn, path)?;
    // And the way a start goes: checkpoint and replay.
    load_from(&conn, path)?;
    Ok(found)
}

fn verify_commits(
    conn: &rusqlite::Connection,
    path: &Path,
    found: &mut Verification,
) -> Result<(), JournalError> {
    let at = |source| JournalError::sql(path, source);
    let mut trader = Trader::new();
    let mut query = conn
        .prepare("SELECT seq, at_ms, facts, digest, link FROM commits ORDER BY seq")
        .map_err(at)?;
    let mut rows = query.query([]).map_err(at)?;
    let mut before: Option<(i64, i64)> = None;
    let mut whole = true;
    while let Some(row) = rows.next().map_err(at)? {
        let commit = Commit::read(row, path)?;
        match before {
            Some((seq, link)) => commit.hold_to(seq, link, path)?,
            None if commit.seq == 1 => commit.hold_to(0, 0, path)?,
            // Older commits were archived: from here on links tell, and the checkpoint's digest.
            None => whole = false,
        }
        before = Some((commit.seq, commit.link));
        found.commits += 1;
        let facts = commit.facts(path)?;
        found.facts += facts.len() as u64;
        if !whole {
            continue;
        }
        for fact in &facts {
            trader.handle(fact.at, &fact.event).map_err(|e| {
                JournalError::damaged(path, format!("commit {} does not replay: {e}", commit.seq))
            })?;
        }
        if trader.digest().cast_signed() != commit.digest {
            let what = format!(
                "replaying up to commit {} gives another state than the one that was",
                commit.seq
            );
            return Err(JournalError::damaged(path, what));
        }
        // Copies of changed orders are for a checkpoint, and none is written here.
        trader.changed_are_kept();
        found.digests_compared += 1;
    }
    Ok(())
}

/// Every fact that names `id` (an order of ours, or a signal), with its commit.
pub(crate) fn facts_of(path: &Path, names: &[String]) -> Result<Vec<(i64, Fact)>, JournalError> {
    let conn = open_read_only(path)?;
    let at = |source| JournalError::sql(path, source);
    let mut query = conn
        .prepare("SELECT seq, at_ms, facts, digest, link FROM commits ORDER BY seq")
        .map_err(at)?;
    let mut rows = query.query([]).map_err(at)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(at)? {
        let commit = Commit::read(row, path)?;
        if !names.iter().any(|name| commit.text.contains(name.as_str())) {
            continue;
        }
        for fact in commit.facts(path)? {
            if let Some(fact) = about(fact, names) {
                found.push((commit.seq, fact));
            }
        }
    }
    Ok(found)
}

/// When the broker answered cancels, by order, in the order of time; archived commits are not in it.
pub(crate) fn cancel_answers(path: &Path) -> Result<HashMap<ClientOrderId, Vec<UtcMillis>>, JournalError> {
    let conn = open_read_only(path)?;
    let at = |source| JournalError::sql(path, source);
    let mut query = conn
        .prepare(
            "SELECT seq, at_ms, facts, digest, link FROM commits WHERE instr(facts, 'CancelAnswered') ORDER BY seq",
        )
        .map_err(at)?;
    let mut rows = query.query([]).map_err(at)?;
    let mut found: HashMap<ClientOrderId, Vec<UtcMillis>> = HashMap::new();
    while let Some(row) = rows.next().map_err(at)? {
        for Fact { at, event } in Commit::read(row, path)?.facts(path)? {
            if let Event::CancelAnswered { id, .. } = event {
                found.entry(id).or_default().push(at);
            }
        }
    }
    Ok(found)
}

/// The fact, or of a batch of signals only those that are named.
fn about(fact: Fact, names: &[String]) -> Option<Fact> {
    let Fact { at, event } = fact;
    if let Event::Signals { taken, invalid } = event {
        let taken: Vec<_> = taken
            .into_iter()
            .filter(|signal| names.contains(&signal.id.0))
            .collect();
        let invalid: Vec<_> = invalid
            .into_iter()
            .filter(|signal| signal.id.as_ref().is_some_and(|id| names.contains(&id.0)))
            .collect();
        let event = Event::Signals { taken, invalid };
        let empty =
            matches!(&event, Event::Signals { taken, invalid } if taken.is_empty() && invalid.is_empty());
        return (!empty).then_some(Fact { at, event });
    }
    let text = serde_json::to_string(&event).unwrap_or_default();
    names
        .iter()
        .any(|name| text.contains(&format!("\"{name}\"")))
        .then_some(Fact { at, event })
}

/// Writes every row that can still be read, a JSON line each, and gives how many: first a line
/// about the format, then commits, orders and reports. Rows that cannot be read are told.
///
/// Of a damaged journal a copy is read, and the journal's own files stay as they are.
pub(crate) fn export(path: &Path, out: &mut dyn Write) -> Result<(u64, Vec<String>), JournalError> {
    // The folder with the copy lasts as long as the connection.
    let (conn, _copy) = super::schema::open_to_save(path)?;
    let mut lost = Vec::new();
    let mut lines = 0u64;
    let mut put = |value: serde_json::Value| -> std::io::Result<()> {
        lines += 1;
        writeln!(out, "{value}")
    };
    let head = serde_json::json!({ "quanttrader_journal": 1, "times": "Unix ms", "money": "yuan" });
    let tables = [
        ("commit", "SELECT seq, facts FROM commits ORDER BY seq"),
        ("order", "SELECT id, body FROM orders"),
        ("report", "SELECT id, body FROM outbox ORDER BY id"),
    ];
    let written = (|| -> std::io::Result<()> {
        put(head)?;
        for (kind, sql) in tables {
            if let Err(e) = each_row(&conn, sql, &mut |key, value| {
                put(serde_json::json!({ "kind": kind, "id": key, "body": value }))
            }) {
                lost.push(format!("{kind}s: {e}"));
            }
        }
        Ok(())
    })();
    if let Err(e) = written {
        lost.push(e.to_string());
    }
    Ok((lines, lost))
}

fn each_row(
    conn: &rusqlite::Connection,
    sql: &str,
    put: &mut dyn FnMut(String, serde_json::Value) -> std::io::Result<()>,
) -> Result<(), String> {
    let mut query = conn.prepare(sql).map_err(|e| e.to_string())?;
    let mut rows = query.query([]).map_err(|e| e.to_string())?;
    while let Some(row) = rows.next().map_err(|e| e.to_string())? {
        let key = match row.get_ref(0) {
            Ok(ValueRef::Integer(number)) => number.to_string(),
            Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        };
        let body = match row.get_ref(1) {
            Ok(ValueRef::Text(bytes)) => shown(serde_json::from_slice(bytes).ok(), bytes),
            Ok(ValueRef::Blob(bytes)) => {
                let order = qt_core::unpack(bytes);
                shown(order.and_then(|order| serde_json::to_value(order).ok()), bytes)
            }
            _ => serde_json::Value::Null,
        };
        put(key, body).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// What a body says, or what is left of one that is damaged, as text.
fn shown(value: Option<serde_json::Value>, bytes: &[u8]) -> serde_json::Value {
    value.unwrap_or_else(|| serde_json::Value::String(String::from_utf8_lossy(bytes).into_owned()))
}
