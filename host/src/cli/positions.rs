//! `positions`: the table of holdings, and how they came about.

use clap::Args;
use qt_core::portfolio;

use super::accounts::{Form, show_books};
use super::book::{BookArgs, CsvArg, no_positions};
use super::render::{data, history, positions as table};
use super::{Failure, Options};
use crate::book::BookView;
use crate::config::Config;

/// List what is held: quantity, cost, price, value and P&L.
///
/// What was sold out today is listed with no shares for as long as the broker shows it. It is no holding: no total, no
/// risk and no picture counts it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  qt-host positions\n  qt-host positions --history\n  qt-host positions --from journal --json\n  \
                        qt-host positions --from saved.json --csv"
)]
pub(super) struct PositionsArgs {
    #[command(flatten)]
    book: BookArgs,
    #[command(flatten)]
    csv: CsvArg,
    /// What the journal knows of each: realised P&L, holding days, first purchase, last trade, number of trades,
    /// bought and sold amounts, from when on that is known, and our own average cost beside the broker's. What was
    /// sold out is listed too.
    #[arg(long)]
    history: bool,
}

pub(super) fn run(args: &PositionsArgs, options: &Options) -> Result<(), Failure> {
    let form = match (args.book.json, args.csv.csv) {
        (true, _) => Form::Json,
        (_, true) => Form::Csv,
        _ => Form::Text,
    };
    show_books(&args.book, options, form, |config, view| {
        answer(args, form, config, view)
    })
}

fn answer(args: &PositionsArgs, form: Form, config: &Config, view: &BookView) -> Result<String, Failure> {
    if args.history {
        let rows = history::rows(view);
        return Ok(match form {
            Form::Json => format!("{}\n", history::list_json(&rows)),
            Form::Csv => history::csv(&rows),
            Form::Text => {
                let mut text = history::table(&rows, &args.book.style(config));
                if rows.is_empty() {
                    text.push_str(&no_positions(view));
                }
                text
            }
        });
    }
    let valuation = portfolio::value(&view.positions)?;
    Ok(match form {
        Form::Json => {
            let mut list = data::positions_json(&valuation);
            history::add_to(&mut list, view);
            format!("{list}\n")
        }
        Form::Csv => data::positions_csv(&valuation),
        Form::Text => {
            let mut text = table(&valuation, &args.book.style(config));
            if valuation.positions.is_empty() {
                text.push_str(&no_positions(view));
            }
            text
        }
    })
}
