//! What an author's tests need.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;

/// Set to anything, it lets [`check_schema`] write the file instead of comparing it.
pub const WRITE_SCHEMA: &str = "QT_WRITE_SCHEMA";

/// The JSON Schema of a type, as it belongs into the checked-in file.
///
/// # Panics
/// Never for a schema that was derived.
#[must_use]
pub fn schema_text<T: JsonSchema>() -> String {
    let schema = schemars::schema_for!(T);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    text
}

/// Fails when the checked-in schema differs from that of the type which reads the configuration.
///
/// `file` is relative to the author's crate. With the variable `QT_WRITE_SCHEMA` set it writes the file instead.
///
/// ```no_run
/// use qt_plugin_api::{schemars::JsonSchema, serde::Deserialize, testing::check_schema};
///
/// #[derive(Deserialize, JsonSchema)]
/// #[serde(crate = "qt_plugin_api::serde", deny_unknown_fields)]
/// #[schemars(crate = "qt_plugin_api::schemars")]
/// struct Options {
///     /// Address of the broker's gateway.
///     gateway: String,
/// }
///
/// # #[allow(dead_code)]
/// fn the_schema_is_that_of_the_options() {
///     check_schema::<Options>("config-schema.json");
/// }
/// ```
///
/// # Panics
/// When the file differs, is missing, or cannot be written.
pub fn check_schema<T: JsonSchema>(file: impl AsRef<Path>) {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let path = root.unwrap_or_default().join(file);
    if let Err(why) = compare(
        &path,
        &schema_text::<T>(),
        std::env::var_os(WRITE_SCHEMA).is_some(),
    ) {
        panic!("{why}");
    }
}

fn compare(path: &Path, wanted: &str, write: bool) -> Result<(), String> {
    let shown = path.display();
    if write {
        return std::fs::write(path, wanted).map_err(|e| format!("{shown} cannot be written: {e}"));
    }
    let mend = format!("write it by `{WRITE_SCHEMA}=1 cargo test`, look at the difference, and check it in");
    let found = match std::fs::read_to_string(path) {
        Ok(text) => text.replace("\r\n", "\n"),
        Err(e) => return Err(format!("{shown} cannot be read ({e}); {mend}")),
    };
    if found == wanted {
        return Ok(());
    }
    let differs = wanted.lines().zip(found.lines()).position(|(a, b)| a != b);
    let line = differs.unwrap_or_else(|| wanted.lines().count().min(found.lines().count()));
    let of = |text: &str| text.lines().nth(line).unwrap_or("(the end)").trim().to_owned();
    Err(format!(
        "{shown} is not the schema of the options: line {} is `{}`, and the type says `{}`; {mend}",
        line + 1,
        of(&found),
        of(wanted)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct Options {
        /// Where it is.
        gateway: String,
        port: Option<u16>,
    }

    #[test]
    fn a_missing_a_stale_and_a_true_file_are_told_apart() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("schema.json");
        let wanted = schema_text::<Options>();
        assert!(
            compare(&path, &wanted, false)
                .expect_err("missing")
                .contains("QT_WRITE_SCHEMA=1")
        );
        compare(&path, &wanted, true).expect("written");
        compare(&path, &wanted, false).expect("the same");
        std::fs::write(&path, wanted.replace("gateway", "gate")).expect("written");
        let why = compare(&path, &wanted, false).expect_err("stale");
        assert!(why.contains("gateway") && why.contains("`\"gate\""), "{why}");
        let read: serde_json::Value = serde_json::from_str(&wanted).expect("JSON");
        assert_eq!(read["properties"]["gateway"]["description"], "Where it is.");
    }
}
