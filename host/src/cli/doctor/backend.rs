//! The way to the backend, what it has, and what it says of the token.

use std::net::ToSocketAddrs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Report;
use super::place::State;
use super::signals;
use crate::backend::client::{Answer, Cause, Client, ClientSettings, Token};
use crate::backend::wire::{CallKind, View};
use crate::cli::Failure;
use crate::cli::login::{until, wait_for};
use crate::clock::Clock;
use crate::config::{ApiBaseUrl, ApiToken, Config};
use crate::secrets::{self, Found, Source};
use crate::system;

/// How long a name may take to be found.
const NAME_WITHIN: Duration = Duration::from_secs(5);
/// Clocks may part by so much, in milliseconds, before a signal's times mean something else.
const CLOCK_UNCLEAR_MS: i64 = 3_000;
const CLOCK_BAD_MS: i64 = 60_000;

/// Looks at the backend for all accounts.
pub(super) fn examine(
    config: &Config,
    accounts: &[(&Config, State)],
    report: &mut Report,
) -> Result<(), Failure> {
    if let Some(nats) = &config.nats {
        return super::nats::examine(config, nats, report);
    }
    let Some(url) = &config.api_base_url else {
        return Ok(());
    };
    let settings = match ClientSettings::of(config, url.as_str()) {
        Ok(settings) => settings,
        Err(e) => {
            report.code(2);
            report.bad(
                "tls",
                e.to_string(),
                "name a PEM file with certificates, or leave `ca_certificate` out",
            );
            return Ok(());
        }
    };
    address(config, url, report);
    if !name(url, report) {
        return Ok(());
    }
    let token = token(config, url, report);
    let header = token
        .as_ref()
        .and_then(|(_, found)| Token::new(found.token.expose()).ok());
    let has_token = header.is_some();
    let settings = ClientSettings {
        token: header,
        ..settings
    };
    let client = match Client::new(&settings) {
        Ok(client) => client,
        Err(e) => {
            report.code(2);
            report.bad("backend", e.to_string(), "correct `api_base_url`");
            return Ok(());
        }
    };
    let began = Instant::now();
    let limit = usize::try_from(config.execution.signals_limit).unwrap_or(500);
    let answer = wait_for(client.signals(limit, View::Pending))?;
    let took_ms = began.elapsed().as_millis();
    if let Some(token) = &token {
        end_of_token(config, &client, token, report);
    }
    let Some(found) = connection(config, url, answer, took_ms, has_token, report) else {
        return Ok(());
    };
    clock(&client, report);
    endpoints(&client, report)?;
    if let Some(value) = found {
        signals::examine(&value, accounts, report);
    }
    Ok(())
}

fn address(config: &Config, url: &ApiBaseUrl, report: &mut Report) {
    if !url.is_exposed() {
        return report.good("address", url.as_str());
    }
    let saw = format!("{url} is plain HTTP: everybody on the way can read the token and change signals");
    let todo = "give an https:// address; `ca_certificate` names the certificate of an authority of your own";
    if config.allow_insecure_http {
        report.unclear("address", saw, todo);
    } else {
        report.unclear(
            "address",
            saw,
            format!("{todo}. A broker that moves money is not traded this way without \"allow_insecure_http\": true"),
        );
    }
}

/// Whether the backend's name is known.
fn name(url: &ApiBaseUrl, report: &mut Report) -> bool {
    let Ok(parsed) = url::Url::parse(url.as_str()) else {
        return true;
    };
    let Some(url::Host::Domain(host)) = parsed.host() else {
        return true;
    };
    let (host, port) = (host.to_owned(), parsed.port_or_known_default().unwrap_or(80));
    let (tell, told) = mpsc::channel();
    let asked = host.clone();
    // The system's own way to ask cannot be broken off.
    let asks = std::thread::Builder::new().name("name".into()).spawn(move || {
        let found = (asked.as_str(), port)
            .to_socket_addrs()
            .map(|found| found.map(|address| address.ip().to_string()).collect::<Vec<_>>());
        tell.send(found).ok();
    });
    let todo = "is the host in `api_base_url` written right, and does this machine reach a name server?";
    if let Err(e) = asks {
        report.unclear("name", format!("the system gives no thread: {e}"), "try again");
        return true;
    }
    match told.recv_timeout(NAME_WITHIN) {
        Ok(Ok(mut found)) if !found.is_empty() => {
            found.sort();
            found.dedup();
            report.good("name", format!("{host} is {}", found.join(", ")));
            true
        }
        Ok(Ok(_)) => {
            report.bad("name", format!("{host} has no address"), todo);
            false
        }
        Ok(Err(e)) => {
            report.bad("name", format!("{host} is not known: {e}"), todo);
            false
        }
        Err(_) => {
            report.bad(
                "name",
                format!("no answer about {host} within {} s", NAME_WITHIN.as_secs()),
                todo,
            );
            false
        }
    }
}

/// The token, where it can be had. What is wrong with a variable or a file is a mistake in the configuration, and told.
fn token(config: &Config, url: &ApiBaseUrl, report: &mut Report) -> Option<(Source, Found)> {
    let place = config.api_token.as_ref()?;
    match secrets::open(config, url.as_str(), place) {
        Ok(found) => Some(found),
        Err(why) => {
            if matches!(place, ApiToken::Keyring) {
                report.code(2);
                report.bad(
                    "token",
                    why.to_string(),
                    "run `qt-host login` as the user that trades",
                );
            }
            None
        }
    }
}

/// The token's end, as far as it says, by the backend's clock.
fn end_of_token(config: &Config, client: &Client, (source, found): &(Source, Found), report: &mut Report) {
    let now_ms = Clock::system().now_ms() + client.clock_ahead_ms().unwrap_or(0);
    let ends_ms = secrets::claims(found.token.expose())
        .and_then(|claims| claims.ends_at_s)
        .map(|seconds| seconds * 1000);
    let login = if found.can_log_in {
        "; the password is kept, and a running host logs in again by itself"
    } else {
        ""
    };
    let place = match &config.api_token {
        Some(ApiToken::Literal(_)) | None => "given as it is".to_owned(),
        Some(place) => format!("from {place}"),
    };
    let saw = format!("{place}; it {}{login}", until(ends_ms, now_ms));
    match ends_ms.map(|ends| ends - now_ms) {
        _ if found.can_log_in => report.good("token", saw),
        Some(..=0) => report.bad("token", saw, source.remedy()),
        Some(..=86_400_000) => report.unclear("token", saw, source.remedy()),
        _ => report.good("token", saw),
    }
}

/// What the first answer means; nothing where there was none to go on with. Inside, the signals, where they came.
fn connection(
    config: &Config,
    url: &ApiBaseUrl,
    answer: Answer,
    took_ms: u128,
    has_token: bool,
    report: &mut Report,
) -> Option<Option<Value>> {
    let safe = match (url.as_str().starts_with("https://"), &config.ca_certificate) {
        (true, Some(path)) => format!(
            " over TLS, its certificate from the authority in {}",
            system::shown(path)
        ),
        (true, None) => " over TLS, its certificate from an authority that this system trusts".to_owned(),
        (false, _) => String::new(),
    };
    let answers = format!("{url} answers in {took_ms} ms{safe}");
    match answer {
        Answer::Done(value) => {
            report.good("connection", answers);
            report.good("login", "the backend takes the token");
            Some(Some(value))
        }
        Answer::TokenRefused { status } => {
            report.good("connection", answers);
            if has_token {
                report.bad(
                    "login",
                    format!("the backend refuses the token ({status}): it is wrong, has ended, or was revoked"),
                    "run `qt-host login` with \"api_token\": \"keyring\", or log in by POST /api/user/login and put the new \
                     access_token where the old one is",
                );
            }
            Some(None)
        }
        Answer::Refused { status, text } => {
            report.bad(
                "connection",
                format!("{url}/trader/signals answered {status}: {text}"),
                "is `api_base_url` right? The format is http://host:port/api, and it is the quantFinance backend that must \
                 answer there",
            );
            Some(None)
        }
        Answer::NotKnown { why, cause, .. } => {
            let todo = match cause {
                Cause::Unreachable => {
                    "start the backend, correct `api_base_url`, or let the firewall allow this machine's connections to it"
                }
                Cause::Timeout | Cause::Broken => {
                    "see whether the backend is overloaded, and what stands between it and this machine"
                }
                Cause::Status(300..=399) => "set `api_base_url` to where the backend is",
                Cause::Status(_) => "see the backend's own log",
                Cause::NotJson(_) => {
                    "is it the quantFinance backend that answers there? The format is http://host:port/api"
                }
            };
            report.bad("connection", why, todo);
            None
        }
    }
}

fn clock(client: &Client, report: &mut Report) {
    let Some(ahead_ms) = client.clock_ahead_ms() else {
        return;
    };
    if !client.tells_time() {
        return report.unclear(
            "clock",
            "the backend does not say what time it is there (its answers have no `Date`)",
            "have it, or the proxy before it, send the header; until then see that this machine's clock is set by a time server",
        );
    }
    let seconds = ahead_ms.abs() / 1000;
    let saw = match ahead_ms {
        _ if ahead_ms.abs() < CLOCK_UNCLEAR_MS => {
            return report.good("clock", "agrees with the backend's");
        }
        1.. => format!("is {seconds} s behind the backend's"),
        _ => format!("is {seconds} s ahead of the backend's"),
    };
    let todo = "set this machine's clock by a time server, or the backend's";
    if ahead_ms.abs() >= CLOCK_BAD_MS {
        report.bad("clock", saw, todo);
    } else {
        report.unclear("clock", saw, todo);
    }
}

/// What the backend has of the calls. A GET where only a POST is served changes nothing: 405 says that the call is
/// there, 404 that it is not.
fn endpoints(client: &Client, report: &mut Report) -> Result<(), Failure> {
    let needed = ["trader/signals/qt-host-doctor/status", "trader/executions"];
    let newer = [
        CallKind::Positions,
        CallKind::Cleanup,
        CallKind::Account,
        CallKind::Snapshot,
        CallKind::Heartbeat,
    ]
    .map(CallKind::path);
    let (mut there, mut lacking, mut unclear) = (0, Vec::new(), Vec::new());
    for path in needed.iter().chain(&newer) {
        match wait_for(client.probe(path))? {
            Some(404) => lacking.push(*path),
            Some(200..=299 | 405 | 422) => there += 1,
            Some(status) => unclear.push(format!("{path} ({status})")),
            None => unclear.push(format!("{path} (no answer)")),
        }
    }
    let gone: Vec<&str> = needed
        .iter()
        .copied()
        .filter(|path| lacking.contains(path))
        .collect();
    if !gone.is_empty() {
        report.bad(
            "calls",
            format!("the backend has no {}", gone.join(" and no ")),
            "executions cannot be reported: is `api_base_url` right, and is the backend's version one with trader calls?",
        );
    } else if !unclear.is_empty() {
        report.unclear(
            "calls",
            format!("the backend does not say whether it has {}", unclear.join(", ")),
            "nothing, where reports are acknowledged",
        );
    } else if lacking.is_empty() {
        report.good("calls", format!("the backend has all {there}"));
    } else {
        report.good(
            "calls",
            format!(
                "the backend has all that trading needs; it lacks the newer {}, which are not called",
                lacking.join(", ")
            ),
        );
    }
    Ok(())
}
