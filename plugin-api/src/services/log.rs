//! The host's log.

#[cfg(feature = "tracing")]
use std::sync::Weak;

use abi_stable::std_types::RStr;
use serde_json::{Map, Value};

use super::Service;
use crate::{interfaces::host_log::HostLogV1, v1::codes::level};

/// Weight of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum LogLevel {
    /// For whoever follows every step.
    Trace,
    /// For whoever hunts a fault.
    Debug,
    /// What happens as it should.
    Info,
    /// Odd, and survivable.
    Warning,
    /// Something failed.
    Error,
}

impl LogLevel {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Trace => level::TRACE,
            Self::Debug => level::DEBUG,
            Self::Info => level::INFO,
            Self::Warning => level::WARNING,
            Self::Error => level::ERROR,
        }
    }

    /// A level that nobody knows is taken for an error, so that no line is lost.
    #[cfg_attr(not(feature = "host"), allow(dead_code))]
    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            level::TRACE => Self::Trace,
            level::DEBUG => Self::Debug,
            level::INFO => Self::Info,
            level::WARNING => Self::Warning,
            _ => Self::Error,
        }
    }
}

/// The host's log. Without one (an older host, a test) lines go nowhere.
#[derive(Clone)]
pub struct HostLog(pub(super) Option<Service<HostLogV1>>);

impl HostLog {
    /// Whether the host would write a line of this level.
    #[must_use]
    pub fn enabled(&self, level: LogLevel) -> bool {
        self.0.as_ref().is_some_and(|service| {
            // SAFETY: the table was checked, and the context is alive while the service is.
            unsafe { (service.table.enabled)(service.context(), level.code()) == 1 }
        })
    }

    /// Writes one line. `target` names the part of the plugin that speaks.
    pub fn log(&self, level: LogLevel, target: &str, message: &str) {
        self.write(level, target, message, "");
    }

    /// Writes one line with fields, which stay apart from the message so that a machine can search for them.
    pub fn log_with(&self, level: LogLevel, target: &str, message: &str, fields: &Map<String, Value>) {
        if fields.is_empty() {
            return self.log(level, target, message);
        }
        let text = serde_json::to_string(fields).unwrap_or_default();
        self.write(level, target, message, &text);
    }

    fn write(&self, level: LogLevel, target: &str, message: &str, fields: &str) {
        if let Some(service) = &self.0 {
            let (target, message) = (RStr::from_str(target), RStr::from_str(message));
            let fields = RStr::from_str(fields);
            // SAFETY: the table was checked, and the context is alive while the service is.
            unsafe { (service.table.log)(service.context(), level.code(), target, message, fields) }
        }
    }

    /// Writes a line for whoever hunts a fault.
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(LogLevel::Debug, "plugin", message.as_ref());
    }

    /// Writes what happens as it should.
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(LogLevel::Info, "plugin", message.as_ref());
    }

    /// Writes what is odd and survivable.
    pub fn warning(&self, message: impl AsRef<str>) {
        self.log(LogLevel::Warning, "plugin", message.as_ref());
    }

    /// Writes what failed.
    pub fn error(&self, message: impl AsRef<str>) {
        self.log(LogLevel::Error, "plugin", message.as_ref());
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn downgrade(&self) -> WeakLog {
        WeakLog(
            self.0
                .as_ref()
                .map(|s| (std::sync::Arc::downgrade(&s.host), s.table)),
        )
    }
}

/// A log that does not keep the host's context alive: what lives as long as the process must not.
#[cfg(feature = "tracing")]
#[derive(Clone)]
pub(crate) struct WeakLog(Option<(Weak<super::HostInner>, &'static HostLogV1)>);

#[cfg(feature = "tracing")]
impl WeakLog {
    /// The log, as long as a broker of that host is open.
    pub(crate) fn upgrade(&self) -> Option<HostLog> {
        let (host, table) = self.0.as_ref()?;
        let host = host.upgrade()?;
        Some(HostLog(Some(Service { host, table })))
    }
}
