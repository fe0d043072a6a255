//! From the last byte of a signals answer to the plugin's call, and what the journal adds to it.

use serde_json::json;

use crate::bare::POSTS_A_SIGNAL;
use crate::clocked::Clocked;
use crate::process::ms_between;
use crate::setup::{Desk, Setup, signals};
use crate::table::{Cell, Table, median, percentile};

/// Signals in an answer, and how many such answers a run has.
const BATCHES: [(usize, usize); 3] = [(1, 200), (50, 30), (500, 6)];
const ROUNDS: usize = 3;

#[derive(Default)]
struct Run {
    /// Of each signal, ms.
    each: Vec<f64>,
    /// Of the last signal of each answer, ms.
    last: Vec<f64>,
}

fn run(setup: &Setup, batch: usize, answers: usize, journal: bool) -> Run {
    let backend = Clocked::start(batch);
    let desk = Desk::noting(setup, &backend.address()).with("journal", json!({ "enabled": journal }));
    let _host = desk.host();
    backend.wait_until("the host asks for signals", |seen| seen.first_asked_ns.is_some());
    // The first answer warms caches and is not counted.
    for n in 0..=answers {
        backend.add(signals(n * batch, batch, "43.5"));
        let posts = (n + 1) * batch * POSTS_A_SIGNAL;
        backend.wait_until("an answer's reports are posted", |seen| seen.posts >= posts);
    }
    let (calls, given) = (desk.calls(), backend.seen().answers.clone());
    assert_eq!(calls.len(), batch * (answers + 1));
    assert_eq!(given.len(), answers + 1, "an answer came in parts");
    let mut run = Run::default();
    for ((at, _), calls) in given.iter().zip(calls.chunks(batch)).skip(1) {
        let each: Vec<f64> = calls.iter().map(|call| ms_between(*at, *call)).collect();
        run.last.extend(each.last());
        run.each.extend(each);
    }
    run
}

/// Rounds with the journal on and off, in turns.
pub fn measure(setup: &Setup) -> Vec<Table> {
    let columns = [
        "signals an answer",
        "journal",
        "p50 ms",
        "p99 ms",
        "to the last call ms",
    ];
    let mut table = Table::new("From a signals answer to the plugin's call", &columns);
    let columns = [
        "signals an answer",
        "added ms a signal",
        "added ms to the last call",
    ];
    let mut added = Table::new("What the journal adds", &columns);
    for (batch, answers) in BATCHES {
        let mut runs = [Run::default(), Run::default()];
        for round in 1..=ROUNDS {
            eprintln!("  round {round} of {ROUNDS} with answers of {batch}");
            for (all, journal) in runs.iter_mut().zip([true, false]) {
                let run = run(setup, batch, answers, journal);
                all.each.extend(run.each);
                all.last.extend(run.last);
            }
        }
        for (run, journal) in runs.iter().zip(["on", "off"]) {
            table.row(vec![
                Cell::Figure(batch as f64, 0),
                journal.into(),
                Cell::Figure(percentile(&run.each, 50), 3),
                Cell::Figure(percentile(&run.each, 99), 3),
                Cell::Figure(median(run.last.iter().copied()), 3),
            ]);
        }
        let whole = median(runs[0].last.iter().copied()) - median(runs[1].last.iter().copied());
        added.row(vec![
            Cell::Figure(batch as f64, 0),
            Cell::Figure(whole / batch as f64, 4),
            Cell::Figure(whole, 3),
        ]);
    }
    vec![table, added]
}
