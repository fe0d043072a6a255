//! Broker plugins: where they lie, what they say of themselves, and how one comes into this process.
//!
//! Looking at a plugin runs none of it: its manifest is read by parsing the file. Loading takes a private copy whose
//! name is its own hash, so that nobody can replace or shorten a file that is mapped.

mod loader;
mod manifest;
mod search;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use qt_plugin_api::{host::LoadFault, manifest::Manifest};

pub(crate) use loader::{KeptPlugin, keep, load_copy};
pub(crate) use search::SearchPlan;

/// The broker that a configuration without `broker` means.
pub(crate) const DEFAULT_BROKER: &str = "simulated";

/// Every code of a plugin's fault. A code keeps its meaning for ever; P009, P012, P016, P018 and P019 are also
/// given by qt-plugin-api once a library is open.
pub(crate) const CODES: [(&str, &str); 19] = [
    (NOT_FOUND, "no plugin of that name was found"),
    (UNREADABLE, "the file or folder is missing or cannot be read"),
    (NOT_A_FILE, "a folder, pipe or device, not a regular file"),
    (NOT_A_LIBRARY, "empty, or no dynamic library at all"),
    (TRUNCATED, "a library that is cut short or damaged"),
    (FOREIGN, "built for another processor or system"),
    (TOO_LARGE, "larger than any plugin"),
    (NO_MANIFEST, "a library, but no plugin of quantTrader"),
    (BAD_MANIFEST, "its manifest cannot be read"),
    (ABI_TOO_OLD, "built for an older ABI than this program speaks"),
    (ABI_TOO_NEW, "built for a newer ABI than this program speaks"),
    (LAYOUT, "laid out differently than its ABI demands"),
    (PANIC_ABORT, "built so that a panic ends the whole process"),
    (AMBIGUOUS, "two different files have one plugin name"),
    (STORE, "no private copy could be made"),
    (STATEMENT, "says something else once loaded than in its file"),
    (NOT_LOADED, "the system refuses to load it"),
    (ROOT, "its root module is missing or cannot be made"),
    (ABI_LIBRARY, "built with another version of the ABI library"),
];

const NOT_FOUND: &str = "QT-P001";
const UNREADABLE: &str = "QT-P002";
const NOT_A_FILE: &str = "QT-P003";
const NOT_A_LIBRARY: &str = "QT-P004";
const TRUNCATED: &str = "QT-P005";
const FOREIGN: &str = "QT-P006";
const TOO_LARGE: &str = "QT-P007";
const NO_MANIFEST: &str = "QT-P008";
const BAD_MANIFEST: &str = "QT-P009";
const ABI_TOO_OLD: &str = "QT-P010";
const ABI_TOO_NEW: &str = "QT-P011";
const LAYOUT: &str = "QT-P012";
const PANIC_ABORT: &str = "QT-P013";
const AMBIGUOUS: &str = "QT-P014";
const STORE: &str = "QT-P015";
const STATEMENT: &str = "QT-P016";
const NOT_LOADED: &str = "QT-P017";
const ROOT: &str = "QT-P018";
const ABI_LIBRARY: &str = "QT-P019";

/// Why a plugin cannot be used: a stable code and one sentence with the file and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PluginError {
    /// One file cannot be used.
    #[error("{code}: the plugin {path} {reason}", path = path.display())]
    File {
        /// One of [`CODES`].
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
        "{AMBIGUOUS}: two different files are a plugin named `{name}`, {first} and {second}; remove one, or name the one you mean with --plugin",
        first = first.display(),
        second = second.display()
    )]
    Ambiguous {
        /// The name.
        name: String,
        /// The file that was found first.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
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

    /// The stable code, one of [`CODES`].
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::File { code, .. } => code,
            Self::NotFound(_) => NOT_FOUND,
            Self::Ambiguous { .. } => AMBIGUOUS,
        }
    }

    /// The sentence without the code and, where it is about one file, without that file's name.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::File { reason, .. } => reason.clone(),
            Self::NotFound(text) => text.clone(),
            Self::Ambiguous { .. } => self.to_string(),
        }
    }

    /// The layouts that differ, for an expert; mostly empty.
    pub(crate) fn report(&self) -> &str {
        match self {
            Self::File { report, .. } => report,
            Self::NotFound(_) | Self::Ambiguous { .. } => "",
        }
    }
}

/// A file that is a plugin or should have been one.
#[derive(Clone, Debug)]
pub(crate) struct PluginFile {
    /// Where it was found.
    pub path: PathBuf,
    /// Whether it can be used.
    pub state: FileState,
}

/// Whether a file can be used, as far as can be told without running it.
// A handful of them exist at a time, and most are the large one.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub(crate) enum FileState {
    /// It can.
    Usable {
        /// What it says of itself.
        manifest: Manifest,
        /// SHA-256 of the file, in lower-case hexadecimal digits.
        sha256: String,
    },
    /// It cannot.
    Refused {
        /// One of [`CODES`].
        code: &'static str,
        /// The sentence that continues "the plugin …".
        reason: String,
    },
}

/// Every plugin file of a plan, in the order of the search. One bad file never hides another, and no code runs.
pub(crate) fn list(plan: &SearchPlan) -> Vec<PluginFile> {
    plan.scan()
        .into_iter()
        .map(|found| {
            let hashed = found
                .manifest
                .and_then(|manifest| Ok((manifest, store::hash(&found.path)?)));
            let state = match hashed {
                Ok((manifest, sha256)) => FileState::Usable { manifest, sha256 },
                Err(error) => FileState::Refused {
                    code: error.code(),
                    reason: error.reason(),
                },
            };
            PluginFile {
                path: found.path,
                state,
            }
        })
        .collect()
}
