//! The conformance kit through the real binary: the simulated broker passes every case, and the hostile plugin fails
//! each case that it should and no other.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use qt_test_support::{plugin, qt_host};
use serde_json::{Value, json};

struct Room {
    folder: tempfile::TempDir,
}

impl Room {
    fn new(blocks: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = blocks.clone();
        config["data_dir"] = json!(folder.path().join("data"));
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn test(&self, file: &Path, more: &[&str]) -> Output {
        let temporary = self.path("temporary");
        std::fs::create_dir_all(&temporary).unwrap();
        Command::new(qt_host())
            .args(["plugins", "test"])
            .arg(file)
            .arg("--config")
            .arg(self.path("config.json"))
            .args(more)
            // A plugin that writes where it has no business does it here.
            .current_dir(self.folder.path())
            .env("TMPDIR", temporary)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!(
            "{e}: {}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn with_verdict<'r>(report: &'r Value, verdict: &str) -> Vec<&'r str> {
    let cases = report["cases"].as_array().unwrap().iter();
    let those = cases.filter(|case| case["verdict"] == verdict);
    those.map(|case| case["id"].as_str().unwrap()).collect()
}

/// One row of the matrix: the hostile plugin with one misbehaviour fails `expected` and nothing else, and the report
/// says `seen`. Nothing if it is so.
fn fault(name: &str, expected: &[&str], seen: &str) -> Option<String> {
    fault_in("in-process", name, expected, seen)
}

fn fault_in(lane: &str, name: &str, expected: &[&str], seen: &str) -> Option<String> {
    let block =
        json!({ "misbehaviour": name, "cash": 100_000_000, "ms": if name == "slow" { 6000 } else { 1500 } });
    let room = Room::new(&json!({
        "hostile": block, "plugin_options": { "hostile": { "open_within_seconds": 4 } },
    }));
    // What hangs is waited for in every case that calls it.
    let deadline = if hangs(name) { "1" } else { "2" };
    let options = [
        "--json",
        "--deadline",
        deadline,
        "--patience",
        "0.6",
        "--orders",
        "200",
        "--lane",
        lane,
    ];
    let output = room.test(&plugin("hostile_plugin"), &options);
    let report = report(&output);
    let failed = with_verdict(&report, "fail");
    let saw = said(&report, "fail");
    println!(
        "{name:<24} fails {:<16} unclear {:>2}  {}",
        failed.join(" "),
        with_verdict(&report, "inconclusive").len(),
        saw.first().map_or("", String::as_str)
    );
    let is_so = failed == expected
        && saw.iter().any(|text| text.contains(seen))
        && report["verdict"] == "fail"
        && report["lane"] == lane
        && output.status.code() == Some(1);
    (!is_so).then(|| format!("{name}: expected {expected:?} and `{seen}`, found {saw:#?}"))
}

fn hangs(name: &str) -> bool {
    ["hang", "spin", "slow"].iter().any(|word| name.starts_with(word))
}

/// What was seen in the cases of a verdict, each with its number.
fn said(report: &Value, verdict: &str) -> Vec<String> {
    let cases = report["cases"].as_array().unwrap().iter();
    let those = cases.filter(|case| case["verdict"] == verdict);
    those
        .map(|case| {
            format!(
                "{}: {}",
                case["id"].as_str().unwrap(),
                case["saw"].as_str().unwrap()
            )
        })
        .collect()
}

fn matrix(rows: &[(&str, &[&str], &str)]) {
    let faults: Vec<String> = rows
        .iter()
        .filter_map(|(name, expected, seen)| fault(name, expected, seen))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn matrix_opening_and_books() {
    matrix(&[
        ("panic-in-open", &["QT-C010"], "panic-in-open"),
        ("segfault-in-open", &["QT-C010"], "SIGSEGV"),
        ("hang-in-open", &["QT-C010"], "has not come back"),
        ("ignores-mistakes", &["QT-C020"], "unknown key"),
        ("overstates-cash", &["QT-C030"], "more than there are"),
        ("overstates-holdings", &["QT-C040"], "more than there are"),
        ("sells-today", &["QT-C045"], "shares of today"),
        ("half-snapshots", &["QT-C050"], "is missing among"),
        // No event tells of them, as its documentation says.
        (
            "duplicate-trade-ids",
            &["QT-C060", "QT-C170"],
            "stands for two trades",
        ),
        ("zero-quotes", &["QT-C047"], "is 0; a price that is not known"),
        ("skips-trades", &["QT-C065"], "in none of"),
        ("shrinking-fills", &["QT-C070"], "and later 0"),
        (
            "float-money",
            &["QT-C080"],
            "the order was placed at 10 and shows",
        ),
    ]);
}

#[test]
fn matrix_identity() {
    matrix(&[
        ("silent-rejection", &["QT-C090"], "without a word"),
        (
            "wrong-client-order-id",
            &["QT-C100", "QT-C170"],
            "was sent, and the order's row has",
        ),
        (
            "cut-client-order-id",
            &["QT-C100", "QT-C170"],
            "was sent, and the order's row has",
        ),
        (
            "reject-accepted",
            &["QT-C110"],
            "the day's orders show it as Filled",
        ),
        ("reject-unknown", &["QT-C110"], "the answer did not come"),
        ("accept-nothing", &["QT-C120"], "do not show it"),
        ("nameless-acceptance", &["QT-C120"], "without the broker's id"),
        ("places-twice", &["QT-C130"], "became 2 orders"),
        ("repeats-orders", &["QT-C130"], "when it came again"),
        ("ignores-not-after", &["QT-C180"], "had passed"),
    ]);
}

#[test]
fn matrix_cancels_and_events() {
    matrix(&[
        ("cancels-nothing", &["QT-C140"], "the cancel was sent"),
        ("hides-raced-fills", &["QT-C145"], "is shown as Cancelled"),
        ("duplicate-events", &["QT-C150"], "was told twice"),
        ("late-events", &["QT-C160"], "and later 0"),
        ("drops-events", &["QT-C170"], "no event told of trade"),
        ("hang-in-close", &["QT-C190"], "has not come back"),
        ("panic-in-drop", &["QT-C190"], "panicked while it was closed"),
        ("answers-after-close", &["QT-C200"], "an order is accepted"),
        ("garbage-on-stdout", &["QT-C250"], "bytes came"),
        ("writes-elsewhere", &["QT-C240"], "hostile-was-here"),
        ("tells-account", &["QT-C260"], "a line of the log"),
        ("leak", &["QT-C270"], "MiB more than before"),
        ("leaks-handles", &["QT-C270"], "handles"),
    ]);
}

#[test]
fn matrix_panics_and_deaths() {
    matrix(&[
        ("panic-in-place", &["QT-C210"], "`place_order` panicked"),
        ("panic-after-accepting", &["QT-C210"], "`place_order` panicked"),
        ("panic-in-control", &["QT-C210"], "`orders_today` panicked"),
        ("panic-in-connection", &["QT-C210"], "`connection` panicked"),
        ("panic-in-quotes", &["QT-C210"], "`quotes` panicked"),
        ("segfault-in-place", &["QT-C220"], "SIGSEGV"),
        ("abort-in-place", &["QT-C220"], "SIGABRT"),
        ("exit-in-place", &["QT-C220"], "exit status: 3"),
        ("stack-overflow-in-place", &["QT-C220"], "SIGABRT"),
        ("die-after-accepting", &["QT-C220"], "SIGABRT"),
        ("die-in-control", &["QT-C220"], "SIGABRT"),
        ("die-from-a-thread", &["QT-C220"], "SIGABRT"),
    ]);
}

#[test]
fn matrix_hangs() {
    matrix(&[
        (
            "hang-in-place",
            &["QT-C230"],
            "`place_order` has not come back within 1 s",
        ),
        (
            "hang-after-accepting",
            &["QT-C230"],
            "`place_order` has not come back within 1 s",
        ),
        (
            "hang-in-control",
            &["QT-C230"],
            "`orders_today` has not come back within 1 s",
        ),
        (
            "spin-in-place",
            &["QT-C230"],
            "`place_order` has not come back within 1 s",
        ),
        ("slow", &["QT-C230"], "`place_order` has not come back within 1 s"),
    ]);
}

/// In the other lane a worker lies between the kit and the plugin, as between a host and a plugin: what is wrong is seen all
/// the same, and what is right passes.
#[test]
fn in_a_worker_the_same_is_seen() {
    let faults: Vec<String> = [
        ("panic-in-open", "QT-C010", "panic-in-open"),
        ("places-twice", "QT-C130", "became 2 orders"),
        ("drops-events", "QT-C170", "no event told of trade"),
        ("panic-in-place", "QT-C210", "`place_order` panicked"),
        ("die-in-control", "QT-C220", "SIGABRT"),
        (
            "hang-in-place",
            "QT-C230",
            "`place_order` has not come back within 1 s",
        ),
        ("garbage-on-stdout", "QT-C250", "bytes came"),
        ("tells-account", "QT-C260", "a line of the log"),
    ]
    .iter()
    .filter_map(|(name, expected, seen)| fault_in("worker", name, &[expected], seen))
    .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let room = Room::new(&json!({ "simulated": { "cash": 100_000_000 } }));
    let options = ["--json", "--lane", "worker"];
    let report = report(&room.test(&plugin("simulated"), &options));
    println!(
        "simulated in a worker: {} passed",
        with_verdict(&report, "pass").len()
    );
    assert_eq!(with_verdict(&report, "fail"), [""; 0], "{report:#}");
    assert_eq!(with_verdict(&report, "inconclusive"), [""; 0], "{report:#}");
    // Growth: a worker's memory is not for others to read.
    assert!(
        with_verdict(&report, "not-applicable").contains(&"QT-C270"),
        "{report:#}"
    );
    assert_eq!(
        (&report["lane"], &report["complete"]),
        (&json!("worker"), &json!(false))
    );
    assert!(
        !room.path("data/conformance").exists(),
        "only the other lane's verdict is kept"
    );
}

#[test]
fn the_hostile_plugin_that_behaves_passes() {
    let room = Room::new(&json!({ "hostile": { "cash": 100_000_000 } }));
    let output = room.test(&plugin("hostile_plugin"), &["--json", "--orders", "200"]);
    let report = report(&output);
    assert_eq!(said(&report, "fail"), Vec::<String>::new());
    assert_eq!(said(&report, "inconclusive"), Vec::<String>::new());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_simulated_broker_passes_every_case_with_ten_thousand_orders() {
    let room = Room::new(&json!({ "simulated": { "cash": 100_000_000 } }));
    let output = room.test(&plugin("simulated"), &["--deadline", "5"]);
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("29 passed, 0 failed, 0 unclear, 2 not applicable"),
        "{text}"
    );
    assert!(text.contains("10000 of 10000 orders were accepted"), "{text}");
    // The verdict is kept under the content's digest, for `trust`.
    let sha256 = text
        .lines()
        .find_map(|line| line.strip_prefix("sha256 "))
        .unwrap();
    let kept = std::fs::read_to_string(room.path(&format!("data/conformance/{sha256}.json"))).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap()["verdict"], "pass");
}

/// The hostile plugin, well-behaved, with words of its manifest changed for others of the same length: without `paper`
/// it does not say that its orders cost nothing.
fn with_words(room: &Room, changes: &[(&str, &str)]) -> std::path::PathBuf {
    let mut bytes = std::fs::read(plugin("hostile_plugin")).unwrap();
    for (old, new) in changes {
        let (old, new) = (format!("\"{old}\""), format!("\"{new}\""));
        assert_eq!(old.len(), new.len());
        let places: Vec<usize> = (0..bytes.len() - old.len())
            .filter(|at| bytes[*at..].starts_with(old.as_bytes()))
            .collect();
        assert!(!places.is_empty(), "{old} is not found");
        for at in places {
            bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
        }
    }
    let path = room.path("libmoney.so");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Lines of all ledgers under a folder of cases.
fn ledger_lines(folder: &Path) -> usize {
    let cases = std::fs::read_dir(folder).unwrap().flatten();
    let ledgers = cases.map(|case| case.path().join("data/simulated-ledger.jsonl"));
    ledgers
        .map(|path| std::fs::read_to_string(path).unwrap_or_default().lines().count())
        .sum()
}

#[test]
fn a_broker_that_may_move_money_gets_no_order_unless_it_is_said() {
    let room = Room::new(&json!({ "hostile": { "cash": 1_000_000 } }));
    let file = with_words(&room, &[("paper", "money")]);
    let output = room.test(&file, &["--json", "--keep", "read"]);
    let read = report(&output);
    assert_eq!(output.status.code(), Some(0), "{:?}", said(&read, "fail"));
    assert_eq!(read["placed_orders"], false);
    assert_eq!(ledger_lines(&room.path("read")), 0, "an order was placed");
    assert!(with_verdict(&read, "not-applicable").contains(&"QT-C130"));
    let output = room.test(
        &file,
        &["--json", "--keep", "placed", "--place-orders", "--price", "10"],
    );
    let placed = report(&output);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{:?} {:?}",
        said(&placed, "fail"),
        said(&placed, "inconclusive")
    );
    assert!(ledger_lines(&room.path("placed")) > 0);
    assert!(with_verdict(&placed, "pass").contains(&"QT-C130"));
    // Nobody has ten thousand orders placed with money.
    assert!(with_verdict(&placed, "not-applicable").contains(&"QT-C270"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("are placed now"));
}

#[test]
fn nothing_is_offered_for_sale_where_the_holdings_are_not_known() {
    let room = Room::new(&json!({ "hostile": { "cash": 1_000_000 } }));
    let file = with_words(&room, &[("paper", "money"), ("positions", "positionz")]);
    let options = ["--json", "--keep", "kept", "--place-orders", "--price", "10"];
    let cases = ["--case", "QT-C090", "--case", "QT-C110"];
    let output = room.test(&file, &[&options[..], &cases[..]].concat());
    let report = report(&output);
    assert_eq!(with_verdict(&report, "not-applicable"), ["QT-C090"]);
    assert_eq!(with_verdict(&report, "pass"), ["QT-C110"]);
    for case in ["QT-C090", "QT-C110"] {
        let path = room.path(&format!("kept/{case}/data/simulated-ledger.jsonl"));
        assert!(
            !std::fs::read_to_string(path)
                .unwrap_or_default()
                .contains("\"sell\""),
            "{case}"
        );
    }
}

#[test]
fn a_plugin_that_lacks_what_it_needs_fails_to_open_and_is_asked_nothing_more() {
    let room = Room::new(&json!({}));
    let output = room.test(&plugin("miniqmt"), &["--json"]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(with_verdict(&report, "fail"), ["QT-C010"]);
    assert!(said(&report, "fail")[0].contains("`account_id` is missing"));
    assert!(with_verdict(&report, "not-applicable").contains(&"QT-C130"));
}

#[test]
fn the_example_passes_what_applies_to_it() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/minimal-broker");
    let target = qt_host().parent().unwrap().join("minimal-broker");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--target-dir"])
        .arg(&target)
        .current_dir(&example)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let room = Room::new(&json!({}));
    let file = target.join("debug/libminimal_broker.so");
    let output = room.test(&file, &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("minimal 0.1.0 conforms: "), "{text}");
}

#[test]
fn usage() {
    let room = Room::new(&json!({}));
    let simulated = plugin("simulated");
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--case", "QT-C999"], 2, "there is no case QT-C999"),
        (&["--symbol", "wuliangye"], 2, "--symbol wuliangye"),
        (&["--price", "-1"], 2, "price"),
        (&["--deadline", "0"], 2, "--deadline 0"),
        (&["--keep", "."], 2, "is not empty"),
        (&["--place-orders"], 2, "--price"),
    ];
    for (more, code, said) in cases {
        let output = room.test(&simulated, more);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{more:?}: {text}");
        assert!(text.contains(said), "{more:?}: {text}");
    }
    let output = room.test(Path::new("no-such-plugin"), &[]);
    assert_eq!(output.status.code(), Some(3));
    let output = room.test(&simulated, &["--case", "qt-c030", "--keep", "kept"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(room.path("kept/QT-C030/data").is_dir());
    let listed = room.test(&simulated, &["--list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("QT-C270"));
}
