//! An account of several that cannot trade, while the others do: it is said again and again, and the backend is told.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::error;

use crate::app::AppError;
use crate::backend::gauge::Gauge;
use crate::backend::poller::Route;
use crate::backend::sync::BookSync;
use crate::backend::wire::Heartbeat;
use crate::config::Config;
use crate::desk::{Shared, broker_account};

/// How often it is said again: nobody reads the first line of a log from this morning.
const SAY_AGAIN: Duration = Duration::from_secs(600);
/// The word of its heartbeats.
const STATUS: &str = "not_trading";

/// An account that is not traded until the next start, and why.
pub(crate) struct Down {
    config: Config,
    error: AppError,
}

impl Down {
    /// Says at once that the account is not traded.
    pub(crate) fn new(config: &Config, error: AppError) -> Self {
        let down = Self {
            config: config.clone(),
            error,
        };
        down.say();
        down
    }

    /// The account.
    pub(crate) fn label(&self) -> String {
        self.config.account_label()
    }

    /// Why it is not traded.
    pub(crate) fn reason(&self) -> String {
        self.error.to_string()
    }

    fn say(&self) {
        error!(
            critical = true,
            account = %self.config.account_label(),
            "THIS ACCOUNT IS NOT TRADED, and what is open at its broker is not watched; the other accounts go on. {}",
            self.error
        );
    }

    /// The account's signals are left with the backend: it is one that we have.
    pub(crate) fn route(&self) -> Route {
        let (engine, _) = mpsc::channel(1);
        let (_, ready) = watch::channel(false);
        Route {
            account: self.config.securities_account_id.clone(),
            engine,
            gauge: Gauge::default(),
            ready,
            hard_barrier: false,
            began: None,
        }
    }

    /// What ends the host in its place.
    pub(crate) fn into_error(self) -> AppError {
        self.error
    }

    /// Tells people and the backend until it is broken off.
    pub(crate) fn remind(&self, shared: &Shared) -> impl Future<Output = ()> + Send + 'static {
        let said = format!("{}", self.error);
        let label = self.config.account_label();
        let sync = BookSync::new(shared.client.clone(), self.config.securities_account_id.clone());
        let beat = Heartbeat {
            status: STATUS.to_owned(),
            broker: self.config.broker.clone(),
            // How many there are, only a journal could tell that can be read.
            pending_execution_count: 0,
            last_signal_poll_at: None,
            account_id: broker_account(&self.config, &self.config.broker),
        };
        let every = self.config.execution.heartbeat_interval;
        async move {
            let mut say_at = Instant::now() + SAY_AGAIN;
            loop {
                if !every.is_zero() {
                    sync.heartbeat(&beat).await;
                }
                sleep(if every.is_zero() { SAY_AGAIN } else { every }).await;
                if Instant::now() >= say_at {
                    say_at += SAY_AGAIN;
                    error!(critical = true, account = %label, "this account is still not traded: {said}");
                }
            }
        }
    }
}
