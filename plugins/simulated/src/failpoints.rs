//! Points at which a test ends this process at once, as `kill -9` would, or has the disk full. Nothing of it is in a release.

/// Reads the environment's `FAILPOINTS`, once a process.
#[cfg(feature = "failpoints")]
pub(crate) fn setup() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // The scenario would clear the points when it is dropped, so it is kept for the life of the process.
    ONCE.call_once(|| std::mem::forget(fail::FailScenario::setup()));
}

#[cfg(not(feature = "failpoints"))]
pub(crate) fn setup() {}

/// Passes the point `name`; the action `return` ends the process there.
#[cfg(feature = "failpoints")]
pub(crate) fn pass(name: &str) {
    fail::fail_point!(name, |_| die());
}

#[cfg(not(feature = "failpoints"))]
pub(crate) fn pass(_name: &str) {}

/// The error of a full disk, where a test wishes for one.
#[cfg(feature = "failpoints")]
pub(crate) fn full() -> std::io::Result<()> {
    fail::fail_point!("sim-ledger-full", |_| Err(std::io::ErrorKind::StorageFull.into()));
    Ok(())
}

#[cfg(not(feature = "failpoints"))]
pub(crate) const fn full() -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
fn die() {
    #[cfg(unix)]
    {
        use rustix::process::{Signal, getpid, kill_process};
        let _ = kill_process(getpid(), Signal::KILL);
    }
    // Where there is no such signal, an abort is the nearest thing: no destructor runs, no buffer is flushed.
    std::process::abort();
}
