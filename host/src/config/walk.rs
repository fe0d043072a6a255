//! Takes typed values out of a tree one by one and collects every mistake on the way.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Map, Value};
use zeroize::Zeroize;

use super::file::wipe;
use super::lines::joined;
use super::mistake::{Mistake, Origin, near_miss};
use super::secret::Secret;
use super::token::ApiToken;
use crate::system;

/// How much of a wrong value is shown.
const SHOWN_CHARS: usize = 60;
const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// What has been found so far.
pub struct Walk {
    /// The mistakes, in the order found.
    pub mistakes: Vec<Mistake>,
    /// Where the values of a key came from, by dotted path.
    pub origins: BTreeMap<String, Origin>,
    /// The folder that a file's relative paths start from.
    pub base: PathBuf,
}

/// One level of the tree. Every question takes its value out; what is left at the end is unknown.
pub struct Block<'w> {
    walk: &'w mut Walk,
    prefix: String,
    values: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Walk {
    /// Where the value of a dotted path came from: a part of a value came from where the whole did.
    pub fn origin(&self, path: &str) -> Origin {
        let mut part = path;
        loop {
            if let Some(origin) = self.origins.get(part) {
                return origin.clone();
            }
            match part.rfind(['.', '[']) {
                Some(end) => part = &part[..end],
                None => return Origin::Nowhere,
            }
        }
    }

    /// Notes a mistake about a value, which is shown unless it is a secret.
    pub fn wrong(&mut self, path: &str, value: Option<&Value>, expected: impl Into<String>) {
        self.mistakes.push(Mistake {
            origin: self.origin(path),
            key: Some(path.to_owned()),
            value: value.map(shown),
            expected: expected.into(),
            near_miss: None,
        });
    }

    /// Opens the top level.
    pub fn block(&mut self, values: Map<String, Value>) -> Block<'_> {
        self.block_at("", values)
    }

    /// Opens the level at a dotted path.
    pub fn block_at(&mut self, path: &str, values: Map<String, Value>) -> Block<'_> {
        Block {
            walk: self,
            prefix: path.to_owned(),
            values,
            known: Vec::new(),
        }
    }
}

/// A wrong value on one line, shortened.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Object(_) => "{…}".to_owned(),
        other => other.to_string(),
    };
    let mut short: String = text
        .chars()
        .take(SHOWN_CHARS)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        short.push('…');
    }
    short
}

fn is_variable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(plain) && !name.starts_with(|first: char| first.is_ascii_digit())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a block",
    }
}

impl Block<'_> {
    fn path(&self, key: &str) -> String {
        joined(&self.prefix, key)
    }

    /// Takes a value out. Null is the same as left out: programs that write files do so.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.values.remove(key).filter(|value| !value.is_null())
    }

    pub(super) fn wrong(&mut self, key: &str, value: Option<&Value>, expected: impl Into<String>) {
        let path = self.path(key);
        self.walk.wrong(&path, value, expected);
    }

    /// A text that is not empty once spaces around it are gone.
    pub fn text(&mut self, key: &'static str, expected: &str) -> Option<String> {
        let value = self.take(key)?;
        match value.as_str().map(str::trim) {
            Some("") => self.wrong(key, Some(&value), format!("is empty; expected {expected}")),
            Some(text) => return Some(text.to_owned()),
            None => self.wrong(
                key,
                Some(&value),
                format!("expected {expected} in quotation marks"),
            ),
        }
        None
    }

    /// A text where an empty one is the same as none, as in a template that nobody filled in.
    pub fn optional_text(&mut self, key: &'static str, expected: &str) -> Option<String> {
        if self
            .values
            .get(key)
            .and_then(Value::as_str)
            .is_some_and(|text| text.trim().is_empty())
        {
            self.values.remove(key);
        }
        self.text(key, expected)
    }

    /// A secret text. No mistake about it shows any of it.
    pub fn secret(&mut self, key: &'static str, expected: &str) -> Option<Secret> {
        let mut value = self.take(key)?;
        let Value::String(text) = &mut value else {
            let found = kind(&value);
            wipe(&mut value);
            self.wrong(
                key,
                None,
                format!("is {found} (not shown); expected {expected} in quotation marks"),
            );
            return None;
        };
        let mut text = std::mem::take(text);
        let trimmed = text.trim();
        let fault = if trimmed.is_empty() {
            Some("is empty")
        } else if trimmed.starts_with('<') && trimmed.ends_with('>') {
            Some("still is the placeholder of the example")
        } else if !trimmed.bytes().all(|byte| byte.is_ascii_graphic()) {
            Some("has spaces, line breaks or other characters in it that no token has (not shown)")
        } else {
            None
        };
        if let Some(fault) = fault {
            text.zeroize();
            self.wrong(key, None, format!("{fault}; expected {expected}"));
            return None;
        }
        if trimmed.len() < text.len() {
            let kept = trimmed.to_owned();
            text.zeroize();
            return Some(Secret::new(kept));
        }
        Some(Secret::new(text))
    }

    /// Where the token is: `env:NAME`, `file:PATH`, `keyring`, or the token itself, of which no mistake shows any.
    pub fn token(&mut self, key: &'static str, expected: &str) -> Option<ApiToken> {
        let text = self.values.get(key).and_then(Value::as_str).map(str::trim);
        let place = match text {
            Some(text) if text.eq_ignore_ascii_case("keyring") => ApiToken::Keyring,
            Some(text) => match (text.strip_prefix("env:"), text.strip_prefix("file:")) {
                (Some(name), _) => ApiToken::Variable(name.trim().to_owned()),
                (_, Some(path)) => ApiToken::File(PathBuf::from(path.trim())),
                (None, None) => return self.secret(key, expected).map(ApiToken::Literal),
            },
            None => return self.secret(key, expected).map(ApiToken::Literal),
        };
        let value = self.take(key);
        match place {
            ApiToken::Variable(name) if !is_variable(&name) => {
                self.wrong(
                    key,
                    value.as_ref(),
                    "expected env: and the name of a variable, such as env:QT_TOKEN",
                );
                None
            }
            ApiToken::File(path) if path.as_os_str().is_empty() => {
                self.wrong(
                    key,
                    value.as_ref(),
                    "expected file: and the path of the file with the token",
                );
                None
            }
            ApiToken::File(path) => {
                let own = self.path(key);
                Some(ApiToken::File(self.placed(&own, &path.to_string_lossy())))
            }
            place => Some(place),
        }
    }

    /// Seconds, possibly with a fraction, kept to the nanosecond. The bounds are texts so that they read the same
    /// in a message as here.
    pub fn seconds(
        &mut self,
        key: &'static str,
        default: &str,
        bounds: RangeInclusive<&'static str>,
    ) -> Duration {
        let fallback = parse_seconds(default).unwrap_or_default();
        let Some(value) = self.take(key) else {
            return fallback;
        };
        let (least, most) = (parse_seconds(bounds.start()), parse_seconds(bounds.end()));
        let given = number_text(&value).and_then(|text| parse_seconds(&text));
        match given {
            Some(given) if Some(given) >= least && Some(given) <= most => given,
            _ => {
                let (from, to) = (bounds.start(), bounds.end());
                self.wrong(
                    key,
                    Some(&value),
                    format!("expected seconds from {from} to {to}, such as {default}"),
                );
                fallback
            }
        }
    }

    /// A whole number.
    pub fn count(&mut self, key: &'static str, default: u32, bounds: RangeInclusive<u32>) -> u32 {
        let Some(value) = self.take(key) else {
            return default;
        };
        let given = value
            .as_number()
            .and_then(|number| number.as_str().parse::<u32>().ok());
        match given.filter(|given| bounds.contains(given)) {
            Some(given) => given,
            None => {
                let (from, to) = (bounds.start(), bounds.end());
                self.wrong(
                    key,
                    Some(&value),
                    format!("expected a whole number from {from} to {to}, such as {default}"),
                );
                default
            }
        }
    }

    /// A percentage, 0 to 100, possibly with a fraction.
    pub fn percent(&mut self, key: &'static str, default: u32) -> Decimal {
        let Some(value) = self.take(key) else {
            return Decimal::from(default);
        };
        let given = number_text(&value).and_then(|text| parse_decimal(&text));
        match given.filter(|given| *given >= Decimal::ZERO && *given <= Decimal::ONE_HUNDRED) {
            Some(given) => given,
            None => {
                self.wrong(
                    key,
                    Some(&value),
                    format!("expected a percentage from 0 to 100, such as {default}"),
                );
                Decimal::from(default)
            }
        }
    }

    /// True or false.
    pub fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.take(key) else {
            return default;
        };
        value.as_bool().unwrap_or_else(|| {
            self.wrong(
                key,
                Some(&value),
                "expected true or false, without quotation marks",
            );
            default
        })
    }

    /// One of a few words, any case.
    pub fn word<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&'static str, T)]) -> T {
        let Some(value) = self.take(key) else {
            return default;
        };
        let given = value.as_str().map(str::trim);
        let found = words
            .iter()
            .find(|(word, _)| given.is_some_and(|given| given.eq_ignore_ascii_case(word)));
        if let Some((_, meaning)) = found {
            return *meaning;
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let near = given.and_then(|given| near_miss(given, names.iter().copied()));
        self.wrong(key, Some(&value), format!("expected one of {}", names.join(", ")));
        if let Some(last) = self.walk.mistakes.last_mut() {
            last.near_miss = near.map(str::to_owned);
        }
        default
    }

    /// A path; relative ones of a file start from the file's folder, others from the current one.
    pub fn file_path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key, "a path")?;
        let path = self.path(key);
        Some(self.placed(&path, &text))
    }

    /// A list of paths.
    pub fn file_paths(&mut self, key: &'static str) -> Vec<PathBuf> {
        let path = self.path(key);
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let Value::Array(items) = &value else {
            self.wrong(key, Some(&value), "expected a list of paths: [\"one\", \"two\"]");
            return Vec::new();
        };
        let mut paths = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.as_str().map(str::trim).filter(|text| !text.is_empty()) {
                Some(text) => paths.push(self.placed(&path, text)),
                None => self.walk.wrong(
                    &format!("{path}[{index}]"),
                    Some(item),
                    "expected a path in quotation marks",
                ),
            }
        }
        paths
    }

    /// The entries of a list, each of which is still to be looked at.
    pub fn entries(&mut self, key: &'static str, of: &str) -> Vec<Value> {
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.wrong(
                    key,
                    Some(&other),
                    format!("expected a list in brackets, each entry {of}"),
                );
                Vec::new()
            }
        }
    }

    /// Whether a key is there with a value.
    pub fn is_given(&mut self, key: &'static str) -> bool {
        let given = self.values.get(key).is_some_and(|value| !value.is_null());
        if !given {
            self.known.push(key);
        }
        given
    }

    /// Whether the value of a key is a block in braces.
    pub fn is_block(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(Value::is_object)
    }

    /// A list of texts, each of which a check lets pass or says what is wrong with it.
    pub fn texts(
        &mut self,
        key: &'static str,
        expected: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Vec<String> {
        let path = self.path(key);
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let Value::Array(items) = &value else {
            self.wrong(
                key,
                Some(&value),
                format!("expected a list, each item {expected}"),
            );
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let text = item.as_str().map(str::trim).unwrap_or_default();
            match check(text) {
                Ok(()) => texts.push(text.to_owned()),
                Err(why) => self.walk.wrong(
                    &format!("{path}[{index}]"),
                    Some(item),
                    format!("{why}; expected {expected} in quotation marks"),
                ),
            }
        }
        texts
    }

    fn placed(&self, path: &str, text: &str) -> PathBuf {
        let expanded = system::expand_home(Path::new(text));
        match self.walk.origin(path) {
            Origin::File { .. } => self.walk.base.join(expanded),
            _ => expanded,
        }
    }

    /// The level below a key; an empty one where it is left out or is no block.
    pub fn inner(&mut self, key: &'static str) -> Block<'_> {
        let values = match self.take(key) {
            None => Map::new(),
            Some(Value::Object(values)) => values,
            Some(other) => {
                self.wrong(key, Some(&other), "expected a block in braces");
                Map::new()
            }
        };
        let prefix = self.path(key);
        Block {
            walk: self.walk,
            prefix,
            values,
            known: Vec::new(),
        }
    }

    /// Reads each block of a level whose keys are names of the user's; no name may stand twice in another case.
    pub fn each<T>(self, mut read: impl FnMut(Block<'_>) -> T) -> BTreeMap<String, T> {
        let mut all = BTreeMap::new();
        for (key, value) in self.values {
            let prefix = joined(&self.prefix, &key);
            let twice = |other: &&String| other.eq_ignore_ascii_case(&key);
            if let Some(other) = all.keys().find(twice) {
                let expected = format!("the same name stands as `{other}` already; keep one of them");
                self.walk.wrong(&prefix, None, expected);
                continue;
            }
            let values = match value {
                Value::Null => continue,
                Value::Object(values) => values,
                other => {
                    self.walk
                        .wrong(&prefix, Some(&other), "expected a block in braces");
                    continue;
                }
            };
            let inner = Block {
                walk: &mut *self.walk,
                prefix,
                values,
                known: Vec::new(),
            };
            all.insert(key, read(inner));
        }
        all
    }

    /// What nobody asked for, and the names that somebody did.
    pub fn rest(self) -> (Map<String, Value>, Vec<&'static str>) {
        (self.values, self.known)
    }

    /// Notes every value that nobody asked for as unknown.
    pub fn finish(self) {
        let (prefix, known) = (self.prefix, self.known);
        for key in self.values.keys() {
            self.walk.unknown(&joined(&prefix, key), key, &known);
        }
    }
}

impl Walk {
    /// Notes an unknown key. Its value is not shown: it may be a token under a misspelt name.
    pub fn unknown(&mut self, path: &str, key: &str, known: &[&'static str]) {
        let near = near_miss(key, known.iter().copied());
        let expected = match near {
            Some(_) => "unknown key".to_owned(),
            None => format!("unknown key; known here: {}", known.join(", ")),
        };
        self.wrong(path, None, expected);
        if let Some(last) = self.mistakes.last_mut() {
            last.near_miss = near.map(str::to_owned);
        }
    }
}

/// The digits of a number as they were written.
fn number_text(value: &Value) -> Option<String> {
    value.as_number().map(|number| number.as_str().to_owned())
}

/// A decimal number in plain or scientific notation; nothing if it does not fit.
pub fn parse_decimal(text: &str) -> Option<Decimal> {
    if text.contains(['e', 'E']) {
        return Decimal::from_scientific(text).ok();
    }
    text.parse().ok()
}

/// Seconds as a decimal number, to the nanosecond; nothing for a negative one.
pub fn parse_seconds(text: &str) -> Option<Duration> {
    let seconds = parse_decimal(text)?;
    let nanos = seconds
        .checked_mul(Decimal::from(NANOS_PER_SECOND))?
        .trunc()
        .to_u64()?;
    (!seconds.is_sign_negative() || seconds.is_zero()).then_some(Duration::from_nanos(nanos))
}

/// Seconds as the shortest decimal number, the reverse of [`parse_seconds`].
pub fn seconds_text(duration: Duration) -> String {
    let (whole, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if nanos == 0 {
        return format!("{whole}.0");
    }
    format!("{whole}.{nanos:09}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact() {
        let cases = [
            ("1.0", Some(1_000_000_000)),
            ("0.2", Some(200_000_000)),
            ("1e-1", Some(100_000_000)),
            ("2E1", Some(20_000_000_000)),
            ("0.0000000019", Some(1)),
            ("-0.0", Some(0)),
            ("-0.0000000001", None),
            ("-1", None),
            ("1e400", None),
            ("99999999999999999999", None),
            ("NaN", None),
            ("", None),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse_seconds(text), nanos.map(Duration::from_nanos), "{text}");
        }
    }

    #[test]
    fn seconds_are_written_as_read() {
        for text in ["1.0", "0.2", "3600.0", "0.000000001", "25.5"] {
            assert_eq!(parse_seconds(text).map(seconds_text).as_deref(), Some(text));
        }
    }
}
