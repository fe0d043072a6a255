//! `qt-host doctor`: looks at everything that trading needs and says what to do.

use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use qt_plugin_api::{Finding, Health};
use serde_json::json;

use super::{Failure, Options, print};
use crate::clock::Clock;
use crate::config::{Config, Purpose};
use crate::desk;
use crate::hosting;
use crate::plugin;
use crate::system;

/// A plugin's examination may wait for a terminal, and not for ever.
const WITHIN: Duration = Duration::from_secs(300);

const EXAMPLES: &str = "\
Examples:
  qt-host doctor --config config.json                    the broker of the configuration
  qt-host doctor --config config.json --broker miniqmt   another one
  qt-host doctor --config config.json --json             for a program

Nothing is traded, and a running host is not disturbed.

Exit codes: 0 all is well, 1 something is in the way of trading, 2 usage or configuration, 3 plugin missing or refused.";

/// Look at everything that trading needs, and say what is wrong and what to do.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The exit code and what to say about it.
pub(super) fn run(args: &DoctorArgs, options: &Options) -> Result<(), Failure> {
    let config = options.load_one(Purpose::Look)?;
    let findings = of_plugin(&config)?;
    let text = if args.json {
        let rows: Vec<_> = findings.iter().map(row).collect();
        format!("{:#}\n", json!({ "findings": rows, "well": is_well(&findings) }))
    } else {
        shown(&findings)
    };
    print(&text)?;
    if is_well(&findings) {
        return Ok(());
    }
    Err(Failure::silent(1))
}

fn is_well(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.health != Health::Bad)
}

/// The plugin itself, then what it says of what it needs.
fn of_plugin(config: &Config) -> Result<Vec<Finding>, Failure> {
    let (home, data_dir) = (config.home_dir()?, config.data_dir()?);
    system::create_private_dir(&data_dir)?;
    let wanted = config.names_broker.then_some(config.broker.as_str());
    let plugin = plugin::keep(&desk::search_plan(config, &home), wanted, &home);
    let plugin = plugin.map_err(|e| Failure::plugin(e.to_string()))?;
    let name = plugin.name().to_owned();
    // A mistake in the block is said before any code of the plugin runs.
    let block = hosting::block(config, &plugin)?;
    let module = plugin.bring_in().map_err(|e| Failure::plugin(e.to_string()))?;
    let found = Finding::good(
        "plugin",
        format!(
            "{name} {} from {}",
            plugin.manifest().version,
            system::shown(plugin.path())
        ),
    );
    let folder = hosting::plugin_folder(&data_dir, &name).map_err(|e| Failure::failed(e.to_string()))?;
    let account = desk::broker_account(config, &name);
    let (tell, told) = mpsc::channel();
    // On a thread of its own: what a plugin looks at may hang.
    std::thread::Builder::new()
        .name("doctor".into())
        .spawn(move || {
            let now_ms = Clock::system().now_ms();
            tell.send(module.examine(&block, &folder, account.as_deref(), now_ms))
                .ok();
        })
        .map_err(|e| Failure::failed(format!("the system gives no thread: {e}")))?;
    let mut findings = vec![found];
    match told.recv_timeout(WITHIN) {
        Ok(Some(Ok(own))) => findings.extend(own),
        Ok(Some(Err(e))) => findings.push(broken(&name, &e.to_string())),
        Ok(None) => findings.push(Finding {
            name: name.clone(),
            health: Health::Unclear,
            saw: "this plugin says nothing of what it needs".to_owned(),
            todo: format!("qt-host plugins test {name} tries it"),
        }),
        Err(_) => findings.push(broken(
            &name,
            &format!("it has not answered within {} s", WITHIN.as_secs()),
        )),
    }
    Ok(findings)
}

fn broken(name: &str, why: &str) -> Finding {
    Finding::bad(
        name,
        format!("its examination failed: {why}"),
        "report this to the plugin's author",
    )
}

const fn word(health: Health) -> &'static str {
    match health {
        Health::Good => "ok",
        Health::Bad => "WRONG",
        Health::Unclear => "unclear",
    }
}

fn row(finding: &Finding) -> serde_json::Value {
    json!({ "name": finding.name, "health": word(finding.health).to_ascii_lowercase(), "saw": finding.saw, "todo": finding.todo })
}

fn shown(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
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
    let wrong = findings
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
        let findings = [
            Finding::good("python", "Python 3.11"),
            Finding::bad("login", "no terminal", "log in"),
        ];
        let text = shown(&findings);
        assert!(text.contains("WRONG    login          no terminal\n"), "{text}");
        assert!(
            text.contains("do: log in\n") && text.ends_with("one thing is in the way of trading\n"),
            "{text}"
        );
        assert!(!is_well(&findings) && is_well(&findings[..1]));
    }
}
