//! `qt-host plugins install`, `upgrade`, `rollback`, `remove` and `history`.

use std::path::Path;

use serde_json::{Value, json};

use super::live::{self, Hosts, Outcome};
use super::{Desk, Failure, plain};
use crate::cli::table::{Align, Table};
use crate::plugin::{self, Done, Kept, PluginFile, Shelf};

/// Digits of a hash that people compare by eye.
const SHORT_HASH: usize = 12;

fn shelf(desk: &Desk) -> Shelf {
    Shelf::new(&desk.data_dir, desk.now_ms)
}

pub(super) fn install(desk: &Desk, file: &Path) -> Result<(), Failure> {
    let done = shelf(desk).install(file, desk.plan.trust())?;
    say(desk, "installed", &done, &live::unasked(desk, &done))
}

pub(super) fn upgrade(desk: &Desk, file: &Path, next_start: bool) -> Result<(), Failure> {
    // A host that does not answer is to be seen to before anything is changed.
    let hosts = Hosts::find(desk, next_start)?;
    let done = shelf(desk).upgrade(file, desk.plan.trust())?;
    let outcome = hosts.take_up(desk, &shelf(desk), &done)?;
    say(desk, "upgraded", &done, &outcome)
}

pub(super) fn rollback(desk: &Desk, name: &str, to: Option<&str>, next_start: bool) -> Result<(), Failure> {
    let hosts = Hosts::find(desk, next_start)?;
    let done = shelf(desk).rollback(name, to)?;
    let outcome = hosts.take_up(desk, &shelf(desk), &done)?;
    say(desk, "rolled back", &done, &outcome)
}

pub(super) fn remove(desk: &Desk, name: &str, purge: bool) -> Result<(), Failure> {
    if purge {
        Hosts::find(desk, false)?.run_without(name)?;
    }
    let done = shelf(desk).remove(name, purge)?;
    let outcome = live::unasked(desk, &done);
    say(desk, if purge { "purged" } else { "removed" }, &done, &outcome)
}

/// Says what was done, and what is still to do for it to take effect.
fn say(desk: &Desk, verb: &str, done: &Done, outcome: &Outcome) -> Result<(), Failure> {
    let files = plugin::list(&desk.plan, true);
    let own = files.iter().find(|file| file.path == done.path);
    let trust = own.and_then(|file| file.trust.as_ref()).map(|trust| trust.pin);
    let pending = done.to.is_some() && trust.is_some_and(|word| word != "open" && word != "pinned");
    let clashes: Vec<String> = files
        .iter()
        .filter(|file| clash(file, done))
        .map(path_of)
        .collect();
    if desk.json {
        let all = json!({
            "action": verb, "name": done.name, "from": done.from, "to": done.to, "sha256": done.sha256,
            "path": done.path.to_string_lossy(), "unchanged": done.unchanged, "trust": trust, "clashes": clashes,
            "takes_effect": if outcome.waits { "at the host's next start" } else { "now" },
            "exchanged": outcome.said,
        });
        return crate::cli::print(&format!("{all:#}\n"));
    }
    let name = plain(&done.name);
    let mut text = match (&done.from, &done.to) {
        (_, Some(to)) if done.unchanged => {
            format!("`{name}` {} is current already; nothing was changed\n", plain(to))
        }
        (Some(from), Some(to)) => format!("{verb} `{name}` from {} to {}\n", plain(from), plain(to)),
        (None, Some(to)) => format!("{verb} `{name}` {}\n", plain(to)),
        (Some(from), None) => format!("{verb} `{name}` {}\n", plain(from)),
        (None, None) => format!("{verb} what was kept of `{name}`\n"),
    };
    if done.to.is_some() {
        text += &format!("  file    {}\n  sha256  {}\n", done.path.display(), done.sha256);
    }
    if done.to.is_none() && verb == "removed" {
        text += &format!("Its versions are kept: `qt-host plugins rollback {name}` brings it back.\n");
    }
    if pending {
        text += &format!(
            "There is a lock file, and this content is not pinned in it: before it can be loaded, run: qt-host plugins \
             trust {name}\n"
        );
    }
    if !clashes.is_empty() {
        text += &format!(
            "Another plugin of that name lies at {}: which one is meant is not known, so that neither is loaded until one \
             is removed or named with --plugin.\n",
            clashes.join(", ")
        );
    }
    for said in &outcome.said {
        text += &format!("{}\n", plain(said));
    }
    if outcome.waits {
        text += "A host runs on this data folder with what it has loaded; the change takes effect at its next start.\n";
    }
    crate::cli::print(&text)
}

/// Whether a file has the name of what is current now, and another content. What came with the program gives way.
fn clash(file: &PluginFile, done: &Done) -> bool {
    let same_name = file
        .manifest
        .as_ref()
        .is_some_and(|manifest| manifest.name.eq_ignore_ascii_case(&done.name));
    done.to.is_some()
        && same_name
        && !file.shipped
        && file.path != done.path
        && file.sha256.as_ref() != Some(&done.sha256)
}

fn path_of(file: &PluginFile) -> String {
    file.path.display().to_string()
}

pub(super) fn history(desk: &Desk, name: &str) -> Result<(), Failure> {
    let kept = shelf(desk).history(name)?;
    if desk.json {
        let rows: Vec<Value> = kept.iter().map(as_json).collect();
        return crate::cli::print(&format!("{:#}\n", Value::Array(rows)));
    }
    let mut table = Table::new(&[
        ("VERSION", Align::Left),
        ("SHA256", Align::Left),
        ("INSTALLED", Align::Left),
        ("STATE", Align::Left),
        ("FROM", Align::Left),
    ]);
    for kept in &kept {
        table.row([
            kept.version.clone(),
            kept.sha256.chars().take(SHORT_HASH).collect(),
            kept.installed_at.clone(),
            state(kept).to_owned(),
            kept.source.clone(),
        ]);
    }
    crate::cli::print(&table.render("none"))
}

const fn state(kept: &Kept) -> &'static str {
    match (kept.current, kept.available) {
        (true, _) => "current",
        (false, true) => "kept",
        (false, false) => "gone",
    }
}

fn as_json(kept: &Kept) -> Value {
    json!({
        "version": kept.version, "sha256": kept.sha256, "installed_at": kept.installed_at, "source": kept.source,
        "state": state(kept), "current": kept.current, "available": kept.available,
    })
}
