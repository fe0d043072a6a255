//! Figures and health over HTTP: `/metrics`, `/healthz`, `/readyz`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tracing::{error, info, warn};

use super::{Health, Monitor};
use crate::clock::Clock;
use crate::telemetry::QUANT_TRADER;

/// Connections at once; a scraper has one.
const MOST: usize = 32;
/// How long one lives at most. A scraper whose connection ended makes another.
const LIVES: Duration = Duration::from_secs(30);
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
    let listener = Bounded {
        listener,
        places: Arc::new(Semaphore::new(MOST)),
        lives: LIVES,
    };
    // Accepting never fails for good: it ends with the task alone.
    let _ = axum::serve(listener, router(monitor)).await;
}

/// Takes no more connections than there are places, and ends each after its time, whatever its other side does: one that
/// says nothing would keep its handle, and the journal needs handles.
struct Bounded {
    listener: tokio::net::TcpListener,
    places: Arc<Semaphore>,
    lives: Duration,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // It is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let connection = Connection {
            stream,
            ends: Box::pin(sleep(self.lives)),
            _place: place,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

struct Connection {
    stream: TcpStream,
    ends: Pin<Box<Sleep>>,
    /// Given back with the connection.
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// The stream, until its time is over.
    fn within(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        if self.ends.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.within(cx)?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.within(cx)?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.within(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.within(cx)?.poll_shutdown(cx)
    }
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
    let health = monitor.health(Clock::system().monotonic());
    let reasons = [health.not_ready, health.late].concat();
    answer(&reasons, "ready", "not_ready")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn connections_that_say_nothing_are_ended_and_keep_nobody_out_for_long() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounded = Bounded {
            listener,
            places: Arc::new(Semaphore::new(2)),
            lives: Duration::from_millis(300),
        };
        tokio::spawn(async move { axum::serve(bounded, router(Monitor::default())).await });
        let mut silent = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The head of a call that never comes to its end.
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: ")
                .await
                .unwrap();
            silent.push(stream);
        }
        let work = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let call = b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
            stream.write_all(call).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            for mut stream in silent {
                // An end or a reset: what the system makes of it.
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.ok();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), work).await.unwrap();
    }
}
