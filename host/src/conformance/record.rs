//! The verdict that stays: bound to the content of the plugin's file, so that another content has none.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{KIT, Report, Verdict};
use crate::system;

/// The folder of verdicts in the data folder.
const FOLDER: &str = "conformance";

/// What the kit said of one content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    kit: u32,
    sha256: String,
    verdict: Verdict,
    passed: usize,
    failed: Vec<String>,
    not_applicable: usize,
    inconclusive: usize,
    placed_orders: bool,
    at: String,
}

fn path(data_dir: &Path, sha256: &str) -> PathBuf {
    data_dir.join(FOLDER).join(format!("{sha256}.json"))
}

/// Keeps the verdict of a whole run; a run of single cases says too little and is not kept.
///
/// # Errors
///
/// The file cannot be written.
pub(crate) fn record(data_dir: &Path, report: &Report, now_ms: i64) -> io::Result<bool> {
    if !report.complete {
        return Ok(false);
    }
    let failed = report.cases.iter().filter(|case| case.verdict == Verdict::Fail);
    let recorded = Recorded {
        kit: KIT,
        sha256: report.sha256.clone(),
        verdict: report.verdict,
        passed: report.count(Verdict::Pass),
        failed: failed.map(|case| case.id.to_owned()).collect(),
        not_applicable: report.count(Verdict::NotApplicable),
        inconclusive: report.count(Verdict::Inconclusive),
        placed_orders: report.placed_orders,
        at: jiff::Timestamp::from_millisecond(now_ms)
            .map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            .unwrap_or_default(),
    };
    system::create_private_dir(&data_dir.join(FOLDER)).map_err(io::Error::other)?;
    let text = serde_json::to_vec_pretty(&recorded)?;
    system::replace_file(&path(data_dir, &report.sha256), &text)?;
    Ok(true)
}

/// The last verdict about a content, if it was ever put to the kit here. A file that cannot be read, or that is about
/// another content, is none.
pub(crate) fn last(data_dir: &Path, sha256: &str) -> Option<Recorded> {
    let text = std::fs::read(path(data_dir, sha256)).ok()?;
    let recorded: Recorded = serde_json::from_slice(&text).ok()?;
    (recorded.sha256 == sha256).then_some(recorded)
}

/// Whether any plugin was put to the kit here, so that a list has verdicts to look for.
pub(crate) fn any_recorded(data_dir: &Path) -> bool {
    std::fs::read_dir(data_dir.join(FOLDER)).is_ok_and(|mut entries| entries.next().is_some())
}

/// The last verdict about a content as one word.
pub(crate) fn word(data_dir: &Path, sha256: &str) -> Option<&'static str> {
    Some(match last(data_dir, sha256)?.verdict {
        Verdict::Pass => "passed",
        Verdict::Fail => "failed",
        Verdict::Inconclusive | Verdict::NotApplicable => "unclear",
    })
}

/// The verdict about a content as one line, for a pin of that content.
pub(crate) fn pin_text(data_dir: &Path, sha256: &str) -> Option<String> {
    let said = last(data_dir, sha256)?;
    let word = match said.verdict {
        Verdict::Pass => "passed".to_owned(),
        Verdict::Fail => format!("failed {}", said.failed.join(" ")),
        Verdict::Inconclusive | Verdict::NotApplicable => "unclear".to_owned(),
    };
    let read_only = if said.placed_orders { "" } else { ", read-only" };
    Some(format!(
        "kit {} {word} ({} passed, {} failed, {} unclear, {} not applicable{read_only}) {}",
        said.kit,
        said.passed,
        said.failed.len(),
        said.inconclusive,
        said.not_applicable,
        said.at
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(sha256: &str, complete: bool) -> Report {
        Report {
            kit: KIT,
            plugin: "p".to_owned(),
            version: "1".to_owned(),
            sha256: sha256.to_owned(),
            lane: "in-process",
            complete,
            placed_orders: true,
            verdict: Verdict::Pass,
            cases: Vec::new(),
        }
    }

    #[test]
    fn a_verdict_is_bound_to_the_content() {
        let folder = tempfile::tempdir().unwrap();
        assert!(record(folder.path(), &report("aa", true), 0).unwrap());
        let text = pin_text(folder.path(), "aa").unwrap();
        assert_eq!(word(folder.path(), "aa"), Some("passed"));
        assert!(
            text.starts_with("kit 2 passed") && text.ends_with("1970-01-01T00:00:00Z"),
            "{text}"
        );
        assert_eq!(last(folder.path(), "bb"), None);
        std::fs::copy(path(folder.path(), "aa"), path(folder.path(), "bb")).unwrap();
        assert_eq!(
            last(folder.path(), "bb"),
            None,
            "a copy under another digest is no verdict"
        );
        std::fs::write(path(folder.path(), "aa"), "{").unwrap();
        assert_eq!(last(folder.path(), "aa"), None);
    }

    #[test]
    fn single_cases_are_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!record(folder.path(), &report("aa", false), 0).unwrap());
        assert_eq!(last(folder.path(), "aa"), None);
    }
}
