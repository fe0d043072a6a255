//! What each answer means, and what a person is told where there is none.

use std::error::Error as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::Client;
use crate::backend::wire;
use crate::clock::Clock;

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
        /// 401, or 403 where signals are refused with it, too.
        status: u16,
    },
    /// The backend refuses this very call; repeating it changes nothing.
    Refused {
        /// A 4xx status: 403 where signals are had with the same token, and never 401.
        status: u16,
        /// What the backend says about it.
        text: String,
    },
}

impl Answer {
    /// Its kind, for figures.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::NotKnown { .. } => "not_known",
            Self::TokenRefused { .. } => "token_refused",
            Self::Refused { .. } => "refused",
        }
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
    pub(in crate::backend) const fn is_absent(self) -> bool {
        matches!(self, Self::NotJson(404 | 405))
    }
}

impl Client {
    /// Notes how the backend's clock stands.
    pub(super) fn note_date(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let moment = date.and_then(moment_s);
        self.tells_time.store(moment.is_some(), Ordering::Relaxed);
        let ahead_ms = moment.map_or(0, |seconds| {
            // Dates are cut to the second: half of one is nearer than none.
            seconds * 1000 + 500 - Clock::system().now_ms()
        });
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }

    pub(super) async fn judge(&self, response: reqwest::Response) -> Answer {
        self.judge_by(response, refusal).await
    }

    /// Judges an answer of which these are the words that may be shown.
    pub(super) async fn judge_by(
        &self,
        mut response: reqwest::Response,
        words: impl Fn(&[u8]) -> String,
    ) -> Answer {
        self.note_date(response.headers());
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            // Whoever says so, in whatever words, takes the token or the call for no good.
            let body = read_body(&mut response).await.unwrap_or_default();
            return Answer::Refused {
                status: status.as_u16(),
                text: words(&body),
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
                text: words(&body),
            },
            _ if status.is_client_error() => {
                let why = format!("answered {status} with HTML, so this is not the backend: {FORMAT}");
                not_known(why, Cause::NotJson(code))
            }
            _ => not_known(
                format!("answered {status}: {}", words(&body)),
                Cause::Status(code),
            ),
        }
    }

    pub(super) fn failed(&self, error: &reqwest::Error) -> Answer {
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
pub(super) const FORMAT: &str = "the format is http://host:port/api";

fn redirected(status: StatusCode, headers: &HeaderMap) -> String {
    let place = headers
        .get(reqwest::header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .map_or_else(|| "another address".to_owned(), |text| wire::cut(text, 120));
    format!(
        "answered {status} and points to {place}, which is not followed: set `api_base_url` to where the backend is; {FORMAT}"
    )
}

pub(super) enum Unread {
    TooLong,
    Http(reqwest::Error),
}

pub(super) async fn read_body(response: &mut reqwest::Response) -> Result<Vec<u8>, Unread> {
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

pub(super) fn is_html(body: &[u8]) -> bool {
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
pub(super) fn root_cause(error: &reqwest::Error) -> String {
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

/// No answer is read beyond this.
const MAX_BODY: usize = 16 * 1024 * 1024;
