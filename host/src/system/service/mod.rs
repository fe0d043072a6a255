//! Has the system keep the program running: a unit of systemd, an agent of launchd, a task or a service of Windows.

#[cfg(any(target_os = "macos", test))]
#[cfg_attr(
    not(target_os = "macos"),
    allow(dead_code, reason = "its texts are tested everywhere")
)]
mod launchd;
#[cfg(any(target_os = "linux", test))]
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "its texts are tested everywhere")
)]
mod systemd;
#[cfg(any(windows, test))]
#[cfg_attr(not(windows), allow(dead_code, reason = "its texts are tested everywhere"))]
mod windows;

use std::path::PathBuf;
use std::process::{Command, Stdio};

#[cfg(target_os = "macos")]
use launchd as here;
#[cfg(target_os = "linux")]
use systemd as here;
#[cfg(windows)]
use windows as here;

/// What is to be kept running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The name that the system knows it by.
    pub name: String,
    /// For the whole machine, from its start on; else for the user, from the logon on.
    pub is_system: bool,
    /// Who it runs as, where it is for the machine; on Windows whose logon starts it else.
    pub user: Option<String>,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Where it starts.
    pub folder: PathBuf,
    /// Where it writes.
    pub writable: Vec<PathBuf>,
}

/// Whether what runs from the machine's start on must be told who it runs as.
pub const NEEDS_A_USER: bool = cfg!(unix);

/// Whose logon starts it, where the system wants to be told.
pub fn own_user() -> Option<String> {
    if !cfg!(windows) {
        return None;
    }
    let user = std::env::var("USERNAME").ok()?;
    Some(match std::env::var("USERDOMAIN") {
        Ok(domain) => format!(r"{domain}\{user}"),
        Err(_) => user,
    })
}

/// By these words whoever reads the failure of a stop knows that the host took the wish and is ending.
pub const LINGERS: &str = "was asked to end and still runs";

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The system knows it.
    pub is_installed: bool,
    /// It runs.
    pub is_running: bool,
    /// The system's own words.
    pub detail: String,
}

/// What did not work, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// This system has nothing that keeps programs running, as far as we know.
    #[error("this system is not known to keep programs running; see `--help` for what is")]
    #[cfg_attr(
        any(target_os = "linux", target_os = "macos", windows),
        allow(dead_code, reason = "the others say it")
    )]
    Unknown,
    /// It does not answer.
    #[error("{0}")]
    NoManager(String),
    /// A program of the system failed.
    #[error("`{command}` failed: {said}")]
    Failed {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
    /// A file could not be written or removed.
    #[error("{path} cannot be {what}: {reason}")]
    File {
        /// The file.
        path: String,
        /// written or removed
        what: &'static str,
        /// What the system said.
        reason: String,
    },
    /// A folder that it is to write to is not there.
    #[error("the folder {path} is not there; make it: install -d -m 700 -o {user} {path}")]
    #[cfg_attr(
        not(target_os = "linux"),
        allow(dead_code, reason = "the others shut nothing off")
    )]
    NoFolder {
        /// The folder.
        path: String,
        /// Who is to own it.
        user: String,
    },
    /// It stands already.
    #[error(
        "{0} is there already and says something else; `service uninstall` takes it away, --force replaces it"
    )]
    #[cfg_attr(
        windows,
        allow(dead_code, reason = "the task scheduler is asked in another way")
    )]
    Present(String),
    /// It is not there.
    #[error("{0} is not installed; `service install` does that")]
    Absent(String),
}

/// The text that `install` would give to the system.
///
/// # Errors
/// The system has nothing of the kind.
pub fn text(plan: &Plan) -> Result<String, ServiceError> {
    #[cfg(any(target_os = "linux", target_os = "macos", windows))]
    return Ok(here::text(plan));
    #[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
    {
        let _ = plan;
        Err(ServiceError::Unknown)
    }
}

/// What can be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Makes it known to the system, and has it start by itself from then on; on Windows from the first `Start` on.
    Install {
        /// Replaces another one of that name.
        force: bool,
    },
    /// Takes it away again.
    Uninstall,
    /// Starts it now.
    Start,
    /// Ends it.
    Stop,
}

/// Does it; what a person should know about it, a sentence each.
///
/// # Errors
/// What did not work. A failed `install` leaves nothing behind.
pub fn act(plan: &Plan, action: Action) -> Result<Vec<String>, ServiceError> {
    #[cfg(any(target_os = "linux", target_os = "macos", windows))]
    return match action {
        Action::Install { force } => here::install(plan, force),
        Action::Uninstall => here::uninstall(plan),
        Action::Start => here::start(plan),
        Action::Stop => here::stop(plan),
    };
    #[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
    {
        let _ = (plan, action);
        Err(ServiceError::Unknown)
    }
}

/// Has the system leave the host that it keeps by this name ended, until `service start`, where it would start it again
/// though a person stopped it; what a person should know about that, and nothing where the system knows it no more.
///
/// # Errors
/// The system does not do it.
#[cfg_attr(
    not(windows),
    expect(clippy::unnecessary_wraps, reason = "another system may refuse it")
)]
pub fn stay_ended(name: &str) -> Result<Option<String>, ServiceError> {
    #[cfg(windows)]
    return here::stay_ended(name);
    // systemd and launchd start again what failed, and leave alone what was stopped.
    #[cfg(not(windows))]
    {
        let _ = name;
        Ok(None)
    }
}

/// How it stands.
///
/// # Errors
/// The system does not say.
pub fn state(plan: &Plan) -> Result<State, ServiceError> {
    #[cfg(any(target_os = "linux", target_os = "macos", windows))]
    return here::state(plan);
    #[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
    {
        let _ = plan;
        Err(ServiceError::Unknown)
    }
}

/// What a program of the system said, and whether it ended well.
#[cfg_attr(test, allow(dead_code, reason = "each system uses it"))]
struct Said {
    is_well: bool,
    /// What it ended with, where it ended by itself.
    #[cfg(any(windows, test))]
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs a program of the system.
#[cfg_attr(test, allow(dead_code, reason = "each system uses it"))]
fn run(program: &str, arguments: &[&str]) -> Result<Said, ServiceError> {
    let out = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| ServiceError::NoManager(format!("`{program}` cannot be started: {e}")))?;
    Ok(Said {
        is_well: out.status.success(),
        #[cfg(any(windows, test))]
        code: out.status.code(),
        out: String::from_utf8_lossy(&out.stdout).into_owned(),
        err: String::from_utf8_lossy(&out.stderr).trim().to_owned(),
    })
}

/// Runs a program of the system, which must end well.
#[cfg_attr(any(test, windows), allow(dead_code, reason = "each system uses it"))]
fn must(program: &str, arguments: &[&str]) -> Result<String, ServiceError> {
    well(program, arguments, run(program, arguments)?)
}

/// What a program of the system said, which must have ended well.
#[cfg_attr(test, allow(dead_code, reason = "each system uses it"))]
fn well(program: &str, arguments: &[&str], said: Said) -> Result<String, ServiceError> {
    if said.is_well {
        return Ok(said.out);
    }
    Err(ServiceError::Failed {
        command: format!("{program} {}", arguments.join(" ")),
        said: if said.err.is_empty() {
            said.out.trim().to_owned()
        } else {
            said.err
        },
    })
}
