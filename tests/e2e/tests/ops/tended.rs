//! Poller and reporter end by a fault of their own, and the host goes on; an engine does, and what keeps the host starts it again.

use std::time::Duration;

use qt_test_support::{Backend, Desk, PATIENCE, judge, wait_until};
use serde_json::{Value, json};

use super::robot::Robot;

#[test]
fn a_poller_and_a_reporter_that_panic_begin_anew_and_nothing_is_lost_or_told_twice() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let signals: Vec<Value> = (1..=20)
        .map(|number| {
            json!({ "order_id": format!("S{number}"), "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 })
        })
        .collect();
    backend.add(&json!(signals[..10]));
    let mut host = desk.host("poll=3*off->1*panic->off;report=9*off->1*panic->off");
    host.trades();
    for what in ["poller", "reporter"] {
        let line = format!("the {what} has ended by a fault of its own and begins anew");
        wait_until(&format!("{what}: {}", desk.log()), || desk.log().contains(&line));
    }
    backend.add(&json!(signals[10..]));
    wait_until(&format!("all are executed: {}", desk.log()), || {
        backend.summary()["counts"]["concluded"].as_u64() == Some(20)
    });
    assert!(!host.dies_within(Duration::ZERO));
    assert_eq!(host.stop(), Some(0));
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
    assert_eq!(desk.accepted(), 20);
}

/// A task of Windows and an agent of launchd see no hang: the host stood there until a person came.
#[test]
fn a_host_whose_engine_hangs_ends_itself_where_nobody_else_would() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let slow = "engine-turn=60*off->sleep(3600000);patience-seconds=return(2)";
    let mut command = desk.command();
    command
        .args(["--kept-by", "quanttrader"])
        .env("FAILPOINTS", slow)
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(desk.path("kept.log")).unwrap());
    let log = || std::fs::read_to_string(desk.path("kept.log")).unwrap();
    let mut host = command.spawn().unwrap();
    let mut code = None;
    wait_until("it ends", || {
        code = host.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(1), "{}", log());
    let why = "ill for 2 s and nobody ends it: the account: the engine has made no turn for 15 s";
    assert!(log().contains(why), "{}", log());
}

/// A task of Windows was disabled after the place was free: a `service start` right after a `service stop` enabled it before that,
/// and nothing ran in the end.
#[test]
fn a_host_that_is_kept_and_stopped_gives_its_place_up_only_when_it_is_left_ended() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let mut host = desk.host_with(&["--kept-by", "quanttrader"], "stay-ended=sleep(3000)");
    host.trades();
    let began = std::time::Instant::now();
    assert!(desk.done(&["stop"]).contains("the host has ended"));
    assert!(began.elapsed() >= Duration::from_secs(3), "{}", desk.log());
    assert_eq!(host.stop(), Some(0), "{}", desk.log());
}

fn signals(account: Option<&str>, numbers: std::ops::RangeInclusive<u32>) -> Value {
    let one = |number: u32| {
        let mut one = json!({ "order_id": format!("S{number}"), "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 });
        if let Some(account) = account {
            one["securities_account_id"] = json!(account);
        }
        one
    };
    numbers.map(one).collect()
}

/// Where no watchdog looks, a host whose engine was dead lived on for ever, and nothing traded.
#[test]
fn a_host_whose_only_engine_has_ended_by_a_fault_of_its_own_ends_with_1_and_the_next_one_goes_on() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let mut host = desk.host("after-commit=6*off->panic");
    host.trades();
    let mut count = 30;
    backend.add(&signals(None, 1..=count));
    // On a busy machine few commits may hold all of it.
    wait_until(&format!("it ends: {}", desk.log()), || {
        count += 1;
        backend.add(&signals(None, count..=count));
        host.dies_within(Duration::from_millis(100))
    });
    assert_eq!(host.stop(), Some(1));
    let log = desk.log();
    assert!(
        log.contains("the engine has ended by a fault of its own"),
        "{log}"
    );
    assert!(
        log.contains("every engine has ended by a fault of its own"),
        "{log}"
    );
    let host = desk.trading();
    wait_until(&format!("all are executed: {}", desk.log()), || {
        backend.summary()["counts"]["concluded"].as_u64() == Some(u64::from(count))
    });
    assert_eq!(host.stop(), Some(0));
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
}

/// One account's fault must not end the others.
#[test]
fn a_host_of_which_one_engine_has_ended_goes_on_with_the_other() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let account = |id: &str| {
        json!({ "securities_account_id": id, "broker": "simulated",
                "simulated": { "cash": 1_000_000, "ledger": desk.path(&format!("{id}.jsonl")) } })
    };
    desk.configure(
        &backend,
        &json!({ "accounts": [account("SA-1"), account("SA-2")], "simulated": null,
                 "execution": { "position_sync_interval_seconds": 0 } }),
    );
    let mut host = desk.host("after-commit=6*off->1*panic->off");
    host.trades();
    for (account, numbers) in [("SA-1", 1..=10), ("SA-2", 11..=20)] {
        backend.add(&signals(Some(account), numbers));
    }
    wait_until(&format!("one has ended: {}", desk.log()), || {
        desk.log().contains("the engine has ended by a fault of its own")
    });
    for (account, numbers) in [("SA-1", 21..=25), ("SA-2", 26..=30)] {
        backend.add(&signals(Some(account), numbers));
    }
    wait_until(&format!("the other one trades: {}", desk.log()), || {
        backend.summary()["counts"]["concluded"].as_u64() >= Some(15)
    });
    assert!(!host.dies_within(Duration::ZERO), "{}", desk.log());
    assert!(!desk.log().contains("every engine has ended"), "{}", desk.log());
    assert_eq!(host.stop(), Some(0));
}

/// Nobody was told of anything any more, and gates were left without the broker's figures.
#[test]
fn what_keeps_the_book_and_what_delivers_alerts_begin_anew_after_a_fault_of_their_own() {
    let robot = Robot::start("{}");
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "execution": { "position_sync_interval_seconds": 1 }, "alerts": { "webhook": { "url": robot.url("x") }, "repeat_after_seconds": 1 } }),
    );
    let mut host = desk.host("book-sync=1*off->1*panic->off;alert=1*panic->off");
    host.trades();
    let began_anew = |what: &str| {
        let line = format!("the {what} has ended by a fault of its own and begins anew");
        wait_until(&format!("{what}: {}", desk.log()), || desk.log().contains(&line));
    };
    began_anew("keeper of the book");
    let syncs = || desk.log().matches("Portfolio: ").count();
    let before = syncs();
    wait_until("the book is kept again", || syncs() > before);
    desk.done(&["halt", "--reason", "for a look"]);
    began_anew("delivery of alerts");
    // It is told again while it lasts, since nobody heard of it.
    let told = || {
        robot
            .posts()
            .iter()
            .filter(|(_, body)| body["kind"] == "halt")
            .count()
    };
    wait_until(&format!("the halt is told: {}", desk.log()), || told() >= 1);
    assert_eq!(host.stop(), Some(0));
}

/// Each start of a host whose engine dies at once told its critical alert: a storm, under what starts it again and again.
#[test]
fn a_host_whose_engine_dies_at_each_start_tells_it_once_in_a_minute_and_ever_more_rarely() {
    let robot = Robot::start("{}");
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "alerts": { "webhook": { "url": robot.url("x") } } }),
    );
    backend.add(&signals(None, 1..=3));
    for _ in 0..4 {
        let mut host = desk.host("after-commit=1*off->panic");
        assert!(host.dies_within(PATIENCE), "{}", desk.log());
        assert_eq!(host.stop(), Some(1));
    }
    let told: Vec<String> = (robot.posts().iter())
        .filter(|(_, body)| body["kind"] == "not_traded")
        .map(|(_, body)| body["state"].to_string())
        .collect();
    assert_eq!(told, ["\"raised\""], "{}", desk.log());
}

/// A host that could not start ended with a line in its log, and nobody was told.
#[test]
fn a_host_that_does_not_start_tells_that_and_not_at_every_start() {
    let robot = Robot::start("{}");
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "alerts": { "webhook": { "url": robot.url("x") } } }),
    );
    assert_eq!(desk.trading().stop(), Some(0));
    let journal = desk.path("data/journal.db");
    let good = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, "no journal").unwrap();
    for _ in 0..3 {
        desk.fails(4, &[]);
    }
    let told = || {
        let posts = robot.posts().into_iter().map(|(_, body)| body);
        posts
            .filter(|body| body["kind"] == "not_traded")
            .collect::<Vec<_>>()
    };
    let first = told();
    assert_eq!(first.len(), 1, "{first:?}\n{}", desk.log());
    assert_eq!(
        (&first[0]["state"], &first[0]["severity"]),
        (&json!("raised"), &json!("critical"))
    );
    let text = first[0]["text"].as_str().unwrap();
    assert!(
        text.contains("the host has not started") && text.contains("journal.db"),
        "{text}"
    );
    std::fs::write(&journal, good).unwrap();
    // One that another host keeps from starting stops nothing.
    let host = desk.trading();
    desk.fails(1, &[]);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(told().len(), 1);
}

/// The port for metrics is bound before the place of the host: a second start told that nothing is traded, while the first traded.
#[test]
fn a_second_start_that_fails_at_the_port_for_metrics_is_an_alarm_only_where_nobody_trades() {
    let robot = Robot::start("{}");
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "alerts": { "webhook": { "url": robot.url("x") } } }),
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let told = || {
        let posts = robot.posts();
        posts
            .iter()
            .filter(|(_, body)| body["kind"] == "not_traded")
            .count()
    };
    let host = desk.trading();
    let said = desk.fails(1, &["--metrics", &address]);
    assert!(said.contains(&address), "{said}");
    assert_eq!(told(), 0, "{}", desk.log());
    assert_eq!(host.stop(), Some(0));
    desk.fails(1, &["--metrics", &address]);
    assert_eq!(told(), 1, "{}", desk.log());
}
