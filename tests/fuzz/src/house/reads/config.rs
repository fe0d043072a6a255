//! Configurations, in JSON and in TOML.

use std::path::PathBuf;
use std::sync::LazyLock;

use tempfile::TempDir;

use super::folder;
use crate::config::{self, Mistakes, Origin, Purpose, Sources};

static FOLDER: LazyLock<TempDir> = LazyLock::new(folder);

/// The first byte says which of the two; the rest is the file.
pub fn configuration(bytes: &[u8]) {
    let Some((which, text)) = bytes.split_first() else {
        return;
    };
    let name = if which % 2 == 0 { "config.json" } else { "config.toml" };
    let path = FOLDER.path().join(name);
    std::fs::write(&path, text).expect("it can be written");
    for purpose in [Purpose::Trade, Purpose::Look] {
        let sources = Sources {
            file: Some(path.clone()),
            ..Sources::default()
        };
        match config::load(&sources, purpose) {
            Ok(loaded) => used(&loaded.config),
            Err(mistakes) => told(&mistakes, &path, text),
        }
    }
}

/// What can be asked of a configuration without any system.
fn used(config: &config::Config) {
    assert!(config.shown().is_object());
    for each in config.each_account().into_iter().flatten() {
        assert!(each.accounts.is_empty(), "an account of its own has no list of accounts");
        let _ = each.gates.rate(true);
        for is_paper in [true, false] {
            let _ = each.gates.resolve(is_paper, None);
        }
    }
}

/// Each mistake says what is expected, and stands in a line that the file has.
fn told(mistakes: &Mistakes, path: &PathBuf, text: &[u8]) {
    assert!(!mistakes.0.is_empty());
    let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
    for mistake in &mistakes.0 {
        assert!(!mistake.expected.is_empty());
        assert!(!mistake.to_string().contains(['\n', '\r', '\x1b']), "{:?}", mistake.to_string());
        if let Origin::File { path: named, line } = &mistake.origin {
            assert_eq!(named, &path.display().to_string());
            assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "{mistake}: {lines} lines");
        }
    }
}
