//! What of a backend's words about a login is shown.
//!
//! It was told the password, and some say again what they were told: FastAPI's list of faults holds the whole body as `input`.
//! Its short words alone are shown, and nothing of the password in them.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::backend::wire;

/// How many faults of a list are shown.
const FAULTS: usize = 5;
/// What stands in a secret's place.
const HIDDEN: &str = "***";

/// Texts that are not to be shown, in the forms in which an answer may have them.
pub(super) struct Hidden(Vec<Zeroizing<String>>);

impl Hidden {
    /// Hides these.
    pub(super) fn new(secrets: &[&str]) -> Self {
        let mut forms = Vec::new();
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            // As a text within a text: quotes and line ends have a stroke before them.
            let quoted = Zeroizing::new(Value::String((*secret).to_owned()).to_string());
            let within = &quoted[1..quoted.len() - 1];
            if within != *secret {
                forms.push(Zeroizing::new(within.to_owned()));
            }
            forms.push(Zeroizing::new((*secret).to_owned()));
        }
        // One that holds another goes first.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        Self(forms)
    }

    /// A text without them.
    pub(super) fn out_of(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret.as_str(), HIDDEN)
        })
    }

    /// What the body of an answer says in words.
    pub(super) fn words(&self, body: &[u8]) -> String {
        let said = serde_json::from_slice(body).ok().as_ref().and_then(said);
        // Cut last: half of a secret would not be found.
        let text = said.map(|said| wire::cut(self.out_of(&said).trim(), wire::KEPT));
        match text {
            Some(text) if !text.is_empty() => text,
            _ if body.trim_ascii().is_empty() => "without a word".to_owned(),
            _ => "in words that are not shown, as they may repeat the password".to_owned(),
        }
    }
}

/// A text that is the answer or stands in it under the usual names, or the messages of a list of faults.
fn said(answer: &Value) -> Option<String> {
    if let Value::String(text) = answer {
        return Some(text.clone());
    }
    let parts: Vec<&Value> = ["message", "detail", "error"]
        .iter()
        .filter_map(|name| answer.get(name))
        .collect();
    if let Some(text) = parts.iter().find_map(|part| part.as_str()) {
        return Some(text.to_owned());
    }
    let faults = parts.iter().find_map(|part| part.as_array())?;
    let messages: Vec<&str> = faults
        .iter()
        .filter_map(|fault| fault.get("msg")?.as_str())
        .take(FAULTS)
        .collect();
    Some(messages.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(body: &str) -> String {
        Hidden::new(&["hunter\"2", "", "tok-77"]).words(body.as_bytes())
    }

    /// Up to 300 characters of what a backend answered to a login were shown, the password among them where it says again what
    /// it was told.
    #[test]
    fn nothing_that_an_answer_repeats_of_the_password_is_shown() {
        let secret = "hunter\\\"2";
        for (body, shown) in [
            (
                format!(
                    r#"{{"detail":[{{"type":"missing","loc":["body","otp"],"msg":"Field required","input":{{"username":"wang","password":"{secret}"}}}},{{"msg":"Too short"}}]}}"#
                ),
                "Field required; Too short",
            ),
            (
                format!(r#"{{"detail":{{"input":"{secret}"}},"message":"no"}}"#),
                "no",
            ),
            (
                format!(r#"{{"detail":"wang may not log in with {secret} and tok-77"}}"#),
                "wang may not log in with *** and ***",
            ),
            // What it repeats is a text within a text.
            (
                r#"{"error":"bad body {\"password\":\"hunter\\\"2\"}"}"#.to_owned(),
                r#"bad body {"password":"***"}"#,
            ),
            (
                r#""Incorrect username or password""#.to_owned(),
                "Incorrect username or password",
            ),
            (String::new(), "without a word"),
        ] {
            assert_eq!(words(&body), shown, "{body}");
        }
        for body in [
            format!(r#"{{"password":"{secret}"}}"#),
            format!(r#"{{"detail":{{"password":"{secret}"}}}}"#),
            format!(r#"{{"detail":["{secret}"]}}"#),
            format!("password={secret}"),
        ] {
            assert!(words(&body).contains("not shown"), "{body}");
        }
    }

    #[test]
    fn a_secret_at_the_place_where_words_are_cut_is_hidden_first() {
        let body = format!(r#"{{"detail":"{}tok-77"}}"#, "x".repeat(wire::KEPT - 3));
        assert!(!words(&body).contains("tok"), "{}", words(&body));
    }
}
