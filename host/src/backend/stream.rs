//! Signals pushed by the backend over a WebSocket, `BASE/trader/signals/stream`.
//!
//! Nothing hangs on it: signals are fetched besides, at a slower pace while it stands and at once after each change of it,
//! so that what a stream loses, repeats or puts in another order costs time and never an order. Whatever comes goes to
//! the poller, which hands it over as what it fetched itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::{debug, info, warn};

use super::TRADING;
use super::client::{Client, NoStream};
use super::poller::TOKEN_RETRY;
use super::wire;
use crate::backoff::Backoff;
use crate::config::SignalsStream;
use crate::monitor::meters;

/// How often we ask whether the other side is there.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A side that says nothing for so long, not even to our pings, is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// How often a backend is asked again that has no stream: that may have been a proxy's page.
const ABSENT_RETRY: Duration = Duration::from_secs(15);
/// How long until a backend that forbids the stream is asked once more: by then it has said what it thinks of the token.
const FORBIDDEN_RETRY: Duration = Duration::from_secs(3);
/// How long a connection must have stood for its loss to count as the first.
const STOOD_WELL: Duration = Duration::from_secs(60);
/// Messages that may wait for the poller. More are dropped, and signals are fetched in their place: a connection that
/// waited would give old ones later, and nobody would know how old.
const WAITING: usize = 64;
/// No message is longer.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// What the poller is told.
#[derive(Debug)]
pub(super) enum Pushed {
    /// Signals, in the shape of an answer that was fetched.
    Signals {
        /// The shape.
        answer: Value,
        /// Where to go on after this, as the backend calls it.
        cursor: Option<String>,
        /// When it came: by and by it is no longer what the backend would say.
        at: Instant,
    },
    /// The stream stands: what came before it is to be fetched now.
    Connected,
    /// It is gone: what it would have brought is to be fetched now.
    Lost,
}

/// The poller's end of a stream.
pub(super) struct Stream {
    pushed: mpsc::Receiver<Pushed>,
    /// The last message that is durable.
    cursor: Arc<Mutex<Option<String>>>,
    is_connected: bool,
    /// Something was dropped and is to be fetched.
    missed: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
        meters::stream_connected(false);
    }
}

impl Stream {
    /// Starts to listen, unless that is switched off.
    pub(super) fn start(mode: SignalsStream, client: &Arc<Client>) -> Option<Self> {
        if mode == SignalsStream::Off {
            return None;
        }
        let (sender, pushed) = mpsc::channel(WAITING);
        let cursor = Arc::new(Mutex::new(None));
        let missed = Arc::new(AtomicBool::new(false));
        let listener = Listener {
            missed: Arc::clone(&missed),
            client: Arc::clone(client),
            mode,
            sender,
            cursor: Arc::clone(&cursor),
            trouble: None,
            is_absent: false,
        };
        Some(Self {
            pushed,
            cursor,
            is_connected: false,
            missed,
            task: tokio::spawn(listener.listen()),
        })
    }

    /// One that brings what is put into it.
    #[cfg(test)]
    pub(super) fn of(pushed: mpsc::Receiver<Pushed>) -> Self {
        Self {
            pushed,
            cursor: Arc::default(),
            is_connected: true,
            missed: Arc::default(),
            task: tokio::spawn(async {}),
        }
    }

    /// Throws away what waits, since signals are fetched; whether there was anything.
    pub(super) fn drain(&mut self) -> bool {
        let mut has_come = self.missed.swap(false, Ordering::Relaxed);
        while let Ok(pushed) = self.pushed.try_recv() {
            self.note(&pushed);
            has_come = true;
        }
        has_come
    }

    /// Whether something was dropped since this was asked last.
    pub(super) fn has_missed(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }

    /// True while signals are pushed.
    pub(super) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// What comes next; `None` where nothing ever will.
    pub(super) async fn next(&mut self) -> Option<Pushed> {
        let next = self.pushed.recv().await;
        match &next {
            Some(pushed) => self.note(pushed),
            None => self.is_connected = false,
        }
        next
    }

    fn note(&mut self, pushed: &Pushed) {
        match pushed {
            Pushed::Connected => self.is_connected = true,
            Pushed::Lost => self.is_connected = false,
            Pushed::Signals { .. } => {}
        }
    }

    /// Everything up to here is durable: after a loss the backend need not say it again.
    pub(super) fn is_durable(&self, upto: String) {
        *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = Some(upto);
    }
}

struct Listener {
    client: Arc<Client>,
    mode: SignalsStream,
    sender: mpsc::Sender<Pushed>,
    cursor: Arc<Mutex<Option<String>>>,
    missed: Arc<AtomicBool>,
    /// What went wrong last, so that a line is written when it changes.
    trouble: Option<String>,
    /// It was said that there is no stream.
    is_absent: bool,
}

/// The poller is gone.
struct Gone;

impl Listener {
    async fn listen(mut self) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let mut tokens = self.client.token_changes();
        let mut forbidden = false;
        loop {
            tokens.mark_unchanged();
            let after = self.cursor.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match self.client.signals_stream(after.as_deref()).await {
                Ok(connection) => {
                    let began = Instant::now();
                    let Ok(why) = self.read(connection).await else {
                        return;
                    };
                    meters::stream_connected(false);
                    if self.sender.send(Pushed::Lost).await.is_err() {
                        return;
                    }
                    info!(target: TRADING, "The stream of signals ended ({why}); they are fetched until it stands again");
                    if began.elapsed() >= STOOD_WELL {
                        backoff.reset();
                    }
                    sleep(backoff.next(None)).await;
                }
                Err(NoStream::Absent(status)) if self.mode == SignalsStream::Auto => {
                    self.is_without(&status.to_string());
                    sleep(ABSENT_RETRY).await;
                }
                Err(NoStream::Absent(status)) => {
                    self.complain(format!(
                        "the backend has none ({status}), and `signals_stream` is \"on\""
                    ));
                    sleep(ABSENT_RETRY).await;
                }
                // Some servers answer so where they have no such WebSocket, whatever the token.
                Err(NoStream::TokenRefused(403)) if !std::mem::replace(&mut forbidden, true) => {
                    sleep(FORBIDDEN_RETRY).await;
                }
                Err(NoStream::TokenRefused(403))
                    if self.mode == SignalsStream::Auto && !self.client.is_token_refused() =>
                {
                    self.is_without("403, and takes the token elsewhere");
                    sleep(ABSENT_RETRY).await;
                }
                Err(NoStream::TokenRefused(_)) => {
                    // The poller finds out for itself, and says what to do.
                    let _ = timeout(TOKEN_RETRY, tokens.changed()).await;
                }
                Err(NoStream::NotNow(why)) => {
                    self.complain(why);
                    sleep(backoff.next(None)).await;
                }
            }
        }
    }

    /// Says once that there is no stream.
    fn is_without(&mut self, said: &str) {
        if !std::mem::replace(&mut self.is_absent, true) {
            info!(target: TRADING, "The backend has no stream of signals ({said}): they are fetched alone");
        }
    }

    fn complain(&mut self, why: String) {
        if self.trouble.as_ref() == Some(&why) {
            debug!(target: TRADING, "Still no stream of signals: {why}");
            return;
        }
        warn!(target: TRADING, "No stream of signals: {why}; they are fetched meanwhile");
        self.trouble = Some(why);
    }

    /// Reads until the connection ends; why it did.
    async fn read(&mut self, connection: reqwest::Upgraded) -> Result<String, Gone> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let mut socket = WebSocketStream::from_raw_socket(connection, Role::Client, Some(config)).await;
        self.trouble = None;
        self.is_absent = false;
        meters::stream_connected(true);
        info!(target: TRADING, "Signals are pushed by the backend from now on, and fetched besides at a slower pace");
        self.tell(Pushed::Connected).await?;
        let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut heard = Instant::now();
        loop {
            let next = tokio::select! {
                next = socket.next() => next,
                _ = pings.tick() => {
                    if heard.elapsed() >= SILENCE {
                        return Ok(format!("nothing was heard for {} s", SILENCE.as_secs()));
                    }
                    if let Err(e) = socket.send(Message::Ping(Vec::new().into())).await {
                        return Ok(e.to_string());
                    }
                    continue;
                }
            };
            heard = Instant::now();
            match next {
                None => return Ok("the backend closed it".to_owned()),
                Some(Err(e)) => return Ok(e.to_string()),
                Some(Ok(Message::Close(_))) => return Ok("the backend closed it".to_owned()),
                Some(Ok(Message::Text(text))) => self.take(text.as_str())?,
                // Pings are answered by the library; nothing else was agreed on.
                Some(Ok(_)) => {}
            }
        }
    }

    fn take(&mut self, text: &str) -> Result<(), Gone> {
        match wire::pushed(text) {
            Ok(Some((answer, cursor))) => match self.sender.try_send(Pushed::Signals {
                answer,
                cursor,
                at: Instant::now(),
            }) {
                Ok(()) => Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.missed.store(true, Ordering::Relaxed);
                    Ok(())
                }
                Err(mpsc::error::TrySendError::Closed(_)) => Err(Gone),
            },
            Ok(None) => Ok(()),
            Err(why) => {
                self.complain(format!("a message cannot be understood: {why}"));
                Ok(())
            }
        }
    }

    async fn tell(&self, pushed: Pushed) -> Result<(), Gone> {
        self.sender.send(pushed).await.map_err(|_| Gone)
    }
}
