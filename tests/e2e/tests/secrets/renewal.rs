//! A token that ends while the host trades.

use std::time::{Duration, Instant};

use qt_test_support::{Backend, Desk, judge, wait_until};
use serde_json::json;

use super::*;

/// What happens, second by second.
struct Transcript {
    began: Instant,
    rows: u32,
    log_seen: usize,
    /// Signals are added as time goes on, so that there is always something to do.
    added: usize,
}

impl Transcript {
    fn begin(title: &str) -> Self {
        println!("\n{title}\n second  signals asked  logins  401s  signals added / reported  the host says");
        Self {
            began: Instant::now(),
            rows: 0,
            log_seen: 0,
            added: 0,
        }
    }

    /// One more second: what the backend counted, and the host's new lines about the token.
    fn row(&mut self, backend: &Backend, desk: &Desk) {
        self.rows += 1;
        let due = self.began + Duration::from_secs(u64::from(self.rows));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let seen = backend.summary();
        let requests = |name: &str| seen["requests"][name].as_u64().unwrap_or(0);
        let log = desk.log();
        let news: Vec<&str> = log[self.log_seen..]
            .lines()
            .filter(|line| {
                ["token", "Token", "login", "again"]
                    .iter()
                    .any(|word| line.contains(word))
            })
            .filter_map(|line| line.split("trader_loop: ").nth(1))
            .collect();
        self.log_seen = log.len();
        println!(
            "{:>7}  {:>13}  {:>6}  {:>4}  {:>13} / {:<8}  {}",
            self.rows,
            requests("signals"),
            requests("login"),
            requests("unauthorized"),
            self.added,
            seen["counts"]["concluded"],
            news.join(" | ")
        );
    }

    fn add(&mut self, backend: &Backend) {
        self.added += 1;
        backend.add(&signal(&format!("S{}", self.added)));
    }

    /// Rows until something is so; a signal is added with each where `adds` is set.
    fn until(
        &mut self,
        what: &str,
        backend: &Backend,
        desk: &Desk,
        adds: bool,
        mut done: impl FnMut(&Self) -> bool,
    ) {
        while !done(self) {
            assert!(self.rows < 60, "a minute has passed until {what}\n{}", desk.log());
            if adds {
                self.add(backend);
            }
            self.row(backend, desk);
        }
    }

    fn all_reported(&self, backend: &Backend) -> bool {
        backend.summary()["counts"]["concluded"] == self.added
    }
}

fn requests(backend: &Backend, name: &str) -> u64 {
    backend.summary()["requests"][name].as_u64().unwrap_or(0)
}

#[test]
fn transcript_of_tokens_that_end_and_are_renewed_by_a_login_before() {
    let backend = Backend::with(&["--token-life", "8"]);
    let desk = keyring_desk(&backend, &json!({}));
    let out = log_in(
        &desk,
        &backend.password,
        &["--store", "file", "--remember-password"],
    );
    assert!(out.status.success(), "{}", text(&out.stderr));
    let host = desk.trading();
    let mut transcript = Transcript::begin("Tokens live for 8 s, and the password is kept:");
    transcript.until("two logins were made", &backend, &desk, true, |_| {
        requests(&backend, "login") >= 3
    });
    // Revoked: nobody sees that coming.
    println!("         every token is revoked");
    backend.revoke();
    transcript.until("the new token is used", &backend, &desk, true, |_| {
        desk.log()
            .contains("The token was refused, and a new login gave another one")
    });
    transcript.until("all is reported", &backend, &desk, false, |now| {
        now.all_reported(&backend)
    });
    assert_eq!(host.stop(), Some(0));
    let log = desk.log();
    assert!(
        log.contains("A new login replaced the token before its end"),
        "{log}"
    );
    assert!(
        !log.contains("no signals are taken"),
        "trading went on all the time: {log}"
    );
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
    // The last login is kept for the next start.
    assert!(desk.path("data/login.enc").exists());
    println!(
        "         {} signals in {} s, each carried out and reported once; {} logins",
        transcript.added,
        transcript.rows,
        requests(&backend, "login")
    );
}

#[test]
fn transcript_of_a_token_that_ends_and_of_a_person_who_brings_another() {
    let backend = Backend::with(&["--token-life", "4"]);
    let desk = Desk::new(&backend, &json!({ "api_token": "file:token" }));
    private(&desk, "token", &backend.log_in());
    let host = desk.trading();
    let mut transcript = Transcript::begin("A token lives for 4 s, and no password is kept:");
    transcript.until("the token is refused", &backend, &desk, true, |_| {
        desk.log().contains("refuses the token (401 Unauthorized)")
    });
    // What was asked for meanwhile waits with the backend.
    transcript.add(&backend);
    transcript.row(&backend, &desk);
    let accepted = desk.accepted();
    let log = desk.log();
    assert!(log.contains("The token is good until"), "{log}");
    assert!(log.contains("What to do before: log in again"), "{log}");
    assert!(
        log.contains("no signals are taken; orders and reports are kept"),
        "{log}"
    );
    assert!(log.contains("put the new access_token into"), "{log}");
    assert!(
        accepted < transcript.added,
        "an order in spite of the refused token"
    );
    println!("         a person puts a new token into the file");
    private(&desk, "token", &backend.log_in());
    transcript.until("all is reported", &backend, &desk, false, |now| {
        now.all_reported(&backend)
    });
    assert!(
        desk.log().contains("A new token was found and is in force"),
        "{}",
        desk.log()
    );
    assert_eq!(host.stop(), Some(0));
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
    assert_eq!(requests(&backend, "login"), 2, "both by a person");
}

#[test]
fn a_token_written_into_the_configuration_is_taken_up_by_the_running_host() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let host = desk.trading();
    backend.revoke();
    wait_until("the token is refused", || {
        desk.log().contains("refuses the token")
    });
    backend.add(&signal("S1"));
    desk.configure(&backend, &json!({ "api_token": backend.log_in() }));
    wait_until("S1 is reported", || posts(&backend, "S1") == 3);
    assert_eq!(host.stop(), Some(0));
    let log = desk.log();
    assert!(
        log.contains("as `api_token`: the running host takes it up by itself"),
        "{log}"
    );
}

#[test]
fn a_password_that_was_changed_is_tried_once_and_a_new_login_is_taken_up() {
    let mut backend = Backend::start();
    let desk = keyring_desk(&backend, &json!({}));
    let arguments = ["--store", "file", "--remember-password"];
    assert!(log_in(&desk, &backend.password, &arguments).status.success());
    let host = desk.trading();
    wait_until("it polls", || requests(&backend, "signals") > 2);
    backend.change_password("a new one");
    backend.revoke();
    backend.add(&signal("S1"));
    wait_until("the login is refused", || {
        desk.log().contains("refuses the login that is kept (401")
    });
    let refused = requests(&backend, "unauthorized");
    wait_until("the token was refused again and again", || {
        requests(&backend, "unauthorized") > refused || desk.log().contains("no signals are taken")
    });
    assert_eq!(
        requests(&backend, "login"),
        2,
        "the person's, and one with the old password"
    );
    assert!(log_in(&desk, "a new one", &arguments).status.success());
    wait_until("S1 is reported", || posts(&backend, "S1") == 3);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(requests(&backend, "login"), 3, "{}", desk.log());
}
