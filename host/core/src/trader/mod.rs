//! The one owner of the state of trading.

mod away;
mod digest;
mod evidence;
mod exposure;
mod gates;
mod governor;
mod intake;
mod requests;
mod settings;
mod slot;
mod timers;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use digest::Key;
pub use digest::{Frame, NotPacked, PackedKeys, PackedOrder};
pub(crate) use exposure::Exposure;
pub use exposure::PlanSales;
pub use gates::{Gates, Limits, Rate, SellBarrier, TradingSessions, account_mark};
pub use intake::Left;
pub use settings::Settings;
pub(crate) use slot::Glimpse;
use slot::Slot;
pub use slot::unpack;

use qt_market::Market;

use crate::event::{Alarm, BookFact, Effect, Event};
use crate::ids::{BrokerOrderId, ClientOrderId, SignalId};
use crate::order::{IllegalTransition, Order, OrderState};
use crate::time::{TradingDate, UtcMillis};

/// Why an event was not taken. The state is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// The event speaks of an order that is not known.
    #[error("no order {0} is known")]
    NoSuchOrder(ClientOrderId),
    /// A person says what the broker's own words contradict.
    #[error("order {id}: {known}, and that cannot be decided otherwise")]
    Contradicted {
        /// The order.
        id: ClientOrderId,
        /// What is known.
        known: String,
    },
    /// The table has no such step.
    #[error("order {id}: {source}")]
    Illegal {
        /// The order.
        id: ClientOrderId,
        /// State and step.
        source: IllegalTransition,
    },
}

/// A signal of an earlier day, kept only so that it is never taken again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The number of its last attempt.
    pub retry_count: u32,
    /// True when a later attempt may exist.
    pub reopens: bool,
}

/// The state of trading: a function of the events it has handled, and of nothing else.
#[derive(Debug, Clone, Default)]
pub struct Trader {
    settings: Settings,
    now: UtcMillis,
    day: TradingDate,
    orders: HashMap<ClientOrderId, Slot>,
    /// Every order that has not ended.
    live: BTreeSet<ClientOrderId>,
    wakes: timers::Wakes,
    /// Intended orders, in the order in which they go.
    ready: BTreeSet<(intake::Rank, ClientOrderId)>,
    submitting: u32,
    unknown: usize,
    by_signal: HashMap<Key, ClientOrderId>,
    by_broker: HashMap<Key, ClientOrderId>,
    /// Signals that could not be understood, with their retry count.
    refused: BTreeMap<SignalId, u32>,
    settled: HashMap<Key, Settled>,
    /// Signals that have an order that was revived.
    revived: HashSet<SignalId>,
    halted: Option<String>,
    /// Why only sales go.
    reducing: Option<String>,
    connected: bool,
    /// The broker's absence that nobody was alarmed by.
    away: Option<away::Away>,
    reconciled: bool,
    foreign: u64,
    /// What the gates count.
    exposure: Exposure,
    /// The market's rules as the settings have them; `None` for those of the program.
    market: Option<Arc<Market>>,
    /// Orders that wait for something that only facts bring about.
    waiting: BTreeSet<ClientOrderId>,
    /// Such a fact came.
    look_again: bool,
    digest: digest::Digest,
}

impl Trader {
    /// A fresh one that has handled nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a fact: changes the state and says what follows from it.
    ///
    /// `now` runs backwards in here only with [`Event::ClockJumped`] and [`Event::HostStarted`], and
    /// never over midnight: any other earlier moment counts as the latest one seen. While the clock shows a day before the
    /// latest one seen, nothing is sent.
    ///
    /// # Errors
    ///
    /// [`HandleError`], and the state is as it was.
    pub fn handle(&mut self, now: UtcMillis, event: &Event) -> Result<Vec<Effect>, HandleError> {
        let mut effects = Vec::new();
        self.check(event)?;
        self.unpack(event);
        let is_behind = now.trading_date() < self.day;
        // A process that starts cannot have seen the clock being set before.
        if matches!(event, Event::ClockJumped | Event::HostStarted { .. }) {
            self.follow_clock_back(now, &mut effects);
        }
        let now = now.max(self.now);
        self.now = now;
        self.roll_day(now, &mut effects);
        match event {
            Event::HostStarted { settings } => self.host_started(settings, now, &mut effects),
            Event::Signals { taken, invalid } => self.take_signals(taken, invalid, now, &mut effects),
            Event::HeldAsSubmitted { signals } => self.take_held(signals, now, &mut effects),
            Event::Accepted { id, broker_order_id } => self.accepted(*id, broker_order_id, now, &mut effects),
            Event::Rejected { id, reason } => self.rejected(*id, reason, now, &mut effects),
            Event::Unanswered {
                id,
                reason,
                outstanding,
            } => {
                self.unanswered(*id, reason, *outstanding, now, &mut effects);
            }
            Event::NotSent { id, reason } => self.not_sent(*id, reason, now, &mut effects),
            Event::OrderSeen(row) => self.order_seen(row, now, &mut effects),
            Event::FillSeen(fill) => self.fill_seen(fill, now, &mut effects),
            Event::Reconciled {
                asked_at,
                absent,
                alike,
                foreign,
            } => {
                self.reconciled(*asked_at, absent, alike, *foreign, now, &mut effects);
            }
            Event::Connection { up, reason } => self.connection(*up, reason, now, &mut effects),
            Event::CancelWanted { id, by } => self.cancel_wanted(*id, by, now, &mut effects),
            Event::CancelAnswered { id, problem } => {
                self.cancel_answered(*id, problem.as_deref(), &mut effects)
            }
            Event::Decided { id, accepted_as } => self.decided(*id, accepted_as.as_ref(), now, &mut effects),
            Event::Halted { reason } => self.halted = Some(reason.clone()),
            Event::Reducing { reason } => self.reducing = Some(reason.clone()),
            Event::HaltLifted => {
                self.halted = None;
                self.look_again |= self.reducing.take().is_some();
            }
            Event::BookSeen(book) => {
                if self.settings.gates.need_books() {
                    self.exposure.see_book(book);
                    self.look_again = true;
                }
            }
            Event::ClockJumped => {
                self.restart_doubts(now, &mut effects);
                self.restart_alarms(now, &mut effects);
            }
            Event::Tick => {}
        }
        self.tell_of_absence(now, &mut effects);
        if matches!(
            event,
            Event::Tick | Event::Connection { .. } | Event::HostStarted { .. }
        ) {
            self.run_timers(now, &mut effects);
        }
        self.let_go(is_behind, now, &mut effects);
        Ok(effects)
    }

    /// Looks again at orders that wait for a fact, where one came, and hands over what may go. Either may end a sale that
    /// others wait for.
    fn let_go(&mut self, is_behind: bool, now: UtcMillis, effects: &mut Vec<Effect>) {
        // Each further round needs an order that ended in the one before.
        for _ in 0..=self.live.len() {
            let look_again = std::mem::take(&mut self.look_again);
            if is_behind {
                break;
            }
            if look_again {
                self.look_again(now, effects);
            }
            self.release(now, effects);
            if !self.look_again {
                break;
            }
        }
        self.look_again = false;
    }

    /// The order of this id.
    #[must_use]
    pub fn order(&self, id: ClientOrderId) -> Option<Cow<'_, Order>> {
        self.orders.get(&id).and_then(Slot::order)
    }

    /// The order of this id, unless it has ended and is packed: no event is about it now.
    fn whole(&self, id: ClientOrderId) -> Option<&Order> {
        self.orders.get(&id).and_then(Slot::whole)
    }

    /// Every order in memory: all that have not ended, and those that ended today.
    pub fn orders(&self) -> impl Iterator<Item = Cow<'_, Order>> {
        self.orders.values().filter_map(Slot::order)
    }

    /// Every order that has not ended, by id.
    pub fn live_orders(&self) -> impl Iterator<Item = &Order> {
        self.live.iter().filter_map(|id| self.whole(*id))
    }

    /// How many orders have not ended.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.live.len()
    }

    /// How many orders are decided or sent and their outcome is not known yet.
    #[must_use]
    pub fn on_their_way(&self) -> usize {
        self.ready.len() + usize::try_from(self.submitting).unwrap_or(0) + self.unknown
    }

    /// The latest attempt at a signal.
    #[must_use]
    pub fn order_of_signal(&self, signal: &SignalId) -> Option<Cow<'_, Order>> {
        self.by_signal
            .get(&Key::of(&signal.0))
            .and_then(|id| self.order(*id))
    }

    /// The order that the broker calls so.
    #[must_use]
    pub fn order_of_broker(&self, id: &BrokerOrderId) -> Option<Cow<'_, Order>> {
        self.by_broker.get(&Key::of(&id.0)).and_then(|id| self.order(*id))
    }

    /// Which order the broker speaks of: by our id, else by its own.
    fn named(&self, id: Option<ClientOrderId>, broker: &BrokerOrderId) -> Option<ClientOrderId> {
        id.filter(|id| self.orders.contains_key(id))
            .or_else(|| self.by_broker.get(&Key::of(&broker.0)).copied())
    }

    /// The order that the broker speaks of, as far as a comparison with its books needs it.
    pub(crate) fn glimpse(&self, id: Option<ClientOrderId>, broker: &BrokerOrderId) -> Option<Glimpse<'_>> {
        self.named(id, broker)
            .and_then(|id| self.orders.get(&id))
            .and_then(Slot::glimpse)
    }

    /// Makes the order whole that an event is about; the next digest packs it again.
    fn unpack(&mut self, event: &Event) {
        let id = match event {
            Event::Accepted { id, .. }
            | Event::Rejected { id, .. }
            | Event::Unanswered { id, .. }
            | Event::NotSent { id, .. }
            | Event::CancelWanted { id, .. }
            | Event::CancelAnswered { id, .. }
            | Event::Decided { id, .. } => Some(*id),
            Event::OrderSeen(row) => self.named(row.id, &row.broker_order_id),
            Event::FillSeen(fill) => self.named(fill.id, &fill.broker_order_id),
            _ => None,
        };
        let Some((id, slot)) = id.and_then(|id| Some((id, self.orders.get_mut(&id)?))) else {
            return;
        };
        if slot.whole().is_none() && slot.unpack().is_some() {
            self.digest.look_again(id);
        }
    }

    /// Why trading is halted, if it is.
    #[must_use]
    pub fn halted(&self) -> Option<&str> {
        self.halted.as_deref()
    }

    /// Why only sales go, if that is so.
    #[must_use]
    pub fn reducing(&self) -> Option<&str> {
        self.reducing.as_deref()
    }

    /// True when the broker's figures would tell the gates something new.
    #[must_use]
    pub fn wants_book(&self, book: &BookFact) -> bool {
        let gates = &self.settings.gates;
        // Outside of continuous trading there is no cage.
        let price_age_ms =
            (gates.cage && self.is_continuous(book.asked_at)).then_some(gates.quote_max_age_ms / 2);
        gates.need_books() && self.exposure.wants(book, price_age_ms)
    }

    /// True where gates wait for the broker's figures: nothing is known of the present day, or since the broker came back.
    #[must_use]
    pub fn lacks_book(&self) -> bool {
        self.settings.gates.need_books() && self.exposure.book().is_none()
    }

    /// Since when sales of its plan have held a purchase back, if they ever did.
    #[must_use]
    pub fn barred_since(&self, id: ClientOrderId) -> Option<UtcMillis> {
        self.exposure.barred_since(id)
    }

    /// True in continuous trading, for which the main board stands.
    fn is_continuous(&self, now: UtcMillis) -> bool {
        let day = now.trading_date();
        self.market()
            .main_window(day.civil(), now.since_ms(day.start()))
            .is_some_and(|window| window.phase == qt_market::Phase::Continuous)
    }

    /// The market's rules in force.
    #[must_use]
    pub fn market(&self) -> &Market {
        market_of(self.market.as_ref())
    }

    /// True when the broker can take orders.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connected
    }

    /// True when the broker's books were compared since start and since the last reconnect.
    #[must_use]
    pub const fn is_reconciled(&self) -> bool {
        self.reconciled
    }

    /// Orders on the account that are not ours, as of the last snapshot.
    #[must_use]
    pub const fn foreign_orders(&self) -> u64 {
        self.foreign
    }

    /// The limits in force.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The latest moment that was passed in.
    #[must_use]
    pub const fn now(&self) -> UtcMillis {
        self.now
    }

    /// True when some order may be at the broker without our knowing.
    #[must_use]
    pub fn has_unknown(&self) -> bool {
        self.unknown > 0
    }

    /// Changes an order and keeps every index and the digest right. Reports that are due follow.
    fn change(
        &mut self,
        id: ClientOrderId,
        now: UtcMillis,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut Order) -> Result<(), IllegalTransition>,
    ) {
        let Some(order) = self.orders.get_mut(&id).and_then(Slot::unpack) else {
            return;
        };
        let before = order.state;
        let follows = self.settings.gates.follow_orders();
        let ended_with = (follows && before.is_ended()).then(|| order.amount());
        let market = market_of(self.market.as_ref());
        let woke = timers::wakes_at(&self.settings, market, &self.exposure, order);
        if let Err(illegal) = change(order) {
            effects.push(alarm(
                "ILLEGAL_STEP",
                format!("order {id}: {illegal}; it stays as it is"),
            ));
        }
        let reports = order.tell(now, self.settings.chase_bps, market);
        effects.extend(reports.into_iter().map(Effect::Report));
        let after = order.state;
        if !matches!(after, OrderState::Deferred | OrderState::Intended) {
            self.exposure.unbar(id);
        }
        let wakes = timers::wakes_at(&self.settings, market, &self.exposure, order);
        self.wakes.change(id, woke, wakes);
        if follows {
            self.exposure.follow(order, ended_with, self.day, market);
        }
        self.look_again |= self.exposure.follow_plan(order);
        if after == OrderState::Deferred && order.code.as_deref().is_some_and(intake::waits_for_facts) {
            self.waiting.insert(id);
        } else {
            self.waiting.remove(&id);
        }
        if before == OrderState::Submitting && after != before && self.settings.gates.rate.is_some() {
            self.exposure.governor.order_answered(now);
        }
        if order.revived {
            self.revived.insert(order.signal.id.clone());
        }
        let rank = intake::Rank::of(&order.signal);
        let (day, name) = (order.day(), order.broker_order_id.clone());
        self.digest.touch(id);
        self.index_broker(id, day, name.as_ref().map(|name| name.0.as_str()));
        self.reindex(id, rank, before, after);
    }

    /// Makes an order known by the broker's name for it. Where two share a name, as they may on two
    /// days, the later one has it.
    fn index_broker(&mut self, id: ClientOrderId, day: TradingDate, name: Option<&str>) {
        let Some(name) = name.map(Key::of) else { return };
        let other = self
            .by_broker
            .get(&name)
            .filter(|other| **other != id)
            .and_then(|other| self.order(*other))
            .map(|other| (other.day(), other.id));
        if other.is_none_or(|other| (day, id) > other) {
            self.by_broker.insert(name, id);
        }
    }

    fn reindex(&mut self, id: ClientOrderId, rank: intake::Rank, before: OrderState, after: OrderState) {
        if before == after {
            return;
        }
        if after.is_ended() {
            self.live.remove(&id);
        } else {
            self.live.insert(id);
        }
        if before == OrderState::Intended {
            self.ready.remove(&(rank.clone(), id));
        }
        if after == OrderState::Intended {
            self.ready.insert((rank, id));
        }
        if before == OrderState::Submitting {
            self.submitting = self.submitting.saturating_sub(1);
        }
        if after == OrderState::Submitting {
            self.submitting += 1;
        }
        if before == OrderState::Unknown {
            self.unknown = self.unknown.saturating_sub(1);
        }
        if after == OrderState::Unknown {
            self.unknown += 1;
        }
    }

    /// Refuses an event that speaks of an order nobody knows, before anything is changed.
    fn check(&self, event: &Event) -> Result<(), HandleError> {
        let id = match event {
            Event::Accepted { id, .. }
            | Event::Rejected { id, .. }
            | Event::Unanswered { id, .. }
            | Event::NotSent { id, .. }
            | Event::CancelWanted { id, .. }
            | Event::CancelAnswered { id, .. }
            | Event::Decided { id, .. } => *id,
            _ => return Ok(()),
        };
        let order = self.order(id).ok_or(HandleError::NoSuchOrder(id))?;
        // A person decides only what was put before a person.
        if matches!(event, Event::Decided { .. }) && order.state != OrderState::Review {
            let source = IllegalTransition {
                from: order.state,
                step: crate::order::Step::NeedPerson,
            };
            return Err(HandleError::Illegal { id, source });
        }
        match event {
            Event::Decided { accepted_as, .. } => hold_to_evidence(&order, accepted_as.as_ref()),
            _ => Ok(()),
        }
    }
}

fn hold_to_evidence(order: &Order, accepted_as: Option<&BrokerOrderId>) -> Result<(), HandleError> {
    let known = match (accepted_as, &order.broker_order_id) {
        (None, _) if order.was_accepted() => "the broker has accepted it".to_owned(),
        (Some(said), Some(known)) if said != known => format!("the broker calls it {known}"),
        _ => return Ok(()),
    };
    Err(HandleError::Contradicted { id: order.id, known })
}

fn market_of(own: Option<&Arc<Market>>) -> &Market {
    match own {
        Some(own) => own,
        None => Market::builtin(),
    }
}

fn alarm(code: &'static str, text: String) -> Effect {
    Effect::Alarm(Alarm { code, text })
}
