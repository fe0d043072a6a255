//! A host that ends before anything looked: nobody else would tell that it trades nothing.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

use super::conditions::Conditions;
use super::told::Ledger;
use super::{Alert, Channels, Kind};
use crate::clock::Clock;
use crate::config;
use crate::telemetry::QUANT_TRADER;

/// How long the end of the process may be kept waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells that the host trades nothing, and why; not again at each of many starts. It blocks until that is done.
pub(crate) fn tell_of_failed_start(settings: &config::Alerts, home: PathBuf, why: &str) {
    if !settings.tell_somebody() {
        return;
    }
    let Ok(channels) = Channels::new(settings) else {
        // Then that is why it ends.
        return;
    };
    let clock = Clock::system();
    let (now, at_ms) = (clock.monotonic(), clock.now_ms());
    let mut conditions = Conditions::new(settings.repeat_after);
    let mut ledger = Ledger::open(home, at_ms);
    for told in ledger.told(at_ms) {
        conditions.inherit(told, now);
    }
    let text = |_| format!("the host has not started, and nothing is traded or watched: {why}");
    let Some(news) = conditions.look(Kind::NotTraded, None, 1, Duration::ZERO, now, text) else {
        return;
    };
    let alert = Alert {
        kind: news.kind,
        is_raised: true,
        is_critical: news.is_critical,
        level: news.level,
        account: None,
        text: news.text,
        at_ms,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let delivered = runtime.map_err(|e| e.to_string()).and_then(|runtime| {
        let channels = channels.impatient();
        let sent = runtime.block_on(async { timeout(PATIENCE, channels.deliver(&alert, 0)).await });
        sent.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
    });
    match delivered {
        Ok(()) => {
            ledger.heard(&alert, Clock::system().now_ms());
            info!(target: QUANT_TRADER, "Alert delivered: {}: {}", alert.kind.name(), alert.text);
        }
        Err(reason) => {
            warn!(target: QUANT_TRADER, "an alert ({}) could not be delivered: {reason}", alert.kind.name());
        }
    }
}
