//! The one who gets new tokens: by a login where a password is kept, else from where a person puts them.
//!
//! Poller, reporter and sync never log in. A call whose token was refused waits here for another one, however many such
//! calls there are, so that there is one login and never a storm of them.

use std::sync::Arc;
use std::time::Duration;

use qt_core::UtcMillis;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use super::TRADING;
use super::client::{Client, LoginAnswer, Renewal, Token};
use super::plan::{Plan, Step, Why};
use crate::secrets::{Found, Kept, Source};

/// How often the places are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A store of the system is asked once in so many looks; a file's time is cheaper.
const RARELY: u32 = 10;
/// And so often while the token is refused.
const OFTENER: u32 = 3;

/// What the keeper is tied to.
pub(crate) struct KeeperLinks {
    /// The backend.
    pub(crate) client: Arc<Client>,
    /// Where the token comes from.
    pub(crate) source: Source,
    /// A password is kept there.
    pub(crate) can_log_in: bool,
    /// True once the host ends.
    pub(crate) shutdown: watch::Receiver<bool>,
    /// Our clock: milliseconds since 1970 (UTC).
    pub(crate) now_ms: fn() -> i64,
}

/// Keeps a good token in force until shutdown.
pub(crate) async fn run(links: KeeperLinks) {
    let mut shutdown = links.shutdown;
    let (claims, _) = links.client.token_claims();
    let mut keeper = Keeper {
        plan: Plan::new(claims.as_ref(), links.can_log_in, (links.now_ms)()),
        client: links.client,
        source: Some(links.source),
        now_ms: links.now_ms,
        looks: 0,
        looked_for: 0,
        last_trouble: String::new(),
    };
    tokio::select! {
        _ = shutdown.wait_for(|stop| *stop) => {}
        () = keeper.keep() => {}
    }
}

struct Keeper {
    plan: Plan,
    client: Arc<Client>,
    /// Away while a thread that may block has it.
    source: Option<Source>,
    now_ms: fn() -> i64,
    looks: u32,
    /// The token whose refusal made it look at once.
    looked_for: u64,
    last_trouble: String,
}

impl Keeper {
    async fn keep(&mut self) {
        let mut renewal = self.client.renewal().subscribe();
        loop {
            self.say_whether_possible();
            let (_, number) = self.client.token_claims();
            let Renewal {
                refused, accepted, ..
            } = *renewal.borrow_and_update();
            let is_refused = refused >= number;
            self.look(is_refused).await;
            let (_, now_in_force) = self.client.token_claims();
            let is_refused = is_refused && now_in_force == number;
            if accepted == number && now_in_force == number {
                self.plan.accepted();
            }
            let ahead_ms = self.client.clock_ahead_ms();
            match self.plan.step((self.now_ms)(), ahead_ms, is_refused) {
                Step::Wait => {}
                Step::Warn(left_ms) => self.warn(left_ms),
                Step::LogIn(why) => self.log_in(why).await,
            }
            let (_, now_in_force) = self.client.token_claims();
            if is_refused && now_in_force == number && !self.plan.is_renewal_near((self.now_ms)()) {
                // Nothing came of it now: who waits goes on without.
                self.client
                    .renewal()
                    .send_modify(|renewal| renewal.given_up = renewal.given_up.max(number));
                renewal.mark_unchanged();
            }
            // Either end of the wait leads to the same look.
            let _ = timeout(LOOK, renewal.changed()).await;
        }
    }

    fn say_whether_possible(&self) {
        let (is_possible, is_failing) = (self.plan.is_renewal_possible(), self.plan.is_failing());
        self.client.renewal().send_if_modified(|renewal| {
            renewal.is_failing = is_failing;
            std::mem::replace(&mut renewal.is_possible, is_possible) != is_possible
        });
    }

    /// Does something with the source where it may block. Where that panicked, the source is as it was before, and the log
    /// has the panic.
    async fn with_source<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&mut Source) -> T + Send + 'static,
    ) -> Option<T> {
        let mut source = self.source.take()?;
        let spare = source.clone();
        let done = tokio::task::spawn_blocking(move || {
            let done = act(&mut source);
            (source, done)
        });
        let (source, done) = match done.await {
            Ok((source, done)) => (source, Some(done)),
            Err(_) => (spare, None),
        };
        self.source = Some(source);
        done
    }

    /// Takes up what was put there since the last look.
    async fn look(&mut self, is_refused: bool) {
        self.looks = self.looks.wrapping_add(1);
        let (_, number) = self.client.token_claims();
        let is_first = is_refused && std::mem::replace(&mut self.looked_for, number) != number;
        let is_due = is_first
            || self
                .looks
                .is_multiple_of(if is_refused { OFTENER } else { RARELY });
        if !is_due && !self.source.as_ref().is_some_and(Source::is_cheap) {
            return;
        }
        let found = self.with_source(Source::look).await.flatten();
        let Some(Found { token, can_log_in }) = found else {
            return;
        };
        let Ok(token) = Token::new(token.expose()) else {
            return;
        };
        self.plan
            .replaced(token.claims(), can_log_in, self.backend_now_ms());
        self.client.set_token(token);
        self.last_trouble.clear();
        info!(target: TRADING, "A new token was found and is in force{}", self.until());
    }

    fn backend_now_ms(&self) -> i64 {
        (self.now_ms)().saturating_add(self.client.clock_ahead_ms().unwrap_or(0))
    }

    /// When the token in force ends, as the end of a sentence.
    fn until(&self) -> String {
        self.plan
            .ends_at_ms()
            .map(|ends| format!(" until {} in Shanghai", crate::cli::shanghai(UtcMillis(ends))))
            .unwrap_or_default()
    }

    fn warn(&self, left_ms: i64) {
        let until = self.until();
        let remedy = self.client.remedy();
        if left_ms <= 0 {
            let text = format!(
                "The token has ended: it was good{until}. Signals are taken again once there is another: {remedy}"
            );
            error!(target: TRADING, "{text}");
        } else {
            let text = format!(
                "The token is good{until}, which is in {}. What to do before: {remedy}",
                length(left_ms)
            );
            warn!(target: TRADING, "{text}");
        }
    }

    async fn log_in(&mut self, why: Why) {
        let kept = match self.with_source(|source| source.kept()).await {
            Some(Ok(Some(kept))) => kept,
            Some(Err(trouble)) => return self.no_login(&trouble, None),
            // It was taken away meanwhile; the next look says so.
            Some(Ok(None)) | None => return self.no_login("no login is kept any more", None),
        };
        let Some((username, password)) = kept.credentials() else {
            return self.no_login("no password is kept any more", None);
        };
        debug!(target: TRADING, "Logging in anew");
        match self.client.log_in(username, password).await {
            LoginAnswer::Token { token, user_id } => {
                let Ok(header) = Token::new(token.expose()) else {
                    return;
                };
                let (now_ms, ahead_ms) = ((self.now_ms)(), self.client.clock_ahead_ms().unwrap_or(0));
                self.plan.logged_in(why, header.claims(), now_ms, ahead_ms);
                self.client.set_token(header);
                self.last_trouble.clear();
                let until = self.until();
                match why {
                    Why::Ending if self.plan.logins_for_nothing() > 0 => self.for_nothing(&until),
                    Why::Ending => {
                        info!(target: TRADING, "A new login replaced the token before its end: the new one is good{until}");
                    }
                    Why::Refused => {
                        info!(target: TRADING, "The token was refused, and a new login gave another one{until}");
                    }
                }
                let fresh = Kept {
                    token,
                    user_id: user_id.or_else(|| kept.user_id.clone()),
                    at_ms: now_ms,
                    ..kept.clone()
                };
                if let Some(Err(trouble)) = self.with_source(move |source| source.keep(&fresh, &kept)).await {
                    warn!(target: TRADING, "The new token is in force and could not be kept for the next start: {trouble}");
                }
            }
            LoginAnswer::Refused { status, text } => {
                self.plan.bar();
                let text = format!(
                    "The backend refuses the login that is kept ({status}: {text}): it is not tried again, so that no \
                     account is locked. What to do: run `qt-host login --remember-password`, and the running host takes it \
                     up by itself"
                );
                error!(target: TRADING, critical = true, "{text}");
            }
            LoginAnswer::NotKnown { why, retry_after } => self.no_login(&why, retry_after),
        }
    }

    /// A login gave a token that ends no later than the one before.
    fn for_nothing(&self, until: &str) {
        let remedy = self.client.remedy();
        if self.plan.logins_for_nothing() == 1 {
            warn!(
                target: TRADING,
                "A new login gave a token that ends no later than the one before: it is good{until}. Logins are made ever more \
                 rarely now, and once more at its end. If the backend gives no other then: {remedy}"
            );
        } else {
            debug!(target: TRADING, "A new login gave a token that ends no later than the one before");
        }
    }

    fn no_login(&mut self, why: &str, asked: Option<Duration>) {
        let wait = self.plan.not_known((self.now_ms)(), asked);
        if self.last_trouble != why {
            why.clone_into(&mut self.last_trouble);
            warn!(target: TRADING, "No new token yet: {why}; trying again, the next time in {} s", wait.as_secs().max(1));
        }
    }
}

/// A length of time for people.
pub(super) fn length(ms: i64) -> String {
    let seconds = (ms + 999) / 1000;
    match seconds {
        ..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
