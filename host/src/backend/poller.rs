//! Signals in: asks the backend, hands what it says to the engine, and waits until that is durable.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use qt_core::UtcMillis;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use super::TRADING;
use super::client::{Answer, Caller, Cause, Client};
pub(crate) use super::routes::Route;
use super::routes::{HandedOver, Routes};
use super::sales::Origin;
use super::stream::{Pushed, Stream};
use super::wire::{self, SignalsAnswer, View};
use crate::backoff::{Backoff, MAX_ASKED, WHERE_OTHERS_ARE_ANSWERED};
use crate::clock::Clock;
use crate::config::SignalsStream;
use crate::engine::input::Input;
use crate::monitor::meters;

/// While more than this of the last answer is on its way, asking again would mostly fetch the same.
const DEEP: usize = 256;
/// So much more seldom signals are fetched while they are pushed, and at least so often.
const SLOWER: u32 = 10;
const SLOWEST: Duration = Duration::from_secs(30);
/// What was pushed longer ago is not taken as what the backend wants now: it may have been withdrawn, so that is asked.
const FRESH: Duration = Duration::from_secs(5);
/// A poll that has not begun so long after its time never will by itself, or the engine does not answer: that is said.
const OVERDUE: Duration = Duration::from_secs(60);
/// How often a refused token is tried again.
pub(super) const TOKEN_RETRY: Duration = Duration::from_secs(30);
/// How often a line that says nothing new is repeated.
const REPEAT_LINE: Duration = Duration::from_secs(60);
/// So many attempts are known to have been told of.
const MOST_TOLD: usize = 100_000;
/// How many faulty signals of one answer are written to the log one by one.
const LOGGED_FAULTS: usize = 10;

/// How to poll.
#[derive(Debug, Clone)]
pub(crate) struct PollSettings {
    /// The most signals asked for at once, 1 to 500.
    pub(crate) limit: usize,
    /// From the end of one poll to the next.
    pub(crate) interval: Duration,
    /// The wall clock.
    pub(crate) now: fn() -> UtcMillis,
    /// Whether signals are pushed besides.
    pub(crate) stream: SignalsStream,
}

/// What the poller is tied to.
#[derive(Debug)]
pub(crate) struct PollLinks {
    /// The backend.
    pub(crate) client: Arc<Client>,
    /// The accounts that signals go to.
    pub(crate) routes: Vec<Route>,
    /// True once the host ends.
    pub(crate) shutdown: watch::Receiver<bool>,
}

/// Polls until shutdown, or until the engine is gone.
pub(crate) async fn run(settings: PollSettings, links: PollLinks) {
    let stream = Stream::start(settings.stream, &links.client);
    run_beside(stream, settings, links).await;
}

/// The same, beside a stream.
pub(super) async fn run_beside(stream: Option<Stream>, settings: PollSettings, links: PollLinks) {
    let mut shutdown = links.shutdown;
    let mut poller = Poller {
        stream,
        client: links.client,
        routes: Routes::new(links.routes, settings.now),
        settings,
        backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)),
        trouble: None,
        on_its_way: 0,
        settled_before: 0,
        is_again: false,
        lines: Lines::default(),
    };
    tokio::select! {
        // Dropping the poller in the midst of a call is safe: what it had fetched and not handed
        // over stays pending at the backend.
        _ = shutdown.wait_for(|stop| *stop) => {}
        () = poller.poll_for_ever() => {}
    }
}

/// What went wrong last; a line is written when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    NotKnown(Cause),
    Token,
    Refused(u16),
    Shape,
}

struct Poller {
    stream: Option<Stream>,
    settings: PollSettings,
    client: Arc<Client>,
    routes: Routes,
    backoff: Backoff,
    trouble: Option<Trouble>,
    /// New signals whose first report was not delivered when we last looked.
    on_its_way: u64,
    settled_before: u64,
    /// The last poll came at once because something was pushed during the one before it.
    is_again: bool,
    lines: Lines,
}

/// What became of something pushed.
enum Took {
    /// It is durable.
    All,
    /// It is to be fetched.
    Nothing,
    EngineGone,
}

/// What to do after a poll.
enum Next {
    /// The usual wait.
    Interval,
    /// The backend has more: as soon as what we took is off its list.
    Soon,
    /// After so long.
    After(Duration),
    /// Something went wrong: after the first, or after the second where the backend answers others.
    AfterTrouble(Duration, Duration),
    /// As before, but a new token ends the wait.
    AfterOrNewToken(Duration),
    /// The engine is gone.
    End,
}

impl Poller {
    async fn poll_for_ever(&mut self) {
        let mut tokens = self.client.token_changes();
        loop {
            self.routes.set_poll_due(None);
            if !self.until_ready().await {
                return;
            }
            tokens.mark_unchanged();
            self.due_in(Duration::ZERO);
            crate::failpoint::die_at("poll");
            let next = self.poll_once().await;
            self.due_in(match &next {
                Next::End => return,
                Next::Interval => self.pace(),
                Next::Soon => self.settings.interval,
                Next::After(wait) | Next::AfterTrouble(wait, _) | Next::AfterOrNewToken(wait) => *wait,
            });
            match next {
                Next::End => return,
                Next::Interval => {
                    if !self.wait(self.pace(), None).await {
                        return;
                    }
                }
                Next::Soon => self.until_there_is_room().await,
                Next::After(wait) => {
                    if !self.wait(wait, None).await {
                        return;
                    }
                }
                Next::AfterTrouble(wait, least) => {
                    if !self.wait(wait, Some(least)).await {
                        return;
                    }
                }
                Next::AfterOrNewToken(wait) => {
                    // Either end of the wait leads to the same next try.
                    let _ = timeout(wait, tokens.changed()).await;
                }
            }
        }
    }

    fn due_in(&self, wait: Duration) {
        let now = Clock::system().monotonic();
        self.routes.set_poll_due(now.checked_add(wait + OVERDUE));
    }

    /// Waits until some account takes signals; false when none ever will. What is pushed meanwhile is fetched then, since
    /// until then it may be withdrawn.
    async fn until_ready(&mut self) -> bool {
        loop {
            let Some(stream) = &mut self.stream else {
                return self.routes.any_ready().await;
            };
            tokio::select! {
                biased;
                is_any = self.routes.any_ready() => return is_any,
                pushed = stream.next() => if pushed.is_none() {
                    self.stream = None;
                },
            }
        }
    }

    /// From one poll to the next: longer while signals are pushed.
    fn pace(&self) -> Duration {
        let usual = self.settings.interval;
        if self.stream.as_ref().is_some_and(Stream::is_connected) {
            usual.max((usual * SLOWER).min(SLOWEST))
        } else {
            usual
        }
    }

    /// Waits, and takes meanwhile what is pushed; a stream that comes or goes ends the wait, and so does an answer of the
    /// backend to others once `unless_answered` has passed. False when the engine is gone.
    async fn wait(&mut self, wait: Duration, unless_answered: Option<Duration>) -> bool {
        let began = Instant::now();
        let until = began + wait;
        let mut answers = self.client.answers();
        loop {
            let others = others_are_answered(&mut answers, unless_answered.map(|least| began + least));
            let Some(stream) = &mut self.stream else {
                tokio::select! {
                    () = sleep_until(until) => {}
                    () = others => {}
                }
                return true;
            };
            let pushed = tokio::select! {
                () = sleep_until(until) => return true,
                () = others => return true,
                pushed = stream.next() => pushed,
            };
            match pushed {
                // The others that wait are older than what is fetched now, too.
                Some(Pushed::Signals { at, .. }) if at.elapsed() > FRESH => {
                    stream.drain();
                    return true;
                }
                Some(Pushed::Signals { answer, cursor, .. }) => match self.take_pushed(&answer, cursor).await
                {
                    Took::All if self.stream.as_ref().is_some_and(Stream::has_missed) => return true,
                    Took::All => {}
                    Took::Nothing => return true,
                    Took::EngineGone => return false,
                },
                Some(Pushed::Connected | Pushed::Lost) => return true,
                None => self.stream = None,
            }
        }
    }

    /// Hands over what was pushed, as what was fetched. What cannot be taken now is fetched later.
    async fn take_pushed(&mut self, answer: &serde_json::Value, cursor: Option<String>) -> Took {
        let found = match wire::signals(answer, View::Pending) {
            Ok(found) => found,
            Err(fault) => {
                debug!(target: TRADING, "What was pushed cannot be understood: {fault}");
                return Took::Nothing;
            }
        };
        meters::arrived("stream", found.entries);
        // An account that does not know yet what the backend holds as submitted is told that first.
        if self.routes.lacks_held() || !self.routes.all_ready() {
            return Took::Nothing;
        }
        self.lines.pushed(&found);
        match self.routes.hand_over(found, &Origin::Pushed).await {
            None => Took::EngineGone,
            Some(
                HandedOver {
                    is_durable: false, ..
                }
                | HandedOver { is_barred: true, .. },
            ) => Took::Nothing,
            Some(_) => {
                if let (Some(stream), Some(upto)) = (&self.stream, cursor) {
                    stream.is_durable(upto);
                }
                Took::All
            }
        }
    }

    async fn poll_once(&mut self) -> Next {
        let view = if self.routes.lacks_held() {
            View::Submitted
        } else {
            View::Pending
        };
        let limit = self.settings.limit.clamp(1, wire::MAX_SIGNALS);
        // What was pushed before is older than the list that is asked for now.
        if let Some(stream) = &mut self.stream {
            stream.drain();
        }
        let value = match self.client.signals(limit, view).await {
            Answer::Done(value) => value,
            other => return self.failed(other).await,
        };
        let found = match wire::signals(&value, view) {
            Ok(found) => found,
            Err(fault) => {
                let wait = self.backoff.next(None);
                if self.changed(Trouble::Shape, format!("signals cannot be fetched: {fault}")) {
                    warn!(target: TRADING, "Cannot fetch signals: {fault}; trying again");
                }
                return Next::AfterTrouble(wait, WHERE_OTHERS_ARE_ANSWERED);
            }
        };
        drop(value);
        if !self.recovered().await {
            return Next::End;
        }
        self.routes.set_last_poll((self.settings.now)());
        match view {
            View::Submitted => self.hand_over_held(found, limit).await,
            View::Pending => {
                // What was pushed meanwhile may be newer than the list or withdrawn in it: another list says which.
                let has_come = self.stream.as_mut().is_some_and(Stream::drain);
                let next = self.hand_over(found, limit).await;
                let was_again = std::mem::replace(&mut self.is_again, has_come);
                match next {
                    Next::Interval if has_come && was_again => Next::After(self.settings.interval),
                    Next::Interval if has_come => Next::After(Duration::ZERO),
                    next => next,
                }
            }
        }
    }

    async fn hand_over_held(&mut self, found: SignalsAnswer, limit: usize) -> Next {
        if found.entries >= limit {
            warn!(
                target: TRADING,
                "The backend holds {} signals or more, the most it tells at once: submitted ones beyond them \
                 are known from the journal alone", found.entries
            );
        }
        if !found.invalid.is_empty() {
            let count = found.invalid.len();
            warn!(target: TRADING, "{count} signals that the backend holds as submitted cannot be understood");
        }
        debug!(target: TRADING, "The backend holds {} signals as submitted", found.taken.len());
        if !self.routes.hand_over_held(found).await {
            return Next::End;
        }
        Next::After(Duration::ZERO)
    }

    async fn hand_over(&mut self, found: SignalsAnswer, limit: usize) -> Next {
        meters::arrived("poll", found.entries);
        self.lines.fetched(&found);
        let origin = self.client.origin().await;
        let full = found.entries >= limit;
        let settled = self.routes.settled();
        // The next poll waits until what this one brought is durable: polls never overlap.
        let Some(handed) = self.routes.hand_over(found, &origin).await else {
            return Next::End;
        };
        self.client.signals_handed_over(&handed).await;
        let new = handed.new;
        if new == 0 {
            return Next::Interval;
        }
        self.on_its_way = self.still_on_its_way(settled) + new as u64;
        self.settled_before = settled;
        if full { Next::Soon } else { Next::Interval }
    }

    const fn still_on_its_way(&self, settled: u64) -> u64 {
        self.on_its_way
            .saturating_sub(settled.saturating_sub(self.settled_before))
    }

    /// Signals stay pending until their first post is delivered. Until most of them are off the
    /// backend's list, or the usual interval has passed, asking again would fetch the same.
    async fn until_there_is_room(&mut self) {
        let deep = (self.settings.limit / 2).clamp(1, DEEP);
        let routes = &self.routes;
        let room = async {
            while routes.depth() >= DEEP || self.still_on_its_way(routes.settled()) >= deep as u64 {
                routes.moved().await;
            }
        };
        if timeout(self.settings.interval, room).await.is_err() {
            // What is still on its way now waits for something else, such as a trading session.
            self.on_its_way = 0;
        }
    }

    async fn failed(&mut self, answer: Answer) -> Next {
        match answer {
            Answer::TokenRefused { status } => {
                let what = format!(
                    "the backend refuses the token ({status}): `api_token` is wrong or has expired; {}",
                    self.client.remedy()
                );
                if self.changed(Trouble::Token, what) {
                    debug!(target: TRADING, "Signals are refused with {status}");
                }
                let news = token_refused(&self.client, Caller::Poller, status);
                if self.tell(news).await {
                    Next::AfterOrNewToken(TOKEN_RETRY)
                } else {
                    Next::End
                }
            }
            Answer::NotKnown {
                why,
                cause,
                retry_after,
            } => {
                let wait = self.backoff.next(retry_after);
                if self.changed(
                    Trouble::NotKnown(cause),
                    format!("signals cannot be fetched: {why}"),
                ) {
                    warn!(target: TRADING, "Cannot fetch signals: {why}; trying again");
                }
                let asked = retry_after.unwrap_or_default().min(MAX_ASKED);
                Next::AfterTrouble(wait, asked.max(WHERE_OTHERS_ARE_ANSWERED))
            }
            Answer::Refused { status, text } => {
                let wait = self.backoff.next(None);
                let base = self.client.base();
                let what = format!(
                    "{base}/trader/signals answered {status}: {text}; is `api_base_url` right? The format is \
                     http://host:port/api"
                );
                if self.changed(Trouble::Refused(status), what.clone()) {
                    warn!(target: TRADING, "Cannot fetch signals: {what}; trying again");
                }
                Next::AfterTrouble(wait, WHERE_OTHERS_ARE_ANSWERED)
            }
            Answer::Done(_) => Next::Interval,
        }
    }

    /// True when this trouble is not the one of the last poll.
    fn changed(&mut self, trouble: Trouble, text: String) -> bool {
        self.routes.set_trouble(&text);
        self.trouble.replace(trouble) != Some(trouble)
    }

    /// False when the engine is gone.
    async fn recovered(&mut self) -> bool {
        self.backoff.reset();
        self.routes.set_trouble("");
        if self.trouble.take().is_some() {
            info!(target: TRADING, "The backend answers again");
        }
        let news = token_accepted(&self.client, Caller::Poller);
        self.tell(news).await
    }

    /// False when the engine is gone.
    async fn tell(&mut self, news: Option<Input>) -> bool {
        match news {
            Some(input) => self.routes.tell(input).await,
            None => true,
        }
    }
}

/// Ends once the backend has answered somebody, and not before `at`; never where nobody asks for it.
pub(super) async fn others_are_answered(answers: &mut watch::Receiver<u64>, at: Option<Instant>) {
    if let Some(at) = at {
        sleep_until(at).await;
        if answers.changed().await.is_ok() {
            return;
        }
    }
    std::future::pending().await
}

/// Notes that the token is no good; gives what the engine is to be told, once however many callers
/// find out.
pub(super) fn token_refused(client: &Client, caller: Caller, status: u16) -> Option<Input> {
    if client.token_refused(caller, true) != Some(true) {
        return None;
    }
    let name = if status == 401 {
        "401 Unauthorized"
    } else {
        "403 Forbidden"
    };
    error!(
        target: TRADING,
        "The backend at {} refuses the token ({name}): no signals are taken; orders and reports are kept. Is \
         `api_token` right, has it expired or been revoked? What to do: {}; trying again every {} s",
        client.base(),
        client.remedy(),
        TOKEN_RETRY.as_secs()
    );
    Some(Input::TokenRefused(true))
}

/// Notes that the token is good; gives what the engine is to be told where it was not.
pub(super) fn token_accepted(client: &Client, caller: Caller) -> Option<Input> {
    if client.token_refused(caller, false) != Some(false) {
        return None;
    }
    info!(target: TRADING, "The backend at {} accepts the token again", client.base());
    Some(Input::TokenRefused(false))
}

/// The lines about answers: each that says something new, and one a minute otherwise.
#[derive(Default)]
struct Lines {
    last_info: Option<Instant>,
    /// Attempts that a line has told of: a stream hands out others in each answer, of those that wait.
    told: HashSet<u64>,
    last_faults: u64,
}

impl Lines {
    fn fetched(&mut self, found: &SignalsAnswer) {
        let count = found.taken.len() + found.invalid.len();
        let names = found
            .taken
            .iter()
            .map(|signal| hash(&(&signal.id.0, signal.retry_count)));
        let invalid = found.invalid.iter().filter_map(|bad| bad.id.as_ref());
        let names = names.chain(invalid.map(|id| hash(&id.0)));
        if self.told.len() > MOST_TOLD {
            self.told.clear();
        }
        let news = names.filter(|name| self.told.insert(*name)).count() > 0;
        if news || self.last_info.is_none_or(|last| last.elapsed() >= REPEAT_LINE) {
            self.last_info = Some(Instant::now());
            info!(target: TRADING, "Fetched {count} pending signals");
        } else {
            debug!(target: TRADING, "Fetched {count} pending signals");
        }
        if found.skipped() > 0 {
            debug!(
                target: TRADING,
                "Left alone: {} not executable, {} not live, {} with another status",
                found.not_executable, found.not_live, found.other_status
            );
        }
        self.faults(found);
    }

    fn pushed(&mut self, found: &SignalsAnswer) {
        let count = found.taken.len() + found.invalid.len();
        info!(target: TRADING, "Received {count} pushed signals");
        self.faults(found);
    }

    fn faults(&mut self, found: &SignalsAnswer) {
        let reasons = found.invalid.iter().map(|bad| bad.reason.as_str());
        let faults = digest(reasons.chain(found.duplicates.iter().map(|name| name.0.as_str())));
        let same = std::mem::replace(&mut self.last_faults, faults) == faults;
        if found.beyond_limit > 0 {
            warn!(
                target: TRADING,
                "The answer holds {} signals, {} more than allowed: those wait for the next answer",
                found.entries, found.beyond_limit
            );
        }
        if same {
            return;
        }
        for bad in found.invalid.iter().take(LOGGED_FAULTS) {
            let name = bad
                .id
                .as_ref()
                .map_or("without a usable order_id", |id| id.0.as_str());
            warn!(target: TRADING, "Signal {name} cannot be executed: {}", bad.reason);
        }
        if found.invalid.len() > LOGGED_FAULTS {
            warn!(target: TRADING, "{} more signals cannot be executed", found.invalid.len() - LOGGED_FAULTS);
        }
        if let Some(first) = found.duplicates.first() {
            let count = found.duplicates.len();
            warn!(
                target: TRADING,
                "{count} signals of the answer repeat an order_id, such as {first}: the first of each counts"
            );
        }
    }
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn digest<'a>(texts: impl Iterator<Item = &'a str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    texts.for_each(|text| text.hash(&mut hasher));
    hasher.finish()
}
