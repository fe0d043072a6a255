//! The calls under `/sandbox`: for tests and for people who play. They need no token and meet no fault.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::faults::Fault;
use super::store::{Counts, Record, Store};
use super::{Shared, json_answer};

/// The administrator's calls.
pub(super) fn admin() -> Router<Arc<Shared>> {
    Router::new()
        .route("/sandbox/signals", post(add))
        .route("/sandbox/state", get(state))
        .route("/sandbox/summary", get(summary))
        .route("/sandbox/faults", post(faults).get(list_faults))
        .route("/sandbox/revoke", post(revoke))
        .route("/sandbox/streams/cut", post(cut_streams))
        .route("/sandbox/password", post(change_password))
}

fn wrong(text: &str) -> Response {
    json_answer(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "detail": text }))
}

#[derive(Deserialize)]
struct AddOptions {
    /// Take the signals exactly as given, with whatever is wrong in them.
    raw: Option<bool>,
}

async fn add(State(shared): State<Arc<Shared>>, Query(options): Query<AddOptions>, body: Bytes) -> Response {
    let given = match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Array(many)) => many,
        Ok(one @ Value::Object(_)) => vec![one],
        Ok(_) => return wrong("expected a signal as an object, or an array of them"),
        Err(error) => return wrong(&error.to_string()),
    };
    let is_raw = options.raw.unwrap_or(false);
    let now_ms = shared.now_ms();
    let mut ids = Vec::with_capacity(given.len());
    let mut store = shared.store();
    for signal in given {
        let Value::Object(mut fields) = signal else {
            return wrong("a signal is an object");
        };
        if !is_raw {
            complete(&mut fields, store.entries.len(), now_ms);
            let id = fields.get("order_id").and_then(Value::as_str).unwrap_or_default();
            if store.orders.contains_key(id) {
                return wrong(&format!(
                    "order_id {id} is taken; use another, or ?raw=true to list it twice"
                ));
            }
        }
        match store.add(&fields) {
            Ok(id) => ids.push(id),
            Err(error) => return wrong(&error.to_string()),
        }
    }
    shared.added.send_replace(store.entries.len());
    drop(store);
    json_answer(StatusCode::OK, &json!({ "success": true, "order_ids": ids }))
}

/// Fills in what a person leaves out.
fn complete(fields: &mut Map<String, Value>, count: usize, now_ms: i64) {
    let mut default = |name: &str, value: Value| {
        fields.entry(name).or_insert(value);
    };
    default("order_id", json!(format!("SANDBOX-{:06}", count + 1)));
    default("status", json!("pending"));
    default("is_executable", json!(true));
    default("mode", json!("live"));
    default("strategy", json!("sandbox"));
    default("created_at", json!(now_ms / 1000));
}

#[derive(Deserialize)]
struct StateOptions {
    /// Only this order.
    order_id: Option<String>,
    /// Signals from this one on, counted from 0 as they were added: who saw many asks for a part at a time.
    #[serde(default)]
    from: usize,
    /// So many of them.
    count: Option<usize>,
}

async fn state(State(shared): State<Arc<Shared>>, Query(options): Query<StateOptions>) -> Response {
    let faults = json!(shared.faults().list());
    let store = shared.store();
    let mut value = match options.order_id {
        Some(id) => match store.orders.get(&id) {
            Some(record) => json!({ "signals": { &id: record_json(&store, record) } }),
            None => {
                return json_answer(
                    StatusCode::NOT_FOUND,
                    &json!({ "detail": format!("no order {id}") }),
                );
            }
        },
        None => seen(&store, options.from, options.count),
    };
    value["faults"] = faults;
    drop(store);
    json_answer(StatusCode::OK, &value)
}

async fn summary(State(shared): State<Arc<Shared>>) -> Response {
    let store = shared.store();
    let mut value = json!({ "violations": store.violations.len(), "requests": store.requests });
    value["counts"] = counts_json(&store.counts);
    drop(store);
    json_answer(StatusCode::OK, &value)
}

async fn faults(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match serde_json::from_slice::<Fault>(&body) {
        Ok(fault) => {
            shared.set_fault(fault);
            json_answer(
                StatusCode::OK,
                &json!({ "success": true, "faults": shared.faults().list() }),
            )
        }
        Err(error) => wrong(&error.to_string()),
    }
}

async fn list_faults(State(shared): State<Arc<Shared>>) -> Response {
    json_answer(StatusCode::OK, &json!({ "faults": shared.faults().list() }))
}

/// Makes every token invalid; logging in gives a new one.
async fn revoke(State(shared): State<Arc<Shared>>) -> Response {
    shared.store().tokens.clear();
    json_answer(StatusCode::OK, &json!({ "success": true }))
}

/// Ends every stream of signals without a word.
async fn cut_streams(State(shared): State<Arc<Shared>>) -> Response {
    shared.cuts.send_modify(|count| *count += 1);
    json_answer(StatusCode::OK, &json!({ "success": true }))
}

#[derive(Deserialize)]
struct NewPassword {
    password: String,
}

/// Gives the sandbox's user another password; tokens stay as they are.
async fn change_password(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match serde_json::from_slice::<NewPassword>(&body) {
        Ok(new) => {
            *shared.password() = new.password;
            json_answer(StatusCode::OK, &json!({ "success": true }))
        }
        Err(error) => wrong(&error.to_string()),
    }
}

/// Everything seen.
pub(super) fn whole(store: &Store) -> Value {
    seen(store, 0, None)
}

fn seen(store: &Store, from: usize, count: Option<usize>) -> Value {
    let mut seen = Map::new();
    let entries = store.entries.iter().skip(from);
    for entry in entries.clone().take(count.unwrap_or(usize::MAX)) {
        if let Some(record) = store.orders.get(&entry.id) {
            seen.entry(entry.id.clone())
                .or_insert_with(|| record_json(store, record));
        }
    }
    let syncs: Map<String, Value> = store
        .syncs
        .iter()
        .map(|(name, sync)| {
            (
                (*name).to_owned(),
                json!({ "count": sync.count, "last": &*sync.last }),
            )
        })
        .collect();
    json!({
        "signals": seen,
        "order": entries.take(count.unwrap_or(usize::MAX)).map(|entry| &entry.id).collect::<Vec<_>>(),
        "violations": store.violations,
        "requests": store.requests,
        "turned_away": store.turned_away,
        "syncs": syncs,
        "counts": counts_json(&store.counts),
    })
}

fn record_json(store: &Store, record: &Record) -> Value {
    let asked = record
        .entries
        .first()
        .and_then(|at| store.entries.get(*at))
        .map(|entry| &*entry.asked);
    let posts: Vec<Value> = record
        .posts
        .iter()
        .map(|post| {
            json!({
                "kind": post.kind.as_str(), "key": post.key, "body": &*post.body, "at_ms": post.at_ms,
                "arrivals": post.arrivals, "unanswered": post.unanswered,
            })
        })
        .collect();
    let status = record
        .applied
        .get("status")
        .cloned()
        .unwrap_or_else(|| json!("pending"));
    json!({
        "asked": asked, "status": status, "fields": record.applied, "listed": record.listed, "posts": posts,
        "filled": record.progress.filled().to_string(), "ended": record.progress.ended(),
        "concluded": record.progress.concluded(),
    })
}

fn counts_json(counts: &Counts) -> Value {
    json!({
        "signals": counts.signals, "submitted": counts.submitted, "failed": counts.failed,
        "retry_pending": counts.retry_pending, "executions": counts.executions, "ended": counts.ended,
        "concluded": counts.concluded, "arrivals": counts.arrivals, "repeats": counts.repeats,
        "repeats_after_answer": counts.repeats_after_answer,
    })
}
