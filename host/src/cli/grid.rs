//! `grid SYMBOL`: a grid on a holding, and its levels.

use clap::Args;
use qt_core::portfolio::{self, GridOptions};
use qt_market::{Price, Shares};
use rust_decimal::Decimal;

use super::book::{BookArgs, CsvArg, above_zero, decimal, holding, percent};
use super::render::{self, data};
use super::{Failure, Options, print};

/// Suggest a grid that brings the cost of a holding down.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  qt-host grid 000858.SZ\n  qt-host grid 000858.SZ --levels\n  \
                  qt-host grid 000858.SZ --levels --price 40.00 --grids 5 --spacing 2.5 --size 200"
)]
pub(super) struct GridArgs {
    /// The holding, such as 000858.SZ.
    symbol: String,
    #[command(flatten)]
    book: BookArgs,
    #[command(flatten)]
    csv: CsvArg,
    /// Show every level to buy and to sell at, and the average cost after each fill; with --csv always.
    #[arg(long)]
    levels: bool,
    /// Levels around this price in yuan; around the last price without it.
    #[arg(long, value_name = "YUAN", value_parser = decimal, allow_negative_numbers = true)]
    price: Option<Price>,
    /// Levels on each side, 1 to 1000; 10 without it.
    #[arg(long, value_name = "COUNT")]
    grids: Option<u32>,
    /// Distance of two levels in percent, above 0 and below 100; 5 without it.
    #[arg(long, value_name = "PERCENT", value_parser = percent, allow_negative_numbers = true)]
    spacing: Option<Decimal>,
    /// Shares to buy at each level; a tenth of the holding in whole lots without it.
    #[arg(long, value_name = "SHARES", allow_negative_numbers = true)]
    size: Option<Shares>,
}

pub(super) fn run(args: &GridArgs, options: &Options) -> Result<(), Failure> {
    above_zero(args.price)?;
    let (config, view) = args.book.gather(options)?;
    let position = holding(&view.positions, &args.symbol)?;
    let default = GridOptions::default();
    let wanted = GridOptions {
        grids: args.grids.unwrap_or(default.grids),
        spacing_pct: args.spacing.unwrap_or(default.spacing_pct),
        size: args.size,
        ..default
    };
    let one = std::slice::from_ref(position);
    let valuation = portfolio::value(one)?;
    let [figures] = valuation.positions.as_slice() else {
        return Err(Failure::failed(format!("{} has no figures", position.symbol)));
    };
    let suggestion = portfolio::suggest_grid(figures, &wanted)?;
    let ladder = if args.levels || args.csv.csv || args.price.is_some() {
        Some(portfolio::ladder(position, args.price, &wanted)?)
    } else {
        None
    };
    let style = args.book.style(&config);
    print(&match (&ladder, args.book.json, args.csv.csv) {
        (_, true, _) => format!("{}\n", data::grid_json(&suggestion, ladder.as_ref())),
        (Some(ladder), _, true) => data::ladder_csv(ladder),
        (Some(ladder), ..) => {
            let text = render::grid(&suggestion, &style);
            format!("{text}{}", render::ladder(&suggestion, ladder, &style))
        }
        (None, ..) => render::grid(&suggestion, &style),
    })
}
