//! Where a plugin runs: the lane that the user chose, the author advised, or caution demands, and what opens it there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use qt_plugin_api::host::PluginModule;
use qt_plugin_api::manifest::Manifest;
use serde_json::Value;

use crate::app::AppError;
use crate::broker::in_process::InProcess;
use crate::broker::link::Opener;
use crate::broker::supervisor::Waits;
use crate::broker::worker::{Limits, Worker};
use crate::broker::{Listener, LiveConfig};
use crate::config::{Config, Lane};
use crate::plugin::{self, DEFAULT_BROKER, KeptPlugin, PluginError};
use crate::system::{self, SystemError};

/// How many deadlines a call may take before its worker is killed, unless the configuration says otherwise.
const KILL_AFTER_DEADLINES: u32 = 3;
const MIB: u64 = 1 << 20;

/// The lane of a plugin: as the command line says, else its options, else its author, else by caution. A broker that
/// moves money gets a process of its own; the simulator needs none.
pub(crate) fn lane(config: &Config, manifest: &Manifest) -> Lane {
    let options = config.plugin_options.get(&manifest.name);
    config
        .lane
        .or_else(|| options.and_then(|options| options.lane))
        .or_else(|| advice(manifest))
        .unwrap_or_else(|| {
            if manifest.name.eq_ignore_ascii_case(DEFAULT_BROKER) {
                Lane::InProcess
            } else {
                Lane::Worker
            }
        })
}

/// What the author advises, by the capability `lane:worker` or `lane:in-process`.
fn advice(manifest: &Manifest) -> Option<Lane> {
    manifest.capabilities.iter().find_map(|word| match word.as_str() {
        "lane:worker" => Some(Lane::Worker),
        "lane:in-process" => Some(Lane::InProcess),
        _ => None,
    })
}

/// What a plugin's processes and its place at the account are opened with.
pub(crate) struct Room {
    /// The configuration.
    pub(crate) config: Config,
    /// The host's data folder.
    pub(crate) home: PathBuf,
    /// The account's, which is the same where there is one account.
    pub(crate) data_dir: PathBuf,
    /// The broker's number of the account.
    pub(crate) account_id: Option<String>,
    /// Where the plugin's events go.
    pub(crate) listener: Listener,
}

/// The folder that a plugin may write to.
pub(crate) fn plugin_folder(data_dir: &Path, name: &str) -> Result<PathBuf, SystemError> {
    // A worker has the same current folder, yet nothing must hang on that.
    let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let all = data_dir.join("plugin-data");
    // What an author writes in another case is the same plugin, with the same record of its orders and the same place at the
    // account.
    let own = all.join(name);
    let folder = match other_case(&all, name)?.as_slice() {
        [other] if !own.is_dir() => all.join(other),
        [first, second, ..] if !own.is_dir() => {
            return Err(SystemError::Ambiguous {
                first: system::shown(&all.join(first)),
                second: system::shown(&all.join(second)),
            });
        }
        _ => own,
    };
    system::create_private_dir(&folder)?;
    Ok(folder)
}

/// Folders whose names differ from this one in their case alone.
fn other_case(all: &Path, name: &str) -> Result<Vec<OsString>, SystemError> {
    let unreadable = |source: std::io::Error| SystemError::Folder {
        path: system::shown(all),
        source,
    };
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(all) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(unreadable(e)),
    };
    for entry in entries {
        let known = entry.map_err(unreadable)?.file_name();
        let same = |known: &str| known != name && known.eq_ignore_ascii_case(name);
        if known.to_str().is_some_and(same) {
            found.push(known);
        }
    }
    Ok(found)
}

/// The plugin's block of the configuration, which its manifest lets pass.
///
/// # Errors
///
/// Every fault of the block; none of the plugin's code has run.
pub(crate) fn block(config: &Config, plugin: &KeptPlugin) -> Result<Value, PluginError> {
    let block = config.plugin_blocks.get(plugin.name());
    plugin::check_block(plugin.path(), plugin.manifest(), block)?;
    Ok(block.cloned().unwrap_or_else(|| serde_json::json!({})))
}

impl Room {
    /// What opens `plugin` in its lane.
    ///
    /// # Errors
    ///
    /// The plugin's block of the configuration does not fit, it cannot be loaded, or its folder not made.
    pub(crate) fn opener(&self, plugin: &KeptPlugin) -> Result<Arc<dyn Opener>, AppError> {
        let name = plugin.name();
        let data_dir = plugin_folder(&self.data_dir, name)?;
        let block = block(&self.config, plugin)?;
        let title = format!("{name} {}", plugin.manifest().version);
        Ok(match lane(&self.config, plugin.manifest()) {
            Lane::InProcess => Arc::new(InProcess {
                module: bring_in(plugin)?,
                title,
                config: block,
                live: LiveConfig::of(&self.config, name),
                data_dir,
                account_id: self.account_id.clone(),
                open_within: limits(&self.config, name).open_within,
                listener: self.listener.clone(),
            }),
            Lane::Worker => Arc::new(Worker {
                title,
                plugin: plugin.copy().to_owned(),
                sha256: plugin.sha256().to_owned(),
                config: block,
                live: LiveConfig::of(&self.config, name),
                data_dir,
                account_id: self.account_id.clone(),
                limits: limits(&self.config, name),
                listener: self.listener.clone(),
            }),
        })
    }
}

fn bring_in(plugin: &KeptPlugin) -> Result<PluginModule, AppError> {
    let loaded = plugin.bring_in().inspect_err(|e| {
        if !e.report().is_empty() {
            tracing::debug!("the plugin's layout differs: {}", e.report());
        }
    })?;
    Ok(loaded)
}

fn limits(config: &Config, name: &str) -> Limits {
    let options = config.plugin_options.get(name).cloned().unwrap_or_default();
    Limits {
        memory: Some(u64::from(options.memory_limit_mb) * MIB).filter(|bytes| *bytes > 0),
        kill_after: Some(options.kill_after)
            .filter(|after| *after > Duration::ZERO)
            .unwrap_or(config.execution.call_deadline * KILL_AFTER_DEADLINES),
        open_within: options.open_within,
    }
}

/// How long to wait between two tries to open the plugin of a name.
pub(crate) fn waits(config: &Config, name: &str) -> Waits {
    let options = config.plugin_options.get(name).cloned().unwrap_or_default();
    Waits {
        least: options.respawn_after,
        most: options.respawn_at_most.max(options.respawn_after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags, Purpose, Sources, load};

    fn config(text: &str, lane: Option<Lane>) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        std::fs::write(&file, text).unwrap();
        let sources = Sources {
            file: Some(file),
            environment: Environment::default(),
            flags: Flags {
                lane,
                ..Flags::default()
            },
        };
        load(&sources, Purpose::Look).unwrap().config
    }

    fn manifest(name: &str, capability: &str) -> Manifest {
        serde_json::from_value(serde_json::json!({
            "name": name, "version": "1", "abi": 1, "api_version": "1", "description": "", "capabilities": ["place", capability],
            "rustc": "", "target": "", "panic": "unwind",
        }))
        .unwrap()
    }

    #[test]
    fn the_user_decides_the_author_advises_and_a_real_broker_gets_a_process() {
        let chosen =
            r#"{"plugin_options": {"MINE": {"lane": "In-Process"}, "simulated": {"lane": "worker"}}}"#;
        let cases = [
            ("{}", None, "mine", "", Lane::Worker),
            ("{}", None, "Simulated", "", Lane::InProcess),
            ("{}", None, "mine", "lane:in-process", Lane::InProcess),
            ("{}", None, "simulated", "lane:worker", Lane::Worker),
            (chosen, None, "mine", "lane:worker", Lane::InProcess),
            (chosen, None, "simulated", "lane:in-process", Lane::Worker),
            (
                chosen,
                Some(Lane::Worker),
                "mine",
                "lane:in-process",
                Lane::Worker,
            ),
            (chosen, Some(Lane::InProcess), "simulated", "", Lane::InProcess),
        ];
        for (text, flag, name, capability, expected) in cases {
            let found = lane(&config(text, flag), &manifest(name, capability));
            assert_eq!(found, expected, "{text} {flag:?} {name} {capability}");
        }
    }

    #[test]
    fn a_name_in_another_case_keeps_the_plugins_folder() {
        let data = tempfile::tempdir().unwrap();
        let first = plugin_folder(data.path(), "simulated").unwrap();
        assert_eq!(plugin_folder(data.path(), "Simulated").unwrap(), first);
        assert_ne!(plugin_folder(data.path(), "simulated2").unwrap(), first);
        let all = data.path().join("plugin-data");
        if std::fs::create_dir(all.join("SIMULATED")).is_err() {
            return; // A file system without cases.
        }
        // Of hosts before, which kept several: the exact name is the one, and a third is not guessed at.
        assert_eq!(plugin_folder(data.path(), "simulated").unwrap(), first);
        let refused = plugin_folder(data.path(), "Simulated").unwrap_err().to_string();
        assert!(
            refused.contains("move the one away that is not in use"),
            "{refused}"
        );
    }

    #[test]
    fn limits_and_waits_are_as_configured() {
        let plain = config(r#"{"execution": {"call_deadline_seconds": 4}}"#, None);
        let limits_of = |config| limits(config, "mine");
        assert_eq!(limits_of(&plain).kill_after, Duration::from_secs(12));
        // A leak costs a reconnection and not the machine; who wants no limit says so.
        assert_eq!(limits_of(&plain).memory, Some(2048 << 20));
        let unlimited = config(r#"{"plugin_options": {"mine": {"memory_limit_mb": 0}}}"#, None);
        assert_eq!(limits_of(&unlimited).memory, None);
        let text = r#"{"plugin_options": {"Mine": {"memory_limit_mb": 3, "kill_after_seconds": 1.5, "open_within_seconds": 2,
                       "respawn_after_seconds": 1, "respawn_at_most_seconds": 0.5}}}"#;
        let given = config(text, None);
        let expected = Limits {
            memory: Some(3 << 20),
            kill_after: Duration::from_millis(1500),
            open_within: Duration::from_secs(2),
        };
        assert_eq!(limits_of(&given), expected);
        let waits = waits(&given, "mine");
        assert_eq!(
            (waits.least, waits.most),
            (Duration::from_secs(1), Duration::from_secs(1))
        );
    }
}
