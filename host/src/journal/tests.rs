//! The rows of a journal, changed behind its back.

use std::path::Path;

use qt_core::{ClientOrderId, Report, ReportBody, Trader, UtcMillis};
use rusqlite::Connection;

use super::{Batch, Journal, JournalError, OutboxReader, ReportState, export, verify};

const NOW: UtcMillis = UtcMillis(1_795_536_000_000);

/// A journal with three reports: one waits, one is dead, one is delivered.
fn with_reports(path: &Path) -> Journal {
    let (mut journal, _) = Journal::open(path, None).unwrap();
    let order = ClientOrderId::derive("account", &"S1".into(), 0);
    let report = |step: &str| Report {
        order,
        signal: "S1".into(),
        step: step.into(),
        body: ReportBody::Failed {
            last_error: "filled 300".into(),
        },
    };
    let digest = Trader::new().digest();
    let batches = [
        Batch {
            reports: ["a", "b", "c"].map(report).to_vec(),
            ..Batch::default()
        },
        Batch {
            posted: vec![3],
            dead: vec![(2, "422".into())],
            ..Batch::default()
        },
    ];
    for batch in batches {
        journal.commit(NOW, &batch, digest).unwrap();
    }
    journal
}

fn change(path: &Path, sql: &str) {
    assert_eq!(Connection::open(path).unwrap().execute(sql, []).unwrap(), 1);
}

fn is_of_report(error: &JournalError, id: i64) -> bool {
    let text = error.to_string();
    error.is_damage() && text.contains(&format!("report {id} does not fit its check sum"))
}

const FLIPS: [&str; 3] = [
    "body = replace(body, '300', '900')",
    "edited = '{}'",
    "order_id = 'OTHER'",
];

#[test]
fn a_flipped_digit_in_a_report_is_found_by_verify_and_by_a_start_before_it_is_posted() {
    let folder = tempfile::tempdir().unwrap();
    for (case, (flip, id)) in FLIPS.iter().flat_map(|flip| [(flip, 1), (flip, 2)]).enumerate() {
        let path = folder.path().join(format!("{case}.db"));
        let journal = with_reports(&path);
        change(&path, &format!("UPDATE outbox SET {flip} WHERE id = {id}"));
        let reader = OutboxReader::open(&path).unwrap();
        if id == 1 {
            // The damaged one is told, and holds up no other.
            let waiting = reader.waiting(0, 9).unwrap();
            let damaged: Vec<_> = waiting.damaged.iter().map(|(id, _)| *id).collect();
            assert_eq!(damaged, [1], "{flip}");
            assert!(waiting.items.iter().all(|item| item.id != 1), "{flip}");
        }
        assert!(is_of_report(&reader.get(id).unwrap_err(), id), "{flip}");
        assert!(is_of_report(&verify(&path).unwrap_err(), id), "{flip}");
        drop((journal, reader));
        assert!(
            is_of_report(&Journal::open(&path, None).unwrap_err(), id),
            "{flip}"
        );
    }
}

#[test]
fn a_delivered_report_that_was_changed_is_found_by_verify_and_by_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    drop(with_reports(&path));
    change(
        &path,
        "UPDATE outbox SET body = replace(body, '300', '900') WHERE id = 3",
    );
    assert!(is_of_report(&Journal::open(&path, None).unwrap_err(), 3));
    assert!(is_of_report(&verify(&path).unwrap_err(), 3));
}

#[test]
fn a_dead_letter_that_is_set_free_fits_its_new_body_and_a_damaged_one_stays_dead() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut journal = with_reports(&path);
    let mut retry = |edited: Option<&str>| {
        let batch = Batch {
            retried: vec![(2, edited.map(str::to_owned))],
            ..Batch::default()
        };
        journal.commit(NOW, &batch, 0).unwrap();
    };
    let reader = OutboxReader::open(&path).unwrap();
    retry(Some("{\"fixed\": 1}"));
    assert_eq!(
        reader.waiting(1, 9).unwrap().items[0].edited.as_deref(),
        Some("{\"fixed\": 1}")
    );
    verify(&path).unwrap();
    change(
        &path,
        "UPDATE outbox SET state = 2, edited = '{\"fixed\": 2}' WHERE id = 2",
    );
    retry(None);
    // What the first one would have hidden waits behind it.
    let waiting = reader.waiting(1, 9).unwrap().items;
    assert!(waiting.iter().all(|item| item.id != 2), "{waiting:?}");
    assert!(is_of_report(
        &reader.list(&[ReportState::Dead], 9).unwrap_err(),
        2
    ));
}

#[test]
fn a_journal_of_another_format_is_refused_and_can_be_exported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    drop(with_reports(&path));
    for format in [1, 2, 3, 5] {
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", format)
            .unwrap();
        for error in [
            Journal::open(&path, None).unwrap_err(),
            OutboxReader::open(&path).unwrap_err(),
            verify(&path).unwrap_err(),
        ] {
            assert!(matches!(error, JournalError::OtherFormat { found, .. } if found == format));
            let text = error.to_string();
            assert!(
                text.contains(&format!("has format {format}")) && text.contains("format 4 alone"),
                "{text}"
            );
        }
        let mut saved = Vec::new();
        let (lines, lost) = export(&path, &mut saved).unwrap();
        assert_eq!((lines, lost.len()), (4, 0));
    }
}

#[test]
fn a_dead_letter_that_comes_late_is_followed_by_what_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let (mut journal, _) = Journal::open(&path, None).unwrap();
    let report = |step: &str| Report {
        order: ClientOrderId::derive("account", &"S1".into(), 0),
        signal: "S1".into(),
        step: step.into(),
        body: ReportBody::Failed {
            last_error: step.into(),
        },
    };
    let made = Batch {
        reports: ["early", "middle", "late"].map(report).to_vec(),
        ..Batch::default()
    };
    assert_eq!(journal.commit(NOW, &made, 0).unwrap(), 0);
    let done = Batch {
        posted: vec![2, 3],
        dead: vec![(1, "422".into())],
        ..Batch::default()
    };
    assert_eq!(journal.commit(NOW, &done, 0).unwrap(), 0);
    let free = Batch {
        retried: vec![(1, None)],
        ..Batch::default()
    };
    assert_eq!(
        journal.commit(NOW, &free, 0).unwrap(),
        1,
        "the count of what waits"
    );
    let reader = OutboxReader::open(&path).unwrap();
    let waiting = reader.waiting(0, 9).unwrap().items;
    let steps: Vec<_> = waiting.iter().map(|item| item.report.step.as_str()).collect();
    // The backend hears the early one, and then once more the one that holds, which has a key of its own.
    assert_eq!(steps, ["early", "late-again-1.1"]);
    assert_eq!(waiting[0].order_id, waiting[1].order_id);
    assert_eq!(waiting[1].report.body, report("late").body);
    // A second time changes nothing: the letter is dead no more.
    assert_eq!(journal.commit(NOW, &free, 0).unwrap(), 0);
    verify(&path).unwrap();
}
