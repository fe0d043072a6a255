//! Alerts reach a robot and a command, whatever goes wrong on the way, and give no secret away.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use qt_test_support::{Backend, Desk, runs, wait_until};
use serde_json::{Value, json};

use super::robot::Robot;

const SECRET: &str = "s3cr3t-of-the-robot";

fn of_kind<'a>(posts: &'a [(String, Value)], kind: &str) -> Vec<&'a Value> {
    let bodies = posts.iter().map(|(_, body)| body);
    bodies.filter(|body| body["kind"] == kind).collect()
}

/// Every file below a folder, as text.
fn everything(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            everything(&entry.path(), found);
        } else {
            found.push_str(&String::from_utf8_lossy(
                &std::fs::read(entry.path()).unwrap_or_default(),
            ));
        }
    }
}

#[test]
fn what_people_must_know_reaches_the_robot_once_and_its_end_too() {
    let robot = Robot::start("{}");
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "log_level": "DEBUG", "alerts": { "webhook": { "url": robot.url(SECRET) }, "unknown_after_seconds": 0 },
                 // The order is with the broker, and neither an answer nor a list says so.
                 "simulated": { "fault_accept_silently": true, "snapshot_lag_ms": 600_000, "fill": "never" },
                 "execution": { "unknown_settle_seconds": 86_400 } }),
    );
    backend.fault(&json!({ "mode": "refuse", "path": "status", "requests": 1 }));
    backend.add(
        &json!({ "order_id": "S1", "symbol": "000858.SZ", "action": "BUY", "size": 7, "price": 43.5,
                         "valid_until": 1_000_000_000 }),
    );
    backend.add(
        &json!({ "order_id": "S2", "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 }),
    );
    let host = desk.trading();
    wait_until(&format!("the refused report is told: {}", desk.log()), || {
        !of_kind(&robot.posts(), "dead_letter").is_empty()
    });
    wait_until("the unknown order is told", || {
        !of_kind(&robot.posts(), "unknown").is_empty()
    });

    desk.done(&["halt", "--reason", "for a look"]);
    wait_until("the halt is told", || of_kind(&robot.posts(), "halt").len() == 1);
    desk.done(&["resume"]);
    wait_until("its end is told", || of_kind(&robot.posts(), "halt").len() == 2);
    let posts = robot.posts();
    let halts = of_kind(&posts, "halt");
    assert_eq!(
        (&halts[0]["state"], &halts[1]["state"]),
        (&json!("raised"), &json!("resolved"))
    );
    assert!(
        halts[0]["text"].as_str().unwrap().contains("for a look"),
        "{halts:?}"
    );
    assert_eq!(of_kind(&posts, "dead_letter").len(), 1);
    assert_eq!(of_kind(&posts, "dead_letter")[0]["severity"], "warning");
    assert_eq!(host.stop(), Some(0));

    std::fs::remove_file(desk.config()).unwrap();
    let mut left = String::new();
    everything(&desk.path(""), &mut left);
    assert!(
        left.contains("Alert delivered") && !left.contains(SECRET),
        "the robot's address was written down"
    );
}

#[test]
fn a_robot_that_fails_is_tried_again_and_its_address_is_not_logged() {
    let robot = Robot::start("{}");
    robot.will_answer(500, "");
    robot.will_answer(302, "");
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "log_level": "DEBUG", "alerts": { "webhook": { "url": robot.url(SECRET) } } }),
    );
    let host = desk.trading();
    desk.done(&["halt"]);
    wait_until(&format!("the third try arrives: {}", desk.log()), || {
        of_kind(&robot.posts(), "halt").len() == 3
    });
    wait_until("that is known", || desk.log().contains("Alert delivered: halt"));
    assert_eq!(host.stop(), Some(0));
    assert!(!desk.log().contains(SECRET));
}

/// A hang made `readyz` fail and told nobody; and the stop that a person then tried never came to its end.
#[test]
fn an_engine_that_hangs_is_told_and_the_host_stops_without_it() {
    let robot = Robot::start("{}");
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "alerts": { "webhook": { "url": robot.url(SECRET) } }, "simulated": { "fill": "never" },
                 "execution": { "buy_order_timeout_seconds": 0.2 } }),
    );
    // The engine's thread stands still where the first cancel leaves.
    let mut host = desk.host("before-cancel=sleep(3600000)");
    host.trades();
    backend.add(&super::stream::signal(1));
    wait_until(&format!("the hang is told: {}", desk.log()), || {
        !of_kind(&robot.posts(), "not_traded").is_empty()
    });
    let posts = robot.posts();
    let told = of_kind(&posts, "not_traded")[0];
    assert_eq!(
        (&told["state"], &told["severity"]),
        (&json!("raised"), &json!("critical"))
    );
    assert!(
        told["text"].as_str().unwrap().contains("made no turn for"),
        "{told}"
    );
    assert_eq!(host.stop(), Some(0));
    assert!(
        desk.log()
            .contains("the engine hangs and has not finished within 13 s"),
        "{}",
        desk.log()
    );
}

#[test]
fn a_test_says_what_came_of_each_channel() {
    let robot = Robot::start(r#"{"errcode":0,"errmsg":"ok"}"#);
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let said = desk.fails(2, &["alerts", "test"]);
    assert!(said.contains("no block `alerts`"), "{said}");

    let script = desk.path("page-me");
    let heard = desk.path("heard");
    // It says its environment, too.
    let environment = desk.path("environment");
    let lines = format!(
        "#!/bin/sh\ncat > {}\nenv > {}\n",
        heard.display(),
        environment.display()
    );
    std::fs::write(&script, lines).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(desk.path("robot-url"), format!("{}\n", robot.url(SECRET))).unwrap();
    let alerts = |command: Value| json!({ "alerts": { "command": command, "webhook": { "format": "dingtalk", "url": "file:robot-url", "secret": "SEC1" } } });
    desk.configure(&backend, &alerts(json!([script])));
    let out = desk
        .command()
        .args(["alerts", "test"])
        .env("TRADER_API_TOKEN", SECRET)
        .env("TRADER_PASSPHRASE", SECRET)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        said.contains("webhook (dingtalk): delivered") && said.contains("page-me): delivered"),
        "{said}"
    );
    let environment = std::fs::read_to_string(environment).unwrap();
    assert!(
        environment.contains("PATH=") && !environment.contains(SECRET),
        "{environment}"
    );
    let (path, body) = robot.posts().remove(0);
    assert!(path.contains("&timestamp=") && path.contains("&sign="), "{path}");
    assert_eq!(body["msgtype"], "text");
    assert!(
        body["text"]["content"]
            .as_str()
            .unwrap()
            .starts_with("[quantTrader] warning: test"),
        "{body}"
    );
    let heard: Value = serde_json::from_str(&std::fs::read_to_string(&heard).unwrap()).unwrap();
    assert_eq!(
        (&heard["kind"], &heard["source"]),
        (&json!("test"), &json!("quantTrader"))
    );

    robot.will_answer(200, r#"{"errcode":310000,"errmsg":"sign not match"}"#);
    desk.configure(&backend, &alerts(json!(["/nonexistent/program"])));
    let out = desk.run(&["alerts", "test", "--json"]);
    assert_eq!(out.status.code(), Some(1));
    let rows: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        rows[0]["problem"],
        "it refuses the message (errcode 310000: sign not match)"
    );
    assert!(
        rows[1]["problem"]
            .as_str()
            .unwrap()
            .starts_with("it cannot be started"),
        "{rows}"
    );
    assert!(!rows.to_string().contains(SECRET));

    std::fs::write(desk.path("robot-url"), format!("http://127.0.0.1:1/{SECRET}")).unwrap();
    let out = desk.run(&["alerts", "test"]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        said.contains("it cannot be reached") && !said.contains(SECRET),
        "{said}"
    );
}

/// Only the shell was killed; each alert left what the script waited for.
#[test]
fn a_command_that_hangs_is_ended_with_what_it_started() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let (script, pid) = (desk.path("page-me"), desk.path("pid"));
    let lines = format!("#!/bin/sh\nsleep 3600 &\necho $! > {}\nwait\n", pid.display());
    std::fs::write(&script, lines).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    desk.configure(&backend, &json!({ "alerts": { "command": [script] } }));
    let out = desk.run(&["alerts", "test"]);
    assert_eq!(out.status.code(), Some(1));
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("it took longer than 10 s and was ended"), "{said}");
    let started = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    wait_until("what it started has ended", || !runs(started));
}

/// A pager that goes on in the background is no hang.
#[test]
fn what_a_command_that_ended_left_behind_goes_on() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let (script, done) = (desk.path("page-me"), desk.path("done"));
    // It waits for this test's word, so that it is seen to outlive the command.
    let word = desk.path("word");
    let lines = format!(
        "#!/bin/sh\n(while ! [ -e {} ]; do sleep 0.05; done; echo > {}) </dev/null >/dev/null 2>&1 &\n",
        word.display(),
        done.display()
    );
    std::fs::write(&script, lines).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    desk.configure(&backend, &json!({ "alerts": { "command": [script] } }));
    assert!(desk.done(&["alerts", "test"]).contains("delivered"));
    std::fs::write(&word, "").unwrap();
    wait_until("it has gone on", || done.exists());
}

#[test]
fn a_wrong_block_is_refused_before_trading_and_no_address_is_shown() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    for (alerts, expected) in [
        (
            json!({ "webhook": format!("http://h/{SECRET}") }),
            "expected a block in braces with `url` and `format`",
        ),
        (
            json!({ "webhook": { "format": "wecom" } }),
            "alerts.webhook.url: is missing",
        ),
        (
            json!({ "webhook": { "url": format!("ftp://h/{SECRET}") } }),
            "begins with http:// or https://",
        ),
        (
            json!({ "webhook": { "url": "env:QT_TEST_NO_SUCH_ROBOT" } }),
            "QT_TEST_NO_SUCH_ROBOT",
        ),
        (
            json!({ "webhook": { "url": format!("http://h/{SECRET}"), "format": "slack" } }),
            "expected one of json, dingtalk, wecom, feishu",
        ),
        (
            json!({ "webhook": { "url": format!("http://h/{SECRET}"), "secret": "S" } }),
            "only dingtalk and feishu sign",
        ),
    ] {
        desk.configure(&backend, &json!({ "alerts": alerts }));
        let said = desk.fails(2, &["--once"]);
        assert!(said.contains(expected), "{alerts}: {said}");
        assert!(!said.contains(SECRET), "{said}");
        assert!(!desk.path("data/journal.db").exists(), "{alerts}");
    }
    desk.configure(
        &backend,
        &json!({ "alerts": { "webhook": { "url": format!("http://h/{SECRET}") } } }),
    );
    let shown = desk.done(&["config", "show"]);
    assert!(shown.contains("\"***\"") && !shown.contains(SECRET), "{shown}");
}
