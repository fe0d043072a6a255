//! The lane in which a plugin runs in a process of its own, `qt-host worker`.
//!
//! The host listens on a local socket, starts the worker, and tells it over its standard input where to call and by
//! which secret it is known. The worker calls three times: for orders, for all other calls, and for what the plugin
//! tells by itself. Whatever ends the worker ends its streams, so that a call that is under way comes back as unknown.

pub(crate) mod child;
mod frame;
mod host;
pub(crate) mod line;
mod output;
mod stream;

use std::path::PathBuf;
use std::time::Duration;

use qt_plugin_api::LogLevel;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::LiveConfig;

pub(crate) use child::carry_out;
pub(crate) use frame::{Answer, Ask, News, Numbered, Opened, Order, Reasoned, Told};
pub(crate) use host::Worker;

/// How long a closing plugin may take before its worker ends without it.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// How long a process whose plugin did not open stays by itself; whoever started it ends it before.
pub(crate) const LET_GO_WITHIN: Duration = Duration::from_secs(5);

/// What a worker may do and use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Memory in bytes; nothing for as much as there is.
    pub(crate) memory: Option<u64>,
    /// How long a call may take before the worker is killed.
    pub(crate) kill_after: Duration,
    /// How long the plugin may take to open.
    pub(crate) open_within: Duration,
}

/// What a worker is told at its start, as one line of JSON: neither command line nor environment may hold a secret.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    protocol: u32,
    /// Where to call.
    socket: PathBuf,
    /// What to be known by.
    secret: String,
    /// The private copy of the plugin's file.
    plugin: PathBuf,
    /// What its content must be.
    sha256: String,
    /// The plugin's block of the configuration.
    config: Value,
    /// Where that block is read again.
    live: LiveConfig,
    /// The plugin's folder.
    data_dir: PathBuf,
    /// The broker's number of the account.
    account_id: Option<String>,
    /// Memory in bytes.
    memory: Option<u64>,
    /// The least weighty lines that the host's log takes; none where it takes none.
    level: Option<LogLevel>,
    /// The host's time, which may be ahead of the wall clock.
    now_ms: i64,
}

/// What the kit starts a worker with, as a host does.
pub(crate) struct Guest<'a> {
    /// Where to call, and what to be known by.
    pub(crate) exchange: &'a line::Exchange,
    /// The private copy of the plugin's file.
    pub(crate) plugin: &'a std::path::Path,
    /// What its content must be.
    pub(crate) sha256: &'a str,
    /// The plugin's block of the configuration.
    pub(crate) config: &'a Value,
    /// The plugin's folder.
    pub(crate) data_dir: &'a std::path::Path,
    /// The broker's number of the account.
    pub(crate) account_id: Option<&'a str>,
    /// Memory in bytes.
    pub(crate) memory: u64,
    /// The time.
    pub(crate) now_ms: i64,
}

impl Setup {
    /// Of a session outside of a host: it takes every line of the log, and its block is not read again.
    pub(crate) fn of(guest: &Guest<'_>) -> Self {
        Self {
            protocol: frame::PROTOCOL,
            socket: guest.exchange.socket().to_owned(),
            secret: guest.exchange.secret().to_owned(),
            plugin: guest.plugin.to_owned(),
            sha256: guest.sha256.to_owned(),
            config: guest.config.clone(),
            live: LiveConfig::default(),
            data_dir: guest.data_dir.to_owned(),
            account_id: guest.account_id.map(str::to_owned),
            memory: Some(guest.memory),
            level: Some(LogLevel::Trace),
            now_ms: guest.now_ms,
        }
    }
}
