//! HTTP: one pooled client, and what each answer means.

use std::error::Error as _;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{Certificate, Method, StatusCode, Url, redirect};
use serde_json::Value;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use zeroize::Zeroizing;

use super::nats::Nats;
use super::wire::{self, Post, View};
use crate::clock::Clock;
use crate::config::{Config, Secret};
use crate::monitor::meters;
use crate::secrets::{self, Claims};
use crate::system;

/// No answer is read beyond this.
const MAX_BODY: usize = 16 * 1024 * 1024;
/// The longest place in a stream that is repeated to the backend, in characters.
const MAX_CURSOR: usize = 256;
/// How many hops on the same host are followed.
const MAX_HOPS: usize = 3;
/// Idle connections kept open; more than the reporter ever posts at once.
const MAX_IDLE: usize = 64;

/// The bearer token. It has no Display, its Debug shows nothing of it, and what it took is wiped with its last copy.
#[derive(Clone)]
pub(crate) struct Token {
    header: HeaderValue,
    claims: Option<Claims>,
}

impl Token {
    /// Takes a token as it stands in the configuration, without the word `Bearer`.
    ///
    /// # Errors
    ///
    /// It is empty or holds what no header may hold.
    pub(crate) fn new(text: &str) -> Result<Self, SetupError> {
        let text = text.trim();
        let usable = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        let mut header = usable
            .then(|| HeaderValue::from_maybe_shared(wiped(format!("Bearer {text}").into_bytes())).ok())
            .flatten()
            .ok_or(SetupError::Token)?;
        header.set_sensitive(true);
        Ok(Self {
            header,
            claims: secrets::claims(text),
        })
    }

    /// What it says of itself, where it is a web token.
    pub(crate) const fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref()
    }
}

/// Bytes that are wiped once nobody has them any more.
fn wiped(bytes: Vec<u8>) -> Bytes {
    Bytes::from_owner(Zeroizing::new(bytes))
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Where the backend is and how long to wait for it.
#[derive(Debug, Clone)]
pub(crate) struct ClientSettings {
    /// `http://host:port/api`; slashes at its end do not matter.
    pub(crate) base_url: String,
    /// The bearer token; nothing where one is still to be had.
    pub(crate) token: Option<Token>,
    /// For a connection to stand.
    pub(crate) connect_timeout: Duration,
    /// Between two pieces of an answer.
    pub(crate) read_timeout: Duration,
    /// For a whole call, the answer's body included.
    pub(crate) call_timeout: Duration,
    /// Where there are any, the backend's certificate must come from one of them.
    pub(crate) roots: Vec<Certificate>,
    /// What a person should do about a token that is refused.
    pub(crate) remedy: String,
}

impl ClientSettings {
    /// With the usual waits: 5 s for a connection, 15 s for a call.
    #[cfg(test)]
    pub(crate) fn new(base_url: impl Into<String>, token: Token) -> Self {
        Self {
            base_url: base_url.into(),
            token: Some(token),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(15),
            roots: Vec::new(),
            remedy: REMEDY.to_owned(),
        }
    }

    /// As a configuration has it, without a token.
    ///
    /// # Errors
    ///
    /// The file with the certificates cannot be used.
    pub(crate) fn of(config: &Config, base_url: &str) -> Result<Self, SetupError> {
        let roots = match &config.ca_certificate {
            Some(path) => certificates(path)?,
            None => Vec::new(),
        };
        Ok(Self {
            base_url: base_url.to_owned(),
            token: None,
            connect_timeout: config.http.connect,
            read_timeout: config.http.read,
            call_timeout: config.http.call,
            roots,
            remedy: REMEDY.to_owned(),
        })
    }
}

const REMEDY: &str =
    "Log in again via POST /api/user/login and put the new access_token into the configuration";

/// The certificates of a PEM file.
fn certificates(path: &Path) -> Result<Vec<Certificate>, SetupError> {
    let wrong = |problem: String| SetupError::Certificate {
        path: system::shown(path),
        problem,
    };
    let pem = std::fs::read(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|e| wrong(format!("is not PEM: {e}")))?;
    if found.is_empty() {
        return Err(wrong(
            "holds no certificate; expected PEM, which begins with -----BEGIN CERTIFICATE-----".to_owned(),
        ));
    }
    Ok(found)
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// Not an address of a backend.
    #[error("`api_base_url` is `{given}`: {problem}; expected http://host:port/api")]
    BaseUrl {
        /// What was given, without what could be a secret.
        given: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Not a token.
    #[error(
        "`api_token` cannot be used (its value is not shown): expected the `access_token` from \
         POST /api/user/login, in ASCII and without line breaks"
    )]
    Token,
    /// Not certificates.
    #[error("`ca_certificate` {path} {problem}")]
    Certificate {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The HTTP library refuses.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[source] reqwest::Error),
}

/// What came of a login.
#[derive(Debug)]
pub(crate) enum LoginAnswer {
    /// A token, and whose it is.
    Token {
        /// The token.
        token: Secret,
        /// The backend's id of the user.
        user_id: Option<String>,
    },
    /// The backend refuses name or password, or this very call.
    Refused {
        /// A 4xx status.
        status: u16,
        /// What the backend says about it.
        text: String,
    },
    /// No answer that says either.
    NotKnown {
        /// What happened and what to look at, for a person.
        why: String,
        /// How long the backend asks to wait.
        retry_after: Option<Duration>,
    },
}

/// How far somebody is with a new token.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Renewal {
    /// Somebody can get one without a person.
    pub(super) is_possible: bool,
    /// The newest token that was refused, by its number.
    pub(super) refused: u64,
    /// For tokens up to this number there will be no other soon.
    pub(super) given_up: u64,
}

/// A call waits no longer for a new token; what waits longer is tried again by its caller.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(20);

/// What an answer means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Done, and this is what the backend says.
    Done(Value),
    /// Not known to be done: to be repeated.
    NotKnown {
        /// What happened and what to look at, for a person.
        why: String,
        /// Its kind.
        cause: Cause,
        /// How long the backend asks to wait.
        retry_after: Option<Duration>,
    },
    /// The token is no good.
    TokenRefused {
        /// 401 or 403.
        status: u16,
    },
    /// The backend refuses this very call; repeating it changes nothing.
    Refused {
        /// A 4xx status.
        status: u16,
        /// What the backend says about it.
        text: String,
    },
}

impl Answer {
    /// Its kind, for figures.
    const fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::NotKnown { .. } => "not_known",
            Self::TokenRefused { .. } => "token_refused",
            Self::Refused { .. } => "refused",
        }
    }
}

/// The kind of a call, for figures: paths hold the names of orders.
fn call_name(method: &Method, path: &str) -> &'static str {
    let path = path.split('?').next().unwrap_or_default();
    match path.strip_prefix("trader/").unwrap_or(path) {
        "signals" if *method == Method::GET => "signals",
        "executions" => "executions",
        "heartbeat" => "heartbeat",
        "positions/sync" | "positions/cleanup" | "positions/snapshot" | "account/sync" => "sync",
        rest if rest.ends_with("/status") => "status",
        _ => "other",
    }
}

/// Why it is not known whether a call is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// No connection stood.
    Unreachable,
    /// No answer within the time.
    Timeout,
    /// The connection ended before the answer did.
    Broken,
    /// An answer with this status that says so.
    Status(u16),
    /// An answer with this status whose body is not what a backend says.
    NotJson(u16),
}

impl Cause {
    /// True when the answer says that the backend has no such call.
    pub(super) const fn is_absent(self) -> bool {
        matches!(self, Self::NotJson(404 | 405))
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
    refused: AtomicU8,
    connect_timeout: Duration,
    read_timeout: Duration,
    call_timeout: Duration,
    remedy: String,
    /// How far the backend's clock is ahead of ours, in milliseconds; the least value before any answer.
    ahead_ms: AtomicI64,
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
            refused: AtomicU8::new(0),
            connect_timeout: settings.connect_timeout,
            read_timeout: settings.read_timeout,
            call_timeout: settings.call_timeout,
            remedy: settings.remedy.clone(),
            ahead_ms: AtomicI64::new(NO_ANSWER),
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
    pub(super) fn remedy(&self) -> &str {
        &self.remedy
    }

    /// How far the backend's clock is ahead of ours, in milliseconds, by its last answer; nothing before there was one.
    /// An answer without a date counts as one by a clock like ours.
    pub(crate) fn clock_ahead_ms(&self) -> Option<i64> {
        let ahead_ms = self.ahead_ms.load(Ordering::Relaxed);
        (ahead_ms != NO_ANSWER).then_some(ahead_ms)
    }

    /// For whoever gets new tokens: how far that is, to be watched and to be changed.
    pub(super) const fn renewal(&self) -> &watch::Sender<Renewal> {
        &self.renewal
    }

    /// Waits until another token than the one of this number is in force; false where there will be none soon.
    async fn another_token(&self, number: u64) -> bool {
        let mut renewal = self.renewal.subscribe();
        self.renewal.send_if_modified(|renewal| {
            let is_news = renewal.refused < number;
            renewal.refused = renewal.refused.max(number);
            is_news
        });
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

    /// Tells about each new token.
    pub(super) fn token_changes(&self) -> watch::Receiver<u64> {
        self.token_changes.subscribe()
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
        let client = Self::new(&ClientSettings::of(config, "http://127.0.0.1")?)?;
        Ok(Self {
            base: nats.shown().to_owned(),
            nats: Some(nats),
            ..client
        })
    }

    /// The signals that were fetched last are durable, or have to come again: whoever keeps them for us is told.
    pub(super) async fn signals_handed_over(&self, are_durable: bool) {
        if let Some(nats) = &self.nats {
            nats.handed_over(are_durable).await;
        }
    }

    /// Asks for signals.
    pub(crate) async fn signals(&self, limit: usize, view: View) -> Answer {
        if let Some(nats) = &self.nats {
            return nats.signals(limit, view).await;
        }
        self.call(Method::GET, &wire::signals_path(limit, view), None, None)
            .await
    }

    /// True while the backend refuses the token somewhere.
    pub(super) fn is_token_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed) != 0
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
        let (token, number) = self.token();
        let answer = self.send(&method, path, (body.clone(), key), token).await;
        if !matches!(answer, Answer::TokenRefused { .. }) || !self.another_token(number).await {
            return answer;
        }
        let (token, _) = self.token();
        self.send(&method, path, (body, key), token).await
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

    /// Asks for a token. The answer's body holds it, and is wiped.
    pub(crate) async fn log_in(&self, username: &str, password: &Secret) -> LoginAnswer {
        let credentials = Credentials {
            username,
            password: password.expose(),
        };
        let mut body = Vec::with_capacity(1024 + 6 * (username.len() + password.expose().len()));
        // Writing two texts into memory does not fail.
        serde_json::to_writer(&mut body, &credentials).ok();
        let request = self
            .http
            .post(format!("{}/user/login", self.base))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(wiped(body));
        let not_known = |answer| match answer {
            Answer::NotKnown { why, retry_after, .. } => LoginAnswer::NotKnown { why, retry_after },
            _ => LoginAnswer::NotKnown {
                why: format!("{} gave no answer to the login", self.base),
                retry_after: None,
            },
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return not_known(self.failed(&error)),
        };
        self.note_date(response.headers());
        let status = response.status();
        let is_refusal = status.is_client_error()
            && !matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
            );
        if is_refusal {
            return match read_body(&mut response).await {
                Ok(body) if is_html(&body) => not_known(Answer::NotKnown {
                    why: format!(
                        "{} answered {status} with HTML, so this is not the backend: {FORMAT}",
                        self.base
                    ),
                    cause: Cause::NotJson(status.as_u16()),
                    retry_after: None,
                }),
                Ok(body) => LoginAnswer::Refused {
                    status: status.as_u16(),
                    text: refusal(&body),
                },
                Err(_) => not_known(Answer::TokenRefused { status: 0 }),
            };
        }
        if !status.is_success() {
            return not_known(self.judge(response).await);
        }
        let body = match read_body(&mut response).await {
            Ok(body) => Zeroizing::new(body),
            Err(Unread::Http(error)) => return not_known(self.failed(&error)),
            Err(Unread::TooLong) => return not_known(Answer::TokenRefused { status: 0 }),
        };
        let given = serde_json::from_slice::<LoggedIn>(&body)
            .map(|given| (Secret::new(given.access_token), given.user));
        match given {
            Ok((token, user)) if Token::new(token.expose()).is_ok() => LoginAnswer::Token {
                token,
                user_id: user.and_then(|user| user.id),
            },
            // What does not parse may hold the token all the same: nothing of it is shown.
            _ => LoginAnswer::NotKnown {
                why: format!(
                    "{} answered the login without a usable `access_token`: is it the quantFinance backend? {FORMAT}",
                    self.base
                ),
                retry_after: None,
            },
        }
    }

    /// Notes how the backend's clock stands.
    fn note_date(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let ahead_ms = date.and_then(moment_s).map_or(0, |seconds| {
            // Dates are cut to the second: half of one is nearer than none.
            seconds * 1000 + 500 - Clock::system().now_ms()
        });
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }

    async fn judge(&self, mut response: reqwest::Response) -> Answer {
        self.note_date(response.headers());
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            // Read to its end, so that the connection can be used again.
            let _ = read_body(&mut response).await;
            return Answer::TokenRefused {
                status: status.as_u16(),
            };
        }
        let retry_after = retry_after(response.headers());
        let body = match read_body(&mut response).await {
            Ok(body) => body,
            Err(Unread::TooLong) => {
                let why = format!(
                    "the answer of {} is longer than {} MiB and was not read",
                    self.base,
                    MAX_BODY / (1024 * 1024)
                );
                return Answer::NotKnown {
                    why,
                    cause: Cause::NotJson(status.as_u16()),
                    retry_after,
                };
            }
            Err(Unread::Http(error)) => return self.failed(&error),
        };
        let not_known = |why, cause| Answer::NotKnown {
            why: format!("{} {why}", self.base),
            cause,
            retry_after,
        };
        let code = status.as_u16();
        match status {
            // It says by its number that there is nothing to say.
            StatusCode::NO_CONTENT => Answer::Done(Value::Null),
            _ if status.is_success() => match serde_json::from_slice(&body) {
                Ok(value) => Answer::Done(value),
                Err(error) => not_known(not_json(&body, &error), Cause::NotJson(code)),
            },
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                not_known(format!("answered {status}"), Cause::Status(code))
            }
            _ if status.is_redirection() => {
                not_known(redirected(status, response.headers()), Cause::Status(code))
            }
            // A page of HTML comes from something that stands between, not from the backend.
            _ if status.is_client_error() && !is_html(&body) => Answer::Refused {
                status: code,
                text: refusal(&body),
            },
            _ if status.is_client_error() => {
                let why = format!("answered {status} with HTML, so this is not the backend: {FORMAT}");
                not_known(why, Cause::NotJson(code))
            }
            _ => not_known(
                format!("answered {status}: {}", refusal(&body)),
                Cause::Status(code),
            ),
        }
    }

    fn failed(&self, error: &reqwest::Error) -> Answer {
        let base = &self.base;
        let (cause, why) = if let Some(fault) = tls_fault(error) {
            (
                Cause::Unreachable,
                format!("no safe connection to {base}: {fault}"),
            )
        } else if error.is_connect() && !error.is_timeout() {
            let detail = root_cause(error);
            let why = format!(
                "cannot connect to {base}: {detail}; is the quantFinance backend running and reachable \
                 there, does a firewall allow it, and is `api_base_url` right? {FORMAT}"
            );
            (Cause::Unreachable, why)
        } else if error.is_connect() {
            let why = format!(
                "no connection to {base} within {} s: does a firewall drop it, and is `api_base_url` right? {FORMAT}",
                self.connect_timeout.as_secs_f32()
            );
            (Cause::Unreachable, why)
        } else if error.is_timeout() {
            let (read, call) = (self.read_timeout.as_secs_f32(), self.call_timeout.as_secs_f32());
            (
                Cause::Timeout,
                format!(
                    "no answer from {base} in time: nothing for {read} s, or not all of it within {call} s"
                ),
            )
        } else {
            let detail = root_cause(error);
            (
                Cause::Broken,
                format!("the connection to {base} ended before the answer did: {detail}"),
            )
        };
        Answer::NotKnown {
            why,
            cause,
            retry_after: None,
        }
    }
}

/// What every message about a wrong address ends with.
const FORMAT: &str = "the format is http://host:port/api";

/// What is wrong with the base address, if anything: the one judge of it.
///
/// # Errors
///
/// The address cannot be one of a backend.
pub(crate) fn parse_base(text: &str) -> Result<Url, SetupError> {
    let wrong = |given: String, problem| SetupError::BaseUrl { given, problem };
    let text = text.trim();
    // Until it is parsed, what stands before an @ may be a password.
    let safe = || wire::cut(text.rsplit('@').next().unwrap_or_default(), 120);
    let Ok(url) = Url::parse(text) else {
        let problem = if text.contains("://") {
            "it is not an address"
        } else {
            "it lacks http:// or https://"
        };
        return Err(wrong(safe(), problem));
    };
    let problem = if !matches!(url.scheme(), "http" | "https") {
        "only http and https are spoken"
    } else if url.host_str().is_none_or(str::is_empty) {
        "it names no host"
    } else if !url.username().is_empty() || url.password().is_some() {
        "it holds a user name or password, which does not belong there"
    } else if url.query().is_some() || url.fragment().is_some() {
        "it has a `?` or `#`, which does not belong there"
    } else {
        return Ok(url);
    };
    Err(wrong(safe(), problem))
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

fn redirected(status: StatusCode, headers: &HeaderMap) -> String {
    let place = headers
        .get(reqwest::header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .map_or_else(|| "another address".to_owned(), |text| wire::cut(text, 120));
    format!(
        "answered {status} and points to {place}, which is not followed: set `api_base_url` to where the backend is; {FORMAT}"
    )
}

enum Unread {
    TooLong,
    Http(reqwest::Error),
}

async fn read_body(response: &mut reqwest::Response) -> Result<Vec<u8>, Unread> {
    let announced = response.content_length().unwrap_or(0);
    if announced > MAX_BODY as u64 {
        return Err(Unread::TooLong);
    }
    let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    while let Some(chunk) = response.chunk().await.map_err(Unread::Http)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Unread::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

fn not_json(body: &[u8], error: &serde_json::Error) -> String {
    if body.trim_ascii().is_empty() {
        format!("answered with an empty body where JSON belongs; {FORMAT}")
    } else if is_html(body) {
        format!("answered with HTML where JSON belongs: is it the backend, or a proxy or web page? {FORMAT}")
    } else if std::str::from_utf8(body).is_err() {
        "answered with a body that is not UTF-8 where JSON belongs".to_owned()
    } else {
        format!("answered with a body that is not JSON: {error}")
    }
}

/// The start of what a backend says about a refusal.
fn refusal(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(value) => wire::message_of(&value),
        Err(_) if is_html(body) => "a page of HTML".to_owned(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let text = wire::cut(text.trim(), wire::KEPT);
    if text.is_empty() {
        "without a word".to_owned()
    } else {
        text
    }
}

/// The innermost error says what the system said.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    // The outermost text may repeat the address; the others are the system's and the library's.
    if error.source().is_none() {
        "the call failed".to_owned()
    } else {
        cause.to_string()
    }
}

/// What is wrong with the other side's certificate, or with its TLS, where that is why there is no connection.
fn tls_fault(error: &reqwest::Error) -> Option<String> {
    use rustls::{CertificateError as Bad, Error as Tls};
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    let fault = loop {
        let here = cause?;
        if let Some(found) = here.downcast_ref::<Tls>() {
            break found;
        }
        // What an IO error carries is not its source.
        let carried = here
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        cause = match carried {
            Some(inner) => Some(inner),
            None => here.source(),
        };
    };
    Some(match fault {
        Tls::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            "its certificate comes from no authority that is trusted here; name the PEM file of its authority with \
             `ca_certificate`, if you know that it is the right one"
                .to_owned()
        }
        Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "its certificate has ended; have it renewed, or set this machine's clock right".to_owned()
        }
        Tls::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "its certificate begins later than now; set this machine's clock right".to_owned()
        }
        Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is for another name than `api_base_url` has; give the address by that name".to_owned()
        }
        Tls::InvalidMessage(_) => {
            "what answers there does not speak TLS; is it an http:// address, or a proxy?".to_owned()
        }
        other => format!("{other}"),
    })
}

/// Seconds, or a date: that is measured against the answer's own `Date`, so that our clock does not matter.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let until = moment_s(text)?;
    let now = headers
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(moment_s)?;
    u64::try_from(until.saturating_sub(now))
        .ok()
        .map(Duration::from_secs)
}

/// A date of a header, in seconds since 1970.
fn moment_s(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text)
        .ok()
        .map(|zoned| zoned.timestamp().as_second())
}

#[derive(serde::Serialize)]
struct Credentials<'a> {
    username: &'a str,
    password: &'a str,
}

#[derive(serde::Deserialize)]
struct LoggedIn {
    access_token: String,
    user: Option<LoggedInUser>,
}

#[derive(serde::Deserialize)]
struct LoggedInUser {
    #[serde(default, deserialize_with = "id_text")]
    id: Option<String>,
}

/// An id is a text with some backends and a number with others.
fn id_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = <Value as serde::Deserialize>::deserialize(deserializer)?;
    Ok(match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}
