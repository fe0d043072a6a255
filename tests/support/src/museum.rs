//! Builds the museum: plugins from frozen sources, by several compilers and in several ways.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The released version whose package lies in the museum.
const RELEASED: &str = "1.0.0";
/// What the overlay makes of it.
const NEWER: &str = "1.99.0";

/// A plugin of the museum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Offers both interfaces of its time.
    Plain,
    /// Offers no interface, though the host knows some.
    Bare,
    /// Offers an interface that the host lacks, and asks for a service that it lacks.
    Newer,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Plain, Self::Bare, Self::Newer];

    /// The plugin's name without `museum-`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Bare => "bare",
            Self::Newer => "newer",
        }
    }

    /// The version of qt-plugin-api that it was built from.
    #[must_use]
    pub fn api(self) -> &'static str {
        if self == Self::Newer { NEWER } else { RELEASED }
    }
}

/// A built plugin.
#[derive(Clone, Debug)]
pub struct Exhibit {
    /// Which one.
    pub kind: Kind,
    /// `stable` or `nightly`.
    pub compiler: &'static str,
    /// Level of optimisation.
    pub opt: u8,
    /// `off` or `thin`.
    pub lto: &'static str,
    /// The library.
    pub file: PathBuf,
}

/// Everything that was built.
#[derive(Debug)]
pub struct Museum {
    /// The plugins.
    pub exhibits: Vec<Exhibit>,
    /// Compilers that were there, with their versions.
    pub compilers: BTreeMap<&'static str, String>,
}

fn folder() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(3).unwrap().join("museum")
}

/// Lays the sources out, a workspace of its own, and builds nothing.
///
/// # Panics
/// When they cannot be written.
#[must_use]
pub fn sources() -> PathBuf {
    let folder = folder();
    fs::create_dir_all(&folder).unwrap();
    // A lock of its own: who needs the sources alone does not wait for a build.
    let lock = fs::File::create(folder.join("sources.lock")).unwrap();
    lock.lock().unwrap();
    let sources = folder.join("sources");
    lay_out(&sources);
    sources
}

/// The plugin `bare` as the museum builds it by stable without optimisation, with one more flag for its own crate, so
/// that nothing beneath it is built a second time.
#[must_use]
pub fn bare_with(flag: &[&str]) -> Command {
    let mut command = cargo("stable");
    command
        .args([
            "rustc",
            "--quiet",
            "--package",
            "museum-bare",
            "--profile",
            "o0-off",
        ])
        .arg("--target-dir")
        .arg(folder().join("stable"))
        .arg("--")
        .args(flag)
        .current_dir(sources());
    command
}

/// Builds what is not built yet. Several tests may call it at once.
///
/// # Panics
/// When a plugin does not build.
#[must_use]
pub fn build() -> Museum {
    let sources = sources();
    let target = folder();
    let lock = fs::File::create(target.join("lock")).unwrap();
    lock.lock().unwrap();
    let mut compilers = BTreeMap::from([("stable", version(&mut rustc("stable")).unwrap())]);
    // A nightly that is not installed is no fault of this project, but the gate installs it; the table says which compilers
    // there were.
    if let Some(found) = version(&mut rustc("nightly")) {
        compilers.insert("nightly", found);
    } else {
        assert!(
            std::env::var_os("QT_NIGHTLY_NEEDED").is_none(),
            "nightly is missing; install it by: rustup toolchain install nightly --profile minimal"
        );
        eprintln!("SKIPPED: nightly is not installed, and stable builds its exhibits");
    }
    let both = compilers.len() == 2;
    // Each pair of compiler, optimisation and link-time optimisation is there; all eight would take twice as long.
    let plan: [(&str, u8, &str); 4] = [
        ("stable", 0, "off"),
        ("stable", 3, "thin"),
        (if both { "nightly" } else { "stable" }, 0, "thin"),
        (if both { "nightly" } else { "stable" }, 3, "off"),
    ];
    let exhibits = plan
        .into_iter()
        .flat_map(|(compiler, opt, lto)| build_one(&sources, &target, compiler, opt, lto))
        .collect();
    Museum { exhibits, compilers }
}

/// Cargo of a compiler, without what the cargo that runs this test has put into the environment.
#[must_use]
pub fn cargo(compiler: &str) -> Command {
    let mut command = if compiler == "nightly" {
        let mut rustup = Command::new("rustup");
        rustup.args(["run", "nightly", "cargo"]);
        rustup
    } else {
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    };
    if compiler == "nightly" {
        for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
            command.env_remove(name);
        }
    }
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR"] {
        command.env_remove(name);
    }
    command
}

fn rustc(compiler: &str) -> Command {
    if compiler == "nightly" {
        let mut command = Command::new("rustup");
        command
            .args(["run", "nightly", "rustc"])
            .env_remove("RUSTUP_TOOLCHAIN");
        command
    } else {
        Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
    }
}

fn version(rustc: &mut Command) -> Option<String> {
    let output = rustc.arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn build_one(
    sources: &Path,
    target: &Path,
    compiler: &'static str,
    opt: u8,
    lto: &'static str,
) -> Vec<Exhibit> {
    let profile = format!("o{opt}-{lto}");
    let folder = target.join(compiler);
    let output = cargo(compiler)
        .args(["build", "--quiet", "--profile", &profile, "--target-dir"])
        .arg(&folder)
        .current_dir(sources)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler} {profile}: {said}");
    let each = Kind::ALL.map(|kind| Exhibit {
        kind,
        compiler,
        opt,
        lto,
        file: folder.join(&profile).join(format!(
            "{}museum_{}{}",
            std::env::consts::DLL_PREFIX,
            kind.name(),
            std::env::consts::DLL_SUFFIX
        )),
    });
    each.into()
}

/// Writes the workspace. What is there already and the same is left alone, so that cargo finds it fresh.
fn lay_out(sources: &Path) {
    let museum = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("museum");
    fs::create_dir_all(sources).unwrap();
    let package = museum.join(format!("qt-plugin-api-{RELEASED}.crate"));
    let unpacked = tempfile::tempdir_in(sources).unwrap();
    let status = Command::new("tar")
        .arg("-xzf")
        .arg(&package)
        .arg("-C")
        .arg(unpacked.path())
        .status()
        .unwrap();
    assert!(status.success(), "{} cannot be unpacked", package.display());
    let root = unpacked.path().join(format!("qt-plugin-api-{RELEASED}"));
    let mut files = BTreeMap::new();
    read_all(&root, Path::new(""), &mut files);
    for (path, text) in &files {
        put(&sources.join("api").join(path), text);
    }
    put(&sources.join("Cargo.lock"), &files[Path::new("Cargo.lock")]);
    let mut added = BTreeMap::new();
    read_all(&museum.join("newer"), Path::new(""), &mut added);
    for (path, text) in added {
        if path.extension().is_some_and(|e| e == "append") {
            files.get_mut(&path.with_extension("")).unwrap().push_str(&text);
        } else {
            files.insert(path, text);
        }
    }
    for (path, text) in &files {
        let released = format!("version = \"{RELEASED}\"\nbuild =");
        let newer = text.replacen(&released, &format!("version = \"{NEWER}\"\nbuild ="), 1);
        put(&sources.join("api-newer").join(path), &newer);
    }
    for kind in Kind::ALL {
        lay_out_plugin(sources, &museum, kind);
    }
    let mut manifest =
        "[workspace]\nresolver = \"3\"\nmembers = [\"plain\", \"bare\", \"newer\"]\nexclude = [\"api\", \"api-newer\"]\n".to_owned();
    for (opt, lto) in [(0, "off"), (0, "thin"), (3, "off"), (3, "thin")] {
        manifest += &format!(
            "\n[profile.o{opt}-{lto}]\ninherits = \"release\"\nopt-level = {opt}\nlto = \"{lto}\"\nstrip = \"symbols\"\n"
        );
    }
    put(&sources.join("Cargo.toml"), &manifest);
}

fn lay_out_plugin(sources: &Path, museum: &Path, kind: Kind) {
    let folder = sources.join(kind.name());
    let exhibits = museum.join("exhibits");
    let source = |name: &str| fs::read_to_string(exhibits.join(name)).unwrap();
    put(
        &folder.join("src/lib.rs"),
        &source(&format!("{}.rs", kind.name())),
    );
    put(&folder.join("src/broker.rs"), &source("broker.rs"));
    let api = if kind == Kind::Newer { "api-newer" } else { "api" };
    let manifest = format!(
        "[package]\nname = \"museum-{}\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nqt-plugin-api = {{ path = \"../{api}\", version = \"={}\" }}\n",
        kind.name(),
        kind.api()
    );
    put(&folder.join("Cargo.toml"), &manifest);
}

fn read_all(root: &Path, inside: &Path, into: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(root.join(inside)).unwrap() {
        let entry = entry.unwrap();
        let path = inside.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            read_all(root, &path, into);
        } else {
            into.insert(path.clone(), fs::read_to_string(root.join(path)).unwrap());
        }
    }
}

fn put(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|found| found == text) {
        return;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
