//! What the host offers a plugin is the same in either lane: the log's level, the time, and where its counts go.

use std::time::{SystemTime, UNIX_EPOCH};

use qt_test_support::{Backend, Desk, get, wait_until};
use serde_json::json;

use super::{hostile, settle, signals};

const HOUR_MS: i64 = 3_600_000;

/// What stands behind `word` in the plugin's line about what it is offered.
fn told(log: &str, word: &str) -> String {
    let line = log.rsplit("offered: ").next().unwrap();
    let rest = line.split(&format!("{word} ")).nth(1).unwrap();
    rest.split([' ', '\n']).next().unwrap().to_owned()
}

/// The wall clock was set back by an hour since the last host: this one goes on from its journal, and so does its plugin.
/// It counts, and the counts are served; it asks whether a line would be written, and is told as the host would write it.
#[test]
fn a_plugin_is_offered_the_same_in_either_lane() {
    for lane in ["worker", "in-process"] {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        desk.set_clock(HOUR_MS);
        let mut options = hostile(&desk, lane, &json!({ "misbehaviour": "talks" }));
        options["metrics"] = json!("127.0.0.1:0");
        options["securities_account_id"] = json!("SA-1");
        desk.configure(&backend, &options);
        backend.add(&signals(0, 1));
        let mut host = desk.trading();
        settle(&backend, &desk, &mut host, 1, lane);
        assert_eq!(host.stop(), Some(0), "{lane}: {}", desk.log());

        desk.set_clock(0);
        let mut host = desk.trading();
        let log = desk.log();
        let offset: i64 = qt_test_support::to_ten_in_shanghai_ms();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let wall_ms = i64::try_from(wall).unwrap() + offset;
        let clock_ms: i64 = told(&log, "clock").parse().unwrap();
        assert!(
            clock_ms > wall_ms + HOUR_MS - 60_000,
            "{lane}: the plugin is at {clock_ms}, the wall clock at {wall_ms}"
        );
        for (level, written) in [
            ("trace", "false"),
            ("debug", "false"),
            ("info", "true"),
            ("error", "true"),
        ] {
            assert_eq!(told(&log, level), written, "{lane}: {level}");
        }
        backend.add(&signals(1, 3));
        settle(&backend, &desk, &mut host, 3, lane);
        let address = desk.metrics_address();
        let shown = |metric: &str, reading: &str| {
            let text = get(&address, "/metrics").1;
            let parts = [
                "qt_plugin_metric{account=\"SA-1".to_owned(),
                format!("metric=\"{metric}\""),
                format!("reading=\"{reading}\""),
            ];
            let line = text
                .lines()
                .find(|line| parts.iter().all(|part| line.contains(part)));
            line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
        };
        for (metric, reading, value) in [
            ("hostile_places", "sum", "2"),
            ("hostile_level", "last", "7"),
            ("hostile_spread", "count", "2"),
            ("hostile_spread", "min", "-1"),
        ] {
            wait_until(
                &format!(
                    "{lane}: {metric} {reading} is {value}; {}",
                    get(&address, "/metrics").1
                ),
                || shown(metric, reading).as_deref() == Some(value),
            );
        }
        // A flood of lines shares a worker's stream with its fills, so that what nobody would read is counted instead.
        let log = desk.log();
        if lane == "worker" {
            wait_until("what was left out is told", || {
                desk.log().contains("more lines are left out")
            });
            assert!(!log.contains("line 999 of a flood"), "{lane}");
        }
        assert_eq!(host.stop(), Some(0), "{lane}: {}", desk.log());
    }
}
