//! What lies on this machine: folders, disk, logs, the journal, the host that may run, and its reports.

use std::path::Path;

use qt_core::{OrderState, Trader};

use super::Report;
use crate::config::Config;
use crate::journal::{self, JournalError, OutboxReader, ReportState};
use crate::lease::Lease;
use crate::{system, telemetry};

/// Less free space is wrong, in bytes: the journal of a busy day and the logs take less than this.
const LEAST_FREE: u64 = 200 * 1024 * 1024;
/// Less is worth a word.
const LITTLE_FREE: u64 = 1024 * 1024 * 1024;
/// Reports counted at most.
const MANY: usize = 10_000;

/// What of an account's state matters to the signals that wait.
#[derive(Default)]
pub(super) struct State {
    /// The journal's state; nothing where there is none, or where it cannot be read.
    pub(super) trader: Option<Trader>,
    /// A host trades this account now.
    pub(super) is_running: bool,
}

/// The host's own folder, its disk and its logs; false where that folder cannot be used.
pub(super) fn home(config: &Config, report: &mut Report) -> bool {
    let folder = match config.home_dir() {
        Ok(folder) => folder,
        Err(e) => {
            report.code(2);
            let todo = "name a folder with `data_dir` or --data-dir";
            report.bad("folder", e.to_string(), todo);
            return false;
        }
    };
    if let Err(why) = writable(&folder) {
        report.code(2);
        report.bad(
            "folder",
            format!("{} cannot be used: {why}", system::shown(&folder)),
            "make it writable for your user, or name another with `data_dir` or --data-dir",
        );
        return false;
    }
    report.good("folder", format!("{} can be written", system::shown(&folder)));
    disk(&folder, report);
    let log = folder.join("logs").join(telemetry::LOG_FILE);
    let saw = match std::fs::metadata(&log) {
        Ok(found) => format!("{} ({} KiB)", system::shown(&log), found.len().div_ceil(1024)),
        Err(_) => format!("{} is made when trading starts", system::shown(&log)),
    };
    report.good("log", saw);
    true
}

/// Tries what trading does there, and leaves nothing behind.
fn writable(folder: &Path) -> Result<(), String> {
    system::create_private_dir(folder).map_err(|e| e.to_string())?;
    tempfile::Builder::new()
        .prefix(".doctor-")
        .tempfile_in(folder)
        .map(drop)
        .map_err(|e| e.to_string())
}

fn disk(folder: &Path, report: &mut Report) {
    let Some(free) = system::disk_free(folder) else {
        return report.unclear(
            "disk",
            "the system does not say how much space is left",
            "see to it that there is space",
        );
    };
    let saw = format!("{} MiB are free", free / (1024 * 1024));
    let todo = "make space there, or move the data folder: without space nothing can be made durable, and nothing is sent";
    if free < LEAST_FREE {
        report.bad("disk", saw, todo);
    } else if free < LITTLE_FREE {
        report.unclear("disk", saw, todo);
    } else {
        report.good("disk", saw);
    }
}

/// An account's folder, journal, reports, and the host that may trade it.
pub(super) fn account(config: &Config, report: &mut Report) -> State {
    let Ok(folder) = config.data_dir() else {
        return State::default();
    };
    if config.is_one_of_several()
        && let Err(why) = writable(&folder)
    {
        report.code(2);
        report.bad(
            "folder",
            format!("{} cannot be used: {why}", system::shown(&folder)),
            "make it writable for your user",
        );
        return State::default();
    }
    let is_running = Lease::is_held(&folder);
    report.good(
        "host",
        if is_running {
            "a host is running with this data folder"
        } else {
            "no host is running with this data folder"
        },
    );
    let trader = if config.journal.enabled {
        journal(&folder.join(journal::FILE_NAME), report)
    } else {
        report.unclear(
            "journal",
            "it is switched off: an order may be lost or placed twice after a crash",
            "set `journal.enabled` to true",
        );
        None
    };
    State { trader, is_running }
}

fn journal(path: &Path, report: &mut Report) -> Option<Trader> {
    let trader = match journal::load(path) {
        Ok(loaded) => {
            let open = loaded.trader.live_count();
            report.good(
                "journal",
                format!(
                    "{}: {} commits, {open} open orders; replayed, it gives the state that was",
                    system::shown(path),
                    loaded.seq
                ),
            );
            loaded.trader
        }
        Err(JournalError::Absent { .. }) => {
            report.good("journal", "none yet; it is made when trading starts");
            return None;
        }
        Err(e) => {
            report.code(if e.is_damage() { 4 } else { 1 });
            report.bad(
                "journal",
                e.to_string(),
                "`qt-host journal verify` says where; see also the README on the journal",
            );
            return None;
        }
    };
    state(&trader, report);
    reports(path, report);
    Some(trader)
}

/// What a person has decided, or has to.
fn state(trader: &Trader, report: &mut Report) {
    if let Some(reason) = trader.halted() {
        report.unclear(
            "halt",
            format!("new orders are stopped: {reason}"),
            "qt-host resume, once that is settled",
        );
    }
    let review = trader
        .live_orders()
        .filter(|order| order.state == OrderState::Review)
        .count();
    if review > 0 {
        report.unclear(
            "orders",
            format!("{review} orders wait for a person's decision"),
            "qt-host orders --review lists them, qt-host orders resolve decides",
        );
    }
}

fn reports(path: &Path, report: &mut Report) {
    let count = |state| {
        let reader = OutboxReader::open(path)?;
        reader.list(&[state], MANY).map(|rows| {
            let newest = rows.iter().find_map(|row| row.error.clone());
            (rows.len(), newest)
        })
    };
    let counts = count(ReportState::Waiting).and_then(|waiting| Ok((waiting, count(ReportState::Dead)?)));
    match counts {
        Err(e) => report.bad(
            "reports",
            e.to_string(),
            "qt-host journal verify says what is wrong",
        ),
        Ok(((waiting, _), (0, _))) => report.good(
            "reports",
            match waiting {
                0 => "all are acknowledged by the backend".to_owned(),
                some => format!("{some} wait to be acknowledged by the backend; none was refused"),
            },
        ),
        Ok(((waiting, _), (dead, why))) => report.unclear(
            "reports",
            format!(
                "the backend refused {dead} ({}), and {waiting} wait",
                why.as_deref().unwrap_or("without a word")
            ),
            "qt-host reports list shows them; reports retry posts them again, with --body a corrected one",
        ),
    }
}
