//! Files and folders that are their owner's alone, and content that is there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{SystemError, shown};

/// The permission bits of a regular file that its group or others may read, else nothing.
/// Windows has no such bits: a profile's files belong to its user there.
#[cfg(unix)]
pub fn readable_by_others(file: &File) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

/// The permission bits of a regular file that its group or others may read, else nothing.
#[cfg(not(unix))]
pub fn readable_by_others(_file: &File) -> Option<u32> {
    None
}

/// Makes a folder, and those above it, that only its owner may enter. One that exists is left as it is.
pub fn create_private_dir(path: &Path) -> Result<(), SystemError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path).map_err(|source| SystemError::Folder {
        path: shown(path),
        source,
    })
}

/// Makes a folder that its owner alone may enter, or makes one that exists so. Somebody else's folder is an error:
/// its owner could exchange what runs.
pub fn private_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    // Windows has no such bits: a profile's folders belong to its user there.
    #[cfg_attr(not(unix), allow(unused_mut))]
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

/// Options that make a new file readable and writable by its owner alone.
pub fn private_options() -> OpenOptions {
    #[cfg_attr(not(unix), allow(unused_mut))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

/// Takes the rights of group and others on a file away; a file that is not there is left so. Windows has no such bits: a
/// profile's files belong to its user there.
pub fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = match std::fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if metadata.permissions().mode() & 0o077 != 0 {
            // By its name: closing a file of its own would give back what this process has locked in it.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Opens a file for appending; a new one is its owner's alone.
pub fn open_private_append(path: &Path) -> io::Result<File> {
    private_options().read(true).append(true).create(true).open(path)
}

/// Replaces a file's content as a whole: whoever reads it, and whenever the machine stops, finds the old or the
/// new content, never a part. The new file is its owner's alone.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let file = written_beside(folder, content)?;
    file.as_file().sync_all()?;
    put_in_place(file, path)?;
    sync_dir(folder)
}

/// A file that is written beside its place and takes it once it is whole; its owner's alone.
#[derive(Debug)]
pub struct WholeFile {
    file: tempfile::NamedTempFile,
    path: PathBuf,
}

impl WholeFile {
    /// Begins a file that is to be at `path`.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let file = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(folder_of(path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Puts it in its place, durably. Where a file is there already it fails with [`io::ErrorKind::AlreadyExists`] unless that
    /// one may be replaced.
    pub fn finish(self, replace: bool) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        let done = if replace {
            self.file.persist(&self.path)
        } else {
            self.file.persist_noclobber(&self.path)
        };
        done.map_err(|failed| failed.error)?;
        sync_dir(folder_of(&self.path))
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Replaces a file's content as a whole where it means nothing once the machine has stopped: no reader finds a part, and
/// nobody waits for the disk.
pub fn replace_passing_file(path: &Path, content: &[u8]) -> io::Result<()> {
    put_in_place(written_beside(folder_of(path), content)?, path)
}

/// How often a rename is tried again that some other program's look at the file prevents, and how long between.
const RENAMES: u32 = 100;
const RENAME_AGAIN: Duration = Duration::from_millis(10);

/// Puts a finished file in its place, over what is there. Where a scanner or a backup has that open, Windows refuses
/// it for as long; such a look is short, and is waited out for a second.
pub fn put_in_place(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    // The standard library's rename replaces a file that others are reading, where Windows can do that at all.
    let (_file, fresh) = file.keep().map_err(|failed| failed.error)?;
    let mut renamed = std::fs::rename(&fresh, path);
    for _ in 0..RENAMES {
        match &renamed {
            Err(e) if cfg!(windows) && is_open_elsewhere(e) && !path.is_dir() => {
                std::thread::sleep(RENAME_AGAIN);
                renamed = std::fs::rename(&fresh, path);
            }
            _ => break,
        }
    }
    if renamed.is_err() {
        std::fs::remove_file(&fresh).ok();
    }
    renamed
}

/// Whether a file could not be replaced or written because another program has it open, which only Windows minds.
pub fn is_open_elsewhere(error: &io::Error) -> bool {
    const SHARING_VIOLATION: i32 = 32;
    const LOCK_VIOLATION: i32 = 33;
    cfg!(windows)
        && (error.kind() == io::ErrorKind::PermissionDenied
            || matches!(error.raw_os_error(), Some(SHARING_VIOLATION | LOCK_VIOLATION)))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn written_beside(folder: &Path, content: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    file.write_all(content)?;
    Ok(file)
}

/// Makes a folder's entries durable: a rename or a new file survives a loss of power from then on.
#[cfg(unix)]
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a folder's entries durable; Windows does so by itself and cannot open a folder as a file.
#[cfg(not(unix))]
pub fn sync_dir(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_file_is_whole_private_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        std::fs::write(&path, "old").unwrap();
        replace_file(&path, b"new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(readable_by_others(&File::open(&path).unwrap()), None);
    }

    #[test]
    fn a_whole_file_takes_its_place_only_when_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saved");
        let write = |text: &str, replace| {
            let mut file = WholeFile::begin(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.finish(replace)
        };
        write("one", false).unwrap();
        let refused = write("two", false).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        write("three", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(readable_by_others(&File::open(&path).unwrap()), None);
        drop(WholeFile::begin(&path).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_replacement_keeps_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        std::fs::create_dir(&path).unwrap();
        assert!(replace_file(&path, b"new").is_err());
        assert!(path.is_dir());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn private_files_and_folders_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a").join("b");
        create_private_dir(&inner).unwrap();
        create_private_dir(&inner).unwrap();
        let file = open_private_append(&inner.join("log")).unwrap();
        assert_eq!(readable_by_others(&file), None);
        assert_eq!(inner.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        file.set_permissions(std::fs::Permissions::from_mode(0o640))
            .unwrap();
        assert_eq!(readable_by_others(&file), Some(0o640));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_made_private_and_one_that_is_not_there_is_not_made() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        make_private(&path).unwrap();
        assert!(!path.exists());
        for mode in [0o644, 0o400, 0o660] {
            std::fs::write(&path, "x").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            make_private(&path).unwrap();
            let now = path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(now, if mode == 0o400 { mode } else { 0o600 });
        }
    }

    #[test]
    fn a_file_in_the_way_of_a_folder_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = create_private_dir(&file.path().join("logs"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("logs") && error.contains("--data-dir"), "{error}");
    }
}
