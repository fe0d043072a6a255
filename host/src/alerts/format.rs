//! The shapes that robots take, and what their answers say.

use ring::hmac;
use serde_json::{Value, json};

use super::Alert;
use crate::config::WebhookFormat;

/// The most of an alert's text that is sent, in bytes: the strictest robot refuses a message of more than 2048, and a
/// Chinese character has three.
const LONGEST: usize = 1500;

/// A message as it is posted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// What is added to the address's query.
    pub(super) query: Vec<(&'static str, String)>,
    /// The body.
    pub(super) body: Value,
}

/// The alert for a program.
pub(super) fn object(alert: &Alert, held_back: u64) -> Value {
    json!({
        "source": "quantTrader",
        "kind": alert.kind.name(),
        "state": if alert.is_raised { "raised" } else { "resolved" },
        "severity": alert.severity(),
        "account": alert.account,
        "text": alert.text,
        "at": at(alert.at_ms),
        "held_back": held_back,
    })
}

fn at(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |moment| moment.to_string())
}

/// The alert for people.
fn sentence(alert: &Alert, held_back: u64) -> String {
    let kind = alert.kind.name();
    let word = if alert.is_raised {
        alert.severity()
    } else {
        "resolved"
    };
    let mut text = format!("[quantTrader] {word}: {kind}");
    if let Some(account) = &alert.account {
        text.push_str(&format!(" · {account}"));
    }
    text.push('\n');
    text.push_str(&alert.text[..alert.text.floor_char_boundary(LONGEST)]);
    text.push_str(&format!(
        "\n{}",
        crate::cli::shanghai(qt_core::UtcMillis(alert.at_ms))
    ));
    if held_back > 0 {
        text.push_str(&format!("\n({held_back} more were held back before this one)"));
    }
    text
}

/// The message of a format, signed where there is a secret. `now_ms` is what the signature is good for.
pub(super) fn message(
    format: WebhookFormat,
    alert: &Alert,
    held_back: u64,
    secret: Option<&str>,
    now_ms: i64,
) -> Message {
    let plain = |body| Message {
        query: Vec::new(),
        body,
    };
    let text = || sentence(alert, held_back);
    match format {
        WebhookFormat::Json => plain(object(alert, held_back)),
        WebhookFormat::WeCom => plain(json!({ "msgtype": "text", "text": { "content": text() } })),
        WebhookFormat::DingTalk => Message {
            query: secret.map_or_else(Vec::new, |secret| dingtalk_query(secret, now_ms)),
            body: json!({ "msgtype": "text", "text": { "content": text() } }),
        },
        WebhookFormat::Feishu => {
            let mut body = json!({ "msg_type": "text", "content": { "text": text() } });
            if let Some(secret) = secret {
                let seconds = now_ms.div_euclid(1000);
                body["timestamp"] = json!(seconds.to_string());
                body["sign"] = json!(feishu_sign(secret, seconds));
            }
            plain(body)
        }
    }
}

fn signed(key: &[u8], message: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    data_encoding::BASE64.encode(hmac::sign(&key, message).as_ref())
}

/// DingTalk signs the moment in ms and the secret, with the secret.
fn dingtalk_query(secret: &str, now_ms: i64) -> Vec<(&'static str, String)> {
    let sign = signed(secret.as_bytes(), format!("{now_ms}\n{secret}").as_bytes());
    vec![("timestamp", now_ms.to_string()), ("sign", sign)]
}

/// Feishu signs nothing, with the moment in seconds and the secret as the key.
fn feishu_sign(secret: &str, seconds: i64) -> String {
    signed(format!("{seconds}\n{secret}").as_bytes(), b"")
}

/// What a robot's answer of status 200 says against the message, if anything.
pub(super) fn refusal(format: WebhookFormat, answer: &[u8]) -> Option<String> {
    let (code, text) = match format {
        WebhookFormat::Json => return None,
        WebhookFormat::DingTalk | WebhookFormat::WeCom => ("errcode", "errmsg"),
        WebhookFormat::Feishu => ("code", "msg"),
    };
    let Ok(said) = serde_json::from_slice::<Value>(answer) else {
        return Some(format!(
            "its answer is not JSON, so this is no robot of {}",
            format.name()
        ));
    };
    // Feishu's older robots answer with another word.
    let number = said
        .get(code)
        .or_else(|| said.get("StatusCode"))
        .and_then(Value::as_i64);
    match number {
        Some(0) => None,
        Some(number) => {
            let why = said.get(text).and_then(Value::as_str).unwrap_or_default();
            let why: String = why.chars().filter(|c| !c.is_control()).take(200).collect();
            Some(format!("it refuses the message ({code} {number}: {why})"))
        }
        None => Some(format!(
            "its answer has no `{code}`, so this is no robot of {}",
            format.name()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn alert() -> Alert {
        Alert {
            kind: Kind::Review,
            is_raised: true,
            is_critical: true,
            level: 1,
            account: Some("SA-1/****0001".to_owned()),
            text: "1 order(s) wait for a person".to_owned(),
            at_ms: 1_795_535_999_000,
        }
    }

    #[test]
    fn each_format_has_the_shape_that_its_robot_documents() {
        let text = "[quantTrader] critical: review · SA-1/****0001\n1 order(s) wait for a person\n2026-11-24T23:59:59\n(3 more were held \
                    back before this one)";
        let expected = [
            (
                WebhookFormat::DingTalk,
                json!({ "msgtype": "text", "text": { "content": text } }),
            ),
            (
                WebhookFormat::WeCom,
                json!({ "msgtype": "text", "text": { "content": text } }),
            ),
            (
                WebhookFormat::Feishu,
                json!({ "msg_type": "text", "content": { "text": text } }),
            ),
            (
                WebhookFormat::Json,
                json!({ "source": "quantTrader", "kind": "review", "state": "raised", "severity": "critical",
                        "account": "SA-1/****0001", "text": "1 order(s) wait for a person", "at": "2026-11-24T15:59:59Z",
                        "held_back": 3 }),
            ),
        ];
        for (format, body) in expected {
            let made = message(format, &alert(), 3, None, 0);
            assert_eq!(
                made,
                Message {
                    query: Vec::new(),
                    body
                },
                "{format:?}"
            );
        }
        let over = Alert {
            is_raised: false,
            ..alert()
        };
        assert!(sentence(&over, 0).starts_with("[quantTrader] resolved: review"));
    }

    #[test]
    fn no_message_is_longer_than_the_strictest_robot_takes() {
        for text in ["行情".repeat(1000), "x".repeat(5000), "é行😀".repeat(700)] {
            let long = Alert { text, ..alert() };
            let said = sentence(&long, u64::MAX);
            assert!((1490..=2048).contains(&said.len()), "{}", said.len());
        }
    }

    #[test]
    fn signatures_are_those_of_an_independent_hmac() {
        // By Python's hmac, base64 and hashlib, as the robots' documentation does it.
        let query = dingtalk_query("SEC1", 1_700_000_000_000);
        assert_eq!(query[0], ("timestamp", "1700000000000".to_owned()));
        assert_eq!(
            query[1],
            ("sign", "ukR4+WoOOBTGaOauYqugxVrMSFyr92q4hPxJxuOkiio=".to_owned())
        );
        assert_eq!(
            feishu_sign("SEC1", 1_700_000_000),
            "s3Va4ru9IQUY6HTJcYx7OEVyXl0V0S/y32v4ZbfOHCI="
        );
        let signed = message(
            WebhookFormat::Feishu,
            &alert(),
            0,
            Some("SEC1"),
            1_700_000_000_999,
        );
        assert_eq!(signed.body["timestamp"], "1700000000");
        assert_eq!(
            signed.body["sign"],
            "s3Va4ru9IQUY6HTJcYx7OEVyXl0V0S/y32v4ZbfOHCI="
        );
    }

    #[test]
    fn a_robot_that_answers_well_and_means_no_is_not_taken_for_done() {
        let refused = |format, text: &str| refusal(format, text.as_bytes());
        assert_eq!(
            refused(WebhookFormat::DingTalk, r#"{"errcode":0,"errmsg":"ok"}"#),
            None
        );
        assert_eq!(
            refused(WebhookFormat::Feishu, r#"{"code":0,"msg":"success"}"#),
            None
        );
        assert_eq!(refused(WebhookFormat::Feishu, r#"{"StatusCode":0}"#), None);
        assert_eq!(refused(WebhookFormat::Json, "anything"), None);
        let said = refused(
            WebhookFormat::DingTalk,
            r#"{"errcode":310000,"errmsg":"sign not match"}"#,
        );
        assert_eq!(
            said.unwrap(),
            "it refuses the message (errcode 310000: sign not match)"
        );
        let page = refused(WebhookFormat::WeCom, "<html>");
        assert!(page.unwrap().contains("no robot of wecom"));
        assert!(
            refused(WebhookFormat::Feishu, "{}")
                .unwrap()
                .contains("has no `code`")
        );
    }
}
