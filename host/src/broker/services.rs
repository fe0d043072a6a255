//! What the host offers its plugins beside the sink: log, configuration, metrics.

use std::path::PathBuf;

use qt_plugin_api::LogLevel;
use qt_plugin_api::host::{LogLine, MetricRegistry};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{Level, debug};

use crate::config::{Config, Flags, Purpose, Sources};

/// Writes a plugin's line with its level, the part that speaks, and its fields.
pub(super) fn log(line: LogLine<'_>) {
    let (target, text, fields) = (line.target, line.message, line.fields);
    match line.level {
        LogLevel::Error => tracing::error!(target: "plugin", part = target, fields, "{text}"),
        LogLevel::Warning => tracing::warn!(target: "plugin", part = target, fields, "{text}"),
        LogLevel::Info => tracing::info!(target: "plugin", part = target, fields, "{text}"),
        LogLevel::Debug => tracing::debug!(target: "plugin", part = target, fields, "{text}"),
        LogLevel::Trace => tracing::trace!(target: "plugin", part = target, fields, "{text}"),
    }
}

/// Whether a line would be written: a plugin need not put together what nobody reads.
pub(super) fn log_enabled(level: LogLevel) -> bool {
    match level {
        LogLevel::Error => tracing::enabled!(target: "plugin", Level::ERROR),
        LogLevel::Warning => tracing::enabled!(target: "plugin", Level::WARN),
        LogLevel::Info => tracing::enabled!(target: "plugin", Level::INFO),
        LogLevel::Debug => tracing::enabled!(target: "plugin", Level::DEBUG),
        LogLevel::Trace => tracing::enabled!(target: "plugin", Level::TRACE),
    }
}

/// The least weighty lines that are written; a worker is told, so that it sends no others.
pub(super) fn most_verbose() -> Option<LogLevel> {
    let levels = [
        LogLevel::Trace,
        LogLevel::Debug,
        LogLevel::Info,
        LogLevel::Warning,
        LogLevel::Error,
    ];
    levels.into_iter().find(|level| log_enabled(*level))
}

/// Writes what a plugin has counted, for whoever looks into a log of level DEBUG.
pub(super) fn tell_metrics(metrics: &MetricRegistry) {
    for series in metrics.snapshot() {
        let (sum, last, count) = (series.summary.sum, series.summary.last, series.summary.count);
        let (kind, labels) = (series.kind, series.labels);
        debug!(target: "plugin", %sum, %last, count, labels, "{kind:?} {}", series.name);
    }
    match metrics.dropped() {
        0 => {}
        dropped => debug!(target: "plugin", dropped, "values of metrics found no place"),
    }
}

/// Where a plugin's block of the configuration is read again; a worker is told it too.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LiveConfig {
    /// The configuration file; without one the block is empty for ever.
    file: Option<PathBuf>,
    /// The broker that the configuration means, command line included.
    broker: String,
    /// The plugin.
    plugin: String,
    /// The account, where it is one of several.
    account: Option<String>,
}

impl LiveConfig {
    /// Of the plugin of a name.
    pub(crate) fn of(config: &Config, plugin: &str) -> Self {
        Self {
            file: config.file.clone(),
            broker: config.broker.clone(),
            plugin: plugin.to_owned(),
            account: config
                .securities_account_id
                .clone()
                .filter(|_| config.is_one_of_several()),
        }
    }

    /// The block as the file says now.
    ///
    /// # Errors
    ///
    /// Every mistake in the file.
    pub(crate) fn read(&self) -> Result<Value, String> {
        let sources = Sources {
            file: self.file.clone(),
            flags: Flags {
                // Where there are several accounts, each entry names its own.
                broker: self.account.is_none().then(|| self.broker.clone()),
                ..Flags::default()
            },
            ..Sources::default()
        };
        let loaded = crate::config::load(&sources, Purpose::Look).map_err(|mistakes| mistakes.to_string())?;
        let block = match &self.account {
            None => loaded.config.plugin_blocks.get(&self.plugin),
            Some(id) => {
                let mut accounts = loaded.config.accounts.iter();
                let own = accounts.find(|account| account.securities_account_id == *id);
                own.ok_or_else(|| format!("`accounts` has no entry {id} any more"))?
                    .block(&self.plugin)
            }
        };
        Ok(block.cloned().unwrap_or_else(|| json!({})))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_again_as_the_file_says_now() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("config.json");
        let write = |text: &str| std::fs::write(&file, text).expect("written");
        write(r#"{"broker": "mine", "mine": {"rate": 1}}"#);
        let sources = Sources {
            file: Some(file.clone()),
            ..Sources::default()
        };
        let config = crate::config::load(&sources, Purpose::Look).expect("good").config;
        let live = LiveConfig::of(&config, "Mine");
        let read = || live.read();
        assert_eq!(read(), Ok(json!({"rate": 1})));
        write(r#"{"broker": "mine", "mine": {"rate": 2}}"#);
        assert_eq!(read(), Ok(json!({"rate": 2})));
        write(r#"{"broker": "mine"}"#);
        assert_eq!(read(), Ok(json!({})));
        write("{");
        assert!(
            read().is_err(),
            "a broken file is told, and what was read before stays in force"
        );
    }
}
