//! The system's own stores for secrets, as far as they are the same everywhere.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use keyring_core::{Entry, Error};
use zeroize::Zeroizing;

use crate::system::keyring;

/// What entries are filed under.
const SERVICE: &str = "quantTrader";
/// A store may ask a person to unlock it, who may not be there.
const WITHIN: Duration = Duration::from_secs(60);

/// Where secrets are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum StoreKind {
    /// Windows Credential Manager, macOS Keychain, or the Secret Service of a Linux desktop.
    System,
    /// An encrypted file in the data folder, opened by a passphrase.
    File,
    /// The keyring of the Linux kernel, which forgets at a reboot and after three days without use.
    Kernel,
}

impl StoreKind {
    /// As people call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::System => keyring::NAME,
            Self::File => "the encrypted file",
            Self::Kernel => "the kernel's keyring",
        }
    }

    /// As `--store` takes it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::File => "file",
            Self::Kernel => "kernel",
        }
    }
}

/// The system's stores that can be had here, the one that keeps best first.
pub(super) const fn of_system() -> &'static [StoreKind] {
    if keyring::IN_KERNEL {
        &[StoreKind::System, StoreKind::Kernel]
    } else {
        &[StoreKind::System]
    }
}

/// Whether there is one of a kind at all, be it in order or not.
pub(super) fn is_here(kind: StoreKind) -> bool {
    of_system().contains(&kind) && (kind != StoreKind::System || keyring::is_in_session())
}

/// Does something with the entry of an account, and waits no longer than is sensible.
fn with_entry<T: Send + 'static>(
    kind: StoreKind,
    account: &str,
    act: impl FnOnce(&Entry) -> Result<T, Error> + Send + 'static,
) -> Result<Option<T>, String> {
    let account = account.to_owned();
    one_at_a_time(kind, WITHIN, move || {
        let store = match kind {
            StoreKind::Kernel => keyring::of_kernel(),
            _ => keyring::of_session(),
        }?;
        let entry = store.build(SERVICE, &account, None).map_err(|e| words(&e))?;
        match act(&entry) {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoEntry) => Ok(None),
            Err(e) => Err(words(&e)),
        }
    })
}

/// The stores with a question that nobody waits for any more: a dialog may stand on a screen.
static OPEN: Mutex<Vec<StoreKind>> = Mutex::new(Vec::new());

fn open() -> std::sync::MutexGuard<'static, Vec<StoreKind>> {
    // Names are put in and taken out: there is nothing to repair.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks a store on a thread of its own, and waits no longer than this. While a question of before is open, the next one is not
/// asked: each would put another dialog on the screen, and keep another thread.
fn one_at_a_time<T: Send + 'static>(
    kind: StoreKind,
    within: Duration,
    ask: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let locked = |why: &str| format!("{why}; is it locked, and waits for somebody to unlock it?");
    if open().contains(&kind) {
        return Err(locked("it has not answered a question of before"));
    }
    // Whoever waits says that he went, and whoever asked says that it was answered: whichever comes second clears up.
    let is_left = Arc::new(Mutex::new((false, false)));
    let (tell, told) = mpsc::channel();
    let asked = Arc::clone(&is_left);
    std::thread::Builder::new()
        .name("keyring".into())
        .spawn(move || {
            let done = ask();
            tell.send(done).ok();
            let mut fate = asked.lock().unwrap_or_else(PoisonError::into_inner);
            fate.1 = true;
            if fate.0 {
                open().retain(|other| *other != kind);
            }
        })
        .map_err(|e| format!("the system gives no thread: {e}"))?;
    told.recv_timeout(within).unwrap_or_else(|e| {
        let mut fate = is_left.lock().unwrap_or_else(PoisonError::into_inner);
        // A thread that panicked waits for nobody.
        if !fate.1 && e == mpsc::RecvTimeoutError::Timeout {
            fate.0 = true;
            open().push(kind);
        }
        Err(locked(&format!(
            "it has not answered within {} s",
            within.as_secs()
        )))
    })
}

/// What a store said, and never what it holds: some errors carry the content.
fn words(error: &Error) -> String {
    match error {
        Error::PlatformFailure(_)
        | Error::NoStorageAccess(_)
        | Error::TooLong(..)
        | Error::NotSupportedByStore(_)
        | Error::BadStoreFormat(_)
        | Error::Invalid(..) => error.to_string(),
        Error::Ambiguous(_) => "it holds several entries for this backend".to_owned(),
        _ => "what it holds cannot be read".to_owned(),
    }
}

/// What is kept for an account; nothing where nothing is.
///
/// # Errors
///
/// Why the store cannot be used.
pub(super) fn get(kind: StoreKind, account: &str) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    with_entry(kind, account, |entry| entry.get_secret().map(Zeroizing::new))
}

/// Keeps something for an account.
///
/// # Errors
///
/// Why the store cannot be used.
pub(super) fn set(kind: StoreKind, account: &str, content: &[u8]) -> Result<(), String> {
    let content = Zeroizing::new(content.to_vec());
    with_entry(kind, account, move |entry| entry.set_secret(&content)).map(|_| ())
}

/// Forgets what is kept for an account; false where nothing was.
///
/// # Errors
///
/// Why the store cannot be used.
pub(super) fn delete(kind: StoreKind, account: &str) -> Result<bool, String> {
    with_entry(kind, account, Entry::delete_credential).map(|done| done.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A locked store was asked again at every look, each with a dialog and a thread of its own.
    #[test]
    fn a_store_that_has_not_answered_is_not_asked_again_until_it_has() {
        let (unlock, locked) = mpsc::channel::<()>();
        let soon = Duration::from_millis(20);
        let first = one_at_a_time(StoreKind::System, soon, move || {
            locked.recv().ok();
            Ok(1)
        });
        assert!(first.unwrap_err().contains("has not answered within"));
        for _ in 0..3 {
            let again: Result<u8, String> = one_at_a_time(StoreKind::System, soon, || unreachable!());
            assert!(again.unwrap_err().contains("a question of before"));
        }
        // Another store is another question.
        assert_eq!(one_at_a_time(StoreKind::File, WITHIN, || Ok(2)), Ok(2));
        unlock.send(()).unwrap();
        while !open().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(one_at_a_time(StoreKind::System, WITHIN, || Ok(3)), Ok(3));
    }
}
