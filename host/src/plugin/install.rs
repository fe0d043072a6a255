//! Plugins that were installed into the data folder: their files, their older versions, and how one becomes current.
//!
//! The current version is the file that the search finds in the data folder's `plugins`; older ones stay in the
//! content-addressed store. A file appears there as a whole or not at all, and what was done stands in a list that is
//! written before it is done: a crash in between leaves an older version current and a newer one kept.

mod back;

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use qt_plugin_api::manifest::Manifest;
use serde::{Deserialize, Serialize};

use super::{
    PluginError, TrustPolicy,
    codes::{ALREADY_INSTALLED, LEFT_BEHIND, NOT_INSTALLED, STORE},
    libraries, manifest, search, signature,
    store::{self, Stored},
    trust::Subject,
};
use crate::system;

/// The list of what was done, in the store.
const LOG_NAME: &str = "installed.toml";

/// The installed plugins of a data folder.
pub(crate) struct Shelf {
    data_dir: PathBuf,
    /// Now, in UTC, for the list.
    now: String,
}

/// A plugin in the data folder's `plugins`.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    /// Its file.
    pub path: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
    /// SHA-256 of its file.
    pub sha256: String,
}

/// A version of a plugin that is or was current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Its version.
    pub version: String,
    /// Its content.
    pub sha256: String,
    /// When it was last installed, in UTC.
    pub installed_at: String,
    /// The file that it came from.
    pub source: String,
    /// It is the one that the search finds.
    pub current: bool,
    /// Its content is still in the store, unchanged.
    pub available: bool,
}

/// What was done.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    /// The plugin.
    pub name: String,
    /// The version that was current before.
    pub from: Option<String>,
    /// The content that was current before.
    pub before: Option<String>,
    /// The version that is current now; nothing after a removal.
    pub to: Option<String>,
    /// The content that is current now or was removed.
    pub sha256: String,
    /// Where the current file lies or lay.
    pub path: PathBuf,
    /// Nothing had to be done.
    pub unchanged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Install,
    Upgrade,
    Rollback,
    Remove,
    /// It lay there before anything was installed.
    Found,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    at: String,
    action: Action,
    name: String,
    version: String,
    sha256: String,
    /// Its file's name in the store.
    file: String,
    source: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Log {
    #[serde(default, rename = "entry")]
    entries: Vec<Entry>,
}

impl Log {
    /// The versions of a plugin by when they were last installed, the oldest first.
    fn versions(&self, name: &str) -> Vec<&Entry> {
        let mut versions: Vec<&Entry> = Vec::new();
        for entry in &self.entries {
            let brought_in = matches!(entry.action, Action::Install | Action::Upgrade | Action::Found);
            if brought_in && entry.name.eq_ignore_ascii_case(name) {
                versions.retain(|other| other.sha256 != entry.sha256);
                versions.push(entry);
            }
        }
        versions
    }
}

/// Held while the shelf is changed.
struct Held(#[expect(dead_code, reason = "the lock lives as long as the file is open")] File);

fn refuse<T>(code: &'static str, text: String) -> Result<T, PluginError> {
    Err(PluginError::Shelf { code, text })
}

impl Shelf {
    /// The shelf of a data folder, for something that is done at `now_ms` (milliseconds since 1970).
    pub(crate) fn new(data_dir: &Path, now_ms: i64) -> Self {
        Self {
            data_dir: std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_path_buf()),
            now: jiff::Timestamp::from_millisecond(now_ms)
                .map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
                .unwrap_or_default(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.data_dir.join("plugins")
    }

    fn log_path(&self) -> PathBuf {
        store::root(&self.data_dir).join(LOG_NAME)
    }

    fn fault(&self, path: &Path, error: &io::Error) -> PluginError {
        PluginError::Shelf {
            code: STORE,
            text: format!(
                "{} cannot be written or read ({error}); make the data folder writable for this user, free some space, or \
                 choose another with --data-dir",
                path.display()
            ),
        }
    }

    /// One change at a time, from whichever process.
    fn hold(&self) -> Result<Held, PluginError> {
        let root = store::root(&self.data_dir);
        let path = root.join("installed.lock");
        let fault = |e: io::Error| self.fault(&path, &e);
        system::private_folder(&root).map_err(fault)?;
        let file = system::private_options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fault)?;
        match file.try_lock() {
            Ok(()) => Ok(Held(file)),
            Err(TryLockError::WouldBlock) => refuse(
                STORE,
                format!(
                    "another qt-host is changing the plugins of {} right now; try again when it has ended",
                    self.data_dir.display()
                ),
            ),
            Err(TryLockError::Error(e)) => Err(fault(e)),
        }
    }

    fn log(&self) -> Result<Log, PluginError> {
        let path = self.log_path();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Log::default()),
            Err(e) => return Err(self.fault(&path, &e)),
        };
        toml::from_str(&text).or_else(|e| {
            refuse(
                STORE,
                format!(
                    "the list {} is damaged ({}); move it away, after which older versions are no longer known",
                    path.display(),
                    e.message()
                ),
            )
        })
    }

    fn write_log(&self, log: &Log) -> Result<(), PluginError> {
        let path = self.log_path();
        let text = toml::to_string(log).map_err(io::Error::other);
        text.and_then(|text| system::replace_file(&path, text.as_bytes()))
            .map_err(|e| self.fault(&path, &e))
    }

    /// The installed plugin of a name in any case.
    ///
    /// # Errors
    /// When the folder cannot be listed or the file cannot be read.
    pub(crate) fn installed(&self, name: &str) -> Result<Option<Installed>, PluginError> {
        let folder = self.folder();
        let files = match search::libraries(&folder) {
            Ok(files) => files,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.fault(&folder, &e)),
        };
        for path in files {
            // Of a file that cannot be used, only what it says of itself counts here: it must be replaceable.
            let Some(manifest) = manifest::examine(&path).manifest else {
                continue;
            };
            if manifest.name.eq_ignore_ascii_case(name) {
                let sha256 = store::hash(&path)?;
                return Ok(Some(Installed {
                    path,
                    manifest,
                    sha256,
                }));
            }
        }
        Ok(None)
    }

    /// Installs a plugin whose name is not there yet.
    ///
    /// # Errors
    /// When it cannot be used, its signature does not satisfy the policy, or another version is installed.
    pub(crate) fn install(&self, file: &Path, policy: &TrustPolicy) -> Result<Done, PluginError> {
        let _held = self.hold()?;
        let (stored, manifest) = self.take_in(file, policy)?;
        let current = self.installed(&manifest.name)?;
        if let Some(current) = current.as_ref().filter(|current| current.sha256 != stored.sha256) {
            return refuse(
                ALREADY_INSTALLED,
                format!(
                    "a plugin named `{}` is installed already, version {} at {}; to replace it by version {}, run: \
                     qt-host plugins upgrade {}",
                    manifest.name,
                    current.manifest.version,
                    current.path.display(),
                    manifest.version,
                    file.display()
                ),
            );
        }
        self.make_current(Action::Install, file, &stored, &manifest, current)
    }

    /// Replaces an installed plugin by another version, older or newer; the one before stays in the store.
    ///
    /// # Errors
    /// When it cannot be used, it is not trusted, or none of its name is installed.
    pub(crate) fn upgrade(&self, file: &Path, policy: &TrustPolicy) -> Result<Done, PluginError> {
        let _held = self.hold()?;
        let (stored, manifest) = self.take_in(file, policy)?;
        // What is traded with stays until the one in its place may be loaded.
        let subject = Subject {
            name: &manifest.name,
            sha256: &stored.sha256,
            source: file,
            content: &stored.path,
        };
        if let Some(fault) = policy.judge().of(&subject).1.into_iter().next() {
            return Err(fault);
        }
        let Some(current) = self.installed(&manifest.name)? else {
            return refuse(
                NOT_INSTALLED,
                format!(
                    "no plugin named `{}` is installed in {}; to install it, run: qt-host plugins install {}",
                    manifest.name,
                    self.folder().display(),
                    file.display()
                ),
            );
        };
        self.make_current(Action::Upgrade, file, &stored, &manifest, Some(current))
    }

    /// Copies a file and its signature into the store and checks the copy.
    fn take_in(&self, file: &Path, policy: &TrustPolicy) -> Result<(Stored, Manifest), PluginError> {
        // Of the file first, so that a refusal names what the user named.
        let name = manifest::read(file)?.name;
        let companions = libraries::companions(file);
        if let Some(first) = companions.first() {
            let reason = format!(
                "brings in {} libraries from its own folder, such as {}, and one file alone is installed; leave them \
                 together where they are and name the plugin with --plugin or `plugins`, or its folder with `plugin_dirs`",
                companions.len(),
                first.path.display()
            );
            return Err(PluginError::file(LEFT_BEHIND, file, reason));
        }
        let stored = store::keep_as(file, file_name(&name).as_ref(), &self.data_dir)?;
        let manifest = manifest::read(&stored.path)?;
        if manifest.name != name {
            let reason = format!(
                "changed from `{name}` to `{}` while it was read; start again",
                manifest.name
            );
            return Err(PluginError::file(STORE, file, reason));
        }
        let subject = Subject {
            name: &manifest.name,
            sha256: &stored.sha256,
            source: file,
            content: &stored.path,
        };
        // It cannot be pinned before it is there; what its author says can be checked now.
        let unpinned = TrustPolicy {
            lock: None,
            trusted_keys: policy.keys()?,
            ..policy.clone()
        };
        if let Some(fault) = unpinned.judge().of(&subject).1.into_iter().next() {
            return Err(fault);
        }
        let kept = signature::path_of(&stored.path);
        match signature::beside(file) {
            Ok(Some(text)) => {
                system::replace_file(&kept, text.as_bytes()).map_err(|e| self.fault(&kept, &e))?
            }
            // One of an earlier time stays: it is of the same content.
            Ok(None) => {}
            Err(e) => return Err(self.fault(&signature::path_of(file), &e)),
        }
        Ok((stored, manifest))
    }

    fn kept_path(&self, entry: &Entry) -> PathBuf {
        store::root(&self.data_dir).join(&entry.sha256).join(&entry.file)
    }

    fn entry(&self, action: Action, source: &Path, sha256: &str, manifest: &Manifest) -> Entry {
        Entry {
            at: self.now.clone(),
            action,
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            sha256: sha256.to_owned(),
            file: file_name(&manifest.name),
            source: source.display().to_string(),
        }
    }

    /// Takes a current file into the store that somebody put there by hand, so that it is not lost.
    fn note_found(&self, log: &mut Log, current: &Installed) -> Result<(), PluginError> {
        let versions = log.versions(&current.manifest.name);
        if versions.iter().any(|known| known.sha256 == current.sha256) {
            return Ok(());
        }
        let name = file_name(&current.manifest.name);
        let stored = store::keep_as(&current.path, name.as_ref(), &self.data_dir)?;
        let entry = self.entry(Action::Found, &current.path, &stored.sha256, &current.manifest);
        log.entries.push(entry);
        Ok(())
    }

    /// Makes a stored version the one that the search finds.
    fn make_current(
        &self,
        action: Action,
        source: &Path,
        stored: &Stored,
        manifest: &Manifest,
        current: Option<Installed>,
    ) -> Result<Done, PluginError> {
        let unchanged = current.as_ref().is_some_and(|c| c.sha256 == stored.sha256);
        let target = match &current {
            Some(current) => current.path.clone(),
            None => self.free_place(&manifest.name)?,
        };
        let mut log = self.log()?;
        if let Some(current) = &current {
            self.note_found(&mut log, current)?;
        }
        let known = log
            .versions(&manifest.name)
            .iter()
            .any(|v| v.sha256 == stored.sha256);
        if !unchanged || !known {
            log.entries
                .push(self.entry(action, source, &stored.sha256, manifest));
        }
        self.write_log(&log)?;
        crate::failpoint::die_at("plugin-noted");
        if !unchanged {
            self.publish(stored, &target)?;
        }
        self.publish_signature(stored, &target)?;
        Ok(Done {
            name: manifest.name.clone(),
            before: current.as_ref().map(|current| current.sha256.clone()),
            from: current.map(|current| current.manifest.version),
            to: Some(manifest.version.clone()),
            sha256: stored.sha256.clone(),
            path: target,
            unchanged,
        })
    }

    /// Where a plugin's file goes that is not installed yet.
    fn free_place(&self, name: &str) -> Result<PathBuf, PluginError> {
        let path = self.folder().join(file_name(name));
        if path.symlink_metadata().is_err() {
            return Ok(path);
        }
        refuse(
            ALREADY_INSTALLED,
            format!(
                "{} is in the way and is no plugin named `{name}`; move it away and try again",
                path.display()
            ),
        )
    }

    fn publish(&self, stored: &Stored, target: &Path) -> Result<(), PluginError> {
        let folder = self.folder();
        system::create_private_dir(&folder)
            .map_err(|e| self.fault(&folder, &io::Error::other(e.to_string())))?;
        let write = || -> io::Result<()> {
            let mut fresh = tempfile::Builder::new().prefix(".new-").tempfile_in(&folder)?;
            io::copy(&mut File::open(&stored.path)?, fresh.as_file_mut())?;
            fresh.as_file().sync_all()?;
            // What was written is what was checked, or it does not become current.
            if !store::is_intact(fresh.path(), &stored.sha256) {
                return Err(io::Error::other("the copy differs from what was checked"));
            }
            crate::failpoint::die_at("plugin-written");
            system::put_in_place(fresh, target)
        };
        write().map_err(|e| self.fault(target, &e))?;
        self.sync(&folder)
    }

    /// Puts the signature of a stored version beside its current file. If the process ends before, the file of one
    /// version stands with the signature of another and is refused until this is run again.
    fn publish_signature(&self, stored: &Stored, target: &Path) -> Result<(), PluginError> {
        let place = signature::path_of(target);
        let done = match signature::beside(&stored.path) {
            Ok(Some(text)) => system::replace_file(&place, text.as_bytes()),
            Ok(None) => match std::fs::remove_file(&place) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            },
            Err(e) => Err(e),
        };
        done.map_err(|e| self.fault(&place, &e))
    }

    fn sync(&self, folder: &Path) -> Result<(), PluginError> {
        system::sync_dir(folder).map_err(|e| self.fault(folder, &e))
    }
}

/// The file that a plugin of a name has once it is installed. The name has been checked: it is ASCII letters, digits,
/// `-` and `_`.
fn file_name(name: &str) -> String {
    format!(
        "{}{}{}",
        std::env::consts::DLL_PREFIX,
        name.to_ascii_lowercase(),
        std::env::consts::DLL_SUFFIX
    )
}
