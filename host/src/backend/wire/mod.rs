//! The JSON shapes of the REST contract, and nothing else: what was fetched becomes domain types,
//! domain types become what is posted.

mod field;
mod number;
mod post;
mod pushed;
mod signals;

pub(crate) use post::{
    AccountRow, CallKind, Heartbeat, PositionRow, Post, account, cleanup, heartbeat, positions, report,
    report_with_body, snapshot,
};
pub(crate) use pushed::pushed;
pub(crate) use signals::{MAX_SIGNALS, SignalsAnswer, View, signal, signals, signals_path};

use serde_json::Value;

/// How much of a value a message repeats, in characters.
const SHOWN: usize = 60;

/// How much of a backend's words is kept, in characters.
pub(crate) const KEPT: usize = 300;

/// An answer that is JSON but not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// The answer says itself that it is none.
    #[error("the backend answered success=false: {0}")]
    NoSuccess(String),
    /// Not an object at all.
    #[error("the backend's answer is {0}: expected an object with `success`, `data` and `count`")]
    NotAnObject(String),
    /// The list is missing.
    #[error("the backend's answer has no `data`: expected a list of signals")]
    NoData,
    /// The list is something else.
    #[error("the backend's `data` is {0}: expected a list of signals")]
    DataNotAList(String),
}

/// Whether the answer to a post acknowledges it.
///
/// # Errors
///
/// The backend's words, where the answer says `"success": false`.
pub(crate) fn acknowledged(answer: &Value) -> Result<(), String> {
    match answer.get("success") {
        Some(Value::Bool(false)) => Err(message_of(answer)),
        _ => Ok(()),
    }
}

/// What an answer says in words: `message`, `detail` or `error`, else its start.
pub(crate) fn message_of(answer: &Value) -> String {
    let said = ["message", "detail", "error"]
        .iter()
        .find_map(|name| answer.get(name))
        .unwrap_or(answer);
    match said {
        Value::String(text) => cut(text, KEPT),
        other => cut(&other.to_string(), KEPT),
    }
}

/// The start of a value, on one line.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(fields) if fields.is_empty() => "an empty object".to_owned(),
        Value::Object(fields) => {
            let names: Vec<&str> = fields.keys().take(4).map(String::as_str).collect();
            cut(&format!("an object with {}", names.join(", ")), SHOWN)
        }
        other => cut(&other.to_string(), SHOWN),
    }
}

/// The first `limit` characters of a text, without anything that could break a log line.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    let mut short: String = text
        .chars()
        .take(limit)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(limit).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
