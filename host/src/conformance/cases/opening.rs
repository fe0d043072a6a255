//! Opening: with the configuration as it is, and with mistakes in it.

use serde_json::{Value, json};

use super::super::Stop;
use super::super::bench::Bench;
use super::super::session::NotOpen;

/// Keys whose type is changed, at most.
const MOST_KEYS: usize = 8;
const UNKNOWN_KEY: &str = "qt_conformance_unknown_key";

pub(crate) fn opens(bench: &mut Bench<'_>) -> Result<String, Stop> {
    bench.say("opened the plugin in a process of its own");
    match bench.start(&bench.subject.config, None) {
        Ok(_) => Ok("it opens".to_owned()),
        Err(NotOpen::Refused(reason)) => Err(Stop::Fail(format!(
            "it refuses to open ({reason}); --config names the file with its block of the configuration"
        ))),
        Err(NotOpen::Broken(broken)) => Err(Stop::Fail(broken.text().to_owned())),
    }
}

pub(crate) fn mistakes(bench: &mut Bench<'_>) -> Result<String, Stop> {
    drop(bench.open()?);
    let block = bench.subject.config.as_object().cloned().unwrap_or_default();
    let mut keys: Vec<String> = block.keys().cloned().collect();
    let schema = bench.subject.manifest.config_schema.as_ref();
    let described = schema.and_then(|schema| schema.get("properties")?.as_object());
    keys.extend(described.into_iter().flat_map(|keys| keys.keys().cloned()));
    keys.sort();
    keys.dedup();
    let mut mistakes = vec![(
        format!("the unknown key `{UNKNOWN_KEY}`"),
        UNKNOWN_KEY.to_owned(),
        json!(true),
    )];
    for key in keys.into_iter().take(MOST_KEYS) {
        // A list of a list of nothing fits no option that anybody has.
        mistakes.push((format!("the wrong type `{key}` = [[null]]"), key, json!([[null]])));
    }
    let count = mistakes.len();
    for (what, key, value) in mistakes {
        bench.say(format!("opened it with {what}"));
        let mut wrong = block.clone();
        wrong.insert(key, value);
        match bench.start(&Value::Object(wrong), None) {
            Ok(_) => {
                return Err(Stop::Fail(format!(
                    "it opens with {what} as if nothing were wrong"
                )));
            }
            Err(NotOpen::Refused(reason)) if reason.trim().is_empty() => {
                return Err(Stop::Fail(format!("it refuses {what} without a word")));
            }
            Err(NotOpen::Refused(_)) => {}
            Err(NotOpen::Broken(broken)) => {
                return Err(Stop::Fail(format!("with {what}: {}", broken.text())));
            }
        }
    }
    Ok(format!("each of {count} mistakes is refused with a reason"))
}
