//! Reports out.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

use qt_core::report::{Execution, ExecutionStatus, Fees, ReportBody};
use qt_core::{ClientOrderId, Report, UtcMillis};
use qt_market::Side;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::super::gauge::Gauge;
use super::super::reporter::{OutboxRow, OutboxSource, Page, ReportLinks, ReportSettings, run};
use super::super::wire::{self, Post};
use super::*;
use crate::engine::input::Input;

fn report(signal: &str, step: &str, body: ReportBody) -> Report {
    let order = ClientOrderId::derive("A", &signal.into(), 0);
    Report {
        order,
        signal: signal.into(),
        step: step.to_owned(),
        body,
    }
}

pub(super) fn failed_post(signal: &str) -> Post {
    wire::report(&report(
        signal,
        "failed",
        ReportBody::Failed {
            last_error: "x".into(),
        },
    ))
}

pub(in crate::backend) fn failed(id: i64, signal: &str) -> OutboxRow {
    let body = ReportBody::Failed {
        last_error: "x".into(),
    };
    let report = report(signal, &format!("s{id}"), body);
    OutboxRow {
        id,
        order_key: signal.to_owned(),
        report,
        override_body: None,
        attempts: 0,
    }
}

fn executed(id: i64, signal: &str) -> OutboxRow {
    let execution = Execution {
        symbol: "000858.SZ".parse().unwrap(),
        side: Side::Buy,
        size: 100,
        target_price: None,
        filled_price: "15.5".parse().unwrap(),
        filled_size: 100,
        fees: Fees::default(),
        status: ExecutionStatus::Filled,
        broker_order_id: None,
        broker: None,
        securities_account_id: None,
        account_id: None,
        strategy: None,
        strategy_name: None,
        at: UtcMillis(0),
        reason: None,
        chase: None,
    };
    let report = report(
        signal,
        &format!("s{id}"),
        ReportBody::Execution(Box::new(execution)),
    );
    OutboxRow {
        id,
        order_key: signal.to_owned(),
        report,
        override_body: None,
        attempts: 0,
    }
}

/// The outbox of the journal, in memory.
#[derive(Clone, Default)]
pub(in crate::backend) struct Outbox(Arc<Mutex<BTreeMap<i64, OutboxRow>>>, Arc<AtomicUsize>);

impl OutboxSource for Outbox {
    fn load(&mut self, after_id: i64, limit: usize) -> Result<Page, String> {
        // The first reads fail as often as the test wants.
        if self
            .1
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
        {
            return Err("disk on fire".to_owned());
        }
        let held = self.0.lock().unwrap();
        let mut page = Page::default();
        for (id, row) in held.range(after_id + 1..).take(limit) {
            assert_ne!(row.order_key, "PANICS", "as it is wanted here");
            if row.order_key == "DAMAGED" {
                page.damaged.push((*id, format!("report {id} is damaged")));
            } else {
                page.rows.push(row.clone());
            }
        }
        Ok(page)
    }
}

struct Rig {
    server: Server,
    client: Arc<Client>,
    outbox: Outbox,
    depth: Arc<AtomicUsize>,
    gauge: Gauge,
    new_rows: Arc<Notify>,
    reload: Arc<Notify>,
    engine: mpsc::Receiver<Input>,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<()>,
}

async fn rig(rows: impl IntoIterator<Item = OutboxRow>) -> Rig {
    rig_at(Server::start().await, rows, Outbox::default())
}

fn rig_at(server: Server, rows: impl IntoIterator<Item = OutboxRow>, outbox: Outbox) -> Rig {
    rig_with(ReportSettings::default(), server, rows, outbox)
}

fn rig_with(
    settings: ReportSettings,
    server: Server,
    rows: impl IntoIterator<Item = OutboxRow>,
    outbox: Outbox,
) -> Rig {
    outbox
        .0
        .lock()
        .unwrap()
        .extend(rows.into_iter().map(|row| (row.id, row)));
    let depth = Arc::new(AtomicUsize::new(outbox.0.lock().unwrap().len()));
    let client = server.client();
    let (sender, engine) = mpsc::channel(16);
    let (shutdown, seen) = watch::channel(false);
    let (gauge, new_rows, reload) = (
        Gauge::new(depth.clone()),
        Arc::new(Notify::new()),
        Arc::new(Notify::new()),
    );
    let links = ReportLinks {
        client: client.clone(),
        engine: sender,
        gauge: gauge.clone(),
        source: Box::new(outbox.clone()),
        new_rows: new_rows.clone(),
        reload: reload.clone(),
        shutdown: seen,
    };
    let task = tokio::spawn(run(settings, links));
    Rig {
        server,
        client,
        outbox,
        depth,
        gauge,
        new_rows,
        reload,
        engine,
        shutdown,
        task,
    }
}

impl Rig {
    /// Takes what the reporter says, as the engine would, until so many rows are delivered.
    async fn posted(&mut self, count: usize) -> (Vec<i64>, Vec<Input>) {
        let (mut ids, mut others) = (Vec::new(), Vec::new());
        while ids.len() < count {
            match input(&mut self.engine).await {
                Input::Posted(posted) => {
                    posted
                        .iter()
                        .for_each(|id| drop(self.outbox.0.lock().unwrap().remove(id)));
                    ids.extend(posted);
                }
                Input::DeadLetter { id, error } => {
                    self.outbox.0.lock().unwrap().remove(&id);
                    others.push(Input::DeadLetter { id, error });
                }
                other => others.push(other),
            }
        }
        ids.sort_unstable();
        (ids, others)
    }

    fn add(&self, rows: impl IntoIterator<Item = OutboxRow>) {
        for row in rows {
            self.outbox.0.lock().unwrap().insert(row.id, row);
            self.depth.fetch_add(1, Ordering::SeqCst);
        }
        self.new_rows.notify_one();
    }

    async fn stop(mut self) {
        self.shutdown.send(true).unwrap();
        self.engine.close();
        tokio::time::timeout(Duration::from_secs(4), self.task)
            .await
            .expect("a prompt end")
            .unwrap();
    }
}

#[tokio::test]
async fn every_row_is_posted_once_and_an_order_in_its_sequence() {
    let (logs, _guard) = Logs::start();
    let rows = (1..=1000).map(|id| failed(id, &format!("S{}", id % 50)));
    let mut rig = rig(rows).await;
    assert_eq!(rig.posted(1000).await.0, (1..=1000).collect::<Vec<_>>());
    rig.add([executed(1001, "S0")]);
    assert_eq!(rig.posted(1).await.0, [1001]);
    let mut last: HashMap<String, i64> = HashMap::new();
    for asked in rig.server.asked() {
        let (order, step) = asked.key().split_once("-s").unwrap();
        let id: i64 = step.parse().unwrap();
        assert!(
            last.insert(order.to_owned(), id).is_none_or(|before| before < id),
            "{order} {id}"
        );
    }
    assert_eq!(rig.server.asked().len(), 1001);
    assert_eq!((rig.gauge.depth(), rig.gauge.settled()), (0, 1000));
    let line = "Reported execution for order_id=S0 status=filled filled=100";
    assert_eq!(logs.count("INFO quant_trader.trader_loop:", line), 1);
    rig.stop().await;
}

#[tokio::test]
async fn more_rows_than_memory_holds_all_go() {
    let rows = (1..=4500).map(|id| failed(id, &format!("S{id}")));
    let mut rig = rig(rows).await;
    assert_eq!(rig.posted(4500).await.0.len(), 4500);
    rig.stop().await;
}

#[tokio::test]
async fn a_report_that_fails_comes_again_with_its_key_and_holds_up_no_other() {
    let server = Server::start().await;
    let tries = AtomicUsize::new(0);
    server.always(move |asked| {
        let poison = asked.target.contains("/P/") && tries.fetch_add(1, Ordering::SeqCst) < 2;
        poison.then(|| Reply::new(500, "x"))
    });
    let mut rig = rig_at(
        server,
        (1..=40).map(|id| failed(id, if id % 20 == 1 { "P" } else { "Q" })),
        Outbox::default(),
    );
    let (first, _) = rig.posted(38).await;
    assert!(!first.contains(&1) && !first.contains(&21), "{first:?}");
    assert_eq!(rig.posted(2).await.0, [1, 21]);
    let keys: Vec<String> = rig
        .server
        .asked()
        .iter()
        .filter(|a| a.target.contains("/P/"))
        .map(|a| a.key().to_owned())
        .collect();
    assert_eq!(keys.len(), 4);
    assert!(
        keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3],
        "{keys:?}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_refused_report_is_a_dead_letter_and_the_next_of_its_order_goes() {
    let server = Server::start().await;
    server.always(|asked| {
        let refused = asked.key().ends_with("-s1") && asked.body.contains("last_error\":\"x");
        let false_success = asked.key().ends_with("-s3");
        if refused {
            Some(Reply::new(422, r#"{"detail":"bad size"}"#))
        } else if false_success {
            Some(Reply::new(200, r#"{"success":false,"message":"no such order"}"#))
        } else {
            None
        }
    });
    let mut rig = rig_at(
        server,
        [failed(1, "A"), failed(2, "A"), failed(3, "B"), failed(4, "B")],
        Outbox::default(),
    );
    let (ids, others) = rig.posted(2).await;
    assert_eq!(ids, [2, 4]);
    let mut dead: Vec<_> = others.iter().map(|input| format!("{input:?}")).collect();
    dead.sort();
    assert_eq!(
        dead,
        [
            r#"DeadLetter { id: 1, error: "422: bad size" }"#,
            r#"DeadLetter { id: 3, error: "success=false: no such order" }"#
        ]
    );
    assert_eq!(rig.gauge.depth(), 0);
    // A person mends the first and sets it free: its id is old.
    let mended = OutboxRow {
        override_body: Some("{\"status\":\"failed\"}".into()),
        ..failed(1, "A")
    };
    rig.outbox.0.lock().unwrap().insert(1, mended);
    rig.depth.fetch_add(1, Ordering::SeqCst);
    rig.reload.notify_one();
    assert_eq!(rig.posted(1).await.0, [1]);
    let last = rig.server.asked().pop().unwrap();
    assert_eq!(last.body, "{\"status\":\"failed\"}");
    assert!(last.key().ends_with("-s1"));
    assert_eq!(rig.server.asked().len(), 5, "nothing else was posted again");
    rig.stop().await;
}

#[tokio::test]
async fn a_dead_backend_is_probed_and_then_gets_everything_once() {
    let (logs, _guard) = Logs::start();
    // Somebody listens and closes at once: reachable, but never an answer.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = Server {
        address: format!("http://{address}/api"),
        script: Arc::default(),
        news: Arc::default(),
    };
    let mut rig = rig_at(
        server.clone(),
        (1..=1000).map(|id| failed(id, &format!("S{id}"))),
        Outbox::default(),
    );
    let closed = async {
        while logs.count("WARN", "Cannot post reports: cannot connect") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    let router = Router::new().fallback(answer).with_state(server);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    assert_eq!(rig.posted(1000).await.0.len(), 1000);
    assert_eq!(rig.server.asked().len(), 1000);
    assert_eq!(logs.count("WARN", "Cannot post reports"), 1, "{}", logs.text());
    assert_eq!(logs.count("INFO", "takes reports again"), 1);
    rig.stop().await;
}

#[tokio::test]
async fn an_unwell_backend_is_not_asked_for_every_order() {
    let server = Server::start().await;
    server.always(|_| Some(Reply::new(503, "").header("retry-after", "1")));
    let rig = rig_at(
        server,
        (1..=1000).map(|id| failed(id, &format!("S{id}"))),
        Outbox::default(),
    );
    let began = std::time::Instant::now();
    // 16 are out at once, then one a second at most.
    rig.server.asked_times(18).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    rig.stop().await;
}

#[tokio::test]
async fn a_refused_token_pauses_and_a_new_one_resumes() {
    let (logs, _guard) = Logs::start();
    let server = Server::start().await;
    server.always(|asked| (asked.headers["authorization"] != "Bearer right").then(|| Reply::new(401, "{}")));
    let mut rig = rig_at(
        server,
        (1..=100).map(|id| failed(id, &format!("S{id}"))),
        Outbox::default(),
    );
    assert!(matches!(input(&mut rig.engine).await, Input::TokenRefused(true)));
    rig.client.set_token(Token::new("right").unwrap());
    let (ids, others) = rig.posted(100).await;
    assert_eq!(ids.len(), 100);
    assert!(matches!(others[..], [Input::TokenRefused(false)]), "{others:?}");
    assert!(
        rig.server.asked().len() <= 100 + 32,
        "{}",
        rig.server.asked().len()
    );
    assert_eq!(
        logs.count("ERROR", "refuses the token (401 Unauthorized)"),
        1,
        "{}",
        logs.text()
    );
    rig.stop().await;
}

/// Each report was refused for itself and soon a dead letter, and nobody got another token: a store on the way gave signals.
#[tokio::test]
async fn reports_that_are_answered_401_wait_for_another_token_whatever_is_answered_to_signals() {
    let (logs, _guard) = Logs::start();
    let server = Server::start().await;
    server.always(|asked| {
        let is_known = asked.method == Method::GET || asked.headers["authorization"] == "Bearer right";
        (!is_known).then(|| Reply::new(401, "{}"))
    });
    let rows = (1..=20).map(|id| failed(id, &format!("S{id}")));
    let mut rig = rig_at(server, rows, Outbox::default());
    let first = input(&mut rig.engine).await;
    assert!(matches!(first, Input::TokenRefused(true)), "{first:?}");
    rig.client.set_token(Token::new("right").unwrap());
    let (ids, others) = rig.posted(20).await;
    assert_eq!(ids.len(), 20);
    assert!(matches!(others[..], [Input::TokenRefused(false)]), "{others:?}");
    let told = logs.count("ERROR", "refuses the token (401 Unauthorized)");
    assert_eq!(told, 1, "{}", logs.text());
    rig.stop().await;
}

/// One report that was answered 403 stopped all of them for half a minute, again and again.
#[tokio::test]
async fn a_report_that_is_forbidden_while_the_token_is_good_holds_up_no_other() {
    let (logs, _guard) = Logs::start();
    let server = Server::start().await;
    let tries = AtomicUsize::new(0);
    server.always(move |asked| {
        let forbids = asked.target.contains("/P/") && tries.fetch_add(1, Ordering::SeqCst) < 2
            || asked.target.contains("/NEVER/");
        forbids.then(|| Reply::new(403, r#"{"detail":"not yours"}"#))
    });
    let rows = [failed(1, "P"), failed(2, "NEVER"), failed(3, "P")];
    let rows = rows
        .into_iter()
        .chain((4..=40).map(|id| failed(id, &format!("S{id}"))));
    let mut rig = rig_at(server, rows, Outbox::default());
    let (first, others) = rig.posted(37).await;
    assert_eq!(first, (4..=40).collect::<Vec<_>>());
    assert!(others.is_empty(), "{others:?}");
    // The first two of P, in their sequence; the one that stays forbidden is kept.
    let (then, others) = rig.posted(2).await;
    assert_eq!(then, [1, 3]);
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(rig.depth.load(Ordering::SeqCst), 1);
    assert_eq!(logs.count("WARN", "forbids the report"), 2, "{}", logs.text());
    assert_eq!(logs.count("ERROR", "refuses the token"), 0, "{}", logs.text());
    rig.stop().await;
}

#[tokio::test]
async fn shutdown_finishes_what_is_out_and_what_is_ready() {
    let server = Server::start().await;
    let gate = Arc::new(Notify::new());
    server.then([Reply {
        hold: Some(gate.clone()),
        ..Reply::ok()
    }]);
    let mut rig = rig_at(
        server,
        (1..=50).map(|id| failed(id, "one order")),
        Outbox::default(),
    );
    rig.server.asked_times(1).await;
    rig.shutdown.send(true).unwrap();
    gate.notify_one();
    assert_eq!(rig.posted(50).await.0.len(), 50);
    tokio::time::timeout(Duration::from_secs(1), rig.task)
        .await
        .expect("a prompt end")
        .unwrap();
}

#[tokio::test]
async fn shutdown_waits_no_longer_than_the_grace() {
    let server = Server::start().await;
    let never = Arc::new(Notify::new());
    server.then([Reply {
        hold: Some(never),
        ..Reply::ok()
    }]);
    let rig = rig_at(server, [failed(1, "A")], Outbox::default());
    rig.server.asked_times(1).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_is_said_once_and_read_again() {
    let (logs, _guard) = Logs::start();
    let outbox = Outbox::default();
    outbox.1.store(2, Ordering::SeqCst);
    let mut rig = rig_at(Server::start().await, [failed(1, "A")], outbox);
    assert_eq!(rig.posted(1).await.0, [1]);
    assert_eq!(
        logs.count("ERROR", "The outbox cannot be read: disk on fire"),
        1,
        "{}",
        logs.text()
    );
    rig.stop().await;
}

/// One row that could not be read kept all others of its page from being posted, for ever.
#[tokio::test]
async fn a_damaged_row_is_set_aside_and_the_others_are_posted() {
    let (logs, _guard) = Logs::start();
    let rows = [failed(1, "A"), failed(2, "DAMAGED"), failed(3, "B")];
    let mut rig = rig(rows).await;
    let (mut ids, others) = rig.posted(2).await;
    ids.sort_unstable();
    assert_eq!(ids, [1, 3]);
    let is_told =
        |input: &Input| matches!(input, Input::DeadLetter { id: 2, error } if error == "report 2 is damaged");
    assert!(others.iter().any(is_told), "{others:?}");
    assert_eq!(rig.gauge.depth(), 0);
    // It is told once, however often the rows are read.
    rig.reload.notify_one();
    rig.add([failed(4, "C")]);
    assert!(rig.posted(1).await.0.contains(&4));
    assert_eq!(logs.count("ERROR", "report 2 is damaged"), 1, "{}", logs.text());
    assert_eq!(rig.gauge.depth(), 0);
    rig.stop().await;
}

/// Reports waited for the next start of the host: what tends the reporter begins it anew where it panics, and there alone.
#[tokio::test]
async fn a_reading_thread_that_panics_takes_the_reporter_along() {
    let rig = rig([failed(1, "PANICS")]).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), rig.task).await;
    assert!(ended.expect("an end").unwrap_err().is_panic());
}

/// The backend learns of what happened, though the engine that could note it down has ended by a fault of its own.
#[tokio::test]
async fn reports_go_on_where_the_engine_is_gone() {
    let rig = rig((1..=1000).map(|id| failed(id, &format!("S{id}")))).await;
    drop(rig.engine);
    rig.server.asked_times(1000).await;
    rig.shutdown.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(5), rig.task)
        .await
        .expect("a prompt end")
        .unwrap();
}
