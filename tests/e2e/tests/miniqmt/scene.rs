//! One desk with a counter, and what became of its signals.

use std::path::Path;

use qt_test_support::{Backend, Counter, Desk, Host, children, judge, wait_until};
use serde_json::{Value, json};

/// Where the plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Worker,
    InProcess,
}

/// A backend, a host's desk and a counter.
pub struct Scene {
    pub backend: Backend,
    pub desk: Desk,
    pub counter: Counter,
}

/// Lays one block over another.
pub fn with(mut base: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().into_iter().flatten() {
        base[key] = value.clone();
    }
    base
}

/// An answer that never comes is waited for shortly; a bridge that must be started again is not refused for that.
fn patience(knobs: &Value) -> Value {
    let never_answered = ["reply_dropped", "request_lost"]
        .iter()
        .any(|knob| !knobs[knob].is_null());
    json!({ "order_deadline_seconds": if never_answered { 1.5 } else { 12.0 } })
}

impl Scene {
    /// A desk whose host trades at a counter with these knobs; `more` is laid over its block.
    pub fn new(packages: &Path, knobs: &Value, more: &Value, lane: Lane) -> Self {
        Self::with(packages, knobs, more, lane, &json!({}))
    }

    /// The same; `execution` is laid over what the host is configured with of that name.
    pub fn with(packages: &Path, knobs: &Value, more: &Value, lane: Lane, execution: &Value) -> Self {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        // As brokers name it, beyond ASCII and with a blank.
        let counter = Counter::new(&desk.path("国金证券 QMT交易端"), knobs);
        let lane = match lane {
            Lane::Worker => "worker",
            Lane::InProcess => "in-process",
        };
        desk.configure(
            &backend,
            &json!({
                "broker": "miniQMT", "miniQMT": with(counter.block(packages), &with(patience(knobs), more)),
                // These stories are about the bridge, at any hour and in any number; the gates have their own.
                "execution": with(json!({ "call_deadline_seconds": 30, "cancel_retry_grace_seconds": 0.3,
                                          "cancel_retry_interval_seconds": 0.5, "trading_sessions": "none" }), execution),
                "gates": { "market_rules": false, "count_shares_and_cash": false, "max_per_second": 0 },
                "plugin_options": { "miniQMT": { "lane": lane, "respawn_after_seconds": 0.05, "respawn_at_most_seconds": 0.5 } },
            }),
        );
        Self {
            backend,
            desk,
            counter,
        }
    }

    /// Buys and sales, one after the other: a limit, then a market order.
    pub fn signal(&self, count: usize) {
        let one = |n: usize| {
            let (action, price) = if n.is_multiple_of(2) {
                ("BUY", json!(43.5))
            } else {
                ("SELL", Value::Null)
            };
            json!({ "order_id": format!("S{n}"), "symbol": "000858.SZ", "action": action, "size": 100 * (n % 5 + 1),
                    "price": price, "status": "pending", "is_executable": true, "mode": "live" })
        };
        self.backend.add(&Value::Array((0..count).map(one).collect()));
    }

    /// What each signal came to, as the backend was told; those before a person as "review".
    pub fn outcomes(&self) -> Vec<String> {
        let state = self.backend.state();
        let mut outcomes = Vec::new();
        let mut open = false;
        for signal in state["signals"].as_object().into_iter().flatten() {
            let posts = signal.1["posts"].as_array().cloned().unwrap_or_default();
            // What was refused for certain and what was proven never to have been taken may be tried again by the
            // backend; an end is what stays.
            let last = posts
                .iter()
                .rev()
                .find_map(|post| match post["body"]["status"].as_str()? {
                    "failed" | "rejected" => Some("refused"),
                    "cancelled" | "partial_cancelled" => Some("cancelled"),
                    "filled" => Some("filled"),
                    _ => None,
                });
            open |= last.is_none();
            outcomes.push(last.unwrap_or("open").to_owned());
        }
        if open {
            // There is no journal yet while the host starts.
            let said = self.desk.run(&["orders", "--review", "--json"]).stdout;
            let review = serde_json::from_slice::<Value>(&said).ok();
            let review = review.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
            for outcome in outcomes
                .iter_mut()
                .filter(|outcome| *outcome == "open")
                .take(review)
            {
                "review".clone_into(outcome);
            }
        }
        outcomes
    }

    /// An order is refused for this reason, which the backend is told, and nothing reaches the terminal.
    pub fn refuses(&self, words: &str) {
        self.signal(1);
        let mut host = self.desk.host("");
        assert_eq!(self.settle(words, &mut host), ["refused"], "{words}");
        assert_eq!(host.stop(), Some(0));
        assert_eq!(self.counter.ledger().len(), 0, "{words}");
        let state = self.backend.state().to_string();
        assert!(state.contains(words), "{words}: {state}");
    }

    /// Waits until every signal has come to an end.
    pub fn settle(&self, case: &str, host: &mut Host) -> Vec<String> {
        let mut outcomes = Vec::new();
        wait_until(
            &format!("{case} is settled; log: {}", self.desk.path("host.log").display()),
            || {
                assert!(!host.has_ended(), "{case}: the host ended: {}", self.desk.log());
                outcomes = self.outcomes();
                !outcomes.is_empty() && !outcomes.iter().any(|outcome| outcome == "open")
            },
        );
        outcomes
    }

    /// What the judge holds against it.
    pub fn faults(&self) -> Vec<String> {
        judge(&self.counter.ledger(), &self.backend.state()).faults
    }

    /// The bridges that run below a host, whichever lane its plugin has.
    pub fn bridges(host: &Host) -> Vec<u32> {
        let is_bridge = |id: &u32| {
            let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).contains("bridge-")
        };
        let first = children(host.pid());
        let second: Vec<u32> = first.iter().flat_map(|id| children(*id)).collect();
        first.into_iter().chain(second).filter(is_bridge).collect()
    }
}
