//! A configuration in the form of its file, for people to look at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::{Map, Number, Value, json};

use super::walk::seconds_text;
use super::{Colors, Config};

const MASK: &str = "***";

/// Words in the name of a plugin's option whose value nobody should see.
const SECRET_WORDS: [&str; 9] = [
    "account",
    "credential",
    "key",
    "passphrase",
    "passwd",
    "password",
    "pwd",
    "secret",
    "token",
];

/// Keys of the top level that no account has for itself.
const FOR_ALL: [&str; 19] = [
    "api_base_url",
    "api_token",
    "passphrase_file",
    "ca_certificate",
    "allow_insecure_http",
    "http",
    "poll_interval",
    "log_level",
    "plugins",
    "plugin_dirs",
    "journal",
    "display",
    "accounts",
    "metrics",
    "log_format",
    "alerts",
    "signals_stream",
    "backend",
    "nats",
];

/// Every key with its value in force; secrets and account numbers masked.
pub fn shown(config: &Config) -> Value {
    let mut top = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            top.insert(key.to_owned(), value);
        }
    };
    put(
        "api_base_url",
        config
            .api_base_url
            .as_ref()
            .map_or(Value::Null, |url| json!(url.as_str())),
    );
    put(
        "api_token",
        config
            .api_token
            .as_ref()
            .map_or(Value::Null, |token| json!(token.to_string())),
    );
    let path = |path: &Option<PathBuf>| path.as_deref().map_or(Value::Null, shown_path);
    put("passphrase_file", path(&config.passphrase_file));
    put("ca_certificate", path(&config.ca_certificate));
    put("allow_insecure_http", json!(config.allow_insecure_http));
    put(
        "http",
        json!({
            "connect_timeout_seconds": seconds(config.http.connect),
            "read_timeout_seconds": seconds(config.http.read),
            "call_timeout_seconds": seconds(config.http.call),
        }),
    );
    put("poll_interval", seconds(config.poll_interval));
    put("log_level", json!(config.log_level.name()));
    put("log_format", json!(config.log_format.name()));
    put("metrics", json!(config.metrics));
    put("signals_stream", json!(config.signals_stream.name()));
    put(
        "backend",
        json!(if config.nats.is_some() { "nats" } else { "rest" }),
    );
    put("nats", config.nats.as_ref().map_or(Value::Null, nats));
    put("alerts", alerts(&config.alerts));
    put("securities_account_id", json!(config.securities_account_id));
    put("broker", json!(config.broker));
    put("plugins", plugins(config));
    put("plugin_dirs", paths(&config.plugin_dirs));
    put(
        "data_dir",
        config.data_dir().map_or(Value::Null, |path| shown_path(&path)),
    );
    if config.plugin_options.iter().next().is_some() {
        put("plugin_options", plugin_options(config));
    }
    put("execution", execution(config));
    put("gates", config.gates.shown());
    put(
        "journal",
        json!({"retention_days": config.journal.retention_days, "enabled": config.journal.enabled}),
    );
    put(
        "risk",
        json!({
            "concentration_pct": decimal(config.risk.concentration_pct),
            "drawdown_pct": decimal(config.risk.drawdown_pct),
            "unsellable_pct": decimal(config.risk.unsellable_pct),
        }),
    );
    let colors = match config.display.colors {
        Colors::Cn => "cn",
        Colors::Western => "western",
    };
    put("display", json!({ "colors": colors }));
    put("accounts", accounts(config));
    for name in config.plugin_blocks.names() {
        put(name, config.plugin_blocks.get(name).map_or(Value::Null, masked));
    }
    Value::Object(top)
}

/// What is in force for each account of the list, without what is the same for all.
fn accounts(config: &Config) -> Value {
    if config.accounts.is_empty() {
        return json!([]);
    }
    let each = config.each_account().unwrap_or_default();
    each.into_iter()
        .map(|account| {
            let Value::Object(mut whole) = shown(&account) else {
                return Value::Null;
            };
            if let Some(lane) = account.lane {
                whole.insert("lane".to_owned(), json!(lane.name()));
            }
            whole.retain(|key, _| !FOR_ALL.contains(&key.as_str()));
            Value::Object(whole)
        })
        .collect()
}

/// A list where nothing is said of trust, as most files have it.
fn plugins(config: &Config) -> Value {
    let trust = &config.plugin_trust;
    if *trust == super::PluginTrust::default() {
        return paths(&config.plugins);
    }
    let mut block = json!({
        "paths": paths(&config.plugins),
        "trusted_keys": trust.trusted_keys,
        "require_signature": trust.require_signature,
    });
    if let (Some(lock), Some(block)) = (&trust.lock, block.as_object_mut()) {
        block.insert("lock".to_owned(), shown_path(lock));
    }
    block
}

fn plugin_options(config: &Config) -> Value {
    let all = config.plugin_options.iter().map(|(name, options)| {
        let shown = json!({
            "lane": options.lane.map(super::Lane::name),
            "memory_limit_mb": options.memory_limit_mb,
            "kill_after_seconds": seconds(options.kill_after),
            "open_within_seconds": seconds(options.open_within),
            "respawn_after_seconds": seconds(options.respawn_after),
            "respawn_at_most_seconds": seconds(options.respawn_at_most),
        });
        (name.to_owned(), shown)
    });
    Value::Object(all.collect())
}

fn execution(config: &Config) -> Value {
    let execution = &config.execution;
    let gates = &config.gates;
    let mut block = json!({
        "reject_signals_outside_session": gates.reject_outside_session,
        "sell_barrier_mode": format!("{:?}", gates.sell_barrier).to_lowercase(),
        "sell_barrier_timeout_seconds": seconds(gates.sell_barrier_timeout),
        "buy_order_timeout_seconds": seconds(execution.buy_order_timeout),
        "sell_order_timeout_seconds": seconds(execution.sell_order_timeout),
        "cancel_retry_grace_seconds": seconds(execution.cancel_retry_grace),
        "cancel_retry_interval_seconds": seconds(execution.cancel_retry_interval),
        "call_deadline_seconds": seconds(execution.call_deadline),
        "reconcile_interval_seconds": seconds(execution.reconcile_interval),
        "unknown_poll_seconds": seconds(execution.unknown_poll),
        "unknown_settle_seconds": seconds(execution.unknown_settle),
        "position_sync_interval_seconds": seconds(execution.position_sync_interval),
        "heartbeat_interval_seconds": seconds(execution.heartbeat_interval),
        "max_in_flight": execution.max_in_flight,
        "unknown_snapshots": execution.unknown_snapshots,
        "chase_bps": execution.chase_bps,
        "max_slippage_bps": execution.max_slippage_bps,
        "signals_limit": execution.signals_limit,
        "report_concurrency": execution.report_concurrency,
    });
    // Left out it depends on the broker.
    if let (Some(sessions), Some(block)) = (&gates.sessions, block.as_object_mut()) {
        block.insert("trading_sessions".to_owned(), trading_sessions(sessions));
    }
    block
}

fn nats(nats: &super::Nats) -> Value {
    json!({
        "url": nats.url,
        "credentials": nats.credentials.as_deref().map(shown_path),
        "signals_stream": nats.signals_stream,
        "signals_subject": nats.signals_subject,
        "consumer": nats.consumer,
        "begin": nats.begin.name(),
        "reports_subject": nats.reports_subject,
    })
}

/// The addresses of robots are as good as passwords.
fn alerts(alerts: &super::Alerts) -> Value {
    let mut block = json!({
        "command": alerts.command,
        "repeat_after_seconds": seconds(alerts.repeat_after),
        "max_per_hour": alerts.max_per_hour,
        "unknown_after_seconds": seconds(alerts.unknown_after),
        "broker_down_after_seconds": seconds(alerts.broker_down_after),
        "backend_down_after_seconds": seconds(alerts.backend_down_after),
        "barrier_after_seconds": seconds(alerts.barrier_after),
        "reports_late_after_seconds": seconds(alerts.reports_late_after),
        "disk_low_mb": alerts.disk_low_mb,
    });
    if let (Some(webhook), Some(block)) = (&alerts.webhook, block.as_object_mut()) {
        let mut shown = json!({ "url": webhook.url.shown(), "format": webhook.format.name() });
        if let Some(secret) = &webhook.secret {
            shown["secret"] = json!(secret.shown());
        }
        block.insert("webhook".to_owned(), shown);
    }
    block
}

fn trading_sessions(sessions: &qt_core::TradingSessions) -> Value {
    use qt_core::TradingSessions::{Any, CnA, Windows};
    match sessions {
        Any => json!("none"),
        CnA => json!("CN_A"),
        Windows(windows) => {
            let shown = |(from, to): &(i64, i64)| {
                json!(format!(
                    "{}-{}",
                    qt_market::show_time(*from),
                    qt_market::show_time(*to)
                ))
            };
            windows.iter().map(shown).collect()
        }
    }
}

fn seconds(duration: Duration) -> Value {
    number(&seconds_text(duration))
}

fn decimal(value: Decimal) -> Value {
    number(&value.normalize().to_string())
}

fn number(text: &str) -> Value {
    text.parse::<Number>().map_or_else(|_| json!(text), Value::Number)
}

fn shown_path(path: &Path) -> Value {
    json!(path.display().to_string())
}

fn paths(paths: &[PathBuf]) -> Value {
    paths.iter().map(|path| shown_path(path)).collect()
}

/// Whether the name of a plugin's option says that its value is nobody's business.
pub fn sounds_secret(name: &str) -> bool {
    let lower = name.to_lowercase();
    SECRET_WORDS.iter().any(|word| lower.contains(word))
}

/// A plugin's block with everything masked whose name sounds secret: what a plugin keeps there is its own affair.
fn masked(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, inner)| {
                let hidden = sounds_secret(key) && !inner.is_null();
                (key.clone(), if hidden { json!(MASK) } else { masked(inner) })
            })
            .collect(),
        Value::Array(items) => items.iter().map(masked).collect(),
        other => other.clone(),
    }
}
