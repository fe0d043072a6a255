//! A plugin that crashes, hangs, leaks or babbles, in both lanes, with orders in flight: the host goes on, and the
//! broker's own ledger is the judge.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "lanes/kinds.rs"]
mod kinds;
#[path = "lanes/services.rs"]
mod services;

use std::process::{Command, Stdio};
use std::time::Duration;

use qt_test_support::{
    ABORT, Backend, Desk, EXIT_3, Host, KILLED, SEGFAULT, STACK_OVERFLOW, children, judge, kill_9, qt_host,
    runs, wait_until,
};
use serde_json::{Value, json};

/// Worker kills in [`worker_kills`].
const KILLS: usize = 100;

fn signals(from: usize, to: usize) -> Value {
    let one = |n: usize| {
        let (action, price) = if n.is_multiple_of(2) {
            ("BUY", json!(43.5))
        } else {
            ("SELL", Value::Null)
        };
        json!({ "order_id": format!("S{n}"), "symbol": "000858.SZ", "action": action, "size": 100 * (n % 5 + 1), "price": price,
                "status": "pending", "is_executable": true, "mode": "live" })
    };
    Value::Array((from..to).map(one).collect())
}

/// How many signals were executed to their end, as the backend knows it.
fn settled(state: &Value) -> usize {
    let executed = |signal: &Value| {
        let posts = signal["posts"].as_array().into_iter().flatten();
        posts
            .into_iter()
            .any(|post| post["kind"] == "execution" && post["body"]["status"] == "filled")
    };
    let signals = state["signals"].as_object().into_iter().flatten();
    signals.filter(|(_, signal)| executed(signal)).count()
}

fn settle(backend: &Backend, desk: &Desk, host: &mut Host, count: usize, case: &str) {
    wait_until(&format!("{case} is settled; log: {}", desk.log()), || {
        assert!(!host.has_ended(), "{case}: the host ended: {}", desk.log());
        settled(&backend.state()) == count
    });
}

fn assert_true_to_the_ledger(backend: &Backend, desk: &Desk, case: &str) {
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(
        verdict.faults.is_empty(),
        "{case}: {:#?}\n{}",
        verdict.faults,
        desk.log()
    );
}

/// The options of a desk whose broker misbehaves as `how` says, in `lane`.
fn hostile(desk: &Desk, lane: &str, how: &Value) -> Value {
    let mut block = json!({
        "cash": 10_000_000, "ledger": desk.ledger_path(),
        "positions": [{ "symbol": "000858.SZ", "quantity": 100_000, "avg_cost": 40, "last_price": 43.2 }],
    });
    for (key, value) in how.as_object().unwrap() {
        block[key] = value.clone();
    }
    json!({
        "broker": "hostile", "hostile": block,
        "plugin_options": { "hostile": { "lane": lane, "respawn_after_seconds": 0.05, "respawn_at_most_seconds": 0.2,
                                         "memory_limit_mb": 400 } },
    })
}

/// One fault with orders before, during and after it: the host itself comes through.
fn comes_through(lane: &str, how: &Value, said: Option<&str>) {
    let case = format!("{how} in the lane {lane}");
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    desk.configure(&backend, &hostile(&desk, lane, how));
    backend.add(&signals(0, 4));
    let mut host = desk.host("");
    std::thread::sleep(Duration::from_millis(150));
    backend.add(&signals(4, 8));
    settle(&backend, &desk, &mut host, 8, &case);
    // Orders may all be done with before the list is asked for whose failure is wanted.
    let name = how["misbehaviour"].as_str().unwrap();
    let fails_beside_orders = name.ends_with("in-control") || name.ends_with("in-quotes");
    if let Some(said) = said.filter(|_| fails_beside_orders) {
        let what = format!("{case}: `{said}` is in the log");
        wait_until(&what, || desk.log().contains(said));
    }
    assert_eq!(host.stop(), Some(0), "{case}: {}", desk.log());
    assert_true_to_the_ledger(&backend, &desk, &case);
    // Of what a worker babbles some is told at its end alone.
    if let Some(said) = said {
        let log = desk.log();
        assert!(log.contains(said), "{case}: `{said}` is not in the log:\n{log}");
    }
    println!("{:<8} {:<10} {how}", "ok", lane);
}

fn all_come_through(lane: &str, cases: &[(&str, &str)]) {
    for (name, said) in cases {
        let how = json!({ "misbehaviour": name, "after": 1, "at_most": 2, "ms": 400 });
        comes_through(lane, &how, Some(*said).filter(|said| !said.is_empty()));
    }
}

#[test]
fn worker_crashes() {
    all_come_through(
        "worker",
        &[
            ("segfault-in-place", SEGFAULT),
            ("abort-in-place", ABORT),
            ("exit-in-place", EXIT_3),
            ("stack-overflow-in-place", STACK_OVERFLOW),
            ("die-after-accepting", ABORT),
            ("die-in-control", ABORT),
        ],
    );
}

#[test]
fn worker_panics() {
    all_come_through(
        "worker",
        &[
            ("panic-in-place", "misbehaviour: panic-in-place"),
            ("panic-after-accepting", "misbehaviour: panic-after-accepting"),
            ("panic-in-control", "misbehaviour: panic-in-control"),
            ("panic-in-connection", "misbehaviour: panic-in-connection"),
        ],
    );
}

/// What the broker's list of holdings lacks is asked of `broker.quotes/1`, in either lane and by a command that opens
/// the plugin itself; a plugin that panics there is opened anew and trades on.
#[test]
fn prices_that_holdings_lack_come_from_quotes() {
    let how = json!({ "misbehaviour": "unpriced-holdings" });
    for lane in ["worker", "in-process"] {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        let mut options = hostile(&desk, lane, &how);
        options["execution"] = json!({ "position_sync_interval_seconds": 1 });
        desk.configure(&backend, &options);
        let host = desk.host("");
        wait_until(&format!("{lane}: a priced holding; {}", desk.log()), || {
            let state = backend.state();
            let last = &state["syncs"]["positions/sync"]["last"];
            let held = last["positions"].as_array().cloned().unwrap_or_default();
            held.iter()
                .any(|row| row["symbol"] == "000858.SZ" && row["current_price"].as_f64() == Some(10.0))
        });
        assert_eq!(host.stop(), Some(0), "{lane}: {}", desk.log());
        let output = Command::new(qt_host())
            .args(["positions", "--json", "--config"])
            .arg(desk.config())
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let text = shown.to_string();
        assert!(text.contains("\"current_price\":10"), "{text}");
    }
    for lane in ["worker", "in-process"] {
        all_come_through(lane, &[("panic-in-quotes", "panicked (quotes")]);
    }
}

#[test]
fn worker_hangs() {
    all_come_through(
        "worker",
        &[
            ("hang-in-place", "has not come back within 0.75 s"),
            ("hang-after-accepting", "has not come back within 0.75 s"),
            ("hang-in-control", "has not come back within 0.75 s"),
            ("spin-in-place", "has not come back within 0.75 s"),
            ("slow", "the plugin does not answer"),
            ("hang-in-close", ""),
        ],
    );
}

#[test]
fn worker_babble_and_events() {
    all_come_through(
        "worker",
        &[
            ("garbage-on-stdout", "more lines are left out"),
            ("drops-events", ""),
            ("duplicate-events", ""),
            ("late-events", ""),
            ("nameless-acceptance", ""),
        ],
    );
}

#[cfg(unix)]
#[test]
fn a_leak_ends_at_the_workers_limit() {
    // 8 MiB for each list of orders: some seconds, then the limit of 400 MiB ends the worker and not the machine.
    let case = "a leak in a worker";
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    desk.configure(
        &backend,
        &hostile(&desk, "worker", &json!({ "misbehaviour": "leak" })),
    );
    let mut host = desk.host("");
    backend.add(&signals(0, 4));
    wait_until("the leak has met its limit", || {
        desk.log().contains("memory allocation of 8388608 bytes failed")
    });
    backend.add(&signals(4, 8));
    settle(&backend, &desk, &mut host, 8, case);
    assert_eq!(host.stop(), Some(0), "{case}");
    assert_true_to_the_ledger(&backend, &desk, case);
}

#[test]
fn panics_and_babble_in_process() {
    all_come_through(
        "in-process",
        &[
            (
                "panic-in-place",
                "the plugin panicked (place: panic: misbehaviour",
            ),
            (
                "panic-after-accepting",
                "the plugin panicked (place: panic: misbehaviour",
            ),
            ("panic-in-control", "the plugin panicked (today's orders: panic"),
            ("panic-in-connection", "the plugin panicked (connection: panic"),
            ("slow", "the plugin does not answer"),
            ("drops-events", ""),
            ("duplicate-events", ""),
            ("late-events", ""),
            ("garbage-on-stdout", ""),
        ],
    );
}

/// A hang in the host's own process cannot be cured, and is told: no more orders, and the next start sorts it out.
#[test]
fn a_hang_in_process_stops_trading_and_says_so() {
    for name in ["hang-in-place", "hang-after-accepting"] {
        let case = format!("{name} in process");
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        let how = json!({ "misbehaviour": name, "at_most": 1 });
        desk.configure(&backend, &hostile(&desk, "in-process", &how));
        backend.add(&signals(0, 1));
        let mut host = desk.host("");
        wait_until("the hang is told", || {
            desk.log()
                .contains("the broker is not connected: the plugin does not answer")
        });
        backend.add(&signals(1, 3));
        wait_until("the later signals were seen", || {
            let state = backend.state();
            let posts = state["signals"]["S2"]["posts"].as_array();
            posts.is_some_and(|posts| !posts.is_empty())
        });
        assert!(desk.ledger().len() <= 2, "{case}: an order went into a hang");
        host.kill();
        let mut host = desk.host("");
        settle(&backend, &desk, &mut host, 3, &case);
        assert_eq!(host.stop(), Some(0), "{case}");
        assert_true_to_the_ledger(&backend, &desk, &case);
    }
}

#[test]
fn a_plugin_that_cannot_open_ends_the_start_and_not_the_machine() {
    for (name, said) in [
        ("segfault-in-open", SEGFAULT),
        ("panic-in-open", "panic: misbehaviour: panic-in-open"),
    ] {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        desk.configure(
            &backend,
            &hostile(&desk, "worker", &json!({ "misbehaviour": name })),
        );
        let output = desk.run(&[]);
        let said_there = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {said_there}");
        assert!(said_there.contains(said), "{name}: {said_there}");
    }
}

/// In the host's own process nothing can end it: the start fails and says so, and does not wait for ever.
#[test]
fn a_plugin_that_hangs_as_it_opens_in_this_process_ends_the_start() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let mut options = hostile(&desk, "in-process", &json!({ "misbehaviour": "hang-in-open" }));
    options["plugin_options"]["hostile"]["open_within_seconds"] = json!(0.5);
    desk.configure(&backend, &options);
    let output = desk.run(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("has not opened within 0.5 s") && said.contains("start the host again"),
        "{said}"
    );
}

/// The broker's terminal is not running when the host starts, and comes up later: the host says so, tells the backend,
/// sends nothing, and trades once it is there.
#[test]
fn a_broker_that_is_away_at_the_start_is_waited_for() {
    for (lane, name, said) in [
        (
            "worker",
            "away-in-open",
            "misbehaviour: the terminal is not running",
        ),
        (
            "in-process",
            "away-in-open",
            "misbehaviour: the terminal is not running",
        ),
        ("worker", "hang-in-open", "has not opened within 0.5 s"),
    ] {
        let case = format!("{name} in the lane {lane}");
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        let mut options = hostile(&desk, lane, &json!({ "misbehaviour": name, "at_most": 6 }));
        options["plugin_options"]["hostile"]["open_within_seconds"] = json!(0.5);
        options["plugin_options"]["hostile"]["respawn_after_seconds"] = json!(0.2);
        options["execution"] = json!({ "heartbeat_interval_seconds": 0.05 });
        desk.configure(&backend, &options);
        // One round is not a wait without an end.
        let once = desk.run(&["--once"]);
        let words = String::from_utf8_lossy(&once.stderr).into_owned();
        assert_eq!(once.status.code(), Some(1), "{case}: {words}");
        assert!(words.contains(said), "{case}: {words}");

        backend.add(&signals(0, 2));
        let mut host = desk.host("");
        let beat = |word: &str| backend.state()["syncs"]["heartbeat"]["last"]["status"] == word;
        wait_until(&format!("{case}: the heartbeat says so"), || {
            beat("broker_disconnected")
        });
        settle(&backend, &desk, &mut host, 2, &case);
        wait_until(&format!("{case}: the heartbeat says that it is there"), || {
            beat("running")
        });
        assert_eq!(host.stop(), Some(0), "{case}: {}", desk.log());
        let log = desk.log();
        assert!(
            log.contains(said) && log.contains("it is tried again in"),
            "{case}: {log}"
        );
        assert_true_to_the_ledger(&backend, &desk, &case);
    }
}

fn worker_lane() -> Value {
    json!({ "plugin_options": { "simulated": { "lane": "worker", "respawn_after_seconds": 0.05,
                                               "respawn_at_most_seconds": 0.2 } } })
}

fn worker_of(host: &Host) -> u32 {
    let mut found = None;
    wait_until("there is a worker", || {
        found = children(host.pid()).first().copied();
        found.is_some()
    });
    found.unwrap()
}

/// kill -9 of the worker at times that nothing names, again and again with orders flowing.
#[test]
fn worker_kills() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &worker_lane());
    let mut host = desk.host("");
    // A worker that dies at the very start ends the start, as a plugin that cannot open does.
    wait_until("it trades", || desk.log().contains("quantTrader started"));
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..KILLS {
        let worker = worker_of(&host);
        backend.add(&signals(round * 4, round * 4 + 4));
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        // Long enough at times for a poll, an order and its report; short enough at others to meet the start.
        std::thread::sleep(Duration::from_micros(seed % 160_000));
        assert!(!host.has_ended(), "round {round}: {}", desk.log());
        kill_9(worker);
    }
    settle(&backend, &desk, &mut host, KILLS * 4, "worker kills");
    let losses = desk.log().matches(KILLED).count();
    assert_eq!(host.stop(), Some(0));
    assert_true_to_the_ledger(&backend, &desk, "worker kills");
    assert!(losses >= KILLS, "{losses} of {KILLS} kills were told");
    println!(
        "worker kills: {KILLS}, with {} orders; the host lived through all of them",
        KILLS * 4
    );
}

/// kill -9 of the worker where it hurts most, named: the order handed over, and the order at the broker.
#[test]
fn worker_kills_around_a_call() {
    for point in [
        "worker-before-call=1*off->1*return",
        "worker-after-call=1*off->1*return",
        "sim-before-ledger=1*off->1*return",
        "sim-after-ledger=1*off->1*return",
        "sim-after-fill=1*off->1*return",
    ] {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &worker_lane());
        let mut host = desk.host(point);
        for batch in 0..4 {
            backend.add(&signals(batch * 2, batch * 2 + 2));
            settle(&backend, &desk, &mut host, batch * 2 + 2, point);
        }
        assert_eq!(host.stop(), Some(0), "{point}");
        assert_true_to_the_ledger(&backend, &desk, point);
        let losses = desk.log().matches(KILLED).count();
        assert!(losses >= 2, "{point} was passed {losses} times");
        println!("{point}: 8 orders");
    }
}

/// A worker does not outlive its host, not even one that hangs in a call, and the next host trades on.
#[test]
fn the_worker_of_a_killed_host_goes_and_the_next_host_trades_on() {
    for name in ["hang-after-accepting", "hang-in-close", "hang-in-exit"] {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        let how = json!({ "misbehaviour": name, "at_most": 1 });
        let mut options = hostile(&desk, "worker", &how);
        options["plugin_options"]["hostile"]["kill_after_seconds"] = json!(600);
        desk.configure(&backend, &options);
        backend.add(&signals(0, 2));
        let mut host = desk.host("");
        let worker = worker_of(&host);
        wait_until("an order is at the broker", || !desk.ledger().is_empty());
        host.kill();
        // At once, so that the two workers meet.
        let mut host = desk.host("");
        settle(&backend, &desk, &mut host, 2, name);
        wait_until("the worker of the killed host is gone", || !runs(worker));
        assert_eq!(host.stop(), Some(0), "{name}");
        assert_true_to_the_ledger(&backend, &desk, name);
    }
}

/// A bridge that a plugin started would work on beside the next host's, and send what the dead one was asked for.
#[cfg(unix)]
#[test]
fn what_a_killed_hosts_worker_started_does_not_outlive_it() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let how = json!({ "misbehaviour": "leaves-a-helper", "at_most": 1 });
    desk.configure(&backend, &hostile(&desk, "worker", &how));
    backend.add(&signals(0, 1));
    let mut host = desk.host("");
    settle(&backend, &desk, &mut host, 1, "the first host");
    let written = desk.path("data").join("plugin-data/hostile/hostile-helper");
    let helper: u32 = std::fs::read_to_string(written).unwrap().parse().unwrap();
    assert!(runs(helper));
    host.kill();
    wait_until("the helper is gone", || !runs(helper));
    backend.add(&signals(1, 2));
    let mut host = desk.host("");
    settle(&backend, &desk, &mut host, 2, "the next host");
    assert_eq!(host.stop(), Some(0));
    assert_true_to_the_ledger(&backend, &desk, "leaves-a-helper");
}

/// A worker that does not end, and its successor: never both at one account.
#[test]
fn two_workers_never_share_an_account() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &worker_lane());
    let folder = desk.path("data").join("plugin-data").join("simulated");
    std::fs::create_dir_all(&folder).unwrap();
    // As a worker holds it that does not end.
    let lock = std::fs::File::create(folder.join("worker.lock")).unwrap();
    lock.lock().unwrap();
    std::fs::write(folder.join("worker.holder"), "process 4711").unwrap();
    let second = desk.run(&["--once"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains("process 4711") && said.contains("for 10 s") && said.contains("end that process first"),
        "{said}"
    );
    drop(lock);
    let host = desk.host("");
    assert_eq!(host.stop(), Some(0));
}

/// The plugin's process sees no secret of the host's, and other users of the machine see none of either.
#[cfg(target_os = "linux")]
#[test]
fn the_worker_is_told_no_secret_by_environment_or_command_line() {
    const TOKEN: &str = "a-token-of-the-environment";
    let backend = Backend::start();
    let mut lane = worker_lane();
    lane["alerts"] = json!({ "webhook": { "format": "dingtalk", "url": "env:QT_TEST_ROBOT", "secret": "env:QT_TEST_SIGNS" } });
    let desk = Desk::new(&backend, &lane);
    let mut host = Command::new(qt_host())
        .arg("--config")
        .arg(desk.config())
        .env("TRADER_API_TOKEN", TOKEN)
        .env("TRADER_PASSPHRASE", TOKEN)
        .env("QT_TEST_ROBOT", format!("http://127.0.0.1:1/{TOKEN}"))
        .env("QT_TEST_SIGNS", TOKEN)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut workers = Vec::new();
    wait_until("there is a worker", || {
        workers = children(host.id());
        !workers.is_empty()
    });
    let told = |what: &str| std::fs::read(format!("/proc/{}/{what}", workers[0])).unwrap_or_default();
    // Between fork and exec it still is the host itself.
    wait_until("it is the worker", || told("cmdline").ends_with(b"worker\0"));
    let (environment, arguments) = (told("environ"), told("cmdline"));
    host.kill().unwrap();
    host.wait().unwrap();
    assert!(!environment.is_empty());
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(!holds(&environment, TOKEN));
    let count = arguments
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
        .count();
    assert_eq!(count, 2, "{}", String::from_utf8_lossy(&arguments));
}

#[test]
fn a_worker_is_nothing_for_people() {
    let output = Command::new(qt_host())
        .arg("worker")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("is started by qt-host itself"), "{said}");
}
