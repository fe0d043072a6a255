//! The conformance kit: numbered cases that any broker plugin is put to, each in a process of its own with a data
//! folder of its own, and each with a verdict, what was done, what was seen, and why it matters to money.
//!
//! A case judges one property. Where another property is broken in the way, such as a call that takes the process
//! down, it is inconclusive and names what broke: the case about that property fails.

mod bench;
mod cases;
mod judge;
pub(crate) mod probe;
mod record;
mod session;
mod spoken;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use qt_plugin_api::manifest::Manifest;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Lane;
use bench::Bench;
pub(crate) use cases::CASES;
pub(crate) use record::{any_recorded, pin_text, record, word};

/// Number of the set of cases. It grows when a case is added or judges more strictly.
pub(crate) const KIT: u32 = 2;
/// The capability by which a plugin says that its orders cost nothing: a simulation, a paper account.
pub(crate) const PAPER: &str = "paper";
/// The case that all others rest on.
const OPENS: &str = "QT-C010";
/// How long a probe may take to call back.
const CALLS_WITHIN: Duration = Duration::from_secs(20);

/// The plugin that is tested, and how.
pub(crate) struct Subject {
    /// What it says of itself.
    pub(crate) manifest: Manifest,
    /// The private copy of its file.
    pub(crate) copy: PathBuf,
    /// SHA-256 of the copy.
    pub(crate) sha256: String,
    /// Where it runs: as in a host's process, or in a worker of `qt-host`.
    pub(crate) lane: Lane,
    /// Its block of the configuration.
    pub(crate) config: Value,
    /// The broker's number of the account.
    pub(crate) account_id: Option<String>,
    /// How long a call may take.
    pub(crate) deadline: Duration,
    /// How long it may take to open.
    pub(crate) open_within: Duration,
    /// How long an order's state may take to show.
    pub(crate) patience: Duration,
    /// What is bought.
    pub(crate) symbol: String,
    /// The price at which a buy fills, in yuan.
    pub(crate) price: Decimal,
    /// The price at which a buy rests, in yuan.
    pub(crate) resting_price: Decimal,
    /// Shares an order.
    pub(crate) quantity: u64,
    /// How many orders the case about growth places.
    pub(crate) orders: u32,
    /// Whether orders may be placed with a broker whose orders cost money.
    pub(crate) place_orders: bool,
    /// The folder of all cases' folders.
    pub(crate) folder: PathBuf,
}

impl Subject {
    /// Whether its orders cost nothing.
    pub(crate) fn is_paper(&self) -> bool {
        self.can(PAPER)
    }

    fn can(&self, capability: &str) -> bool {
        self.manifest.capabilities.iter().any(|word| word == capability)
    }
}

/// What a case needs before it makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// It only reads.
    Nothing,
    /// It places orders.
    Orders,
    /// It places orders that nobody would place with money.
    Paper,
}

/// One case.
pub(crate) struct Case {
    /// Its number, which it keeps for ever.
    pub(crate) id: &'static str,
    /// The property, as a sentence about the plugin.
    pub(crate) title: &'static str,
    /// Why it matters to money.
    pub(crate) matters: &'static str,
    /// Capabilities without which it does not apply.
    pub(crate) capabilities: &'static [&'static str],
    /// Whether it places orders.
    pub(crate) needs: Needs,
    run: fn(&mut Bench<'_>) -> Result<String, Stop>,
}

/// Why a case ended without a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stop {
    Fail(String),
    NotApplicable(String),
    Inconclusive(String),
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// The plugin has the property.
    Pass,
    /// It has not.
    Fail,
    /// The property means nothing for this plugin, or was not asked for.
    NotApplicable,
    /// Something else stood in the way.
    Inconclusive,
}

impl Verdict {
    /// Its name for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::NotApplicable => "n/a",
            Self::Inconclusive => "unclear",
        }
    }
}

/// What became of one case.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    /// The case.
    pub(crate) id: &'static str,
    /// The property.
    pub(crate) title: &'static str,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// What was done, in order.
    pub(crate) did: Vec<String>,
    /// What was seen, or why the case did not come to it.
    pub(crate) saw: String,
    /// Why it matters to money.
    pub(crate) matters: &'static str,
    /// The case's folder, with the plugin's data and what it wrote.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

/// What became of all of them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Number of the set of cases.
    pub(crate) kit: u32,
    /// The plugin's name.
    pub(crate) plugin: String,
    /// Its version.
    pub(crate) version: String,
    /// SHA-256 of the file: the verdict is about this content and no other.
    pub(crate) sha256: String,
    /// Where the plugin ran: `in-process` or `worker`.
    pub(crate) lane: &'static str,
    /// Whether every case of the kit was run, by the process that the kit has for it: this verdict is kept.
    pub(crate) complete: bool,
    /// Whether orders were placed.
    pub(crate) placed_orders: bool,
    /// How it ended as a whole.
    pub(crate) verdict: Verdict,
    /// The cases, in order.
    pub(crate) cases: Vec<Finding>,
}

impl Report {
    fn of(subject: &Subject, cases: Vec<Finding>) -> Self {
        let any = |verdict| cases.iter().any(|case| case.verdict == verdict);
        let verdict = if any(Verdict::Fail) {
            Verdict::Fail
        } else if any(Verdict::Inconclusive) || !any(Verdict::Pass) {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        };
        Self {
            kit: KIT,
            plugin: subject.manifest.name.clone(),
            version: subject.manifest.version.clone(),
            sha256: subject.sha256.clone(),
            lane: subject.lane.name(),
            complete: cases.len() == CASES.len() && subject.lane == Lane::InProcess,
            placed_orders: subject.is_paper() || subject.place_orders,
            verdict,
            cases,
        }
    }

    /// How many cases ended so.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|case| case.verdict == verdict).count()
    }
}

/// Puts the plugin to `cases`, `at_once` of them at a time, and says each finding as it comes.
pub(crate) fn run(
    subject: &Subject,
    cases: &[&'static Case],
    at_once: usize,
    said: impl Fn(&Finding) + Sync,
) -> Report {
    let findings: Mutex<Vec<Finding>> = Mutex::default();
    let take = |finding: Finding| {
        said(&finding);
        session::lock(&findings).push(finding);
    };
    let (first, rest): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.id == OPENS);
    let mut closed = None;
    for case in first {
        let finding = judge_case(subject, case);
        if finding.verdict == Verdict::Fail {
            closed = Some(format!("the plugin does not open; see {OPENS}"));
        }
        take(finding);
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_once.max(1) {
            scope.spawn(|| {
                while let Some(case) = rest.get(next.fetch_add(1, Ordering::Relaxed)) {
                    take(match (not_applicable(subject, case), &closed) {
                        (Some(why), _) => finding(subject, case, Vec::new(), Err(Stop::NotApplicable(why))),
                        (None, Some(why)) => {
                            finding(subject, case, Vec::new(), Err(Stop::Inconclusive(why.clone())))
                        }
                        (None, None) => judge_case(subject, case),
                    });
                }
            });
        }
    });
    let mut findings = findings
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    findings.sort_by_key(|finding| finding.id);
    Report::of(subject, findings)
}

fn finding(subject: &Subject, case: &Case, did: Vec<String>, ended: Result<String, Stop>) -> Finding {
    let (verdict, saw) = match ended {
        Ok(saw) => (Verdict::Pass, saw),
        Err(Stop::Fail(saw)) => (Verdict::Fail, saw),
        Err(Stop::NotApplicable(why)) => (Verdict::NotApplicable, why),
        Err(Stop::Inconclusive(why)) => (Verdict::Inconclusive, why),
    };
    Finding {
        id: case.id,
        title: case.title,
        verdict,
        did,
        saw,
        matters: case.matters,
        folder: subject.folder.join(case.id),
    }
}

fn judge_case(subject: &Subject, case: &Case) -> Finding {
    let mut bench = match Bench::new(subject, case.id) {
        Ok(bench) => bench,
        Err(why) => return finding(subject, case, Vec::new(), Err(Stop::Inconclusive(why))),
    };
    let began = Instant::now();
    let ended = (case.run)(&mut bench);
    bench.tidy();
    bench.say(format!("it took {} ms", began.elapsed().as_millis()));
    finding(subject, case, bench.into_story(), ended)
}

fn not_applicable(subject: &Subject, case: &Case) -> Option<String> {
    if let Some(missing) = case.capabilities.iter().find(|word| !subject.can(word)) {
        return Some(format!("the plugin does not name the capability `{missing}`"));
    }
    match case.needs {
        Needs::Nothing => None,
        Needs::Orders if subject.is_paper() || subject.place_orders => None,
        Needs::Orders => Some(format!(
            "it places orders, and the plugin does not name the capability `{PAPER}`: they may cost money; --place-orders runs it"
        )),
        Needs::Paper if subject.is_paper() => None,
        Needs::Paper => Some(format!(
            "it places orders that nobody would place with money; it runs for a plugin with the capability `{PAPER}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_in_order_and_leave_gaps() {
        let numbers: Vec<u32> = CASES
            .iter()
            .map(|case| case.id.strip_prefix("QT-C").unwrap().parse().unwrap())
            .collect();
        assert!(
            numbers.windows(2).all(|pair| pair[0] + 2 <= pair[1]),
            "{numbers:?}"
        );
        assert_eq!(CASES[0].id, OPENS);
    }

    #[test]
    fn every_case_says_why_it_matters() {
        for case in CASES {
            assert!(case.matters.len() > 40 && case.title.len() > 10, "{}", case.id);
            assert!(case.matters.ends_with('.'), "{}", case.id);
        }
    }
}
