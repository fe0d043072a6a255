//! A broker opened over the boundary, its events, and its ledger as the judge.
#![allow(dead_code, unreachable_pub)]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use qt_plugin_api::{
    host::{Callbacks, Event, LoadedBroker, OpenArgs, open_linked},
    *,
};
use serde_json::{Value, json};
use simulated::Simulated;
use tempfile::TempDir;

/// 2026-01-05 10:00 in China.
pub const MONDAY_MS: i64 = 1_767_578_400_000;
pub const DAY_MS: i64 = 86_400_000;

pub struct Bench {
    pub dir: TempDir,
    pub events: Arc<Mutex<Vec<Event>>>,
    pub now_ms: Arc<AtomicI64>,
}

impl Bench {
    pub fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        Self {
            dir,
            events: Arc::default(),
            now_ms: Arc::new(AtomicI64::new(MONDAY_MS)),
        }
    }

    pub fn try_open(&self, config: &Value) -> Result<LoadedBroker, OpenError> {
        let (into, clock) = (Arc::clone(&self.events), Arc::clone(&self.now_ms));
        let callbacks = Callbacks::new(move |_, event| into.lock().expect("events").push(event))
            .with_clock(move || clock.load(Ordering::SeqCst));
        open_linked::<Simulated>(OpenArgs {
            config,
            data_dir: self.dir.path(),
            account_id: None,
            callbacks,
        })
    }

    pub fn open(&self, config: Value) -> LoadedBroker {
        self.try_open(&config).expect("opens")
    }

    pub fn ledger_path(&self) -> PathBuf {
        self.dir.path().join("simulated-ledger.jsonl")
    }

    pub fn ledger(&self) -> Vec<Value> {
        lines(&self.ledger_path())
    }

    pub fn count(&self, event: &str) -> usize {
        self.ledger().iter().filter(|line| line["event"] == event).count()
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.lock().expect("events").clone()
    }

    pub fn pass_days(&self, days: i64) {
        self.now_ms.fetch_add(days * DAY_MS, Ordering::SeqCst);
    }
}

pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the ledger");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect()
}

pub fn held() -> Value {
    json!([{"symbol": "000858.SZ", "quantity": 1000, "avg_cost": 100, "last_price": "150.50"}])
}

pub fn dec(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

pub fn order(id: &str, side: Side, quantity: u64, limit: Option<&str>) -> OrderRequest {
    OrderRequest {
        strategy: "test".to_owned(),
        ..OrderRequest::new(id, "000858.SZ", side, quantity, limit.map(dec))
    }
}

pub fn cancel(id: &str) -> CancelRequest {
    CancelRequest {
        client_order_id: id.to_owned(),
        broker_order_id: None,
        extras: String::new(),
    }
}

pub fn reason(result: PlaceResult) -> String {
    match result {
        PlaceResult::Rejected { reason } => reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

pub fn accepted(result: PlaceResult) -> String {
    match result {
        PlaceResult::Accepted { broker_order_id } => broker_order_id,
        other => panic!("expected an acceptance, got {other:?}"),
    }
}
