//! The conformance kit against the real thing, in both lanes.

use qt_test_support::{XTQUANT, plugin, qt_host, xtquant};
use serde_json::{Value, json};

use super::{Lane, Scene};

/// The lane, and the verdicts: passes, and cases that do not apply.
fn put_to_the_kit(lane: &str) -> Option<(usize, usize)> {
    let packages = xtquant(XTQUANT[0])?;
    let scene = Scene::new(&packages, &json!({}), &json!({}), Lane::Worker);
    // The kit lives at the true time.
    scene.counter.turn(&json!({ "clock_ahead_ms": 0 }));
    let out = std::process::Command::new(qt_host())
        .args(["plugins", "test"])
        .arg(plugin("miniqmt"))
        .arg("--config")
        .arg(scene.desk.config())
        .args([
            "--json",
            "--place-orders",
            "--symbol",
            "600000.SH",
            "--price",
            "10",
            "--patience",
            "20",
            "--lane",
            lane,
        ])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));

    for case in report["cases"].as_array().unwrap() {
        println!(
            "{lane:<10} {:<15} {} {}: {}",
            case["verdict"].as_str().unwrap(),
            case["id"],
            case["title"],
            case["saw"]
        );
    }
    let ended = |verdict: &str| {
        report["cases"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|case| case["verdict"] == verdict)
            .count()
    };
    assert_eq!(out.status.code(), Some(0), "{report:#}");
    Some((ended("pass"), ended("not-applicable")))
}

// A refusal comes as status 57 after the number, growth is measured with orders that cost nothing, and neither prices nor
// pages of trades are offered.

#[test]
fn the_kit_passes_in_process() {
    assert!(matches!(put_to_the_kit("in-process"), None | Some((27, 4))));
}

#[test]
fn the_kit_passes_in_a_worker() {
    assert!(matches!(put_to_the_kit("worker"), None | Some((27, 4))));
}
