//! Private copies of plugin files, named by their own hash.
//!
//! A library that is mapped must never change: replacing it in place would end the process, and opening its path
//! again would return the old code. A copy that nobody else writes to has neither fault.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::{
    PluginError,
    codes::{STORE, UNREADABLE},
    libraries::{self, Companion},
    manifest::{self, unreadable},
};
use crate::system;

/// Bytes up to which a plugin is held in memory while it is looked for in the store.
const SMALL: u64 = 8 << 20;

/// A private copy.
pub(super) struct Stored {
    pub(super) path: PathBuf,
    /// The identity of this very copy; see [`hash`].
    pub(super) sha256: String,
    /// What it holds, where that was read as a whole: it need not be read again to be looked at.
    pub(super) content: Option<Vec<u8>>,
}

/// The identity of a plugin file in lower-case hexadecimal digits: its SHA-256, or, where it brings in libraries from its
/// own folder, that of the list of all of them, so that none can be exchanged under a pin.
///
/// # Errors
/// When one of them cannot be read.
pub(super) fn hash(path: &Path) -> Result<String, PluginError> {
    identity(path, &hash_file(path)?, &libraries::companions(path))
}

/// SHA-256 of one file.
pub(super) fn hash_file(path: &Path) -> Result<String, PluginError> {
    let (file, _) = manifest::open(path)?;
    digest(file).map_err(|e| {
        let (code, reason) = unreadable(&e);
        PluginError::file(code, path, reason)
    })
}

/// A list as `sha256sum` writes it; the plugin's own name is not in it, since its copies have others.
fn identity(path: &Path, own: &str, companions: &[Companion]) -> Result<String, PluginError> {
    if companions.is_empty() {
        return Ok(own.to_owned());
    }
    let mut list = format!("{own}  plugin\n");
    for companion in companions {
        let sha256 = hash_file(&companion.path).map_err(|e| {
            let (name, reason) = (companion.path.display(), e.reason());
            PluginError::file(e.code(), path, format!("brings in {name}, which {reason}"))
        })?;
        // One form of the place on every system.
        let parts: Vec<_> = companion
            .relative
            .iter()
            .map(|part| part.to_string_lossy())
            .collect();
        list += &format!("{sha256}  {}\n", parts.join("/"));
    }
    Ok(HEXLOWER.encode(&Sha256::digest(list)))
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
    place(source, name, data_dir, Durability::NextStart)
}

/// Where the private copies lie.
pub(super) fn root(data_dir: &Path) -> PathBuf {
    std::path::absolute(data_dir)
        .unwrap_or_else(|_| data_dir.to_path_buf())
        .join("plugin-store")
}

/// How long a new copy must last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// What a power cut tears is told from the source by the next start, and written anew.
    NextStart,
    /// It is on the disk before it is named.
    ForGood,
}

/// The private copy of a plugin file, under another name and for good: it survives a power cut.
///
/// # Errors
/// When the file cannot be read, or the store cannot be written.
pub(super) fn keep_as(source: &Path, name: &OsStr, data_dir: &Path) -> Result<Stored, PluginError> {
    place(source, name, data_dir, Durability::ForGood)
}

/// The private copy. Every use of one checks what it holds.
fn place(source: &Path, name: &OsStr, data_dir: &Path, lasts: Durability) -> Result<Stored, PluginError> {
    // Read once where it is small: comparing a copy with it is far faster than hashing that, too.
    let content = small_content(source);
    let ties = match &content {
        Some(content) => manifest::ties_in(content),
        None => manifest::ties_of(source),
    };
    let companions = libraries::companions_of(source, ties);
    let content = content.filter(|_| companions.is_empty());
    let expected = match &content {
        Some(content) => HEXLOWER.encode(&Sha256::digest(content)),
        None => identity(source, &hash_file(source)?, &companions)?,
    };
    let root = root(data_dir);
    let known = root.join(&expected).join(name);
    let is_known = match &content {
        Some(content) => is_regular(&known) && holds(&known, content).unwrap_or(false),
        None => is_intact(&known, &expected),
    };
    if is_known
        && system::private_folder(&root.join(&expected)).is_ok()
        && system::private_folder(&root).is_ok()
    {
        return Ok(Stored {
            path: known,
            sha256: expected,
            content,
        });
    }
    let copied = match content {
        Some(content) => write(content, expected, &root, name.as_ref(), lasts),
        None => {
            let (file, _) = manifest::open(source)?;
            if companions.is_empty() {
                copy(file, &root, name.as_ref())
            } else {
                copy_with(file, &companions, &root, name.as_ref(), &expected)
            }
        }
    };
    copied.map_err(|e| no_copy(source, &root, &e))
}

fn no_copy(source: &Path, root: &Path, error: &io::Error) -> PluginError {
    let reason = format!(
        "could not be copied to {} ({error}); make that folder writable, free some space, or choose another with --data-dir",
        root.display()
    );
    PluginError::file(STORE, source, reason)
}

/// The content of a file that is no larger than plugins mostly are.
fn small_content(source: &Path) -> Option<Vec<u8>> {
    let (file, size) = manifest::open(source).ok()?;
    let mut content = Vec::with_capacity(usize::try_from(size).ok().filter(|_| size <= SMALL)?);
    file.take(SMALL + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= SMALL).then_some(content)
}

/// Whether a file has this very content. Read piece by piece: fresh memory for all of it would cost more than the reading.
fn holds(copy: &Path, content: &[u8]) -> io::Result<bool> {
    let mut file = File::open(copy)?;
    if file.metadata()?.len() != content.len() as u64 {
        return Ok(false);
    }
    let mut piece = vec![0; 1 << 16];
    for expected in content.chunks(piece.len()) {
        let found = &mut piece[..expected.len()];
        file.read_exact(found)?;
        if found != expected {
            return Ok(false);
        }
    }
    // Nobody has written on meanwhile.
    Ok(file.read(&mut piece)? == 0)
}

fn is_regular(copy: &Path) -> bool {
    std::fs::symlink_metadata(copy).is_ok_and(|m| m.is_file())
}

/// Whether a copy is a regular file with the content that its folder's name promises.
pub(super) fn is_intact(copy: &Path, expected: &str) -> bool {
    is_regular(copy) && hash(copy).is_ok_and(|found| found == expected)
}

/// Writes the content of a file whose hash is known beside its place and moves it there as a whole.
fn write(
    content: Vec<u8>,
    sha256: String,
    root: &Path,
    name: &Path,
    lasts: Durability,
) -> io::Result<Stored> {
    system::private_folder(root)?;
    let mut fresh = tempfile::Builder::new().prefix(".new-").tempfile_in(root)?;
    fresh.write_all(&content)?;
    if lasts == Durability::ForGood {
        fresh.as_file().sync_all()?;
    }
    let path = put(fresh, &sha256, root, name)?;
    Ok(Stored {
        path,
        sha256,
        content: Some(content),
    })
}

/// Moves a complete copy to its place.
fn put(fresh: tempfile::NamedTempFile, sha256: &str, root: &Path, name: &Path) -> io::Result<PathBuf> {
    let folder = root.join(sha256);
    system::private_folder(&folder)?;
    let path = folder.join(name);
    // A rename: a process that has mapped a file of this name keeps the old one.
    match system::put_in_place(fresh, &path) {
        Ok(()) => Ok(path),
        // Another process was faster, and its file is open there: that one serves as well if it is the same.
        Err(_) if is_intact(&path, sha256) => Ok(path),
        Err(e) => Err(e),
    }
}

/// Writes the copy beside its place and moves it there as a whole, so that no half of one is ever seen.
fn copy(mut source: File, root: &Path, name: &Path) -> io::Result<Stored> {
    system::private_folder(root)?;
    let mut fresh = tempfile::Builder::new().prefix(".new-").tempfile_in(root)?;
    io::copy(&mut source, fresh.as_file_mut())?;
    fresh.as_file().sync_all()?;
    // Of the copy and not of what was copied, which may have changed in between.
    let sha256 = digest(File::open(fresh.path())?)?;
    let path = put(fresh, &sha256, root, name)?;
    Ok(Stored {
        path,
        sha256,
        content: None,
    })
}

/// Writes a plugin with what it brings in, each at its place, into the folder of their identity.
fn copy_with(
    source: File,
    companions: &[Companion],
    root: &Path,
    name: &Path,
    expected: &str,
) -> io::Result<Stored> {
    system::private_folder(root)?;
    let folder = root.join(expected);
    system::private_folder(&folder)?;
    let write = |mut source: File, path: &Path| -> io::Result<()> {
        let mut fresh = tempfile::Builder::new().prefix(".new-").tempfile_in(root)?;
        io::copy(&mut source, fresh.as_file_mut())?;
        fresh.as_file().sync_all()?;
        fresh.persist(path).map(drop).map_err(|failed| failed.error)
    };
    for companion in companions {
        let path = folder.join(&companion.relative);
        if let Some(parent) = path.parent() {
            system::private_folder(parent)?;
        }
        write(File::open(&companion.path)?, &path)?;
    }
    let path = folder.join(name);
    write(source, &path)?;
    // Of the copies and not of what was copied, which may have changed in between.
    if is_intact(&path, expected) {
        return Ok(Stored {
            path,
            sha256: expected.to_owned(),
            content: None,
        });
    }
    Err(io::Error::other(
        "one of its files changed meanwhile; start again",
    ))
}
