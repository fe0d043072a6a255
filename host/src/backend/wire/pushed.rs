//! A message of the stream of signals, as the answer that it stands for.

use serde_json::{Value, json};

/// Takes a message: one signal, a list of them, or the shape of an answer that is fetched; and beside each, where to go on.
/// What holds no signals, such as a greeting, is nothing.
///
/// # Errors
///
/// What the message is instead.
pub(crate) fn pushed(text: &str) -> Result<Option<(Value, Option<String>)>, String> {
    let mut value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let cursor = value.get("cursor").and_then(|cursor| match cursor {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    let data = match &mut value {
        Value::Array(_) => value,
        Value::Object(map) if map.get("data").is_some_and(Value::is_array) => {
            map.remove("data").unwrap_or_default()
        }
        Value::Object(map) if map.contains_key("order_id") => Value::Array(vec![value]),
        Value::Object(_) => return Ok(None),
        _ => return Err("expected an object or a list".to_owned()),
    };
    Ok(Some((json!({ "success": true, "data": data }), cursor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(Value, Option<String>)> {
        let (answer, cursor) = pushed(text).unwrap()?;
        Some((answer["data"].clone(), cursor))
    }

    #[test]
    fn one_signal_a_list_and_an_answer_are_understood_and_each_says_where_to_go_on() {
        let one = json!({ "order_id": "S1", "size": 100 });
        let list = |cursor: Option<&str>| Some((json!([one]), cursor.map(str::to_owned)));
        assert_eq!(found(&one.to_string()), list(None));
        assert_eq!(found(&json!([one]).to_string()), list(None));
        let answer = json!({ "data": [one], "cursor": 17 });
        assert_eq!(found(&answer.to_string()), list(Some("17")));
        let with_cursor = json!({ "order_id": "S1", "cursor": "a/b" });
        assert_eq!(
            found(&with_cursor.to_string()),
            Some((json!([with_cursor]), Some("a/b".to_owned())))
        );
        assert_eq!(found(r#"{"type": "hello"}"#), None);
        assert_eq!(found(r#"{"data": {}}"#), None);
    }

    #[test]
    fn what_is_no_message_is_said_and_takes_nothing_along() {
        for text in ["", "{", "7", "\"x\"", "null", "<html>"] {
            assert!(pushed(text).is_err(), "{text}");
        }
    }
}
