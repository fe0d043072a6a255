//! What a newcomer runs: `cargo demo` and `cargo all-tests`.

use std::process::{Command, ExitCode};

/// Test builds can be killed at named points; a release cannot.
const TEST_FEATURES: &str = "qt-host/failpoints,simulated/failpoints";
const BUILT: [&str; 6] = [
    "--package",
    "qt-host",
    "--package",
    "simulated",
    "--package",
    "miniqmt",
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let done = match task.as_str() {
        "demo" => demo(&rest),
        "test" => test(&rest),
        "bench" => bench("qt-bench", &rest),
        "bench-book" => bench("qt-bench-book", &rest),
        // Only the real program has to be built besides.
        "bench-market" if rest.is_empty() || rest.iter().any(|part| part == "program") => {
            bench("qt-bench-market", &rest)
        }
        "bench-market" => run(cargo()
            .args([
                "run",
                "--quiet",
                "--release",
                "-p",
                "qt-bench",
                "--bin",
                "qt-bench-market",
                "--",
            ])
            .args(&rest)),
        "bench-plugin" => bench("qt-bench-plugin", &rest),
        "bench-miniqmt" => bench("qt-bench-miniqmt", &rest),
        _ => {
            eprintln!(
                "usage: cargo demo | cargo all-tests [FILTER...] | cargo bench-host | cargo bench-book | cargo bench-market | \
                 cargo bench-plugin | cargo bench-miniqmt"
            );
            return ExitCode::from(2);
        }
    };
    done.map_or_else(ExitCode::from, |()| ExitCode::SUCCESS)
}

/// Builds host and plugins and runs the sandbox. Not as a release: that takes minutes more, to trade for seconds.
fn demo(rest: &[String]) -> Result<(), u8> {
    run(cargo().arg("build").args(BUILT))?;
    let name = format!("qt-host{}", std::env::consts::EXE_SUFFIX);
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    run(
        Command::new(std::path::Path::new(&target).join("debug").join(name))
            .arg("sandbox")
            .args(rest),
    )
}

/// Builds a release of everything and measures: the host against the bare cost, the book against polars, or
/// the boundary of plugins against the same code without it.
fn bench(name: &str, rest: &[String]) -> Result<(), u8> {
    run(cargo()
        .args([
            "build",
            "--release",
            "--package",
            "qt-bench",
            "--package",
            "bench-broker",
        ])
        .args(BUILT))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    run(Command::new(std::path::Path::new(&target).join("release").join(name)).args(rest))
}

/// Builds what the end-to-end tests start, then runs every test; the runner's summary comes last.
fn test(rest: &[String]) -> Result<(), u8> {
    let has_nextest = cargo()
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_nextest {
        run(cargo().args(["install", "--locked", "cargo-nextest"]))?;
    }
    // Libraries and programs together with the tests: built by themselves they would have other features of what they
    // share, and be built twice. Tests alone would leave the plugins' files where only the compiler looks.
    run(cargo()
        .args(["build", "--workspace", "--lib", "--tests", "--bin", "qt-host"])
        .args(["--features", TEST_FEATURES]))?;
    run(cargo().args([
        "test",
        "--quiet",
        "--doc",
        "--workspace",
        "--features",
        TEST_FEATURES,
    ]))?;
    run(cargo()
        .args(["nextest", "run", "--workspace", "--features", TEST_FEATURES])
        .args(rest))
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command; its exit code is ours when it fails.
fn run(command: &mut Command) -> Result<(), u8> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1)),
        Err(e) => {
            eprintln!("{} cannot be started: {e}", command.get_program().display());
            Err(1)
        }
    }
}
