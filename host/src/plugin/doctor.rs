//! Every reason why a plugin would not load or should not be loaded, found by reading and never by running.

use std::path::{Path, PathBuf};

use qt_plugin_api::manifest::Manifest;
use serde_json::Value;

use super::{
    Anatomy, PluginError, SearchPlan, Trust, block,
    codes::{
        self, AMBIGUOUS, CONFIGURATION, LEFT_BEHIND, LIBRARY_TOO_OLD, MISSING_LIBRARY, NOEXEC, TRUNCATED,
        WRITABLE,
    },
    libraries::{self, Gap, Loader},
    loader, manifest, mends,
    search::Found,
    store,
    trust::Subject,
};
use crate::system;

/// One fault and its mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// One of [`codes::CODES`].
    pub code: &'static str,
    /// What is wrong, a sentence that continues "the plugin …".
    pub fault: String,
    /// What to do.
    pub mend: String,
}

/// What was found of one file.
#[derive(Clone, Debug)]
pub(crate) struct Checkup {
    /// The file.
    pub path: PathBuf,
    /// What it says of itself, even where it cannot be used.
    pub manifest: Option<Manifest>,
    /// What it is made of, if it is a library.
    pub anatomy: Option<Anatomy>,
    /// SHA-256 of the file, in lower-case hexadecimal digits; with companions that of the list of all.
    pub sha256: Option<String>,
    /// The libraries of its own folder that it brings in.
    pub companions: Vec<PathBuf>,
    /// Its length in bytes.
    pub size: Option<u64>,
    /// How it stands with pins and signatures.
    pub trust: Option<Trust>,
    /// Everything that is wrong with it.
    pub findings: Vec<Finding>,
}

impl Finding {
    fn new(code: &'static str, fault: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            code,
            fault: fault.into(),
            mend: mend.into(),
        }
    }

    /// Of a refusal's sentence, whose last part says what to do.
    fn of_sentence(code: &'static str, sentence: &str) -> Self {
        match sentence.rsplit_once("; ") {
            Some((fault, mend)) => Self::new(code, fault, mend),
            None => Self::new(code, sentence, codes::explain(code).map_or("", |code| code.mend)),
        }
    }

    fn of_error(error: &PluginError) -> Self {
        Self::of_sentence(error.code(), &error.reason())
    }
}

impl Checkup {
    /// Adds what is wrong with the plugin's block of the configuration, which is `whose`: empty, or an account's words.
    pub(crate) fn check_block(&mut self, block: Option<&Value>, whose: &str) {
        let Some(manifest) = &self.manifest else { return };
        let faults = block::faults(manifest, block);
        self.findings.extend(faults.into_iter().map(|fault| {
            Finding::new(
                CONFIGURATION,
                format!("does not take its block of the configuration{whose}: {fault}"),
                format!(
                    "correct it; `qt-host plugins inspect {}` prints every option",
                    manifest.name
                ),
            )
        }));
    }
}

/// Looks at the plugin of a name or path, or at every file of a plan. No code of any of them runs.
///
/// # Errors
/// When `which` names nothing that is there.
pub(crate) fn check_up(
    plan: &SearchPlan,
    which: Option<&str>,
    data_dir: &Path,
) -> Result<Vec<Checkup>, PluginError> {
    let found = plan.scan();
    let chosen: Vec<PathBuf> = match which {
        None => found.iter().map(|f| f.path.clone()).collect(),
        Some(which) => select(plan, &found, which)?,
    };
    let loader = Loader::new(system::library_places());
    let judge = plan.trust().judge();
    let noexec = system::is_noexec(&store::root(data_dir));
    let mut checkups: Vec<Checkup> = chosen
        .iter()
        .map(|path| {
            let mut checkup = examine(path, &found);
            needs(&mut checkup, &loader);
            permissions(&mut checkup);
            let subject = |checkup: &Checkup| Some((checkup.manifest.clone()?.name, checkup.sha256.clone()?));
            if let Some((name, sha256)) = subject(&checkup) {
                let (trust, faults) = judge.of(&Subject {
                    name: &name,
                    sha256: &sha256,
                    source: path,
                    content: path,
                });
                checkup.trust = Some(trust);
                // A damaged lock file is one fault, and not one of every plugin.
                let own = faults
                    .iter()
                    .filter(|fault| !matches!(fault, PluginError::Lock { .. }));
                checkup.findings.extend(own.map(Finding::of_error));
            }
            if noexec && checkup.anatomy.is_some() {
                let place = store::root(data_dir);
                checkup.findings.push(Finding::new(
                    NOEXEC,
                    format!(
                        "would be loaded from {}, whose disk is mounted with noexec",
                        place.display()
                    ),
                    "choose a data folder on another disk with --data-dir or `data_dir`",
                ));
            }
            clashes(&mut checkup, &found);
            checkup
        })
        .collect();
    if let Some(fault @ PluginError::Lock { path, .. }) = judge.lock_fault() {
        checkups.push(Checkup {
            findings: vec![Finding::of_error(fault)],
            ..empty(path)
        });
    }
    Ok(checkups)
}

/// The files that a name or path means.
///
/// # Errors
/// When there is none.
pub(super) fn select(plan: &SearchPlan, found: &[Found], which: &str) -> Result<Vec<PathBuf>, PluginError> {
    let path = Path::new(which);
    let looks_like_one = which.contains(['/', '\\'])
        || which.to_ascii_lowercase().ends_with(std::env::consts::DLL_SUFFIX)
        || path.is_file();
    if looks_like_one {
        return Ok(vec![path.to_path_buf()]);
    }
    let wanted = which.to_ascii_lowercase().replace('_', "-");
    let is_meant = |file: &&Found| match &file.manifest {
        Ok(manifest) => manifest.name.eq_ignore_ascii_case(which),
        // One that cannot be used has a name all the same, or at least a file's name that speaks.
        Err(_) => {
            loader::stem(&file.path) == wanted
                || manifest::examine(&file.path)
                    .manifest
                    .is_some_and(|manifest| manifest.name.eq_ignore_ascii_case(which))
        }
    };
    let chosen: Vec<PathBuf> = found.iter().filter(is_meant).map(|f| f.path.clone()).collect();
    if chosen.is_empty() {
        return Err(loader::not_found(plan, found, which));
    }
    Ok(chosen)
}

fn empty(path: &Path) -> Checkup {
    Checkup {
        path: path.to_path_buf(),
        manifest: None,
        anatomy: None,
        sha256: None,
        companions: Vec::new(),
        size: None,
        trust: None,
        findings: Vec::new(),
    }
}

/// What the file itself tells.
fn examine(path: &Path, found: &[Found]) -> Checkup {
    let examined = manifest::examine(path);
    let mut checkup = empty(path);
    for (code, sentence) in &examined.faults {
        checkup.findings.push(Finding::of_sentence(code, sentence));
    }
    if let Some(anatomy) = &examined.anatomy
        && !anatomy.damaged.is_empty()
        && examined.faults.iter().all(|(code, _)| *code != TRUNCATED)
    {
        checkup.findings.push(Finding::new(
            TRUNCATED,
            format!("has damaged tables: {}", anatomy.damaged.join(", ")),
            "copy or build it again",
        ));
    }
    // What a folder's fault is, only the search knows, which was told who named it.
    if checkup.anatomy.is_none()
        && let Some(Err(error)) = found.iter().find(|f| f.path == path).map(|f| f.manifest.as_ref())
        && error.reason().starts_with("folder (")
    {
        checkup.findings = vec![Finding::of_error(error)];
    }
    if let Ok((_, size)) = manifest::open(path) {
        checkup.size = Some(size);
        checkup.sha256 = store::hash(path).ok();
        let companions = libraries::companions(path);
        checkup.companions = companions.into_iter().map(|companion| companion.path).collect();
    }
    (checkup.anatomy, checkup.manifest) = (examined.anatomy, examined.manifest);
    checkup
}

/// What it needs and does not get. For another machine's file the question has no sense.
fn needs(checkup: &mut Checkup, loader: &Loader) {
    let foreign = checkup
        .findings
        .iter()
        .any(|f| [codes::FOREIGN, TRUNCATED].contains(&f.code));
    let Some(anatomy) = checkup.anatomy.as_ref().filter(|_| !foreign) else {
        return;
    };
    let gaps = loader.gaps(&checkup.path, anatomy);
    checkup
        .findings
        .extend(gaps.iter().map(|gap| finding(gap, &checkup.path, anatomy)));
}

fn finding(gap: &Gap, plugin: &Path, anatomy: &Anatomy) -> Finding {
    let through = |wanted_by: &Path| {
        let own = std::path::absolute(plugin).is_ok_and(|plugin| plugin == wanted_by);
        if own {
            String::new()
        } else {
            format!(" (by way of {})", wanted_by.display())
        }
    };
    match gap {
        Gap::Missing {
            library,
            wanted_by,
            searched,
            misfit,
        } => {
            let places: Vec<String> = searched.iter().map(|dir| dir.display().to_string()).collect();
            let misfit = misfit.as_ref().map_or_else(String::new, |path| {
                format!(
                    "; the one at {} is for another processor, or no library",
                    path.display()
                )
            });
            Finding::new(
                MISSING_LIBRARY,
                format!(
                    "needs the library {library}{}, which is not on this machine{misfit}; searched in this order: {}",
                    through(wanted_by),
                    places.join(", ")
                ),
                mends::of_missing(library, anatomy),
            )
        }
        Gap::LeftBehind { library, found } => Finding::new(
            LEFT_BEHIND,
            format!(
                "needs the library {library}, which lies at {}; what is loaded is a private copy in the data folder, which \
                 does not reach that",
                found.display()
            ),
            mends::of_left_behind(found.parent().unwrap_or(Path::new("")), anatomy),
        ),
        Gap::TooOld {
            library,
            found,
            wanted_by,
            needed,
            newest,
        } => Finding::new(
            LIBRARY_TOO_OLD,
            format!(
                "needs {needed} of {library}{}, and the newest that {} has is {}",
                through(wanted_by),
                found.display(),
                newest.as_deref().unwrap_or("of another kind")
            ),
            "build it on this machine or on one as old, or update this system",
        ),
    }
}

/// Who else may change what trades.
fn permissions(checkup: &mut Checkup) {
    let folder = std::path::absolute(&checkup.path)
        .ok()
        .and_then(|path| path.parent().map(Path::to_path_buf));
    let file = Some(checkup.path.clone());
    for (what, path, mend) in [("file", file, "chmod o-w"), ("folder", folder, "chmod o-w")] {
        let Some(path) = path else { continue };
        let mode = std::fs::metadata(&path)
            .ok()
            .filter(|metadata| metadata.is_file() || metadata.is_dir())
            .and_then(|metadata| system::writable_by_all(&metadata));
        if let Some(mode) = mode {
            checkup.findings.push(Finding::new(
                WRITABLE,
                format!(
                    "can be changed by everybody on this machine, as its {what} {} has mode {mode:04o}",
                    path.display()
                ),
                format!("{mend} {}", path.display()),
            ));
        }
    }
}

/// Other files of the same name and another content, of which the search would not know which one is meant.
fn clashes(checkup: &mut Checkup, found: &[Found]) {
    let (Some(own), Some(sha256)) = (&checkup.manifest, &checkup.sha256) else {
        return;
    };
    let same_file = |path: &Path| {
        path == checkup.path
            || matches!((path.canonicalize(), checkup.path.canonicalize()), (Ok(a), Ok(b)) if a == b)
    };
    // A file that somebody named comes before those in folders, so that these two never clash.
    let Some(explicit) = found.iter().find(|f| same_file(&f.path)).map(|f| f.explicit) else {
        // No search finds it, so that it is in nobody's way.
        return;
    };
    let others: Vec<String> = found
        .iter()
        .filter(|f| f.explicit == explicit && !same_file(&f.path))
        .filter(|f| {
            f.manifest
                .as_ref()
                .is_ok_and(|m| m.name.eq_ignore_ascii_case(&own.name))
        })
        .filter(|f| store::hash(&f.path).is_ok_and(|other| other != *sha256))
        .map(|f| f.path.display().to_string())
        .collect();
    if !others.is_empty() {
        checkup.findings.push(Finding::new(
            AMBIGUOUS,
            format!(
                "has the name `{}`, and so has another file with another content: {}",
                own.name,
                others.join(", ")
            ),
            format!(
                "remove one of them, or name this one with --plugin {}",
                checkup.path.display()
            ),
        ));
    }
}
