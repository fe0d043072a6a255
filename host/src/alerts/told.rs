//! What people heard, for the process after this one. Wall-clock times, since no other outlasts a process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::conditions::Told;
use super::{Alert, HOUR, Kind};
use crate::system;
use crate::telemetry::QUANT_TRADER;

/// The file's name within the data folder.
const FILE_NAME: &str = "alerts.json";
/// No more is read of it.
const LONGEST: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    kind: String,
    account: Option<String>,
    stands: bool,
    at_ms: i64,
    starts: u32,
    /// Not there in what older versions wrote.
    #[serde(default)]
    level: u64,
}

/// What people heard of this process and the one before it within the last hour.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    entries: BTreeMap<(Kind, Option<String>), Entry>,
    /// What this process has told itself.
    own: Vec<(Kind, Option<String>)>,
    is_failing: bool,
}

impl Ledger {
    /// Reads what there is; a file that is missing or makes no sense says nothing.
    pub(super) fn open(folder: PathBuf, now_ms: i64) -> Self {
        let path = folder.join(FILE_NAME);
        let is_small = std::fs::metadata(&path).is_ok_and(|file| file.len() <= LONGEST);
        let text = is_small.then(|| std::fs::read(&path).ok()).flatten();
        let entries = text.and_then(|text| serde_json::from_slice::<Vec<Entry>>(&text).ok());
        let entries = entries.unwrap_or_default().into_iter().filter_map(|entry| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == entry.kind)?;
            Some(((kind, entry.account.clone()), entry))
        });
        let mut ledger = Self {
            path,
            entries: entries.collect(),
            own: Vec::new(),
            is_failing: false,
        };
        ledger.forget(now_ms);
        ledger
    }

    fn forget(&mut self, now_ms: i64) {
        let hour_ms = i64::try_from(HOUR.as_millis()).unwrap_or(i64::MAX);
        // What comes from a clock that was ahead is not believed.
        self.entries
            .retain(|_, entry| (0..hour_ms).contains(&now_ms.saturating_sub(entry.at_ms)));
    }

    /// What the process before this one told.
    pub(super) fn told(&self, now_ms: i64) -> impl Iterator<Item = Told> {
        self.entries.iter().map(move |((kind, account), entry)| Told {
            kind: *kind,
            account: account.clone(),
            stands: entry.stands,
            ago: Duration::from_millis(u64::try_from(now_ms.saturating_sub(entry.at_ms)).unwrap_or(0)),
            starts: entry.starts,
            level: entry.level,
        })
    }

    /// Takes down what somebody heard now. What nobody heard must not keep the process after this one from telling it.
    pub(super) fn heard(&mut self, alert: &Alert, now_ms: i64) {
        self.forget(now_ms);
        let key = (alert.kind, alert.account.clone());
        let before = self.entries.get(&key);
        // Channels deliver in turn, and one may be slower than another.
        if before.is_some_and(|entry| entry.at_ms > alert.at_ms) {
            return;
        }
        let before = before.map_or(0, |entry| entry.starts);
        let is_first = alert.is_raised && !self.own.contains(&key);
        if is_first {
            self.own.push(key.clone());
        }
        let entry = Entry {
            kind: alert.kind.name().to_owned(),
            account: alert.account.clone(),
            stands: alert.is_raised,
            at_ms: alert.at_ms,
            starts: before + u32::from(is_first),
            level: alert.level,
        };
        self.entries.insert(key, entry);
        self.write(now_ms);
    }

    fn write(&mut self, now_ms: i64) {
        self.forget(now_ms);
        let entries: Vec<&Entry> = self.entries.values().collect();
        // Texts and numbers in memory become JSON without fail.
        let text = serde_json::to_vec(&entries).unwrap_or_default();
        let written = system::replace_passing_file(&self.path, &text);
        if let Err(e) = &written
            && !self.is_failing
        {
            warn!(
                target: QUANT_TRADER,
                "{} cannot be written: {e}; after a restart alerts of the last hour are told again",
                system::shown(&self.path)
            );
        }
        self.is_failing = written.is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(kind: Kind, is_raised: bool, level: u64, at_ms: i64) -> Alert {
        Alert {
            kind,
            account: Some("a".to_owned()),
            is_raised,
            is_critical: false,
            level,
            text: String::new(),
            at_ms,
        }
    }

    #[test]
    fn the_next_process_knows_what_was_heard_within_the_hour_and_how_many_told_it() {
        let folder = tempfile::tempdir().unwrap();
        let open = |now_ms| Ledger::open(folder.path().to_owned(), now_ms);
        let told = |ledger: &Ledger, now_ms| -> Vec<_> {
            let all = ledger.told(now_ms);
            all.map(|told| {
                (
                    told.kind,
                    told.stands,
                    told.ago.as_secs(),
                    told.starts,
                    told.level,
                )
            })
            .collect()
        };
        let heard = |ledger: &mut Ledger, kind, is_raised, level, at_ms| {
            ledger.heard(&alert(kind, is_raised, level, at_ms), at_ms);
        };
        let mut first = open(1_000_000);
        assert!(told(&first, 1_000_000).is_empty());
        heard(&mut first, Kind::NotTraded, true, 1, 1_000_000);
        heard(&mut first, Kind::NotTraded, true, 1, 1_060_000);
        heard(&mut first, Kind::Halt, true, 1, 1_060_000);
        let mut second = open(1_070_000);
        assert_eq!(
            told(&second, 1_070_000),
            [(Kind::Halt, true, 10, 1, 1), (Kind::NotTraded, true, 10, 1, 1)]
        );
        heard(&mut second, Kind::NotTraded, true, 2, 1_130_000);
        heard(&mut second, Kind::Halt, false, 1, 1_130_000);
        // By a channel that is slower than the one that told that it is over.
        second.heard(&alert(Kind::Halt, true, 1, 1_120_000), 1_130_000);
        let third = open(1_140_000);
        assert_eq!(
            told(&third, 1_140_000),
            [(Kind::Halt, false, 10, 1, 1), (Kind::NotTraded, true, 10, 2, 2)]
        );
        assert!(told(&open(1_130_000 + 3_600_000), 0).is_empty());
        assert!(told(&open(0), 0).is_empty(), "by a clock that was ahead");
        std::fs::write(folder.path().join(FILE_NAME), "no list").unwrap();
        assert!(told(&open(1_140_000), 0).is_empty());
    }

    #[test]
    fn what_an_older_version_wrote_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let old = r#"[{"kind":"halt","account":"a","stands":true,"at_ms":1000,"starts":3}]"#;
        std::fs::write(folder.path().join(FILE_NAME), old).unwrap();
        let ledger = Ledger::open(folder.path().to_owned(), 2000);
        let told: Vec<_> = ledger.told(2000).map(|told| (told.starts, told.level)).collect();
        assert_eq!(told, [(3, 0)]);
    }
}
