//! The credentials of a user of NATS: a file as `nsc` makes it, with the user's token and the seed of his key.
//!
//! Whoever renews them puts another file in its place. It is read for each connection, so that the next one is made with what
//! stands there then, and what was read is wiped.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::KeyPair;
use qt_core::UtcMillis;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};
use zeroize::Zeroizing;

use crate::backend::TRADING;
use crate::backend::keeper::length;
use crate::backend::plan::{Plan, Step};
use crate::secrets::{self, Claims};

/// How often the end is looked at, as far as it is known.
const LOOK: Duration = Duration::from_secs(1);
/// The file itself is read once in so many looks.
const RARELY: u32 = 10;

/// Where they are, and what is known of them.
#[derive(Debug)]
pub(crate) struct Credentials {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// What the user's token said of itself when the file was read last.
    claims: Option<Claims>,
    /// The server refuses them, or they cannot be read, and nobody has connected since.
    is_refused: bool,
    /// By how much the server's clock is ahead of ours, in milliseconds; nothing before that was looked at.
    ahead_ms: Option<i64>,
}

impl Credentials {
    /// Reads them for the first time.
    ///
    /// # Errors
    ///
    /// The file cannot be read. What is no file of credentials is told when a connection is made.
    pub(super) fn new(path: PathBuf) -> Result<Self, String> {
        let credentials = Self {
            path,
            seen: Mutex::default(),
        };
        credentials.text()?;
        credentials.read().ok();
        Ok(credentials)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, for messages.
    pub(crate) fn shown(&self) -> String {
        crate::system::shown(&self.path).to_string()
    }

    /// What a person does about credentials that end or are refused.
    pub(crate) fn remedy(&self) -> String {
        format!(
            "have whoever runs NATS make new credentials for this user, and put them into {}: the running host takes them up \
             with its next connection",
            self.shown()
        )
    }

    /// When they end, in milliseconds since 1970, where they say so, as they were read last.
    pub(crate) fn ends_at_ms(&self) -> Option<i64> {
        let seen = self.seen();
        let ends_at_s = seen.claims.as_ref().and_then(|claims| claims.ends_at_s);
        ends_at_s.map(|seconds| seconds * 1000)
    }

    /// By how much the server's clock is ahead of ours, in milliseconds: that one decides when they end.
    pub(crate) fn ahead_ms(&self) -> Option<i64> {
        self.seen().ahead_ms
    }

    /// The server's clock was looked at.
    pub(super) fn clock_is_ahead(&self, ms: i64) {
        self.seen().ahead_ms = Some(ms);
    }

    /// True while connections fail for them.
    pub(crate) fn is_refused(&self) -> bool {
        self.seen().is_refused
    }

    fn text(&self) -> Result<Zeroizing<String>, String> {
        let text = std::fs::read_to_string(&self.path).map_err(|e| {
            format!(
                "`nats.credentials`: the file {} cannot be read: {e}",
                self.shown()
            )
        })?;
        Ok(Zeroizing::new(text))
    }

    /// The user's token and his key. It may block.
    ///
    /// # Errors
    ///
    /// The file cannot be read or holds something else, which is not shown.
    pub(crate) fn read(&self) -> Result<(Zeroizing<String>, KeyPair), String> {
        let text = self.text()?;
        let found = parsed(&text).ok_or_else(|| {
            format!(
                "`nats.credentials`: {} is no file of credentials as `nsc` makes them (not shown)",
                self.shown()
            )
        })?;
        self.seen().claims = secrets::claims(&found.0);
        Ok(found)
    }

    /// Connects with what the file holds at each time.
    pub(super) fn options(self: &Arc<Self>) -> ConnectOptions {
        let credentials = Arc::clone(self);
        ConnectOptions::with_auth_callback(move |nonce| {
            let credentials = Arc::clone(&credentials);
            async move {
                let signed = spawn_blocking(move || credentials.signed(&nonce)).await;
                signed
                    .map_err(AuthError::new)
                    .and_then(|signed| signed.map_err(AuthError::new))
            }
        })
    }

    fn signed(&self, nonce: &[u8]) -> Result<Auth, String> {
        let signed = self.read().and_then(|(jwt, key)| {
            let signature = key.sign(nonce).map_err(|e| e.to_string())?;
            let mut auth = Auth::new();
            auth.jwt = Some(jwt.to_string());
            auth.signature = Some(signature);
            Ok(auth)
        });
        if let Err(why) = &signed {
            self.refused(why);
        }
        signed
    }

    /// No connection for want of good credentials; it is said once until there is one.
    pub(super) fn refused(&self, why: &str) {
        if !std::mem::replace(&mut self.seen().is_refused, true) {
            let remedy = self.remedy();
            warn!(
                target: TRADING,
                "NATS is not connected for want of good credentials ({why}); it is tried on. What to do: {remedy}"
            );
        }
    }

    /// A connection stands.
    pub(super) fn accepted(&self) {
        if std::mem::take(&mut self.seen().is_refused) {
            info!(target: TRADING, "NATS takes the credentials again");
        }
    }

    /// Tells a person of their end in time, until shutdown.
    pub(crate) async fn watch(self: Arc<Self>, mut shutdown: watch::Receiver<bool>, now_ms: fn() -> i64) {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = self.look(now_ms) => {}
        }
    }

    async fn look(self: &Arc<Self>, now_ms: fn() -> i64) {
        let mut known = self.seen().claims.clone();
        let mut plan = Plan::new(known.as_ref(), false, now_ms());
        for round in (0..RARELY).cycle() {
            let credentials = Arc::clone(self);
            if round == 0
                && let Ok(Err(why)) = spawn_blocking(move || credentials.read().map(drop)).await
            {
                // That is told where a connection needs them.
                debug!(target: TRADING, "{why}");
            }
            let claims = self.seen().claims.clone();
            if claims != known {
                plan.replaced(claims.as_ref(), false, now_ms());
                known = claims;
                let until = self.until();
                info!(target: TRADING, "New credentials of NATS were found and are used for the next connection{until}");
            }
            if let Step::Warn(left_ms) = plan.step(now_ms(), self.ahead_ms(), false) {
                self.warn(left_ms);
            }
            sleep(LOOK).await;
        }
    }

    fn warn(&self, left_ms: i64) {
        let (until, remedy) = (self.until(), self.remedy());
        if left_ms <= 0 {
            error!(target: TRADING, "The credentials of NATS have ended: they were good{until}. What to do: {remedy}");
        } else {
            let length = length(left_ms);
            warn!(
                target: TRADING,
                "The credentials of NATS are good{until}, which is in {length}. What to do before: {remedy}"
            );
        }
    }

    /// When they end, as the end of a sentence.
    fn until(&self) -> String {
        self.ends_at_ms()
            .map(|ends| format!(" until {} in Shanghai", crate::cli::shanghai(UtcMillis(ends))))
            .unwrap_or_default()
    }
}

/// The token and the key of a file: each stands alone on the line between two of strokes.
fn parsed(text: &str) -> Option<(Zeroizing<String>, KeyPair)> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let is_rule = |line: &str| line.trim_start().starts_with("---") && line.ends_with("---");
    let is_value = |line: &str| {
        !line.is_empty()
            && line
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.=".contains(&b))
            && !is_rule(line)
    };
    let mut values = lines
        .windows(3)
        .filter(|three| is_rule(three[0]) && is_value(three[1]) && is_rule(three[2]))
        .map(|three| three[1]);
    let (jwt, seed) = (values.next()?, values.next()?);
    Some((Zeroizing::new(jwt.to_owned()), KeyPair::from_seed(seed).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM";

    fn file(jwt: &str, seed: &str, end: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----{end}{jwt}{end}------END NATS USER JWT------{end}{end}\
             ************************* IMPORTANT *************************{end}NKEY Seed printed below can be used to sign.{end}\
             {end}-----BEGIN USER NKEY SEED-----{end}{seed}{end}------END USER NKEY SEED------{end}"
        )
    }

    #[test]
    fn a_file_is_read_as_nsc_makes_it_and_nothing_else_is() {
        for end in ["\n", "\r\n"] {
            let (jwt, key) = parsed(&file("a.b-_.c=", SEED, end)).unwrap();
            assert_eq!((jwt.as_str(), key.seed().unwrap().as_str()), ("a.b-_.c=", SEED));
        }
        assert!(
            parsed(file("a.b.c", SEED, "\n").trim_end()).is_some(),
            "no last line end"
        );
        for text in [
            String::new(),
            SEED.to_owned(),
            file("", SEED, "\n"),
            file("a.b.c", "", "\n"),
            file("a.b.c", "SUNOSEED", "\n"),
            file("a b c", SEED, "\n"),
        ] {
            assert!(parsed(&text).is_none(), "{text}");
        }
    }
}
