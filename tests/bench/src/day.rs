//! A day of many signals: is it as fast at its end as at its beginning, what grows, and how long
//! does a start take after it?

use std::time::Duration;

use crate::bare::POSTS_A_SIGNAL;
use crate::clocked::Clocked;
use crate::process::{Usage, ms_between, now_ns};
use crate::setup::{Desk, Setup, signals};
use crate::table::{Cell, Table, median};

const WAVES: usize = 10;
const OPEN: usize = 1_000;
const STARTS: usize = 3;

struct Wave {
    rate: f64,
    /// User and system seconds of the host in it, which other work on the machine moves less than the rate.
    cpu_seconds: f64,
    used: Usage,
    journal_bytes: u64,
}

fn wave(desk: &Desk<'_>, backend: &Clocked, host: &crate::setup::Host, first: usize, count: usize) -> Wave {
    backend.forget();
    let before = host.usage().cpu_seconds;
    let began = now_ns();
    backend.add(signals(first, count, "43.5"));
    let posts = count * POSTS_A_SIGNAL;
    backend.wait_until("a wave is reported", |seen| seen.posts >= posts);
    let seconds = ms_between(began, backend.seen().last_post_ns) / 1e3;
    let used = host.usage();
    Wave {
        rate: count as f64 / seconds,
        cpu_seconds: used.cpu_seconds - before,
        used,
        journal_bytes: desk.journal_bytes(),
    }
}

fn waves_table(waves: &[Wave], size: usize, closed_bytes: u64) -> Table {
    let columns = [
        "wave",
        "signals so far",
        "signals/s",
        "CPU s/1000",
        "own MB",
        "resident MB",
        "journal MB",
    ];
    let mut table = Table::new("A day's signals in waves", &columns);
    for (n, wave) in waves.iter().enumerate() {
        table.row(vec![
            Cell::Figure((n + 1) as f64, 0),
            Cell::Figure(((n + 1) * size) as f64, 0),
            Cell::Figure(wave.rate, 0),
            Cell::Figure(wave.cpu_seconds * 1e3 / size as f64, 3),
            Cell::Figure(wave.used.own_mb, 1),
            Cell::Figure(wave.used.resident_mb, 1),
            Cell::Figure(wave.journal_bytes as f64 / 1e6, 1),
        ]);
    }
    if let [first, .., last] = waves {
        let between = ((waves.len() - 1) * size) as f64;
        table.row(vec![
            "last / first".into(),
            Cell::Nothing,
            Cell::Figure(last.rate / first.rate, 2),
            Cell::Figure(last.cpu_seconds / first.cpu_seconds, 2),
            Cell::Nothing,
            Cell::Nothing,
            Cell::Nothing,
        ]);
        let bytes = (last.used.own_mb - first.used.own_mb) * 1e6 / between;
        table.row(vec![
            "bytes an order".into(),
            Cell::Nothing,
            Cell::Nothing,
            Cell::Nothing,
            Cell::Figure(bytes, 0),
            Cell::Nothing,
            Cell::Figure(closed_bytes as f64 / (waves.len() * size) as f64, 0),
        ]);
    }
    table
}

/// Starts on what the day left; ms to the first request, and memory shortly after.
fn start(desk: &Desk<'_>, backend: &Clocked) -> (f64, Usage, crate::setup::Host) {
    backend.forget();
    let began = now_ns();
    let mut host = desk.host();
    backend.wait_until("the host asks for signals", |seen| {
        assert!(!host.has_ended(), "the host has ended");
        seen.first_asked_ns.is_some()
    });
    let ms = ms_between(began, backend.seen().first_asked_ns.unwrap());
    std::thread::sleep(Duration::from_millis(500));
    let used = host.usage();
    (ms, used, host)
}

/// The day, and starts after a kill and after a stop.
pub fn measure(setup: &Setup) -> Vec<Table> {
    let backend = Clocked::start(500);
    let desk = Desk::noting(setup, &backend.address());
    let host = desk.host();
    let size = setup.signals_a_day / WAVES;
    let mut waves = Vec::new();
    for n in 0..WAVES {
        eprintln!("  wave {} of {WAVES}", n + 1);
        waves.push(wave(&desk, &backend, &host, n * size, size));
    }
    host.stop();
    let closed_bytes = desk.journal_bytes();
    let (_, _, mut host) = start(&desk, &backend);
    // These are taken by the broker and stay open.
    backend.add(signals(WAVES * size, OPEN, "1.5"));
    backend.wait_until("the open orders are reported", |seen| seen.posts >= OPEN);
    let columns = ["after", "ended", "open", "median ms", "peak MB", "own MB"];
    let mut table = Table::new("Start to the first request for signals after that day", &columns);
    for (after, kill) in [("a kill", true), ("a stop", false)] {
        let mut runs = Vec::new();
        for round in 1..=STARTS {
            eprintln!("  start {round} of {STARTS} after {after}");
            if kill {
                drop(host)
            } else {
                host.stop()
            }
            let (ms, used, next) = start(&desk, &backend);
            runs.push((ms, used));
            host = next;
        }
        table.row(vec![
            after.into(),
            Cell::Figure((WAVES * size) as f64, 0),
            Cell::Figure(OPEN as f64, 0),
            Cell::Figure(median(runs.iter().map(|run| run.0)), 0),
            Cell::Figure(median(runs.iter().map(|run| run.1.peak_mb)), 1),
            Cell::Figure(median(runs.iter().map(|run| run.1.own_mb)), 1),
        ]);
    }
    vec![waves_table(&waves, size, closed_bytes), table]
}
