//! `halt`, `resume`, `cancel` and `stop`.

use std::time::Duration;

use clap::Args;

use super::live::{carry_out, carry_out_for_each};
use super::{Failure, Options};
use crate::clock::Clock;
use crate::config::Purpose;
use crate::control;
use crate::engine::Command;
use crate::system;

/// What `halt` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  qt-host halt --reason \"news\"\n  qt-host halt --cancel-open\n  qt-host halt --sales-only --reason \"less risk\"\n  qt-host halt --account SA-001     one \
                  account of several; without it all of them\n  qt-host resume"
)]
pub(super) struct HaltArgs {
    /// Why, for the log and for whoever comes next.
    #[arg(long, default_value = "asked for on the command line")]
    reason: String,
    /// Cancel every open order as well.
    #[arg(long)]
    cancel_open: bool,
    /// Sales still go: the trading state is REDUCING instead of HALTED.
    #[arg(long)]
    sales_only: bool,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
}

/// What `resume` takes.
#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
}

/// What `cancel` takes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  qt-host cancel ORD-20241222-001\n  qt-host cancel --all")]
pub(super) struct CancelArgs {
    /// The order: our id, the signal's order_id, or the broker's id.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    order: Option<String>,
    /// Every open order.
    #[arg(long)]
    all: bool,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
}

/// What `stop` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  qt-host stop\n  qt-host stop --within 60\n\nIt ends as by Ctrl-C: what is in hand is finished and reported, and orders at the broker stay there. Where none runs there is nothing to do, and that is no failure."
)]
pub(super) struct StopArgs {
    /// Seconds that it may take to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    within: u16,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Ends the host that runs on the configured data folder.
pub(super) fn stop(args: &StopArgs, options: &Options) -> Result<(), Failure> {
    let patience = Duration::from_secs(args.within.into());
    // One host trades all accounts, and any of their folders reaches it.
    let (mut ran, mut folders, mut failed) = (false, Vec::new(), None);
    for config in options.load_each(Purpose::Look)? {
        let data_dir = config.data_dir()?;
        match control::stop(&data_dir, Clock::system().now_ms(), patience) {
            Ok(there) => ran |= there,
            Err(e) => failed = Some(e),
        }
        folders.push(system::shown(&data_dir));
    }
    if let Some(e) = failed.filter(|_| !ran) {
        return Err(Failure::failed(e.to_string()));
    }
    let text = if ran {
        "the host has ended".to_owned()
    } else {
        format!("no qt-host runs on the data folder {}", folders.join(" or "))
    };
    if args.json {
        return super::print(&format!(
            "{}\n",
            serde_json::json!({ "done": true, "ran": ran, "text": text })
        ));
    }
    super::print(&format!("{text}\n"))
}

pub(super) fn halt(args: HaltArgs, options: &Options) -> Result<(), Failure> {
    let command = Command::Halt {
        reason: args.reason,
        cancel_open: args.cancel_open,
        sales_only: args.sales_only,
    };
    // Of several accounts all are meant: stopping one too many costs less than one too few.
    carry_out_for_each(options, &options.load_each(Purpose::Look)?, &command, args.json)
}

pub(super) fn resume(args: &ResumeArgs, options: &Options) -> Result<(), Failure> {
    // One that was halted for a reason of its own must not go on by chance.
    carry_out_for_each(
        options,
        &options.load_named(Purpose::Look)?,
        &Command::Resume,
        args.json,
    )
}

pub(super) fn cancel(args: CancelArgs, options: &Options) -> Result<(), Failure> {
    match args.order {
        Some(order) => carry_out(options, &Command::Cancel { order }, args.json),
        None => {
            let each = options.load_each(Purpose::Look)?;
            carry_out_for_each(options, &each, &Command::CancelAll, args.json)
        }
    }
}
