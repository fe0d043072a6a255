//! What answers mean.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::client::{Answer, Cause, parse_base};
use super::super::wire::View;
use super::*;

async fn answer_to(reply: Reply) -> Answer {
    let server = Server::start().await;
    server.then([reply]);
    server.client().signals(500, View::Pending).await
}

fn not_known(answer: Answer) -> (Cause, String, Option<Duration>) {
    match answer {
        Answer::NotKnown {
            why,
            cause,
            retry_after,
        } => (cause, why, retry_after),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_carries_what_the_contract_asks_for() {
    let server = Server::start().await;
    let client = client_at(&format!("{}///", server.address));
    assert_eq!(
        client.signals(500, View::Pending).await,
        Answer::Done(json!({"success": true, "message": "ok"}))
    );
    let asked = &server.asked()[0];
    assert_eq!(
        asked.target,
        "/api/trader/signals?limit=500&include_submitted=false"
    );
    assert_eq!(
        asked.headers["authorization"],
        format!("Bearer {SECRET}").as_str()
    );
    assert!(!format!("{client:?} {:?}", settings_at("http://h/api")).contains(SECRET));
}

#[tokio::test]
async fn answers_are_told_apart() {
    for status in [401, 403] {
        assert_eq!(
            answer_to(Reply::new(status, "{}")).await,
            Answer::TokenRefused { status }
        );
    }
    for (status, body, text) in [
        (400, r#"{"detail":"no"}"#, "no"),
        (404, "", "without a word"),
        (422, "plain words", "plain words"),
        (409, r#"{"message":"twice"}"#, "twice"),
    ] {
        let expected = Answer::Refused {
            status,
            text: text.to_owned(),
        };
        assert_eq!(answer_to(Reply::new(status, body)).await, expected);
    }
    assert_eq!(answer_to(Reply::new(204, "")).await, Answer::Done(Value::Null));
    for status in [408, 429, 500, 502, 503, 504] {
        let (cause, why, asked) =
            not_known(answer_to(Reply::new(status, "oops").header("retry-after", "7")).await);
        assert_eq!(
            (cause, asked),
            (Cause::Status(status), Some(Duration::from_secs(7)))
        );
        assert!(why.contains(&format!("answered {status}")), "{why}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_is_said_to_be_none() {
    for (status, body, said) in [
        (200, b"<!DOCTYPE html><html>".to_vec(), "HTML where JSON belongs"),
        (200, b"  <p>".to_vec(), "HTML where JSON belongs"),
        (200, b"".to_vec(), "an empty body"),
        (200, b"{\"success\":tru".to_vec(), "not JSON: EOF"),
        (200, b"{\"a\":\"\xff\xfe\"}".to_vec(), "not UTF-8"),
        (
            404,
            b"<html>nginx".to_vec(),
            "with HTML, so this is not the backend",
        ),
    ] {
        let (cause, why, _) = not_known(answer_to(Reply::new(status, body)).await);
        assert_eq!(cause, Cause::NotJson(status));
        assert!(why.contains(said), "{why}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(
        not_known(answer_to(Reply::new(200, deep)).await).0,
        Cause::NotJson(200)
    );
}

#[tokio::test]
async fn a_body_without_bounds_is_not_read() {
    let body = format!("{{\"x\":\"{}\"}}", "a".repeat(20 * 1024 * 1024));
    let (cause, why, _) = not_known(answer_to(Reply::new(200, body)).await);
    assert_eq!(cause, Cause::NotJson(200));
    assert!(why.contains("longer than 16 MiB"), "{why}");
}

#[tokio::test]
async fn a_date_to_retry_after_is_measured_against_the_answers_own_clock() {
    let reply = Reply::new(503, "")
        .header("date", "Tue, 24 Nov 2026 04:00:00 GMT")
        .header("retry-after", "Tue, 24 Nov 2026 04:01:30 GMT");
    assert_eq!(not_known(answer_to(reply).await).2, Some(Duration::from_secs(90)));
    let nonsense = Reply::new(503, "").header("retry-after", "soon");
    assert_eq!(not_known(answer_to(nonsense).await).2, None);
}

#[tokio::test]
async fn redirects_keep_host_and_method_or_are_not_followed() {
    let server = Server::start().await;
    let elsewhere = Server::start().await;
    let client = server.client();
    let post = || super::reporter::failed_post("S1");
    // The same host, and the method stays.
    server.then([Reply::new(307, "").header("location", "/api/v2/x"), Reply::ok()]);
    assert!(matches!(client.post(post()).await, Answer::Done(_)));
    let asked = server.asked();
    assert_eq!(
        (asked[1].target.as_str(), &asked[1].method),
        ("/api/v2/x", &Method::POST)
    );
    assert_eq!(asked[1].body, asked[0].body);
    // A GET's answer would pass for that of the post.
    server.then([Reply::new(302, "").header("location", "/login")]);
    assert_eq!(not_known(client.post(post()).await).0, Cause::Status(302));
    // The token goes to no other host.
    server.then([Reply::new(307, "").header("location", &format!("{}/x", elsewhere.address))]);
    let (cause, why, _) = not_known(client.post(post()).await);
    assert_eq!(cause, Cause::Status(307));
    assert!(why.contains("is not followed: set `api_base_url`"), "{why}");
    // Nor round and round.
    server.always(|_| Some(Reply::new(307, "").header("location", "/api/x")));
    assert_eq!(not_known(client.post(post()).await).0, Cause::Status(307));
    assert_eq!((server.asked().len(), elsewhere.asked().len()), (8, 0));
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_explained() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/api", listener.local_addr().unwrap());
    drop(listener);
    let (cause, why, _) = not_known(client_at(&address).signals(1, View::Pending).await);
    assert_eq!(cause, Cause::Unreachable);
    assert!(why.contains(&format!("cannot connect to {address}: ")), "{why}");
    assert!(
        why.contains("backend running and reachable") && why.contains("http://host:port/api"),
        "{why}"
    );
    assert!(!why.contains(SECRET), "{why}");
}

#[tokio::test]
async fn a_slow_backend_is_given_up_after_the_time_out() {
    let server = Server::start().await;
    let never = Arc::new(Notify::new());
    server.then([Reply {
        hold: Some(never),
        ..Reply::ok()
    }]);
    let (cause, why, _) = not_known(server.client().signals(1, View::Pending).await);
    assert_eq!(cause, Cause::Timeout);
    assert!(why.contains("within 2 s"), "{why}");
}

/// A server that answers each connection with these bytes and closes it.
async fn raw(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/api", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            assert!(read > 0);
            stream.write_all(bytes).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_connection_closed_after_the_answer_costs_nothing() {
    let client = client_at(&raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await);
    for _ in 0..20 {
        assert_eq!(client.signals(1, View::Pending).await, Answer::Done(json!({})));
    }
}

#[tokio::test]
async fn a_connection_closed_within_the_answer_leaves_it_not_known() {
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{}",
    ] {
        let (cause, why, _) = not_known(client_at(&raw(bytes).await).signals(1, View::Pending).await);
        assert_eq!(cause, Cause::Broken, "{why}");
    }
}

#[test]
fn addresses_that_cannot_be_a_backend_are_explained() {
    for (address, said) in [
        ("", "it lacks http:// or https://"),
        ("backend:8000/api", "only http and https are spoken"),
        ("127.0.0.1:8000/api", "it lacks http:// or https://"),
        ("ftp://host/api", "only http and https"),
        ("http://", "it is not an address"),
        ("http://host:99999/api", "it is not an address"),
        ("http://me:hunter2@host/api", "user name or password"),
        ("http://me:hunter2@host:x/api", "it is not an address"),
        ("http://host/api?x=1", "`?` or `#`"),
    ] {
        let why = parse_base(address).unwrap_err().to_string();
        assert!(
            why.contains(said) && why.contains("http://host:port/api"),
            "{address}: {why}"
        );
        assert!(!why.contains("hunter2"), "{why}");
    }
    assert!(parse_base("https://host/").is_ok());
    for token in ["", "  ", "a\nb", "ключ"] {
        assert!(Token::new(token).is_err(), "{token:?}");
    }
    assert_eq!(format!("{:?}", Token::new(SECRET).unwrap()), "Token(***)");
}

#[tokio::test]
async fn https_is_spoken_and_certificates_are_asked_for() {
    // The other side speaks no TLS: the call fails before a byte of the request is out.
    let address = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        .await
        .replace("http:", "https:");
    let (cause, why, _) = not_known(client_at(&address).signals(1, View::Pending).await);
    assert_eq!(cause, Cause::Unreachable);
    assert!(
        why.contains(&format!("no safe connection to {address}")) && why.contains("does not speak TLS"),
        "{why}"
    );
}

/// A clock that nobody told of does not agree with ours.
#[tokio::test]
async fn a_backend_whose_answers_have_no_date_does_not_tell_the_time() {
    let server = Server::start().await;
    let told = server.client();
    told.signals(1, View::Pending).await;
    assert!(told.tells_time());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client_at(&format!("http://{}/api", listener.local_addr().unwrap()));
    let work = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut call = [0; 4096];
        let _ = stream.read(&mut call).await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let answer = client.signals(1, View::Pending).await;
    work.await.unwrap();
    assert_eq!(answer, Answer::Done(json!({})));
    assert!(!client.tells_time());
    assert_eq!(client.clock_ahead_ms(), Some(0));
}
