//! Signals from a file: what the backend's contract calls a signal, as a list, as an answer with `data`, or one a line.

use std::collections::HashMap;

use qt_core::{Signal, SignalId};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::backend::wire;

/// What is wrong with a file of signals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub(crate) struct SignalFileError {
    /// Counted from 1.
    pub(crate) line: usize,
    /// Counted from 1, in characters.
    pub(crate) column: usize,
    /// The value, and what to write instead.
    pub(crate) what: String,
}

/// An answer of the backend that was kept.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

/// Reads a file's text: signals by the time at which they were made, and how many say that they are not to be carried out.
///
/// # Errors
/// The first mistake, where it stands, and what to do.
pub(crate) fn of_text(text: &str) -> Result<(Vec<Signal>, usize), SignalFileError> {
    let mut entries: Vec<&RawValue> = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let value = value.map_err(|error| SignalFileError {
            line: error.line(),
            column: error.column(),
            what: format!(
                "this is not JSON ({error}); write a list of signals, an answer of the backend with `data`, or one signal a line"
            ),
        })?;
        if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            entries.extend(list);
        } else if let Ok(answer) = serde_json::from_str::<Answer<'_>>(value.get()) {
            entries.extend(answer.data);
        } else {
            entries.push(value);
        }
    }
    let mut signals = Vec::new();
    let mut skipped = 0;
    let mut seen: HashMap<SignalId, (usize, usize)> = HashMap::new();
    for entry in entries {
        let found = serde_json::from_str::<Value>(entry.get()).map_err(|error| error.to_string());
        match found.and_then(|value| wire::signal(&value)) {
            Ok(None) => skipped += 1,
            Ok(Some(signal)) => {
                if signal.created_at.is_none() {
                    let what = "`created_at` is missing: a run on paper goes by the time at which a signal was made; add it, \
                                such as \"created_at\": \"2026-11-24T09:35:00+08:00\"";
                    return Err(at(text, entry.get(), what.to_owned()));
                }
                let place = position(text, entry.get(), "order_id");
                if let Some((line, column)) = seen.insert(signal.id.clone(), place) {
                    let what = format!(
                        "`order_id` is {} as in line {line}, column {column}; give each signal a name of its own",
                        signal.id
                    );
                    return Err(at(text, entry.get(), what));
                }
                signals.push(signal);
            }
            Err(what) => return Err(at(text, entry.get(), what)),
        }
    }
    sort(&mut signals);
    Ok((signals, skipped))
}

/// The signals of an answer of the backend; those that cannot be understood or have no time of their own come as sentences.
pub(crate) fn of_answer(found: wire::SignalsAnswer) -> (Vec<Signal>, usize, Vec<String>) {
    let skipped = found.skipped();
    let mut wrong: Vec<String> = found.invalid.into_iter().map(|invalid| invalid.reason).collect();
    let (mut taken, timeless): (Vec<_>, Vec<_>) = found
        .taken
        .into_iter()
        .partition(|signal| signal.created_at.is_some());
    wrong.extend(
        timeless
            .iter()
            .map(|signal| format!("signal {} has no `created_at`", signal.id)),
    );
    sort(&mut taken);
    (taken, skipped, wrong)
}

fn sort(signals: &mut [Signal]) {
    signals.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
}

fn at(text: &str, entry: &str, what: String) -> SignalFileError {
    let what = what.replace(char::is_control, " ");
    // A message begins with the field that it is about.
    let field = what.split('`').nth(1).unwrap_or_default().to_owned();
    let (line, column) = position(text, entry, &field);
    SignalFileError { line, column, what }
}

/// Line and column of a field's name within an entry, or of the entry where it has no such field.
fn position(text: &str, entry: &str, field: &str) -> (usize, usize) {
    // The entry is a part of the text, so that the distance of the two is a place in it.
    let start = (entry.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let within = entry
        .find(&format!("\"{field}\""))
        .filter(|_| !field.is_empty())
        .unwrap_or(0);
    let before = text.get(..start + within).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let last = before.rsplit('\n').next().unwrap_or_default();
    (line, last.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"order_id": "A", "symbol": "000858.SZ", "action": "BUY", "size": 100, "created_at": "2026-11-24T09:35:00+08:00"}"#;

    #[test]
    fn a_list_an_answer_and_lines_are_the_same() {
        let two = ONE.replace("\"A\"", "\"B\"").replace("09:35", "09:34");
        for text in [
            format!("[{ONE},\n{two}]"),
            format!("{{\"success\": true, \"data\": [{ONE}, {two}], \"count\": 2}}"),
            format!("{ONE}\n{two}\n"),
        ] {
            let (signals, skipped) = of_text(&text).unwrap();
            let names: Vec<_> = signals.iter().map(|signal| signal.id.0.as_str()).collect();
            assert_eq!((names, skipped), (vec!["B", "A"], 0), "{text}");
        }
        let left = ONE.replace("\"size\"", "\"is_executable\": false, \"size\"");
        assert_eq!(of_text(&left).unwrap().1, 1);
        assert_eq!(of_text("").unwrap(), (Vec::new(), 0));
    }

    #[test]
    fn a_mistake_names_line_column_value_and_what_to_write() {
        for (text, line, column, said) in [
            (
                format!("[{ONE},\n  {{\"order_id\": \"B\", ]"),
                2,
                21,
                "this is not JSON",
            ),
            (
                format!("{ONE}\n{}", ONE.replace("100", "0").replace("\"A\"", "\"B\"")),
                2,
                59,
                "`size` is 0: expected a whole number",
            ),
            (
                format!("[\n  {}]", ONE.replace("BUY", "HOLD")),
                2,
                44,
                "`action` is \"HOLD\": expected BUY or SELL",
            ),
            (
                format!("[{ONE},\n{ONE}]"),
                2,
                2,
                "`order_id` is A as in line 1, column 3",
            ),
            ("[17]".to_owned(), 1, 2, "17 is no signal"),
            (
                r#"[{"order_id": "A", "symbol": "000858.SZ", "action": "BUY", "size": 100}]"#.to_owned(),
                1,
                2,
                "`created_at` is missing",
            ),
        ] {
            let error = of_text(&text).unwrap_err();
            assert!(error.what.contains(said), "{text}: {error}");
            assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
        }
    }
}
