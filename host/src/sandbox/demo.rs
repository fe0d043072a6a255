//! The demonstration: signals, the real host as a second process, and what the backend should have seen in the end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::rules::number;
use super::{SandboxBackend, SandboxError};
use crate::clock::Clock;
use crate::{control, system};

/// How long the host has for everything.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the host has to end; it promises 5 s.
const END_PATIENCE: Duration = Duration::from_secs(7);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Lines of the host's log that are shown where something is missing.
const LOG_TAIL: usize = 30;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The backend did not start.
    #[error(transparent)]
    Backend(#[from] SandboxError),
    /// A file or a process could not be made.
    #[error("cannot {what}: {source}; the demonstration needs a writable temporary folder")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A text of our own did not parse.
    #[error("a signal of the demonstration is not valid: {0}")]
    Signal(#[from] serde_json::Error),
}

fn cannot(what: &'static str) -> impl FnOnce(std::io::Error) -> DemoError {
    move |source| DemoError::System { what, source }
}

/// What should become of one signal.
pub(crate) struct Expected {
    /// The signal's name.
    pub(crate) order_id: &'static str,
    /// In words, for the account.
    pub(crate) asked: &'static str,
    /// The last status posted.
    status: &'static str,
    /// The last execution's status; nothing where there is none.
    execution: Option<&'static str>,
    filled: u32,
    price: Option<&'static str>,
}

/// The signals in the order of the account, and what should become of each.
pub(crate) const EXPECTED: [Expected; 6] = [
    Expected {
        order_id: "DEMO-1",
        asked: "buy 500 000858.SZ, limit 137.00",
        status: "submitted",
        execution: Some("filled"),
        filled: 500,
        price: Some("135.50"),
    },
    Expected {
        order_id: "DEMO-2",
        asked: "sell 100 600519.SH, limit 1400.00",
        status: "submitted",
        execution: Some("filled"),
        filled: 100,
        price: Some("1420.00"),
    },
    Expected {
        order_id: "DEMO-3",
        asked: "buy 200 300750.SZ, market",
        status: "submitted",
        execution: Some("filled"),
        filled: 200,
        price: Some("252.30"),
    },
    Expected {
        order_id: "DEMO-4",
        asked: "buy 1000 601318.SH, limit 51.50 (too low to fill)",
        status: "submitted",
        execution: None,
        filled: 0,
        price: None,
    },
    Expected {
        order_id: "DEMO-5",
        asked: "sell 300 002594.SZ, limit 105.00",
        status: "submitted",
        execution: Some("filled"),
        filled: 300,
        price: Some("106.20"),
    },
    Expected {
        order_id: "DEMO-6",
        asked: "buy \"a few\" 600036.SH (malformed)",
        status: "failed",
        execution: None,
        filled: 0,
        price: None,
    },
];

/// The host's data folder.
const DATA: &str = "data";

/// Shares held in the end.
const HOLDINGS: [(&str, u32); 4] = [
    ("000858.SZ", 500),
    ("002594.SZ", 700),
    ("300750.SZ", 200),
    ("600519.SH", 100),
];

fn signals() -> Value {
    let signal = |n: u32, symbol: &str, action: &str, size: Value, price: Value| {
        json!({
            "order_id": format!("DEMO-{n}"), "user_id": "sandbox-user", "symbol": symbol, "action": action, "size": size,
            "price": price, "strategy": "demo", "strategy_name": "Demonstration", "status": "pending",
            "is_executable": true, "mode": "live", "created_at": 1_766_368_800 + n,
        })
    };
    json!([
        signal(1, "000858.SZ", "BUY", json!(500), json!("137.00")),
        signal(2, "600519.SH", "SELL", json!(100), json!(1400)),
        signal(3, "300750.SZ", "BUY", json!(200), Value::Null),
        signal(4, "601318.SH", "BUY", json!(1000), json!("51.50")),
        signal(5, "002594.SZ", "SELL", json!(300), json!("105.00")),
        signal(6, "600036.SH", "BUY", json!("a few"), json!("40.00")),
    ])
}

fn configuration(backend: &SandboxBackend, folder: &Path) -> Value {
    json!({
        "api_base_url": backend.base_url,
        "api_token": backend.token,
        "poll_interval": 0.2,
        "broker": "simulated",
        "data_dir": folder.join(DATA),
        "execution": { "position_sync_interval_seconds": 0.5, "reconcile_interval_seconds": 1 },
        "simulated": {
            "ledger": folder.join("ledger.jsonl"),
            "cash": "1000000.00",
            "prices": { "000858.SZ": "135.50", "300750.SZ": "252.30", "601318.SH": "52.40", "600036.SH": "39.90" },
            "positions": [
                { "symbol": "600519.SH", "quantity": 200, "avg_cost": "1385.00", "last_price": "1420.00" },
                { "symbol": "002594.SZ", "quantity": 1000, "avg_cost": "98.40", "last_price": "106.20" },
            ],
        },
    })
}

/// What happened.
pub(crate) struct Outcome {
    /// Everything the backend saw.
    pub(crate) state: Value,
    /// What it should have seen and did not, and what it should not have seen; empty if all is well.
    pub(crate) missing: Vec<String>,
    /// The last lines of the host's log, where something is missing.
    pub(crate) log: Vec<String>,
    /// From the host's start until the backend had seen everything.
    pub(crate) took: Duration,
}

/// Runs the demonstration.
///
/// # Errors
/// It could not be set up. That the host did not do what it should is no error but an [`Outcome`].
pub(crate) async fn run() -> Result<Outcome, DemoError> {
    let folder = tempfile::tempdir().map_err(cannot("make a temporary folder"))?;
    let backend = SandboxBackend::start(([127, 0, 0, 1], 0).into(), false).await?;
    for signal in signals().as_array().into_iter().flatten() {
        backend.add(signal)?;
    }
    let config = folder.path().join("config.json");
    // The file holds a token; the host would rightly warn if others could read it.
    system::replace_file(
        &config,
        configuration(&backend, folder.path()).to_string().as_bytes(),
    )
    .map_err(cannot("write the configuration"))?;
    let log = folder.path().join("host.log");
    let started = Instant::now();
    let mut host = start_host(&config, &log)?;
    let gone = wait(&backend, &mut host, started + PATIENCE).await;
    let took = started.elapsed();
    let mut missing = Vec::new();
    match gone {
        Some(how) => missing.push(format!("the host ended by itself: {how}")),
        None => missing.extend(end(&mut host, folder.path().join(DATA)).await?),
    }
    let state = backend.state();
    missing.extend(missing_in(&state));
    let log = if missing.is_empty() {
        Vec::new()
    } else {
        tail(&log)
    };
    Ok(Outcome {
        state,
        missing,
        log,
        took,
    })
}

fn start_host(config: &Path, log: &Path) -> Result<Child, DemoError> {
    let program: PathBuf = std::env::current_exe().map_err(cannot("find this program's own file"))?;
    let out = std::fs::File::create(log).map_err(cannot("write the host's log"))?;
    let err = out.try_clone().map_err(cannot("write the host's log"))?;
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    // What is set for a real host must not reach this one.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("TRADER_")) {
            command.env_remove(name);
        }
    }
    command.spawn().map_err(cannot("start the host"))
}

/// Waits until the backend has seen everything; says how the host ended if it did so before.
async fn wait(backend: &SandboxBackend, host: &mut Child, deadline: Instant) -> Option<String> {
    while Instant::now() < deadline && !missing_in(&backend.state()).is_empty() {
        if let Ok(Some(status)) = host.try_wait() {
            return Some(status.to_string());
        }
        sleep(LOOK_EVERY).await;
    }
    None
}

/// Asks the host to end; gives what is wrong with how it did.
async fn end(host: &mut Child, data_dir: PathBuf) -> Result<Option<String>, DemoError> {
    let stop = move || control::stop(&data_dir, Clock::system().now_ms(), END_PATIENCE);
    let asked = tokio::task::spawn_blocking(stop).await;
    if let Ok(Err(e)) = asked {
        host.kill().map_err(cannot("end the host"))?;
        host.wait().map_err(cannot("wait for the host"))?;
        return Ok(Some(format!("the host cannot be asked to end: {e}")));
    }
    let deadline = Instant::now() + END_PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = host.try_wait().map_err(cannot("wait for the host"))? {
            return Ok((!status.success()).then(|| format!("the host ended with {status}")));
        }
        sleep(LOOK_EVERY).await;
    }
    host.kill().map_err(cannot("end the host"))?;
    host.wait().map_err(cannot("wait for the host"))?;
    Ok(Some(format!(
        "the host did not end within {} s",
        END_PATIENCE.as_secs()
    )))
}

fn tail(log: &Path) -> Vec<String> {
    let text = std::fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

/// The bodies of the posts of a kind about an order, in the order of their arrival.
pub(crate) fn posts<'a>(state: &'a Value, order_id: &str, kind: &'a str) -> Vec<&'a Map<String, Value>> {
    let posts = state["signals"][order_id]["posts"].as_array();
    posts
        .into_iter()
        .flatten()
        .filter(|post| post["kind"] == kind)
        .filter_map(|post| post["body"].as_object())
        .collect()
}

/// What the backend should have seen and did not.
pub(crate) fn missing_in(state: &Value) -> Vec<String> {
    let mut missing: Vec<String> = EXPECTED
        .iter()
        .flat_map(|expected| missing_of(state, expected))
        .collect();
    let violations = state["violations"].as_array();
    missing.extend(
        violations
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned),
    );
    missing.extend(missing_holdings(state));
    missing
}

fn missing_of(state: &Value, expected: &Expected) -> Vec<String> {
    let id = expected.order_id;
    let mut missing = Vec::new();
    let statuses = posts(state, id, "status");
    let last = statuses
        .iter()
        .filter_map(|body| body.get("status"))
        .next_back()
        .and_then(Value::as_str);
    if last != Some(expected.status) {
        let seen = last.unwrap_or("none");
        missing.push(format!(
            "{id}: status {} was not posted (last: {seen})",
            expected.status
        ));
    }
    let executions = posts(state, id, "execution");
    let last = executions
        .last()
        .map(|body| body.get("status").and_then(Value::as_str).unwrap_or_default());
    if last != expected.execution {
        let (wanted, seen) = (expected.execution.unwrap_or("none"), last.unwrap_or("none"));
        missing.push(format!("{id}: expected execution {wanted}, saw {seen}"));
    }
    let Some(execution) = executions.last().filter(|_| expected.execution.is_some()) else {
        return missing;
    };
    let filled = number(execution.get("filled_size")).unwrap_or_default();
    if filled != Decimal::from(expected.filled) {
        missing.push(format!(
            "{id}: expected {} shares filled, saw {filled}",
            expected.filled
        ));
    }
    let (price, wanted) = (
        number(execution.get("filled_price")),
        expected.price.and_then(|text| text.parse().ok()),
    );
    if price != wanted {
        missing.push(format!(
            "{id}: expected the price {}, saw {price:?}",
            expected.price.unwrap_or("none")
        ));
    }
    if number(execution.get("commission")).is_none_or(|fee| fee < Decimal::from(5)) {
        missing.push(format!(
            "{id}: the execution names no commission of at least 5 yuan"
        ));
    }
    if !statuses
        .iter()
        .any(|body| number(body.get("filled_qty")) == Some(filled))
    {
        missing.push(format!(
            "{id}: the status with filled_qty {filled} was not posted"
        ));
    }
    missing
}

fn missing_holdings(state: &Value) -> Vec<String> {
    let rows = state["syncs"]["positions/sync"]["last"]["positions"].as_array();
    let held = |symbol: &str| {
        let row = rows.into_iter().flatten().find(|row| row["symbol"] == symbol);
        row.and_then(|row| number(row.get("quantity")))
            .unwrap_or_default()
    };
    HOLDINGS
        .iter()
        .filter(|(symbol, shares)| held(symbol) != Decimal::from(*shares))
        .map(|(symbol, shares)| {
            format!(
                "{symbol}: the positions sync should show {shares} shares, it shows {}",
                held(symbol)
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Value {
        let mut signals = Map::new();
        for expected in &EXPECTED {
            let mut posts = vec![json!({ "kind": "status", "body": { "status": expected.status } })];
            if let Some(status) = expected.execution {
                posts.push(json!({ "kind": "execution", "body": {
                    "status": status, "filled_size": expected.filled, "filled_price": expected.price, "commission": 17,
                }}));
                posts.push(json!({ "kind": "status", "body": { "filled_qty": expected.filled } }));
            }
            signals.insert(expected.order_id.to_owned(), json!({ "posts": posts }));
        }
        let rows: Vec<Value> = HOLDINGS
            .iter()
            .map(|(s, n)| json!({ "symbol": s, "quantity": n }))
            .collect();
        json!({ "signals": signals, "violations": [], "syncs": { "positions/sync": { "last": { "positions": rows } } } })
    }

    #[test]
    fn what_should_be_seen_is_enough_and_all_of_it_is_needed() {
        let whole = seen();
        assert_eq!(missing_in(&whole), Vec::<String>::new());
        for expected in &EXPECTED {
            let mut lacking = whole.clone();
            lacking["signals"][expected.order_id]["posts"] = json!([]);
            assert!(!missing_in(&lacking).is_empty(), "{}", expected.order_id);
        }
        let mut wrong = whole.clone();
        wrong["violations"] = json!(["DEMO-1: twice"]);
        assert_eq!(missing_in(&wrong), ["DEMO-1: twice"]);
        let mut unheld = whole;
        unheld["syncs"] = json!({});
        assert_eq!(missing_in(&unheld).len(), HOLDINGS.len());
    }

    #[test]
    fn nothing_expected_of_an_order_that_cannot_fill_may_come() {
        let mut filled = seen();
        let surprise = json!({ "kind": "execution", "body": { "status": "filled", "filled_size": 1000 } });
        filled["signals"]["DEMO-4"]["posts"]
            .as_array_mut()
            .unwrap()
            .push(surprise);
        assert_eq!(
            missing_in(&filled),
            ["DEMO-4: expected execution none, saw filled"]
        );
    }
}
