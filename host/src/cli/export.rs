//! `export`: the book as files for other programs, or as a picture.

use std::path::PathBuf;

use clap::Args;

use super::book::BookArgs;
use super::risk::thresholds;
use super::{Failure, Options, print};
use crate::book::{BookSource, BookView};
use crate::config::Config;
use crate::equity::{self, EquityStoreError, Snapshot};
use crate::export::{Export, ExportError, PlaceError, Target, nothing, schema};

/// Write the book to a file: positions, summary, risk, account, orders, fills and the equity curve.
#[derive(Debug, Args)]
#[command(after_help = "\
The ending says what is written:
  .json      one object with every table; decimals are numbers with all their digits
  .csv       a folder with one file a table and schema.json; with --table, that table as a file
  .parquet   the positions with their risk and P&L (--table for another table), decimals as Decimal(38, 10);
             with `/` at the end a folder with one file a table and schema.json
  .svg       a picture: allocation, P&L by position, equity curve with drawdown

All of it is written or nothing is changed. Files are their owner's alone, and the account's number is masked in them.

Examples:
  qt-host export book.json
  qt-host export book.parquet                 then, in Python: polars.read_parquet(\"book.parquet\")
  qt-host export fills.parquet --table fills
  qt-host export today.csv --force            the folder today.csv with positions.csv, orders.csv ...
  qt-host export book.svg --from saved.json
  qt-host export --schema                     every table and column, with types and units")]
pub(super) struct ExportArgs {
    /// The file to write; .json, .csv, .parquet or .svg.
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    file: Option<PathBuf>,
    /// Only this table, for .csv and .parquet.
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// Replace what an earlier export wrote.
    #[arg(long)]
    force: bool,
    /// Write the account's whole number.
    #[arg(long)]
    with_account_number: bool,
    /// Print what is in an export: tables, columns, types, units. Nothing is written.
    #[arg(long, conflicts_with_all = ["file", "table", "force", "with_account_number"])]
    schema: bool,
    #[command(flatten)]
    book: BookArgs,
}

pub(super) fn run(args: &ExportArgs, options: &Options) -> Result<(), Failure> {
    let Some(file) = args.file.as_deref().filter(|_| !args.schema) else {
        return print_schema(args.book.json);
    };
    let target = Target::new(file, args.table.as_deref()).map_err(Failure::usage)?;
    // Before a broker is asked: what cannot be written should not cost a question.
    target.check(args.force)?;
    let (config, view) = args.book.gather(options)?;
    let snapshots = snapshots(&config, &view)?;
    let export = Export::of(&view, &snapshots, &thresholds(&config), args.with_account_number)?;
    target.write(&export, args.book.look(&config), args.force)?;
    let said = said(&target, &export);
    print(&if args.book.json {
        format!("{}\n", said.1)
    } else {
        format!("{}\n", said.0)
    })
}

/// What was written, for people and for programs.
fn said(target: &Target, export: &Export<'_>) -> (String, serde_json::Value) {
    let rows = export.rows_of(target);
    let shown = crate::system::shown(&target.path);
    let list: Vec<_> = rows
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let counts: serde_json::Map<_, _> = rows
        .iter()
        .map(|(name, count)| ((*name).to_owned(), (*count).into()))
        .collect();
    let json = serde_json::json!({ "written": target.path.to_string_lossy(), "rows": counts });
    if list.is_empty() {
        return (format!("{shown} is written"), json);
    }
    (format!("{shown} is written; rows: {}", list.join(", ")), json)
}

fn print_schema(json: bool) -> Result<(), Failure> {
    let nothing = nothing();
    let tables = nothing.tables();
    print(&if json {
        format!("{}\n", schema::as_json(&tables))
    } else {
        schema::as_text(&tables)
    })
}

/// The daily snapshots of the account that a book is of; none beside a file.
pub(super) fn snapshots(config: &Config, view: &BookView) -> Result<Vec<Snapshot>, Failure> {
    let account = match &view.source {
        BookSource::Broker { adapter } => Some(crate::desk::account_key(config, adapter)),
        // One data folder is one account's.
        BookSource::Journal { .. } => None,
        BookSource::File { .. } => return Ok(Vec::new()),
    };
    let path = config.data_dir()?.join(equity::FILE_NAME);
    Ok(equity::read(&path, account.as_deref())?)
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Portfolio(portfolio) => portfolio.into(),
            ExportError::Place(place) => place.into(),
            ExportError::Equity(equity) => Self::failed(equity.to_string()),
        }
    }
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<EquityStoreError> for Failure {
    fn from(error: EquityStoreError) -> Self {
        Self::failed(error.to_string())
    }
}
