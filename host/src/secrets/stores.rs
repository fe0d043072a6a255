//! The system's own stores for secrets, as far as they are the same everywhere.

use std::sync::mpsc;
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
    let (tell, told) = mpsc::channel();
    std::thread::Builder::new()
        .name("keyring".into())
        .spawn(move || {
            let store = match kind {
                StoreKind::Kernel => keyring::of_kernel(),
                _ => keyring::of_session(),
            };
            let done = store.and_then(|store| {
                let entry = store.build(SERVICE, &account, None).map_err(|e| words(&e))?;
                match act(&entry) {
                    Ok(value) => Ok(Some(value)),
                    Err(Error::NoEntry) => Ok(None),
                    Err(e) => Err(words(&e)),
                }
            });
            tell.send(done).ok();
        })
        .map_err(|e| format!("the system gives no thread: {e}"))?;
    told.recv_timeout(WITHIN).unwrap_or_else(|_| {
        Err(format!(
            "it has not answered within {} s; is it locked, and waits for somebody to unlock it?",
            WITHIN.as_secs()
        ))
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
