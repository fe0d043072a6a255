//! Commit, then let the effects go; and what happens when the commit fails.

use std::sync::atomic::Ordering;

use qt_core::{Effect, Event, UtcMillis};
use tracing::{error, info, warn};

use super::{Engine, Held, JOURNAL_RETRY, Status};
use crate::engine::input::ToBroker;
use crate::journal::Batch;

impl Engine {
    /// Makes what is held durable. While that fails nothing new is sent: only cancels go.
    pub(super) fn commit(&mut self, now: UtcMillis) {
        self.gather_reports();
        let waits = self.held.retry_at.is_some_and(|at| self.clock.monotonic() < at);
        if self.held.failing && waits {
            self.let_cancels_go();
            return;
        }
        let mut again = 0;
        if !self.held.batch.is_empty() {
            crate::failpoint::die_at("before-commit");
            match self.journal.commit(now, &self.held.batch, &mut self.trader) {
                Ok(added) => again = added,
                Err(e) => {
                    self.commit_failed(now, &e);
                    return;
                }
            }
            crate::failpoint::die_at("after-commit");
        }
        if self.held.failing {
            self.held.failing = false;
            info!("the journal can be written again; new orders are taken");
        }
        self.count_reports(again);
        self.held.batch = Batch::default();
        self.dispatch();
        if let Err(e) = self.journal.checkpoint_if_due(&mut self.trader) {
            warn!("no checkpoint could be written ({e}); nothing is lost, the next start replays more");
        }
    }

    /// Reports become rows of the same transaction as the facts that caused them.
    pub(super) fn gather_reports(&mut self) {
        for effect in std::mem::take(&mut self.held.effects) {
            match effect {
                Effect::Report(report) => self.held.batch.reports.push(report),
                other => self.held.effects.push(other),
            }
        }
    }

    fn count_reports(&self, again: usize) {
        let batch = &self.held.batch;
        let added = batch.reports.len() + batch.retried.len() + again;
        self.outbox.depth.fetch_add(added, Ordering::Relaxed);
        if !batch.retried.is_empty() {
            self.outbox.reload.notify_one();
        }
        if added > 0 {
            self.outbox.added.notify_one();
        }
    }

    /// Lets every effect go: their causes are durable.
    pub(super) fn dispatch(&mut self) {
        let Held {
            effects,
            signal_replies,
            command_replies,
            ..
        } = &mut self.held;
        let mut asked = false;
        let mut unsent = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                Effect::Submit(order) => unsent.extend(self.to_broker.place(order).err()),
                Effect::Cancel { id, broker_order_id } => {
                    crate::failpoint::die_at("before-cancel");
                    self.to_broker.send(ToBroker::Cancel { id, broker_order_id });
                }
                Effect::Ask => asked = true,
                Effect::Alarm(alarm) => error!(critical = true, code = alarm.code, "{}", alarm.text),
                Effect::Note(note) => info!(code = note.code, "{}", note.text),
                // Reports left with the batch.
                Effect::Report(_) => {}
            }
        }
        if asked {
            self.to_broker.send(ToBroker::Ask);
        }
        let signal_replies = std::mem::take(signal_replies);
        let command_replies = std::mem::take(command_replies);
        let now = self.now();
        for id in unsent {
            let reason = "the host is being stopped".to_owned();
            self.decide(now, Event::NotSent { id, reason });
        }
        // Whoever gets an answer finds what it led to.
        self.publish();
        // A receiver that is gone no longer waits for the answer.
        for (reply, news) in signal_replies {
            reply.send(Some(news)).ok();
        }
        for (reply, answer) in command_replies {
            reply.send(answer).ok();
        }
    }

    /// No order whose intent is not durable may leave, now or when the disk is well again: prices
    /// will have moved. Each is given back as never sent.
    fn commit_failed(&mut self, now: UtcMillis, e: &crate::journal::JournalError) {
        if !self.held.failing {
            error!(
                critical = true,
                "{e}. No new orders until it can be written again; cancels and reports still go"
            );
        }
        self.held.failing = true;
        self.held.retry_at = Some(self.clock.monotonic() + JOURNAL_RETRY);
        let effects = std::mem::take(&mut self.held.effects);
        let (withheld, kept): (Vec<_>, Vec<_>) = effects
            .into_iter()
            .partition(|effect| matches!(effect, Effect::Submit(_)));
        self.held.effects = kept;
        for effect in withheld {
            if let Effect::Submit(order) = effect {
                let reason = "the journal could not be written".to_owned();
                self.decide(now, Event::NotSent { id: order.id, reason });
            }
        }
        // Refusing frees places for the next ones: those are given back in the next turn.
        self.let_cancels_go();
        for (reply, _) in self.held.signal_replies.drain(..) {
            reply.send(None).ok();
        }
        self.publish();
    }

    /// A cancel may leave before it is durable: at worst it is sent twice.
    fn let_cancels_go(&mut self) {
        let effects = std::mem::take(&mut self.held.effects);
        for effect in effects {
            match effect {
                Effect::Cancel { id, broker_order_id } => {
                    self.to_broker.send(ToBroker::Cancel { id, broker_order_id })
                }
                Effect::Alarm(alarm) => error!(critical = true, code = alarm.code, "{}", alarm.text),
                Effect::Note(note) => info!(code = note.code, "{}", note.text),
                Effect::Ask => self.to_broker.send(ToBroker::Ask),
                other => self.held.effects.push(other),
            }
        }
    }

    fn publish(&self) {
        let status = Status {
            ready: self.trader.is_reconciled(),
            connected: self.trader.is_connected(),
            lacks_book: self.trader.lacks_book(),
            halted: self.trader.halted().map(str::to_owned),
            live: self.trader.live_count(),
            on_their_way: self.trader.on_their_way(),
            journal_failing: self.held.failing,
            fills: self.fills,
            compared: self.compared,
        };
        self.status.send_if_modified(|seen| {
            let changed = *seen != status;
            *seen = status;
            changed
        });
    }
}
