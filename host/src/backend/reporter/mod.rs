//! Reports out: the outbox's rows become posts, at least once, in sequence per order and side by
//! side across orders. A slow or dead backend never holds up anything but this.

mod gate;
mod queue;

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use qt_core::report::ReportBody;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use self::gate::{Failure, Gate};
pub(crate) use self::queue::OutboxRow;
use self::queue::Queue;
use super::TRADING;
use super::client::{Answer, Caller, Cause, Client};
use super::gauge::Gauge;
use super::poller::{TOKEN_RETRY, token_accepted, token_refused};
use super::wire;
use crate::engine::input::{Input, Sender};
use crate::monitor::meters::Posted;

/// Rows held in memory at most; the others wait in the journal.
const HOLD: usize = 4096;
/// Rows read from the journal at once.
const PAGE: usize = 512;
/// Acknowledgements told to the engine at once, at least when so many are together.
const BATCH: usize = 256;
/// The longest that an acknowledgement waits for company.
const BATCH_WAIT: Duration = Duration::from_millis(5);
/// How long to wait before the journal is read again after it failed.
const LOAD_RETRY: Duration = Duration::from_secs(1);
/// How long the engine gets at the end to take the last acknowledgements.
const LAST_WORDS: Duration = Duration::from_millis(200);

const DAY: Duration = Duration::from_secs(86_400);

/// Where the rows come from.
pub(crate) trait OutboxSource: Send {
    /// The rows that wait to be posted with an id above `after_id`, by ascending id, `limit` at most with the damaged ones.
    /// Called on a thread where it may block.
    ///
    /// # Errors
    ///
    /// Why the rows cannot be read, for a person.
    fn load(&mut self, after_id: i64, limit: usize) -> Result<Page, String>;
}

/// Rows that were read at once.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Those that can be posted.
    pub(crate) rows: Vec<OutboxRow>,
    /// Those that are damaged, and what is wrong with each.
    pub(crate) damaged: Vec<(i64, String)>,
}

/// How to report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReportSettings {
    /// Posts under way at once, each about another order.
    pub(crate) concurrency: usize,
    /// How long to go on delivering after shutdown.
    pub(crate) grace: Duration,
    /// A report that the backend forbids while the token is good is a dead letter so long after the first refusal.
    pub(crate) forbidden_for: Duration,
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self {
            concurrency: 16,
            grace: Duration::from_secs(2),
            // Rights come back: a firewall may take them for minutes, a person by mistake until another one looks. An alert
            // tells of reports that are late long before.
            forbidden_for: DAY,
        }
    }
}

/// What the reporter is tied to.
pub(crate) struct ReportLinks {
    /// The backend.
    pub(crate) client: Arc<Client>,
    /// Who is told what is delivered.
    pub(crate) engine: Sender,
    /// How full the outbox is.
    pub(crate) gauge: Gauge,
    /// Where the rows come from.
    pub(crate) source: Box<dyn OutboxSource>,
    /// Told (`notify_one`) after each commit that made rows.
    pub(crate) new_rows: Arc<Notify>,
    /// Told (`notify_one`) after rows with old ids wait again, as when a dead letter was set free.
    pub(crate) reload: Arc<Notify>,
    /// True once the host ends.
    pub(crate) shutdown: watch::Receiver<bool>,
}

/// Posts until shutdown and a grace after it. Where the engine is gone before, by a fault of its own, reports go on: after the next
/// start those that it could not be told of are posted again, with their keys.
pub(crate) async fn run(settings: ReportSettings, links: ReportLinks) {
    let ReportLinks {
        client,
        engine,
        gauge,
        source,
        new_rows,
        reload,
        mut shutdown,
    } = links;
    let mut tokens = client.token_changes();
    let mut answers = client.answers();
    let mut reporter = Reporter::new(settings, client, gauge, source);
    loop {
        let now = Instant::now();
        crate::failpoint::die_at("report");
        reporter.advance(now);
        if reporter.finished(now) {
            break;
        }
        if reporter.gate.is_open() {
            // Only what is answered after it closed says something.
            answers.mark_unchanged();
        }
        let wake = reporter.next_wake(now);
        tokio::select! {
            Some(flight) = reporter.flights.next(), if !reporter.flights.is_empty() => reporter.land(flight),
            loaded = loading(&mut reporter.loading), if reporter.loading.is_some() => reporter.loaded(loaded),
            () = new_rows.notified(), if !reporter.more => reporter.more = true,
            permit = engine.reserve(), if reporter.has_news(now) => match permit {
                Ok(permit) => if let Some(news) = reporter.news() { permit.send(news) },
                Err(_) => reporter.nobody_listens(),
            },
            () = reload.notified() => reporter.reload(),
            _ = answers.changed(), if reporter.gate.next_probe().is_some() => reporter.gate.others_are_answered(),
            _ = tokens.changed() => reporter.gate.probe_now(Instant::now()),
            // A host whose shutdown switch is gone ends too.
            _ = shutdown.wait_for(|stop| *stop), if reporter.deadline.is_none() => {
                reporter.deadline = Some(Instant::now() + settings.grace);
            }
            () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
        }
    }
    reporter.last_words(&engine).await;
}

type Source = Box<dyn OutboxSource>;
type Loading = JoinHandle<(Source, Result<Page, String>)>;

/// Waits for the rows; never ends while nothing is being read.
async fn loading(handle: &mut Option<Loading>) -> Result<(Source, Result<Page, String>), JoinError> {
    match handle {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}

/// A post that came back.
struct Flight {
    row: OutboxRow,
    answer: Answer,
    probe: bool,
}

struct Reporter {
    settings: ReportSettings,
    client: Arc<Client>,
    gauge: Gauge,
    queue: Queue,
    gate: Gate,
    flights: FuturesUnordered<Pin<Box<dyn Future<Output = Flight> + Send>>>,
    source: Option<Source>,
    loading: Option<Loading>,
    /// The journal may hold rows above `cursor`.
    more: bool,
    cursor: i64,
    reload: bool,
    load_after: Option<Instant>,
    load_trouble: Option<String>,
    posted: Vec<i64>,
    posted_since: Option<Instant>,
    /// Damaged rows that were told of.
    aside: HashSet<i64>,
    /// Since when a row that is held is forbidden while the token is good.
    forbidden: HashMap<i64, Instant>,
    words: VecDeque<Input>,
    last_cause: Option<Cause>,
    deadline: Option<Instant>,
}

impl Reporter {
    fn new(settings: ReportSettings, client: Arc<Client>, gauge: Gauge, source: Source) -> Self {
        Self {
            settings,
            client,
            gauge,
            queue: Queue::default(),
            gate: Gate::new(),
            flights: FuturesUnordered::new(),
            source: Some(source),
            loading: None,
            more: true,
            cursor: 0,
            reload: false,
            load_after: None,
            load_trouble: None,
            posted: Vec::new(),
            posted_since: None,
            aside: HashSet::new(),
            forbidden: HashMap::new(),
            words: VecDeque::new(),
            last_cause: None,
            deadline: None,
        }
    }

    /// Starts what can start.
    fn advance(&mut self, now: Instant) {
        self.queue.wake(now);
        self.start_load(now);
        // An engine that does not listen gets no more to listen to.
        while self.flights.len() < self.settings.concurrency.max(1)
            && self.posted.len() + self.words.len() < HOLD
            && self.queue.has_ready()
            && self.may_start(now)
        {
            let Some(row) = self.queue.next() else { break };
            let probe = self.gate.starts();
            self.flights.push(Box::pin(post(self.client.clone(), row, probe)));
        }
    }

    /// After shutdown a dead backend is not probed any more.
    fn may_start(&self, now: Instant) -> bool {
        self.gate.admits(now) && (self.deadline.is_none() || self.gate.is_open())
    }

    fn start_load(&mut self, now: Instant) {
        let room = HOLD.saturating_sub(self.queue.len());
        let due = self.load_after.is_none_or(|after| after <= now);
        if !self.more || !due || room < PAGE {
            return;
        }
        if let Some(mut source) = self.source.take() {
            self.more = false;
            self.load_after = None;
            let after = self.cursor;
            self.loading = Some(tokio::task::spawn_blocking(move || {
                let rows = source.load(after, PAGE);
                (source, rows)
            }));
        }
    }

    fn loaded(&mut self, loaded: Result<(Source, Result<Page, String>), JoinError>) {
        self.loading = None;
        let (source, page) = match loaded {
            Ok(loaded) => loaded,
            // The reading thread took the source along: whoever keeps this at work begins it anew, with another one.
            Err(e) => match e.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends.
                Err(_) => return,
            },
        };
        self.source = Some(source);
        match page {
            Ok(Page { rows, damaged }) => {
                self.load_trouble = None;
                self.more |= rows.len() + damaged.len() >= PAGE;
                for row in rows {
                    self.cursor = self.cursor.max(row.id);
                    self.queue.insert(row);
                }
                for (id, what) in damaged {
                    self.cursor = self.cursor.max(id);
                    self.set_aside(id, what);
                }
            }
            Err(why) => {
                self.more = true;
                self.load_after = Some(Instant::now() + LOAD_RETRY);
                if self.load_trouble.as_ref() != Some(&why) {
                    error!(target: TRADING, "The outbox cannot be read: {why}; trying again every second");
                    self.load_trouble = Some(why);
                }
            }
        }
        if std::mem::take(&mut self.reload) {
            self.reload();
        }
    }

    fn reload(&mut self) {
        // Rows that are being read now still move the cursor: it goes back once they are here.
        self.reload = self.loading.is_some();
        self.cursor = 0;
        self.more = true;
    }

    /// Takes in one post that came back, and all others that came back with it.
    fn land(&mut self, flight: Flight) {
        let now = Instant::now();
        self.settle(flight, now);
        while let Some(Some(flight)) = self.flights.next().now_or_never() {
            self.settle(flight, now);
        }
    }

    fn settle(&mut self, flight: Flight, now: Instant) {
        let Flight { row, answer, probe } = flight;
        match answer {
            Answer::Done(value) => {
                self.reachable();
                match wire::acknowledged(&value) {
                    Ok(()) => self.delivered(row, now),
                    Err(text) => self.dead(row, format!("success=false: {text}")),
                }
            }
            Answer::Refused { status: 403, text } => {
                self.reachable();
                self.forbidden(row, &text, now);
            }
            Answer::Refused { status, text } => {
                self.reachable();
                self.dead(row, format!("{status}: {text}"));
            }
            Answer::TokenRefused { status } => {
                self.gauge.meters().posted(Posted::TokenRefused);
                self.words
                    .extend(token_refused(&self.client, Caller::Reporter, status));
                let order = row.order_key.as_str();
                let fixed = Some(TOKEN_RETRY);
                self.gate.failed(
                    Failure {
                        order,
                        probe,
                        everything: true,
                        asked: None,
                        fixed,
                    },
                    now,
                );
                self.queue.again(row);
            }
            Answer::NotKnown {
                why,
                cause,
                retry_after,
            } => {
                self.not_known(row, probe, &why, cause, retry_after, now);
            }
        }
    }

    fn not_known(
        &mut self,
        row: OutboxRow,
        probe: bool,
        why: &str,
        cause: Cause,
        asked: Option<Duration>,
        now: Instant,
    ) {
        self.gauge.meters().posted(Posted::Repeated);
        let everything = concerns_everything(cause, asked);
        let order = row.order_key.as_str();
        let closed = self.gate.failed(
            Failure {
                order,
                probe,
                everything,
                asked,
                fixed: None,
            },
            now,
        );
        let same = self.last_cause.replace(cause) == Some(cause);
        if closed || (probe && !same) {
            warn!(
                target: TRADING,
                "Cannot post reports: {why}; {} wait and are posted once the backend answers", self.queue.len()
            );
        }
        if everything {
            self.queue.again(row);
            return;
        }
        let signal = row.report.signal.clone();
        let (wait, tries) = self.queue.later(row, asked, now);
        if tries == 1 && self.gate.is_open() {
            warn!(target: TRADING, "Cannot post a report for order_id={signal}: {why}; trying again");
        } else {
            debug!(target: TRADING, "Report for order_id={signal} waits {} ms: {why}", wait.as_millis());
        }
    }

    /// The token is good, and this post is forbidden all the same: a right that was taken by mistake is given back, and until
    /// then it waits by itself. Time decides and not the number of tries, of which there are more where the backend comes and
    /// goes. Whoever waits for ever would hold back what follows it.
    fn forbidden(&mut self, row: OutboxRow, text: &str, now: Instant) {
        let since = self.forbidden.get(&row.id).copied();
        let lasts = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let at_most = self.settings.forbidden_for;
        if lasts >= at_most {
            self.dead(
                row,
                format!(
                    "403 for {} h, and signals are given: {text}",
                    lasts.as_secs() / 3600
                ),
            );
            return;
        }
        self.gauge.meters().posted(Posted::Repeated);
        let (key, signal) = (row.report.key(), row.report.signal.clone());
        self.forbidden.entry(row.id).or_insert(now);
        let (wait, _) = self.queue.later(row, None, now);
        if since.is_none() {
            warn!(
                target: TRADING,
                "The backend forbids the report {key} for order_id={signal} (403: {text}), and takes the token for signals: \
                 has its user the right to report this order? It is tried for {} h and is a dead letter then",
                at_most.as_secs() / 3600
            );
        } else {
            debug!(target: TRADING, "Report for order_id={signal} is forbidden; it waits {} ms", wait.as_millis());
        }
    }

    fn reachable(&mut self) {
        self.words.extend(token_accepted(&self.client, Caller::Reporter));
        if self.gate.succeeded() {
            self.last_cause = None;
            self.queue.wake_all();
            info!(target: TRADING, "The backend takes reports again; {} wait", self.queue.len());
        }
    }

    fn delivered(&mut self, row: OutboxRow, now: Instant) {
        let signal = &row.report.signal;
        match &row.report.body {
            ReportBody::Execution(execution) => info!(
                target: TRADING,
                "Reported execution for order_id={signal} status={} filled={}",
                execution.status.as_str(),
                execution.filled_size
            ),
            body => {
                debug!(target: TRADING, "Reported {:?} for order_id={signal}", row.report.kind());
                if matches!(body, ReportBody::Submitted { .. } | ReportBody::Failed { .. }) {
                    self.gauge.settle_one();
                }
            }
        }
        self.gauge.meters().posted(Posted::Delivered);
        self.forbidden.remove(&row.id);
        self.queue.delivered(row.id, &row.order_key);
        self.gauge.one_less();
        self.posted.push(row.id);
        self.posted_since.get_or_insert(now);
    }

    fn dead(&mut self, row: OutboxRow, error: String) {
        warn!(
            target: TRADING,
            "The backend refuses the report {} for order_id={} ({error}): it is kept as a dead letter; see \
             `qt-host reports list`, then `reports retry` or `reports drop`",
            row.report.key(),
            row.report.signal
        );
        self.gauge.meters().posted(Posted::Dead);
        self.forbidden.remove(&row.id);
        self.queue.refused(row.id, &row.order_key);
        self.gauge.one_less();
        self.words.push_back(Input::DeadLetter { id: row.id, error });
    }

    /// A row that cannot be posted, since nobody knows what it said, holds up no other.
    fn set_aside(&mut self, id: i64, what: String) {
        if !self.aside.insert(id) {
            return;
        }
        error!(
            target: TRADING,
            critical = true,
            "A report cannot be posted: {what}. It is kept as a dead letter and the others go on; see `qt-host journal verify`"
        );
        self.gauge.meters().posted(Posted::Dead);
        self.gauge.one_less();
        self.words.push_back(Input::DeadLetter { id, error: what });
    }

    /// What the engine would have been told.
    fn nobody_listens(&mut self) {
        self.words.clear();
        self.posted.clear();
        self.posted_since = None;
    }

    /// True when the engine should be told something now.
    fn has_news(&self, now: Instant) -> bool {
        !self.words.is_empty() || self.posted.len() >= BATCH || self.batch_due().is_some_and(|due| due <= now)
    }

    fn batch_due(&self) -> Option<Instant> {
        self.posted_since.map(|since| {
            if self.flights.is_empty() {
                since
            } else {
                since + BATCH_WAIT
            }
        })
    }

    fn news(&mut self) -> Option<Input> {
        if let Some(word) = self.words.pop_front() {
            return Some(word);
        }
        self.posted_since = None;
        let ids = std::mem::take(&mut self.posted);
        (!ids.is_empty()).then_some(Input::Posted(ids))
    }

    /// When there is something to do even if nothing happens.
    fn next_wake(&self, now: Instant) -> Option<Instant> {
        let orders = if self.queue.has_ready() {
            Some(now)
        } else {
            self.queue.next_due()
        };
        let posts = match (self.gate.next_probe(), orders) {
            _ if self.gate.is_open() => orders,
            (Some(probe), Some(order)) if self.deadline.is_none() => Some(probe.max(order)),
            _ => None,
        };
        let load = self.load_after.filter(|_| self.source.is_some());
        // What is due and was not begun waits for a flight to land or for the engine to listen, and
        // either wakes us by itself.
        let due = [posts, load, self.batch_due()]
            .into_iter()
            .flatten()
            .filter(|due| *due > now);
        due.chain(self.deadline).min()
    }

    /// True after shutdown, once nothing is left that can be done within the grace.
    fn finished(&self, now: Instant) -> bool {
        let Some(deadline) = self.deadline else {
            return false;
        };
        let idle = self.flights.is_empty()
            && !(self.queue.has_ready() && self.gate.is_open())
            && self.loading.is_none()
            && !(self.more && self.load_after.is_none() && self.gate.is_open());
        deadline <= now || idle
    }

    async fn last_words(mut self, engine: &Sender) {
        while let Some(news) = self.news() {
            // What the engine does not hear is posted once more after the next start, with its key.
            if !matches!(timeout(LAST_WORDS, engine.send(news)).await, Ok(Ok(()))) {
                return;
            }
        }
    }
}

/// Whether a failure says something about the backend and not about one report.
const fn concerns_everything(cause: Cause, asked: Option<Duration>) -> bool {
    match cause {
        Cause::Unreachable | Cause::Status(300..=399 | 429) => true,
        Cause::Status(503) => asked.is_some(),
        Cause::Status(_) | Cause::Timeout | Cause::Broken | Cause::NotJson(_) => false,
    }
}

async fn post(client: Arc<Client>, row: OutboxRow, probe: bool) -> Flight {
    let post = match &row.override_body {
        Some(body) => wire::report_with_body(&row.report, body.clone()),
        None => wire::report(&row.report),
    };
    let answer = client.post(post).await;
    // The backend may have it, and nobody here knows.
    crate::failpoint::die_at("after-post");
    Flight { row, answer, probe }
}

#[cfg(test)]
#[path = "forbidden_tests.rs"]
mod tests;
