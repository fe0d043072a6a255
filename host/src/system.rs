//! What differs by operating system, and nothing else: folders, private files, processes, signals.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

mod children;
mod files;
pub mod keyring;
mod libraries;
mod memory;
pub mod notify;
pub mod paste;
pub mod service;
mod shutdown;

pub use children::{Family, Helpers, end_with_family, ended, exit, in_own_group, kill_family, limit_memory};
pub use files::{
    WholeFile, create_private_dir, is_open_elsewhere, make_private, open_private_append, private_folder,
    private_options, put_in_place, readable_by_others, replace_file, replace_passing_file, sync_dir,
};
pub use libraries::{LibraryPlaces, is_noexec, library_places, writable_by_all};
pub use memory::give_large_blocks_back;
pub use shutdown::{ShutdownCause, ShutdownReceiver, ShutdownSender, shutdown};

/// Why the operating system did not do what was asked; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// Neither a home folder nor another place for data is known.
    #[error("no place for data is known: {0} is not set; set it, or name a folder with --data-dir")]
    NoHome(&'static str),
    /// Two folders, either of which may be the one that is meant.
    #[error(
        "{first} and {second} differ in case alone, and either may be the one in use; move the one away that is not in use"
    )]
    Ambiguous {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A folder could not be made or is not a folder.
    #[error("cannot use the folder {path}: {source}; make it writable, or name another with --data-dir")]
    Folder {
        /// The folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The user's home folder.
pub fn home_dir() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute())
}

/// The folder for logs, journal and plugins where the configuration names none:
/// `~/.local/share/quantTrader`, on Windows `%LOCALAPPDATA%\quantTrader`.
pub fn default_data_dir() -> Result<PathBuf, SystemError> {
    if cfg!(windows) {
        let local = std::env::var_os("LOCALAPPDATA")
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute());
        return local
            .map(|dir| dir.join("quantTrader"))
            .ok_or(SystemError::NoHome("LOCALAPPDATA"));
    }
    let home = home_dir().ok_or(SystemError::NoHome("HOME"))?;
    Ok(home.join(".local").join("share").join("quantTrader"))
}

/// A path as people write it: with `~` for their home folder.
pub fn shown(path: &Path) -> String {
    if !cfg!(windows)
        && let Some(home) = home_dir()
        && let Ok(rest) = path.strip_prefix(&home)
    {
        return Path::new("~").join(rest).display().to_string();
    }
    path.display().to_string()
}

/// `~` or `~/…` with the home folder in its place; any other path as it is.
pub fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), home_dir()) {
        (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => home,
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_path_buf(),
    }
}

/// Has this process, and those that it starts, leave no image of its memory behind when it crashes.
pub fn leave_no_core_dump() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        // A system that refuses to give less is not known; there is nothing better to do either.
        setrlimit(Resource::Core, none).ok();
        // The limit does not count where the system hands images to a program. Tests look into a host's files, which are
        // its own alone then.
        #[cfg(all(target_os = "linux", not(feature = "failpoints")))]
        have_no_image();
    }
}

/// Has the system make no image of this process' memory, whoever would get it, and let no other process of the user read
/// that memory.
#[cfg(target_os = "linux")]
#[cfg_attr(feature = "failpoints", allow(dead_code, reason = "a test calls it"))]
fn have_no_image() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
}

/// This program's own file, as it was found at the first call.
pub fn own_executable() -> io::Result<PathBuf> {
    static FOUND: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let found = std::env::current_exe()?;
    Ok(FOUND.get_or_init(|| found).clone())
}

/// Longest path of a Unix socket that every system takes.
#[cfg(unix)]
const LONGEST_SOCKET_PATH: usize = 100;

/// A folder for a local socket that its owner alone may enter; it goes with the value.
pub fn socket_folder() -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("qt-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o700));
        // `/qt-` and six letters, `/s`.
        if std::env::temp_dir().as_os_str().len() + 12 > LONGEST_SOCKET_PATH {
            return builder.tempdir_in("/tmp");
        }
    }
    builder.tempdir()
}

/// The path of a local socket: a file in `folder`, or a named pipe, which has a name space of its own.
pub fn socket_path(folder: &Path, unique: &str) -> PathBuf {
    if cfg!(windows) {
        PathBuf::from(format!(r"\\.\pipe\qt-host-{unique}"))
    } else {
        folder.join("s")
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Memory in bytes that lies in the machine.
    pub memory: u64,
    /// Open files, sockets and the like.
    pub handles: u64,
    /// Threads.
    pub threads: u64,
}

/// What this process holds; nothing where the system does not say.
#[cfg(target_os = "linux")]
pub fn own_usage() -> Option<Usage> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Usage {
        memory: field("VmRSS:")? * 1024,
        // One of them is the folder that is being read.
        handles: std::fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        threads: field("Threads:")?,
    })
}

/// What this process holds; nothing where the system does not say.
#[cfg(not(target_os = "linux"))]
pub fn own_usage() -> Option<Usage> {
    None
}

/// The processor's time that this process has taken, all its threads together; nothing where the system does not say.
#[cfg(unix)]
pub fn own_cpu() -> Option<std::time::Duration> {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.try_into().ok()
}

/// The processor's time that this process has taken; nothing where the system does not say.
#[cfg(not(unix))]
pub fn own_cpu() -> Option<std::time::Duration> {
    None
}

/// Ends the process as `kill -9` does: nothing is flushed, nothing is unwound.
#[cfg(feature = "failpoints")]
pub fn die_now() -> ! {
    #[cfg(unix)]
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

/// Whether colour may be written to standard error: a terminal that can, and nobody said `NO_COLOR`.
pub fn stderr_has_colours() -> bool {
    io::stderr().is_terminal() && colours_wanted()
}

/// Whether colour may be written to standard output: a terminal that can, and nobody said `NO_COLOR`.
pub fn stdout_has_colours() -> bool {
    io::stdout().is_terminal() && colours_wanted()
}

fn colours_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    // The old Windows console shows colour codes as rubbish; the newer terminal says who it is.
    let able = if cfg!(windows) {
        set("WT_SESSION").is_some() || set("TERM").is_some()
    } else {
        true
    };
    able && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Bytes that may still be written where a path lies; `None` where the system does not say.
pub fn disk_free(path: &Path) -> Option<u64> {
    fs4::available_space(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_shown_and_expanded() {
        let home = home_dir().unwrap();
        assert_eq!(expand_home(Path::new("~")), home);
        assert_eq!(expand_home(Path::new("~/x/y")), home.join("x/y"));
        assert_eq!(expand_home(Path::new("a/~")), Path::new("a/~"));
        assert_eq!(expand_home(Path::new("~other/a")), Path::new("~other/a"));
        if cfg!(unix) {
            assert_eq!(shown(&home.join("x/y")), "~/x/y");
        }
        assert_eq!(shown(Path::new("relative")), "relative");
    }

    /// In a process of its own, as the runner of tests has it: it counts for all that comes after.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_has_no_image_still_knows_what_it_uses() {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        have_no_image();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let usage = own_usage().unwrap();
        assert!(usage.memory > 0 && usage.handles > 2 && usage.threads > 0);
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .arg("--list")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        assert!(child.wait().unwrap().success());
    }
}
