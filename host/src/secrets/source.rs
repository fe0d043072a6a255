//! Where the running host's token comes from, looked at again while it runs.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::{Kept, Keyring, KeyringError, StoreKind, at_place};
use crate::config::{ApiToken, Config, Purpose, Secret, Sources, load};
use crate::system;

/// How a file was when it was read: another length or time means another content.
type Stamp = (u64, Option<SystemTime>);

/// A token, and whether a new one can be had without a person.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The token.
    pub(crate) token: Secret,
    /// A password for a new login is kept with it.
    pub(crate) can_log_in: bool,
}

/// The place, and what was last seen there.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    place: ApiToken,
    /// The configuration that holds the token itself.
    config: Option<PathBuf>,
    keyring: Keyring,
    kind: Option<StoreKind>,
    stamp: Option<Stamp>,
    seen: [u8; 32],
    /// When the login in force was made, where it could not be kept: what lies in the keyring then is older.
    not_kept_ms: Option<i64>,
    /// When the login was kept that was read last.
    kept_at_ms: i64,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoToken {
    /// A person has to do something.
    #[error("{0}")]
    Wrong(String),
    /// It may be there at the next try.
    #[error("`api_token` is \"keyring\": {0}")]
    NotNow(String),
}

impl From<KeyringError> for NoToken {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::NotNow { .. } => Self::NotNow(error.to_string()),
            _ => Self::Wrong(error.to_string()),
        }
    }
}

/// Finds the token that a configuration means.
///
/// # Errors
///
/// Where nothing usable lies, and what to do.
pub(crate) fn open(config: &Config, backend: &str, place: &ApiToken) -> Result<(Source, Found), NoToken> {
    let mut source = Source {
        place: place.clone(),
        config: config.file.clone().filter(|file| says_token(file)),
        keyring: Keyring::of(config, backend).map_err(|e| NoToken::Wrong(e.to_string()))?,
        kind: None,
        stamp: None,
        seen: [0; 32],
        not_kept_ms: None,
        kept_at_ms: 0,
    };
    source.stamp = source.stamp_now();
    let found = match place {
        ApiToken::Keyring => source.read_keyring()?,
        place => {
            let token = at_place(place).map_err(|why| NoToken::Wrong(format!("`api_token` {why}")))?;
            source.seen = fingerprint(&token, None);
            Found {
                token,
                can_log_in: false,
            }
        }
    };
    Ok((source, found))
}

/// Whether a configuration file gives the token itself; else it came from the environment.
fn says_token(file: &Path) -> bool {
    matches!(token_of(file), Some(ApiToken::Literal(_)))
}

fn token_of(file: &Path) -> Option<ApiToken> {
    let sources = Sources {
        file: Some(file.to_owned()),
        ..Sources::default()
    };
    load(&sources, Purpose::Look).ok()?.config.api_token
}

fn stamp_of(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.len(), metadata.modified().ok()))
}

impl Source {
    /// One that is tied to nothing but a keyring.
    #[cfg(test)]
    pub(crate) fn of_keyring(keyring: Keyring) -> (Self, Found) {
        let mut source = Self {
            place: ApiToken::Keyring,
            config: None,
            stamp: stamp_of(&keyring.file()),
            keyring,
            kind: None,
            seen: [0; 32],
            not_kept_ms: None,
            kept_at_ms: 0,
        };
        let found = source.read_keyring().unwrap();
        (source, found)
    }

    /// One that is tied to nothing but a file.
    #[cfg(test)]
    pub(crate) fn of_file(path: &Path) -> (Self, Found) {
        let place = ApiToken::File(path.to_owned());
        let token = at_place(&place).unwrap();
        let source = Self {
            place,
            config: None,
            stamp: stamp_of(path),
            keyring: Keyring::in_folder(path.parent().unwrap(), "http://file/api"),
            kind: None,
            seen: fingerprint(&token, None),
            not_kept_ms: None,
            kept_at_ms: 0,
        };
        let can_log_in = false;
        (source, Found { token, can_log_in })
    }

    /// What was put there since the last look; nothing where nothing was. A place that is being written, or was emptied,
    /// has nothing new.
    pub(crate) fn look(&mut self) -> Option<Found> {
        let stamp = self.stamp_now();
        let is_file = self.file().is_some_and(|file| file.exists());
        if is_file && stamp == self.stamp {
            return None;
        }
        let seen = self.seen;
        let found = match &self.place {
            ApiToken::Variable(_) => return None,
            ApiToken::Keyring => {
                let found = self.read_keyring().ok()?;
                if self.not_kept_ms.is_some_and(|made_ms| self.kept_at_ms < made_ms) {
                    self.stamp = stamp;
                    return None;
                }
                self.not_kept_ms = None;
                found
            }
            place @ ApiToken::File(_) => Found {
                token: at_place(place).ok()?,
                can_log_in: false,
            },
            ApiToken::Literal(_) => {
                let Some(ApiToken::Literal(token)) = token_of(self.config.as_deref()?) else {
                    return None;
                };
                Found {
                    token,
                    can_log_in: false,
                }
            }
        };
        self.stamp = stamp;
        if !matches!(self.place, ApiToken::Keyring) {
            self.seen = fingerprint(&found.token, None);
        }
        (self.seen != seen).then_some(found)
    }

    /// Whether a look costs next to nothing: it is a file's, whose time is asked for.
    pub(crate) fn is_cheap(&self) -> bool {
        !matches!(self.place, ApiToken::Keyring)
            || self.kind == Some(StoreKind::File)
            || self.keyring.file().exists()
    }

    /// The login as it is kept now, for a new one.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub(crate) fn kept(&self) -> Result<Option<Kept>, String> {
        match self.place {
            ApiToken::Keyring => {
                let kept = self.keyring.read().map_err(|e| e.to_string())?;
                Ok(kept.map(|(kept, _)| kept))
            }
            _ => Ok(None),
        }
    }

    /// Keeps what a new login gave where the old one was; but where a person put another there meanwhile, that one stays,
    /// and the next look takes it up.
    ///
    /// # Errors
    ///
    /// Why it cannot be kept; the token is good all the same.
    pub(crate) fn keep(&mut self, kept: &Kept, before: &Kept) -> Result<(), String> {
        let now = self.kept().ok().flatten();
        let is_same =
            |now: &Kept| fingerprint(&now.token, Some(now)) == fingerprint(&before.token, Some(before));
        if now.as_ref().is_some_and(|now| !is_same(now)) {
            return Ok(());
        }
        self.not_kept_ms = Some(kept.at_ms);
        self.keyring.write(kept, self.kind).map_err(|e| e.to_string())?;
        self.not_kept_ms = None;
        self.seen = fingerprint(&kept.token, Some(kept));
        self.stamp = self.stamp_now();
        Ok(())
    }

    /// What a person should do for another token.
    pub(crate) fn remedy(&self) -> String {
        const TAKEN_UP: &str = "the running host takes it up by itself";
        match (&self.place, &self.config) {
            (ApiToken::Keyring, _) => format!("run `qt-host login`: {TAKEN_UP}"),
            (ApiToken::File(path), _) => format!(
                "log in again (POST /api/user/login) and put the new access_token into {}: {TAKEN_UP}",
                system::shown(path)
            ),
            (ApiToken::Literal(_), Some(path)) => format!(
                "log in again (POST /api/user/login) and put the new access_token into {} as `api_token`: {TAKEN_UP}",
                system::shown(path)
            ),
            (ApiToken::Literal(_), None) => {
                "log in again (POST /api/user/login), set TRADER_API_TOKEN to the new access_token and start again"
                    .to_owned()
            }
            (ApiToken::Variable(name), _) => format!(
                "log in again (POST /api/user/login), set {name} to the new access_token and start again; with \
                 \"api_token\": \"keyring\" the host can log in by itself"
            ),
        }
    }

    fn read_keyring(&mut self) -> Result<Found, NoToken> {
        let Some((kept, kind)) = self.keyring.read()? else {
            return Err(NoToken::Wrong(
                "`api_token` is \"keyring\", and no login is kept for this backend: run `qt-host login` as the same user"
                    .to_owned(),
            ));
        };
        self.kind = Some(kind);
        self.kept_at_ms = kept.at_ms;
        self.seen = fingerprint(&kept.token, Some(&kept));
        Ok(Found {
            can_log_in: kept.credentials().is_some(),
            token: kept.token,
        })
    }

    /// The file whose change means a new token, where there is one.
    fn file(&self) -> Option<PathBuf> {
        match &self.place {
            ApiToken::File(path) => Some(path.clone()),
            ApiToken::Keyring => Some(self.keyring.file()),
            ApiToken::Literal(_) => self.config.clone(),
            ApiToken::Variable(_) => None,
        }
    }

    fn stamp_now(&self) -> Option<Stamp> {
        self.file().as_deref().and_then(stamp_of)
    }
}

/// Tells logins apart without holding them.
fn fingerprint(token: &Secret, kept: Option<&Kept>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(token.expose());
    if let Some((name, password)) = kept.and_then(Kept::credentials) {
        hash.update([0]);
        hash.update(name);
        hash.update([0]);
        hash.update(password.expose());
    }
    hash.finalize().into()
}
