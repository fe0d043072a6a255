//! Chooses a plugin by name and takes it into this process.

// The one place outside qt-plugin-api where foreign code enters; every use says why it is sound.
#![allow(unsafe_code)]

use std::{
    ffi::c_void,
    path::{Path, PathBuf},
};

use libloading::Library;
use qt_plugin_api::{
    host::{PluginModule, ROOT_SYMBOL},
    manifest::Manifest,
};

use crate::clock::Clock;

use super::{
    DEFAULT_BROKER, PluginError, SearchPlan,
    codes::{NOT_LOADED, ROOT, STORE},
    manifest,
    search::{Found, Place},
    store,
    trust::Subject,
};

/// A private copy of a plugin's file, chosen and read, with none of its code run yet.
#[derive(Debug, Clone)]
pub(crate) struct KeptPlugin {
    manifest: Manifest,
    path: PathBuf,
    copy: PathBuf,
    sha256: String,
}

impl KeptPlugin {
    /// The plugin's name as it writes it.
    pub(crate) fn name(&self) -> &str {
        &self.manifest.name
    }

    /// What it says of itself.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The file that was chosen.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The private copy, which is what runs.
    pub(crate) fn copy(&self) -> &Path {
        &self.copy
    }

    /// SHA-256 of the copy, in lower-case hexadecimal digits.
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Takes the plugin into this process. It stays there until the process ends, since its threads may outlive any
    /// value of ours.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(crate) fn bring_in(&self) -> Result<PluginModule, PluginError> {
        let began = Clock::system().monotonic();
        let module = bring_in(&self.path, &self.copy, &self.manifest)?;
        let us = began.elapsed().as_micros();
        tracing::debug!("the plugin {} was loaded in {us} µs", self.manifest.name);
        Ok(module)
    }
}

/// Takes a private copy that another process of ours made into this one.
///
/// # Errors
/// When its content is not what `sha256` promises, or it cannot be used.
pub(crate) fn load_copy(copy: &Path, sha256: &str) -> Result<PluginModule, PluginError> {
    let found = store::hash(copy)?;
    if found != sha256 {
        let reason = format!(
            "is not the one that was checked: its SHA-256 is {found} and should be {sha256}; start again"
        );
        return Err(PluginError::file(STORE, copy, reason));
    }
    bring_in(copy, copy, &manifest::read(copy)?)
}

/// Chooses the plugin of a name, in any case, makes a private copy of it and checks that it may be loaded; without a
/// name the default's.
///
/// Files that were named one by one come before what lies in folders, and what was installed before what came with the
/// program. If exactly one of those that were named is usable and nobody gave a name, it is meant whatever it is called.
///
/// # Errors
/// When none or several are meant, or the one that is may not be loaded.
pub(crate) fn keep(
    plan: &SearchPlan,
    name: Option<&str>,
    data_dir: &Path,
) -> Result<KeptPlugin, PluginError> {
    let found = plan.scan();
    let (path, wanted) = choose(plan, &found, name)?;
    let began = Clock::system().monotonic();
    let stored = store::keep(path, data_dir)?;
    // What counts is the copy: the file may have changed since it was listed.
    let manifest = match &stored.content {
        Some(content) => manifest::read_content(&stored.path, content)?,
        None => manifest::read(&stored.path)?,
    };
    if manifest.name != wanted.name {
        let reason = format!(
            "changed from `{}` to `{}` while it was read; start again",
            wanted.name, manifest.name
        );
        return Err(PluginError::file(STORE, path, reason));
    }
    let subject = Subject {
        name: &manifest.name,
        sha256: &stored.sha256,
        source: path,
        content: &stored.path,
    };
    let (_, faults) = plan.trust().judge().of(&subject);
    if let Some(fault) = faults.into_iter().next() {
        return Err(fault);
    }
    let us = began.elapsed().as_micros();
    tracing::debug!("the plugin {} was copied and checked in {us} µs", manifest.name);
    Ok(KeptPlugin {
        manifest,
        path: path.to_path_buf(),
        copy: stored.path,
        sha256: stored.sha256,
    })
}

pub(super) type Candidate<'a> = (&'a Path, &'a Manifest);

/// The file to load for a name, or where nobody gave one.
pub(super) fn choose<'a>(
    plan: &SearchPlan,
    found: &'a [Found],
    wanted: Option<&str>,
) -> Result<Candidate<'a>, PluginError> {
    let name = wanted.unwrap_or(DEFAULT_BROKER);
    let usable = |explicit: bool| -> Vec<Candidate<'a>> {
        let those = found.iter().filter(|f| f.explicit == explicit);
        those
            .filter_map(|f| Some((f.path.as_path(), f.manifest.as_ref().ok()?)))
            .collect()
    };
    let named = |all: &[Candidate<'a>]| -> Vec<Candidate<'a>> {
        let those = all.iter().filter(|(_, m)| m.name.eq_ignore_ascii_case(name));
        those.copied().collect()
    };
    let explicit = usable(true);
    if let Some(only) = single(&named(&explicit), true)? {
        return Ok(only);
    }
    // A file that somebody named and that cannot be used is a mistake; another plugin in its place would be worse.
    if let Some(error) = found
        .iter()
        .filter(|f| f.explicit)
        .find_map(|f| f.manifest.as_ref().err())
    {
        return Err(error.clone());
    }
    // Whoever says `simulated` may not be given a broker with real money because its file was named.
    if let [only] = explicit[..]
        && wanted.is_none()
    {
        tracing::warn!(
            "Using the plugin `{}` of {}, the only one that was named; say so with \"broker\": \"{}\"",
            only.1.name,
            only.0.display(),
            only.1.name
        );
        return Ok(only);
    }
    let mut in_folders = named(&usable(false));
    drop_shipped(found, &mut in_folders);
    if let Some(error) = spoilt_installed(found, &in_folders, name) {
        return Err(error);
    }
    if let Some(only) = single(&in_folders, false)? {
        return Ok(only);
    }
    Err(refused_of_name(found, name).unwrap_or_else(|| not_found(plan, found, name)))
}

/// Of several files of a name, what somebody installed is meant and not what came with the program.
pub(super) fn drop_shipped(found: &[Found], candidates: &mut Vec<Candidate<'_>>) {
    let lies = |path: &Path, place: Place| found.iter().any(|f| f.path == path && f.place == place);
    if candidates.iter().any(|(path, _)| lies(path, Place::Installed)) {
        candidates.retain(|(path, _)| !lies(path, Place::Shipped));
    }
}

/// The fault of what somebody installed under a name, where it cannot be used: what came with the program is another version of
/// it, and trading with that unasked would be worse than not at all.
fn spoilt_installed(found: &[Found], candidates: &[Candidate<'_>], name: &str) -> Option<PluginError> {
    let installed = |f: &&Found| f.place == Place::Installed;
    let is_candidate = |f: &Found| candidates.iter().any(|(path, _)| *path == f.path);
    if found.iter().filter(installed).any(is_candidate) {
        return None;
    }
    refused_of_name(found.iter().filter(installed), name)
}

/// The only one of several files of a name, all of which somebody named or none; copies of one content are one.
pub(super) fn single<'a>(
    candidates: &[Candidate<'a>],
    named: bool,
) -> Result<Option<Candidate<'a>>, PluginError> {
    let Some(&first) = candidates.first() else {
        return Ok(None);
    };
    if candidates.len() > 1 {
        let sha256 = store::hash(first.0)?;
        for second in &candidates[1..] {
            if store::hash(second.0)? != sha256 {
                return Err(PluginError::Ambiguous {
                    name: first.1.name.clone(),
                    first: first.0.to_path_buf(),
                    second: second.0.to_path_buf(),
                    both_named: named,
                });
            }
        }
    }
    Ok(Some(first))
}

/// A plugin's name as its file's name suggests it: `simulated` for `libsimulated.so`.
pub(super) fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let bare = stem.strip_prefix(std::env::consts::DLL_PREFIX).unwrap_or(&stem);
    bare.to_ascii_lowercase().replace('_', "-")
}

/// The fault of a file that by its own name is the plugin that was asked for.
fn refused_of_name<'a>(found: impl IntoIterator<Item = &'a Found>, name: &str) -> Option<PluginError> {
    let wanted = name.to_ascii_lowercase().replace('_', "-");
    let file = found
        .into_iter()
        .find(|f| f.manifest.is_err() && stem(&f.path) == wanted)?;
    file.manifest.as_ref().err().cloned()
}

pub(super) fn not_found(plan: &SearchPlan, found: &[Found], name: &str) -> PluginError {
    let mut text = format!("no plugin named `{name}` was found");
    let mut names: Vec<&str> = found
        .iter()
        .filter_map(|f| Some(f.manifest.as_ref().ok()?.name.as_str()))
        .collect();
    names.sort_unstable();
    names.dedup();
    let lower = name.to_ascii_lowercase();
    let near = names
        .iter()
        .filter(|other| strsim::damerau_levenshtein(&lower, &other.to_ascii_lowercase()) <= 2)
        .map(|other| format!("`{other}`"))
        .collect::<Vec<_>>();
    if !near.is_empty() {
        text += &format!(" (did you mean {}?)", near.join(" or "));
    }
    text += &format!("; searched in this order: {}", plan.places().join(", "));
    if !names.is_empty() {
        text += &format!("; found there: {}", names.join(", "));
    }
    let refused: Vec<String> = found
        .iter()
        .filter_map(|f| {
            Some(format!(
                "{} ({})",
                f.path.display(),
                f.manifest.as_ref().err()?.code()
            ))
        })
        .collect();
    if !refused.is_empty() {
        text += &format!("; refused: {}", refused.join(", "));
    }
    text += "; put the plugin's file into one of these folders, name it with --plugin, or correct `broker`";
    PluginError::NotFound(text)
}

/// Opens the private copy for ever and asks it for its root module.
fn bring_in(path: &Path, copy: &Path, manifest: &Manifest) -> Result<PluginModule, PluginError> {
    let library = open(copy).map_err(|e| {
        let reason = format!(
            "was refused by the system's loader ({e}); install the libraries that it needs, or build it on this machine"
        );
        PluginError::file(NOT_LOADED, path, reason)
    })?;
    // Never closed, whatever is found in it: a thread or a destructor of its code may still be alive.
    let library: &'static Library = Box::leak(Box::new(library));
    // SAFETY: the symbol is only taken as an address here; `from_symbol` checks what lies behind it.
    let symbol = unsafe { library.get::<*const c_void>(ROOT_SYMBOL) }.map_err(|e| {
        let reason = format!(
            "does not export {ROOT_SYMBOL} ({e}); export it with `export_broker!` and build it again"
        );
        PluginError::file(ROOT, path, reason)
    })?;
    let address: *const c_void = *symbol;
    // SAFETY: the address is that symbol's, and the library was leaked above, so it stays open with the process.
    let module =
        unsafe { PluginModule::from_symbol(address) }.map_err(|fault| PluginError::fault(path, fault))?;
    module
        .check_statement(manifest)
        .map_err(|fault| PluginError::fault(path, fault))?;
    Ok(module)
}

/// Opens a library by its absolute path, with every symbol bound at once: a missing one is an error now and not the
/// end of the process at its first call. Its names stay its own.
// The one thing that differs outside of `system`, where nothing may be `unsafe`.
#[cfg(unix)]
fn open(path: &Path) -> Result<Library, libloading::Error> {
    use libloading::os::unix::{Library as Unix, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: constructors of the library run here. The user chose this file, its manifest was read, and the copy
    // is private and complete, so that mapping it cannot fault.
    unsafe { Unix::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map(Into::into)
}

/// Opens a library by its absolute path.
#[cfg(not(unix))]
fn open(path: &Path) -> Result<Library, libloading::Error> {
    #[cfg(windows)]
    {
        use libloading::os::windows::{LOAD_WITH_ALTERED_SEARCH_PATH, Library as Windows};
        // What it brings in lies beside it, and not beside this program.
        // SAFETY: initialisers of the library run here. The user chose this file, its manifest was read, and the copy
        // is private and complete.
        unsafe { Windows::load_with_flags(path, LOAD_WITH_ALTERED_SEARCH_PATH) }.map(Into::into)
    }
    #[cfg(not(windows))]
    // SAFETY: as above.
    unsafe {
        Library::new(path)
    }
}
