//! The embedded backend: the REST contract on loopback, to try the host with and to test it against.
//!
//! It keeps everything in memory, records every post and says which of them came in a wrong order. Under
//! `/sandbox` a test adds signals, asks for what was seen and makes faults.

mod admin;
pub(crate) mod demo;
mod faults;
mod routes;
mod rules;
mod store;
mod stream;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use rand::RngExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use faults::{Fault, Faults, Mode};
use store::Store;
use wire::{FaultyListener, Scissors};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Enough for a test that adds 100,000 signals at once.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// The name that logs in to every sandbox; its password is random.
pub(crate) const USERNAME: &str = "sandbox";

/// Why the sandbox could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// Others could reach it.
    #[error(
        "{0} can be reached from other machines and the sandbox is a toy: use 127.0.0.1, or say --allow-remote"
    )]
    NotLoopback(SocketAddr),
    /// The address is taken, or not ours.
    #[error(
        "cannot listen on {address}: {source}; name another address with --listen, port 0 takes a free one"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What every request sees.
struct Shared {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    /// A copy of the faults' `is_down`, since every read of every connection asks.
    down: AtomicBool,
    username: String,
    password: Mutex<String>,
    token_life: Option<Duration>,
    /// How many signals there are, for those who have them pushed.
    added: watch::Sender<usize>,
    /// Grows when every stream is to be cut.
    cuts: watch::Sender<u64>,
}

impl Shared {
    fn password(&self) -> MutexGuard<'_, String> {
        self.password.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that is valid from now on: an opaque text for ever, or a web token that ends.
    fn new_token(&self) -> String {
        let now_ms = self.now_ms();
        let (token, ends_ms) = match self.token_life {
            None => (random_text(), None),
            Some(life) => {
                let ends_ms = now_ms + i64::try_from(life.as_millis()).unwrap_or(0);
                // The web token knows whole seconds alone, and must not claim more than there is.
                (web_token(now_ms / 1000, ends_ms / 1000), Some(ends_ms))
            }
        };
        self.store().tokens.insert(token.clone(), ends_ms);
        token
    }

    // A panic in one request must not end the others, and no invariant spans two of them.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_fault(&self, fault: Fault) {
        let mut faults = self.faults();
        faults.set(fault);
        self.down.store(faults.is_down(), Ordering::Release);
    }

    fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    fn take_down(&self) -> bool {
        let mut faults = self.faults();
        let taken = faults.take_down();
        self.down.store(faults.is_down(), Ordering::Release);
        taken
    }

    fn take_fault(&self, path: &str) -> Option<Fault> {
        let mut faults = self.faults();
        let taken = faults.take(path);
        self.down.store(faults.is_down(), Ordering::Release);
        taken
    }

    fn count(&self, name: &'static str) {
        *self.store().requests.entry(name).or_default() += 1;
    }

    fn now_ms(&self) -> i64 {
        crate::clock::Clock::system().now_ms()
    }
}

/// What the faults mean for a request that is processed all the same.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    is_unanswered: bool,
    ignores_limit: bool,
}

/// A running sandbox; dropping it ends it.
pub(crate) struct SandboxBackend {
    /// What `api_base_url` should say.
    pub(crate) base_url: String,
    /// The first valid token.
    pub(crate) token: String,
    /// What logs in beside [`USERNAME`].
    pub(crate) password: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// A backend whose address is taken and that answers nobody yet: whoever calls waits.
pub(crate) struct Bound {
    base_url: String,
    pub(crate) token: String,
    password: String,
    shared: Arc<Shared>,
    listener: TcpListener,
}

impl Bound {
    /// Answers from now on.
    pub(crate) fn serve(self) -> SandboxBackend {
        let service = router(&self.shared).into_make_service_with_connect_info::<Scissors>();
        let listener = FaultyListener::new(self.listener, Arc::clone(&self.shared));
        let server = tokio::spawn(async move {
            // It ends with the task alone: accepting never fails for good.
            let _ = axum::serve(listener, service).await;
        });
        SandboxBackend {
            base_url: self.base_url,
            token: self.token,
            password: self.password,
            shared: self.shared,
            server,
        }
    }
}

impl SandboxBackend {
    /// Starts a sandbox; port 0 takes a free one.
    ///
    /// # Errors
    /// The address can be reached by others and that is not allowed, or it cannot be listened on.
    pub(crate) async fn start(address: SocketAddr, is_remote_allowed: bool) -> Result<Self, SandboxError> {
        Ok(Self::bind(address, is_remote_allowed, None).await?.serve())
    }

    /// As [`Self::start`], but nothing is answered before [`Bound::serve`], and tokens may end after a while.
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn bind(
        address: SocketAddr,
        is_remote_allowed: bool,
        token_life: Option<Duration>,
    ) -> Result<Bound, SandboxError> {
        if !address.ip().is_loopback() && !is_remote_allowed {
            return Err(SandboxError::NotLoopback(address));
        }
        let wrong = |source| SandboxError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        let local = listener.local_addr().map_err(wrong)?;
        let password = random_text();
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::default()),
            faults: Mutex::new(Faults::default()),
            down: AtomicBool::new(false),
            username: USERNAME.to_owned(),
            password: Mutex::new(password.clone()),
            token_life,
            added: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
        });
        let token = shared.new_token();
        Ok(Bound {
            base_url: format!("http://{}/api", reachable(local)),
            token,
            password,
            shared,
            listener,
        })
    }

    /// Everything seen so far, in the shape of `GET /sandbox/state`.
    pub(crate) fn state(&self) -> Value {
        admin::whole(&self.shared.store())
    }

    /// Adds a signal exactly as given.
    ///
    /// # Errors
    /// The signal is no object.
    pub(crate) fn add(&self, signal: &Value) -> Result<String, serde_json::Error> {
        let fields = serde_json::from_value(signal.clone())?;
        let mut store = self.shared.store();
        let added = store.add(&fields);
        self.shared.added.send_replace(store.entries.len());
        added
    }
}

impl Drop for SandboxBackend {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The address to be typed: one that listens everywhere is reached on loopback.
fn reachable(local: SocketAddr) -> SocketAddr {
    let ip = match local.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, local.port())
}

fn router(shared: &Arc<Shared>) -> Router {
    let contract = routes::contract().layer(from_fn_with_state(Arc::clone(shared), with_faults));
    Router::new()
        .nest("/api", contract)
        .merge(admin::admin())
        .fallback(|| async { json_answer(StatusCode::NOT_FOUND, &json!({ "detail": "Not Found" })) })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::clone(shared))
}

/// A text that cannot be guessed.
fn random_text() -> String {
    let bytes: [u8; 20] = rand::rng().random();
    data_encoding::BASE32_NOPAD.encode(&bytes).to_lowercase()
}

/// A JSON Web Token in form; what stands in the place of the signature is random, and the sandbox knows its tokens by heart.
fn web_token(begun_s: i64, ends_s: i64) -> String {
    let part = |value: &Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let head = part(&json!({ "alg": "HS256", "typ": "JWT" }));
    let claims = part(&json!({ "sub": "sandbox-user", "iat": begun_s, "exp": ends_s }));
    let bytes: [u8; 32] = rand::rng().random();
    format!(
        "{head}.{claims}.{}",
        data_encoding::BASE64URL_NOPAD.encode(&bytes)
    )
}

fn json_answer(status: StatusCode, value: &Value) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}

/// Lets a request meet the fault that is in force for it.
async fn with_faults(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    mut request: Request,
    next: Next,
) -> Response {
    let fault = shared.take_fault(request.uri().path());
    let mode = fault.as_ref().map_or(Mode::Up, |fault| fault.mode);
    let is_applied = matches!(
        mode,
        Mode::Up | Mode::CloseAfterProcessing | Mode::Slow | Mode::IgnoreLimit
    );
    if !is_applied {
        let key = request
            .headers()
            .get(IDEMPOTENCY_KEY)
            .and_then(|key| key.to_str().ok());
        if let Some(key) = key {
            *shared.store().turned_away.entry(key.to_owned()).or_default() += 1;
        }
        if mode == Mode::Down {
            scissors.cut();
        }
        if mode == Mode::Echo {
            return echoed(request).await;
        }
        return turned_away(mode, fault.and_then(|fault| fault.retry_after_s));
    }
    let fate = Fate {
        is_unanswered: mode == Mode::CloseAfterProcessing,
        ignores_limit: mode == Mode::IgnoreLimit,
    };
    request.extensions_mut().insert(fate);
    let response = next.run(request).await;
    match mode {
        Mode::CloseAfterProcessing => scissors.cut(),
        Mode::Slow => {
            let delay_ms = fault.and_then(|fault| fault.delay_ms).unwrap_or(2000);
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        _ => {}
    }
    response
}

/// What FastAPI answers where a field is missing: the fault, and what was sent.
async fn echoed(request: Request) -> Response {
    let body = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES)
        .await
        .unwrap_or_default();
    let input = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
    let fault =
        json!({ "type": "missing", "loc": ["body", "code"], "msg": "Field required", "input": input });
    json_answer(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "detail": [fault] }))
}

/// The answer to a request that is not applied.
fn turned_away(mode: Mode, retry_after_s: Option<u64>) -> Response {
    let detail = |status, text: &str| json_answer(status, &json!({ "detail": text }));
    match mode {
        Mode::Html => {
            let page = "<!doctype html><html><body><h1>Welcome to nginx!</h1></body></html>";
            ([(header::CONTENT_TYPE, "text/html")], page).into_response()
        }
        Mode::Unauthorized => detail(StatusCode::UNAUTHORIZED, "Could not validate credentials"),
        Mode::Forbidden => detail(StatusCode::FORBIDDEN, "Forbidden"),
        Mode::NotFound => detail(StatusCode::NOT_FOUND, "Not Found"),
        Mode::Refuse => detail(StatusCode::UNPROCESSABLE_ENTITY, "refused on request"),
        Mode::RetryAfter => {
            let mut response = detail(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests");
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s.unwrap_or(1)));
            response
        }
        _ => detail(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
    }
}
