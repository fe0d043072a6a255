//! The reading half: checkpoint, replay, and the proof that both give the state that was.

use std::borrow::Cow;
use std::path::Path;

use qt_core::{Frame, Order, Settled, Trader, TradingDate, UtcMillis};
use rusqlite::Connection;

use super::outbox::hold_to_lists;
use super::progress::Progress;
use super::{Fact, JournalError, check_of, link, schema};

/// Commits from which on two threads read a journal.
const MANY_COMMITS: i64 = 500;

/// The state that a journal holds.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The core, as it was after the last commit.
    pub(crate) trader: Trader,
    /// The last commit.
    pub(crate) seq: i64,
    /// Its link.
    pub(crate) link: i64,
    /// Facts that were replayed.
    pub(crate) replayed: usize,
    /// When the last commit was made.
    pub(crate) last_at: Option<UtcMillis>,
    /// The commit that the checkpoint covers.
    pub(crate) checkpoint_seq: i64,
}

/// Reads the state without changing the file.
pub(crate) fn load(path: &Path) -> Result<Loaded, JournalError> {
    load_from(&open_read_only(path)?, path)
}

/// A connection that only looks.
pub(crate) fn open_read_only(path: &Path) -> Result<Connection, JournalError> {
    schema::open_to_read(path)
}

struct Mark {
    seq: i64,
    digest: u64,
    frame: Frame,
}

pub(super) fn load_from(conn: &Connection, path: &Path) -> Result<Loaded, JournalError> {
    load_saying(conn, path, None)
}

fn load_saying(conn: &Connection, path: &Path, progress: Option<Progress>) -> Result<Loaded, JournalError> {
    let mark = read_mark(conn, path)?;
    let (trader, from) = match mark {
        None => (Trader::new(), 0),
        Some(mark) => (read_checkpoint(conn, path, &mark)?, mark.seq),
    };
    replay(conn, path, trader, from, progress)
}

fn read_mark(conn: &Connection, path: &Path) -> Result<Option<Mark>, JournalError> {
    let damaged = |what: &str| JournalError::damaged(path, format!("the checkpoint's mark {what}"));
    let text: String = match conn.query_row("SELECT value FROM meta WHERE key = 'checkpoint'", [], |row| {
        row.get(0)
    }) {
        Err(rusqlite::Error::QueryReturnedNoRows) => return Ok(None),
        other => other.map_err(|source| JournalError::sql(path, source))?,
    };
    let (check, mark) = text.split_at_checked(16).ok_or_else(|| damaged("is cut"))?;
    if check != format!("{:016x}", check_of(mark.as_bytes())) {
        return Err(damaged("does not fit its check sum"));
    }
    let value: serde_json::Value = serde_json::from_str(mark).map_err(|_| damaged("is not JSON"))?;
    let text = |key: &str| {
        value
            .get(key)
            .and_then(serde_json::Value::as_str)
            .ok_or_else(|| damaged("lacks a part"))
    };
    let frame = serde_json::from_str(text("frame")?).map_err(|e| damaged(&format!("cannot be read: {e}")))?;
    let digest = text("digest")?.parse().map_err(|_| damaged("has no digest"))?;
    let seq = value
        .get("seq")
        .and_then(serde_json::Value::as_i64)
        .ok_or_else(|| damaged("has no number"))?;
    Ok(Some(Mark { seq, digest, frame }))
}

fn read_checkpoint(conn: &Connection, path: &Path, mark: &Mark) -> Result<Trader, JournalError> {
    let at = |source| JournalError::sql(path, source);
    let mut trader = Trader::restore(mark.frame.clone());
    let mut query = conn.prepare("SELECT id, body, hash FROM orders").map_err(at)?;
    let mut rows = query.query([]).map_err(at)?;
    while let Some(row) = rows.next().map_err(at)? {
        let put = held_to_sum(row).and_then(|body| Ok(trader.put_back(body)?));
        put.map_err(|e| damaged_order(row, path, &e))?;
    }
    let mut query = conn
        .prepare("SELECT signal, retry_count, reopens FROM settled")
        .map_err(at)?;
    let mut rows = query.query([]).map_err(at)?;
    while let Some(row) = rows.next().map_err(at)? {
        let signal: String = row.get(0).map_err(at)?;
        let entry = Settled {
            retry_count: row.get(1).map_err(at)?,
            reopens: row.get(2).map_err(at)?,
        };
        trader.put_back_settled(&signal, entry);
    }
    if trader.digest() != mark.digest {
        return Err(JournalError::damaged(
            path,
            "the checkpoint's orders do not give the checkpoint's digest",
        ));
    }
    Ok(trader)
}

/// The order of a row of `id, body, hash`.
pub(super) fn read_order(row: &rusqlite::Row<'_>) -> Result<Order, Unfit> {
    Ok(qt_core::unpack(held_to_sum(row)?).ok_or(qt_core::NotPacked)?)
}

/// Why an order's row cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("cannot be read: {0}")]
    Column(#[from] rusqlite::types::FromSqlError),
    #[error("cannot be read: {0}")]
    Row(#[from] rusqlite::Error),
    #[error("does not fit its check sum")]
    Sum,
    #[error("cannot be read: {0}")]
    Bytes(#[from] qt_core::NotPacked),
}

/// The body of a row of `id, body, hash`.
pub(super) fn held_to_sum<'a>(row: &'a rusqlite::Row<'_>) -> Result<&'a [u8], Unfit> {
    let body = row.get_ref(1)?.as_blob()?;
    let hash: i64 = row.get(2)?;
    if check_of(body) == hash {
        Ok(body)
    } else {
        Err(Unfit::Sum)
    }
}

/// What is wrong with a row whose first column is the order's id.
pub(super) fn damaged_order(row: &rusqlite::Row<'_>, path: &Path, what: &Unfit) -> JournalError {
    let id: String = row.get(0).unwrap_or_default();
    JournalError::damaged(path, format!("order {id} {what}"))
}

/// Reads the state, and holds every commit to its link, those before the checkpoint too, that a start does not read
/// otherwise. Where that is much, both are done at once.
///
/// Reports that may still be posted are held to their check sums, too.
pub(super) fn load_and_check(conn: &Connection, path: &Path) -> Result<Loaded, JournalError> {
    let last: Option<i64> = conn
        .query_row("SELECT max(seq) FROM commits", [], |row| row.get(0))
        .map_err(|source| JournalError::sql(path, source))?;
    let last = last.unwrap_or(0);
    let replaying = Progress::new(path, "replayed", last);
    let holding = Progress::new(path, "held to its check sum", last);
    if last < MANY_COMMITS {
        let loaded = load_saying(conn, path, Some(replaying))?;
        hold_to_links(conn, path, holding)?;
        hold_to_lists(conn, path)?;
        return Ok(loaded);
    }
    // What is said over there is about the same account.
    let span = tracing::Span::current();
    std::thread::scope(|scope| {
        let links = scope.spawn(|| {
            span.in_scope(|| {
                let conn = open_read_only(path)?;
                hold_to_links(&conn, path, holding)?;
                hold_to_lists(&conn, path)
            })
        });
        let loaded = load_saying(conn, path, Some(replaying));
        // A panic over there is a fault of the program, and nothing may be traded after it either.
        let links = links
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let loaded = loaded?;
        links?;
        Ok(loaded)
    })
}

/// Nothing of the commits is parsed, so that this costs no more than reading the file.
fn hold_to_links(conn: &Connection, path: &Path, mut progress: Progress) -> Result<(), JournalError> {
    let at = |source| JournalError::sql(path, source);
    let mut query = conn
        .prepare("SELECT seq, facts, digest, link FROM commits ORDER BY seq")
        .map_err(at)?;
    let mut rows = query.query([]).map_err(at)?;
    let mut before: Option<(i64, i64)> = None;
    while let Some(row) = rows.next().map_err(at)? {
        let seq: i64 = row.get(0).map_err(at)?;
        let damaged = |what: &str| JournalError::damaged(path, format!("commit {seq} {what}"));
        let facts = row
            .get_ref(1)
            .ok()
            .and_then(|value| value.as_bytes().ok())
            .ok_or_else(|| damaged("cannot be read"))?;
        let digest: i64 = row.get(2).map_err(|_| damaged("has no digest"))?;
        let found: i64 = row.get(3).map_err(|_| damaged("has no link"))?;
        // Commits before the first one here were archived: that one's link cannot be held to anything.
        let known = before.or((seq == 1).then_some((0, 0)));
        if let Some((last, link_before)) = known {
            if seq != last + 1 {
                return Err(damaged("has lost the commits before it"));
            }
            if link(link_before, seq, facts, digest) != found {
                return Err(damaged("does not fit its link"));
            }
        }
        before = Some((seq, found));
        progress.read(seq);
    }
    Ok(())
}

/// Applies every commit after `from`, holding each to its link and the last to its digest.
fn replay(
    conn: &Connection,
    path: &Path,
    mut trader: Trader,
    from: i64,
    mut progress: Option<Progress>,
) -> Result<Loaded, JournalError> {
    let at = |source| JournalError::sql(path, source);
    let mut query = conn
        .prepare("SELECT seq, at_ms, facts, digest, link FROM commits WHERE seq >= ?1 ORDER BY seq")
        .map_err(at)?;
    let mut rows = query.query([from]).map_err(at)?;
    let mut loaded = Loaded {
        trader: Trader::new(),
        seq: from,
        link: 0,
        replayed: 0,
        last_at: None,
        checkpoint_seq: from,
    };
    let mut last_digest = None;
    while let Some(row) = rows.next().map_err(at)? {
        let commit = Commit::read(row, path)?;
        loaded.last_at = Some(UtcMillis(commit.at_ms));
        if commit.seq == from {
            // The commit that the checkpoint was made after: only its link is needed.
            loaded.link = commit.link;
            continue;
        }
        commit.hold_to(loaded.seq, loaded.link, path)?;
        for fact in commit.facts(path)? {
            trader.handle(fact.at, &fact.event).map_err(|e| {
                JournalError::damaged(path, format!("commit {} does not replay: {e}", commit.seq))
            })?;
            loaded.replayed += 1;
        }
        loaded.seq = commit.seq;
        loaded.link = commit.link;
        last_digest = Some(commit.digest);
        if let Some(progress) = &mut progress {
            progress.read(commit.seq);
        }
    }
    if last_digest.is_some_and(|digest| digest != trader.digest().cast_signed()) {
        let what = format!(
            "replaying up to commit {} gives another state than the one that was",
            loaded.seq
        );
        return Err(JournalError::damaged(path, what));
    }
    loaded.trader = trader;
    Ok(loaded)
}

/// One row of `commits`.
pub(super) struct Commit {
    pub(super) seq: i64,
    pub(super) at_ms: i64,
    pub(super) text: String,
    pub(super) digest: i64,
    pub(super) link: i64,
}

impl Commit {
    pub(super) fn read(row: &rusqlite::Row<'_>, path: &Path) -> Result<Self, JournalError> {
        let seq: i64 = row.get(0).map_err(|source| JournalError::sql(path, source))?;
        let field = |source: rusqlite::Error| {
            JournalError::damaged(path, format!("commit {seq} cannot be read: {source}"))
        };
        Ok(Self {
            seq,
            at_ms: row.get(1).map_err(field)?,
            text: row.get(2).map_err(field)?,
            digest: row.get(3).map_err(field)?,
            link: row.get(4).map_err(field)?,
        })
    }

    /// Checks that this is the commit after `seq`, whose link is `before`.
    pub(super) fn hold_to(&self, seq: i64, before: i64, path: &Path) -> Result<(), JournalError> {
        if self.seq != seq + 1 {
            let what = format!("commit {} follows commit {seq}: those between are gone", self.seq);
            return Err(JournalError::damaged(path, what));
        }
        if link(before, self.seq, self.text.as_bytes(), self.digest) != self.link {
            return Err(JournalError::damaged(
                path,
                format!("commit {} does not fit its link", self.seq),
            ));
        }
        Ok(())
    }

    pub(super) fn facts(&self, path: &Path) -> Result<Vec<Fact>, JournalError> {
        serde_json::from_str(&self.text)
            .map_err(|e| JournalError::damaged(path, format!("commit {} cannot be read: {e}", self.seq)))
    }
}

/// Every order that is open, and every one of `since` or later, whatever its state.
pub(crate) fn orders_since(path: &Path, since: TradingDate) -> Result<Vec<Order>, JournalError> {
    orders_of(&open_read_only(path)?, path, since)
}

/// Every order that is not archived, oldest first. With an `account_key` the journal must be that account's.
pub(crate) fn every_order(path: &Path, account_key: Option<&str>) -> Result<Vec<Order>, JournalError> {
    let conn = open_read_only(path)?;
    let owner: Option<String> =
        match conn.query_row("SELECT value FROM meta WHERE key = 'account_key'", [], |row| {
            row.get(0)
        }) {
            Err(rusqlite::Error::QueryReturnedNoRows) => None,
            other => Some(other.map_err(|source| JournalError::sql(path, source))?),
        };
    if let (Some(owner), Some(wanted)) = (owner, account_key)
        && owner != wanted
    {
        return Err(JournalError::OtherAccount {
            path: path.to_owned(),
        });
    }
    let mut orders = orders_of(&conn, path, TradingDate(i64::MIN))?;
    orders.sort_by_key(|order| (order.received_at, order.id));
    Ok(orders)
}

fn orders_of(conn: &Connection, path: &Path, since: TradingDate) -> Result<Vec<Order>, JournalError> {
    let at = |source| JournalError::sql(path, source);
    let trader = load_from(conn, path)?.trader;
    let mut found: Vec<Order> = trader.orders().map(Cow::into_owned).collect();
    let mut query = conn
        .prepare("SELECT id, body, hash FROM orders WHERE day >= ?1 AND ended_day IS NOT NULL")
        .map_err(at)?;
    let mut rows = query.query([since.0]).map_err(at)?;
    while let Some(row) = rows.next().map_err(at)? {
        let order = read_order(row).map_err(|e| damaged_order(row, path, &e))?;
        // What is in memory is newer than the checkpoint.
        if trader.order(order.id).is_none() {
            found.push(order);
        }
    }
    Ok(found)
}
