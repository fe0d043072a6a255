//! `qt-host doctor`: looks at everything that trading needs and says what to do.

mod backend;
mod broker;
mod bundle;
mod nats;
mod place;
mod signals;

use std::path::PathBuf;

use clap::Args;
use qt_plugin_api::{Finding, Health};
use serde_json::{Value, json};

use super::{Failure, Options, print};
use crate::config::{Config, Loaded, Purpose};

const EXAMPLES: &str = "\
Examples:
  qt-host doctor --config config.json                    everything that trading with this file needs
  qt-host doctor --config config.json --broker miniqmt   with another broker
  qt-host doctor --config config.json --json             for a program
  qt-host doctor --config config.json --bundle help.zip  what somebody who helps you needs, secrets removed

It looks at the configuration, the folders and the disk, the journal, the host that may run, the reports, the plugin and what
it needs, the way to the backend (name, connection, certificate, clock), the token and its end, the calls that the backend
has, and the signals that wait there, with the reason why each is not taken. Nothing is traded or changed, and a running host
is not disturbed.

Exit codes: 0 all is well, 1 something is in the way of trading, 2 usage or configuration, 3 plugin missing or refused,
4 journal unsafe.";

/// Look at everything that trading needs, and say what is wrong and what to do.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,

    /// Write a zip file for somebody who helps: what was found, the configuration, the end of the logs. Tokens, passwords
    /// and account numbers are taken out. The file must not exist.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

/// What was found, and the exit code that the gravest of it means.
#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
    /// 2, 3 or 4, the first that came; else what is wrong means 1.
    code: Option<u8>,
}

impl Report {
    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn good(&mut self, name: &str, saw: impl Into<String>) {
        self.add(Finding::good(name, saw));
    }

    /// Something in the way of trading.
    fn bad(&mut self, name: &str, saw: impl Into<String>, todo: impl Into<String>) {
        self.add(Finding::bad(name, saw, todo));
    }

    /// Something that may be as it should be, and that a person should know of.
    fn unclear(&mut self, name: &str, saw: impl Into<String>, todo: impl Into<String>) {
        self.add(Finding {
            name: name.to_owned(),
            health: Health::Unclear,
            saw: saw.into(),
            todo: todo.into(),
        });
    }

    fn code(&mut self, code: u8) {
        self.code.get_or_insert(code);
    }

    fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.health != Health::Bad)
    }
}

/// Runs the command.
///
/// # Errors
/// The exit code and what to say about it.
pub(super) fn run(args: &DoctorArgs, options: &Options) -> Result<(), Failure> {
    if let Some(file) = args.bundle.as_ref().filter(|file| file.exists()) {
        return Err(Failure::usage(format!(
            "{} is there already; name another file with --bundle",
            crate::system::shown(file)
        )));
    }
    let mut report = Report::default();
    let config = configuration(options, &mut report)?;
    if let Some(config) = &config {
        examine(config, options, &mut report)?;
    }
    if let Some(file) = &args.bundle {
        bundle::write(file, config.as_ref(), &report)?;
    }
    print(&if args.json {
        format!("{:#}\n", as_json(&report))
    } else {
        let mut text = as_text(&report);
        if let Some(file) = &args.bundle {
            text += &format!(
                "{} is for whoever helps you; look into it before you send it\n",
                crate::system::shown(file)
            );
        }
        text
    })?;
    match (report.is_well(), report.code) {
        (true, _) => Ok(()),
        (false, code) => Err(Failure::silent(code.unwrap_or(1))),
    }
}

/// The configuration as far as it can be used; every mistake in it is a finding.
fn configuration(options: &Options, report: &mut Report) -> Result<Option<Config>, Failure> {
    let name = match &options.sources().file {
        Some(file) => crate::system::shown(file),
        None => "no file, the environment alone".to_owned(),
    };
    let strict = crate::config::load(&options.sources(), Purpose::Trade);
    let loaded = match strict {
        Ok(loaded) => {
            report.good("configuration", format!("{name}: no mistakes"));
            Some(loaded)
        }
        Err(mistakes) => {
            report.code(2);
            for mistake in &mistakes.0 {
                report.bad(
                    "configuration",
                    mistake.to_string(),
                    "correct this value; `qt-host config check` says all mistakes, examples/config has examples",
                );
            }
            // What lacks only an address or a token can be looked at further.
            crate::config::load(&options.sources(), Purpose::Look).ok()
        }
    };
    let Some(Loaded { config, warnings }) = loaded else {
        return Ok(None);
    };
    for warning in warnings {
        report.unclear("configuration", warning, "do so, and look again");
    }
    Ok(Some(config))
}

fn examine(config: &Config, options: &Options, report: &mut Report) -> Result<(), Failure> {
    let each = options.meant(config)?;
    let several = each.len() > 1;
    let has_home = place::home(config, report);
    let mut accounts = Vec::new();
    for account in each.iter().filter(|_| has_home) {
        let begun = report.findings.len();
        let state = place::account(account, report);
        broker::of_plugin(account, report);
        if several {
            // Each line says whose it is.
            for finding in report.findings.iter_mut().skip(begun) {
                finding.saw = format!("{}: {}", account.account_label(), finding.saw);
            }
        }
        accounts.push((account, state));
    }
    backend::examine(config, &accounts, report)
}

const fn word(health: Health) -> &'static str {
    match health {
        Health::Good => "ok",
        Health::Bad => "WRONG",
        Health::Unclear => "unclear",
    }
}

fn as_json(report: &Report) -> Value {
    let row = |finding: &Finding| {
        json!({
            "name": finding.name, "health": word(finding.health).to_ascii_lowercase(), "saw": finding.saw,
            "todo": finding.todo,
        })
    };
    let rows: Vec<_> = report.findings.iter().map(row).collect();
    json!({ "findings": rows, "well": report.is_well() })
}

fn as_text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        text += &format!(
            "{:<8} {:<14} {}\n",
            word(finding.health),
            finding.name,
            finding.saw
        );
        if !finding.todo.is_empty() && finding.health != Health::Good {
            text += &format!("{:<8} {:<14} do: {}\n", "", "", finding.todo);
        }
    }
    let wrong = report
        .findings
        .iter()
        .filter(|finding| finding.health == Health::Bad)
        .count();
    text += &match wrong {
        0 => "nothing is in the way of trading\n".to_owned(),
        1 => "one thing is in the way of trading\n".to_owned(),
        many => format!("{many} things are in the way of trading; mend the first one first\n"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_followed_by_what_to_do() {
        let mut report = Report::default();
        report.good("python", "Python 3.11");
        assert!(report.is_well());
        report.bad("login", "no terminal", "log in");
        let text = as_text(&report);
        assert!(text.contains("WRONG    login          no terminal\n"), "{text}");
        assert!(
            text.contains("do: log in\n") && text.ends_with("one thing is in the way of trading\n"),
            "{text}"
        );
        assert!(!report.is_well());
    }
}
