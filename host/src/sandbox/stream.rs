//! Signals pushed over a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Shared;
use super::routes::{is_allowed, unauthorized};

/// How often the sandbox asks whether the client is there.
const PING_EVERY: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
pub(super) struct Resume {
    /// The `cursor` of the last message that the client has.
    after: Option<String>,
}

/// Every signal that can be taken, and each new one as it is added.
pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Query(resume): Query<Resume>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    shared.count("stream");
    if !is_allowed(&shared, &headers) {
        return unauthorized();
    }
    // A cursor of another life of the sandbox means nothing here: all is said again.
    let from = resume.after.and_then(|after| after.parse().ok()).unwrap_or(0);
    if from > 0 {
        shared.count("stream_resumed");
    }
    match upgrade {
        Ok(upgrade) => upgrade.on_upgrade(move |socket| push(socket, shared, from)),
        Err(rejection) => rejection.into_response(),
    }
}

async fn push(mut socket: WebSocket, shared: Arc<Shared>, mut from: usize) {
    let mut added = shared.added.subscribe();
    let mut cuts = shared.cuts.subscribe();
    let mut pings = tokio::time::interval(PING_EVERY);
    loop {
        let (messages, upto) = {
            let store = shared.store();
            (store.pushed_from(from), store.entries.len())
        };
        from = from.max(upto);
        for message in messages {
            if socket.send(Message::Text(message.into())).await.is_err() {
                return;
            }
        }
        tokio::select! {
            is_gone = async { added.wait_for(|count| *count > from).await.is_err() } => if is_gone { return },
            // The socket is dropped without a word, as by a cable that is cut.
            _ = cuts.changed() => return,
            said = socket.recv() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            _ = pings.tick() => if socket.send(Message::Ping(Vec::new().into())).await.is_err() { return },
        }
    }
}
