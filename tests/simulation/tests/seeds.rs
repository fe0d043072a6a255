//! Many seeds, and proof that the judge bites.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::atomic::{AtomicU64, Ordering};

use qt_simulation::{Counts, Fault, Finding, Sabotage, run};

/// `QT_SIMULATION_RUNS` where it is set.
fn runs() -> u64 {
    let asked = std::env::var("QT_SIMULATION_RUNS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

/// Runs `seeds` on all processors; the first seed that breaks a promise ends it.
fn run_all(seeds: u64) -> Counts {
    let next = AtomicU64::new(0);
    let work = || {
        let mut sums = Counts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return Ok(sums);
            }
            sums.add(&run(seed, Sabotage::None).inspect_err(|_| next.store(seeds, Ordering::Relaxed))?);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<Result<Counts, Finding>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut sums = Counts::default();
    for result in results {
        match result {
            Ok(counts) => sums.add(&counts),
            Err(Finding { seed, what }) => panic!(
                "seed {seed}: {what}\nagain with: cargo run --release -p qt-simulation -- --seed {seed} --trace"
            ),
        }
    }
    sums
}

#[test]
fn no_seed_breaks_a_promise() {
    let sums = run_all(runs());
    println!("{sums}");
    for fault in Fault::ALL {
        assert!(sums.of(*fault) > 0, "{} never struck", fault.name());
    }
    for (what, count) in [
        ("restart", sums.restarts),
        ("fill", sums.fills),
        ("proof of absence", sums.proofs),
        ("next attempt", sums.next_attempts),
        ("review", sums.reviews),
        ("missing order", sums.missing),
    ] {
        assert!(count > 0, "there was no {what}");
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in 0..200 {
        assert_eq!(run(seed, Sabotage::None), run(seed, Sabotage::None));
    }
}

#[test]
fn a_host_built_wrong_is_found_out() {
    std::thread::scope(|scope| {
        for sabotage in Sabotage::WRONG {
            scope.spawn(move || {
                let found = (0..20_000).find_map(|seed| run(seed, sabotage).err());
                let Finding { seed, what } = found.unwrap_or_else(|| panic!("{sabotage:?} was not noticed"));
                let start: String = what.chars().take(110).collect();
                println!("{sabotage:?}: seed {seed}: {start}");
            });
        }
    });
}
