//! Journals that anything may have happened to, and what people keep in files: books and signals.

use std::path::Path;
use std::sync::LazyLock;

use tempfile::TempDir;

use super::folder;
use crate::journal::{self, Fact, JournalError};
use crate::{book, paper};

static FOLDER: LazyLock<TempDir> = LazyLock::new(folder);

/// The first byte says what the rest is.
pub fn journals(bytes: &[u8]) {
    let Some((what, bytes)) = bytes.split_first() else {
        return;
    };
    match what % 6 {
        0 => database(bytes),
        1 => facts(bytes),
        2 => order(bytes),
        3 => own_book("book.json", bytes),
        4 => own_book("book.csv", bytes),
        _ => signals(bytes),
    }
}

fn put(name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = FOLDER.path().join(name);
    std::fs::write(&path, bytes).expect("it can be written");
    path
}

/// What is read of the file ends well or says what is wrong, and what can be saved is JSON, line by line.
fn database(bytes: &[u8]) {
    let path = put(journal::FILE_NAME, bytes);
    let loaded = journal::load(&path);
    let verified = journal::verify(&path);
    if let Ok(found) = &verified {
        let loaded = loaded.as_ref().expect("what is whole can be loaded");
        assert!(loaded.trader.orders().count() <= found.orders as usize || found.orders == 0);
    }
    for error in [loaded.err(), verified.err()].into_iter().flatten() {
        assert!(!error.to_string().is_empty());
    }
    let mut saved = Vec::new();
    match journal::export(&path, &mut saved) {
        Ok((lines, _)) => {
            let text = String::from_utf8(saved).expect("it is text");
            assert_eq!(text.lines().count() as u64, lines);
            for line in text.lines() {
                serde_json::from_str::<serde_json::Value>(line).expect("each line is JSON");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    unchanged(&path, bytes);
}

/// Looking changes nothing: what is damaged may be all that is left.
fn unchanged(path: &Path, bytes: &[u8]) {
    assert!(std::fs::read(path).expect("it is still there") == bytes, "the journal was changed by looking");
}

/// Facts are read as they are written.
fn facts(bytes: &[u8]) {
    if let Ok(facts) = serde_json::from_slice::<Vec<Fact>>(bytes) {
        let written = serde_json::to_vec(&facts).expect("they can be written");
        assert_eq!(serde_json::from_slice::<Vec<Fact>>(&written).expect("and read"), facts);
    }
}

/// An order as it is packed in the journal.
fn order(bytes: &[u8]) {
    if let Some(order) = qt_core::unpack(bytes) {
        let packed = postcard::to_allocvec(&order).expect("it can be packed");
        assert_eq!(qt_core::unpack(&packed).as_ref(), Some(&order));
        serde_json::to_value(&order).expect("it can be shown");
    }
}

fn own_book(name: &str, bytes: &[u8]) {
    match book::read(&put(name, bytes)) {
        Ok(book) => assert!(book.positions.iter().all(|position| position.total >= 0)),
        Err(book::BookError::File { reason, .. }) => assert!(!reason.contains(['\n', '\x1b']), "{reason:?}"),
    }
}

fn signals(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match paper::signals::of_text(text) {
        Ok((signals, _)) => assert!(signals.is_sorted_by_key(|signal| signal.created_at)),
        Err(error) => {
            let lines = 1 + text.matches('\n').count();
            assert!((1..=lines).contains(&error.line) && !error.what.contains(['\n', '\x1b']), "{error:?}");
        }
    }
}
