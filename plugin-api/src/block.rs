//! A configuration block as a type of the author's.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a block; a mistake is named by the key that it is at, such as `positions[0].quantity`.
pub(crate) fn read<T: DeserializeOwned>(block: &Value) -> Result<T, String> {
    serde_path_to_error::deserialize(block).map_err(|e| {
        let path = e.path().to_string();
        // The path of the block itself is a point.
        if path == "." {
            format!("the plugin's configuration block: {}", e.inner())
        } else {
            format!("the plugin's configuration block: `{path}`: {}", e.inner())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Block {
        #[serde(default)]
        cash: u64,
        #[serde(default)]
        rows: Vec<Row>,
    }

    #[derive(Debug, Deserialize)]
    struct Row {
        quantity: u64,
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_by_its_key() {
        let block: Block = read(&json!({ "cash": 7, "rows": [{ "quantity": 5 }] })).expect("a block");
        assert_eq!((block.cash, block.rows[0].quantity), (7, 5));
        for (given, said) in [
            (json!({ "cash": "much" }), "`cash`: invalid type: string"),
            (
                json!({ "rows": [{ "quantity": 1 }, { "quantity": 1.5 }] }),
                "`rows[1].quantity`: invalid ",
            ),
            (json!({ "rows": {} }), "`rows`: invalid type: map"),
            (json!({ "csah": 1 }), "`csah`: unknown field"),
            (json!([7, 7, 7]), "configuration block: "),
        ] {
            let error = read::<Block>(&given).expect_err("a mistake");
            assert!(error.contains(said), "{given}: {error}");
        }
    }
}
