//! The journal when the disk fails it: damage, a torn tail, no space.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::time::Duration;
#[cfg(unix)]
use std::{path::PathBuf, process::Command};

#[cfg(unix)]
use qt_test_support::plugin;
use qt_test_support::{Backend, Desk, Host, judge, wait_until};
use serde_json::{Value, json};

fn signal(id: &str) -> Value {
    json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 })
}

fn has_post(backend: &Backend, id: &str, status: &str) -> bool {
    let state = backend.state();
    let posts = state["signals"][id]["posts"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    posts.iter().any(|post| post["body"]["status"] == status)
}

/// A desk whose host has traded fifty signals.
fn traded(backend: &Backend) -> (Desk, Host) {
    let desk = Desk::new(backend, &json!({}));
    let host = desk.host("");
    backend.add(&Value::Array((0..50).map(|n| signal(&format!("S{n}"))).collect()));
    wait_until("all is reported", || backend.state()["counts"]["concluded"] == 50);
    (desk, host)
}

/// Flips one bit in every copy of `needle`: SQLite leaves stale copies in its pages, which nobody reads.
fn flip(file: &Path, needle: &[u8]) {
    let mut bytes = std::fs::read(file).unwrap();
    let places: Vec<usize> = (0..bytes.len() - needle.len())
        .filter(|at| bytes[*at..].starts_with(needle))
        .collect();
    assert!(
        !places.is_empty(),
        "{} is not in the journal",
        String::from_utf8_lossy(needle)
    );
    for at in places {
        bytes[at + needle.len() - 2] ^= 0x20;
    }
    std::fs::write(file, bytes).unwrap();
}

/// K10: a byte in the midst of the journal, in facts long before the last checkpoint.
#[test]
fn a_flipped_byte_in_the_middle_stops_trading_with_4_and_what_is_there_can_be_saved() {
    let backend = Backend::start();
    let (desk, host) = traded(&backend);
    assert_eq!(host.stop(), Some(0));
    let whole = desk.json(&["journal", "verify"]);
    assert_eq!(whole["whole"], true);
    let main = desk.path("data/journal.db");
    let good = std::fs::read(&main).unwrap();
    flip(&main, b"\"Signals\"");

    let said = desk.fails(4, &["journal", "verify"]);
    assert!(
        said.contains("damaged") && said.contains("journal export"),
        "{said}"
    );
    let out = desk.run(&["journal", "verify", "--json"]);
    let answer: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), &answer["whole"]), (Some(4), &json!(false)));

    // The host refuses to trade, and says how to save what is there.
    backend.add(&signal("LATER"));
    let before = desk.accepted();
    let said = desk.fails(4, &["--once"]);
    assert!(
        said.contains("Trading stops")
            && said.contains("-wal and -shm")
            && said.contains("journal export FILE"),
        "{said}"
    );
    assert_eq!(desk.accepted(), before, "an order on a damaged journal");
    assert!(!has_post(&backend, "LATER", "failed"), "the signal was spoilt");
    // Nor does a command write into it.
    let said = desk.fails(4, &["halt"]);
    assert!(said.contains("damaged"), "{said}");

    let saved = desk.path("saved.jsonl");
    // Every row can be read, only what one says is wrong: all of it is saved.
    desk.done(&["journal", "export", saved.to_str().unwrap()]);
    let saved = std::fs::read_to_string(saved).unwrap();
    assert!(saved.contains("S49"), "the export lacks an order");

    // With the byte mended it trades on: nothing was written meanwhile.
    std::fs::write(&main, good).unwrap();
    assert_eq!(desk.run(&["--once"]).status.code(), Some(0));
    assert_eq!(desk.accepted(), before + 1);
}

/// Every command that opens the journal.
const OPENINGS: [&[&str]; 10] = [
    &["--once"],
    &["halt"],
    &["orders"],
    &["fills"],
    &["positions", "--from", "journal"],
    &["reports", "list"],
    &["journal", "verify"],
    &["journal", "show", "S1"],
    &["journal", "archive", "old.db"],
    &["reports", "retry", "1"],
];

/// K10: SQLite takes a byte that flipped in the write-ahead file for a torn tail, and writes over what follows.
#[test]
fn a_flipped_byte_in_the_wal_stops_trading_with_4_and_what_is_there_can_be_saved() {
    let backend = Backend::start();
    let (desk, mut host) = traded(&backend);
    host.kill();
    let wal = desk.path("data/journal.db-wal");
    let good = std::fs::read(&wal).unwrap();
    let frame = 24 + 4096;
    let frames = good[32..]
        .chunks_exact(frame)
        .take_while(|bytes| bytes[8..16] == good[16..24])
        .count();
    assert!(frames > 8, "the test needs some frames");
    backend.add(&signal("LATER"));
    // A page in the middle, the page number of its frame, its salts, the last frame, the header.
    let middle = 32 + frames / 2 * frame;
    let places = [
        middle + 3000,
        middle + 3,
        middle + 10,
        32 + (frames - 1) * frame + 30,
        17,
    ];
    for (case, place) in places.into_iter().enumerate() {
        let mut bad = good.clone();
        bad[place] ^= 0x20;
        std::fs::write(&wal, &bad).unwrap();
        let openings = if case == 0 { &OPENINGS[..] } else { &OPENINGS[..1] };
        for arguments in openings {
            let said = desk.fails(4, arguments);
            assert!(
                said.contains("-wal file")
                    && said.contains("Trading stops")
                    && said.contains("journal export FILE"),
                "{arguments:?}: {said}"
            );
        }
        assert_eq!(std::fs::read(&wal).unwrap(), bad, "the damaged file was written");
        let saved = desk.path(&format!("saved-{place}.jsonl"));
        // Of a wrong page number it may be known only that it is wrong: that page is lost, and the export says so.
        let out = desk.run(&["journal", "export", saved.to_str().unwrap()]);
        let saved = std::fs::read_to_string(saved).unwrap();
        let all = (0..50).all(|n| saved.contains(&format!("\"S{n}\"")));
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(
            (out.status.success() && all) || (case == 1 && said.contains("this could not")),
            "case {case}: {said}"
        );
        assert_eq!(
            std::fs::read(&wal).unwrap(),
            bad,
            "the export wrote the damaged file"
        );
    }
    assert_eq!(desk.accepted(), 50, "an order on a damaged journal");

    // With the byte mended nothing is lost, and trading goes on.
    std::fs::write(&wal, good).unwrap();
    let host = desk.trading();
    wait_until("LATER is reported", || has_post(&backend, "LATER", "filled"));
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.json(&["journal", "verify"])["whole"], true);
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
}

/// A reader finds a host that writes all the time whole.
#[test]
fn the_journal_of_a_host_that_writes_is_whole_at_every_look() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let host = desk.trading();
    backend.add(&Value::Array(
        (0..300).map(|n| signal(&format!("S{n}"))).collect(),
    ));
    let mut looks = 0;
    while backend.state()["counts"]["concluded"] != 300 {
        assert_eq!(desk.json(&["journal", "verify"])["whole"], true);
        looks += 1;
    }
    assert!(looks > 0);
    assert_eq!(host.stop(), Some(0));
}

/// A main file without its end, as a copy that was not finished leaves it.
#[test]
fn a_cut_main_file_says_what_it_is_and_what_is_there_can_be_saved() {
    let backend = Backend::start();
    let (desk, host) = traded(&backend);
    assert_eq!(host.stop(), Some(0));
    let main = desk.path("data/journal.db");
    let good = std::fs::read(&main).unwrap();
    let there = good.len() - 6000;
    std::fs::write(&main, &good[..there]).unwrap();
    for arguments in [&["--once"][..], &["journal", "verify"], &["orders"]] {
        let said = desk.fails(4, arguments);
        let what = format!(
            "the file has {there} bytes where its first page says {}",
            good.len()
        );
        assert!(
            said.contains("its end is missing")
                && said.contains(&what)
                && said.contains("journal export FILE"),
            "{arguments:?}: {said}"
        );
    }
    let saved = desk.path("saved.jsonl");
    // What lay in the end is lost, and the export says so.
    let out = desk.run(&["journal", "export", saved.to_str().unwrap()]);
    assert!(matches!(out.status.code(), Some(0 | 4)));
    let saved = std::fs::read_to_string(saved).unwrap();
    assert!(
        saved.contains("quanttrader_journal") && saved.contains("\"S1\""),
        "{saved}"
    );
    assert_eq!(
        std::fs::read(&main).unwrap(),
        good[..there],
        "the export wrote the damaged file"
    );

    // SQLite would take a -wal file beside an empty main file away.
    std::fs::write(&main, &good).unwrap();
    let mut host = desk.trading();
    host.kill();
    let wal = desk.path("data/journal.db-wal");
    let before = std::fs::read(&wal).unwrap();
    let kept = std::fs::read(&main).unwrap();
    for empty in [true, false] {
        if empty {
            std::fs::write(&main, b"").unwrap();
        } else {
            std::fs::remove_file(&main).unwrap();
        }
        let said = desk.fails(4, &["journal", "verify"]);
        assert!(said.contains("its -wal file holds commits"), "{said}");
        desk.fails(4, &["--once"]);
        assert_eq!(std::fs::read(&wal).unwrap(), before);
    }
    std::fs::write(&main, kept).unwrap();
    assert_eq!(desk.run(&["--once"]).status.code(), Some(0));
}

/// An export may be all that was saved of a damaged journal.
#[test]
fn an_export_replaces_a_file_only_when_it_is_told_to() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    assert_eq!(desk.run(&["--once"]).status.code(), Some(0));
    let saved = desk.path("saved.jsonl");
    let name = saved.to_str().unwrap();
    desk.done(&["journal", "export", name]);
    let first = std::fs::read(&saved).unwrap();
    let said = desk.fails(2, &["journal", "export", name]);
    assert!(said.contains("exists") && said.contains("--force"), "{said}");
    assert_eq!(std::fs::read(&saved).unwrap(), first);
    // One that fails leaves what was there.
    let journal = desk.path("data/journal.db");
    let good = std::fs::read(&journal).unwrap();
    std::fs::write(
        &journal,
        b"no database, and long enough not to be taken for an empty one",
    )
    .unwrap();
    let out = desk.run(&["journal", "export", name, "--force"]);
    assert!(!out.status.success());
    assert_eq!(
        std::fs::read(&saved).unwrap(),
        first,
        "an empty export took the good one's place"
    );
    std::fs::write(&journal, good).unwrap();
    backend.add(&signal("S1"));
    assert_eq!(desk.run(&["--once"]).status.code(), Some(0));
    desk.done(&["journal", "export", name, "--force"]);
    assert!(std::fs::read(&saved).unwrap().len() > first.len());
    let parts = std::fs::read_dir(desk.path("")).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".new-")
    });
    assert_eq!(parts.count(), 0, "a part of a file was left");
}

/// A changed number in a report that waits: it must not reach the backend.
#[test]
fn a_flipped_digit_in_a_waiting_report_stops_trading_with_4_and_is_not_posted() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    backend.fault(&json!({ "mode": "http500", "path": "/executions" }));
    let host = desk.trading();
    backend.add(&signal("S1"));
    wait_until("the execution waits", || {
        let list = desk.json(&["reports", "list"]);
        list.as_array()
            .unwrap()
            .iter()
            .any(|row| row["kind"] == "execution")
    });
    assert_eq!(host.stop(), Some(0));
    let main = desk.path("data/journal.db");
    let good = std::fs::read(&main).unwrap();
    let mut bad = good.clone();
    let (right, wrong) = (b"\"filled_size\":100", b"\"filled_size\":900");
    for at in 0..bad.len() - right.len() {
        if bad[at..].starts_with(right) {
            bad[at..at + wrong.len()].copy_from_slice(wrong);
        }
    }
    assert!(bad != good, "no report of 100 shares waits");
    std::fs::write(&main, bad).unwrap();
    backend.fault(&json!({ "mode": "up", "path": "/executions" }));
    for arguments in [&["journal", "verify"][..], &["--once"]] {
        let said = desk.fails(4, arguments);
        assert!(
            said.contains("does not fit its check sum"),
            "{arguments:?}: {said}"
        );
    }
    assert!(!has_post(&backend, "S1", "filled"), "a damaged report was posted");
    std::fs::write(&main, good).unwrap();
    let host = desk.trading();
    wait_until("S1 is reported", || has_post(&backend, "S1", "filled"));
    assert_eq!(host.stop(), Some(0));
}

/// The journal names orders and accounts: it is its owner's alone, in whatever folder. Windows has no such bits.
#[cfg(unix)]
#[test]
fn the_journals_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let backend = Backend::start();
    let (desk, mut host) = traded(&backend);
    let mode = |part: &str| {
        let file = desk.path("data").join(format!("journal.db{part}"));
        std::fs::metadata(file).unwrap().permissions().mode() & 0o777
    };
    for part in ["", "-wal", "-shm"] {
        assert_eq!(mode(part), 0o600, "journal.db{part}");
    }
    host.kill();
    // One that was made otherwise, or copied back.
    for part in ["", "-wal"] {
        let file = desk.path("data").join(format!("journal.db{part}"));
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let host = desk.trading();
    for part in ["", "-wal", "-shm"] {
        assert_eq!(mode(part), 0o600, "journal.db{part} after a start");
    }
    assert_eq!(host.stop(), Some(0));
}

/// K10: the checkpoint's orders are held to their check sums at every start, ended ones too.
#[test]
fn a_flipped_byte_in_an_order_that_ended_long_ago_stops_trading_with_4() {
    let backend = Backend::start();
    let (mut desk, host) = traded(&backend);
    assert_eq!(host.stop(), Some(0));
    desk.let_pass(Duration::from_secs(3 * 86_400));
    assert_eq!(desk.trading().stop(), Some(0));
    // Packed orders alone have a signal's name behind its length.
    flip(&desk.path("data/journal.db"), b"\x03S4");
    let said = desk.fails(4, &["--once"]);
    assert!(said.contains("journal export FILE"), "{said}");
}

/// K10: the tail is cut in the midst of the last write.
#[test]
fn a_cut_tail_loses_only_the_last_incomplete_write_and_trading_goes_on() {
    let backend = Backend::start();
    let (desk, mut host) = traded(&backend);
    host.kill();
    // Whoever closes a journal last brings its parts together: a copy is looked at.
    std::fs::create_dir(desk.path("copy")).unwrap();
    for part in ["journal.db", "journal.db-wal"] {
        std::fs::copy(desk.path("data").join(part), desk.path("copy").join(part)).unwrap();
    }
    let copy = desk.path("copy/journal.db");
    let before = desk.json(&["journal", "verify", "--file", copy.to_str().unwrap()]);
    let wal = desk.path("data/journal.db-wal");
    let bytes = std::fs::read(&wal).unwrap();
    assert!(bytes.len() > 8192, "the test needs a tail to cut");
    std::fs::write(&wal, &bytes[..bytes.len() - 100]).unwrap();

    let after = desk.json(&["journal", "verify"]);
    assert_eq!(after["whole"], true);
    let lost = before["commits"].as_u64().unwrap() - after["commits"].as_u64().unwrap();
    assert!(lost <= 1, "{before} {after}");
    let said = desk.done(&["journal", "verify"]);
    assert!(said.contains("is whole"), "{said}");
    assert_eq!(after["orders"], before["orders"]);

    backend.add(&signal("LATER"));
    let host = desk.trading();
    wait_until("LATER is reported", || has_post(&backend, "LATER", "filled"));
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.accepted(), 51, "a signal became two orders");
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
}

/// Takes the space away from a running host's journal, and gives it back.
#[cfg(unix)]
enum Space {
    /// The data folder is a file system of its own, which another file fills.
    Own(PathBuf),
    /// The process may not make a file larger than the journal is.
    Limit(u32),
}

#[cfg(unix)]
impl Space {
    fn take(&self, desk: &Desk) {
        match self {
            Self::Own(folder) => {
                // Down to the last byte: large pieces first.
                let mut filler = std::fs::File::create(folder.join("filler")).unwrap();
                for piece in [1 << 20, 4096, 1] {
                    let piece = vec![0_u8; piece];
                    while std::io::Write::write_all(&mut filler, &piece).is_ok() {}
                }
            }
            Self::Limit(pid) => {
                let size = std::fs::metadata(desk.path("data/journal.db-wal")).unwrap().len();
                limit(*pid, &format!("{size}:unlimited"));
            }
        }
    }

    fn give_back(&self) {
        match self {
            Self::Own(folder) => std::fs::remove_file(folder.join("filler")).unwrap(),
            Self::Limit(pid) => limit(*pid, "unlimited:unlimited"),
        }
    }
}

#[cfg(unix)]
fn limit(pid: u32, size: &str) {
    let done = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--fsize={size}")])
        .status()
        .unwrap();
    assert!(done.success(), "prlimit");
}

/// A small file system that goes with the test.
#[cfg(unix)]
struct Mounted(PathBuf);

#[cfg(unix)]
impl Mounted {
    /// `None` where this user or this container may not mount.
    fn at(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        // Room for the plugin's private copy and a little more.
        let size = std::fs::metadata(plugin("simulated")).unwrap().len() + (2 << 20);
        let out = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder)
            .output();
        out.is_ok_and(|out| out.status.success())
            .then(|| Self(folder.to_owned()))
    }
}

#[cfg(unix)]
impl Drop for Mounted {
    fn drop(&mut self) {
        // The host may still be ending.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// K11: no new orders; cancels and reports still go; an alarm; trading resumes when space is back.
#[cfg(unix)]
fn without_space(backend: &Backend, desk: &Desk, mut host: Host, space: &Space) {
    host.trades();
    backend.fault(&json!({ "mode": "http500", "path": "/status" }));
    backend.add(&signal("OPEN"));
    wait_until("OPEN is at the broker", || desk.accepted() == 1);
    wait_until("OPEN is in the journal as working", || {
        desk.json(&["orders"])[0]["state"] == "WORKING"
    });
    assert!(!has_post(backend, "OPEN", "submitted"));

    space.take(desk);
    backend.add(&signal("NEW"));
    let alarm = "No new orders until it can be written again; cancels and reports still go";
    wait_until(&format!("the alarm is in the log: {}", desk.log()), || {
        desk.log()
            .lines()
            .any(|line| line.contains("[CRITICAL]") && line.contains(alarm))
    });
    // What was durable before is still told.
    backend.fault(&json!({ "mode": "up", "path": "/status" }));
    wait_until("OPEN is reported", || has_post(backend, "OPEN", "submitted"));
    by_hand_or_by_time(desk, space);
    assert!(!host.has_ended(), "{}", desk.log());
    assert_eq!(desk.accepted(), 1, "an order whose intent is not durable");
    assert!(
        !has_post(backend, "OPEN", "cancelled"),
        "told before it was durable"
    );

    space.give_back();
    wait_until("the journal is written again", || {
        desk.log().contains("the journal can be written again")
    });
    wait_until("the end of OPEN is told", || {
        has_post(backend, "OPEN", "cancelled")
    });
    backend.add(&signal("AFTER"));
    wait_until("AFTER is at the broker", || {
        let after = desk.json(&["orders"]);
        after
            .as_array()
            .unwrap()
            .iter()
            .any(|order| order["signal"] == "AFTER" && order["state"] == "WORKING")
    });
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.json(&["journal", "verify"])["whole"], true);
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
}

/// A cancel goes, asked for by a person where the disk is full, and by the order's time where the host has its limit.
#[cfg(unix)]
fn by_hand_or_by_time(desk: &Desk, space: &Space) {
    match space {
        Space::Own(_) => {
            let said = desk.fails(1, &["cancel", "OPEN"]);
            assert!(said.contains("its log has it"), "{said}");
            // The log is written by a thread of its own.
            wait_until("the log says why", || {
                desk.log().contains("cannot be made durable")
            });
        }
        // An hour later by the clock.
        Space::Limit(_) => desk.set_clock(3_700_000),
    }
    wait_until("OPEN is cancelled at the broker", || {
        desk.ledger().iter().any(|line| line["event"] == "cancelled")
    });
}

#[cfg(unix)]
fn desk_for_space(backend: &Backend) -> Desk {
    let desk = Desk::new(backend, &json!({ "simulated": { "fill": "never" } }));
    desk.set_clock(0);
    desk
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_grow_stops_new_orders_and_nothing_else() {
    let backend = Backend::start();
    let desk = desk_for_space(&backend);
    // A write beyond the limit is to fail, and not to end the process.
    let host = desk.host_after("trap '' XFSZ");
    let space = Space::Limit(host.pid());
    without_space(&backend, &desk, host, &space);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_new_orders_and_nothing_else() {
    let backend = Backend::start();
    let desk = desk_for_space(&backend);
    let Some(mounted) = Mounted::at(&desk.path("data")) else {
        // The same by a limit is tested above, wherever this runs.
        println!("no file system may be mounted here: only the limit is tested");
        return;
    };
    let host = desk.host("");
    let space = Space::Own(mounted.0.clone());
    without_space(&backend, &desk, host, &space);
}

/// K11 by a named point: the first writes after the start fail, then they work.
#[test]
fn writes_that_fail_for_a_while_delay_orders_and_lose_none() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    backend.add(&signal("S1"));
    let host = desk.host("journal-full=1*off->3*return->off");
    wait_until("S1 is reported", || has_post(&backend, "S1", "filled"));
    assert_eq!(host.stop(), Some(0));
    let log = desk.log();
    let failed = log
        .find("No new orders until it can be written again")
        .expect("no alarm");
    let again = log
        .find("the journal can be written again")
        .expect("no all-clear");
    assert!(
        failed < again && again < log.find("Reported execution").unwrap(),
        "{log}"
    );
    assert_eq!(desk.accepted(), 1);
}
