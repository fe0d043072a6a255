//! A bridge on another machine: TLS with a pinned certificate and a token, and nothing in the clear.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use qt_test_support::{ACCOUNT, XTQUANT, children, kill_9, system_python, wait_until, xtquant};
use serde_json::{Value, json};

use super::scene::with;
use super::{Lane, Scene};

const TOKEN: &str = "a-token-of-twenty-and-more";
const BRIDGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/miniqmt/src/bridge.py");

/// A bridge that listens.
struct Listening {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn certificate(folder: &Path, name: &str) -> PathBuf {
    let pem = folder.join(format!("{name}.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
        ])
        .args(["-subj", "/CN=miniqmt", "-keyout"])
        .arg(folder.join(format!("{name}.key")))
        .arg("-out")
        .arg(&pem)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    pem
}

/// Starts a bridge; its own configuration, with `more` laid over it.
fn listen(scene: &Scene, packages: &Path, host: &str, more: &Value) -> Result<Listening, String> {
    let folder = scene.desk.path("bridge");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("token"), format!("{TOKEN}\n")).unwrap();
    let config = json!({
        "account_id": ACCOUNT, "session_path": scene.counter.userdata(), "xtquant": packages, "token_file": "token",
        "data_dir": "data", "hang_after_ms": 1000,
    });
    std::fs::write(folder.join("bridge.json"), with(config, more).to_string()).unwrap();
    let mut child = Command::new(system_python())
        .args(["-B", BRIDGE, "--listen", &format!("{host}:0"), "--config"])
        .arg(folder.join("bridge.json"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let Some(rest) = line.strip_prefix("listening on ") else {
        wait_until("it has ended", || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(2), "{line}");
        return Err(line);
    };
    let address = rest.split_whitespace().next().unwrap().to_owned();
    let log = folder.join("log");
    let mut file = std::fs::File::create(&log).unwrap();
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut file));
    Ok(Listening { child, address, log })
}

/// A scene whose host speaks to a bridge that listens.
fn far(packages: &Path, knobs: &Value, secure: bool) -> (Scene, Listening) {
    let scene = Scene::new(packages, knobs, &json!({}), Lane::Worker);
    let pem = secure.then(|| certificate(&scene.desk.path(""), "bridge"));
    let more = match &pem {
        Some(pem) => json!({ "certificate": pem, "key": scene.desk.path("bridge.key") }),
        None => json!({}),
    };
    let bridge = listen(&scene, packages, "127.0.0.1", &more).unwrap();
    point(&scene, &bridge, pem.as_deref());
    (scene, bridge)
}

/// Points the host at a bridge.
fn point(scene: &Scene, bridge: &Listening, pem: Option<&Path>) {
    point_with(scene, bridge, pem, &json!({}));
}

/// The same, with `more` laid over the host's block.
fn point_with(scene: &Scene, bridge: &Listening, pem: Option<&Path>, more: &Value) {
    let mut block = scene.counter.block(Path::new(""));
    for key in ["session_path", "xtquant", "python"] {
        block[key] = Value::Null;
    }
    let block = with(
        with(block, more),
        &json!({ "remote": bridge.address, "token_file": scene.desk.path("bridge/token"), "certificate": pem, "order_deadline_seconds": 12 }),
    );
    scene.desk.configure(
        &scene.backend,
        &json!({ "broker": "miniQMT", "miniQMT": block, "execution": { "call_deadline_seconds": 30, "trading_sessions": "none" },
                 "gates": { "market_rules": false, "count_shares_and_cash": false, "max_per_second": 0 } }),
    );
}

#[test]
fn a_host_trades_over_tls_and_goes_on_after_the_bridge_s_child_is_killed() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let (scene, bridge) = far(&packages, &json!({ "die_after_order": { "at": [2] } }), true);
    scene.signal(3);
    let mut host = scene.desk.host("");
    assert_eq!(
        scene.settle("over TLS", &mut host),
        ["filled", "filled", "filled"]
    );
    assert_eq!(scene.counter.struck("die_after_order"), 1);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(scene.faults(), [""; 0]);
    for (what, text) in [
        ("host", scene.desk.log()),
        ("bridge", std::fs::read_to_string(&bridge.log).unwrap()),
    ] {
        assert!(
            !text.contains(TOKEN) && !text.contains(ACCOUNT),
            "a secret is in the log of the {what}:\n{text}"
        );
    }
}

/// The host is killed; its successor finds the same bridge with the same connection to the terminal.
#[test]
fn a_host_that_is_killed_leaves_the_bridge_connected_and_events_go_on() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let (scene, _bridge) = far(
        &packages,
        &json!({ "fill": "never", "fill_after_ms": 1500 }),
        true,
    );
    scene.signal(1);
    let mut host = scene.desk.host("");
    wait_until("the order rests", || scene.counter.accepted() == 1);
    kill_9(host.pid());
    host.kill();
    let mut host = scene.desk.host("");
    assert_eq!(scene.settle("after a kill", &mut host), ["filled"]);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(scene.faults(), [""; 0]);
    let sessions = std::fs::read_dir(scene.counter.userdata()).unwrap().flatten();
    let sessions = sessions
        .filter(|file| file.file_name().to_string_lossy().contains("queue"))
        .count();
    assert_eq!(sessions, 1, "the bridge connected anew");
}

#[test]
fn a_wrong_token_another_certificate_and_plain_text_are_refused() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let (scene, bridge) = far(&packages, &json!({}), true);
    let refused = |words: &str| {
        let out = scene.desk.run(&["positions"]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{words}: {said}");
    };
    let pem = scene.desk.path("bridge.pem");
    let other = certificate(&scene.desk.path(""), "other");
    point(&scene, &bridge, Some(&other));
    refused("another certificate");
    point(&scene, &bridge, None);
    refused("does not answer");
    point(&scene, &bridge, Some(&pem));
    assert_eq!(scene.desk.json(&["positions"])[0]["quantity"], 100_000);
    std::fs::write(scene.desk.path("bridge/token"), "another-token-of-twenty").unwrap();
    refused("the token is wrong");
    // Off the loopback neither end speaks in the clear.
    let why = listen(&scene, &packages, "0.0.0.0", &json!({})).err().unwrap();
    assert!(why.contains("never travel in the clear"), "{why}");
    scene.desk.configure(
        &scene.backend,
        &json!({ "broker": "miniQMT", "miniQMT": { "remote": "192.0.2.1:7000", "token_file": "token" } }),
    );
    refused("never travel in the clear");
}

/// The bridge's own caps stand, whatever the host is configured with.
#[test]
fn a_host_cannot_lift_the_caps_of_a_bridge_on_another_machine() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let scene = Scene::new(&packages, &json!({}), &json!({}), Lane::Worker);
    let bridge = listen(
        &scene,
        &packages,
        "127.0.0.1",
        &json!({ "caps": { "max_order_shares": 99 } }),
    )
    .unwrap();
    point(&scene, &bridge, None);
    scene.signal(1);
    let mut host = scene.desk.host("");
    assert_eq!(scene.settle("capped", &mut host), ["refused"]);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(scene.counter.ledger().len(), 0);
    assert!(scene.backend.state().to_string().contains("max_order_shares"));
}

/// What the host's own block forbids did go out, since it was told to no bridge on another machine.
#[test]
fn the_limits_in_the_host_s_block_hold_over_tcp() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    for (block, words) in [
        (json!({ "dry_run": true }), "a dry run"),
        (json!({ "caps": { "max_order_value": 4000 } }), "max_order_value"),
        (json!({ "read_only": true }), "only reads"),
    ] {
        let scene = Scene::new(&packages, &json!({}), &json!({}), Lane::Worker);
        let bridge = listen(&scene, &packages, "127.0.0.1", &json!({})).unwrap();
        point_with(&scene, &bridge, None, &block);
        scene.refuses(words);
    }
}

/// The bridge's process ends with its terminal, and another one takes its place: an old one went on calling back, and kept its
/// threads.
#[test]
fn a_terminal_that_disconnects_over_tls_is_connected_anew() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let knobs = json!({ "disconnect_after_order": { "at": [1, 3] }, "connect_minus_one": { "at": [2, 3] } });
    let (scene, bridge) = far(&packages, &knobs, true);
    scene.signal(4);
    let mut host = scene.desk.host("");
    assert_eq!(scene.settle("disconnected", &mut host), ["filled"; 4]);
    assert_eq!(scene.counter.struck("disconnect_after_order"), 2);
    assert_eq!(scene.counter.struck("connect_minus_one"), 2);
    wait_until("one child is left", || children(bridge.child.id()).len() <= 1);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(scene.faults(), [""; 0]);
}

/// It took the line of the host that trades.
#[test]
fn doctor_leaves_the_line_of_the_host_that_trades_alone() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let (scene, _bridge) = far(&packages, &json!({}), true);
    let mut host = scene.desk.host("");
    host.trades();
    let mut command = scene.desk.command();
    command.env(qt_test_support::CLOCK_OFFSET, "0");
    let out = command.args(["doctor", "--broker", "miniqmt"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(0), "{said}");
    assert!(said.contains("takes the connection as session"), "{said}");
    scene.signal(1);
    assert_eq!(scene.settle("looked at", &mut host), ["filled"]);
    assert_eq!(host.stop(), Some(0));
    assert!(!scene.desk.log().contains("BROKER_DOWN"), "{}", scene.desk.log());
    assert!(
        !scene.desk.log().contains("it is tried again in"),
        "{}",
        scene.desk.log()
    );
    assert_eq!(scene.faults(), [""; 0]);
}
