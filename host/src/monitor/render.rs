//! Puts what is known at the moment into the families, and writes all of them as Prometheus reads them.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use prometheus::TextEncoder;
use qt_core::OrderState;
use qt_plugin_api::{ConnectionState, MetricKind};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::meters::{Families, families};
use super::{Monitor, Watched};
use crate::clock::Clock;
use crate::system;

/// One at a time: what is gone is taken out before what is there is put in.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Monitor {
    /// Every figure, in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    ///
    /// A sentence, where the library refuses its own figures.
    pub(crate) fn render(&self) -> Result<String, String> {
        let _held = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let all = families();
        let now_ms = Clock::system().now_ms();
        // A symbol that was sold, or a plugin's former state, must not stay.
        all.plugin.reset();
        all.yuan.reset();
        all.position_shares.reset();
        all.position_value.reset();
        all.plugin_own.reset();
        for account in self.watched() {
            show(all, &account, now_ms);
        }
        for (label, _) in self.down() {
            all.states.with_label_values(&[label.as_str(), "trading"]).set(0);
        }
        if let Some(usage) = system::own_usage() {
            let values = [usage.memory, usage.handles, usage.threads];
            for ((gauge, _), value) in all.process.iter().zip(values) {
                gauge.with_label_values::<&str>(&[]).set(whole(value));
            }
        }
        if let Some(spent) = system::own_cpu() {
            // The system counts it: what is shown is counted anew.
            all.process_cpu.reset();
            let counted = all.process_cpu.with_label_values::<&str>(&[]);
            counted.inc_by(spent.as_secs_f64());
        }
        if let Some(free) = system::disk_free(&self.data_dir()) {
            all.disk_free.with_label_values::<&str>(&[]).set(whole(free));
        }
        TextEncoder::new()
            .encode_to_string(&all.registry.gather())
            .map_err(|e| format!("the figures cannot be written as text: {e}"))
    }
}

/// The process starts now, by the wall clock.
pub(crate) fn started(at_ms: i64) {
    let at = std::time::Duration::from_millis(at_ms.unsigned_abs());
    families()
        .process_started
        .with_label_values::<&str>(&[])
        .set(at.as_secs_f64());
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Prometheus knows floating point alone: what is shown there is rounded, and nothing is worked out from it.
fn shown(value: Decimal) -> f64 {
    value.to_f64().unwrap_or(f64::NAN)
}

fn seconds_since(since_ms: i64, now_ms: i64) -> f64 {
    let ms = if since_ms == 0 {
        0
    } else {
        now_ms.saturating_sub(since_ms).max(0)
    };
    std::time::Duration::from_millis(ms.unsigned_abs()).as_secs_f64()
}

fn show(all: &Families, account: &Watched, now_ms: i64) {
    let label = account.meters.label();
    let counts = account.meters.counts();
    let live = OrderState::ALL.iter().zip(counts.by_state);
    for (state, count) in live.filter(|(state, _)| !state.is_ended()) {
        all.orders
            .with_label_values(&[label, state.as_str()])
            .set(whole(count));
    }
    let one = [label];
    all.unknown_seconds
        .with_label_values(&one)
        .set(seconds_since(counts.unknown_since_ms, now_ms));
    all.barrier_seconds
        .with_label_values(&one)
        .set(seconds_since(counts.barrier_since_ms, now_ms));
    all.outbox
        .with_label_values(&one)
        .set(i64::try_from(account.gauge.depth()).unwrap_or(i64::MAX));
    if let Some(bytes) = account.journal.as_deref().map(journal_bytes) {
        all.journal_bytes.with_label_values(&one).set(whole(bytes));
    }
    if let Some(at) = account.gauge.last_poll() {
        all.last_poll
            .with_label_values(&one)
            .set(seconds_since(1, at.0.saturating_add(1)));
    }
    show_states(all, account);
    show_own(all, account);
    let figures = account.meters.figures();
    for (what, value) in &figures.yuan {
        all.yuan.with_label_values(&[label, what]).set(shown(*value));
    }
    all.positions
        .with_label_values(&one)
        .set(i64::try_from(figures.positions.len()).unwrap_or(i64::MAX));
    for (symbol, shares, value) in &figures.positions {
        all.position_shares
            .with_label_values(&[label, symbol.as_str()])
            .set(*shares);
        if let Some(value) = value {
            all.position_value
                .with_label_values(&[label, symbol.as_str()])
                .set(shown(*value));
        }
    }
}

/// What the plugin counts by itself.
fn show_own(all: &Families, account: &Watched) {
    let label = account.meters.label();
    for series in account.meters.of_plugin().snapshot() {
        let summary = series.summary;
        let count = Decimal::from(summary.count);
        let readings = match series.kind {
            MetricKind::Counter => vec![("sum", summary.sum)],
            MetricKind::Gauge => vec![("last", summary.last)],
            MetricKind::Histogram => vec![
                ("count", count),
                ("sum", summary.sum),
                ("min", summary.min),
                ("max", summary.max),
            ],
        };
        for (reading, value) in readings {
            all.plugin_own
                .with_label_values(&[label, &series.name, &series.labels, reading])
                .set(shown(value));
        }
    }
}

fn show_states(all: &Families, account: &Watched) {
    let label = account.meters.label();
    let is_alive = account.status.has_changed().is_ok();
    let status = account.status.borrow().clone();
    let states = [
        ("trading", is_alive),
        ("ready", status.ready && is_alive),
        ("connected", status.connected && is_alive),
        ("halted", status.halted.is_some()),
        ("journal_failing", status.journal_failing),
        (
            "backend_answers",
            account.gauge.last_poll().is_some() && account.gauge.trouble().is_none(),
        ),
    ];
    for (state, is_so) in states {
        all.states
            .with_label_values(&[label, state])
            .set(i64::from(is_so));
    }
    let seen = account.seen.borrow();
    let word = match seen.state {
        ConnectionState::Connected => "connected",
        ConnectionState::Connecting => "connecting",
        ConnectionState::Disconnected { .. } => "disconnected",
    };
    let (name, version) = &account.plugin;
    all.plugin
        .with_label_values(&[label, name.as_str(), version.as_str(), word])
        .set(1);
    all.openings.with_label_values(&[label]).set(whole(seen.number));
}

/// The journal's size, with the files beside it that SQLite and the journal write.
fn journal_bytes(path: &Path) -> u64 {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return 0;
    };
    ["", "-wal", "-shm"]
        .iter()
        .filter_map(|end| std::fs::metadata(path.with_file_name(format!("{name}{end}"))).ok())
        .map(|found| found.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_and_nothing_is_none() {
        assert_eq!(seconds_since(0, 5).to_bits(), 0.0_f64.to_bits());
        assert_eq!(seconds_since(1000, 3500).to_bits(), 2.5_f64.to_bits());
        assert_eq!(seconds_since(3500, 1000).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn a_host_without_accounts_shows_the_process() {
        let text = Monitor::default().render().unwrap();
        assert!(text.contains("qt_build_info{version=\""), "{text}");
        #[cfg(target_os = "linux")]
        for name in [
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_threads",
        ] {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")))
                .unwrap();
            assert!(!line.ends_with(" 0"), "{line}");
        }
    }
}
