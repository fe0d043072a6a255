//! Measures the host against the bare cost: the same number of keep-alive round trips by the same
//! HTTP client with no work between. Both run against the same backend in a process of its own,
//! one after the other, and what counts are the ratios. Linux only: it reads `/proc`.
#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    reason = "a benchmark may panic, and its figures are no money"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};

const POSTS_A_SIGNAL: usize = 3;
const AT_ONCE: usize = 16;

struct Backend {
    child: Child,
    base: String,
    token: String,
}

impl Backend {
    fn start(qt_host: &Path) -> Self {
        let mut child = Command::new(qt_host)
            .args(["sandbox", "--listen", "127.0.0.1:0", "--json"])
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| said[key].as_str().unwrap().to_owned();
        Self {
            child,
            base: text("api_base_url"),
            token: text("api_token"),
        }
    }

    fn root(&self) -> &str {
        self.base.trim_end_matches("/api")
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

struct Figures {
    what: String,
    signals: usize,
    seconds: f64,
    cpu_seconds: f64,
    resident_mb: f64,
}

fn signals(count: usize) -> Value {
    let one = |n: usize| {
        json!({ "order_id": format!("S{n:06}"), "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5,
                "status": "pending", "is_executable": true, "mode": "live" })
    };
    Value::Array((0..count).map(one).collect())
}

/// User and system seconds, and resident MB, of a process.
fn usage(pid: u32) -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Ticks of 10 ms, pages of 4 KiB: what Linux has on every machine that this runs on.
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    let pages = fields.get(21)?.parse::<f64>().ok()?;
    Some((ticks / 100.0, pages * 4096.0 / 1e6))
}

/// The bare cost, in a process of its own so that its CPU time is its own.
async fn bare(base: &str, token: &str, count: usize) {
    let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    let body =
        json!({ "status": "submitted", "qmt_order_id": "B1", "submitted_at": 1_766_368_800 }).to_string();
    let posts = futures_util::stream::iter(0..count * POSTS_A_SIGNAL).map(|n| {
        let url = format!("{base}/trader/signals/S{:06}/status", n / POSTS_A_SIGNAL);
        let post = client
            .post(url)
            .bearer_auth(token)
            .header("content-type", "application/json");
        let post = post.header("Idempotency-Key", format!("k{n}")).body(body.clone());
        async move { post.send().await.unwrap().bytes().await.unwrap() }
    });
    posts.buffer_unordered(AT_ONCE).for_each(|_| async {}).await;
}

fn watch(mut child: Child, mut is_done: impl FnMut() -> bool) -> (f64, f64, f64) {
    let began = Instant::now();
    let (mut cpu, mut resident) = (0.0, 0.0_f64);
    let seconds = loop {
        if let Some((cpu_now, resident_now)) = usage(child.id()) {
            cpu = cpu_now;
            resident = resident.max(resident_now);
        }
        if is_done() || child.try_wait().unwrap().is_some() {
            break began.elapsed().as_secs_f64();
        }
        assert!(
            began.elapsed() < Duration::from_secs(300),
            "it does not come to an end"
        );
        std::thread::sleep(Duration::from_millis(5));
    };
    child.kill().ok();
    child.wait().ok();
    (seconds, cpu, resident)
}

async fn measure_host(qt_host: &Path, count: usize, journal: bool) -> Figures {
    let backend = Backend::start(qt_host);
    let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    let add = client
        .post(format!("{}/sandbox/signals", backend.root()))
        .header("content-type", "application/json");
    assert!(
        add.body(signals(count).to_string())
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let text = json!({
        "api_base_url": backend.base, "api_token": backend.token, "broker": "simulated", "data_dir": folder.path(),
        "log_level": "WARNING", "journal": { "enabled": journal },
        "execution": { "position_sync_interval_seconds": 0, "heartbeat_interval_seconds": 0 },
        "simulated": { "cash": 100_000_000_000_i64,
                       "positions": [{ "symbol": "000858.SZ", "quantity": 100, "avg_cost": 40, "last_price": 43.2 }] },
    });
    std::fs::write(&config, text.to_string()).unwrap();
    let child = Command::new(qt_host)
        .arg("--config")
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let summary = format!("{}/sandbox/summary", backend.root());
    let here = tokio::runtime::Handle::current();
    let figures = tokio::task::spawn_blocking(move || {
        watch(child, || {
            let seen: Value = here.block_on(async {
                let text = client.get(&summary).send().await.unwrap().text().await.unwrap();
                serde_json::from_str(&text).unwrap_or_default()
            });
            seen["counts"]["concluded"].as_u64().unwrap_or(0) >= count as u64
        })
    });
    let (seconds, cpu_seconds, resident_mb) = figures.await.unwrap();
    let what = if journal { "host" } else { "host, journal off" };
    Figures {
        what: what.into(),
        signals: count,
        seconds,
        cpu_seconds,
        resident_mb,
    }
}

async fn measure_bare(qt_host: &Path, count: usize) -> Figures {
    let backend = Backend::start(qt_host);
    let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    let add = client
        .post(format!("{}/sandbox/signals", backend.root()))
        .header("content-type", "application/json");
    assert!(
        add.body(signals(count).to_string())
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let this = std::env::current_exe().unwrap();
    let child = Command::new(this)
        .args(["bare", &backend.base, &backend.token, &count.to_string()])
        .spawn()
        .unwrap();
    let (seconds, cpu_seconds, resident_mb) = tokio::task::spawn_blocking(move || watch(child, || false))
        .await
        .unwrap();
    Figures {
        what: "bare".into(),
        signals: count,
        seconds,
        cpu_seconds,
        resident_mb,
    }
}

#[tokio::main]
async fn main() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, base, token, count] = arguments.as_slice()
        && what == "bare"
    {
        return bare(base, token, count.parse().unwrap()).await;
    }
    let qt_host: PathBuf = std::env::current_exe().unwrap().with_file_name("qt-host");
    println!(
        "{:<20} {:>8} {:>12} {:>14} {:>12}",
        "what", "signals", "signals/s", "CPU s/1,000", "resident MB"
    );
    for count in [1_000, 10_000] {
        let mut rows = vec![measure_bare(&qt_host, count).await];
        rows.push(measure_host(&qt_host, count, true).await);
        rows.push(measure_host(&qt_host, count, false).await);
        for row in &rows {
            let rate = row.signals as f64 / row.seconds;
            let cpu = row.cpu_seconds * 1e3 / row.signals as f64;
            println!(
                "{:<20} {:>8} {rate:>12.0} {cpu:>14.3} {:>12.1}",
                row.what, row.signals, row.resident_mb
            );
        }
        let (bare, host) = (&rows[0], &rows[1]);
        println!(
            "{:<20} {:>8} {:>11.2}x {:>13.2}x",
            "host / bare",
            count,
            bare.seconds / host.seconds,
            host.cpu_seconds / bare.cpu_seconds
        );
    }
}
