//! Signals that are pushed, beside those that are fetched.

use std::time::Duration;

use qt_test_support::{Backend, Desk, judge, wait_until};
use serde_json::{Value, json};

use super::scrape::Scrape;

pub fn signal(number: usize) -> Value {
    json!({ "order_id": format!("S{number}"), "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 })
}

fn desk(backend: &Backend, poll_interval: f64, stream: &str) -> Desk {
    Desk::new(
        backend,
        &json!({ "signals_stream": stream, "poll_interval": poll_interval, "metrics": "127.0.0.1:0" }),
    )
}

fn executed(backend: &Backend) -> u64 {
    backend.summary()["counts"]["concluded"].as_u64().unwrap()
}

#[test]
fn a_signal_is_pushed_long_before_it_would_be_fetched() {
    let backend = Backend::start();
    // Within the test nothing is fetched again, except where the stream comes or goes.
    let desk = desk(&backend, 3600.0, "auto");
    let host = desk.trading();
    wait_until(&format!("the stream stands: {}", desk.log()), || {
        desk.log()
            .contains("Signals are pushed by the backend from now on")
    });
    for number in 1..=3 {
        backend.add(&signal(number));
        wait_until(&format!("signal {number} is executed: {}", desk.log()), || {
            executed(&backend) == number as u64
        });
    }
    assert!(desk.log().contains("Received 1 pushed signals"));
    let scrape = Scrape::of(&desk.metrics_address());
    // One of them may have come with what is fetched when the stream comes.
    assert!(
        scrape.sum("qt_signals_arrived_total", &["way=\"stream\""]) >= 2.0,
        "{}",
        scrape.0
    );
    assert!(scrape.sum("qt_signals_stream_connected", &[]) > 0.0);
    assert_eq!(host.stop(), Some(0));
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
}

#[test]
fn a_backend_without_a_stream_is_polled_and_that_is_said_once() {
    let backend = Backend::start();
    backend.fault(&json!({ "mode": "not_found", "path": "signals/stream" }));
    let desk = desk(&backend, 0.05, "auto");
    backend.add(&signal(1));
    let host = desk.trading();
    wait_until("it is executed", || executed(&backend) == 1);
    let line = "The backend has no stream of signals (404): they are fetched alone";
    wait_until("it is said", || desk.log().contains(line));
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.log().matches(line).count(), 1);
    assert_eq!(backend.state()["requests"]["stream"], Value::Null);
}

/// As servers do that know no WebSocket of that name, whatever the token.
#[test]
fn a_stream_that_is_forbidden_while_the_token_is_good_is_none() {
    let backend = Backend::start();
    backend.fault(&json!({ "mode": "forbidden", "path": "signals/stream" }));
    let desk = desk(&backend, 0.05, "auto");
    backend.add(&signal(1));
    let host = desk.trading();
    wait_until("it is executed", || executed(&backend) == 1);
    let line =
        "The backend has no stream of signals (403, and takes the token elsewhere): they are fetched alone";
    wait_until(&format!("it is said: {}", desk.log()), || {
        desk.log().contains(line)
    });
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.log().matches(line).count(), 1);
    assert!(!desk.log().contains("refuses the token"), "{}", desk.log());
}

#[test]
fn a_stream_that_must_be_there_and_is_not_is_complained_about_while_signals_are_fetched() {
    let backend = Backend::start();
    backend.fault(&json!({ "mode": "not_found", "path": "signals/stream" }));
    let desk = desk(&backend, 0.05, "on");
    backend.add(&signal(1));
    let host = desk.trading();
    wait_until("it is executed", || executed(&backend) == 1);
    wait_until("it is said", || {
        desk.log()
            .contains("[WARNING] quant_trader.trader_loop: No stream of signals: the backend has none (404)")
    });
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_stream_that_is_cut_stands_again_and_what_came_meanwhile_is_fetched() {
    let backend = Backend::start();
    let desk = desk(&backend, 3600.0, "auto");
    let host = desk.trading();
    let stands = || {
        desk.log()
            .matches("Signals are pushed by the backend from now on")
            .count()
    };
    wait_until("the stream stands", || stands() == 1);
    backend.add(&signal(1));
    wait_until("the first is executed", || executed(&backend) == 1);
    // No new stream for the next seconds: what is added now is found by the poll that the loss brings on.
    backend.fault(&json!({ "mode": "http500", "path": "signals/stream", "requests": 1 }));
    backend.cut_streams();
    wait_until("the loss is said", || {
        desk.log().contains("The stream of signals ended")
    });
    backend.add(&signal(2));
    wait_until("the stream stands again", || stands() == 2);
    wait_until(&format!("the second is executed: {}", desk.log()), || {
        executed(&backend) == 2
    });
    backend.add(&signal(3));
    wait_until("the third is executed", || executed(&backend) == 3);
    assert_eq!(host.stop(), Some(0));
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
}

/// Where the host does not say how far it is, a backend tells all of the day again after each loss.
#[test]
fn a_stream_that_stands_again_goes_on_behind_the_last_signal_that_is_durable() {
    let backend = Backend::start();
    let desk = desk(&backend, 3600.0, "auto");
    let host = desk.trading();
    let asked = |name: &str| backend.summary()["requests"][name].as_u64().unwrap_or(0);
    let stands = || {
        desk.log()
            .matches("Signals are pushed by the backend from now on")
            .count()
    };
    wait_until("the stream stands", || stands() == 1);
    // Nothing was pushed yet: there is nothing to go on behind.
    backend.cut_streams();
    wait_until("it stands again", || stands() == 2);
    assert_eq!((asked("stream"), asked("stream_resumed")), (2, 0));
    backend.add(&signal(1));
    wait_until("the signal is executed", || executed(&backend) == 1);
    assert!(desk.log().contains("Received 1 pushed signals"), "{}", desk.log());
    backend.cut_streams();
    wait_until("it stands once more", || stands() == 3);
    assert_eq!(
        (asked("stream"), asked("stream_resumed")),
        (3, 1),
        "no cursor was sent: {}",
        desk.log()
    );
    assert_eq!(host.stop(), Some(0));
}

/// A gateway that answers with a page of its own for a moment took the stream away until the next start.
#[test]
fn a_page_in_the_place_of_the_stream_does_not_end_it_for_good() {
    let backend = Backend::start();
    backend.fault(&json!({ "mode": "html", "path": "signals/stream", "requests": 1 }));
    let desk = desk(&backend, 3600.0, "auto");
    let host = desk.trading();
    wait_until(&format!("it is said: {}", desk.log()), || {
        desk.log()
            .contains("The backend has no stream of signals (200): they are fetched alone")
    });
    wait_until("the stream stands after all", || {
        desk.log()
            .contains("Signals are pushed by the backend from now on")
    });
    backend.add(&signal(1));
    wait_until("the signal is executed", || executed(&backend) == 1);
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn stream_and_poll_together_under_faults_execute_each_signal_once() {
    let backend = Backend::start();
    let desk = desk(&backend, 0.02, "auto");
    let mut host = desk.trading();
    let total = 240;
    let faults = ["close_after_processing", "http500", "html", "down", "retry_after"];
    let stands = || {
        desk.log()
            .matches("Signals are pushed by the backend from now on")
            .count()
    };
    let mut streams = 0;
    for number in 1..=total {
        backend.add(&signal(number));
        match number % 80 {
            // Each way is there, and then the stream is not.
            0 => {
                backend.fault(&json!({ "mode": "up" }));
                streams += 1;
                wait_until("the stream stands", || stands() >= streams);
                backend.cut_streams();
            }
            40 if number > 80 && number < 160 => {
                host.kill();
                host = desk.trading();
            }
            rest if rest % 8 == 0 => {
                let mode = faults[number / 8 % faults.len()];
                backend.fault(&json!({ "mode": mode, "requests": 2, "retry_after_s": 0 }));
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    backend.fault(&json!({ "mode": "up" }));
    wait_until(&format!("all are executed: {}", desk.log()), || {
        executed(&backend) == total as u64
    });
    assert_eq!(host.stop(), Some(0));
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
    assert_eq!(desk.accepted(), total);
    let requests = &backend.state()["requests"];
    assert!(requests["stream"].as_u64().unwrap() >= 3, "{requests}");
    println!(
        "{total} signals by both ways under faults: {} orders, requests {requests}",
        desk.accepted()
    );
}

#[test]
fn a_token_that_the_stream_is_refused_with_is_no_flood_of_tries() {
    let backend = Backend::start();
    backend.fault(&json!({ "mode": "unauthorized", "path": "signals/stream" }));
    let desk = desk(&backend, 0.05, "auto");
    backend.add(&signal(1));
    let host = desk.trading();
    wait_until("it is executed by polling", || executed(&backend) == 1);
    assert_eq!(host.stop(), Some(0));
    assert!(!desk.log().contains("Signals are pushed"), "{}", desk.log());
}
