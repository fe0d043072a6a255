//! Measures the market: the gates before an order, the matching of the simulated exchange, its memory by the depth of its
//! books, and the replay of a year of minute bars, through the exchange alone and through the real program.
//! `cargo bench-market [gates|matching|memory|replay|program]...`; all without a word.
#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    reason = "a benchmark may panic, and its figures are no money"
)]

mod gates;
mod matching;
mod memory;
#[path = "../../process.rs"]
#[allow(dead_code, reason = "another benchmark uses the rest")]
mod process;
mod program;
mod replay;

use std::process::ExitCode;

/// A word and what it measures; true where what is asked for is reached.
type Part = (&'static str, fn() -> bool);

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let parts: [Part; 5] = [
        ("gates", gates::measure_all),
        ("matching", matching::measure_all),
        ("memory", memory::measure_all),
        ("replay", replay::measure_all),
        ("program", program::measure_all),
    ];
    if let Some(shape) = wanted.first().and_then(|word| word.strip_prefix("shape:")) {
        return memory::of_shape(shape).map_or(ExitCode::from(2), |()| ExitCode::SUCCESS);
    }
    if let Some(word) = wanted
        .iter()
        .find(|word| parts.iter().all(|(name, _)| name != word))
    {
        eprintln!("{word} is no part; expected gates, matching, memory, replay or program");
        return ExitCode::from(2);
    }
    let mut met = true;
    for (name, measure) in parts {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            met &= measure();
            println!();
        }
    }
    if met { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
