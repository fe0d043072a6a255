//! The gates as a table for people: their order, what they may say, and what they are set to.

use qt_market::show_time;
use rust_decimal::Decimal;

use super::{Stage, Verdict};
use crate::trader::{Gates, SellBarrier, Settings, TradingSessions};

/// What a refusal leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The order ends without having been sent.
    Denied,
    /// The order waits.
    Deferred,
    /// The signal stays with the backend.
    Left,
    /// The order keeps its place until it may go, and nobody is told.
    Held,
}

impl Outcome {
    /// The word for tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Deferred => "deferred",
            Self::Left => "left",
            Self::Held => "held",
        }
    }
}

/// What a gate may say.
pub type Code = (&'static str, Outcome);

/// A gate.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// Its name.
    pub name: &'static str,
    /// What it holds orders to.
    pub what: &'static str,
    /// What it may say.
    pub codes: &'static [Code],
    /// What it is set to; `None` where it is open.
    pub setting: fn(&Settings) -> Option<String>,
    pub(super) stage: Stage,
}

impl Gate {
    /// True when the verdict is one of those that it is listed with.
    pub(super) fn may_say(&self, verdict: &Verdict) -> bool {
        let said = match verdict {
            Verdict::Pass(_) => return true,
            Verdict::Defer(refusal) => (refusal.code, Outcome::Deferred),
            Verdict::Deny(refusal) => (refusal.code, Outcome::Denied),
        };
        self.codes.contains(&said)
    }
}

const ALWAYS: fn(&Settings) -> Option<String> = |_| Some("always".to_owned());

fn rules(settings: &Settings) -> Option<String> {
    settings
        .gates
        .market_rules
        .then(|| "the exchange's rules".to_owned())
}

fn yuan(amount: Decimal) -> String {
    format!("{} yuan", amount.normalize())
}

/// Where shares and cash are counted: by whose figures, and how late these may be.
fn figures(settings: &Settings) -> Option<String> {
    let gates = &settings.gates;
    let late = match gates.book_settle_ms {
        0 => String::new(),
        ms => format!(
            ", which may lack an order for {} s",
            Decimal::new(ms, 3).normalize()
        ),
    };
    gates.books.then(|| format!("the broker's figures{late}"))
}

fn percent(share: Decimal) -> String {
    format!("{} %", share.saturating_mul(Decimal::ONE_HUNDRED).normalize())
}

fn by_strategy(
    gates: &Gates,
    own: Option<Decimal>,
    of: fn(&crate::trader::Limits) -> Option<Decimal>,
) -> Option<String> {
    let own = own.map(yuan);
    let others = gates
        .strategies
        .iter()
        .filter_map(|(name, limits)| of(limits).map(|limit| format!("{name}: {}", yuan(limit))));
    let all: Vec<String> = own.into_iter().chain(others).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn sessions(settings: &Settings) -> Option<String> {
    let gates = &settings.gates;
    let words = match &gates.sessions {
        TradingSessions::Any => return None,
        TradingSessions::CnA => "CN_A".to_owned(),
        TradingSessions::Windows(windows) => {
            let shown = windows
                .iter()
                .map(|(from, to)| format!("{}-{}", show_time(*from), show_time(*to)));
            shown.collect::<Vec<_>>().join(", ")
        }
    };
    Some(if gates.reject_outside_session {
        format!("{words}; outside: denied")
    } else {
        words
    })
}

fn barrier(settings: &Settings) -> Option<String> {
    let seconds = settings.gates.sell_barrier_timeout_ms / 1000;
    match settings.gates.sell_barrier {
        SellBarrier::Off => None,
        SellBarrier::Soft => Some(format!("soft, {seconds} s")),
        SellBarrier::Hard => Some("hard".to_owned()),
    }
}

/// Every gate, in the order in which a signal meets them.
pub const GATES: &[Gate] = &[
    Gate {
        name: "executable",
        stage: Stage::Elsewhere,
        what: "is_executable is true, mode is live, status is takeable",
        codes: &[("NOT_EXECUTABLE", Outcome::Left)],
        setting: ALWAYS,
    },
    Gate {
        name: "account",
        stage: Stage::Elsewhere,
        what: "the signal is meant for this account",
        codes: &[("OTHER_ACCOUNT", Outcome::Left)],
        setting: |settings| {
            let own = settings
                .securities_account_id
                .as_ref()
                .map(|_| "securities_account_id");
            let number = settings.gates.account_mark.as_ref().map(|_| "account_id");
            let both: Vec<_> = own.into_iter().chain(number).collect();
            (!both.is_empty()).then(|| both.join(", "))
        },
    },
    Gate {
        name: "halt",
        stage: Stage::Elsewhere,
        what: "trading is not halted",
        codes: &[("HALTED", Outcome::Left)],
        setting: ALWAYS,
    },
    Gate {
        name: "trading state",
        stage: Stage::Check(super::state::reducing),
        what: "while REDUCING only sales go",
        codes: &[("REDUCING", Outcome::Deferred)],
        setting: ALWAYS,
    },
    Gate {
        name: "valid_until",
        stage: Stage::Check(super::validity::expired),
        what: "its time is not over: without one, the day of its first session",
        codes: &[
            ("VALID_UNTIL_PASSED", Outcome::Denied),
            ("DAY_OVER", Outcome::Denied),
        ],
        setting: ALWAYS,
    },
    Gate {
        name: "activate_after",
        stage: Stage::Check(super::validity::too_early),
        what: "its time has come",
        codes: &[("ACTIVATE_AFTER", Outcome::Deferred)],
        setting: ALWAYS,
    },
    Gate {
        name: "session",
        stage: Stage::Check(super::session::closed),
        what: "the exchange takes orders",
        codes: &[
            ("OUTSIDE_SESSION", Outcome::Deferred),
            ("OUTSIDE_SESSION", Outcome::Denied),
        ],
        setting: sessions,
    },
    Gate {
        name: "connection",
        stage: Stage::Check(super::connection::down),
        what: "the broker can be reached",
        codes: &[("NOT_CONNECTED", Outcome::Deferred)],
        setting: ALWAYS,
    },
    Gate {
        name: "board",
        stage: Stage::Check(super::board::unknown),
        what: "the symbol is on a board that is known and wanted",
        codes: &[
            ("UNKNOWN_BOARD", Outcome::Denied),
            ("BOARD_NOT_WANTED", Outcome::Denied),
        ],
        setting: |settings| {
            let gates = &settings.gates;
            if gates.boards.is_empty() {
                return rules(settings);
            }
            Some(
                gates
                    .boards
                    .iter()
                    .map(|board| format!("{board:?}"))
                    .collect::<Vec<_>>()
                    .join(", "),
            )
        },
    },
    Gate {
        name: "orders a day",
        stage: Stage::Check(super::day::used_up),
        what: "the day's orders and cancels stay below the number",
        codes: &[("RATE_DAY", Outcome::Denied)],
        setting: |settings| {
            let rate = settings.gates.rate?;
            Some(format!(
                "{} a day, {} of them for cancels",
                rate.per_day, rate.cancel_reserve_per_day
            ))
        },
    },
    Gate {
        name: "price",
        stage: Stage::Price,
        what: "the protected limit, on a tick",
        codes: &[("PRICE_BELOW_TICK", Outcome::Denied)],
        setting: |settings| Some(format!("max_slippage_bps {}", settings.max_slippage_bps)),
    },
    Gate {
        name: "lot",
        stage: Stage::Check(super::lot::broken),
        what: "minimum, lot, odd rest and largest order",
        codes: &[("LOT", Outcome::Denied), ("SHARES_HELD", Outcome::Deferred)],
        setting: rules,
    },
    Gate {
        name: "price limits",
        stage: Stage::Check(super::limits::outside),
        what: "the limit lies within the day's limits, where the broker tells the previous close",
        codes: &[("OUTSIDE_PRICE_LIMITS", Outcome::Denied)],
        setting: rules,
    },
    Gate {
        name: "price cage",
        stage: Stage::Check(super::cage::outside),
        what: "the limit is near enough to the market for continuous trading",
        codes: &[("OUTSIDE_CAGE", Outcome::Deferred)],
        setting: |settings| {
            let gates = &settings.gates;
            gates
                .cage
                .then(|| format!("prices up to {} s old", gates.quote_max_age_ms / 1000))
        },
    },
    Gate {
        name: "reference",
        stage: Stage::Check(super::reference::far_off),
        what: "the limit is near the reference",
        codes: &[("FAR_FROM_REFERENCE", Outcome::Denied)],
        setting: |settings| settings.gates.max_reference_deviation.map(percent),
    },
    Gate {
        name: "duplicate",
        stage: Stage::Check(super::duplicate::sent_already),
        what: "no order alike was sent just now",
        codes: &[("DUPLICATE", Outcome::Denied)],
        setting: |settings| {
            let ms = settings.gates.duplicate_window_ms;
            (ms > 0).then(|| format!("{} s", Decimal::new(ms, 3).normalize()))
        },
    },
    Gate {
        name: "order value",
        stage: Stage::Check(super::value::too_large),
        what: "the order is not too large",
        codes: &[
            ("ORDER_VALUE", Outcome::Denied),
            ("ORDER_VALUE_UNKNOWN", Outcome::Denied),
            ("BOOK_UNKNOWN", Outcome::Deferred),
        ],
        setting: |settings| {
            let gates = &settings.gates;
            by_strategy(gates, gates.account.max_order_value, |limits| {
                limits.max_order_value
            })
        },
    },
    Gate {
        name: "loss a day",
        stage: Stage::Check(super::loss::reached),
        what: "nothing is bought on a day that lost too much",
        codes: &[("DAY_LOSS", Outcome::Denied), ("BOOK_UNKNOWN", Outcome::Deferred)],
        setting: |settings| settings.gates.max_day_loss.map(yuan),
    },
    Gate {
        name: "turnover a day",
        stage: Stage::Check(super::turnover::used_up),
        what: "what is bought and sold in a day stays below the limit",
        codes: &[
            ("TURNOVER", Outcome::Denied),
            ("ORDER_VALUE_UNKNOWN", Outcome::Denied),
            ("BOOK_UNKNOWN", Outcome::Deferred),
        ],
        setting: |settings| {
            let gates = &settings.gates;
            by_strategy(gates, gates.account.max_turnover, |limits| limits.max_turnover)
        },
    },
    Gate {
        name: "position share",
        stage: Stage::Check(super::position::too_large),
        what: "no position becomes too large a share of all assets",
        codes: &[
            ("POSITION_SHARE", Outcome::Denied),
            ("ORDER_VALUE_UNKNOWN", Outcome::Denied),
            ("BOOK_UNKNOWN", Outcome::Deferred),
        ],
        setting: |settings| settings.gates.max_position_share.map(percent),
    },
    Gate {
        name: "shares",
        stage: Stage::Check(super::shares::lacking),
        what: "what is sold can be sold today and is held by no other order",
        codes: &[
            ("NOT_SELLABLE", Outcome::Denied),
            ("SHARES_HELD", Outcome::Deferred),
            ("BOOK_UNKNOWN", Outcome::Deferred),
        ],
        setting: figures,
    },
    Gate {
        name: "sell before buy",
        stage: Stage::Check(super::barrier::shut),
        what: "purchases of a plan wait for its sales",
        codes: &[
            ("SELL_BARRIER", Outcome::Deferred),
            ("SELL_BARRIER", Outcome::Left),
        ],
        setting: barrier,
    },
    Gate {
        name: "cash",
        stage: Stage::Check(super::cash::lacking),
        what: "purchases are paid for, fees with them",
        codes: &[
            ("CASH", Outcome::Deferred),
            ("BOOK_UNKNOWN", Outcome::Deferred),
            ("ORDER_VALUE_UNKNOWN", Outcome::Denied),
        ],
        setting: figures,
    },
    Gate {
        name: "rate",
        stage: Stage::Elsewhere,
        what: "orders and cancels of any one second stay below the number",
        codes: &[("RATE", Outcome::Held)],
        setting: |settings| {
            let rate = settings.gates.rate?;
            Some(format!(
                "{} a second, {} of them for cancels",
                rate.per_second, rate.cancel_reserve_per_second
            ))
        },
    },
];
