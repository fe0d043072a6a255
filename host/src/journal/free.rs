//! Reports become rows, and dead letters wait again.

use std::collections::HashMap;

use qt_core::report::hidden_by_late;
use qt_core::{Report, UtcMillis};
use rusqlite::{Transaction, params};

use super::outbox::hash_of;

/// Makes the row of a report.
pub(super) fn put_report(
    tx: &Transaction<'_>,
    made_by: i64,
    report: &Report,
    edited: Option<&str>,
    now: UtcMillis,
) -> rusqlite::Result<()> {
    let body =
        serde_json::to_string(report).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    let order = report.order.as_str();
    let sql =
        "INSERT INTO outbox (seq, order_id, body, edited, hash, made_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let hash = hash_of(order, &body, edited);
    tx.prepare_cached(sql)?
        .execute(params![made_by, order, body, edited, hash, now.0])?;
    Ok(())
}

/// Lets dead letters wait again, and adds a row for each report that was made after one of them and that would be hidden
/// by it: the backend holds what it heard last. Gives how many were added.
///
/// What was made later may be under way at this moment, so that it is said again whether it was delivered or not.
pub(super) fn set_free(
    tx: &Transaction<'_>,
    made_by: i64,
    retried: &[(i64, Option<String>)],
    now: UtcMillis,
) -> rusqlite::Result<usize> {
    let mut freed: HashMap<String, Vec<i64>> = HashMap::new();
    for (id, edited) in retried {
        if let Some(order) = set_one_free(tx, *id, edited.as_deref())? {
            freed.entry(order).or_default().push(*id);
        }
    }
    let Some(first) = freed.values().flatten().min().copied() else {
        return Ok(0);
    };
    let mut added = 0;
    for rows in rows_of(tx, &freed, first)?.into_values() {
        let seen: Vec<_> = rows.iter().map(|row| (&row.report, row.late)).collect();
        let Some(late) = rows.iter().find(|row| row.late) else {
            continue;
        };
        for index in hidden_by_late(&seen) {
            let Row { report, edited, .. } = &rows[index];
            let again = report.again_after(late.id, late.tries);
            // A person's body may name the key, too.
            let edited = edited
                .as_ref()
                .map(|body| body.replace(&format!("\"{}\"", report.key()), &format!("\"{}\"", again.key())));
            put_report(tx, made_by, &again, edited.as_deref(), now)?;
            added += 1;
        }
    }
    Ok(added)
}

struct Row {
    id: i64,
    report: Report,
    edited: Option<String>,
    tries: u32,
    late: bool,
}

/// The reports of these orders from `first` on that wait or were delivered, by order.
fn rows_of(
    tx: &Transaction<'_>,
    freed: &HashMap<String, Vec<i64>>,
    first: i64,
) -> rusqlite::Result<HashMap<String, Vec<Row>>> {
    // One reading for all of them: there is no index by order.
    let sql =
        "SELECT id, order_id, body, edited, tries FROM outbox WHERE id >= ?1 AND state IN (0, 1) ORDER BY id";
    let mut query = tx.prepare_cached(sql)?;
    let mut rows = query.query([first])?;
    let mut found: HashMap<String, Vec<Row>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let Some((order, ids)) = row
            .get_ref(1)?
            .as_str()
            .ok()
            .and_then(|order| freed.get_key_value(order))
        else {
            continue;
        };
        let id: i64 = row.get(0)?;
        let Ok(report) = serde_json::from_str(row.get_ref(2)?.as_str().unwrap_or_default()) else {
            // A damaged row is for `journal verify` and the next start to find.
            continue;
        };
        found.entry(order.clone()).or_default().push(Row {
            id,
            report,
            edited: row.get(3)?,
            tries: row.get(4)?,
            late: ids.contains(&id),
        });
    }
    Ok(found)
}

/// Lets a dead letter wait again, with what a person put in the place of its body; its order, where it was one. The row is
/// read as it is, so that its new check sum hides no damage: the old one is held to before.
fn set_one_free(tx: &Transaction<'_>, id: i64, edited: Option<&str>) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT order_id, body, edited, hash FROM outbox WHERE id = ?1 AND state = 2";
    let mut query = tx.prepare_cached(sql)?;
    let mut rows = query.query([id])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let (order, body): (String, String) = (row.get(0)?, row.get(1)?);
    let (before, hash): (Option<String>, i64) = (row.get(2)?, row.get(3)?);
    // One that does not fit stays dead, and the next start or `journal verify` says so.
    if hash_of(&order, &body, before.as_deref()) != hash {
        return Ok(None);
    }
    let edited = edited.or(before.as_deref());
    tx.prepare_cached("UPDATE outbox SET state = 0, edited = ?2, hash = ?3, done_ms = NULL WHERE id = ?1")?
        .execute(params![id, edited, hash_of(&order, &body, edited)])?;
    Ok(Some(order))
}
