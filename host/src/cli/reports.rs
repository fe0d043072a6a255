//! `reports`: what the backend has been told, and what it has refused.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::accounts::{id_of, worst};
use super::live::carry_out;
use super::table::{Align, Table, local_time};
use super::{Failure, Options};
use crate::config::{Config, Purpose};
use crate::engine::Command;
use crate::journal::{OutboxReader, ReportRow, ReportState};

#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  qt-host reports list\n  qt-host reports show 17\n  qt-host reports retry 17 --body fixed.json\n  \
                        qt-host reports drop 17"
)]
pub(super) enum ReportsCommand {
    /// List reports that wait and dead letters.
    List(ListArgs),
    /// Show one report, with what would be posted.
    Show {
        /// Its number in the list.
        id: i64,
        /// Show the account's whole number, as a body that is to be edited and posted needs it.
        #[arg(long)]
        with_account_number: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Post dead letters again.
    Retry {
        /// Their numbers; all dead letters with --all.
        #[arg(required_unless_present = "all")]
        ids: Vec<i64>,
        /// Every dead letter.
        #[arg(long, conflicts_with_all = ["ids", "body"])]
        all: bool,
        /// A file with the JSON body to post instead.
        #[arg(long, value_name = "FILE")]
        body: Option<PathBuf>,
        /// The answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give dead letters up: they stay in the journal and are never posted.
    Drop {
        /// Their numbers.
        #[arg(required = true)]
        ids: Vec<i64>,
        /// The answer as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Delivered and dropped ones too.
    #[arg(long)]
    all: bool,
    /// The newest so many.
    #[arg(long, default_value_t = 200)]
    limit: usize,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// In JSON, with the account's whole number.
    #[arg(long, requires = "json")]
    with_account_number: bool,
}

pub(super) fn run(command: ReportsCommand, options: &Options) -> Result<(), Failure> {
    match command {
        ReportsCommand::List(args) => list(&args, options),
        ReportsCommand::Show {
            id,
            with_account_number,
            json,
        } => show(id, with_account_number, json, options),
        ReportsCommand::Retry { ids, all, body, json } => retry(ids, all, body, json, options),
        ReportsCommand::Drop { ids, json } => {
            only_dead(&reader(options)?, &ids)?;
            carry_out(options, &Command::DropReports { ids }, json)
        }
    }
}

fn reader(options: &Options) -> Result<OutboxReader, Failure> {
    reader_of(&options.load_one(Purpose::Look)?)
}

fn reader_of(config: &Config) -> Result<OutboxReader, Failure> {
    Ok(OutboxReader::open(
        &config.data_dir()?.join(crate::journal::FILE_NAME),
    )?)
}

fn list(args: &ListArgs, options: &Options) -> Result<(), Failure> {
    use ReportState::{Dead, Delivered, Dropped, Waiting};
    let states: &[ReportState] = if args.all {
        &[Waiting, Delivered, Dead, Dropped]
    } else {
        &[Waiting, Dead]
    };
    let each = options.load_each(Purpose::Look)?;
    let several = each.len() > 1;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for config in &each {
        let listed = reader_of(config).and_then(|reader| Ok(reader.list(states, args.limit)?));
        match listed {
            Ok(listed) => rows.extend(listed.into_iter().map(|row| (id_of(config), row))),
            Err(failure) if several => failures.push((id_of(config), failure)),
            Err(failure) => return Err(failure),
        }
    }
    if args.json {
        let named = |(account, row): &(String, ReportRow)| {
            let mut value = as_json(row, args.with_account_number);
            if several {
                value["account"] = json!(account);
            }
            value
        };
        let list: Vec<_> = rows.iter().map(named).collect();
        super::print(&format!("{}\n", json!(list)))?;
        return worst(failures);
    }
    let from = usize::from(!several);
    let columns = [
        ("Account", Align::Left),
        ("ID", Align::Right),
        ("State", Align::Left),
        ("Kind", Align::Left),
        ("Signal", Align::Left),
        ("Step", Align::Left),
        ("Made", Align::Left),
        ("Error", Align::Left),
    ];
    let mut table = Table::new(columns.get(from..).unwrap_or_default());
    for (account, row) in &rows {
        let cells = [
            account.clone(),
            row.id.to_string(),
            state_word(row.state).into(),
            format!("{:?}", row.report.kind()).to_lowercase(),
            row.report.signal.to_string(),
            row.report.step.clone(),
            local_time(row.made_ms),
            row.error.clone().unwrap_or_default(),
        ];
        table.row(cells.into_iter().skip(from));
    }
    super::print(&table.render("no report waits and none was refused"))?;
    worst(failures)
}

fn show(id: i64, with_number: bool, json: bool, options: &Options) -> Result<(), Failure> {
    let row = find(&reader(options)?, id)?;
    if json {
        return super::print(&format!("{}\n", as_json(&row, with_number)));
    }
    let post = crate::backend::wire::report(&row.report);
    let mut text = format!(
        "Report {id}: {} ({})\nMade:   {}\nSignal: {}\nKey:    {}\nPost:   {} BASE/{}\n",
        row.report.step,
        state_word(row.state),
        local_time(row.made_ms),
        row.report.signal,
        row.report.key(),
        post.method,
        post.path,
    );
    if let Some(error) = &row.error {
        text.push_str(&format!("Error:  {error}\n"));
    }
    let body = row
        .edited
        .clone()
        .unwrap_or_else(|| String::from_utf8_lossy(&post.body).into_owned());
    let title = if row.edited.is_some() {
        "Body (edited)"
    } else {
        "Body"
    };
    let shown = shown_body(&body, with_number);
    text.push_str(&format!("{title}:\n{shown}\n"));
    if shown != body {
        text.push_str(
            "The account's number is masked here; --with-account-number shows the body as it is posted.\n",
        );
    }
    super::print(&text)
}

fn retry(
    ids: Vec<i64>,
    all: bool,
    body: Option<PathBuf>,
    json: bool,
    options: &Options,
) -> Result<(), Failure> {
    let reader = reader(options)?;
    let ids = if all {
        reader
            .list(&[ReportState::Dead], usize::MAX >> 1)?
            .iter()
            .map(|row| row.id)
            .collect()
    } else {
        ids
    };
    only_dead(&reader, &ids)?;
    if ids.len() > 1 && body.is_some() {
        return Err(Failure::usage("--body belongs to one report; name one number"));
    }
    let body = body.map(|path| read_body(&path)).transpose()?;
    carry_out(options, &Command::RetryReports { ids, body }, json)
}

fn read_body(path: &PathBuf) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("the body {} cannot be read: {e}", path.display())))?;
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(serde_json::Value::Object(_)) => Ok(text),
        Ok(_) => Err(Failure::usage(format!(
            "the body {} is JSON but no object",
            path.display()
        ))),
        Err(e) => Err(Failure::usage(format!(
            "the body {} is not JSON: {e}",
            path.display()
        ))),
    }
}

fn only_dead(reader: &OutboxReader, ids: &[i64]) -> Result<(), Failure> {
    for id in ids {
        let row = find(reader, *id)?;
        if row.state != ReportState::Dead {
            let word = state_word(row.state);
            return Err(Failure::failed(format!(
                "report {id} is {word}, not a dead letter; `qt-host reports list` shows those"
            )));
        }
    }
    Ok(())
}

fn find(reader: &OutboxReader, id: i64) -> Result<ReportRow, Failure> {
    reader.get(id)?.ok_or_else(|| {
        Failure::failed(format!(
            "there is no report {id}; `qt-host reports list --all` shows all"
        ))
    })
}

const fn state_word(state: ReportState) -> &'static str {
    match state {
        ReportState::Waiting => "waiting",
        ReportState::Delivered => "delivered",
        ReportState::Dead => "dead",
        ReportState::Dropped => "dropped",
    }
}

/// A body with the account's number masked, unless it is wanted. A body that is no object has none.
fn shown_body(body: &str, with_number: bool) -> String {
    let number = serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|value| value.get("account_id")?.as_str().map(str::to_owned));
    match number {
        Some(number) if !with_number => body.replace(
            &json!(number).to_string(),
            &json!(super::masked(&number)).to_string(),
        ),
        _ => body.to_owned(),
    }
}

fn as_json(row: &ReportRow, with_number: bool) -> serde_json::Value {
    let post = crate::backend::wire::report(&row.report);
    let body = shown_body(&String::from_utf8_lossy(&post.body), with_number);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    json!({
        "id": row.id,
        "state": state_word(row.state),
        "kind": row.report.kind(),
        "signal": row.report.signal.0,
        "order": row.report.order.as_str(),
        "step": row.report.step,
        "key": row.report.key(),
        "path": post.path,
        "body": body,
        "edited": row.edited.as_deref().map(|edited| shown_body(edited, with_number)),
        "error": row.error,
        "made_ms": row.made_ms,
        "done_ms": row.done_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::shown_body;

    #[test]
    fn the_accounts_number_is_masked_in_a_body_and_nothing_else_is() {
        let body = r#"{"order_id":"O-1","price":43.20,"account_id":"55000001","note":"a 55000001 b"}"#;
        assert_eq!(
            shown_body(body, false),
            r#"{"order_id":"O-1","price":43.20,"account_id":"****0001","note":"a 55000001 b"}"#
        );
        assert_eq!(shown_body(body, true), body);
        for other in ["{}", r#"{"account_id":null}"#, "no JSON", r#"{"account_id":""}"#] {
            assert_eq!(shown_body(other, false), other);
        }
    }
}
