//! The five levels of the specification.

use std::fmt;

use tracing_subscriber::filter::LevelFilter;

/// The least important level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happens in the normal course.
    Info,
    /// What should be looked at.
    Warning,
    /// What failed.
    Error,
    /// What a person must act on now: an ERROR event with the field `critical = true`.
    Critical,
}

impl LogLevel {
    /// All levels, the least important first.
    pub const ALL: [Self; 5] = [
        Self::Debug,
        Self::Info,
        Self::Warning,
        Self::Error,
        Self::Critical,
    ];

    /// The name, as the configuration and the log have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    /// The filter of the tracing library. It knows no CRITICAL: those are picked out of the errors later.
    pub const fn as_tracing(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error | Self::Critical => LevelFilter::ERROR,
        }
    }

    /// The colour code of the console.
    pub const fn colour(self) -> &'static str {
        match self {
            Self::Debug => "\x1b[2m",
            Self::Info => "\x1b[32m",
            Self::Warning => "\x1b[33m",
            Self::Error => "\x1b[31m",
            Self::Critical => "\x1b[1;37;41m",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
