//! Which account a signal goes to, and how: one account's trouble keeps no other from its signals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use qt_core::{InvalidSignal, Left, Signal, SignalId, UtcMillis};
use qt_market::Side;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::TRADING;
use super::gauge::Gauge;
use super::sales::{Barred, Learnt, Origin, Sales, plan_of_sale};
use super::wire::SignalsAnswer;
use crate::engine::input::{Input, Received, Sender};

/// How long one of several accounts may take to make its signals durable before the others' next ones are asked for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one that took longer gets nothing more. What it was given comes again, and counts once.
const PAUSE: Duration = Duration::from_secs(10);
/// So many purchases that a stream keeps are known by name.
const MOST_HELD_BACK: usize = 10_000;
/// Accounts that we do not have are told apart up to this many.
const MOST_STRANGERS: usize = 100;

/// How signals come to an account.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The backend's id of the account; where there is one account only, it may be nothing.
    pub(crate) account: Option<String>,
    /// Where signals go.
    pub(crate) engine: Sender,
    /// How far the reports are.
    pub(crate) gauge: Gauge,
    /// True while the engine takes signals.
    pub(crate) ready: watch::Receiver<bool>,
    /// Purchases of a plan wait until all of its sales are known to have ended.
    pub(crate) hard_barrier: bool,
    /// Signals that a stream had before are not taken: another journal may know of their orders, and this one does not.
    pub(crate) began: Option<UtcMillis>,
}

/// One route, and how it stands.
struct Way {
    route: Route,
    held_sent: bool,
    gone: bool,
    paused_until: Option<Instant>,
}

impl Way {
    fn is_ready(&self) -> bool {
        let is_paused = self.paused_until.is_some_and(|until| Instant::now() < until);
        !self.gone && !is_paused && *self.route.ready.borrow()
    }
}

/// What one account gets of an answer.
#[derive(Default)]
pub(super) struct Parcel {
    taken: Vec<Signal>,
    invalid: Vec<InvalidSignal>,
}

impl Parcel {
    fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.invalid.is_empty()
    }

    fn ids(&self) -> Vec<(SignalId, Left)> {
        let taken = self.taken.iter().map(|signal| &signal.id);
        let invalid = self.invalid.iter().filter_map(|signal| signal.id.as_ref());
        taken
            .chain(invalid)
            .map(|id| (id.clone(), Left::NotNow))
            .collect()
    }
}

/// What became of signals that were handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HandedOver {
    /// How many were new.
    pub(super) new: usize,
    /// Every account has answered for its own, and none has to be given them again.
    pub(super) is_durable: bool,
    /// Those that whoever brought them must keep; he may forget the others.
    pub(super) left: Vec<(SignalId, Left)>,
    /// Purchases stay until it is known what else their plans have.
    pub(super) is_barred: bool,
    /// Sales that a stream brought and that cannot be taken yet.
    pub(super) sales_waiting: Vec<SignalId>,
    /// Sales that a stream brought and that were taken, or are not wanted any more.
    pub(super) sales_released: Vec<SignalId>,
}

/// The parts of an answer.
#[derive(Default)]
struct Parts {
    /// One for each account.
    parcels: Vec<Parcel>,
    /// What is left with whoever brought it.
    left: Vec<(SignalId, Left)>,
    /// A purchase is left there because of its plan.
    is_barred: bool,
    sales_waiting: Vec<SignalId>,
    sales_released: Vec<SignalId>,
    /// Something that was handed out before may still have to come.
    is_settling: bool,
}

/// The routes of all accounts.
pub(super) struct Routes {
    ways: Vec<Way>,
    /// Accounts that we do not have and that were told of.
    strangers: BTreeSet<Option<String>>,
    /// Plans whose purchases are held back by a sale that cannot be taken, and that were told of.
    barred: BTreeSet<String>,
    /// Purchases that a stream brought and keeps because of their plans, and whose they are.
    held_back: BTreeMap<SignalId, usize>,
    sales: Sales,
    now: fn() -> UtcMillis,
}

impl Routes {
    pub(super) fn new(routes: Vec<Route>, now: fn() -> UtcMillis) -> Self {
        let way = |route| Way {
            route,
            held_sent: false,
            gone: false,
            paused_until: None,
        };
        Self {
            ways: routes.into_iter().map(way).collect(),
            strangers: BTreeSet::new(),
            barred: BTreeSet::new(),
            held_back: BTreeMap::new(),
            sales: Sales::default(),
            now,
        }
    }

    /// Waits until some account takes signals; false when none ever will.
    pub(super) async fn any_ready(&mut self) -> bool {
        loop {
            for way in &mut self.ways {
                // Once its engine is gone nobody changes that any more.
                way.gone |= way.route.ready.has_changed().is_err();
            }
            if self.ways.iter().any(Way::is_ready) {
                return true;
            }
            if self.ways.iter().all(|way| way.gone) {
                return false;
            }
            let paused = self.ways.iter().filter_map(|way| way.paused_until).min();
            let alive = self.ways.iter_mut().filter(|way| !way.gone);
            let changes = alive.map(|way| Box::pin(way.route.ready.changed()));
            let changed = select_all(changes);
            match paused {
                // Whichever comes first, all are looked at again.
                Some(until) => drop(tokio::time::timeout_at(until, changed).await),
                None => drop(changed.await),
            }
            let now = Instant::now();
            self.ways
                .iter_mut()
                .for_each(|way| way.paused_until = way.paused_until.filter(|until| *until > now));
        }
    }

    /// True when every account that is there takes signals.
    pub(super) fn all_ready(&self) -> bool {
        self.ways.iter().filter(|way| !way.gone).all(Way::is_ready)
    }

    /// True when an account that is ready has not been told yet what the backend holds as submitted.
    pub(super) fn lacks_held(&self) -> bool {
        self.ways.iter().any(|way| way.is_ready() && !way.held_sent)
    }

    /// Tells accounts that are ready, and were not told before, what the backend holds as submitted. False when no
    /// account is left.
    pub(super) async fn hand_over_held(&mut self, found: SignalsAnswer) -> bool {
        let Parts { parcels, .. } = self.split(found, &Origin::List);
        let several = self.ways.len() > 1;
        for (way, parcel) in self.ways.iter_mut().zip(parcels) {
            if way.held_sent || !way.is_ready() {
                continue;
            }
            let sent = way.route.engine.send(Input::HeldAsSubmitted(parcel.taken));
            match within(several, sent).await {
                Some(Ok(())) => way.held_sent = true,
                Some(Err(_)) => way.leave(),
                None => way.pause(),
            }
        }
        self.is_any_left()
    }

    /// Hands pending signals over and waits until they are durable; nothing when no account is left.
    pub(super) async fn hand_over(&mut self, found: SignalsAnswer, origin: &Origin) -> Option<HandedOver> {
        let planned: Vec<(SignalId, String)> = found
            .taken
            .iter()
            .filter(|_| matches!(origin, Origin::Stream(_)))
            .filter_map(|signal| Some((signal.id.clone(), plan_of_sale(signal)?.to_owned())))
            .collect();
        let Parts {
            parcels,
            mut left,
            is_barred,
            sales_waiting,
            mut sales_released,
            is_settling,
        } = self.split(found, origin);
        self.say_held_back(is_settling);
        let several = self.ways.len() > 1;
        let given = self.ways.iter_mut().zip(parcels).map(|(way, parcel)| async move {
            if parcel.is_empty() {
                if way.is_ready() {
                    way.route.gauge.add_round();
                }
                return Ok(Received::default());
            }
            let ids = parcel.ids();
            if !way.is_ready() {
                return Err(ids);
            }
            match within(several, give(&way.route.engine, parcel)).await {
                Some(Some(durable)) => {
                    way.route.gauge.add_round();
                    return durable.ok_or(ids);
                }
                Some(None) => way.leave(),
                None => way.pause(),
            }
            Err(ids)
        });
        let (mut new, mut is_durable) = (0, true);
        for one in join_all(given).await {
            match one {
                Ok(received) => {
                    new += received.new;
                    left.extend(received.left);
                }
                Err(ids) => {
                    is_durable = false;
                    left.extend(ids);
                }
            }
        }
        for (id, plan) in planned {
            if left
                .iter()
                .any(|(other, why)| *other == id && *why == Left::NotNow)
            {
                self.sales.given_back(&id, &plan, (self.now)());
            }
        }
        sales_released.retain(|id| left.iter().all(|(other, _)| other != id));
        self.is_any_left().then_some(HandedOver {
            new,
            is_durable,
            left,
            is_barred,
            sales_waiting,
            sales_released,
        })
    }

    fn is_any_left(&self) -> bool {
        self.ways.iter().any(|way| !way.gone)
    }

    /// The parts of an answer, one for each account, and what is nobody's, which is left with the backend.
    fn split(&mut self, found: SignalsAnswer, origin: &Origin) -> Parts {
        let mut parcels: Vec<Parcel> = self.ways.iter().map(|_| Parcel::default()).collect();
        let Learnt {
            barred,
            waiting,
            released,
            is_settling,
        } = if self.ways.iter().any(|way| way.route.hard_barrier) {
            self.sales.learn(&found, origin, (self.now)())
        } else {
            Learnt::default()
        };
        let mut left: Vec<_> = waiting.iter().map(|id| (id.clone(), Left::NotNow)).collect();
        let invalid = found.invalid.iter().filter_map(|signal| signal.id.as_ref());
        for id in invalid.chain(&found.passed_over) {
            self.held_back.remove(id);
        }
        let (mut is_barred, mut older) = (false, BTreeMap::new());
        for signal in found.taken {
            match self.way_of(signal.securities_account_id.as_deref()) {
                Some(index)
                    if self.is_of_before(
                        index,
                        &signal.id,
                        signal.securities_account_id.as_deref(),
                        origin,
                    ) =>
                {
                    older.entry(index).or_insert_with(Vec::new).push(signal.id);
                }
                Some(index) if self.is_barred(index, &signal, &barred, origin) => {
                    is_barred = true;
                    if matches!(origin, Origin::Stream(_)) && self.held_back.len() < MOST_HELD_BACK {
                        self.held_back.insert(signal.id.clone(), index);
                    }
                    left.push((signal.id, Left::NotNow));
                }
                Some(index) => {
                    self.held_back.remove(&signal.id);
                    parcels[index].taken.push(signal);
                }
                None => {
                    self.stranger(&signal.id.0, signal.securities_account_id.as_deref());
                    left.push((signal.id, Left::NotOurs));
                }
            }
        }
        for signal in found.invalid {
            let account = signal.id.as_ref().and_then(|id| found.invalid_for.get(id));
            let account = account.map(String::as_str);
            match self.way_of_invalid(account) {
                Some(index)
                    if signal
                        .id
                        .as_ref()
                        .is_some_and(|id| self.is_of_before(index, id, account, origin)) =>
                {
                    older.entry(index).or_insert_with(Vec::new).extend(signal.id);
                }
                Some(index) => parcels[index].invalid.push(signal),
                None => {
                    if let Some(id) = signal.id {
                        self.stranger(&id.0, account);
                        left.push((id, Left::NotOurs));
                    }
                }
            }
        }
        for (index, ids) in older {
            self.say_older(index, &ids);
        }
        Parts {
            parcels,
            left,
            is_barred,
            sales_waiting: waiting,
            sales_released: released,
            is_settling,
        }
    }

    /// Tells each account for what it waits, as one round does.
    fn say_held_back(&self, is_settling: bool) {
        for (index, way) in self.ways.iter().enumerate() {
            let mut own = self.held_back.iter().filter(|(_, whose)| **whose == index);
            let waits_for = match own.next() {
                Some((first, _)) => format!(
                    "{} purchases, such as {first}, are left with NATS, since a sale of their plan may still have to come or is not \
                     executable yet, and `sell_barrier_mode` is hard",
                    1 + own.count()
                ),
                None if is_settling && way.route.hard_barrier => {
                    "what NATS handed out before, or what was lost on the way, may still come again"
                        .to_owned()
                }
                None => String::new(),
            };
            way.route.gauge.set_waits_for(waits_for);
        }
    }

    /// True for a signal that a stream had before the account's journal began. The journal cannot know whether it was carried
    /// out, from another machine or with another folder: it is neither carried out nor reported.
    fn is_of_before(&self, index: usize, id: &SignalId, account: Option<&str>, origin: &Origin) -> bool {
        let route = &self.ways[index].route;
        let (Origin::Stream(handed), Some(began)) = (origin, route.began) else {
            return false;
        };
        // Where there is one account it gets those of others too, which are not its own to take off the stream.
        let is_own = match (account, route.account.as_deref()) {
            (Some(theirs), Some(own)) => theirs == own,
            _ => true,
        };
        is_own && handed.published.get(id).is_none_or(|at| *at < began)
    }

    fn say_older(&self, index: usize, ids: &[SignalId]) {
        let (Some(first), Some(began)) = (ids.first(), self.ways[index].route.began) else {
            return;
        };
        let account = self.ways[index].route.account.as_deref().unwrap_or("(no id)");
        warn!(
            target: TRADING,
            critical = true,
            "{} signals for the account {account}, such as {first}, were published before its journal here began ({} ms since 1970) \
             and are not taken: they may have been carried out already, with another journal. Publish those again that are still \
             wanted; \"begin\": \"all\" in the block `nats` takes them on the first start of an account that has never traded",
            ids.len(),
            began.0
        );
    }

    /// True for a purchase whose plan has a sale that cannot be taken yet, or of which that is not known: the core, which
    /// never sees that sale, would let the purchase go.
    fn is_barred(&mut self, index: usize, signal: &Signal, barred: &Barred, origin: &Origin) -> bool {
        let plan = signal
            .plan_id
            .as_ref()
            .filter(|_| self.ways[index].route.hard_barrier && signal.side == Side::Buy)
            .filter(|plan| barred.holds(plan));
        let Some(plan) = plan else { return false };
        if *origin == Origin::Pushed {
            return true;
        }
        if self.barred.len() < MOST_STRANGERS && self.barred.insert(plan.clone()) {
            warn!(
                target: TRADING,
                "Purchases of plan {plan}, such as signal {}, are left with the backend: a sale of the plan is there that is not \
                 executable, and `sell_barrier_mode` is hard",
                signal.id
            );
        }
        true
    }

    /// Where there is one account, it gets all: its own rules say what is not its affair.
    fn way_of(&self, account: Option<&str>) -> Option<usize> {
        if self.ways.len() == 1 {
            return Some(0);
        }
        let account = account?;
        self.ways
            .iter()
            .position(|way| way.route.account.as_deref() == Some(account))
    }

    /// A signal that cannot be understood is reported as failed by its own account alone.
    fn way_of_invalid(&self, account: Option<&str>) -> Option<usize> {
        match (&*self.ways, account) {
            ([only], Some(account)) => only
                .route
                .account
                .as_deref()
                .is_none_or(|own| own == account)
                .then_some(0),
            _ => self.way_of(account),
        }
    }

    fn stranger(&mut self, signal: &str, account: Option<&str>) {
        let known = self.strangers.len() >= MOST_STRANGERS;
        if known || !self.strangers.insert(account.map(str::to_owned)) {
            return;
        }
        let own: Vec<&str> = self
            .ways
            .iter()
            .filter_map(|way| way.route.account.as_deref())
            .collect();
        let own = own.join(", ");
        match account {
            Some(account) => warn!(
                target: TRADING,
                "Signal {signal} is for the securities account {account}, and this host trades {own}: signals for \
                 {account} are left with the backend"
            ),
            None => warn!(
                target: TRADING,
                "Signal {signal} names no securities account, and this host trades {own}: which one is meant is not \
                 guessed, and such signals are left with the backend"
            ),
        }
    }

    /// Reports that are committed and not delivered, of all accounts.
    pub(super) fn depth(&self) -> usize {
        self.ways.iter().map(|way| way.route.gauge.depth()).sum()
    }

    /// Delivered posts that took a signal off the backend's list, of all accounts.
    pub(super) fn settled(&self) -> u64 {
        self.ways.iter().map(|way| way.route.gauge.settled()).sum()
    }

    /// Waits for the next change of either.
    pub(super) async fn moved(&self) {
        let moves = self.ways.iter().map(|way| Box::pin(way.route.gauge.moved()));
        select_all(moves).await;
    }

    pub(super) fn set_poll_due(&self, by: Option<std::time::Instant>) {
        self.ways.iter().for_each(|way| way.route.gauge.set_poll_due(by));
    }

    pub(super) fn set_last_poll(&self, at: UtcMillis) {
        self.ways.iter().for_each(|way| way.route.gauge.set_last_poll(at));
    }

    pub(super) fn set_trouble(&self, text: &str) {
        self.ways
            .iter()
            .for_each(|way| way.route.gauge.set_trouble(text.to_owned()));
    }

    /// Tells an engine, since one log line is enough; false when none is left.
    pub(super) async fn tell(&mut self, news: Input) -> bool {
        let several = self.ways.len() > 1;
        let mut news = Some(news);
        for way in self.ways.iter_mut().filter(|way| !way.gone) {
            let Some(input) = news.take() else { break };
            match within(several, way.route.engine.send(input)).await {
                Some(Ok(())) | None => {}
                Some(Err(back)) => {
                    news = Some(back.0);
                    way.leave();
                }
            }
        }
        self.is_any_left()
    }
}

impl Way {
    fn leave(&mut self) {
        if let Some(account) = self.route.account.as_ref().filter(|_| !self.gone) {
            info!(target: TRADING, "The account {account} takes no signals any more");
        }
        self.gone = true;
    }

    fn pause(&mut self) {
        let account = self.route.account.as_deref().unwrap_or_default();
        error!(
            target: TRADING,
            critical = true,
            "The account {account} has not made its signals durable within {} s; it gets none for {} s, and the other \
             accounts go on",
            PATIENCE.as_secs(),
            PAUSE.as_secs()
        );
        self.paused_until = Some(Instant::now() + PAUSE);
    }
}

/// Waits for one of several no longer than is fair to the others.
async fn within<T>(several: bool, work: impl Future<Output = T>) -> Option<T> {
    if several {
        timeout(PATIENCE, work).await.ok()
    } else {
        Some(work.await)
    }
}

/// What became of them, once what they led to is durable, or that it could not be made so; nothing when the engine is gone.
async fn give(engine: &Sender, parcel: Parcel) -> Option<Option<Received>> {
    let (done, committed) = oneshot::channel();
    let input = Input::Signals {
        taken: parcel.taken,
        invalid: parcel.invalid,
        done,
    };
    engine.send(input).await.ok()?;
    committed.await.ok()
}
