//! `orders` and `fills`: what the journal knows.

use std::io::{IsTerminal, Write};

use clap::{Args, Subcommand};
use qt_core::{Order, OrderState, TradingDate, UtcMillis};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::accounts::{id_of, worst};
use super::live::carry_out;
use super::table::{Align, Table, local_time};
use super::{Failure, Options};
use crate::config::{Config, Purpose};
use crate::engine::Command;
use crate::journal::JournalError;
use crate::{clock::Clock, journal};

/// What `orders` takes.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  qt-host orders\n  qt-host orders --state working --symbol 000858.SZ\n  qt-host orders --since 2026-11-01 --csv\n  \
                  qt-host orders --review\n  qt-host orders resolve ORD-1 --as accepted:88001\n  qt-host orders resolve ORD-1 --as not-accepted"
)]
pub(super) struct OrdersArgs {
    #[command(flatten)]
    filter: Filter,
    /// Only what a person must decide.
    #[arg(long)]
    review: bool,
    #[command(subcommand)]
    command: Option<OrdersCommand>,
}

/// What both lists take.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// From this day on (YYYY-MM-DD, in Shanghai); without it, today and all that is still open.
    #[arg(long, value_name = "DATE")]
    since: Option<jiff::civil::Date>,
    /// Only this symbol.
    #[arg(long)]
    symbol: Option<qt_market::Symbol>,
    /// Only this state, such as WORKING; may be given again.
    #[arg(long = "state", value_name = "STATE", value_parser = parse_state)]
    states: Vec<OrderState>,
    /// As JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As CSV.
    #[arg(long)]
    csv: bool,
}

/// What `fills` takes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  qt-host fills\n  qt-host fills --since 2026-11-01 --json")]
pub(super) struct FillsArgs {
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, Subcommand)]
enum OrdersCommand {
    /// Decide an order under review.
    Resolve {
        /// Our id or the signal's order_id.
        order: String,
        /// `accepted:BROKER_ID` or `not-accepted`.
        #[arg(long = "as", value_name = "DECISION", value_parser = parse_decision)]
        decision: Decision,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
        /// The answer as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone)]
struct Decision(Option<String>);

fn parse_decision(text: &str) -> Result<Decision, String> {
    match text.split_once(':') {
        Some(("accepted", id)) if !id.trim().is_empty() => Ok(Decision(Some(id.trim().to_owned()))),
        None if text == "not-accepted" => Ok(Decision(None)),
        _ => Err("expected accepted:BROKER_ID or not-accepted".to_owned()),
    }
}

fn parse_state(text: &str) -> Result<OrderState, String> {
    let wanted = text.to_ascii_uppercase().replace('-', "_");
    OrderState::ALL
        .into_iter()
        .find(|state| state.as_str() == wanted)
        .ok_or_else(|| {
            let known: Vec<_> = OrderState::ALL.iter().map(|state| state.as_str()).collect();
            format!("expected one of {}", known.join(", "))
        })
}

pub(super) fn orders(args: OrdersArgs, options: &Options) -> Result<(), Failure> {
    if let Some(OrdersCommand::Resolve {
        order,
        decision,
        yes,
        json,
    }) = args.command
    {
        return resolve(order, decision, yes, json, options);
    }
    let mut filter = args.filter;
    if args.review {
        filter.states.push(OrderState::Review);
    }
    let Found {
        rows: found,
        several,
        failures,
    } = read(&filter, options)?;
    if filter.json {
        let named = |(account, order): &(String, Order)| of_account(as_json(order), account, several);
        let list: Vec<Value> = found.iter().map(named).collect();
        super::print(&format!("{}\n", json!(list)))?;
        return worst(failures);
    }
    let titles = [
        ("Account", Align::Left),
        ("Order", Align::Left),
        ("Signal", Align::Left),
        ("Symbol", Align::Left),
        ("Side", Align::Left),
        ("Size", Align::Right),
        ("Limit", Align::Right),
        ("Filled", Align::Right),
        ("Avg", Align::Right),
        ("State", Align::Left),
        ("Broker id", Align::Left),
        ("Taken", Align::Left),
        ("Reason", Align::Left),
    ];
    let rows = found.iter().map(|(account, order)| {
        vec![
            account.clone(),
            order.id.to_string(),
            order.signal.id.to_string(),
            order.signal.symbol.to_string(),
            order.signal.side.to_string(),
            order.signal.size.to_string(),
            order
                .limit
                .map_or_else(|| "market".to_owned(), |limit| limit.to_string()),
            order.filled().to_string(),
            order.avg_price().to_string(),
            order.state.to_string(),
            order
                .broker_order_id
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            local_time(order.received_at.0),
            order.reason.clone().unwrap_or_default(),
        ]
    });
    let empty = if args.review {
        "nothing waits for a person"
    } else {
        "no orders"
    };
    print_rows(&titles, rows, several, filter.csv, empty)?;
    worst(failures)
}

pub(super) fn fills(args: &FillsArgs, options: &Options) -> Result<(), Failure> {
    let found = read(&args.filter, options)?;
    let several = found.several;
    let mut fills: Vec<_> = found
        .rows
        .iter()
        .flat_map(|(account, order)| order.fills.iter().map(move |fill| (account, order, fill)))
        .collect();
    fills.sort_by_key(|(_, _, fill)| fill.at);
    if args.filter.json {
        let list: Vec<Value> = fills
            .iter()
            .map(|(account, order, fill)| {
                let row = json!({
                    "fill_id": fill.id.0, "order": order.id, "signal": order.signal.id.0, "symbol": order.signal.symbol,
                    "side": order.signal.side.as_str(), "size": fill.size, "price": fill.price,
                    "commission": fill.commission, "stamp_tax": fill.stamp_tax, "transfer_fee": fill.transfer_fee,
                    "at_ms": fill.at.0,
                });
                of_account(row, account, several)
            })
            .collect();
        super::print(&format!("{}\n", json!(list)))?;
        return worst(found.failures);
    }
    let titles = [
        ("Account", Align::Left),
        ("Time", Align::Left),
        ("Symbol", Align::Left),
        ("Side", Align::Left),
        ("Size", Align::Right),
        ("Price", Align::Right),
        ("Commission", Align::Right),
        ("Stamp tax", Align::Right),
        ("Transfer fee", Align::Right),
        ("Fill", Align::Left),
        ("Signal", Align::Left),
    ];
    // What the broker does not say stays empty: it is not 0.
    let said = |fee: Option<Decimal>| fee.map(|fee| fee.to_string()).unwrap_or_default();
    let rows = fills.iter().map(|(account, order, fill)| {
        vec![
            (*account).clone(),
            local_time(fill.at.0),
            order.signal.symbol.to_string(),
            order.signal.side.to_string(),
            fill.size.to_string(),
            fill.price.to_string(),
            said(fill.commission),
            said(fill.stamp_tax),
            said(fill.transfer_fee),
            fill.id.to_string(),
            order.signal.id.to_string(),
        ]
    });
    print_rows(&titles, rows, several, args.filter.csv, "no fills")?;
    worst(found.failures)
}

/// Names the account where there are several.
fn of_account(mut row: Value, account: &str, several: bool) -> Value {
    if several {
        row["account"] = json!(account);
    }
    row
}

/// Prints a table whose first column is the account, which is left out where there is one.
fn print_rows(
    titles: &[(&'static str, Align)],
    rows: impl Iterator<Item = Vec<String>>,
    several: bool,
    csv: bool,
    empty: &str,
) -> Result<(), Failure> {
    let from = usize::from(!several);
    let titles = titles.get(from..).unwrap_or_default();
    let rows = rows.map(|row| row.into_iter().skip(from));
    if csv {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let failed = |e: csv::Error| Failure::failed(format!("the CSV cannot be written: {e}"));
        writer
            .write_record(
                titles
                    .iter()
                    .map(|(title, _)| title.to_lowercase().replace(' ', "_")),
            )
            .map_err(failed)?;
        for row in rows {
            writer.write_record(row).map_err(failed)?;
        }
        let bytes = writer.into_inner().map_err(|e| Failure::failed(e.to_string()))?;
        return super::print(&String::from_utf8_lossy(&bytes));
    }
    let mut table = Table::new(titles);
    for row in rows {
        table.row(row);
    }
    super::print(&table.render(empty))
}

/// Orders that pass a filter, oldest first, each with its account.
struct Found {
    rows: Vec<(String, Order)>,
    several: bool,
    /// Accounts whose journal cannot be read, or is not there yet though others are.
    failures: Vec<(String, Failure)>,
}

fn read(filter: &Filter, options: &Options) -> Result<Found, Failure> {
    let each = options.load_each(Purpose::Look)?;
    let several = each.len() > 1;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for config in &each {
        let account = id_of(config);
        match of_one(filter, config) {
            Ok(orders) => rows.extend(orders.into_iter().map(|order| (account.clone(), order))),
            Err(failure) if several => failures.push((account, failure)),
            Err(failure) => return Err(failure),
        }
    }
    rows.sort_by_key(|(_, order)| (order.received_at, order.id));
    Ok(Found {
        rows,
        several,
        failures,
    })
}

fn of_one(filter: &Filter, config: &Config) -> Result<Vec<Order>, Failure> {
    let path = config.data_dir()?.join(journal::FILE_NAME);
    let today = UtcMillis(Clock::system().now_ms()).trading_date();
    let since = filter.since.map_or(today, day_of);
    let mut found = match journal::orders_since(&path, since) {
        // A data folder with which nothing was traded yet has no orders, and that is an answer.
        Err(JournalError::Absent { .. }) => Vec::new(),
        other => other?,
    };
    found.retain(|order| {
        let day = order.day() >= since || (filter.since.is_none() && !order.state.is_ended());
        let symbol = filter.symbol.is_none_or(|symbol| symbol == order.signal.symbol);
        let state = filter.states.is_empty() || filter.states.contains(&order.state);
        day && symbol && state
    });
    Ok(found)
}

fn day_of(date: jiff::civil::Date) -> TradingDate {
    let epoch = jiff::civil::date(1970, 1, 1);
    TradingDate(epoch.until(date).map_or(0, |span| i64::from(span.get_days())))
}

fn resolve(
    order: String,
    decision: Decision,
    yes: bool,
    json: bool,
    options: &Options,
) -> Result<(), Failure> {
    if !yes && !confirmed(&order, &decision)? {
        return Err(Failure::failed("nothing was decided"));
    }
    carry_out(
        options,
        &Command::Resolve {
            order,
            accepted_as: decision.0,
        },
        json,
    )
}

fn confirmed(order: &str, decision: &Decision) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "a decision about money is asked for at a terminal; add --yes to decide without being asked",
        ));
    }
    let what = match &decision.0 {
        Some(id) => format!("WAS ACCEPTED by the broker as {id}"),
        None => "was NEVER accepted by the broker, so that the backend may have it placed again".to_owned(),
    };
    eprint!("You say that order {order} {what}. Is that so? [yes/no] ");
    std::io::stderr().flush().ok();
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|e| Failure::failed(format!("no answer could be read: {e}")))?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

/// The stable JSON form of an order.
pub(super) fn as_json(order: &Order) -> Value {
    let fees = order.fees();
    json!({
        "order": order.id,
        "signal": order.signal.id.0,
        "attempt": order.signal.retry_count,
        "symbol": order.signal.symbol,
        "side": order.signal.side.as_str(),
        "size": order.signal.size,
        "limit": order.limit,
        "state": order.state.as_str(),
        "filled": order.filled(),
        "avg_price": order.avg_price(),
        "fees": { "commission": fees.commission, "stamp_tax": fees.stamp_tax, "transfer_fee": fees.transfer_fee,
                  "total": fees.total(), "estimated": fees.estimated },
        "broker_order_id": order.broker_order_id.as_ref().map(|id| &id.0),
        "code": order.code,
        "reason": order.reason,
        "strategy": order.signal.strategy,
        "received_ms": order.received_at.0,
        "sent_ms": order.sent_at.map(|at| at.0),
        "accepted_ms": order.accepted_at.map(|at| at.0),
        "ended_ms": order.ended_at.map(|at| at.0),
        "cancel": order.cancel.as_ref().map(|cancel| json!({ "by": cancel.by, "tries": cancel.tries, "problem": cancel.problem })),
    })
}
