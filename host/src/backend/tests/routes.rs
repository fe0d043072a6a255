//! Signals of several accounts, each in its own trouble.

use std::sync::atomic::{AtomicUsize, Ordering};

use qt_core::{Left, SignalId, UtcMillis};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::super::gauge::Gauge;
use super::super::poller::{PollLinks, PollSettings, Route, run};
use super::super::routes::Routes;
use super::super::sales::{Handed, Origin, Sales};
use super::super::wire::{self, View};
use super::*;
use crate::engine::input::{Input, Received};

const NOW: UtcMillis = UtcMillis(1_703_256_000_000);

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
        began: None,
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
    let mut routes = Routes::new(vec![to_a, to_b], || NOW);
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
    let handed = routes.hand_over(found, &Origin::List).await.unwrap();
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

/// A stream's answer: each signal with the moment at which it was published, in ms before now.
fn handed(signals: &[(Value, i64)]) -> (wire::SignalsAnswer, Origin) {
    let data: Vec<_> = signals.iter().map(|(signal, _)| signal).collect();
    let found = wire::signals(&json!({"success": true, "data": data}), View::Pending).unwrap();
    let published = signals.iter().map(|(signal, ago)| {
        let id = signal["order_id"].as_str().unwrap();
        (SignalId(id.to_owned()), UtcMillis(NOW.0 - ago))
    });
    let handed = Handed {
        published: published.collect(),
        settles_at: None,
    };
    (found, Origin::Stream(handed))
}

/// What one account that takes all it gets is given of an answer, and what is left.
async fn given(
    routes: &mut Routes,
    account: &mut Account,
    (found, origin): (wire::SignalsAnswer, Origin),
) -> (Vec<String>, Vec<String>) {
    let handing = routes.hand_over(found, &origin);
    tokio::pin!(handing);
    let (handed, ids) = tokio::select! {
        biased;
        handed = &mut handing => (handed, Vec::new()),
        ids = account.signals() => (handing.await, ids),
    };
    let mut left: Vec<_> = handed.unwrap().left.into_iter().map(|(id, _)| id.0).collect();
    left.sort_unstable();
    (ids, left)
}

/// An account that is listed here for the first time got all that the stream had retained, and its empty journal knew none of
/// the orders: each was placed a second time.
#[tokio::test]
async fn an_account_takes_no_signal_that_was_published_before_its_journal_began() {
    let (logs, _guard) = Logs::start();
    let (mut to_a, mut a) = route("A");
    to_a.began = Some(UtcMillis(NOW.0 - 1000));
    let mut routes = Routes::new(vec![to_a], || NOW);
    let mut bad = signal("BAD", json!("A"));
    bad["size"] = json!("many");
    let all = [
        (signal("OLD", json!("A")), 1001),
        (bad, 5000),
        (signal("SOME", Value::Null), 2000),
        (signal("THEIRS", json!("X")), 2000),
        (signal("NEW", json!("A")), 1000),
    ];
    let (ids, left) = given(&mut routes, &mut a, handed(&all)).await;
    // What is another account's is for that one's host to take off the stream.
    assert_eq!(ids, ["THEIRS", "NEW"]);
    assert!(left.is_empty(), "{left:?}");
    let said = "3 signals for the account A, such as OLD, were published before its journal here began";
    assert_eq!(logs.count("WARN", said), 1, "{}", logs.text());
    // What a backend lists is what it wants now.
    let listed = wire::signals(&json!({"success": true, "data": [all[0].0]}), View::Pending).unwrap();
    let (ids, _) = given(&mut routes, &mut a, (listed, Origin::List)).await;
    assert_eq!(ids, ["OLD"]);
}

fn planned(id: &str, action: &str, is_executable: bool) -> Value {
    let mut signal = signal(id, json!("A"));
    signal["action"] = json!(action);
    signal["plan_id"] = json!("P");
    signal["is_executable"] = json!(is_executable);
    signal
}

/// An answer, what the account is given of it, and what is left.
type Step<'a> = (&'a [(Value, i64)], &'a [&'a str], &'a [&'a str]);

/// A stream hands the sale out once: it was acknowledged, and the purchase, given back, was alone in the next answer and went.
#[tokio::test]
async fn a_stream_keeps_a_sale_that_is_not_executable_and_its_purchases_wait_for_it() {
    let (mut to_a, mut a) = route("A");
    to_a.hard_barrier = true;
    let mut routes = Routes::new(vec![to_a], || NOW);
    let (sale, buy) = (planned("SALE", "SELL", false), planned("BUY", "BUY", true));
    let answers: [Step<'_>; 4] = [
        (&[(sale.clone(), 10), (buy.clone(), 5)], &[], &["BUY", "SALE"]),
        (&[(buy.clone(), 5)], &[], &["BUY"]),
        (&[(planned("SALE", "SELL", true), 1)], &["SALE"], &[]),
        // The first message of the sale comes once more, and bars nothing any more.
        (&[(sale, 10), (buy.clone(), 5)], &["BUY"], &[]),
    ];
    for (number, (signals, expected, expected_left)) in answers.into_iter().enumerate() {
        let (ids, left) = given(&mut routes, &mut a, handed(signals)).await;
        assert_eq!(ids, expected, "{number}");
        assert_eq!(left, expected_left, "{number}");
    }
    // Over a weekend and the longest holiday it is kept, and not for ever.
    let kept = (planned("KEPT", "SELL", false), 13 * 86_400_000);
    let (ids, left) = given(&mut routes, &mut a, handed(&[kept, (buy.clone(), 5)])).await;
    assert_eq!((ids.len(), left), (0, vec!["BUY".to_owned(), "KEPT".to_owned()]));
    given(&mut routes, &mut a, handed(&[(planned("KEPT", "SELL", true), 1)])).await;
    let stale = (planned("STALE", "SELL", false), 14 * 86_400_000);
    let (ids, left) = given(&mut routes, &mut a, handed(&[stale, (buy, 5)])).await;
    assert_eq!((ids, left.len()), (vec!["BUY".to_owned()], 0));
}

/// A sale is taken as executable, and then its message of before comes once more: it bars nothing, though it never waited here.
#[tokio::test]
async fn a_sale_that_was_taken_is_not_waited_for_because_of_an_older_message() {
    let (mut to_a, mut a) = route("A");
    to_a.hard_barrier = true;
    let mut routes = Routes::new(vec![to_a], || NOW);
    let (ids, _) = given(&mut routes, &mut a, handed(&[(planned("SALE", "SELL", true), 1)])).await;
    assert_eq!(ids, ["SALE"]);
    let old = (planned("SALE", "SELL", false), 10);
    let (ids, left) = given(
        &mut routes,
        &mut a,
        handed(&[old, (planned("BUY", "BUY", true), 5)]),
    )
    .await;
    assert_eq!((ids, left.len()), (vec!["BUY".to_owned()], 0));
}

/// While trading is halted both are given back, and the purchase may come again first.
#[test]
fn a_sale_that_was_given_back_bars_its_plan_until_it_is_taken() {
    let mut sales = Sales::default();
    let learn = |sales: &mut Sales, signals: &[(Value, i64)]| {
        let (found, origin) = handed(signals);
        sales.learn(&found, &origin, NOW).barred.holds("P")
    };
    let (sale, buy) = (
        (planned("SALE", "SELL", true), 1),
        (planned("BUY", "BUY", true), 5),
    );
    assert!(!learn(&mut sales, &[sale.clone(), buy.clone()]));
    sales.given_back(&SignalId("SALE".into()), "P", NOW);
    assert!(learn(&mut sales, std::slice::from_ref(&buy)));
    assert!(!learn(&mut sales, &[sale]));
    assert!(!learn(&mut sales, &[buy]));
}

/// What was handed out to the process before may be a sale: purchases of plans wait until it has come again.
#[tokio::test(start_paused = true)]
async fn a_purchase_of_a_plan_waits_until_what_a_stream_had_handed_out_before_has_come_again() {
    let (mut to_a, mut a) = route("A");
    to_a.hard_barrier = true;
    let mut routes = Routes::new(vec![to_a], || NOW);
    let settles_at = tokio::time::Instant::now() + Duration::from_secs(40);
    let answer = || {
        let (found, origin) = handed(&[(planned("BUY", "BUY", true), 5)]);
        let Origin::Stream(handed) = origin else {
            unreachable!()
        };
        let settles_at = Some(settles_at);
        (found, Origin::Stream(Handed { settles_at, ..handed }))
    };
    let (ids, left) = given(&mut routes, &mut a, answer()).await;
    assert_eq!((ids.len(), left), (0, vec!["BUY".to_owned()]));
    tokio::time::advance(Duration::from_secs(41)).await;
    let (ids, _) = given(&mut routes, &mut a, answer()).await;
    assert_eq!(ids, ["BUY"]);
}

/// The sale was pushed as not executable, and the purchase alone: a push is no list.
#[tokio::test]
async fn a_pushed_purchase_of_a_plan_is_left_to_the_list_where_the_barrier_is_hard() {
    let (mut to_a, mut a) = route("A");
    to_a.hard_barrier = true;
    let mut routes = Routes::new(vec![to_a], || NOW);
    let push =
        |signal: Value| wire::signals(&json!({"success": true, "data": [signal]}), View::Pending).unwrap();
    let pushed = push(planned("BUY", "BUY", true));
    let handed = routes.hand_over(pushed, &Origin::Pushed).await.unwrap();
    assert!(handed.is_barred && handed.left.len() == 1, "{handed:?}");
    // A sale, and a purchase of no plan, have nothing to wait for.
    for signal in [planned("SALE", "SELL", true), signal("FREE", json!("A"))] {
        let (ids, left) = given(&mut routes, &mut a, (push(signal), Origin::Pushed)).await;
        assert!(ids.len() == 1 && left.is_empty(), "{ids:?} {left:?}");
    }
}
