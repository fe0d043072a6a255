//! What must be true of any bytes.

mod answers;
mod config;
mod journal;
mod messages;

pub use answers::answers;
pub use config::configuration;
pub use journal::journals;
pub use messages::messages;

use std::path::PathBuf;

use tempfile::TempDir;

/// A folder for what is read from files: in memory where the system has such a place.
fn folder() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a folder can be made")
}

/// A person can read it as one line, and it is not the whole input again.
fn one_line(text: &str) {
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
    assert!(text.chars().count() < 2_000, "{text}");
}
