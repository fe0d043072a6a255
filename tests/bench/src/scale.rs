//! What one process carries: 1, 10 and 50 accounts, with signals and reports over REST and over NATS.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::{self, Context, consumer::pull::OrderedConfig, stream};
use futures_util::StreamExt;
use futures_util::future::join_all;
use qt_test_support::{Backend, NatsServer};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::bare::POSTS_A_SIGNAL;
use crate::setup::{Address, Desk, Host, Setup, signals};
use crate::table::{Cell, Table, percentile};

const ACCOUNTS: [usize; 3] = [1, 10, 50];
/// Signals that are there at once, for the rate.
const MANY: usize = 5_000;
/// Signals one after the other, for the latency, and the time between two.
const SINGLE: usize = 400;
const EVERY: Duration = Duration::from_millis(25);
const PATIENCE: Duration = Duration::from_secs(300);
/// The other side.
enum Side {
    Rest(Backend),
    Nats(Box<Streams>),
}

/// A nats-server with both streams.
struct Streams {
    server: NatsServer,
    runtime: Runtime,
    context: Context,
}

impl Streams {
    /// Nothing where the program is not installed.
    fn start() -> Option<Self> {
        let server = NatsServer::start()?;
        let url = server.url();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let context = runtime.block_on(async {
            let context = jetstream::new(async_nats::connect(&url).await.unwrap());
            for (name, subject) in [("QT_SIGNALS", "qt.signals.>"), ("QT_REPORTS", "qt.reports.>")] {
                let config = stream::Config {
                    name: name.to_owned(),
                    subjects: vec![subject.to_owned()],
                    ..stream::Config::default()
                };
                context.create_stream(config).await.unwrap();
            }
            context
        });
        Some(Self {
            server,
            runtime,
            context,
        })
    }

    fn publish(&self, list: &[Value]) {
        self.runtime.block_on(async {
            // The client holds back by itself where too many are on their way.
            for part in list.chunks(100) {
                let sent = part.iter().map(|signal| async {
                    let stored = self
                        .context
                        .publish("qt.signals.all", signal.to_string().into())
                        .await;
                    stored.unwrap().await.unwrap();
                });
                join_all(sent).await;
            }
        });
    }

    fn count(&self) -> usize {
        let messages = self.runtime.block_on(async {
            let mut stream = self.context.get_stream("QT_REPORTS").await.unwrap();
            stream.info().await.unwrap().state.messages
        });
        usize::try_from(messages).unwrap()
    }

    /// When each order's execution came, in ms since 1970.
    fn executions(&self) -> HashMap<String, f64> {
        let count = self.count();
        self.runtime.block_on(async {
            let stream = self.context.get_stream("QT_REPORTS").await.unwrap();
            let consumer = stream.create_consumer(OrderedConfig::default()).await.unwrap();
            let mut messages = consumer.messages().await.unwrap();
            let mut found = HashMap::new();
            for _ in 0..count {
                let message = messages.next().await.unwrap().unwrap();
                if message.subject.ends_with(".executions") {
                    let body: Value = serde_json::from_slice(&message.payload).unwrap();
                    let at_ns = message.info().unwrap().published.unix_timestamp_nanos();
                    let id = body["order_id"].as_str().unwrap().to_owned();
                    found.insert(id, at_ns as f64 / 1e6);
                }
            }
            found
        })
    }
}

impl Side {
    fn add(&self, list: Vec<Value>) {
        match self {
            Self::Rest(backend) => backend.add(&Value::Array(list)),
            Self::Nats(streams) => streams.publish(&list),
        }
    }

    /// How many signals are reported to their end.
    fn done(&self) -> usize {
        match self {
            Self::Rest(backend) => {
                usize::try_from(backend.summary()["counts"]["concluded"].as_u64().unwrap()).unwrap()
            }
            Self::Nats(streams) => streams.count() / POSTS_A_SIGNAL,
        }
    }

    fn wait(&self, count: usize) {
        let began = Instant::now();
        while self.done() < count {
            assert!(
                began.elapsed() < PATIENCE,
                "{} of {count} signals are reported",
                self.done()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn executions(&self) -> HashMap<String, f64> {
        let Self::Rest(backend) = self else {
            let Self::Nats(streams) = self else { unreachable!() };
            return streams.executions();
        };
        let state = backend.state();
        let all = state["signals"].as_object().unwrap();
        all.iter()
            .filter_map(|(id, record)| {
                let posts = record["posts"].as_array()?;
                let post = posts.iter().find(|post| post["kind"] == "execution")?;
                Some((id.clone(), post["at_ms"].as_f64()?))
            })
            .collect()
    }

    fn desk<'a>(&self, setup: &'a Setup, accounts: usize) -> Desk<'a> {
        let entries: Vec<Value> = (0..accounts)
            .map(|account| json!({ "securities_account_id": name(account) }))
            .collect();
        let address = match self {
            Self::Rest(backend) => Address {
                base_url: backend.base_url.clone(),
                token: backend.token.clone(),
            },
            // Not asked for anything.
            Self::Nats(_) => Address {
                base_url: "http://127.0.0.1:1/api".to_owned(),
                token: "none".to_owned(),
            },
        };
        let desk = Desk::simulated(setup, &address)
            .with("accounts", json!(entries))
            .with("poll_interval", json!(1.0))
            .with("signals_stream", json!("auto"));
        match self {
            Self::Rest(_) => desk,
            Self::Nats(streams) => desk.with("backend", json!("nats")).with(
                "nats",
                json!({ "url": streams.server.url(), "consumer": "scale", "begin": "all" }),
            ),
        }
    }
}

fn name(account: usize) -> String {
    format!("SA-{account:03}")
}

/// Signals from number `first` on, to each account in turn.
fn list(first: usize, count: usize, accounts: usize) -> Vec<Value> {
    signals(first, count, "43.5")
        .zip(first..)
        .map(|(text, number)| {
            let mut signal: Value = serde_json::from_str(&text).unwrap();
            signal["securities_account_id"] = json!(name(number % accounts));
            signal
        })
        .collect()
}

fn now_ms() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs_f64() * 1e3
}

/// From each signal's leaving to the arrival of its execution, in ms; one after the other.
fn latencies(side: &Side, first: usize, accounts: usize) -> Vec<f64> {
    let mut left = Vec::new();
    let began = Instant::now();
    for (turn, signal) in (0..).zip(list(first, SINGLE, accounts)) {
        std::thread::sleep((began + EVERY * turn).saturating_duration_since(Instant::now()));
        left.push((signal["order_id"].as_str().unwrap().to_owned(), now_ms()));
        side.add(vec![signal]);
    }
    side.wait(first + SINGLE);
    let came = side.executions();
    left.iter().map(|(id, at_ms)| came[id] - at_ms).collect()
}

fn row(setup: &Setup, side: &Side, what: &str, accounts: usize) -> Vec<Cell> {
    let desk = side.desk(setup, accounts);
    let host: Host = desk.host();
    // Every account is open, and all is made that is made once.
    side.add(list(0, accounts, accounts));
    side.wait(accounts);
    let each = latencies(side, accounts, accounts);
    let (before, began) = (host.usage(), Instant::now());
    side.add(list(accounts + SINGLE, MANY, accounts));
    side.wait(accounts + SINGLE + MANY);
    let (seconds, used) = (began.elapsed().as_secs_f64(), host.usage());
    host.stop();
    vec![
        what.into(),
        Cell::Figure(accounts as f64, 0),
        Cell::Figure(MANY as f64 / seconds, 0),
        Cell::Figure((used.cpu_seconds - before.cpu_seconds) * 1e3 / MANY as f64, 2),
        Cell::Figure(used.peak_mb, 0),
        Cell::Figure(percentile(&each, 50), 1),
        Cell::Figure(percentile(&each, 99), 1),
    ]
}

/// One host after the other, each with an empty backend.
pub fn measure(setup: &Setup) -> Vec<Table> {
    let columns = [
        "by",
        "accounts",
        "signals/s",
        "CPU s/1,000",
        "peak MB",
        "p50 ms",
        "p99 ms",
    ];
    let mut table = Table::new(
        "One process: signals at once, and from a signal to its execution report",
        &columns,
    );
    for accounts in ACCOUNTS {
        eprintln!("  {accounts} accounts over REST");
        table.row(row(setup, &Side::Rest(Backend::start()), "REST", accounts));
        eprintln!("  {accounts} accounts over NATS");
        match Streams::start() {
            Some(streams) => table.row(row(setup, &Side::Nats(Box::new(streams)), "NATS", accounts)),
            None => eprintln!(
                "  SKIPPED: nats-server is not installed (Debian has it in the package `nats-server`)"
            ),
        }
    }
    vec![table]
}
