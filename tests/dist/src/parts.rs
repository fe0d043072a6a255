//! What a bundle holds besides programs: examples, licences, and the list of everything it was made of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::System;
use crate::build::{self, Built};
use crate::bundle::{Entries, Entry};

const ROOTS: [&str; 3] = ["qt-host", "simulated", "miniqmt"];
const PLUGINS: [&str; 2] = ["simulated", "miniqmt"];

/// Where the bridge lies in a bundle.
pub(crate) const BRIDGE: &str = "miniqmt/bridge.py";
/// So deep below a package's folder its licences lie at most.
const LICENCE_DEPTH: usize = 4;

/// Every file of a bundle.
pub(crate) fn collect(root: &Path, built: &Built, system: System) -> Result<Entries> {
    let mut entries = Entries::new();
    let mut add = |name: String, content: Vec<u8>, runs: bool| {
        entries.insert(name, Entry { content, runs });
    };
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
    add(
        system.program().to_owned(),
        read(&built.folder.join(system.program()))?,
        true,
    );
    for name in PLUGINS {
        let file = system.plugin(name);
        add(format!("plugins/{file}"), read(&built.folder.join(&file))?, true);
    }
    for path in build::committed(root, "examples/config")? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        add(format!("config/{name}"), read(&path)?, false);
    }
    // The terminal's machine may be another one than the host's.
    let miniqmt = root.join("plugins").join("miniqmt");
    add(
        BRIDGE.to_owned(),
        read(&miniqmt.join("src").join("bridge.py"))?,
        false,
    );
    add(
        "miniqmt/PROTOCOL.md".to_owned(),
        read(&miniqmt.join("PROTOCOL.md"))?,
        false,
    );
    add("README.md".to_owned(), read(&root.join("README.md"))?, false);
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        add(name.to_owned(), read(&root.join("host").join(name))?, false);
    }
    let packages = packages(root, system)?;
    let compiler = build::compiler(system)?;
    add(
        "THIRD-PARTY.txt".to_owned(),
        licences(&packages, &compiler, system)?.into_bytes(),
        false,
    );
    add(
        "sbom.cdx.json".to_owned(),
        sbom(&packages, &compiler, system)?,
        false,
    );
    Ok(entries)
}

/// The packages that are in the programs, by name and version, as `cargo metadata` tells of them.
fn packages(root: &Path, system: System) -> Result<BTreeMap<(String, String), Value>> {
    let built = built(root, system)?;
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
    ];
    let all: Value = serde_json::from_str(&cargo(root, &[&arguments[..], &[system.target()]].concat())?)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = BTreeMap::new();
    for package in all["packages"].as_array().into_iter().flatten() {
        let key = (text(&package["name"]), text(&package["version"]));
        if built.contains(&key) {
            found.insert(key, package.clone());
        }
    }
    let missing: Vec<_> = built.iter().filter(|key| !found.contains_key(key)).collect();
    ensure!(missing.is_empty(), "cargo tells nothing of {missing:?}");
    Ok(found)
}

/// Names and versions of what is built into the programs: no tests, no tools of the build, and of each library only what is
/// switched on for them.
fn built(root: &Path, system: System) -> Result<BTreeSet<(String, String)>> {
    let mut arguments = vec![
        "tree",
        "--locked",
        "--target",
        system.target(),
        "--edges",
        "normal,no-proc-macro",
    ];
    arguments.extend(["--prefix", "none", "--format", "{p}"]);
    for name in ROOTS {
        arguments.extend(["--package", name]);
    }
    let tree = cargo(root, &arguments)?;
    let keys = tree.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        Some((name.to_owned(), version.to_owned()))
    });
    Ok(keys.collect())
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<String> {
    let out = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .current_dir(root)
        .output()
        .context("cargo cannot be started")?;
    ensure!(
        out.status.success(),
        "cargo {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(String::from_utf8(out.stdout)?)
}

/// The licences of all packages, each with the texts that it came with.
fn licences(packages: &BTreeMap<(String, String), Value>, compiler: &str, system: System) -> Result<String> {
    let mut all = String::from("What is in these programs besides quantTrader, and on which terms.\n");
    all.push_str(&format!(
        "\n{}\nRust's standard library ({compiler}): MIT OR Apache-2.0\n",
        "=".repeat(80)
    ));
    if system == System::Windows {
        all.push_str(&format!(
            "\n{0}\nMinGW-w64's start-up code: Zope Public License 2.1 and public domain, as its COPYING.MinGW-w64-runtime \
             says\n\n{0}\nlibgcc: GPL-3.0-or-later with the GCC Runtime Library Exception 3.1, which lets every program hold it\n",
            "=".repeat(80)
        ));
    }
    if system == System::Linux {
        all.push_str(&format!(
            "\n{}\nLLVM's libunwind and compiler-rt: Apache-2.0 WITH LLVM-exception\n",
            "=".repeat(80)
        ));
    }
    all.push_str(&format!(
        "\n{}\nSQLite (by libsqlite3-sys): in the public domain\n",
        "=".repeat(80)
    ));
    for ((name, version), package) in packages {
        if package["source"].is_null() {
            continue;
        }
        let terms = package["license"].as_str().unwrap_or("see below");
        all.push_str(&format!("\n{}\n{name} {version}: {terms}\n", "=".repeat(80)));
        if let Some(source) = package["repository"].as_str() {
            all.push_str(&format!("Source: {source}\n"));
        }
        let folder = package["manifest_path"]
            .as_str()
            .and_then(|path| Path::new(path).parent())
            .with_context(|| format!("{name} lies nowhere"))?;
        let mut files = Vec::new();
        licence_files(folder, LICENCE_DEPTH, &mut files)
            .with_context(|| format!("the source of {name} is not at {}", folder.display()))?;
        files.sort();
        if files.is_empty() {
            all.push_str(
                "\nIts package holds no text. Those of MIT and Apache-2.0 are in LICENSE-MIT and LICENSE-APACHE, without the \
                 names of its authors.\n",
            );
            if let Some(authors) = package["authors"]
                .as_array()
                .filter(|authors| !authors.is_empty())
            {
                let authors: Vec<&str> = authors.iter().filter_map(Value::as_str).collect();
                all.push_str(&format!("Copyright: {}\n", authors.join(", ")));
            }
        }
        for file in files {
            let text = String::from_utf8_lossy(&std::fs::read(&file)?).replace('\r', "");
            let title = file.strip_prefix(folder).unwrap_or(&file).display();
            all.push_str(&format!("\n--- {title}\n\n{}\n", text.trim_end()));
        }
    }
    Ok(all)
}

/// The texts in a package's folder and below it: a library in C that it builds has its own there.
fn licence_files(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && depth > 0 {
            licence_files(&path, depth - 1, found)?;
        } else if path.is_file() && is_licence(&path) {
            found.push(path);
        }
    }
    Ok(())
}

fn is_licence(path: &Path) -> bool {
    let extension = path.extension().and_then(std::ffi::OsStr::to_str);
    if matches!(extension, Some("rs" | "c" | "h" | "py" | "json" | "toml" | "yml")) {
        return false;
    }
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_uppercase();
    [
        "LICENSE",
        "LICENCE",
        "COPYING",
        "COPYRIGHT",
        "NOTICE",
        "UNLICENSE",
    ]
    .iter()
    .any(|word| name.starts_with(word))
}

/// The libraries in C that packages bring with them and build: the package, the library, and its terms.
const IN_C: [(&str, &str, &str); 2] = [
    ("libsqlite3-sys", "sqlite", "blessing"),
    ("libdbus-sys", "dbus", "AFL-2.1 OR GPL-2.0-or-later"),
];

/// The version of a library in C, as its own source tells it.
fn version_in_c(library: &str, folder: &Path) -> Result<String> {
    let file = match library {
        "sqlite" => folder.join("sqlite3").join("sqlite3.h"),
        _ => folder.join("vendor").join("dbus").join("configure.ac"),
    };
    let text = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    let text = String::from_utf8_lossy(&text);
    let after = |start: &str, end: char| {
        let line = text.lines().find_map(|line| line.strip_prefix(start));
        line.and_then(|rest| rest.trim().split(end).next().map(str::to_owned))
            .with_context(|| format!("{} tells no version", file.display()))
    };
    if library == "sqlite" {
        return Ok(after("#define SQLITE_VERSION ", ' ')?.replace('"', ""));
    }
    let parts: Result<Vec<String>> = ["major", "minor", "micro"]
        .iter()
        .map(|part| after(&format!("m4_define([dbus_{part}_version], ["), ']'))
        .collect();
    Ok(parts?.join("."))
}

/// The list of parts in the form of CycloneDX 1.5.
fn sbom(packages: &BTreeMap<(String, String), Value>, compiler: &str, system: System) -> Result<Vec<u8>> {
    let mut components: Vec<Value> = packages
        .iter()
        .filter(|((name, _), _)| name != "qt-host")
        .map(|((name, version), package)| {
            let mut component = json!({
                "type": "library", "bom-ref": format!("pkg:cargo/{name}@{version}"), "name": name, "version": version,
                "purl": format!("pkg:cargo/{name}@{version}"),
            });
            if let Some(terms) = package["license"].as_str() {
                component["licenses"] = json!([{ "expression": terms.replace('/', " OR ") }]);
            }
            component
        })
        .collect();
    for (package, library, terms) in IN_C {
        let found = packages.iter().find(|((name, _), _)| name == package);
        let manifest = found.and_then(|(_, package)| package["manifest_path"].as_str());
        let Some(folder) = manifest.and_then(|path| Path::new(path).parent()) else {
            continue;
        };
        let version = version_in_c(library, folder)?;
        components.push(json!({
            "type": "library", "bom-ref": format!("pkg:generic/{library}@{version}"), "name": library, "version": version,
            "purl": format!("pkg:generic/{library}@{version}"), "licenses": [{ "expression": terms }],
        }));
    }
    components.push(json!({
        "type": "library", "bom-ref": "rust-std", "name": "rust-std", "version": compiler,
        "licenses": [{ "expression": "MIT OR Apache-2.0" }],
    }));
    let version = env!("CARGO_PKG_VERSION");
    let sbom = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {
            "component": { "type": "application", "bom-ref": format!("pkg:cargo/qt-host@{version}"), "name": "qt-host",
                           "version": version, "purl": format!("pkg:cargo/qt-host@{version}") },
            "properties": [{ "name": "target", "value": system.target() }],
        },
        "components": components,
    });
    let mut text = serde_json::to_vec_pretty(&sbom)?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of a library in C lie below the package that brings it, and were left out.
    #[test]
    fn a_library_in_c_has_its_version_and_its_licence() -> Result<()> {
        let package = tempfile::tempdir()?;
        let put = |name: &str, text: &str| -> Result<()> {
            let path = package.path().join(name);
            std::fs::create_dir_all(path.parent().context("a folder")?)?;
            Ok(std::fs::write(path, text)?)
        };
        put(
            "sqlite3/sqlite3.h",
            "/* */\n#define SQLITE_VERSION        \"3.54.1\"\n",
        )?;
        put(
            "vendor/dbus/configure.ac",
            "m4_define([dbus_major_version], [1])\nm4_define([dbus_minor_version], [14])\nm4_define([dbus_micro_version], [4])\n",
        )?;
        put("vendor/dbus/COPYING", "terms")?;
        put("LICENSE-MIT", "terms")?;
        put("src/license.rs", "")?;
        assert_eq!(version_in_c("sqlite", package.path())?, "3.54.1");
        assert_eq!(version_in_c("dbus", package.path())?, "1.14.4");
        let mut found = Vec::new();
        licence_files(package.path(), LICENCE_DEPTH, &mut found)?;
        found.sort();
        let names: Vec<_> = found
            .iter()
            .filter_map(|path| path.strip_prefix(package.path()).ok())
            .collect();
        assert_eq!(
            names,
            [Path::new("LICENSE-MIT"), Path::new("vendor/dbus/COPYING")]
        );
        put("sqlite3/sqlite3.h", "nothing")?;
        assert!(version_in_c("sqlite", package.path()).is_err());
        Ok(())
    }
}
