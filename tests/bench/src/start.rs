//! From the process's start to its first request for signals, with the simulated broker.

use std::time::Duration;

use crate::clocked::Clocked;
use crate::process::{ms_between, now_ns};
use crate::setup::{Desk, Setup};
use crate::table::{Cell, Table, median, percentile};

const ROUNDS: usize = 15;

fn once(desk: &Desk<'_>, backend: &Clocked) -> (f64, f64) {
    backend.forget();
    let began = now_ns();
    let host = desk.host();
    backend.wait_until("the host asks for signals", |seen| seen.first_asked_ns.is_some());
    let asked = backend.seen().first_asked_ns.unwrap();
    // The books are compared and the first answer is in: what a host without work keeps.
    std::thread::sleep(Duration::from_millis(100));
    let resident = host.usage().resident_mb;
    host.stop();
    (ms_between(began, asked), resident)
}

/// Starts on a new data folder, where the plugin is copied, and on one that has been used.
pub fn measure(setup: &Setup) -> Vec<Table> {
    let columns = [
        "data folder",
        "median ms",
        "p90 ms",
        "least ms",
        "idle resident MB",
    ];
    let mut table = Table::new("Start to the first request for signals", &columns);
    let backend = Clocked::start(500);
    let used = Desk::simulated(setup, &backend.address());
    once(&used, &backend);
    let mut runs = [Vec::new(), Vec::new()];
    for round in 1..=ROUNDS {
        eprintln!("  round {round} of {ROUNDS}");
        runs[0].push(once(&Desk::simulated(setup, &backend.address()), &backend));
        runs[1].push(once(&used, &backend));
    }
    for (what, runs) in ["new", "used before"].into_iter().zip(runs) {
        let ms: Vec<f64> = runs.iter().map(|run| run.0).collect();
        table.row(vec![
            what.into(),
            Cell::Figure(percentile(&ms, 50), 1),
            Cell::Figure(percentile(&ms, 90), 1),
            Cell::Figure(percentile(&ms, 0), 1),
            Cell::Figure(median(runs.iter().map(|run| run.1)), 1),
        ]);
    }
    vec![table]
}
