//! `qt-host plugins list`: every plugin file, whether it can be used, and if not, why. It runs no plugin code.

use serde_json::{Value, json};

use super::{Desk, plain};
use crate::cli::table::{Align, Table};
use crate::conformance;
use crate::plugin::{self, PluginFile, SearchPlan, Signature};

/// The list as a table for people or as a JSON array, with a line break at its end.
pub(super) fn list(desk: &Desk, json: bool) -> String {
    // A verdict is found by its hash, which is left out where there is none to find.
    let files = plugin::list(&desk.plan, json || conformance::any_recorded(&desk.data_dir));
    if json {
        let rows: Vec<Value> = files.iter().map(|file| row_json(desk, file)).collect();
        return format!("{:#}\n", Value::Array(rows));
    }
    if files.is_empty() {
        return format!(
            "No plugin was found. Searched in this order:\n{}",
            places(&desk.plan)
        );
    }
    table(desk, &files)
}

fn places(plan: &SearchPlan) -> String {
    plan.places().iter().map(|place| format!("  {place}\n")).collect()
}

/// What the conformance kit last said of a file's content, in one word.
fn tested(desk: &Desk, file: &PluginFile) -> Option<&'static str> {
    conformance::word(&desk.data_dir, file.sha256.as_deref()?)
}

/// One shape for every state, so that a script need not ask which keys there are.
fn row_json(desk: &Desk, file: &PluginFile) -> Value {
    let manifest = file.manifest.as_ref();
    let refusal = file.refusal.as_ref();
    json!({
        "path": file.path.to_string_lossy(),
        "state": if refusal.is_some() { "refused" } else { "usable" },
        "name": manifest.map(|m| &m.name),
        "version": manifest.map(|m| &m.version),
        "api": manifest.map(|m| &m.api_version),
        "abi": manifest.map(|m| m.abi),
        "description": manifest.map(|m| &m.description),
        "capabilities": manifest.map(|m| &m.capabilities),
        "lane": manifest.map(|m| super::lane(&desk.config, m)),
        "sha256": file.sha256,
        "trust": file.trust.as_ref().map(|trust| trust.pin),
        "signature": file.trust.as_ref().and_then(|trust| trust.signature.as_ref()).map(Signature::word),
        "tested": tested(desk, file),
        "code": refusal.map(plugin::PluginError::code),
        "reason": refusal.map(plugin::PluginError::reason),
    })
}

fn table(desk: &Desk, files: &[PluginFile]) -> String {
    let columns = [
        "NAME",
        "VERSION",
        "API",
        "CAPABILITIES",
        "LANE",
        "TRUST",
        "TESTED",
        "STATE",
        "PATH",
    ];
    let mut table = Table::new(&columns.map(|title| (title, Align::Left)));
    let mut notes = String::new();
    for file in files {
        let path = file.path.to_string_lossy().into_owned();
        let state = file.refusal.as_ref().map_or_else(
            || "usable".to_owned(),
            |refusal| format!("refused {}", refusal.code()),
        );
        let trust = file
            .trust
            .as_ref()
            .map_or_else(|| "-".to_owned(), plugin::Trust::words);
        let tested = tested(desk, file).unwrap_or("-");
        match &file.manifest {
            Some(manifest) => table.row([
                manifest.name.clone(),
                manifest.version.clone(),
                manifest.api_version.clone(),
                manifest.capabilities.join(","),
                super::lane(&desk.config, manifest).to_owned(),
                trust,
                tested.to_owned(),
                state,
                path.clone(),
            ]),
            None => table.row(["-", "-", "-", "-", "-", &trust, tested, &state, &path].map(str::to_owned)),
        }
        if let Some(refusal) = &file.refusal {
            notes += &format!(
                "Refused {}: {} {}\n",
                refusal.code(),
                plain(&path),
                plain(&refusal.reason())
            );
        }
    }
    table.render("") + &notes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn desk(files: &[&Path], data_dir: &Path) -> Desk {
        let files: Vec<_> = files.iter().map(|f| f.to_path_buf()).collect();
        let loaded = crate::config::load(&crate::config::Sources::default(), crate::config::Purpose::Look);
        Desk {
            config: loaded.expect("nothing is wrong with nothing").config,
            data_dir: data_dir.to_path_buf(),
            // Without the folders of the test program, where plugins may lie or not.
            plan: SearchPlan::with(&files, &[], None, None, data_dir),
            now_ms: 0,
            json: false,
        }
    }

    #[test]
    fn a_refused_file_has_every_key_a_code_and_a_reason() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("notes.so");
        std::fs::write(&file, "just text, and long enough to be looked at").expect("file");
        let rows: Vec<Value> = serde_json::from_str(&list(&desk(&[&file], dir.path()), true)).expect("JSON");
        assert_eq!(rows[0]["state"], "refused");
        assert_eq!(rows[0]["code"], "QT-P004");
        assert_eq!(rows[0]["path"], file.to_str().expect("UTF-8"));
        assert!(
            rows[0]["reason"]
                .as_str()
                .is_some_and(|r| r.contains("text file"))
        );
        assert_eq!(rows[0].as_object().map(serde_json::Map::len), Some(15));
        let text = list(&desk(&[&file], dir.path()), false);
        assert!(text.contains("Refused QT-P004: "), "{text}");
    }

    #[test]
    fn nothing_found_names_the_places() {
        let dir = tempfile::tempdir().expect("folder");
        let text = list(&desk(&[], dir.path()), false);
        let place = dir.path().join("plugins");
        assert!(text.contains(&*place.to_string_lossy()), "{text}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
