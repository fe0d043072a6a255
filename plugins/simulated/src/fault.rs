//! A fault that the user asked for, and how often it strikes.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

/// How often a fault strikes, with a count of the chances it had.
#[derive(Debug, Default)]
pub(crate) struct Fault {
    when: When,
    chances: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum When {
    #[default]
    Never,
    Always,
    First(u64),
    Every(u64),
}

impl Fault {
    /// Counts a chance and tells whether the fault strikes.
    pub(crate) fn strikes(&self) -> bool {
        match self.when {
            When::Never => false,
            When::Always => true,
            When::First(n) => self.chances.fetch_add(1, Ordering::Relaxed) < n,
            When::Every(n) => (self.chances.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(n),
        }
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let when = match &value {
            Value::Bool(false) => Some(When::Never),
            Value::Bool(true) => Some(When::Always),
            Value::Number(n) => n.as_u64().map(When::First),
            Value::Object(map) if map.len() == 1 => map
                .get("every")
                .and_then(Value::as_u64)
                .filter(|n| *n > 0)
                .map(When::Every),
            _ => None,
        };
        let when = when.ok_or_else(|| {
            D::Error::custom(format!(
                "a fault is true, false, a number of times, or {{\"every\": n}} with n above 0, and not {value}"
            ))
        })?;
        Ok(Self {
            when,
            chances: AtomicU64::new(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(value: Value) -> Vec<bool> {
        let fault: Fault = serde_json::from_value(value).expect("fault");
        (0..5).map(|_| fault.strikes()).collect()
    }

    #[test]
    fn each_way_to_say_how_often() {
        assert_eq!(strikes(serde_json::json!(false)), [false; 5]);
        assert_eq!(strikes(serde_json::json!(true)), [true; 5]);
        assert_eq!(strikes(serde_json::json!(2)), [true, true, false, false, false]);
        assert_eq!(
            strikes(serde_json::json!({"every": 2})),
            [false, true, false, true, false]
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for value in [
            serde_json::json!("yes"),
            serde_json::json!(-1),
            serde_json::json!({"every": 0}),
            serde_json::json!({}),
        ] {
            assert!(serde_json::from_value::<Fault>(value).is_err());
        }
    }
}
