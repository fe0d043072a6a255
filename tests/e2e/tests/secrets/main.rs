//! Tokens and passwords: how they come, how they are renewed, and that nobody sees them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod exposure;
#[cfg(target_os = "linux")]
mod hunt;
mod login;
mod renewal;

use std::process::Output;

use qt_test_support::{Backend, Desk};
use serde_json::{Value, json};

/// What opens the encrypted file of these tests.
const PASSPHRASE: &str = "vq7-Blau Rinde-3k-Otter";

/// A desk whose token comes from the encrypted file.
fn keyring_desk(backend: &Backend, more: &Value) -> Desk {
    let desk = Desk::new(backend, &json!({}));
    private(&desk, "passphrase", PASSPHRASE);
    configure(&desk, backend, more);
    desk
}

fn configure(desk: &Desk, backend: &Backend, more: &Value) {
    let mut all = json!({ "api_token": "keyring", "passphrase_file": desk.path("passphrase") });
    all.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    desk.configure(backend, &all);
    let written = std::fs::read_to_string(desk.config()).unwrap();
    private(desk, "config.json", &written);
}

/// A file that is its owner's alone.
fn private(desk: &Desk, name: &str, content: &str) {
    desk.private(name, content);
}

/// Runs `login` with the password on standard input.
fn log_in(desk: &Desk, password: &str, arguments: &[&str]) -> Output {
    desk.log_in(password, arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn signal(id: &str) -> Value {
    json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 })
}

/// How many posts the backend has about a signal.
fn posts(backend: &Backend, id: &str) -> usize {
    backend.state()["signals"][id]["posts"]
        .as_array()
        .map_or(0, Vec::len)
}
