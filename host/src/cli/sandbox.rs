//! `qt-host sandbox`: the demonstration, or a backend to play with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::table::{Align, Table};
use super::{Failure, print};
use crate::sandbox::demo::{self, EXPECTED, Outcome};
use crate::sandbox::{SandboxBackend, USERNAME};
use crate::system;

/// Try the host without a backend and without a broker: signals, orders and executions on this machine alone.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// Run as a backend on this address, such as 127.0.0.1:8000, until Ctrl-C; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,

    /// Write the token into this file, too; only you may read it.
    #[arg(long, value_name = "FILE", requires = "listen")]
    token_file: Option<PathBuf>,

    /// Allow an address that other machines can reach.
    #[arg(long, requires = "listen")]
    allow_remote: bool,

    /// Give tokens that end after so many seconds, as real ones do; without it they never end.
    #[arg(long, value_name = "SECONDS", requires = "listen", value_parser = clap::value_parser!(u32).range(1..))]
    token_life: Option<u32>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// What failed, with its exit code; code 1 without a message where the account has said it.
pub fn run(args: &SandboxArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the system gives no thread to run on: {error}")))?;
    match args.listen {
        Some(address) => runtime.block_on(listen(args, address)),
        None => runtime.block_on(show(args.json)),
    }
}

async fn listen(args: &SandboxArgs, address: SocketAddr) -> Result<(), Failure> {
    let (_sender, mut shutdown) =
        system::shutdown().map_err(|error| Failure::failed(format!("cannot watch for Ctrl-C: {error}")))?;
    let life = args
        .token_life
        .map(|seconds| Duration::from_secs(u64::from(seconds)));
    let bound = SandboxBackend::bind(address, args.allow_remote, life)
        .await
        .map_err(|error| Failure::usage(error.to_string()))?;
    // Before anybody is answered: whoever has an answer may read the token.
    if let Some(file) = &args.token_file {
        system::replace_file(file, bound.token.as_bytes()).map_err(|error| {
            Failure::usage(format!(
                "cannot write the token into {}: {error}; name another file",
                file.display()
            ))
        })?;
    }
    let backend = bound.serve();
    let text = if args.json {
        listening_json(&backend)
    } else {
        listening_text(&backend)
    };
    print(&text)?;
    shutdown.wait().await;
    Ok(())
}

fn listening_json(backend: &SandboxBackend) -> String {
    let value = json!({
        "api_base_url": backend.base_url, "api_token": backend.token, "username": USERNAME,
        "password": backend.password, "pid": std::process::id(),
    });
    format!("{value}\n")
}

/// The commands are meant to be pasted as they stand.
fn listening_text(backend: &SandboxBackend) -> String {
    let SandboxBackend {
        base_url,
        token,
        password,
        ..
    } = backend;
    let root = base_url.trim_end_matches("/api");
    let trade = system::paste::with_variables(
        &[("TRADER_API_BASE_URL", base_url), ("TRADER_API_TOKEN", token)],
        "qt-host",
    );
    let add = system::paste::post_json(
        &format!("{root}/sandbox/signals"),
        r#"{"symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 135.5}"#,
    );
    let see = system::paste::get_json(&format!("{root}/sandbox/state"));
    format!(
        "\
The sandbox backend listens on {base_url}; it forgets everything when it ends (Ctrl-C).

token: {token}
login: user {USERNAME}, password {password}

1. Trade (in another terminal):
   {trade}

2. Add a signal:
   {add}

3. See what the host reported:
   {see}
"
    )
}

async fn show(is_json: bool) -> Result<(), Failure> {
    let outcome = demo::run()
        .await
        .map_err(|error| Failure::failed(error.to_string()))?;
    print(&if is_json {
        account_json(&outcome)
    } else {
        account_text(&outcome)
    })?;
    if outcome.missing.is_empty() {
        Ok(())
    } else {
        Err(Failure::silent(1))
    }
}

fn account_json(outcome: &Outcome) -> String {
    let signals: Vec<Value> = EXPECTED
        .iter()
        .map(|expected| {
            let id = expected.order_id;
            let seen = &outcome.state["signals"][id];
            json!({
                "order_id": id, "asked": seen["asked"],
                "statuses": demo::posts(&outcome.state, id, "status"),
                "executions": demo::posts(&outcome.state, id, "execution"),
            })
        })
        .collect();
    let value = json!({
        "ok": outcome.missing.is_empty(), "missing": outcome.missing, "took_ms": outcome.took.as_millis(),
        "signals": signals, "positions": positions(outcome), "account": account(outcome), "log": outcome.log,
    });
    format!("{value:#}\n")
}

fn positions(outcome: &Outcome) -> &Value {
    &outcome.state["syncs"]["positions/sync"]["last"]["positions"]
}

fn account(outcome: &Outcome) -> &Value {
    &outcome.state["syncs"]["account/sync"]["last"]["account_data"]
}

/// A value as a cell: without quotes, nothing for null.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn account_text(outcome: &Outcome) -> String {
    let mut text = String::from(
        "Signals were fetched over HTTP by a second process, a broker plugin loaded at run time took the orders, and\n\
         this is what the backend was told:\n\n",
    );
    text.push_str(&signals_table(outcome).render("The backend was told nothing."));
    for expected in &EXPECTED {
        let statuses = demo::posts(&outcome.state, expected.order_id, "status");
        if let Some(error) = statuses.iter().find_map(|body| body.get("last_error")) {
            text.push_str(&format!("\n{}: {}\n", expected.order_id, cell(Some(error))));
        }
    }
    text.push_str("\nThe resulting portfolio:\n\n");
    text.push_str(&positions_table(outcome).render("The backend was shown no positions."));
    if let Some(account) = account(outcome).as_object() {
        let value = |name: &str| cell(account.get(name));
        text.push_str(&format!(
            "\nCash {} yuan, of it {} frozen; total assets {} yuan.\n",
            value("cash"),
            value("frozen_cash"),
            value("total_asset")
        ));
    }
    text.push_str(&verdict(outcome));
    text
}

fn signals_table(outcome: &Outcome) -> Table {
    let mut table = Table::new(&[
        ("Signal", Align::Left),
        ("What it asked", Align::Left),
        ("What the backend was told", Align::Left),
        ("Filled", Align::Right),
        ("Price", Align::Right),
        ("Fees", Align::Right),
    ]);
    for expected in &EXPECTED {
        let id = expected.order_id;
        let posts = outcome.state["signals"][id]["posts"].as_array();
        let told: Vec<String> = posts.into_iter().flatten().map(told).collect();
        let executions = demo::posts(&outcome.state, id, "execution");
        let last = |name: &str| cell(executions.last().and_then(|body| body.get(name)));
        let told = if told.is_empty() {
            "nothing".to_owned()
        } else {
            told.join(", ")
        };
        table.row([
            id.to_owned(),
            expected.asked.to_owned(),
            told,
            last("filled_size"),
            last("filled_price"),
            last("total_fee"),
        ]);
    }
    table
}

/// One post in a word.
fn told(post: &Value) -> String {
    let body = &post["body"];
    let word = match (body["status"].as_str(), body["filled_qty"].is_null()) {
        (Some(status), _) => status,
        (None, false) => "concluded",
        (None, true) => "status",
    };
    if post["kind"] == "execution" {
        format!("execution {word}")
    } else {
        word.to_owned()
    }
}

fn positions_table(outcome: &Outcome) -> Table {
    let mut table = Table::new(&[
        ("Symbol", Align::Left),
        ("Shares", Align::Right),
        ("Sellable", Align::Right),
        ("Cost", Align::Right),
        ("Last price", Align::Right),
        ("Value", Align::Right),
        ("P&L", Align::Right),
    ]);
    let fields = [
        "symbol",
        "quantity",
        "available_qty",
        "avg_cost",
        "current_price",
        "market_value",
        "unrealized_pnl",
    ];
    for row in positions(outcome).as_array().into_iter().flatten() {
        table.row(fields.map(|field| cell(row.get(field))));
    }
    table
}

fn verdict(outcome: &Outcome) -> String {
    if outcome.missing.is_empty() {
        let took_ms = outcome.took.as_millis();
        return format!("\nThe backend saw all that it should, {took_ms} ms after the host's start.\n");
    }
    let mut text = String::from("\nThe backend did not see what it should:\n");
    for missing in &outcome.missing {
        text.push_str(&format!("  - {missing}\n"));
    }
    if !outcome.log.is_empty() {
        text.push_str("\nThe host's last lines:\n");
        for line in &outcome.log {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}
