//! Real libraries, opened as a host opens them.
#![cfg(feature = "host")]
// A test must open libraries as the host does.
#![allow(unsafe_code)]

use std::{
    ffi::c_void,
    path::{Path, PathBuf},
    process::Command,
};

use libloading::Library;
use qt_plugin_api::{
    PlaceResult, Side,
    host::{Callbacks, OpenArgs, PluginModule, ROOT_SYMBOL},
};
use serde_json::json;

/// Builds a package of the workspace and returns its dynamic library.
fn built(package: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--message-format=json", "--package", package])
        .current_dir(workspace)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let messages = text
        .lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let mut files = messages
        .filter(|m| m["target"]["name"] == package)
        .flat_map(|m| m["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|name| name.as_str().map(PathBuf::from));
    let suffix = std::env::consts::DLL_EXTENSION;
    files
        .find(|file| file.extension().is_some_and(|e| e == suffix))
        .expect("a dynamic library")
}

fn load(path: &Path) -> PluginModule {
    // SAFETY: our own plugin, just built.
    let library: &'static Library = Box::leak(Box::new(unsafe { Library::new(path) }.expect("opens")));
    // SAFETY: only the address is taken.
    let symbol = *unsafe { library.get::<*const c_void>(ROOT_SYMBOL) }.expect("exports its root");
    // SAFETY: the library was leaked and stays open.
    unsafe { PluginModule::from_symbol(symbol) }.expect("fits")
}

fn args<'a>(config: &'a serde_json::Value, data_dir: &'a Path) -> OpenArgs<'a> {
    OpenArgs {
        config,
        data_dir,
        account_id: None,
        callbacks: Callbacks::new(|_, _| {}),
    }
}

#[test]
fn two_plugins_in_one_process_keep_two_identities() {
    let folder = tempfile::tempdir().expect("a folder");
    let (simulated, other) = (built("simulated"), built("miniqmt"));
    let copy = folder.path().join("copy.so");
    std::fs::copy(&simulated, &copy).expect("copied");
    let modules = [load(&simulated), load(&other), load(&copy)];
    let names = modules.map(|m| m.statement().expect("a statement").name);
    assert_eq!(names, ["simulated", "miniQMT", "simulated"]);

    let config = json!({});
    let refusal = modules[1]
        .open(args(&config, folder.path()))
        .err()
        .expect("miniQMT needs an account")
        .reason;
    assert!(refusal.contains("`account_id` is missing"), "{refusal}");
    let price = "10.5".parse().expect("decimal");
    let order =
        qt_plugin_api::OrderRequest::new("ABCDEFGHIJ0123456789", "000858.SZ", Side::Buy, 100, Some(price));
    for (i, module) in [modules[0], modules[2]].iter().enumerate() {
        let dir = folder.path().join(i.to_string());
        let broker = module.open(args(&config, &dir)).expect("opens");
        assert_eq!(
            broker.place_order(&order),
            PlaceResult::Accepted {
                broker_order_id: "S00000001".to_owned()
            }
        );
        assert_eq!(broker.trades_today().expect("trades").len(), 1);
    }
}

#[test]
fn a_module_must_be_what_its_file_says() {
    let module = load(&built("simulated"));
    let mut manifest = module.statement().expect("a statement");
    assert_eq!(module.check_statement(&manifest), Ok(()));
    manifest.version = "9.9.9".to_owned();
    let fault = module.check_statement(&manifest).expect_err("a difference");
    assert_eq!(fault.code, "QT-P016");
    assert!(fault.sentence.contains("9.9.9"), "{fault}");
}

#[test]
fn the_simulators_schema_knows_its_options() {
    let manifest = load(&built("simulated")).statement().expect("a statement");
    let good = json!({
        "cash": "10000000.50", "ledger": "ledger.jsonl", "fill": "partial", "fault_no_events": {"every": 3},
        "positions": [{"symbol": "000858.SZ", "quantity": 100, "avg_cost": 40, "last_price": 43.2}],
        "prices": {"600519.SH": 1500},
    });
    assert_eq!(manifest.check_config(&good), []);
    let bad = json!({"csah": 1, "fill": "sometimes", "positions": [{"symbol": 7}]});
    let said: Vec<String> = manifest
        .check_config(&bad)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        said.contains(&"`csah` is unknown; did you mean `cash`?".to_owned()),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|s| s.starts_with("`fill` is \"sometimes\", and must be one of `immediate`")),
        "{said:?}"
    );
    assert!(
        said.iter().any(|s| s.starts_with("`positions[0].symbol` is 7")),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|s| s.starts_with("`positions[0].avg_cost` is missing")),
        "{said:?}"
    );
    assert!(
        manifest
            .config_options()
            .iter()
            .any(|o| o.name == "cash" && o.default.as_deref() == Some("1000000"))
    );
}
