//! The book shown to the backend: positions, balances, the day's snapshot, a sign of life.
//!
//! These calls are newer than the contract's first form. A backend without one of them is told so
//! once in the log, and is not asked again until the next start. Whatever becomes of them, trading
//! goes on: every result is a value that the caller may ignore.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use qt_core::UtcMillis;
use rust_decimal::Decimal;
use tracing::{debug, info, warn};

use super::TRADING;
use super::client::{Answer, Client};
use super::wire::{self, AccountRow, CallKind, Heartbeat, PositionRow, Post};

/// A complete list of the account's positions.
///
/// Only a caller that holds the broker's complete answer may make one: from it the backend learns
/// what to forget. A query that failed, or an answer with a row that cannot be read, makes none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CompleteBook {
    rows: Vec<PositionRow>,
    at: UtcMillis,
}

impl CompleteBook {
    /// Vouches that `rows` are all positions that the account held at `at`.
    pub(crate) const fn vouch_complete(rows: Vec<PositionRow>, at: UtcMillis) -> Self {
        Self { rows, at }
    }
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The backend has it.
    Done,
    /// The backend does not have this call; it is not made again until the next start.
    Absent,
    /// It failed; the next round tries again.
    Failed(String),
}

/// The five calls.
#[derive(Debug)]
pub(crate) struct BookSync {
    client: Arc<Client>,
    securities_account_id: Option<String>,
    /// What is known of each call; at most five entries.
    known: Mutex<Vec<(CallKind, Known)>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Absent,
    /// The last failure; a line is written when it changes.
    Failing(String),
}

impl BookSync {
    /// For one account at one backend.
    pub(crate) const fn new(client: Arc<Client>, securities_account_id: Option<String>) -> Self {
        Self {
            client,
            securities_account_id,
            known: Mutex::new(Vec::new()),
        }
    }

    /// Shows the positions, and once they are taken lets the backend forget all others.
    pub(crate) async fn book(&self, book: &CompleteBook) -> (Outcome, Option<Outcome>) {
        let account = self.account_id();
        let shown = self
            .call(CallKind::Positions, || {
                wire::positions(&book.rows, book.at, account)
            })
            .await;
        // Without the positions a clean-up would leave the backend with less than there is.
        if shown != Outcome::Done {
            return (shown, None);
        }
        let symbols = || wire::cleanup(book.rows.iter().map(|row| &row.symbol), account);
        let cleaned = self.call(CallKind::Cleanup, symbols).await;
        (shown, Some(cleaned))
    }

    /// Shows the balances.
    pub(crate) async fn account(&self, row: &AccountRow, at: UtcMillis) -> Outcome {
        self.call(CallKind::Account, || wire::account(row, at, self.account_id()))
            .await
    }

    /// Stores the book of the day. `total_value` and `total_pnl` are in yuan; the latter is `None` where no holding has
    /// a price.
    pub(crate) async fn snapshot(
        &self,
        book: &CompleteBook,
        total_value: Decimal,
        total_pnl: Option<Decimal>,
    ) -> Outcome {
        let post = || wire::snapshot(&book.rows, total_value, total_pnl, book.at, self.account_id());
        self.call(CallKind::Snapshot, post).await
    }

    /// Says that the host lives.
    pub(crate) async fn heartbeat(&self, beat: &Heartbeat) -> Outcome {
        self.call(CallKind::Heartbeat, || wire::heartbeat(beat, self.account_id()))
            .await
    }

    fn account_id(&self) -> Option<&str> {
        self.securities_account_id.as_deref()
    }

    async fn call(&self, kind: CallKind, make: impl FnOnce() -> Post) -> Outcome {
        if self.known(kind) == Some(Known::Absent) {
            return Outcome::Absent;
        }
        let outcome = match self.client.post(make()).await {
            Answer::Done(value) => match wire::acknowledged(&value) {
                Ok(()) => Outcome::Done,
                Err(text) => Outcome::Failed(format!("success=false: {text}")),
            },
            Answer::Refused {
                status: 404 | 405, ..
            } => Outcome::Absent,
            Answer::NotKnown { cause, .. } if cause.is_absent() => Outcome::Absent,
            Answer::Refused { status, text } => Outcome::Failed(format!("{status}: {text}")),
            Answer::TokenRefused { status } => Outcome::Failed(format!("{status}: the token is refused")),
            Answer::NotKnown { why, .. } => Outcome::Failed(why),
        };
        self.note(kind, &outcome);
        outcome
    }

    fn known(&self, kind: CallKind) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .find(|(of, _)| *of == kind)
            .map(|(_, known)| known.clone())
    }

    fn note(&self, kind: CallKind, outcome: &Outcome) {
        let before = self.known(kind);
        let after = match outcome {
            Outcome::Done => None,
            Outcome::Absent => Some(Known::Absent),
            Outcome::Failed(why) => Some(Known::Failing(why.clone())),
        };
        let path = kind.path();
        match (&before, &after) {
            (_, Some(Known::Absent)) => {
                info!(target: TRADING, "The backend has no {path}: it is not called again until the next start");
            }
            (Some(_), None) => info!(target: TRADING, "The backend takes {path} again"),
            (before, Some(Known::Failing(why))) if before.as_ref() != after.as_ref() => {
                warn!(target: TRADING, "{path} failed: {why}; trading goes on, the next round tries again");
            }
            _ => debug!(target: TRADING, "{path}: {outcome:?}"),
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, _)| *of != kind);
        known.extend(after.map(|after| (kind, after)));
    }
}
