//! The writing half: one owner, the engine.

use std::path::{Path, PathBuf};

use qt_core::{Report, Trader, UtcMillis};
use rusqlite::{Connection, params};

use super::free::{put_report, set_free};
use super::load::{Loaded, load_and_check};
use super::{Fact, JournalError, check_of, link, schema};

/// Orders that may have changed since the checkpoint before a new one is written.
const CHECKPOINT_AT: usize = 5_000;

/// Bytes of facts since the checkpoint before a new one is written: the broker's figures change no order, and come every ten
/// seconds of a session. Orders in such numbers that they matter reach their own bound first.
const CHECKPOINT_AT_BYTES: usize = 4 << 20;

const PUT_ORDER: &str = "INSERT OR REPLACE INTO orders VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// What one transaction holds.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// What happened, in order.
    pub(crate) facts: Vec<Fact>,
    /// What must be posted because of it, in order.
    pub(crate) reports: Vec<Report>,
    /// Outbox rows that the backend acknowledged.
    pub(crate) posted: Vec<i64>,
    /// Outbox rows that the backend refused, with its words.
    pub(crate) dead: Vec<(i64, String)>,
    /// Dead letters that go out again, with an edited body.
    pub(crate) retried: Vec<(i64, Option<String>)>,
    /// Dead letters that a person gave up.
    pub(crate) dropped: Vec<i64>,
}

impl Batch {
    /// True when there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.facts.is_empty()
            && self.reports.is_empty()
            && self.posted.is_empty()
            && self.dead.is_empty()
            && self.retried.is_empty()
            && self.dropped.is_empty()
    }
}

/// The open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    conn: Connection,
    path: PathBuf,
    seq: i64,
    link: i64,
    checkpoint_seq: i64,
    /// Bytes of facts that were committed since the checkpoint, or since one could not be written.
    uncovered: usize,
}

impl Journal {
    /// Opens or makes the journal, and reads the state that it holds. With an `account_key` it must
    /// be that account's.
    ///
    /// # Errors
    ///
    /// [`JournalError`]; after `Damaged` nothing may be traded on it.
    pub(crate) fn open(path: &Path, account_key: Option<&str>) -> Result<(Self, Loaded), JournalError> {
        let conn = schema::open(path)?;
        let at = |source| JournalError::sql(path, source);
        if let Some(account_key) = account_key {
            conn.execute(
                "INSERT OR IGNORE INTO meta VALUES ('account_key', ?1)",
                [account_key],
            )
            .map_err(at)?;
            let owner: String = conn
                .query_row("SELECT value FROM meta WHERE key = 'account_key'", [], |row| {
                    row.get(0)
                })
                .map_err(at)?;
            if owner != account_key {
                return Err(JournalError::OtherAccount {
                    path: path.to_owned(),
                });
            }
        }
        let loaded = load_and_check(&conn, path).map_err(|error| schema::explained(path, error))?;
        let journal = Self {
            conn,
            path: path.to_owned(),
            seq: loaded.seq,
            link: loaded.link,
            checkpoint_seq: loaded.checkpoint_seq,
            // Whoever goes on from here writes a checkpoint first.
            uncovered: 0,
        };
        Ok((journal, loaded))
    }

    /// Makes `batch` durable; `digest` is that of the state after its facts.
    ///
    /// Gives how many reports are said again because of older ones that were set free.
    ///
    /// # Errors
    ///
    /// [`JournalError`], and then nothing of the batch is in the journal.
    pub(crate) fn commit(
        &mut self,
        now: UtcMillis,
        batch: &Batch,
        digest: u64,
    ) -> Result<usize, JournalError> {
        fail::fail_point!("journal-full", |_| Err(JournalError::sql(
            &self.path,
            rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
        )));
        let seq = self.seq + 1;
        let facts = serde_json::to_string(&batch.facts)
            .map_err(|e| JournalError::damaged(&self.path, e.to_string()))?;
        let digest = digest.cast_signed();
        let next = link(self.link, seq, facts.as_bytes(), digest);
        let has_facts = !batch.facts.is_empty();
        let again = self
            .write(
                now,
                batch,
                has_facts.then_some((seq, facts.as_str(), digest, next)),
            )
            .map_err(|source| JournalError::sql(&self.path, source))?;
        if has_facts {
            self.seq = seq;
            self.link = next;
            self.uncovered = self.uncovered.saturating_add(facts.len());
        }
        Ok(again)
    }

    fn write(
        &mut self,
        now: UtcMillis,
        batch: &Batch,
        row: Option<(i64, &str, i64, i64)>,
    ) -> rusqlite::Result<usize> {
        let made_by = row.map_or(self.seq, |(seq, ..)| seq);
        let tx = self
            .conn
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        if let Some((seq, facts, digest, link)) = row {
            let mut insert = tx.prepare_cached("INSERT INTO commits VALUES (?1, ?2, ?3, ?4, ?5)")?;
            insert.execute(params![seq, now.0, facts, digest, link])?;
        }
        for report in &batch.reports {
            put_report(&tx, made_by, report, None, now)?;
        }
        if !batch.posted.is_empty() {
            let mut done = tx.prepare_cached("UPDATE outbox SET state = 1, done_ms = ?2 WHERE id = ?1")?;
            for id in &batch.posted {
                done.execute(params![id, now.0])?;
            }
        }
        for (id, error) in &batch.dead {
            tx.prepare_cached(
                "UPDATE outbox SET state = 2, error = ?2, tries = tries + 1, done_ms = ?3 WHERE id = ?1",
            )?
            .execute(params![id, error, now.0])?;
        }
        let again = set_free(&tx, made_by, &batch.retried, now)?;
        for id in &batch.dropped {
            tx.prepare_cached("UPDATE outbox SET state = 3, done_ms = ?2 WHERE id = ?1 AND state = 2")?
                .execute(params![id, now.0])?;
        }
        tx.commit()?;
        Ok(again)
    }

    /// Writes a checkpoint when so much has changed that a start without one would be slow.
    pub(crate) fn checkpoint_if_due(&mut self, trader: &mut Trader) -> Result<(), JournalError> {
        let is_long = self.uncovered >= CHECKPOINT_AT_BYTES;
        if trader.changed_count() >= CHECKPOINT_AT || is_long {
            // One that cannot be written is not tried again with each turn for this.
            self.uncovered = 0;
            self.checkpoint(trader)
        } else {
            Ok(())
        }
    }

    /// Writes the state of the orders that changed since the last checkpoint: work in proportion
    /// to what happened, and not to what is there.
    pub(crate) fn checkpoint(&mut self, trader: &mut Trader) -> Result<(), JournalError> {
        let digest = trader.digest();
        self.write_checkpoint(trader, digest)
            .map_err(|source| JournalError::sql(&self.path, source))?;
        trader.changed_are_kept();
        self.checkpoint_seq = self.seq;
        self.uncovered = 0;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn checkpoint_seq(&self) -> i64 {
        self.checkpoint_seq
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.conn
    }

    pub(super) const fn connection_mut(&mut self) -> &mut Connection {
        &mut self.conn
    }

    fn write_checkpoint(&mut self, trader: &Trader, digest: u64) -> rusqlite::Result<()> {
        let unfit = |e: Box<dyn std::error::Error + Send + Sync>| rusqlite::Error::ToSqlConversionFailure(e);
        let seq = self.seq;
        let tx = self
            .conn
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut changed = Vec::with_capacity(trader.changed_count());
            for order in trader.changed() {
                changed.push((order.keys().map_err(|e| unfit(e.into()))?.received_at, order));
            }
            let mut drop = tx.prepare_cached("DELETE FROM orders WHERE received_ms = ?1 AND id = ?2")?;
            for (received_at, id) in trader.rekeyed() {
                drop.execute(params![received_at.0, id.as_str()])?;
            }
            // By key, as the table lies: each of its pages is touched once.
            changed.sort_by_key(|(received_at, _)| *received_at);
            let mut put = tx.prepare_cached(PUT_ORDER)?;
            for (received_at, order) in &changed {
                let keys = order.keys().map_err(|e| unfit(e.into()))?;
                put.execute(params![
                    received_at.0,
                    keys.id.as_str(),
                    keys.signal,
                    keys.settled.retry_count,
                    keys.settled.reopens,
                    keys.state.as_str(),
                    keys.day.0,
                    keys.ended_day.map(|day| day.0),
                    order.bytes(),
                    check_of(order.bytes()),
                ])?;
            }
        }
        let text = serde_json::to_string(&trader.frame()).map_err(|e| unfit(e.into()))?;
        let mark = serde_json::json!({ "seq": seq, "digest": digest.to_string(), "frame": text }).to_string();
        let guarded = format!("{:016x}{mark}", check_of(mark.as_bytes()));
        tx.execute("INSERT OR REPLACE INTO meta VALUES ('checkpoint', ?1)", [guarded])?;
        tx.commit()
    }

    /// Brings the write-ahead file into the main one, so that a closed journal is one whole file.
    pub(crate) fn fold(&self) -> Result<(), JournalError> {
        self.conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|source| JournalError::sql(&self.path, source))
    }

    /// When this journal was made; for one that is new that is `now`, and for one of a program that kept no such note the first
    /// moment that it has.
    pub(super) fn began(&mut self, now: UtcMillis) -> Result<UtcMillis, JournalError> {
        let at = |source| JournalError::sql(&self.path, source);
        let tx = self.conn.transaction().map_err(at)?;
        tx.execute(
            "INSERT OR IGNORE INTO meta VALUES ('began_ms', COALESCE((SELECT at_ms FROM commits ORDER BY seq LIMIT 1), ?1))",
            [now.0],
        )
        .map_err(at)?;
        let began: String = tx
            .query_row("SELECT value FROM meta WHERE key = 'began_ms'", [], |row| {
                row.get(0)
            })
            .map_err(at)?;
        tx.commit().map_err(at)?;
        began.parse().map(UtcMillis).map_err(|_| {
            let what = format!("the moment at which it began is {began}: expected a number");
            JournalError::damaged(&self.path, what)
        })
    }

    /// Outbox rows that still wait.
    pub(crate) fn waiting_reports(&self) -> Result<usize, JournalError> {
        self.conn
            .query_row("SELECT count(*) FROM outbox WHERE state = 0", [], |row| {
                row.get::<_, i64>(0)
            })
            .map(|count| usize::try_from(count).unwrap_or(0))
            .map_err(|source| JournalError::sql(&self.path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qt_core::{Event, Settings, Signal};

    fn signal(id: &str) -> Signal {
        Signal {
            id: id.into(),
            symbol: "000858.SZ".parse().unwrap(),
            side: qt_market::Side::Buy,
            size: 100,
            price: Some("43.50".parse().unwrap()),
            retry_count: 0,
            strategy: None,
            strategy_name: None,
            created_at: None,
            securities_account_id: None,
            account_id: None,
            broker: None,
            activate_after: None,
            valid_until: None,
            execution_priority: 1000,
            reference_price: None,
            max_slippage_bps: None,
            price_floor: None,
            price_ceiling: None,
            effective_limit_price: None,
            plan_id: None,
        }
    }

    fn take(journal: &mut Journal, trader: &mut Trader, at: UtcMillis, event: Event) {
        let effects = trader.handle(at, &event).unwrap();
        let reports = effects.into_iter().filter_map(|effect| match effect {
            qt_core::Effect::Report(report) => Some(report),
            _ => None,
        });
        let batch = Batch {
            reports: reports.collect(),
            facts: vec![Fact { at, event }],
            ..Batch::default()
        };
        journal.commit(at, &batch, trader.digest()).unwrap();
    }

    /// The time at which an order's signal came is part of what its copy is kept by, and a clock that is set back moves it.
    #[test]
    fn a_clock_set_back_between_two_checkpoints_leaves_one_copy_of_an_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(super::super::FILE_NAME);
        let (mut journal, loaded) = Journal::open(&path, None).unwrap();
        let mut trader = loaded.trader;
        let noon = UtcMillis(1_795_485_600_000);
        let settings = Settings::default();
        take(&mut journal, &mut trader, noon, Event::HostStarted { settings });
        let taken = vec![signal("S1"), signal("S2")];
        let invalid = Vec::new();
        take(&mut journal, &mut trader, noon, Event::Signals { taken, invalid });
        journal.checkpoint(&mut trader).unwrap();
        let hour = 3_600_000;
        for back in [1, 2] {
            take(
                &mut journal,
                &mut trader,
                noon.plus_ms(-back * hour),
                Event::ClockJumped,
            );
            // Both before and after the second checkpoint a start finds what there is.
            drop(journal);
            let (next, loaded) = Journal::open(&path, None).unwrap();
            (journal, trader) = (next, loaded.trader);
            assert_eq!(trader.orders().count(), 2);
            journal.checkpoint(&mut trader).unwrap();
            let kept: Vec<i64> = {
                let mut query = journal.conn.prepare("SELECT received_ms FROM orders").unwrap();
                query
                    .query_map([], |row| row.get(0))
                    .unwrap()
                    .map(Result::unwrap)
                    .collect()
            };
            assert_eq!(kept, [noon.0 - back * hour; 2]);
        }
    }

    /// The broker's figures of the `nth` moment, of ten holdings.
    fn book(nth: i64, at: UtcMillis) -> Event {
        let holding = |code: i64| qt_core::Holding {
            symbol: format!("{:06}.SZ", 1 + code).parse().unwrap(),
            total: 1_000 + code,
            sellable: 900 + code,
            frozen: 100,
            last_price: Some(format!("{}.{:02}", 10 + code, nth % 100).parse().unwrap()),
            previous_close: Some(format!("{}.05", 10 + code).parse().unwrap()),
            special_treatment: false,
            trading_day: None,
        };
        Event::BookSeen(Box::new(qt_core::BookFact {
            asked_at: at,
            total_asset: rust_decimal::Decimal::new(100_000_000 + nth, 2),
            available_cash: rust_decimal::Decimal::new(5_000_000, 2),
            day_pnl: None,
            holdings: (0..10).map(holding).collect(),
        }))
    }

    /// Figures change no order, and only changed orders led to a checkpoint: a start after a crash replayed months of them.
    #[test]
    fn the_brokers_figures_of_a_long_time_lead_to_checkpoints_though_no_order_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(super::super::FILE_NAME);
        let (mut journal, loaded) = Journal::open(&path, None).unwrap();
        let mut trader = loaded.trader;
        let noon = UtcMillis(1_795_485_600_000);
        let mut settings = Settings::default();
        settings.gates.books = true;
        take(&mut journal, &mut trader, noon, Event::HostStarted { settings });
        journal.checkpoint(&mut trader).unwrap();
        let (mut written, mut nth) = (0, 0);
        // In batches, so that the test does not wait for the disk a thousand times.
        while written < 3 * CHECKPOINT_AT_BYTES {
            let mut facts = Vec::new();
            for _ in 0..100 {
                nth += 1;
                let at = noon.plus_ms(nth * 10);
                let event = book(nth, at);
                trader.handle(at, &event).unwrap();
                facts.push(Fact { at, event });
            }
            written += serde_json::to_string(&facts).unwrap().len();
            let batch = Batch {
                facts,
                ..Batch::default()
            };
            let at = noon.plus_ms(nth * 10);
            journal.commit(at, &batch, trader.digest()).unwrap();
            journal.checkpoint_if_due(&mut trader).unwrap();
        }
        // As after a kill.
        drop(journal);
        let (_, loaded) = Journal::open(&path, None).unwrap();
        let bytes_of_one = written / usize::try_from(nth).unwrap();
        assert!(
            loaded.replayed * bytes_of_one < CHECKPOINT_AT_BYTES + 100 * bytes_of_one,
            "{} of {nth} facts were replayed",
            loaded.replayed
        );
        super::super::verify(&path).unwrap();
    }

    /// A report that stands in no list would never be posted: a fill that the backend does not learn of.
    #[test]
    fn a_report_that_damage_hides_from_the_list_of_those_that_wait_keeps_the_host_from_starting() {
        let step = |step: &str| Report {
            order: qt_core::ClientOrderId::derive("account", &"S1".into(), 0),
            signal: "S1".into(),
            step: step.into(),
            body: qt_core::ReportBody::Failed {
                last_error: "no".into(),
            },
        };
        for (damage, said) in [
            // One bit of the record: what waits counts as delivered.
            ("UPDATE outbox SET state = 1 WHERE id = 2", "said to be where it cannot be"),
            ("UPDATE outbox SET done_ms = 5 WHERE id = 2", "said to be where it cannot be"),
            ("UPDATE outbox SET body = replace(body, 'no', 'on') WHERE id = 1", "check sum"),
            // The index alone loses a row.
            (
                "PRAGMA writable_schema = ON;
                 UPDATE sqlite_schema SET sql = replace(sql, 'state = 0', 'state = 0 AND id <> 2') WHERE name = 'outbox_waiting';
                 PRAGMA writable_schema = RESET; REINDEX outbox_waiting; PRAGMA writable_schema = ON;
                 UPDATE sqlite_schema SET sql = replace(sql, ' AND id <> 2', '') WHERE name = 'outbox_waiting';
                 PRAGMA writable_schema = RESET;",
                "its list has 1",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(super::super::FILE_NAME);
            let (mut journal, mut loaded) = Journal::open(&path, None).unwrap();
            let batch = Batch {
                reports: vec![step("a"), step("b")],
                ..Batch::default()
            };
            journal.commit(UtcMillis(1), &batch, loaded.trader.digest()).unwrap();
            journal.conn.execute_batch(damage).unwrap();
            drop(journal);
            let error = Journal::open(&path, None).unwrap_err();
            assert!(matches!(error, JournalError::Damaged { .. }), "{damage}: {error}");
            assert!(error.to_string().contains(said), "{damage}: {error}");
            assert!(super::super::verify(&path).is_err(), "{damage}");
        }
    }
}
