//! What stands in for the journal where it is switched off: nothing of it outlives the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::outbox::OutboxItem;
use super::{Backlog, Batch, Journal, JournalError, OutboxReader, Waiting};
use qt_core::{Trader, UtcMillis};

/// Reads rows that wait: those above an id, at most so many.
pub(crate) type WaitingRows = Box<dyn FnMut(i64, usize) -> Result<Waiting, JournalError> + Send>;

/// Reads how much waits.
pub(crate) type BacklogReader = Box<dyn FnMut() -> Result<Backlog, JournalError> + Send>;

/// Where the engine keeps what happened.
#[derive(Debug)]
pub(crate) enum Store {
    /// A journal: what is committed is durable.
    Durable(Journal),
    /// Memory: a crash loses it, and an order may be placed again.
    Volatile(Volatile),
}

impl From<Journal> for Store {
    fn from(journal: Journal) -> Self {
        Self::Durable(journal)
    }
}

impl Store {
    /// Takes in `batch`, and gives how many reports are said again because of older ones that were set free. Memory keeps
    /// nothing of what was delivered, and says nothing again.
    ///
    /// # Errors
    ///
    /// [`JournalError`], and then nothing of the batch is kept.
    pub(crate) fn commit(
        &mut self,
        now: UtcMillis,
        batch: &Batch,
        trader: &mut Trader,
    ) -> Result<usize, JournalError> {
        match self {
            Self::Durable(journal) => journal.commit(now, batch, trader.digest()),
            Self::Volatile(memory) => {
                memory.commit(batch);
                // Ended orders are packed with each digest, with a journal or without.
                trader.digest();
                Ok(0)
            }
        }
    }

    /// Writes a checkpoint when one is due.
    pub(crate) fn checkpoint_if_due(&mut self, trader: &mut Trader) -> Result<(), JournalError> {
        match self {
            Self::Durable(journal) => journal.checkpoint_if_due(trader),
            Self::Volatile(_) => self.checkpoint(trader),
        }
    }

    /// Writes a checkpoint.
    pub(crate) fn checkpoint(&mut self, trader: &mut Trader) -> Result<(), JournalError> {
        match self {
            Self::Durable(journal) => journal.checkpoint(trader),
            Self::Volatile(_) => {
                trader.changed_are_kept();
                Ok(())
            }
        }
    }

    /// Leaves one whole file behind.
    pub(crate) fn fold(&self) -> Result<(), JournalError> {
        match self {
            Self::Durable(journal) => journal.fold(),
            Self::Volatile(_) => Ok(()),
        }
    }

    /// How many reports wait.
    pub(crate) fn waiting_reports(&self) -> Result<usize, JournalError> {
        match self {
            Self::Durable(journal) => journal.waiting_reports(),
            Self::Volatile(memory) => Ok(memory.rows().waiting.len()),
        }
    }

    /// When it was made. Memory begins with the process.
    pub(crate) fn began(&mut self, now: UtcMillis) -> Result<UtcMillis, JournalError> {
        match self {
            Self::Durable(journal) => journal.began(now),
            Self::Volatile(_) => Ok(now),
        }
    }

    /// A reader of the reports that wait, which never holds up whoever writes.
    pub(crate) fn reader(&self) -> Result<WaitingRows, JournalError> {
        Ok(match self {
            Self::Durable(journal) => {
                let reader = OutboxReader::open(journal.path())?;
                Box::new(move |after, limit| reader.waiting(after, limit))
            }
            Self::Volatile(memory) => {
                let memory = memory.clone();
                Box::new(move |after, limit| {
                    Ok(Waiting {
                        items: memory.waiting(after, limit),
                        damaged: Vec::new(),
                    })
                })
            }
        })
    }

    /// A reader of how much waits. Memory does not keep since when.
    pub(crate) fn backlog_reader(&self) -> Result<BacklogReader, JournalError> {
        Ok(match self {
            Self::Durable(journal) => {
                let reader = OutboxReader::open(journal.path())?;
                Box::new(move || reader.backlog())
            }
            Self::Volatile(memory) => {
                let memory = memory.clone();
                Box::new(move || {
                    Ok(Backlog {
                        waiting: memory.rows().waiting.len(),
                        oldest_ms: None,
                    })
                })
            }
        })
    }
}

/// Reports in memory, shared by whoever makes and whoever posts them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Volatile(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    last: i64,
    waiting: BTreeMap<i64, OutboxItem>,
    dead: BTreeMap<i64, OutboxItem>,
}

impl Volatile {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Nothing in here panics while it holds the lock; were it to, the rows are still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, batch: &Batch) {
        let mut rows = self.rows();
        for report in &batch.reports {
            rows.last += 1;
            let item = OutboxItem {
                id: rows.last,
                order_id: report.order.as_str().to_owned(),
                report: report.clone(),
                edited: None,
            };
            rows.waiting.insert(item.id, item);
        }
        for id in &batch.posted {
            rows.waiting.remove(id);
        }
        for (id, _) in &batch.dead {
            if let Some(item) = rows.waiting.remove(id) {
                rows.dead.insert(*id, item);
            }
        }
        for (id, edited) in &batch.retried {
            if let Some(mut item) = rows.dead.remove(id) {
                item.edited = edited.clone().or(item.edited);
                rows.waiting.insert(*id, item);
            }
        }
        for id in &batch.dropped {
            rows.dead.remove(id);
        }
    }

    fn waiting(&self, after: i64, limit: usize) -> Vec<OutboxItem> {
        let above = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        self.rows()
            .waiting
            .range(above)
            .take(limit)
            .map(|(_, item)| item.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qt_core::{ClientOrderId, Report, ReportBody};

    fn report(step: &str) -> Report {
        Report {
            order: ClientOrderId::derive("account", &"S1".into(), 0),
            signal: "S1".into(),
            step: step.into(),
            body: ReportBody::Failed {
                last_error: "no".into(),
            },
        }
    }

    #[test]
    fn reports_wait_until_they_are_done_with() {
        let memory = Volatile::default();
        let ids =
            |memory: &Volatile| -> Vec<i64> { memory.waiting(0, 9).iter().map(|item| item.id).collect() };
        memory.commit(&Batch {
            reports: vec![report("a"), report("b"), report("c")],
            ..Batch::default()
        });
        assert_eq!(ids(&memory), [1, 2, 3]);
        assert_eq!(memory.waiting(1, 1)[0].id, 2);
        memory.commit(&Batch {
            posted: vec![1],
            dead: vec![(2, "422".into()), (3, "422".into())],
            ..Batch::default()
        });
        assert_eq!(ids(&memory), [0i64; 0]);
        memory.commit(&Batch {
            retried: vec![(2, Some("{}".into())), (1, None)],
            dropped: vec![3],
            ..Batch::default()
        });
        assert_eq!(ids(&memory), [2]);
        assert_eq!(memory.waiting(0, 9)[0].edited.as_deref(), Some("{}"));
        memory.commit(&Batch {
            retried: vec![(3, None)],
            ..Batch::default()
        });
        assert_eq!(ids(&memory), [2], "what was dropped stays dropped");
    }
}
