//! HTTP: one pooled client, and what each answer means.

use std::error::Error as _;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{Method, StatusCode, Url, redirect};
use serde_json::Value;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::nats::Nats;
use super::wire::{self, Post, View};
use crate::monitor::meters;

/// No answer is read beyond this.
const MAX_BODY: usize = 16 * 1024 * 1024;
/// The longest place in a stream that is repeated to the backend, in characters.
const MAX_CURSOR: usize = 256;
/// How many hops on the same host are followed.
const MAX_HOPS: usize = 3;
/// Idle connections kept open; more than the reporter ever posts at once.
const MAX_IDLE: usize = 64;

/// The bearer token. It has no Display, and its Debug shows nothing of it.
#[derive(Clone)]
pub(crate) struct Token(HeaderValue);

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
            .then(|| HeaderValue::try_from(format!("Bearer {text}")).ok())
            .flatten()
            .ok_or(SetupError::Token)?;
        header.set_sensitive(true);
        Ok(Self(header))
    }
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
    /// The bearer token.
    pub(crate) token: Token,
    /// For a connection to stand.
    pub(crate) connect_timeout: Duration,
    /// For a whole call, the answer's body included.
    pub(crate) call_timeout: Duration,
}

impl ClientSettings {
    /// With the usual waits: 5 s for a connection, 15 s for a call.
    pub(crate) fn new(base_url: impl Into<String>, token: Token) -> Self {
        Self {
            base_url: base_url.into(),
            token,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(15),
        }
    }
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
    /// The HTTP library refuses.
    #[error("the HTTP client cannot be set up")]
    Http(#[source] reqwest::Error),
}

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
    /// The token is no good.
    TokenRefused,
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
    token: RwLock<Token>,
    token_changes: watch::Sender<u64>,
    refused: AtomicU8,
    call_timeout: Duration,
}

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
            .timeout(settings.call_timeout)
            .pool_max_idle_per_host(MAX_IDLE);
        if url.scheme() == "http" {
            // The system's root certificates take milliseconds and megabytes; redirects never
            // leave the scheme, so that nobody would look at them.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self {
            http: builder.build().map_err(SetupError::Http)?,
            base: url.as_str().trim_end_matches('/').to_owned(),
            nats: None,
            token: RwLock::new(settings.token.clone()),
            token_changes: watch::Sender::new(0),
            refused: AtomicU8::new(0),
            call_timeout: settings.call_timeout,
        })
    }

    /// The address, without slashes at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Takes another token from now on; whoever waits because of the old one tries at once.
    #[cfg(test)]
    pub(crate) fn set_token(&self, token: Token) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
        self.token_changes.send_modify(|count| *count += 1);
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
    pub(crate) fn over_nats(nats: Nats) -> Result<Self, SetupError> {
        let unused = ClientSettings::new("http://127.0.0.1", Token(HeaderValue::from_static("")));
        let client = Self::new(&unused)?;
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

    /// Asks for signals to be pushed, those behind `after` where that is known. Connection, token and redirects are those
    /// of every other call.
    pub(super) async fn signals_stream(&self, after: Option<&str>) -> Result<reqwest::Upgraded, NoStream> {
        let token = self
            .token
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone();
        let key = generate_key();
        let mut request = self
            .http
            .get(format!("{}/trader/signals/stream", self.base))
            .header(AUTHORIZATION, token)
            .header(CONNECTION, HeaderValue::from_static("Upgrade"))
            .header(UPGRADE, HeaderValue::from_static("websocket"))
            .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
            .header(SEC_WEBSOCKET_KEY, &key);
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
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(NoStream::TokenRefused),
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

    async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>, key: Option<&str>) -> Answer {
        let began = crate::clock::Clock::system().monotonic();
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
        let token = self
            .token
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone();
        let mut request = self
            .http
            .request(method, format!("{}/{path}", self.base))
            .header(AUTHORIZATION, token);
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

    async fn judge(&self, mut response: reqwest::Response) -> Answer {
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
        let (cause, why) = if error.is_connect() {
            let detail = root_cause(error);
            let why = format!(
                "cannot connect to {base}: {detail}; is the quantFinance backend running and reachable \
                 there, does a firewall allow it, and is `api_base_url` right? {FORMAT}"
            );
            (Cause::Unreachable, why)
        } else if error.is_timeout() {
            let seconds = self.call_timeout.as_secs();
            (
                Cause::Timeout,
                format!("no answer from {base} within {seconds} s"),
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

/// Seconds, or a date: that is measured against the answer's own `Date`, so that our clock does not matter.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let moment = |text: &str| {
        jiff::fmt::rfc2822::parse(text)
            .ok()
            .map(|zoned| zoned.timestamp().as_second())
    };
    let until = moment(text)?;
    let now = headers
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(moment)?;
    u64::try_from(until.saturating_sub(now))
        .ok()
        .map(Duration::from_secs)
}
