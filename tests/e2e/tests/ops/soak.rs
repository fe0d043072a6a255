//! A soak: signals by both ways, while backend, token, stream, broker and worker fail at random. At the end the ledgers agree,
//! and what the host uses has not grown but with what it keeps.
//!
//! `QT_SOAK_SECONDS` has it go on for as long, four minutes in the gate; `QT_SOAK_SEED` repeats one, and `QT_SOAK_LOG` names a
//! file that is given what the host said.

use std::time::{Duration, Instant};

use qt_test_support::{Backend, Desk, Dice, Host, children, judge, kill_9, wait_until};
use serde_json::{Value, json};

use super::scrape::Scrape;

/// Where nobody says how long.
const SECONDS: u64 = 60;
const ROWS: u32 = 12;
const LOOKS_AT_THE_END: usize = 20;
/// From one lot of signals to the next; in a soak of hours longer, so that it ends with about as many as a busy day has.
const PAUSE: Duration = Duration::from_millis(60);
const LOTS: u32 = 8_000;
/// How often every token is revoked, at least.
const REVOKED: u32 = 4;
/// And so often in a longer one.
const REVOKE_EVERY: Duration = Duration::from_secs(60);
const KIB: u64 = 1024;
/// What one more order may cost in memory and in the journal; measured are 3 to 4 KiB, and 2 to 3 KiB.
const MEMORY_AN_ORDER: u64 = 5 * KIB;
const JOURNAL_AN_ORDER: u64 = 4 * KIB;
/// What a host may take besides while it runs in: pools and buffers that are filled once, and a write-ahead file of 4 MiB.
const MEMORY_SLACK: u64 = 6 * KIB * KIB;
const JOURNAL_SLACK: u64 = 4 * KIB * KIB;
/// Connections to the backend come and go.
const HANDLES_SLACK: u64 = 8;
const THREADS_SLACK: u64 = 2;

/// One line of the table.
#[derive(Clone, Copy)]
struct Row {
    second: u64,
    signals: u64,
    settled: u64,
    faults: u64,
    memory: u64,
    handles: u64,
    threads: u64,
    journal: u64,
    outbox: u64,
    unknown: u64,
}

struct Soak {
    backend: Backend,
    desk: Desk,
    host: Host,
    address: String,
    dice: Dice,
    began: Instant,
    signals: u64,
    invalid: u64,
    faults: u64,
    /// The next one is due then.
    revoke_at: Duration,
    revoke_every: Duration,
    revoked: u64,
    /// When the fault of the backend that is in force ends.
    up_at: Option<Duration>,
    rows: Vec<Row>,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

impl Soak {
    fn start(seconds: u64) -> Self {
        let backend = Backend::start();
        let desk = Desk::new(
            &backend,
            &json!({
                "api_token": "keyring", "passphrase_file": "passphrase", "signals_stream": "auto", "metrics": "127.0.0.1:0",
                "plugin_options": { "simulated": { "lane": "worker" } },
                "execution": { "unknown_settle_seconds": 2, "call_deadline_seconds": 2, "position_sync_interval_seconds": 1 },
                "simulated": {
                    "cash": 100_000_000_000_000_u64,
                    // More than the longest soak sells.
                    "positions": [{ "symbol": "000858.SZ", "quantity": 1_000_000_000, "avg_cost": 40, "last_price": 43.2 }],
                    "fault_accept_silently": { "every": 41 }, "fault_duplicate_events": { "every": 7 },
                    "fault_reorder_events": { "every": 11 }, "fault_no_events": { "every": 29 },
                    "fault_snapshot_fails": { "every": 23 },
                },
            }),
        );
        desk.private("passphrase", "what opens the file of a soak");
        let login = desk.log_in(&backend.password, &["--store", "file", "--remember-password"]);
        assert!(login.status.success(), "{login:?}");
        let host = desk.trading();
        let address = desk.metrics_address();
        let seed = number("QT_SOAK_SEED", 0x5eed);
        println!("seed {seed}");
        let revoke_every = (Duration::from_secs(seconds) / REVOKED).min(REVOKE_EVERY);
        Self {
            backend,
            desk,
            host,
            address,
            dice: Dice::of(seed.max(1)),
            began: Instant::now(),
            signals: 0,
            invalid: 0,
            faults: 0,
            revoke_at: revoke_every / 2,
            revoke_every,
            revoked: 0,
            up_at: None,
            rows: Vec::new(),
        }
    }

    fn settled(&self) -> u64 {
        let counts = &self.backend.summary()["counts"];
        counts["concluded"].as_u64().unwrap() + counts["failed"].as_u64().unwrap()
    }

    fn add_signals(&mut self) {
        for _ in 0..=self.dice.roll(4) {
            self.signals += 1;
            let action = if self.dice.roll(3) == 0 { "SELL" } else { "BUY" };
            let price = if action == "BUY" { 43.5 } else { 43.0 };
            let mut signal = json!({ "order_id": format!("S{}", self.signals), "symbol": "000858.SZ", "action": action,
                                     "size": 100, "price": price });
            if self.dice.roll(50) == 0 {
                signal["size"] = json!("a few");
                self.invalid += 1;
            }
            self.backend.add(&signal);
        }
    }

    fn fail_something(&mut self) {
        if self.began.elapsed() >= self.revoke_at {
            self.revoke_at += self.revoke_every;
            self.revoked += 1;
            self.faults += 1;
            self.backend.revoke();
        }
        let modes = [
            "close_after_processing",
            "http500",
            "html",
            "down",
            "retry_after",
            "slow",
        ];
        if self.up_at.is_some_and(|at| self.began.elapsed() >= at) {
            self.up_at = None;
            self.backend.fault(&json!({ "mode": "up" }));
        }
        match self.dice.roll(40) {
            // For a time, as a backend fails, and not for so many requests: the host asks more rarely meanwhile.
            0..=2 if self.up_at.is_none() => {
                let mode = modes[usize::try_from(self.dice.roll(6)).unwrap()];
                let mut fault = json!({ "mode": mode, "retry_after_s": 0, "delay_ms": 300 });
                if self.dice.roll(4) > 0 {
                    fault["path"] = json!(
                        ["/trader/signals", "/trader/executions", "/status"][self.dice.roll(3) as usize]
                    );
                }
                self.backend.fault(&fault);
                self.up_at = Some(self.began.elapsed() + Duration::from_millis(50 + self.dice.roll(1_000)));
            }
            3 => self.backend.cut_streams(),
            4 if self.dice.roll(8) == 0 => {
                for worker in children(self.host.pid()) {
                    kill_9(worker);
                }
            }
            _ => return,
        }
        self.faults += 1;
    }

    fn look(&mut self) {
        let scrape = Scrape::of(&self.address);
        // Whole numbers all of them, and far below what a float holds exactly.
        let whole = |name: &str, labels: &[&str]| scrape.sum(name, labels).max(0.0) as u64;
        self.rows.push(Row {
            second: self.began.elapsed().as_secs(),
            signals: self.signals,
            settled: self.settled(),
            faults: self.faults,
            memory: whole("process_resident_memory_bytes", &[]),
            handles: whole("process_open_fds", &[]),
            threads: whole("process_threads", &[]),
            journal: whole("qt_journal_bytes", &[]),
            outbox: whole("qt_outbox_depth", &[]),
            unknown: whole("qt_orders", &["state=\"UNKNOWN\""]),
        });
    }

    fn print(&self) {
        println!("second signals settled faults  memory KiB  handles threads  journal KiB  outbox unknown");
        for row in &self.rows {
            println!(
                "{:6} {:7} {:7} {:6} {:11} {:8} {:7} {:12} {:7} {:7}",
                row.second,
                row.signals,
                row.settled,
                row.faults,
                row.memory / KIB,
                row.handles,
                row.threads,
                row.journal / KIB,
                row.outbox,
                row.unknown
            );
        }
    }
}

#[test]
fn a_soak_under_faults_ends_with_books_that_agree_and_nothing_that_grows() {
    let seconds = number("QT_SOAK_SECONDS", SECONDS);
    let mut soak = Soak::start(seconds);
    let every = Duration::from_secs(seconds) / ROWS;
    let mut next = every;
    while soak.began.elapsed() < Duration::from_secs(seconds) {
        soak.add_signals();
        soak.fail_something();
        if soak.began.elapsed() >= next {
            next += every;
            soak.look();
        }
        std::thread::sleep(PAUSE.max(Duration::from_secs(seconds) / LOTS));
    }
    soak.backend.fault(&json!({ "mode": "up" }));
    let total = soak.signals;
    wait_until("everything is settled", || {
        let scrape = Scrape::of(&soak.address);
        // What the figures say of orders is a second old.
        let open = scrape.sum("qt_outbox_depth", &[]) + scrape.sum("qt_orders", &["state=\"UNKNOWN\""]);
        soak.settled() == total && open == 0.0
    });
    // What the key of a kept login takes for a moment is given back.
    for _ in 0..LOOKS_AT_THE_END {
        soak.look();
        std::thread::sleep(Duration::from_millis(500));
    }
    let looks = soak.rows.split_off(soak.rows.len() - LOOKS_AT_THE_END);
    soak.rows.extend(looks.into_iter().min_by_key(|row| row.memory));
    soak.print();
    if let Some(path) = std::env::var_os("QT_SOAK_LOG") {
        std::fs::copy(soak.desk.path("host.log"), path).unwrap();
    }
    judge_books(&soak);
    judge_usage(&soak.rows);
    assert_eq!(soak.host.stop(), Some(0));
    soak.desk.done(&["journal", "verify"]);
}

fn judge_books(soak: &Soak) {
    let state = soak.backend.state();
    let ledger = soak.desk.ledger();
    let verdict = judge(&ledger, &state);
    assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
    let fills = ledger.iter().filter(|line| line["event"] == "fill").count();
    let failed = state["counts"]["failed"].as_u64().unwrap();
    println!(
        "{} signals, {} not understood; {} orders with {fills} fills in the broker's ledger, {} executions at the backend, {} posts \
         turned away; {} streams; {} faults, {} times every token was revoked, {} logins",
        soak.signals,
        soak.invalid,
        soak.desk.accepted(),
        state["counts"]["executions"],
        state["turned_away"].as_object().map_or(0, serde_json::Map::len),
        state["requests"]["stream"],
        soak.faults,
        soak.revoked,
        state["requests"]["login"],
    );
    assert_eq!(failed, soak.invalid, "a signal that can be understood has failed");
    let orders = u64::try_from(soak.desk.accepted()).unwrap();
    assert_eq!(orders, soak.signals - soak.invalid, "each signal is one order");
    let fetched = state["signals"].as_object().map_or(0, serde_json::Map::len);
    assert_eq!(u64::try_from(fetched).unwrap(), soak.signals);
    assert_ne!(state["requests"]["stream"], Value::Null, "nothing was pushed");
    assert!(soak.revoked >= u64::from(REVOKED) - 1, "{}", soak.revoked);
    let logins = state["requests"]["login"].as_u64().unwrap();
    // A person's; one for each time, unless it was revoked again while the host still waited with the next.
    assert!((3..=1 + 2 * soak.revoked).contains(&logins), "{logins} logins");
}

/// From the second quarter on, when all that is made once is made.
fn judge_usage(rows: &[Row]) {
    let (first, last) = (rows[rows.len() / 4], rows[rows.len() - 1]);
    let orders = last.signals - first.signals;
    // Of the second quarter the most: in one row a worker may just be gone, and its streams with it.
    let early = |of: fn(&Row) -> u64| rows[rows.len() / 4..rows.len() / 2].iter().map(of).max().unwrap();
    let (handles, threads) = (early(|row| row.handles), early(|row| row.threads));
    let grown = |last: u64, first: u64| last.saturating_sub(first);
    let memory = grown(
        last.memory,
        rows[rows.len() / 4..rows.len() / 2]
            .iter()
            .map(|row| row.memory)
            .min()
            .unwrap(),
    );
    let journal = grown(last.journal, first.journal);
    println!(
        "from second {} on, for {orders} signals: memory +{} B, journal +{} B a signal; handles {handles} to {}, threads {threads} to {}",
        first.second,
        memory / orders.max(1),
        journal / orders.max(1),
        last.handles,
        last.threads
    );
    assert!(
        memory <= orders * MEMORY_AN_ORDER + MEMORY_SLACK,
        "memory grew by {memory} B for {orders} signals"
    );
    assert!(
        journal <= orders * JOURNAL_AN_ORDER + JOURNAL_SLACK,
        "the journal grew by {journal} B for {orders} signals"
    );
    assert!(
        last.handles <= handles + HANDLES_SLACK,
        "{handles} handles, then {}",
        last.handles
    );
    assert!(
        last.threads <= threads + THREADS_SLACK,
        "{threads} threads, then {}",
        last.threads
    );
    assert_eq!((last.outbox, last.unknown), (0, 0));
}
