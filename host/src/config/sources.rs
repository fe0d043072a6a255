//! Brings file, environment and flags together and checks the whole.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Map, Number, Value};

use super::lines::joined;
use super::mistake::{Mistake, Mistakes, Origin, near_miss};
use super::walk::Walk;
use super::{ApiBaseUrl, ApiToken, Config, PluginBlocks, accounts, defaults, file, ops};
use crate::telemetry::LogLevel;

/// The plugins that come with the program: their blocks are known by name.
const OWN_PLUGINS: [&str; 2] = ["miniQMT", "simulated"];
const DEFAULT_BROKER: &str = "simulated";
/// Keys beginning so are remarks, for JSON has no other place for them.
const REMARKS: [&str; 3] = ["_", "//", "$schema"];

/// The variables of the environment and the key that each stands for; in a plugin's block behind a dot.
const VARIABLES: [(&str, &str); 11] = [
    ("TRADER_API_BASE_URL", "api_base_url"),
    ("TRADER_API_TOKEN", "api_token"),
    ("TRADER_PASSPHRASE_FILE", "passphrase_file"),
    ("TRADER_CA_CERTIFICATE", "ca_certificate"),
    ("TRADER_POLL_INTERVAL", "poll_interval"),
    ("TRADER_LOG_LEVEL", "log_level"),
    ("TRADER_SECURITIES_ACCOUNT_ID", "securities_account_id"),
    ("TRADER_BROKER", "broker"),
    ("TRADER_DATA_DIR", "data_dir"),
    ("TRADER_MINIQMT_ACCOUNT_ID", "miniQMT.account_id"),
    ("TRADER_MINIQMT_XT_PATH", "miniQMT.xt_path"),
];

/// What a configuration is for, which decides what it must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Trading: the backend's address and token are needed.
    Trade,
    /// Anything else: nothing is needed.
    Look,
}

/// The `TRADER_*` variables of an environment.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// Those of this process.
    pub fn of_process() -> Self {
        VARIABLES
            .iter()
            .filter_map(|(name, _)| Some(((*name).to_owned(), std::env::var_os(name)?)))
            .collect()
    }
}

impl FromIterator<(String, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// What the command line says. There is no flag for the token: every user of a machine sees command lines.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--api-base-url`
    pub api_base_url: Option<String>,
    /// `--broker`
    pub broker: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--log-level`
    pub log_level: Option<String>,
    /// `--poll-interval`
    pub poll_interval: Option<String>,
    /// `--plugin`
    pub plugins: Vec<PathBuf>,
    /// `--plugin-dir`
    pub plugin_dirs: Vec<PathBuf>,
    /// `--lane`
    pub lane: Option<super::Lane>,
    /// `--metrics`
    pub metrics: Option<String>,
    /// `--log-format`
    pub log_format: Option<String>,
}

/// Where a configuration comes from. A flag wins over the file, the file over the environment.
#[derive(Clone, Default)]
pub struct Sources {
    /// `--config`
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// The command line.
    pub flags: Flags,
}

/// A configuration and what should be said about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is no mistake and yet should be known, a sentence each.
    pub warnings: Vec<String>,
}

/// Reads and checks a configuration.
///
/// # Errors
/// Every mistake in it. Where the file itself cannot be read or parsed, only that.
pub fn load(sources: &Sources, purpose: Purpose) -> Result<Loaded, Mistakes> {
    let mut walk = Walk {
        mistakes: Vec::new(),
        origins: BTreeMap::new(),
        base: base_folder(sources.file.as_deref()),
    };
    let (mut values, mut warnings) = match &sources.file {
        Some(path) => from_file(path, &mut walk)?,
        None => (Map::new(), Vec::new()),
    };
    add_environment(&sources.environment, &mut values, &mut walk);
    add_flags(&sources.flags, &mut values, &mut walk);
    let config = check(values, sources, purpose, &mut walk);
    if walk.mistakes.is_empty() {
        warnings.extend(config.api_token.as_ref().and_then(crate::secrets::place_warning));
        return Ok(Loaded { config, warnings });
    }
    // In the order of the file, as the reader will go through it.
    walk.mistakes.sort_by_key(|mistake| match &mistake.origin {
        Origin::File { line, .. } => line.unwrap_or(0),
        _ => usize::MAX,
    });
    Err(Mistakes(walk.mistakes))
}

fn base_folder(file: Option<&Path>) -> PathBuf {
    file.and_then(Path::parent)
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

fn from_file(path: &Path, walk: &mut Walk) -> Result<(Map<String, Value>, Vec<String>), Mistakes> {
    let document = file::read(path)?;
    let name = path.display().to_string();
    for (key, line) in document.lines {
        walk.origins.insert(
            key,
            Origin::File {
                path: name.clone(),
                line: Some(line),
            },
        );
    }
    Ok((document.values, document.warnings))
}

/// A variable fills in what the file leaves out; an empty one is the same as none.
fn add_environment(environment: &Environment, values: &mut Map<String, Value>, walk: &mut Walk) {
    for (name, key) in VARIABLES {
        let Some(text) = environment.0.get(name).filter(|text| !text.is_empty()) else {
            continue;
        };
        let Some((block, inner)) = key.split_once('.') else {
            if values.get(key).is_none_or(Value::is_null) {
                add_variable(name, key, text, values, walk, key);
            }
            continue;
        };
        let written = values
            .keys()
            .find(|written| written.eq_ignore_ascii_case(block))
            .cloned();
        let written = written.unwrap_or_else(|| block.to_owned());
        let block = values
            .entry(written.clone())
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(options) = block
            && options.get(inner).is_none_or(Value::is_null)
            && !is_named_otherwise(options, inner)
        {
            add_variable(name, &format!("{written}.{inner}"), text, options, walk, inner);
        }
    }
}

/// Whether the file gives an option by its other name: `session_path` is the one that `xt_path` had before.
fn is_named_otherwise(options: &Map<String, Value>, inner: &str) -> bool {
    inner == "xt_path" && options.get("session_path").is_some_and(|path| !path.is_null())
}

fn add_variable(
    name: &'static str,
    path: &str,
    text: &OsString,
    values: &mut Map<String, Value>,
    walk: &mut Walk,
    key: &str,
) {
    walk.origins.insert(path.to_owned(), Origin::Variable(name));
    let Some(text) = text.to_str() else {
        return walk.wrong(path, None, "the variable's value is not valid text");
    };
    let value = if key == "poll_interval" {
        number_or_text(text)
    } else {
        Value::String(text.to_owned())
    };
    values.insert(key.to_owned(), value);
}

/// Flags and variables are all text, while numbers are expected as numbers.
fn number_or_text(text: &str) -> Value {
    text.trim()
        .parse::<Number>()
        .map_or_else(|_| Value::String(text.to_owned()), Value::Number)
}

fn add_flags(flags: &Flags, values: &mut Map<String, Value>, walk: &mut Walk) {
    let texts = [
        ("--api-base-url", "api_base_url", &flags.api_base_url),
        ("--broker", "broker", &flags.broker),
        ("--log-level", "log_level", &flags.log_level),
        ("--poll-interval", "poll_interval", &flags.poll_interval),
        ("--metrics", "metrics", &flags.metrics),
        ("--log-format", "log_format", &flags.log_format),
    ];
    for (flag, key, text) in texts {
        if let Some(text) = text {
            let value = if key == "poll_interval" {
                number_or_text(text)
            } else {
                Value::String(text.clone())
            };
            values.insert(key.to_owned(), value);
            walk.origins.insert(key.to_owned(), Origin::Flag(flag));
        }
    }
}

fn check(values: Map<String, Value>, sources: &Sources, purpose: Purpose, walk: &mut Walk) -> Config {
    let common = accounts::Common::of(&values);
    let mut top = walk.block(values);
    let url_text = top.text(
        "api_base_url",
        "the backend's address, such as http://host:8000/api",
    );
    let api_token = top.token("api_token", "the access_token that POST /user/login answers");
    let levels = LogLevel::ALL.map(|level| (level.name(), level));
    let flags = &sources.flags;
    let mut plugins = defaults::plugins(&mut top);
    plugins.dirs.extend(top.file_paths("plugin_dirs"));
    let file_data_dir = top.file_path("data_dir");
    let broker = top.optional_text("broker", "the name of a broker plugin");
    let entries = top.entries("accounts", "an account");
    let (execution, in_execution) = defaults::execution(top.inner("execution"));
    let ops = ops::ops(&mut top, &base_folder(sources.file.as_deref()));
    let mut config = Config {
        api_base_url: None,
        api_token,
        passphrase_file: top.file_path("passphrase_file"),
        ca_certificate: top.file_path("ca_certificate"),
        allow_insecure_http: top.flag("allow_insecure_http", false),
        http: defaults::http(top.inner("http")),
        poll_interval: top.seconds("poll_interval", "1.0", "0.01"..="3600"),
        log_level: top.word("log_level", LogLevel::Info, &levels),
        securities_account_id: top
            .optional_text("securities_account_id", "the id of the account in the backend"),
        names_broker: broker.is_some(),
        broker: broker.unwrap_or_else(|| DEFAULT_BROKER.to_owned()),
        plugin_blocks: PluginBlocks::default(),
        plugins: flags.plugins.iter().cloned().chain(plugins.paths).collect(),
        plugin_dirs: flags.plugin_dirs.iter().cloned().chain(plugins.dirs).collect(),
        plugin_trust: plugins.trust,
        data_dir: flags.data_dir.clone().or(file_data_dir),
        plugin_options: defaults::plugin_options(top.inner("plugin_options")),
        lane: flags.lane,
        execution,
        gates: super::gates::gates(top.inner("gates"), in_execution),
        journal: defaults::journal(top.inner("journal")),
        risk: defaults::risk(top.inner("risk")),
        file: sources.file.clone(),
        display: defaults::display(top.inner("display")),
        metrics: ops.metrics,
        log_format: ops.log_format,
        alerts: ops.alerts,
        signals_stream: ops.signals_stream,
        nats: ops.nats,
        accounts: Vec::new(),
        home: None,
    };
    let (rest, known) = top.rest();
    config.plugin_blocks = plugin_blocks("", rest, &known, &config.broker, walk);
    check_miniqmt("", &config.plugin_blocks, walk);
    if !entries.is_empty() {
        config.accounts = accounts::read(entries, &common, &config, walk);
    }
    if let Some(nats) = config.nats.as_mut().filter(|nats| !nats.names_consumer) {
        let of_entries = config
            .accounts
            .iter()
            .map(|account| account.securities_account_id.as_str());
        let ids = of_entries.chain(config.securities_account_id.as_deref());
        nats.consumer = super::Nats::consumer_of(ids);
    }
    check_begin(&config, walk);
    config.api_base_url = url_text.as_deref().and_then(|text| check_url(text, walk));
    if config.nats.is_none() {
        check_needs(purpose, url_text.is_none(), config.api_token.as_ref(), walk);
    }
    config
}

/// Without a journal every start is an account's first: what was published while the host was down would never be taken.
fn check_begin(config: &Config, walk: &mut Walk) {
    let begins_anew = (config.nats.as_ref()).is_some_and(|nats| nats.begin == super::NatsBegin::New);
    if begins_anew && !config.journal.enabled {
        walk.wrong(
            "journal.enabled",
            Some(&Value::Bool(false)),
            "signals of NATS that are published while the host is down would never be carried out, since no journal says that they are \
             this account's; leave the journal on, or say \"begin\": \"all\" in the block `nats`, which takes whatever the consumer \
             has not acknowledged",
        );
    }
}

fn check_url(text: &str, walk: &mut Walk) -> Option<ApiBaseUrl> {
    // What stands before an @ may be a password.
    let shown = (!text.contains('@')).then(|| Value::String(text.to_owned()));
    ApiBaseUrl::parse(text)
        .map_err(|reason| walk.wrong("api_base_url", shown.as_ref(), reason))
        .ok()
}

/// What a purpose needs and nobody gave. A value that is there but wrong has been reported already.
fn check_needs(purpose: Purpose, no_url: bool, token: Option<&ApiToken>, walk: &mut Walk) {
    if purpose == Purpose::Look {
        return;
    }
    // A misspelt key is one mistake, not two.
    let reported = |key: &str| {
        let about = |mistake: &Mistake| {
            [&mistake.key, &mistake.near_miss]
                .iter()
                .any(|name| name.as_deref() == Some(key))
        };
        walk.mistakes.iter().any(about)
    };
    let no_url = no_url && !reported("api_base_url");
    let no_token = token.is_none() && !reported("api_token");
    let missing = missing(no_url, no_token);
    walk.mistakes.extend(missing);
    // A keyring may have to be unlocked by a person, and is opened by those alone who need what it holds.
    if let Some(place @ (ApiToken::Variable(_) | ApiToken::File(_))) = token
        && let Err(why) = crate::secrets::at_place(place)
    {
        walk.wrong("api_token", None, why);
    }
}

/// The mistakes of leaving out what trading needs.
pub fn missing(no_url: bool, no_token: bool) -> Vec<Mistake> {
    let mistake = |key: &str, what: &str, variable: &str, more: &str| Mistake {
        origin: Origin::Nowhere,
        key: Some(key.to_owned()),
        value: None,
        expected: format!(
            "is missing; give {what} as \"{key}\" in a file named with --config, or in {variable}{more}"
        ),
        near_miss: None,
    };
    let url = no_url.then(|| {
        mistake(
            "api_base_url",
            "the backend's address",
            "TRADER_API_BASE_URL",
            ", or with --api-base-url",
        )
    });
    let token = no_token.then(|| {
        mistake(
            "api_token",
            "the access_token of POST /user/login, or \"keyring\" once `qt-host login` has asked for one,",
            "TRADER_API_TOKEN",
            "",
        )
    });
    url.into_iter().chain(token).collect()
}

/// What nobody asked for at a level: a plugin's block if it is one, else a mistake.
pub fn plugin_blocks(
    prefix: &str,
    rest: Map<String, Value>,
    known: &[&'static str],
    broker: &str,
    walk: &mut Walk,
) -> PluginBlocks {
    let mut blocks = BTreeMap::new();
    let names: Vec<&'static str> = known.iter().copied().chain(OWN_PLUGINS).collect();
    for (key, mut value) in rest {
        let is_plugin =
            OWN_PLUGINS.iter().any(|own| own.eq_ignore_ascii_case(&key)) || broker.eq_ignore_ascii_case(&key);
        if is_plugin && !value.is_null() && !value.is_object() {
            walk.wrong(
                &joined(prefix, &key),
                None,
                "expected the plugin's options as a block in braces",
            );
        } else if value.is_null() || REMARKS.iter().any(|remark| key.starts_with(remark)) {
            continue;
        } else if value.is_object() && (is_plugin || near_miss(&key, names.iter().copied()).is_none()) {
            if let Some(other) = blocks
                .keys()
                .find(|other: &&String| other.eq_ignore_ascii_case(&key))
            {
                let expected = format!("the same plugin has a block `{other}` already; keep one of them");
                walk.wrong(&joined(prefix, &key), None, expected);
            }
            blocks.insert(key, value);
        } else {
            file::wipe(&mut value);
            walk.unknown(&joined(prefix, &key), &key, &names);
        }
    }
    PluginBlocks(blocks)
}

/// The options of the specification are checked here; all others are the plugin's own.
pub fn check_miniqmt(prefix: &str, blocks: &PluginBlocks, walk: &mut Walk) {
    let Some((name, Value::Object(options))) = blocks
        .0
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("miniQMT"))
    else {
        return;
    };
    for key in ["account_id", "session_path", "xt_path"] {
        if options
            .get(key)
            .is_some_and(|value| !value.is_string() && !value.is_null())
        {
            // The account number is not shown, not even where it was written without quotation marks.
            walk.wrong(
                &joined(prefix, &format!("{name}.{key}")),
                None,
                "expected a text in quotation marks (not shown)",
            );
        }
    }
}
