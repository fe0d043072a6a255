//! Sales of plans that were brought and cannot be carried out yet: with a hard barrier the purchases of such a plan stay where
//! they are. Time is passed in.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use qt_core::{Signal, SignalId, UtcMillis};
use qt_market::Side;
use tokio::time::Instant;
use tracing::warn;

use super::TRADING;
use super::wire::SignalsAnswer;

/// A sale that a stream handed out holds its plan's purchases back for so long after it was published: over the longest
/// holiday there is.
const HOLDS_MS: i64 = 14 * 24 * 3_600_000;
/// So many sales are told apart. With more, no purchase of any plan goes.
const MOST: usize = 10_000;

/// How signals came: what else there may be is known of a list alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Origin {
    /// All that the backend wants now.
    #[default]
    List,
    /// Some, by a WebSocket: the backend lists them besides.
    Pushed,
    /// Some, by a stream that hands each out once and keeps what is given back.
    Stream(Handed),
}

/// What a stream says of the messages that it handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Handed {
    /// When each signal was published, by this machine's clock.
    pub(super) published: HashMap<SignalId, UtcMillis>,
    /// Until then something that was handed out to the process before this one may not have come again.
    pub(super) settles_at: Option<Instant>,
}

/// The plans whose purchases stay.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Barred {
    all: bool,
    plans: BTreeSet<String>,
}

impl Barred {
    pub(super) fn holds(&self, plan: &str) -> bool {
        self.all || self.plans.contains(plan)
    }
}

/// What an answer said of sales.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    /// The plans whose purchases stay.
    pub(super) barred: Barred,
    /// Sales that cannot be taken yet: whoever brought them must keep them.
    pub(super) waiting: Vec<SignalId>,
    /// Sales that were brought to be taken, or are not wanted any more.
    pub(super) released: Vec<SignalId>,
    /// What was handed out to the process before this one may not have come again.
    pub(super) is_settling: bool,
}

impl Learnt {
    fn of(barred: Barred) -> Self {
        Self {
            barred,
            ..Self::default()
        }
    }
}

/// What is kept from one answer to the next, where an answer is not the whole list.
#[derive(Debug, Default)]
pub(super) struct Sales {
    waiting: BTreeMap<SignalId, (String, UtcMillis)>,
    /// Sales that were taken, or are not wanted any more: a message of before, by which they could not be taken yet, may come
    /// once more.
    released: VecDeque<SignalId>,
}

impl Sales {
    /// Learns from what was brought, whose plans are barred.
    pub(super) fn learn(&mut self, found: &SignalsAnswer, origin: &Origin, now: UtcMillis) -> Learnt {
        let handed = match origin {
            Origin::List => {
                return Learnt::of(Barred {
                    all: false,
                    plans: found.sales_left.iter().map(|(_, plan)| plan.clone()).collect(),
                });
            }
            // It is listed, with the sales of its plan, and so it is fetched.
            Origin::Pushed => {
                return Learnt::of(Barred {
                    all: true,
                    plans: BTreeSet::new(),
                });
            }
            Origin::Stream(handed) => handed,
        };
        let taken = found.taken.iter().filter(|signal| plan_of_sale(signal).is_some());
        let taken = taken.map(|signal| &signal.id);
        let invalid = found.invalid.iter().filter_map(|signal| signal.id.as_ref());
        let released: Vec<SignalId> = taken.chain(invalid).chain(&found.passed_over).cloned().collect();
        for id in &released {
            self.release(id);
        }
        let (mut waiting, mut plans) = (Vec::new(), BTreeSet::new());
        for (id, plan) in &found.sales_left {
            let Some(id) = id else {
                // It cannot be told when it comes again.
                plans.insert(plan.clone());
                continue;
            };
            if self.released.contains(id) {
                continue;
            }
            let published = handed.published.get(id).copied().unwrap_or(now);
            if is_over(published, now) {
                continue;
            }
            self.waiting.insert(id.clone(), (plan.clone(), published));
            waiting.push(id.clone());
        }
        self.waiting.retain(|id, (plan, published)| {
            let stays = !is_over(*published, now);
            if !stays {
                warn!(
                    target: TRADING,
                    "The sale {id} has not become executable within two weeks: it holds purchases of plan {plan} back no longer"
                );
            }
            stays
        });
        plans.extend(self.waiting.values().map(|(plan, _)| plan.clone()));
        let is_settling = handed.settles_at.is_some_and(|at| Instant::now() < at);
        let all = self.waiting.len() > MOST || is_settling;
        Learnt {
            barred: Barred { all, plans },
            waiting,
            released,
            is_settling,
        }
    }

    fn release(&mut self, id: &SignalId) {
        self.waiting.remove(id);
        if !self.released.contains(id) {
            if self.released.len() >= MOST {
                self.released.pop_front();
            }
            self.released.push_back(id.clone());
        }
    }

    /// Takes note of a sale that was brought and given back, as while trading is halted: its plan's purchases may come again
    /// before it does.
    pub(super) fn given_back(&mut self, id: &SignalId, plan: &str, now: UtcMillis) {
        self.released.retain(|released| released != id);
        self.waiting.insert(id.clone(), (plan.to_owned(), now));
    }
}

/// The plan of a sale that has one.
pub(super) fn plan_of_sale(signal: &Signal) -> Option<&str> {
    let plan = signal.plan_id.as_deref();
    plan.filter(|_| signal.side == Side::Sell)
}

const fn is_over(published: UtcMillis, now: UtcMillis) -> bool {
    now.0.saturating_sub(published.0) >= HOLDS_MS
}
