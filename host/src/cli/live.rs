//! Commands that change something: they go to the host that runs, or, where none does, into its
//! journal, as the host itself would write them.

use std::path::Path;

use serde_json::{Value, json};

use super::accounts::{id_of, worst};
use super::{Failure, Options};
use crate::broker::Lanes;
use crate::clock::Clock;
use crate::config::{Config, Purpose};
use crate::control;
use crate::engine::{AskEvery, Command, Engine, OutboxSignal, Reply};
use crate::journal::{Journal, JournalError};
use crate::lease::{Lease, LeaseError};

/// Carries a command out for one account, and says what came of it.
pub(super) fn carry_out(options: &Options, command: &Command, json: bool) -> Result<(), Failure> {
    let config = options.load_one(Purpose::Look)?;
    let reply = for_account(&config, command)?;
    if json {
        super::print(&format!("{}\n", as_json(&reply)))?;
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

/// Carries a command out for each of several accounts: one that fails keeps none of the others back.
pub(super) fn carry_out_for_each(
    options: &Options,
    each: &[Config],
    command: &Command,
    json: bool,
) -> Result<(), Failure> {
    if each.len() <= 1 {
        return carry_out(options, command, json);
    }
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for config in each {
        match for_account(config, command) {
            Ok(reply) if json || reply.done => done.push((id_of(config), reply)),
            Ok(reply) => failures.push((id_of(config), Failure::failed(reply.text))),
            Err(failure) => failures.push((id_of(config), failure)),
        }
    }
    if json {
        let mut list: Vec<Value> = Vec::new();
        for (account, reply) in &done {
            let mut row = as_json(reply);
            row["account"] = json!(account);
            list.push(row);
        }
        for (account, failure) in &failures {
            list.push(json!({ "account": account, "done": false, "text": failure.message }));
        }
        super::print(&format!("{}\n", Value::Array(list)))?;
        let refused = done.into_iter().filter(|(_, reply)| !reply.done);
        let refused = refused.map(|(account, _)| (account, Failure::silent(1)));
        return worst(failures.into_iter().chain(refused).collect())
            .map_err(|failure| Failure::silent(failure.code));
    }
    for (account, reply) in &done {
        super::print(&format!("account {account}: {}\n", reply.text))?;
    }
    worst(failures)
}

fn as_json(reply: &Reply) -> Value {
    json!({ "done": reply.done, "text": reply.text })
}

fn for_account(config: &Config, command: &Command) -> Result<Reply, Failure> {
    let data_dir = config.data_dir()?;
    let clock = Clock::system();
    if Lease::is_held(&data_dir) {
        return control::ask(&data_dir, command, clock.now_ms()).map_err(|e| Failure::failed(e.to_string()));
    }
    if matches!(command, Command::Cancel { .. } | Command::CancelAll) {
        let text = "no qt-host runs on this data folder, and only a running one reaches the broker; start it, then cancel";
        return Err(Failure::failed(text));
    }
    crate::system::create_private_dir(&data_dir)?;
    offline(&data_dir, command, clock)
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
        Lanes::new(crate::monitor::meters::Meters::default()).sender(),
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
