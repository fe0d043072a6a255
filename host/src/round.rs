//! `--once`: one round of signals, carried out and reported, and then the end.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::AppError;
use crate::backend::gauge::Gauge;
use crate::broker::BrokerSender;
use crate::clock::Clock;
use crate::engine::Status;
use crate::engine::input::ToBroker;
use crate::system::{ShutdownCause, ShutdownSender};

/// How long one round waits for the broker's books at its end.
const BOOKS_GRACE: Duration = Duration::from_secs(5);
/// How long one round waits for what a stream keeps.
const HELD_BACK_GRACE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// What the end of one round depends on, for one account.
pub(crate) struct RoundLinks {
    /// How far its engine is.
    pub(crate) status: watch::Receiver<Status>,
    /// How far its reports are.
    pub(crate) gauge: Gauge,
    /// Its broker.
    pub(crate) broker: BrokerSender,
}

impl RoundLinks {
    /// An answer with pending signals was taken, nothing is on its way and everything is reported.
    fn is_quiet(&self) -> bool {
        self.gauge.rounds() > 0 && self.status.borrow().on_their_way == 0 && self.gauge.depth() == 0
    }
}

/// Asks for the end once all is quiet and stayed so over a look at the broker's books, which show fills that are on
/// their way here; or once the backend does not answer, since waiting for it is not what one round means.
pub(crate) async fn end_after_one(desks: Vec<RoundLinks>, asks: ShutdownSender) -> Result<(), AppError> {
    let waiting = || desks.iter().map(|desk| desk.gauge.depth()).sum();
    let compared = || -> Vec<u64> { desks.iter().map(|desk| desk.status.borrow().compared).collect() };
    let began = Clock::system().monotonic();
    let mut quiet_at: Option<(Vec<u64>, std::time::Instant)> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let result = if let Some(reason) = desks.iter().find_map(|desk| desk.gauge.trouble()) {
            let waiting = waiting();
            Err(AppError::NoRound { reason, waiting })
        } else if desks.iter().all(RoundLinks::is_quiet) {
            // What was handed out to the process before this one, and what waits for it, comes again by then or not at all.
            let waits_for = desks.iter().find_map(|desk| desk.gauge.waits_for());
            if waits_for.is_some() && began.elapsed() < HELD_BACK_GRACE {
                continue;
            }
            let now = compared();
            let (before, since) = quiet_at.get_or_insert_with(|| (now.clone(), Clock::system().monotonic()));
            // The first look may have been asked for before all was quiet.
            let looked = now.iter().zip(&*before).all(|(now, before)| *now >= before + 2);
            if !looked && since.elapsed() < BOOKS_GRACE {
                desks.iter().for_each(|desk| desk.broker.send(ToBroker::Ask));
                continue;
            }
            match waits_for {
                Some(reason) => Err(AppError::LeftBehind { reason }),
                None => Ok(()),
            }
        } else {
            continue;
        };
        asks.request(ShutdownCause::Requested);
        return result;
    }
}

/// What became of the round, if there was to be one; a signal that ended the process before it has nothing to say.
pub(crate) async fn result(
    round: Option<JoinHandle<Result<(), AppError>>>,
    cause: ShutdownCause,
) -> Result<(), AppError> {
    match round {
        Some(round) if cause == ShutdownCause::Requested => round.await.unwrap_or(Ok(())),
        Some(round) => {
            round.abort();
            Ok(())
        }
        None => Ok(()),
    }
}
