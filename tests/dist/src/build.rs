//! Builds program and plugins as they are released.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::System;

/// The oldest glibc on which the program runs; what CentOS 7 and everything since has.
pub(crate) const GLIBC: &str = "2.17";
/// The largest that the program may be, in bytes.
const LARGEST: u64 = 15_000_000;
/// The profile for what is given out.
const PROFILE: &str = "dist";
const PACKAGES: [&str; 6] = ["-p", "qt-host", "-p", "simulated", "-p", "miniqmt"];
/// Where the linker for an old glibc comes from; pinned, since another one would make other bytes.
const LINKER: [&str; 2] = ["ziglang==0.15.2", "cargo-zigbuild==0.24.1"];

/// What was built.
pub(crate) struct Built {
    /// The folder in which it lies.
    pub(crate) folder: PathBuf,
    /// The program's size in bytes.
    pub(crate) program_size: u64,
}

impl System {
    /// The compiler's name of it.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::Linux => "x86_64-unknown-linux-gnu",
            Self::Windows => "x86_64-pc-windows-gnu",
        }
    }

    /// The program's file.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Linux => "qt-host",
            Self::Windows => "qt-host.exe",
        }
    }

    /// A plugin's file.
    pub(crate) fn plugin(self, name: &str) -> String {
        match self {
            Self::Linux => format!("lib{name}.so"),
            Self::Windows => format!("{name}.dll"),
        }
    }
}

/// The folder of tools that are made once and kept outside the checkout.
pub(crate) fn cache(name: &str) -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .context("no place for tools is known; set XDG_CACHE_HOME")?;
    Ok(base.join(name))
}

/// The folder of the compiler for Windows and of Wine.
pub(crate) fn windows_tools() -> Result<PathBuf> {
    std::env::var_os("QT_WINDOWS").map_or_else(|| cache("quanttrader-windows"), |dir| Ok(dir.into()))
}

/// The moment that every file in a bundle bears: that of the commit, in seconds since 1970.
pub(crate) fn epoch(root: &Path) -> Result<u64> {
    if let Ok(set) = std::env::var("SOURCE_DATE_EPOCH") {
        return set.parse().context("SOURCE_DATE_EPOCH is no number");
    }
    let text = said(
        Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .current_dir(root),
    )?;
    text.parse()
        .with_context(|| format!("git tells no time of the commit ({text:?}); set SOURCE_DATE_EPOCH"))
}

/// Builds into `target`.
pub(crate) fn build(root: &Path, target: &Path, system: System) -> Result<Built> {
    let mut command = match system {
        System::Linux => linux(&cache("quanttrader-dist")?)?,
        System::Windows => windows(root, target)?,
    };
    command
        .current_dir(root)
        .args(["--profile", PROFILE, "--locked"])
        .args(PACKAGES)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_INCREMENTAL", "0")
        .env("SOURCE_DATE_EPOCH", epoch(root)?.to_string())
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root, target, system)?)
        // Each flag is quoted, for a folder with a space.
        .env("CC_SHELL_ESCAPED_FLAGS", "1")
        .env("CFLAGS", c_flags(root, target, system)?);
    // What is set around here would make other bytes.
    let other = |name: &str| {
        let tells = [
            "CFLAGS_",
            "TARGET_C",
            "HOST_C",
            "CARGO_PROFILE_",
            "CARGO_TARGET_",
            "RUSTC_WRAPPER",
        ];
        tells.iter().any(|start| name.starts_with(start)) && name != "CARGO_TARGET_DIR"
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(other) {
            command.env_remove(name);
        }
    }
    run(&mut command)?;
    let folder = target.join(system.target()).join(PROFILE);
    let program = folder.join(system.program());
    let program_size = std::fs::metadata(&program)
        .with_context(|| format!("{} was not built", program.display()))?
        .len();
    ensure!(
        program_size < LARGEST,
        "the program has {program_size} bytes, and {LARGEST} are the most"
    );
    for name in [
        system.program().to_owned(),
        system.plugin("simulated"),
        system.plugin("miniqmt"),
    ] {
        let content = std::fs::read(folder.join(&name))?;
        for (place, _) in places(root, target, system)? {
            ensure!(
                !holds(&content, place.as_os_str().as_encoded_bytes()),
                "{name} holds the path {} of this machine, and would be another file elsewhere",
                place.display()
            );
        }
        if system == System::Linux {
            let newest = newest_glibc(&content);
            let allowed = numbers(GLIBC);
            ensure!(
                newest <= allowed,
                "{name} needs glibc {newest:?}, and {GLIBC} was meant"
            );
            println!("  {name} needs glibc {}", words(newest.as_deref().unwrap_or(&[])));
        }
    }
    Ok(Built { folder, program_size })
}

/// Cargo with a linker that knows old versions of glibc.
fn linux(tools: &Path) -> Result<Command> {
    let bin = tools.join("bin");
    let wanted = LINKER.join("\n");
    let stamp = tools.join("installed");
    if std::fs::read_to_string(&stamp).unwrap_or_default() != wanted {
        run(Command::new("python3").args(["-m", "venv"]).arg(tools))?;
        run(Command::new(bin.join("python"))
            .args(["-m", "pip", "install", "--quiet"])
            .args(LINKER))?;
        std::fs::write(&stamp, wanted)?;
    }
    let mut path = bin.clone().into_os_string();
    if let Some(own) = std::env::var_os("PATH") {
        path.push(":");
        path.push(own);
    }
    let mut command = Command::new(bin.join("cargo-zigbuild"));
    command
        .args([
            "zigbuild",
            "--target",
            &format!("{}.{GLIBC}", System::Linux.target()),
        ])
        .env("PATH", path);
    Ok(command)
}

fn windows(root: &Path, target: &Path) -> Result<Command> {
    let tools = windows_tools()?;
    run(Command::new(root.join(".ci").join("windows-setup")).arg(&tools))?;
    let mut command = Command::new(tools.join("bin").join("cargo-win"));
    // The compiler itself: lints have no place in a release.
    command
        .arg("build")
        .env("QT_WINDOWS_WRAPPER", "")
        .env("QT_WINDOWS_TARGET_DIR", target);
    Ok(command)
}

/// No path of this machine is in what is built, so that it is the same elsewhere.
fn flags(root: &Path, target: &Path, system: System) -> Result<String> {
    let mut flags: Vec<String> = places(root, target, system)?
        .iter()
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect();
    if system == System::Windows {
        flags.push("-Clink-arg=-Wl,--no-insert-timestamp".to_owned());
    }
    Ok(flags.join("\u{1f}"))
}

fn c_flags(root: &Path, target: &Path, system: System) -> Result<String> {
    let maps: Vec<String> = places(root, target, system)?
        .iter()
        .map(|(from, to)| format!("'-ffile-prefix-map={}={to}'", from.display()))
        .collect();
    Ok(maps.join(" "))
}

/// Folders and what stands for them; of two that fit the later one counts, for both compilers.
fn places(root: &Path, target: &Path, system: System) -> Result<[(PathBuf, &'static str); 4]> {
    let cargo = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .context("cargo's folder is not known; set CARGO_HOME")?;
    let tools = match system {
        System::Linux => {
            let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
            PathBuf::from(said(command.args(["--print", "sysroot"]))?)
        }
        System::Windows => windows_tools()?,
    };
    Ok([
        (root.to_path_buf(), "/source"),
        (cargo, "/cargo"),
        (tools, "/tools"),
        (target.to_path_buf(), "/target"),
    ])
}

fn holds(content: &[u8], word: &[u8]) -> bool {
    content.windows(word.len()).any(|part| part == word)
}

/// The files of a folder as they were committed: none that only lies there.
pub(crate) fn committed(root: &Path, folder: &str) -> Result<Vec<PathBuf>> {
    let list = said(
        Command::new("git")
            .args(["ls-files", "--", folder])
            .current_dir(root),
    )?;
    let files: Vec<PathBuf> = list.lines().map(|name| root.join(name)).collect();
    ensure!(!files.is_empty(), "git knows no files in {folder}");
    Ok(files)
}

/// A release is what was committed, and its files bear that moment.
pub(crate) fn is_committed(root: &Path) -> Result<()> {
    let changed = said(
        Command::new("git")
            .args(["status", "--porcelain"])
            .current_dir(root),
    )?;
    ensure!(
        changed.is_empty(),
        "a bundle is made of a commit, and there are changes that are not committed:\n{changed}"
    );
    Ok(())
}

fn said(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command
        .output()
        .with_context(|| format!("{name} cannot be started"))?;
    ensure!(
        out.status.success(),
        "{name} ended with {}: {}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(String::from_utf8_lossy(&out.stdout).trim_end().to_owned())
}

/// The compiler of a build, in its own words.
pub(crate) fn compiler(system: System) -> Result<String> {
    let rustc = match system {
        System::Linux => std::env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from),
        System::Windows => windows_tools()?.join("bin").join("rustc"),
    };
    said(Command::new(rustc).arg("--version"))
}

/// The newest version of glibc that a file asks for.
fn newest_glibc(file: &[u8]) -> Option<Vec<u32>> {
    const WORD: &[u8] = b"GLIBC_";
    let starts = file.windows(WORD.len()).enumerate();
    starts
        .filter(|(_, part)| *part == WORD)
        .filter_map(|(at, _)| {
            let rest = &file[at + WORD.len()..];
            let end = rest.iter().position(|byte| *byte == 0)?;
            numbers(std::str::from_utf8(&rest[..end]).ok()?)
        })
        .max()
}

fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

fn words(version: &[u32]) -> String {
    let words: Vec<String> = version.iter().map(u32::to_string).collect();
    words.join(".")
}

/// Runs a command that must end well.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("{name} cannot be started"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_glibc_is_by_number() {
        let file = b"\0GLIBC_2.9\0GLIBC_2.17\0GLIBC_PRIVATE\0GLIBC_2.2.5\0";
        assert_eq!(newest_glibc(file), Some(vec![2, 17]));
        assert!(newest_glibc(b"\0GLIBC_2.28\0") > numbers(GLIBC));
        assert_eq!(newest_glibc(b"nothing"), None);
    }
}
