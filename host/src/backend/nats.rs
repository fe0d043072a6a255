//! NATS JetStream as the backend: signals from a durable consumer, reports into a stream.
//!
//! A signal is acknowledged once what it led to is durable, so that one which is lost on the way comes again; and a report
//! carries its idempotency key as the message's id, by which the stream tells repeats. The shapes are those of REST.

mod credentials;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{ConsumerInfoErrorKind, PublishErrorKind};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, AckKind, Message};
use async_nats::{Client, ClientError, ConnectErrorKind, ConnectOptions, HeaderMap, Subject};
use futures_util::StreamExt;
use qt_core::{Left, SignalId, UtcMillis};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

pub(crate) use self::credentials::Credentials;
use super::TRADING;
use super::client::{Answer, Cause};
use super::routes::HandedOver;
use super::sales::Handed;
use super::wire::{Post, View};
use crate::clock::Clock;
use crate::config;

/// How long a question for signals waits for the first one.
const WAIT: Duration = Duration::from_secs(1);
/// A signal that is not acknowledged within this time comes again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// No bound on what is not acknowledged: so much as is asked for is handed out, and signals that wait for a halt to end, or
/// for another host, must not keep new ones from coming.
const MOST_PENDING: i64 = -1;
/// One that is not taken comes again after this time, then after twice that, and so on.
const AGAIN: Duration = Duration::from_secs(1);
/// So often a message comes without a longer wait.
const PROMPT: u64 = 10;
/// So often at least one is tried again that could not be taken: a halt ends, a broker comes back.
const NOT_NOW: Duration = Duration::from_secs(5);
/// And one for an account that is not here: the consumer's other hosts are the ones to take it.
const NOT_OURS: Duration = Duration::from_secs(600);
/// What was handed out to a process that is gone, or was lost on the way to this one, has come again by then: one that was
/// given back, and one that was not.
const SETTLES: Duration = Duration::from_secs(40);
/// Of so many messages about sales that wait it is known where they are acknowledged.
const MOST_WAITING: usize = 10_000;
/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Signals and reports by way of NATS.
pub(crate) struct Nats {
    settings: config::Nats,
    credentials: Option<Arc<Credentials>>,
    ca_certificate: Option<PathBuf>,
    link: Mutex<Option<Link>>,
    settling: Settling,
    /// The number that the consumer gave to what it handed out last, as far as it came.
    came: std::sync::Mutex<Option<u64>>,
    /// The messages that were handed out last and are not acknowledged, each with the name of its signal.
    handed_out: Mutex<Vec<(Option<String>, Message)>>,
    /// Where to acknowledge the messages by which a sale could not be taken, by its name and their number in the stream.
    sales_waiting: Mutex<BTreeMap<(String, u64), Subject>>,
    /// By how much the server's clock is ahead of ours, in ms.
    ahead_ms: Mutex<i64>,
}

/// What there is at NATS.
#[derive(Debug)]
pub(crate) struct Seen {
    /// How many messages the stream of signals has.
    pub(crate) signals: Result<u64, String>,
    /// Where the consumer stands; `None` where it is not there yet.
    pub(crate) consumer: Result<Option<Standing>, String>,
    /// The stream that takes reports.
    pub(crate) reports: Result<String, String>,
}

/// Where a consumer stands.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Signals that are still to be handed out.
    pub(crate) pending: u64,
    /// Those that are handed out and not acknowledged.
    pub(crate) open: usize,
}

/// Until when something may not have come again that was handed out before; nothing before the consumer was seen.
#[derive(Debug, Clone, Default)]
struct Settling(Arc<std::sync::Mutex<Option<Option<Instant>>>>);

impl Settling {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Option<Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The consumer is seen for the first time, with or without something that is not acknowledged.
    fn begin(&self, is_open: bool) {
        self.lock()
            .get_or_insert_with(|| is_open.then(|| Instant::now() + SETTLES));
    }

    /// Something may have been lost on the way: a sale of which nobody here knows, while purchases of its plan come.
    fn begin_anew(&self) {
        *self.lock() = Some(Some(Instant::now() + SETTLES));
    }

    /// What was lost with the connection comes again so long after it is back.
    fn connected(&self) {
        if let Some(Some(at)) = &mut *self.lock() {
            *at = Instant::now() + SETTLES;
        }
    }

    fn at(&self) -> Option<Instant> {
        self.lock().flatten()
    }
}

#[derive(Clone)]
struct Link {
    client: Client,
    context: jetstream::Context,
    consumer: Option<PullConsumer>,
}

impl Nats {
    /// Reads the credentials; nothing is connected yet. A certificate of an authority is trusted besides the system's.
    ///
    /// # Errors
    ///
    /// A sentence about the credentials, with nothing of them, or about the certificate.
    pub(crate) fn new(settings: &config::Nats, ca_certificate: Option<&Path>) -> Result<Self, String> {
        if let Some(path) = ca_certificate {
            super::client::certificates(path).map_err(|e| e.to_string())?;
        }
        Ok(Self {
            credentials: settings
                .credentials
                .clone()
                .map(|path| Credentials::new(path).map(Arc::new))
                .transpose()?,
            ca_certificate: ca_certificate.map(Path::to_owned),
            settings: settings.clone(),
            link: Mutex::default(),
            settling: Settling::default(),
            came: std::sync::Mutex::default(),
            handed_out: Mutex::default(),
            sales_waiting: Mutex::default(),
            ahead_ms: Mutex::default(),
        })
    }

    /// Looks at what there is, and makes and changes nothing.
    ///
    /// # Errors
    ///
    /// There is no connection.
    pub(crate) async fn look(&self) -> Result<Seen, String> {
        let seconds = ANSWER.as_secs();
        let late = |_| format!("no answer from {} within {seconds} s", self.shown());
        let context = timeout(ANSWER, self.link()).await.map_err(late)??.context;
        let stream = context.get_stream(&self.settings.signals_stream).await;
        let consumer = match &stream {
            Ok(stream) => match stream.consumer_info(&self.settings.consumer).await {
                Ok(info) => self.check_subject(&info.config).map(|()| {
                    Some(Standing {
                        pending: info.num_pending,
                        open: info.num_ack_pending,
                    })
                }),
                Err(e) if e.kind() == ConsumerInfoErrorKind::NotFound => Ok(None),
                Err(e) => Err(e.to_string()),
            },
            Err(_) => Ok(None),
        };
        let subject = |kind| format!("{}.{kind}", self.settings.reports_subject);
        let (status, executions) = (
            context.stream_by_subject(subject("status")).await,
            context.stream_by_subject(subject("executions")).await,
        );
        Ok(Seen {
            signals: stream
                .map(|stream| stream.cached_info().state.messages)
                .map_err(|e| e.to_string()),
            consumer,
            reports: executions.and(status).map_err(|e| e.to_string()),
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
            context: jetstream::new(client.clone()),
            client,
            consumer: None,
        };
        *held = Some(link.clone());
        Ok(link)
    }

    async fn connect(&self) -> Result<Client, String> {
        // A second install fails because the first one stands, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = match &self.credentials {
            Some(credentials) => {
                // What is wrong with them is said in full here, and by the library in two words.
                credentials.read()?;
                credentials.options()
            }
            None => ConnectOptions::new(),
        };
        let options = match &self.ca_certificate {
            Some(path) => options.add_root_certificates(path.clone()),
            None => options,
        };
        let (settling, credentials) = (self.settling.clone(), self.credentials.clone());
        let servers: Vec<&str> = self.settings.url.split(',').map(str::trim).collect();
        options
            .name(concat!("quantTrader ", env!("CARGO_PKG_VERSION")))
            .request_timeout(Some(ANSWER))
            .event_callback(move |event| {
                match event {
                    async_nats::Event::Connected => {
                        settling.connected();
                        if let Some(credentials) = &credentials {
                            credentials.accepted();
                        }
                        info!(target: TRADING, "NATS is connected");
                    }
                    async_nats::Event::Disconnected => {
                        settling.begin_anew();
                        warn!(target: TRADING, "NATS is not connected any more; it is tried on");
                    }
                    other => {
                        debug!(target: TRADING, "NATS: {other}");
                        if let (Some(credentials), async_nats::Event::ClientError(ClientError::Other(why))) =
                            (&credentials, &other)
                            && is_for_credentials(|kind| kind.to_string() == *why)
                        {
                            credentials.refused(why);
                        }
                    }
                }
                std::future::ready(())
            })
            .connect(servers)
            .await
            .map_err(|e| {
                let what = format!("no connection to NATS at {}: {e}", self.settings.url);
                match &self.credentials {
                    Some(credentials) if is_for_credentials(|kind| *kind == e.kind()) => {
                        credentials.refused(&e.to_string());
                        format!("{what}; {}", credentials.remedy())
                    }
                    _ => what,
                }
            })
            .inspect(|_| {
                if let Some(credentials) = &self.credentials {
                    credentials.accepted();
                }
            })
    }

    /// What the host logs in with, where it does.
    pub(crate) const fn credentials(&self) -> Option<&Arc<Credentials>> {
        self.credentials.as_ref()
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
        let unusable = |e: String| {
            format!(
                "the consumer {} on {name} cannot be used: {e}",
                self.settings.consumer
            )
        };
        let config = pull::Config {
            deliver_policy: begins(&stream, &self.settings).await.map_err(unusable)?,
            durable_name: Some(self.settings.consumer.clone()),
            filter_subject: self.settings.signals_subject.clone(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: MOST_PENDING,
            // However often it takes: a signal is never given up for having come too often.
            max_deliver: -1,
            ..pull::Config::default()
        };
        let consumer: PullConsumer = stream
            .get_or_create_consumer(&self.settings.consumer, config)
            .await
            .map_err(|e| unusable(e.to_string()))?;
        let found = consumer.cached_info();
        let is_open = found.num_ack_pending > 0;
        self.check_subject(&found.config)?;
        if let Err(e) = self.look_at_clock(&stream).await {
            // Not every stream lets a second consumer look, nor does every login.
            warn!(
                target: TRADING,
                "The time of NATS cannot be learnt ({e}): what it publishes is dated as if its clock were this machine's"
            );
        }
        if let Some(credentials) = &self.credentials {
            credentials.clock_is_ahead(*self.ahead_ms.lock().await);
        }
        self.settling.begin(is_open);
        self.came().get_or_insert(found.delivered.consumer_sequence);
        if let Some(link) = &mut *self.link.lock().await {
            link.consumer = Some(consumer.clone());
        }
        Ok(consumer)
    }

    /// A consumer for another subject hands out what is not asked for, and nothing of what is. It is not changed: a server of
    /// 2.9 takes the change and hands nothing out by it, and one that is made anew repeats what was acknowledged.
    fn check_subject(&self, made: &consumer::Config) -> Result<(), String> {
        let subject = &self.settings.signals_subject;
        let is_ours = match (made.filter_subject.as_str(), &*made.filter_subjects) {
            // One that has no filter hands out all.
            ("", []) => true,
            (one, []) => one == subject,
            (_, several) => several.iter().any(|one| one == subject),
        };
        if is_ours {
            return Ok(());
        }
        let made_for = [std::slice::from_ref(&made.filter_subject), &made.filter_subjects].concat();
        let made_for: Vec<&str> = made_for
            .iter()
            .map(String::as_str)
            .filter(|one| !one.is_empty())
            .collect();
        Err(format!(
            "the consumer {} was made for {} and hands out nothing else, and `nats.signals_subject` is {subject}: no signal is taken. \
             Give `nats.signals_subject` back, or name another one with `nats.consumer`, or remove it at NATS, where it then begins \
             anew",
            self.settings.consumer,
            made_for.join(", ")
        ))
    }

    /// Learns by how much the server's clock is ahead, which dates what is published: a consumer that is made says when, and
    /// goes by itself.
    async fn look_at_clock(&self, stream: &Stream) -> Result<(), String> {
        let before_ms = Clock::system().now_ms();
        let config = pull::Config {
            deliver_policy: DeliverPolicy::New,
            filter_subject: self.settings.signals_subject.clone(),
            memory_storage: true,
            inactive_threshold: ACK_WAIT,
            ..pull::Config::default()
        };
        let made = stream.create_consumer(config).await.map_err(|e| e.to_string())?;
        let found = made.cached_info();
        *self.ahead_ms.lock().await = millis(found.created).saturating_sub(before_ms);
        if let Err(e) = stream.delete_consumer(&found.name).await {
            debug!(target: TRADING, "A consumer that was made to learn the server's time goes by itself: {e}");
        }
        Ok(())
    }

    /// What is known of the messages that were handed out last.
    pub(super) async fn handed(&self) -> Handed {
        let ahead_ms = *self.ahead_ms.lock().await;
        let mut handed = Handed {
            settles_at: self.settling.at(),
            ..Handed::default()
        };
        for (name, message) in &*self.handed_out.lock().await {
            let Some(name) = name else { continue };
            let Ok(info) = message.info() else { continue };
            let published = UtcMillis(millis(info.published).saturating_sub(ahead_ms));
            // The first one of a name is the one that is looked at.
            handed
                .published
                .entry(SignalId(name.clone()))
                .or_insert(published);
        }
        handed
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
        let mut messages = Vec::new();
        let seconds = ANSWER.as_secs();
        let (trouble, cause) = match timeout(ANSWER, self.take(&consumer, limit, &mut messages)).await {
            Ok(Ok(())) => (None, Cause::Broken),
            Ok(Err(why)) => (
                Some(format!("{} gives no signals: {why}", self.shown())),
                Cause::Broken,
            ),
            Err(_) => (
                Some(format!("no answer from {} within {seconds} s", self.shown())),
                Cause::Timeout,
            ),
        };
        if let Some(why) = trouble {
            self.settling.begin_anew();
            self.forget_consumer().await;
            if messages.is_empty() {
                return not_known(why, cause);
            }
            // What came before the trouble is as good as ever, and would come again late.
            debug!(target: TRADING, "{why}, but for {} that came before", messages.len());
        }
        if let Some(Ok(last)) = messages.last().map(Message::info) {
            *self.came() = Some(last.consumer_sequence);
        }
        let mut data = Vec::with_capacity(messages.len());
        let mut handed_out = Vec::with_capacity(messages.len());
        for message in messages {
            let entry: Value = serde_json::from_slice(&message.payload).unwrap_or(Value::Null);
            let name = entry.get("order_id").and_then(Value::as_str);
            handed_out.push((name.map(str::to_owned), message));
            data.push(entry);
        }
        *self.handed_out.lock().await = handed_out;
        Answer::Done(json!({ "success": true, "data": data }))
    }

    fn came(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first message within the wait, and those that are there with it. With an error there are those that came before it.
    async fn take(
        &self,
        consumer: &PullConsumer,
        limit: usize,
        messages: &mut Vec<Message>,
    ) -> Result<(), String> {
        let began = Instant::now();
        let first = consumer.batch().max_messages(1).expires(WAIT).messages();
        gather(first.await.map_err(|e| e.to_string())?, messages).await?;
        if messages.is_empty() && began.elapsed() > WAIT * 5 {
            // A server that is there says that there is nothing, but not each time: a version of 2.9 forgets it now and then.
            // What it handed out meanwhile would come to nobody.
            let info = consumer.get_info().await.map_err(|e| e.to_string())?;
            if Some(info.delivered.consumer_sequence) != *self.came() {
                let seconds = began.elapsed().as_secs();
                return Err(format!(
                    "it says nothing for {seconds} s, and has handed out what did not come"
                ));
            }
        }
        if !messages.is_empty() && limit > 1 {
            let rest = consumer.fetch().max_messages(limit - 1).messages();
            gather(rest.await.map_err(|e| e.to_string())?, messages).await?;
        }
        Ok(())
    }

    /// It may have been removed: it is looked for anew.
    async fn forget_consumer(&self) {
        if let Some(link) = &mut *self.link.lock().await {
            link.consumer = None;
        }
    }

    /// Acknowledges what was handed out last, one by one: what is left comes again, and so does a second one of a name,
    /// which was not looked at beside the first. Of a sale that is released no older message is to come again by which it could
    /// not be taken: after a restart nobody would know it to be older, and it would hold back the purchases of its plan.
    pub(super) async fn handed_over(&self, handed: &HandedOver) {
        let left: HashMap<&str, Left> = handed
            .left
            .iter()
            .map(|(id, why)| (id.0.as_str(), *why))
            .collect();
        let mut seen = HashSet::new();
        let mut sales_waiting = self.sales_waiting.lock().await;
        for (name, message) in std::mem::take(&mut *self.handed_out.lock().await) {
            let number = message.info().map_or(0, |info| info.stream_sequence);
            let is_second = name.as_ref().is_some_and(|name| !seen.insert(name.clone()));
            if let Some(name) = name.as_deref().filter(|_| !is_second) {
                let is = |ids: &[SignalId]| ids.iter().any(|id| id.0 == *name);
                if is(&handed.sales_released) {
                    // Before this one: where the process ends in between, this one comes again.
                    let older = (name.to_owned(), 0)..(name.to_owned(), number);
                    for (_, to) in sales_waiting.extract_if(older, |_, _| true) {
                        self.acknowledge(to).await;
                    }
                }
                let key = (name.to_owned(), number);
                match &message.reply {
                    Some(to) if is(&handed.sales_waiting) && sales_waiting.len() < MOST_WAITING => {
                        sales_waiting.insert(key, to.clone());
                    }
                    _ => drop(sales_waiting.remove(&key)),
                }
            }
            let why = name.and_then(|name| left.get(name.as_str()).copied());
            let kind = match why {
                _ if is_second => AckKind::Nak(Some(AGAIN)),
                None => AckKind::Ack,
                Some(Left::NotNow) => AckKind::Nak(Some(again(&message, NOT_NOW))),
                Some(Left::NotOurs) => AckKind::Nak(Some(again(&message, NOT_OURS))),
            };
            if let Err(e) = message.ack_with(kind).await {
                // It comes again, and counts once.
                debug!(target: TRADING, "A signal could not be acknowledged: {e}");
            }
        }
    }

    /// Acknowledges a message that was given back before it comes again.
    async fn acknowledge(&self, to: Subject) {
        let Ok(client) = self.link().await.map(|link| link.client) else {
            return;
        };
        if let Err(e) = client.publish(to, AckKind::Ack.into()).await {
            debug!(target: TRADING, "A message that was given back could not be acknowledged: {e}");
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

/// Whether a connection fails for the credentials, by what says so of a kind.
fn is_for_credentials(is: impl Fn(&ConnectErrorKind) -> bool) -> bool {
    [
        ConnectErrorKind::AuthorizationViolation,
        ConnectErrorKind::Authentication,
    ]
    .iter()
    .any(is)
}

/// How long until a message comes again: soon at first, then the longer the more often it came. No two wait equally long,
/// or all would come to whoever gave them back, whose question is the oldest by then.
fn again(message: &Message, most: Duration) -> Duration {
    let (number, came) = message.info().map_or((0, 1), |info| {
        (info.stream_sequence, info.delivered.unsigned_abs())
    });
    let doublings = u32::try_from(came.saturating_sub(PROMPT)).unwrap_or(u32::MAX);
    let doubled = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let apart = Duration::from_millis(number.wrapping_mul(389).wrapping_add(came.wrapping_mul(617)) % 1000);
    AGAIN.saturating_mul(doubled).min(most) + apart
}

/// Where a consumer begins that is made now. One of our own choice goes on where the one for all hosts stood that was there
/// before it: what that one had acknowledged is not told again.
async fn begins(stream: &Stream, settings: &config::Nats) -> Result<DeliverPolicy, String> {
    if settings.names_consumer {
        return Ok(DeliverPolicy::All);
    }
    match stream.consumer_info(config::Nats::ONE_FOR_ALL).await {
        Ok(info) => Ok(DeliverPolicy::ByStartSequence {
            start_sequence: info.ack_floor.stream_sequence + 1,
        }),
        Err(e) if e.kind() == ConsumerInfoErrorKind::NotFound => Ok(DeliverPolicy::All),
        Err(e) => Err(e.to_string()),
    }
}

fn millis(moment: async_nats::datetime::DateTime) -> i64 {
    i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MIN)
}

fn not_known(why: String, cause: Cause) -> Answer {
    Answer::NotKnown {
        why,
        cause,
        retry_after: None,
    }
}

async fn gather(mut batch: pull::Batch, messages: &mut Vec<Message>) -> Result<(), String> {
    while let Some(message) = batch.next().await {
        messages.push(message.map_err(|e| e.to_string())?);
    }
    Ok(())
}
