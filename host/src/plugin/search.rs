//! Where plugins are looked for, and in which order.

use std::{
    collections::HashSet,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use qt_plugin_api::manifest::Manifest;

use super::{
    PluginError, TrustPolicy,
    codes::{NO_MANIFEST, UNREADABLE},
    manifest,
};

/// The variable that names more folders, separated as in `PATH`.
const PATH_VARIABLE: &str = "QT_PLUGIN_PATH";

/// Where plugins are looked for, in order.
#[derive(Clone, Debug)]
pub(crate) struct SearchPlan {
    files: Vec<PathBuf>,
    folders: Vec<Folder>,
    /// Which of them may be loaded.
    trust: TrustPolicy,
}

/// What kind of place a file was found at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file that somebody named.
    Named,
    /// A folder that somebody named.
    Folder,
    /// Beside the program, with which it came.
    Shipped,
    /// The data folder, into which somebody installed it.
    Installed,
}

/// A folder of a plan.
#[derive(Clone, Debug)]
struct Folder {
    path: PathBuf,
    /// Who named it, for the message that lists the folders.
    origin: &'static str,
    /// One that somebody named must be there.
    place: Place,
    /// Other libraries lie there by right, so that one without a manifest is no mistake.
    mixed: bool,
}

/// A file that was found and what its manifest says.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Where it lies.
    pub path: PathBuf,
    /// Named by `--plugin` or the configuration's `plugins`.
    pub explicit: bool,
    /// What kind of place that is.
    pub place: Place,
    /// What it says of itself, or why it cannot be used.
    pub manifest: Result<Manifest, PluginError>,
}

impl SearchPlan {
    /// The plan for the files and folders that were named, `QT_PLUGIN_PATH`, the executable and the data folder.
    pub(crate) fn new(plugins: &[PathBuf], plugin_dirs: &[PathBuf], data_dir: &Path) -> Self {
        let executable = std::env::current_exe().ok();
        Self::with(
            plugins,
            plugin_dirs,
            std::env::var_os(PATH_VARIABLE).as_deref(),
            executable.as_deref().and_then(Path::parent),
            data_dir,
        )
    }

    /// The same without a look at the process.
    pub(crate) fn with(
        plugins: &[PathBuf],
        plugin_dirs: &[PathBuf],
        path_variable: Option<&OsStr>,
        executable_dir: Option<&Path>,
        data_dir: &Path,
    ) -> Self {
        let mut plan = Self {
            files: plugins.iter().map(|path| absolute(path)).collect(),
            folders: Vec::new(),
            trust: TrustPolicy::default(),
        };
        for dir in plugin_dirs {
            plan.add(dir, "--plugin-dir", Place::Folder);
        }
        for dir in path_variable.iter().flat_map(|list| std::env::split_paths(list)) {
            plan.add(&dir, PATH_VARIABLE, Place::Folder);
        }
        if let Some(dir) = executable_dir {
            plan.add(&dir.join("plugins"), "beside the program", Place::Shipped);
            plan.add(dir, "the program's own folder", Place::Shipped);
            if let Some(own) = plan.folders.last_mut().filter(|f| f.path == absolute(dir)) {
                own.mixed = true;
            }
        }
        plan.add(&data_dir.join("plugins"), "the data folder", Place::Installed);
        plan
    }

    /// The same plan, of whose files only those may be loaded that a policy lets pass.
    pub(crate) fn trusting(mut self, trust: TrustPolicy) -> Self {
        self.trust = trust;
        self
    }

    /// Which files may be loaded.
    pub(crate) fn trust(&self) -> &TrustPolicy {
        &self.trust
    }

    fn add(&mut self, dir: &Path, origin: &'static str, place: Place) {
        let path = absolute(dir);
        if dir.as_os_str().is_empty() || self.folders.iter().any(|known| known.path == path) {
            return;
        }
        // Where cargo puts the libraries of everything that it builds.
        let mixed = path.file_name() == Some(OsStr::new("deps"));
        self.folders.push(Folder {
            path,
            origin,
            place,
            mixed,
        });
    }

    /// Every place in order, each with who named it.
    pub(crate) fn places(&self) -> Vec<String> {
        let files = self.files.iter().map(|file| (file, "--plugin"));
        let folders = self.folders.iter().map(|folder| (&folder.path, folder.origin));
        files
            .chain(folders)
            .map(|(path, origin)| format!("{} ({origin})", path.display()))
            .collect()
    }

    /// Every file that is or should be a plugin, in order; one that is reached twice counts once.
    pub(crate) fn scan(&self) -> Vec<Found> {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for path in &self.files {
            if seen.insert(identity(path)) {
                found.push(Found {
                    manifest: manifest::read(path),
                    path: path.clone(),
                    explicit: true,
                    place: Place::Named,
                });
            }
        }
        for folder in &self.folders {
            match libraries(&folder.path) {
                Ok(files) => found.extend(
                    files
                        .into_iter()
                        .filter(|path| seen.insert(identity(path)))
                        .map(|path| Found {
                            manifest: manifest::read(&path),
                            path,
                            explicit: false,
                            place: folder.place,
                        })
                        .filter(|f| !folder.mixed || !lacks_manifest(f)),
                ),
                // Folders that nobody named need not exist.
                Err(e) if e.kind() == io::ErrorKind::NotFound && folder.place != Place::Folder => {}
                Err(e) => found.push(Found {
                    path: folder.path.clone(),
                    explicit: false,
                    place: folder.place,
                    manifest: Err(folder_fault(folder, &e)),
                }),
            }
        }
        found
    }
}

fn lacks_manifest(found: &Found) -> bool {
    matches!(&found.manifest, Err(error) if error.code() == NO_MANIFEST)
}

fn folder_fault(folder: &Folder, error: &io::Error) -> PluginError {
    let reason = format!(
        "folder ({}) cannot be listed ({error}); correct its name or its permissions",
        folder.origin
    );
    PluginError::file(UNREADABLE, &folder.path, reason)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// What makes two paths one file. A path that leads nowhere is itself.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// The dynamic libraries of a folder by name, in an order that does not depend on the disk.
pub(super) fn libraries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
        if name.to_ascii_lowercase().ends_with(std::env::consts::DLL_SUFFIX) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
