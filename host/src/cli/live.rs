//! Commands that change something: they go to the host that runs, or, where none does, into its
//! journal, as the host itself would write them.

use std::path::Path;

use super::{Failure, Options};
use crate::broker::Lanes;
use crate::clock::Clock;
use crate::config::Purpose;
use crate::control;
use crate::engine::{AskEvery, Command, Engine, OutboxSignal, Reply};
use crate::journal::{Journal, JournalError};
use crate::lease::{Lease, LeaseError};

/// Carries a command out and says what came of it.
pub(super) fn carry_out(options: &Options, command: &Command, json: bool) -> Result<(), Failure> {
    let config = options.load(Purpose::Look)?;
    let data_dir = config.data_dir()?;
    let clock = Clock::system();
    let reply = if Lease::is_held(&data_dir) {
        control::ask(&data_dir, command, clock.now_ms()).map_err(|e| Failure::failed(e.to_string()))?
    } else {
        if matches!(command, Command::Cancel { .. } | Command::CancelAll) {
            let text = "no qt-host runs on this data folder, and only a running one reaches the broker; start it, then cancel";
            return Err(Failure::failed(text));
        }
        crate::system::create_private_dir(&data_dir)?;
        offline(&data_dir, command, clock)?
    };
    if json {
        super::print(&format!(
            "{}\n",
            serde_json::json!({ "done": reply.done, "text": reply.text })
        ))?;
        return if reply.done {
            Ok(())
        } else {
            Err(Failure::silent(1))
        };
    }
    if reply.done {
        super::print(&format!("{}\n", reply.text))
    } else {
        Err(Failure::failed(reply.text))
    }
}

fn offline(data_dir: &Path, command: &Command, clock: Clock) -> Result<Reply, Failure> {
    let _lease = Lease::take(data_dir, clock.now_ms())?;
    let (journal, loaded) = Journal::open(&data_dir.join(crate::journal::FILE_NAME), None)?;
    // No plugin is at hand: what would be asked of the broker is asked at the next start.
    let never = AskEvery {
        normally_ms: i64::MAX,
        in_doubt_ms: i64::MAX,
    };
    let (mut engine, _) = Engine::new(
        journal,
        loaded,
        clock,
        never,
        Lanes::new().sender(),
        OutboxSignal::default(),
    );
    Ok(engine.run_offline(command)?)
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        match &error {
            JournalError::Damaged { .. } | JournalError::OtherFormat { .. } => {
                Self::journal_unsafe(error.to_string())
            }
            JournalError::OtherAccount { .. } => Self::usage(error.to_string()),
            JournalError::Sql { .. } | JournalError::Unreadable { .. } | JournalError::Absent { .. } => {
                Self::failed(error.to_string())
            }
        }
    }
}

impl From<LeaseError> for Failure {
    fn from(error: LeaseError) -> Self {
        Self::failed(error.to_string())
    }
}
