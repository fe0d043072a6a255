//! The bare cost: the posts alone, in a process of its own so that its CPU time is its own.

use std::process::{Child, Command};
use std::time::Instant;

use futures_util::StreamExt;
use serde_json::json;

use crate::process::{self, Usage};
use crate::setup::Address;

/// The argument that makes this program such a process.
pub const COMMAND: &str = "bare";
/// Posts that a filled signal takes.
pub const POSTS_A_SIGNAL: usize = 3;
const AT_ONCE: usize = 16;

/// Posts `count` times.
#[tokio::main]
pub async fn post(base: &str, token: &str, count: usize) {
    let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    let body =
        json!({ "status": "submitted", "qmt_order_id": "B1", "submitted_at": 1_766_368_800 }).to_string();
    let posts = futures_util::stream::iter(0..count).map(|n| {
        let url = format!("{base}/trader/signals/S{:06}/status", n / POSTS_A_SIGNAL);
        let post = client
            .post(url)
            .bearer_auth(token)
            .header("content-type", "application/json");
        let post = post.header("Idempotency-Key", format!("k{n}")).body(body.clone());
        async move { post.send().await.unwrap().bytes().await.unwrap() }
    });
    posts.buffer_unordered(AT_ONCE).for_each(|_| async {}).await;
}

/// Runs such a process; gives its seconds and what it used.
pub fn run(backend: &Address, count: usize) -> (f64, Usage) {
    let began = Instant::now();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([COMMAND, &backend.base_url, &backend.token, &count.to_string()])
        .spawn()
        .unwrap();
    let used = last_usage(&mut child);
    assert!(child.wait().unwrap().success(), "the bare posts failed");
    (began.elapsed().as_secs_f64(), used)
}

fn last_usage(child: &mut Child) -> Usage {
    let mut used = Usage::default();
    while child.try_wait().unwrap().is_none() {
        used = process::usage(child.id()).unwrap_or(used);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    used
}
