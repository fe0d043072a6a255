//! The model backend: signals out, reports in, each taken once by its key.

use std::collections::HashMap;

use qt_core::{ClientOrderId, InvalidSignal, Report, ReportBody, Signal, SignalId, UtcMillis};
use qt_market::{Price, Side, Symbol};

use crate::fault::Fault;
use crate::host::Input;
use crate::world::{Action, Broken, World};

/// Where a signal stands at the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// To be taken.
    Pending,
    /// At the broker, as was reported.
    Submitted,
    /// Never to be.
    Failed,
    /// Ended.
    Done,
}

/// A signal and where it stands.
#[derive(Debug, Clone)]
pub struct Held {
    /// The signal.
    pub signal: Signal,
    /// Its status.
    pub status: Status,
    /// Why it cannot be understood.
    pub invalid: bool,
}

/// The backend's records.
#[derive(Debug, Default)]
pub struct Backend {
    /// Every signal.
    pub signals: Vec<Held>,
    /// Reports by key, each as it was first taken.
    pub taken: HashMap<String, Report>,
    /// Reports about an order, in the order in which they were taken, with their outbox rows.
    pub about: HashMap<ClientOrderId, Vec<(usize, Report)>>,
    last_answer: Option<(Vec<Signal>, Vec<InvalidSignal>)>,
}

/// One of a few symbols.
#[must_use]
pub fn symbol(number: usize) -> Symbol {
    let text = ["000858.SZ", "600519.SH", "688981.SH"][number % 3];
    text.parse()
        .unwrap_or_else(|_| unreachable!("the texts above are symbols"))
}

impl World {
    /// A strategy makes a signal.
    pub(crate) fn make_signal(&mut self) {
        let number = self.backend.signals.len();
        let side = if self.dice.chance(500) {
            Side::Buy
        } else {
            Side::Sell
        };
        let now = self.wall();
        let priced = self.dice.chance(700);
        let valid = self
            .strike(Fault::ValidShortly)
            .then(|| now.plus_ms(self.dice.between(1, 60_000)));
        let later = self
            .strike(Fault::ActivatedLater)
            .then(|| now.plus_ms(self.dice.between(1, 60_000)));
        let invalid = self.strike(Fault::SignalInvalid);
        let held = self.strike(Fault::HeldUnknown);
        let signal = Signal {
            id: SignalId(format!("S{number}")),
            symbol: symbol(self.dice.index(3)),
            side,
            size: 100 * self.dice.between(1, 9),
            price: priced.then(|| Price::new(self.dice.between(900, 1_100), 2)),
            retry_count: 0,
            strategy: None,
            strategy_name: None,
            created_at: Some(now),
            securities_account_id: None,
            account_id: None,
            broker: None,
            activate_after: later,
            valid_until: valid,
            execution_priority: self.dice.between(1, 3),
            reference_price: None,
            max_slippage_bps: None,
            price_floor: None,
            price_ceiling: None,
            effective_limit_price: None,
            plan_id: None,
        };
        self.say(|_| format!("signal: {signal:?}"));
        let status = if held { Status::Submitted } else { Status::Pending };
        self.backend.signals.push(Held {
            signal,
            status,
            invalid,
        });
    }

    /// Answers a poll.
    pub(crate) fn answer_poll(&mut self, inc: u32, submitted: bool) {
        let wait = self.dice.between(1, 300);
        if self.strike(Fault::SignalsLost) {
            return self.after(wait, Action::ToHost(inc, Input::NoSignals));
        }
        let wanted = if submitted {
            Status::Submitted
        } else {
            Status::Pending
        };
        let found = self.backend.signals.iter().filter(|held| held.status == wanted);
        let (bad, good): (Vec<_>, Vec<_>) = found.partition(|held| held.invalid);
        let mut taken: Vec<_> = good.iter().map(|held| held.signal.clone()).collect();
        if submitted {
            return self.after(wait, Action::ToHost(inc, Input::Held(taken)));
        }
        let invalid: Vec<_> = bad.iter().map(|held| refused(&held.signal)).collect();
        if !taken.is_empty() && self.strike(Fault::SignalTwice) {
            let again = taken[self.dice.index(taken.len())].clone();
            taken.push(again);
        }
        let mut answer = (taken, invalid);
        if let Some(old) = self.backend.last_answer.clone()
            && self.strike(Fault::SignalsStale)
        {
            answer = old;
        } else {
            self.backend.last_answer = Some(answer.clone());
        }
        self.after(wait, Action::ToHost(inc, Input::Signals(answer.0, answer.1)));
    }

    /// A post reaches the backend.
    pub(crate) fn take_post(&mut self, inc: u32, row: usize) -> Result<(), Broken> {
        let wait = self.dice.between(1, 200);
        if self.strike(Fault::PostFails) {
            self.after(wait, Action::ToHost(inc, Input::PostFailed(row)));
            return Ok(());
        }
        if self.strike(Fault::PostRefused) {
            self.after(wait, Action::ToHost(inc, Input::PostRefused(row)));
            return Ok(());
        }
        let Some(report) = self.journal.outbox.get(row).map(|row| row.report.clone()) else {
            return Ok(());
        };
        let key = report.key();
        match self.backend.taken.get(&key) {
            Some(before) if *before != report => {
                return self.broken(format!("key {key} came with another body"));
            }
            Some(_) => {}
            None => {
                self.counts.reports += 1;
                self.say(|_| format!("backend takes {key}: {:?}", report.body));
                self.judge_report(row, &report)?;
                self.apply(&report);
                self.backend.taken.insert(key, report.clone());
                self.backend
                    .about
                    .entry(report.order)
                    .or_default()
                    .push((row, report));
            }
        }
        let lost = self.strike(Fault::PostAnswerLost);
        let input = if lost {
            Input::PostFailed(row)
        } else {
            Input::Posted(row)
        };
        self.after(wait, Action::ToHost(inc, input));
        Ok(())
    }

    fn apply(&mut self, report: &Report) {
        let retried = self.strike(Fault::RetryAfterFailure);
        let forced = self.strike(Fault::RetryForced);
        let found = self
            .backend
            .signals
            .iter_mut()
            .find(|held| held.signal.id == report.signal);
        let Some(held) = found else { return };
        match &report.body {
            ReportBody::Submitted { .. } => held.status = Status::Submitted,
            ReportBody::RetryPending { retry_count, .. } => {
                held.status = Status::Pending;
                held.signal.retry_count = *retry_count;
            }
            ReportBody::Failed { .. } => held.status = Status::Failed,
            ReportBody::Concluded { .. } => held.status = Status::Done,
            ReportBody::Execution(_) => {}
        }
        if forced || (retried && held.status == Status::Failed) {
            held.signal.retry_count += 1;
            held.signal.valid_until = None;
            held.invalid = false;
            held.status = Status::Pending;
        }
    }

    /// A moment from the wall clock, which may be wrong.
    pub(crate) const fn wall(&self) -> UtcMillis {
        UtcMillis(self.true_ms + self.wall_ahead_ms)
    }
}

fn refused(signal: &Signal) -> InvalidSignal {
    InvalidSignal {
        id: Some(signal.id.clone()),
        reason: "size: 0".into(),
        retry_count: signal.retry_count,
    }
}
