//! One host per data folder, and thus per account: a lock that a dead process does not keep.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::system;

/// The lock's name within the data folder.
const FILE_NAME: &str = "host.lock";
/// Who holds it stands beside it: on Windows a locked file cannot be read by others.
const HOLDER_NAME: &str = "host.holder";

/// Who only looks whether somebody has the lock holds it for a moment; a host that starts just then must not end for
/// that.
const LOOKS_TO_WAIT_OUT: u32 = 20;
const LOOK: Duration = Duration::from_millis(5);

/// Held as long as this value lives, and at most as long as the process does.
#[derive(Debug)]
pub(crate) struct Lease {
    file: File,
    holder: PathBuf,
}

/// Why the lease cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    /// Another process has it.
    #[error(
        "another qt-host already trades with the data folder {folder} ({holder}); stop it, or give this one another `data_dir`"
    )]
    Held {
        /// The folder.
        folder: String,
        /// What the other process left about itself.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error(
        "the lock {path} cannot be used: {source}; make the data folder writable for your user, or name another with --data-dir"
    )]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Lease {
    /// Takes the lease of `data_dir`, or says who has it.
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    pub(crate) fn take(data_dir: &Path, started_ms: i64) -> Result<Self, LeaseError> {
        let path = data_dir.join(FILE_NAME);
        let io = |source| LeaseError::Io {
            path: system::shown(&path),
            source,
        };
        let mut file = system::private_options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        let holder = data_dir.join(HOLDER_NAME);
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let who = std::fs::read_to_string(&holder)
                    .unwrap_or_else(|_| "which has not said who it is".to_owned());
                return Err(LeaseError::Held {
                    folder: system::shown(data_dir),
                    holder: who.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let since = jiff::Timestamp::from_millisecond(started_ms)
            .map(|at| at.to_string())
            .unwrap_or_default();
        let text = format!("process {} since {since}", std::process::id());
        // The lock tells who trades; a note about a process need not outlive the machine.
        system::replace_passing_file(&holder, text.as_bytes()).map_err(io)?;
        // The lock file itself says so too, for whoever looks there.
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(text.as_bytes()))
            .map_err(io)?;
        Ok(Self { file, holder })
    }

    /// True when some process has the lease of `data_dir`.
    pub(crate) fn is_held(data_dir: &Path) -> bool {
        let Ok(mut file) = File::open(data_dir.join(FILE_NAME)) else {
            return false;
        };
        // On Windows reading a locked file fails; elsewhere the lock itself tells.
        let mut byte = [0u8; 1];
        match file.try_lock_shared() {
            Ok(()) => file.read(&mut byte).is_err(),
            Err(_) => true,
        }
    }
}

/// True when another process than this one has the lease of `data_dir`.
pub(crate) fn is_held_by_another(data_dir: &Path) -> bool {
    let ours = format!("process {} ", std::process::id());
    let is_ours = std::fs::read_to_string(data_dir.join(HOLDER_NAME)).is_ok_and(|who| who.starts_with(&ours));
    !is_ours && Lease::is_held(data_dir)
}

fn lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOOKS_TO_WAIT_OUT {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            other => return other,
        }
    }
    file.try_lock()
}

impl Drop for Lease {
    fn drop(&mut self) {
        std::fs::remove_file(&self.holder).ok();
        self.file.unlock().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_told_who_has_it_and_gets_it_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Lease::is_held(folder.path()));
        let first = Lease::take(folder.path(), 0).unwrap();
        assert!(Lease::is_held(folder.path()));
        let refused = Lease::take(folder.path(), 0).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        drop(first);
        assert!(!Lease::is_held(folder.path()));
        Lease::take(folder.path(), 0).unwrap();
    }

    #[test]
    fn what_this_process_has_is_not_held_by_another() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_held_by_another(folder.path()));
        let lease = Lease::take(folder.path(), 0).unwrap();
        assert!(!is_held_by_another(folder.path()));
        std::fs::write(
            folder.path().join(HOLDER_NAME),
            "process 0 since 1970-01-01T00:00:00Z",
        )
        .unwrap();
        assert!(is_held_by_another(folder.path()));
        drop(lease);
        assert!(!is_held_by_another(folder.path()));
    }

    #[test]
    fn a_look_at_the_lock_does_not_turn_a_starting_host_away() {
        let folder = tempfile::tempdir().unwrap();
        drop(Lease::take(folder.path(), 0).unwrap());
        let looking = File::open(folder.path().join(FILE_NAME)).unwrap();
        looking.try_lock_shared().unwrap();
        let ends = std::thread::spawn(move || {
            std::thread::sleep(LOOK * 4);
            drop(looking);
        });
        Lease::take(folder.path(), 0).unwrap();
        ends.join().unwrap();
    }
}
