//! Where this system's loader looks for libraries, and whether a place may be run from.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

/// Where the loader looks, beyond what a file itself says.
#[derive(Clone, Debug, Default)]
pub struct LibraryPlaces {
    /// Folders of the environment: `LD_LIBRARY_PATH`, `DYLD_LIBRARY_PATH`, or on Windows `PATH`.
    pub environment: Vec<PathBuf>,
    /// The loader's cache, where it has one; its form is glibc's.
    pub cache: Vec<u8>,
    /// The system's own folders.
    pub system: Vec<PathBuf>,
}

/// The variable that names folders with libraries.
const VARIABLE: &str = if cfg!(windows) {
    "PATH"
} else if cfg!(target_os = "macos") {
    "DYLD_LIBRARY_PATH"
} else {
    "LD_LIBRARY_PATH"
};

/// The largest cache that is read; that of a large desktop has some hundred thousand bytes.
const MAX_CACHE: u64 = 16 << 20;

/// Where the loader of this process looks.
pub fn library_places() -> LibraryPlaces {
    let environment = std::env::var_os(VARIABLE)
        .map(|list| std::env::split_paths(&list).collect::<Vec<_>>())
        .unwrap_or_default();
    LibraryPlaces {
        environment: environment
            .into_iter()
            .filter(|dir| !dir.as_os_str().is_empty())
            .collect(),
        cache: cache(),
        system: system_folders(),
    }
}

fn cache() -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    if cfg!(target_os = "linux")
        && let Ok(file) = std::fs::File::open("/etc/ld.so.cache")
        && file.take(MAX_CACHE).read_to_end(&mut bytes).is_err()
    {
        bytes.clear();
    }
    bytes
}

fn system_folders() -> Vec<PathBuf> {
    if cfg!(windows) {
        let root = std::env::var_os("SystemRoot").map_or_else(|| PathBuf::from(r"C:\Windows"), PathBuf::from);
        return vec![root.join("System32"), root];
    }
    let arch = std::env::consts::ARCH;
    let mut folders = Vec::new();
    for base in ["/lib", "/usr/lib"] {
        folders.push(PathBuf::from(format!("{base}/{arch}-linux-gnu")));
        folders.push(PathBuf::from(format!("{base}64")));
        folders.push(PathBuf::from(base));
    }
    // Where musl's loader looks as well.
    folders.push(PathBuf::from("/usr/local/lib"));
    folders
}

/// The permission bits of a file or folder that everybody may change, else nothing. In a folder with the sticky
/// bit, such as `/tmp`, nobody can exchange another user's files.
#[cfg(unix)]
pub fn writable_by_all(metadata: &Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    const STICKY: u32 = 0o1000;
    let mode = metadata.permissions().mode() & 0o7777;
    let spared = metadata.is_dir() && mode & STICKY != 0;
    (mode & 0o002 != 0 && !spared).then_some(mode)
}

/// Windows has access lists instead of such bits; a profile's files belong to its user there.
#[cfg(not(unix))]
pub fn writable_by_all(_metadata: &Metadata) -> Option<u32> {
    None
}

/// Whether the disk of a folder, or of the nearest one above it that exists, is mounted so that nothing may be run
/// from it. False where the system cannot say.
#[cfg(unix)]
pub fn is_noexec(folder: &Path) -> bool {
    let existing = folder.ancestors().find(|dir| dir.exists());
    existing
        .and_then(|dir| rustix::fs::statvfs(dir).ok())
        .is_some_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
}

/// Windows knows no such disks.
#[cfg(not(unix))]
pub fn is_noexec(_folder: &Path) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_everybody_may_change_is_told_from_a_sticky_folder() {
        let folder = tempfile::tempdir().unwrap();
        let with = |mode: u32| {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            writable_by_all(&folder.path().metadata().unwrap())
        };
        assert_eq!(with(0o755), None);
        assert_eq!(with(0o777), Some(0o777));
        assert_eq!(with(0o1777), None);
    }
}
