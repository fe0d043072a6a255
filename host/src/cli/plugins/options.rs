//! A plugin's configuration schema as a table of options that people can read.

use serde_json::Value;

use crate::cli::table::{Align, Table};

/// Blocks within blocks are followed this far; a schema may refer to itself.
const MAX_DEPTH: usize = 5;
/// Options shown at most; a file may claim any number.
const MAX_ROWS: usize = 300;
/// Characters of a default or of a list of words that are shown.
const MAX_TEXT: usize = 60;

/// One option.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its key, with the keys above it: `positions[].symbol`.
    pub(super) key: String,
    /// What it takes, such as `whole number, 0 or more`.
    pub(super) kind: String,
    /// Its default as JSON, or nothing.
    pub(super) default: String,
    /// Whether it must be given.
    pub(super) required: bool,
    /// What its author says of it.
    pub(super) description: String,
}

/// The options of a JSON Schema, in its order by key.
pub(super) fn rows(schema: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    block(schema, schema, "", 0, &mut rows);
    rows
}

/// The options as a table.
pub(super) fn table(schema: &Value) -> String {
    let mut table = Table::new(&[
        ("OPTION", Align::Left),
        ("TAKES", Align::Left),
        ("DEFAULT", Align::Left),
        ("MUST", Align::Left),
        ("MEANING", Align::Left),
    ]);
    for row in rows(schema) {
        let must = if row.required { "yes" } else { "" };
        table.row([row.key, row.kind, row.default, must.to_owned(), row.description]);
    }
    table.render("(it takes no options)")
}

fn block(root: &Value, schema: &Value, prefix: &str, depth: usize, rows: &mut Vec<Row>) {
    let schema = resolved(root, schema);
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (name, written) in properties {
        if rows.len() >= MAX_ROWS {
            return;
        }
        let option = resolved(root, written);
        let key = format!("{prefix}{name}");
        // What stands beside a reference wins over what it leads to.
        let own = |word: &str| written.get(word).or_else(|| option.get(word));
        rows.push(Row {
            kind: kind(root, option, 0),
            default: own("default")
                .map(|value| short(&value.to_string()))
                .unwrap_or_default(),
            required: required.contains(&name.as_str()),
            description: own("description")
                .or_else(|| own("title"))
                .and_then(Value::as_str)
                .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
                .unwrap_or_default(),
            key: key.clone(),
        });
        if depth < MAX_DEPTH {
            block(root, option, &format!("{key}."), depth + 1, rows);
            if let Some(items) = option.get("items") {
                block(root, items, &format!("{key}[]."), depth + 1, rows);
            }
        }
    }
}

/// What a reference within the schema leads to; the reference itself where it leads nowhere.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut at = schema;
    // A reference may lead to another, and in a circle.
    for _ in 0..MAX_DEPTH {
        let Some(place) = at.get("$ref").and_then(Value::as_str) else {
            break;
        };
        match place.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

fn kind(root: &Value, schema: &Value, depth: usize) -> String {
    if depth > MAX_DEPTH {
        return "…".to_owned();
    }
    let schema = resolved(root, schema);
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words
            .iter()
            .map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned))
            .collect();
        return short(&words.join(" | "));
    }
    if let Some(only) = schema.get("const") {
        return short(&only.to_string());
    }
    for word in ["oneOf", "anyOf"] {
        if let Some(choices) = schema.get(word).and_then(Value::as_array) {
            return either(choices.iter().map(|choice| kind(root, choice, depth + 1)));
        }
    }
    match schema.get("type") {
        Some(Value::String(name)) => named(root, schema, name, depth),
        Some(Value::Array(names)) => either(
            names
                .iter()
                .filter_map(Value::as_str)
                .map(|name| named(root, schema, name, depth)),
        ),
        _ if schema.get("properties").is_some() => "block".to_owned(),
        _ => "anything".to_owned(),
    }
}

fn either(kinds: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for kind in kinds {
        if !all.contains(&kind) {
            all.push(kind);
        }
    }
    short(&all.join(" or "))
}

fn named(root: &Value, schema: &Value, name: &str, depth: usize) -> String {
    let bounds = bounds(schema);
    match name {
        "integer" => format!("whole number{bounds}"),
        "number" => format!("number{bounds}"),
        "string" => "text".to_owned(),
        "boolean" => "true or false".to_owned(),
        "null" => "nothing".to_owned(),
        "array" => match schema.get("items") {
            Some(items) => format!("list of {}", kind(root, items, depth + 1)),
            None => "list".to_owned(),
        },
        "object" => "block".to_owned(),
        other => short(other),
    }
}

fn bounds(schema: &Value) -> String {
    let of = |word: &str| {
        schema
            .get(word)
            .filter(|value| value.is_number())
            .map(Value::to_string)
    };
    match (of("minimum"), of("maximum")) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", {least} or more"),
        (None, Some(most)) => format!(", {most} or less"),
        (None, None) => String::new(),
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= MAX_TEXT {
        return text.to_owned();
    }
    text.chars().take(MAX_TEXT - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_are_told_with_bounds_words_defaults_and_what_is_inside() {
        let schema = json!({
            "$defs": { "money": { "type": ["number", "string"] }, "ms": { "type": "integer", "minimum": 0 } },
            "properties": {
                "cash": { "$ref": "#/$defs/money", "default": 1_000_000, "description": "yuan\n at the start" },
                "fill": { "enum": ["now", "never"] },
                "late_ms": { "$ref": "#/$defs/ms" },
                "positions": { "type": "array", "items": { "type": "object", "required": ["symbol"],
                    "properties": { "symbol": { "type": "string" } } } },
                "retries": { "type": "integer", "minimum": 1, "maximum": 9 },
            },
            "required": ["cash"],
        });
        let told: Vec<String> = rows(&schema)
            .into_iter()
            .map(|row| {
                format!(
                    "{}|{}|{}|{}|{}",
                    row.key, row.kind, row.default, row.required, row.description
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "cash|number or text|1000000|true|yuan at the start",
                "fill|now | never||false|",
                "late_ms|whole number, 0 or more||false|",
                "positions|list of block||false|",
                "positions[].symbol|text||true|",
                "retries|whole number, 1 to 9||false|",
            ]
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({
            "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" },
                       "tree": { "properties": { "left": { "$ref": "#/$defs/tree" }, "right": { "$ref": "#/$defs/tree" } } } },
            "properties": { "loop": { "$ref": "#/$defs/a" }, "tree": { "$ref": "#/$defs/tree" },
                            "nowhere": { "$ref": "http://x/y" }, "list": { "type": "array", "items": { "$ref": "#/properties/list" } } },
        });
        assert!(rows(&schema).len() <= MAX_ROWS);
        assert!(table(&schema).contains("tree.left.right"));
        for odd in [
            json!(null),
            json!([]),
            json!({ "properties": 3 }),
            json!({ "properties": { "a": 5 } }),
        ] {
            let _ = table(&odd);
        }
    }
}
