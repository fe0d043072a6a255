//! `gates`: what an order has to pass, and what each gate is set to.

use clap::Args;
use qt_core::Settings;
use qt_core::risk::GATES;
use serde_json::{Value, json};

use super::accounts::{Form, show_each};
use super::table::{Align, Table};
use super::{Failure, Options};
use crate::config::Purpose;
use crate::gating;

/// List the gates that every order passes, in their order, with what each is set to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qt-host gates
  qt-host gates --json
  qt-host gates --broker miniQMT      as they are set for another broker

Codes stand in the journal, in `qt-host orders` and in what the backend is told. A denied order ends; a deferred one waits; \
a signal that is left stays with the backend; an order that is held keeps its place until it may go.")]
pub(super) struct GatesArgs {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &GatesArgs, options: &Options) -> Result<(), Failure> {
    let form = if args.json { Form::Json } else { Form::Text };
    show_each(&options.load_each(Purpose::Look)?, form, |config| {
        let is_paper = gating::is_paper_by(config, &config.data_dir()?);
        let own = Settings {
            securities_account_id: config.securities_account_id.clone(),
            max_slippage_bps: config.execution.max_slippage_bps,
            ..Settings::default()
        };
        let settings = gating::set(own, config, is_paper).map_err(Failure::usage)?;
        Ok(match form {
            Form::Json => format!("{}\n", as_json(&settings, is_paper)),
            _ => as_table(&settings),
        })
    })
}

fn as_json(settings: &Settings, is_paper: bool) -> Value {
    let gates: Vec<Value> = GATES
        .iter()
        .enumerate()
        .map(|(place, gate)| {
            let setting = (gate.setting)(settings);
            json!({
                "place": place + 1,
                "gate": gate.name,
                "holds_to": gate.what,
                "codes": gate.codes.iter().map(|(code, outcome)| json!({ "code": code, "outcome": outcome.name() })).collect::<Vec<_>>(),
                "on": setting.is_some(),
                "setting": setting,
            })
        })
        .collect();
    json!({ "paper": is_paper, "gates": gates })
}

fn as_table(settings: &Settings) -> String {
    let mut table = Table::new(&[
        ("#", Align::Right),
        ("Gate", Align::Left),
        ("Holds orders to", Align::Left),
        ("Codes", Align::Left),
        ("Setting", Align::Left),
    ]);
    for (place, gate) in GATES.iter().enumerate() {
        let codes = gate
            .codes
            .iter()
            .map(|(code, outcome)| format!("{code} ({})", outcome.name()));
        table.row([
            (place + 1).to_string(),
            gate.name.to_owned(),
            gate.what.to_owned(),
            codes.collect::<Vec<_>>().join(", "),
            (gate.setting)(settings).unwrap_or_else(|| "off".to_owned()),
        ]);
    }
    table.render("no gates")
}
