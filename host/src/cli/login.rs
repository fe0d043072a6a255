//! `qt-host login`, `logout` and `whoami`: the token, without anybody having to see it.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use clap::Args;
use qt_core::UtcMillis;
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use super::{Failure, Options, print, shanghai, warn};
use crate::backend::client::{Answer, Client, ClientSettings, LoginAnswer, Token};
use crate::backend::wire::View;
use crate::clock::Clock;
use crate::config::{ApiBaseUrl, ApiToken, Config, Purpose, Secret};
use crate::secrets::{self, Kept, Keyring, KeyringError, StoreKind};
use crate::system;

/// No user name and no password is longer, in bytes.
const LONGEST: u64 = 4096;

const LOGIN_EXAMPLES: &str = "\
Examples:
  qt-host login --config config.json                        asks for user name and password
  qt-host login --config config.json --remember-password    and lets the running host log in again by itself
  qt-host login --username wang --password-stdin < FILE     for a script; the first line of FILE is the password
  TRADER_PASSPHRASE_FILE=FILE qt-host login --store file    on a server without a keyring

The token goes into the system's keyring: Windows Credential Manager, macOS Keychain, the Secret Service of a Linux
desktop. Where there is none it goes into an encrypted file in the data folder, whose passphrase comes from
TRADER_PASSPHRASE, from the file that `passphrase_file` or TRADER_PASSPHRASE_FILE names, or from you. One login is kept for
each backend. With \"api_token\": \"keyring\" the host takes it from there, and takes up a new one while it runs.

Exit codes: 0 done, 1 refused, no answer, or not kept, 2 usage or configuration.";

/// Ask the backend for a token and keep it where only you can use it.
#[derive(Debug, Args)]
#[command(after_help = LOGIN_EXAMPLES)]
pub(super) struct LoginArgs {
    /// Your user name at the backend; asked for where it is left out.
    #[arg(long, value_name = "NAME")]
    username: Option<String>,

    /// Read the password from standard input, its first line.
    #[arg(long)]
    password_stdin: bool,

    /// Keep the password, too, so that the running host logs in again before the token ends or when it is refused.
    #[arg(long)]
    remember_password: bool,

    /// Where to keep it; the system's keyring, else the encrypted file, where this is left out.
    #[arg(long, value_enum, value_name = "PLACE")]
    store: Option<StoreKind>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Forget the login that is kept for the backend.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qt-host logout --config config.json

It is forgotten on this machine, password included. The backend has no call that ends a token: it stays good until its end,
or until somebody revokes it there.

Exit codes: 0 done, or there was none; 1 it could not be removed; 2 usage or configuration.")]
pub(super) struct LogoutArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Say whose token is in use, where it comes from, when it ends, and whether the backend takes it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qt-host whoami --config config.json
  qt-host whoami --config config.json --json      for a program

The backend is asked for one signal, which changes nothing there. The token is not shown.

Exit codes: 0 the backend takes the token, 1 it refuses it or does not answer, 2 usage or configuration, or no token.")]
pub(super) struct WhoamiArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn backend_of(config: &Config) -> Result<&ApiBaseUrl, Failure> {
    config.api_base_url.as_ref().ok_or_else(|| {
        Failure::usage(
            "`api_base_url` is missing; name a configuration with --config, or give the address with --api-base-url or in \
             TRADER_API_BASE_URL",
        )
    })
}

/// Runs one future to its end.
pub(super) fn wait_for<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("the system gives no thread to run on: {e}")))?;
    Ok(runtime.block_on(work))
}

/// Runs `login`.
///
/// # Errors
/// The exit code and what to say about it.
pub(super) fn login(args: &LoginArgs, options: &Options) -> Result<(), Failure> {
    let config = options.load(Purpose::Look)?;
    let url = backend_of(&config)?;
    if url.is_exposed() {
        warn(&format!(
            "the way to {url} is plain HTTP: everybody on it can read the password; give an https:// address"
        ));
    }
    let settings = ClientSettings::of(&config, url.as_str()).map_err(|e| Failure::usage(e.to_string()))?;
    let client = Client::new(&settings).map_err(|e| Failure::usage(e.to_string()))?;
    let (username, password) = ask(args, url)?;
    let (token, user_id) = match wait_for(client.log_in(&username, &password))? {
        LoginAnswer::Token { token, user_id } => (token, user_id),
        LoginAnswer::Refused { status, text } => {
            return Err(Failure::failed(format!(
                "the backend at {url} refuses the login of {username} ({status}: {text}); is the password right, and does \
                 `api_base_url` name the right backend?"
            )));
        }
        LoginAnswer::NotKnown { why, .. } => return Err(Failure::failed(why)),
    };
    let kept = Kept {
        token,
        user_id,
        username: Some(username),
        password: args.remember_password.then_some(password),
        at_ms: Clock::system().now_ms(),
    };
    let ring = Keyring::of(&config, url.as_str())?;
    let kind = keep(ring, &kept, args)?;
    let now_ms = kept.at_ms + client.clock_ahead_ms().unwrap_or(0);
    print(&logged_in(args, &config, url, &kept, (kind, now_ms)))
}

/// Keeps the login; where only a passphrase is wanting, a person is asked for it.
fn keep(ring: Keyring, kept: &Kept, args: &LoginArgs) -> Result<StoreKind, Failure> {
    let failed =
        |e: KeyringError| Failure::failed(format!("the backend gave a token, and it is not kept: {e}"));
    match ring.write(kept, args.store) {
        Ok(kind) => Ok(kind),
        Err(KeyringError::NoPlace { .. } | KeyringError::NoPassphrase { .. })
            if io::stdin().is_terminal() && !args.password_stdin =>
        {
            let passphrase = passphrase(&ring)?;
            let ring = ring.typed(passphrase);
            ring.write(kept, Some(StoreKind::File)).map_err(failed)
        }
        Err(e) => Err(failed(e)),
    }
}

fn passphrase(ring: &Keyring) -> Result<Secret, Failure> {
    let file = system::shown(&ring.file());
    let first = hidden(&format!(
        "A passphrase for the encrypted file {file} (the host needs it, too): "
    ))?;
    let again = hidden("Once more: ")?;
    if first.expose().is_empty() || first.expose() != again.expose() {
        return Err(Failure::failed(
            "the two passphrases differ, or are empty; nothing was kept",
        ));
    }
    Ok(first)
}

fn hidden(prompt: &str) -> Result<Secret, Failure> {
    rpassword::prompt_password(prompt)
        .map(Secret::new)
        .map_err(|e| Failure::failed(format!("the terminal cannot be asked: {e}")))
}

/// User name and password, from a person or from a script.
fn ask(args: &LoginArgs, url: &ApiBaseUrl) -> Result<(String, Secret), Failure> {
    let is_asked = io::stdin().is_terminal() && !args.password_stdin;
    let username = match &args.username {
        Some(name) => name.trim().to_owned(),
        None if is_asked => line(&format!("User name at {url}: "))?,
        None => {
            return Err(Failure::usage(
                "there is no terminal to ask on; name the user with --username",
            ));
        }
    };
    if username.is_empty() {
        return Err(Failure::usage("the user name is empty; give one with --username"));
    }
    let password = if args.password_stdin {
        from_stdin()?
    } else if is_asked {
        hidden(&format!("Password of {username}: "))?
    } else {
        return Err(Failure::usage(
            "there is no terminal to ask on; give the password on standard input with --password-stdin",
        ));
    };
    if password.expose().is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    Ok((username, password))
}

fn line(prompt: &str) -> Result<String, Failure> {
    let mut stderr = io::stderr();
    // Nobody may be looking; the answer is read all the same.
    let _ = write!(stderr, "{prompt}").and_then(|()| stderr.flush());
    let mut text = String::new();
    io::stdin()
        .lock()
        .read_line(&mut text)
        .map_err(|e| Failure::failed(format!("the terminal cannot be read: {e}")))?;
    Ok(text.trim().to_owned())
}

fn from_stdin() -> Result<Secret, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(LONGEST).unwrap_or(0) + 64));
    io::stdin()
        .lock()
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::failed(format!("standard input cannot be read: {e}")))?;
    if bytes.len() as u64 > LONGEST {
        return Err(Failure::usage(format!(
            "standard input has more than {LONGEST} bytes, so that it is no password"
        )));
    }
    let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|e| {
        e.into_bytes().zeroize();
        Failure::usage("the password on standard input is not UTF-8")
    })?;
    let text = Zeroizing::new(text);
    Ok(Secret::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn ends_at(token: &Secret) -> Option<i64> {
    secrets::claims(token.expose())?
        .ends_at_s
        .map(|seconds| seconds * 1000)
}

/// When a token ends, for people, at `now_ms` by the backend's clock.
pub(super) fn until(ends_ms: Option<i64>, now_ms: i64) -> String {
    match ends_ms {
        Some(ends_ms) => {
            let left_ms = ends_ms - now_ms;
            let at = shanghai(UtcMillis(ends_ms));
            match left_ms / 60_000 {
                _ if left_ms <= 0 => format!("ended at {at} in Shanghai"),
                ..2 => format!("good until {at} in Shanghai ({} s)", left_ms / 1000),
                minutes @ ..120 => format!("good until {at} in Shanghai ({minutes} min)"),
                minutes @ ..2880 => format!("good until {at} in Shanghai ({} h)", minutes / 60),
                minutes => format!("good until {at} in Shanghai ({} days)", minutes / 1440),
            }
        }
        None => "says nothing of its end".to_owned(),
    }
}

fn iso(ends_ms: Option<i64>) -> Value {
    ends_ms.map_or(Value::Null, |ms| json!(shanghai(UtcMillis(ms)) + "+08:00"))
}

fn logged_in(
    args: &LoginArgs,
    config: &Config,
    url: &ApiBaseUrl,
    kept: &Kept,
    (kind, now_ms): (StoreKind, i64),
) -> String {
    let ends_ms = ends_at(&kept.token);
    let is_configured = matches!(config.api_token, Some(ApiToken::Keyring));
    if args.json {
        let answer = json!({
            "backend": url.as_str(), "username": kept.username, "user_id": kept.user_id, "store": kind.word(),
            "token_ends_at": iso(ends_ms), "remembers_password": kept.password.is_some(), "configured": is_configured,
        });
        return format!("{answer:#}\n");
    }
    let mut text = format!(
        "logged in to {url} as {}; the token is kept in {} and {}\n",
        kept.username.as_deref().unwrap_or_default(),
        kind.name(),
        until(ends_ms, now_ms)
    );
    if kept.password.is_some() {
        text += "the password is kept there, too: a running host logs in again by itself\n";
    }
    if !is_configured {
        text +=
            "to use it, set \"api_token\": \"keyring\" in the configuration, or TRADER_API_TOKEN=keyring\n";
    }
    text
}

/// Runs `logout`.
///
/// # Errors
/// The exit code and what to say about it.
pub(super) fn logout(args: &LogoutArgs, options: &Options) -> Result<(), Failure> {
    let config = options.load(Purpose::Look)?;
    let url = backend_of(&config)?;
    let done = Keyring::of(&config, url.as_str())?
        .delete()
        .map_err(|e| Failure::failed(e.to_string()))?;
    if args.json {
        let places: Vec<_> = done.iter().map(|kind| kind.word()).collect();
        return print(&format!(
            "{:#}\n",
            json!({ "backend": url.as_str(), "removed_from": places })
        ));
    }
    if done.is_empty() {
        return print(&format!("no login was kept for {url}\n"));
    }
    let places: Vec<_> = done.iter().map(|kind| kind.name()).collect();
    print(&format!(
        "the login for {url} was removed from {}\n",
        places.join(" and ")
    ))
}

/// Runs `whoami`.
///
/// # Errors
/// The exit code and what to say about it.
pub(super) fn whoami(args: &WhoamiArgs, options: &Options) -> Result<(), Failure> {
    let config = options.load(Purpose::Look)?;
    let url = backend_of(&config)?;
    // Whoever has just logged in may not have written it into the configuration yet.
    let place = config.api_token.as_ref().unwrap_or(&ApiToken::Keyring);
    let (source, found) = secrets::open(&config, url.as_str(), place)?;
    let (kept, from) = match place {
        ApiToken::Keyring => {
            let kept = Keyring::of(&config, url.as_str())?
                .read()
                .map_err(|e| Failure::usage(e.to_string()))?;
            let from = kept.as_ref().map_or("keyring", |(_, kind)| kind.name());
            (kept.as_ref().map(|(kept, _)| kept.clone()), from.to_owned())
        }
        ApiToken::Literal(_) => (None, "the configuration or TRADER_API_TOKEN".to_owned()),
        ApiToken::Variable(name) => (None, format!("the variable {name}")),
        ApiToken::File(path) => (None, format!("the file {}", system::shown(path))),
    };
    let claims = secrets::claims(found.token.expose()).unwrap_or_default();
    let ends_ms = claims.ends_at_s.map(|seconds| seconds * 1000);
    let (verdict, now_ms) = verdict(&config, url, &found.token)?;
    let username = kept.as_ref().and_then(|kept| kept.username.clone());
    let user_id = kept
        .as_ref()
        .and_then(|kept| kept.user_id.clone())
        .or(claims.subject);
    let text = if args.json {
        let (accepted, why) = match &verdict {
            Ok(()) => (json!(true), Value::Null),
            Err((accepted, why)) => (json!(accepted), json!(why)),
        };
        let answer = json!({
            "backend": url.as_str(), "username": username, "user_id": user_id, "token_from": from,
            "token_ends_at": iso(ends_ms), "remembers_password": found.can_log_in, "accepted": accepted, "why": why,
        });
        format!("{answer:#}\n")
    } else {
        let user = match (&username, &user_id) {
            (Some(name), Some(id)) => format!("{name} ({id})"),
            (Some(name), None) => name.clone(),
            (None, Some(id)) => id.clone(),
            (None, None) => "not known: the token does not say, and no login is kept".to_owned(),
        };
        let told = match &verdict {
            Ok(()) => "takes the token".to_owned(),
            Err((_, why)) => why.clone(),
        };
        format!(
            "backend   {url}\nuser      {user}\ntoken     from {from}; {}\npassword  {}\nanswer    {told}\n",
            until(ends_ms, now_ms),
            if found.can_log_in {
                "kept: a running host logs in again by itself"
            } else {
                "not kept"
            },
        )
    };
    print(&text)?;
    match verdict {
        Ok(()) => Ok(()),
        Err((Some(_), _)) => Err(Failure::failed(format!("what to do: {}", source.remedy()))),
        Err((None, _)) => Err(Failure::silent(1)),
    }
}

/// Whether the backend takes a token, if that is known, and why not.
type Verdict = Result<(), (Option<bool>, String)>;

/// What the backend says of a token, and what time it is there.
fn verdict(config: &Config, url: &ApiBaseUrl, token: &Secret) -> Result<(Verdict, i64), Failure> {
    let wrong = |e: crate::backend::client::SetupError| Failure::usage(e.to_string());
    let settings = ClientSettings {
        token: Some(Token::new(token.expose()).map_err(wrong)?),
        ..ClientSettings::of(config, url.as_str()).map_err(wrong)?
    };
    let client = Client::new(&settings).map_err(wrong)?;
    let verdict = match wait_for(client.signals(1, View::Pending))? {
        Answer::Done(_) => Ok(()),
        Answer::TokenRefused { status } => Err((
            Some(false),
            format!("refuses the token ({status}): it is wrong, has ended or was revoked"),
        )),
        Answer::Refused { status, text } => Err((None, format!("{status}: {text}"))),
        Answer::NotKnown { why, .. } => Err((None, why)),
    };
    let now_ms = Clock::system().now_ms() + client.clock_ahead_ms().unwrap_or(0);
    Ok((verdict, now_ms))
}
