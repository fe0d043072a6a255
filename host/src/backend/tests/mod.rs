//! The backend's room against a small server on loopback.

mod client;
mod keeper;
mod nats;
mod poller;
pub(super) mod reporter;
mod routes;
mod sync;
mod tls;

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tracing_subscriber::fmt::MakeWriter;

use super::client::{Client, ClientSettings, Token};

/// No test waits longer for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const SECRET: &str = "tok-SECRET-77";

/// One answer of the server.
#[derive(Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// The answer waits until this is told.
    pub(super) hold: Option<Arc<Notify>>,
}

impl Reply {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            hold: None,
        }
    }

    pub(super) fn ok() -> Self {
        Self::new(200, r#"{"success":true,"message":"ok"}"#)
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// What the server was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn key(&self) -> &str {
        self.headers
            .get("idempotency-key")
            .map_or("", |key| key.to_str().unwrap())
    }
}

type Answerer = dyn Fn(&Asked) -> Option<Reply> + Send + Sync;

#[derive(Default)]
struct Script {
    /// Answers in their order, before anything else.
    next: VecDeque<Reply>,
    /// Then what this says.
    by: Option<Arc<Answerer>>,
    asked: Vec<Asked>,
}

/// A backend that answers as it is told.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: String,
    script: Arc<Mutex<Script>>,
    news: Arc<Notify>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/api", listener.local_addr().unwrap());
        let server = Self {
            address,
            script: Arc::default(),
            news: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        server
    }

    /// The next answers, in this order.
    pub(super) fn then(&self, replies: impl IntoIterator<Item = Reply>) -> &Self {
        self.script.lock().unwrap().next.extend(replies);
        self
    }

    /// Once those are used up, what to answer; else it is `ok`.
    pub(super) fn always(&self, by: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> &Self {
        self.script.lock().unwrap().by = Some(Arc::new(by));
        self
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.script.lock().unwrap().asked.clone()
    }

    /// Waits until so many calls came.
    pub(super) async fn asked_times(&self, count: usize) -> Vec<Asked> {
        let wait = async {
            while self.asked().len() < count {
                self.news.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("{} calls of {count}: {:#?}", self.asked().len(), self.asked()));
        self.asked()
    }

    pub(super) fn client(&self) -> Arc<Client> {
        client_at(&self.address)
    }
}

async fn answer(
    State(server): State<Server>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let body = String::from_utf8(body.to_vec()).unwrap();
    let asked = Asked {
        method,
        target: uri.to_string(),
        headers,
        body,
    };
    let reply = {
        let mut script = server.script.lock().unwrap();
        script.asked.push(asked.clone());
        let scripted = script.next.pop_front();
        let by = script.by.clone();
        scripted
            .or_else(|| by.and_then(|by| by(&asked)))
            .unwrap_or_else(Reply::ok)
    };
    server.news.notify_one();
    if let Some(hold) = reply.hold {
        hold.notified().await;
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).unwrap()
}

pub(super) fn settings_at(address: &str) -> ClientSettings {
    ClientSettings {
        call_timeout: Duration::from_secs(2),
        ..ClientSettings::new(address, Token::new(SECRET).unwrap())
    }
}

pub(super) fn client_at(address: &str) -> Arc<Client> {
    Arc::new(Client::new(&settings_at(address)).unwrap())
}

/// The log lines of the current thread, while it lives.
#[derive(Clone, Default)]
pub(super) struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    pub(super) fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let logs = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(logs.clone())
            .finish();
        (logs, tracing::subscriber::set_default(subscriber))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// How many lines of this level hold this text.
    pub(super) fn count(&self, level: &str, text: &str) -> usize {
        self.text()
            .lines()
            .filter(|line| line.contains(level) && line.contains(text))
            .count()
    }
}

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Waits for an input, or says what is missing.
pub(super) async fn input(
    engine: &mut tokio::sync::mpsc::Receiver<crate::engine::input::Input>,
) -> crate::engine::input::Input {
    tokio::time::timeout(PATIENCE, engine.recv())
        .await
        .expect("an input")
        .expect("an open channel")
}
