//! What concerns running the program: where its figures are shown, how it logs, whom it alarms, and how signals come.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Secret;
use super::walk::Block;
use crate::telemetry::LogFormat;

const DAY: &str = "86400";

/// Whether signals are pushed by the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalsStream {
    /// Where the backend has a stream.
    Auto,
    /// A backend without one is complained about, and asked again.
    On,
    /// They are fetched alone.
    Off,
}

impl SignalsStream {
    const WORDS: [(&'static str, Self); 3] = [("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)];

    /// As the configuration writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// Which signals of NATS an account takes whose journal is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatsBegin {
    /// Those that are published from then on: another journal may know of the orders of older ones.
    New,
    /// All that the stream has.
    All,
}

impl NatsBegin {
    const WORDS: [(&'static str, Self); 2] = [("new", Self::New), ("all", Self::All)];

    /// As the configuration writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::All => "all",
        }
    }
}

/// The shape of a webhook's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// An object of our own, said in the README.
    Json,
    /// A robot of DingTalk (钉钉).
    DingTalk,
    /// A robot of WeCom (企业微信).
    WeCom,
    /// A robot of Feishu (飞书) or Lark.
    Feishu,
}

impl WebhookFormat {
    const WORDS: [(&'static str, Self); 4] = [
        ("json", Self::Json),
        ("dingtalk", Self::DingTalk),
        ("wecom", Self::WeCom),
        ("feishu", Self::Feishu),
    ];

    /// As the configuration writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::DingTalk => "dingtalk",
            Self::WeCom => "wecom",
            Self::Feishu => "feishu",
        }
    }
}

/// Where a secret is to be found: in the configuration itself, in a variable, or in a file.
#[derive(Debug, Clone)]
pub enum SecretPlace {
    /// Written into the configuration.
    Literal(Secret),
    /// `env:NAME`
    Variable(String),
    /// `file:PATH`
    File(PathBuf),
}

impl SecretPlace {
    fn of(text: Secret, base: &Path) -> Self {
        if let Some(name) = text.expose().strip_prefix("env:") {
            return Self::Variable(name.to_owned());
        }
        if let Some(path) = text.expose().strip_prefix("file:") {
            return Self::File(base.join(crate::system::expand_home(Path::new(path))));
        }
        Self::Literal(text)
    }

    /// The secret itself.
    ///
    /// # Errors
    /// Why it is not to be had, without anything of it.
    pub fn read(&self) -> Result<Secret, String> {
        let text = match self {
            Self::Literal(secret) => return Ok(secret.clone()),
            Self::Variable(name) => std::env::var(name)
                .map_err(|_| format!("the variable {name} of the environment is not set"))?,
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|e| format!("the file {} cannot be read: {e}", crate::system::shown(path)))?,
        };
        let text = Secret::new(text);
        Ok(Secret::new(text.expose().trim().to_owned()))
    }

    /// How `config show` has it.
    pub fn shown(&self) -> String {
        match self {
            Self::Literal(_) => "***".to_owned(),
            Self::Variable(name) => format!("env:{name}"),
            Self::File(path) => format!("file:{}", path.display()),
        }
    }
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its address, which is as good as a password.
    pub url: SecretPlace,
    /// The shape of its messages.
    pub format: WebhookFormat,
    /// What DingTalk and Feishu sign with, where that is switched on there.
    pub secret: Option<SecretPlace>,
}

/// The `alerts` block.
#[derive(Debug, Clone)]
pub struct Alerts {
    /// Where messages are posted to.
    pub webhook: Option<Webhook>,
    /// A program and its arguments, which gets the message as JSON on its standard input.
    pub command: Vec<String>,
    /// The same thing about the same account is not said again before this time has passed.
    pub repeat_after: Duration,
    /// Messages in an hour at most; the rest is counted and said with the next.
    pub max_per_hour: u32,
    /// An order that is unknown for longer is told.
    pub unknown_after: Duration,
    /// A broker that is down in a session for longer is told.
    pub broker_down_after: Duration,
    /// A backend that does not answer for longer is told.
    pub backend_down_after: Duration,
    /// A purchase that waits for its plan's sales for longer is told.
    pub barrier_after: Duration,
    /// A report that waits to be posted for longer is told.
    pub reports_late_after: Duration,
    /// Less free space than this is told, in MiB; zero for never.
    pub disk_low_mb: u32,
}

impl Alerts {
    /// True when anybody is told at all.
    pub const fn tell_somebody(&self) -> bool {
        self.webhook.is_some() || !self.command.is_empty()
    }
}

/// NATS JetStream in the place of the REST backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nats {
    /// Its servers, such as `nats://127.0.0.1:4222`, with commas between several.
    pub url: String,
    /// A file of credentials (`.creds`), where the servers want one.
    pub credentials: Option<PathBuf>,
    /// The stream that holds the signals.
    pub signals_stream: String,
    /// The subjects of this host's signals; the stream may hold those of others.
    pub signals_subject: String,
    /// The durable consumer, one for each host.
    pub consumer: String,
    /// False where the consumer's name was made of the accounts' ids.
    pub names_consumer: bool,
    /// Which signals an account takes whose journal is new.
    pub begin: NatsBegin,
    /// What the subjects of reports begin with.
    pub reports_subject: String,
}

impl Nats {
    /// The consumer where no account has an id; it was once that of every host that named none.
    pub const ONE_FOR_ALL: &'static str = "qt-host";

    /// The consumer of a host that names none: two hosts that trade other accounts must not share one, since each would
    /// be handed the other's signals.
    pub(super) fn consumer_of<'a>(accounts: impl Iterator<Item = &'a str>) -> String {
        let mut accounts: Vec<&str> = accounts.collect();
        if accounts.is_empty() {
            return Self::ONE_FOR_ALL.to_owned();
        }
        accounts.sort_unstable();
        let mut hash = Sha256::new();
        for account in accounts {
            hash.update(account);
            hash.update([0]);
        }
        let hash = data_encoding::HEXLOWER.encode(&hash.finalize()[..6]);
        format!("{}-{hash}", Self::ONE_FOR_ALL)
    }

    /// Whether others on the way can read and change what goes to some server: no TLS, and not on this machine.
    pub fn is_exposed(&self) -> bool {
        self.url.split(',').any(|one| {
            let url = url::Url::parse(one.trim()).ok();
            let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let is_here =
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
            !is_here && url.is_none_or(|url| url.scheme() != "tls")
        })
    }
}

/// A name that JetStream takes.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

/// A subject without spaces; `wild` where `*` and `>` may be in it.
fn is_subject(text: &str, wild: bool) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && (part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
                || (wild && (part == "*" || part == ">")))
    };
    text.split('.').all(part)
}

fn nats(mut block: Block<'_>, base: &Path) -> Nats {
    let names_consumer = block.is_given("consumer");
    let begin = block.word("begin", NatsBegin::New, &NatsBegin::WORDS);
    let mut named =
        |key, default: &str, expected: &str, check: &dyn Fn(&str) -> bool| match block.text(key, expected) {
            Some(text) if check(&text) => text,
            Some(text) => {
                block.wrong(
                    key,
                    Some(&serde_json::Value::String(text)),
                    format!("expected {expected}, such as {default}"),
                );
                default.to_owned()
            }
            None => default.to_owned(),
        };
    // A password in an address would show in logs.
    let is_address = |text: &str| {
        text.split(',').all(|one| {
            let one = one.trim();
            !one.contains('@')
                && (one.starts_with("nats://") || one.starts_with("tls://"))
                && url::Url::parse(one).is_ok()
        })
    };
    let nats = Nats {
        url: named(
            "url",
            "nats://127.0.0.1:4222",
            "addresses that begin with nats:// or tls:// and hold no password",
            &is_address,
        ),
        signals_stream: named("signals_stream", "QT_SIGNALS", "a stream's name", &is_name),
        signals_subject: named("signals_subject", "qt.signals.>", "a subject", &|text| {
            is_subject(text, true)
        }),
        consumer: named("consumer", Nats::ONE_FOR_ALL, "a consumer's name", &is_name),
        names_consumer,
        begin,
        reports_subject: named(
            "reports_subject",
            "qt.reports",
            "a subject without wildcards",
            &|text| is_subject(text, false),
        ),
        credentials: block
            .optional_text("credentials", "the path of a .creds file")
            .map(|path| base.join(crate::system::expand_home(Path::new(&path)))),
    };
    block.finish();
    nats
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Ops {
    /// NATS, where that is the backend.
    pub nats: Option<Nats>,
    /// Where figures and health are served.
    pub metrics: Option<SocketAddr>,
    /// The form of the log.
    pub log_format: LogFormat,
    /// Whom to alarm.
    pub alerts: Alerts,
    /// How signals come.
    pub signals_stream: SignalsStream,
}

/// Reads it from the top level.
pub fn ops(top: &mut Block<'_>, base: &Path) -> Ops {
    let metrics = top
        .optional_text("metrics", "an address such as 127.0.0.1:9464")
        .and_then(|text| match address(&text) {
            Ok(address) => Some(address),
            Err(expected) => {
                top.wrong("metrics", Some(&serde_json::Value::String(text)), expected);
                None
            }
        });
    let is_nats = top.word("backend", false, &[("rest", false), ("nats", true)]);
    let given = top.is_given("nats");
    if is_nats || given {
        let nats = nats(top.inner("nats"), base);
        if !is_nats {
            top.wrong(
                "nats",
                None,
                "is not used unless `backend` is \"nats\"; leave it out, or say so",
            );
        }
        return Ops {
            nats: is_nats.then_some(nats),
            ..rest(top, metrics, base)
        };
    }
    rest(top, metrics, base)
}

fn rest(top: &mut Block<'_>, metrics: Option<SocketAddr>, base: &Path) -> Ops {
    let formats = LogFormat::ALL.map(|format| (format.name(), format));
    Ops {
        nats: None,
        metrics,
        log_format: top.word("log_format", LogFormat::Text, &formats),
        signals_stream: top.word("signals_stream", SignalsStream::Auto, &SignalsStream::WORDS),
        alerts: alerts(top.inner("alerts"), base),
    }
}

/// An address to listen on: a bare port means this machine alone.
fn address(text: &str) -> Result<SocketAddr, String> {
    const EXPECTED: &str = "expected a port, or an address with one, such as 9464 or 127.0.0.1:9464";
    let text = text.trim();
    let bare = text.strip_prefix(':').unwrap_or(text);
    if !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = bare.parse().map_err(|_| EXPECTED.to_owned())?;
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return address(port);
    }
    // A name would have to be looked up: only numbers are sure to be what was meant.
    let numbers = text
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit() || b":.[]%".contains(&byte));
    numbers
        .then(|| text.to_socket_addrs().ok().and_then(|mut found| found.next()))
        .flatten()
        .ok_or_else(|| EXPECTED.to_owned())
}

fn alerts(mut block: Block<'_>, base: &Path) -> Alerts {
    let webhook = if block.is_block("webhook") {
        webhook_of(block.inner("webhook"), base)
    } else {
        if block.is_given("webhook") {
            // An address that stands here is a secret all the same.
            block.take("webhook").iter_mut().for_each(super::file::wipe);
            block.wrong(
                "webhook",
                None,
                "expected a block in braces with `url` and `format` (not shown)",
            );
        }
        None
    };
    let alerts = Alerts {
        webhook,
        command: block.texts("command", "a program or an argument of it", |_| Ok(())),
        repeat_after: block.seconds("repeat_after_seconds", "1800", "1"..=DAY),
        max_per_hour: block.count("max_per_hour", 30, 1..=3600),
        unknown_after: block.seconds("unknown_after_seconds", "60", "0"..=DAY),
        broker_down_after: block.seconds("broker_down_after_seconds", "30", "0"..=DAY),
        backend_down_after: block.seconds("backend_down_after_seconds", "120", "0"..=DAY),
        barrier_after: block.seconds("barrier_after_seconds", "600", "0"..=DAY),
        reports_late_after: block.seconds("reports_late_after_seconds", "300", "1"..=DAY),
        disk_low_mb: block.count("disk_low_mb", 1024, 0..=1_048_576),
    };
    block.finish();
    alerts
}

fn webhook_of(mut block: Block<'_>, base: &Path) -> Option<Webhook> {
    const EXPECTED: &str = "the robot's address, or env:NAME or file:PATH for where it is";
    if !block.is_given("url") {
        block.wrong("url", None, format!("is missing; expected {EXPECTED}"));
    }
    let url = block.secret("url", EXPECTED);
    let format = block.word("format", WebhookFormat::Json, &WebhookFormat::WORDS);
    let secret = block.secret(
        "secret",
        "the robot's signing secret, or env:NAME or file:PATH for where it is",
    );
    if secret.is_some() && !matches!(format, WebhookFormat::DingTalk | WebhookFormat::Feishu) {
        block.wrong(
            "secret",
            None,
            "only dingtalk and feishu sign their messages; leave it out",
        );
    }
    block.finish();
    Some(Webhook {
        url: SecretPlace::of(url?, base),
        format,
        secret: secret.map(|secret| SecretPlace::of(secret, base)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_is_this_machine_alone() {
        for (text, expected) in [
            ("9464", "127.0.0.1:9464"),
            (":9464", "127.0.0.1:9464"),
            ("localhost:9464", "127.0.0.1:9464"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("0.0.0.0:9464", "0.0.0.0:9464"),
            ("[::1]:9464", "[::1]:9464"),
        ] {
            assert_eq!(
                address(text).map(|found| found.to_string()),
                Ok(expected.to_owned()),
                "{text}"
            );
        }
        for text in [
            "",
            ":",
            "65536",
            "127.0.0.1",
            "example.com:80",
            "localhost:",
            "[::1]",
            "-1",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_without_tls_are_exposed_unless_they_are_here() {
        for (url, expected) in [
            ("nats://127.0.0.1:4222", false),
            ("nats://localhost:4222, nats://[::1]:4222", false),
            ("tls://nats.example.com:4222", false),
            ("nats://nats.example.com:4222", true),
            ("nats://127.0.0.1:4222,nats://192.0.2.1:4222", true),
        ] {
            let nats = Nats {
                names_consumer: true,
                begin: NatsBegin::New,
                url: url.to_owned(),
                credentials: None,
                signals_stream: String::new(),
                signals_subject: String::new(),
                consumer: String::new(),
                reports_subject: String::new(),
            };
            assert_eq!(nats.is_exposed(), expected, "{url}");
        }
    }

    #[test]
    fn a_secret_is_found_where_it_is_said_to_be_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hook"), "https://host/s3cret\n").unwrap();
        let place = |text: &str| SecretPlace::of(Secret::new(text.to_owned()), folder.path());
        let file = place("file:hook");
        assert_eq!(file.read().unwrap().expose(), "https://host/s3cret");
        assert!(!file.shown().contains("s3cret") && file.shown().ends_with("hook"));
        assert_eq!(place("https://host/x").read().unwrap().expose(), "https://host/x");
        assert_eq!(place("https://host/x").shown(), "***");
        let missing = place("env:QT_TEST_NO_SUCH_VARIABLE");
        assert!(missing.read().unwrap_err().contains("QT_TEST_NO_SUCH_VARIABLE"));
        assert!(
            place("file:none")
                .read()
                .unwrap_err()
                .contains("none cannot be read")
        );
    }

    #[test]
    fn hosts_of_other_accounts_have_other_consumers() {
        let of = |accounts: &[&str]| Nats::consumer_of(accounts.iter().copied());
        assert_eq!(of(&[]), "qt-host");
        assert_eq!(of(&["SA-1", "SA-2"]), of(&["SA-2", "SA-1"]));
        assert_ne!(of(&["SA-1"]), of(&["SA-2"]));
        assert_ne!(of(&["SA-1", "SA-2"]), of(&["SA-1SA-2"]));
        assert!(is_name(&of(&["账户 1"])), "{}", of(&["账户 1"]));
    }
}
