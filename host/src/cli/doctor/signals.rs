//! The signals that wait at the backend, and why each is not taken.

use qt_core::{OrderState, UtcMillis};
use serde_json::Value;

use super::Report;
use super::place::State;
use crate::backend::wire::{self, View};
use crate::cli::shanghai;
use crate::clock::Clock;
use crate::config::Config;

/// Signals told of one by one.
const MOST: usize = 20;

/// Says of each waiting signal what becomes of it.
pub(super) fn examine(answer: &Value, accounts: &[(&Config, State)], report: &mut Report) {
    let found = match wire::signals(answer, View::Pending) {
        Ok(found) => found,
        Err(e) => {
            return report.bad(
                "signals",
                format!("the answer cannot be read: {e}"),
                "is it the quantFinance backend that answers there?",
            );
        }
    };
    if accounts.is_empty() {
        return;
    }
    let listed: Vec<Value> = answer
        .get("data")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if listed.is_empty() {
        return report.good(
            "signals",
            "none waits at the backend, which is no mistake; the log says \"Fetched 0 pending signals\"",
        );
    }
    report.good(
        "signals",
        format!(
            "{} are listed, {} of them can be understood and executed",
            listed.len(),
            found.taken.len()
        ),
    );
    let mut told = 0;
    for entry in &listed {
        let line = line(entry, &found, accounts);
        told += 1;
        if told > MOST {
            report.unclear(
                "signal",
                format!("more than {MOST} are not taken; these are the first"),
                "mend what is said of these first",
            );
            return;
        }
        match line {
            Line::Fine(saw) => report.good("signal", saw),
            Line::Left(saw, todo) => report.unclear("signal", saw, todo),
        }
    }
}

enum Line {
    /// It is on its way, or will be by itself.
    Fine(String),
    /// It is left alone, and what would change that.
    Left(String, &'static str),
}

/// What becomes of one entry.
fn line(entry: &Value, found: &wire::SignalsAnswer, accounts: &[(&Config, State)]) -> Line {
    let id = entry
        .get("order_id")
        .and_then(Value::as_str)
        .unwrap_or("(no order_id)");
    let id = wire::cut(id, 64);
    if let Some(signal) = found.taken.iter().find(|signal| signal.id.0 == id) {
        return of_taken(signal, accounts);
    }
    if let Some(bad) = found
        .invalid
        .iter()
        .find(|bad| bad.id.as_ref().is_some_and(|own| own.0 == id))
    {
        return Line::Left(
            format!(
                "{id} cannot be executed, and is reported as failed: {}",
                bad.reason
            ),
            "have the strategy send it right",
        );
    }
    let is_live = entry.get("mode").and_then(Value::as_str) == Some("live");
    let is_executable = entry.get("is_executable").and_then(Value::as_bool) == Some(true);
    let status = entry.get("status").and_then(Value::as_str).unwrap_or("none");
    match () {
        () if !is_executable => Line::Left(
            format!("{id} is left alone: `is_executable` is not true"),
            "have the backend mark it as executable, if it is meant to be traded",
        ),
        () if !is_live => {
            let mode = entry
                .get("mode")
                .map_or_else(|| "missing".to_owned(), wire::shown);
            Line::Left(
                format!("{id} is left alone: `mode` is {mode}, and only \"live\" is traded"),
                "set its mode to live, if it is meant to be traded",
            )
        }
        () if !matches!(status, "pending" | "retry_pending") => Line::Left(
            format!("{id} is left alone: its status is {}", wire::cut(status, 32)),
            "nothing, where the backend has done with it",
        ),
        () => Line::Left(
            format!("{id} is left alone: it cannot be read"),
            "see what the backend lists, by curl",
        ),
    }
}

fn of_taken(signal: &qt_core::Signal, accounts: &[(&Config, State)]) -> Line {
    let id = &signal.id;
    let theirs = signal.securities_account_id.as_deref();
    let own = accounts.iter().find(|(config, _)| {
        let own = config.securities_account_id.as_deref();
        match (own, theirs) {
            (Some(own), Some(theirs)) => own == theirs,
            // One account without an id, or a signal without one, is not told apart.
            _ => accounts.len() == 1,
        }
    });
    let Some((_, state)) = own else {
        return match theirs {
            Some(theirs) => Line::Left(
                format!("{id} is for the securities account {theirs}, which this host does not trade"),
                "set `securities_account_id` to that account, if it is yours",
            ),
            None => Line::Left(
                format!("{id} names no securities account, and this host trades several: none is guessed"),
                "have the backend name the account in `securities_account_id`",
            ),
        };
    };
    let now = UtcMillis(Clock::system().now_ms());
    let order = state
        .trader
        .as_ref()
        .and_then(|trader| trader.order_of_signal(id));
    if let Some(order) = order {
        let why = order.reason.as_deref().unwrap_or("its report is on its way");
        return if matches!(order.state, OrderState::Deferred | OrderState::Review) {
            Line::Left(
                format!("{id} waits in the journal as {}: {why}", order.state),
                "qt-host gates explains each reason; it goes on by itself once that has passed",
            )
        } else {
            Line::Fine(format!("{id} was taken already, and is {}: {why}", order.state))
        };
    }
    if let Some(until) = signal.valid_until.filter(|until| *until <= now) {
        return Line::Left(
            format!(
                "{id} was good until {} in Shanghai: it is too late",
                shanghai(until)
            ),
            "have the strategy send a new one",
        );
    }
    if let Some(from) = signal.activate_after.filter(|from| *from > now) {
        return Line::Fine(format!(
            "{id} is not to be sent before {} in Shanghai",
            shanghai(from)
        ));
    }
    if state
        .trader
        .as_ref()
        .is_some_and(|trader| trader.halted().is_some())
    {
        return Line::Left(
            format!("{id} waits: new orders are stopped"),
            "qt-host resume, once that is settled",
        );
    }
    if state.is_running {
        Line::Fine(format!("{id} is taken by the running host with its next request"))
    } else {
        Line::Left(
            format!("{id} waits for a host: none is running"),
            "start it: qt-host --config FILE",
        )
    }
}
