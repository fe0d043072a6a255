//! What a stream keeps for later: sales that cannot be carried out yet, the purchases of their plans, and what one round does
//! with them.

use qt_test_support::{Backend, Desk, Host, NatsServer, wait_until};
use serde_json::{Value, json};

use super::nats::{House, signal};

/// One whose purchases wait for their plan's sales.
fn hard(unused: &Backend, server: &NatsServer) -> Desk {
    let desk = Desk::new(unused, &json!({}));
    desk.configure(
        unused,
        &json!({ "backend": "nats", "nats": { "url": server.url() }, "api_base_url": null, "api_token": null,
                 "execution": { "position_sync_interval_seconds": 0, "sell_barrier_mode": "hard" } }),
    );
    desk
}

fn planned(number: usize, action: &str) -> Value {
    let mut one = signal(number);
    one["action"] = json!(action);
    one["plan_id"] = json!("P");
    one
}

fn not_yet(mut sale: Value) -> Value {
    sale["is_executable"] = json!(false);
    sale
}

fn withdrawn(mut sale: Value) -> Value {
    sale["status"] = json!("cancelled");
    sale
}

/// The message by which the sale could not be taken came back to a process that knew nothing of its end, and held back every
/// purchase of the plan for two weeks.
#[test]
fn a_restart_after_the_end_of_a_sale_that_waited_holds_no_purchase_back() {
    let Some(server) = NatsServer::start() else { return };
    let house = House::of(&server);
    let unused = Backend::start();
    let desk = hard(&unused, &server);
    let mut host = desk.trading();
    let is_kept = (10..20).any(|number| {
        let (came, sale) = (house.handed_out(), not_yet(planned(number, "SELL")));
        house.publish(&sale);
        wait_until("the sale was given back", || house.redelivered() > 0);
        house.publish(&withdrawn(sale));
        wait_until("its end is handed out", || house.handed_out() == came + 2);
        let deliveries = house.deliveries();
        wait_until("both are acknowledged", || house.unacknowledged() == 0);
        // Where one answer has both, and where the machine is slow, the older one comes again, and is acknowledged by that.
        house.deliveries() == deliveries
    });
    assert!(is_kept, "the older message comes again each time: {}", desk.log());
    host.kill();
    // What is left to come again by the server's word.
    assert_eq!(house.unacknowledged(), 0, "{}", desk.log());
    let host = desk.trading();
    house.publish(&planned(2, "BUY"));
    wait_until(&format!("the purchase goes: {}", desk.log()), || {
        desk.accepted() == 1
    });
    // And it was not held back before.
    assert!(!desk.log().contains("such as signal S2,"), "{}", desk.log());
    assert_eq!(host.stop(), Some(0));
}

/// A host that has been handed a plan's purchase, and its sale that is not executable yet.
fn holds_back(desk: &Desk, house: &House) -> Host {
    let host = desk.trading();
    house.publish(&not_yet(planned(1, "SELL")));
    house.publish(&planned(2, "BUY"));
    wait_until("the purchase is held back", || {
        desk.log().contains("Purchases of plan P, such as signal S2,")
    });
    host
}

/// One round ended at once and well, and bought nothing.
#[test]
fn one_round_waits_for_what_was_handed_out_before_it_and_takes_that() {
    let Some(server) = NatsServer::start() else { return };
    let house = House::of(&server);
    let unused = Backend::start();
    let desk = hard(&unused, &server);
    let host = holds_back(&desk, &house);
    assert_eq!(host.stop(), Some(0));
    house.publish(&withdrawn(planned(1, "SELL")));
    let out = desk.run(&["--once"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{said}");
    assert_eq!(desk.accepted(), 1, "{said}");
}

#[test]
fn one_round_says_what_it_leaves_and_ends_with_5() {
    let Some(server) = NatsServer::start() else { return };
    let house = House::of(&server);
    let unused = Backend::start();
    let desk = hard(&unused, &server);
    let host = holds_back(&desk, &house);
    house.publish(&signal(3));
    wait_until("the one of no plan goes", || desk.accepted() == 1);
    assert_eq!(host.stop(), Some(0));
    let said = desk.fails(5, &["--once"]);
    assert!(
        said.contains("1 purchases, such as S2, are left with NATS"),
        "{said}"
    );
    assert_eq!(desk.accepted(), 1);
}

/// It was warned of once, and the host stood ready and took nothing.
#[test]
fn a_consumer_that_was_made_for_another_subject_is_refused_and_said() {
    let Some(server) = NatsServer::start() else { return };
    let house = House::of(&server);
    let unused = Backend::start();
    let desk = Desk::new(&unused, &json!({}));
    let configure = |subject: &str| {
        let nats = json!({ "url": server.url(), "signals_subject": subject, "consumer": "mine" });
        desk.configure(
            &unused,
            &json!({ "backend": "nats", "nats": nats, "api_base_url": null, "api_token": null, "metrics": "127.0.0.1:0",
                     "execution": { "position_sync_interval_seconds": 0 } }),
        );
    };
    configure("qt.signals.SA-2");
    let host = desk.trading();
    wait_until("the consumer is made", || house.consumers() == 1);
    assert_eq!(host.stop(), Some(0));
    configure("qt.signals.>");
    house.publish(&signal(1));
    let line = "the consumer mine was made for qt.signals.SA-2 and hands out nothing else";
    let host = desk.host("");
    wait_until(&format!("it is said: {}", desk.log()), || {
        desk.log().contains(line)
    });
    let said = desk.run(&["doctor"]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said.status.code(), Some(1), "{text}");
    assert!(text.contains(line), "{text}");
    let address = desk.metrics_address();
    wait_until("the trouble stands in what looks at it", || {
        qt_test_support::get(&address, "/readyz").1.contains(line)
    });
    drop(host);
}

/// Each start without a journal is an account's first, to which what came before is nobody's.
#[test]
fn a_journal_that_is_switched_off_is_refused_where_only_new_signals_are_taken() {
    let unused = Backend::start();
    let desk = Desk::new(&unused, &json!({}));
    let configure = |nats: Value| {
        desk.configure(
            &unused,
            &json!({ "backend": "nats", "nats": nats, "api_base_url": null, "api_token": null, "journal": { "enabled": false } }),
        );
    };
    configure(json!({}));
    let said = desk.fails(2, &["--once"]);
    assert!(
        said.contains("journal.enabled = false: signals of NATS that are published while the host is down would never be carried out"),
        "{said}"
    );
    configure(json!({ "begin": "all" }));
    desk.done(&["config", "check"]);
}
