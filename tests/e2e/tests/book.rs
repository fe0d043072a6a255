//! What people see of their holdings, with the real binary, the real plugin and, where it matters, a running host.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use qt_test_support::{Backend, Desk, judge, qt_host, wait_until};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

/// The three holdings of the specification's examples.
fn example() -> Value {
    json!([
        { "symbol": "000858.SZ", "quantity": 1000, "avg_cost": 42.50, "last_price": 43.20 },
        { "symbol": "002050.SZ", "quantity": 500, "avg_cost": 38.00, "last_price": 37.50 },
        { "symbol": "600519.SH", "quantity": 100, "avg_cost": 1850, "last_price": 1920 },
    ])
}

fn example_desk(backend: &Backend) -> Desk {
    Desk::new(backend, &json!({ "simulated": { "positions": example() } }))
}

fn text(out: &Output) -> String {
    assert!(out.status.success(), "{}", said(out));
    String::from_utf8(out.stdout.clone()).unwrap()
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn shown(desk: &Desk, arguments: &[&str]) -> String {
    text(&desk.run(arguments))
}

fn asked(desk: &Desk, arguments: &[&str]) -> Value {
    serde_json::from_str(&shown(desk, arguments)).unwrap()
}

/// Runs a command without a configuration; the file stands for the broker.
fn from_file(folder: &Path, file: &Path, arguments: &[&str]) -> Output {
    Command::new(qt_host())
        .args(arguments)
        .arg("--from")
        .arg(file)
        .arg("--data-dir")
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A text line by line, each as its words: column widths do not count, and neither do the lengths of rules.
fn words(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .map(|line| {
            let is_rule = line.len() > 20 && line.chars().all(|c| c == '=' || c == '-');
            let line = if is_rule { &line[..1] } else { line };
            line.split_whitespace().map(str::to_owned).collect()
        })
        .filter(|words: &Vec<String>| !words.is_empty())
        .collect()
}

fn signal(id: &str, symbol: &str, action: &str, size: u32, price: f64) -> Value {
    json!({ "order_id": id, "symbol": symbol, "action": action, "size": size, "price": price, "status": "pending",
            "is_executable": true, "mode": "live" })
}

fn is_reported(backend: &Backend, id: &str) -> bool {
    backend.state()["signals"][id]["posts"]
        .as_array()
        .map_or(0, Vec::len)
        == 3
}

#[test]
fn the_specifications_four_examples_are_printed() {
    let backend = Backend::start();
    let desk = example_desk(&backend);
    for (arguments, golden) in [
        (&["positions"][..], include_str!("../../golden/positions.txt")),
        (&["grid", "000858.SZ"], include_str!("../../golden/grid.txt")),
        (&["risk"], include_str!("../../golden/risk.txt")),
    ] {
        let (printed, expected) = (words(&shown(&desk, arguments)), words(golden));
        let more = printed.len() - expected.len();
        assert_eq!(printed[..expected.len()], expected, "{arguments:?}");
        // Only the risk's table is followed by what its scores mean.
        assert_eq!(more, if arguments == ["risk"] { 4 } else { 0 }, "{arguments:?}");
    }
    let mut printed = words(&shown(&desk, &["summary"]));
    let mut expected = words(include_str!("../../golden/summary.txt"));
    let sync = expected.iter().position(|line| line[0] == "Last").unwrap();
    let (now, then) = (printed.remove(sync), expected.remove(sync));
    assert_eq!(printed, expected);
    // The moment is now and its form is the specification's.
    assert_eq!(
        (&now[..2], now.len(), now[2].len()),
        (&then[..2], then.len(), then[2].len())
    );
    let meaning = shown(&desk, &["risk"]);
    for line in [
        "0-30:   Low risk",
        "31-60:  Medium risk (consider rebalancing)",
        "61-100: High risk",
    ] {
        assert!(meaning.contains(line), "{meaning}");
    }
}

#[test]
fn the_ladder_has_the_specifications_prices_rounded_half_to_even() {
    let backend = Backend::start();
    let positions =
        json!([{ "symbol": "000858.SZ", "quantity": 1000, "avg_cost": 42.50, "last_price": 40.00 }]);
    let desk = Desk::new(&backend, &json!({ "simulated": { "positions": positions } }));
    let grid = asked(&desk, &["grid", "000858.SZ", "--levels", "--json"]);
    let prices = |side: &str| -> Vec<String> {
        let levels = grid[side].as_array().unwrap().iter().take(3);
        levels.map(|level| level["price"].to_string()).collect()
    };
    // 34.295 and 46.305 lie halfway, and 40.375 is the target cost.
    assert_eq!(prices("buys"), ["38", "36.1", "34.3"]);
    assert_eq!(prices("sells"), ["42", "44.1", "46.3"]);
    assert_eq!(grid["target_cost"].to_string(), "40.375");
    let printed = shown(&desk, &["grid", "000858.SZ", "--levels"]);
    assert!(printed.contains("Target Cost:         ¥40.38\n"), "{printed}");
    let lines = words(&printed);
    for line in [
        ["BUY", "1", "¥38.00", "100", "1,100", "¥42.09"],
        ["BUY", "3", "¥34.30", "100", "1,300", "¥41.03"],
        ["SELL", "3", "¥46.30", "100", "700", "¥41.80"],
    ] {
        assert!(
            lines.iter().any(|words| *words == line),
            "{line:?} is not in\n{printed}"
        );
    }
    // Other numbers of levels, distances and sizes, around another price.
    let chosen = "grid 000858.SZ --price 50 --grids 2 --spacing 10% --size 200 --csv";
    let csv = shown(&desk, &chosen.split(' ').collect::<Vec<_>>());
    let rows: Vec<_> = csv.lines().collect();
    assert_eq!(rows.len(), 5, "{csv}");
    assert!(rows[1].starts_with("BUY,1,45,200,1200,42.91"), "{csv}");
    assert!(rows[4].starts_with("SELL,2,60.5,200,600,"), "{csv}");
}

#[test]
fn grids_that_make_no_sense_and_unknown_symbols_are_refused_with_what_may_be_meant() {
    let backend = Backend::start();
    let desk = example_desk(&backend);
    for (line, code, part) in [
        (
            "grid 000585.SZ",
            1,
            "000585.SZ is not held; did you mean 000858.SZ?",
        ),
        ("grid 858", 2, "did you mean 000858.SZ?"),
        ("grid 300750.SZ", 1, "`qt-host positions` lists"),
        ("grid 000858.SZ --size 150", 2, "150"),
        ("grid 000858.SZ --grids 0", 2, "grids is 0"),
        ("grid 000858.SZ --spacing -5", 2, "spacing is -5"),
        ("grid 000858.SZ --price -1", 1, "-1 is not above zero"),
        ("grid 000858.SZ --price much", 2, "expected a number"),
        ("grid", 2, "SYMBOL"),
        ("size 600519 1920", 2, "did you mean 600519.SH?"),
        ("size 600519.SH 0", 2, "price 0 is not above zero"),
        ("positions --json --csv", 2, "cannot be used with"),
        ("positions --from backend", 2, "use --from broker"),
        ("positions --from /nowhere/book.json", 2, "/nowhere/book.json"),
        ("positions --from journal", 1, "there is no journal"),
    ] {
        let out = desk.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(out.status.code(), Some(code), "{line}: {}", said(&out));
        assert!(said(&out).contains(part), "{line}: {}", said(&out));
        assert!(out.stdout.is_empty(), "{line} printed something");
    }
}

#[test]
fn a_broker_that_cannot_answer_gives_its_reason_and_never_an_empty_table() {
    let backend = Backend::start();
    let commands = [
        &["positions"][..],
        &["positions", "--json"],
        &["summary"],
        &["grid", "000858.SZ"],
        &["risk"],
        &["account"],
        &["size", "000858.SZ", "40"],
    ];
    for (more, code, part) in [
        (
            json!({ "simulated": { "fault_snapshot_fails": true } }),
            1,
            "the query for positions failed",
        ),
        (json!({ "simulated": { "cash": -1 } }), 1, "`cash` is -1"),
        (json!({ "broker": "miniqmt" }), 1, "not available"),
        (json!({ "broker": "simulatd" }), 3, "simulated"),
    ] {
        let desk = Desk::new(&backend, &more);
        for command in commands {
            let out = desk.run(command);
            assert_eq!(
                out.status.code(),
                Some(code),
                "{command:?} {more}: {}",
                said(&out)
            );
            assert!(said(&out).contains(part), "{command:?} {more}: {}", said(&out));
            assert!(out.stdout.is_empty(), "{command:?} {more} printed something");
        }
    }
    // The same through a running host: positions fail there at the first question after those of the start.
    let desk = Desk::new(
        &backend,
        &json!({ "simulated": { "fault_snapshot_fails": { "every": 3 } },
                 "execution": { "position_sync_interval_seconds": 0, "reconcile_interval_seconds": 3600 } }),
    );
    let host = desk.host("");
    wait_until("the books were compared", || {
        desk.log().contains("Fetched 0 pending")
    });
    let out = desk.run(&["positions"]);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(
        said(&out).contains("the query for positions failed"),
        "{}",
        said(&out)
    );
    assert!(out.stdout.is_empty());
    assert_eq!(words(&shown(&desk, &["positions"])).len(), 5);
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_running_host_is_asked_and_not_disturbed() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let host = desk.host("");
    let ids: Vec<String> = (0..40).map(|n| format!("S{n}")).collect();
    for id in &ids {
        backend.add(&signal(id, "000858.SZ", "BUY", 100, 43.5));
        if id.ends_with('5') {
            let held = asked(&desk, &["positions", "--json"])[0]["quantity"]
                .as_u64()
                .unwrap();
            assert!((100_000..=104_000).contains(&held), "{held}");
        }
    }
    wait_until("all is reported", || {
        ids.iter().all(|id| is_reported(&backend, id))
    });
    let asked_running = asked(&desk, &["positions", "--json"]);
    assert_eq!(asked_running[0]["quantity"], 104_000);
    let left = std::fs::read_dir(desk.path("data/control")).unwrap().count();
    assert_eq!(left, 0, "an answer with holdings stays in the control folder");
    assert_eq!(host.stop(), Some(0));
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
    // By itself it says the same.
    assert_eq!(asked(&desk, &["positions", "--json"]), asked_running);
    // Another broker than the running host's is not passed off as it.
    let _again = desk.host("");
    wait_until("it trades again", || {
        desk.log().matches("quantTrader started").count() == 2
    });
    let out = desk.run(&["positions", "--broker", "miniqmt"]);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(
        said(&out).contains("trades through `simulated`"),
        "{}",
        said(&out)
    );
}

#[test]
fn a_look_changes_nothing_at_the_broker() {
    let backend = Backend::start();
    let resting = json!({ "simulated": { "fill": "never" } });
    let desk = Desk::new(&backend, &resting);
    let mut host = desk.host("");
    backend.add(&signal("S1", "000858.SZ", "SELL", 100, 43.0));
    wait_until("the order rests", || desk.ledger().len() == 1);
    host.kill();
    // A broker that could fill it now, and would if it were opened to trade.
    desk.configure(&backend, &json!({}));
    let before = std::fs::read(desk.ledger_path()).unwrap();
    let position = asked(&desk, &["positions", "--json"])[0].clone();
    assert_eq!(
        (&position["quantity"], &position["frozen_qty"]),
        (&json!(100_000), &json!(100))
    );
    assert_eq!(position["available_qty"], 99_900);
    for _ in 0..3 {
        shown(&desk, &["account"]);
    }
    assert_eq!(std::fs::read(desk.ledger_path()).unwrap(), before);
}

#[test]
fn a_book_is_read_back_from_what_was_printed() {
    let backend = Backend::start();
    let desk = example_desk(&backend);
    let (json_file, csv_file) = (desk.path("book.json"), desk.path("book.csv"));
    std::fs::write(&json_file, shown(&desk, &["positions", "--json"])).unwrap();
    std::fs::write(&csv_file, shown(&desk, &["positions", "--csv"])).unwrap();
    for file in [&json_file, &csv_file] {
        for command in [&["positions"][..], &["risk"], &["grid", "000858.SZ", "--levels"]] {
            let out = from_file(&desk.path("other"), file, command);
            assert_eq!(
                text(&out),
                shown(&desk, command),
                "{command:?} from {}",
                file.display()
            );
        }
        let out = from_file(&desk.path("other"), file, &["account"]);
        assert_eq!(out.status.code(), Some(1));
        assert!(said(&out).contains("knows no balances"), "{}", said(&out));
    }
}

#[test]
fn thresholds_of_risk_are_the_configurations() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "simulated": { "positions": example() },
                 "risk": { "concentration_pct": 80, "drawdown_pct": 1.32, "unsellable_pct": 0 } }),
    );
    let scores: Vec<_> = asked(&desk, &["risk", "--json"])
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["risk_score"].as_u64().unwrap())
        .collect();
    // 75.61 % is not above 80 %, and 1.3157… % not above 1.32 %.
    assert_eq!(scores, [0, 0, 0]);
}

#[test]
fn a_size_is_in_whole_lots_with_fees_and_the_concentration_after_it() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "simulated": { "cash": 100_000, "positions": example() } }),
    );
    let lines = words(&shown(&desk, &["size", "000858.SZ", "40"]));
    for line in [
        "All cash ¥100,000.00 2,400 1 ¥96,000.00 ¥24.96 ¥96,024.96 39.78% 39.33%",
        "30% of cash ¥30,000.00 700 1 ¥28,000.00 ¥7.28 ¥28,007.28 25.25% 20.12%",
    ] {
        assert!(
            lines.iter().any(|words| words.join(" ") == line),
            "{line} is not in\n{lines:#?}"
        );
    }
    let json = asked(&desk, &["size", "000858.SZ", "40", "--json"]);
    assert_eq!(json["options"][0]["total"].to_string(), "96024.96");
    let csv = shown(&desk, &["size", "000858.SZ", "40", "--csv"]);
    assert!(
        csv.contains("cash_30_pct,30000,700,1,28000,7.28,28007.28,"),
        "{csv}"
    );
}

/// 1000 of 000858.SZ bought before, 100 of 600519.SH sold out, 200 of 300750.SZ bought.
fn traded(cash: u32) -> Value {
    let positions = json!([
        { "symbol": "000858.SZ", "quantity": 1000, "avg_cost": 42.5, "last_price": 43.2, "previous_close": 43 },
        { "symbol": "600519.SH", "quantity": 100, "avg_cost": 1850, "last_price": 1920, "previous_close": 1900 },
    ]);
    json!({ "simulated": { "cash": cash, "positions": positions, "prices": { "300750.SZ": 200 } } })
}

#[test]
fn todays_pnl_comes_from_prices_and_trades_and_a_deposit_is_none() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &traded(1_000_000));
    let before = asked(&desk, &["account", "--json"]);
    // Overnight alone: 0.20 × 1000 + 20 × 100.
    assert_eq!(before["today"]["pnl"].to_string(), "2200");
    let host = desk.host("");
    for (id, symbol, action, size, price) in [
        ("B1", "000858.SZ", "BUY", 100, 43.5),
        ("B2", "300750.SZ", "BUY", 200, 201.0),
        ("S1", "000858.SZ", "SELL", 100, 43.0),
        ("S2", "600519.SH", "SELL", 100, 1910.0),
    ] {
        backend.add(&signal(id, symbol, action, size, price));
        wait_until("it is reported", || is_reported(&backend, id));
    }
    let running = asked(&desk, &["account", "--json"]);
    assert_eq!(host.stop(), Some(0));
    let today = asked(&desk, &["account", "--json"])["today"].clone();
    assert_eq!(running["today"], today);
    // Everything was traded at the last price, so that the trades themselves earned nothing.
    assert_eq!(today["overnight"].to_string(), "2200");
    assert_eq!(today["trades"].to_string(), "0");
    // Commissions 5 + 10 + 5 + 48, transfer fees 0.04 + 0.40 + 0.04 + 1.92, stamp duty 2.16 + 96.
    assert_eq!(today["fees"].to_string(), "168.56");
    assert_eq!(today["pnl"].to_string(), "2031.44");
    assert_eq!(today["unknown"], json!([]));
    // A deposit and a withdrawal: cash and assets follow, the day's P&L does not.
    for (cash, change) in [(1_500_000, 500_000), (400_000, -600_000)] {
        desk.configure(&backend, &traded(cash));
        let after = asked(&desk, &["account", "--json"]);
        assert_eq!(after["today"], today, "with {cash} yuan");
        let assets = |account: &Value| account["total_asset"].to_string().parse::<f64>().unwrap();
        assert!((assets(&after) - assets(&running) - f64::from(change)).abs() < 0.005);
    }
    let printed = shown(&desk, &["account"]);
    assert!(printed.contains("Today's P&L:      ¥+2,031.44\n"), "{printed}");
    assert!(printed.contains("ACCOUNT *****ATED\n"), "{printed}");
}

#[test]
fn a_holding_tells_how_it_came_about_and_what_the_journal_does_not_know() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &traded(1_000_000));
    let host = desk.host("");
    for (id, symbol, action, size, price) in [
        ("B1", "300750.SZ", "BUY", 200, 201.0),
        ("S2", "600519.SH", "SELL", 100, 1910.0),
        ("B2", "000858.SZ", "BUY", 100, 43.5),
    ] {
        backend.add(&signal(id, symbol, action, size, price));
        wait_until("it is reported", || is_reported(&backend, id));
    }
    let rows = asked(&desk, &["positions", "--json"]);
    assert_eq!(host.stop(), Some(0));
    let history = |symbol: &str| {
        let all = rows.as_array().unwrap();
        all.iter().find(|row| row["symbol"] == symbol).unwrap()["history"].clone()
    };
    // All of it was bought here: 200 × 200 and fees of 10.40, which the simulated broker leaves out of its cost.
    let bought = history("300750.SZ");
    assert_eq!(bought["own_avg_cost"].to_string(), "200.052");
    assert_eq!(bought["avg_cost_difference"].to_string(), "0.052");
    assert_eq!(
        (&bought["trades"], &bought["holding_days"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(bought["bought_amount"].to_string(), "40000");
    assert_eq!(bought["known_since"], bought["first_buy"]);
    assert_eq!(bought["last_trade"], bought["first_buy"]);
    // Sold what was bought before anything is known: what it earned cannot be told.
    let sold = history("600519.SH");
    assert_eq!(
        (&sold["sold_without_cost"], sold["sold_amount"].to_string()),
        (&json!(100), "192000".into())
    );
    assert_eq!(
        (&sold["own_avg_cost"], sold["realised_pnl"].to_string()),
        (&Value::Null, "0".into())
    );
    // A part of it was: our cost stands beside the broker's, and no difference is made of the two.
    let partly = history("000858.SZ");
    assert_eq!(
        (&partly["own_quantity"], &partly["avg_cost_difference"]),
        (&json!(100), &Value::Null)
    );
    let printed = shown(&desk, &["positions", "--history"]);
    assert!(
        printed.contains("* not all shares held were bought in trades that are known"),
        "{printed}"
    );
    let csv = shown(&desk, &["positions", "--history", "--csv"]);
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(csv.contains("300750.SZ,,200,200,"), "{csv}");
    // Three days later it was held for three days, its shares can be sold, and the day knows no trade.
    let later = |arguments: &[&str]| -> Value {
        let out = Command::new(qt_host())
            .args(arguments)
            .arg("--config")
            .arg(desk.config())
            .env("QT_TEST_CLOCK_OFFSET_MS", (3 * 86_400_000i64).to_string())
            .output()
            .unwrap();
        serde_json::from_str(&text(&out)).unwrap()
    };
    let rows_later = later(&["positions", "--json"]);
    let bought_later = rows_later
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["symbol"] == "300750.SZ")
        .unwrap();
    assert_eq!(bought_later["history"]["holding_days"], 3);
    assert_eq!(bought_later["available_qty"], 200);
    assert_eq!(later(&["account", "--json"])["today"]["fees"].to_string(), "0");
    let sold_out = later(&["positions", "--history", "--json"]);
    let sold_out = sold_out.as_array().unwrap().last().unwrap();
    assert_eq!(
        (&sold_out["symbol"], &sold_out["quantity"]),
        (&json!("600519.SH"), &json!(0))
    );
    // The journal alone knows the shares that it bought, and says what it does not know.
    let out = desk.run(&["positions", "--from", "journal", "--json"]);
    let own: Value = serde_json::from_str(&text(&out)).unwrap();
    let quantities: Vec<_> = own
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["symbol"].as_str().unwrap(),
                row["quantity"].as_i64().unwrap(),
                row["available_qty"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(quantities, [("000858.SZ", 100, 0), ("300750.SZ", 200, 0)]);
    assert!(said(&out).contains("what was held before"), "{}", said(&out));
}

#[test]
fn odd_holdings_are_right_and_chinese_names_align() {
    let backend = Backend::start();
    let positions = json!([
        { "symbol": "000001.SZ", "name": "平安银行", "quantity": 100, "avg_cost": 0, "last_price": 10 },
        { "symbol": "000002.SZ", "name": "万科A", "quantity": 100, "avg_cost": -3.5, "last_price": 10 },
        { "symbol": "000858.SZ", "name": "五粮液", "quantity": 100, "avg_cost": 42.5 },
        { "symbol": "002050.SZ", "quantity": 100, "avg_cost": 38, "previous_close": 37 },
        { "symbol": "600519.SH", "name": "贵州茅台", "quantity": 0, "avg_cost": 1850, "last_price": 1920 },
    ]);
    let desk = Desk::new(&backend, &json!({ "simulated": { "positions": positions } }));
    let file = desk.path("odd.json");
    let rows: Value = positions
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let mut row = row.clone();
            if let Some(price) = row.get("last_price").cloned() {
                row["current_price"] = price;
            }
            row
        })
        .collect();
    std::fs::write(&file, rows.to_string()).unwrap();
    let from_broker = shown(&desk, &["positions"]);
    let from_file = text(&from_file(&desk.path("other"), &file, &["positions"]));
    let row = |printed: &str, symbol: &str| {
        let line = printed.lines().find(|line| line.starts_with(symbol));
        line.unwrap_or_default()
            .split_whitespace()
            .skip(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    for printed in [&from_broker, &from_file] {
        assert_eq!(
            row(printed, "000001.SZ"),
            "100 100 ¥0.00 ¥10.00 ¥1,000.00 ¥1,000.00 n/a"
        );
        assert_eq!(
            row(printed, "000002.SZ"),
            "100 100 ¥-3.50 ¥10.00 ¥1,000.00 ¥1,350.00 n/a"
        );
        assert_eq!(
            row(printed, "000858.SZ"),
            "100 100 ¥42.50 ¥42.50* ¥4,250.00 ¥0.00 +0.00%"
        );
        assert_eq!(
            row(printed, "002050.SZ"),
            "100 ¥38.00 ¥37.00~ ¥3,700.00 ¥-100.00 -2.63%"
        );
        assert!(
            printed.contains("* no price known: valued at cost\n"),
            "{printed}"
        );
        let widths: Vec<_> = printed
            .lines()
            .filter(|line| line.starts_with(['0', '6']))
            .map(|line| line.trim_end_matches(['*', '~']).width())
            .collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{printed}");
        assert!(printed.contains("000858.SZ 五粮液"), "{printed}");
    }
    assert_eq!(
        row(&from_file, "600519.SH"),
        "0 0 ¥1850.00 ¥1920.00 ¥0.00 ¥0.00 n/a"
    );
    let plain = shown(&desk, &["positions", "--no-names"]);
    assert!(!plain.contains('五'), "{plain}");
}

#[test]
fn fifty_thousand_positions_are_summed_to_the_last_digit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.json");
    let rows: Vec<String> = (0..50_000)
        .map(|n| {
            format!(
                r#"{{"symbol":"{n:06}.SZ","quantity":{},"avg_cost":10.001,"current_price":10.003}}"#,
                100 + n % 7
            )
        })
        .collect();
    std::fs::write(&file, format!("[{}]", rows.join(","))).unwrap();
    // Quantities 100 to 106 in turns, the last turn cut short after 6 of 7.
    let shares: u64 = (0..50_000).map(|n| 100 + n % 7).sum();
    let fraction = |mils: u64| format!("{}.{:03}", mils / 1000, mils % 1000);
    let plain = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    let summary: Value =
        serde_json::from_str(&text(&from_file(folder.path(), &file, &["summary", "--json"]))).unwrap();
    assert_eq!(summary["total_positions"], 50_000);
    assert_eq!(
        summary["total_value"].to_string(),
        plain(fraction(shares * 10_003))
    );
    assert_eq!(
        summary["total_cost"].to_string(),
        plain(fraction(shares * 10_001))
    );
    assert_eq!(summary["total_pnl"].to_string(), plain(fraction(shares * 2)));
    for command in [&["positions"][..], &["risk"]] {
        let printed = text(&from_file(folder.path(), &file, command));
        let rows = printed.lines().filter(|line| line.contains(".SZ")).count();
        assert_eq!(rows, 50_000, "{command:?}");
    }
}

#[test]
fn a_file_names_its_account_only_masked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("book.json");
    let book = json!({
        "as_of": "2025-12-23T11:45:00", "positions": [],
        "account": { "account_id": "8881234567", "total_asset": 100, "cash": "99.5", "available_cash": 90,
                     "frozen_cash": 9.5, "market_value": 0.5 },
    });
    std::fs::write(&file, book.to_string()).unwrap();
    let printed = text(&from_file(folder.path(), &file, &["account"]));
    assert!(
        printed.contains("ACCOUNT ******4567\n") && !printed.contains("888123"),
        "{printed}"
    );
    assert!(
        printed.contains("As Of:            2025-12-23T11:45:00\n"),
        "{printed}"
    );
    assert!(printed.contains("Today's P&L:      n/a"), "{printed}");
}

/// What a command prints on a terminal.
fn on_terminal(desk: &Desk, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let leader = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&leader).unwrap();
    unlockpt(&leader).unwrap();
    let name = ptsname(&leader, Vec::new()).unwrap();
    let follower = std::fs::File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut child = Command::new(qt_host())
        .args(arguments)
        .arg("--config")
        .arg(desk.config())
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(follower.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut from = std::fs::File::from(leader);
    let reader = std::thread::spawn(move || {
        let (mut all, mut piece) = (Vec::new(), [0u8; 4096]);
        // A terminal whose other end is gone reads as an error, which is its end.
        while let Ok(count @ 1..) = from.read(&mut piece) {
            all.extend_from_slice(&piece[..count]);
        }
        String::from_utf8(all).unwrap()
    });
    assert!(child.wait().unwrap().success());
    drop(follower);
    reader.join().unwrap()
}

#[test]
fn red_is_up_on_a_terminal_the_reverse_where_that_is_wished_and_nothing_elsewhere() {
    const RED: &str = "\u{1b}[31m";
    const GREEN: &str = "\u{1b}[32m";
    let backend = Backend::start();
    let desk = example_desk(&backend);
    let gain = |colour: &str| format!("{colour}¥700.00\u{1b}[0m");
    let loss = |colour: &str| format!("{colour}¥-250.00\u{1b}[0m");
    let cn = on_terminal(&desk, &["positions"], &[]);
    assert!(cn.contains(&gain(RED)) && cn.contains(&loss(GREEN)), "{cn}");
    let western = on_terminal(&desk, &["positions", "--colors", "western"], &[]);
    assert!(
        western.contains(&gain(GREEN)) && western.contains(&loss(RED)),
        "{western}"
    );
    for (arguments, variables) in [
        (&["positions"][..], &[("NO_COLOR", "1")][..]),
        (&["positions"], &[("TERM", "dumb")]),
        (&["positions", "--colors", "none"], &[]),
    ] {
        let plain = on_terminal(&desk, arguments, variables);
        assert!(!plain.contains('\u{1b}') && plain.contains("¥700.00"), "{plain}");
    }
    assert!(!shown(&desk, &["positions", "--colors", "western"]).contains('\u{1b}'));
    desk.configure(
        &backend,
        &json!({ "simulated": { "positions": example() }, "display": { "colors": "western" } }),
    );
    let configured = on_terminal(&desk, &["positions"], &[]);
    assert!(configured.contains(&gain(GREEN)), "{configured}");
    let back = on_terminal(&desk, &["positions", "--colors", "cn"], &[]);
    assert!(back.contains(&gain(RED)), "{back}");
}

#[test]
fn the_backend_sees_the_book_and_a_failing_broker_never_cleans_it_up() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "simulated": { "positions": example(), "fault_snapshot_fails": { "every": 3 } },
                 "execution": { "position_sync_interval_seconds": 0.1, "heartbeat_interval_seconds": 0.1 } }),
    );
    let host = desk.host("");
    let symbols = json!(["000858.SZ", "002050.SZ", "600519.SH"]);
    // Every clean-up stands long enough to be seen here, and each has to name all that is held.
    let count = |name: &str| {
        let syncs = backend.state()["syncs"].clone();
        let cleaned = &syncs["positions/cleanup"]["last"];
        assert!(
            cleaned.is_null() || cleaned["current_symbols"] == symbols,
            "{syncs}"
        );
        syncs[name]["count"].as_u64().unwrap_or(0)
    };
    let failures = || desk.log().matches("positions are not synced").count();
    wait_until("the broker has failed in between", || {
        count("positions/cleanup") >= 2 && failures() >= 2
    });
    let (done, failed) = (count("positions/cleanup"), failures());
    wait_until("the sync goes on and fails again", || {
        count("positions/cleanup") >= done + 2 && failures() > failed
    });
    wait_until("the host lives", || count("heartbeat") >= 2);
    assert_eq!(host.stop(), Some(0));
    let syncs = backend.state()["syncs"].clone();
    assert_eq!(syncs["positions/cleanup"]["last"]["current_symbols"], symbols);
    let rows = syncs["positions/sync"]["last"]["positions"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["quantity"], 1000);
    assert_eq!(
        syncs["account/sync"]["last"]["account_data"]["account_id"],
        "SIMULATED"
    );
    assert_eq!(
        syncs["positions/snapshot"]["last"]["snapshot"]["total_value"].to_string(),
        "253950"
    );
    // A clean-up only ever follows a complete list that was taken; the last round may have been cut off.
    let (shown, cleaned) = (
        syncs["positions/sync"]["count"].as_u64(),
        syncs["positions/cleanup"]["count"].as_u64(),
    );
    assert!(shown.unwrap() - cleaned.unwrap() <= 1, "{syncs}");
    let line = "Portfolio: 3 positions, Value=¥253,950.00, P&L=¥+7,450.00 (+3.02%)";
    assert!(desk.log().contains(line), "{}", desk.log());
}

#[test]
fn what_was_sold_out_is_cleaned_up_at_the_backend_the_same_day() {
    let backend = Backend::start();
    let mut more = traded(1_000_000);
    more["execution"] = json!({ "position_sync_interval_seconds": 0.1 });
    let desk = Desk::new(&backend, &more);
    let host = desk.host("");
    backend.add(&signal("S1", "600519.SH", "SELL", 100, 1910.0));
    wait_until("it is sold", || is_reported(&backend, "S1"));
    wait_until("the backend forgets it", || {
        backend.state()["syncs"]["positions/cleanup"]["last"]["current_symbols"] == json!(["000858.SZ"])
    });
    // The broker still shows it, with no shares, since the day's P&L needs its previous close.
    assert_eq!(asked(&desk, &["positions", "--json"])[1]["quantity"], 0);
    assert_eq!(asked(&desk, &["summary", "--json"])["total_positions"], 1);
    assert_eq!(host.stop(), Some(0));
}
