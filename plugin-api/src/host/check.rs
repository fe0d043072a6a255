//! Checks a plugin's configuration block against the schema of its manifest, before any of its code runs.
//!
//! Of JSON Schema it knows what a configuration needs: `type`, `enum`, `const`, `properties`, `required`,
//! `additionalProperties`, `items`, `$ref` within the schema, `allOf`, `anyOf`, `oneOf`, and the bounds of numbers,
//! strings and lists. What it does not know it lets pass: the plugin itself reads the block once more.

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::manifest::Manifest;

/// References and combinations followed on one value at most, so that a schema in a circle ends.
const MAX_DEPTH: usize = 64;
/// Characters of a wrong value that are shown.
const MAX_SHOWN: usize = 60;
/// Edits between an unknown key and one that was probably meant.
const NEAR: usize = 2;

/// What is wrong with one place of a configuration block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// Where in the block, `positions[0].symbol`; empty for the block itself.
    pub path: String,
    /// What stands there, shortened; `None` where nothing does, or where it is a secret or may hold one.
    pub found: Option<String>,
    /// What belongs there, a phrase after "must be"; for an unknown key, the keys that are known.
    pub expected: String,
    /// For an unknown key, the one that was probably meant.
    pub near: Option<String>,
    /// What kind of fault it is.
    pub kind: ConfigFaultKind,
}

/// What kind of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigFaultKind {
    /// A value that does not fit.
    Wrong,
    /// A key that must be there and is not.
    Missing,
    /// A key that the plugin does not know.
    Unknown,
}

impl std::fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.path.is_empty() {
            "the block".to_owned()
        } else {
            format!("`{}`", self.path)
        };
        match (self.kind, &self.found, &self.near) {
            (ConfigFaultKind::Missing, _, _) => {
                write!(f, "{place} is missing, and must be {}", self.expected)
            }
            (ConfigFaultKind::Unknown, _, Some(near)) => {
                write!(f, "{place} is unknown; did you mean `{near}`?")
            }
            (ConfigFaultKind::Unknown, _, None) => {
                write!(f, "{place} is unknown; known here: {}", self.expected)
            }
            (ConfigFaultKind::Wrong, Some(found), _) => {
                write!(f, "{place} is {found}, and must be {}", self.expected)
            }
            (ConfigFaultKind::Wrong, None, _) => {
                write!(f, "{place} (its value is not shown) must be {}", self.expected)
            }
        }
    }
}

/// One key of a plugin's configuration block, for people who want to know what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigOption {
    /// The key.
    pub name: String,
    /// What belongs there, `a whole number, 0 or more`.
    pub expected: String,
    /// What holds where it is left out, as JSON text.
    pub default: Option<String>,
    /// What it is for, in the author's words, or empty.
    pub description: String,
    /// Whether it must be given.
    pub required: bool,
    /// Whether its value must never be shown.
    pub secret: bool,
}

impl Manifest {
    /// Everything that is wrong with a configuration block, by the plugin's own schema. Without a schema nothing is.
    #[must_use]
    pub fn check_config(&self, block: &Value) -> Vec<ConfigFault> {
        let Some(root) = &self.config_schema else {
            return Vec::new();
        };
        let mut walk = Walk::new(root);
        walk.check(root, block, &Place::root());
        walk.faults
    }

    /// The keys of the plugin's configuration block in the order of its schema.
    #[must_use]
    pub fn config_options(&self) -> Vec<ConfigOption> {
        let Some(root) = &self.config_schema else {
            return Vec::new();
        };
        let walk = Walk::new(root);
        let required = |name: &String| names(root, "required").any(|n| n == name);
        let option = |(name, schema): (&String, &Value)| {
            let target = walk.target(schema);
            let word = |key: &str| schema.get(key).or_else(|| target.get(key));
            ConfigOption {
                name: name.clone(),
                expected: walk.describe(schema, 0),
                default: word("default").map(Value::to_string),
                description: word("description")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
                required: required(name),
                secret: walk.is_secret(schema, 0),
            }
        };
        properties(root).into_iter().flatten().map(option).collect()
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

fn names<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    let list = schema.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

fn branches<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    schema
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A place in the block, and what was met on the way.
#[derive(Clone)]
struct Place {
    path: String,
    secret: bool,
    depth: usize,
}

impl Place {
    fn root() -> Self {
        Self {
            path: String::new(),
            secret: false,
            depth: 0,
        }
    }

    fn key(&self, key: &str) -> Self {
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        Self {
            path,
            depth: 0,
            ..*self
        }
    }

    fn item(&self, index: usize) -> Self {
        Self {
            path: format!("{}[{index}]", self.path),
            depth: 0,
            ..*self
        }
    }

    fn deeper(&self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self.clone()
        }
    }
}

struct Walk<'a> {
    root: &'a Value,
    faults: Vec<ConfigFault>,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Value) -> Self {
        Self {
            root,
            faults: Vec::new(),
        }
    }

    /// What a reference leads to; one that leads nowhere allows everything.
    fn target(&self, schema: &'a Value) -> &'a Value {
        let pointer = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|r| r.strip_prefix('#'));
        pointer.and_then(|p| self.root.pointer(p)).unwrap_or(schema)
    }

    fn is_secret(&self, schema: &'a Value, depth: usize) -> bool {
        if depth > MAX_DEPTH.min(8) {
            return false;
        }
        let own = schema.get("writeOnly") == Some(&Value::Bool(true))
            || schema.get("format").and_then(Value::as_str) == Some("password");
        let target = self.target(schema);
        own || (!std::ptr::eq(target, schema) && self.is_secret(target, depth + 1))
            || ["allOf", "anyOf", "oneOf"]
                .iter()
                .flat_map(|key| branches(schema, key))
                .any(|branch| self.is_secret(branch, depth + 1))
    }

    fn wrong(&mut self, place: &Place, value: &Value, expected: String) {
        self.faults.push(ConfigFault {
            path: place.path.clone(),
            found: (!place.secret).then(|| shown(value)),
            expected,
            near: None,
            kind: ConfigFaultKind::Wrong,
        });
    }

    fn check(&mut self, schema: &'a Value, value: &Value, at: &Place) {
        if at.depth > MAX_DEPTH {
            return;
        }
        let mut place = at.clone();
        place.secret |= self.is_secret(schema, 0);
        if schema == &Value::Bool(false) {
            return self.wrong(&place, value, "left out".to_owned());
        }
        let before = self.faults.len();
        let target = self.target(schema);
        if !std::ptr::eq(target, schema) {
            self.check(target, value, &place.deeper());
        }
        for part in branches(schema, "allOf") {
            self.check(part, value, &place.deeper());
        }
        self.check_choice(schema, value, &place);
        // A value of the wrong type is told once, and nothing that rests on the type is.
        let fits = self.has_type(schema, value) && self.is_listed(schema, value);
        if !fits {
            if self.faults.len() == before {
                self.wrong(&place, value, self.describe(schema, 0));
            }
            return;
        }
        match value {
            Value::Object(object) => self.check_object(schema, object, &place),
            Value::Array(items) => {
                if let Some(each) = schema.get("items") {
                    for (i, item) in items.iter().enumerate() {
                        self.check(each, item, &place.item(i));
                    }
                }
            }
            _ => {}
        }
        if !within_bounds(schema, value) {
            self.wrong(&place, value, self.describe(schema, 0));
        }
    }

    fn check_choice(&mut self, schema: &'a Value, value: &Value, place: &Place) {
        for key in ["anyOf", "oneOf"] {
            let choices = branches(schema, key);
            if choices.is_empty() {
                continue;
            }
            let judged: Vec<(&'a Value, Vec<ConfigFault>)> = choices
                .iter()
                .map(|choice| {
                    let mut walk = Walk::new(self.root);
                    walk.check(choice, value, &place.deeper());
                    (choice, walk.faults)
                })
                .collect();
            if judged.iter().any(|(_, faults)| faults.is_empty()) {
                continue;
            }
            // If the type leaves only one choice, its own faults say more than the list of choices.
            let mut of_type = judged
                .into_iter()
                .filter(|(choice, _)| self.has_type(self.target(choice), value) && self.is_container(value));
            match (of_type.next(), of_type.next()) {
                (Some((_, faults)), None) => self.faults.extend(faults),
                _ => self.wrong(place, value, self.describe(schema, 0)),
            }
        }
    }

    fn is_container(&self, value: &Value) -> bool {
        value.is_object() || value.is_array()
    }

    fn check_object(&mut self, schema: &'a Value, object: &Map<String, Value>, place: &Place) {
        let known = properties(schema);
        for name in names(schema, "required").filter(|name| !object.contains_key(*name)) {
            let expected = known
                .and_then(|k| k.get(name))
                .map_or_else(|| "given".to_owned(), |schema| self.describe(schema, 0));
            self.faults.push(ConfigFault {
                path: place.key(name).path,
                found: None,
                expected,
                near: None,
                kind: ConfigFaultKind::Missing,
            });
        }
        for (key, value) in object {
            let inner = place.key(key);
            match (known.and_then(|k| k.get(key)), schema.get("additionalProperties")) {
                (Some(own), _) => self.check(own, value, &inner),
                (None, Some(Value::Bool(false))) => self.unknown(known, key, &inner),
                (None, Some(others)) => self.check(others, value, &inner),
                (None, None) => {}
            }
        }
    }

    /// The value is never shown: a misspelt key may hold a secret.
    fn unknown(&mut self, known: Option<&'a Map<String, Value>>, key: &str, place: &Place) {
        let names = || known.into_iter().flat_map(Map::keys);
        let lower = key.to_ascii_lowercase();
        let near = names()
            .map(|name| {
                (
                    strsim::damerau_levenshtein(&lower, &name.to_ascii_lowercase()),
                    name,
                )
            })
            .filter(|(distance, name)| *distance <= NEAR && *distance < name.chars().count())
            .min();
        let list: Vec<String> = names().map(|name| format!("`{name}`")).collect();
        self.faults.push(ConfigFault {
            path: place.path.clone(),
            found: None,
            expected: if list.is_empty() {
                "no keys at all".to_owned()
            } else {
                list.join(", ")
            },
            near: near.map(|(_, name)| name.clone()),
            kind: ConfigFaultKind::Unknown,
        });
    }

    fn has_type(&self, schema: &Value, value: &Value) -> bool {
        match schema.get("type") {
            Some(Value::String(name)) => is_type(name, value),
            Some(Value::Array(_)) => names(schema, "type").any(|name| is_type(name, value)),
            _ => true,
        }
    }

    fn is_listed(&self, schema: &Value, value: &Value) -> bool {
        let listed = schema.get("enum").and_then(Value::as_array);
        listed.is_none_or(|list| list.contains(value)) && schema.get("const").is_none_or(|only| only == value)
    }

    /// What a schema allows, as a phrase after "must be".
    fn describe(&self, schema: &'a Value, depth: usize) -> String {
        if depth > 8 {
            return "as the plugin's documentation says".to_owned();
        }
        let target = self.target(schema);
        if !std::ptr::eq(target, schema) {
            return self.describe(target, depth + 1);
        }
        if let Some(only) = schema.get("const") {
            return format!("`{}`", plain(only));
        }
        if let Some(list) = schema.get("enum").and_then(Value::as_array) {
            let each: Vec<String> = list.iter().map(|v| format!("`{}`", plain(v))).collect();
            return format!("one of {}", each.join(", "));
        }
        for key in ["oneOf", "anyOf", "allOf"] {
            let choices = branches(schema, key);
            if !choices.is_empty() {
                let mut each: Vec<String> = choices.iter().map(|c| self.describe(c, depth + 1)).collect();
                each.dedup();
                return each.join(if key == "allOf" { " and " } else { " or " });
            }
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(name)) => vec![type_name(name)],
            Some(Value::Array(_)) => names(schema, "type").map(type_name).collect(),
            _ => vec!["anything"],
        };
        types.join(" or ") + &bounds(schema)
    }
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_number() && number(value).is_none_or(|n| n.fract().is_zero()),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn type_name(name: &str) -> &'static str {
    match name {
        "null" => "null",
        "boolean" => "true or false",
        "number" => "a number",
        "integer" => "a whole number",
        "string" => "a string",
        "array" => "a list",
        "object" => "an object",
        _ => "anything",
    }
}

/// The exact number, unless it is beyond what a decimal holds.
fn number(value: &Value) -> Option<Decimal> {
    let text = value.as_number()?.to_string();
    Decimal::from_str_exact(&text)
        .or_else(|_| Decimal::from_scientific(&text))
        .ok()
}

/// Bounds of a schema that apply to values of a kind, each with the words for it.
const NUMBER_BOUNDS: [(&str, &str); 4] = [
    ("minimum", "at least"),
    ("maximum", "at most"),
    ("exclusiveMinimum", "above"),
    ("exclusiveMaximum", "below"),
];

fn bounds(schema: &Value) -> String {
    let word = |key: &str| schema.get(key).filter(|v| v.is_number()).map(Value::to_string);
    let mut text = String::new();
    for (key, words) in NUMBER_BOUNDS {
        if let Some(bound) = word(key) {
            text += &format!(", {words} {bound}");
        }
    }
    for (least, most, unit) in [
        ("minLength", "maxLength", "characters"),
        ("minItems", "maxItems", "entries"),
    ] {
        match (word(least), word(most)) {
            (Some(a), Some(b)) => text += &format!(" of {a} to {b} {unit}"),
            (Some(a), None) => text += &format!(" of at least {a} {unit}"),
            (None, Some(b)) => text += &format!(" of at most {b} {unit}"),
            (None, None) => {}
        }
    }
    text
}

fn within_bounds(schema: &Value, value: &Value) -> bool {
    let size = match value {
        Value::Number(_) => {
            let Some(n) = number(value) else { return true };
            let holds = |key: &str| -> bool {
                let Some(bound) = schema.get(key).and_then(number) else {
                    return true;
                };
                match key {
                    "minimum" => n >= bound,
                    "maximum" => n <= bound,
                    "exclusiveMinimum" => n > bound,
                    _ => n < bound,
                }
            };
            return NUMBER_BOUNDS.iter().all(|(key, _)| holds(key));
        }
        Value::String(text) => (text.chars().count(), "minLength", "maxLength"),
        Value::Array(items) => (items.len(), "minItems", "maxItems"),
        _ => return true,
    };
    let bound = |key: &str| {
        schema
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok())
    };
    bound(size.1).is_none_or(|least| size.0 >= least) && bound(size.2).is_none_or(|most| size.0 <= most)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A wrong value for a message. What may hold a secret further down is named by its kind alone.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => {
            let text = other.to_string();
            if text.chars().count() <= MAX_SHOWN {
                return text;
            }
            text.chars().take(MAX_SHOWN).chain("…".chars()).collect()
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
