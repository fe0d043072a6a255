//! A bundle is tried as its user has it: unpacked into some folder, with nothing of this checkout near it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use crate::System;
use crate::build::windows_tools;
use crate::parts;

/// Unpacks a bundle elsewhere and lets it trade in its own sandbox.
pub(crate) fn trades(bundle: &Path, system: System) -> Result<()> {
    // Another language and a space in the path, as on many a user's machine.
    let elsewhere = tempfile::Builder::new().prefix("解 压-").tempdir()?;
    let folder = unpack(bundle, elsewhere.path(), system)?;
    let plugin = match system {
        System::Linux => "plugins/libminiqmt.so",
        System::Windows => r"plugins\miniqmt.dll",
    };
    let listed = done(program(&folder, system)?.args(["--plugin", plugin, "plugins", "list", "--json"]))?;
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout)?;
    let usable = |name: &str| {
        let rows = listed.as_array().into_iter().flatten();
        rows.filter(|row| row["state"] == "usable")
            .any(|row| row["name"] == name)
    };
    ensure!(
        usable("simulated") && usable("miniQMT"),
        "not both plugins are usable: {listed}"
    );
    loads_miniqmt(&folder, system, plugin)?;
    trades_by_miniqmt(&folder, system, plugin)?;
    let said = done(program(&folder, system)?.arg("sandbox"))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let last = said.trim().lines().last().unwrap_or_default();
    ensure!(
        last.starts_with("The backend saw all that it should"),
        "the sandbox says: {said}"
    );
    println!("  unpacked elsewhere, both plugins are usable; the sandbox says: {last}");
    Ok(())
}

/// With a counter in the place of XtQuant's native module the plugin trades, in both lanes.
fn trades_by_miniqmt(folder: &Path, system: System, plugin: &str) -> Result<()> {
    for lane in ["worker", "in-process"] {
        let mut command = Command::new(crate::root()?.join(".ci").join("miniqmt-trades"));
        command.args(["--lane", lane]);
        command.arg("--bridge").arg(folder.join(parts::BRIDGE));
        if system == System::Windows {
            command.arg("--wine").arg(wine()?);
        }
        let said = done(command.arg(folder.join(system.program())).arg(plugin))?;
        print!("  {}", String::from_utf8_lossy(&said.stdout));
    }
    Ok(())
}

/// Without a terminal the plugin is loaded, looks for one, and says what is missing.
fn loads_miniqmt(folder: &Path, system: System, plugin: &str) -> Result<()> {
    let config = serde_json::json!({
        "api_base_url": "http://127.0.0.1:9/api", "api_token": "none", "broker": "miniQMT", "data_dir": "data of miniQMT",
        "miniQMT": { "account_id": "55000001", "session_path": "no terminal" },
    });
    let file = folder.join("miniqmt-proof.json");
    // A file that others may read would be told of first.
    tempfile::NamedTempFile::new_in(folder)?.persist(&file)?;
    std::fs::write(&file, config.to_string())?;
    let out = program(folder, system)?
        .args(["--plugin", plugin, "--once", "--config", "miniqmt-proof.json"])
        .output()
        .context("the unpacked program cannot be started")?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(
        out.status.code() == Some(1)
            && said.contains("Broker plugin: miniQMT")
            && said.contains("the broker plugin `miniQMT` cannot start: "),
        "the plugin for miniQMT ended with {}: {said}",
        out.status
    );
    Ok(())
}

fn unpack(bundle: &Path, to: &Path, system: System) -> Result<PathBuf> {
    let file = File::open(bundle)?;
    match system {
        System::Linux => tar::Archive::new(flate2::read::GzDecoder::new(file)).unpack(to)?,
        System::Windows => zip::ZipArchive::new(file)?.extract(to)?,
    }
    let inside = std::fs::read_dir(to)?.next().context("the bundle is empty")??;
    Ok(inside.path())
}

/// What runs a program under Wine.
fn wine() -> Result<PathBuf> {
    Ok(windows_tools()?.join("bin").join("wine-run"))
}

/// The unpacked program in its own folder, with a home that holds nothing, or Wine's.
fn program(folder: &Path, system: System) -> Result<Command> {
    let file = folder.join(system.program());
    let mut command = match system {
        System::Linux => Command::new(file),
        System::Windows => {
            let mut command = Command::new(wine()?);
            command.arg(file);
            command
        }
    };
    command.current_dir(folder);
    if system == System::Linux {
        command.env("HOME", folder);
    }
    Ok(command)
}

fn done(command: &mut Command) -> Result<Output> {
    let out = command
        .output()
        .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
    ensure!(
        out.status.success(),
        "{} ended with {}: {}{}",
        command.get_program().display(),
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(out)
}
