//! `--metrics`: figures that agree with what happened, health that agrees with how it is.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use qt_test_support::{Backend, Desk, get, purchase as signal, to_ten_in_shanghai_ms, wait_until};
use serde_json::{Value, json};

use super::scrape::Scrape;

fn same(found: f64, expected: u32) -> bool {
    found == f64::from(expected)
}

/// `promtool`, where it is installed; the gate installs it.
pub fn promtool(arguments: &[&str], folder: &Path, input: &str) -> Option<String> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder);
    let spawned = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        assert!(
            std::env::var_os("QT_PROMTOOL_NEEDED").is_none(),
            "promtool is missing"
        );
        eprintln!("SKIPPED: promtool is not installed (Debian has it in the package `prometheus`)");
        return None;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(out.status.success(), "promtool {arguments:?}: {said}");
    Some(said)
}

#[test]
fn a_scrape_agrees_with_what_happened() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "metrics": "127.0.0.1:0", "securities_account_id": "SA-1", "gates": { "max_order_value": 10_000 },
                 "execution": { "position_sync_interval_seconds": 1 } }),
    );
    backend.fault(&json!({ "mode": "refuse", "path": "executions", "requests": 1 }));
    backend.add(&json!([
        signal("S1", &json!({})),
        signal("S2", &json!({})),
        signal("S3", &json!({ "size": 1000 })),
        signal("S4", &json!({ "activate_after": 4_000_000_000_u64 })),
    ]));
    backend.add_raw(&json!([signal(
        "S5",
        &json!({ "size": -1, "status": "pending", "is_executable": true, "mode": "live" })
    )]));
    let host = desk.trading();
    let address = desk.metrics_address();
    wait_until(&format!("everything is told: {}", desk.log()), || {
        let scrape = Scrape::of(&address);
        same(scrape.sum("qt_posts_total", &["outcome=\"delivered\""]), 8)
            && same(scrape.sum("qt_orders", &["state=\"DEFERRED\""]), 1)
            && !scrape
                .values("qt_position_shares", &["symbol=\"000858.SZ\""])
                .is_empty()
    });
    let scrape = Scrape::of(&address);
    let all = &scrape.0;
    for (name, labels, expected) in [
        ("qt_signals_total", &["outcome=\"taken\""][..], 4),
        ("qt_signals_total", &["outcome=\"invalid\""], 1),
        ("qt_orders_ended_total", &["state=\"FILLED\""], 2),
        ("qt_orders_ended_total", &["state=\"DENIED\""], 1),
        (
            "qt_gate_refusals_total",
            &["outcome=\"denied\"", "code=\"ORDER_VALUE\""],
            1,
        ),
        (
            "qt_gate_refusals_total",
            &["outcome=\"deferred\"", "code=\"ACTIVATE_AFTER\""],
            1,
        ),
        ("qt_fills_total", &[], 2),
        ("qt_posts_total", &["outcome=\"dead\""], 1),
        ("qt_broker_call_seconds_count", &["call=\"place\""], 2),
        ("qt_outbox_depth", &[], 0),
        ("qt_account_state", &["state=\"connected\""], 1),
        ("qt_account_state", &["state=\"halted\""], 0),
        ("qt_orders", &["state=\"UNKNOWN\""], 0),
        ("qt_orders", &["state=\"REVIEW\""], 0),
        (
            "qt_plugin_info",
            &["plugin=\"simulated\"", "state=\"connected\""],
            1,
        ),
        ("qt_position_shares", &["symbol=\"000858.SZ\""], 100_200),
    ] {
        assert!(
            same(scrape.sum(name, labels), expected),
            "{name} {labels:?} is not {expected}:\n{all}"
        );
    }
    for name in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_threads",
        "process_cpu_seconds_total",
        "qt_journal_bytes",
        "qt_disk_free_bytes",
    ] {
        assert!(scrape.sum(name, &[]) > 0.0, "{name}:\n{all}");
    }
    // The host's clock stood at ten o'clock when the desk was made.
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ms = i64::try_from(since_1970.unwrap().as_millis()).unwrap();
    let ten = Duration::from_millis((now_ms + to_ten_in_shanghai_ms()).unsigned_abs());
    let after = scrape.sum("process_start_time_seconds", &[]) - ten.as_secs_f64();
    assert!((0.0..300.0).contains(&after), "it started {after} s after ten");
    assert!(
        scrape.sum(
            "qt_backend_call_seconds_count",
            &["call=\"status\"", "outcome=\"done\""]
        ) > 0.0,
        "{all}"
    );
    assert!(
        !scrape
            .values("qt_account_yuan", &["what=\"total_asset\""])
            .is_empty(),
        "{all}"
    );
    assert!(
        all.contains("account=\"SA-1\"") && !all.contains("account=\"\""),
        "{all}"
    );
    promtool(&["check", "metrics"], &desk.path(""), all);
    every_series_of_the_examples_exists(all);
    assert_eq!(host.stop(), Some(0));
}

/// What the dashboard and the rules ask for is there under that name, or the example shows nothing for ever.
fn every_series_of_the_examples_exists(scrape: &str) {
    let mut asked = 0;
    for file in ["alerts.yml", "grafana.json"] {
        let text = std::fs::read_to_string(monitoring().join(file)).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.starts_with("qt_") || word.starts_with("process_")) {
            let family = format!("# TYPE {} ", word.trim_end_matches("_bucket"));
            assert!(scrape.contains(&family), "{file}: no {word}");
            asked += 1;
        }
    }
    assert!(asked > 30, "{asked}");
}

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/monitoring")
}

#[test]
fn each_account_has_its_own_figures() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "metrics": "127.0.0.1:0" }));
    let two = json!({
        "api_base_url": backend.base_url, "api_token": backend.token, "data_dir": desk.path("data"), "metrics": "127.0.0.1:0",
        "accounts": [
            { "securities_account_id": "SA-1", "broker": "simulated", "simulated": { "ledger": desk.path("one") } },
            { "securities_account_id": "SA-2", "broker": "simulated", "simulated": { "ledger": desk.path("two") } },
        ],
    });
    std::fs::write(desk.config(), two.to_string()).unwrap();
    let host = desk.trading();
    let address = desk.metrics_address();
    wait_until("both accounts are shown", || {
        let scrape = Scrape::of(&address);
        ["account=\"SA-1\"", "account=\"SA-2\""]
            .iter()
            .all(|account| same(scrape.sum("qt_account_state", &[account, "state=\"ready\""]), 1))
    });
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn health_says_how_it_is_and_why() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "metrics": "127.0.0.1:0" }));
    let host = desk.trading();
    let address = desk.metrics_address();
    let ask = |path| {
        let (status, body) = get(&address, path);
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    wait_until("it is ready", || ask("/readyz").0 == 200);
    assert_eq!(ask("/readyz").1, json!({ "status": "ready", "reasons": [] }));
    assert_eq!(ask("/healthz"), (200, json!({ "status": "ok", "reasons": [] })));
    assert_eq!(get(&address, "/else").0, 404);

    desk.done(&["halt", "--reason", "for a look"]);
    wait_until("the halt shows", || ask("/readyz").0 == 503);
    let reasons = ask("/readyz").1["reasons"].to_string();
    assert!(reasons.contains("trading is halted: for a look"), "{reasons}");
    // A halt is a person's wish: no restart would help.
    assert_eq!(ask("/healthz").0, 200);
    desk.done(&["resume"]);
    wait_until("it is ready again", || ask("/readyz").0 == 200);

    backend.fault(&json!({ "mode": "http500", "path": "trader/signals" }));
    wait_until("the backend's trouble shows", || ask("/readyz").0 == 503);
    assert!(ask("/readyz").1["reasons"].to_string().contains("500"));
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn an_address_that_is_taken_or_is_none_stops_the_start_before_anything_is_done() {
    // One that is taken may be free a moment later, as in a restart: the system's keeper is to try again after a 1.
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = desk.fails(1, &["--metrics", &address]);
    assert!(
        said.contains(&format!("cannot listen on {address} for metrics")),
        "{said}"
    );
    assert!(!desk.path("data/journal.db").exists());
    let said = desk.fails(2, &["--metrics", "example.com:80"]);
    assert!(
        said.contains("--metrics") && said.contains("127.0.0.1:9464"),
        "{said}"
    );
    let said = desk.fails(2, &["orders", "--metrics", "9464"]);
    assert!(said.contains("--metrics"), "{said}");
}

#[test]
fn the_log_can_be_read_by_programs() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    backend.add(&signal("S1", &json!({})));
    desk.done(&["--once", "--log-format", "json"]);
    let log = std::fs::read_to_string(desk.path("data/logs/quantTrader.log")).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() > 5, "{log}");
    for line in &lines {
        for key in ["time", "level", "target", "message"] {
            assert!(line[key].is_string(), "{key}: {line}");
        }
    }
    let fetched = lines
        .iter()
        .find(|line| line["message"] == "Fetched 1 pending signals");
    assert_eq!(fetched.unwrap()["target"], "quant_trader.trader_loop");
    let said = desk.fails(2, &["--once", "--log-format", "xml"]);
    assert!(said.contains("expected one of text, json"), "{said}");
}

#[test]
fn the_rules_and_the_dashboard_are_what_prometheus_understands() {
    let folder = monitoring();
    promtool(&["check", "rules", "alerts.yml"], &folder, "");
    promtool(&["test", "rules", "alerts-test.yml"], &folder, "");
    promtool(&["check", "config", "prometheus.yml"], &folder, "");
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("grafana.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 15, "{}", panels.len());
    // Each expression as a rule, so that the same program reads it.
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let rules: Vec<Value> = targets
        .enumerate()
        .map(|(number, target)| {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression
                .replace("$__rate_interval", "5m")
                .replace("$account", ".*");
            json!({ "record": format!("panel:{number}"), "expr": expression })
        })
        .collect();
    let asked = tempfile::tempdir().unwrap();
    let file = json!({ "groups": [{ "name": "panels", "rules": rules }] });
    // JSON is YAML too.
    std::fs::write(asked.path().join("panels.yml"), file.to_string()).unwrap();
    if let Some(said) = promtool(&["check", "rules", "panels.yml"], asked.path(), "") {
        assert!(said.contains(&format!("{} rules found", rules.len())), "{said}");
    }
}
