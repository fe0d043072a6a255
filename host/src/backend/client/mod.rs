//! HTTP: one pooled client.

mod answer;
mod login;
mod said;
mod settings;
mod token;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{Method, StatusCode, Url, redirect};
use tokio::sync::{Mutex, watch};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use answer::root_cause;
pub(crate) use answer::{Answer, Cause};
pub(crate) use login::LoginAnswer;
pub(super) use settings::certificates;
pub(crate) use settings::{ClientSettings, SetupError, parse_base};
pub(crate) use token::Token;

use super::nats::{Credentials, Nats};
use super::routes::HandedOver;
use super::sales::Origin;
use super::wire::{self, Post, View};
use crate::clock::Clock;
use crate::config::Config;
use crate::monitor::meters;
use crate::secrets::Claims;

/// The longest place in a stream that is repeated to the backend, in characters.
const MAX_CURSOR: usize = 256;
/// How many hops on the same host are followed.
const MAX_HOPS: usize = 3;
/// Idle connections kept open; more than the reporter ever posts at once.
const MAX_IDLE: usize = 64;

/// How far somebody is with a new token.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Renewal {
    /// Somebody can get one without a person.
    pub(super) is_possible: bool,
    /// The last tries to get one gave nothing.
    pub(super) is_failing: bool,
    /// The newest token that was refused, by its number.
    pub(super) refused: u64,
    /// The newest of them that was refused to a kind of call which it had been good for.
    pub(super) accepted: u64,
    /// For tokens up to this number there will be no other soon.
    pub(super) given_up: u64,
}

/// A call waits no longer for a new token; what waits longer is tried again by its caller.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(20);

/// The call by which signals are asked for.
const SIGNALS: &str = "signals";

/// Calls that a backend may each grant or refuse by itself.
const ROUTES: [&str; 9] = [
    SIGNALS,
    "executions",
    "heartbeat",
    "positions/sync",
    "positions/cleanup",
    "positions/snapshot",
    "account/sync",
    "status",
    "other",
];

/// The route of a call: paths hold the names of orders.
pub(super) fn route(method: &Method, path: &str) -> &'static str {
    let path = path.split('?').next().unwrap_or_default();
    let path = path.strip_prefix("trader/").unwrap_or(path);
    match path {
        SIGNALS if *method == Method::GET => SIGNALS,
        rest if rest.ends_with("/status") => "status",
        _ => ROUTES[1..]
            .iter()
            .find(|route| **route == path)
            .unwrap_or(&"other"),
    }
}

/// The kind of a call, for figures.
pub(super) fn call_name(method: &Method, path: &str) -> &'static str {
    match route(method, path) {
        "positions/sync" | "positions/cleanup" | "positions/snapshot" | "account/sync" => "sync",
        other => other,
    }
}

/// Why no signals are pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoStream {
    /// The backend has no such call, says this status.
    Absent(u16),
    /// The token is no good, says this status.
    TokenRefused(u16),
    /// It may stand another time.
    NotNow(String),
}

const DAY_MS: i64 = 86_400_000;

/// What a person has to do something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TokenTrouble {
    /// Nothing.
    #[default]
    None,
    /// It ends within a day, in so many milliseconds.
    EndsIn(i64),
    /// It has ended.
    Ended,
    /// The backend refuses it.
    Refused,
    /// The backend refuses it, and new logins are made, which may give another one in a moment.
    RefusedYet,
}

/// Who learned about the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Fetching signals.
    Poller = 1,
    /// Posting reports.
    Reporter = 2,
}

/// The one HTTP client: pooled keep-alive connections, HTTP/1.1.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    /// Where signals and reports go another way.
    nats: Option<Nats>,
    token: RwLock<Option<Token>>,
    /// The number of the token in force; it changes while the lock on that is held.
    token_changes: watch::Sender<u64>,
    renewal: watch::Sender<Renewal>,
    /// For each kind of call the newest token with which one was answered as it should be.
    good_for: [AtomicU64; ROUTES.len()],
    refused: AtomicU8,
    /// How many calls were answered as they should be.
    answered: watch::Sender<u64>,
    connect_timeout: Duration,
    read_timeout: Duration,
    call_timeout: Duration,
    remedy: String,
    /// How far the backend's clock is ahead of ours, in milliseconds; the least value before any answer.
    ahead_ms: AtomicI64,
    /// Whether the last answer had a date.
    tells_time: AtomicBool,
    /// The last question whether a token is good, so that calls that were refused at once ask it once.
    asked: Mutex<Option<Asked>>,
}

/// Whether the token of this number was good when it was asked.
#[derive(Debug, Clone, Copy)]
struct Asked {
    number: u64,
    at: Instant,
    is_good: bool,
}

/// Nothing has been answered yet.
const NO_ANSWER: i64 = i64::MIN;

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Sets the client up; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// The address cannot be one of a backend.
    pub(crate) fn new(settings: &ClientSettings) -> Result<Self, SetupError> {
        let url = parse_base(&settings.base_url)?;
        // A second install fails because the first one stands, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("quantTrader/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .no_proxy()
            .redirect(redirect::Policy::custom(follow))
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .read_timeout(settings.read_timeout)
            .timeout(settings.call_timeout)
            .pool_max_idle_per_host(MAX_IDLE);
        if url.scheme() == "http" {
            // The system's root certificates take milliseconds and megabytes; redirects never
            // leave the scheme, so that nobody would look at them.
            builder = builder.tls_certs_only([]);
        } else if !settings.roots.is_empty() {
            builder = builder.tls_certs_only(settings.roots.clone());
        }
        Ok(Self {
            http: builder.build().map_err(SetupError::Http)?,
            base: url.as_str().trim_end_matches('/').to_owned(),
            nats: None,
            token: RwLock::new(settings.token.clone()),
            token_changes: watch::Sender::new(1),
            renewal: watch::Sender::new(Renewal::default()),
            good_for: Default::default(),
            refused: AtomicU8::new(0),
            answered: watch::Sender::new(0),
            connect_timeout: settings.connect_timeout,
            read_timeout: settings.read_timeout,
            call_timeout: settings.call_timeout,
            remedy: settings.remedy.clone(),
            ahead_ms: AtomicI64::new(NO_ANSWER),
            tells_time: AtomicBool::new(false),
            asked: Mutex::new(None),
        })
    }

    /// The address, without slashes at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Takes another token from now on; whoever waits because of the old one tries at once.
    pub(crate) fn set_token(&self, token: Token) {
        {
            let mut in_force = self.token.write().unwrap_or_else(PoisonError::into_inner);
            *in_force = Some(token);
            self.token_changes.send_modify(|number| *number += 1);
        }
        self.renewal.send_modify(|_| {});
    }

    /// The token in force, and its number.
    fn token(&self) -> (Option<Token>, u64) {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        (token.clone(), *self.token_changes.borrow())
    }

    /// What the token in force says of itself, and its number.
    pub(super) fn token_claims(&self) -> (Option<Claims>, u64) {
        let (token, number) = self.token();
        (token.and_then(|token| token.claims), number)
    }

    /// What a person should do about a token that is refused.
    pub(crate) fn remedy(&self) -> &str {
        &self.remedy
    }

    /// How far the backend's clock is ahead of ours, in milliseconds, by its last answer; nothing before there was one.
    /// An answer without a date counts as one by a clock like ours.
    pub(crate) fn clock_ahead_ms(&self) -> Option<i64> {
        let ahead_ms = self.ahead_ms.load(Ordering::Relaxed);
        (ahead_ms != NO_ANSWER).then_some(ahead_ms)
    }

    /// Whether the backend's last answer said what time it is there.
    pub(crate) fn tells_time(&self) -> bool {
        self.tells_time.load(Ordering::Relaxed)
    }

    /// For whoever gets new tokens: how far that is, to be watched and to be changed.
    pub(super) const fn renewal(&self) -> &watch::Sender<Renewal> {
        &self.renewal
    }

    /// Waits until another token than the one of this number is in force; false where there will be none soon.
    async fn another_token(&self, number: u64) -> bool {
        let mut renewal = self.renewal.subscribe();
        let wait = async {
            loop {
                let state = *renewal.borrow_and_update();
                if *self.token_changes.borrow() > number {
                    return true;
                }
                if !state.is_possible || state.given_up >= number || renewal.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(RENEWAL_PATIENCE, wait)
            .await
            .unwrap_or(false)
    }

    /// Whoever gets new tokens learns that this one is refused to a kind of call. What it is good for besides says nothing: a
    /// backend that refuses one kind to every token would be logged in at again and again.
    fn note_refused(&self, kind: &str, number: u64) {
        let was_good = self.good_for(kind).load(Ordering::Relaxed) >= number;
        self.renewal.send_if_modified(|renewal| {
            let is_news = renewal.refused < number;
            renewal.refused = renewal.refused.max(number);
            if was_good {
                renewal.accepted = renewal.accepted.max(number);
            }
            is_news
        });
    }

    fn note_good(&self, kind: &str, number: u64) {
        self.good_for(kind).fetch_max(number, Ordering::Relaxed);
    }

    fn good_for(&self, kind: &str) -> &AtomicU64 {
        let place = ROUTES.iter().position(|known| *known == kind);
        &self.good_for[place.unwrap_or(ROUTES.len() - 1)]
    }

    /// Tells about each new token.
    pub(super) fn token_changes(&self) -> watch::Receiver<u64> {
        self.token_changes.subscribe()
    }

    /// Tells about each call that was answered as it should be: whoever waits since the backend did not answer need not wait
    /// as long as he would while nobody hears of it.
    pub(super) fn answers(&self) -> watch::Receiver<u64> {
        self.answered.subscribe()
    }

    fn note(&self, answer: &Answer) {
        if matches!(answer, Answer::Done(_)) {
            self.answered.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Notes what a caller learned about the token; gives the new state where it changed for the
    /// host as a whole, so that it is told once however many calls were refused.
    pub(super) fn token_refused(&self, caller: Caller, refused: bool) -> Option<bool> {
        let bit = caller as u8;
        let (before, after) = if refused {
            let before = self.refused.fetch_or(bit, Ordering::Relaxed);
            (before, before | bit)
        } else if self.refused.load(Ordering::Relaxed) & bit == 0 {
            // The usual case, once a post: nothing to write.
            return None;
        } else {
            let before = self.refused.fetch_and(!bit, Ordering::Relaxed);
            (before, before & !bit)
        };
        ((before == 0) != (after == 0)).then_some(after != 0)
    }

    /// One that speaks NATS JetStream and no HTTP.
    ///
    /// # Errors
    ///
    /// The HTTP library, which nothing is asked of.
    pub(crate) fn over_nats(config: &Config, nats: Nats) -> Result<Self, SetupError> {
        Self::at_nats(&ClientSettings::of(config, "http://127.0.0.1")?, nats)
    }

    /// The same with these settings, of which the address is not used.
    pub(super) fn at_nats(settings: &ClientSettings, nats: Nats) -> Result<Self, SetupError> {
        let client = Self::new(settings)?;
        let remedy = nats.credentials().map(|credentials| credentials.remedy());
        Ok(Self {
            base: nats.shown().to_owned(),
            nats: Some(nats),
            remedy: remedy.unwrap_or_default(),
            ..client
        })
    }

    /// What is logged in with at NATS, where it is.
    pub(crate) fn nats_credentials(&self) -> Option<&Arc<Credentials>> {
        self.nats.as_ref().and_then(Nats::credentials)
    }

    /// What became of the signals that were fetched last: whoever keeps them for us is told.
    pub(super) async fn signals_handed_over(&self, handed: &HandedOver) {
        if let Some(nats) = &self.nats {
            nats.handed_over(handed).await;
        }
    }

    /// How the signals came that were fetched last.
    pub(super) async fn origin(&self) -> Origin {
        match &self.nats {
            Some(nats) => Origin::Stream(nats.handed().await),
            None => Origin::List,
        }
    }

    /// Asks for signals.
    pub(crate) async fn signals(&self, limit: usize, view: View) -> Answer {
        if let Some(nats) = &self.nats {
            let answer = nats.signals(limit, view).await;
            self.note(&answer);
            return answer;
        }
        self.call(Method::GET, &wire::signals_path(limit, view), None, None)
            .await
    }

    /// True while the backend refuses the token somewhere.
    pub(super) fn is_token_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed) != 0
    }

    /// Whether a person has to do something about the token, at `now_ms` by our clock. Where a new login is made without one
    /// there is nothing to do, unless those fail, or what they give is refused on and on.
    pub(crate) fn token_trouble(&self, now_ms: i64) -> TokenTrouble {
        let Renewal {
            is_possible,
            is_failing,
            ..
        } = *self.renewal.borrow();
        match (self.is_token_refused(), is_possible && !is_failing) {
            (true, true) => return TokenTrouble::RefusedYet,
            (true, false) => return TokenTrouble::Refused,
            (false, true) => return TokenTrouble::None,
            (false, false) => {}
        }
        let (ends_ms, ahead_ms) = match self.nats_credentials() {
            Some(credentials) if credentials.is_refused() => return TokenTrouble::Refused,
            Some(credentials) => (credentials.ends_at_ms(), credentials.ahead_ms()),
            None => {
                let ends_s = self.token_claims().0.and_then(|claims| claims.ends_at_s);
                (ends_s.map(|seconds| seconds * 1000), self.clock_ahead_ms())
            }
        };
        let Some((ends_ms, ahead_ms)) = ends_ms.zip(ahead_ms) else {
            return TokenTrouble::None;
        };
        match ends_ms.saturating_sub(now_ms).saturating_sub(ahead_ms) {
            ..=0 => TokenTrouble::Ended,
            left_ms if left_ms <= DAY_MS => TokenTrouble::EndsIn(left_ms),
            _ => TokenTrouble::None,
        }
    }

    /// Asks for signals to be pushed, those behind `after` where that is known. Connection, token and redirects are those
    /// of every other call.
    pub(super) async fn signals_stream(&self, after: Option<&str>) -> Result<reqwest::Upgraded, NoStream> {
        let (token, _) = self.token();
        let key = generate_key();
        let mut request = self
            .http
            .get(format!("{}/trader/signals/stream", self.base))
            .header(CONNECTION, HeaderValue::from_static("Upgrade"))
            .header(UPGRADE, HeaderValue::from_static("websocket"))
            .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
            .header(SEC_WEBSOCKET_KEY, &key);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.header);
        }
        if let Some(after) = after {
            let after: String = after.chars().take(MAX_CURSOR).collect();
            request = request.query(&[("after", after)]);
        }
        let base = &self.base;
        let response = request.send().await.map_err(|error| match self.failed(&error) {
            Answer::NotKnown { why, .. } => NoStream::NotNow(why),
            _ => NoStream::NotNow(format!("{base} cannot be reached")),
        })?;
        let status = response.status();
        match status {
            StatusCode::SWITCHING_PROTOCOLS => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(NoStream::TokenRefused(status.as_u16()));
            }
            // A call that is not there, or that knows no WebSocket.
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED
            | StatusCode::UPGRADE_REQUIRED
            | StatusCode::OK => return Err(NoStream::Absent(status.as_u16())),
            _ => {
                return Err(NoStream::NotNow(format!(
                    "{base}/trader/signals/stream answered {status}"
                )));
            }
        }
        let accepted = response
            .headers()
            .get(SEC_WEBSOCKET_ACCEPT)
            .and_then(|value| value.to_str().ok());
        if accepted != Some(derive_accept_key(key.as_bytes()).as_str()) {
            return Err(NoStream::NotNow(format!(
                "{base} answered our WebSocket with another's key"
            )));
        }
        response.upgrade().await.map_err(|error| {
            NoStream::NotNow(format!(
                "the stream of {base} did not begin: {}",
                root_cause(&error)
            ))
        })
    }

    /// Posts.
    pub(crate) async fn post(&self, post: Post) -> Answer {
        if let Some(nats) = &self.nats {
            let kind = call_name(&post.method, &post.path);
            let began = crate::clock::Clock::system().monotonic();
            let answer = nats.post(kind, post).await;
            meters::backend_call(kind, answer.name(), began.elapsed());
            self.note(&answer);
            return answer;
        }
        self.call(post.method, &post.path, Some(post.body), post.key.as_deref())
            .await
    }

    /// The status that a GET gets at a path, whatever else is served there; nothing where no answer came. It asks only.
    pub(crate) async fn probe(&self, path: &str) -> Option<u16> {
        let (token, _) = self.token();
        let mut request = self.http.get(format!("{}/{path}", self.base));
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.header);
        }
        let response = request.send().await.ok()?;
        Some(response.status().as_u16())
    }

    /// Makes a call; where the token is refused and another one comes, it is made once more with that.
    async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>, key: Option<&str>) -> Answer {
        let began = Clock::system().monotonic();
        let call = call_name(&method, path);
        let answer = self.call_untimed(method, path, body, key).await;
        meters::backend_call(call, answer.name(), began.elapsed());
        self.note(&answer);
        answer
    }

    async fn call_untimed(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        key: Option<&str>,
    ) -> Answer {
        let body = body.map(Bytes::from);
        let (answer, number) = self.attempt(&method, path, (body.clone(), key)).await;
        if !matches!(answer, Answer::TokenRefused { .. }) || !self.another_token(number).await {
            return answer;
        }
        self.attempt(&method, path, (body, key)).await.0
    }

    /// Makes a call with the token in force, whose number comes with the answer. A 401 says that the token is no good,
    /// whatever else is still answered: who it is that asks is known before what he may do, and signals may come out of a
    /// store on the way. A 403 may be about this call alone: where signals are had with the same token, no other one would
    /// change it.
    async fn attempt(
        &self,
        method: &Method,
        path: &str,
        sent: (Option<Bytes>, Option<&str>),
    ) -> (Answer, u64) {
        let (token, number) = self.token();
        let kind = route(method, path);
        let answer = self.send(method, path, sent, token.clone()).await;
        let refused_kind = match &answer {
            Answer::Refused { status: 401, .. } => kind,
            Answer::Refused { status: 403, .. } if kind == SIGNALS => kind,
            Answer::Refused { status: 403, .. } if !self.is_good(token, number).await => SIGNALS,
            Answer::Done(_) => {
                self.note_good(kind, number);
                return (answer, number);
            }
            _ => return (answer, number),
        };
        let Answer::Refused { status, .. } = answer else {
            return (answer, number);
        };
        self.note_refused(refused_kind, number);
        (Answer::TokenRefused { status }, number)
    }

    /// Whether signals are had with a token now that another call was forbidden with it. Where the backend does not say, the
    /// refusal stands.
    async fn is_good(&self, token: Option<Token>, number: u64) -> bool {
        let refused_at = Clock::system().monotonic();
        let mut asked = self.asked.lock().await;
        if let Some(asked) = *asked
            && asked.number == number
            && asked.at >= refused_at
        {
            return asked.is_good;
        }
        let at = Clock::system().monotonic();
        let path = wire::signals_path(1, View::Pending);
        let answer = self.send(&Method::GET, &path, (None, None), token).await;
        meters::backend_call(SIGNALS, answer.name(), at.elapsed());
        let is_good = matches!(answer, Answer::Done(_));
        if is_good {
            self.note_good(SIGNALS, number);
        }
        *asked = Some(Asked { number, at, is_good });
        is_good
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        (body, key): (Option<Bytes>, Option<&str>),
        token: Option<Token>,
    ) -> Answer {
        let mut request = self.http.request(method.clone(), format!("{}/{path}", self.base));
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.header);
        }
        if let Some(body) = body {
            request = request
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(body);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        match request.send().await {
            Ok(response) => self.judge(response).await,
            Err(error) => self.failed(&error),
        }
    }
}

/// Follows a hop only on the same host and only where the method stays: after a 301 or 302 a POST
/// would become a GET, whose answer would pass for that of the post.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let origin = |url: &Url| {
        (
            url.scheme().to_owned(),
            url.host_str().map(str::to_owned),
            url.port(),
        )
    };
    let keeps_method = matches!(
        attempt.status(),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    );
    let same = attempt
        .previous()
        .first()
        .is_some_and(|first| origin(first) == origin(attempt.url()));
    if keeps_method && same && attempt.previous().len() <= MAX_HOPS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}
