//! Tells people what they must know at once: a command is run or a robot's webhook is called.
//!
//! Whoever raises an alert waits for nothing. What is said is limited in rate, and the addresses of robots, which are as
//! good as passwords, stand in no line of the log.

mod conditions;
mod deliver;
mod format;
mod watch;

use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::config;
use crate::monitor::meters;
use crate::telemetry::QUANT_TRADER;

pub(crate) use deliver::Channels;
pub(crate) use watch::run as watch;

/// Alerts that may wait for a slow robot. More are dropped, and the log says so.
const WAITING: usize = 256;
const HOUR: Duration = Duration::from_secs(3600);

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A person, or a limit, has stopped new orders.
    Halt,
    /// It is not known for long whether the broker has an order.
    Unknown,
    /// Only a person can decide about an order.
    Review,
    /// The backend refuses a report for good.
    DeadLetter,
    /// The token ends soon, or has ended.
    Token,
    /// The broker is not connected while its market is open.
    BrokerDown,
    /// The backend does not answer.
    BackendDown,
    /// The journal cannot be written.
    Journal,
    /// An account is not traded at all.
    NotTraded,
    /// Little space is left where the journal lies.
    DiskLow,
    /// Purchases wait long for their plan's sales.
    SellBarrier,
    /// A person tries whether alerts arrive.
    Test,
}

impl Kind {
    /// A stable word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Halt => "halt",
            Self::Unknown => "unknown",
            Self::Review => "review",
            Self::DeadLetter => "dead_letter",
            Self::Token => "token",
            Self::BrokerDown => "broker_down",
            Self::BackendDown => "backend_down",
            Self::Journal => "journal",
            Self::NotTraded => "not_traded",
            Self::DiskLow => "disk_low",
            Self::SellBarrier => "sell_barrier",
            Self::Test => "test",
        }
    }

    /// `critical` where money may be lost meanwhile, else `warning`.
    const fn severity(self) -> &'static str {
        match self {
            Self::Unknown | Self::Review | Self::BrokerDown | Self::Journal | Self::NotTraded => "critical",
            _ => "warning",
        }
    }
}

/// One thing to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alert {
    /// What it is about.
    pub(crate) kind: Kind,
    /// False where it is over.
    pub(crate) is_raised: bool,
    /// The account, its number masked; `None` where it concerns the host.
    pub(crate) account: Option<String>,
    /// A sentence, and what to do.
    pub(crate) text: String,
    /// When, in ms since 1970.
    pub(crate) at_ms: i64,
}

/// Where alerts are put. Cheap to clone; without channels it swallows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alerts(Option<mpsc::Sender<Alert>>);

impl Alerts {
    /// Says something; never waits.
    pub(crate) fn raise(&self, kind: Kind, account: Option<&str>, text: impl Into<String>) {
        self.put(Alert {
            kind,
            is_raised: true,
            account: account.map(str::to_owned),
            text: text.into(),
            at_ms: Clock::system().now_ms(),
        });
    }

    fn put(&self, alert: Alert) {
        let Some(sender) = &self.0 else { return };
        if let Err(full) = sender.try_send(alert) {
            let alert = full.into_inner();
            meters::alert(alert.kind.name(), "dropped");
            warn!(target: QUANT_TRADER, "an alert ({}) was dropped: too many wait to be delivered", alert.kind.name());
        }
    }
}

/// Makes the place where alerts are put, and what delivers them until it is broken off.
///
/// # Errors
///
/// A sentence about the configuration, with no secret in it.
pub(crate) fn start(
    settings: &config::Alerts,
) -> Result<(Alerts, Option<impl Future<Output = ()> + Send + 'static>), String> {
    if !settings.tell_somebody() {
        return Ok((Alerts::default(), None));
    }
    let channels = Channels::new(settings)?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let deliver = deliver_all(receiver, channels, settings.max_per_hour);
    Ok((Alerts(Some(sender)), Some(deliver)))
}

/// The alerts of the last hour, of which there may be so many.
#[derive(Debug, Default)]
struct Hourly {
    said_ms: std::collections::VecDeque<i64>,
    held_back: u64,
}

impl Hourly {
    /// How many were held back before this one, where it may be said.
    fn admit(&mut self, now_ms: i64, most: u32) -> Option<u64> {
        let hour_ms = i64::try_from(HOUR.as_millis()).unwrap_or(i64::MAX);
        while self
            .said_ms
            .front()
            .is_some_and(|at| now_ms.saturating_sub(*at) >= hour_ms)
        {
            self.said_ms.pop_front();
        }
        if self.said_ms.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
            self.held_back += 1;
            return None;
        }
        self.said_ms.push_back(now_ms);
        Some(std::mem::take(&mut self.held_back))
    }
}

async fn deliver_all(mut alerts: mpsc::Receiver<Alert>, channels: Channels, most: u32) {
    let mut hourly = Hourly::default();
    while let Some(alert) = alerts.recv().await {
        let kind = alert.kind.name();
        let Some(held_back) = hourly.admit(alert.at_ms, most) else {
            meters::alert(kind, "held_back");
            if hourly.held_back == 1 {
                warn!(target: QUANT_TRADER, "more than {most} alerts in an hour: the rest is counted and told with a later one");
            }
            continue;
        };
        match channels.deliver(&alert, held_back).await {
            Ok(()) => {
                meters::alert(kind, "delivered");
                info!(target: QUANT_TRADER, "Alert delivered: {kind}: {}", alert.text);
            }
            Err(reason) => {
                meters::alert(kind, "failed");
                error!(target: QUANT_TRADER, "an alert ({kind}: {}) could not be delivered: {reason}; try `qt-host alerts test`", alert.text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_an_hour_and_the_rest_is_counted() {
        let mut hourly = Hourly::default();
        assert_eq!(hourly.admit(0, 2), Some(0));
        assert_eq!(hourly.admit(1000, 2), Some(0));
        assert_eq!(hourly.admit(2000, 2), None);
        assert_eq!(hourly.admit(3_599_999, 2), None);
        // The first is an hour old now: its place is free, and what was held back is told.
        assert_eq!(hourly.admit(3_600_000, 2), Some(2));
        assert_eq!(hourly.admit(3_600_500, 2), None);
        assert_eq!(hourly.admit(3_601_000, 2), Some(1));
    }

    #[test]
    fn without_a_channel_nobody_is_told_and_nothing_waits() {
        Alerts::default().raise(Kind::Token, None, "ends soon");
    }
}
