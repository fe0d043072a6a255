//! `cargo dist-bundle`: one file for Linux and one for Windows, equal to the last byte whenever and wherever they are
//! built from the same commit by the same compilers, each tried from where it was unpacked.

mod build;
mod bundle;
mod parts;
mod proof;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

/// A system that there is a bundle for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum System {
    /// x86_64, glibc 2.17 or newer.
    Linux,
    /// x86_64, Windows 10 or newer.
    Windows,
}

#[derive(Debug, Parser)]
#[command(about = "Makes the release bundles in target/dist and tries each from where it was unpacked")]
struct Arguments {
    /// Only this one; both without it.
    #[arg(long, value_enum)]
    only: Option<System>,
    /// Build everything a second time, elsewhere, and compare.
    #[arg(long)]
    twice: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let root = root()?;
    build::is_committed(&root)?;
    let out = root.join("target").join("dist");
    // What is not tried yet must not be taken for a release.
    let untried = out.join("untried");
    std::fs::create_dir_all(&untried)
        .with_context(|| format!("the folder {} cannot be made", out.display()))?;
    let systems = arguments
        .only
        .map_or(vec![System::Linux, System::Windows], |only| vec![only]);
    for system in systems {
        let bundle = make(&root, &untried, &out.join("build"), system)?;
        if arguments.twice {
            let elsewhere = out.join("second");
            std::fs::create_dir_all(&elsewhere)?;
            let second = make(&root, &elsewhere, &out.join("build-again"), system)?;
            anyhow::ensure!(
                bundle.sha256 == second.sha256,
                "{} is {} and {} when it is built again",
                bundle.file.display(),
                bundle.sha256,
                second.sha256
            );
            println!("  a second build is equal: {}", second.sha256);
        }
        proof::trades(&bundle.file, system)?;
        for name in bundle.names() {
            std::fs::rename(untried.join(&name), out.join(&name))?;
        }
        println!("  {}", out.join(&bundle.names()[0]).display());
    }
    Ok(())
}

fn make(root: &Path, out: &Path, target: &Path, system: System) -> Result<bundle::Bundle> {
    let built = build::build(root, target, system)?;
    let entries = parts::collect(root, &built, system)?;
    let bundle = bundle::write(out, system, entries, build::epoch(root)?)?;
    println!(
        "{}: {} bytes, program {} bytes, SHA-256 {}",
        bundle.file.display(),
        bundle.size,
        built.program_size,
        bundle.sha256
    );
    Ok(bundle)
}

/// The workspace's folder.
fn root() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .context("the workspace's folder is not known")
}
