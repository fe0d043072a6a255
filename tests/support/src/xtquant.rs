//! The real xtquant from the package index, with a counter of ours in the place of its native module.
//!
//! A wheel is taken once below the build's folder; only its Python is kept. `tests/xtquant-counter` says what the
//! counter does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// The wheels that are tested with, the newest first.
pub const XTQUANT: [&str; 3] = ["250807.1.2", "241014.1.2", "240119.3"];
/// The number of the account at the counter.
pub const ACCOUNT: &str = "55000001";

const COUNTER: &str = include_str!("../../xtquant-counter/xtpythonclient.py");
/// Keeps the Python of a wheel, and compiles it, since the bridge writes nothing beside it.
const UNPACK: &str = "
import compileall, sys, zipfile
wheel, folder = sys.argv[1:]
with zipfile.ZipFile(wheel) as file:
    for name in file.namelist():
        if name.startswith('xtquant/') and name.endswith('.py'):
            file.extract(name, folder)
";
const COMPILE: &str = "import compileall, sys; compileall.compile_dir(sys.argv[1], quiet=2)";

/// The system's Python.
#[must_use]
pub const fn system_python() -> &'static str {
    if cfg!(windows) { "python" } else { "python3" }
}

/// The folder that holds the package, or nothing where it cannot be had and CI is not set: then the caller is told to
/// skip, and says so.
///
/// # Panics
/// When it cannot be had and CI is set: there the tests must run.
#[must_use]
pub fn xtquant(version: &str) -> Option<PathBuf> {
    match take(version) {
        Ok(folder) => Some(folder),
        Err(reason)
            if ["CI", "QT_XTQUANT_NEEDED"]
                .iter()
                .all(|name| std::env::var_os(name).is_none()) =>
        {
            eprintln!("SKIPPED: xtquant {version} cannot be had here: {reason}");
            None
        }
        Err(reason) => panic!("xtquant {version} cannot be had: {reason}"),
    }
}

fn take(version: &str) -> Result<PathBuf, String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let home = exe
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .ok_or("no build folder above the test")?
        .join("xtquant");
    let plain = home.join(version);
    if !plain.is_dir() {
        unpacked(version, &home, &plain)?;
    }
    // Another counter is another folder: a test that runs keeps the one that it began with.
    let mark = COUNTER.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let ready = home.join(format!("{version}-{mark:016x}"));
    if !ready.is_dir() {
        let new = home.join(format!("new-{}-{version}", std::process::id()));
        let failed = |e: std::io::Error| e.to_string();
        copy(&plain, &new).map_err(failed)?;
        std::fs::write(new.join("xtquant/xtpythonclient.py"), COUNTER).map_err(failed)?;
        run(Command::new(system_python()).args(["-c", COMPILE]).arg(&new))?;
        put(&new, &ready)?;
    }
    Ok(ready)
}

fn unpacked(version: &str, home: &Path, plain: &Path) -> Result<(), String> {
    let new = home.join(format!("wheel-{}-{version}", std::process::id()));
    std::fs::create_dir_all(&new).map_err(|e| e.to_string())?;
    let pip = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
    ];
    run(Command::new(system_python())
        .args(pip)
        .arg("--dest")
        .arg(&new)
        .arg(format!("xtquant=={version}")))?;
    let wheel = std::fs::read_dir(&new)
        .map_err(|e| e.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "whl"))
        .ok_or("pip has downloaded no wheel")?;
    let inner = new.join("unpacked");
    run(Command::new(system_python())
        .args(["-c", UNPACK])
        .arg(&wheel)
        .arg(&inner))?;
    put(&inner, plain)?;
    std::fs::remove_dir_all(&new).map_err(|e| e.to_string())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Moves a folder into its place as a whole; another test may have made the same meanwhile.
fn put(new: &Path, place: &Path) -> Result<(), String> {
    match std::fs::rename(new, place) {
        Ok(()) => Ok(()),
        Err(_) if place.is_dir() => std::fs::remove_dir_all(new).map_err(|e| e.to_string()),
        Err(e) => Err(format!("{}: {e}", place.display())),
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = format!("{command:?}");
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(e) => Err(format!("{name}: {e}")),
    }
}

/// A terminal's folder with a counter in it.
#[derive(Debug)]
pub struct Counter {
    userdata: PathBuf,
    /// How far its clock is ahead: one clock for all of its life, or what it took a moment ago would lie in its future.
    ahead_ms: i64,
}

impl Counter {
    /// Makes one in `folder`, with an account that has money and shares, and `knobs` laid over that.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn new(folder: &Path, knobs: &Value) -> Self {
        let counter = Self {
            userdata: folder.join("userdata_mini"),
            // A desk's host lives at ten in the morning, and so does the terminal beside it.
            ahead_ms: crate::to_ten_in_shanghai_ms(),
        };
        std::fs::create_dir_all(counter.userdata.join("counter")).expect("a folder");
        counter.turn(knobs);
        counter
    }

    /// The folder that the configuration names.
    #[must_use]
    pub fn userdata(&self) -> &Path {
        &self.userdata
    }

    /// Turns the knobs; those that are not named are at rest again.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn turn(&self, knobs: &Value) {
        let mut all = json!({
            "clock_ahead_ms": self.ahead_ms, "account": ACCOUNT, "cash": 100_000_000, "prices": { "600000.SH": 9.9, "000858.SZ": 43.2 },
            "positions": [{ "symbol": "000858.SZ", "name": "五粮液", "quantity": 100_000, "avg_cost": 40, "last_price": 43.2 }],
        });
        for (key, value) in knobs.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let new = self.path("knobs.new");
        std::fs::write(&new, all.to_string()).expect("knobs");
        std::fs::rename(new, self.path("knobs.json")).expect("knobs");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.userdata.join("counter").join(name)
    }

    /// Lets the terminal be down, or up again.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn down(&self, down: bool) {
        if down {
            std::fs::write(self.path("down"), "").expect("down");
        } else {
            std::fs::remove_file(self.path("down")).ok();
        }
    }

    /// The ledger's whole lines.
    #[must_use]
    pub fn ledger(&self) -> Vec<Value> {
        lines(&self.path("ledger.jsonl"))
    }

    /// How often a fault has struck.
    #[must_use]
    pub fn struck(&self, fault: &str) -> usize {
        let all = lines(&self.path("strikes.jsonl"));
        all.iter()
            .filter(|line| line["chance"] == fault && line["struck"] == true)
            .count()
    }

    /// Orders that the counter took.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.ledger()
            .iter()
            .filter(|line| line["event"] == "accepted")
            .count()
    }

    /// The block of the configuration for a host that trades here, without waits that only a real terminal needs.
    #[must_use]
    pub fn block(&self, packages: &Path) -> Value {
        json!({
            "account_id": ACCOUNT, "session_path": self.userdata, "xtquant": packages, "python": system_python(),
            "empty_counts_after_seconds": 0, "expected_down": [], "order_deadline_seconds": 1.5,
            "query_deadline_seconds": 1.5, "connect_deadline_seconds": 5, "heartbeat_seconds": 0.2, "hang_after_seconds": 1,
            "reconnect_first_seconds": 0.05, "reconnect_most_seconds": 0.5, "visible_within_seconds": 2,
            "absent_after_seconds": 2,
        })
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its clock once began anew at ten with each turn, and lists left out what had been taken since the turn before.
    #[test]
    fn a_turn_of_the_knobs_sets_no_clock_back() {
        let folder = tempfile::tempdir().unwrap();
        let counter = Counter::new(folder.path(), &json!({}));
        let ahead = || {
            let knobs = std::fs::read_to_string(counter.path("knobs.json")).unwrap();
            serde_json::from_str::<Value>(&knobs).unwrap()["clock_ahead_ms"].clone()
        };
        let first = ahead();
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 10 {
            std::thread::yield_now();
        }
        counter.turn(&json!({ "fill": "never" }));
        assert_eq!(ahead(), first);
    }
}
