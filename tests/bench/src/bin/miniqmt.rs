//! miniQMT's cost in one run, over one counter without latency: an order there and back, and a fill from the counter's push to whoever
//! waits for it, through the plugin and its bridge, beside xttrader called in a bare Python program and beside public
//! bridges with their own clients, which tell no fill.
#![allow(clippy::unwrap_used, reason = "a measurement may panic")]

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
/// So many rounds, and what is judged is the one in the middle.
const ROUNDS: usize = 3;
/// What an order, or a fill, may take longer than through the bare program, in microseconds: p50 and p99.
const MOST_ADDED: [u64; 2] = [1000, 5000];

const BARE: &str = include_str!("miniqmt_bare.py");
/// Public bridges, in the versions that were found; each is measured with its own client.
const BRIDGES: [(&str, &str); 2] = [
    ("qmt-bridge", "qmt-bridge[server]==2.1.3"),
    ("qmt-rpyc", "qmt-rpyc[server]==0.9.2"),
];
const BRIDGES_PY: &str = include_str!("miniqmt_bridges.py");

/// What one way costs, in microseconds; a figure that was not measured is empty.
struct Cost {
    order: Vec<u64>,
    fill: Vec<u64>,
    a_second: Option<f64>,
}

fn main() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        std::process::exit(1)
    };
    let python = bridges_python();
    // One after the other and again, so that a noisy neighbour shows.
    println!(
        "{:<34} {:>10} {:>10} {:>12} {:>12} {:>14}",
        "", "order p50", "order p99", "fill p50", "fill p99", "orders/s (200)"
    );
    let mut all: Vec<(&str, Vec<[u64; 4]>)> = Vec::new();
    for _ in 0..ROUNDS {
        let mut costs = vec![("(a) xttrader in bare Python", bare(&packages))];
        if let Some(python) = &python {
            costs.extend(BRIDGES.map(|(name, _)| (name, bridge(python, name, &packages))));
        }
        costs.push(("miniqmt, over its bridge", ours(&packages)));
        for (name, cost) in costs {
            let of = |all: &[u64], percent| all.get(quantile_at(all.len(), percent)).copied();
            let now = [
                of(&cost.order, 50),
                of(&cost.order, 99),
                of(&cost.fill, 50),
                of(&cost.fill, 99),
            ];
            let shown = now.map(|us| us.map_or("-".to_owned(), |us| format!("{us} us")));
            println!(
                "{name:<34} {:>10} {:>10} {:>12} {:>12} {:>14}",
                shown[0],
                shown[1],
                shown[2],
                shown[3],
                cost.a_second.map_or("-".to_owned(), |rate| format!("{rate:.0}")),
            );
            let now = now.map(|us| us.unwrap_or(u64::MAX));
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, rounds)) => rounds.push(now),
                None => all.push((name, vec![now])),
            }
        }
    }
    let middles = all.iter().map(|(name, rounds)| (*name, middle(rounds)));
    if !judge(&middles.collect::<Vec<_>>()) {
        std::process::exit(1);
    }
}

/// The round in the middle, figure by figure.
fn middle(rounds: &[[u64; 4]]) -> [u64; 4] {
    std::array::from_fn(|n| {
        let mut all: Vec<u64> = rounds.iter().map(|round| round[n]).collect();
        all.sort_unstable();
        all[all.len() / 2]
    })
}

/// Prints what the plugin adds to the bare program, and that an order costs less than through each public bridge, which tell no
/// fill; false where it misses one of that.
fn judge(middles: &[(&str, [u64; 4])]) -> bool {
    let (Some((_, bare)), Some((_, own))) = (middles.first(), middles.last()) else {
        return false;
    };
    let added = |n: usize| own[n].saturating_sub(bare[n]);
    for (what, n) in [("an order", 0), ("a fill", 2)] {
        println!(
            "added to (a), {what}, the middle of {ROUNDS}: {} us p50 (target {}), {} us p99 (target {})",
            added(n),
            MOST_ADDED[0],
            added(n + 1),
            MOST_ADDED[1]
        );
    }
    let mut is_well = (0..4).all(|n| added(n) <= MOST_ADDED[n % 2]);
    for (name, theirs) in &middles[1..middles.len() - 1] {
        let less = |n: usize| if own[n] < theirs[n] { "less" } else { "MORE" };
        is_well &= own[0] < theirs[0] && own[1] < theirs[1];
        println!(
            "beside {name}: p50 {} of {} us ({}), p99 {} of {} us ({})",
            own[0],
            theirs[0],
            less(0),
            own[1],
            theirs[1],
            less(1)
        );
    }
    is_well
}

/// A Python with the public bridges, or nothing where they cannot be had.
fn bridges_python() -> Option<std::path::PathBuf> {
    let python = qt_test_support::python_with("bridges", &BRIDGES.map(|(_, package)| package));
    if let Err(reason) = &python {
        println!("without the public bridges, which cannot be had here: {reason}");
    }
    python.ok()
}

fn bridge(python: &Path, name: &str, packages: &Path) -> Cost {
    let folder = tempfile::tempdir().unwrap();
    let counter = counter(folder.path(), "never");
    let script = folder.path().join("miniqmt_bridges.py");
    std::fs::write(&script, BRIDGES_PY).unwrap();
    let out = Command::new(python)
        .arg("-B")
        .args([script.as_path(), Path::new(name), packages, counter.userdata()])
        .args([
            ACCOUNT,
            &WARM_UP.to_string(),
            &ORDERS.to_string(),
            &AT_ONCE.to_string(),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let value: Value = serde_json::from_str(said.lines().last().unwrap_or_default())
        .unwrap_or_else(|e| panic!("{name}: {e}: {said}{}", String::from_utf8_lossy(&out.stderr)));
    if let Some(reason) = value["failed"].get(0) {
        println!("{name} with {AT_ONCE} at once: {reason}");
    }
    Cost {
        order: value["order"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_u64)
            .collect(),
        fill: Vec::new(),
        a_second: value["a_second"].as_f64(),
    }
}

const fn quantile_at(count: usize, percent: usize) -> usize {
    count.saturating_sub(1) * percent / 100
}

fn counter(folder: &Path, fill: &str) -> Counter {
    Counter::new(
        folder,
        &json!({ "fill": fill, "cash": 1_000_000_000_000_i64, "clock_ahead_ms": 0, "stamped_trades": true }),
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
        a_second: resting["a_second"].as_f64(),
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

/// A broker, and how long each fill took from the counter's push on.
fn open(packages: &Path, folder: &Path, fill: &str) -> (LoadedBroker, Receiver<Duration>) {
    let counter = counter(folder, fill);
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let block = counter.block(packages);
    let broker = open_linked::<MiniQmt>(OpenArgs {
        config: &block,
        data_dir: folder,
        account_id: Some(ACCOUNT),
        callbacks: Callbacks::new(move |_, event| {
            if let Event::Trade(row) = event {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                // Its number is the moment at which the counter pushed it.
                let pushed = row.trade_id.rsplit('/').next().unwrap();
                let pushed = Duration::from_nanos(pushed.parse().unwrap());
                tell.lock().unwrap().send(now.saturating_sub(pushed)).ok();
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
    let a_second = Some((ORDERS / AT_ONCE * AT_ONCE) as f64 / began.elapsed().as_secs_f64());
    drop(broker);
    let folder = tempfile::tempdir().unwrap();
    let (broker, told) = open(packages, folder.path(), "immediate");
    let mut fill = Vec::new();
    for n in 0..WARM_UP + ORDERS {
        place(&broker, n);
        let took = told.recv_timeout(Duration::from_secs(10)).unwrap();
        if n >= WARM_UP {
            fill.push(took);
        }
    }
    Cost {
        order: micros(order),
        fill: micros(fill),
        a_second,
    }
}
