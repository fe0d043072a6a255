//! The lane in which a plugin runs in the host's own process.
//!
//! A panic in the plugin is caught at its boundary, and what it leaves behind may be in any state: the broker is not
//! used again but opened anew. A hang cannot be cured here; the watchdog tells of it, and what hangs keeps the seat, so
//! that nothing is opened beside it.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use qt_plugin_api::host::{LoadedBroker, OpenArgs, PluginModule};
use qt_plugin_api::{
    AccountRow, CallError, CancelRequest, CancelResult, ConnectionState, OrderRequest, OrderRow, PlaceResult,
    PositionRow, Quote, TradeRow,
};
use serde_json::Value;

use super::link::{BrokerLink, Keeper, OpenFailure, Opener, Placed};
use super::seat::{self, Seat};
use super::{Listener, LiveConfig};

/// Opens brokers of a plugin that was loaded into this process.
pub(crate) struct InProcess {
    /// The plugin.
    pub(crate) module: PluginModule,
    /// Its name and version.
    pub(crate) title: String,
    /// Its block of the configuration.
    pub(crate) config: Value,
    /// Its folder.
    pub(crate) data_dir: PathBuf,
    /// The broker's number of the account.
    pub(crate) account_id: Option<String>,
    /// Where that block is read again.
    pub(crate) live: LiveConfig,
    /// How long it may take to open.
    pub(crate) open_within: Duration,
    /// Where its events go.
    pub(crate) listener: Listener,
}

impl Opener for InProcess {
    fn open(&self, keeper: Keeper) -> Result<Arc<dyn BrokerLink>, OpenFailure> {
        let seat = Seat::new(&self.data_dir);
        seat.take(seat::PATIENCE)?;
        let (broker, seat) = self.open_in_time(seat, Arc::clone(&keeper))?;
        Ok(Arc::new(Session {
            broker,
            panic: OnceLock::new(),
            keeper,
            _seat: seat,
        }))
    }

    fn describe(&self) -> String {
        format!("{} in this process", self.title)
    }
}

impl InProcess {
    /// Opens it on a thread of its own, which is left alone where it takes too long. It keeps the seat for as long as it
    /// lives, and closes what it opens too late.
    fn open_in_time(&self, seat: Seat, keeper: Keeper) -> Result<(LoadedBroker, Seat), OpenFailure> {
        let callbacks = self.listener.callbacks(self.live.clone(), keeper);
        let (module, config, data_dir) = (self.module, self.config.clone(), self.data_dir.clone());
        let account_id = self.account_id.clone();
        // Handed over from hand to hand: what nobody waits for any more stays with its thread.
        let (tell, told) = mpsc::sync_channel(0);
        let opening = move || {
            let args = OpenArgs {
                config: &config,
                data_dir: &data_dir,
                account_id: account_id.as_deref(),
                callbacks,
            };
            tell.send(module.open(args).map(|broker| (broker, seat))).ok();
        };
        std::thread::Builder::new()
            .name("broker-opening".into())
            .spawn(opening)
            .map_err(|e| format!("the system gives no thread to open the plugin: {e}"))?;
        match told.recv_timeout(self.open_within) {
            Ok(opened) => Ok(opened?),
            Err(_) => Err(OpenFailure::from(format!(
                "the plugin has not opened within {} s, and in this process it cannot be ended, so that nothing is opened beside it: \
                 start the host again; `open_within_seconds` in `plugin_options` gives it longer, and `lane` = \"worker\" a process that can be ended",
                self.open_within.as_secs_f32()
            ))),
        }
    }
}

/// One open broker.
struct Session {
    broker: LoadedBroker,
    panic: OnceLock<String>,
    keeper: Keeper,
    /// The place at the account. It stands last: the broker is freed before anybody else may sit down.
    _seat: Seat,
}

impl Session {
    /// Takes note of a panic that an answer tells of.
    fn note(&self, call: &str, reason: &str) {
        if self.broker.is_poisoned() && self.panic.set(format!("{call}: {reason}")).is_ok() {
            self.keeper.wake();
        }
    }

    fn noted<T>(&self, call: &str, answer: Result<T, CallError>) -> Result<T, CallError> {
        if let Err(e) = &answer {
            self.note(call, &e.reason);
        }
        answer
    }

    fn spoilt(&self) -> Option<String> {
        let panic = self.panic.get()?;
        Some(format!("the plugin panicked ({panic}) and is opened anew"))
    }
}

impl BrokerLink for Session {
    fn place(&self, order: &OrderRequest) -> Placed {
        if let Some(reason) = self.spoilt() {
            return Placed::NotSent(reason);
        }
        let answer = self.broker.place_order(order);
        if let PlaceResult::Unknown { reason } = &answer {
            self.note("place", reason);
        }
        Placed::Answer(answer)
    }

    fn cancel(&self, cancel: &CancelRequest) -> CancelResult {
        if let Some(reason) = self.spoilt() {
            return CancelResult::Unknown { reason };
        }
        let answer = self.broker.cancel_order(cancel);
        if let CancelResult::Unknown { reason } = &answer {
            self.note("cancel", reason);
        }
        answer
    }

    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        self.noted("today's orders", self.broker.orders_today())
    }

    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        self.noted("today's trades", self.broker.trades_today())
    }

    fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        self.noted("positions", self.broker.positions())
    }

    fn account(&self) -> Result<AccountRow, CallError> {
        self.noted("account", self.broker.account())
    }

    fn quotes(&self, symbols: &[String]) -> Option<Result<Vec<Quote>, CallError>> {
        let rows = self.broker.quotes()?.quotes(symbols);
        Some(self.noted("quotes", rows))
    }

    fn connection(&self) -> ConnectionState {
        let state = self.broker.connection();
        if let ConnectionState::Disconnected { reason } = &state {
            self.note("connection", reason);
        }
        state
    }

    fn close(&self) {
        self.broker.close();
    }

    fn fault(&self) -> Option<String> {
        self.spoilt()
    }

    fn end(&self) {
        // What the broker holds, such as a lock on its own files, must be free before it is opened again. It is
        // freed with this link, which the supervisor drops once the last call that is under way has come back.
        self.broker.close();
    }
}
