//! `qt-host doctor` on set-ups that are whole, and on some that are broken.

use std::path::Path;

use qt_test_support::{ACCOUNT, CLOCK_OFFSET, XTQUANT, xtquant};
use serde_json::{Value, json};

use super::{Lane, Scene};

/// What `doctor` finds: the exit code, and its findings.
fn examined(scene: &Scene) -> (Option<i32>, Vec<Value>) {
    // By the clock that the backend has, for it looks at both.
    let run = |arguments: &[&str]| {
        let mut command = scene.desk.command();
        command.env(CLOCK_OFFSET, "0").args(arguments).output().unwrap()
    };
    let out = run(&["doctor", "--broker", "miniqmt", "--json"]);
    let said: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
    let text = run(&["doctor", "--broker", "miniqmt"]);
    println!("{}", String::from_utf8_lossy(&text.stdout));
    assert!(!said.to_string().contains(ACCOUNT), "the account number is told");
    (out.status.code(), said["findings"].as_array().unwrap().clone())
}

#[test]
fn a_whole_set_up_is_well_and_five_broken_ones_are_told_apart() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let empty = tempfile::tempdir().unwrap();
    let nowhere = Path::new("/no/such/folder/userdata_mini");
    type Break<'a> = Box<dyn Fn(&Scene) + 'a>;
    let cases: Vec<(&str, Value, Value, Break<'_>, &str, &str)> = vec![
        ("all is well", json!({}), json!({}), Box::new(|_| {}), "", ""),
        (
            "no Python",
            json!({}),
            json!({ "python": "no-such-python" }),
            Box::new(|_| {}),
            "python",
            "`python`",
        ),
        (
            "no xtquant",
            json!({}),
            json!({ "xtquant": empty.path() }),
            Box::new(|_| {}),
            "xtquant",
            "pip install xtquant",
        ),
        (
            "no such folder",
            json!({}),
            json!({ "session_path": nowhere }),
            Box::new(|_| {}),
            "userdata",
            "`session_path`",
        ),
        (
            "nobody is logged in",
            json!({}),
            json!({}),
            Box::new(|scene: &Scene| scene.counter.down(true)),
            "login",
            "log in to the terminal",
        ),
        (
            "another account",
            json!({ "account": "99000009" }),
            json!({}),
            Box::new(|_| {}),
            "account",
            "`account_id`",
        ),
        (
            "another program's session",
            json!({}),
            json!({ "session_ids": [500, 520] }),
            Box::new(|scene: &Scene| {
                std::fs::write(scene.counter.userdata().join("down_queue_xtquant_510"), "").unwrap();
            }),
            "session ids",
            "`session_ids`",
        ),
    ];
    for (what, knobs, block, break_it, name, words) in cases {
        let scene = Scene::new(&packages, &knobs, &block, Lane::Worker);
        break_it(&scene);
        println!("== {what}");
        let (code, findings) = examined(&scene);
        let wrong: Vec<&Value> = findings
            .iter()
            .filter(|finding| finding["health"] == "wrong")
            .collect();
        if name.is_empty() {
            assert_eq!((code, wrong.len()), (Some(0), 0), "{what}: {findings:#?}");
            continue;
        }
        assert_eq!(code, Some(1), "{what}");
        let first = wrong.first().unwrap_or_else(|| panic!("{what}: {findings:#?}"));
        assert_eq!(first["name"], name, "{what}: {wrong:#?}");
        assert!(first.to_string().contains(words), "{what}: {first}");
    }
}

/// It may look while a host trades, and takes nothing from it.
#[test]
fn a_host_that_trades_is_not_disturbed() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let scene = Scene::new(&packages, &json!({}), &json!({}), Lane::Worker);
    let mut host = scene.desk.host("");
    host.trades();
    assert_eq!(examined(&scene).0, Some(0));
    scene.signal(1);
    assert_eq!(scene.settle("looked at", &mut host), ["filled"]);
    assert_eq!(host.stop(), Some(0));
    assert!(!scene.desk.log().contains("BROKER_DOWN"), "{}", scene.desk.log());
    assert_eq!(scene.faults(), [""; 0]);
}
