//! The model host: receive, decide, commit, dispatch, as the real engine and its lanes do it.

use std::collections::{HashMap, HashSet, VecDeque};

use qt_core::{
    BrokerOrderId, ClientOrderId, Effect, Event, InvalidSignal, NewOrder, OrderState, Settings, Signal,
    Snapshot, Trader, UtcMillis, reconcile,
};

use crate::fault::Fault;
use crate::journal::Batch;
use crate::judge::Seen;
use crate::world::{Action, Broken, Sabotage, World};

/// How long a call may take.
const DEADLINE_MS: i64 = 10_000;
const ASK_NORMALLY_MS: i64 = 60_000;
const ASK_IN_DOUBT_MS: i64 = 5_000;
const JOURNAL_RETRY_MS: i64 = 1_000;
/// The wall clock may drift so far from the steady one between two turns.
const JUMP_MS: i64 = 1_000;
const TURN: usize = 512;

/// One message to the engine.
#[derive(Debug, Clone)]
pub enum Input {
    /// A fact from the broker's side.
    Fact(Event),
    /// Something to be asked for although no fact calls for it.
    Wants(Effect),
    /// Pending signals.
    Signals(Vec<Signal>, Vec<InvalidSignal>),
    /// Signals that the backend holds as submitted.
    Held(Vec<Signal>),
    /// A poll failed.
    NoSignals,
    /// A complete snapshot, or none; with the moment at which it was asked for.
    Snapshot(UtcMillis, Option<Snapshot>),
    /// A row was acknowledged.
    Posted(usize),
    /// A row must be posted again.
    PostFailed(usize),
    /// A row became a dead letter.
    PostRefused(usize),
    /// A person asks for something.
    Person(Request),
}

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// No new orders.
    Halt,
    /// New orders again.
    Resume,
    /// Cancel one of the open orders.
    CancelOne(usize),
    /// Post dead letters again.
    RetryReports,
    /// Decide an order under review.
    Decide(ClientOrderId, Option<BrokerOrderId>),
}

/// A call that is under way.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The order.
    pub id: ClientOrderId,
    since_ms: i64,
    overdue: bool,
}

/// A process.
#[derive(Debug)]
pub struct Host {
    /// The core.
    pub trader: Trader,
    /// What could not be made durable yet.
    pub batch: Batch,
    /// Effects that have not left.
    pub effects: Vec<Effect>,
    /// The journal cannot be written.
    pub failing: bool,
    retry_at: UtcMillis,
    /// What waits for the next turn.
    pub inbox: VecDeque<Input>,
    /// What the judge saw of each order last.
    pub seen: HashMap<ClientOrderId, Seen>,
    /// Orders that wait for the plugin.
    pub lane: VecDeque<(i64, Box<NewOrder>)>,
    /// The call that is under way.
    pub call: Option<Call>,
    asking: Option<(i64, bool)>,
    ask_again: bool,
    told: Option<bool>,
    last_ask: UtcMillis,
    clock: (UtcMillis, i64),
    held_sent: bool,
    /// A poll is under way.
    polling: bool,
    next_poll_ms: i64,
    compared: bool,
    /// Orders whose post is under way.
    pub flights: HashSet<ClientOrderId>,
    post_after: HashMap<ClientOrderId, i64>,
    /// Until when the machine sleeps.
    pub asleep_until_ms: i64,
}

/// The process died.
#[derive(Debug)]
pub(crate) enum End {
    Died,
    Broken(Broken),
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl World {
    pub(crate) const fn mono(&self) -> i64 {
        self.true_ms - self.slept_ms
    }

    fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// Starts a process on the journal.
    pub(crate) fn start_host(&mut self) -> Result<(), Broken> {
        if self.host.is_some() {
            return Ok(());
        }
        self.incarnation += 1;
        if self.incarnation > 1 {
            self.counts.restarts += 1;
        }
        let trader = match self.journal.load() {
            Ok(trader) => trader,
            Err(e) => return self.broken(format!("the journal cannot be read: {e}")),
        };
        let seen = trader
            .orders()
            .map(|order| (order.id, Seen::of(&order)))
            .collect();
        let mut host = Box::new(Host {
            trader,
            batch: Batch::default(),
            effects: Vec::new(),
            failing: false,
            retry_at: UtcMillis::default(),
            inbox: VecDeque::new(),
            seen,
            lane: VecDeque::new(),
            call: None,
            asking: None,
            ask_again: false,
            told: None,
            last_ask: UtcMillis(i64::MIN / 2),
            clock: (self.wall(), self.mono()),
            held_sent: false,
            polling: false,
            next_poll_ms: 0,
            compared: false,
            flights: HashSet::new(),
            post_after: HashMap::new(),
            asleep_until_ms: 0,
        });
        self.judge_restart(&host)?;
        if self.sabotage == Sabotage::ResendOnRestart {
            resend(&mut host, self.mono());
        }
        self.say(|world| {
            format!(
                "-- host {} starts, {} orders live",
                world.incarnation,
                host.trader.live_count()
            )
        });
        match self.first_turn(&mut host) {
            Ok(()) => self.host = Some(host),
            Err(End::Died) => self.die(),
            Err(End::Broken(broken)) => return Err(broken),
        }
        self.after(100, Action::Wake(self.incarnation));
        Ok(())
    }

    fn first_turn(&mut self, host: &mut Host) -> Result<(), End> {
        self.may_die(Fault::CrashInRecovery)?;
        let now = self.wall();
        if self.sabotage != Sabotage::NoStartMark || self.incarnation == 1 {
            let settings = self.settings();
            self.decide(host, now, Event::HostStarted { settings })?;
        }
        gather(host);
        let digest = host.trader.digest();
        self.write(host, digest)?;
        self.may_die(Fault::CrashInRecovery)?;
        self.journal.checkpoint(&mut host.trader);
        self.may_die(Fault::CrashInRecovery)?;
        self.dispatch(host)
    }

    pub(crate) fn may_die(&mut self, fault: Fault) -> Result<(), End> {
        if self.strike(fault) {
            Err(End::Died)
        } else {
            Ok(())
        }
    }

    /// The process is gone, with all that was only in its memory.
    pub(crate) fn die(&mut self) {
        self.host = None;
        if self.sabotage == Sabotage::ForgetLastCommit {
            self.journal.forget_last();
        }
        let long = self.strike(Fault::DownForLong);
        let wait = if long {
            self.dice.between(3_600_000, 20 * 3_600_000)
        } else {
            self.dice.between(100, 60_000)
        };
        self.say(|_| format!("-- the host dies; back in {wait} ms"));
        self.after(wait, Action::Restart);
    }

    /// One turn of the engine, and of the lanes around it.
    pub(crate) fn turn(&mut self) -> Result<(), Broken> {
        let Some(mut host) = self.host.take() else {
            return Ok(());
        };
        self.counts.turns += 1;
        match self.turn_of(&mut host) {
            Ok(()) => self.host = Some(host),
            Err(End::Died) => self.die(),
            Err(End::Broken(broken)) => return Err(broken),
        }
        Ok(())
    }

    fn turn_of(&mut self, host: &mut Host) -> Result<(), End> {
        let now = self.wall();
        let mono = self.mono();
        let passed = now.since_ms(host.clock.0) - (mono - host.clock.1);
        if passed.abs() > JUMP_MS && self.sabotage != Sabotage::IgnoreClockJump {
            self.decide(host, now, Event::ClockJumped)?;
        }
        host.clock = (now, mono);
        for _ in 0..TURN {
            let Some(input) = host.inbox.pop_front() else {
                break;
            };
            self.take(host, now, input)?;
        }
        for event in self.watch_lanes(host) {
            self.decide(host, now, event)?;
        }
        if host.trader.is_due(now) {
            self.decide(host, now, Event::Tick)?;
            if host.trader.is_due(now) {
                self.idle_ticks += 1;
            }
        }
        self.ask_if_due(host, now);
        self.commit(host, now)?;
        self.judge_bounds(host)?;
        self.pump(host)
    }

    fn take(&mut self, host: &mut Host, now: UtcMillis, input: Input) -> Result<(), End> {
        match input {
            Input::Fact(event) => {
                let event = self.twist(event);
                if reconcile::is_news(&host.trader, &event) {
                    self.decide(host, now, event)?;
                }
            }
            Input::Wants(effect) => host.effects.push(effect),
            Input::Signals(mut taken, mut invalid) => {
                host.polling = false;
                if !host.failing {
                    host.trader.retain_news(&mut taken, &mut invalid);
                    if !taken.is_empty() || !invalid.is_empty() {
                        self.decide(host, now, Event::Signals { taken, invalid })?;
                    }
                }
            }
            Input::Held(signals) => {
                host.polling = false;
                host.held_sent = true;
                if !signals.is_empty() {
                    self.decide(host, now, Event::HeldAsSubmitted { signals })?;
                }
            }
            Input::NoSignals => host.polling = false,
            Input::Snapshot(asked_at, found) => {
                host.asking = None;
                let empty = Snapshot {
                    asked_at,
                    ..Snapshot::default()
                };
                let found = found.or((self.sabotage == Sabotage::FailedSnapshotIsEmpty).then_some(empty));
                for event in found
                    .iter()
                    .flat_map(|found| reconcile::diff(&host.trader, found))
                    .collect::<Vec<_>>()
                {
                    self.decide(host, now, event)?;
                }
                if std::mem::take(&mut host.ask_again) {
                    self.ask(host);
                }
            }
            // Only a journal that forgets has lost the row.
            Input::Posted(row) | Input::PostFailed(row) | Input::PostRefused(row)
                if row >= self.journal.outbox.len() => {}
            Input::Posted(row) => {
                host.flights.remove(&self.journal.outbox[row].report.order);
                host.batch.posted.push(row);
            }
            Input::PostFailed(row) => {
                let order = self.journal.outbox[row].report.order;
                host.flights.remove(&order);
                host.post_after
                    .insert(order, self.true_ms + self.dice.between(500, 5_000));
            }
            Input::PostRefused(row) => {
                host.flights.remove(&self.journal.outbox[row].report.order);
                host.batch.dead.push(row);
            }
            Input::Person(request) => self.request(host, now, request)?,
        }
        Ok(())
    }

    /// What a host that is built wrong makes of a fact.
    fn twist(&self, event: Event) -> Event {
        match (self.sabotage, event) {
            (Sabotage::LostAnswerIsRefusal, Event::Unanswered { id, reason, .. }) => {
                Event::Rejected { id, reason }
            }
            (Sabotage::LostAnswerIsNotSent, Event::Unanswered { id, reason, .. }) => {
                Event::NotSent { id, reason }
            }
            (_, event) => event,
        }
    }

    fn request(&mut self, host: &mut Host, now: UtcMillis, request: Request) -> Result<(), End> {
        self.say(|_| format!("a person: {request:?}"));
        match request {
            Request::Halt => self.decide(
                host,
                now,
                Event::Halted {
                    reason: "lunch".into(),
                },
            ),
            Request::Resume if host.trader.halted().is_some() => self.decide(host, now, Event::HaltLifted),
            Request::Resume => Ok(()),
            Request::CancelOne(number) => {
                let live: Vec<_> = host.trader.live_orders().map(|order| order.id).collect();
                if live.is_empty() {
                    return Ok(());
                }
                let id = live[number % live.len()];
                let by = "a person".to_owned();
                self.decide(host, now, Event::CancelWanted { id, by })
            }
            Request::RetryReports => {
                let rows = self.journal.outbox.iter().enumerate();
                let dead = rows.filter(|(_, row)| row.state == crate::journal::RowState::Dead);
                host.batch.retried.extend(dead.map(|(index, _)| index));
                Ok(())
            }
            Request::Decide(id, accepted_as) => {
                let under_review = host
                    .trader
                    .order(id)
                    .is_some_and(|order| order.state == OrderState::Review);
                let of_another = accepted_as
                    .as_ref()
                    .and_then(|name| host.trader.order_of_broker(name))
                    .is_some_and(|other| other.id != id);
                if !under_review || of_another {
                    return Ok(());
                }
                self.decide(host, now, Event::Decided { id, accepted_as })
            }
        }
    }

    /// Lets the core decide, under the judge's eyes.
    fn decide(&mut self, host: &mut Host, now: UtcMillis, event: Event) -> Result<(), End> {
        self.say(|_| format!("  {event:?}"));
        match host.trader.handle(now, &event) {
            Ok(effects) => {
                self.judge_turn(host, &event, &effects)?;
                self.counts.facts += 1;
                host.batch.facts.push((now, event));
                host.effects.extend(effects);
            }
            Err(refusal) => {
                self.say(|_| format!("  refused: {refusal}"));
                *self.counts.alarms.entry("EVENT_NOT_USED").or_default() += 1;
            }
        }
        Ok(())
    }

    fn ask_if_due(&mut self, host: &mut Host, now: UtcMillis) {
        let doubt = host.trader.has_unknown() || !host.trader.is_reconciled();
        let every = if doubt { ASK_IN_DOUBT_MS } else { ASK_NORMALLY_MS };
        let passed = now.since_ms(host.last_ask);
        // A clock that went back must not silence the questions.
        if passed >= every || passed < 0 {
            host.last_ask = now;
            self.ask(host);
        }
    }

    fn ask(&mut self, host: &mut Host) {
        if host.asking.is_some() {
            host.ask_again = true;
            return;
        }
        host.asking = Some((self.mono(), false));
        let slow = if self.strike(Fault::SnapshotSlow) {
            60_000
        } else {
            200
        };
        let wait = self.dice.between(1, slow);
        self.after(wait, Action::ListOrders(self.incarnation, self.wall()));
    }

    fn commit(&mut self, host: &mut Host, now: UtcMillis) -> Result<(), End> {
        gather(host);
        if host.failing && now < host.retry_at && host.retry_at.since_ms(now) <= JOURNAL_RETRY_MS {
            return self.let_cancels_go(host);
        }
        if self.sabotage == Sabotage::EffectsBeforeCommit {
            self.dispatch(host)?;
        }
        if !host.batch.is_empty() {
            self.may_die(Fault::CrashBeforeCommit)?;
            if self.true_ms >= self.disk_full_until_ms && self.strike(Fault::DiskFull) {
                self.disk_full_until_ms = self.true_ms + self.dice.between(100, 20_000);
            }
            if self.true_ms < self.disk_full_until_ms {
                return self.commit_failed(host, now);
            }
            let digest = host.trader.digest();
            self.write(host, digest)?;
            self.may_die(Fault::CrashAfterCommit)?;
        }
        host.failing = false;
        self.dispatch(host)?;
        if host.trader.changed_count() >= self.checkpoint_at {
            self.journal.checkpoint(&mut host.trader);
        }
        Ok(())
    }

    fn write(&mut self, host: &mut Host, digest: u64) -> Result<(), End> {
        let reports = if self.sabotage == Sabotage::ReportsOutsideOfTheCommit {
            std::mem::take(&mut host.batch.reports)
        } else {
            Vec::new()
        };
        if let Err(e) = self.journal.commit(&mut host.batch, digest) {
            return Ok(self.broken(e)?);
        }
        if !reports.is_empty() {
            self.may_die(Fault::CrashAfterCommit)?;
            host.batch.reports = reports;
            if let Err(e) = self.journal.commit(&mut host.batch, digest) {
                return Ok(self.broken(e)?);
            }
        }
        Ok(())
    }

    /// No order whose intent is not durable may leave: each is given back as never sent.
    fn commit_failed(&mut self, host: &mut Host, now: UtcMillis) -> Result<(), End> {
        host.failing = true;
        host.retry_at = now.plus_ms(JOURNAL_RETRY_MS);
        let effects = std::mem::take(&mut host.effects);
        let (withheld, kept): (Vec<_>, Vec<_>) = effects
            .into_iter()
            .partition(|effect| matches!(effect, Effect::Submit(_)));
        host.effects = kept;
        for effect in withheld {
            if let Effect::Submit(order) = effect {
                let reason = "the journal could not be written".to_owned();
                self.decide(host, now, Event::NotSent { id: order.id, reason })?;
            }
        }
        gather(host);
        self.let_cancels_go(host)
    }

    fn let_cancels_go(&mut self, host: &mut Host) -> Result<(), End> {
        let effects = std::mem::take(&mut host.effects);
        let (submits, others): (Vec<_>, Vec<_>) = effects
            .into_iter()
            .partition(|effect| matches!(effect, Effect::Submit(_)));
        host.effects = others;
        self.dispatch(host)?;
        host.effects = submits;
        Ok(())
    }

    /// Lets every effect go.
    fn dispatch(&mut self, host: &mut Host) -> Result<(), End> {
        let mut asked = false;
        for effect in std::mem::take(&mut host.effects) {
            self.may_die(Fault::CrashInDispatch)?;
            match effect {
                Effect::Submit(order) => {
                    self.judge_submit(order.id)?;
                    host.lane.push_back((self.mono(), order));
                }
                Effect::Cancel { id, broker_order_id } => {
                    self.say(|_| format!("  cancel {id}"));
                    self.call_cancel(id, broker_order_id.as_ref());
                }
                Effect::Ask => asked = true,
                Effect::Alarm(alarm) => {
                    self.say(|_| format!("  ALARM {}: {}", alarm.code, alarm.text));
                    *self.counts.alarms.entry(alarm.code).or_default() += 1;
                    self.judge_alarm(&alarm)?;
                }
                Effect::Note(note) => self.say(|_| format!("  note {}: {}", note.code, note.text)),
                Effect::Report(report) => {
                    return Ok(self.broken(format!("{} left without its commit", report.key()))?);
                }
            }
        }
        if asked {
            self.ask(host);
        }
        Ok(())
    }

    /// The watchdog: overdue calls, and whether orders can be sent.
    fn watch_lanes(&mut self, host: &mut Host) -> Vec<Event> {
        let mono = self.mono();
        let mut events = Vec::new();
        let mut stuck = false;
        if let Some(call) = host
            .call
            .as_mut()
            .filter(|call| mono - call.since_ms >= DEADLINE_MS)
        {
            stuck = true;
            if !call.overdue {
                call.overdue = true;
                let reason = "the plugin has not answered".to_owned();
                events.push(Event::Unanswered {
                    id: call.id,
                    reason,
                    outstanding: true,
                });
            }
            while host
                .lane
                .front()
                .is_some_and(|(since, _)| mono - since >= DEADLINE_MS)
            {
                if let Some((_, order)) = host.lane.pop_front() {
                    let reason = "the plugin hangs in an earlier call".to_owned();
                    events.push(Event::NotSent { id: order.id, reason });
                }
            }
        }
        if let Some((since, overdue)) = host.asking.as_mut() {
            *overdue = mono - *since >= DEADLINE_MS;
            stuck |= *overdue;
        }
        let up = self.broker.up && !stuck;
        if host.told != Some(up) && (up || host.told.is_some()) {
            host.told = Some(up);
            let reason = if up { String::new() } else { "cable".into() };
            events.push(Event::Connection { up, reason });
        }
        events.into_iter().map(|event| self.twist(event)).collect()
    }

    /// What the rooms around the engine do by themselves.
    fn pump(&mut self, host: &mut Host) -> Result<(), End> {
        self.pump_lane(host)?;
        host.compared |= host.trader.is_reconciled();
        if host.compared && !host.failing && !host.polling && self.true_ms >= host.next_poll_ms {
            host.polling = true;
            host.next_poll_ms = self.true_ms + self.dice.between(2_000, 12_000);
            let wait = self.dice.between(1, 100);
            self.after(wait, Action::Poll(self.incarnation, !host.held_sent));
        }
        let at_once = self.sabotage == Sabotage::PostsOutOfOrder;
        let mut passed = HashSet::new();
        let waiting: Vec<_> = self
            .journal
            .waiting
            .iter()
            .map(|(row, order)| (*row, *order))
            .collect();
        for (row, order) in waiting {
            let wait_over = host
                .post_after
                .get(&order)
                .is_none_or(|until| *until <= self.true_ms);
            let acknowledged = host.batch.posted.contains(&row) || host.batch.dead.contains(&row);
            let first = passed.insert(order) || at_once;
            if first && wait_over && !acknowledged && (at_once || host.flights.insert(order)) {
                let wait = self.dice.between(1, 200);
                self.after(wait, Action::Post(self.incarnation, row));
            }
        }
        Ok(())
    }

    /// The lane in which orders are given to the plugin, one at a time.
    fn pump_lane(&mut self, host: &mut Host) -> Result<(), End> {
        if host.call.is_some() {
            return Ok(());
        }
        let Some((_, order)) = host.lane.pop_front() else {
            return Ok(());
        };
        if order.not_after.is_some_and(|until| until <= self.wall()) {
            let reason = "valid_until passed while it waited".to_owned();
            host.inbox
                .push_back(Input::Fact(Event::NotSent { id: order.id, reason }));
            self.after(1, Action::Wake(self.incarnation));
            return Ok(());
        }
        host.call = Some(Call {
            id: order.id,
            since_ms: self.mono(),
            overdue: false,
        });
        self.say(|_| format!("  call: place {order:?}"));
        self.counts.submits += 1;
        self.judge_call(&order)?;
        let dies = self.strike(Fault::CrashInCall);
        let made = !dies || self.dice.chance(500);
        if made {
            self.call_place(order);
        }
        if dies { Err(End::Died) } else { Ok(()) }
    }

    /// A call comes back.
    pub(crate) fn call_returns(&mut self, inc: u32, id: ClientOrderId, said: Option<Event>) {
        let event = said.unwrap_or_else(|| self.answer_of(id));
        let Some(host) = self.host.as_mut().filter(|_| inc == self.incarnation) else {
            return;
        };
        if host.call.is_some_and(|call| call.id == id) {
            host.call = None;
            host.inbox.push_back(Input::Fact(event));
        }
    }
}

fn resend(host: &mut Host, mono: i64) {
    let lost = host
        .trader
        .live_orders()
        .filter(|order| order.state == OrderState::Submitting);
    let orders: Vec<_> = lost
        .map(|order| NewOrder {
            id: order.id,
            symbol: order.signal.symbol,
            side: order.signal.side,
            size: order.signal.size,
            limit: order.limit,
            not_after: None,
            strategy: None,
        })
        .collect();
    host.lane
        .extend(orders.into_iter().map(|order| (mono, Box::new(order))));
}

/// Reports become rows of the same transaction as the facts that caused them.
fn gather(host: &mut Host) {
    for effect in std::mem::take(&mut host.effects) {
        match effect {
            Effect::Report(report) => host.batch.reports.push(report),
            other => host.effects.push(other),
        }
    }
}
