//! Loading a plugin, hashes included, as the host itself tells it in its log; and a list of 100 files.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::process;
use crate::table::{Cell, Table, median};

const ROUNDS: usize = 15;
const FILES: usize = 100;
const LOAD_MS: f64 = 2.0;
const LIST_MS: f64 = 100.0;

/// Milliseconds of the microseconds that the host says it took, behind `what` in a line of its log.
fn told(log: &str, what: &str) -> f64 {
    let line = log.lines().find(|line| line.contains(what));
    let line = line.unwrap_or_else(|| panic!("no line of the log says {what:?}:\n{log}"));
    let rest = line.split_once(what).unwrap().1;
    let number = rest.trim_start().split(' ').next().unwrap();
    let us: f64 = number
        .parse()
        .unwrap_or_else(|_| panic!("{number:?} in {line:?} is no number"));
    us / 1e3
}

/// One start with the plugin in the host's own process: how long the hashes and the check took, and how long opening.
fn start(folder: &Path, plugin: &Path, broker: &str) -> [f64; 2] {
    let config = folder.join("config.json");
    let text = serde_json::json!({
        "api_base_url": "http://127.0.0.1:9/api", "api_token": "bench-token-of-nobody", "broker": broker, "plugins": [plugin],
        "data_dir": folder.join("data"), "log_level": "DEBUG",
        "plugin_options": { broker: { "lane": "in-process" } },
    });
    std::fs::write(&config, text.to_string()).unwrap();
    let path = folder.join("host.log");
    let log = std::fs::File::create(&path).unwrap();
    let mut child = Command::new(qt_test_support::qt_host())
        .arg("--config")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    qt_test_support::wait_until("the plugin is open", || {
        assert!(
            child.try_wait().unwrap().is_none(),
            "{}",
            std::fs::read_to_string(&path).unwrap()
        );
        std::fs::read_to_string(&path).unwrap().contains("is open")
    });
    process::terminate(child.id());
    child.wait().unwrap();
    let log = std::fs::read_to_string(&path).unwrap();
    [told(&log, "copied and checked in"), told(&log, "loaded in")]
}

fn load() -> Vec<Table> {
    let columns = ["plugin", "MB", "copy", "hash and check ms", "load ms", "both ms"];
    let mut table = Table::new("Loading a plugin at a start of the host", &columns);
    let mut judged = Table::new("Judged", &["what", "measured", "allowed", "kept"]);
    for (file, broker) in [("bench_broker", "bench"), ("simulated", "simulated")] {
        let plugin = qt_test_support::plugin(file);
        let mb = plugin.metadata().unwrap().len() as f64 / 1e6;
        let used = tempfile::tempdir().unwrap();
        start(used.path(), &plugin, broker);
        let mut runs = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let fresh = tempfile::tempdir().unwrap();
            runs[0].push(start(fresh.path(), &plugin, broker));
            runs[1].push(start(used.path(), &plugin, broker));
        }
        for (copy, runs) in ["made anew", "there already"].into_iter().zip(&runs) {
            let of = |which: usize| median(runs.iter().map(|run| run[which]));
            let both = median(runs.iter().map(|run| run[0] + run[1]));
            table.row(vec![
                broker.into(),
                Cell::Figure(mb, 2),
                copy.into(),
                Cell::Figure(of(0), 2),
                Cell::Figure(of(1), 2),
                Cell::Figure(both, 2),
            ]);
            judged.row(vec![
                format!("ms to load {broker}, its copy {copy}").as_str().into(),
                Cell::Figure(both, 2),
                Cell::Figure(LOAD_MS, 0),
                if both < LOAD_MS { "yes" } else { "NO" }.into(),
            ]);
        }
    }
    vec![table, judged]
}

/// How long the host takes for a command, ms.
fn command(arguments: &[&str]) -> f64 {
    let began = Instant::now();
    let output = Command::new(qt_test_support::qt_host())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    began.elapsed().as_secs_f64() * 1e3
}

fn list() -> Vec<Table> {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let content = std::fs::read(qt_test_support::plugin("bench_broker")).unwrap();
    for n in 0..FILES {
        // Each has a content of its own, as different plugins have.
        let own = [content.as_slice(), format!("{n}").as_bytes()].concat();
        std::fs::write(plugins.join(format!("libbench_{n:03}.so")), own).unwrap();
    }
    let data = folder.path().join("data");
    let (plugins, data) = (plugins.to_str().unwrap(), data.to_str().unwrap());
    let common = ["plugins", "list", "--plugin-dir", plugins, "--data-dir", data];
    let with_hashes = [common.as_slice(), &["--json"]].concat();
    let mut runs: Vec<[f64; 3]> = Vec::new();
    for _ in 0..ROUNDS {
        runs.push([command(&["--version"]), command(&common), command(&with_hashes)]);
    }
    let of = |which: usize| median(runs.iter().map(|run| run[which]));
    let title = format!(
        "A list of {FILES} plugin files, {:.2} MB each",
        content.len() as f64 / 1e6
    );
    let mut table = Table::new(title, &["command", "ms", "over the bare process ms"]);
    for (which, what) in [
        "--version",
        "plugins list",
        "plugins list --json, every file hashed",
    ]
    .into_iter()
    .enumerate()
    {
        table.row(vec![
            what.into(),
            Cell::Figure(of(which), 1),
            Cell::Figure(of(which) - of(0), 1),
        ]);
    }
    let mut judged = Table::new("Judged", &["what", "measured", "allowed", "kept"]);
    judged.row(vec![
        "ms to list 100 plugin files".into(),
        Cell::Figure(of(1), 1),
        Cell::Figure(LIST_MS, 0),
        if of(1) < LIST_MS { "yes" } else { "NO" }.into(),
    ]);
    vec![table, judged]
}

/// Both.
pub fn measure() -> Vec<Table> {
    let mut tables = load();
    tables.extend(list());
    tables
}
