//! `qt-host plugins doctor`: every fault at once, each with its mend. It reads files and runs nothing.

use serde_json::{Value, json};

use super::{Desk, Failure, plain};
use crate::plugin::{self, Checkup};

pub(super) fn run(desk: &Desk, which: Option<&str>) -> Result<(), Failure> {
    let mut checkups = plugin::check_up(&desk.plan, which, &desk.data_dir)?;
    checkups.iter_mut().for_each(|checkup| check_block(desk, checkup));
    let text = if desk.json {
        format!("{:#}\n", Value::Array(checkups.iter().map(as_json).collect()))
    } else if checkups.is_empty() {
        super::list::list(desk, false)
    } else {
        checkups.iter().map(text).collect::<String>() + &sum(&checkups)
    };
    crate::cli::print(&text)?;
    if checkups.iter().all(|checkup| checkup.findings.is_empty()) {
        Ok(())
    } else {
        Err(Failure::silent(1))
    }
}

/// The block of a plugin that is configured, or that is to trade: of others nothing is asked.
fn check_block(desk: &Desk, checkup: &mut Checkup) {
    let Some(name) = checkup.manifest.as_ref().map(|manifest| manifest.name.clone()) else {
        return;
    };
    for account in desk.accounts().unwrap_or_default() {
        let block = account.plugin_blocks.get(&name);
        let whose = if account.is_one_of_several() {
            format!(" for the account {}", account.account_label())
        } else {
            String::new()
        };
        if block.is_some() || account.broker.eq_ignore_ascii_case(&name) {
            checkup.check_block(block, &whose);
        }
    }
}

fn as_json(checkup: &Checkup) -> Value {
    let findings: Vec<Value> = checkup
        .findings
        .iter()
        .map(|finding| json!({ "code": finding.code, "fault": finding.fault, "mend": finding.mend }))
        .collect();
    json!({
        "path": checkup.path.to_string_lossy(),
        "name": checkup.manifest.as_ref().map(|manifest| &manifest.name),
        "version": checkup.manifest.as_ref().map(|manifest| &manifest.version),
        "sha256": checkup.sha256,
        "healthy": findings.is_empty(),
        "findings": findings,
    })
}

fn text(checkup: &Checkup) -> String {
    let mut text = plain(&checkup.path.to_string_lossy());
    if let Some(manifest) = &checkup.manifest {
        text += &format!(" ({} {})", plain(&manifest.name), plain(&manifest.version));
    }
    if checkup.findings.is_empty() {
        return text + ": no fault found\n";
    }
    text.push('\n');
    for finding in &checkup.findings {
        text += &format!(
            "  {}  it {}\n           mend: {}\n",
            finding.code,
            plain(&finding.fault),
            plain(&finding.mend)
        );
    }
    text
}

fn sum(checkups: &[Checkup]) -> String {
    let faults: usize = checkups.iter().map(|checkup| checkup.findings.len()).sum();
    let files = |n: usize| {
        if n == 1 {
            "1 file".to_owned()
        } else {
            format!("{n} files")
        }
    };
    match faults {
        0 => format!(
            "\n{} looked at, no fault found; nothing of them was run\n",
            files(checkups.len())
        ),
        n => format!(
            "\n{} looked at, {} found; nothing of them was run; `qt-host plugins --explain CODE` says more\n",
            files(checkups.len()),
            if n == 1 {
                "1 fault".to_owned()
            } else {
                format!("{n} faults")
            }
        ),
    }
}
