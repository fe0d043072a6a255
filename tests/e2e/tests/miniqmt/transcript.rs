//! A session for reading: the host with the plugin's file, trading through the real xttrader from end to end.

use qt_test_support::{XTQUANT, plugin, xtquant};
use serde_json::json;

use super::{Lane, Scene};

#[test]
fn a_transcript_of_a_session() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let scene = Scene::new(&packages, &json!({}), &json!({}), Lane::Worker);
    scene.signal(2);
    let file = plugin("miniqmt");
    let out = scene.desk.run(&["--plugin", file.to_str().unwrap(), "--once"]);
    let said = String::from_utf8_lossy(&out.stderr);
    println!("$ qt-host --plugin plugins/libminiqmt.so --config config.json --once");
    for line in said.lines() {
        println!("  {line}");
    }
    assert_eq!(out.status.code(), Some(0), "{said}");
    println!("  ledger of the counter:");
    for line in scene.counter.ledger() {
        println!("    {line}");
    }
    println!("$ qt-host orders");
    for order in scene.desk.json(&["orders"]).as_array().unwrap() {
        println!(
            "  {} {} {} {}/{} {}",
            order["signal"],
            order["side"],
            order["state"],
            order["filled"],
            order["size"],
            order["broker_order_id"]
        );
    }
    println!("$ qt-host positions");
    println!("{}", scene.desk.done(&["positions"]));
    assert_eq!(scene.outcomes(), ["filled", "filled"]);
    assert_eq!(scene.faults(), [""; 0]);
    assert!(
        said.contains("connected to the terminal through xtquant xtquant_250807"),
        "{said}"
    );
}
