//! Tokens and passwords: how they come, how they are renewed, and that nobody sees them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod exposure;
#[cfg(target_os = "linux")]
mod hunt;
mod login;
mod renewal;

use std::io::Write;
use std::process::{Output, Stdio};

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
    private_mode(desk, "config.json");
}

/// A file that is its owner's alone.
fn private(desk: &Desk, name: &str, content: &str) {
    std::fs::write(desk.path(name), content).unwrap();
    private_mode(desk, name);
}

fn private_mode(desk: &Desk, name: &str) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(desk.path(name), mode).unwrap();
    }
    let _ = (desk, name);
}

/// Runs `login` with the password on standard input.
fn log_in(desk: &Desk, password: &str, arguments: &[&str]) -> Output {
    let mut child = desk
        .command()
        .args(["login", "--username", "sandbox", "--password-stdin"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that refuses its command line reads nothing.
    writeln!(stdin, "{password}").ok();
    drop(stdin);
    child.wait_with_output().unwrap()
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
