//! The model journal: commits, the outbox and a checkpoint, as the host's SQLite file holds them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use qt_core::report::hidden_by_late;
use qt_core::{ClientOrderId, Event, Frame, Report, Trader, UtcMillis};

/// One transaction's facts, and the digest of the state after them.
#[derive(Debug, Clone)]
pub struct Commit {
    /// What happened, and when it was handled.
    pub facts: Vec<(UtcMillis, Event)>,
    /// The state's digest.
    pub digest: u64,
    rows_before: usize,
}

/// Where a report stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowState {
    /// Not acknowledged.
    Waiting,
    /// Acknowledged.
    Delivered,
    /// Refused.
    Dead,
}

/// A row of the outbox.
#[derive(Debug, Clone)]
pub struct Row {
    /// What is posted.
    pub report: Report,
    /// Where it stands.
    pub state: RowState,
    /// It was a dead letter once and was set free: it may come after later ones.
    pub freed: bool,
    /// It says once more what a dead letter that was set free would hide.
    pub again: bool,
}

/// What one transaction holds.
#[derive(Debug, Default)]
pub struct Batch {
    /// What happened.
    pub facts: Vec<(UtcMillis, Event)>,
    /// What must be posted because of it.
    pub reports: Vec<Report>,
    /// Rows that were acknowledged.
    pub posted: Vec<usize>,
    /// Rows that were refused.
    pub dead: Vec<usize>,
    /// Dead letters to be posted again.
    pub retried: Vec<usize>,
}

impl Batch {
    /// True when there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
            && self.reports.is_empty()
            && self.posted.is_empty()
            && self.dead.is_empty()
            && self.retried.is_empty()
    }
}

#[derive(Debug, Clone)]
struct Mark {
    commits: usize,
    digest: u64,
    frame: Frame,
}

/// What survives the host's death.
#[derive(Debug, Default)]
pub struct Journal {
    /// Every transaction with facts.
    pub commits: Vec<Commit>,
    /// Every report there ever was.
    pub outbox: Vec<Row>,
    /// Reports not acknowledged yet.
    pub waiting: BTreeMap<usize, ClientOrderId>,
    keys: HashSet<String>,
    /// How often dead letters were set free.
    freed: u32,
    orders: HashMap<ClientOrderId, Vec<u8>>,
    mark: Option<Mark>,
}

impl Journal {
    /// Writes a transaction.
    ///
    /// # Errors
    ///
    /// A report has the key of another.
    pub fn commit(&mut self, batch: &mut Batch, digest: u64) -> Result<(), String> {
        let facts = std::mem::take(&mut batch.facts);
        if !facts.is_empty() {
            let rows_before = self.outbox.len();
            self.commits.push(Commit {
                facts,
                digest,
                rows_before,
            });
        }
        for report in batch.reports.drain(..) {
            self.put(report, false)?;
        }
        for row in batch.posted.drain(..) {
            self.outbox[row].state = RowState::Delivered;
            self.waiting.remove(&row);
        }
        for row in batch.dead.drain(..) {
            self.outbox[row].state = RowState::Dead;
            self.waiting.remove(&row);
        }
        self.set_free(&batch.retried)?;
        batch.retried.clear();
        Ok(())
    }

    /// Dead letters wait again, and what they would hide is said again.
    fn set_free(&mut self, retried: &[usize]) -> Result<(), String> {
        let freed: Vec<_> = retried
            .iter()
            .copied()
            .filter(|row| self.outbox[*row].state == RowState::Dead)
            .collect();
        for row in &freed {
            self.outbox[*row].state = RowState::Waiting;
            self.outbox[*row].freed = true;
            self.waiting.insert(*row, self.outbox[*row].report.order);
        }
        let orders: BTreeSet<_> = freed.iter().map(|row| self.outbox[*row].report.order).collect();
        for order in orders {
            let of_order =
                |(_, row): &(usize, &Row)| row.report.order == order && row.state != RowState::Dead;
            let rows: Vec<_> = self.outbox.iter().enumerate().filter(of_order).collect();
            let seen: Vec<_> = rows
                .iter()
                .map(|(index, row)| (&row.report, freed.contains(index)))
                .collect();
            let hidden = hidden_by_late(&seen);
            let Some(late) = rows
                .iter()
                .map(|(index, _)| *index)
                .find(|index| freed.contains(index))
            else {
                continue;
            };
            let again: Vec<_> = hidden
                .into_iter()
                .map(|index| {
                    rows[index]
                        .1
                        .report
                        .again_after(i64::try_from(late).unwrap_or(0), self.freed)
                })
                .collect();
            for report in again {
                self.put(report, true)?;
            }
        }
        self.freed += 1;
        Ok(())
    }

    fn put(&mut self, report: Report, again: bool) -> Result<(), String> {
        if !self.keys.insert(report.key()) {
            return Err(format!("report {} was made twice", report.key()));
        }
        self.waiting.insert(self.outbox.len(), report.order);
        self.outbox.push(Row {
            report,
            state: RowState::Waiting,
            freed: false,
            again,
        });
        Ok(())
    }

    /// What a disk does that only says it has written: the last transaction is gone.
    pub fn forget_last(&mut self) {
        let kept = self.mark.as_ref().map_or(0, |mark| mark.commits);
        if self.commits.len() <= kept {
            return;
        }
        let Some(commit) = self.commits.pop() else { return };
        for row in self.outbox.drain(commit.rows_before..) {
            self.keys.remove(&row.report.key());
        }
        self.waiting.retain(|row, _| *row < commit.rows_before);
    }

    /// Keeps the orders that changed since the last time.
    pub fn checkpoint(&mut self, trader: &mut Trader) {
        let digest = trader.digest();
        for order in trader.changed() {
            let id = order.keys().expect("an order that is kept").id;
            self.orders.insert(id, order.bytes().to_vec());
        }
        trader.changed_are_kept();
        self.mark = Some(Mark {
            commits: self.commits.len(),
            digest,
            frame: trader.frame(),
        });
    }

    /// The state that was: the checkpoint and what came since.
    ///
    /// # Errors
    ///
    /// It is not the state that was.
    pub fn load(&self) -> Result<Trader, String> {
        let (mut trader, from) = match &self.mark {
            None => (Trader::new(), 0),
            Some(mark) => (self.restore(mark)?, mark.commits),
        };
        self.replay(&mut trader, from)?;
        Ok(trader)
    }

    fn restore(&self, mark: &Mark) -> Result<Trader, String> {
        let mut trader = Trader::restore(mark.frame.clone());
        for bytes in self.orders.values() {
            trader.put_back(bytes).map_err(|e| e.to_string())?;
        }
        if trader.digest() != mark.digest {
            return Err("the checkpoint's orders do not give the checkpoint's digest".into());
        }
        Ok(trader)
    }

    /// Applies every commit from `from` on.
    ///
    /// # Errors
    ///
    /// A fact is refused, or a digest differs.
    pub fn replay(&self, trader: &mut Trader, from: usize) -> Result<(), String> {
        for (number, commit) in self.commits.iter().enumerate().skip(from) {
            for (at, event) in &commit.facts {
                trader
                    .handle(*at, event)
                    .map_err(|e| format!("commit {number} does not replay: {e}"))?;
            }
            if trader.digest() != commit.digest {
                return Err(format!("replaying commit {number} gives another state"));
            }
        }
        Ok(())
    }
}
