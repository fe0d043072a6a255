//! What somebody who helps needs, in one file, without anything that is nobody else's business.

use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{Report, as_json, as_text};
use crate::cli::{Failure, shanghai};
use crate::clock::Clock;
use crate::config::{Config, Secret, sounds_secret};
use crate::secrets::{self, Keyring};
use crate::system::{self, WholeFile};
use crate::telemetry;

/// Of each log so much from its end, in bytes.
const LOG_END: u64 = 2 * 1024 * 1024;
/// A shorter word would be found everywhere.
const SHORTEST: usize = 4;
/// What stands in the place of what was taken out.
const MASK: &str = "***";

/// Writes the file.
///
/// # Errors
/// It cannot be written; none is left behind then.
pub(super) fn write(file: &Path, config: Option<&Config>, report: &Report) -> Result<(), Failure> {
    let cannot = |e: std::io::Error| {
        Failure::failed(format!(
            "{} cannot be written: {e}; name another file with --bundle",
            system::shown(file)
        ))
    };
    let redactor = Redactor::of(config);
    let content = zipped(entries(config, report), &redactor).map_err(cannot)?;
    let mut whole = WholeFile::begin(file).map_err(cannot)?;
    whole.write_all(&content).map_err(cannot)?;
    whole.finish(false).map_err(cannot)
}

/// The files within, before anything is taken out.
fn entries(config: Option<&Config>, report: &Report) -> Vec<(String, String)> {
    let now_ms = Clock::system().now_ms();
    let system = json!({
        "version": env!("CARGO_PKG_VERSION"), "os": std::env::consts::OS, "arch": std::env::consts::ARCH,
        "made_at": shanghai(qt_core::UtcMillis(now_ms)) + "+08:00",
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
    });
    let mut entries = vec![
        ("doctor.txt".to_owned(), as_text(report)),
        ("doctor.json".to_owned(), format!("{:#}\n", as_json(report))),
        ("system.json".to_owned(), format!("{system:#}\n")),
    ];
    let Some(config) = config else {
        return entries;
    };
    entries.push(("config.json".to_owned(), format!("{:#}\n", config.shown())));
    let Ok(home) = config.home_dir() else {
        return entries;
    };
    for name in [
        telemetry::LOG_FILE.to_owned(),
        format!("{}.1", telemetry::LOG_FILE),
    ] {
        if let Some(text) = end_of(&home.join("logs").join(&name)) {
            entries.push((format!("logs/{name}"), text));
        }
    }
    entries
}

/// The last part of a file, from the beginning of a line.
fn end_of(path: &Path) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let from = length.saturating_sub(LOG_END);
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_END).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match text.split_once('\n') {
        Some((_, rest)) if from > 0 => Some(rest.to_owned()),
        _ => Some(text),
    }
}

fn zipped(entries: Vec<(String, String)>, redactor: &Redactor) -> std::io::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, text) in entries {
        zip.start_file(name, options)?;
        zip.write_all(redactor.clean(&text).as_bytes())?;
    }
    Ok(zip.finish()?.into_inner())
}

/// Takes out what it knows to be a secret, and whatever looks like a token.
struct Redactor {
    words: Vec<Secret>,
}

impl Redactor {
    fn of(config: Option<&Config>) -> Self {
        let mut words = Vec::new();
        if let Some(config) = config {
            if let (Some(url), Some(place)) = (&config.api_base_url, &config.api_token) {
                words.extend(secrets::open(config, url.as_str(), place).map(|(_, found)| found.token));
                if let Ok(Some((kept, _))) =
                    Keyring::of(config, url.as_str()).map_or(Ok(None), |ring| ring.read())
                {
                    words.extend(kept.password.clone());
                    words.push(kept.token);
                }
            }
            for each in std::iter::once(config.clone()).chain(config.each_account().unwrap_or_default()) {
                for name in each.plugin_blocks.names() {
                    each.plugin_blocks
                        .get(name)
                        .into_iter()
                        .for_each(|block| hidden_in(block, false, &mut words));
                }
            }
        }
        words.retain(|word| word.expose().len() >= SHORTEST);
        Self { words }
    }

    fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for word in &self.words {
            text = text.replace(word.expose(), MASK);
            // As JSON writes it, where that is another text.
            let quoted = json!(word.expose()).to_string();
            text = text.replace(quoted.trim_matches('"'), MASK);
        }
        without_tokens(&text)
    }
}

/// The texts and numbers whose name sounds secret.
fn hidden_in(value: &Value, is_secret: bool, words: &mut Vec<Secret>) {
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, inner)| hidden_in(inner, is_secret || sounds_secret(key), words)),
        Value::Array(items) => items.iter().for_each(|item| hidden_in(item, is_secret, words)),
        Value::String(text) if is_secret => words.push(Secret::new(text.clone())),
        Value::Number(number) if is_secret => words.push(Secret::new(number.to_string())),
        _ => {}
    }
}

/// Masks every word that looks like a web token, and whatever follows `Bearer`.
fn without_tokens(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.~+/=".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_bearer = false;
    while let Some(start) = rest.find(is_part) {
        let end = rest[start..]
            .find(|c| !is_part(c))
            .map_or(rest.len(), |end| start + end);
        let (gap, word) = (&rest[..start], &rest[start..end]);
        let is_token = word.starts_with("eyJ") && word.matches('.').count() >= 2;
        out.push_str(gap);
        out.push_str(if is_token || (after_bearer && gap == " ") {
            MASK
        } else {
            word
        });
        after_bearer = word == "Bearer";
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_token_is_masked_and_nothing_else() {
        for (text, clean) in [
            ("a eyJhbGciOi.eyJzdWIi.c2ln-_ b", "a *** b"),
            ("\"token\":\"eyJh.eyJ.x\",", "\"token\":\"***\","),
            (
                "Authorization: Bearer opaque-77 end",
                "Authorization: Bearer *** end",
            ),
            ("Bearer, said he", "Bearer, said he"),
            ("eyJ alone, 1.2.3 and a.b.c", "eyJ alone, 1.2.3 and a.b.c"),
            ("账户 eyJh.b.c 完", "账户 *** 完"),
            ("", ""),
        ] {
            assert_eq!(without_tokens(text), clean);
        }
    }

    #[test]
    fn every_known_secret_goes_in_every_form() {
        let redactor = Redactor {
            words: vec![
                Secret::new("pass\"word".to_owned()),
                Secret::new("55000001".to_owned()),
            ],
        };
        let text = format!("x pass\"word {} 55000001.", json!({"p": "pass\"word"}));
        assert_eq!(redactor.clean(&text), "x *** {\"p\":\"***\"} ***.");
        let mut words = Vec::new();
        let block =
            json!({"account_id": "55000001", "other": "seen", "login": {"password": ["p1", {"x": 12345}]}});
        hidden_in(&block, false, &mut words);
        let mut words: Vec<_> = words.iter().map(Secret::expose).collect();
        words.sort_unstable();
        assert_eq!(words, ["12345", "55000001", "p1"]);
    }

    proptest::proptest! {
        #[test]
        fn text_without_tokens_stays_as_it_is(text in "[ a-zA-Z0-9,:{}\\n账]{0,200}") {
            proptest::prop_assume!(!text.contains("Bearer"));
            proptest::prop_assert_eq!(without_tokens(&text), text);
        }
    }
}
