//! kill -9 of the host, of the bridge, and of both at the same time.

use std::time::Duration;

use qt_test_support::{Dice, XTQUANT, kill_9, wait_until, xtquant};
use serde_json::{Value, json};

use super::{Lane, Scene};

/// How often each is killed; `QT_KILLS=N` repeats it N times as often.
const ROUNDS: usize = 12;

fn rounds() -> usize {
    let times = std::env::var("QT_KILLS").ok().and_then(|text| text.parse().ok());
    ROUNDS * times.unwrap_or(1)
}

fn more(scene: &Scene, from: usize, to: usize) {
    let one = |n: usize| {
        json!({ "order_id": format!("K{n}"), "symbol": "000858.SZ", "action": "BUY", "size": 100 * (n % 5 + 1), "price": 43.5,
                "status": "pending", "is_executable": true, "mode": "live" })
    };
    scene.backend.add(&Value::Array((from..to).map(one).collect()));
}

#[test]
fn host_and_bridge_are_killed_at_the_same_time() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let scene = Scene::new(&packages, &json!({ "latency_ms": 3 }), &json!({}), Lane::Worker);
    let mut dice = Dice::of(0x9E37_79B9_7F4A_7C15);
    let rounds = rounds();
    let mut bridges = 0;
    for round in 0..rounds {
        more(&scene, round * 4, round * 4 + 4);
        let mut host = scene.desk.host("");
        let before = scene.counter.ledger().len();
        wait_until("it trades again", || {
            scene.counter.ledger().len() > before || host.has_ended()
        });
        std::thread::sleep(Duration::from_millis(dice.roll(60)));
        let running = Scene::bridges(&host);
        bridges += running.len();
        // The bridge first, or the host first: which of the two loses the other is open.
        if dice.roll(2) == 0 {
            running.iter().for_each(|id| kill_9(*id));
            host.kill();
        } else {
            host.kill();
            running.iter().for_each(|id| kill_9(*id));
        }
    }
    finish(&scene, rounds * 4, "host and bridge");
    println!("kill -9 of host and bridge at the same time: {rounds}, with {bridges} bridges");
    assert!(bridges >= rounds / 2, "only {bridges} bridges were there to kill");
}

#[test]
fn the_bridge_alone_is_killed_again_and_again() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    for lane in [Lane::Worker, Lane::InProcess] {
        let scene = Scene::new(&packages, &json!({ "latency_ms": 3 }), &json!({}), lane);
        let mut dice = Dice::of(0xD1B5_4A32_D192_ED03);
        let rounds = rounds();
        let mut host = scene.desk.host("");
        host.trades();
        let mut kills = 0;
        for round in 0..rounds {
            more(&scene, round * 4, round * 4 + 4);
            wait_until("a bridge runs", || !Scene::bridges(&host).is_empty());
            std::thread::sleep(Duration::from_millis(dice.roll(400)));
            for id in Scene::bridges(&host) {
                kill_9(id);
                kills += 1;
            }
        }
        assert!(!host.has_ended(), "{}", scene.desk.log());
        drop(host);
        finish(&scene, rounds * 4, "the bridge");
        println!("kill -9 of the bridge alone, {lane:?}: {kills}");
    }
}

/// Lets everything come to its end and judges it.
fn finish(scene: &Scene, signals: usize, case: &str) {
    let mut host = scene.desk.host("");
    let ends = scene.settle(case, &mut host);
    assert_eq!(host.stop(), Some(0), "{case}");
    assert_eq!(ends.len(), signals, "{case}");
    let filled = ends.iter().filter(|end| *end == "filled").count();
    println!(
        "{case}: {signals} signals, {filled} filled, {} never accepted",
        signals - filled
    );
    assert_eq!(scene.faults(), [""; 0], "{case}\n{}", scene.desk.log());
    assert_eq!(
        scene.counter.accepted(),
        filled,
        "{case}: {ends:?}\n{}",
        scene.desk.log()
    );
    let verified = scene.desk.run(&["journal", "verify"]);
    assert!(verified.status.success(), "{case}");
}
