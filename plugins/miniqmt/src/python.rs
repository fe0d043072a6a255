//! The bridge's file and the Python that runs it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::options::Options;
use crate::system;

/// The bridge, as it was when this plugin was built.
const BRIDGE: &str = include_str!("bridge.py");
/// How long an interpreter may take to say what it is.
const PROBE_WITHIN: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(10);
/// What a child of ours has no business with: the host's variables, and what says of itself that it is a secret. In the
/// host's own process nobody tells a plugin how its configuration names others.
const HOSTS: &str = "TRADER_";
const SECRETS: [&str; 4] = ["TOKEN", "SECRET", "PASSW", "PASSPHRASE"];
/// Where the terminal brings its own Python and xtquant, from its folder `userdata_mini`.
const OF_TERMINAL: [&str; 2] = ["../bin.x64/python.exe", "../bin.x64/pythonw.exe"];
const PACKAGES_OF_TERMINAL: [&str; 2] = ["../bin.x64/Lib/site-packages", "../bin.x64/lib/site-packages"];

/// An interpreter that can run the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Python {
    /// The program and what stands before the script.
    pub(crate) words: Vec<OsString>,
    /// Its version.
    pub(crate) version: String,
    /// A folder with xtquant, where the interpreter has none itself.
    pub(crate) xtquant: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Probe {
    python: String,
    bits: u8,
    xtquant: bool,
}

/// Writes the bridge into a private folder, unless it is there, and checks what is there by its hash.
///
/// # Errors
/// The folder cannot be written, or something else stands in the file.
pub(crate) fn bridge(data_dir: &Path) -> Result<PathBuf, String> {
    let wanted = Sha256::digest(BRIDGE.as_bytes());
    let folder = data_dir.join("bridge");
    let name = format!("bridge-{}.py", &HEXLOWER.encode(&wanted)[..16]);
    let path = folder.join(&name);
    let failed = |e: std::io::Error| format!("the bridge cannot be written to {}: {e}", folder.display());
    let is_there = || std::fs::read(&path).is_ok_and(|found| Sha256::digest(&found) == wanted);
    if !is_there() {
        system::private_folder(&folder).map_err(failed)?;
        // Beside it and moved: another process may be about to run it.
        let new = folder.join(format!("{name}.{}.new", std::process::id()));
        system::private_file(&new, BRIDGE.as_bytes()).map_err(failed)?;
        std::fs::rename(&new, &path).map_err(failed)?;
    }
    if is_there() {
        return Ok(path);
    }
    Err(format!(
        "{} is not the bridge that this plugin carries; who may write to that folder?",
        path.display()
    ))
}

/// A command that runs the bridge: without our secrets, its own folder as the current one.
pub(crate) fn command(python: &Python, bridge: &Path, argument: &str, data_dir: &Path) -> Command {
    let mut words = python.words.iter();
    let mut command = Command::new(words.next().cloned().unwrap_or_default());
    command.args(words).arg("-B").arg(bridge).arg(argument);
    command.current_dir(data_dir);
    for (name, _) in std::env::vars_os() {
        if is_secret(&name) {
            command.env_remove(name);
        }
    }
    system::without_window(&mut command);
    command
}

fn is_secret(name: &OsString) -> bool {
    let name = name.to_string_lossy().to_ascii_uppercase();
    name.starts_with(HOSTS) || SECRETS.iter().any(|word| name.contains(word))
}

/// Finds the interpreter: the configured one, or the first that fits, one that has xtquant before others.
///
/// # Errors
/// What was tried, why none of it fits, and what to do.
pub(crate) fn find(options: &Options, bridge: &Path, data_dir: &Path) -> Result<Python, String> {
    let candidates = candidates(options);
    let (mut tried, mut without) = (Vec::new(), None);
    let packages = packages(options);
    for words in candidates {
        let shown = shown(&words);
        match probe(&words, bridge, data_dir) {
            Ok(found) if found.bits != 64 && cfg!(windows) => {
                tried.push(format!(
                    "{shown}: {} bit, and the terminal's library has 64",
                    found.bits
                ));
            }
            Ok(found) => {
                let python = Python {
                    words,
                    version: found.python,
                    xtquant: if found.xtquant { None } else { packages.clone() },
                };
                if found.xtquant || options.xtquant.is_some() || packages.is_some() {
                    return Ok(python);
                }
                without.get_or_insert(python);
            }
            Err(why) => tried.push(format!("{shown}: {why}")),
        }
    }
    without.ok_or_else(|| {
        format!(
            "no Python was found that can run the bridge to the terminal (tried {}); install a 64-bit Python 3.6 to \
             3.12 with xtquant, and name it by `python`",
            tried.join("; ")
        )
    })
}

fn candidates(options: &Options) -> Vec<Vec<OsString>> {
    if let Some(python) = &options.python {
        return vec![vec![python.into()]];
    }
    let mut all = Vec::new();
    if let Some(environment) = std::env::var_os("VIRTUAL_ENV") {
        all.push(vec![Path::new(&environment).join(system::IN_ENVIRONMENT).into()]);
    }
    for words in system::PYTHONS {
        all.push(words.iter().map(OsString::from).collect());
    }
    for place in OF_TERMINAL {
        let found = options.path().map(|path| Path::new(path).join(place));
        all.extend(found.filter(|path| path.is_file()).map(|path| vec![path.into()]));
    }
    all
}

/// The terminal's own xtquant.
fn packages(options: &Options) -> Option<PathBuf> {
    let path = Path::new(options.path()?);
    PACKAGES_OF_TERMINAL
        .iter()
        .map(|place| path.join(place))
        .find(|folder| folder.join("xtquant").is_dir())
}

/// How an interpreter is called, for people.
pub(crate) fn shown(words: &[OsString]) -> String {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

fn probe(words: &[OsString], bridge: &Path, data_dir: &Path) -> Result<Probe, String> {
    let python = Python {
        words: words.to_vec(),
        version: String::new(),
        xtquant: None,
    };
    let mut child = command(&python, bridge, "--probe", data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let until = Instant::now() + PROBE_WITHIN;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
            Ok(None) => {
                child.kill().ok();
                child.wait().ok();
                return Err(format!("it does not answer within {} s", PROBE_WITHIN.as_secs()));
            }
            Err(e) => return Err(e.to_string()),
        }
    }
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        last.map_or_else(
            || format!("it ended with {}", output.status),
            |line| line.trim().chars().take(200).collect(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_that_was_tampered_with_is_written_anew() {
        let folder = tempfile::tempdir().expect("folder");
        let path = bridge(folder.path()).expect("written");
        std::fs::write(&path, "print('other')").expect("tampered");
        assert_eq!(bridge(folder.path()).expect("written again"), path);
        assert_eq!(std::fs::read_to_string(&path).expect("read"), BRIDGE);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(&folder.path().join("bridge"))), (0o600, 0o700));
        }
    }

    #[test]
    fn an_interpreter_that_is_none_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().expect("folder");
        let options = Options {
            python: Some("no-such-python".to_owned()),
            ..Options::default()
        };
        let path = bridge(folder.path()).expect("written");
        let why = find(&options, &path, folder.path()).expect_err("no such program");
        assert!(
            why.contains("no-such-python") && why.contains("`python`"),
            "{why}"
        );
    }

    /// The bridge must run where the terminal's own Python is 3.6: the newer interpreters can check that.
    #[test]
    fn the_bridge_keeps_to_the_syntax_of_python_3_6() {
        let script =
            "import ast,sys;ast.parse(open(sys.argv[1],encoding='utf-8').read(),feature_version=(3,6))";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bridge.py");
        let name = system::PYTHONS[0][0];
        match Command::new(name).arg("-c").arg(script).arg(path).output() {
            Ok(output) => assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(e) if std::env::var_os("CI").is_none() => eprintln!("SKIPPED: {name} cannot be started: {e}"),
            Err(e) => panic!("{name} cannot be started: {e}"),
        }
    }
}
