//! `qt-host plugins list`: every plugin file, whether it can be used, and if not, why. It runs no plugin code.

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::plugin::{self, FileState, PluginFile, SearchPlan};

/// Digits of a hash that people compare by eye.
const SHORT_HASH: usize = 12;

/// The list as a table for people or as a JSON array, with a line break at its end.
pub(crate) fn list(plan: &SearchPlan, json: bool) -> String {
    let files = plugin::list(plan);
    if json {
        let rows: Vec<Value> = files.iter().map(row_json).collect();
        return format!("{:#}\n", Value::Array(rows));
    }
    if files.is_empty() {
        return format!("No plugin was found. Searched in this order:\n{}", places(plan));
    }
    table(&files)
}

/// What the codes mean, for the command's help.
pub(crate) fn codes_help() -> String {
    plugin::CODES
        .iter()
        .fold(String::from("Codes:"), |text, (code, meaning)| {
            format!("{text}\n  {code}  {meaning}")
        })
}

fn places(plan: &SearchPlan) -> String {
    plan.places().iter().map(|place| format!("  {place}\n")).collect()
}

fn row_json(file: &PluginFile) -> Value {
    // One shape for both states, so that a script need not ask which keys there are.
    let path = file.path.to_string_lossy();
    match &file.state {
        FileState::Usable { manifest, sha256 } => json!({
            "path": path, "state": "usable", "name": manifest.name, "version": manifest.version,
            "api": manifest.api_version, "abi": manifest.abi, "description": manifest.description,
            "capabilities": manifest.capabilities, "sha256": sha256, "code": null, "reason": null,
        }),
        FileState::Refused { code, reason } => json!({
            "path": path, "state": "refused", "name": null, "version": null, "api": null, "abi": null,
            "description": null, "capabilities": null, "sha256": null, "code": code, "reason": reason,
        }),
    }
}

fn table(files: &[PluginFile]) -> String {
    let mut rows = vec![["NAME", "VERSION", "API", "CAPABILITIES", "SHA256", "PATH"].map(str::to_owned)];
    let mut notes = String::new();
    for file in files {
        let path = plain(&file.path.to_string_lossy());
        match &file.state {
            FileState::Usable { manifest, sha256 } => rows.push([
                plain(&manifest.name),
                plain(&manifest.version),
                plain(&manifest.api_version),
                plain(&manifest.capabilities.join(",")),
                sha256.chars().take(SHORT_HASH).collect(),
                path,
            ]),
            FileState::Refused { code, reason } => {
                notes += &format!("Refused {code}: {path} {}\n", plain(reason));
            }
        }
    }
    if rows.len() == 1 {
        return notes;
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Padded by columns on a screen: a Chinese character takes two.
            line += cell;
            line += &" ".repeat(width - cell.width() + 2);
        }
        text += line.trim_end();
        text.push('\n');
    }
    text + &notes
}

/// A plugin's own words without what would steer the terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn plan(files: &[&Path], data_dir: &Path) -> SearchPlan {
        let files: Vec<_> = files.iter().map(|f| f.to_path_buf()).collect();
        // Without the folders of the test program, where plugins may lie or not.
        SearchPlan::with(&files, &[], None, None, data_dir)
    }

    #[test]
    fn a_refused_file_has_every_key_a_code_and_a_reason() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("notes.so");
        std::fs::write(&file, "just text, and long enough to be looked at").expect("file");
        let rows: Vec<Value> = serde_json::from_str(&list(&plan(&[&file], dir.path()), true)).expect("JSON");
        assert_eq!(rows[0]["state"], "refused");
        assert_eq!(rows[0]["code"], "QT-P004");
        assert_eq!(rows[0]["path"], file.to_str().expect("UTF-8"));
        assert!(
            rows[0]["reason"]
                .as_str()
                .is_some_and(|r| r.contains("text file"))
        );
        assert_eq!(rows[0].as_object().map(serde_json::Map::len), Some(11));
        let text = list(&plan(&[&file], dir.path()), false);
        assert!(text.contains("Refused QT-P004: "), "{text}");
    }

    #[test]
    fn nothing_found_names_the_places() {
        let dir = tempfile::tempdir().expect("folder");
        let text = list(&plan(&[], dir.path()), false);
        let place = dir.path().join("plugins");
        assert!(text.contains(&*place.to_string_lossy()), "{text}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
