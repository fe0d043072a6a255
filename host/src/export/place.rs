//! Puts files in their place: whole or not at all, their owner's alone, and never over others unasked.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::system;

/// Why a file is not in its place. What was there before is still there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// Something is there already.
    #[error("{path} exists already; nothing was written. Give another name, or --force to replace it")]
    Exists {
        /// The file or folder.
        path: String,
    },
    /// A folder that is not an export.
    #[error(
        "{path} holds other things ({name}); nothing was written, since --force replaces nothing but an earlier export"
    )]
    Foreign {
        /// The folder.
        path: String,
        /// What was found in it.
        name: String,
    },
    /// A file is there and a folder is to be, or the other way round.
    #[error("{path} is a {found}, and a {wanted} is to be written there; nothing was. Give another name")]
    OtherKind {
        /// The path.
        path: String,
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// The system says no: no such folder, no right to write, a full disk.
    #[error("{path} cannot be written: {source}; nothing was changed")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// What the content of a file is written to.
pub(crate) type Out<'a> = BufWriter<&'a File>;

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> PlaceError {
    move |source| PlaceError::Io {
        path: system::shown(path),
        source,
    }
}

/// Says what keeps an export from `path`. `names` are the files of a folder; without them, a file is to be written.
pub(super) fn check(path: &Path, force: bool, names: Option<&[String]>) -> Result<(), PlaceError> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let folder = parent(path);
            return match std::fs::metadata(folder) {
                Ok(metadata) if metadata.is_dir() => Ok(()),
                Ok(_) => Err(io_error(path)(io::ErrorKind::NotADirectory.into())),
                Err(e) => Err(io_error(path)(io::Error::new(
                    e.kind(),
                    format!(
                        "the folder {} cannot be used ({e}); make it first",
                        system::shown(folder)
                    ),
                ))),
            };
        }
        Err(e) => return Err(io_error(path)(e)),
    };
    if !force {
        return Err(PlaceError::Exists {
            path: system::shown(path),
        });
    }
    let (found, wanted) = (
        if found.is_dir() { "folder" } else { "file" },
        if names.is_some() { "folder" } else { "file" },
    );
    if found != wanted {
        return Err(PlaceError::OtherKind {
            path: system::shown(path),
            found,
            wanted,
        });
    }
    names.map_or(Ok(()), |names| only_ours(path, names))
}

/// A folder is replaced as a whole: nothing of somebody else's may be in it.
fn only_ours(path: &Path, names: &[String]) -> Result<(), PlaceError> {
    for entry in std::fs::read_dir(path).map_err(io_error(path))? {
        let name = entry.map_err(io_error(path))?.file_name();
        if !names.iter().any(|ours| name == ours.as_str()) {
            return Err(PlaceError::Foreign {
                path: system::shown(path),
                name: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

/// Writes one file.
pub(super) fn file(
    path: &Path,
    force: bool,
    content: impl FnOnce(&mut Out<'_>) -> io::Result<()>,
) -> Result<(), PlaceError> {
    check(path, force, None)?;
    let folder = parent(path);
    // Made with the owner's rights alone.
    let temporary = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(folder)
        .map_err(io_error(path))?;
    fill(temporary.as_file(), content).map_err(io_error(path))?;
    let placed = if force {
        system::put_in_place(temporary, path)
    } else {
        temporary
            .persist_noclobber(path)
            .map(drop)
            .map_err(|failed| failed.error)
    };
    placed.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => PlaceError::Exists {
            path: system::shown(path),
        },
        _ if force && path.is_file() && system::is_open_elsewhere(&error) => io_error(path)(io::Error::new(
            error.kind(),
            format!("another program may have it open, which must close it first: {error}"),
        )),
        _ => io_error(path)(error),
    })?;
    system::sync_dir(folder).map_err(io_error(path))
}

/// Writes a file into a folder that is not in its place yet.
pub(super) fn inside(
    folder: &Path,
    name: &str,
    content: impl FnOnce(&mut Out<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let file = system::private_options()
        .write(true)
        .create_new(true)
        .open(folder.join(name))?;
    fill(&file, content)
}

fn fill(file: &File, content: impl FnOnce(&mut Out<'_>) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, file);
    content(&mut out)?;
    out.flush()?;
    drop(out);
    file.sync_all()
}

/// Writes a folder whose files are named in `names`.
pub(super) fn folder(
    path: &Path,
    force: bool,
    names: &[String],
    content: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), PlaceError> {
    check(path, force, Some(names))?;
    let above = parent(path);
    let temporary = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(above)
        .map_err(io_error(path))?;
    // Within the temporary folder, which others may enter where the umask lets them.
    let new = temporary.path().join(NEW);
    system::create_private_dir(&new).map_err(|e| io_error(path)(io::Error::other(e)))?;
    content(&new).map_err(io_error(path))?;
    system::sync_dir(&new).map_err(io_error(path))?;
    let old = set_aside(path, above)?;
    if let Err(error) = std::fs::rename(&new, path) {
        if let Some(old) = &old {
            // Back where it was: the new one could not take its place.
            std::fs::rename(old.path().join(OLD), path).map_err(io_error(path))?;
        }
        return Err(io_error(path)(error));
    }
    drop(old);
    system::sync_dir(above).map_err(io_error(path))
}

/// The name of what replaces, before it is in its place.
const NEW: &str = "new";
/// The name of what is replaced, while it is set aside.
const OLD: &str = "old";

/// Moves an earlier export out of the way, into a folder that goes away when it is dropped.
fn set_aside(path: &Path, above: &Path) -> Result<Option<tempfile::TempDir>, PlaceError> {
    if !path.exists() {
        return Ok(None);
    }
    let aside = tempfile::Builder::new()
        .prefix(".old-")
        .tempdir_in(above)
        .map_err(io_error(path))?;
    std::fs::rename(path, aside.path().join(OLD)).map_err(io_error(path))?;
    Ok(Some(aside))
}
