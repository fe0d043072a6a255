//! What people see of their holdings, with the real binary, the real plugin and, where it matters, a running host.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod figures;
mod live;
mod odd;
mod profit;
#[cfg(unix)]
mod terminal;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use qt_test_support::{Backend, Desk, qt_host};
use serde_json::{Value, json};

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

/// 1000 of 000858.SZ bought before, 100 of 600519.SH sold out, 200 of 300750.SZ bought.
fn traded(cash: u32) -> Value {
    let positions = json!([
        { "symbol": "000858.SZ", "quantity": 1000, "avg_cost": 42.5, "last_price": 43.2, "previous_close": 43 },
        { "symbol": "600519.SH", "quantity": 100, "avg_cost": 1850, "last_price": 1920, "previous_close": 1900 },
    ]);
    json!({ "simulated": { "cash": cash, "positions": positions, "prices": { "300750.SZ": 200 } } })
}
