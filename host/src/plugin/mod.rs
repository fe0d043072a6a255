//! Broker plugins: where they lie, what they say of themselves, and how one comes into this process.
//!
//! Looking at a plugin runs none of it: its manifest is read by parsing the file. Loading takes a private copy whose
//! name is its own hash, so that nobody can replace or shorten a file that is mapped.

mod anatomy;
mod block;
mod codes;
mod doctor;
mod install;
mod libraries;
mod loader;
mod manifest;
mod mends;
mod search;
mod signature;
mod store;
#[cfg(test)]
mod tests;
mod trust;

use std::path::{Path, PathBuf};

use qt_plugin_api::{host::LoadFault, manifest::Manifest};

pub(crate) use anatomy::Anatomy;
pub(crate) use block::check_block;
use codes::{AMBIGUOUS, CONFIGURATION, LOCK_FILE, NOT_FOUND};
pub(crate) use codes::{CODES, Code, explain};
pub(crate) use doctor::{Checkup, check_up};
pub(crate) use install::{Done, Kept, Shelf};
pub(crate) use loader::{KeptPlugin, keep, load_copy};
use search::Place;
pub(crate) use search::{Found, SearchPlan};
pub(crate) use signature::{Signature, check_key};
pub(crate) use trust::{Pin, Trust, TrustPolicy};

/// The broker that a configuration without `broker` means.
pub(crate) const DEFAULT_BROKER: &str = "simulated";

/// Threads that hash files for a list at most.
const MAX_THREADS: usize = 8;

/// Why a plugin cannot be used: a stable code and one sentence with the file and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PluginError {
    /// One file cannot be used.
    #[error("{code}: the plugin {path} {reason}", path = path.display())]
    File {
        /// One of [`codes::CODES`].
        code: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The sentence that continues "the plugin …".
        reason: String,
        /// What only an expert wants to read, thousands of characters long, or empty.
        report: String,
    },
    /// No file has the name that was asked for.
    #[error("{NOT_FOUND}: {0}")]
    NotFound(String),
    /// Several files have the name that was asked for.
    #[error(
        "{AMBIGUOUS}: two different files are a plugin named `{name}`, {first} and {second}; {advice}",
        first = first.display(),
        second = second.display(),
        advice = if *both_named {
            "they were both named, by --plugin or in \"plugins\": leave one of them out"
        } else {
            "remove one, or name the one you mean with --plugin"
        }
    )]
    Ambiguous {
        /// The name.
        name: String,
        /// The file that was found first.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
        /// Somebody named both, so that naming one says nothing new.
        both_named: bool,
    },
    /// The lock file cannot be used.
    #[error("{LOCK_FILE}: the lock file {path} {reason}", path = path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The sentence that continues "the lock file …".
        reason: String,
    },
    /// Its block of the configuration is not what its manifest says that it takes; none of its code has run.
    #[error("{CONFIGURATION}: the plugin {path} does not take its block of the configuration: {faults}", path = path.display())]
    Block {
        /// The plugin's file.
        path: PathBuf,
        /// Every fault: the key, its value unless that is a secret, and what belongs there.
        faults: String,
    },
    /// What was asked of the installed plugins cannot be done.
    #[error("{code}: {text}")]
    Shelf {
        /// One of [`codes::CODES`].
        code: &'static str,
        /// A sentence.
        text: String,
    },
}

impl PluginError {
    fn file(code: &'static str, path: &Path, reason: impl Into<String>) -> Self {
        Self::File {
            code,
            path: path.to_path_buf(),
            reason: reason.into(),
            report: String::new(),
        }
    }

    fn fault(path: &Path, fault: LoadFault) -> Self {
        Self::File {
            code: fault.code,
            path: path.to_path_buf(),
            reason: fault.sentence,
            report: fault.report,
        }
    }

    /// The stable code, one of [`codes::CODES`].
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::File { code, .. } | Self::Shelf { code, .. } => code,
            Self::NotFound(_) => NOT_FOUND,
            Self::Ambiguous { .. } => AMBIGUOUS,
            Self::Lock { .. } => LOCK_FILE,
            Self::Block { .. } => CONFIGURATION,
        }
    }

    /// Whether what was asked for is not there, rather than there and unfit.
    pub(crate) fn is_missing(&self) -> bool {
        [NOT_FOUND, codes::NOT_INSTALLED].contains(&self.code())
    }

    /// The sentence without the code and, where it is about one file, without that file's name.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::File { reason, .. } | Self::Lock { reason, .. } => reason.clone(),
            Self::NotFound(text) | Self::Shelf { text, .. } => text.clone(),
            Self::Ambiguous { .. } => self.to_string(),
            Self::Block { faults, .. } => format!("does not take its block of the configuration: {faults}"),
        }
    }

    /// The layouts that differ, for an expert; mostly empty.
    pub(crate) fn report(&self) -> &str {
        match self {
            Self::File { report, .. } => report,
            Self::NotFound(_)
            | Self::Ambiguous { .. }
            | Self::Lock { .. }
            | Self::Block { .. }
            | Self::Shelf { .. } => "",
        }
    }
}

/// A file that is a plugin or should have been one.
#[derive(Clone, Debug)]
pub(crate) struct PluginFile {
    /// Where it was found.
    pub path: PathBuf,
    /// What it says of itself, where that can be read and used.
    pub manifest: Option<Manifest>,
    /// SHA-256 of the file, in lower-case hexadecimal digits.
    pub sha256: Option<String>,
    /// How it stands with pins and signatures.
    pub trust: Option<Trust>,
    /// Why it cannot be used.
    pub refusal: Option<PluginError>,
    /// It came with the program, so that an installed one of its name comes before it.
    pub shipped: bool,
}

/// Every plugin file of a plan, in the order of the search. One bad file never hides another, and no code runs.
///
/// A hash takes far longer than all else and is left out unless it is asked for or pins are to be compared.
pub(crate) fn list(plan: &SearchPlan, with_hashes: bool) -> Vec<PluginFile> {
    let judge = plan.trust().judge();
    let with_hashes = with_hashes || judge.needs_hash();
    let found = plan.scan();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS));
    let share = found.len().div_ceil(threads).max(1);
    let look = |found: &Found| look(found, &judge, with_hashes);
    std::thread::scope(|scope| {
        let shares: Vec<_> = found
            .chunks(share)
            .map(|files| (files, scope.spawn(|| files.iter().map(look).collect::<Vec<_>>())))
            .collect();
        shares
            .into_iter()
            // A thread that cannot end well leaves its share to this one.
            .flat_map(|(files, thread)| thread.join().unwrap_or_else(|_| files.iter().map(look).collect()))
            .collect()
    })
}

fn look(found: &Found, judge: &trust::Judge<'_>, with_hash: bool) -> PluginFile {
    let mut file = PluginFile {
        path: found.path.clone(),
        manifest: None,
        sha256: None,
        trust: None,
        refusal: None,
        shipped: found.place == Place::Shipped,
    };
    let hashed = found.manifest.clone().and_then(|manifest| {
        let sha256 = with_hash.then(|| store::hash(&found.path)).transpose()?;
        Ok((manifest, sha256))
    });
    match hashed {
        Ok((manifest, sha256)) => {
            let (trust, faults) = judge.of(&trust::Subject {
                name: &manifest.name,
                sha256: sha256.as_deref().unwrap_or_default(),
                source: &found.path,
                content: &found.path,
            });
            file.refusal = faults.into_iter().next();
            (file.manifest, file.sha256, file.trust) = (Some(manifest), sha256, Some(trust));
        }
        Err(refusal) => file.refusal = Some(refusal),
    }
    file
}

/// What is to be trusted, once it was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Trusted {
    /// What now stands in the lock file.
    pub pin: Pin,
    /// The file.
    pub path: PathBuf,
    /// There was no lock file before: from now on only pinned plugins are loaded.
    pub first: bool,
}

/// What else a pin says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PinAs<'a> {
    /// The only account that the plugin may trade for.
    pub account: Option<&'a str>,
    /// A key that must have signed it and is trusted from now on.
    pub key: Option<&'a str>,
    /// In place of every other version of it for that account.
    pub only: bool,
}

/// Pins the plugin of a name or path, whose file must be one that could be loaded. `verdict` knows what the conformance
/// kit said of a content.
///
/// # Errors
/// When there is no such plugin or more than one, it cannot be used, its signature does not fit, or the lock file
/// cannot be read or written.
pub(crate) fn pin(
    plan: &SearchPlan,
    which: &str,
    pin_as: PinAs<'_>,
    now_ms: i64,
    verdict: impl FnOnce(&str) -> Option<String>,
) -> Result<Trusted, PluginError> {
    let PinAs { account, key, only } = pin_as;
    let path = the_one(plan, which)?;
    let manifest = manifest::read(&path)?;
    let sha256 = store::hash(&path)?;
    let policy = plan.trust();
    let first = policy.lock.as_ref().is_some_and(|lock| !lock.exists());
    let signed_by = policy.signed_by(&manifest.name, &sha256, &path, key)?;
    let pin = Pin {
        name: manifest.name,
        version: manifest.version,
        conformance: verdict(&sha256),
        sha256,
        account: account.map(str::to_owned),
        signed_by,
        pinned_at: jiff::Timestamp::from_millisecond(now_ms)
            .map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            .unwrap_or_default(),
    };
    policy.pin(pin.clone(), key, only)?;
    Ok(Trusted { pin, path, first })
}

/// Whether a refusal comes from the lock file's pins and not from the plugin.
pub(crate) fn is_about_pins(error: &PluginError) -> bool {
    [codes::UNPINNED, codes::PIN_CHANGED, codes::OTHER_ACCOUNT].contains(&error.code())
}

/// The one file that a name or path means; copies of one content are one.
///
/// # Errors
/// When there is none, or several of different contents.
pub(crate) fn the_one(plan: &SearchPlan, which: &str) -> Result<PathBuf, PluginError> {
    let found = plan.scan();
    let chosen = doctor::select(plan, &found, which)?;
    let is_chosen = |f: &&Found| chosen.contains(&f.path);
    let usable: Vec<loader::Candidate<'_>> = found
        .iter()
        .filter(is_chosen)
        .filter_map(|f| Some((f.path.as_path(), f.manifest.as_ref().ok()?)))
        .collect();
    let explicit = found.iter().filter(is_chosen).any(|f| f.explicit);
    let of_rank = |path: &Path| found.iter().any(|f| f.path == path && f.explicit == explicit);
    let mut ranked: Vec<_> = usable.into_iter().filter(|(path, _)| of_rank(path)).collect();
    loader::drop_shipped(&found, &mut ranked);
    match loader::single(&ranked, explicit)? {
        Some((path, _)) => Ok(path.to_path_buf()),
        None => Ok(chosen[0].clone()),
    }
}
