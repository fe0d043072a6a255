//! `size SYMBOL PRICE`: how much to buy.

use clap::Args;
use qt_core::portfolio;
use qt_market::Price;

use super::book::{BookArgs, CsvArg, above_zero, account, decimal, symbol};
use super::render::{self, data};
use super::{Failure, Options, print};

/// Work out how much of a symbol to buy: with all cash, 30 % of it, or 15 % of all assets, in whole lots and with fees.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  qt-host size 000858.SZ 40.00\n  qt-host size 688981.SH 95.5 --json")]
pub(super) struct SizeArgs {
    /// What to buy, such as 000858.SZ.
    symbol: String,
    /// At which price, in yuan a share.
    #[arg(value_parser = decimal, allow_negative_numbers = true)]
    price: Price,
    #[command(flatten)]
    book: BookArgs,
    #[command(flatten)]
    csv: CsvArg,
}

pub(super) fn run(args: &SizeArgs, options: &Options) -> Result<(), Failure> {
    above_zero(Some(args.price))?;
    let (config, view) = args.book.gather(options)?;
    let symbol = symbol(&view.positions, &args.symbol)?;
    let balances = account(&view)?;
    let valuation = portfolio::value(&view.positions)?;
    let day = view.as_of.trading_date().civil();
    let market = config.gates.market().map_err(Failure::usage)?;
    let sizing = portfolio::size(symbol, args.price, balances, &valuation, &market, day)?;
    print(&if args.book.json {
        format!("{}\n", data::sizing_json(&sizing))
    } else if args.csv.csv {
        data::sizing_csv(&sizing)
    } else {
        render::sizing(&sizing, &args.book.style(&config))
    })
}
