//! File, `TRADER_*` environment and flags in; one checked [`Config`] out, or every mistake at once.

mod accounts;
mod defaults;
mod file;
mod gates;
mod lines;
mod mistake;
mod ops;
mod secret;
mod show;
mod sources;
mod token;
mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::Value;

pub use accounts::{ALL as ALL_ACCOUNTS, Account, FOLDER as ACCOUNTS_FOLDER};
pub use gates::GateConfig;
#[allow(unused_imports, reason = "other rooms name near misses too")]
pub use mistake::{Mistake, Mistakes, Origin, near_miss};
pub use ops::{Alerts, Nats, NatsBegin, SecretPlace, SignalsStream, Webhook, WebhookFormat};
pub use secret::Secret;
pub use show::sounds_secret;
pub use sources::{Environment, Flags, Loaded, Purpose, Sources, load};
pub use token::{ApiToken, HttpWaits};
pub use walk::parse_decimal;

use crate::telemetry::{LogFormat, LogLevel};

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The backend's base address without a trailing slash; present where the purpose was [`Purpose::Trade`].
    pub api_base_url: Option<ApiBaseUrl>,
    /// Where the bearer token is; present where the purpose was [`Purpose::Trade`].
    pub api_token: Option<ApiToken>,
    /// A file with the passphrase of the encrypted file that the token may be kept in.
    pub passphrase_file: Option<PathBuf>,
    /// A PEM file: where there is one, the backend's certificate must come from it and from nowhere else.
    pub ca_certificate: Option<PathBuf>,
    /// A broker that moves money may be traded over plain HTTP with another machine.
    pub allow_insecure_http: bool,
    /// How long the backend is waited for.
    pub http: HttpWaits,
    /// Time between two requests for signals.
    pub poll_interval: Duration,
    /// The least important level that is logged.
    pub log_level: LogLevel,
    /// The backend's id of the securities account.
    pub securities_account_id: Option<String>,
    /// The name of the broker plugin, as written; names are compared without regard to case.
    pub broker: String,
    /// False where nobody named a broker, so that the one given plugin file may decide.
    pub names_broker: bool,
    /// The blocks that plugins read, `miniQMT` and `simulated` among them.
    pub plugin_blocks: PluginBlocks,
    /// Plugin files, those of the command line first.
    pub plugins: Vec<PathBuf>,
    /// Folders with plugin files, those of the command line first.
    pub plugin_dirs: Vec<PathBuf>,
    /// Which plugins may be loaded.
    pub plugin_trust: PluginTrust,
    /// The folder for logs and journal, if one was named; see [`Config::data_dir`].
    pub data_dir: Option<PathBuf>,
    /// Where each plugin runs and what it may use there, by its name.
    pub plugin_options: PluginOptions,
    /// The lane that the command line demands.
    pub lane: Option<Lane>,
    /// How orders are carried out.
    pub execution: Execution,
    /// What orders have to pass.
    pub gates: GateConfig,
    /// How the journal is kept.
    pub journal: Journal,
    /// When a position counts as risky.
    pub risk: Risk,
    /// The configuration file, if there was one, as the user named it: a plugin may ask for its block again.
    pub file: Option<PathBuf>,
    /// How tables look.
    pub display: Display,
    /// Where figures and health are served; `None` for nowhere.
    pub metrics: Option<std::net::SocketAddr>,
    /// The form of the log.
    pub log_format: LogFormat,
    /// Whom to alarm, and of what.
    pub alerts: Alerts,
    /// Whether signals are pushed by the backend.
    pub signals_stream: SignalsStream,
    /// NATS JetStream, where that is the backend.
    pub nats: Option<Nats>,
    /// The entries of the list `accounts`; none where the whole file is one account's.
    pub accounts: Vec<Account>,
    /// The host's data folder, where this is one account of several: `data_dir` is then the account's own.
    pub home: Option<PathBuf>,
}

/// What the `plugins` block says of trust.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginTrust {
    /// The lock file with the pins, if one was named; else it is `plugins.lock` in the data folder, if there is one.
    pub lock: Option<PathBuf>,
    /// Public keys of minisign whose signatures count.
    pub trusted_keys: Vec<String>,
    /// Only plugins that a trusted key has signed are loaded.
    pub require_signature: bool,
}

/// The `execution` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// A buy without `valid_until` is cancelled after this time.
    pub buy_order_timeout: Duration,
    /// A sale without `valid_until` is cancelled after this time.
    pub sell_order_timeout: Duration,
    /// A cancel that shows no effect is repeated after this time for the first time; may be zero.
    pub cancel_retry_grace: Duration,
    /// And then once in this time.
    pub cancel_retry_interval: Duration,
    /// Orders that may be open at the broker at a time.
    pub max_in_flight: u32,
    /// How long a call of a plugin may take before its outcome counts as unknown.
    pub call_deadline: Duration,
    /// Time between two comparisons with the broker's own records.
    pub reconcile_interval: Duration,
    /// Time between two looks for an order whose outcome is unknown.
    pub unknown_poll: Duration,
    /// Complete snapshots without the order before it counts as never accepted.
    pub unknown_snapshots: u32,
    /// And the time that they must span; may be zero.
    pub unknown_settle: Duration,
    /// How much a chase suggestion goes beyond the last limit price, in basis points.
    pub chase_bps: u32,
    /// The slippage allowed where a signal names none, in basis points.
    pub max_slippage_bps: u32,
    /// Signals asked for in one request.
    pub signals_limit: u32,
    /// Reports sent to the backend at a time.
    pub report_concurrency: u32,
    /// Time between two position syncs; zero turns them off.
    pub position_sync_interval: Duration,
    /// Time between two heartbeats; zero turns them off.
    pub heartbeat_interval: Duration,
}

/// Where a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Lane {
    /// In a process of its own, whose end costs a reconnection.
    Worker,
    /// In the host's process.
    InProcess,
}

impl Lane {
    /// As the configuration writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::InProcess => "in-process",
        }
    }
}

/// The block of one plugin in `plugin_options`: the host's treatment of it, while its own block is its own affair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosting {
    /// Where it runs, if the user decides.
    pub lane: Option<Lane>,
    /// What its worker may use, in MiB; zero for as much as there is.
    pub memory_limit_mb: u32,
    /// How long a call may take before its worker is killed; zero for three times the deadline of a call.
    pub kill_after: Duration,
    /// How long it may take to open in a worker.
    pub open_within: Duration,
    /// How long after a loss it is opened again for the first time.
    pub respawn_after: Duration,
    /// How long that wait may grow.
    pub respawn_at_most: Duration,
}

impl Default for Hosting {
    fn default() -> Self {
        Self {
            lane: None,
            memory_limit_mb: 2048,
            kill_after: Duration::ZERO,
            open_within: Duration::from_secs(60),
            respawn_after: Duration::from_millis(200),
            respawn_at_most: Duration::from_secs(30),
        }
    }
}

/// The block `plugin_options`, by the plugin's name in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginOptions(BTreeMap<String, Hosting>);

impl PluginOptions {
    /// The options of a plugin, if there are any.
    pub fn get(&self, plugin: &str) -> Option<&Hosting> {
        self.0
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(plugin))
            .map(|(_, options)| options)
    }

    /// All of them, by the names as written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Hosting)> {
        self.0.iter().map(|(name, options)| (name.as_str(), options))
    }
}

/// The `journal` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// Days that ended orders are kept.
    pub retention_days: u32,
    /// Whether there is a journal. Without one nothing survives a crash.
    pub enabled: bool,
}

/// The `risk` block. All values are percentages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Risk {
    /// A position above this share of the portfolio's value is concentrated.
    pub concentration_pct: Decimal,
    /// A loss above this share of the cost is a drawdown.
    pub drawdown_pct: Decimal,
    /// More than this share of the quantity that cannot be sold now is a liquidity risk.
    pub unsellable_pct: Decimal,
}

/// The `display` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Display {
    /// What red and green mean.
    pub colors: Colors,
}

/// What red and green mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colors {
    /// Red is up, as Chinese traders read it.
    Cn,
    /// Green is up.
    Western,
}

/// An `http` or `https` address without a trailing slash, query or credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiBaseUrl(String);

impl ApiBaseUrl {
    /// Checks a text.
    ///
    /// # Errors
    /// What is wrong with it; the text itself is not part of that, since it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "expected http://host:port/api or https://host/api";
        let url = url::Url::parse(text.trim()).map_err(|error| format!("{error}; {EXAMPLE}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("starts with {}:; {EXAMPLE}", url.scheme()));
        }
        // `http:host/api` would be read as `http://host/api`: a slip that is better said than mended.
        if !text.contains("://") || url.host_str().is_none_or(str::is_empty) {
            return Err(format!("names no host; {EXAMPLE}"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!(
                "has a user name or password in it, which logs would show; {EXAMPLE}"
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("has a ? or # part; {EXAMPLE}"));
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// The address, for example `http://host:8000/api`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether everybody on the way to the backend can read the token and the orders: plain HTTP with another machine.
    pub fn is_exposed(&self) -> bool {
        let Ok(url) = url::Url::parse(&self.0) else {
            return false;
        };
        let is_here = match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => false,
        };
        url.scheme() == "http" && !is_here
    }
}

impl fmt::Display for ApiBaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The blocks of the configuration that belong to plugins, by the plugin's name in any case. They may hold account
/// numbers and passwords and therefore do not show in debug output.
#[derive(Clone, Default)]
pub struct PluginBlocks(BTreeMap<String, Value>);

impl PluginBlocks {
    /// The block of a plugin, whatever the case of the name.
    pub fn get(&self, plugin: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(plugin))
            .map(|(_, block)| block)
    }

    /// The names of all blocks, as written.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for PluginBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Config {
    /// The backend's address and token.
    ///
    /// # Errors
    /// What is missing; never happens where the purpose was [`Purpose::Trade`].
    pub fn backend(&self) -> Result<(&ApiBaseUrl, &ApiToken), Mistakes> {
        match (&self.api_base_url, &self.api_token) {
            (Some(url), Some(token)) => Ok((url, token)),
            (url, token) => Err(Mistakes(sources::missing(url.is_none(), token.is_none()))),
        }
    }

    /// The folder for logs and journal: the configured one, else the user's.
    ///
    /// # Errors
    /// No folder is configured and the system names none.
    pub fn data_dir(&self) -> Result<PathBuf, crate::system::SystemError> {
        self.data_dir
            .clone()
            .map_or_else(crate::system::default_data_dir, Ok)
    }

    /// The configuration in the form of its file, secrets and account numbers masked.
    pub fn shown(&self) -> Value {
        show::shown(self)
    }
}

#[cfg(test)]
mod tests {
    use super::ApiBaseUrl;

    #[test]
    fn only_plain_http_with_another_machine_is_exposed() {
        for (address, exposed) in [
            ("http://127.0.0.1:8000/api", false),
            ("http://127.8.9.1/api", false),
            ("http://[::1]:8000/api", false),
            ("http://localhost:8000/api", false),
            ("http://LOCALHOST/api", false),
            ("https://backend/api", false),
            ("http://backend:8000/api", true),
            ("http://192.0.2.7/api", true),
            ("http://localhost.example.com/api", true),
            ("http://[2001:db8::1]/api", true),
        ] {
            let url = ApiBaseUrl::parse(address).unwrap();
            assert_eq!(url.is_exposed(), exposed, "{address}");
        }
    }
}
