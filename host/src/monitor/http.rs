//! Figures and health over HTTP: `/metrics`, `/healthz`, `/readyz`.

use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tracing::{error, info, warn};

use super::{Health, Monitor};
use crate::clock::Clock;
use crate::telemetry::QUANT_TRADER;

/// What a reader of Prometheus' text expects to be told.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Takes the address, so that one that is taken is known before anything starts.
///
/// # Errors
///
/// A sentence about the address.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address).map_err(|e| {
        format!(
            "cannot listen on {address} for metrics: {e}; name another address with --metrics, port 0 takes a free one"
        )
    })?;
    listener
        .set_nonblocking(true)
        .map_err(|e| format!("cannot listen on {address} for metrics: {e}"))?;
    Ok(listener)
}

/// Answers until it is broken off.
pub(crate) async fn serve(listener: TcpListener, monitor: Monitor) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(e) => {
            return error!(target: QUANT_TRADER, "metrics cannot be served: {e}; trading goes on without");
        }
    };
    if let Ok(address) = listener.local_addr() {
        info!(target: QUANT_TRADER, "Metrics: http://{address}/metrics, health: /healthz and /readyz");
        if !address.ip().is_loopback() {
            warn!(
                target: QUANT_TRADER,
                "metrics on {address} can be read by other machines, without a password: P&L and positions are among them"
            );
        }
    }
    // Accepting never fails for good: it ends with the task alone.
    let _ = axum::serve(listener, router(monitor)).await;
}

fn router(monitor: Monitor) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "there are /metrics, /healthz and /readyz\n",
            )
        })
        .with_state(monitor)
}

async fn metrics(State(monitor): State<Monitor>) -> Response {
    match monitor.render() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(reason) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n")).into_response(),
    }
}

fn answer(reasons: &[String], good: &str, bad: &str) -> Response {
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = format!("{}\n", Health::json(reasons, good, bad));
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn healthz(State(monitor): State<Monitor>) -> Response {
    answer(&monitor.health(Clock::system().monotonic()).ill, "ok", "ill")
}

async fn readyz(State(monitor): State<Monitor>) -> Response {
    answer(
        &monitor.health(Clock::system().monotonic()).not_ready,
        "ready",
        "not_ready",
    )
}
