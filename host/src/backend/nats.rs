//! NATS JetStream as the backend: signals from a durable consumer, reports into a stream.
//!
//! A signal is acknowledged once what it led to is durable, so that one which is lost on the way comes again; and a report
//! carries its idempotency key as the message's id, by which the stream tells repeats. The shapes are those of REST.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::{self, AckKind, Message};
use async_nats::{Client, ConnectOptions, HeaderMap};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::TRADING;
use super::client::{Answer, Cause};
use super::wire::{Post, View};
use crate::config;

/// How long a question for signals waits for the first one.
const WAIT: Duration = Duration::from_secs(1);
/// A signal that is not acknowledged within this time comes again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Signals that may be on their way at once.
const MOST_PENDING: i64 = 4096;
/// One that cannot be taken now comes again after this time.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Signals and reports by way of NATS.
pub(crate) struct Nats {
    settings: config::Nats,
    credentials: Option<String>,
    link: Mutex<Option<Link>>,
    /// The messages that were handed out last and are not acknowledged.
    handed_out: Mutex<Vec<Message>>,
}

#[derive(Clone)]
struct Link {
    context: jetstream::Context,
    consumer: Option<PullConsumer>,
}

impl Nats {
    /// Reads the credentials; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// A sentence about the credentials, with nothing of them.
    pub(crate) fn new(settings: &config::Nats) -> Result<Self, String> {
        let read = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path).map_err(|e| {
                format!(
                    "`nats.credentials`: the file {} cannot be read: {e}",
                    crate::system::shown(path)
                )
            })
        };
        Ok(Self {
            credentials: settings.credentials.as_ref().map(read).transpose()?,
            settings: settings.clone(),
            link: Mutex::default(),
            handed_out: Mutex::default(),
        })
    }

    /// The servers, for messages.
    pub(super) fn shown(&self) -> &str {
        &self.settings.url
    }

    /// The connection, which is made once and then mends itself.
    async fn link(&self) -> Result<Link, String> {
        let mut held = self.link.lock().await;
        if let Some(link) = &*held {
            return Ok(link.clone());
        }
        let client = self.connect().await?;
        let link = Link {
            context: jetstream::new(client),
            consumer: None,
        };
        *held = Some(link.clone());
        Ok(link)
    }

    async fn connect(&self) -> Result<Client, String> {
        // A second install fails because the first one stands, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = match &self.credentials {
            Some(text) => ConnectOptions::with_credentials(text).map_err(|_| {
                "`nats.credentials` is no file of credentials as `nsc` makes them (not shown)".to_owned()
            })?,
            None => ConnectOptions::new(),
        };
        let servers: Vec<&str> = self.settings.url.split(',').map(str::trim).collect();
        options
            .name(concat!("quantTrader ", env!("CARGO_PKG_VERSION")))
            .request_timeout(Some(ANSWER))
            .event_callback(|event| async move {
                match event {
                    async_nats::Event::Connected => info!(target: TRADING, "NATS is connected"),
                    async_nats::Event::Disconnected => {
                        warn!(target: TRADING, "NATS is not connected any more; it is tried on");
                    }
                    other => debug!(target: TRADING, "NATS: {other}"),
                }
            })
            .connect(servers)
            .await
            .map_err(|e| format!("no connection to NATS at {}: {e}", self.settings.url))
    }

    /// The durable consumer, which is made where it is not there.
    async fn consumer(&self) -> Result<PullConsumer, String> {
        let link = self.link().await?;
        if let Some(consumer) = link.consumer {
            return Ok(consumer);
        }
        let name = &self.settings.signals_stream;
        let stream = link.context.get_stream(name).await.map_err(|e| {
            format!("the stream {name} of NATS cannot be used: {e}; whoever publishes signals makes it")
        })?;
        let config = pull::Config {
            durable_name: Some(self.settings.consumer.clone()),
            filter_subject: self.settings.signals_subject.clone(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: MOST_PENDING,
            // However often it takes: a signal is never given up for having come too often.
            max_deliver: -1,
            ..pull::Config::default()
        };
        let consumer = stream
            .get_or_create_consumer(&self.settings.consumer, config)
            .await
            .map_err(|e| {
                format!(
                    "the consumer {} on {name} cannot be used: {e}",
                    self.settings.consumer
                )
            })?;
        if let Some(link) = &mut *self.link.lock().await {
            link.consumer = Some(consumer.clone());
        }
        Ok(consumer)
    }

    /// Asks for signals, and waits a moment for the first. What the backend holds as submitted is known from the journal
    /// alone: a stream has no such view.
    pub(super) async fn signals(&self, limit: usize, view: View) -> Answer {
        if view == View::Submitted {
            return Answer::Done(json!({ "success": true, "data": [] }));
        }
        let consumer = match self.consumer().await {
            Ok(consumer) => consumer,
            Err(why) => return not_known(why, Cause::Unreachable),
        };
        match timeout(ANSWER, take(&consumer, limit)).await {
            Ok(Ok(messages)) => {
                let data = messages
                    .iter()
                    .map(|message| serde_json::from_slice(&message.payload).unwrap_or(Value::Null));
                let answer = json!({ "success": true, "data": data.collect::<Vec<_>>() });
                *self.handed_out.lock().await = messages;
                Answer::Done(answer)
            }
            Ok(Err(why)) => {
                self.forget_consumer().await;
                not_known(format!("{} gives no signals: {why}", self.shown()), Cause::Broken)
            }
            Err(_) => {
                self.forget_consumer().await;
                let seconds = ANSWER.as_secs();
                not_known(
                    format!("no answer from {} within {seconds} s", self.shown()),
                    Cause::Timeout,
                )
            }
        }
    }

    /// It may have been removed: it is looked for anew.
    async fn forget_consumer(&self) {
        if let Some(link) = &mut *self.link.lock().await {
            link.consumer = None;
        }
    }

    /// Acknowledges what was handed out last, or has it come again.
    pub(super) async fn handed_over(&self, are_durable: bool) {
        for message in std::mem::take(&mut *self.handed_out.lock().await) {
            let kind = if are_durable {
                AckKind::Ack
            } else {
                AckKind::Nak(Some(AGAIN))
            };
            if let Err(e) = message.ack_with(kind).await {
                // It comes again, and counts once.
                debug!(target: TRADING, "A signal could not be acknowledged: {e}");
            }
        }
    }

    /// Puts a report into its stream; done once the stream has it.
    pub(super) async fn post(&self, kind: &str, post: Post) -> Answer {
        let link = match self.link().await {
            Ok(link) => link,
            Err(why) => return not_known(why, Cause::Unreachable),
        };
        let subject = format!("{}.{kind}", self.settings.reports_subject);
        let mut headers = HeaderMap::new();
        if let Some(key) = &post.key {
            headers.insert(async_nats::header::NATS_MESSAGE_ID, key.as_str());
        }
        headers.insert("Qt-Method", post.method.as_str());
        headers.insert("Qt-Path", post.path.as_str());
        let sent = link
            .context
            .publish_with_headers(subject.clone(), headers, post.body.into());
        let stored = async { sent.await?.await };
        match timeout(ANSWER, stored).await {
            Ok(Ok(_)) => Answer::Done(json!({ "success": true })),
            Ok(Err(e)) => {
                let (why, cause) = match e.kind() {
                    PublishErrorKind::StreamNotFound => (
                        format!(
                            "no stream of {} takes the subject {subject}; whoever reads reports makes one",
                            self.shown()
                        ),
                        Cause::Unreachable,
                    ),
                    PublishErrorKind::TimedOut => {
                        (format!("{} does not answer", self.shown()), Cause::Unreachable)
                    }
                    _ => (
                        format!("{} does not take a report: {e}", self.shown()),
                        Cause::Broken,
                    ),
                };
                not_known(why, cause)
            }
            Err(_) => {
                let seconds = ANSWER.as_secs();
                not_known(
                    format!("no answer from {} within {seconds} s", self.shown()),
                    Cause::Unreachable,
                )
            }
        }
    }
}

fn not_known(why: String, cause: Cause) -> Answer {
    Answer::NotKnown {
        why,
        cause,
        retry_after: None,
    }
}

/// The first message within the wait, and those that are there with it.
async fn take(consumer: &PullConsumer, limit: usize) -> Result<Vec<Message>, String> {
    let first = consumer.batch().max_messages(1).expires(WAIT).messages();
    let mut messages = gather(first.await.map_err(|e| e.to_string())?).await?;
    if !messages.is_empty() && limit > 1 {
        let rest = consumer.fetch().max_messages(limit - 1).messages();
        messages.extend(gather(rest.await.map_err(|e| e.to_string())?).await?);
    }
    Ok(messages)
}

async fn gather(mut batch: pull::Batch) -> Result<Vec<Message>, String> {
    let mut messages = Vec::new();
    while let Some(message) = batch.next().await {
        match message {
            Ok(message) => messages.push(message),
            // What came before the trouble is as good as ever.
            Err(e) if messages.is_empty() => return Err(e.to_string()),
            Err(e) => {
                debug!(target: TRADING, "NATS: {e}");
                break;
            }
        }
    }
    Ok(messages)
}
