//! The gates before an order, one file each, in a fixed order: [`GATES`].
//!
//! A gate looks at a signal and what is known at the moment, and lets it pass, or defers it (waiting may help), or denies
//! it (waiting cannot help), with a stable code and a sentence. None of them changes anything.

mod barrier;
mod board;
mod cage;
mod cash;
mod connection;
mod day;
mod duplicate;
mod limits;
mod list;
mod loss;
mod lot;
mod position;
mod price;
mod reference;
mod session;
mod shares;
mod state;
mod turnover;
mod validity;
mod value;

use qt_market::{Market, Price, Shares, Symbol};
use rust_decimal::Decimal;

pub use list::{Code, GATES, Gate, Outcome};
pub(crate) use session::{first_day, is_open as session_is_open, rested};

use crate::signal::Signal;
use crate::time::UtcMillis;
use crate::trader::{Exposure, PlanSales, Settings};

/// What the gates say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on, with this limit in yuan (`None`: a market order).
    Pass(Option<Price>),
    /// Waiting may help.
    Defer(Refusal),
    /// Waiting cannot help.
    Deny(Refusal),
}

/// Why a gate does not let a signal pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A stable word, such as `VALID_UNTIL_PASSED`.
    pub code: &'static str,
    /// A sentence with the values.
    pub reason: String,
}

/// What the gates look at besides the signal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The moment.
    pub(crate) now: UtcMillis,
    /// Since when sales of its plan have held it back.
    pub(crate) barred_since: Option<UtcMillis>,
    /// True when the broker can take orders.
    pub(crate) connected: bool,
    /// Why only sales go, if that is so.
    pub(crate) reducing: Option<&'a str>,
    /// The limits in force.
    pub(crate) settings: &'a Settings,
    /// The market's rules.
    pub(crate) market: &'a Market,
    /// What is held, and what orders may still do to it.
    pub(crate) exposure: &'a Exposure,
    /// Sales of the signal's plan.
    pub(crate) plan: PlanSales,
    /// True when the day has room for one more order.
    pub(crate) day_has_room: bool,
    /// Of an odd sale: what other sales of its symbol will hold that have not been sent yet.
    pub(crate) unsent: Unsent,
}

/// Shares of sales that have not been sent yet.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unsent {
    /// Of those that go before the signal.
    pub(crate) before: Shares,
    /// Of all.
    pub(crate) all: Shares,
}

/// A signal on its way through the gates.
#[derive(Debug, Clone, Copy)]
struct Ask<'a> {
    signal: &'a Signal,
    /// The limit that is sent, once the gate of the price has worked it out.
    limit: Option<Price>,
}

impl Ask<'_> {
    const fn symbol(&self) -> &Symbol {
        &self.signal.symbol
    }

    /// What the order comes to in yuan, without fees; `None` where no price is known.
    fn value(&self, context: &Context<'_>) -> Option<Decimal> {
        let price = context
            .exposure
            .price_of(self.symbol(), self.limit, self.signal.reference_price)?;
        Some(price.saturating_mul(Decimal::from(self.signal.size)))
    }
}

/// What one gate says: `None` lets the signal pass.
type Check = fn(&Ask<'_>, &Context<'_>) -> Option<Verdict>;

/// Where a gate stands.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Before a signal becomes an order, or where orders leave.
    Elsewhere,
    /// Here.
    Check(Check),
    /// Here; it works out the limit that the gates behind it look at.
    Price,
}

fn deny(code: &'static str, reason: String) -> Option<Verdict> {
    Some(Verdict::Deny(Refusal { code, reason }))
}

fn defer(code: &'static str, reason: String) -> Option<Verdict> {
    Some(Verdict::Defer(Refusal { code, reason }))
}

/// Runs every gate; the first that does not let the signal pass decides.
pub(crate) fn check(signal: &Signal, context: &Context<'_>) -> Verdict {
    let mut ask = Ask { signal, limit: None };
    for gate in GATES {
        let said = match gate.stage {
            Stage::Elsewhere => None,
            Stage::Check(check) => check(&ask, context),
            Stage::Price => match price::protect(signal, context) {
                Verdict::Pass(limit) => {
                    ask.limit = limit;
                    None
                }
                verdict => Some(verdict),
            },
        };
        if let Some(verdict) = said {
            debug_assert!(gate.may_say(&verdict), "the gate {} says {verdict:?}", gate.name);
            return verdict;
        }
    }
    Verdict::Pass(ask.limit)
}
