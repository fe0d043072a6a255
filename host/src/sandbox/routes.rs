//! The calls of the REST contract.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::store::{PostKind, Recorded};
use super::{Fate, Shared, json_answer};

/// The largest page a client may ask for.
const MAX_LIMIT: usize = 500;

/// The calls under `BASE`, without the faults.
pub(super) fn contract() -> Router<Arc<Shared>> {
    Router::new()
        .route("/user/login", post(login))
        .route("/trader/signals", get(signals))
        .route("/trader/signals/stream", get(super::stream::stream))
        .route("/trader/signals/{order_id}/status", post(status))
        .route("/trader/executions", post(execution))
        .route(
            "/trader/positions/sync",
            post(|s, h, b| sync(s, h, b, "positions/sync")),
        )
        .route(
            "/trader/positions/cleanup",
            delete(|s, h, b| sync(s, h, b, "positions/cleanup")),
        )
        .route(
            "/trader/account/sync",
            post(|s, h, b| sync(s, h, b, "account/sync")),
        )
        .route(
            "/trader/positions/snapshot",
            post(|s, h, b| sync(s, h, b, "positions/snapshot")),
        )
        .route("/trader/heartbeat", post(|s, h, b| sync(s, h, b, "heartbeat")))
}

fn refused(status: StatusCode, detail: &str) -> Response {
    json_answer(status, &json!({ "detail": detail }))
}

pub(super) fn is_allowed(shared: &Shared, headers: &HeaderMap) -> bool {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = token.and_then(|text| text.strip_prefix("Bearer "));
    let now_ms = shared.now_ms();
    let ends = token.and_then(|token| shared.store().tokens.get(token).copied());
    let is_allowed = ends.is_some_and(|ends| ends.is_none_or(|ends| now_ms < ends));
    if !is_allowed {
        shared.count("unauthorized");
    }
    is_allowed
}

pub(super) fn unauthorized() -> Response {
    refused(StatusCode::UNAUTHORIZED, "Could not validate credentials")
}

fn malformed(error: &serde_json::Error) -> Response {
    refused(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string())
}

/// The body as it was sent and as an object.
fn object(body: &Bytes) -> Result<(Box<RawValue>, Map<String, Value>), serde_json::Error> {
    let raw: Box<RawValue> = serde_json::from_slice(body)?;
    let fields = serde_json::from_str(raw.get())?;
    Ok((raw, fields))
}

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

async fn login(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let Ok(login) = serde_json::from_slice::<Login>(&body) else {
        return refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            "username and password are required",
        );
    };
    shared.count("login");
    if login.username != shared.username || login.password != *shared.password() {
        return refused(StatusCode::UNAUTHORIZED, "Incorrect username or password");
    }
    let token = shared.new_token();
    let user = json!({ "id": "sandbox-user", "username": login.username });
    json_answer(
        StatusCode::OK,
        &json!({ "access_token": token, "token_type": "bearer", "user": user }),
    )
}

#[derive(Deserialize)]
struct Page {
    limit: Option<usize>,
    include_submitted: Option<bool>,
}

async fn signals(
    State(shared): State<Arc<Shared>>,
    Extension(fate): Extension<Fate>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Response {
    shared.count("signals");
    if !is_allowed(&shared, &headers) {
        return unauthorized();
    }
    let limit = page.limit.unwrap_or(50);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return refused(StatusCode::UNPROCESSABLE_ENTITY, "limit: expected 1 to 500");
    }
    // A fault may ask for a backend that does not keep to the page.
    let limit = if fate.ignores_limit { usize::MAX / 2 } else { limit };
    let (list, count) = shared
        .store()
        .list(limit, page.include_submitted.unwrap_or(false));
    let text = format!("{{\"success\":true,\"data\":{list},\"count\":{count}}}");
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn key(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(super::IDEMPOTENCY_KEY)
        .and_then(|value| value.to_str().ok())
        .filter(|key| !key.is_empty())
}

async fn status(
    State(shared): State<Arc<Shared>>,
    Extension(fate): Extension<Fate>,
    Path(order_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.count("status");
    if !is_allowed(&shared, &headers) {
        return unauthorized();
    }
    let (raw, fields) = match object(&body) {
        Ok(both) => both,
        Err(error) => return malformed(&error),
    };
    let known = |status: &Value| matches!(status.as_str(), Some("submitted" | "failed" | "retry_pending"));
    if !fields.get("status").is_none_or(known) {
        return refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            "status: expected submitted, failed or retry_pending",
        );
    }
    let key = key(&headers);
    record(&shared, (&order_id, PostKind::Status, key), (raw, &fields), fate)
}

async fn execution(
    State(shared): State<Arc<Shared>>,
    Extension(fate): Extension<Fate>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.count("executions");
    if !is_allowed(&shared, &headers) {
        return unauthorized();
    }
    let (raw, fields) = match object(&body) {
        Ok(both) => both,
        Err(error) => return malformed(&error),
    };
    let needed = [
        "order_id",
        "symbol",
        "action",
        "size",
        "filled_price",
        "filled_size",
        "status",
    ];
    if let Some(missing) = needed.iter().find(|name| !fields.contains_key(**name)) {
        return refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            &format!("{missing}: field required"),
        );
    }
    let order_id = fields
        .get("order_id")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    // An execution may name itself in its body alone.
    let name = fields.get("execution_id").and_then(Value::as_str);
    let key = key(&headers).or(name);
    record(
        &shared,
        (&order_id, PostKind::Execution, key),
        (raw, &fields),
        fate,
    )
}

fn record(
    shared: &Shared,
    (order_id, kind, key): (&str, PostKind, Option<&str>),
    body: (Box<RawValue>, &Map<String, Value>),
    fate: Fate,
) -> Response {
    let now_ms = shared.now_ms();
    let mut store = shared.store();
    let recorded = store.post(order_id, kind, key, body, now_ms);
    if recorded != Recorded::UnknownOrder && fate.is_unanswered {
        store.unanswered(order_id, key);
    }
    drop(store);
    let message = match kind {
        PostKind::Status => "Signal status updated",
        PostKind::Execution => "Execution recorded",
    };
    match recorded {
        Recorded::UnknownOrder => refused(StatusCode::NOT_FOUND, "Signal not found"),
        Recorded::New => json_answer(StatusCode::OK, &json!({ "success": true, "message": message })),
        Recorded::Repeat => json_answer(
            StatusCode::OK,
            &json!({ "success": true, "message": message, "duplicate": true }),
        ),
    }
}

async fn sync(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
    name: &'static str,
) -> Response {
    shared.count(name);
    if !is_allowed(&shared, &headers) {
        return unauthorized();
    }
    match object(&body) {
        Ok((raw, _)) => {
            shared.store().sync(name, raw);
            let answer = json!({ "success": true, "message": "ok", "deleted_count": 0 });
            json_answer(StatusCode::OK, &answer)
        }
        Err(error) => malformed(&error),
    }
}
