//! What a host that runs makes of another version in the data folder: it takes it up at once, or all is as before.

use super::{Desk, Failure};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{self, ControlError, Running};
use crate::engine::Command;
use crate::lease::Lease;
use crate::plugin::{Done, Shelf};

/// What came of it for hosts that run.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Their words, where they exchanged a plugin.
    pub(super) said: Vec<String>,
    /// One runs with what it has loaded, until its next start.
    pub(super) waits: bool,
}

/// For what no host is asked to take up.
pub(super) fn unasked(desk: &Desk, done: &Done) -> Outcome {
    Outcome {
        said: Vec::new(),
        waits: !done.unchanged && Lease::is_held(&desk.data_dir),
    }
}

/// The accounts that a running host trades, with the plugin of each.
pub(super) struct Hosts {
    running: Vec<(Config, Running)>,
    next_start: bool,
}

impl Hosts {
    /// Asks the host that runs on the data folder, unless it is to be left alone.
    ///
    /// # Errors
    ///
    /// One runs and does not say what.
    pub(super) fn find(desk: &Desk, next_start: bool) -> Result<Self, Failure> {
        let mut running = Vec::new();
        let accounts = if next_start { Vec::new() } else { desk.accounts()? };
        for config in accounts {
            let folder = config.data_dir()?;
            if !Lease::is_held(&folder) {
                continue;
            }
            match control::ask_plugin(&folder, now_ms()) {
                Ok(Ok(plugin)) => running.push((config, plugin)),
                // It ended, or a command was at work there for a moment.
                Err(ControlError::Gone) => {}
                Ok(Err(reason)) => return Err(unclear(&reason)),
                Err(e) => return Err(unclear(&e.to_string())),
            }
        }
        Ok(Self { running, next_start })
    }

    /// Refuses what would delete the copy of a plugin that runs: a host opens it again whenever the plugin was lost.
    ///
    /// # Errors
    ///
    /// A host runs with the plugin.
    pub(super) fn run_without(&self, name: &str) -> Result<(), Failure> {
        let running = self.running.iter().map(|(_, running)| running);
        let Some(running) = running
            .into_iter()
            .find(|running| running.name.eq_ignore_ascii_case(name))
        else {
            return Ok(());
        };
        Err(Failure::failed(format!(
            "a host runs on this data folder with `{}` {}, whose copy would be deleted, and could not open it again after a \
             loss; stop the host first, or leave out --purge. Nothing was changed",
            running.name, running.version
        )))
    }

    /// Has every account that runs the plugin exchange it for what is now in the data folder.
    ///
    /// # Errors
    ///
    /// One did not: then every one that did goes back, and so does the data folder.
    pub(super) fn take_up(&self, desk: &Desk, shelf: &Shelf, done: &Done) -> Result<Outcome, Failure> {
        if self.next_start {
            return Ok(unasked(desk, done));
        }
        let mut outcome = Outcome::default();
        let mut exchanged: Vec<&Config> = Vec::new();
        for (config, running) in &self.running {
            if !running.name.eq_ignore_ascii_case(&done.name) || running.sha256 == done.sha256 {
                continue;
            }
            match exchange(config, done, &done.sha256) {
                Ok(said) => {
                    outcome.said.push(said);
                    exchanged.push(config);
                }
                Err(reason) => return Err(go_back(shelf, done, &exchanged, &reason)),
            }
        }
        Ok(outcome)
    }
}

fn now_ms() -> i64 {
    Clock::system().now_ms()
}

fn unclear(reason: &str) -> Failure {
    Failure::failed(format!(
        "a host runs on this data folder and does not say which plugin it runs ({reason}); nothing was changed. An upgrade or \
         a rollback is made without it with --next-start"
    ))
}

/// Has one account exchange its plugin for the installed file, whose content must be `sha256`.
fn exchange(config: &Config, done: &Done, sha256: &str) -> Result<String, String> {
    let folder = config.data_dir().map_err(|e| e.to_string())?;
    let swap = Command::SwapPlugin {
        file: done.path.clone(),
        sha256: Some(sha256.to_owned()),
    };
    match control::ask(&folder, &swap, now_ms()) {
        Ok(reply) if reply.done => Ok(reply.text),
        Ok(reply) => Err(reply.text),
        // Its answer was lost, which says nothing of the exchange: what runs does.
        Err(ControlError::Taken { within_s }) => match control::ask_plugin(&folder, now_ms()) {
            Ok(Ok(running)) if running.sha256 == sha256 => {
                Ok(format!("{} {} runs now", running.name, running.version))
            }
            _ => Err(format!(
                "no answer came within {within_s} s; the host's log says what runs"
            )),
        },
        Err(e) => Err(e.to_string()),
    }
}

/// Brings the data folder and every account that went ahead back to what was before; the failure says how that went.
fn go_back(shelf: &Shelf, done: &Done, exchanged: &[&Config], reason: &str) -> Failure {
    let name = &done.name;
    let wanted = done.to.as_deref().unwrap_or_default();
    let mut text = format!("`{name}` {wanted} was not taken up: {reason}");
    let restored = match &done.before {
        _ if done.unchanged => {
            text += &format!("; the data folder held {wanted} before, and its next start would take it");
            return Failure::failed(text);
        }
        Some(before) => shelf.rollback(name, Some(before)),
        None => shelf.remove(name, false),
    };
    match restored {
        Ok(_) => {
            text += &format!(
                "; the data folder holds {} again",
                done.from.as_deref().unwrap_or("none of it")
            )
        }
        Err(e) => {
            text += &format!("; the data folder still holds {wanted}, since it could not be put back ({e})")
        }
    }
    for config in exchanged {
        let account = config.securities_account_id.as_deref().unwrap_or_default();
        let back = done
            .before
            .as_deref()
            .map(|before| exchange(config, done, before));
        text += &match back {
            Some(Ok(said)) => format!("; account {account}: {said}"),
            Some(Err(reason)) => {
                format!("; account {account} could not go back and trades on with {wanted} ({reason})")
            }
            None => format!("; account {account} trades on with {wanted}"),
        };
    }
    Failure::failed(text)
}
