//! `positions`: the table of holdings, and how they came about.

use clap::Args;
use qt_core::portfolio;

use super::book::{BookArgs, CsvArg, no_positions};
use super::render::{data, history, positions as table};
use super::{Failure, Options, print};

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
    let (config, view) = args.book.gather(options)?;
    if args.history {
        let rows = history::rows(&view);
        return print(&if args.book.json {
            format!("{}\n", history::list_json(&rows))
        } else if args.csv.csv {
            history::csv(&rows)
        } else {
            let mut text = history::table(&rows, &args.book.style(&config));
            if rows.is_empty() {
                text.push_str(&no_positions(&view));
            }
            text
        });
    }
    let valuation = portfolio::value(&view.positions)?;
    print(&if args.book.json {
        let mut list = data::positions_json(&valuation);
        history::add_to(&mut list, &view);
        format!("{list}\n")
    } else if args.csv.csv {
        data::positions_csv(&valuation)
    } else {
        let mut text = table(&valuation, &args.book.style(&config));
        if valuation.positions.is_empty() {
            text.push_str(&no_positions(&view));
        }
        text
    })
}
