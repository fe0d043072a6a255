//! What differs by operating system.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

/// Makes a folder that only its owner can look into.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }
    // On Windows a folder below the user's own is the user's alone.
    #[cfg(not(unix))]
    fs::create_dir_all(path)
}

/// Writes a file anew that only its owner can read.
pub(crate) fn private_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A program started by a service or a window must not open a console of its own.
pub(crate) fn without_window(command: &mut Command) {
    #[cfg(windows)]
    {
        use std::os::windows::process::CommandExt;
        const CREATE_NO_WINDOW: u32 = 0x0800_0000;
        command.creation_flags(CREATE_NO_WINDOW);
    }
    #[cfg(not(windows))]
    let _ = command;
}

/// The interpreters to look for, in order.
pub(crate) const PYTHONS: &[&[&str]] = if cfg!(windows) {
    &[&["python.exe"], &["py.exe", "-3"], &["python3.exe"]]
} else {
    &[&["python3"], &["python"]]
};

/// Where an interpreter lies within a virtual environment.
pub(crate) const IN_ENVIRONMENT: &str = if cfg!(windows) {
    "Scripts/python.exe"
} else {
    "bin/python3"
};
