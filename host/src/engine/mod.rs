//! The loop: receive, decide, commit, dispatch.
//!
//! One thread owns the core and the journal. Each turn takes all inputs that wait, lets the core
//! decide, makes facts and reports durable in one transaction, and only then lets the effects go.

mod command;
mod dispatch;
pub(crate) mod input;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use qt_core::{Effect, Event, OrderState, Settings, Trader, UtcMillis};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::{error, info, warn};

pub(crate) use command::{Command, Reply, find};
use input::{Input, Received, ToBroker};

use crate::broker::BrokerSender;
use crate::clock::{Clock, Jump};
use crate::journal::{Batch, Fact, Loaded, Store};
use crate::monitor::meters::{Meters, OrderCounts};

/// Inputs taken in one turn, and so the most that one transaction holds.
const TURN: usize = 512;

/// How often waiting time is looked at.
const TICK: Duration = Duration::from_millis(50);

/// How often the orders are counted for those who look on.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// How long a stop waits for calls that are under way.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Between two tries to write to a journal that could not be written.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// What others may see of the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// The broker's books were compared: signals may be taken.
    pub(crate) ready: bool,
    /// The broker takes orders.
    pub(crate) connected: bool,
    /// Gates wait for the broker's figures.
    pub(crate) lacks_book: bool,
    /// Why trading is halted.
    pub(crate) halted: Option<String>,
    /// Orders that have not ended.
    pub(crate) live: usize,
    /// Orders decided or sent whose outcome is not known yet.
    pub(crate) on_their_way: usize,
    /// True while the journal cannot be written.
    pub(crate) journal_failing: bool,
    /// Fills booked since the start.
    pub(crate) fills: u64,
    /// How often the broker's books were compared since the start.
    pub(crate) compared: u64,
}

/// How the reporter learns of new rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutboxSignal {
    /// Rows were added.
    pub(crate) added: Arc<Notify>,
    /// Dead letters were set free and may have any id.
    pub(crate) reload: Arc<Notify>,
    /// Rows that wait.
    pub(crate) depth: Arc<AtomicUsize>,
}

/// How often the broker's books are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskEvery {
    /// At any time, in ms.
    pub(crate) normally_ms: i64,
    /// While some order is unknown, in ms.
    pub(crate) in_doubt_ms: i64,
}

/// The engine and what it owns.
pub(crate) struct Engine {
    trader: Trader,
    journal: Store,
    clock: Clock,
    to_broker: BrokerSender,
    outbox: OutboxSignal,
    status: watch::Sender<Status>,
    ask_every: AskEvery,
    /// By the steady clock, as every wait in here: one that is set back must not silence the questions.
    last_ask: Option<Instant>,
    /// What could not be made durable yet: nothing of it has left.
    held: Held,
    fills: u64,
    compared: u64,
    stop_by: Option<Instant>,
    meters: Meters,
    counted: Option<Instant>,
}

/// A turn's results before they are durable.
#[derive(Default)]
struct Held {
    batch: Batch,
    effects: Vec<Effect>,
    signal_replies: Vec<(oneshot::Sender<Option<Received>>, Received)>,
    command_replies: Vec<(oneshot::Sender<Reply>, Reply)>,
    failing: bool,
    retry_at: Option<Instant>,
}

impl Engine {
    /// An engine on a state that was read from `journal`.
    pub(crate) fn new(
        journal: impl Into<Store>,
        loaded: Loaded,
        clock: Clock,
        ask_every: AskEvery,
        to_broker: BrokerSender,
        outbox: OutboxSignal,
    ) -> (Self, watch::Receiver<Status>) {
        let (status, seen) = watch::channel(Status::default());
        let engine = Self {
            trader: loaded.trader,
            journal: journal.into(),
            clock,
            to_broker,
            outbox,
            status,
            ask_every,
            last_ask: None,
            held: Held::default(),
            fills: 0,
            compared: 0,
            stop_by: None,
            meters: Meters::default(),
            counted: None,
        };
        (engine, seen)
    }

    /// Counts into these meters from now on.
    pub(crate) fn set_meters(&mut self, meters: Meters) {
        self.meters = meters;
    }

    /// Marks the start of this process in the journal: calls of the one before are lost.
    ///
    /// # Errors
    ///
    /// The journal cannot be written.
    pub(crate) fn start(&mut self, settings: Settings) -> Result<(), crate::journal::JournalError> {
        let now = self.now();
        self.decide(now, Event::HostStarted { settings });
        self.gather_reports();
        self.journal.commit(now, &self.held.batch, &mut self.trader)?;
        self.journal.checkpoint(&mut self.trader)?;
        self.outbox
            .depth
            .store(self.journal.waiting_reports()?, Ordering::Relaxed);
        self.held.batch = Batch::default();
        self.dispatch();
        Ok(())
    }

    /// Carries out a command with no broker at hand, and makes it durable.
    pub(crate) fn run_offline(&mut self, command: &Command) -> Result<Reply, crate::journal::JournalError> {
        let now = self.now();
        let reply = self.take_command(now, command);
        self.gather_reports();
        self.journal.commit(now, &self.held.batch, &mut self.trader)?;
        self.held = Held::default();
        self.journal.checkpoint(&mut self.trader)?;
        Ok(reply)
    }

    /// Runs until told to stop.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut waiting = Vec::with_capacity(TURN);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                count = inputs.recv_many(&mut waiting, TURN) => if count == 0 { break },
                _ = ticks.tick() => {}
            }
            self.turn(&mut waiting);
            if self.may_stop() {
                break;
            }
        }
        self.finish();
    }

    fn turn(&mut self, inputs: &mut Vec<Input>) {
        crate::failpoint::die_at("engine-turn");
        let now = self.now();
        if let Some(jump) = self.clock.take_jump() {
            self.clock_jumped(now, jump);
        }
        for input in inputs.drain(..) {
            self.take(now, input);
        }
        if self.trader.is_due(now) {
            self.decide(now, Event::Tick);
        }
        self.ask_if_due();
        self.commit(now);
        self.count_orders();
    }

    /// How the orders stand, for those who look on: once in a second, since it costs a look at each that has not ended.
    fn count_orders(&mut self) {
        let steady = self.clock.monotonic();
        self.meters.turned(steady);
        if self.counted.is_some_and(|last| steady - last < COUNT_EVERY) {
            return;
        }
        self.counted = Some(steady);
        let mut counts = OrderCounts::default();
        let earlier = |since: &mut i64, at: UtcMillis| {
            if *since == 0 || at.0 < *since {
                *since = at.0;
            }
        };
        for order in self.trader.live_orders() {
            if let Some(place) = OrderState::ALL.iter().position(|state| *state == order.state) {
                counts.by_state[place] += 1;
            }
            match (order.state, order.doubt) {
                (OrderState::Unknown, Some(doubt)) => earlier(&mut counts.unknown_since_ms, doubt.since),
                (OrderState::Deferred, _) if order.code.as_deref() == Some("SELL_BARRIER") => {
                    let since = self.trader.barred_since(order.id);
                    earlier(&mut counts.barrier_since_ms, since.unwrap_or(order.received_at));
                }
                _ => {}
            }
        }
        self.meters.set_counts(counts);
    }

    /// Counts what an event led to: each order that ended or that a gate held back tells the backend so.
    fn count_ends(&self, effects: &[Effect]) {
        let mut seen = Vec::new();
        for effect in effects {
            let Effect::Report(report) = effect else { continue };
            if seen.contains(&report.order) {
                continue;
            }
            seen.push(report.order);
            let Some(order) = self.trader.order(report.order) else {
                continue;
            };
            let is_new = order.ended_at == Some(self.trader.now());
            match (order.state, &order.code) {
                (OrderState::Denied, Some(code)) if is_new => self.meters.refused("denied", code),
                (OrderState::Deferred, Some(code)) => self.meters.refused("deferred", code),
                _ => {}
            }
            if is_new && order.state.is_ended() {
                self.meters.ended(order.state);
            }
        }
    }

    /// What absence is to prove is counted anew, and the books are asked for: orders may have moved meanwhile.
    fn clock_jumped(&mut self, now: UtcMillis, jump: Jump) {
        let seconds = |ms: i64| ms.saturating_add(500) / 1000;
        match jump {
            Jump::Ahead(ms) => warn!(
                "the clock is {} s further on than the time that passed: it was set, or the machine slept; orders past \
                 their time are cancelled, and the broker's books are compared",
                seconds(ms)
            ),
            Jump::Back(ms) => error!(
                critical = true,
                "the clock was set back by {} s; times go on from the later one, so that none comes twice. If the later \
                 one was wrong by a day or more, halt, see the open orders ended, and start with a new `data_dir`",
                seconds(ms)
            ),
        }
        self.decide(now, Event::ClockJumped);
        self.last_ask = None;
    }

    fn take(&mut self, now: UtcMillis, input: Input) {
        match input {
            Input::Signals {
                mut taken,
                mut invalid,
                done,
            } => {
                if self.held.failing || self.stop_by.is_some() {
                    // They stay with the backend until intent can be made durable again.
                    done.send(None).ok();
                    return;
                }
                let left = self.trader.retain_news(&mut taken, &mut invalid);
                let new = taken.len() + invalid.len();
                if new > 0 {
                    self.meters.signals(taken.len(), invalid.len());
                    self.decide(now, Event::Signals { taken, invalid });
                }
                self.held.signal_replies.push((done, Received { new, left }));
            }
            Input::HeldAsSubmitted(signals) => {
                if !signals.is_empty() {
                    self.decide(now, Event::HeldAsSubmitted { signals });
                }
            }
            Input::Fact(event) => {
                if qt_core::reconcile::is_news(&self.trader, &event) {
                    self.decide(now, event);
                }
            }
            Input::Snapshot(Ok(snapshot)) => {
                self.compared += 1;
                self.meters.compared();
                for event in qt_core::reconcile::diff(&self.trader, &snapshot) {
                    self.decide(now, event);
                }
            }
            Input::Snapshot(Err(reason)) => {
                warn!(
                    "the broker's lists could not be read ({reason}); nothing is concluded from that, they are asked for again"
                );
            }
            Input::Posted(ids) => self.held.batch.posted.extend(ids),
            Input::DeadLetter { id, error } => {
                error!(
                    critical = true,
                    "the backend refuses report {id}: {error}; see `qt-host reports show {id}`"
                );
                self.held.batch.dead.push((id, error));
            }
            Input::TokenRefused(true) => warn!(
                "no signals are taken until the backend accepts the token again; orders and reports are kept"
            ),
            Input::TokenRefused(false) => info!("the backend accepts the token again"),
            Input::Command { command, reply } => {
                let answer = self.take_command(now, &command);
                self.held.command_replies.push((reply, answer));
            }
            Input::Stop => self.stop_by = Some(self.clock.monotonic() + STOP_GRACE),
        }
    }

    fn take_command(&mut self, now: UtcMillis, command: &Command) -> Reply {
        match command::facts_of(&self.trader, command, &mut self.held.batch) {
            Err(reply) => reply,
            Ok((facts, reply)) => {
                for fact in facts {
                    self.decide(now, fact);
                }
                reply
            }
        }
    }

    /// Lets the core decide about one fact.
    fn decide(&mut self, now: UtcMillis, event: Event) {
        let is_fill = matches!(event, Event::FillSeen(_));
        match self.trader.handle(now, &event) {
            Ok(effects) => {
                self.fills += u64::from(is_fill);
                if is_fill {
                    self.meters.fill();
                }
                self.count_ends(&effects);
                self.held.batch.facts.push(Fact { at: now, event });
                self.held.effects.extend(effects);
            }
            Err(refusal) => error!(critical = true, "{refusal}; the event is not used: {event:?}"),
        }
    }

    fn ask_if_due(&mut self) {
        let every_ms = if self.trader.has_unknown() || !self.trader.is_reconciled() {
            self.ask_every.in_doubt_ms
        } else {
            self.ask_every.normally_ms
        };
        let every = Duration::from_millis(u64::try_from(every_ms).unwrap_or(0));
        let steady = self.clock.monotonic();
        if self.last_ask.is_none_or(|last| steady - last >= every) {
            self.last_ask = Some(steady);
            self.to_broker.send(ToBroker::Ask);
        }
    }

    fn may_stop(&self) -> bool {
        let Some(by) = self.stop_by else { return false };
        let calls_under_way = self
            .trader
            .live_orders()
            .any(|order| order.state == qt_core::OrderState::Submitting);
        !calls_under_way || self.clock.monotonic() >= by
    }

    fn finish(&mut self) {
        self.commit(self.now());
        if let Err(e) = self
            .journal
            .checkpoint(&mut self.trader)
            .and_then(|()| self.journal.fold())
        {
            warn!("no checkpoint at the end ({e}); the next start replays instead");
        }
    }

    fn now(&self) -> UtcMillis {
        UtcMillis(self.clock.now_ms())
    }
}
