//! `qt-host doctor` on a set-up that is whole, and on many that are broken: what is wrong is told apart, first things first.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Output;

use qt_test_support::{Backend, CLOCK_OFFSET, Desk, wait_until};
use serde_json::{Value, json};

const HOUR_MS: i64 = 3_600_000;

fn doctor(desk: &Desk, offset_ms: i64, arguments: &[&str]) -> Output {
    let mut command = desk.command();
    command.env(CLOCK_OFFSET, offset_ms.to_string()).arg("doctor");
    command.args(arguments).output().unwrap()
}

/// The exit code and the findings; what people see is printed.
fn examined(what: &str, desk: &Desk, offset_ms: i64) -> (Option<i32>, Vec<Value>) {
    let text = doctor(desk, offset_ms, &[]);
    let shown = String::from_utf8(text.stdout).unwrap();
    let folder = desk.path("").display().to_string();
    println!(
        "== {what}: exit code {:?}\n{}{}",
        text.status.code().unwrap(),
        shown.replace(&folder, "DESK/"),
        String::from_utf8_lossy(&text.stderr)
    );
    let out = doctor(desk, offset_ms, &["--json"]);
    assert_eq!(out.status.code(), text.status.code());
    let said: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{what}: {e}: {}", String::from_utf8_lossy(&out.stderr)));
    let findings = said["findings"].as_array().unwrap().clone();
    assert_eq!(said["well"], out.status.success());
    for finding in &findings {
        let has_todo = !finding["todo"].as_str().unwrap().is_empty();
        assert!(has_todo || finding["health"] == "ok", "{finding}");
    }
    (out.status.code(), findings)
}

fn wrong(findings: &[Value]) -> Vec<&Value> {
    findings
        .iter()
        .filter(|finding| finding["health"] == "wrong")
        .collect()
}

/// Nothing, or another hold on what broke it.
type Breaks = fn(&Backend, &Desk);

struct Case {
    what: &'static str,
    more: Value,
    breaks: Breaks,
    offset_ms: i64,
    code: i32,
    /// The name of the first thing that is wrong, and words of it.
    name: &'static str,
    words: &'static [&'static str],
}

const fn case(
    what: &'static str,
    more: Value,
    code: i32,
    name: &'static str,
    words: &'static [&'static str],
) -> Case {
    Case {
        what,
        more,
        breaks: |_, _| {},
        offset_ms: 0,
        code,
        name,
        words,
    }
}

fn cases() -> Vec<Case> {
    let mut all = vec![
        case(
            "the backend is not running",
            json!({ "api_base_url": "http://127.0.0.1:1/api" }),
            1,
            "connection",
            &[
                "cannot connect to http://127.0.0.1:1/api",
                "firewall",
                "`api_base_url`",
            ],
        ),
        case(
            "the backend's name is not known",
            json!({ "api_base_url": "https://backend.invalid:8000/api" }),
            1,
            "name",
            &["backend.invalid is not known", "name server"],
        ),
        case(
            "the token is wrong",
            json!({ "api_token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2ln" }),
            1,
            "login",
            &["refuses the token (401)", "qt-host login"],
        ),
        case(
            "nobody has logged in",
            json!({ "api_token": "keyring" }),
            2,
            "token",
            &["no login is kept", "qt-host login"],
        ),
        case(
            "a key is misspelt",
            json!({ "poll_intervall": 1 }),
            2,
            "configuration",
            &["poll_intervall", "did you mean `poll_interval`?"],
        ),
        case(
            "the plugin is not there",
            json!({ "broker": "absent" }),
            3,
            "plugin",
            &["QT-P001", "absent", "qt-host plugins doctor"],
        ),
        case(
            "an option of the plugin is wrong",
            json!({ "simulated": { "fill": "sometimes" } }),
            2,
            "plugin",
            &["`simulated.fill` is \"sometimes\"", "plugins inspect"],
        ),
        case(
            "the authority's certificate is not there",
            json!({ "api_base_url": "https://127.0.0.1:1/api", "ca_certificate": "absent.pem" }),
            2,
            "tls",
            &["absent.pem cannot be read", "`ca_certificate`"],
        ),
    ];
    all.extend(broken_by_hand());
    all
}

fn broken_by_hand() -> Vec<Case> {
    vec![
        Case {
            breaks: |_, desk| std::fs::write(desk.path("data"), "a file").unwrap(),
            ..case(
                "the data folder is none",
                json!({}),
                2,
                "folder",
                &["cannot be used", "`data_dir`"],
            )
        },
        Case {
            breaks: |backend, desk| {
                let host = desk.trading();
                backend.add(&json!({ "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 }));
                wait_until("it is reported", || backend.summary()["counts"]["concluded"] == 1);
                assert_eq!(host.stop(), Some(0));
                let journal = desk.path("data/journal.db");
                let mut bytes = std::fs::read(&journal).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle..].fill(0x5a);
                std::fs::write(&journal, bytes).unwrap();
            },
            ..case(
                "the journal is damaged",
                json!({}),
                4,
                "journal",
                &["damaged", "journal verify"],
            )
        },
        Case {
            breaks: |backend, _| backend.fault(&json!({ "mode": "html" })),
            ..case(
                "a web page answers",
                json!({}),
                1,
                "connection",
                &["HTML", "is it the quantFinance backend"],
            )
        },
        Case {
            breaks: |backend, desk| {
                let bare = backend.base_url.trim_end_matches("/api").to_owned();
                desk.configure(backend, &json!({ "api_base_url": bare }));
            },
            ..case(
                "the address lacks its path",
                json!({}),
                1,
                "connection",
                &["/trader/signals answered 404", "http://host:port/api"],
            )
        },
        Case {
            breaks: |backend, _| backend.fault(&json!({ "mode": "not_found", "path": "executions" })),
            ..case(
                "the backend has no executions",
                json!({}),
                1,
                "calls",
                &["has no trader/executions"],
            )
        },
        Case {
            offset_ms: 2 * HOUR_MS,
            ..case(
                "the clock is wrong",
                json!({}),
                1,
                "clock",
                &["ahead of the backend's", "time server"],
            )
        },
        Case {
            breaks: |backend, _| backend.fault(&json!({ "mode": "http500" })),
            ..case(
                "the backend fails",
                json!({}),
                1,
                "connection",
                &["answered 500", "the backend's own log"],
            )
        },
    ]
}

#[test]
fn transcript_of_broken_set_ups_that_are_told_apart() {
    let cases = cases();
    for case in &cases {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &case.more);
        (case.breaks)(&backend, &desk);
        let (code, findings) = examined(case.what, &desk, case.offset_ms);
        let first = *wrong(&findings)
            .first()
            .unwrap_or_else(|| panic!("{}: nothing is wrong: {findings:#?}", case.what));
        assert_eq!(first["name"], case.name, "{}: {first}", case.what);
        let said = format!(
            "{} {}",
            first["saw"].as_str().unwrap(),
            first["todo"].as_str().unwrap()
        );
        for words in case.words {
            assert!(said.contains(words), "{}: {words} is not in {said}", case.what);
        }
        assert_eq!(code, Some(case.code), "{}", case.what);
    }
    println!("{} broken set-ups, each told apart", cases.len());
}

#[test]
fn a_token_that_has_ended_is_said_by_the_backends_clock() {
    let backend = Backend::with(&["--token-life", "1"]);
    let desk = Desk::new(&backend, &json!({}));
    wait_until("the token has ended", || !desk.run(&["whoami"]).status.success());
    // However wrong our own clock is.
    for offset_ms in [0, -20 * HOUR_MS] {
        let (code, findings) = examined("the token has ended", &desk, offset_ms);
        assert_eq!(code, Some(1));
        let first = wrong(&findings)[0];
        assert_eq!(first["name"], "token", "{first}");
        assert!(first["saw"].as_str().unwrap().contains("ended at"), "{first}");
        assert!(
            first["todo"].as_str().unwrap().contains("log in again"),
            "{first}"
        );
    }
}

fn saw(findings: &[Value], name: &str) -> Vec<String> {
    let of_name = findings.iter().filter(|finding| finding["name"] == name);
    of_name
        .map(|finding| finding["saw"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_waiting_signal_has_its_reason() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "securities_account_id": "SA-1" }));
    let signal = |id: &str, more: Value| {
        let mut signal = json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5,
                                 "status": "pending", "is_executable": true, "mode": "live" });
        signal
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        signal
    };
    backend.add_raw(&json!([
        signal("GOOD", json!({})),
        signal("STOPPED", json!({ "is_executable": false })),
        signal("PAPER", json!({ "mode": "paper" })),
        signal("OTHERS", json!({ "securities_account_id": "SA-2" })),
        signal("ODD", json!({ "size": 0 })),
        signal("LATE", json!({ "valid_until": 1_700_000_000 })),
        signal("EARLY", json!({ "activate_after": 4_000_000_000_i64 })),
    ]));
    let (code, findings) = examined("signals wait, and no host runs", &desk, 0);
    assert_eq!(code, Some(0));
    let said = saw(&findings, "signal");
    for (id, words) in [
        ("GOOD", "waits for a host: none is running"),
        ("STOPPED", "`is_executable` is not true"),
        ("PAPER", "`mode` is \"paper\""),
        ("OTHERS", "for the securities account SA-2"),
        ("ODD", "cannot be executed"),
        ("LATE", "it is too late"),
        ("EARLY", "not to be sent before"),
    ] {
        let line = said.iter().find(|line| line.starts_with(id));
        let line = line.unwrap_or_else(|| panic!("{id}: {said:#?}"));
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(said.len(), 7);

    desk.done(&["halt", "--reason", "lunch"]);
    let (_, findings) = examined("orders are stopped", &desk, 0);
    assert!(saw(&findings, "halt")[0].contains("lunch"));
    let good = saw(&findings, "signal")
        .into_iter()
        .find(|line| line.starts_with("GOOD"));
    assert!(good.unwrap().contains("new orders are stopped"));
}

#[test]
fn a_host_that_trades_is_well_and_its_dead_letters_are_told_of() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let host = desk.trading();
    let (code, findings) = examined("all is well", &desk, 0);
    assert_eq!((code, wrong(&findings).len()), (Some(0), 0), "{findings:#?}");
    assert_eq!(
        saw(&findings, "host"),
        ["a host is running with this data folder"]
    );
    assert!(saw(&findings, "signals")[0].contains("none waits at the backend, which is no mistake"));
    assert!(saw(&findings, "log")[0].contains("logs/quantTrader.log"));

    backend.fault(&json!({ "mode": "refuse", "path": "executions", "requests": 1 }));
    backend.add(&json!({ "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 }));
    wait_until("a report is refused", || {
        desk.log().contains("kept as a dead letter")
    });
    wait_until("it is in the journal", || {
        !desk.json(&["reports", "list"]).as_array().unwrap().is_empty()
    });
    let (code, findings) = examined("a report was refused", &desk, 0);
    assert_eq!(code, Some(0));
    let reports = &saw(&findings, "reports")[0];
    assert!(
        reports.contains("the backend refused 1") && reports.contains("refused on request"),
        "{reports}"
    );
    assert_eq!(host.stop(), Some(0));
}
