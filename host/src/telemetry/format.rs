//! The two forms that a line of the log may have.

use std::fmt::{self, Write as _};

use super::level::LogLevel;

/// The form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `YYYY-MM-DD HH:MM:SS [LEVEL] target: message key=value`, for people.
    Text,
    /// An object a line, for programs.
    Json,
}

impl LogFormat {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// The name, as the configuration has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Appends the fields of an event to an object that is being written.
#[derive(Debug, Default)]
pub(super) struct JsonFields(String);

impl JsonFields {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds one; a value that is no number and no truth is a text.
    pub(super) fn add(&mut self, name: &str, value: &serde_json::Value) {
        let comma = if self.0.is_empty() { "" } else { "," };
        // Writing into a text cannot fail.
        let _ = write!(self.0, "{comma}{}:{value}", serde_json::Value::from(name));
    }
}

/// One line's parts.
pub(super) struct JsonLine<'a> {
    pub(super) time: &'a str,
    pub(super) level: LogLevel,
    pub(super) target: &'a str,
    pub(super) message: &'a str,
    pub(super) account: Option<&'a str>,
    pub(super) fields: &'a JsonFields,
}

impl fmt::Display for JsonLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &str| serde_json::Value::from(text);
        write!(
            f,
            "{{\"time\":{},\"level\":{},\"target\":{},\"message\":{}",
            text(self.time),
            text(self.level.name()),
            text(self.target),
            text(self.message)
        )?;
        if let Some(account) = self.account {
            write!(f, ",\"account\":{}", text(account))?;
        }
        if !self.fields.0.is_empty() {
            write!(f, ",\"fields\":{{{}}}", self.fields.0)?;
        }
        f.write_str("}")
    }
}
