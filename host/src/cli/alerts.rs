//! `alerts test`: whether alerts arrive.

use clap::Subcommand;
use serde_json::json;

use super::{Failure, Options, print};
use crate::alerts::{Alert, Channels, Kind};
use crate::clock::Clock;
use crate::config::Purpose;

/// What can be done about alerts.
#[derive(Debug, Subcommand)]
pub(super) enum AlertsCommand {
    /// Send a message that says it is a test to every channel of the block `alerts`, and say what came of it.
    #[command(after_help = "\
Examples:
  qt-host alerts test --config config.json
  qt-host alerts test --json

The block `alerts` names a robot's webhook, a command, or both:
  \"alerts\": { \"webhook\": { \"format\": \"dingtalk\", \"url\": \"env:ROBOT_URL\", \"secret\": \"env:ROBOT_SECRET\" },
              \"command\": [\"/usr/local/bin/page-me\"] }
Formats: dingtalk, wecom, feishu, json. A robot's address is as good as a password and is never shown.")]
    Test {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: &AlertsCommand, options: &Options) -> Result<(), Failure> {
    let AlertsCommand::Test { json } = command;
    let config = options.load(Purpose::Look)?;
    if !config.alerts.tell_somebody() {
        return Err(Failure::usage(
            "nobody is to be told: the configuration has no block `alerts` with a `webhook` or a `command`; \
             `qt-host alerts test --help` shows one",
        ));
    }
    let channels = Channels::new(&config.alerts).map_err(Failure::usage)?.impatient();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("the system gives no runtime: {e}")))?;
    let alert = Alert {
        kind: Kind::Test,
        is_raised: true,
        is_critical: false,
        level: 1,
        account: None,
        text: "this is a test of quantTrader's alerts; nothing is the matter".to_owned(),
        at_ms: Clock::system().now_ms(),
    };
    let results = runtime.block_on(channels.each(&alert, 0));
    let text = if *json {
        let rows = results.iter().map(|(channel, result)| {
            json!({ "channel": channel, "delivered": result.is_ok(), "problem": result.as_ref().err() })
        });
        format!("{}\n", json!(rows.collect::<Vec<_>>()))
    } else {
        let line = |(channel, result): &(String, Result<(), String>)| match result {
            Ok(()) => format!("{channel}: delivered\n"),
            Err(why) => format!("{channel}: not delivered: {why}\n"),
        };
        results.iter().map(line).collect()
    };
    print(&text)?;
    if results.iter().all(|(_, result)| result.is_ok()) {
        Ok(())
    } else {
        Err(Failure::silent(1))
    }
}
