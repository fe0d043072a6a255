//! Exchanges the plugin of a running host for another version of it, with orders in flight.
//!
//! The core is told that the broker is away, so that nothing new is sent; what waits and what is under way is waited
//! for; the old version is closed and the new one opened, in this order, since an account takes one of them at a time;
//! the books are compared, and trading goes on. Where any of that fails, the old version is back. Where the old one did
//! not trade, as when the broker is away, the new one need not either: it stays once it is open.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qt_core::Event;
use tokio::sync::watch;
use tracing::info;

use crate::broker::BrokerSender;
use crate::broker::link::Opener;
use crate::broker::supervisor::{Fallback, Supervisor};
use crate::config::Lane;
use crate::control::Running;
use crate::desk;
use crate::engine::input::{Input, Sender};
use crate::engine::{Reply, Status};
use crate::hosting::{self, Room};
use crate::plugin::{self, KeptPlugin, SearchPlan};
use crate::system;

/// How long the core may take to learn that the broker is away.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// How many calls' deadlines a new version may take from its opening to compared books.
const TRADES_WITHIN_CALLS: u32 = 3;
/// A connection that blinks, or a comparison of the books that is under way, is no broker that is away.
const BLINK: Duration = Duration::from_secs(3);
const BUSY: &str = "another exchange is under way; wait for it";
const LOOK: Duration = Duration::from_millis(10);

/// What an exchange needs.
pub(crate) struct Exchange {
    room: Room,
    /// What runs; held while an exchange is under way.
    running: tokio::sync::Mutex<KeptPlugin>,
    supervisor: Arc<Supervisor>,
    broker: BrokerSender,
    engine: Sender,
    status: watch::Receiver<Status>,
}

impl Exchange {
    /// For the plugin that `supervisor` keeps open.
    pub(crate) fn new(
        room: Room,
        running: KeptPlugin,
        supervisor: Arc<Supervisor>,
        broker: BrokerSender,
        engine: Sender,
        status: watch::Receiver<Status>,
    ) -> Self {
        Self {
            room,
            running: tokio::sync::Mutex::new(running),
            supervisor,
            broker,
            engine,
            status,
        }
    }

    /// What runs.
    ///
    /// # Errors
    ///
    /// An exchange is under way, so that nobody can say.
    pub(crate) fn running(&self) -> Result<Running, String> {
        let running = self.running.try_lock().map_err(|_| BUSY.to_owned())?;
        Ok(Running {
            name: running.name().to_owned(),
            version: running.manifest().version.clone(),
            sha256: running.sha256().to_owned(),
        })
    }

    /// Exchanges what runs for the plugin in `file`.
    pub(crate) async fn swap(self: &Arc<Self>, file: PathBuf, sha256: Option<String>) -> Reply {
        let Ok(mut running) = self.running.try_lock() else {
            return Reply::refused(BUSY);
        };
        let old = title(&running);
        match self.swap_held(&running, file, sha256).await {
            Ok((new, reply)) => {
                *running = new;
                info!("{reply}");
                Reply::done(reply)
            }
            Err(reason) => {
                tracing::error!(critical = true, "the plugin {old} was not exchanged: {reason}");
                Reply::refused(format!("{old} was not exchanged: {reason}"))
            }
        }
    }

    async fn swap_held(
        self: &Arc<Self>,
        running: &KeptPlugin,
        file: PathBuf,
        sha256: Option<String>,
    ) -> Result<(KeptPlugin, String), String> {
        let own = Arc::clone(self);
        let name = running.name().to_owned();
        let runs = running.sha256().to_owned();
        // Files are read and a library may be opened: nothing for the runtime's threads.
        let prepared =
            tokio::task::spawn_blocking(move || own.prepare(file, sha256.as_deref(), &name, &runs));
        let (new, opener) = prepared.await.map_err(|e| e.to_string())??;
        let before = self.supervisor.opener();
        info!(
            "the plugin {} is exchanged for {}: no new orders",
            before.describe(),
            opener.describe()
        );
        let traded = self.trades_within(BLINK).await;
        self.begin();
        let opened = match self.drain(running).await {
            Ok(()) => self.open(opener, Fallback::Before).await,
            Err(reason) => Err(reason),
        };
        self.end();
        opened?;
        let mut reply = format!("{} was exchanged for {}", title(running), title(&new));
        if !traded {
            // Whether it would trade cannot be told by a broker with which the old one did not trade either.
            reply += "; the version before did not trade (the broker was away, or its books were not compared), and orders go out \
                      once this one does";
            return Ok((new, reply));
        }
        let within = self.room.config.execution.call_deadline * TRADES_WITHIN_CALLS;
        if self.trades_within(within).await {
            return Ok((new, reply));
        }
        self.begin();
        // What cannot be waited for is seen to as the new one is closed.
        self.drain(&new).await.ok();
        // From here on the old one is what is kept open, whether or not it opens at once.
        let back = self.open(Arc::clone(&before), Fallback::None).await;
        self.end();
        let back = match back {
            Ok(()) => format!("{} is back", before.describe()),
            Err(reason) => reason,
        };
        Err(format!(
            "{} opened and had not compared the broker's books within {} s; {back}. If the broker went away meanwhile, \
             `plugins upgrade --next-start` takes the new version up at the host's next start",
            title(&new),
            within.as_secs_f32()
        ))
    }

    /// Nothing new is given to the plugin, and no list of it is read any more.
    fn begin(&self) {
        self.broker.begin_exchange();
        self.supervisor.hold_reads(true);
    }

    fn end(&self) {
        self.supervisor.hold_reads(false);
        self.broker.end_exchange();
    }

    /// Everything that can be found out while the old version still trades.
    fn prepare(
        &self,
        file: PathBuf,
        sha256: Option<&str>,
        name: &str,
        runs: &str,
    ) -> Result<(KeptPlugin, Arc<dyn Opener>), String> {
        let plan = SearchPlan::new(std::slice::from_ref(&file), &[], &self.room.home)
            .trusting(desk::trust(&self.room.config, &self.room.home));
        let new = plugin::keep(&plan, Some(name), &self.room.home).map_err(|e| e.to_string())?;
        // Where the file holds another plugin, the search may have found the wanted one elsewhere.
        if !new.name().eq_ignore_ascii_case(name) || new.path() != file {
            return Err(format!(
                "{} does not hold the plugin `{name}`, and another broker needs a restart",
                system::shown(&file)
            ));
        }
        if sha256.is_some_and(|wanted| wanted != new.sha256()) {
            return Err(format!(
                "the file's SHA-256 is {} and not the one that was asked for; it was changed meanwhile",
                new.sha256()
            ));
        }
        if new.sha256() == runs {
            return Err(format!("the file is what runs already ({})", title(&new)));
        }
        let opener = self.room.opener(&new).map_err(|e| e.to_string())?;
        Ok((new, opener))
    }

    /// Waits until nothing is under way any more. What is then still under way in a worker is unknown once the worker
    /// has ended; in this process it could never be ended, so that the old version stays.
    async fn drain(&self, running: &KeptPlugin) -> Result<(), String> {
        let deadline = self.room.config.execution.call_deadline;
        let mut status = self.status.clone();
        let away = status.wait_for(|status| !status.connected);
        let told = matches!(tokio::time::timeout(TOLD_WITHIN, away).await, Ok(Ok(_)));
        if !told {
            return Err("the core has not taken note of it; it goes on with the old version".to_owned());
        }
        let until = Instant::now() + deadline;
        let mut drained = self.broker.is_drained();
        while !drained && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            drained = self.broker.is_drained();
        }
        for id in self.broker.take_waiting() {
            let reason = "the plugin is being exchanged".to_owned();
            self.engine
                .send(Input::Fact(Event::NotSent { id, reason }))
                .await
                .ok();
        }
        let in_process = hosting::lane(&self.room.config, running.manifest()) == Lane::InProcess;
        if in_process && !drained && self.broker.is_calling() {
            return Err(format!(
                "a call has not come back within {} s, and in this process it cannot be ended; start the host again to be rid of it",
                deadline.as_secs_f32()
            ));
        }
        Ok(())
    }

    async fn open(&self, opener: Arc<dyn Opener>, fallback: Fallback) -> Result<(), String> {
        let supervisor = Arc::clone(&self.supervisor);
        tokio::task::spawn_blocking(move || supervisor.exchange(opener, fallback))
            .await
            .map_err(|e| e.to_string())?
    }

    async fn trades_within(&self, time: Duration) -> bool {
        let mut status = self.status.clone();
        let trades = status.wait_for(trades);
        matches!(tokio::time::timeout(time, trades).await, Ok(Ok(_)))
    }
}

/// The broker takes orders, and its books were compared.
const fn trades(status: &Status) -> bool {
    status.connected && status.ready
}

fn title(plugin: &KeptPlugin) -> String {
    let short = plugin.sha256().get(..8).unwrap_or_default();
    format!("{} {} ({short})", plugin.name(), plugin.manifest().version)
}
