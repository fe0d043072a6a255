//! The same year through the real program: `qt-host paper`, with its gates and its ledger, as a user starts it.

use std::io::{BufWriter, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::replay::Year;

const MOST: Duration = Duration::from_secs(60);

/// Each symbol is bought on one day and sold on the next, at the price of ten o'clock.
fn wish(number: usize, is_sale: bool, symbol: &str, day: &str, price: &str) -> String {
    let side = if is_sale { "SELL" } else { "BUY" };
    format!(
        "{{\"order_id\":\"N{number}\",\"symbol\":\"{symbol}\",\"action\":\"{side}\",\"size\":100,\"price\":{price},\
         \"created_at\":\"{day}T10:00:30+08:00\"}}\n"
    )
}

/// Writes quotes and signals; how many of each there are, and the quotes' bytes.
fn write_files(folder: &std::path::Path) -> (u64, usize, u64) {
    let mut quotes =
        BufWriter::with_capacity(1 << 20, std::fs::File::create(folder.join("quotes.csv")).unwrap());
    let (mut signals, mut bars, mut wishes, mut bytes, mut days) = (String::new(), 0, 0, 0, 0);
    let mut year = Year::new();
    loop {
        let text = year.text();
        quotes.write_all(text.as_bytes()).unwrap();
        bytes += text.len() as u64;
        bars += text.lines().filter(|line| line.starts_with('2')).count() as u64;
        for line in text.lines().filter(|line| line.get(11..19) == Some("10:00:00")) {
            let cells: Vec<&str> = line.split(',').collect();
            wishes += 1;
            signals += &wish(wishes, days % 2 == 0, cells[1], &line[..10], cells[5]);
        }
        days += 1;
        if !year.next_day() {
            break;
        }
    }
    quotes.flush().unwrap();
    let path = folder.join("signals.jsonl");
    std::fs::write(&path, signals).unwrap();
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    (bars, wishes, bytes)
}

pub(crate) fn measure_all() -> bool {
    let folder = tempfile::tempdir().unwrap();
    eprintln!("  program: the files are being made");
    let (bars, wishes, bytes) = write_files(folder.path());
    let began = Instant::now();
    // What it says of its progress goes where ours does.
    let out = Command::new(qt_test_support::qt_host())
        .args([
            "paper",
            "--signals",
            "signals.jsonl",
            "--quotes",
            "quotes.csv",
            "--cash",
            "1000000000",
        ])
        .args(["--ledger", "ledger.jsonl", "--json"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let took = began.elapsed();
    assert!(out.status.success(), "qt-host paper ended with {}", out.status);
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let ledger = std::fs::metadata(folder.path().join("ledger.jsonl"))
        .unwrap()
        .len();
    println!(
        "Program: `qt-host paper` with the same year of a file of {:.2} GB, {wishes} signals, {} fills, a ledger of {:.0} MB:\n",
        bytes as f64 / 1e9,
        report["fills"],
        ledger as f64 / 1e6
    );
    println!("  bars            {bars:>12}");
    println!(
        "  seconds         {:>12.1}   of {} at most",
        took.as_secs_f64(),
        MOST.as_secs()
    );
    println!("  bars a second   {:>12.0}", bars as f64 / took.as_secs_f64());
    took < MOST
}
