//! What a token says about itself.

use data_encoding::BASE64URL_NOPAD;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;
use serde_json::Number;
use zeroize::Zeroizing;

/// The end of the year 9999: a later moment is one in other units.
const LAST_S: i64 = 253_402_300_799;

/// The claims of a token that matter here. They are the token's own words: its signature is for the backend to check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    /// When it ends, in seconds since 1970 (UTC).
    pub(crate) ends_at_s: Option<i64>,
    /// When it began, likewise.
    pub(crate) begun_at_s: Option<i64>,
    /// Whose it is.
    pub(crate) subject: Option<String>,
}

#[derive(Deserialize)]
struct Payload {
    exp: Option<Number>,
    iat: Option<Number>,
    sub: Option<serde_json::Value>,
}

/// Reads the claims of a JSON Web Token; nothing where it is none, which a token may well be.
pub(crate) fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_head, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    // Some libraries pad what the standard leaves unpadded.
    let payload = payload.trim_end_matches('=');
    let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?);
    let payload: Payload = serde_json::from_slice(&bytes).ok()?;
    Some(Claims {
        ends_at_s: payload.exp.as_ref().and_then(seconds),
        begun_at_s: payload.iat.as_ref().and_then(seconds),
        subject: payload.sub.and_then(|sub| match sub {
            serde_json::Value::String(text) => Some(text),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        }),
    })
}

/// A moment may have a fraction, which does not matter, and some libraries write it with an exponent.
fn seconds(number: &Number) -> Option<i64> {
    let text = number.to_string();
    let moment = text
        .parse::<Decimal>()
        .or_else(|_| Decimal::from_scientific(&text))
        .ok()?;
    let whole = moment.trunc().to_i64()?;
    (1..=LAST_S).contains(&whole).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!(
            "eyJhbGciOiJIUzI1NiJ9.{}.c2ln",
            BASE64URL_NOPAD.encode(payload.as_bytes())
        )
    }

    #[test]
    fn the_end_is_read_in_every_form_that_it_has() {
        for (payload, ends) in [
            (r#"{"exp": 1790000000}"#, Some(1_790_000_000)),
            (r#"{"exp": 1790000000.75, "sub": "u"}"#, Some(1_790_000_000)),
            (r#"{"exp": 1.79e9}"#, Some(1_790_000_000)),
            (r#"{"exp": 1.790000000E+9}"#, Some(1_790_000_000)),
            (
                r#"{"exp": 1790000000.0000000000000000000000000000000001}"#,
                Some(1_790_000_000),
            ),
            (r#"{"exp": 1e-3}"#, None),
            (r#"{"sub": "u"}"#, None),
            (r#"{"exp": null}"#, None),
            // In milliseconds, before 1970, and beyond all numbers.
            (r#"{"exp": 1790000000000}"#, None),
            (r#"{"exp": -5}"#, None),
            (r#"{"exp": 1e400}"#, None),
            (r#"{"exp": 99999999999999999999999999}"#, None),
        ] {
            assert_eq!(claims(&token(payload)).unwrap().ends_at_s, ends, "{payload}");
        }
        let all = claims(&token(
            r#"{"sub": "user-7", "iat": 1700000000, "exp": 1700003600}"#,
        ))
        .unwrap();
        assert_eq!(
            (all.subject.as_deref(), all.begun_at_s),
            (Some("user-7"), Some(1_700_000_000))
        );
        let padded = format!("{}==.x", token("{\"exp\":5}").trim_end_matches(".c2ln"));
        assert_eq!(claims(&padded).unwrap().ends_at_s, Some(5));
    }

    #[test]
    fn what_is_no_web_token_has_no_claims() {
        for text in [
            "",
            "opaque",
            "a.b",
            "a.b.c",
            "a.b.c.d",
            "a.e30.c.d",
            "..",
            "a.@@@.c",
            "a.W10.c",
        ] {
            assert_eq!(claims(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_fail(text in ".{0,200}", payload in ".{0,80}") {
            let _ = claims(&text);
            let _ = claims(&token(&payload));
        }
    }
}
