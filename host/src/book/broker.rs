//! Asks the broker for its book without getting into a running host's way.
//!
//! A host that runs on the data folder is asked, since it has the broker open: a second session could
//! throw out its own. Where none runs, the plugin is opened here, to look only where it can do that,
//! else under the lease, so that no host starts beside it.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use qt_core::UtcMillis;
use qt_plugin_api::ConnectionState;
use qt_plugin_api::host::{Callbacks, LoadedBroker, OpenArgs, PluginModule};
use serde_json::{Value, json};

use super::BookError;
use crate::broker::seat::Seat;
use crate::broker::{Book, read};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{self, ControlError};
use crate::desk;
use crate::hosting;
use crate::lease::{Lease, LeaseError};
use crate::plugin;
use crate::system;

/// A plugin with this capability takes the option of the same name: it then only looks.
const READ_ONLY: &str = "read_only";
/// Each turn ends with an answer, or with the end of who was asked; so many ends in a row are no chance.
const MOST_TURNS: u32 = 8;
/// How long a plugin may take to close before the process ends without it.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// How often a connection that is being made is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The plugin's name and what its broker holds, today's trades included.
pub(super) fn ask(config: &Config, data_dir: &Path, clock: Clock) -> Result<(String, Book), BookError> {
    for _ in 0..MOST_TURNS {
        if Lease::is_held(data_dir) {
            match ask_host(config, data_dir, clock) {
                // It ended, or another command was at work for a moment.
                Err(BookError::Control(ControlError::Gone)) => continue,
                other => return other,
            }
        }
        if let Some(answer) = ask_plugin(config, data_dir, clock)? {
            return Ok(answer);
        }
    }
    Err(ControlError::Gone.into())
}

/// Opens the plugin and asks it; nothing where another process took the data folder meanwhile.
fn ask_plugin(config: &Config, data_dir: &Path, clock: Clock) -> Result<Option<(String, Book)>, BookError> {
    let home = config.home_dir()?;
    system::create_private_dir(data_dir)?;
    let wanted = config.names_broker.then_some(config.broker.as_str());
    let plugin = plugin::keep(&desk::search_plan(config, &home), wanted, &home)?;
    let mut options = hosting::block(config, &plugin)?;
    let looks = plugin
        .manifest()
        .capabilities
        .iter()
        .any(|word| word == READ_ONLY);
    let _lease = if looks {
        None
    } else {
        match Lease::take(data_dir, clock.now_ms()) {
            Ok(lease) => Some(lease),
            Err(LeaseError::Held { .. }) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
    };
    let adapter = plugin.name().to_owned();
    let folder = hosting::plugin_folder(data_dir, &adapter)?;
    // The worker of a host that was killed may not have ended yet.
    let seat = (!looks).then(|| Seat::new(&folder));
    if looks {
        options[READ_ONLY] = json!(true);
    }
    let visit = Visit {
        module: plugin.bring_in()?,
        seat,
        no_book: read::lacks_a_book(&plugin.manifest().capabilities),
        options,
        folder,
        account: desk::broker_account(config, &adapter),
        clock,
        deadline: config.execution.call_deadline,
    };
    match visit.within_deadline() {
        Ok(book) => Ok(Some((adapter, book))),
        Err(reason) => Err(BookError::Broker { adapter, reason }),
    }
}

fn ask_host(config: &Config, data_dir: &Path, clock: Clock) -> Result<(String, Book), BookError> {
    let asked = control::ask_book(data_dir, clock.now_ms(), config.execution.call_deadline)?;
    let shown = asked.map_err(|reason| BookError::Broker {
        adapter: config.broker.clone(),
        reason,
    })?;
    if config.names_broker && !shown.adapter.eq_ignore_ascii_case(&config.broker) {
        let reason = format!(
            "the host that runs on this data folder trades through `{}`; name that broker, or another `data_dir`",
            shown.adapter
        );
        return Err(BookError::Broker {
            adapter: config.broker.clone(),
            reason,
        });
    }
    Ok((shown.adapter, shown.book))
}

/// One opening of a plugin, to ask it.
struct Visit {
    module: PluginModule,
    /// The place at the account; nothing where the plugin only looks.
    seat: Option<Seat>,
    no_book: Option<String>,
    options: Value,
    folder: std::path::PathBuf,
    account: Option<String>,
    clock: Clock,
    deadline: Duration,
}

/// What the plugin's thread says.
enum Said {
    /// A call begins.
    Doing(&'static str),
    /// All calls are done.
    Done(Box<Result<Book, String>>),
    /// The plugin is closed.
    Closed,
}

impl Visit {
    /// Asks on a thread of its own: a plugin that hangs does not hang the command.
    fn within_deadline(self) -> Result<Book, String> {
        let deadline = self.deadline;
        let (tell, said) = mpsc::channel();
        std::thread::Builder::new()
            .name("broker-look".into())
            .spawn(move || self.run(&tell))
            .map_err(|e| format!("the system gives no thread: {e}"))?;
        let mut doing = "starting";
        loop {
            match said.recv_timeout(deadline) {
                Ok(Said::Doing(what)) => doing = what,
                Ok(Said::Done(answer)) => {
                    said.recv_timeout(CLOSE_GRACE).ok();
                    return *answer;
                }
                Ok(Said::Closed) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(format!("the plugin broke off ({doing})"));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(format!(
                        "the plugin has not answered ({doing}) within {} s",
                        deadline.as_secs_f32()
                    ));
                }
            }
        }
    }

    fn run(self, tell: &mpsc::Sender<Said>) {
        // Who asked may have given up; then nobody hears this, and the thread ends with the process.
        let doing = |what| {
            tell.send(Said::Doing(what)).ok();
        };
        doing("open");
        let answer = self.open().and_then(|broker| {
            let book = self.book(&broker, &doing);
            Ok((book?, broker))
        });
        let (answer, broker) = match answer {
            Ok((book, broker)) => (Ok(book), Some(broker)),
            Err(reason) => (Err(reason), None),
        };
        tell.send(Said::Done(Box::new(answer))).ok();
        drop(broker);
        tell.send(Said::Closed).ok();
    }

    fn open(&self) -> Result<LoadedBroker, String> {
        if let Some(seat) = &self.seat {
            seat.take(self.deadline)?;
        }
        let clock = self.clock;
        self.module
            .open(OpenArgs {
                config: &self.options,
                data_dir: &self.folder,
                account_id: self.account.as_deref(),
                callbacks: Callbacks::new(|_, _| {}).with_clock(move || clock.now_ms()),
            })
            .map_err(|e| e.reason)
    }

    fn book(&self, broker: &LoadedBroker, doing: &dyn Fn(&'static str)) -> Result<Book, String> {
        if let Some(reason) = &self.no_book {
            return Err(reason.clone());
        }
        doing("connection");
        self.connected(broker)?;
        let asked_at = UtcMillis(self.clock.now_ms());
        doing("positions");
        let mut positions = read::positions(broker.positions())?;
        doing("quotes");
        read::complete_prices(&mut positions, |symbols| Some(broker.quotes()?.quotes(symbols)));
        doing("account");
        let account = read::account(broker.account())?;
        doing("today's trades");
        let trades_today = Some(read::trades_today(broker.trades_today()));
        Ok(Book {
            positions,
            account,
            trades_today,
            asked_at,
        })
    }

    fn connected(&self, broker: &LoadedBroker) -> Result<(), String> {
        let began = Instant::now();
        loop {
            match broker.connection() {
                ConnectionState::Connected => return Ok(()),
                ConnectionState::Disconnected { reason } => return Err(format!("not connected: {reason}")),
                ConnectionState::Connecting if began.elapsed() >= self.deadline => {
                    let within = self.deadline.as_secs_f32();
                    return Err(format!("its connection was not made within {within} s"));
                }
                ConnectionState::Connecting => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }
}
