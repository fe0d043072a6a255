//! miniQMT's cost in one run, over one counter without latency: an order there and back, and a fill from the counter to whoever
//! waits for it, through the plugin and its bridge, beside xttrader called in a bare Python program.
#![allow(clippy::unwrap_used, reason = "a measurement may panic")]

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use miniqmt::MiniQmt;
use qt_plugin_api::host::{Callbacks, Event, LoadedBroker, OpenArgs, open_linked};
use qt_plugin_api::{ConnectionState, Decimal, OrderRequest, PlaceResult, Side};
use qt_test_support::{ACCOUNT, Counter, XTQUANT, system_python, xtquant};
use serde_json::{Value, json};

/// Orders before anything is measured.
const WARM_UP: usize = 100;
const ORDERS: usize = 2000;
/// Orders under way at once where the rate is measured.
const AT_ONCE: usize = 200;

const BARE: &str = include_str!("miniqmt_bare.py");

/// What one way costs, in microseconds.
struct Cost {
    order: Vec<u64>,
    fill: Vec<u64>,
    a_second: f64,
}

fn main() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        std::process::exit(1)
    };
    // One after the other and twice, so that a noisy neighbour shows.
    println!(
        "{:<34} {:>10} {:>10} {:>12} {:>12} {:>14}",
        "", "order p50", "order p99", "fill p50", "fill p99", "orders/s (200)"
    );
    let mut bests: Vec<Option<[u64; 2]>> = vec![None, None];
    for _ in 0..2 {
        for (at, (name, cost)) in [
            ("(a) xttrader in bare Python", bare(&packages)),
            ("miniqmt, over its bridge", ours(&packages)),
        ]
        .into_iter()
        .enumerate()
        {
            let [p50, p99] = [quantile(&cost.order, 50), quantile(&cost.order, 99)];
            println!(
                "{name:<34} {:>7} us {:>7} us {:>9} us {:>9} us {:>14.0}",
                p50,
                p99,
                quantile(&cost.fill, 50),
                quantile(&cost.fill, 99),
                cost.a_second
            );
            let best = bests[at].get_or_insert([p50, p99]);
            *best = [best[0].min(p50), best[1].min(p99)];
        }
    }
    if let [Some(bare), Some(own)] = bests[..] {
        let added = |n: usize| own[n].saturating_sub(bare[n]);
        println!(
            "added to (a), best of two: {} us p50 (target 1000), {} us p99 (target 5000)",
            added(0),
            added(1)
        );
    }
}

fn quantile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

fn counter(folder: &Path, fill: &str) -> Counter {
    Counter::new(
        folder,
        &json!({ "fill": fill, "cash": 1_000_000_000_000_i64, "clock_ahead_ms": 0 }),
    )
}

fn bare(packages: &Path) -> Cost {
    let run = |fill: &str| -> Value {
        let folder = tempfile::tempdir().unwrap();
        let counter = counter(folder.path(), fill);
        let out = Command::new(system_python())
            .args(["-B", "-c", BARE])
            .arg(packages)
            .arg(counter.userdata())
            .args([
                ACCOUNT,
                &WARM_UP.to_string(),
                &ORDERS.to_string(),
                &AT_ONCE.to_string(),
            ])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last)
            .unwrap_or_else(|e| panic!("{e}: {said}{}", String::from_utf8_lossy(&out.stderr)))
    };
    let list = |value: &Value| {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|us| us.as_u64().unwrap())
            .collect()
    };
    let resting = run("never");
    Cost {
        order: list(&resting["order"]),
        fill: list(&run("immediate")["fill"]),
        a_second: resting["a_second"].as_f64().unwrap(),
    }
}

fn order(n: usize) -> OrderRequest {
    OrderRequest::new(
        format!("BENCH{n:015}"),
        "000858.SZ",
        Side::Buy,
        100,
        Some(Decimal::new(435, 1)),
    )
}

fn open(packages: &Path, folder: &Path, fill: &str) -> (LoadedBroker, Receiver<Instant>) {
    let counter = counter(folder, fill);
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let block = counter.block(packages);
    let broker = open_linked::<MiniQmt>(OpenArgs {
        config: &block,
        data_dir: folder,
        account_id: Some(ACCOUNT),
        callbacks: Callbacks::new(move |_, event| {
            if matches!(event, Event::Trade(_)) {
                tell.lock().unwrap().send(Instant::now()).ok();
            }
        }),
    })
    .unwrap();
    while broker.connection() != ConnectionState::Connected {
        std::thread::sleep(Duration::from_millis(5));
    }
    (broker, told)
}

fn place(broker: &LoadedBroker, n: usize) -> Duration {
    let order = order(n);
    let began = Instant::now();
    let answer = broker.place_order(&order);
    let took = began.elapsed();
    assert!(matches!(answer, PlaceResult::Accepted { .. }), "{answer:?}");
    took
}

fn micros(mut all: Vec<Duration>) -> Vec<u64> {
    all.sort();
    all.into_iter()
        .map(|took| u64::try_from(took.as_micros()).unwrap())
        .collect()
}

fn ours(packages: &Path) -> Cost {
    let folder = tempfile::tempdir().unwrap();
    let (broker, _told) = open(packages, folder.path(), "never");
    for n in 0..WARM_UP {
        place(&broker, n);
    }
    let order = (WARM_UP..WARM_UP + ORDERS).map(|n| place(&broker, n)).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for lane in 0..AT_ONCE {
            let broker = &broker;
            scope.spawn(move || {
                for n in 0..ORDERS / AT_ONCE {
                    place(broker, 1_000_000 + lane * 1000 + n);
                }
            });
        }
    });
    #[expect(
        clippy::cast_precision_loss,
        clippy::float_arithmetic,
        reason = "a rate for people"
    )]
    let a_second = (ORDERS / AT_ONCE * AT_ONCE) as f64 / began.elapsed().as_secs_f64();
    drop(broker);
    let folder = tempfile::tempdir().unwrap();
    let (broker, told) = open(packages, folder.path(), "immediate");
    let mut fill = Vec::new();
    for n in 0..WARM_UP + ORDERS {
        let began = Instant::now();
        place(&broker, n);
        let came = told.recv_timeout(Duration::from_secs(10)).unwrap();
        if n >= WARM_UP {
            fill.push(came - began);
        }
    }
    Cost {
        order: micros(order),
        fill: micros(fill),
        a_second,
    }
}
