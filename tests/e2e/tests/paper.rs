//! Trading on paper with the real binary: the same ledger in every run, figures that follow from it, and bad files that are
//! refused with line, column and value; and the simulated broker as an exchange behind a real host.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    reason = "a test may panic, and compares shown figures"
)]

use std::process::{Command, Output, Stdio};

use qt_test_support::{Backend, Desk, qt_host, wait_until};
use serde_json::{Value, json};

const QUOTES: &str = "time,symbol,open,high,low,close,volume,previous_close\n\
    2026-11-23 09:31,000858.SZ,150,150.5,149.5,150,40000,150\n\
    2026-11-23 09:31,600519.SH,1400,1400,1390,1395,2000,1400\n\
    2026-11-23 09:32,000858.SZ,150,150,149,149,8000,150\n\
    2026-11-23 09:33,000858.SZ,149,149,148,148,8000,150\n\
    2026-11-23 14:57,000858.SZ,148,149,148,149,8000,150\n\
    2026-11-23 15:00,000858.SZ,149,149,149,149,20000,150\n\
    2026-11-24 09:31,000858.SZ,151,152,150,152,40000,149\n\
    2026-11-24 09:32,000858.SZ,152,153,152,153,40000,149\n\
    2026-11-24 15:00,000858.SZ,153,153,153,153,20000,149\n";

fn wish(id: &str, at: &str, side: &str, size: i64, price: f64) -> Value {
    json!({ "order_id": id, "symbol": "000858.SZ", "action": side, "size": size, "price": price,
            "created_at": format!("2026-11-{at}+08:00") })
}

fn signals() -> String {
    [
        wish("FULL", "23T09:31:10", "BUY", 1_000, 150.05),
        wish("PART", "23T09:31:20", "BUY", 5_000, 149.5),
        wish("LOTS", "23T09:31:30", "BUY", 150, 149.5),
        wish("CAGE", "23T09:31:40", "BUY", 100, 160.0),
        wish("EARLY", "23T09:34:00", "SELL", 1_000, 148.0),
        // Without an end of its own a sale rests for 90 seconds, and the auction takes longer.
        json!({ "valid_until": "2026-11-24T10:00:00+08:00", "order_id": "NIGHT", "symbol": "000858.SZ", "action": "SELL",
                "size": 1_000, "price": 148.0, "created_at": "2026-11-23T20:00:00+08:00" }),
        wish("SOLD", "24T09:31:30", "SELL", 1_000, 152.5),
    ]
    .map(|signal| signal.to_string())
    .join("\n")
}

struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        let room = Self(tempfile::tempdir().unwrap());
        room.put("q.csv", QUOTES);
        room.put("s.jsonl", &signals());
        room
    }

    fn put(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(qt_host())
            .arg("paper")
            .args(arguments)
            .current_dir(self.0.path())
            .env_remove("TRADER_API_TOKEN")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!((out.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
        String::from_utf8(out.stdout).unwrap()
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

#[test]
fn two_runs_give_ledgers_equal_byte_for_byte_and_figures_that_follow_from_them() {
    let room = Room::new();
    let base = ["--signals", "s.jsonl", "--quotes", "q.csv"];
    let report: Value = serde_json::from_str(
        &room.done(
            &[
                &base[..],
                &["--ledger", "1.jsonl", "--picture", "1.svg", "--json"],
            ]
            .concat(),
        ),
    )
    .unwrap();
    room.done(&[&base[..], &["--ledger", "2.jsonl", "--picture", "2.svg"]].concat());
    assert_eq!(room.read("1.jsonl"), room.read("2.jsonl"));
    assert_eq!(room.read("1.svg"), room.read("2.svg"));
    let picture = room.read("1.svg");
    for part in [
        "<svg",
        "Paper trading",
        "Largest drawdown",
        "P&amp;L by symbol",
        "000858.SZ",
    ] {
        assert!(picture.contains(part), "{part} is not in the picture");
    }

    let ledger = lines(&room.read("1.jsonl"));
    let (mut cash, mut held, mut turnover, mut fees) = (1_000_000.0, 0.0, 0.0, 0.0);
    for fact in ledger.iter().filter(|fact| fact["event"] == "fill") {
        let amount = number(&fact["price"]) * number(&fact["quantity"]);
        let cost: f64 = fact["fees"].as_object().unwrap().values().map(number).sum();
        let sign = if fact["side"] == "BUY" { 1.0 } else { -1.0 };
        cash -= sign * amount + cost;
        held += sign * number(&fact["quantity"]);
        turnover += amount;
        fees += cost;
    }
    let near = |found: &Value, expected: f64| (number(found) - expected).abs() < 0.005;
    assert!(
        near(&report["turnover"], turnover) && near(&report["fees"]["total"], fees),
        "{report}"
    );
    assert!(
        near(&report["end"], cash + held * 153.0),
        "{cash} {held} {report}"
    );
    assert!(
        number(&report["return_pct"]) > 0.0 && number(&report["max_drawdown_pct"]) > 0.0,
        "{report}"
    );
    let state = |id: &str| {
        let order = report["orders"]
            .as_array()
            .unwrap()
            .iter()
            .find(|order| order["signal"] == id)
            .unwrap();
        format!(
            "{} {} {}",
            order["state"].as_str().unwrap(),
            order["filled"],
            order["code"].as_str().unwrap_or("-")
        )
    };
    assert_eq!(state("FULL"), "FILLED 1000 -");
    // A quarter of what the market traded at its limit or better, until it had rested for an hour.
    // Of the bar in which it came it met the close alone.
    assert_eq!(state("PART"), "PARTIALLY_CANCELLED 2500 -");
    assert_eq!(state("LOTS"), "DENIED 0 LOT");
    // The gates know no quotes for a cage; the exchange refuses.
    assert_eq!(state("CAGE"), "REJECTED 0 -");
    // T+1: what was bought on the day is not sold on it, and what is wished at night goes into the next auction.
    assert!(state("EARLY").starts_with("DENIED 0 "), "{}", state("EARLY"));
    assert_eq!(state("NIGHT"), "FILLED 1000 -");
    assert_eq!(state("SOLD"), "FILLED 1000 -");
    let night = ledger
        .iter()
        .rfind(|fact| fact["event"] == "fill" && fact["price"] == "151")
        .unwrap();
    assert_eq!(
        night["time"], "2026-11-24 09:31:00",
        "the day's first bar tells the auction's price"
    );
    let cage = ledger.iter().find(|fact| fact["code"] == "PRICE_CAGE").unwrap();
    assert!(
        cage["reason"]
            .as_str()
            .unwrap()
            .contains("委托价格超出有效申报价格范围"),
        "{cage}"
    );
    let counts = &report["signals"];
    assert_eq!(
        (&counts["total"], &counts["denied"], &counts["rejected"]),
        (&json!(7), &json!(2), &json!(1)),
        "{counts}"
    );
}

#[test]
fn text_for_people_names_every_figure_and_files_are_not_replaced_unasked() {
    let room = Room::new();
    let text = room.done(&[
        "--signals",
        "s.jsonl",
        "--quotes",
        "q.csv",
        "--ledger",
        "run.jsonl",
    ]);
    for part in [
        "Return",
        "Largest drawdown",
        "Turnover",
        "Fees",
        "Slippage",
        "Fill rate",
        "7: ",
        "PRICE_CAGE",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let before = room.read("run.jsonl");
    let refused = room.run(&[
        "--signals",
        "s.jsonl",
        "--quotes",
        "q.csv",
        "--ledger",
        "run.jsonl",
        "--cash",
        "5",
    ]);
    assert_ne!(refused.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("run.jsonl exists already"));
    assert_eq!(room.read("run.jsonl"), before);
    room.done(&[
        "--signals",
        "s.jsonl",
        "--quotes",
        "q.csv",
        "--ledger",
        "run.jsonl",
        "--cash",
        "5",
        "--force",
    ]);
    assert_ne!(room.read("run.jsonl"), before);
}

#[test]
fn a_users_tables_reach_the_exchange_and_its_fees() {
    let room = Room::new();
    room.put("tables.toml", "[fees]\ncommission_rate = \"0.01\"\n");
    room.put(
        "c.json",
        &json!({ "gates": { "market_tables": "tables.toml" } }).to_string(),
    );
    let fees = |more: &[&str]| {
        let all = [&["--signals", "s.jsonl", "--quotes", "q.csv", "--json"][..], more].concat();
        let report: Value = serde_json::from_str(&room.done(&all)).unwrap();
        number(&report["fees"]["commission"])
    };
    let (plain, dear) = (fees(&[]), fees(&["--config", "c.json"]));
    assert!(dear > plain * 30.0, "{plain} {dear}");
}

#[test]
fn bad_files_are_refused_with_line_column_value_and_what_to_do() {
    let room = Room::new();
    room.put(
        "late.csv",
        &QUOTES.replace("2026-11-24 09:32", "2026-11-22 09:32"),
    );
    room.put("price.csv", &QUOTES.replace(",1395,", ",cheap,"));
    room.put("columns.csv", "when,what\n1,2\n");
    room.put("empty.csv", "time,symbol,last,volume\n");
    room.put("size.jsonl", &signals().replace("5000", "0"));
    room.put("torn.jsonl", "{\"order_id\": \"A\", ");
    room.put(
        "timeless.json",
        &json!([{ "order_id": "A", "symbol": "000858.SZ", "action": "BUY", "size": 100 }]).to_string(),
    );
    for (signals, quotes, expected) in [
        (
            "s.jsonl",
            "late.csv",
            "line 9, column time: `2026-11-22 09:32` is not after",
        ),
        (
            "s.jsonl",
            "price.csv",
            "line 3, column close: `cheap` is not a price in yuan above 0",
        ),
        (
            "s.jsonl",
            "columns.csv",
            "line 1: there is no column `time` in `when,what`; expected time,symbol",
        ),
        ("s.jsonl", "empty.csv", "have no line below their first"),
        ("s.jsonl", "none.csv", "none.csv cannot be read"),
        ("size.jsonl", "q.csv", "line 2, column "),
        (
            "size.jsonl",
            "q.csv",
            "`size` is 0: expected a whole number of shares",
        ),
        ("torn.jsonl", "q.csv", "line 1, column 18: this is not JSON"),
        ("timeless.json", "q.csv", "`created_at` is missing"),
        ("none.json", "q.csv", "none.json cannot be read"),
    ] {
        let out = room.run(&[
            "--signals",
            signals,
            "--quotes",
            quotes,
            "--ledger",
            "never.jsonl",
        ]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{signals} {quotes}: {said}");
        assert!(said.contains(expected), "{signals} {quotes}: {said}");
        assert!(!room.0.path().join("never.jsonl").exists());
    }
    for flags in [
        ["--participation", "0"],
        ["--levels", "11"],
        ["--cash", "-1"],
        ["--dividend", "x"],
        ["--picture", "p.png"],
    ] {
        let out = room.run(&[&["--signals", "s.jsonl", "--quotes", "q.csv"][..], &flags].concat());
        assert_eq!(
            out.status.code(),
            Some(2),
            "{flags:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}

#[test]
fn signals_of_the_backend_are_looked_at_and_stay_there() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    std::fs::write(desk.path("q.csv"), QUOTES).unwrap();
    let mut signal = wish("S1", "23T09:31:10", "BUY", 1_000, 150.05);
    for (key, value) in [
        ("status", json!("pending")),
        ("is_executable", json!(true)),
        ("mode", json!("live")),
    ] {
        signal[key] = value;
    }
    backend.add(&signal);
    let quotes = desk.path("q.csv");
    let report = desk.json(&[
        "paper",
        "--signals",
        "backend",
        "--quotes",
        quotes.to_str().unwrap(),
    ]);
    assert_eq!(report["signals"]["filled"], 1, "{report}");
    let posts = &backend.state()["signals"]["S1"]["posts"];
    assert!(posts.as_array().is_none_or(Vec::is_empty), "{posts}");
    assert!(desk.ledger().is_empty(), "the broker heard of nothing");
}

const TICKS: &str = "time,symbol,last,volume,previous_close\n\
    2026-11-23 15:00:00,000858.SZ,43.2,1000,43\n\
    2026-11-24 09:25:00,000858.SZ,43.5,5000,43.2\n\
    2026-11-24 09:30:30,000858.SZ,43.5,400,43.2\n\
    2026-11-24 09:33:00,000858.SZ,43.4,400,43.2\n\
    2026-11-24 09:50:00,000858.SZ,43.5,400,43.2\n";

fn order(desk: &Desk, id: &str) -> Value {
    let orders = desk.json(&["orders", "--since", "2000-01-01"]);
    let found = orders
        .as_array()
        .unwrap()
        .iter()
        .find(|order| order["signal"] == id)
        .cloned();
    found.unwrap_or_default()
}

fn expect(desk: &Desk, id: &str, state: &str) {
    wait_until(
        &format!("{id} is {state}, now {}; log: {}", order(desk, id), desk.log()),
        || order(desk, id)["state"] == state,
    );
}

#[test]
fn a_signal_meets_an_auction_a_part_of_the_market_and_the_days_limit_at_the_exchange() {
    const MINUTE: i64 = 60_000;
    let backend = Backend::start();
    let exchange =
        json!({ "quotes": "ticks.csv", "session_from": "2026-11-24T09:16:00", "participation_pct": 100 });
    let desk = Desk::new(
        &backend,
        &json!({ "simulated": { "fill": "exchange", "exchange": exchange } }),
    );
    desk.set_clock(0);
    // The broker's folder lies in the data folder; a path from the root is taken as it is.
    let ticks = desk.path("ticks.csv");
    std::fs::write(&ticks, TICKS).unwrap();
    desk.configure(
        &backend,
        &json!({ "simulated": { "fill": "exchange", "exchange": {
        "quotes": ticks, "session_from": "2026-11-24T09:16:00", "participation_pct": 100 } } }),
    );
    let signal = |id: &str, size: i64, price: f64| {
        json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": size, "price": price, "status": "pending",
                "is_executable": true, "mode": "live" })
    };
    backend.add(&signal("AUCTION", 300, 44.0));
    backend.add(&signal("LIMIT", 100, 48.0));
    let host = desk.trading();
    // In the auction orders gather; a price beyond the day's limit never gets there.
    expect(&desk, "AUCTION", "WORKING");
    expect(&desk, "LIMIT", "REJECTED");
    let reason = order(&desk, "LIMIT")["reason"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        reason.contains("[PRICE_LIMIT] 委托价格超过涨跌幅限制") && reason.contains("38.88 to 47.52"),
        "{reason}"
    );

    desk.set_clock(15 * MINUTE);
    expect(&desk, "AUCTION", "FILLED");
    let fill = desk
        .ledger()
        .into_iter()
        .find(|line| line["event"] == "fill")
        .unwrap();
    assert_eq!(
        (fill["price"].to_string(), &fill["quantity"]),
        ("43.5".to_owned(), &json!(300)),
        "{fill}"
    );

    backend.add(&signal("PART", 1_000, 43.5));
    expect(&desk, "PART", "WORKING");
    desk.set_clock(20 * MINUTE);
    expect(&desk, "PART", "PARTIALLY_FILLED");
    assert!(desk.run(&["cancel", "PART"]).status.success());
    expect(&desk, "PART", "PARTIALLY_CANCELLED");
    let filled: i64 = desk
        .ledger()
        .iter()
        .skip(3)
        .filter(|line| line["event"] == "fill")
        .map(|line| line["quantity"].as_i64().unwrap())
        .sum();
    assert_eq!(filled, 400, "{:?}", desk.ledger());
    wait_until("the backend is told", || {
        backend.state()["signals"]["PART"]["posts"]
            .to_string()
            .contains("partial_cancelled")
    });
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn the_example_of_the_readme_runs() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let line = readme
        .lines()
        .find(|line| line.starts_with("qt-host paper "))
        .unwrap();
    let room = Room::new();
    let words: Vec<String> = line
        .split(' ')
        .skip(2)
        .map(|word| {
            if word.starts_with("examples/") {
                root.join(word).to_str().unwrap().to_owned()
            } else {
                word.to_owned()
            }
        })
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let text = room.done(&words);
    assert!(
        text.contains("5: 4 filled, 0 partly, 0 unfilled, 0 rejected, 1 denied by a gate"),
        "{text}"
    );
    assert!(room.read("run.svg").contains("<svg") && room.read("run.jsonl").contains("\"fill\""));
}

/// Gates and exchange go by the same listings: what may cost half as much again on its first days may not without them.
#[test]
fn a_new_listing_of_the_tables_is_let_through_by_the_gates_and_by_the_exchange() {
    let listed = "[listings]\n\"000858.SZ\" = { listed = \"2026-11-23\" }\n";
    for (tables, state) in [("", "DENIED"), (listed, "FILLED")] {
        let room = Room::new();
        room.put("tables.toml", tables);
        let path = room.0.path().join("tables.toml");
        room.put(
            "config.json",
            &json!({ "gates": { "market_tables": path } }).to_string(),
        );
        room.put(
            "q.csv",
            "time,symbol,open,high,low,close,volume,previous_close\n\
             2026-11-24 09:31,000858.SZ,230,230,230,230,40000,150\n\
             2026-11-24 09:32,000858.SZ,230,231,229,230,40000,150\n\
             2026-11-24 09:33,000858.SZ,230,231,229,230,40000,150\n",
        );
        room.put(
            "s.jsonl",
            &wish("NEW", "24T09:31:30", "BUY", 100, 231.0).to_string(),
        );
        let report = room.done(&[
            "--signals",
            "s.jsonl",
            "--quotes",
            "q.csv",
            "--config",
            "config.json",
            "--json",
        ]);
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["orders"][0]["state"], state, "{report}");
    }
}
