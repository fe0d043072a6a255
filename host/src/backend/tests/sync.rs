//! The book.

use qt_core::UtcMillis;
use rust_decimal::Decimal;

use super::super::sync::{BookSync, CompleteBook, Outcome};
use super::super::wire::{Heartbeat, PositionRow};
use super::*;

const AT: UtcMillis = UtcMillis(1_703_256_000_000);

fn book() -> CompleteBook {
    let row = PositionRow {
        symbol: "000858.SZ".parse().unwrap(),
        quantity: 100,
        available_qty: 100,
        frozen_qty: 0,
        avg_cost: Decimal::TEN,
        current_price: None,
        market_value: None,
        unrealized_pnl: None,
        unrealized_pnl_pct: None,
    };
    CompleteBook::vouch_complete(vec![row], AT)
}

pub(super) fn beat() -> Heartbeat {
    Heartbeat {
        status: "running".into(),
        broker: "simulated".into(),
        pending_execution_count: 0,
        last_signal_poll_at: Some(AT),
        account_id: None,
    }
}

#[tokio::test]
async fn positions_go_first_and_the_clean_up_only_after_them() {
    let server = Server::start().await;
    let sync = BookSync::new(server.client(), Some("SA".into()));
    assert_eq!(sync.book(&book()).await, (Outcome::Done, Some(Outcome::Done)));
    let asked = server.asked();
    assert_eq!(
        (asked[0].target.as_str(), &asked[0].method),
        ("/api/trader/positions/sync", &Method::POST)
    );
    assert_eq!(
        (asked[1].target.as_str(), &asked[1].method),
        ("/api/trader/positions/cleanup", &Method::DELETE)
    );
    assert_eq!(
        asked[1].body,
        r#"{"current_symbols":["000858.SZ"],"securities_account_id":"SA"}"#
    );
    for reply in [
        Reply::new(500, ""),
        Reply::new(200, r#"{"success":false}"#),
        Reply::new(401, ""),
    ] {
        server.then([reply]);
        assert!(matches!(sync.book(&book()).await, (Outcome::Failed(_), None)));
    }
    assert_eq!(
        server
            .asked()
            .iter()
            .filter(|asked| asked.method == Method::DELETE)
            .count(),
        1
    );
}

#[tokio::test]
async fn a_call_that_the_backend_lacks_is_made_once_and_said_once() {
    let (logs, _guard) = Logs::start();
    let server = Server::start().await;
    server.then([
        Reply::new(404, "<html>"),
        Reply::new(405, r#"{"detail":"Method Not Allowed"}"#),
    ]);
    let sync = BookSync::new(server.client(), None);
    for _ in 0..3 {
        assert_eq!(sync.heartbeat(&beat()).await, Outcome::Absent);
    }
    for _ in 0..3 {
        assert_eq!(
            sync.snapshot(&book(), Decimal::TEN, Some(Decimal::ONE)).await,
            Outcome::Absent
        );
    }
    assert_eq!(server.asked().len(), 2);
    assert_eq!(
        logs.count("INFO", "has no trader/heartbeat"),
        1,
        "{}",
        logs.text()
    );
    assert_eq!(
        logs.count("INFO", "has no trader/positions/snapshot"),
        1,
        "{}",
        logs.text()
    );
    // The others are not concerned.
    assert_eq!(sync.book(&book()).await, (Outcome::Done, Some(Outcome::Done)));
}

#[tokio::test]
async fn a_failure_is_said_once_and_tried_again() {
    let (logs, _guard) = Logs::start();
    let server = Server::start().await;
    server.then([Reply::new(500, "x"), Reply::new(500, "x"), Reply::ok()]);
    let sync = BookSync::new(server.client(), None);
    assert!(matches!(sync.heartbeat(&beat()).await, Outcome::Failed(_)));
    assert!(matches!(sync.heartbeat(&beat()).await, Outcome::Failed(_)));
    assert_eq!(sync.heartbeat(&beat()).await, Outcome::Done);
    assert_eq!(
        logs.count("WARN", "trader/heartbeat failed"),
        1,
        "{}",
        logs.text()
    );
    assert_eq!(
        logs.count("INFO", "takes trader/heartbeat again"),
        1,
        "{}",
        logs.text()
    );
}
