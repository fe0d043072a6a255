//! Measures the host against the bare cost: the same number of keep-alive round trips by the same
//! HTTP client with no work between. What is compared runs in turns, and what counts are the
//! ratios, each the median of several rounds. Linux only: it reads `/proc`.
#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    reason = "a benchmark may panic, and its figures are no money"
)]

mod bare;
mod clocked;
mod day;
mod latency;
mod outbox;
mod process;
mod rate;
mod scale;
mod setup;
mod start;
#[allow(dead_code, reason = "shared with the other benchmarks")]
mod table;
mod wishes;

use std::process::ExitCode;

use setup::Setup;
use table::Table;
use wishes::Wishes;

type Measurement = (&'static str, &'static str, fn(&Setup) -> Vec<Table>);

/// Name, what it measures, and how.
const MEASUREMENTS: [Measurement; 6] = [
    (
        "start",
        "from the process's start to its first request",
        start::measure,
    ),
    (
        "rate",
        "signals a second, CPU and memory beside the bare cost",
        rate::measure,
    ),
    (
        "latency",
        "from a signals answer to the plugin's call",
        latency::measure,
    ),
    (
        "outbox",
        "reports that waited while the backend was dead",
        outbox::measure,
    ),
    (
        "day",
        "a day of 100,000 signals, and a start after it",
        day::measure,
    ),
    (
        "scale",
        "1, 10 and 50 accounts in one process, over REST and over NATS",
        scale::measure,
    ),
];

fn usage() -> ExitCode {
    eprintln!("usage: cargo bench-host [--only NAME[,NAME]] [--json] [--signals-a-day COUNT]");
    for (name, what, _) in MEASUREMENTS {
        eprintln!("  {name:<9} {what}");
    }
    ExitCode::from(2)
}

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider().install_default().ok();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, base, token, count] = arguments.as_slice()
        && what == bare::COMMAND
    {
        bare::post(base, token, count.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let Some(wishes) = Wishes::parse(&arguments, |name| {
        MEASUREMENTS.iter().any(|(known, ..)| *known == name)
    }) else {
        return usage();
    };
    let mut all = Vec::new();
    for (name, what, measure) in MEASUREMENTS {
        if !wishes.wants(name) {
            continue;
        }
        eprintln!("{name}: {what}");
        let tables = measure(&wishes.setup);
        if !wishes.json {
            tables.iter().for_each(|table| println!("{table}"));
        }
        all.extend(tables);
    }
    if wishes.json {
        println!(
            "{}",
            serde_json::Value::Array(all.iter().map(Table::json).collect())
        );
    }
    ExitCode::SUCCESS
}
