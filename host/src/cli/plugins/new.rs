//! `qt-host plugins new NAME`: a crate that builds, is tested, and trades on paper from the first minute.

use std::path::{Path, PathBuf};

use clap::Args;
use qt_plugin_api::{manifest::API_VERSION, template};
use serde_json::json;

use crate::cli::{Failure, print};

/// Write a new broker plugin: a crate with its options, tests and CI, which fills orders on paper until your broker's
/// calls are in it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qt-host plugins new my-broker                      writes ./my-broker
  qt-host plugins new my-broker --path brokers/mine  writes ./brokers/mine
  qt-host plugins new my-broker --api-path ../quanttrader/plugin-api
                                                     builds against a copy of qt-plugin-api

Then, in the new folder:
  cargo test
  cargo build --release
  qt-host plugins test target/release/libmy_broker.so")]
pub(super) struct NewArgs {
    /// The plugin's name: lower-case letters, digits, `-` and `_`. The configuration picks the plugin by it.
    name: String,

    /// The folder to write, which must not exist; the name in the current folder without it.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,

    /// A copy of qt-plugin-api to build against instead of the released one.
    #[arg(long, value_name = "PATH")]
    api_path: Option<PathBuf>,
}

/// Writes the crate, whole or not at all.
///
/// # Errors
/// A name, a folder or a copy of qt-plugin-api that cannot be used (code 2), or files that cannot be written.
pub(super) fn run(args: &NewArgs, json: bool) -> Result<(), Failure> {
    template::check_name(&args.name).map_err(Failure::usage)?;
    let api = api_dependency(args.api_path.as_deref())?;
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let files = template::render(&args.name, &api);
    write_all(&folder, &files)?;
    print(&if json {
        let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        format!(
            "{:#}\n",
            json!({ "name": args.name, "path": folder, "files": paths })
        )
    } else {
        said(&args.name, &folder)
    })
}

fn said(name: &str, folder: &Path) -> String {
    let file = format!(
        "target/release/{}{}{}",
        std::env::consts::DLL_PREFIX,
        name.replace('-', "_"),
        std::env::consts::DLL_SUFFIX
    );
    format!(
        "Wrote the plugin `{name}` to {folder}. It trades on paper; src/lib.rs says where your broker's calls go.\n\
         Next:\n  cd {folder}\n  cargo test\n  cargo build --release\n  qt-host plugins inspect {file}\n  \
         qt-host plugins test {file}\n",
        folder = folder.display()
    )
}

/// How the crate depends on qt-plugin-api: the inside of a TOML table.
fn api_dependency(copy: Option<&Path>) -> Result<String, Failure> {
    let Some(copy) = copy else {
        return Ok(format!("version = \"{API_VERSION}\""));
    };
    let usage = |why: String| Failure::usage(format!("--api-path {}: {why}", copy.display()));
    let manifest = copy.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).map_err(|e| {
        usage(format!(
            "{} cannot be read ({e}); name the folder of qt-plugin-api",
            manifest.display()
        ))
    })?;
    let read: toml::Table =
        toml::from_str(&text).map_err(|e| usage(format!("its Cargo.toml is not TOML: {e}")))?;
    let name = read
        .get("package")
        .and_then(|p| p.get("name"))
        .and_then(toml::Value::as_str);
    if name != Some("qt-plugin-api") {
        let name = name.unwrap_or("no package");
        return Err(usage(format!("it holds {name} and not qt-plugin-api")));
    }
    let whole = copy.canonicalize().map_err(|e| usage(e.to_string()))?;
    let text = whole
        .to_str()
        .ok_or_else(|| usage("its path is not UTF-8, which no Cargo.toml can hold".to_owned()))?;
    Ok(format!("path = {}", toml::Value::from(text)))
}

/// Writes beside the folder first, so that nobody ever sees half a crate.
fn write_all(folder: &Path, files: &[(String, String)]) -> Result<(), Failure> {
    if folder.symlink_metadata().is_ok() {
        return Err(Failure::usage(format!(
            "{} exists already, and nothing in it was touched; name another folder with --path",
            folder.display()
        )));
    }
    let name = folder.file_name().ok_or_else(|| {
        Failure::usage(format!(
            "{} is no folder that can be made; name one with --path",
            folder.display()
        ))
    })?;
    let parent = folder
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let staged = parent.join(format!(".{}.new-{}", name.to_string_lossy(), std::process::id()));
    let written = write_into(&staged, files).and_then(|()| std::fs::rename(&staged, folder));
    written.map_err(|e| {
        // What was begun goes away again; if even that fails, its name says what it is.
        drop(std::fs::remove_dir_all(&staged));
        Failure::failed(format!("{} cannot be written: {e}", folder.display()))
    })
}

fn write_into(folder: &Path, files: &[(String, String)]) -> std::io::Result<()> {
    for (path, text) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(name: &str, path: PathBuf) -> NewArgs {
        NewArgs {
            name: name.to_owned(),
            path: Some(path),
            api_path: None,
        }
    }

    #[test]
    fn a_crate_is_written_whole_and_never_over_another() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = dir.path().join("deep/my-broker");
        run(&args("my-broker", folder.clone()), false).expect("written");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let read: toml::Table = toml::from_str(&manifest).expect("TOML");
        assert_eq!(read["package"]["name"].as_str(), Some("my-broker"));
        assert_eq!(
            read["dependencies"]["qt-plugin-api"]["version"].as_str(),
            Some(API_VERSION)
        );
        assert!(folder.join(".github/workflows/ci.yml").exists());
        let again = run(&args("my-broker", folder.clone()), false).expect_err("exists");
        assert_eq!(again.code, 2);
        assert!(again.message.contains("exists already"), "{}", again.message);
        let beside = std::fs::read_dir(dir.path().join("deep"))
            .expect("folder")
            .count();
        assert_eq!(beside, 1, "nothing is left beside it");
    }

    #[test]
    fn wrong_names_and_copies_write_nothing() {
        let dir = tempfile::tempdir().expect("folder");
        for name in ["My Broker", "../up", "fn", ""] {
            let failure = run(&args(name, dir.path().join("x")), false).expect_err(name);
            assert_eq!(failure.code, 2, "{}", failure.message);
        }
        for (text, word) in [
            ("", "no package"),
            ("[package]\nname = \"other\"", "other"),
            ("][", "not TOML"),
        ] {
            std::fs::write(dir.path().join("Cargo.toml"), text).expect("written");
            let api_path = Some(dir.path().to_path_buf());
            let failure = run(
                &NewArgs {
                    api_path,
                    ..args("mine", dir.path().join("x"))
                },
                false,
            )
            .expect_err(text);
            assert_eq!(failure.code, 2);
            assert!(failure.message.contains(word), "{}", failure.message);
        }
        assert!(!dir.path().join("x").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_written_leaves_nothing() {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::write(dir.path().join("file"), "").expect("written");
        let failure =
            run(&args("mine", dir.path().join("file/mine")), false).expect_err("a file is no folder");
        assert_eq!(failure.code, 1, "{}", failure.message);
    }

    #[test]
    fn a_copy_of_the_api_is_named_by_its_whole_path() {
        let dir = tempfile::tempdir().expect("folder");
        let copy = dir.path().join("a \"copy\"");
        std::fs::create_dir(&copy).expect("folder");
        std::fs::write(copy.join("Cargo.toml"), "[package]\nname = \"qt-plugin-api\"").expect("written");
        let text = api_dependency(Some(&copy)).expect("a copy");
        let read: toml::Table = toml::from_str(&text).expect("TOML");
        assert_eq!(read["path"].as_str(), copy.canonicalize().expect("path").to_str());
    }
}
