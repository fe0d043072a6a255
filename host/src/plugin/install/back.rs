//! The ways back: to an older version, out of the search, and what there was.

use std::{io, path::Path};

use super::{Action, Done, Entry, Installed, Kept, Log, Shelf, refuse};
use crate::plugin::{
    PluginError,
    codes::{NO_SUCH_VERSION, NOT_INSTALLED},
    manifest, signature,
    store::{self, Stored},
};

/// Digits of a hash that are enough to name a version by.
const MIN_DIGITS: usize = 8;

impl Shelf {
    /// Goes back to the version before the current one, or to the one that `to` names by version or hash. After a
    /// removal it brings back what was removed.
    ///
    /// # Errors
    /// When there is no such version, or it is no longer whole.
    pub(crate) fn rollback(&self, name: &str, to: Option<&str>) -> Result<Done, PluginError> {
        let _held = self.hold()?;
        let current = self.installed(name)?;
        let mut log = self.log()?;
        if let Some(current) = &current {
            self.note_found(&mut log, current)?;
        }
        let entry = self.older(&log, name, current.as_ref(), to)?;
        let path = self.kept_path(&entry);
        if !store::is_intact(&path, &entry.sha256) {
            return refuse(
                NO_SUCH_VERSION,
                format!(
                    "version {} of `{name}` was kept at {} and is no longer there unchanged; install its file again",
                    entry.version,
                    path.display()
                ),
            );
        }
        let manifest = manifest::read(&path)?;
        let stored = Stored {
            path,
            sha256: entry.sha256.clone(),
            content: None,
        };
        self.make_current(
            Action::Rollback,
            Path::new(&entry.source),
            &stored,
            &manifest,
            current,
        )
    }

    fn older(
        &self,
        log: &Log,
        name: &str,
        current: Option<&Installed>,
        to: Option<&str>,
    ) -> Result<Entry, PluginError> {
        let versions = log.versions(name);
        if versions.is_empty() {
            return refuse(
                NOT_INSTALLED,
                format!(
                    "no plugin named `{name}` was ever installed in {}; `qt-host plugins list` shows where plugins lie",
                    self.folder().display()
                ),
            );
        }
        let at = current.and_then(|current| versions.iter().position(|v| v.sha256 == current.sha256));
        let chosen = match to {
            Some(to) => versions.iter().rev().find(|v| {
                v.version == to || (to.len() >= MIN_DIGITS && v.sha256.starts_with(&to.to_ascii_lowercase()))
            }),
            None => match at {
                Some(at) => at.checked_sub(1).and_then(|before| versions.get(before)),
                // What was removed last, which need not be the newest.
                None => {
                    let removed = log
                        .entries
                        .iter()
                        .rev()
                        .find(|e| e.action == Action::Remove && e.name.eq_ignore_ascii_case(name));
                    let sha256 = removed.map(|entry| &entry.sha256);
                    versions
                        .iter()
                        .find(|v| Some(&v.sha256) == sha256)
                        .or(versions.last())
                }
            },
        };
        match chosen {
            Some(entry) => Ok((*entry).clone()),
            None => {
                let known: Vec<&str> = versions.iter().map(|v| v.version.as_str()).collect();
                refuse(
                    NO_SUCH_VERSION,
                    format!(
                        "there is no {} of `{name}`; kept are: {}; `qt-host plugins history {name}` shows more",
                        to.map_or_else(|| "older version".to_owned(), |to| format!("version {to}")),
                        known.join(", ")
                    ),
                )
            }
        }
    }

    /// Takes a plugin out of the search. Its versions stay in the store unless `purge`.
    ///
    /// # Errors
    /// When none of that name is installed, or the folder cannot be written.
    pub(crate) fn remove(&self, name: &str, purge: bool) -> Result<Done, PluginError> {
        let _held = self.hold()?;
        let current = self.installed(name)?;
        let mut log = self.log()?;
        let Some(current) = current else {
            if purge && !log.versions(name).is_empty() {
                return self.purge(log, name);
            }
            return refuse(
                NOT_INSTALLED,
                format!(
                    "no plugin named `{name}` is installed in {}; one that lies elsewhere is removed by deleting its file",
                    self.folder().display()
                ),
            );
        };
        self.note_found(&mut log, &current)?;
        let entry = self.entry(Action::Remove, &current.path, &current.sha256, &current.manifest);
        log.entries.push(entry);
        self.write_log(&log)?;
        let gone = |path: &Path| match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.fault(path, &e)),
            _ => Ok(()),
        };
        gone(&current.path)?;
        gone(&signature::path_of(&current.path))?;
        self.sync(&self.folder())?;
        if purge {
            self.purge(log, name)?;
        }
        Ok(Done {
            name: current.manifest.name,
            from: Some(current.manifest.version),
            before: Some(current.sha256.clone()),
            to: None,
            sha256: current.sha256,
            path: current.path,
            unchanged: false,
        })
    }

    /// Forgets a plugin's versions and deletes their content, unless another plugin has the same.
    fn purge(&self, mut log: Log, name: &str) -> Result<Done, PluginError> {
        let gone: Vec<Entry> = log.versions(name).into_iter().cloned().collect();
        log.entries.retain(|entry| !entry.name.eq_ignore_ascii_case(name));
        self.write_log(&log)?;
        for entry in &gone {
            let shared = log.entries.iter().any(|other| other.sha256 == entry.sha256);
            let folder = store::root(&self.data_dir).join(&entry.sha256);
            if !shared
                && let Err(e) = std::fs::remove_dir_all(&folder)
                && e.kind() != io::ErrorKind::NotFound
            {
                return Err(self.fault(&folder, &e));
            }
        }
        Ok(Done {
            name: name.to_owned(),
            from: None,
            before: None,
            to: None,
            sha256: gone.last().map(|entry| entry.sha256.clone()).unwrap_or_default(),
            path: store::root(&self.data_dir),
            unchanged: false,
        })
    }

    /// The versions of a plugin that are or were installed, the newest first.
    ///
    /// # Errors
    /// When there are none, or the list cannot be read.
    pub(crate) fn history(&self, name: &str) -> Result<Vec<Kept>, PluginError> {
        let current = self.installed(name)?;
        let log = self.log()?;
        let mut kept: Vec<Kept> = log
            .versions(name)
            .into_iter()
            .map(|entry| Kept {
                version: entry.version.clone(),
                sha256: entry.sha256.clone(),
                installed_at: entry.at.clone(),
                source: entry.source.clone(),
                current: current.as_ref().is_some_and(|c| c.sha256 == entry.sha256),
                available: store::is_intact(&self.kept_path(entry), &entry.sha256),
            })
            .collect();
        if let Some(current) = current.filter(|_| kept.iter().all(|kept| !kept.current)) {
            kept.push(Kept {
                version: current.manifest.version,
                sha256: current.sha256,
                installed_at: String::new(),
                source: current.path.display().to_string(),
                current: true,
                available: true,
            });
        }
        if kept.is_empty() {
            return refuse(
                NOT_INSTALLED,
                format!(
                    "no plugin named `{name}` was ever installed in {}; `qt-host plugins list` shows where plugins lie",
                    self.folder().display()
                ),
            );
        }
        kept.reverse();
        Ok(kept)
    }
}
