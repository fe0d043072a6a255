//! What a person ended stays ended, where the system would start it again within a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::system::{ShutdownCause, service};
use crate::telemetry::QUANT_TRADER;

/// How long the system may take for it, before the host ends without its word.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who starts the host again. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    name: Arc<str>,
    is_told: Arc<AtomicBool>,
}

impl Kept {
    /// By what the system knows by this name.
    pub(crate) fn by(name: &str) -> Self {
        Self {
            name: name.into(),
            is_told: Arc::default(),
        }
    }

    /// Has the system leave the host ended, once, where it was a person who asked for the end.
    pub(crate) fn stay_ended(&self, cause: Option<ShutdownCause>) {
        if !matches!(cause, Some(ShutdownCause::Stopped | ShutdownCause::Interrupt))
            || self.is_told.swap(true, Ordering::Relaxed)
        {
            return;
        }
        crate::failpoint::die_at("stay-ended");
        match service::stay_ended(&self.name) {
            Ok(None) => {}
            Ok(Some(what)) => tracing::info!(target: QUANT_TRADER, "{what}"),
            Err(error) => self.may_come_back(&error.to_string()),
        }
    }

    /// As [`Kept::stay_ended`], beside what else the end takes.
    pub(crate) fn start_to_stay_ended(&self, cause: Option<ShutdownCause>) -> JoinHandle<()> {
        let kept = self.clone();
        tokio::task::spawn_blocking(move || kept.stay_ended(cause))
    }

    /// Waits for that. Who stopped the host may start it again as soon as its place is free: what came later would end that.
    pub(crate) async fn wait(&self, told: JoinHandle<()>) {
        if timeout(PATIENCE, told).await.is_err() {
            self.may_come_back(&format!(
                "the system has not answered within {} s",
                PATIENCE.as_secs()
            ));
        }
    }

    fn may_come_back(&self, why: &str) {
        tracing::error!(
            target: QUANT_TRADER,
            critical = true,
            "{} may start this host again within a minute: {why}; end it with `qt-host service stop`",
            self.name
        );
    }
}
