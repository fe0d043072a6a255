//! The line of every key of a JSON text, and the keys that stand twice: the JSON library keeps neither.

use std::collections::{BTreeMap, BTreeSet};

/// What a scan finds.
pub struct Scan {
    /// The line of each key, by dotted path, counted from 1.
    pub lines: BTreeMap<String, usize>,
    /// The dotted path and line of each repeated key.
    pub repeated: Vec<(String, usize)>,
}

/// A key's dotted path.
pub fn joined(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

enum Open {
    Object {
        path: String,
        seen: BTreeSet<String>,
        key: Option<String>,
    },
    Array {
        path: String,
        index: usize,
    },
}

/// Scans a text that is known to be valid JSON.
pub fn scan(text: &str) -> Scan {
    let mut found = Scan {
        lines: BTreeMap::new(),
        repeated: Vec::new(),
    };
    let mut open: Vec<Open> = Vec::new();
    let (bytes, mut at, mut line) = (text.as_bytes(), 0, 1);
    while at < bytes.len() {
        match bytes[at] {
            b'\n' => line += 1,
            b'{' => {
                let path = inner_path(open.last());
                open.push(Open::Object {
                    path,
                    seen: BTreeSet::new(),
                    key: None,
                });
            }
            b'[' => {
                let path = inner_path(open.last());
                open.push(Open::Array { path, index: 0 });
            }
            b'}' | b']' => {
                open.pop();
            }
            b',' => match open.last_mut() {
                Some(Open::Object { key, .. }) => *key = None,
                Some(Open::Array { index, .. }) => *index += 1,
                None => {}
            },
            b'"' => {
                let end = string_end(bytes, at);
                // A text where no key has been seen since the last comma is a key.
                if let Some(Open::Object {
                    path,
                    seen,
                    key: key @ None,
                }) = open.last_mut()
                {
                    let name: String = serde_json::from_str(&text[at..end]).unwrap_or_default();
                    let full = joined(path, &name);
                    if seen.insert(name.clone()) {
                        found.lines.insert(full, line);
                    } else {
                        found.repeated.push((full, line));
                    }
                    *key = Some(name);
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn inner_path(outer: Option<&Open>) -> String {
    match outer {
        Some(Open::Object { path, key, .. }) => joined(path, key.as_deref().unwrap_or_default()),
        Some(Open::Array { path, index }) => format!("{path}[{index}]"),
        None => String::new(),
    }
}

/// The offset behind a string's closing quote.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_lines_and_repeats_are_found_at_every_depth() {
        let text = "{\n \"a\": {\"b\": 1,\n \"b\": \"b\"},\n \"list\": [{\"x\": \"}\\\"{\"},\n {\"x\": [], \"\\u0078\": 2}],\n \"a\": null}";
        let found = scan(text);
        assert_eq!(found.lines["a.b"], 2);
        assert_eq!(found.lines["list"], 4);
        assert_eq!(found.lines["list[1].x"], 5);
        let repeated: Vec<_> = found
            .repeated
            .iter()
            .map(|(key, line)| (key.as_str(), *line))
            .collect();
        assert_eq!(repeated, [("a.b", 3), ("list[1].x", 5), ("a", 6)]);
    }

    #[test]
    fn texts_that_are_values_are_no_keys() {
        let found = scan(r#"{"a": "a", "b": ["a", "a"], "c": "b"}"#);
        assert!(found.repeated.is_empty());
        assert_eq!(found.lines.len(), 3);
    }
}
