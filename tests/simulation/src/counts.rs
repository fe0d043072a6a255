//! What happened in many runs.

use std::collections::BTreeMap;
use std::fmt;

use crate::fault::Fault;

/// Sums over runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Runs that were made.
    pub runs: u64,
    /// Turns of the host.
    pub turns: u64,
    /// Facts that entered a journal.
    pub facts: u64,
    /// Calls that gave an order to the broker.
    pub submits: u64,
    /// Orders that the broker accepted.
    pub accepted: u64,
    /// Trades in the broker's ledger.
    pub fills: u64,
    /// Reports that the backend took.
    pub reports: u64,
    /// Starts of the host after the first.
    pub restarts: u64,
    /// Orders proved never to have been accepted.
    pub proofs: u64,
    /// Second and later attempts that were sent.
    pub next_attempts: u64,
    /// Orders put before a person.
    pub reviews: u64,
    /// Orders that a snapshot lacked.
    pub missing: u64,
    /// How often each fault struck.
    pub faults: Vec<u64>,
    /// How often each alarm was raised.
    pub alarms: BTreeMap<&'static str, u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            runs: 0,
            turns: 0,
            facts: 0,
            submits: 0,
            accepted: 0,
            fills: 0,
            reports: 0,
            restarts: 0,
            proofs: 0,
            next_attempts: 0,
            reviews: 0,
            missing: 0,
            faults: vec![0; Fault::ALL.len()],
            alarms: BTreeMap::new(),
        }
    }
}

impl Counts {
    /// How often a fault struck.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// Adds another run's sums.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.turns += other.turns;
        self.facts += other.facts;
        self.submits += other.submits;
        self.accepted += other.accepted;
        self.fills += other.fills;
        self.reports += other.reports;
        self.restarts += other.restarts;
        self.proofs += other.proofs;
        self.next_attempts += other.next_attempts;
        self.reviews += other.reviews;
        self.missing += other.missing;
        for (sum, more) in self.faults.iter_mut().zip(&other.faults) {
            *sum += more;
        }
        for (code, more) in &other.alarms {
            *self.alarms.entry(code).or_default() += more;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} runs, {} turns, {} facts",
            self.runs, self.turns, self.facts
        )?;
        writeln!(
            f,
            "{} orders given to the broker, {} accepted, {} fills, {} reports taken",
            self.submits, self.accepted, self.fills, self.reports
        )?;
        writeln!(
            f,
            "{} restarts, {} proofs of absence, {} next attempts, {} reviews, {} missing",
            self.restarts, self.proofs, self.next_attempts, self.reviews, self.missing
        )?;
        writeln!(f, "faults:")?;
        for row in Fault::ALL.chunks(4) {
            let line: Vec<_> = row
                .iter()
                .map(|fault| format!("{:<22}{:>8}", fault.name(), self.of(*fault)))
                .collect();
            writeln!(f, "  {}", line.join("   "))?;
        }
        writeln!(f, "alarms:")?;
        for (code, count) in &self.alarms {
            writeln!(f, "  {code:<22}{count:>8}")?;
        }
        Ok(())
    }
}
