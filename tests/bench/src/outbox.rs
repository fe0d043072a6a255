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

struct Round {
    /// Bare posts a second.
    bare: f64,
    /// Reports a second.
    outbox: f64,
    /// From the backend's return to its first post.
    first_ms: f64,
    /// The host's own memory.
    own_mb: f64,
}

fn once(setup: &Setup) -> Round {
    let (bare_seconds, _) = bare::run(&Clocked::start(500).address(), REPORTS);
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
    Round {
        bare: REPORTS as f64 / bare_seconds,
        outbox: seen.posts as f64 / seconds,
        first_ms: ms_between(back, first),
        own_mb: host.usage().own_mb,
    }
}

/// Rounds of the host's outbox and of bare posts, in turns.
pub fn measure(setup: &Setup) -> Vec<Table> {
    let columns = ["what", "reports", "reports/s", "first after ms", "own MB"];
    let mut table = Table::new("A dead backend comes back", &columns);
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        eprintln!("  round {round} of {ROUNDS}");
        rounds.push(once(setup));
    }
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    let reports = Cell::Figure(REPORTS as f64, 0);
    table.row(vec![
        "bare posts".into(),
        reports.clone(),
        Cell::Figure(of(|round| round.bare), 0),
        Cell::Nothing,
        Cell::Nothing,
    ]);
    table.row(vec![
        "host's outbox".into(),
        reports.clone(),
        Cell::Figure(of(|round| round.outbox), 0),
        Cell::Figure(of(|round| round.first_ms), 0),
        Cell::Figure(of(|round| round.own_mb), 1),
    ]);
    table.row(vec![
        "outbox / bare posts".into(),
        reports,
        Cell::Figure(of(|round| round.outbox / round.bare), 2),
        Cell::Nothing,
        Cell::Nothing,
    ]);
    vec![table]
}
