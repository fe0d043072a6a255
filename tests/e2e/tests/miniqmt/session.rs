//! A trading session, compressed: orders one behind the other with random faults, and nothing that grows but the day's books.
//!
//! `QT_MINIQMT_HOURS=4` is the whole of it, at 20 orders a second of trading; without it some hundred orders. A terminal lists
//! the whole day whenever it is asked, so that lists of so long a day take their time, and the hours give them more of it.
//! `QT_MINIQMT_MINUTES` ends it then, and what it came to is judged all the same; `QT_MINIQMT_SEED` repeats one.
//!
//! As a release, in some twenty minutes:
//!
//! ```sh
//! features="--release --features qt-host/failpoints,simulated/failpoints"
//! cargo build $features -p qt-host -p simulated -p miniqmt
//! QT_MINIQMT_HOURS=4 cargo nextest run $features -p qt-e2e -p qt-host -p simulated -p miniqmt --no-capture session_with_random
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use qt_test_support::{Dice, Host, PATIENCE, XTQUANT, children, judge, kill_9, xtquant};
use serde_json::{Value, json};

use super::{Lane, Scene};

/// What the gate has time for.
const ORDERS: usize = 600;
const ORDERS_AN_HOUR: usize = 20 * 3600;
const BATCH: usize = 40;
/// Signals that are on their way at once.
const OUTSTANDING: usize = 200;
const ROWS: usize = 144;
const KIB: usize = 1024;
/// What one more order may cost the host and its worker, books of both included.
const HOST_AN_ORDER: usize = 7 * KIB;
/// What it may cost the bridge, whose process holds the counter's books too.
const BRIDGE_AN_ORDER: usize = 6 * KIB;
const JOURNAL_AN_ORDER: usize = 6 * KIB;
/// What each may take besides, for caches and pools.
const SLACK: usize = 16 * KIB * KIB;
/// What a bridge holds at least that has read the terminal's library.
const WHOLE_BRIDGE: usize = 17 * KIB * KIB;
/// Handles and threads come and go with connections.
const HANDLES: usize = 24;
const THREADS: usize = 8;

/// One line of the table; sizes in bytes.
#[derive(Clone, Copy)]
struct Row {
    second: u64,
    orders: usize,
    faults: usize,
    host: usize,
    bridge: usize,
    handles: usize,
    threads: usize,
    files: usize,
    journal: usize,
}

/// What `/proc` says of a process: memory of its own in bytes, without the files that are mapped into it; handles, threads.
fn held(id: u32) -> (usize, usize, usize) {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.unwrap_or(0)
    };
    let handles = std::fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count);
    (field("RssAnon:") * KIB, handles, field("Threads:"))
}

/// Files below a folder, and the bytes of those whose name begins so.
fn files(folder: &Path, prefix: &str) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            let (inner, inner_bytes) = files(&entry.path(), prefix);
            (count, bytes) = (count + inner, bytes + inner_bytes);
        } else {
            count += 1;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                bytes += entry
                    .metadata()
                    .map_or(0, |about| usize::try_from(about.len()).unwrap());
            }
        }
    }
    (count, bytes)
}

struct Session {
    scene: Scene,
    host: Host,
    dice: Dice,
    began: Instant,
    sent: usize,
    faults: usize,
    kills: usize,
    /// The day is pushed again after each so many connections.
    replays: u32,
    /// An order whose push is lost waits for the next comparison of the books, and the others for it before long.
    lost_pushes_rarer: u64,
    /// How long nothing may move.
    patience: Duration,
    rows: Vec<Row>,
}

/// Kinds of faults of which a batch may have one, beside its moods.
const KINDS: u64 = 7;

/// What strikes at the counter, by the names of its knobs.
const FAULTS: [&str; 10] = [
    "disconnect_after_order",
    "die_after_order",
    "reply_dropped",
    "id_zero",
    "minus_one_live",
    "query_none",
    "duplicate_pushes",
    "push_first",
    "no_pushes",
    "replay_day",
];

impl Session {
    fn settled(&self) -> usize {
        let counts = &self.scene.backend.summary()["counts"];
        let count = |name: &str| usize::try_from(counts[name].as_u64().unwrap()).unwrap();
        count("concluded") + count("failed")
    }

    fn send(&mut self) {
        let one = |n: usize| {
            json!({ "order_id": format!("L{n}"), "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5,
                    "status": "pending", "is_executable": true, "mode": "live" })
        };
        let signals = (self.sent..self.sent + BATCH).map(one).collect();
        self.scene.backend.add(&Value::Array(signals));
        self.sent += BATCH;
    }

    /// Waits until no more than `left` of what was sent is on its way, for as long as it goes on.
    fn let_settle(&mut self, left: usize) {
        let (mut settled, mut moved) = (self.settled(), Instant::now());
        while settled + left < self.sent {
            assert!(
                !self.host.has_ended(),
                "the host has ended: {}",
                tail(&self.scene)
            );
            assert!(
                moved.elapsed() < self.patience,
                "{settled} of {} are settled, and no more come: {}",
                self.sent,
                tail(&self.scene)
            );
            std::thread::sleep(Duration::from_millis(20));
            let now = self.settled();
            if now > settled {
                (settled, moved) = (now, Instant::now());
            }
        }
    }

    /// The counter's mood for the next batch, and now and then a death.
    fn fail_something(&mut self) {
        let mut knobs = json!({ "cash": 100_000_000_000_000_i64, "replay_day": { "every": self.replays } });
        for (mood, rarer) in [
            ("duplicate_pushes", 1),
            ("push_first", 1),
            ("no_pushes", self.lost_pushes_rarer),
        ] {
            if self.dice.roll(3) == 0 {
                knobs[mood] = json!({ "every": rarer * (5 + self.dice.roll(60)) });
            }
        }
        // What has the whole day listed, seldom in a long one: a list takes the longer the more orders there are.
        let sides = 8 + u64::try_from(self.sent / 100).unwrap();
        if self.dice.roll(sides) >= KINDS {
            self.scene.counter.turn(&knobs);
            return;
        }
        // Each kind in its turn, at a moment that nobody chose.
        let kind = self.faults % usize::try_from(KINDS).unwrap();
        self.faults += 1;
        match kind {
            0 => knobs["disconnect_after_order"] = json!({ "every": 30 }),
            1 => knobs["reply_dropped"] = json!({ "every": 35 }),
            2 => knobs["id_zero"] = json!({ "every": 35 }),
            3 => knobs["minus_one_live"] = json!({ "every": 35 }),
            4 => knobs["query_none"] = json!({ "every": 3 }),
            5 => knobs["die_after_order"] = json!({ "every": 30 }),
            _ => {
                self.kills += 1;
                Scene::bridges(&self.host).into_iter().for_each(kill_9);
            }
        }
        self.scene.counter.turn(&knobs);
    }

    fn look(&mut self) {
        let mut row = self.measured();
        // One that has just been started again holds little yet.
        let began = Instant::now();
        while row.bridge <= WHOLE_BRIDGE {
            assert!(
                began.elapsed() < PATIENCE,
                "no bridge runs, and {} B of one: {}",
                row.bridge,
                tail(&self.scene)
            );
            std::thread::sleep(Duration::from_millis(20));
            row = self.measured();
        }
        if self.rows.is_empty() {
            println!("{HEAD}");
        }
        row.print();
        self.rows.push(row);
    }

    fn measured(&self) -> Row {
        let bridges = Scene::bridges(&self.host);
        let mut all = vec![self.host.pid()];
        let mut at = 0;
        while at < all.len() {
            all.extend(children(all[at]));
            at += 1;
        }
        let mut row = Row {
            second: self.began.elapsed().as_secs(),
            orders: self.sent,
            faults: self.faults,
            host: 0,
            bridge: 0,
            handles: 0,
            threads: 0,
            files: 0,
            journal: 0,
        };
        for id in all {
            let (memory, handles, threads) = held(id);
            if bridges.contains(&id) {
                row.bridge += memory;
            } else {
                row.host += memory;
            }
            row.handles += handles;
            row.threads += threads;
        }
        (row.files, row.journal) = files(&self.scene.desk.path("data"), "journal");
        row
    }

    /// How often each fault has struck.
    fn struck(&self) -> String {
        let count = |fault: &&str| format!("{fault} {}", self.scene.counter.struck(fault));
        let counts: Vec<String> = FAULTS.iter().map(count).collect();
        format!("{}, bridge killed {}", counts.join(", "), self.kills)
    }
}

const HEAD: &str = "second orders faults  host KiB  bridge KiB  handles threads files  journal KiB";

impl Row {
    fn print(&self) {
        println!(
            "{:6} {:6} {:6} {:9} {:11} {:8} {:7} {:5} {:12}",
            self.second,
            self.orders,
            self.faults,
            self.host / KIB,
            self.bridge / KIB,
            self.handles,
            self.threads,
            self.files,
            self.journal / KIB
        );
    }
}

/// The end of the host's log.
fn tail(scene: &Scene) -> String {
    let log = scene.desk.log();
    let lines: Vec<&str> = log.lines().rev().take(40).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// From the middle on, when all that is made once is made.
fn judge_growth(rows: &[Row]) {
    let (first, last) = (rows[rows.len() / 2], rows[rows.len() - 1]);
    println!("at each quarter:\n{HEAD}");
    (1..=4).for_each(|quarter| rows[(rows.len() * quarter).div_ceil(4) - 1].print());
    let orders = last.orders - first.orders;
    println!(
        "from order {} on, an order: host {} B, bridge {} B, journal {} B; handles {} to {}, threads {} to {}, files {} to {}",
        first.orders,
        last.host.saturating_sub(first.host) / orders,
        last.bridge.saturating_sub(first.bridge) / orders,
        last.journal.saturating_sub(first.journal) / orders,
        first.handles,
        last.handles,
        first.threads,
        last.threads,
        first.files,
        last.files,
    );
    for (what, from, to, an_order) in [
        ("host", first.host, last.host, HOST_AN_ORDER),
        ("bridge", first.bridge, last.bridge, BRIDGE_AN_ORDER),
        ("journal", first.journal, last.journal, JOURNAL_AN_ORDER),
    ] {
        assert!(
            to <= from + orders * an_order + SLACK,
            "{what}: {from} B, and {to} B after {orders} more orders"
        );
    }
    assert!(last.handles <= first.handles + HANDLES, "handles");
    assert!(last.threads <= first.threads + THREADS, "threads");
    // Locks of sessions and names of sockets, and nothing for each order.
    assert!(last.files <= first.files + 8, "files");
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn a_session_with_random_faults_grows_by_its_books_alone() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let orders = match number("QT_MINIQMT_HOURS", 0) {
        0 => ORDERS,
        hours => hours * ORDERS_AN_HOUR,
    };
    let seed = number("QT_MINIQMT_SEED", 0x5eed);
    println!("{orders} orders, seed {seed}");
    // A list of the whole day takes the longer the more orders it has, and at the counter an order waits behind it.
    let long = orders > ORDERS;
    let block = json!({ "query_deadline_seconds": if long { 300 } else { 60 }, "hang_after_seconds": if long { 120 } else { 20 },
                        "silent_after_seconds": if long { 120 } else { 30 },
                        "connect_deadline_seconds": if long { 600 } else { 120 }, "heartbeat_seconds": 1,
                        "order_deadline_seconds": if long { 12 } else { 4 } });
    let rich = json!({ "cash": 100_000_000_000_000_i64 });
    let execution = json!({ "unknown_settle_seconds": 5, "unknown_poll_seconds": 1, "call_deadline_seconds": if long { 400 } else { 30 },
                            "reconcile_interval_seconds": if long { 120 } else { 5 }, "position_sync_interval_seconds": 60 });
    let scene = Scene::with(&packages, &rich, &block, Lane::Worker, &execution);
    let mut host = scene.desk.host("");
    host.trades();
    let mut session = Session {
        scene,
        host,
        dice: Dice::of(u64::try_from(seed.max(1)).unwrap()),
        began: Instant::now(),
        sent: 0,
        faults: 0,
        kills: 0,
        replays: if long { 6 } else { 2 },
        lost_pushes_rarer: if long { 60 } else { 1 },
        patience: PATIENCE * if long { 15 } else { 3 },
        rows: Vec::new(),
    };
    let every = (orders / ROWS).max(BATCH);
    let mut next = every;
    let minutes = number("QT_MINIQMT_MINUTES", 24 * 60);
    let end = Duration::from_secs(60 * u64::try_from(minutes).unwrap());
    while session.sent < orders && session.began.elapsed() < end {
        session.fail_something();
        session.send();
        session.let_settle(OUTSTANDING);
        if session.sent >= next {
            next += every;
            session.look();
        }
    }
    session.scene.counter.turn(&rich);
    session.let_settle(0);
    session.look();
    let struck = session.struck();
    let Session {
        scene, host, rows, ..
    } = session;
    let (ledger, state) = (scene.counter.ledger(), scene.backend.state());
    assert_eq!(host.stop(), Some(0));
    let count = |event: &str| ledger.iter().filter(|line| line["event"] == event).count();
    println!(
        "{} signals, {} accepted, {} fills, {} never accepted, {} executions at the backend",
        rows[rows.len() - 1].orders,
        count("accepted"),
        count("fill"),
        state["counts"]["failed"],
        state["counts"]["executions"],
    );
    println!("struck: {struck}");
    let faults = judge(&ledger, &state).faults;
    assert_eq!(faults, [""; 0]);
    // What was never accepted was proven so; everything else is one order, filled.
    let failed = usize::try_from(state["counts"]["failed"].as_u64().unwrap()).unwrap();
    assert_eq!(
        (count("accepted"), count("fill")),
        (rows[rows.len() - 1].orders - failed, count("accepted"))
    );
    judge_growth(&rows);
}
