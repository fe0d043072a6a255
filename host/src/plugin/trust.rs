//! Which plugins may be loaded: pins in a lock file, and signatures.
//!
//! Without a lock file and without `require_signature` every plugin that the user puts into a searched folder may be
//! loaded. With one, what is not pinned is refused. What is checked is always the private copy that will run.

use std::{
    fs::{File, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    PluginError,
    codes::{BAD_SIGNATURE, OTHER_ACCOUNT, PIN_CHANGED, UNKNOWN_KEY, UNPINNED, UNSIGNED},
    libraries,
    signature::{self, Signature},
};

/// The lock file's name within the data folder.
const FILE_NAME: &str = "plugins.lock";

/// The form of the lock file.
const VERSION: u32 = 1;

/// Ends the name of the file beside it that is held while it is changed.
const HELD: &str = ".held";

/// A change takes some milliseconds; whoever takes longer hangs.
const HELD_AT_MOST: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// The largest lock file that is read; a pin has some three hundred bytes.
const MAX_LOCK: u64 = 4 << 20;

/// What must be true of a plugin before it is loaded.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustPolicy {
    /// The lock file; nothing where there can be none.
    pub lock: Option<PathBuf>,
    /// The configuration names the lock file, so that its absence is a mistake and not a choice.
    pub lock_named: bool,
    /// Public keys of minisign, each a line of text.
    pub trusted_keys: Vec<String>,
    /// Only what a trusted key has signed may be loaded.
    pub require_signature: bool,
    /// The backend's id of the account that is traded, if it is known.
    pub account: Option<String>,
}

/// A plugin that somebody trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    /// The plugin's name.
    pub name: String,
    /// Its version, for people.
    pub version: String,
    /// The content that is trusted, in lower-case hexadecimal digits.
    pub sha256: String,
    /// The backend's id of the only account that it may trade for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The trusted key that had signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// What the conformance kit last said of this content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conformance: Option<String>,
    /// When it was pinned, in UTC.
    pub pinned_at: String,
}

/// The content of a lock file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct LockFile {
    /// The form; one written by hand may leave it out.
    #[serde(default)]
    version: u32,
    /// Keys that are trusted besides those of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trusted_keys: Vec<String>,
    #[serde(default, rename = "plugin")]
    pins: Vec<Pin>,
}

/// How a plugin stands with the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// `pinned`, `changed`, `unpinned`, `other-account`, or `open` where there is no lock file.
    pub pin: &'static str,
    /// What its signature says; nothing where no key is trusted and none is demanded.
    pub signature: Option<Signature>,
}

impl Trust {
    /// A few words for a list.
    pub(crate) fn words(&self) -> String {
        match &self.signature {
            Some(Signature::Valid { .. }) if self.pin == "open" => "signed".to_owned(),
            Some(Signature::Valid { .. }) => format!("{}, signed", self.pin),
            Some(Signature::UnknownKey { .. }) => format!("{}, unknown key", self.pin),
            Some(Signature::Invalid { .. }) => format!("{}, bad signature", self.pin),
            Some(Signature::Absent) | None => self.pin.to_owned(),
        }
    }
}

/// The plugin that is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// SHA-256 of `content`.
    pub(super) sha256: &'a str,
    /// The file that the user chose; its signature lies beside it.
    pub(super) source: &'a Path,
    /// The file whose content counts: the private copy where there is one.
    pub(super) content: &'a Path,
}

/// A policy with its lock file read.
pub(super) struct Judge<'a> {
    policy: &'a TrustPolicy,
    lock: Result<Option<LockFile>, PluginError>,
}

impl Judge<'_> {
    /// How a plugin stands, and why it may not be loaded: every reason.
    pub(super) fn of(&self, subject: &Subject<'_>) -> (Trust, Vec<PluginError>) {
        let mut faults: Vec<PluginError> = self.lock.as_ref().err().cloned().into_iter().collect();
        let pin = self.pin(subject, &mut faults);
        let signature = self.signature(subject, &mut faults);
        (Trust { pin, signature }, faults)
    }

    /// Whether a judgement compares hashes.
    pub(super) const fn needs_hash(&self) -> bool {
        matches!(self.lock, Ok(Some(_)))
    }

    /// The fault of the lock file itself.
    pub(super) fn lock_fault(&self) -> Option<&PluginError> {
        self.lock.as_ref().err()
    }

    fn pin(&self, subject: &Subject<'_>, faults: &mut Vec<PluginError>) -> &'static str {
        let (Ok(lock), account) = (&self.lock, &self.policy.account) else {
            return "unknown";
        };
        let (Some(lock), Some(path)) = (lock, &self.policy.lock) else {
            return "open";
        };
        let (name, actual, place) = (subject.name, subject.sha256, path.display());
        // By its path, since another file may be the one that has the name.
        let file = crate::system::paste::path(subject.source);
        let pins: Vec<&Pin> = lock
            .pins
            .iter()
            .filter(|pin| pin.name.eq_ignore_ascii_case(name))
            .collect();
        let same: Vec<&&Pin> = pins
            .iter()
            .filter(|pin| pin.sha256.eq_ignore_ascii_case(actual))
            .collect();
        let here = |pin: &Pin| pin.account.is_none() || &pin.account == account;
        if same.iter().any(|pin| here(pin)) {
            return "pinned";
        }
        let latest = pins.iter().max_by(|a, b| a.pinned_at.cmp(&b.pinned_at));
        let (code, word, reason) = match (same.first(), latest) {
            (Some(pin), _) => (
                OTHER_ACCOUNT,
                "other-account",
                format!(
                    "is pinned for the account {} in {place}, and this configuration trades for {}; if it may trade \
                     for this one too, run: qt-host plugins trust {file}",
                    pin.account.as_deref().unwrap_or_default(),
                    account.as_deref().unwrap_or("no account that it names"),
                ),
            ),
            (None, Some(pin)) => (
                PIN_CHANGED,
                "changed",
                format!(
                    "is not {} that was pinned: expected sha256 {} (version {}, pinned at {} in {place}), \
                     actual sha256 {actual} (an upgrade, a new build or a rollback changes it too); if you know that \
                     this is one, run: qt-host plugins trust {file}",
                    if pins.len() > 1 { "any file" } else { "the file" },
                    pin.sha256,
                    pin.version,
                    pin.pinned_at,
                ),
            ),
            (None, None) => (
                UNPINNED,
                "unpinned",
                format!(
                    "is not pinned in {place}, which says that only pinned plugins may be loaded (actual sha256 \
                     {actual}, it may simply be new); if you know where it comes from, run: qt-host plugins trust {file}"
                ),
            ),
        };
        faults.push(PluginError::file(code, subject.source, reason));
        word
    }

    fn signature(&self, subject: &Subject<'_>, faults: &mut Vec<PluginError>) -> Option<Signature> {
        let locked = self.lock.as_ref().ok().and_then(Option::as_ref);
        let locked = locked
            .map(|lock| lock.trusted_keys.as_slice())
            .unwrap_or_default();
        let (own, required) = (&self.policy.trusted_keys, self.policy.require_signature);
        let keys: Vec<String> = own.iter().chain(locked).cloned().collect();
        if keys.is_empty() && !required {
            return None;
        }
        let signature = signature_of(subject, &keys);
        let beside = signature::path_of(subject.source);
        let fault = match &signature {
            Signature::Valid { .. } => None,
            Signature::Invalid { reason } => Some((
                BAD_SIGNATURE,
                format!(
                    "has a signature that does not fit ({}: {reason}); get file and signature again from its author",
                    beside.display()
                ),
            )),
            Signature::UnknownKey { id } if required => Some((
                UNKNOWN_KEY,
                format!(
                    "is signed by the key {id}, which is not among the {} keys trusted here; if it is its author's, \
                     run: qt-host plugins trust {} --key KEY",
                    keys.len(),
                    crate::system::paste::path(subject.source)
                ),
            )),
            Signature::Absent if required => Some((
                UNSIGNED,
                format!(
                    "is not signed, and `plugins.require_signature` is true; put its author's signature at {}",
                    beside.display()
                ),
            )),
            Signature::UnknownKey { .. } | Signature::Absent => None,
        };
        faults.extend(fault.map(|(code, reason)| PluginError::file(code, subject.source, reason)));
        if required {
            faults.extend(unsigned_companion(subject, &keys));
        }
        Some(signature)
    }
}

impl TrustPolicy {
    /// The policy of a configuration: its lock file, or the one in the data folder.
    pub(crate) fn new(
        lock: Option<&Path>,
        data_dir: &Path,
        trusted_keys: &[String],
        require_signature: bool,
        account: Option<&str>,
    ) -> Self {
        Self {
            lock: Some(lock.map_or_else(|| data_dir.join(FILE_NAME), Path::to_path_buf)),
            lock_named: lock.is_some(),
            trusted_keys: trusted_keys.to_vec(),
            require_signature,
            account: account.map(str::to_owned),
        }
    }

    /// The pins.
    ///
    /// # Errors
    /// When there is a lock file that cannot be read.
    pub(crate) fn pins(&self) -> Result<Vec<Pin>, PluginError> {
        Ok(self.read()?.unwrap_or_default().pins)
    }

    /// The trusted keys, those of the lock file among them.
    ///
    /// # Errors
    /// When there is a lock file that cannot be read.
    pub(super) fn keys(&self) -> Result<Vec<String>, PluginError> {
        let locked = self.read_or_new()?.trusted_keys;
        Ok(self.trusted_keys.iter().cloned().chain(locked).collect())
    }

    /// The trusted key that has signed a file, if one has; with `key`, that key must be the one.
    ///
    /// # Errors
    /// When the signature does not fit, when `key` has not signed it, or when the lock file cannot be read.
    pub(super) fn signed_by(
        &self,
        name: &str,
        sha256: &str,
        file: &Path,
        key: Option<&str>,
    ) -> Result<Option<String>, PluginError> {
        let policy = Self {
            // A pin that does not fit is what is about to be replaced.
            lock: None,
            trusted_keys: match key {
                Some(key) => vec![key.to_owned()],
                None => self.keys()?,
            },
            require_signature: self.require_signature || key.is_some(),
            ..self.clone()
        };
        let subject = Subject {
            name,
            sha256,
            source: file,
            content: file,
        };
        let (trust, faults) = policy.judge().of(&subject);
        match (faults.into_iter().next(), trust.signature) {
            (Some(fault), _) => Err(fault),
            (None, Some(Signature::Valid { key })) => Ok(Some(key)),
            (None, _) => Ok(None),
        }
    }

    /// Reads the lock file once, for any number of plugins.
    pub(super) fn judge(&self) -> Judge<'_> {
        Judge {
            policy: self,
            lock: self.read(),
        }
    }

    /// Pins a plugin's content beside what else is pinned of its name, so that the version before is still trusted when
    /// an upgrade fails or is taken back; with `only`, in place of all that is pinned of its name for the same account.
    ///
    /// # Errors
    /// When the lock file cannot be read or written.
    pub(super) fn pin(&self, mut pin: Pin, key: Option<&str>, only: bool) -> Result<(), PluginError> {
        let _held = self.hold()?;
        let mut lock = self.read_or_new()?;
        let same = |other: &Pin| {
            other.name.eq_ignore_ascii_case(&pin.name)
                && other.account == pin.account
                && (only || other.sha256.eq_ignore_ascii_case(&pin.sha256))
        };
        // A verdict is about a content, and stays with it.
        let known = lock.pins.iter().find(|other| other.sha256 == pin.sha256);
        pin.conformance = pin
            .conformance
            .or_else(|| known.and_then(|other| other.conformance.clone()));
        lock.pins.retain(|other| !same(other));
        lock.pins.push(pin);
        lock.pins
            .sort_by(|a, b| (&a.name, &a.account, &a.pinned_at).cmp(&(&b.name, &b.account, &b.pinned_at)));
        if let Some(key) = key
            && !lock.trusted_keys.iter().any(|known| known == key)
        {
            lock.trusted_keys.push(key.to_owned());
        }
        self.write(&lock)
    }

    /// Notes what the conformance kit said of a content in every pin of it; says how many there are.
    ///
    /// # Errors
    /// When the lock file cannot be read or written.
    pub(crate) fn note_verdict(&self, sha256: &str, verdict: &str) -> Result<usize, PluginError> {
        let Some((mut lock, _held)) = self.read_to_change()? else {
            return Ok(0);
        };
        let mut noted = 0;
        for pin in lock
            .pins
            .iter_mut()
            .filter(|pin| pin.sha256.eq_ignore_ascii_case(sha256))
        {
            pin.conformance = Some(verdict.to_owned());
            noted += 1;
        }
        if noted > 0 {
            self.write(&lock)?;
        }
        Ok(noted)
    }

    /// Takes every pin of a name out; says how many there were.
    ///
    /// # Errors
    /// When the lock file cannot be read or written.
    pub(crate) fn unpin(&self, name: &str) -> Result<usize, PluginError> {
        let Some((mut lock, _held)) = self.read_to_change()? else {
            return Ok(0);
        };
        let before = lock.pins.len();
        lock.pins.retain(|pin| !pin.name.eq_ignore_ascii_case(name));
        let taken = before - lock.pins.len();
        if taken > 0 {
            self.write(&lock)?;
        }
        Ok(taken)
    }

    /// What is there, held against other writers until it is dropped.
    fn read_to_change(&self) -> Result<Option<(LockFile, File)>, PluginError> {
        // Where there is nothing to change, no file is made either.
        if self.read()?.is_none() {
            return Ok(None);
        }
        let held = self.hold()?;
        Ok(self.read()?.map(|lock| (lock, held)))
    }

    /// One change at a time, from whichever process: two that read the same file would each write it without what the
    /// other has added.
    fn hold(&self) -> Result<File, PluginError> {
        let Some(path) = &self.lock else {
            return Err(self.unwritable("there is no place for it"));
        };
        let mut beside = path.clone().into_os_string();
        beside.push(HELD);
        let beside = PathBuf::from(beside);
        let fault = |e: io::Error| self.unwritable(&format!("{}: {e}", beside.display()));
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(fault)?;
        }
        let file = crate::system::private_options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&beside)
            .map_err(fault)?;
        let until = Instant::now() + HELD_AT_MOST;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOOK),
                Err(TryLockError::WouldBlock) => {
                    return Err(self.fault(format!(
                        "is being changed by another qt-host, which has held {} for {} s; end that one and try again",
                        beside.display(),
                        HELD_AT_MOST.as_secs()
                    )));
                }
                Err(TryLockError::Error(e)) => return Err(fault(e)),
            }
        }
    }

    fn unwritable(&self, why: &str) -> PluginError {
        self.fault(format!(
            "cannot be written ({why}); make its folder writable for this user, or correct `plugins.lock`"
        ))
    }

    fn fault(&self, reason: impl Into<String>) -> PluginError {
        let path = self.lock.clone().unwrap_or_default();
        PluginError::Lock {
            path,
            reason: reason.into(),
        }
    }

    fn read_or_new(&self) -> Result<LockFile, PluginError> {
        match self.content() {
            Ok(Some(text)) => self.parse(&text),
            Ok(None) => Ok(LockFile::default()),
            Err(e) => Err(self.unreadable(&e)),
        }
    }

    fn unreadable(&self, error: &io::Error) -> PluginError {
        self.fault(format!(
            "cannot be read ({error}); allow this user to read it, or correct `plugins.lock`"
        ))
    }

    /// The lock file, if there is one.
    fn read(&self) -> Result<Option<LockFile>, PluginError> {
        match self.content() {
            Ok(Some(text)) => self.parse(&text).map(Some),
            Ok(None) if self.lock_named && self.lock.is_some() => Err(self.fault(
                "is named by `plugins.lock` and does not exist; correct the path, or make it by: qt-host plugins trust NAME",
            )),
            Ok(None) => Ok(None),
            Err(e) => Err(self.unreadable(&e)),
        }
    }

    fn content(&self) -> io::Result<Option<String>> {
        let Some(path) = &self.lock else {
            return Ok(None);
        };
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(io::Error::other("it is not a regular file")),
            Err(e) if e.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {
                return Ok(None);
            }
            Err(e) => return Err(e),
        }
        let mut text = String::new();
        File::open(path)?.take(MAX_LOCK).read_to_string(&mut text)?;
        Ok(Some(text))
    }

    fn parse(&self, text: &str) -> Result<LockFile, PluginError> {
        let lock: LockFile = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            self.fault(format!(
                "is damaged at line {line}: {}; mend that line, or delete the file and pin again by: qt-host plugins trust NAME",
                e.message()
            ))
        })?;
        if lock.version > VERSION {
            return Err(self.fault(format!(
                "has version {}, and this program reads version {VERSION}; update quantTrader",
                lock.version
            )));
        }
        Ok(lock)
    }

    fn write(&self, lock: &LockFile) -> Result<(), PluginError> {
        let cannot = |e: String| self.unwritable(&e);
        let Some(path) = &self.lock else {
            return Err(self.unwritable("there is no place for it"));
        };
        let whole = LockFile {
            version: VERSION,
            ..lock.clone()
        };
        let body = toml::to_string(&whole).map_err(|e| cannot(e.to_string()))?;
        let text = format!(
            "# Written by `qt-host plugins trust`. Only plugins whose sha256 stands here are loaded.\n{body}"
        );
        crate::system::replace_file(path, text.as_bytes()).map_err(|e| cannot(e.to_string()))
    }
}

/// What a plugin brings along runs as it does: where signatures are demanded, each of these files has its own.
fn unsigned_companion(subject: &Subject<'_>, keys: &[String]) -> Option<PluginError> {
    let folder = subject.source.parent()?;
    libraries::companions(subject.content).iter().find_map(|companion| {
        let source = folder.join(&companion.relative);
        let own = Subject {
            source: &source,
            content: &companion.path,
            ..*subject
        };
        if matches!(signature_of(&own, keys), Signature::Valid { .. }) {
            return None;
        }
        let reason = format!(
            "brings in {}, which no trusted key has signed, and `plugins.require_signature` is true; put its author's \
             signature at {}",
            source.display(),
            signature::path_of(&source).display()
        );
        Some(PluginError::file(UNSIGNED, subject.source, reason))
    })
}

/// What the signature beside the source says of the content.
pub(super) fn signature_of(subject: &Subject<'_>, keys: &[String]) -> Signature {
    let invalid = |e: io::Error| Signature::Invalid {
        reason: format!("it cannot be read: {e}"),
    };
    match signature::beside(subject.source) {
        Ok(None) => Signature::Absent,
        Ok(Some(text)) => signature::verify(subject.content, &text, keys).unwrap_or_else(invalid),
        Err(e) => invalid(e),
    }
}
