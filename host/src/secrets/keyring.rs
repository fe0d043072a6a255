//! The login that is kept: the token, whose it is, and where the user wants it the password for a new one.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::stores::{self, StoreKind};
use super::vault::{self, VaultError};
use crate::config::{Config, Secret};
use crate::system::{self, SystemError};

/// The encrypted file in the host's data folder.
const FILE: &str = "login.enc";
/// The variable with the passphrase of the encrypted file.
pub(crate) const PASSPHRASE: &str = "TRADER_PASSPHRASE";
/// No entry is larger.
const LARGEST: usize = 8192;

/// What is kept for one backend.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The bearer token.
    pub(crate) token: Secret,
    /// The name that logged in.
    pub(crate) username: Option<String>,
    /// The password, where a new login may be made without a person.
    pub(crate) password: Option<Secret>,
    /// The backend's id of the user.
    pub(crate) user_id: Option<String>,
    /// When it was kept: milliseconds since 1970 (UTC).
    pub(crate) at_ms: i64,
}

impl Kept {
    /// What a new login needs, where it is kept.
    pub(crate) fn credentials(&self) -> Option<(&str, &Secret)> {
        Some((self.username.as_deref()?, self.password.as_ref()?))
    }

    fn to_bytes(&self, backend: &str) -> Zeroizing<Vec<u8>> {
        let row = RowOut {
            backend,
            token: self.token.expose(),
            username: self.username.as_deref(),
            password: self.password.as_ref().map(Secret::expose),
            user_id: self.user_id.as_deref(),
            at_ms: self.at_ms,
        };
        // As large as it may become at once: a buffer that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST));
        // Writing texts and a number into memory does not fail.
        serde_json::to_writer(&mut *bytes, &row).ok();
        bytes
    }
}

#[derive(Serialize)]
struct RowOut<'a> {
    backend: &'a str,
    token: &'a str,
    username: Option<&'a str>,
    password: Option<&'a str>,
    user_id: Option<&'a str>,
    at_ms: i64,
}

#[derive(Deserialize)]
struct RowIn {
    backend: String,
    token: String,
    username: Option<String>,
    password: Option<String>,
    user_id: Option<String>,
    at_ms: i64,
}

/// Why a login cannot be kept or found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyringError {
    /// No store can be used.
    #[error(
        "this system offers no place for a login: {why}. Give the encrypted file in the data folder a passphrase, in \
         {PASSPHRASE} or in a file that `passphrase_file` names{kernel}",
        kernel = if system::keyring::IN_KERNEL { "; or say --store kernel, which forgets at a reboot" } else { "" }
    )]
    NoPlace {
        /// What each said.
        why: String,
    },
    /// A named store cannot be used.
    #[error("{} cannot be used: {why}", .kind.name())]
    Store {
        /// Which.
        kind: StoreKind,
        /// What it said.
        why: String,
    },
    /// A store that may hold the login does not answer.
    #[error(
        "{} may hold the login and cannot be asked at the moment: {why}. If it is not up yet, that passes by itself; if no \
         login was ever kept, run `qt-host login`",
        .kind.name()
    )]
    NotNow {
        /// Which.
        kind: StoreKind,
        /// What it said.
        why: String,
    },
    /// The encrypted file is there and the passphrase is not.
    #[error(
        "{file} holds the login and needs its passphrase: give it in {PASSPHRASE}, or in a file that `passphrase_file` names"
    )]
    NoPassphrase {
        /// The file.
        file: String,
    },
    /// The passphrase's file.
    #[error("`passphrase_file` {0}")]
    PassphraseFile(String),
    /// The encrypted file does not open.
    #[error(
        "{file} cannot be opened: {why}; give the right passphrase, or run `qt-host logout` and `qt-host login` again"
    )]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: VaultError,
    },
    /// The encrypted file cannot be read or written.
    #[error("{file}: {why}")]
    Io {
        /// The file.
        file: String,
        /// What the system said.
        why: io::Error,
    },
    /// An entry that is not one of ours.
    #[error("what {} holds for {backend} is not a login of qt-host's; run `qt-host logout` and `qt-host login` again", .kind.name())]
    Foreign {
        /// Where.
        kind: StoreKind,
        /// For which backend.
        backend: String,
    },
    /// The encrypted file is another backend's.
    #[error(
        "{file} holds the login for {other}, and `api_base_url` is {backend}; give each backend a `data_dir` of its own"
    )]
    OtherBackend {
        /// The file.
        file: String,
        /// Whose login it is.
        other: String,
        /// What the configuration says.
        backend: String,
    },
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] SystemError),
}

/// The places where the login for one backend is kept.
#[derive(Debug, Clone)]
pub(crate) struct Keyring {
    backend: String,
    folder: PathBuf,
    passphrase_file: Option<PathBuf>,
    /// What a person typed in.
    typed: Option<Secret>,
}

impl Keyring {
    /// That of a backend, as a configuration has it.
    ///
    /// # Errors
    ///
    /// The system names no data folder.
    pub(crate) fn of(config: &Config, backend: &str) -> Result<Self, SystemError> {
        Ok(Self {
            backend: backend.to_owned(),
            folder: config.home_dir()?,
            passphrase_file: config.passphrase_file.clone(),
            typed: None,
        })
    }

    /// That of a backend with its file in a folder.
    #[cfg(test)]
    pub(crate) fn in_folder(folder: &Path, backend: &str) -> Self {
        Self {
            backend: backend.to_owned(),
            folder: folder.to_owned(),
            passphrase_file: None,
            typed: None,
        }
    }

    /// With a passphrase that a person typed in.
    pub(crate) fn typed(mut self, passphrase: Secret) -> Self {
        self.typed = Some(passphrase);
        self
    }

    /// The encrypted file, whether it is there or not.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Whether a passphrase is given, be it the right one or not.
    pub(crate) fn has_passphrase(&self) -> bool {
        self.typed.is_some()
            || self.passphrase_file.is_some()
            || std::env::var_os(PASSPHRASE).is_some_and(|text| !text.is_empty())
    }

    fn passphrase(&self) -> Result<Secret, KeyringError> {
        if let Some(typed) = &self.typed {
            return Ok(typed.clone());
        }
        let none = || KeyringError::NoPassphrase {
            file: system::shown(&self.file()),
        };
        if let Some(path) = &self.passphrase_file {
            let text = super::read_small(path).map_err(KeyringError::PassphraseFile)?;
            let line = text.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                return Err(KeyringError::PassphraseFile(format!(
                    "names the file {}, which is empty",
                    system::shown(path)
                )));
            }
            return Ok(Secret::new(line.to_owned()));
        }
        match std::env::var(PASSPHRASE) {
            Ok(text) if !text.is_empty() => Ok(Secret::new(text)),
            _ => Err(none()),
        }
    }

    /// What is kept, and where; nothing where nothing is. Of several the newest counts: a store that did not answer while
    /// another one took a new login still has the old one.
    ///
    /// # Errors
    ///
    /// Nothing was found, and a place holds something that cannot be read, or the system's store did not answer. A place
    /// that is not there at all holds nothing.
    pub(crate) fn read(&self) -> Result<Option<(Kept, StoreKind)>, KeyringError> {
        self.newest(|kind| match kind {
            StoreKind::File => self.read_file(),
            _ if !stores::is_here(kind) => Ok(None),
            _ => match stores::get(kind, &self.backend) {
                Ok(found) => Ok(found),
                // The kernel's is no place of its own: where it is forbidden, it always is.
                Err(_) if kind == StoreKind::Kernel => Ok(None),
                Err(why) => Err(KeyringError::NotNow { kind, why }),
            },
        })
    }

    fn newest(
        &self,
        get: impl Fn(StoreKind) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError>,
    ) -> Result<Option<(Kept, StoreKind)>, KeyringError> {
        let (mut newest, mut trouble): (Option<(Kept, StoreKind)>, _) = (None, None);
        // What a place that is asked holds says more than that another one is locked.
        for kind in [StoreKind::File, StoreKind::Kernel, StoreKind::System] {
            let found = get(kind).and_then(|bytes| bytes.map(|bytes| self.parse(&bytes, kind)).transpose());
            match found {
                Ok(Some(kept)) => {
                    if newest.as_ref().is_none_or(|(best, _)| best.at_ms <= kept.at_ms) {
                        newest = Some((kept, kind));
                    }
                }
                Ok(None) => {}
                Err(e) => trouble = trouble.or(Some(e)),
            }
        }
        match (newest, trouble) {
            (Some(found), _) => Ok(Some(found)),
            (None, Some(e)) => Err(e),
            (None, None) => Ok(None),
        }
    }

    fn read_file(&self) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
        let path = self.file();
        let file = system::shown(&path);
        let sealed = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(KeyringError::Io { file, why }),
        };
        let passphrase = self.passphrase()?;
        vault::open(&sealed, passphrase.expose())
            .map(Some)
            .map_err(|why| KeyringError::File { file, why })
    }

    fn parse(&self, bytes: &[u8], kind: StoreKind) -> Result<Kept, KeyringError> {
        let row: RowIn = serde_json::from_slice(bytes).map_err(|_| KeyringError::Foreign {
            kind,
            backend: self.backend.clone(),
        })?;
        let kept = Kept {
            token: Secret::new(row.token),
            username: row.username,
            password: row.password.map(Secret::new),
            user_id: row.user_id,
            at_ms: row.at_ms,
        };
        if row.backend != self.backend {
            return Err(KeyringError::OtherBackend {
                file: system::shown(&self.file()),
                other: row.backend,
                backend: self.backend.clone(),
            });
        }
        Ok(kept)
    }

    /// Keeps a login in one place, and nowhere else. A place that cannot be cleared now keeps an older one, which never counts
    /// beside this.
    ///
    /// # Errors
    ///
    /// No place takes it; what was kept before is as it was.
    pub(crate) fn write(&self, kept: &Kept, wanted: Option<StoreKind>) -> Result<StoreKind, KeyringError> {
        let bytes = kept.to_bytes(&self.backend);
        let kind = match wanted {
            Some(kind) => {
                self.put(kind, &bytes)?;
                kind
            }
            None => self.put_somewhere(&bytes)?,
        };
        for other in [StoreKind::System, StoreKind::File, StoreKind::Kernel] {
            if other != kind {
                self.forget(other).ok();
            }
        }
        Ok(kind)
    }

    fn put_somewhere(&self, bytes: &[u8]) -> Result<StoreKind, KeyringError> {
        let first = match self.put(StoreKind::System, bytes) {
            Ok(()) => return Ok(StoreKind::System),
            Err(e) => e,
        };
        if self.has_passphrase() {
            self.put(StoreKind::File, bytes)?;
            return Ok(StoreKind::File);
        }
        Err(KeyringError::NoPlace {
            why: first.to_string(),
        })
    }

    fn put(&self, kind: StoreKind, bytes: &[u8]) -> Result<(), KeyringError> {
        if kind == StoreKind::File {
            return self.put_file(bytes);
        }
        if !stores::of_system().contains(&kind) {
            let why = "this system has none".to_owned();
            return Err(KeyringError::Store { kind, why });
        }
        stores::set(kind, &self.backend, bytes).map_err(|why| KeyringError::Store { kind, why })
    }

    fn put_file(&self, bytes: &[u8]) -> Result<(), KeyringError> {
        let path = self.file();
        let file = system::shown(&path);
        let passphrase = self.passphrase()?;
        let sealed = vault::seal(bytes, passphrase.expose()).map_err(|why| KeyringError::File {
            file: file.clone(),
            why,
        })?;
        system::create_private_dir(&self.folder)?;
        system::replace_file(&path, &sealed).map_err(|why| KeyringError::Io { file, why })
    }

    /// Forgets the login everywhere: the places where one was.
    ///
    /// # Errors
    ///
    /// A place keeps it all the same.
    pub(crate) fn delete(&self) -> Result<Vec<StoreKind>, KeyringError> {
        let mut done = Vec::new();
        for kind in [StoreKind::System, StoreKind::File, StoreKind::Kernel] {
            if self.forget(kind)? {
                done.push(kind);
            }
        }
        Ok(done)
    }

    fn forget(&self, kind: StoreKind) -> Result<bool, KeyringError> {
        if kind == StoreKind::File {
            return remove(&self.file()).map_err(|why| KeyringError::Io {
                file: system::shown(&self.file()),
                why,
            });
        }
        if !stores::of_system().contains(&kind) {
            return Ok(false);
        }
        // A store that cannot be reached holds nothing that anybody here could use.
        Ok(stores::delete(kind, &self.backend).unwrap_or(false))
    }
}

fn remove(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(folder: &Path, backend: &str, passphrase: &str) -> Keyring {
        Keyring::in_folder(folder, backend).typed(Secret::new(passphrase.to_owned()))
    }

    fn kept() -> Kept {
        Kept {
            token: Secret::new("aaa.bbb.ccc".to_owned()),
            username: Some("wang".to_owned()),
            password: Some(Secret::new("pass\"wörd".to_owned())),
            user_id: Some("u-1".to_owned()),
            at_ms: 5,
        }
    }

    #[test]
    fn a_login_comes_back_from_the_encrypted_file_and_from_no_other_backends() {
        let folder = tempfile::tempdir().unwrap();
        // No other test uses this address, so that no store of this machine holds anything for it.
        let address = "https://keyring.test.invalid/api";
        let ring = |backend: &str, passphrase: &str| ring(folder.path(), backend, passphrase);
        assert!(ring(address, "p").read_file().unwrap().is_none());
        ring(address, "p").put_file(&kept().to_bytes(address)).unwrap();
        let bytes = ring(address, "p").read_file().unwrap().unwrap();
        let back = ring(address, "p").parse(&bytes, StoreKind::File).unwrap();
        assert_eq!(back.token.expose(), "aaa.bbb.ccc");
        let (name, password) = back.credentials().unwrap();
        assert_eq!((name, password.expose()), ("wang", "pass\"wörd"));
        let said = [
            ring(address, "q").read_file().unwrap_err().to_string(),
            ring("https://b/api", "p")
                .parse(&bytes, StoreKind::File)
                .unwrap_err()
                .to_string(),
            ring(address, "p")
                .parse(b"{}", StoreKind::System)
                .unwrap_err()
                .to_string(),
        ];
        assert!(said[0].contains("passphrase is another one"), "{said:?}");
        assert!(
            said[1].contains("holds the login for https://keyring.test.invalid/api"),
            "{said:?}"
        );
        assert!(said[2].contains("is not a login of qt-host's"), "{said:?}");
        assert!(
            said.iter()
                .all(|text| !text.contains("aaa") && !text.contains("wörd"))
        );
        let debug = format!("{back:?}");
        assert!(!debug.contains("aaa") && !debug.contains("wörd"), "{debug}");
    }

    /// The desktop's store was locked while a new login went into the file; once it was unlocked, the old one counted.
    #[test]
    fn the_newest_login_counts_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let address = "https://keyring.test.invalid/api";
        let ring = ring(folder.path(), address, "p");
        let held = |at_ms: i64| Kept { at_ms, ..kept() }.to_bytes(address);
        let found = |system: Option<i64>, file: Option<i64>, kernel: Option<i64>| {
            let found = ring.newest(|kind| {
                let at_ms = match kind {
                    StoreKind::System => system,
                    StoreKind::File => file,
                    StoreKind::Kernel => kernel,
                };
                Ok(at_ms.map(held))
            });
            found.unwrap().map(|(kept, kind)| (kept.at_ms, kind))
        };
        assert_eq!(found(Some(5), Some(7), None), Some((7, StoreKind::File)));
        assert_eq!(found(Some(8), Some(7), Some(9)), Some((9, StoreKind::Kernel)));
        assert_eq!(found(Some(8), Some(7), None), Some((8, StoreKind::System)));
        assert_eq!(found(Some(5), Some(5), Some(5)), Some((5, StoreKind::System)));
        assert_eq!(found(None, None, None), None);
        let locked = || KeyringError::NotNow {
            kind: StoreKind::System,
            why: "locked".to_owned(),
        };
        let read = |has_file: bool| {
            ring.newest(|kind| match kind {
                StoreKind::System => Err(locked()),
                StoreKind::File if has_file => Ok(Some(held(7))),
                _ => Ok(None),
            })
        };
        assert_eq!(read(true).unwrap().map(|(kept, _)| kept.at_ms), Some(7));
        assert!(matches!(read(false), Err(KeyringError::NotNow { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn the_encrypted_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let ring = ring(folder.path(), "https://b/api", "p");
        ring.put_file(b"{}").unwrap();
        let mode = std::fs::metadata(ring.file()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }
}
