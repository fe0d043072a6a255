//! Measures the boundary between host and plugins in pairs: what a call costs through it beside the same code without
//! it, in one run and in turns, so that a slow machine slows both. Linux only.
#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    reason = "a benchmark may panic, and its figures are no money"
)]

mod broker;
mod calls;
mod events;
mod files;
#[path = "../../process.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks")]
mod process;
#[path = "../../table.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks")]
mod table;

use std::process::ExitCode;

use broker::worker::lane;
use table::Table;

type Measurement = (&'static str, &'static str, fn() -> Vec<Table>);

const MEASUREMENTS: [Measurement; 4] = [
    (
        "calls",
        "an order through the ABI beside the same code without it",
        calls::measure,
    ),
    (
        "events",
        "an event from the plugin into a channel of the host's",
        events::measure,
    ),
    (
        "lane",
        "a round trip to a worker beside a bare one between two processes",
        lane::measure,
    ),
    (
        "files",
        "loading with hashing, and a list of 100 files",
        files::measure,
    ),
];

fn usage() -> ExitCode {
    eprintln!("usage: cargo bench-plugin [--only NAME[,NAME]] [--json]");
    for (name, what, _) in MEASUREMENTS {
        eprintln!("  {name:<7} {what}");
    }
    ExitCode::from(2)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == lane::ECHO) {
        lane::echo();
        return ExitCode::SUCCESS;
    }
    let (mut only, mut json) = (None, false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--only" => match rest.next() {
                Some(names) => only = Some(names.split(',').map(str::to_owned).collect::<Vec<_>>()),
                None => return usage(),
            },
            _ => return usage(),
        }
    }
    let known = |name: &String| MEASUREMENTS.iter().any(|(known, ..)| known == name);
    if only.as_ref().is_some_and(|names| !names.iter().all(known)) {
        return usage();
    }
    let mut all = Vec::new();
    for (name, what, measure) in MEASUREMENTS {
        if only
            .as_ref()
            .is_some_and(|names| !names.iter().any(|wanted| wanted == name))
        {
            continue;
        }
        eprintln!("{name}: {what}");
        let tables = measure();
        if !json {
            tables.iter().for_each(|table| println!("{table}"));
        }
        all.extend(tables);
    }
    if json {
        println!(
            "{}",
            serde_json::Value::Array(all.iter().map(Table::json).collect())
        );
    }
    match all.iter().map(Table::missed).sum() {
        0_usize => ExitCode::SUCCESS,
        missed => {
            eprintln!("{missed} of the figures are beyond what is allowed; the tables say which by NO");
            ExitCode::FAILURE
        }
    }
}
