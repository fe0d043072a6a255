//! Answers of the backend: signals, acknowledgements, refusals and the token of a login.

use std::collections::HashSet;

use qt_core::{Event, Settings, Signal, Trader, UtcMillis};
use rust_decimal::Decimal;
use serde_json::Value;

use super::one_line;
use crate::backend::wire::{self, MAX_SIGNALS, View};
use crate::secrets::jwt;

/// The longest name of a signal, in characters.
const MAX_ORDER_ID: usize = 128;
/// 2026-11-24 10:00 in Shanghai.
const MORNING: UtcMillis = UtcMillis(1_795_485_600_000);

/// Reads the bytes as each of them.
pub fn answers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(claims) = jwt::claims(&text) {
        assert!(claims.ends_at_s.is_none_or(|end| end > 0));
    }
    let Ok(answer) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    assert!(wire::message_of(&answer).chars().count() <= wire::KEPT + 1);
    assert!(!wire::message_of(&answer).contains(char::is_control));
    let refused = answer.get("success") == Some(&Value::Bool(false));
    assert_eq!(wire::acknowledged(&answer).is_err(), refused);
    for view in [View::Pending, View::Submitted] {
        match wire::signals(&answer, view) {
            Ok(found) => judge(&found, view),
            Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
        }
    }
}

/// Each entry is accounted for once, and what was taken is what the core may be told.
pub(super) fn judge(found: &wire::SignalsAnswer, view: View) {
    let told = found.taken.len() + found.invalid.len() + found.skipped() + found.duplicates.len();
    assert_eq!(told + found.beyond_limit, found.entries);
    assert!(told <= MAX_SIGNALS);
    let mut names = HashSet::new();
    for signal in &found.taken {
        assert!(names.insert(&signal.id), "{} was taken twice", signal.id);
        sound(signal);
    }
    for invalid in &found.invalid {
        one_line(&invalid.reason);
        if let Some(id) = &invalid.id {
            assert!(names.insert(id), "{id} is taken and not taken");
        }
    }
    hear(found, view);
}

fn sound(signal: &Signal) {
    let name = &signal.id.0;
    assert!(!name.trim().is_empty() && name.chars().count() <= MAX_ORDER_ID && !name.contains(char::is_control));
    assert!(signal.size >= 1, "{signal:?}");
    for price in [signal.price, signal.price_floor, signal.price_ceiling] {
        assert!(price.is_none_or(|price| price > Decimal::ZERO), "{signal:?}");
    }
}

/// The core takes whatever was understood, and says the same when it is told the same again.
fn hear(found: &wire::SignalsAnswer, view: View) {
    let started = Event::HostStarted {
        settings: Settings {
            account_key: "fuzz".into(),
            ..Settings::default()
        },
    };
    let heard = match view {
        View::Pending => Event::Signals {
            taken: found.taken.clone(),
            invalid: found.invalid.clone(),
        },
        View::Submitted => Event::HeldAsSubmitted {
            signals: found.taken.clone(),
        },
    };
    let packed = serde_json::to_string(&heard).expect("a fact can be written");
    assert_eq!(serde_json::from_str::<Event>(&packed).expect("and read"), heard);
    let mut cores = [Trader::new(), Trader::new()];
    let effects = cores.each_mut().map(|core| {
        let mut effects = Vec::new();
        for (after_ms, event) in [(0, &started), (1, &heard), (2, &Event::Tick), (60_000, &heard)] {
            effects.extend(core.handle(UtcMillis(MORNING.0 + after_ms), event).expect("none of it is illegal"));
        }
        effects
    });
    assert_eq!(effects[0], effects[1]);
}
