//! Runs seeds: many for their sums, or one with its trace.

use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;
use qt_simulation::{Counts, Sabotage, World};

/// Simulates trading under faults and judges the outcome.
///
/// Examples:
///   qt-simulation --seeds 0..1000000     many runs; stops at the first that is wrong
///   qt-simulation --seed 4711 --trace    one run, told step by step
#[derive(Debug, Parser)]
#[command(verbatim_doc_comment)]
struct Arguments {
    /// The seeds to run, FROM..TO without TO.
    #[arg(long, value_parser = range, default_value = "0..100000", conflicts_with = "seed")]
    seeds: Range<u64>,
    /// The one seed to run.
    #[arg(long)]
    seed: Option<u64>,
    /// Tell every step.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Go on after a run that is wrong; at most so many are listed.
    #[arg(long, default_value_t = 1)]
    findings: usize,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("`{text}` is not FROM..TO, such as 0..1000000");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let range = from.parse().map_err(|_| wrong())?..to.parse().map_err(|_| wrong())?;
    if range.is_empty() { Err(wrong()) } else { Ok(range) }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seeds = arguments.seed.map_or(arguments.seeds, |seed| seed..seed + 1);
    let mut sums = Counts::default();
    let mut found = 0;
    for seed in seeds {
        let mut world = World::new(seed, Sabotage::None, arguments.trace);
        let result = world.run();
        for line in world.trace() {
            println!("{line}");
        }
        sums.add(world.counts());
        if let Err(broken) = result {
            found += 1;
            eprintln!(
                "seed {seed}: {}\n  again with: qt-simulation --seed {seed} --trace",
                broken.0
            );
            if found >= arguments.findings {
                break;
            }
        }
    }
    println!("{sums}");
    if found == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
