//! `journal`: is it whole, and what does it say.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use qt_core::ClientOrderId;
use serde_json::json;

use super::table::local_time;
use super::{Failure, Options};
use crate::config::Purpose;
use crate::journal::{self, JournalError, OutboxReader};
use crate::system::WholeFile;

#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  qt-host journal verify\n  qt-host journal show ORD-20241222-001\n  qt-host journal export saved.jsonl"
)]
pub(super) enum JournalCommand {
    /// Read everything, replay it from the first commit, compare every check sum and digest.
    Verify {
        /// Another journal file than the data folder's.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what happened to one order, fact by fact.
    Show {
        /// Our id, the signal's order_id or the broker's id.
        order: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write every row that can be read to a file, a JSON line each; also from a damaged journal.
    Export {
        /// The file to write; must not exist. `-` for standard output.
        file: PathBuf,
        /// Replace the file if there is one.
        #[arg(long)]
        force: bool,
        /// The answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Move commits and ended orders that are older than the time kept into a file of their own.
    Archive {
        /// The file to write; must not exist.
        file: PathBuf,
        /// Keep this many days; the configuration's `journal.retention_days` without it.
        #[arg(long, value_name = "DAYS")]
        keep_days: Option<u32>,
        /// The answer as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: JournalCommand, options: &Options) -> Result<(), Failure> {
    if let JournalCommand::Verify {
        file: Some(file),
        json,
    } = &command
    {
        return verify(file, *json);
    }
    let config = options.load_one(Purpose::Look)?;
    let path = config.data_dir()?.join(journal::FILE_NAME);
    match command {
        JournalCommand::Verify { json, .. } => verify(&path, json),
        JournalCommand::Show { order, json } => show(&path, order, json),
        JournalCommand::Export { file, force, json } => export(&path, &file, force, json),
        JournalCommand::Archive {
            file,
            keep_days,
            json,
        } => {
            let keep = keep_days.unwrap_or(config.journal.retention_days);
            super::archive::run(&config, &file, keep, json)
        }
    }
}

fn verify(path: &Path, as_json: bool) -> Result<(), Failure> {
    match journal::verify(path) {
        Ok(found) if as_json => {
            let mut value = serde_json::to_value(&found).unwrap_or_default();
            value["whole"] = json!(true);
            super::print(&format!("{value}\n"))
        }
        Ok(found) => super::print(&format!(
            "The journal {} is whole: {} commits with {} facts, replayed and compared at {} commits; {} orders, {} reports.\n",
            crate::system::shown(path),
            found.commits,
            found.facts,
            found.digests_compared,
            found.orders,
            found.reports,
        )),
        Err(error) => {
            if as_json && error.is_damage() {
                super::print(&format!(
                    "{}\n",
                    json!({ "whole": false, "what": error.to_string() })
                ))?;
            }
            Err(error.into())
        }
    }
}

fn show(path: &Path, name: String, as_json: bool) -> Result<(), Failure> {
    let trader = journal::load(path)?.trader;
    let mut names = vec![name.clone()];
    let mut order_ids: Vec<ClientOrderId> = name.parse().ok().into_iter().collect();
    if let Ok(order) = crate::engine::find(&trader, &name) {
        names = vec![order.id.to_string(), order.signal.id.0.clone()];
        names.extend(order.broker_order_id.iter().map(|id| id.0.clone()));
        order_ids = vec![order.id];
    }
    let facts = journal::facts_of(path, &names)?;
    if facts.is_empty() {
        return Err(Failure::failed(format!(
            "the journal says nothing of `{name}`; `qt-host orders` lists what it knows"
        )));
    }
    let reader = OutboxReader::open(path)?;
    let mut reports = Vec::new();
    for id in &order_ids {
        reports.extend(reader.of_order(id.as_str())?);
    }
    if as_json {
        let facts: Vec<_> = facts
            .iter()
            .map(|(seq, fact)| json!({ "commit": seq, "at_ms": fact.at.0, "event": fact.event }))
            .collect();
        let orders: Vec<_> = order_ids
            .iter()
            .filter_map(|id| trader.order(*id))
            .map(|order| super::orders::as_json(&order))
            .collect();
        return super::print(&format!(
            "{}\n",
            json!({ "orders": orders, "facts": facts, "reports": reports })
        ));
    }
    let mut text = String::new();
    for order in order_ids.iter().filter_map(|id| trader.order(*id)) {
        text.push_str(&format!(
            "Order {} (signal {}): {}, {} of {} filled\n",
            order.id,
            order.signal.id,
            order.state,
            order.filled(),
            order.signal.size
        ));
    }
    for (seq, fact) in &facts {
        let event = serde_json::to_string(&fact.event).unwrap_or_default();
        text.push_str(&format!("{}  commit {seq}  {event}\n", local_time(fact.at.0)));
    }
    for row in &reports {
        text.push_str(&format!(
            "{}  report {} {}: {:?}\n",
            local_time(row.made_ms),
            row.id,
            row.report.step,
            row.state
        ));
    }
    super::print(&text)
}

fn export(path: &Path, file: &Path, force: bool, as_json: bool) -> Result<(), Failure> {
    let (lines, lost) = if file == Path::new("-") {
        journal::export(path, &mut std::io::stdout().lock())?
    } else {
        export_to(path, file, force)?
    };
    if as_json {
        super::print(&format!("{}\n", json!({ "lines": lines, "lost": lost })))?;
    } else if file != Path::new("-") {
        super::print(&format!("{lines} lines were written to {}.\n", file.display()))?;
    }
    if lost.is_empty() {
        return Ok(());
    }
    let what = lost.join("; ");
    let error = JournalError::Damaged {
        path: path.to_owned(),
        what: format!("what could be read was saved, this could not: {what}"),
    };
    Err(error.into())
}

/// Nobody finds a part of the file, and none that was there is lost.
fn export_to(path: &Path, file: &Path, force: bool) -> Result<(u64, Vec<String>), Failure> {
    let exists = || {
        Failure::usage(format!(
            "{} exists, and an export before this one may be all that was saved; name another file, or add --force to replace it",
            file.display()
        ))
    };
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => exists(),
        _ => Failure::failed(format!(
            "{} cannot be written: {e}; name a file in a folder that you can write to",
            file.display()
        )),
    };
    if !force && file.exists() {
        return Err(exists());
    }
    let mut out = BufWriter::new(WholeFile::begin(file).map_err(failed)?);
    let done = journal::export(path, &mut out)?;
    if done.0 <= 1 && !done.1.is_empty() {
        // Only the line that says what it is: such a file is not worth one that was there.
        let what = format!(
            "nothing could be read and {} was not written: {}",
            file.display(),
            done.1.join("; ")
        );
        return Err(JournalError::Damaged {
            path: path.to_owned(),
            what,
        }
        .into());
    }
    let out = out.into_inner().map_err(|e| failed(e.into_error()))?;
    out.finish(force).map_err(failed)?;
    Ok(done)
}
