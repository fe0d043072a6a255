//! A plugin's block of the configuration against what its manifest says that it takes, before any of its code runs.

use std::path::Path;

use qt_plugin_api::host::ConfigFault;
use qt_plugin_api::manifest::Manifest;
use serde_json::{Value, json};

use super::PluginError;
use crate::config;

/// Lets a block pass that the plugin's own schema lets pass. A plugin without a schema takes anything.
///
/// # Errors
/// Every fault of the block at once.
pub(crate) fn check_block(
    path: &Path,
    manifest: &Manifest,
    block: Option<&Value>,
) -> Result<(), PluginError> {
    let faults = faults(manifest, block);
    if faults.is_empty() {
        return Ok(());
    }
    Err(PluginError::Block {
        path: path.to_path_buf(),
        faults: faults.join("; "),
    })
}

/// What is wrong with the block of a plugin, a phrase each; keys begin with the block's name.
pub(super) fn faults(manifest: &Manifest, block: Option<&Value>) -> Vec<String> {
    let empty = json!({});
    let found = manifest.check_config(block.unwrap_or(&empty));
    found
        .into_iter()
        .map(|fault| shown(fault, &manifest.name))
        .collect()
}

fn shown(mut fault: ConfigFault, name: &str) -> String {
    // A schema that marks no secret is no licence to show one, and what is within a block or list is not looked at.
    let is_whole = fault
        .found
        .as_ref()
        .is_some_and(|text| text.starts_with(['{', '[']));
    if is_whole || config::sounds_secret(&fault.path) {
        fault.found = None;
    }
    fault.path = if fault.path.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{}", fault.path)
    };
    fault.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["rate"],
            "properties": { "rate": { "type": "integer", "minimum": 1 }, "pin": { "type": "string", "writeOnly": true },
                            "account_id": { "type": "string" }, "lists": { "type": "integer" } },
        });
        let mut manifest: Manifest = serde_json::from_value(json!({
            "name": "mine", "version": "1", "abi": 1, "api_version": "1", "description": "", "capabilities": [],
            "rustc": "", "target": "", "panic": "unwind",
        }))
        .unwrap();
        manifest.config_schema = Some(schema);
        manifest
    }

    #[test]
    fn every_fault_names_its_key_and_no_secret_is_shown() {
        let block =
            json!({ "rate": 0, "pin": 4711, "account_id": 55_000_001, "lists": [55_000_001], "rat": 1 });
        let said = check_block(Path::new("libmine.so"), &manifest(), Some(&block))
            .unwrap_err()
            .to_string();
        for part in [
            "QT-P035",
            "libmine.so",
            "`mine.rate` is 0",
            "`mine.pin` (its value is not shown)",
            "`mine.rat` is unknown",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("4711") && !said.contains("55000001"), "{said}");
    }

    #[test]
    fn a_block_that_is_left_out_is_an_empty_one() {
        let path = Path::new("libmine.so");
        let said = check_block(path, &manifest(), None).unwrap_err().to_string();
        assert!(said.contains("`mine.rate` is missing"), "{said}");
        assert_eq!(
            check_block(path, &manifest(), Some(&json!({ "rate": 3 }))),
            Ok(())
        );
        let without = Manifest {
            config_schema: None,
            ..manifest()
        };
        assert_eq!(
            check_block(path, &without, Some(&json!({ "anything": true }))),
            Ok(())
        );
    }
}
