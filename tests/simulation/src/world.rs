//! One run: time, and what is to happen at which moment.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use qt_core::{BrokerOrderStatus, ClientOrderId, Event, NewOrder, OrderState, Settings, Snapshot, UtcMillis};

use crate::backend::Backend;
use crate::broker::{Arrival, Broker};
use crate::counts::Counts;
use crate::dice::Dice;
use crate::fault::{Fault, Swarm};
use crate::host::{Host, Input, Request};
use crate::journal::Journal;
use crate::judge::Judge;

/// A host built wrong on purpose, to see whether the judge notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sabotage {
    /// Built right.
    #[default]
    None,
    /// The disk only says that it has written: a death takes the last transaction along.
    ForgetLastCommit,
    /// Orders that were on their way are sent again at a start.
    ResendOnRestart,
    /// A failed snapshot counts as an empty one.
    FailedSnapshotIsEmpty,
    /// Effects leave before their cause is durable.
    EffectsBeforeCommit,
    /// A lost answer counts as a refusal.
    LostAnswerIsRefusal,
    /// A lost answer counts as an order that was never sent.
    LostAnswerIsNotSent,
    /// Reports are written in a transaction of their own, after that of the facts.
    ReportsOutsideOfTheCommit,
    /// Posts about one order leave all at once.
    PostsOutOfOrder,
    /// A start is not marked in the journal.
    NoStartMark,
    /// Nobody notices that the clock was set.
    IgnoreClockJump,
}

impl Sabotage {
    /// Every way to build it wrong.
    pub const WRONG: [Self; 10] = [
        Self::ForgetLastCommit,
        Self::ResendOnRestart,
        Self::FailedSnapshotIsEmpty,
        Self::EffectsBeforeCommit,
        Self::LostAnswerIsRefusal,
        Self::LostAnswerIsNotSent,
        Self::ReportsOutsideOfTheCommit,
        Self::PostsOutOfOrder,
        Self::NoStartMark,
        Self::IgnoreClockJump,
    ];
}

/// What the judge found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub String);

/// Something that happens at its moment.
#[derive(Debug)]
pub(crate) enum Action {
    Wake(u32),
    ToHost(u32, Input),
    CallReturns(u32, ClientOrderId, Option<Event>),
    Arrives(Box<NewOrder>, Arrival),
    Trades(usize),
    Ends(usize, BrokerOrderStatus),
    TellRow(usize),
    TellTrade(usize, usize),
    ListOrders(u32, UtcMillis),
    ListTrades(u32, Snapshot, i64),
    Poll(u32, bool),
    Post(u32, usize),
    Signal,
    Trouble(Fault),
    LinkUp,
    Restart,
    Calm,
}

#[derive(Debug)]
struct Due {
    at_ms: i64,
    number: u64,
    /// Boxed, since the heap moves its entries about.
    action: Box<Action>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.number).cmp(&(other.at_ms, other.number))
    }
}

/// 2026-11-24, a Tuesday, 00:00 in Shanghai.
const TUESDAY_MS: i64 = 1_795_449_600_000;
const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// How long a run may take to come to rest.
const REST_MS: i64 = 12 * HOUR_MS;
/// Actions of one run; more is a loop.
const MOST_ACTIONS: u64 = 100_000;

/// A run and all that is in it.
#[derive(Debug)]
pub struct World {
    pub(crate) dice: Dice,
    pub(crate) swarm: Swarm,
    pub(crate) sabotage: Sabotage,
    pub(crate) counts: Counts,
    pub(crate) settings: Settings,
    pub(crate) true_ms: i64,
    pub(crate) slept_ms: i64,
    pub(crate) wall_ahead_ms: i64,
    pub(crate) clock_lied: bool,
    pub(crate) disk_full_until_ms: i64,
    pub(crate) checkpoint_at: usize,
    pub(crate) idle_ticks: u32,
    frozen_ms: i64,
    pub(crate) broker: Broker,
    pub(crate) backend: Backend,
    pub(crate) journal: Journal,
    pub(crate) judge: Judge,
    pub(crate) host: Option<Box<Host>>,
    pub(crate) incarnation: u32,
    queue: BinaryHeap<Reverse<Due>>,
    number: u64,
    pub(crate) calm_since_ms: Option<i64>,
    trace: Option<Vec<String>>,
}

impl World {
    /// The world of this seed.
    #[must_use]
    pub fn new(seed: u64, sabotage: Sabotage, trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let swarm = Swarm::draw(&mut dice);
        let settings = Settings {
            account_key: "simulation".into(),
            buy_timeout_ms: [60_000, 150_000, 600_000][dice.index(3)],
            max_in_flight: [1, 2, 512][dice.index(3)],
            never_resend: dice.chance(50),
            ..Settings::default()
        };
        let of_day = match dice.index(6) {
            0 => 14 * HOUR_MS + 55 * MINUTE_MS,
            1 => 9 * HOUR_MS + 10 * MINUTE_MS,
            2 => 23 * HOUR_MS + 55 * MINUTE_MS,
            _ => 10 * HOUR_MS,
        };
        let friday = if swarm.has(Fault::Weekend) { 3 * DAY_MS } else { 0 };
        let mut world = Self {
            true_ms: TUESDAY_MS + friday + of_day + dice.between(0, 600_000),
            checkpoint_at: [1, 5, 5_000][dice.index(3)],
            dice,
            swarm,
            sabotage,
            counts: Counts::default(),
            settings,
            slept_ms: 0,
            wall_ahead_ms: 0,
            clock_lied: false,
            disk_full_until_ms: 0,
            idle_ticks: 0,
            frozen_ms: 0,
            broker: Broker::default(),
            backend: Backend::default(),
            journal: Journal::default(),
            judge: Judge::default(),
            host: None,
            incarnation: 0,
            queue: BinaryHeap::new(),
            number: 0,
            calm_since_ms: None,
            trace: trace.then(Vec::new),
        };
        world.broker.up = true;
        world.plan();
        world
    }

    /// Draws what will happen, apart from what follows from it.
    fn plan(&mut self) {
        let mut last = self.dice.between(MINUTE_MS, 12 * MINUTE_MS);
        self.after(0, Action::Restart);
        for _ in 0..self.dice.between(1, 5) {
            let at = self.dice.between(0, last * 2 / 3);
            self.after(at, Action::Signal);
        }
        for fault in [
            Fault::LinkDown,
            Fault::ForeignOrder,
            Fault::ForeignTwin,
            Fault::CancelWish,
            Fault::Halt,
            Fault::CrashAnytime,
            Fault::ClockForward,
            Fault::ClockBack,
            Fault::Sleep,
        ] {
            if self.swarm.has(fault) {
                for _ in 0..self.dice.between(1, 3) {
                    let at = self.dice.between(0, last);
                    self.after(at, Action::Trouble(fault));
                }
            }
        }
        let days = match (self.strike(Fault::Midnight), self.strike(Fault::Weekend)) {
            (_, true) => 3,
            (true, _) => 1,
            _ => 0,
        };
        if days > 0 {
            let today = UtcMillis(self.true_ms).trading_date().start().0;
            let morning = today + days * DAY_MS + 9 * HOUR_MS + 30 * MINUTE_MS;
            last = morning + self.dice.between(0, 5 * MINUTE_MS) - self.true_ms;
            for _ in 0..self.dice.between(0, 2) {
                let before = self.dice.between(0, 10 * MINUTE_MS);
                self.after((last - before).max(0), Action::Signal);
            }
        }
        self.after(last, Action::Calm);
    }

    /// Lets it happen until all is at rest.
    ///
    /// # Errors
    ///
    /// What the judge found.
    pub fn run(&mut self) -> Result<(), Broken> {
        self.say(|world| {
            let on = Fault::ALL.iter().filter(|fault| world.swarm.has(**fault));
            let names: Vec<_> = on.map(|fault| fault.name()).collect();
            format!("faults: {}; {:?}", names.join(" "), world.settings)
        });
        while let Some(Reverse(due)) = self.queue.pop() {
            self.true_ms = self.true_ms.max(due.at_ms);
            let looks = matches!(*due.action, Action::Wake(_));
            self.act(*due.action)?;
            let calm = self.calm_since_ms.map_or(0, |since| self.true_ms - since);
            self.note_a_clock_behind();
            if calm > REST_MS + self.frozen_ms || (looks && calm > 3 * MINUTE_MS && self.rests()) {
                break;
            }
            if self.number > MOST_ACTIONS {
                return self.broken("the run does not come to rest".into());
            }
        }
        self.judge_end()?;
        self.counts.runs = 1;
        Ok(())
    }

    /// While the clock shows a day before one that had begun, timers stand still, as they must.
    fn note_a_clock_behind(&mut self) {
        let (wall, calm) = (self.wall(), self.calm_since_ms);
        if let (Some(host), Some(since)) = (&self.host, calm)
            && wall.trading_date() < host.trader.now().trading_date()
        {
            self.frozen_ms = self.true_ms - since;
        }
    }

    /// Quiet, and so long after the last change in the ledger that every list shows it.
    fn rests(&self) -> bool {
        let changed = |row: &crate::broker::Row| {
            let trades = row.trade_shown_ms.iter().copied();
            trades.chain(row.ended_ms).chain([row.taken_ms]).max()
        };
        let last = self.broker.rows.iter().filter_map(changed).max().unwrap_or(0);
        self.true_ms - last > 3 * MINUTE_MS && self.is_quiet()
    }

    fn act(&mut self, action: Action) -> Result<(), Broken> {
        match action {
            Action::Wake(inc) => self.wake(inc)?,
            Action::ToHost(inc, input) => self.tell_host(inc, input)?,
            Action::CallReturns(inc, id, said) => {
                self.call_returns(inc, id, said);
                self.turn_if_awake()?;
            }
            Action::Arrives(order, how) => self.arrive(&order, how)?,
            Action::Trades(index) => self.trade(index, 0),
            Action::Ends(index, status) => self.end(index, status),
            Action::TellRow(index) => self.push_row(index),
            Action::TellTrade(index, trade) => self.push_trade(index, trade),
            Action::ListOrders(inc, asked_at) => match self.list_orders(asked_at) {
                None => self.tell_host(inc, Input::Snapshot(asked_at, None))?,
                Some((snapshot, lag)) => {
                    let wait = self.dice.between(1, 200);
                    self.after(wait, Action::ListTrades(inc, snapshot, lag));
                }
            },
            Action::ListTrades(inc, mut snapshot, lag) => {
                let complete = self.list_trades(&mut snapshot, lag);
                let asked_at = snapshot.asked_at;
                self.tell_host(inc, Input::Snapshot(asked_at, complete.then_some(snapshot)))?;
            }
            Action::Poll(inc, submitted) => self.answer_poll(inc, submitted),
            Action::Post(inc, row) => self.take_post(inc, row)?,
            Action::Signal => self.make_signal(),
            Action::Trouble(fault) => self.trouble(fault)?,
            Action::LinkUp => self.broker.up = true,
            Action::Restart => self.start_host()?,
            Action::Calm => self.calm(),
        }
        Ok(())
    }

    fn tell_host(&mut self, inc: u32, input: Input) -> Result<(), Broken> {
        let Some(host) = self.host.as_mut().filter(|_| inc == self.incarnation) else {
            return Ok(());
        };
        host.inbox.push_back(input);
        // Sometimes more comes before the engine looks.
        if self.dice.chance(700) {
            self.turn_if_awake()
        } else {
            Ok(())
        }
    }

    fn turn_if_awake(&mut self) -> Result<(), Broken> {
        let awake = self
            .host
            .as_ref()
            .is_some_and(|host| host.asleep_until_ms <= self.true_ms);
        self.idle_ticks = 0;
        if awake { self.turn() } else { Ok(()) }
    }

    fn wake(&mut self, inc: u32) -> Result<(), Broken> {
        if self.host.is_none() || inc != self.incarnation {
            return Ok(());
        }
        self.turn_if_awake()?;
        if self.calm_since_ms.is_some() {
            self.person_in_the_calm();
        }
        let since = UtcMillis(self.true_ms).since_ms(UtcMillis(self.true_ms).trading_date().start());
        let night = !(9 * HOUR_MS..15 * HOUR_MS + 40 * MINUTE_MS).contains(&since);
        let wait = match (night, self.calm_since_ms) {
            (true, None) => self.dice.between(MINUTE_MS, 20 * MINUTE_MS),
            (_, Some(since)) if self.true_ms - since > 30 * MINUTE_MS => 10 * MINUTE_MS,
            (_, Some(since)) if self.true_ms - since > 3 * MINUTE_MS => 20_000,
            (_, Some(_)) => 5_000,
            _ => self.dice.between(50, 10_000),
        };
        self.after(wait, Action::Wake(inc));
        Ok(())
    }

    /// What a person does who looks after the host.
    fn person_in_the_calm(&mut self) {
        let decides = self.swarm.has(Fault::PersonDecides);
        let Some(host) = &self.host else { return };
        if host.trader.halted().is_some() {
            return self.ask_of_person(Request::Resume);
        }
        if self
            .journal
            .outbox
            .iter()
            .any(|row| row.state == crate::journal::RowState::Dead)
        {
            return self.ask_of_person(Request::RetryReports);
        }
        if decides {
            let review = host
                .trader
                .live_orders()
                .find(|order| order.state == OrderState::Review);
            if let Some(id) = review.map(|order| order.id) {
                self.decide_review(id);
            }
        }
    }

    /// A person looks into the broker's own records, and says what stands there.
    fn decide_review(&mut self, id: ClientOrderId) {
        if self.broker.in_flight.contains_key(&id) {
            return;
        }
        self.counts.faults[Fault::PersonDecides as usize] += 1;
        let row = self.broker.row(id).filter(|row| !row.refused);
        let accepted_as = row.map(|row| row.name.clone());
        self.ask_of_person(Request::Decide(id, accepted_as));
    }

    fn ask_of_person(&mut self, request: Request) {
        self.after(1, Action::ToHost(self.incarnation, Input::Person(request)));
    }

    fn trouble(&mut self, fault: Fault) -> Result<(), Broken> {
        if !self.strike_always(fault) {
            return Ok(());
        }
        match fault {
            Fault::LinkDown => {
                self.broker.up = false;
                let wait = self.dice.between(100, 2 * MINUTE_MS);
                self.after(wait, Action::LinkUp);
            }
            Fault::ForeignOrder => self.foreign_order(false),
            Fault::ForeignTwin => self.foreign_order(true),
            Fault::CancelWish => {
                let number = self.dice.index(8);
                self.ask_of_person(Request::CancelOne(number));
            }
            Fault::Halt => {
                self.ask_of_person(Request::Halt);
                let wait = self.dice.between(100, MINUTE_MS);
                self.after(
                    wait,
                    Action::ToHost(self.incarnation, Input::Person(Request::Resume)),
                );
            }
            Fault::CrashAnytime if self.host.is_some() => self.die(),
            Fault::ClockForward => self.set_clock(1),
            Fault::ClockBack => self.set_clock(-1),
            Fault::Sleep => {
                let nap = [5_000, 5 * MINUTE_MS, 3 * HOUR_MS][self.dice.index(3)];
                let nap = self.dice.between(1_000, nap);
                self.slept_ms += nap;
                if let Some(host) = &mut self.host {
                    host.asleep_until_ms = self.true_ms + nap;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn set_clock(&mut self, sign: i64) {
        let most = [2_000, 90_000, HOUR_MS, 26 * HOUR_MS][self.dice.index(4)];
        let ms = sign * self.dice.between(1_500, most);
        self.wall_ahead_ms += ms;
        self.clock_lied = true;
        self.say(|world| format!("-- the clock is set by {ms} ms, to {}", world.wall().0));
    }

    /// From here on nothing goes wrong any more.
    fn calm(&mut self) {
        self.say(|_| "-- calm".into());
        self.calm_since_ms = Some(self.true_ms);
        self.broker.up = true;
        // A plugin that hangs for ever is restarted by somebody.
        if self.host.as_ref().is_some_and(|host| host.call.is_some()) {
            self.die();
        }
        if self.host.is_none() {
            self.after(1_000, Action::Restart);
        }
    }

    /// True when the fault strikes here and now.
    pub(crate) fn strike(&mut self, fault: Fault) -> bool {
        let may = self.calm_since_ms.is_none() && self.swarm.has(fault);
        may && self.dice.chance(fault.per_mille()) && self.struck(fault)
    }

    fn strike_always(&mut self, fault: Fault) -> bool {
        self.calm_since_ms.is_none() && self.swarm.has(fault) && self.struck(fault)
    }

    fn struck(&mut self, fault: Fault) -> bool {
        self.counts.faults[fault as usize] += 1;
        self.say(|_| format!("   !! {}", fault.name()));
        true
    }

    /// Plans something.
    pub(crate) fn after(&mut self, ms: i64, action: Action) {
        self.number += 1;
        self.queue.push(Reverse(Due {
            at_ms: self.true_ms + ms,
            number: self.number,
            action: Box::new(action),
        }));
    }

    /// A line of the trace, made only where one is wanted.
    pub(crate) fn say(&mut self, line: impl FnOnce(&Self) -> String) {
        if let Some(mut trace) = self.trace.take() {
            let at = UtcMillis(self.true_ms);
            let ms = at.since_ms(at.trading_date().start());
            let (h, m, s) = (ms / HOUR_MS, ms / MINUTE_MS % 60, ms / 1_000 % 60);
            trace.push(format!(
                "{} {h:02}:{m:02}:{s:02}.{:03} {}",
                at.trading_date(),
                ms % 1_000,
                line(self)
            ));
            self.trace = Some(trace);
        }
    }

    pub(crate) fn broken<T>(&self, what: String) -> Result<T, Broken> {
        Err(Broken(what))
    }

    /// What happened in it.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The trace, where one was wanted.
    #[must_use]
    pub fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }
}
