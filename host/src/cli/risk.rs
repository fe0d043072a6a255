//! `risk`: how risky each position is.

use clap::Args;
use qt_core::portfolio::{self, RiskThresholds};

use super::book::{BookArgs, CsvArg, no_positions};
use super::render::{self, data};
use super::{Failure, Options, print};

/// Score the risk of each position by the thresholds in the configuration's `risk` block.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  qt-host risk\n  qt-host risk --csv")]
pub(super) struct RiskArgs {
    #[command(flatten)]
    book: BookArgs,
    #[command(flatten)]
    csv: CsvArg,
}

pub(super) fn run(args: &RiskArgs, options: &Options) -> Result<(), Failure> {
    let (config, view) = args.book.gather(options)?;
    let held = view.held();
    let valuation = portfolio::value(&held)?;
    let risks = portfolio::assess(&valuation, &thresholds(&config))?;
    print(&if args.book.json {
        format!("{}\n", data::risk_json(&risks))
    } else if args.csv.csv {
        data::risk_csv(&risks)
    } else {
        let table = render::risk(&risks, &args.book.style(&config));
        let why = if risks.is_empty() {
            no_positions(&view)
        } else {
            String::new()
        };
        format!("{table}{why}\n{}", render::risk_legend())
    })
}

/// What the configuration calls too much.
pub(super) fn thresholds(config: &crate::config::Config) -> RiskThresholds {
    RiskThresholds {
        concentration_pct: config.risk.concentration_pct,
        drawdown_pct: config.risk.drawdown_pct,
        unsellable_pct: config.risk.unsellable_pct,
    }
}
