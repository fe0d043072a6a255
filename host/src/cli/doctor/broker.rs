//! The plugin, and what it says of what it needs.

use std::sync::mpsc;
use std::time::Duration;

use super::Report;
use crate::cli::Failure;
use crate::clock::Clock;
use crate::config::Config;
use crate::{desk, gating, hosting, plugin, system};

/// A plugin's examination may wait for a terminal, and not for ever.
const WITHIN: Duration = Duration::from_secs(300);

/// The plugin itself, then what it says of what it needs.
pub(super) fn of_plugin(config: &Config, report: &mut Report) {
    if let Err(failure) = examine(config, report) {
        report.code(failure.code);
        let todo = match failure.code {
            2 => {
                "correct the plugin's block in the configuration; `qt-host plugins inspect NAME` shows its options"
            }
            _ => "`qt-host plugins doctor` says what is the matter with each file and its mend",
        };
        report.bad("plugin", failure.message, todo);
    }
}

fn examine(config: &Config, report: &mut Report) -> Result<(), Failure> {
    let (home, data_dir) = (config.home_dir()?, config.data_dir()?);
    let wanted = config.names_broker.then_some(config.broker.as_str());
    let plugin = plugin::keep(&desk::search_plan(config, &home), wanted, &home);
    let plugin = plugin.map_err(|e| Failure::plugin(e.to_string()))?;
    let name = plugin.name().to_owned();
    let kind = if gating::is_paper(plugin.manifest()) {
        "trades on paper"
    } else {
        "moves money"
    };
    let found = format!(
        "{name} {} from {}; it {kind}",
        plugin.manifest().version,
        system::shown(plugin.path())
    );
    // A mistake in the block is said before any code of the plugin runs.
    let block = hosting::block(config, &plugin)?;
    let module = plugin.bring_in().map_err(|e| Failure::plugin(e.to_string()))?;
    report.good("plugin", found);
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
    match told.recv_timeout(WITHIN) {
        Ok(Some(Ok(own))) => own.into_iter().for_each(|finding| report.add(finding)),
        Ok(Some(Err(e))) => broken(&name, &e.to_string(), report),
        Ok(None) => report.unclear(
            &name,
            "this plugin says nothing of what it needs",
            format!("qt-host plugins test {name} tries it"),
        ),
        Err(_) => broken(
            &name,
            &format!("it has not answered within {} s", WITHIN.as_secs()),
            report,
        ),
    }
    Ok(())
}

fn broken(name: &str, why: &str, report: &mut Report) {
    report.bad(
        name,
        format!("its examination failed: {why}"),
        "report this to the plugin's author",
    );
}
