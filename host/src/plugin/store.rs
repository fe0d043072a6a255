//! Private copies of plugin files, named by their own hash.
//!
//! A library that is mapped must never change: replacing it in place would end the process, and opening its path
//! again would return the old code. A copy that nobody else writes to has neither fault.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::{
    PluginError,
    codes::{STORE, UNREADABLE},
    manifest::{self, unreadable},
};

/// A private copy.
pub(super) struct Stored {
    pub(super) path: PathBuf,
    /// SHA-256 of this very copy.
    pub(super) sha256: String,
}

/// SHA-256 of a plugin file in lower-case hexadecimal digits.
///
/// # Errors
/// When it cannot be read.
pub(super) fn hash(path: &Path) -> Result<String, PluginError> {
    let (file, _) = manifest::open(path)?;
    digest(file).map_err(|e| {
        let (code, reason) = unreadable(&e);
        PluginError::file(code, path, reason)
    })
}

fn digest(mut file: File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(HEXLOWER.encode(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}

/// The private copy of a plugin file: the one of an earlier start if it is still the same, else a new one.
///
/// # Errors
/// When the file cannot be read, or the store cannot be written.
pub(super) fn keep(source: &Path, data_dir: &Path) -> Result<Stored, PluginError> {
    let Some(name) = source.file_name() else {
        return Err(PluginError::file(
            UNREADABLE,
            source,
            "has no file name; name the file itself",
        ));
    };
    keep_as(source, name, data_dir)
}

/// Where the private copies lie.
pub(super) fn root(data_dir: &Path) -> PathBuf {
    std::path::absolute(data_dir)
        .unwrap_or_else(|_| data_dir.to_path_buf())
        .join("plugin-store")
}

/// The private copy of a plugin file, under another name.
///
/// # Errors
/// When the file cannot be read, or the store cannot be written.
pub(super) fn keep_as(source: &Path, name: &OsStr, data_dir: &Path) -> Result<Stored, PluginError> {
    let expected = hash(source)?;
    let root = root(data_dir);
    let known = root.join(&expected).join(name);
    if is_intact(&known, &expected)
        && private_folder(&root.join(&expected)).is_ok()
        && private_folder(&root).is_ok()
    {
        return Ok(Stored {
            path: known,
            sha256: expected,
        });
    }
    let (file, _) = manifest::open(source)?;
    copy(file, &root, name.as_ref()).map_err(|e| {
        let reason = format!(
            "could not be copied to {} ({e}); make that folder writable, free some space, or choose another with --data-dir",
            root.display()
        );
        PluginError::file(STORE, source, reason)
    })
}

/// Whether a copy is a regular file with the content that its folder's name promises.
pub(super) fn is_intact(copy: &Path, expected: &str) -> bool {
    let own = std::fs::symlink_metadata(copy).is_ok_and(|m| m.is_file());
    own && hash(copy).is_ok_and(|found| found == expected)
}

/// Writes the copy beside its place and moves it there as a whole, so that no half of one is ever seen.
fn copy(mut source: File, root: &Path, name: &Path) -> io::Result<Stored> {
    private_folder(root)?;
    let mut fresh = tempfile::Builder::new().prefix(".new-").tempfile_in(root)?;
    io::copy(&mut source, fresh.as_file_mut())?;
    fresh.as_file().sync_all()?;
    // Of the copy and not of what was copied, which may have changed in between.
    let sha256 = digest(File::open(fresh.path())?)?;
    let folder = root.join(&sha256);
    private_folder(&folder)?;
    let path = folder.join(name);
    // A rename: a process that has mapped a file of this name keeps the old one.
    match fresh.persist(&path) {
        Ok(_) => {}
        // Another process was faster, and its file is open there: that one serves as well if it is the same.
        Err(_) if is_intact(&path, &sha256) => {}
        Err(failed) => return Err(failed.error),
    }
    Ok(Stored { path, sha256 })
}

/// Makes a folder that its owner alone may enter, or makes one that exists so. Somebody else's folder is an error:
/// its owner could exchange what runs.
pub(super) fn private_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => return Err(e),
        _ => {}
    }
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}
