//! The signals that wait at the backend, and why each is not taken.

use qt_core::{OrderState, SellBarrier, UtcMillis};
use qt_market::Side;
use serde_json::Value;

use super::Report;
use super::place::State;
use crate::backend::wire::{self, View};
use crate::cli::shanghai;
use crate::clock::Clock;
use crate::config::Config;
use crate::desk::broker_account;

/// Signals told of one by one, of those that go and of those that do not.
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
    let (mut fine, mut left) = (0_usize, 0_usize);
    for (position, entry) in listed.iter().enumerate() {
        match line(entry, position, &found, accounts) {
            Line::Fine(saw) => {
                fine += 1;
                if fine <= MOST {
                    report.good("signal", saw);
                }
            }
            Line::Left(saw, todo) => {
                left += 1;
                if left <= MOST {
                    report.unclear("signal", saw, todo);
                }
            }
        }
    }
    if fine > MOST {
        report.good("signal", format!("{} more go as well", fine - MOST));
    }
    if left > MOST {
        report.unclear(
            "signal",
            format!("{} more are not taken; those above are the first", left - MOST),
            "mend what is said of these first",
        );
    }
}

enum Line {
    /// It is on its way, or will be by itself.
    Fine(String),
    /// It is left alone, and what would change that.
    Left(String, &'static str),
}

/// What becomes of one entry.
fn line(entry: &Value, position: usize, found: &wire::SignalsAnswer, accounts: &[(&Config, State)]) -> Line {
    let name = entry.get("order_id").and_then(Value::as_str);
    let id = wire::cut(name.unwrap_or("(no order_id)"), 64);
    if let Some(signal) = found
        .taken
        .iter()
        .find(|signal| Some(signal.id.0.as_str()) == name)
    {
        return of_taken(signal, &id, found, accounts);
    }
    let nameless = format!("signal {} of the answer", position + 1);
    if let Some(bad) = found
        .invalid
        .iter()
        .find(|bad| bad.id.is_none() && bad.reason.starts_with(&nameless))
    {
        return Line::Left(
            format!(
                "{id} cannot be executed, nor reported without a usable name: {}",
                bad.reason
            ),
            "have the strategy send it right",
        );
    }
    if let Some(bad) = found
        .invalid
        .iter()
        .find(|bad| bad.id.as_ref().is_some_and(|own| Some(own.0.as_str()) == name))
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

fn of_taken(
    signal: &qt_core::Signal,
    id: &str,
    found: &wire::SignalsAnswer,
    accounts: &[(&Config, State)],
) -> Line {
    let theirs = signal.securities_account_id.as_deref();
    let own = accounts.iter().find(|(config, _)| {
        let own = config.securities_account_id.as_deref();
        match (own, theirs) {
            (Some(own), Some(theirs)) => own == theirs,
            // One account without an id, or a signal without one, is not told apart.
            _ => accounts.len() == 1,
        }
    });
    let Some((config, state)) = own else {
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
        .and_then(|trader| trader.order_of_signal(&signal.id));
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
    if config.gates.match_account_id
        && let Some(number) = &signal.account_id
        && broker_account(config, &config.broker).is_some_and(|own| own != *number)
    {
        return Line::Left(
            format!("{id} is for another account at the broker (`account_id`) than the one configured"),
            "have the backend name this account, or correct `account_id` in the plugin's block, if it is yours",
        );
    }
    let plan = signal.plan_id.as_ref();
    let is_held = config.gates.sell_barrier == SellBarrier::Hard && signal.side == Side::Buy;
    if let Some(plan) = plan.filter(|plan| is_held && found.sales_left.iter().any(|(_, of)| of == *plan)) {
        return Line::Left(
            format!(
                "{id} waits: a sale of its plan {plan} is listed that is not executable, and `sell_barrier_mode` is hard"
            ),
            "have the backend mark the sale as executable, or withdraw it",
        );
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::Health;

    fn config() -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let text = json!({ "broker": "mine", "mine": { "account_id": "55001" } });
        std::fs::write(&file, text.to_string()).unwrap();
        let sources = crate::config::Sources {
            file: Some(file),
            ..Default::default()
        };
        let mut config = crate::config::load(&sources, crate::config::Purpose::Look)
            .unwrap()
            .config;
        config.gates.match_account_id = true;
        config.gates.sell_barrier = SellBarrier::Hard;
        config
    }

    fn signal(id: &str) -> Value {
        json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "status": "pending", "is_executable": true,
                "mode": "live" })
    }

    /// What is said of signals while a host trades: whether each is well, and the words.
    fn said(signals: &[Value]) -> Vec<(bool, String)> {
        let config = config();
        let state = State {
            trader: None,
            is_running: true,
        };
        let mut report = Report::default();
        examine(
            &json!({ "success": true, "data": signals }),
            &[(&config, state)],
            &mut report,
        );
        let lines = report
            .findings
            .into_iter()
            .filter(|finding| finding.name == "signal");
        lines
            .map(|finding| (finding.health == Health::Good, finding.saw))
            .collect()
    }

    /// With more than twenty it said that they are not taken, and did not look at the rest.
    #[test]
    fn what_is_taken_is_never_called_not_taken_however_many_there_are() {
        let mut signals: Vec<_> = (0..30).map(|number| signal(&format!("S{number}"))).collect();
        let mut last = signal("LAST");
        last["is_executable"] = json!(false);
        signals.push(last);
        let lines = said(&signals);
        let (well, left): (Vec<_>, Vec<_>) = lines.into_iter().partition(|(is_well, _)| *is_well);
        assert_eq!(well.len(), MOST + 1);
        assert_eq!(well[MOST].1, "10 more go as well");
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(left[0].1.starts_with("LAST is left alone"), "{left:?}");
    }

    #[test]
    fn a_long_name_a_barred_purchase_and_anothers_account_are_told_as_they_are() {
        let (mut barred, mut sale, mut theirs) = (signal("BARRED"), signal("SALE"), signal("THEIRS"));
        for one in [&mut barred, &mut sale] {
            one["plan_id"] = json!("P");
        }
        sale["action"] = json!("SELL");
        sale["is_executable"] = json!(false);
        theirs["account_id"] = json!("55002");
        let long = "L".repeat(100);
        let lines = said(&[signal(&long), signal(&"X".repeat(129)), barred, sale, theirs]);
        let expected = [
            (true, "is taken by the running host with its next request"),
            (false, "cannot be executed, nor reported without a usable name"),
            (
                false,
                "BARRED waits: a sale of its plan P is listed that is not executable",
            ),
            (false, "SALE is left alone: `is_executable` is not true"),
            (false, "THEIRS is for another account at the broker"),
        ];
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for ((is_well, saw), (expected_well, words)) in lines.iter().zip(expected) {
            assert!(*is_well == expected_well && saw.contains(words), "{saw}: {words}");
        }
    }
}
