//! A backend that was dead comes back while reports wait.

use std::time::Duration;

use serde_json::json;

use crate::bare;
use crate::clocked::Clocked;
use crate::process::{ms_between, now_ns};
use crate::setup::{Desk, Setup, signals};
use crate::table::{Cell, Table, median};

const REPORTS: usize = 10_000;
const ROUNDS: usize = 3;

/// Reports a second, ms from the backend's return to its first post, and the host's own MB.
fn host(setup: &Setup) -> (f64, f64, f64) {
    let backend = Clocked::start(500);
    // Orders at this price are taken and stay open, so that each makes one report.
    backend.add(signals(0, REPORTS, "1.5"));
    backend.seen().refuses = true;
    let desk = Desk::noting(setup, &backend.address()).with("log_level", json!("ERROR"));
    let host = desk.host();
    backend.wait_until("every order is placed", |_| desk.calls().len() >= REPORTS);
    backend.die();
    // Long enough for probes to find it dead, and for the last reports to be in the journal.
    std::thread::sleep(Duration::from_secs(2));
    backend.seen().refuses = false;
    backend.forget();
    let back = now_ns();
    backend.come_back();
    backend.wait_until("all reports are posted", |seen| seen.posts >= REPORTS);
    let seen = backend.seen();
    let first = seen.first_post_ns.unwrap();
    let seconds = ms_between(first, seen.last_post_ns) / 1e3;
    (
        seen.posts as f64 / seconds,
        ms_between(back, first),
        host.usage().own_mb,
    )
}

/// Rounds of the host's outbox and of bare posts, in turns.
pub fn measure(setup: &Setup) -> Vec<Table> {
    let columns = ["what", "reports", "reports/s", "first after ms", "own MB"];
    let mut table = Table::new("A dead backend comes back", &columns);
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        eprintln!("  round {round} of {ROUNDS}");
        let (seconds, _) = bare::run(&Clocked::start(500).address(), REPORTS);
        rounds.push((REPORTS as f64 / seconds, host(setup)));
    }
    let of = |figure: fn(&(f64, (f64, f64, f64))) -> f64| median(rounds.iter().map(figure));
    let reports = Cell::Figure(REPORTS as f64, 0);
    table.row(vec![
        "bare posts".into(),
        reports.clone(),
        Cell::Figure(of(|round| round.0), 0),
        Cell::Nothing,
        Cell::Nothing,
    ]);
    table.row(vec![
        "host's outbox".into(),
        reports.clone(),
        Cell::Figure(of(|round| round.1.0), 0),
        Cell::Figure(of(|round| round.1.1), 0),
        Cell::Figure(of(|round| round.1.2), 1),
    ]);
    table.row(vec![
        "outbox / bare posts".into(),
        reports,
        Cell::Figure(of(|round| round.1.0 / round.0), 2),
        Cell::Nothing,
        Cell::Nothing,
    ]);
    vec![table]
}
