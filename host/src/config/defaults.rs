//! The blocks with typed values: their keys, defaults and bounds.

use std::path::PathBuf;

use super::gates::{self, InExecution};
use super::walk::Block;
use super::{
    Colors, Display, Execution, Hosting, HttpWaits, Journal, Lane, PluginOptions, PluginTrust, Risk,
};

/// No waiting time is longer than a day.
const DAY: &str = "86400";
/// The shortest time that is worth waiting for; less would only burn the processor.
const SHORTEST: &str = "0.01";

/// The `execution` block.
pub fn execution(mut block: Block<'_>) -> (Execution, InExecution) {
    let gates = gates::in_execution(&mut block);
    let mut seconds = |key, default, least| block.seconds(key, default, least..=DAY);
    let execution = Execution {
        buy_order_timeout: seconds("buy_order_timeout_seconds", "3600", SHORTEST),
        sell_order_timeout: seconds("sell_order_timeout_seconds", "90", SHORTEST),
        cancel_retry_grace: seconds("cancel_retry_grace_seconds", "15", "0"),
        cancel_retry_interval: seconds("cancel_retry_interval_seconds", "25", SHORTEST),
        call_deadline: seconds("call_deadline_seconds", "10", SHORTEST),
        reconcile_interval: seconds("reconcile_interval_seconds", "60", SHORTEST),
        unknown_poll: seconds("unknown_poll_seconds", "2", SHORTEST),
        unknown_settle: seconds("unknown_settle_seconds", "60", "0"),
        position_sync_interval: seconds("position_sync_interval_seconds", "60", "0"),
        heartbeat_interval: seconds("heartbeat_interval_seconds", "30", "0"),
        max_in_flight: block.count("max_in_flight", 256, 1..=100_000),
        unknown_snapshots: block.count("unknown_snapshots", 3, 1..=1000),
        chase_bps: block.count("chase_bps", 30, 0..=10_000),
        max_slippage_bps: block.count("max_slippage_bps", 100, 0..=10_000),
        signals_limit: block.count("signals_limit", 500, 1..=500),
        report_concurrency: block.count("report_concurrency", 16, 1..=1024),
    };
    block.finish();
    (execution, gates)
}

/// The `plugins` key.
#[derive(Default)]
pub struct Plugins {
    /// Plugin files.
    pub paths: Vec<PathBuf>,
    /// Folders with plugin files.
    pub dirs: Vec<PathBuf>,
    /// Which of them may be loaded.
    pub trust: PluginTrust,
}

/// The `plugins` key: a list of files, or a block with them and with what is trusted.
pub fn plugins(top: &mut Block<'_>) -> Plugins {
    if !top.is_block("plugins") {
        return Plugins {
            paths: top.file_paths("plugins"),
            ..Plugins::default()
        };
    }
    let mut block = top.inner("plugins");
    let plugins = Plugins {
        paths: block.file_paths("paths"),
        dirs: block.file_paths("dirs"),
        trust: PluginTrust {
            lock: block.file_path("lock"),
            trusted_keys: block.texts(
                "trusted_keys",
                "a public key of minisign",
                crate::plugin::check_key,
            ),
            require_signature: block.flag("require_signature", false),
        },
    };
    block.finish();
    plugins
}

/// The block `plugin_options`.
pub fn plugin_options(block: Block<'_>) -> PluginOptions {
    PluginOptions(block.each(hosting))
}

fn hosting(mut block: Block<'_>) -> Hosting {
    let lanes = [Lane::Worker, Lane::InProcess].map(|lane| (lane.name(), Some(lane)));
    let hosting = Hosting {
        lane: block.word("lane", None, &lanes),
        memory_limit_mb: block.count("memory_limit_mb", 2048, 0..=1_048_576),
        kill_after: block.seconds("kill_after_seconds", "0", "0"..=DAY),
        open_within: block.seconds("open_within_seconds", "60", SHORTEST..=DAY),
        respawn_after: block.seconds("respawn_after_seconds", "0.2", SHORTEST..=DAY),
        respawn_at_most: block.seconds("respawn_at_most_seconds", "30", SHORTEST..=DAY),
    };
    block.finish();
    hosting
}

/// The `http` block.
pub fn http(mut block: Block<'_>) -> HttpWaits {
    let waits = HttpWaits {
        connect: block.seconds("connect_timeout_seconds", "5", SHORTEST..="300"),
        read: block.seconds("read_timeout_seconds", "10", SHORTEST..="300"),
        call: block.seconds("call_timeout_seconds", "15", SHORTEST..="600"),
    };
    block.finish();
    waits
}

/// The `journal` block.
pub fn journal(mut block: Block<'_>) -> Journal {
    let journal = Journal {
        retention_days: block.count("retention_days", 90, 1..=36_500),
        enabled: block.flag("enabled", true),
    };
    block.finish();
    journal
}

/// The `risk` block.
pub fn risk(mut block: Block<'_>) -> Risk {
    let risk = Risk {
        concentration_pct: block.percent("concentration_pct", 30),
        drawdown_pct: block.percent("drawdown_pct", 1),
        unsellable_pct: block.percent("unsellable_pct", 20),
    };
    block.finish();
    risk
}

/// The `display` block.
pub fn display(mut block: Block<'_>) -> Display {
    let words = [("cn", Colors::Cn), ("western", Colors::Western)];
    let display = Display {
        colors: block.word("colors", Colors::Cn, &words),
    };
    block.finish();
    display
}
