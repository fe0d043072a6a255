//! The one place at an account: held by each session of the plugin, from before it opens until it is freed, so that the
//! worker of a host that was killed and the one of its successor never speak to the broker at the same time, and nor do
//! two sessions within one host, whichever lanes they run in.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::system;

const LOCK: &str = "worker.lock";
/// Who holds it stands beside it: on Windows a locked file cannot be read by others.
const HOLDER: &str = "worker.holder";
/// A worker whose host is gone ends within two seconds, and one that hangs is worth a message.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// The place in a plugin's folder, once taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    data_dir: PathBuf,
    held: Mutex<Option<File>>,
}

impl Seat {
    /// The place in `data_dir`, not taken yet.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            held: Mutex::new(None),
        }
    }

    /// Takes it, if it is not held already by this value; waits for whoever has it at most `patience`.
    ///
    /// # Errors
    ///
    /// Says who has it, and what to do.
    pub(crate) fn take(&self, patience: Duration) -> Result<(), String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(lock(&self.data_dir, patience)?);
        }
        Ok(())
    }
}

fn lock(data_dir: &Path, patience: Duration) -> Result<File, String> {
    let path = data_dir.join(LOCK);
    let shown = system::shown(&path);
    let io = |e: std::io::Error| {
        format!("the lock {shown} cannot be used: {e}; make its folder writable for your user")
    };
    let file = system::private_options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io)?;
    let holder = data_dir.join(HOLDER);
    let until = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOOK),
            Err(TryLockError::WouldBlock) => {
                let who = std::fs::read_to_string(&holder).unwrap_or_default();
                return Err(taken(who.trim(), &shown, patience));
            }
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
    }
    system::replace_file(&holder, own_name().as_bytes()).map_err(io)?;
    Ok(file)
}

fn own_name() -> String {
    format!("process {}", std::process::id())
}

fn taken(who: &str, lock: &str, patience: Duration) -> String {
    let held = format!("has held {lock} for {} s", patience.as_secs());
    if who == own_name() {
        return format!(
            "the plugin's session before this one still lives in this process and {held}; a call of it has not come back, and in this process it cannot be ended: start the host again to be rid of it"
        );
    }
    format!(
        "another process ({who}) still runs this plugin on this account and {held}; two at once could place an order twice, so end that process first"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_second_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let first = Seat::new(folder.path());
        first.take(Duration::ZERO).unwrap();
        first.take(Duration::ZERO).unwrap();
        let second = Seat::new(folder.path());
        let refused = second.take(Duration::from_millis(30)).unwrap_err();
        assert!(
            refused.contains("lives in this process") && refused.contains("start the host again"),
            "{refused}"
        );
        std::fs::write(folder.path().join(HOLDER), "process 4711").unwrap();
        let refused = second.take(Duration::ZERO).unwrap_err();
        assert!(refused.contains("another process (process 4711)"), "{refused}");
        let waiting = std::thread::spawn(move || second.take(Duration::from_secs(20)));
        drop(first);
        waiting.join().unwrap().unwrap();
    }
}
