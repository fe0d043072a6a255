//! Several accounts in one host: each has its own broker, journal and folder, and what happens to one is no affair of
//! the others. The judge is each broker's own ledger.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod people;

use std::path::PathBuf;

use qt_test_support::{Backend, Desk, Host, PATIENCE, judge, plugin, wait_until};
#[cfg(target_os = "linux")]
use qt_test_support::{children, kill_9};
use serde_json::{Value, json};

const A: &str = "SA-A";
const B: &str = "SA-B";

fn signal(id: &str, account: Option<&str>) -> Value {
    let mut signal = json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5,
                             "status": "pending", "is_executable": true, "mode": "live" });
    if let Some(account) = account {
        signal["securities_account_id"] = json!(account);
    }
    signal
}

/// Signals of one account, named after it.
fn signals(account: &str, from: usize, to: usize) -> Value {
    (from..to)
        .map(|n| signal(&format!("{account}-{n}"), Some(account)))
        .collect()
}

fn ledger_path(desk: &Desk, account: &str) -> PathBuf {
    desk.path(&format!("ledger-{account}.jsonl"))
}

fn ledger(desk: &Desk, account: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(ledger_path(desk, account)).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn accepted(desk: &Desk, account: &str) -> usize {
    let ledger = ledger(desk, account);
    ledger.iter().filter(|line| line["event"] == "accepted").count()
}

/// An entry of the list for `broker`, whose block has `more`.
fn entry(desk: &Desk, account: &str, broker: &str, lane: &str, more: &Value) -> Value {
    let mut block = json!({
        "cash": 10_000_000, "ledger": ledger_path(desk, account),
        "positions": [{ "symbol": "000858.SZ", "quantity": 100_000, "avg_cost": 40, "last_price": 43.2 }],
    });
    for (key, value) in more.as_object().unwrap() {
        block[key] = value.clone();
    }
    let mut entry = json!({ "securities_account_id": account, "broker": broker, "lane": lane });
    entry[broker] = block;
    entry["plugin_options"][broker] =
        json!({ "respawn_after_seconds": 0.05, "respawn_at_most_seconds": 0.2 });
    entry
}

/// A desk with the accounts A and B, each in its own lane with its own broker.
fn two(backend: &Backend, a: (&str, &str, Value), b: (&str, &str, Value)) -> Desk {
    let desk = Desk::new(backend, &json!({}));
    let accounts = json!([entry(&desk, A, a.0, a.1, &a.2), entry(&desk, B, b.0, b.1, &b.2),]);
    desk.configure(backend, &json!({ "accounts": accounts, "simulated": null }));
    desk
}

fn plain() -> (&'static str, &'static str, Value) {
    ("simulated", "in-process", json!({}))
}

/// How many signals of an account were executed to their end, as the backend knows it.
fn settled(state: &Value, account: &str) -> usize {
    let signals = of_account(state, account);
    let executed = |record: &Value| {
        let mut posts = record["posts"].as_array().into_iter().flatten();
        posts.any(|post| post["kind"] == "execution" && post["body"]["status"] == "filled")
    };
    signals["signals"]
        .as_object()
        .unwrap()
        .values()
        .filter(|record| executed(record))
        .count()
}

/// What the backend saw of one account alone: broker ids are told apart by account only.
fn of_account(state: &Value, account: &str) -> Value {
    let mut own = state.clone();
    let signals = own["signals"].as_object_mut().unwrap();
    signals.retain(|id, _| id.starts_with(account));
    own
}

#[track_caller]
fn settle(backend: &Backend, desk: &Desk, host: &mut Host, a: usize, b: usize) {
    let began = std::time::Instant::now();
    loop {
        assert!(!host.has_ended(), "the host ended: {}", desk.log());
        let state = backend.state();
        let now = (settled(&state, A), settled(&state, B));
        if now == (a, b) {
            return;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{now:?} and not {:?}: {}",
            (a, b),
            desk.log()
        );
        std::thread::sleep(std::time::Duration::from_millis(15));
    }
}

/// Each account's reports against its own broker's ledger.
#[track_caller]
fn judge_both(backend: &Backend, desk: &Desk) {
    let state = backend.state();
    for account in [A, B] {
        let verdict = judge(&ledger(desk, account), &of_account(&state, account));
        assert!(
            verdict.faults.is_empty(),
            "{account}: {:#?}\n{}",
            verdict.faults,
            desk.log()
        );
        // No order of the other account's signals is in it.
        for line in ledger(desk, account) {
            assert!(
                !line
                    .to_string()
                    .contains(if account == A { "SA-B-" } else { "SA-A-" }),
                "{line}"
            );
        }
    }
}

/// Flips a bit in the first order of an account's journal.
fn damage(desk: &Desk, account: &str) {
    let journal = desk.path(&format!("data/accounts/{account}/journal.db"));
    let mut bytes = std::fs::read(&journal).unwrap();
    // Packed orders alone have a signal's name behind its length.
    let mark = [b"\x06", account.as_bytes(), b"-0"].concat();
    let at = bytes.windows(mark.len()).position(|window| window == mark);
    bytes[at.unwrap() + mark.len() - 1] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
}

#[test]
fn signals_go_to_their_own_account_and_all_others_are_left_alone() {
    let backend = Backend::start();
    let desk = two(&backend, plain(), plain());
    let heartbeat = json!({ "execution": { "heartbeat_interval_seconds": 0.05, "position_sync_interval_seconds": 0.05 } });
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(desk.config()).unwrap()).unwrap();
    for (key, value) in heartbeat["execution"].as_object().unwrap() {
        config["execution"][key] = value.clone();
    }
    std::fs::write(desk.config(), config.to_string()).unwrap();
    backend.add(&json!([
        signal("SA-A-0", Some(A)),
        signal("SA-B-0", Some(B)),
        signal("STRANGER-1", Some("SA-C")),
        signal("STRANGER-2", Some("SA-C")),
        signal("NOBODYS", None),
    ]));
    backend.add(&signals(B, 1, 3));
    // Not understood: only its own account may report that.
    backend.add_raw(&json!([
        { "order_id": "SA-A-BAD", "symbol": "NONSENSE", "action": "BUY", "size": 100, "status": "pending",
          "is_executable": true, "mode": "live", "securities_account_id": A },
        { "order_id": "STRANGER-BAD", "symbol": "NONSENSE", "action": "BUY", "size": 100, "status": "pending",
          "is_executable": true, "mode": "live", "securities_account_id": "SA-C" },
    ]));
    let mut host = desk.trading();
    settle(&backend, &desk, &mut host, 1, 3);
    assert_eq!((accepted(&desk, A), accepted(&desk, B)), (1, 3));
    wait_until("what cannot be understood is reported", || {
        backend.state()["signals"]["SA-A-BAD"]["status"] == "failed"
    });
    let state = backend.state();
    for left in ["STRANGER-1", "STRANGER-2", "STRANGER-BAD", "NOBODYS"] {
        assert_eq!(state["signals"][left]["posts"], json!([]), "{left}");
        assert_eq!(state["signals"][left]["status"], "pending", "{left}");
    }
    let log = desk.log();
    assert_eq!(log.matches("for the securities account SA-C").count(), 1, "{log}");
    assert_eq!(log.matches("names no securities account").count(), 1, "{log}");
    for account in [A, B] {
        assert!(
            log.lines()
                .any(|line| line.contains("Reported execution")
                    && line.ends_with(&format!("account={account}"))),
            "{log}"
        );
        // Both show their book and say that they live.
        wait_until("the heartbeat comes", || {
            backend.state()["syncs"]["heartbeat"]["last"]["securities_account_id"] == account
        });
        wait_until("the positions come", || {
            backend.state()["syncs"]["positions/sync"]["last"]["securities_account_id"] == account
        });
        assert!(desk.path(&format!("data/accounts/{account}/journal.db")).exists());
    }
    assert!(!desk.path("data/journal.db").exists());
    assert_eq!(host.stop(), Some(0));
    judge_both(&backend, &desk);
}

/// Its engine had just been made, and ran on while everything under it was taken down: it panicked and left its journal open.
#[test]
fn an_account_that_is_still_opening_when_the_host_stops_ends_like_the_others() {
    for lane in ["in-process", "worker"] {
        let backend = Backend::start();
        let slow = ("hostile", lane, json!({ "misbehaviour": "slow-open", "ms": 700 }));
        let desk = two(&backend, plain(), slow);
        let host = desk.trading();
        assert_eq!(host.stop(), Some(0));
        let log = desk.log();
        assert!(!log.contains("panicked"), "{lane}: {log}");
        assert!(log.ends_with("quantTrader stopped\n"), "{lane}: {log}");
        for account in [A, B] {
            let left = desk.path(&format!("data/accounts/{account}/journal.db-wal"));
            assert!(!left.exists(), "{lane}: {account} was not closed: {log}");
        }
    }
}

/// The worker of one account is killed again and again with its orders in flight. Which one is whose, Linux tells.
#[cfg(target_os = "linux")]
#[test]
fn a_broker_that_dies_leaves_the_orders_of_the_other_untouched() {
    let backend = Backend::start();
    let dying = (
        "hostile",
        "worker",
        json!({ "misbehaviour": "die-after-accepting", "at_most": 2, "latency_ms": 30 }),
    );
    let slow = ("simulated", "worker", json!({ "latency_ms": 20 }));
    let desk = two(&backend, dying, slow);
    backend.add(&signals(A, 0, 6));
    backend.add(&signals(B, 0, 12));
    let mut host = desk.host("");
    wait_until("both have orders in flight", || {
        accepted(&desk, A) > 0 && accepted(&desk, B) > 0
    });
    for _ in 0..3 {
        let workers = children(host.pid());
        let of_a = workers.into_iter().find(|id| {
            let open = std::fs::read_dir(format!("/proc/{id}/fd"))
                .into_iter()
                .flatten()
                .flatten();
            open.filter_map(|entry| std::fs::read_link(entry.path()).ok())
                .any(|path| path.ends_with("ledger-SA-A.jsonl"))
        });
        of_a.into_iter().for_each(kill_9);
        std::thread::sleep(std::time::Duration::from_millis(80));
    }
    settle(&backend, &desk, &mut host, 6, 12);
    let log = desk.log();
    let lost: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("plugin was lost"))
        .collect();
    assert!(
        !lost.is_empty() && lost.iter().all(|line| line.ends_with("account=SA-A")),
        "{lost:#?}"
    );
    assert_eq!((accepted(&desk, A), accepted(&desk, B)), (6, 12));
    assert_eq!(host.stop(), Some(0));
    judge_both(&backend, &desk);
    println!(
        "account A lost its broker {} times with orders in flight; A and B have one order for each signal",
        lost.len()
    );
}

#[test]
fn a_kill_of_the_host_with_orders_of_both_in_flight_places_none_twice() {
    for (failpoint, lanes) in [
        ("sim-after-ledger=return", "in-process"),
        ("after-call=return", "worker"),
        ("after-commit=2*off->return", "worker"),
        ("after-post=return", "in-process"),
    ] {
        let backend = Backend::start();
        let slow = |delay: u32| ("simulated", lanes, json!({ "latency_ms": delay }));
        let desk = two(&backend, slow(10), slow(15));
        backend.add(&signals(A, 0, 6));
        backend.add(&signals(B, 0, 6));
        let mut host = desk.host(failpoint);
        if !host.dies_within(std::time::Duration::from_secs(5)) {
            host.kill();
        }
        let mut host = desk.trading();
        settle(&backend, &desk, &mut host, 6, 6);
        assert_eq!(
            (accepted(&desk, A), accepted(&desk, B)),
            (6, 6),
            "{failpoint}: {}",
            desk.log()
        );
        assert_eq!(host.stop(), Some(0));
        judge_both(&backend, &desk);
        for account in [A, B] {
            desk.done(&["journal", "verify", "--account", account]);
        }
    }
}

/// Kills from outside at times that no point names, on both journals again and again.
#[test]
fn random_kills_with_orders_of_both_in_flight() {
    const ROUNDS: usize = 25;
    let backend = Backend::start();
    let desk = two(
        &backend,
        plain(),
        ("simulated", "worker", json!({ "latency_ms": 3 })),
    );
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    for round in 0..ROUNDS {
        backend.add(&signals(A, round * 4, round * 4 + 4));
        backend.add(&signals(B, round * 4, round * 4 + 4));
        let mut host = desk.host("");
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        host.dies_within(std::time::Duration::from_millis(60 + seed % 250));
        host.kill();
    }
    let mut host = desk.host("");
    settle(&backend, &desk, &mut host, ROUNDS * 4, ROUNDS * 4);
    assert_eq!(host.stop(), Some(0), "{}", desk.log());
    assert_eq!((accepted(&desk, A), accepted(&desk, B)), (ROUNDS * 4, ROUNDS * 4));
    judge_both(&backend, &desk);
    println!("random kills with two accounts: {ROUNDS}");
}

#[test]
fn a_damaged_journal_stops_its_own_account_and_the_end_says_so() {
    let backend = Backend::start();
    let desk = two(&backend, plain(), plain());
    let mut host = desk.trading();
    backend.add(&signals(A, 0, 2));
    backend.add(&signals(B, 0, 2));
    settle(&backend, &desk, &mut host, 2, 2);
    assert_eq!(host.stop(), Some(0));
    damage(&desk, A);
    assert!(
        desk.fails(4, &["journal", "verify", "--account", A])
            .contains("journal")
    );
    desk.done(&["journal", "verify", "--account", B]);

    let mut host = desk.host("");
    backend.add(&signals(A, 2, 3));
    backend.add(&signals(B, 2, 5));
    settle(&backend, &desk, &mut host, 2, 5);
    let state = backend.state();
    assert_eq!(state["signals"]["SA-A-2"]["posts"], json!([]));
    let log = desk.log();
    assert!(
        log.lines().any(|line| line.contains("[CRITICAL]")
            && line.contains("THIS ACCOUNT IS NOT TRADED")
            && line.contains(A)),
        "{log}"
    );
    assert_eq!(accepted(&desk, A), 2);
    // Its commands say what is the matter; the others' work.
    let halted = desk.run(&["halt"]);
    assert_eq!(halted.status.code(), Some(4));
    let said = String::from_utf8_lossy(&halted.stdout).into_owned();
    assert!(said.contains("account SA-B: trading is halted"), "{said}");
    assert_eq!(host.stop(), Some(4), "{}", desk.log());
    judge_both(&backend, &desk);

    // Where no account can be traded there is nothing to start for.
    damage(&desk, B);
    let said = desk.fails(4, &[]);
    assert!(said.contains("account SA-A"), "{said}");
}

/// A terminal that is not up yet when the host starts.
#[test]
fn a_broker_that_does_not_open_at_the_start_is_tried_on_while_the_other_trades() {
    let backend = Backend::start();
    let late = (
        "hostile",
        "worker",
        json!({ "misbehaviour": "panic-in-open", "at_most": 3 }),
    );
    let desk = two(&backend, late, plain());
    backend.add(&signals(A, 0, 2));
    backend.add(&signals(B, 0, 2));
    let mut host = desk.trading();
    settle(&backend, &desk, &mut host, 2, 2);
    let log = desk.log();
    assert!(
        log.lines()
            .any(|line| line.contains("cannot be opened") && line.contains("account=SA-A")),
        "{log}"
    );
    assert_eq!(host.stop(), Some(0));
    judge_both(&backend, &desk);
}

/// One of two accounts cannot take the other version up: neither has it in the end.
#[test]
fn an_upgrade_is_taken_up_by_every_account_or_by_none() {
    for fails in [false, true] {
        let backend = Backend::start();
        let more = |breaks: bool| {
            let mut block = json!({ "latency_ms": 20 });
            if breaks {
                block["misbehaviour"] = json!("panic-in-open");
                block["changed_file_only"] = json!(true);
            }
            block
        };
        let desk = two(
            &backend,
            ("hostile", "worker", more(false)),
            ("hostile", "worker", more(fails)),
        );
        let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let installed = desk.path(&format!("data/plugins/{prefix}hostile{suffix}"));
        let mut config: Value =
            serde_json::from_str(&std::fs::read_to_string(desk.config()).unwrap()).unwrap();
        config["plugins"] = json!([installed]);
        std::fs::write(desk.config(), config.to_string()).unwrap();
        desk.done(&["plugins", "install", plugin("hostile_plugin").to_str().unwrap()]);
        let mut bytes = std::fs::read(plugin("hostile_plugin")).unwrap();
        let mark = b"hostile-file:0";
        let at = bytes
            .windows(mark.len())
            .position(|window| window == mark)
            .unwrap();
        bytes[at + mark.len() - 1] = b'1';
        let next = desk.path(&format!("next{suffix}"));
        std::fs::write(&next, bytes).unwrap();

        backend.add(&signals(A, 0, 6));
        backend.add(&signals(B, 0, 6));
        let mut host = desk.host("");
        wait_until("both have orders in flight", || {
            accepted(&desk, A) > 0 && accepted(&desk, B) > 0
        });
        let out = desk.run(&["plugins", "upgrade", next.to_str().unwrap()]);
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        if fails {
            assert_eq!(out.status.code(), Some(1), "{said}");
            for part in [
                "panic-in-open",
                "is back",
                "the data folder holds",
                "account SA-A: hostile",
            ] {
                assert!(said.contains(part), "{part}: {said}");
            }
        } else {
            assert_eq!(out.status.code(), Some(0), "{said}");
        }
        // Both went ahead, or A did and came back.
        wait_until("two exchanges are told of", || {
            desk.log().matches("was exchanged for").count() == 2
        });
        backend.add(&signals(A, 6, 8));
        backend.add(&signals(B, 6, 8));
        settle(&backend, &desk, &mut host, 8, 8);
        assert_eq!(host.stop(), Some(0));
        judge_both(&backend, &desk);
    }
}
