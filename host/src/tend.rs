//! Keeps at work what must not end by a fault of its own.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::error;

use crate::backoff::Backoff;

/// How long until it begins anew: a fault that comes at once again must not fill the log.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Does what `make` makes to its end, and anew where it panicked, until the host ends. Orders, reports and signals are
/// where they were: in the journal and with the backend. `tell` is told of each such end.
pub(crate) async fn tended<F: Future<Output = ()>>(
    what: &'static str,
    mut stopped: watch::Receiver<bool>,
    mut make: impl FnMut() -> F,
    tell: impl Fn(String),
) {
    let mut backoff = Backoff::new(WAITS.0, WAITS.1);
    loop {
        let began = Instant::now();
        let work = async { make().await };
        if AssertUnwindSafe(work).catch_unwind().await.is_ok() {
            return;
        }
        if began.elapsed() > WAITS.1 {
            backoff.reset();
        }
        let wait = backoff.next(None);
        error!(
            critical = true,
            "the {what} has ended by a fault of its own and begins anew in {} ms; please report this with the log",
            wait.as_millis()
        );
        tell(format!("the {what} has ended by a fault of its own; see the log"));
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = sleep(wait) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_begins_anew_and_what_ends_does_not() {
        let (_stop, stopped) = watch::channel(false);
        let (begun, told) = (AtomicU32::new(0), AtomicU32::new(0));
        let make = || async {
            assert!(begun.fetch_add(1, Ordering::Relaxed) >= 3, "as it is wanted here");
        };
        tended("poller", stopped, make, |_| {
            told.fetch_add(1, Ordering::Relaxed);
        })
        .await;
        assert_eq!((begun.into_inner(), told.into_inner()), (4, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_host_ends_the_wait_too() {
        let (stop, stopped) = watch::channel(false);
        let make = || async { panic!("as it is wanted here") };
        let work = tended("poller", stopped, make, |_| stop.send(true).unwrap());
        tokio::time::timeout(WAITS.0 / 2, work).await.unwrap();
    }
}
