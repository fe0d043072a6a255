//! A host at a console of its own, as a person has it: Ctrl-C is pressed, and the window is closed.
#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use qt_test_support::{Backend, Desk, judge, qt_host, wait_until};
use serde_json::{Value, json};

/// What is typed, as long as the window is open.
type Keys = Arc<Mutex<Option<Box<dyn Write + Send>>>>;

/// A console asks its terminal where the cursor stands before it lets a program write, and is told so.
const WHERE_IS_THE_CURSOR: &[u8] = b"\x1b[6n";
const THERE: &[u8] = b"\x1b[1;1R";

/// A host and the window that it runs in, as long as that is open.
struct Window {
    console: Option<Box<dyn MasterPty + Send>>,
    keys: Keys,
    screen: Arc<Mutex<Vec<u8>>>,
    host: Box<dyn Child + Send + Sync>,
}

impl Window {
    fn open(desk: &Desk) -> Self {
        let pair = native_pty_system().openpty(PtySize::default()).unwrap();
        let mut command = CommandBuilder::new(qt_host());
        for argument in desk.command().get_args() {
            command.arg(argument);
        }
        for (name, value) in desk.command().get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let host = pair.slave.spawn_command(command).unwrap();
        let window = Self {
            keys: Arc::new(Mutex::new(Some(pair.master.take_writer().unwrap()))),
            screen: Arc::default(),
            host,
            console: Some(pair.master),
        };
        let mut from = window.console.as_ref().unwrap().try_clone_reader().unwrap();
        let (keys, screen) = (Arc::clone(&window.keys), Arc::clone(&window.screen));
        // A window that nobody draws would hold up whoever writes to it.
        std::thread::spawn(move || {
            let mut piece = [0_u8; 4096];
            while let Ok(count @ 1..) = from.read(&mut piece) {
                let piece = &piece[..count];
                screen.lock().unwrap().extend_from_slice(piece);
                if piece
                    .windows(WHERE_IS_THE_CURSOR.len())
                    .any(|part| part == WHERE_IS_THE_CURSOR)
                {
                    type_in(&keys, THERE);
                }
            }
        });
        window
    }

    /// What the window shows.
    fn shows(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    fn press_ctrl_c(&mut self) {
        type_in(&self.keys, b"\x03");
    }

    /// As by the cross in its corner.
    fn close(&mut self) {
        *self.keys.lock().unwrap() = None;
        self.console = None;
    }
}

fn type_in(keys: &Keys, what: &[u8]) {
    if let Some(keys) = keys.lock().unwrap().as_mut() {
        keys.write_all(what).unwrap();
        keys.flush().unwrap();
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the window shows: {}", self.shows());
        }
        self.host.kill().ok();
    }
}

/// The log in the data folder, since what the screen shows is nobody's to read.
fn log_of(desk: &Desk) -> String {
    let file = desk.path("data").join("logs").join("quantTrader.log");
    std::fs::read_to_string(file).unwrap_or_default()
}

fn signal(id: &str) -> Value {
    json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5, "status": "pending",
            "is_executable": true, "mode": "live" })
}

fn posts(backend: &Backend, id: &str) -> usize {
    backend.state()["signals"][id]["posts"]
        .as_array()
        .map_or(0, Vec::len)
}

/// With an order reported, and the next one on its way: what is in hand is finished before the end.
fn ends_in_order(lane: &str, end: fn(&mut Window)) {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "plugin_options": { "simulated": { "lane": lane } } }),
    );
    let mut window = Window::open(&desk);
    backend.add(&signal("A"));
    wait_until("A is reported", || {
        let ended = window.host.try_wait().unwrap();
        assert!(ended.is_none(), "{lane}: the host has ended");
        posts(&backend, "A") == 3
    });
    backend.add(&signal("B"));
    end(&mut window);
    wait_until(&format!("{lane}: the host has ended"), || {
        window.host.try_wait().unwrap().is_some()
    });
    let log = log_of(&desk);
    assert!(log.contains("quantTrader stopped"), "{lane}: {log}");
    assert_eq!(desk.json(&["journal", "verify"])["whole"], true, "{lane}");
    // Nothing is left that the next host would stumble over.
    let next = desk.trading();
    wait_until("B is reported", || posts(&backend, "B") == 3);
    assert_eq!(next.stop(), Some(0), "{lane}: {}", desk.log());
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{lane}: {verdict:?}");
}

#[test]
fn ctrl_c_ends_a_host_in_order_in_both_lanes() {
    for lane in ["in-process", "worker"] {
        ends_in_order(lane, Window::press_ctrl_c);
    }
}

#[test]
fn a_closed_window_ends_a_host_in_order_in_both_lanes() {
    for lane in ["in-process", "worker"] {
        ends_in_order(lane, Window::close);
    }
}
