//! Signals a second from the pending list to the last report, with CPU and memory, against the
//! embedded backend in a process of its own.

use std::time::{Duration, Instant};

use qt_test_support::Backend;
use serde_json::{Value, json};

use crate::bare::{self, POSTS_A_SIGNAL};
use crate::process::Usage;
use crate::setup::{Address, Desk, Setup, signals};
use crate::table::{Cell, Table, median};

const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(300);

struct Run {
    seconds: f64,
    used: Usage,
}

fn backend(count: usize) -> (Backend, Address) {
    let backend = Backend::start();
    let list: Vec<Value> = signals(0, count, "43.5")
        .map(|signal| serde_json::from_str(&signal).unwrap())
        .collect();
    backend.add(&Value::Array(list));
    let address = Address {
        base_url: backend.base_url.clone(),
        token: backend.token.clone(),
    };
    (backend, address)
}

fn bare(count: usize) -> Run {
    let (_backend, address) = backend(count);
    let (seconds, used) = bare::run(&address, count * POSTS_A_SIGNAL);
    Run { seconds, used }
}

fn host(setup: &Setup, count: usize, journal: bool) -> Run {
    let (backend, address) = backend(count);
    let desk = Desk::simulated(setup, &address).with("journal", json!({ "enabled": journal }));
    let began = Instant::now();
    let host = desk.host();
    let mut used = Usage::default();
    while backend.summary()["counts"]["concluded"].as_u64().unwrap_or(0) < count as u64 {
        used = host.usage();
        assert!(began.elapsed() < PATIENCE, "the host does not come to an end");
        std::thread::sleep(Duration::from_millis(5));
    }
    Run {
        seconds: began.elapsed().as_secs_f64(),
        used,
    }
}

/// Rounds of bare posts, host, and host without a journal, in turns.
pub fn measure(setup: &Setup) -> Vec<Table> {
    let columns = [
        "what",
        "signals",
        "signals/s",
        "CPU s/1,000",
        "peak MB",
        "of it own MB",
    ];
    let mut table = Table::new(
        "Rate, from start to the last report (three posts a signal)",
        &columns,
    );
    for count in [1_000, 10_000] {
        let mut rounds = Vec::new();
        for round in 1..=ROUNDS {
            eprintln!("  round {round} of {ROUNDS} with {count} signals");
            rounds.push([bare(count), host(setup, count, true), host(setup, count, false)]);
        }
        let of =
            |which: usize, figure: fn(&Run) -> f64| median(rounds.iter().map(|round| figure(&round[which])));
        for (which, what) in ["bare posts", "host", "host, journal off"]
            .into_iter()
            .enumerate()
        {
            table.row(vec![
                what.into(),
                Cell::Figure(count as f64, 0),
                Cell::Figure(count as f64 / of(which, |run| run.seconds), 0),
                Cell::Figure(of(which, |run| run.used.cpu_seconds) * 1e3 / count as f64, 3),
                Cell::Figure(of(which, |run| run.used.peak_mb), 1),
                Cell::Figure(of(which, |run| run.used.own_mb), 1),
            ]);
        }
        let ratio =
            |figure: fn(&Run, &Run) -> f64| median(rounds.iter().map(|[bare, host, _]| figure(bare, host)));
        table.row(vec![
            "host / bare posts".into(),
            Cell::Figure(count as f64, 0),
            Cell::Figure(ratio(|bare, host| bare.seconds / host.seconds), 2),
            Cell::Figure(
                ratio(|bare, host| host.used.cpu_seconds / bare.used.cpu_seconds),
                2,
            ),
            Cell::Nothing,
            Cell::Nothing,
        ]);
    }
    vec![table]
}
