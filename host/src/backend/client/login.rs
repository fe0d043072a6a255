//! Asks for a token with name and password.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use zeroize::Zeroizing;

use super::answer::{FORMAT, Unread, is_html, read_body};
use super::said::Hidden;
use super::token::wiped;
use super::{Answer, Cause, Client, Token};
use crate::config::Secret;

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
        /// 400, 401, 403 or 422.
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

impl Client {
    /// Asks for a token. The answer's body holds it, and is wiped.
    pub(crate) async fn log_in(&self, username: &str, password: &Secret) -> LoginAnswer {
        let credentials = Credentials {
            username,
            password: password.expose(),
        };
        let mut body = Vec::with_capacity(1024 + 6 * (username.len() + password.expose().len()));
        let (in_force, _) = self.token();
        let in_force = in_force.as_ref().map_or("", Token::expose);
        let hidden = Hidden::new(&[password.expose(), in_force]);
        // Writing two texts into memory does not fail.
        serde_json::to_writer(&mut body, &credentials).ok();
        let request = self
            .http
            .post(format!("{}/user/login", self.base))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(wiped(body));
        let not_known = |answer| match answer {
            Answer::NotKnown { why, retry_after, .. } => LoginAnswer::NotKnown { why, retry_after },
            Answer::Refused { status, text } => LoginAnswer::NotKnown {
                why: format!(
                    "{} answered the login with {status}: {text}; is the backend there, and is `api_base_url` right? {FORMAT}",
                    self.base
                ),
                retry_after: None,
            },
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
        // Another 4xx is a gateway's, or a backend's that is being replaced: it says nothing about name and password.
        let is_refusal = matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::UNPROCESSABLE_ENTITY
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
                    text: hidden.words(&body),
                },
                Err(_) => not_known(Answer::TokenRefused { status: 0 }),
            };
        }
        if !status.is_success() {
            // A redirect may repeat it too.
            return match not_known(self.judge_by(response, |body| hidden.words(body)).await) {
                LoginAnswer::NotKnown { why, retry_after } => LoginAnswer::NotKnown {
                    why: hidden.out_of(&why),
                    retry_after,
                },
                other => other,
            };
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
