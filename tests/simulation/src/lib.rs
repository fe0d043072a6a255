//! A simulation with a seed: the core as the host drives it, between a model broker and a model
//! backend that lose, repeat, delay and reorder what they say, under a clock that jumps, in a
//! process that dies at any step. A judge holds the outcome against the broker's ledger.

pub mod backend;
pub mod broker;
pub mod counts;
pub mod dice;
pub mod fault;
pub mod host;
pub mod journal;
pub mod judge;
pub mod world;

pub use counts::Counts;
pub use fault::Fault;
pub use world::{Sabotage, World};

/// A seed on which the judge found something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The seed.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
}

/// Runs one seed.
///
/// # Errors
///
/// What the judge found.
pub fn run(seed: u64, sabotage: Sabotage) -> Result<Counts, Finding> {
    let mut world = World::new(seed, sabotage, false);
    match world.run() {
        Ok(()) => Ok(world.counts().clone()),
        Err(broken) => Err(Finding { seed, what: broken.0 }),
    }
}
