//! `summary`: totals and the positions of most value.

use clap::Args;
use qt_core::portfolio;

use super::book::BookArgs;
use super::render::{self, data};
use super::{Failure, Options, print};

/// Show the totals and the positions of most value.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  qt-host summary\n  qt-host summary --top 10 --json")]
pub(super) struct SummaryArgs {
    #[command(flatten)]
    book: BookArgs,
    /// How many positions to list.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    top: usize,
}

pub(super) fn run(args: &SummaryArgs, options: &Options) -> Result<(), Failure> {
    let (config, view) = args.book.gather(options)?;
    let held = view.held();
    let valuation = portfolio::value(&held)?;
    let last_sync = Some(view.as_of);
    print(&if args.book.json {
        format!("{}\n", data::summary_json(&valuation, last_sync, args.top))
    } else {
        render::summary(&valuation, last_sync, args.top, &args.book.style(&config))
    })
}
