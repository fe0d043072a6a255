//! Signals in.

use std::sync::atomic::{AtomicUsize, Ordering};

use qt_core::UtcMillis;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::super::gauge::Gauge;
use super::super::poller::{PollLinks, PollSettings, Route, others_are_answered, run_beside};
use super::super::stream::{Pushed, Stream};
use super::reporter::failed_post;
use super::*;
use crate::engine::input::{Input, Received};

const EMPTY: &str = r#"{"success":true,"data":[],"count":0}"#;

fn answer(range: std::ops::Range<usize>) -> Reply {
    let data: Vec<_> = range
        .map(|n| {
            json!({"order_id": format!("S{n}"), "symbol": "000858.SZ", "action": "BUY", "size": 100,
                "status": "pending", "is_executable": true, "mode": "live"})
        })
        .collect();
    Reply::new(
        200,
        json!({"success": true, "count": data.len(), "data": data}).to_string(),
    )
}

struct Rig {
    server: Server,
    client: Arc<Client>,
    engine: mpsc::Receiver<Input>,
    ready: watch::Sender<bool>,
    shutdown: watch::Sender<bool>,
    gauge: Gauge,
    task: JoinHandle<()>,
}

fn received(new: usize) -> Received {
    Received {
        new,
        ..Received::default()
    }
}

/// A poller whose interval is long: what comes soon came for another reason.
async fn rig(interval: Duration) -> Rig {
    rig_beside(None, interval).await
}

async fn rig_beside(stream: Option<Stream>, interval: Duration) -> Rig {
    let server = Server::start().await;
    server.always(|_| Some(Reply::new(200, EMPTY)));
    let client = server.client();
    let (sender, engine) = mpsc::channel(16);
    let (ready, ready_seen) = watch::channel(false);
    let (shutdown, shutdown_seen) = watch::channel(false);
    let gauge = Gauge::new(Arc::new(AtomicUsize::new(0)));
    let links = PollLinks {
        client: client.clone(),
        routes: vec![Route {
            account: None,
            engine: sender,
            gauge: gauge.clone(),
            ready: ready_seen,
            hard_barrier: false,
            began: None,
        }],
        shutdown: shutdown_seen,
    };
    let settings = PollSettings {
        limit: 500,
        interval,
        now: || UtcMillis(1_703_256_000_000),
        stream: crate::config::SignalsStream::Off,
    };
    let task = tokio::spawn(run_beside(stream, settings, links));
    Rig {
        server,
        client,
        engine,
        ready,
        shutdown,
        gauge,
        task,
    }
}

const LONG: Duration = Duration::from_secs(3600);

impl Rig {
    /// The next signal is this one, and it becomes durable.
    async fn takes(&mut self, id: &str) {
        match input(&mut self.engine).await {
            Input::Signals { taken, done, .. } => {
                done.send(Some(received(1))).unwrap();
                assert_eq!(taken[0].id.0, id);
            }
            other => panic!("{other:?}"),
        }
    }

    /// So many lists have been taken in: what is pushed from now on is newer.
    async fn listed(&self, count: u64) {
        let wait = async {
            while self.gauge.rounds() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .expect("lists");
    }

    async fn held(&mut self) {
        let told = input(&mut self.engine).await;
        assert!(matches!(told, Input::HeldAsSubmitted(_)), "{told:?}");
    }

    async fn signals(&mut self, new: usize) -> (usize, usize) {
        match input(&mut self.engine).await {
            Input::Signals { taken, invalid, done } => {
                done.send(Some(received(new))).unwrap();
                (taken.len(), invalid.len())
            }
            other => panic!("{other:?}"),
        }
    }

    async fn stop(self) {
        self.shutdown.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(2), self.task)
            .await
            .expect("a prompt end")
            .unwrap();
    }
}

#[tokio::test]
async fn nothing_is_asked_before_recovery_and_submitted_ones_come_first() {
    let (logs, _guard) = Logs::start();
    let mut rig = rig(LONG).await;
    let submitted = json!({"success": true, "data": [
        {"order_id": "A", "symbol": "000858.SZ", "action": "BUY", "size": 100, "status": "submitted",
         "is_executable": false, "mode": "live"}]});
    rig.server
        .then([Reply::new(200, submitted.to_string()), answer(0..3)]);
    tokio::task::yield_now().await;
    assert!(rig.server.asked().is_empty());
    rig.ready.send(true).unwrap();
    match input(&mut rig.engine).await {
        Input::HeldAsSubmitted(held) => assert_eq!(held[0].id.0, "A"),
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.signals(3).await, (3, 0));
    let asked = rig.server.asked();
    assert_eq!(
        asked[0].target,
        "/api/trader/signals?limit=500&include_submitted=true"
    );
    assert_eq!(
        asked[1].target,
        "/api/trader/signals?limit=500&include_submitted=false"
    );
    assert_eq!(
        logs.count("INFO quant_trader.trader_loop:", "Fetched 3 pending signals"),
        1,
        "{}",
        logs.text()
    );
    assert_eq!(rig.gauge.last_poll(), Some(UtcMillis(1_703_256_000_000)));
    rig.stop().await;
}

#[tokio::test]
async fn a_full_answer_is_followed_at_once_when_most_of_it_is_settled() {
    let mut rig = rig(LONG).await;
    rig.server.then([
        Reply::new(200, EMPTY),
        answer(0..500),
        answer(200..700),
        answer(700..710),
    ]);
    rig.ready.send(true).unwrap();
    rig.held().await;
    assert_eq!(rig.signals(500).await, (500, 0));
    // All 500 are on their way: no call until 251 of them are off the backend's list.
    for _ in 0..250 {
        rig.gauge.settle_one();
    }
    tokio::task::yield_now().await;
    assert_eq!(rig.server.asked().len(), 2);
    rig.gauge.settle_one();
    assert_eq!(rig.signals(200).await, (500, 0));
    for _ in 0..449 {
        rig.gauge.settle_one();
    }
    // The last is not full: the next poll waits for the interval.
    assert_eq!(rig.signals(10).await, (10, 0));
    assert_eq!(rig.server.asked().len(), 4);
    rig.stop().await;
}

#[tokio::test]
async fn a_full_answer_without_anything_new_waits_for_the_interval() {
    let mut rig = rig(Duration::from_millis(300)).await;
    rig.server
        .then([Reply::new(200, EMPTY), answer(0..500), answer(0..500)]);
    rig.ready.send(true).unwrap();
    rig.held().await;
    // Nothing gets settled: the interval ends the wait.
    let began = std::time::Instant::now();
    rig.signals(500).await;
    rig.signals(0).await;
    assert!(began.elapsed() >= Duration::from_millis(300));
    rig.server.asked_times(4).await;
    assert!(began.elapsed() >= Duration::from_millis(600));
    rig.stop().await;
}

#[tokio::test]
async fn five_hundred_and_one_and_duplicates_are_taken_as_the_contract_says() {
    let (logs, _guard) = Logs::start();
    let mut rig = rig(LONG).await;
    let twice = json!({"success": true, "data": [
        {"order_id": "A", "symbol": "000858.SZ", "action": "BUY", "size": 100, "status": "pending",
         "is_executable": true, "mode": "live"},
        {"order_id": "A", "symbol": "000858.SZ", "action": "SELL", "size": 100, "status": "pending",
         "is_executable": true, "mode": "live"},
        {"order_id": "B", "symbol": "000858.SZ", "action": "BUY", "status": "pending",
         "is_executable": true, "mode": "live"}]});
    rig.server.then([
        Reply::new(200, EMPTY),
        answer(0..501),
        Reply::new(200, twice.to_string()),
    ]);
    rig.ready.send(true).unwrap();
    rig.held().await;
    assert_eq!(rig.signals(0).await, (500, 0));
    rig.stop().await;
    assert_eq!(
        logs.count("WARN", "501 signals, 1 more than allowed"),
        1,
        "{}",
        logs.text()
    );

    let mut rig = self::rig(LONG).await;
    rig.server
        .then([Reply::new(200, EMPTY), Reply::new(200, twice.to_string())]);
    rig.ready.send(true).unwrap();
    rig.held().await;
    assert_eq!(rig.signals(1).await, (1, 1));
    assert_eq!(
        logs.count("WARN", "repeat an order_id, such as A"),
        1,
        "{}",
        logs.text()
    );
    assert_eq!(
        logs.count("WARN", "Signal B cannot be executed: `size` is missing"),
        1,
        "{}",
        logs.text()
    );
    rig.stop().await;
}

#[tokio::test]
async fn failures_are_waited_out_with_a_line_for_each_change() {
    let (logs, _guard) = Logs::start();
    let mut rig = rig(LONG).await;
    rig.server.then([
        Reply::new(500, "{}"),
        Reply::new(500, "{}"),
        Reply::new(200, "<html>"),
    ]);
    rig.ready.send(true).unwrap();
    rig.held().await;
    assert_eq!(logs.count("WARN", "answered 500"), 1, "{}", logs.text());
    assert_eq!(logs.count("WARN", "answered with HTML"), 1, "{}", logs.text());
    assert_eq!(
        logs.count("INFO", "The backend answers again"),
        1,
        "{}",
        logs.text()
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_refused_token_is_told_once_and_a_new_one_is_tried_at_once() {
    let (logs, _guard) = Logs::start();
    let mut rig = rig(LONG).await;
    rig.server.then([Reply::new(401, "{}"), Reply::new(403, "{}")]);
    rig.ready.send(true).unwrap();
    assert!(matches!(input(&mut rig.engine).await, Input::TokenRefused(true)));
    rig.client.set_token(Token::new("also-wrong").unwrap());
    rig.server.asked_times(2).await;
    rig.client.set_token(Token::new("right").unwrap());
    assert!(matches!(input(&mut rig.engine).await, Input::TokenRefused(false)));
    rig.held().await;
    assert_eq!(rig.server.asked()[2].headers["authorization"], "Bearer right");
    assert_eq!(
        logs.count("ERROR", "Log in again via POST /api/user/login"),
        1,
        "{}",
        logs.text()
    );
    assert!(!logs.text().contains(SECRET));
    rig.stop().await;
}

#[tokio::test]
async fn an_end_does_not_wait_for_a_call_or_for_the_engine() {
    let never = Arc::new(Notify::new());
    let rig_slow = rig(LONG).await;
    rig_slow.server.then([Reply {
        hold: Some(never),
        ..answer(0..1)
    }]);
    rig_slow.ready.send(true).unwrap();
    rig_slow.server.asked_times(1).await;
    rig_slow.stop().await;

    // The engine holds the answer back.
    let mut rig = rig(LONG).await;
    rig.server.then([Reply::new(200, EMPTY), answer(0..1)]);
    rig.ready.send(true).unwrap();
    rig.held().await;
    let _unanswered = input(&mut rig.engine).await;
    rig.stop().await;
}

#[tokio::test]
async fn intake_can_be_held_back_again() {
    let mut rig = rig(Duration::from_millis(20)).await;
    rig.ready.send(true).unwrap();
    rig.held().await;
    rig.server.asked_times(3).await;
    rig.ready.send(false).unwrap();
    rig.server.then([answer(0..1)]);
    // At most the poll that is under way still comes.
    let first = tokio::time::timeout(Duration::from_millis(200), rig.engine.recv()).await;
    if let Ok(Some(Input::Signals { done, .. })) = first {
        done.send(Some(received(1))).unwrap();
    }
    let before = rig.server.asked().len();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(rig.server.asked().len(), before);
    rig.ready.send(true).unwrap();
    rig.server.asked_times(before + 1).await;
    rig.stop().await;
}

fn pushed(id: &str, ago: Duration) -> Pushed {
    let signal = json!({"order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "status": "pending",
                        "is_executable": true, "mode": "live"});
    Pushed::Signals {
        answer: json!({"success": true, "data": [signal]}),
        cursor: None,
        at: tokio::time::Instant::now().checked_sub(ago).unwrap(),
    }
}

/// Pushed at 08:00, withdrawn at 08:30, and the terminal logs in at 09:20: only what the backend still says is traded.
#[tokio::test]
async fn what_was_pushed_before_the_account_was_ready_is_asked_for_and_not_taken() {
    let (push, stream) = mpsc::channel(16);
    let mut rig = rig_beside(Some(Stream::of(stream)), LONG).await;
    push.send(pushed("WITHDRAWN", Duration::ZERO)).await.unwrap();
    while push.capacity() < push.max_capacity() {
        tokio::task::yield_now().await;
    }
    rig.ready.send(true).unwrap();
    rig.held().await;
    rig.listed(1).await;
    push.send(pushed("NOW", Duration::ZERO)).await.unwrap();
    rig.takes("NOW").await;
    rig.stop().await;
}

#[tokio::test]
async fn what_was_pushed_long_ago_is_asked_for_and_not_taken() {
    let (push, stream) = mpsc::channel(16);
    let mut rig = rig_beside(Some(Stream::of(stream)), LONG).await;
    rig.ready.send(true).unwrap();
    rig.held().await;
    rig.listed(1).await;
    for id in ["OLD", "OLDER"] {
        push.send(pushed(id, Duration::from_secs(6))).await.unwrap();
    }
    // The backend does not name them any more.
    rig.listed(2).await;
    push.send(pushed("NOW", Duration::from_secs(4))).await.unwrap();
    rig.takes("NOW").await;
    rig.stop().await;
}

/// Pushed while a slow answer was made that does not list it: it was withdrawn, or it is newer, which the next list says.
#[tokio::test]
async fn what_was_pushed_during_a_poll_that_does_not_list_it_is_asked_for_and_not_taken() {
    let (push, stream) = mpsc::channel(16);
    let mut rig = rig_beside(Some(Stream::of(stream)), LONG).await;
    let pushes = push.clone();
    let is_first = std::sync::atomic::AtomicBool::new(true);
    rig.server.always(move |asked| {
        let is_list = asked.target.contains("include_submitted=false");
        if is_list && is_first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            pushes.try_send(pushed("WITHDRAWN", Duration::ZERO)).unwrap();
        }
        Some(Reply::new(200, EMPTY))
    });
    rig.ready.send(true).unwrap();
    rig.held().await;
    // The list during which something was pushed, and another one at once.
    rig.listed(2).await;
    push.send(pushed("NOW", Duration::ZERO)).await.unwrap();
    rig.takes("NOW").await;
    rig.stop().await;
}

/// A stream hands out others of those that wait in each answer: that is said when it is new, and not twice a second.
#[tokio::test]
async fn answers_with_other_parts_of_what_waits_fill_no_log() {
    let (logs, _guard) = Logs::start();
    let mut rig = rig(Duration::from_millis(1)).await;
    rig.server.then([Reply::new(200, EMPTY)]);
    rig.server.then((0..12).map(|n| answer(n % 3 * 5..n % 3 * 5 + 5)));
    rig.ready.send(true).unwrap();
    rig.held().await;
    for _ in 0..12 {
        assert_eq!(rig.signals(0).await, (5, 0));
    }
    assert_eq!(
        logs.count("INFO", "Fetched 5 pending signals"),
        3,
        "{}",
        logs.text()
    );
    rig.stop().await;
}

/// After some polls that failed by chance signals waited up to half a minute, though the backend answered everything else.
#[tokio::test]
async fn a_wait_that_has_grown_long_is_cut_short_where_the_backend_answers_others() {
    let mut rig = rig(LONG).await;
    // Uncut the waits after the six that fail are half a minute or more in all: nobody waits so long for an input.
    let lists = AtomicUsize::new(0);
    rig.server.always(move |asked| {
        Some(match asked.method {
            Method::GET => match lists.fetch_add(1, Ordering::Relaxed) {
                0 => Reply::new(200, EMPTY),
                1..=6 => Reply::new(500, "no"),
                _ => answer(0..1),
            },
            _ => Reply::ok(),
        })
    });
    rig.ready.send(true).unwrap();
    rig.held().await;
    let client = rig.client.clone();
    let others = tokio::spawn(async move {
        loop {
            client.post(failed_post("S9")).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(rig.signals(1).await, (1, 0));
    others.abort();
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_cut_short_no_sooner_than_it_may_be_and_not_at_all_where_nobody_asks_for_it() {
    let (answered, mut answers) = watch::channel(0_u64);
    let second = Duration::from_secs(1);
    let began = tokio::time::Instant::now();
    let ms = Duration::from_millis(1);
    tokio::spawn(async move {
        for at in [100, 999, 2500] {
            tokio::time::sleep_until(began + ms * at).await;
            answered.send_modify(|count| *count += 1);
        }
        std::future::pending::<()>().await;
    });
    others_are_answered(&mut answers, Some(began + second)).await;
    assert!(began.elapsed() >= second);
    let never = others_are_answered(&mut answers, None);
    assert!(tokio::time::timeout(second * 60, never).await.is_err());
}
