//! The limits and times that decisions depend on.

use serde::{Deserialize, Serialize};

use super::gates::Gates;

/// So that a journal of open gates is as it was before there were any.
fn are_open(gates: &impl AsRef<Gates>) -> bool {
    gates.as_ref().are_open()
}

/// What decisions depend on besides facts. It enters the journal with each start of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Names the account in the making of order ids; no account number can be read from it.
    pub account_key: String,
    /// The backend's account; a signal for another one is left alone.
    pub securities_account_id: Option<String>,
    /// How long a purchase may rest, in ms, where the signal has no `valid_until`.
    pub buy_timeout_ms: i64,
    /// How long a sale may rest, in ms, where the signal has no `valid_until`.
    pub sell_timeout_ms: i64,
    /// From the first cancel to its first repeat, in ms.
    pub cancel_grace_ms: i64,
    /// Between further repeats of a cancel, in ms.
    pub cancel_interval_ms: i64,
    /// How many orders may be on their way to the broker at once.
    pub max_in_flight: u32,
    /// Complete snapshots without an order before it counts as never accepted.
    pub unknown_snapshots: u32,
    /// Time that must pass besides, in ms.
    pub unknown_settle_ms: i64,
    /// Never conclude that an order was not accepted: leave it to a person.
    pub never_resend: bool,
    /// How far the suggested next limit gives way, in hundredths of a percent.
    pub chase_bps: u32,
    /// Slippage bound for signals that bring a reference price but no bound.
    pub max_slippage_bps: u32,
    /// Time of day in Shanghai, in ms since midnight, after which no more trades come.
    pub day_close_ms: i64,
    /// The program's version, for whoever reads the journal.
    pub version: String,
    /// What the gates are set to.
    #[serde(default, skip_serializing_if = "are_open")]
    pub gates: Box<Gates>,
}

impl Settings {
    /// How long a cancel that was sent so often is waited for before it is repeated, in ms.
    pub(super) const fn cancel_wait_ms(&self, tries: u32) -> i64 {
        if tries <= 1 {
            self.cancel_grace_ms
        } else {
            self.cancel_interval_ms
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account_key: String::new(),
            securities_account_id: None,
            buy_timeout_ms: 3_600_000,
            sell_timeout_ms: 90_000,
            cancel_grace_ms: 15_000,
            cancel_interval_ms: 25_000,
            max_in_flight: 512,
            unknown_snapshots: 3,
            unknown_settle_ms: 60_000,
            never_resend: false,
            chase_bps: 30,
            max_slippage_bps: 100,
            // After-hours trading ends at 15:30.
            day_close_ms: (15 * 60 + 30) * 60_000,
            version: String::new(),
            gates: Box::default(),
        }
    }
}
