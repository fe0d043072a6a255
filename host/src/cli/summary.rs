//! `summary`: totals and the positions of most value, and their picture.

use std::path::PathBuf;

use clap::Args;
use qt_core::portfolio;

use super::book::{BookArgs, no_positions};
use super::export::snapshots;
use super::render::{self, data};
use super::risk::thresholds;
use super::{Failure, Options, print};
use crate::export::{Export, Format, Target};

/// Show the totals and the positions of most value.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  qt-host summary\n  qt-host summary --top 10 --json\n  qt-host summary --chart             \
                  bars and the equity curve in the terminal\n  qt-host summary --chart book.svg    the same as a picture"
)]
pub(super) struct SummaryArgs {
    #[command(flatten)]
    book: BookArgs,
    /// How many positions to list.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    top: usize,
    /// Show allocation, P&L by position and the equity curve with its drawdown: in the terminal, or as a picture in
    /// FILE.svg.
    #[arg(long, value_name = "FILE.svg", num_args = 0..=1)]
    #[expect(
        clippy::option_option,
        reason = "without the flag, with it alone, and with a file"
    )]
    chart: Option<Option<PathBuf>>,
    /// Replace FILE.svg where it exists.
    #[arg(long, requires = "chart")]
    force: bool,
}

pub(super) fn run(args: &SummaryArgs, options: &Options) -> Result<(), Failure> {
    let target = picture(args)?;
    let (config, view) = args.book.gather(options)?;
    let held = view.held();
    let valuation = portfolio::value(&held)?;
    let last_sync = Some(view.as_of);
    let style = args.book.style(&config);
    let mut json = data::summary_json(&valuation, last_sync, args.top);
    let mut text = render::summary(&valuation, last_sync, args.top, &style);
    if valuation.positions.is_empty() {
        text.push_str(&no_positions(&view));
    }
    if args.chart.is_some() {
        let export = Export::of(&view, &snapshots(&config, &view)?, &thresholds(&config), false)?;
        match target {
            Some(target) => {
                target.write(&export, args.book.look(&config), args.force)?;
                json["chart"] = target.path.to_string_lossy().into();
                text.push_str(&format!("\n{} is written\n", crate::system::shown(&target.path)));
            }
            None => text.push_str(&render::chart::chart(&export, &style)?),
        }
    }
    print(&if args.book.json { format!("{json}\n") } else { text })
}

/// The picture that is wanted; what cannot be written is said before a broker is asked.
fn picture(args: &SummaryArgs) -> Result<Option<Target>, Failure> {
    let Some(Some(file)) = &args.chart else {
        if args.chart.is_some() && args.book.json {
            return Err(Failure::usage(
                "a chart in the terminal is no JSON; name a file: --chart FILE.svg",
            ));
        }
        return Ok(None);
    };
    let target = Target::new(file, None).map_err(Failure::usage)?;
    if target.format != Format::Svg {
        let text = format!(
            "--chart draws a picture: give a name that ends in .svg instead of `{}`",
            file.display()
        );
        return Err(Failure::usage(text));
    }
    target.check(args.force)?;
    Ok(Some(target))
}
