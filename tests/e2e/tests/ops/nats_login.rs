//! A user of NATS whose credentials end while the host trades, and a real nats-server that holds him to it.

use std::time::{SystemTime, UNIX_EPOCH};

use async_nats::ConnectOptions;
use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use qt_test_support::{Backend, NatsServer, wait_until};
use serde_json::{Value, json};

use super::nats::{House, desk_of, signal};

/// Signs what somebody says of somebody else, as `nsc` does.
fn signed(by: &KeyPair, of: &KeyPair, ends_at_s: Option<u64>, nats: &Value) -> String {
    let mut claims = json!({ "jti": "made-for-a-test", "iat": now_s() - 60, "iss": by.public_key(), "sub": of.public_key(),
                             "name": "somebody", "nats": nats });
    if let Some(ends_at_s) = ends_at_s {
        claims["exp"] = json!(ends_at_s);
    }
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let head = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let text = format!("{}.{}", part(&head), part(&claims));
    let signature = BASE64URL_NOPAD.encode(&by.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A user's file.
fn credentials(account: &KeyPair, user: &KeyPair, ends_at_s: Option<u64>) -> String {
    let rights =
        json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
    let jwt = signed(account, user, ends_at_s, &rights);
    let seed = user.seed().unwrap();
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

/// The settings of a server that knows this account by its operator.
fn settings(account: &KeyPair) -> String {
    let (operator, system) = (KeyPair::new_operator(), KeyPair::new_account());
    let all = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
                      "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1 });
    let none = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
                       "leaf": -1 });
    let of = |of, limits: &Value| {
        signed(
            &operator,
            of,
            None,
            &json!({ "limits": limits, "type": "account", "version": 2 }),
        )
    };
    format!(
        "operator: \"{}\"\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: \"{}\", {}: \"{}\" }}\n",
        signed(
            &operator,
            &operator,
            None,
            &json!({ "type": "operator", "version": 2 })
        ),
        system.public_key(),
        system.public_key(),
        of(&system, &none),
        account.public_key(),
        of(account, &all),
    )
}

/// A file that was renewed needed a restart.
#[test]
fn credentials_that_end_while_the_host_trades_are_followed_by_those_that_took_their_place() {
    let (account, publisher, user) = (KeyPair::new_account(), KeyPair::new_user(), KeyPair::new_user());
    let Some(server) = NatsServer::start_with(&settings(&account)) else {
        return;
    };
    let house = House::with(
        &server,
        ConnectOptions::with_credentials(&credentials(&account, &publisher, None)).unwrap(),
    );
    let unused = Backend::start();
    let desk = desk_of(
        &unused,
        &json!({ "url": server.url(), "credentials": "host.creds", "begin": "all" }),
    );
    // Long enough for a start on a machine that has much to do.
    let ends_at_s = now_s() + 15;
    desk.private("host.creds", &credentials(&account, &user, Some(ends_at_s)));
    house.publish(&signal(1));
    let host = desk.trading();
    wait_until(&format!("the first is executed: {}", desk.log()), || {
        desk.accepted() == 1
    });
    wait_until(&format!("they have ended: {}", desk.log()), || {
        let log = desk.log();
        log.contains("NATS is not connected for want of good credentials (authorization violation)")
    });
    // What is published meanwhile waits.
    house.publish(&signal(2));
    desk.private(
        "host.creds",
        &credentials(&account, &user, Some(now_s() + 7 * 86_400)),
    );
    wait_until(&format!("the second is executed: {}", desk.log()), || {
        desk.accepted() == 2
    });
    wait_until("both are reported", || house.executions() == 2);
    let out = desk.run(&["doctor"]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        said.contains("host.creds; the token good until ") && said.contains(" days)"),
        "{said}"
    );
    assert_eq!(host.stop(), Some(0));
    let log = desk.log();
    assert!(log.contains("The credentials of NATS are good until"), "{log}");
    assert_eq!(log.matches("for want of good credentials").count(), 1, "{log}");
    assert!(log.contains("NATS takes the credentials again"), "{log}");
}
