//! What differs by operating system, and nothing else: folders, private files, processes, signals.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

mod children;
mod libraries;
pub mod notify;
pub mod paste;
pub mod service;

pub use children::{Family, ended, in_own_group, kill_family, limit_memory};
pub use libraries::{LibraryPlaces, is_noexec, library_places, writable_by_all};

/// Why the operating system did not do what was asked; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// Neither a home folder nor another place for data is known.
    #[error("no place for data is known: {0} is not set; set it, or name a folder with --data-dir")]
    NoHome(&'static str),
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

/// What asked the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownCause {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM; on Windows the console was closed, the user logs off, or the system shuts down.
    Terminate,
    /// The program itself, through [`ShutdownSender::request`].
    Requested,
}

impl ShutdownCause {
    /// The exit code of a process that this cause ended without waiting: 128 and the signal's number.
    pub const fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Requested => 0,
        }
    }
}

/// Asks for a shutdown from inside the program.
#[derive(Debug, Clone)]
pub struct ShutdownSender(watch::Sender<Option<ShutdownCause>>);

impl ShutdownSender {
    /// Asks for a shutdown. The first cause stays.
    pub fn request(&self, cause: ShutdownCause) {
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(cause);
            first
        });
    }
}

/// Learns that a shutdown was asked for; any number of clones, in any runtime.
#[derive(Debug, Clone)]
pub struct ShutdownReceiver(watch::Receiver<Option<ShutdownCause>>);

impl ShutdownReceiver {
    /// The cause, once a shutdown was asked for.
    #[cfg(test)]
    pub fn cause(&self) -> Option<ShutdownCause> {
        *self.0.borrow()
    }

    /// Waits until a shutdown is asked for. Safe to drop and to call again.
    pub async fn wait(&mut self) -> ShutdownCause {
        match self.0.wait_for(Option::is_some).await.map(|cause| *cause) {
            Ok(Some(cause)) => cause,
            // Nobody is left who could ask: waiting on is right, ending is not.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

/// A shutdown that only the program itself can ask for.
pub fn shutdown_channel() -> (ShutdownSender, ShutdownReceiver) {
    let (sender, receiver) = watch::channel(None);
    (ShutdownSender(sender), ShutdownReceiver(receiver))
}

/// Takes Ctrl-C and SIGTERM: the first asks for a shutdown, the second ends the process at once with code 130 or
/// 143. They are watched on a thread of their own, so that a busy runtime cannot delay the second one.
/// To be called once in a process; the sender serves the program itself.
pub fn shutdown() -> io::Result<(ShutdownSender, ShutdownReceiver)> {
    let (sender, receiver) = shutdown_channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let asks = sender.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                asks.request(signals.next().await);
                let again = signals.next().await;
                std::process::exit(again.exit_code());
            });
        })?;
    Ok((sender, receiver))
}

/// Bytes that may still be written where a path lies; `None` where the system does not say.
pub fn disk_free(path: &Path) -> Option<u64> {
    fs4::available_space(path).ok()
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> ShutdownCause {
        tokio::select! {
            _ = self.interrupt.recv() => ShutdownCause::Interrupt,
            _ = self.terminate.recv() => ShutdownCause::Terminate,
        }
    }
}

#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
    broken: tokio::signal::windows::CtrlBreak,
    closed: tokio::signal::windows::CtrlClose,
    logoff: tokio::signal::windows::CtrlLogoff,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_logoff, ctrl_shutdown};
        Ok(Self {
            interrupt: ctrl_c()?,
            broken: ctrl_break()?,
            closed: ctrl_close()?,
            logoff: ctrl_logoff()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    async fn next(&mut self) -> ShutdownCause {
        tokio::select! {
            _ = self.interrupt.recv() => ShutdownCause::Interrupt,
            // What a program sends that ends a group of processes, where Ctrl-C reaches none.
            _ = self.broken.recv() => ShutdownCause::Interrupt,
            _ = self.closed.recv() => ShutdownCause::Terminate,
            _ = self.logoff.recv() => ShutdownCause::Terminate,
            _ = self.shutdown.recv() => ShutdownCause::Terminate,
        }
    }
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

    #[tokio::test]
    async fn the_first_cause_of_a_shutdown_stays() {
        let (sender, mut receiver) = shutdown_channel();
        assert_eq!(receiver.cause(), None);
        let mut other = receiver.clone();
        sender.request(ShutdownCause::Terminate);
        sender.request(ShutdownCause::Requested);
        assert_eq!(receiver.wait().await, ShutdownCause::Terminate);
        assert_eq!(other.wait().await, ShutdownCause::Terminate);
        assert_eq!(receiver.cause(), Some(ShutdownCause::Terminate));
    }

    /// Set in the child that the test below starts: the test program itself, as a process that takes signals.
    #[cfg(unix)]
    const CHILD: &str = "QT_TEST_SIGNALS_CHILD";

    /// Run by the test below; by itself it has nothing to show.
    #[cfg(unix)]
    #[test]
    fn child_that_takes_signals() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let (_sender, mut receiver) = shutdown().unwrap();
        println!("\nready");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        println!("\nasked {:?}", runtime.block_on(receiver.wait()));
        loop {
            std::thread::park();
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_first_signal_asks_and_the_second_ends_at_once() {
        use rustix::process::{Pid, Signal, kill_process};
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};
        let cases = [
            (Signal::TERM, Signal::TERM, "asked Terminate", 143),
            (Signal::INT, Signal::INT, "asked Interrupt", 130),
            (Signal::TERM, Signal::INT, "asked Terminate", 130),
        ];
        for (first, second, asked, code) in cases {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "system::tests::child_that_takes_signals",
                    "--nocapture",
                ])
                .env(CHILD, "1")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let pid = Pid::from_child(&child);
            let mut lines = BufReader::new(child.stdout.take().unwrap())
                .lines()
                .map(Result::unwrap);
            assert!(lines.any(|line| line == "ready"));
            kill_process(pid, first).unwrap();
            assert!(lines.any(|line| line == asked), "{asked}");
            kill_process(pid, second).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(code));
        }
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
