//! Signals and reports by way of a real nats-server, which is killed and comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream::{self, Context, stream};
use futures_util::StreamExt;
use qt_test_support::{Backend, Desk, NatsServer, PATIENCE, wait_until};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The other side: who publishes signals and reads reports.
pub struct House {
    runtime: Runtime,
    context: Context,
}

impl House {
    pub fn of(server: &NatsServer) -> Self {
        Self::with(server, async_nats::ConnectOptions::new())
    }

    pub fn with(server: &NatsServer, options: async_nats::ConnectOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let context = runtime.block_on(async {
            let client = options.connect(server.url()).await.unwrap();
            let context = jetstream::new(client);
            for (name, subject) in [("QT_SIGNALS", "qt.signals.>"), ("QT_REPORTS", "qt.reports.>")] {
                let config = stream::Config {
                    name: name.to_owned(),
                    subjects: vec![subject.to_owned()],
                    duplicate_window: Duration::from_secs(120),
                    ..stream::Config::default()
                };
                context.create_stream(config).await.unwrap();
            }
            context
        });
        Self { runtime, context }
    }

    /// The consumers of the signals' stream.
    fn all_consumers(&self) -> Vec<jetstream::consumer::Info> {
        self.runtime.block_on(async {
            let stream = self.context.get_stream("QT_SIGNALS").await.unwrap();
            let mut found = Vec::new();
            let mut all = stream.consumers();
            while let Some(info) = all.next().await {
                found.push(info.unwrap());
            }
            found
        })
    }

    pub fn consumers(&self) -> usize {
        self.all_consumers().len()
    }

    /// Messages that consumers have not acknowledged, and those that they have not handed out.
    fn open(&self) -> usize {
        let all = self.all_consumers();
        let not_handed_out = all.iter().map(|info| usize::try_from(info.num_pending).unwrap());
        self.unacknowledged() + not_handed_out.sum::<usize>()
    }

    pub fn unacknowledged(&self) -> usize {
        self.all_consumers().iter().map(|info| info.num_ack_pending).sum()
    }

    pub fn redelivered(&self) -> usize {
        self.all_consumers().iter().map(|info| info.num_redelivered).sum()
    }

    /// The newest message that was handed out.
    pub fn handed_out(&self) -> u64 {
        self.all_consumers()
            .iter()
            .map(|info| info.delivered.stream_sequence)
            .max()
            .unwrap_or(0)
    }

    /// How often a message was handed out.
    pub fn deliveries(&self) -> u64 {
        self.all_consumers()
            .iter()
            .map(|info| info.delivered.consumer_sequence)
            .sum()
    }

    pub fn publish(&self, signal: &Value) {
        let body = signal.to_string();
        self.runtime.block_on(async {
            // The server may just have come back: what is not acknowledged is said again, as its writers do.
            let began = std::time::Instant::now();
            loop {
                let sent = self.context.publish("qt.signals.SA-1", body.clone().into()).await;
                let stored = match sent {
                    Ok(stored) => tokio::time::timeout(Duration::from_secs(2), stored)
                        .await
                        .is_ok_and(|ack| ack.is_ok()),
                    Err(_) => false,
                };
                if stored {
                    return;
                }
                assert!(began.elapsed() < PATIENCE, "{body} is not taken");
            }
        });
    }

    /// Every report in the stream: its kind, its id, its path and its body.
    fn reports(&self) -> Vec<(String, String, String, Value)> {
        self.runtime.block_on(async {
            let Ok(mut stream) = self.context.get_stream("QT_REPORTS").await else {
                return Vec::new();
            };
            let Ok(info) = stream.info().await else {
                return Vec::new();
            };
            let count = usize::try_from(info.state.messages).unwrap();
            let config = jetstream::consumer::pull::OrderedConfig::default();
            let Ok(consumer) = stream.create_consumer(config).await else {
                return Vec::new();
            };
            let mut found = Vec::new();
            let mut messages = consumer.messages().await.unwrap();
            while found.len() < count {
                let Some(Ok(message)) = messages.next().await else {
                    break;
                };
                let headers = message.headers.clone().unwrap_or_default();
                let header = |name: &str| headers.get(name).map(ToString::to_string).unwrap_or_default();
                let kind = message.subject.trim_start_matches("qt.reports.").to_owned();
                let body = serde_json::from_slice(&message.payload).unwrap();
                found.push((kind, header("Nats-Msg-Id"), header("Qt-Path"), body));
            }
            found
        })
    }

    /// Does what a backend does with an order that did not reach the market: the signal is published again, as the next attempt.
    fn publish_again(&self, done: &mut BTreeSet<String>) {
        for (_, id, path, body) in self.reports() {
            if body["status"] == "retry_pending" && done.insert(id) {
                let number = path.split('/').nth(2).unwrap().trim_start_matches('S');
                let mut again = signal(number.parse().unwrap());
                again["status"] = json!("retry_pending");
                again["retry_count"] = body["retry_count"].clone();
                self.publish(&again);
            }
        }
    }

    pub fn executions(&self) -> usize {
        self.reports()
            .iter()
            .filter(|(kind, ..)| kind == "executions")
            .count()
    }
}

fn desk(backend: &Backend, server: &NatsServer) -> Desk {
    desk_of(backend, &json!({ "url": server.url() }))
}

/// One whose account has never traded, so that it may take what was published before it began.
fn desk_from_all(backend: &Backend, server: &NatsServer) -> Desk {
    desk_of(backend, &json!({ "url": server.url(), "begin": "all" }))
}

pub fn desk_of(backend: &Backend, nats: &Value) -> Desk {
    Desk::new(
        backend,
        &json!({ "backend": "nats", "nats": nats, "api_base_url": null, "api_token": null,
                 "execution": { "position_sync_interval_seconds": 0 } }),
    )
}

pub fn signal(number: usize) -> Value {
    json!({ "order_id": format!("S{number}"), "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5, "status": "pending",
            "is_executable": true, "mode": "live" })
}

#[test]
fn a_server_that_is_killed_and_comes_back_loses_no_signal_and_no_report() {
    let Some(mut server) = NatsServer::start() else {
        return;
    };
    let house = House::of(&server);
    // The desk wants a backend to be configured for; nothing is ever asked of it.
    let unused = Backend::start();
    let desk = desk_from_all(&unused, &server);
    let total = 120;
    for number in 1..=40 {
        house.publish(&signal(number));
    }
    let mut host = desk.trading();
    wait_until(&format!("the first are reported: {}", desk.log()), || {
        house.executions() >= 20
    });
    server.kill();
    wait_until("the loss is noticed", || {
        desk.log().contains("NATS is not connected any more")
    });
    server.again();
    for number in 41..=80 {
        house.publish(&signal(number));
    }
    wait_until(&format!("the second part is executed: {}", desk.log()), || {
        desk.accepted() == 80
    });
    // The host dies between the commit and the acknowledgement: what comes again is known.
    host.kill();
    let mut host = desk.host("after-commit=3*off->return");
    for number in 81..=total {
        house.publish(&signal(number));
    }
    assert!(host.dies_within(PATIENCE), "{}", desk.log());
    server.kill();
    server.again();
    let host = desk.trading();
    let began = std::time::Instant::now();
    let mut again = BTreeSet::new();
    wait_until("all are reported", || {
        house.publish_again(&mut again);
        let executions = house.executions();
        let log = desk.log();
        let end = log.len().saturating_sub(4000);
        assert!(
            began.elapsed() < PATIENCE * 3 / 4 || executions == total,
            "{executions} executions, {} orders: {}",
            desk.accepted(),
            log.get(end..).unwrap_or(&log)
        );
        executions == total
    });
    assert_eq!(host.stop(), Some(0));
    judge(&house, &desk, total);
    assert_eq!(unused.state()["requests"], json!({}));
}

fn judge(house: &House, desk: &Desk, total: usize) {
    assert_eq!(desk.accepted(), total);
    let reports = house.reports();
    let keyed: Vec<_> = reports.iter().filter(|(_, id, ..)| !id.is_empty()).collect();
    let ids: BTreeSet<_> = keyed.iter().map(|(_, id, ..)| id).collect();
    assert_eq!(ids.len(), keyed.len(), "a report is in the stream twice");
    let mut steps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (kind, _, path, body) in &reports {
        let order = match kind.as_str() {
            "status" => path.split('/').nth(2).unwrap().to_owned(),
            "executions" => body["order_id"].as_str().unwrap().to_owned(),
            _ => continue,
        };
        let word = body["status"].as_str().unwrap_or("concluded").to_owned();
        if word == "retry_pending" {
            // Nothing of this attempt reached the broker: the next one is told in its place.
            continue;
        }
        steps.entry(order).or_default().push(word);
    }
    assert_eq!(steps.len(), total);
    for (order, steps) in steps {
        assert_eq!(steps, ["submitted", "filled", "concluded"], "{order}");
    }
    println!(
        "{total} signals, {} orders, {} reports, each once",
        desk.accepted(),
        keyed.len()
    );
}

#[test]
fn doctor_looks_at_nats() {
    let Some(mut server) = NatsServer::start() else {
        return;
    };
    let unused = Backend::start();
    let desk = desk(&unused, &server);
    let said = || {
        let out = desk.run(&["doctor"]);
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stdout).into_owned(),
        )
    };
    let (code, text) = said();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the stream QT_SIGNALS cannot be used"), "{text}");
    assert!(
        text.contains("no stream takes the subjects qt.reports.status"),
        "{text}"
    );
    let house = House::of(&server);
    house.publish(&signal(1));
    let (code, text) = said();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the stream QT_SIGNALS has 1 messages"), "{text}");
    let warning = "is not there yet: the host makes it at its first start, and it hands out 1 messages. Those published before";
    assert!(text.contains(warning), "{text}");
    assert!(
        text.contains("the stream QT_REPORTS takes qt.reports.>"),
        "{text}"
    );
    let host = desk.trading();
    house.publish(&signal(2));
    wait_until("the signal is acknowledged", || {
        desk.accepted() == 1 && house.open() == 0
    });
    assert_eq!(host.stop(), Some(0));
    let (code, text) = said();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("0 signals still to hand out"), "{text}");
    server.kill();
    let (code, text) = said();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no connection to NATS"), "{text}");
    server.again();
}

#[test]
fn what_is_missing_at_nats_is_said_and_waited_for() {
    let Some(server) = NatsServer::start() else { return };
    let unused = Backend::start();
    let desk = desk(&unused, &server);
    let host = desk.trading();
    wait_until(&format!("the missing stream is said: {}", desk.log()), || {
        desk.log()
            .contains("the stream QT_SIGNALS of NATS cannot be used")
    });
    let house = House::of(&server);
    house.publish(&signal(1));
    wait_until(&format!("the signal is reported: {}", desk.log()), || {
        house.executions() == 1
    });
    assert_eq!(host.stop(), Some(0));
    for (nats, expected) in [
        (
            json!({ "url": "nats://user:secret@host:4222" }),
            "hold no password",
        ),
        (json!({ "reports_subject": "a.>" }), "without wildcards"),
        (json!({ "consumer": "a b" }), "a consumer's name"),
        (
            json!({ "credentials": "none.creds" }),
            "none.creds cannot be read",
        ),
    ] {
        desk.configure(&unused, &json!({ "backend": "nats", "nats": nats }));
        let said = desk.fails(2, &["--once"]);
        assert!(said.contains(expected), "{nats}: {said}");
    }
    desk.configure(&unused, &json!({ "nats": { "url": server.url() } }));
    assert!(
        desk.fails(2, &["--once"])
            .contains("is not used unless `backend` is")
    );
}

#[test]
fn signals_that_come_during_a_halt_are_taken_after_it() {
    let Some(server) = NatsServer::start() else { return };
    let house = House::of(&server);
    let unused = Backend::start();
    let desk = desk(&unused, &server);
    let host = desk.trading();
    desk.done(&["halt", "--reason", "lunch"]);
    for number in 1..=30 {
        house.publish(&signal(number));
    }
    // The consumer hands them out again and again, and keeps them.
    wait_until(&format!("they have come: {}", desk.log()), || {
        desk.log().contains("Fetched")
    });
    assert_eq!(desk.accepted(), 0);
    desk.done(&["resume"]);
    wait_until(&format!("all are executed: {}", desk.log()), || {
        desk.accepted() == 30 && house.open() == 0
    });
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.accepted(), 30);
}

#[test]
fn a_signal_that_was_mended_is_taken_though_it_comes_beside_the_bad_one() {
    let Some(server) = NatsServer::start() else { return };
    let house = House::of(&server);
    let unused = Backend::start();
    let desk = desk_from_all(&unused, &server);
    let mut bad = signal(1);
    bad["size"] = json!("many");
    let mut mended = signal(1);
    mended["retry_count"] = json!(1);
    mended["status"] = json!("retry_pending");
    // Both are there before the host is, so that one answer has both; the second one again, which is nothing new.
    for message in [&bad, &mended, &mended] {
        house.publish(message);
    }
    let host = desk.trading();
    wait_until(&format!("the mended one is executed: {}", desk.log()), || {
        desk.accepted() == 1 && house.open() == 0
    });
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.accepted(), 1);
}

#[test]
fn hosts_that_share_a_consumer_leave_each_other_their_signals() {
    let Some(server) = NatsServer::start() else { return };
    let house = House::of(&server);
    let unused = Backend::start();
    let of = |account: &str| {
        let desk = desk(&unused, &server);
        let nats = json!({ "url": server.url(), "consumer": "shared" });
        desk.configure(
            &unused,
            &json!({ "backend": "nats", "nats": nats, "api_base_url": null, "api_token": null,
                     "securities_account_id": account,
                     "execution": { "position_sync_interval_seconds": 0 } }),
        );
        desk
    };
    let desks = [of("SA-1"), of("SA-2")];
    let hosts = [desks[0].trading(), desks[1].trading()];
    for number in 1..=20 {
        let mut one = signal(number);
        one["securities_account_id"] = json!(if number % 2 == 0 { "SA-1" } else { "SA-2" });
        house.publish(&one);
    }
    wait_until(&format!("each takes its own: {}", desks[0].log()), || {
        desks.iter().all(|desk| desk.accepted() == 10) && house.open() == 0
    });
    for host in hosts {
        assert_eq!(host.stop(), Some(0));
    }
    assert!(desks.iter().all(|desk| desk.accepted() == 10));
}

/// Simulated accounts of these ids, in one host.
fn configure_accounts(desk: &Desk, unused: &Backend, server: &NatsServer, ids: &[&str]) {
    let account = |id: &&str| {
        json!({ "securities_account_id": id, "broker": "simulated",
                "simulated": { "cash": 1_000_000, "ledger": desk.path(&format!("{id}.jsonl")) } })
    };
    let accounts: Vec<_> = ids.iter().map(account).collect();
    desk.configure(
        unused,
        &json!({ "backend": "nats", "nats": { "url": server.url() }, "api_base_url": null, "api_token": null,
                 "accounts": accounts, "simulated": null,
                 "execution": { "position_sync_interval_seconds": 0 } }),
    );
}

/// An account that trades nothing keeps its signals, and keeps the others' from being acknowledged no longer.
#[test]
fn one_account_that_is_down_keeps_only_its_own_signals() {
    let Some(server) = NatsServer::start() else { return };
    let house = House::of(&server);
    let unused = Backend::start();
    let desk = desk(&unused, &server);
    let configure = |ids: &[&str]| configure_accounts(&desk, &unused, &server, ids);
    configure(&["SA-1", "SA-2"]);
    assert_eq!(desk.trading().stop(), Some(0));
    let journal = desk.path("data/accounts/SA-2/journal.db");
    std::fs::write(journal, "no journal").unwrap();
    let host = desk.trading();
    for number in 1..=12 {
        let mut one = signal(number);
        one["securities_account_id"] = json!(if number % 3 == 0 { "SA-2" } else { "SA-1" });
        house.publish(&one);
    }
    wait_until(&format!("the others are acknowledged: {}", desk.log()), || {
        house.open() == 4 && house.executions() == 8
    });
    drop(host);
}

/// An account that was moved to another machine, or listed beside another one, has a consumer of another name, and the stream
/// handed all of its signals out once more, to a journal that knew none of them.
#[test]
fn an_account_whose_journal_is_new_here_carries_out_nothing_of_before() {
    let Some(server) = NatsServer::start() else { return };
    let house = House::of(&server);
    let unused = Backend::start();
    let own = |number: usize, account: &str| {
        let mut one = signal(number);
        one["securities_account_id"] = json!(account);
        one
    };
    let desk = desk(&unused, &server);
    let configure = |ids: &[&str]| configure_accounts(&desk, &unused, &server, ids);
    // What another machine has traded for SA-2 is in the stream, and what this one is to trade for SA-1.
    configure(&["SA-1"]);
    let host = desk.trading();
    for number in 1..=6 {
        house.publish(&own(number, if number % 2 == 0 { "SA-2" } else { "SA-1" }));
    }
    wait_until(&format!("SA-1 has traded: {}", desk.log()), || {
        house.executions() == 3
    });
    assert_eq!(host.stop(), Some(0));
    // This one came while no host ran, for an account that has a journal: it is not lost by the new name.
    house.publish(&own(7, "SA-1"));
    configure(&["SA-1", "SA-2"]);
    let host = desk.trading();
    house.publish(&own(8, "SA-2"));
    wait_until(&format!("both go on: {}", desk.log()), || house.executions() >= 5);
    wait_until("the new consumer has nothing more", || {
        let log = desk.log();
        log.contains(
            "3 signals for the account SA-2, such as S2, were published before its journal here began",
        )
    });
    assert_eq!(host.stop(), Some(0));
    let orders: BTreeSet<_> = house
        .reports()
        .into_iter()
        .filter(|(kind, ..)| kind == "executions")
        .map(|(.., body)| body["order_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(orders, ["S1", "S3", "S5", "S7", "S8"].map(str::to_owned).into());
    assert_eq!(house.executions(), 5);
}

/// The sale that cannot be carried out yet was acknowledged, and the purchase, given back, went a second later.
#[test]
fn a_purchase_waits_for_a_sale_of_its_plan_that_the_stream_has_and_that_is_not_executable() {
    let Some(server) = NatsServer::start() else { return };
    let house = House::of(&server);
    let unused = Backend::start();
    let desk = desk(&unused, &server);
    desk.configure(
        &unused,
        &json!({ "backend": "nats", "nats": { "url": server.url() }, "api_base_url": null, "api_token": null,
                 "execution": { "position_sync_interval_seconds": 0, "sell_barrier_mode": "hard" } }),
    );
    let host = desk.trading();
    let planned = |number: usize, action: &str| {
        let mut one = signal(number);
        one["action"] = json!(action);
        one["plan_id"] = json!("P");
        one
    };
    let mut sale = planned(1, "SELL");
    sale["is_executable"] = json!(false);
    house.publish(&sale);
    house.publish(&planned(2, "BUY"));
    // One of no plan is carried out after both had their turn twice.
    wait_until(&format!("the purchase is held back: {}", desk.log()), || {
        desk.log().contains("Purchases of plan P, such as signal S2,")
    });
    let began = std::time::Instant::now();
    wait_until("both came again", || began.elapsed() > Duration::from_secs(4));
    assert_eq!(desk.accepted(), 0, "{}", desk.log());
    // The sale is withdrawn.
    sale["status"] = json!("cancelled");
    house.publish(&sale);
    wait_until(&format!("the purchase goes: {}", desk.log()), || {
        desk.accepted() == 1 && house.open() == 0
    });
    assert_eq!(host.stop(), Some(0));
}

/// With no stream that takes them, reports waited for hours, and nobody was told.
#[test]
fn reports_that_wait_are_told_of_and_their_end_is() {
    let Some(server) = NatsServer::start() else { return };
    let house = House::of(&server);
    house
        .runtime
        .block_on(house.context.delete_stream("QT_REPORTS"))
        .unwrap();
    let unused = Backend::start();
    let desk = desk(&unused, &server);
    let alerts = json!({ "command": ["sh", "-c", "cat"], "reports_late_after_seconds": 1 });
    desk.configure(
        &unused,
        &json!({ "backend": "nats", "nats": { "url": server.url() }, "api_base_url": null, "api_token": null, "alerts": alerts,
                 "execution": { "position_sync_interval_seconds": 0 } }),
    );
    let host = desk.trading();
    house.publish(&signal(1));
    let began = std::time::Instant::now();
    wait_until("it is told", || {
        assert!(began.elapsed() < PATIENCE * 3 / 4, "{}", desk.log());
        desk.log()
            .contains("Alert delivered: reports_late: a report has waited for")
    });
    let config = stream::Config {
        name: "QT_REPORTS".to_owned(),
        subjects: vec!["qt.reports.>".to_owned()],
        ..stream::Config::default()
    };
    house
        .runtime
        .block_on(house.context.create_stream(config))
        .unwrap();
    wait_until("its end is told", || {
        desk.log()
            .contains("Alert delivered: reports_late: no report waits long")
    });
    assert_eq!(host.stop(), Some(0));
}
