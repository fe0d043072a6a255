//! The model journal: commits, the outbox and a checkpoint, as the host's SQLite file holds them.

use std::collections::{BTreeMap, HashMap, HashSet};

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
            if !self.keys.insert(report.key()) {
                return Err(format!("report {} was made twice", report.key()));
            }
            self.waiting.insert(self.outbox.len(), report.order);
            self.outbox.push(Row {
                report,
                state: RowState::Waiting,
            });
        }
        for row in batch.posted.drain(..) {
            self.outbox[row].state = RowState::Delivered;
            self.waiting.remove(&row);
        }
        for row in batch.dead.drain(..) {
            self.outbox[row].state = RowState::Dead;
            self.waiting.remove(&row);
        }
        for row in batch.retried.drain(..) {
            if self.outbox[row].state == RowState::Dead {
                self.outbox[row].state = RowState::Waiting;
                self.waiting.insert(row, self.outbox[row].report.order);
            }
        }
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
