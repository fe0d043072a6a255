//! Plugins of other times and other compilers, loaded and traded by today's consumer half.
#![cfg(feature = "host")]
// A test must open libraries as the host does.
#![allow(unsafe_code)]

use std::{
    ffi::c_void,
    path::Path,
    sync::{Arc, Mutex},
};

use libloading::Library;
use qt_plugin_api::{
    Decimal, LogLevel, OrderRequest, PlaceResult, Side,
    host::{Callbacks, Event, LoadedBroker, OpenArgs, PluginModule, ROOT_SYMBOL},
};
use qt_test_support::museum::{self, Exhibit, Kind};
use serde_json::{Value, json};

fn load(path: &Path) -> PluginModule {
    // SAFETY: a plugin that was just built, from sources of ours.
    let library: &'static Library = Box::leak(Box::new(unsafe { Library::new(path) }.expect("opens")));
    // SAFETY: only the address is taken.
    let symbol = *unsafe { library.get::<*const c_void>(ROOT_SYMBOL) }.expect("exports its root");
    // SAFETY: the library was leaked and stays open.
    unsafe { PluginModule::from_symbol(symbol) }.unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// What a plugin told: events, and lines of its log.
#[derive(Default)]
struct Seen {
    events: Vec<(u64, Event)>,
    lines: Vec<String>,
    metrics: Vec<String>,
}

fn open(module: PluginModule, config: &Value, data_dir: &Path) -> (LoadedBroker, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (events, lines, metrics) = (Arc::clone(&seen), Arc::clone(&seen), Arc::clone(&seen));
    let callbacks = Callbacks::new(move |seq, event| events.lock().expect("seen").events.push((seq, event)))
        .with_log(move |line| {
            assert_eq!(line.level, LogLevel::Info);
            lines.lock().expect("seen").lines.push(line.message.to_owned());
        })
        .with_metrics(move |value| metrics.lock().expect("seen").metrics.push(value.name.to_owned()))
        .with_clock(|| 42);
    let args = OpenArgs {
        config,
        data_dir,
        account_id: None,
        callbacks,
    };
    (module.open(args).expect("opens"), seen)
}

/// Trades through one plugin and looks at all that it offers.
fn visit(exhibit: &Exhibit, data_dir: &Path) -> [String; 4] {
    let module = load(&exhibit.file);
    let statement = module.statement().expect("a statement");
    assert_eq!(statement.name, format!("museum-{}", exhibit.kind.name()));
    module.check_statement(&statement).expect("the same as it says");
    let (broker, seen) = open(module, &json!({}), data_dir);
    let price = Decimal::new(15_050, 2);
    let order = OrderRequest::new("ABCDEFGHIJ0123456789", "000858.SZ", Side::Buy, 300, Some(price));
    let accepted = PlaceResult::Accepted {
        broker_order_id: "M-ABCDEFGHIJ0123456789".to_owned(),
    };
    for _ in 0..2 {
        assert_eq!(broker.place_order(&order), accepted);
    }
    let trades = broker.trades_today().expect("complete");
    assert_eq!(
        (trades.len(), trades[0].price, trades[0].quantity),
        (1, price, 300)
    );
    {
        let seen = seen.lock().expect("seen");
        assert_eq!(seen.lines, ["open at 42"]);
        let numbers: Vec<u64> = seen.events.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(numbers, [1, 2]);
        assert!(matches!(&seen.events[0].1, Event::Trade(row) if *row == trades[0]));
        assert_eq!(seen.metrics.len(), usize::from(exhibit.kind == Kind::Plain));
    }
    interfaces(exhibit.kind, &broker);
    assert!(!broker.is_poisoned());

    let (broker, _) = open(module, &json!({"panic": "place"}), data_dir);
    let unknown = PlaceResult::Unknown {
        reason: "panic: as configured".to_owned(),
    };
    assert_eq!(broker.place_order(&order), unknown);
    assert!(broker.is_poisoned());
    [
        statement.api_version,
        if statement.interfaces.is_empty() {
            "none".to_owned()
        } else {
            statement.interfaces.join(" ")
        },
        "filled".to_owned(),
        "contained".to_owned(),
    ]
}

/// What is known to both sides works, and what only one of them knows is absent.
fn interfaces(kind: Kind, broker: &LoadedBroker) {
    assert_eq!(broker.quotes().is_some(), kind == Kind::Plain);
    assert_eq!(broker.trades().is_some(), kind == Kind::Plain);
    assert_eq!(broker.offers("broker.depth/1"), kind == Kind::Newer);
    if let (Some(quotes), Some(trades)) = (broker.quotes(), broker.trades()) {
        let row = quotes.quotes(&["600519.SH"]).expect("prices").remove(0);
        assert_eq!(
            (row.symbol.as_str(), row.last_price),
            ("600519.SH", Some(Decimal::ONE))
        );
        let page = trades.trades_since(None).expect("a page");
        assert_eq!((page.trades.len(), page.cursor.as_str()), (1, "1"));
        assert_eq!(trades.trades_since(Some("1")).expect("a page").trades, []);
    }
}

#[test]
fn every_plugin_of_the_museum_loads_and_trades() {
    let museum = museum::build();
    let dir = tempfile::tempdir().expect("a folder");
    println!("The museum, compilers present:");
    for (name, version) in &museum.compilers {
        println!("  {name:<8} {version}");
    }
    if !museum.compilers.contains_key("nightly") {
        println!("  nightly  is not installed here; stable stands in for it");
    }
    println!(
        "{:<6} {:<8} {:<8} {:<4} {:<5} {:<8} {:<10} interfaces",
        "PLUGIN", "API", "COMPILER", "OPT", "LTO", "TRADED", "PANIC"
    );
    // Forwards and backwards in one process: nothing that one plugin leaves behind may change the next one's fate.
    for exhibit in museum.exhibits.iter().rev() {
        visit(exhibit, dir.path());
    }
    for exhibit in &museum.exhibits {
        let [api, interfaces, traded, panic] = visit(exhibit, dir.path());
        let Exhibit {
            kind,
            compiler,
            opt,
            lto,
            ..
        } = exhibit;
        println!(
            "{:<6} {api:<8} {compiler:<8} {opt:<4} {lto:<5} {traded:<8} {panic:<10} {interfaces}",
            kind.name()
        );
    }
    assert_eq!(museum.exhibits.len(), 12);
}

/// With the flag that a profile with `panic = "abort"` gives to the compiler.
#[test]
fn a_plugin_that_aborts_on_a_panic_does_not_compile() {
    let output = museum::bare_with(&["-Cpanic=abort"])
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("must be built with panic = \"unwind\""), "{said}");
    // The same build with the other strategy goes through, so that it is the flag that was refused.
    let output = museum::bare_with(&["-Cpanic=unwind"])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
