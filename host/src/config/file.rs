//! A configuration file as a tree of values that knows the line of every key.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};
use zeroize::{Zeroize, Zeroizing};

use super::lines;
use super::mistake::{Mistake, Mistakes, Origin};
use crate::system;

/// More than a hundred times the largest sensible configuration; a larger file is another file.
const MAX_BYTES: u64 = 1024 * 1024;

/// What a file says.
pub struct Document {
    /// The top level.
    pub values: Map<String, Value>,
    /// The line of each key, by dotted path.
    pub lines: BTreeMap<String, usize>,
    /// What is no mistake and yet should be known.
    pub warnings: Vec<String>,
}

/// Reads a file: TOML if its name ends in `.toml`, else JSON.
pub fn read(path: &Path) -> Result<Document, Mistakes> {
    let name = path.display().to_string();
    let (text, warnings) = read_text(path, &name)?;
    let is_toml = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("toml"));
    let (values, lines) = if is_toml {
        parse_toml(&text, &name)?
    } else {
        parse_json(&text, &name)?
    };
    Ok(Document {
        values,
        lines,
        warnings,
    })
}

fn whole(name: &str, expected: impl Into<String>) -> Mistake {
    at(name, None, None, expected)
}

fn at(name: &str, line: Option<usize>, key: Option<String>, expected: impl Into<String>) -> Mistake {
    let origin = Origin::File {
        path: name.to_owned(),
        line,
    };
    Mistake {
        origin,
        key,
        value: None,
        expected: expected.into(),
        near_miss: None,
    }
}

fn read_text(path: &Path, name: &str) -> Result<(Zeroizing<String>, Vec<String>), Mistakes> {
    let cannot = |error: std::io::Error| {
        let todo = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path given with --config",
            std::io::ErrorKind::PermissionDenied => "give your user the right to read it",
            _ => "name another file with --config",
        };
        Mistakes::from(whole(
            name,
            format!("the configuration file cannot be read: {error}; {todo}"),
        ))
    };
    // A folder opens like a file on some systems and fails on others: asked first, it is named as what it is.
    if path.is_dir() {
        return Err(whole(name, "this is a folder; name a file in it with --config").into());
    }
    let file = File::open(path).map_err(cannot)?;
    let warnings = match system::readable_by_others(&file) {
        Some(mode) => vec![format!(
            "{name} may be read by others (mode {mode:04o}) and holds your token; run: chmod 600 {}",
            shell_quoted(name)
        )],
        None => Vec::new(),
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_BYTES {
        let limit = MAX_BYTES / 1024;
        return Err(whole(
            name,
            format!("larger than {limit} KiB, so it is no configuration file"),
        )
        .into());
    }
    Ok((decode(&bytes, name)?, warnings))
}

/// Notepad and PowerShell put a byte order mark in front of UTF-8: that is harmless. UTF-16 is not read.
fn decode(bytes: &[u8], name: &str) -> Result<Zeroizing<String>, Mistakes> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(whole(name, "the file is in UTF-16; save it as UTF-8").into());
    }
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        at(
            name,
            Some(line),
            None,
            "the file is not UTF-8 from this line on; save it as UTF-8",
        )
    })?;
    if text.trim().is_empty() {
        let example = r#"{"api_base_url": "http://host:8000/api", "api_token": "..."}"#;
        return Err(whole(name, format!("the file is empty; expected at least {example}")).into());
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn shell_quoted(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%".contains(c);
    if !name.starts_with('-') && name.chars().all(plain) {
        return name.to_owned();
    }
    let dashed = if name.starts_with('-') { "./" } else { "" };
    format!("'{dashed}{}'", name.replace('\'', r"'\''"))
}

type Tree = (Map<String, Value>, BTreeMap<String, usize>);

fn parse_json(text: &str, name: &str) -> Result<Tree, Mistakes> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        // The parser's own text carries the position a second time.
        let full = error.to_string();
        let what = full.split(" at line ").next().unwrap_or(&full);
        let column = error.column();
        at(
            name,
            Some(error.line()),
            None,
            format!("this is not JSON: {what} (column {column})"),
        )
    })?;
    let scan = lines::scan(text);
    let repeated: Vec<Mistake> = scan
        .repeated
        .into_iter()
        .map(|(key, line)| {
            at(
                name,
                Some(line),
                Some(key),
                "this key stands twice; keep one of them",
            )
        })
        .collect();
    if !repeated.is_empty() {
        return Err(Mistakes(repeated));
    }
    match value {
        Value::Object(values) => Ok((values, scan.lines)),
        mut other => {
            wipe(&mut other);
            Err(whole(name, "expected an object in braces: {\"api_base_url\": …}").into())
        }
    }
}

fn parse_toml(text: &str, name: &str) -> Result<Tree, Mistakes> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mistakes = errors.iter().map(|error| {
            let (line, column) = error.span().map_or((None, 0), |span| {
                let before = &text[..text.floor_char_boundary(span.start)];
                let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
                (Some(1 + before.matches('\n').count()), column)
            });
            at(
                name,
                line,
                None,
                format!(
                    "this is not TOML: {} (column {column})",
                    toml_reason(error.message())
                ),
            )
        });
        return Err(Mistakes(mistakes.collect()));
    }
    let mut lines = BTreeMap::new();
    let starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let line_of = |offset: usize| 1 + starts.partition_point(|start| *start < offset);
    let values = toml_table(table.get_ref(), "", &line_of, &mut lines);
    Ok((values, lines))
}

/// The parser's reason on one line. It names what it expected, never what it found.
fn toml_reason(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

fn toml_table(
    table: &DeTable<'_>,
    prefix: &str,
    line_of: &impl Fn(usize) -> usize,
    lines: &mut BTreeMap<String, usize>,
) -> Map<String, Value> {
    let mut values = Map::new();
    for (key, value) in table {
        let path = lines::joined(prefix, key.get_ref());
        lines.insert(path.clone(), line_of(key.span().start));
        values.insert(
            key.get_ref().to_string(),
            toml_value(value.get_ref(), &path, line_of, lines),
        );
    }
    values
}

fn toml_value(
    value: &DeValue<'_>,
    path: &str,
    line_of: &impl Fn(usize) -> usize,
    lines: &mut BTreeMap<String, usize>,
) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        // Both keep their digits: a decimal fraction must not pass through a binary one.
        DeValue::Float(float) => toml_number(float.as_str()),
        DeValue::Integer(whole) => match i128::from_str_radix(whole.as_str(), whole.radix()) {
            Ok(number) => toml_number(&number.to_string()),
            Err(_) => Value::String(whole.as_str().to_owned()),
        },
        DeValue::Datetime(moment) => Value::String(moment.to_string()),
        DeValue::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| toml_value(item.get_ref(), &format!("{path}[{index}]"), line_of, lines))
            .collect(),
        DeValue::Table(table) => Value::Object(toml_table(table, path, line_of, lines)),
    }
}

/// Infinity and not-a-number have no JSON form: as text they are refused wherever a number is expected.
fn toml_number(text: &str) -> Value {
    let digits = text.trim_start_matches('+').replace('_', "");
    match digits.parse::<Number>() {
        Ok(number) => Value::Number(number),
        Err(_) => Value::String(text.to_owned()),
    }
}

/// Wipes every text in a value that is not wanted any more.
pub fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
