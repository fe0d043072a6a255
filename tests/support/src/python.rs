//! A Python with the libraries that users read our files with, made once below the build's folder.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What is installed. No versions: what users get today is what our files must be readable by.
const PACKAGES: [&str; 2] = ["polars", "pyarrow"];

/// The interpreter, or why there is none, as where neither is installed and the network is away.
///
/// # Errors
/// What the tools said.
///
/// # Panics
/// When the running program lies nowhere below a build folder.
pub fn python() -> Result<PathBuf, String> {
    python_with("python", &PACKAGES)
}

/// An interpreter in a folder `name` of its own with these packages.
///
/// # Errors
/// What the tools said.
///
/// # Panics
/// When the running program lies nowhere below a build folder.
pub fn python_with(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    // target/debug/deps/TEST or target/release/BENCH
    let folder = exe
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .ok_or("no build folder above the test")?;
    let home = folder.join(name);
    let found = home.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    });
    if home.join("complete").is_file() {
        return Ok(found);
    }
    // Made beside and moved as a whole: another test may be making it too.
    let new = folder.join(format!("{name}.new-{}", std::process::id()));
    let system = if cfg!(windows) { "python" } else { "python3" };
    run(Command::new(system).args(["-m", "venv"]).arg(&new))?;
    let inner = new.join(found.strip_prefix(&home).map_err(|e| e.to_string())?);
    let installed = run(Command::new(inner)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(packages));
    if let Err(reason) = installed.and_then(|()| put(&new, &home)) {
        std::fs::remove_dir_all(&new).ok();
        if !home.join("complete").is_file() {
            return Err(reason);
        }
    }
    Ok(found)
}

fn put(new: &Path, home: &Path) -> Result<(), String> {
    std::fs::write(new.join("complete"), "").map_err(|e| e.to_string())?;
    std::fs::rename(new, home).map_err(|e| e.to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = format!("{command:?}");
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(e) => Err(format!("{name}: {e}")),
    }
}
