//! Signals of several accounts, each in its own trouble.

use std::sync::atomic::{AtomicUsize, Ordering};

use qt_core::{Left, SignalId, UtcMillis};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::super::gauge::Gauge;
use super::super::poller::{PollLinks, PollSettings, Route, run};
use super::super::routes::Routes;
use super::super::wire::{self, View};
use super::*;
use crate::engine::input::{Input, Received};

fn signal(id: &str, account: Value) -> Value {
    json!({"order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "status": "pending",
           "is_executable": true, "mode": "live", "securities_account_id": account})
}

fn answer(signals: &[Value]) -> Reply {
    Reply::new(200, json!({"success": true, "data": signals}).to_string())
}

struct Account {
    engine: mpsc::Receiver<Input>,
    ready: watch::Sender<bool>,
    gauge: Gauge,
}

impl Account {
    async fn held(&mut self) -> Vec<String> {
        match input(&mut self.engine).await {
            Input::HeldAsSubmitted(held) => held.into_iter().map(|signal| signal.id.0).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// The next signals, as durable as the account makes them.
    async fn signals(&mut self) -> Vec<String> {
        match input(&mut self.engine).await {
            Input::Signals { taken, invalid, done } => {
                let new = taken.len() + invalid.len();
                done.send(Some(Received {
                    new,
                    ..Received::default()
                }))
                .unwrap();
                let taken = taken.into_iter().map(|signal| signal.id.0);
                let invalid = invalid
                    .into_iter()
                    .map(|signal| format!("!{}", signal.id.unwrap().0));
                taken.chain(invalid).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn route(id: &str) -> (Route, Account) {
    let (engine, inputs) = mpsc::channel(16);
    let (ready, is_ready) = watch::channel(true);
    let gauge = Gauge::default();
    let route = Route {
        account: Some(id.to_owned()),
        engine,
        gauge: gauge.clone(),
        ready: is_ready,
        hard_barrier: false,
    };
    let account = Account {
        engine: inputs,
        ready,
        gauge,
    };
    (route, account)
}

fn poll(server: &Server, routes: Vec<Route>) -> (JoinHandle<()>, watch::Sender<bool>) {
    let (shutdown, stopped) = watch::channel(false);
    let links = PollLinks {
        client: server.client(),
        routes,
        shutdown: stopped,
    };
    let settings = PollSettings {
        limit: 500,
        interval: Duration::from_millis(20),
        now: || UtcMillis(1_703_256_000_000),
        stream: crate::config::SignalsStream::Off,
    };
    (tokio::spawn(run(settings, links)), shutdown)
}

#[tokio::test]
async fn each_gets_its_own_and_what_is_nobodys_stays() {
    let (logs, _guard) = Logs::start();
    let server = Server::start().await;
    let mut bad = signal("BAD", json!("B"));
    bad["size"] = json!("many");
    let mut strange = signal("STRANGE", json!("C"));
    strange["size"] = json!("many");
    let pending = [
        signal("1", json!("A")),
        signal("2", json!("B")),
        signal("3", json!("C")),
        signal("4", Value::Null),
        signal("5", json!("A")),
        bad,
        strange,
    ];
    server.always(move |asked| {
        let mut held = signal("HELD", json!("B"));
        held["status"] = json!("submitted");
        Some(if asked.target.contains("include_submitted=true") {
            answer(&[held])
        } else {
            answer(&pending)
        })
    });
    let ((to_a, mut a), (to_b, mut b)) = (route("A"), route("B"));
    let (task, stop) = poll(&server, vec![to_a, to_b]);
    assert_eq!(a.held().await, [""; 0]);
    assert_eq!(b.held().await, ["HELD"]);
    for _ in 0..3 {
        assert_eq!(a.signals().await, ["1", "5"]);
        assert_eq!(b.signals().await, ["2", "!BAD"]);
    }
    assert!(a.gauge.rounds() >= 2 && a.gauge.last_poll().is_some());
    assert_eq!(
        logs.count("WARN", "the securities account C"),
        1,
        "{}",
        logs.text()
    );
    assert_eq!(
        logs.count("WARN", "names no securities account"),
        1,
        "{}",
        logs.text()
    );
    stop.send(true).unwrap();
    task.await.unwrap();
}

#[tokio::test]
async fn one_that_is_down_dead_or_late_keeps_no_other_from_its_signals() {
    let server = Server::start().await;
    let all = ["A", "B", "C", "D"].map(|id| signal(id, json!(id)));
    server.always(move |_| Some(answer(&all)));
    let routes = ["A", "B", "C", "D"].map(route);
    let (routes, accounts): (Vec<_>, Vec<_>) = routes.into_iter().unzip();
    let [mut a, b, mut c, mut d] = <[Account; 4]>::try_from(accounts).ok().unwrap();
    // B has ended, C has not compared its broker's books yet, and D makes nothing durable.
    drop(b);
    c.ready.send(false).unwrap();
    let (task, stop) = poll(&server, routes);
    a.held().await;
    d.held().await;
    let unanswered = input(&mut d.engine).await;
    for _ in 0..5 {
        assert_eq!(a.signals().await, ["A"]);
    }
    // C comes later, and is told first what the backend holds as submitted.
    c.ready.send(true).unwrap();
    c.held().await;
    assert_eq!(c.signals().await, ["C"]);
    drop(unanswered);
    stop.send(true).unwrap();
    task.await.unwrap();
}

/// The sale is there and not executable yet: the core would let the purchase go, since it never sees that sale.
#[tokio::test]
async fn a_purchase_stays_while_a_sale_of_its_plan_cannot_be_taken() {
    let (logs, _guard) = Logs::start();
    let server = Server::start().await;
    let planned = |id: &str, account: &str, action: &str| {
        let mut signal = signal(id, json!(account));
        signal["action"] = json!(action);
        signal["plan_id"] = json!("P");
        signal
    };
    let asked = AtomicUsize::new(0);
    server.always(move |call| {
        let mut sale = planned("SALE", "A", "SELL");
        let pending = !call.target.contains("include_submitted=true");
        // From the fourth list on it is executable.
        let early = pending && asked.fetch_add(1, Ordering::Relaxed) < 3;
        sale["is_executable"] = json!(!early);
        Some(answer(&if pending {
            vec![planned("BUY", "A", "BUY"), sale, planned("ELSEWHERE", "B", "BUY")]
        } else {
            Vec::new()
        }))
    });
    let ((mut to_a, mut a), (to_b, mut b)) = (route("A"), route("B"));
    to_a.hard_barrier = true;
    let (task, stop) = poll(&server, vec![to_a, to_b]);
    a.held().await;
    b.held().await;
    // B has no barrier.
    for _ in 0..3 {
        assert_eq!(b.signals().await, ["ELSEWHERE"]);
    }
    assert_eq!(a.signals().await, ["BUY", "SALE"]);
    assert_eq!(
        logs.count("WARN", "Purchases of plan P, such as signal BUY,"),
        1,
        "{}",
        logs.text()
    );
    stop.send(true).unwrap();
    task.await.unwrap();
}

/// A signal that cannot be understood, and is for an account that another trader has, was reported as failed by us.
#[tokio::test]
async fn a_bad_signal_of_another_account_is_not_ours_to_fail() {
    let server = Server::start().await;
    let bad = ["A", "X"].map(|id| {
        let mut bad = signal(&format!("BAD-{id}"), json!(id));
        bad["size"] = json!("many");
        bad
    });
    server.always(move |_| Some(answer(&bad)));
    let (only, mut account) = route("A");
    let (task, stop) = poll(&server, vec![only]);
    account.held().await;
    assert_eq!(account.signals().await, ["!BAD-A"]);
    stop.send(true).unwrap();
    task.await.unwrap();
}

/// Whoever hands signals out once must keep those that nobody took, and no other.
#[tokio::test]
async fn what_an_account_did_not_take_is_left_and_nothing_else_is() {
    let ((to_a, mut a), (to_b, b)) = (route("A"), route("B"));
    b.ready.send(false).unwrap();
    let mut routes = Routes::new(vec![to_a, to_b]);
    let mut bad = signal("BAD", json!("B"));
    bad["size"] = json!("many");
    let answer = json!({"success": true, "data": [signal("1", json!("A")), signal("2", json!("A")), signal("3", json!("B")), bad,
                        signal("4", json!("C"))]});
    let found = wire::signals(&answer, View::Pending).unwrap();
    let engine = tokio::spawn(async move {
        match input(&mut a.engine).await {
            Input::Signals { done, .. } => {
                let left = vec![(SignalId("2".to_owned()), Left::NotNow)];
                done.send(Some(Received { new: 1, left })).unwrap();
            }
            other => panic!("{other:?}"),
        }
        a
    });
    let handed = routes.hand_over(found).await.unwrap();
    let _a = engine.await.unwrap();
    assert_eq!((handed.new, handed.is_durable), (1, false));
    let mut left: Vec<_> = handed
        .left
        .iter()
        .map(|(id, why)| (id.0.as_str(), *why))
        .collect();
    left.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(
        left,
        [
            ("2", Left::NotNow),
            ("3", Left::NotNow),
            ("4", Left::NotOurs),
            ("BAD", Left::NotNow)
        ]
    );
}
