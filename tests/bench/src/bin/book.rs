//! Measures the analyzer and the exports at growing sizes, and beside them, in the same run and from
//! the same file, what a user would otherwise do: polars in Python. Every figure is of a process of
//! its own; memory is its peak as Linux keeps it (`VmHWM`). Linux only.
#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    reason = "a benchmark may panic, and its figures are no money"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qt_core::portfolio::{self, Position, RiskThresholds};
use rust_decimal::Decimal;

const SIZES: [usize; 4] = [10, 1_000, 50_000, 1_000_000];
const FORMATS: [&str; 3] = ["json", "csv", "parquet"];

/// A process that did its work.
struct Run {
    seconds: f64,
    peak_mb: f64,
    said: String,
}

/// A row of a book, the same for everybody.
fn row(n: usize) -> (String, i64, i64, Decimal, Decimal, Decimal) {
    let spread = i64::try_from(n * 2_654_435_761 % 100_000).unwrap();
    let quantity = (spread % 500 + 1) * 100;
    let cost = Decimal::new(1_000 + spread, 2);
    let last = Decimal::new(1_000 + spread * 7 % 100_000, 2);
    let close = last + Decimal::new(spread % 41 - 20, 2);
    (
        format!("{n:06}.SH"),
        quantity,
        quantity - spread % 3 * 100,
        cost,
        last,
        close,
    )
}

fn csv(size: usize) -> String {
    let mut text = String::from("symbol,name,quantity,available_qty,avg_cost,last_price,previous_close\n");
    for n in 0..size {
        let (symbol, quantity, sellable, cost, last, close) = row(n);
        writeln!(
            text,
            "{symbol},股票{n},{quantity},{sellable},{cost},{last},{close}"
        )
        .unwrap();
    }
    text
}

fn positions(size: usize) -> Vec<Position> {
    (0..size)
        .map(|n| {
            let (symbol, total, sellable, avg_cost, last, close) = row(n);
            Position {
                symbol: symbol.parse().unwrap(),
                name: Some(format!("股票{n}")),
                total,
                sellable,
                frozen: 0,
                avg_cost,
                last_price: Some(last),
                previous_close: Some(close),
            }
        })
        .collect()
}

/// Small books are worked out often enough to be seen by the clock.
const fn repeats(size: usize) -> usize {
    let often = 2_000_000 / size;
    if often > 200 {
        200
    } else if often < 5 {
        5
    } else {
        often
    }
}

/// Value, risk and today's P&L; says the best time and the totals.
fn analyze(size: usize) {
    let book = positions(size);
    let thresholds = RiskThresholds::default();
    let mut best = Duration::MAX;
    let mut said = String::new();
    for _ in 0..repeats(size) {
        let began = Instant::now();
        let valuation = portfolio::value(&book).unwrap();
        let risks = portfolio::assess(&valuation, &thresholds).unwrap();
        let today = portfolio::today(&book, &[]).unwrap();
        best = best.min(began.elapsed());
        assert_eq!(risks.len(), size);
        let totals = valuation.totals;
        said = format!("{:.2} {:.2} {:.2}", totals.value, totals.pnl, today.total);
    }
    println!("{} {said}", best.as_secs_f64());
}

fn peak_mb(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

fn run(command: &mut Command) -> Run {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut peak = 0.0_f64;
    let seconds = loop {
        // The peak only grows, so that the last look before the end sees nearly all of it.
        peak = peak.max(peak_mb(child.id()).unwrap_or(0.0));
        if child.try_wait().unwrap().is_some() {
            break began.elapsed().as_secs_f64();
        }
        std::thread::sleep(Duration::from_micros(500));
    };
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Run {
        seconds,
        peak_mb: peak,
        said: String::from_utf8(output.stdout).unwrap().trim().to_owned(),
    }
}

fn line(what: &str, size: usize, ours: &Run, theirs: Option<&Run>) {
    let us = |run: &Run| run.seconds * 1e6 / size as f64;
    let mut text = format!(
        "{what:<16} {size:>9} {:>11.2} {:>11.3} {:>9.1}",
        ours.seconds * 1e3,
        us(ours),
        ours.peak_mb
    );
    if let Some(theirs) = theirs {
        write!(
            text,
            " {:>11.2} {:>11.3} {:>9.1} {:>7.2}x {:>7.2}x",
            theirs.seconds * 1e3,
            us(theirs),
            theirs.peak_mb,
            ours.seconds / theirs.seconds,
            ours.peak_mb / theirs.peak_mb
        )
        .unwrap();
    }
    println!("{text}");
}

/// The time that a process measured itself, and the totals that it found.
fn measured(run: Run) -> (Run, Vec<String>) {
    let mut words = run.said.split_whitespace().map(str::to_owned);
    let seconds = words.next().unwrap().parse().unwrap();
    let totals = words.collect();
    (Run { seconds, ..run }, totals)
}

/// Two ways to the same figures: floats may differ from decimals by their last digits only.
fn compare(ours: &[String], theirs: &[String]) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        let (ours, theirs): (f64, f64) = (ours.parse().unwrap(), theirs.parse().unwrap());
        assert!(
            (ours - theirs).abs() <= ours.abs().max(1.0) * 1e-9,
            "{ours} and {theirs} are to be the same"
        );
    }
}

fn measure(size: usize, folder: &Path, qt_host: &Path, python: Option<&Path>) {
    let book = folder.join(format!("book-{size}.csv"));
    std::fs::write(&book, csv(size)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/book.py");
    let polars = |what: &str, third: &str| {
        python.map(|python| run(Command::new(python).arg(&script).arg(what).arg(&book).arg(third)))
    };
    let this = std::env::current_exe().unwrap();
    let (ours, our_totals) = measured(run(Command::new(this).args(["analyze", &size.to_string()])));
    let theirs = polars("analyze", &repeats(size).to_string()).map(measured);
    if let Some((_, totals)) = &theirs {
        compare(&our_totals, totals);
    }
    line("analyzer", size, &ours, theirs.as_ref().map(|(run, _)| run));
    for format in FORMATS {
        let out = folder.join(format!("ours-{size}.{format}"));
        let ours = run(Command::new(qt_host)
            .arg("export")
            .arg(&out)
            .arg("--from")
            .arg(&book)
            .arg("--data-dir")
            .arg(folder.join("data")));
        let theirs = folder.join(format!("theirs-{size}.{format}"));
        let theirs = polars(format, theirs.to_str().unwrap());
        line(&format!("export .{format}"), size, &ours, theirs.as_ref());
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, size] = arguments.as_slice()
        && what == "analyze"
    {
        return analyze(size.parse().unwrap());
    }
    let qt_host: PathBuf = std::env::current_exe().unwrap().with_file_name("qt-host");
    let python = qt_test_support::python();
    if let Err(reason) = &python {
        println!("no polars to compare with: {reason}");
    }
    let folder = tempfile::tempdir().unwrap();
    println!(
        "analyzer: value, risk and today's P&L in memory. export: read the book as CSV, work it out, write the file;"
    );
    println!(
        "the whole process, its start included. us: microseconds a position. ratio: ours / polars, below 1 is better.\n"
    );
    println!(
        "{:<16} {:>9} {:>11} {:>11} {:>9} {:>11} {:>11} {:>9} {:>8} {:>8}",
        "what", "positions", "ours ms", "us", "peak MB", "polars ms", "us", "peak MB", "time", "memory"
    );
    for size in SIZES {
        measure(size, folder.path(), &qt_host, python.as_deref().ok());
    }
}
