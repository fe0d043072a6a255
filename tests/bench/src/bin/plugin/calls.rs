//! An order through the ABI, into the real plugin, beside the same code called directly and over a `Box<dyn Trait>`.

// The benchmark opens the plugin as the host does.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::hint::black_box;
use std::path::Path;

use libloading::Library;
use qt_plugin_api::host::{Callbacks, LoadedBroker, OpenArgs, PluginModule, ROOT_SYMBOL};
use qt_plugin_api::{Decimal, OrderRequest, PlaceResult, Side};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::table::{Cell, Table, median};

#[path = "../../../../bench-broker/src/instant.rs"]
pub mod instant;

/// The processor time of this thread in ns: what others do on the machine meanwhile does not count.
pub fn thread_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}

const ROUNDS: usize = 801;
/// So few that a round mostly fits between two looks of the system at who runs.
const CALLS: u32 = 1_000;
/// What the ABI may add to a call over a `Box`, ns.
const MAY_ADD: f64 = 50.0;

trait Place {
    fn place(&self, order: &OrderRequest) -> PlaceResult;
}

struct Same;

impl Place for Same {
    fn place(&self, order: &OrderRequest) -> PlaceResult {
        instant::place(order)
    }
}

/// An order as the host sends it.
pub fn order(strategy: &str) -> OrderRequest {
    let limit = Some(Decimal::new(43_20, 2));
    let mut order = OrderRequest::new("ABCDEFGHIJKLMNOPQRST", "000858.SZ", Side::Buy, 100, limit);
    order.not_after_ms = Some(1_790_000_000_000);
    strategy.clone_into(&mut order.strategy);
    order
}

/// Opens the plugin in this process.
pub fn open(callbacks: Callbacks) -> LoadedBroker {
    let path = qt_test_support::plugin("bench_broker");
    // SAFETY: a plugin of ours, built a moment ago.
    let library: &'static Library = Box::leak(Box::new(unsafe { Library::new(&path) }.unwrap()));
    // SAFETY: only the address is taken.
    let symbol = *unsafe { library.get::<*const c_void>(ROOT_SYMBOL) }.unwrap();
    // SAFETY: the library was leaked and stays open.
    let module = unsafe { PluginModule::from_symbol(symbol) }.unwrap();
    let args = OpenArgs {
        config: &json!({}),
        data_dir: Path::new("/"),
        account_id: None,
        callbacks,
    };
    module.open(args).unwrap()
}

fn ns_a_call(mut call: impl FnMut() -> PlaceResult) -> f64 {
    let began = thread_ns();
    for _ in 0..CALLS {
        black_box(call());
    }
    (thread_ns() - began) as f64 / f64::from(CALLS)
}

/// Rounds in turns; what counts is the median of each, and of the differences within a round.
pub fn measure() -> Vec<Table> {
    let broker = open(Callbacks::new(|_, _| {}));
    let boxed: Box<dyn Place> = black_box(Box::new(Same));
    let order = order("grid");
    assert_eq!(broker.place_order(&order), boxed.place(&order));
    let mut rounds: Vec<[f64; 3]> = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push([
            ns_a_call(|| instant::place(black_box(&order))),
            ns_a_call(|| boxed.place(black_box(&order))),
            ns_a_call(|| broker.place_order(black_box(&order))),
        ]);
    }
    let of = |which: usize| median(rounds.iter().map(|round| round[which]));
    let mut table = Table::new(
        "An order, by the way that it takes, processor time",
        &["way", "ns", "over the box ns", "ratio"],
    );
    for (which, way) in ["direct", "Box<dyn Trait>", "the ABI, into the .so"]
        .into_iter()
        .enumerate()
    {
        let over = median(rounds.iter().map(|round| round[which] - round[1]));
        table.row(vec![
            way.into(),
            Cell::Figure(of(which), 1),
            Cell::Figure(over, 1),
            Cell::Figure(of(which) / of(1), 2),
        ]);
    }
    let added = median(rounds.iter().map(|round| round[2] - round[1]));
    let mut judged = Table::new("Judged", &["what", "measured", "allowed", "kept"]);
    judged.row(vec![
        "ns that the ABI adds to the box".into(),
        Cell::Figure(added, 1),
        Cell::Figure(MAY_ADD, 0),
        if added <= MAY_ADD { "yes" } else { "NO" }.into(),
    ]);
    vec![table, judged]
}
