//! `qt-host plugins --explain CODE`.

use serde_json::json;

use super::Failure;
use crate::plugin::{self, Code};

pub(super) fn run(code: &str, json: bool) -> Result<(), Failure> {
    let Some(code) = plugin::explain(code) else {
        let first = plugin::CODES.first().map_or("", |code| code.code);
        let last = plugin::CODES.last().map_or("", |code| code.code);
        return Err(Failure::usage(format!(
            "{code:?} is no code of a plugin's fault; expected one from {first} to {last}, as the message shows it"
        )));
    };
    crate::cli::print(&if json { as_json(code) } else { text(code) })
}

/// Every code with its title, for the command's help.
pub(super) fn codes() -> String {
    plugin::CODES.iter().fold(String::from("Codes:"), |text, code| {
        format!("{text}\n  {}  {}", code.code, code.title)
    })
}

fn as_json(code: &Code) -> String {
    let all = json!({
        "code": code.code, "title": code.title, "cause": code.cause, "innocent": code.innocent, "mend": code.mend,
    });
    format!("{all:#}\n")
}

fn text(code: &Code) -> String {
    let reasons: String = code
        .innocent
        .iter()
        .map(|reason| format!("  - {reason}\n"))
        .collect();
    format!(
        "{}: {}\n\nWhy it is a fault:\n  {}\n\nHow it comes about, the likeliest first:\n{reasons}\nWhat to do:\n  {}\n",
        code.code, code.title, code.cause, code.mend
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_says_cause_reasons_and_mend() {
        for code in plugin::CODES {
            assert!(plugin::explain(code.code).is_some_and(|found| found.code == code.code));
            let bare = code.code.trim_start_matches("QT-").to_lowercase();
            assert!(plugin::explain(&bare).is_some_and(|found| found.code == code.code));
            for part in [code.title, code.cause, code.mend] {
                assert!(part.len() > 20 && text(code).contains(part), "{code:?}");
            }
            assert!(!code.innocent.is_empty(), "{code:?}");
        }
        assert_eq!(run("QT-P999", false).unwrap_err().code, 2);
    }
}
