//! The checks before an order, one file each, in a fixed order.

mod connection;
mod price;
mod validity;

use qt_market::Price;

use crate::signal::Signal;
use crate::time::UtcMillis;
use crate::trader::Settings;

/// What a check says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on, with this limit in yuan (`None`: a market order).
    Pass(Option<Price>),
    /// Waiting may help.
    Defer(Refusal),
    /// Waiting cannot help.
    Deny(Refusal),
}

/// Why a check does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A stable word, such as `VALID_UNTIL_PASSED`.
    pub code: &'static str,
    /// A sentence with the values.
    pub reason: String,
}

/// What the checks look at besides the signal.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The moment.
    pub now: UtcMillis,
    /// True when the broker can take orders.
    pub connected: bool,
    /// The limits in force.
    pub settings: &'a Settings,
}

/// Runs every check; the first that does not pass decides.
#[must_use]
pub fn check(signal: &Signal, context: &Context<'_>) -> Verdict {
    let checks: [fn(&Signal, &Context<'_>) -> Option<Verdict>; 3] =
        [validity::expired, validity::too_early, connection::down];
    checks
        .iter()
        .find_map(|check| check(signal, context))
        .unwrap_or_else(|| price::protect(signal, context))
}
