//! The export as users take it: through the real binary, and read back by the libraries they use.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};

use qt_test_support::{Backend, Desk, python, qt_host, wait_until};
use serde_json::{Value, json};

fn example_desk(backend: &Backend) -> Desk {
    Desk::new(
        backend,
        &json!({ "simulated": { "positions": [
            { "symbol": "000858.SZ", "quantity": 1000, "avg_cost": 42.50, "last_price": 43.20 },
            { "symbol": "002050.SZ", "quantity": 500, "avg_cost": 38.00, "last_price": 37.50 },
            { "symbol": "600519.SH", "quantity": 100, "avg_cost": 1850, "last_price": 1920 },
        ] } }),
    )
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn ok(out: &Output) -> String {
    assert!(out.status.success(), "{}", said(out));
    String::from_utf8(out.stdout.clone()).unwrap()
}

fn export(desk: &Desk, name: &str, more: &[&str]) -> Output {
    let path = desk.path("").join(name);
    let mut arguments = vec!["export", path.to_str().unwrap()];
    arguments.extend(more);
    desk.run(&arguments)
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A digit more or less in any of these would be another figure.
const READ_BACK: &str = r#"
import decimal, json, sys
import polars as pl
import pyarrow.parquet as pq

D = decimal.Decimal
one, folder = sys.argv[1:]
table = pq.read_table(one)
types = {f.name: (str(f.type), f.nullable) for f in table.schema}
for name in ("avg_cost", "market_value", "unrealized_pnl", "unrealized_pnl_pct", "concentration_pct"):
    assert types[name][0] == "decimal128(38, 10)", (name, types[name])
assert types["quantity"] == ("int64", False), types["quantity"]
assert types["symbol"] == ("string", False), types["symbol"]
assert types["name"] == ("string", True), types["name"]
assert types["first_buy"] == ("timestamp[ms, tz=UTC]", True), types["first_buy"]
rows = {row["symbol"]: row for row in table.to_pylist()}
assert list(rows) == ["000858.SZ", "002050.SZ", "600519.SH"], list(rows)
assert rows["000858.SZ"]["unrealized_pnl"] == D(700), rows
assert rows["000858.SZ"]["unrealized_pnl_pct"] == D("1.6470588235"), rows
assert rows["002050.SZ"]["unrealized_pnl"] == D(-250), rows
assert rows["600519.SH"]["market_value"] == D(192000), rows
assert [row["risk_score"] for row in rows.values()] == [0, 40, 30], rows
facts = {k.decode(): v.decode() for k, v in pq.read_metadata(one).metadata.items()}
assert facts["quanttrader.schema_version"] == "1", facts
assert json.loads(facts["quanttrader.units"])["avg_cost"] == "CNY/share", facts
said = json.loads(facts["quanttrader.schema"])["tables"]["positions"]["columns"]
assert [column["name"] for column in said] == table.schema.names

frame = pl.read_parquet(one)
assert frame.schema["avg_cost"] == pl.Decimal(38, 10), frame.schema
assert frame.schema["first_buy"] == pl.Datetime("ms", "UTC"), frame.schema
assert frame["unrealized_pnl"].to_list() == [D(700), D(-250), D(7000)], frame

described = json.load(open(folder + "/schema.json"))
for name, what in described["tables"].items():
    inner = pl.read_parquet(f"{folder}/{name}.parquet")
    assert inner.columns == [column["name"] for column in what["columns"]], name
account = pl.read_parquet(folder + "/account.parquet")
assert account["cash"].to_list() == [D(10_000_000)], account
equity = pl.read_parquet(folder + "/equity.parquet")
assert equity.schema["day"] == pl.Date, equity.schema
print("as it should be")
"#;

#[test]
fn parquet_is_read_back_by_pyarrow_and_polars_with_types_and_exact_decimals() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: pyarrow and polars cannot be had here, and CI is not set: {reason}");
            return;
        }
        Err(reason) => panic!("pyarrow and polars cannot be had: {reason}"),
    };
    let backend = Backend::start();
    let desk = example_desk(&backend);
    ok(&export(&desk, "book.parquet", &[]));
    ok(&export(&desk, "all.parquet/", &[]));
    let out = Command::new(python)
        .args(["-c", READ_BACK])
        .arg(desk.path("book.parquet"))
        .arg(desk.path("all.parquet"))
        .output()
        .unwrap();
    assert_eq!(ok(&out).trim(), "as it should be");
}

#[test]
fn an_export_is_a_source_again_and_gives_the_same_figures() {
    let backend = Backend::start();
    let desk = example_desk(&backend);
    ok(&export(&desk, "one.json", &[]));
    let file = desk.path("one.json");
    let from = ["--from", file.to_str().unwrap()];
    ok(&export(&desk, "two.json", &from));
    ok(&export(&desk, "one.csv", &from));
    let folder = desk.path("one.csv");
    ok(&export(
        &desk,
        "three.json",
        &["--from", folder.to_str().unwrap()],
    ));
    let first = read(&file);
    assert_eq!(first["account"]["cash"].to_string(), "10000000");
    for name in ["two.json", "three.json"] {
        let again = read(&desk.path(name));
        for key in ["risk", "account", "units"] {
            assert_eq!(again[key], first[key], "{name}: {key}");
        }
        assert_eq!(again["as_of"], first["as_of"], "{name}");
        for figure in ["total_value", "total_pnl", "total_pnl_pct", "total_positions"] {
            assert_eq!(
                again["summary"][figure], first["summary"][figure],
                "{name}: {figure}"
            );
        }
        let count = first["positions"].as_array().unwrap().len();
        for place in 0..count {
            for figure in [
                "symbol",
                "name",
                "quantity",
                "available_qty",
                "avg_cost",
                "unrealized_pnl",
                "price_source",
            ] {
                let (one, two) = (
                    &first["positions"][place][figure],
                    &again["positions"][place][figure],
                );
                assert_eq!(one, two, "{name}: {place} {figure}");
            }
        }
    }
}

#[test]
fn orders_fills_and_the_days_snapshot_of_a_running_host_are_in_it() {
    let backend = Backend::start();
    let desk = example_desk(&backend);
    let host = desk.host("");
    backend.add(
        &json!({ "order_id": "S1", "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5,
                         "status": "pending", "is_executable": true, "mode": "live" }),
    );
    wait_until("S1 is reported", || {
        backend.state()["signals"]["S1"]["posts"]
            .as_array()
            .map_or(0, Vec::len)
            == 3
    });
    wait_until("the snapshot is kept", || desk.path("data/equity.db").is_file());
    assert_eq!(host.stop(), Some(0));
    ok(&export(&desk, "book.json", &[]));
    let book = read(&desk.path("book.json"));
    assert_eq!(book["orders"][0]["signal"], "S1");
    assert_eq!(book["orders"][0]["state"], "FILLED");
    assert_eq!(book["fills"][0]["size"], 100);
    assert_eq!(book["fills"][0]["order"], book["orders"][0]["order"]);
    assert_eq!(book["positions"][0]["trades"], 1);
    let day = (book["as_of_ms"].as_i64().unwrap() + 8 * 3_600_000) / 86_400_000 % 7;
    // Days 2 and 3 after a Thursday are Saturday and Sunday, on which nothing is kept.
    if day != 2 && day != 3 {
        let days = book["equity"].as_array().unwrap();
        assert_eq!(days.len(), 1, "{book}");
        assert_eq!(days[0]["drawdown_pct"].to_string(), "0");
        assert_eq!(days[0]["positions"], 3);
    }
    ok(&export(&desk, "fills.csv", &["--table", "fills"]));
    let fills = std::fs::read_to_string(desk.path("fills.csv")).unwrap();
    assert!(
        fills.starts_with("fill,order,signal,symbol,side,size,price,"),
        "{fills}"
    );
    assert_eq!(fills.lines().count(), 2, "{fills}");
}

#[test]
fn what_cannot_be_written_is_told_and_nothing_is_left() {
    let backend = Backend::start();
    let desk = example_desk(&backend);
    let refused = |out: Output, code: i32, part: &str| {
        assert_eq!(out.status.code(), Some(code), "{}", said(&out));
        assert!(said(&out).contains(part), "{}", said(&out));
    };
    ok(&export(&desk, "book.svg", &[]));
    refused(export(&desk, "book.svg", &[]), 1, "--force");
    ok(&export(&desk, "book.svg", &["--force"]));
    refused(export(&desk, "book.xlsx", &[]), 2, "expected .json, .csv");
    refused(export(&desk, "nowhere/book.json", &[]), 1, "make it first");
    refused(
        export(&desk, "book.csv", &["--table", "trades"]),
        2,
        "expected one of positions",
    );
    refused(
        export(&desk, "book.json", &["--from", "backend"]),
        2,
        "--from broker",
    );
    refused(desk.run(&["export"]), 2, "FILE");
    ok(&export(&desk, "whole.json", &[]));
    // A disk that is full: the shell limits how large a file may become, in blocks of 512 bytes.
    let script = format!(
        "trap '' XFSZ; ulimit -f 1; exec '{}' export '{}' --from '{}'",
        qt_host().display(),
        desk.path("full.json").display(),
        desk.path("whole.json").display()
    );
    let out = Command::new("sh").args(["-c", &script]).output().unwrap();
    refused(out, 1, "full.json cannot be written");
    let left: Vec<_> = std::fs::read_dir(desk.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.') || name.starts_with("full"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_account_without_holdings_is_exported_too() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "simulated": { "positions": [] } }));
    for name in ["book.json", "book.csv", "book.parquet", "book.svg"] {
        ok(&export(&desk, name, &[]));
    }
    let book = read(&desk.path("book.json"));
    assert_eq!(book["positions"], json!([]));
    assert_eq!(book["summary"]["total_positions"], 0);
    assert_eq!(book["account"]["total_asset"].to_string(), "10000000");
}

#[test]
fn the_chart_is_drawn_in_the_terminal_and_as_a_picture() {
    let backend = Backend::start();
    let desk = example_desk(&backend);
    let shown = ok(&desk.run(&["summary", "--chart"]));
    for part in [
        "PORTFOLIO SUMMARY",
        "ALLOCATION",
        "P&L BY POSITION",
        "75.61%",
        "█",
        "EQUITY",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    let file = desk.path("book.svg");
    let shown = ok(&desk.run(&["summary", "--chart", file.to_str().unwrap()]));
    assert!(!shown.contains("ALLOCATION"), "{shown}");
    let picture = std::fs::read_to_string(&file).unwrap();
    for part in ["Allocation", "¥192,000.00", "¥+7,000.00", "¥-250.00"] {
        assert!(picture.contains(part), "{part}");
    }
    let out = desk.run(&["summary", "--chart", "book.png"]);
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
}
