//! Plain HTTP with another machine.

use qt_test_support::{Backend, Desk, wait_until};
use serde_json::json;

use super::*;

#[test]
fn a_broker_that_moves_money_is_not_traded_over_plain_http_unless_somebody_says_so() {
    let backend = Backend::start();
    let live = json!({ "api_base_url": "http://backend.invalid:8000/api", "broker": "miniQMT",
                       "miniQMT": { "account_id": "55000001", "session_path": "nowhere" } });
    let desk = Desk::new(&backend, &live);
    let said = desk.fails(2, &["--once"]);
    assert!(
        said.contains("over plain HTTP everybody on the way can read the token")
            && said.contains("allow_insecure_http"),
        "{said}"
    );
    assert!(!desk.path("data/journal.db").exists());
    let mut allowed = live;
    allowed["allow_insecure_http"] = json!(true);
    desk.configure(&backend, &allowed);
    // It goes on to the terminal, which is not here.
    let out = desk.run(&["--once"]);
    let said = text(&out.stderr);
    assert!(
        said.contains("the way to the backend") && said.contains("is plain HTTP"),
        "{said}"
    );
    assert!(!said.contains("over plain HTTP everybody"), "{said}");
}

#[test]
fn a_broker_on_paper_is_warned_of() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "api_base_url": "http://backend.invalid:8000/api" }),
    );
    let host = desk.host("");
    wait_until("it is warned", || {
        desk.log()
            .contains("the way to the backend at http://backend.invalid:8000/api is plain HTTP")
    });
    assert_eq!(host.stop(), Some(0));
    // A login is warned of, too, and cannot reach that name.
    let out = log_in(&desk, "x", &[]);
    assert!(text(&out.stderr).contains("everybody on it can read the password"));
    assert_eq!(out.status.code(), Some(1));
}
