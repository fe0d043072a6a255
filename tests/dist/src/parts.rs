//! What a bundle holds besides programs: examples, licences, and the list of everything it was made of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::System;
use crate::build::{self, Built};
use crate::bundle::{Entries, Entry};

const ROOTS: [&str; 3] = ["qt-host", "simulated", "miniqmt"];
const PLUGINS: [&str; 2] = ["simulated", "miniqmt"];

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
    for entry in std::fs::read_dir(root.join("examples").join("config"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        add(format!("config/{name}"), read(&entry.path())?, false);
    }
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
    let out = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            system.target(),
        ])
        .current_dir(root)
        .output()
        .context("cargo cannot be started")?;
    ensure!(
        out.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    let all: Value = serde_json::from_slice(&out.stdout)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let by_id: BTreeMap<String, Value> = list(&all["packages"])
        .into_iter()
        .map(|package| (text(&package["id"]), package))
        .collect();
    let nodes: BTreeMap<String, Value> = list(&all["resolve"]["nodes"])
        .into_iter()
        .map(|node| (text(&node["id"]), node))
        .collect();
    let mut wanted: Vec<String> = by_id
        .iter()
        .filter(|(_, package)| {
            ROOTS.contains(&text(&package["name"]).as_str()) && package["source"].is_null()
        })
        .map(|(id, _)| id.clone())
        .collect();
    ensure!(
        wanted.len() == ROOTS.len(),
        "not every program is a package: {wanted:?}"
    );
    let mut seen = BTreeSet::new();
    let mut found = BTreeMap::new();
    while let Some(id) = wanted.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let package = by_id.get(&id).with_context(|| format!("{id} is no package"))?;
        found.insert(
            (text(&package["name"]), text(&package["version"])),
            package.clone(),
        );
        for dependency in list(&nodes.get(&id).context("a package without its dependencies")?["deps"]) {
            // What only builds or tests is not in the program.
            let is_in = list(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null());
            if is_in {
                wanted.push(text(&dependency["pkg"]));
            }
        }
    }
    Ok(found)
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
    for ((name, version), package) in packages {
        if package["source"].is_null() {
            continue;
        }
        let terms = package["license"].as_str().unwrap_or("see below");
        all.push_str(&format!("\n{}\n{name} {version}: {terms}\n", "=".repeat(80)));
        let folder = package["manifest_path"]
            .as_str()
            .and_then(|path| Path::new(path).parent())
            .with_context(|| format!("{name} lies nowhere"))?;
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .with_context(|| format!("the source of {name} is not at {}", folder.display()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.is_file() && is_licence(path))
            .collect();
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
            let title = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            all.push_str(&format!("\n--- {title}\n\n{}\n", text.trim_end()));
        }
    }
    Ok(all)
}

fn is_licence(path: &Path) -> bool {
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
