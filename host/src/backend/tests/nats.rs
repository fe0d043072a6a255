//! What is lost on the way from NATS, against a small server that speaks as much of its protocol as is needed.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::{Logs, PATIENCE, settings_at};
use crate::backend::client::{Answer, Client, TokenTrouble};
use crate::backend::nats::Nats;
use crate::backend::wire::View;
use crate::config;

/// What the server does at a question for signals.
#[derive(Debug, Clone, Copy)]
enum Does {
    /// Hands out the sale S.
    Gives,
    /// Gives a status in place of signals.
    Says(&'static str),
    /// Hands out something that is lost on the way, and says nothing.
    IsSilent,
    /// Has nothing, and forgets to say so.
    Forgets,
    /// The connection ends.
    Dies,
}

const NOTHING: Does = Does::Says("408 Request Timeout");

/// What a server does in turn, and how much it has handed out.
type Script = Mutex<(VecDeque<Does>, u64)>;

/// Who comes in.
#[derive(Default)]
struct Door {
    /// The tokens that are refused.
    refused: Mutex<HashSet<String>>,
    /// The token and the signature of each who came.
    came: Mutex<Vec<(String, String)>>,
}

/// What is to be signed.
const NONCE: &str = "a-nonce-of-the-server";

/// A server, and what it does in turn; there is nothing after that.
async fn server(script: &[Does]) -> Nats {
    server_with(script, None, Arc::default()).await
}

async fn server_with(script: &[Does], credentials: Option<PathBuf>, door: Arc<Door>) -> Nats {
    let script = Arc::new(Mutex::new((VecDeque::from(script.to_vec()), 0)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&door)));
        }
    });
    let settings = config::Nats {
        url,
        credentials,
        signals_stream: "S".to_owned(),
        signals_subject: "qt.signals.>".to_owned(),
        consumer: "mine".to_owned(),
        names_consumer: true,
        begin: config::NatsBegin::All,
        reports_subject: "qt.reports".to_owned(),
    };
    Nats::new(&settings, None).unwrap()
}

async fn serve(stream: TcpStream, script: Arc<Script>, door: Arc<Door>) -> Option<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let info = json!({ "server_id": "N", "version": "2.10.0", "headers": true, "jetstream": true, "max_payload": 1 << 20, "proto": 1,
                       "nonce": NONCE });
    writer
        .write_all(format!("INFO {info}\r\n").as_bytes())
        .await
        .ok()?;
    let mut subscriptions: Vec<(String, String)> = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            ["CONNECT", ..] => {
                let said: Value = serde_json::from_str(line.trim_start_matches("CONNECT ")).unwrap();
                let part = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
                let jwt = part("jwt");
                let is_refused = door.refused.lock().unwrap().contains(&jwt);
                door.came.lock().unwrap().push((jwt, part("sig")));
                if is_refused {
                    writer
                        .write_all(b"-ERR 'Authorization Violation'\r\n")
                        .await
                        .ok()?;
                    return None;
                }
            }
            ["PING"] => writer.write_all(b"PONG\r\n").await.ok()?,
            ["SUB", subject, number] => {
                let begins_with = subject.trim_end_matches('*').to_owned();
                subscriptions.push((begins_with, number.to_owned()));
            }
            ["PUB" | "HPUB", subject, .., size] => {
                let mut body = vec![0; size.parse::<usize>().unwrap() + 2];
                reader.read_exact(&mut body).await.ok()?;
                let to = words[2];
                let Some((_, number)) = subscriptions.iter().find(|(begins, _)| to.starts_with(begins))
                else {
                    // Nobody waits for an answer.
                    continue;
                };
                let text = match answer(subject, &script) {
                    Ok(body) => format!("MSG {to} {number} {}\r\n{body}\r\n", body.len()),
                    Err(Does::Gives) => {
                        let body = json!({ "order_id": "S" }).to_string();
                        let number_of_all = script.lock().unwrap().1;
                        let ack = format!("$JS.ACK.S.mine.1.1.{number_of_all}.1700000000000000000.0");
                        format!("MSG qt.signals.A {number} {ack} {}\r\n{body}\r\n", body.len())
                    }
                    Err(Does::Says(status)) => {
                        let head = format!("NATS/1.0 {status}\r\n\r\n");
                        format!("HMSG {to} {number} {0} {0}\r\n{head}\r\n", head.len())
                    }
                    Err(Does::IsSilent | Does::Forgets) => continue,
                    Err(Does::Dies) => return None,
                };
                writer.write_all(text.as_bytes()).await.ok()?;
            }
            _ => {}
        }
    }
}

/// The answer to a question about a stream or a consumer; or what is done where it is one for signals.
fn answer(subject: &str, script: &Script) -> Result<String, Does> {
    let time = "2026-11-30T01:00:00Z";
    let (steps, handed_out) = &mut *script.lock().unwrap();
    if subject.contains(".MSG.NEXT.") {
        let step = steps.pop_front().unwrap_or(NOTHING);
        if matches!(step, Does::Gives | Does::IsSilent) {
            *handed_out += 1;
        }
        return Err(step);
    }
    let said = if subject.contains(".STREAM.INFO.") {
        json!({
            "config": { "name": "S", "subjects": ["qt.signals.>"], "retention": "limits", "discard": "old", "storage": "file",
                        "num_replicas": 1 },
            "created": time,
            "state": { "messages": 1, "bytes": 1, "first_seq": 1, "first_ts": time, "last_seq": 1, "last_ts": time,
                       "consumer_count": 1 },
        })
    } else if subject.contains(".CONSUMER.INFO.") {
        json!({
            "stream_name": "S", "name": "mine", "created": time,
            "config": { "durable_name": "mine", "deliver_policy": "all", "ack_policy": "explicit", "replay_policy": "instant" },
            "delivered": { "consumer_seq": *handed_out, "stream_seq": 0 }, "ack_floor": { "consumer_seq": 0, "stream_seq": 0 },
            "num_ack_pending": 0, "num_redelivered": 0, "num_waiting": 0, "num_pending": 0,
        })
    } else {
        json!({ "error": { "code": 403, "err_code": 10000, "description": "not here" } })
    };
    Ok(said.to_string())
}

/// How many signals came, where the question was answered.
async fn ask(nats: &Nats) -> Option<usize> {
    match nats.signals(100, View::Pending).await {
        Answer::Done(value) => Some(value["data"].as_array().unwrap().len()),
        _ => None,
    }
}

/// The purchases of every plan stay until what was lost has come again, which is half a minute.
async fn waits(nats: &Nats) -> bool {
    let settles_at = nats.handed().await.settles_at;
    settles_at.is_some_and(|at| at > Instant::now() + Duration::from_secs(30))
}

#[tokio::test]
async fn where_nothing_is_lost_no_purchase_waits() {
    let nats = server(&[NOTHING, Does::Gives, Does::Says("404 No Messages"), NOTHING]).await;
    for came in [0, 1, 0] {
        assert_eq!(ask(&nats).await, Some(came));
        assert!(!waits(&nats).await);
    }
}

/// The sale was dropped with the trouble, and its plan's purchases were bought before it came again.
#[tokio::test]
async fn a_sale_is_kept_where_the_question_for_more_fails_and_purchases_wait_for_what_may_be_lost() {
    for trouble in [Does::Says("409 Leadership Change"), Does::IsSilent] {
        let nats = server(&[Does::Gives, trouble]).await;
        assert_eq!(ask(&nats).await, Some(1), "{trouble:?}");
        assert!(waits(&nats).await, "{trouble:?}");
    }
}

#[tokio::test]
async fn purchases_wait_where_a_question_for_signals_fails_or_nobody_answers_it() {
    for trouble in [Does::Says("409 Leadership Change"), Does::IsSilent] {
        let nats = server(&[NOTHING, trouble]).await;
        assert_eq!(ask(&nats).await, Some(0));
        assert!(!waits(&nats).await);
        assert_eq!(ask(&nats).await, None, "{trouble:?}");
        assert!(waits(&nats).await, "{trouble:?}");
    }
}

/// A server of 2.9 forgets its word now and then, and each time purchases waited for 40 s.
#[tokio::test]
async fn a_server_that_forgets_to_say_that_there_is_nothing_has_lost_nothing() {
    for (before, came) in [(NOTHING, 0), (Does::Gives, 1)] {
        let script = match came {
            0 => vec![before, Does::Forgets, Does::Gives, NOTHING],
            _ => vec![before, NOTHING, Does::Forgets, Does::Gives, NOTHING],
        };
        let nats = server(&script).await;
        for came in [came, 0, 1] {
            assert_eq!(ask(&nats).await, Some(came), "{script:?}");
            assert!(!waits(&nats).await, "{script:?}");
        }
    }
}

/// A sale that was on the connection as it died comes again after the purchases of its plan.
#[tokio::test]
async fn purchases_wait_where_the_connection_was_lost_in_a_session() {
    let nats = server(&[NOTHING, Does::Dies]).await;
    assert_eq!(ask(&nats).await, Some(0));
    assert!(!waits(&nats).await);
    let lost = async {
        while !waits(&nats).await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    // The question itself goes on until it is known that nobody answers it.
    tokio::select! {
        _ = ask(&nats) => panic!("nobody answers"),
        lost = timeout(PATIENCE, lost) => lost.unwrap(),
    }
}

/// The token of a user whose credentials end so many seconds after 1970.
fn user(name: &str, ends_at_s: i64) -> String {
    let claims = json!({ "sub": name, "exp": ends_at_s }).to_string();
    format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(claims.as_bytes()))
}

fn credentials_of(jwt: &str, key: &KeyPair) -> String {
    let seed = key.seed().unwrap();
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

/// They were read once, at the start: a file that was renewed needed a restart, and of a refusal nothing was said.
#[tokio::test]
async fn credentials_that_are_renewed_are_used_for_the_next_connection() {
    let (logs, _guard) = Logs::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.creds");
    let key = KeyPair::new_user();
    let (old, new) = (user("old", 1_790_000_000), user("new", 1_800_000_000));
    std::fs::write(&path, credentials_of(&old, &key)).unwrap();
    let door = Arc::new(Door::default());
    let nats = server_with(&[NOTHING, Does::Dies], Some(path.clone()), Arc::clone(&door)).await;
    let client = Client::at_nats(&settings_at("http://127.0.0.1"), nats).unwrap();
    let ask = async || client.signals(100, View::Pending).await;
    assert!(matches!(ask().await, Answer::Done(_)));
    let (jwt, signature) = door.came.lock().unwrap()[0].clone();
    assert_eq!(jwt, old);
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    key.verify(NONCE.as_bytes(), &signature).unwrap();
    let trouble = |seconds: i64| client.token_trouble(seconds * 1000);
    assert_eq!(trouble(1_789_000_000), TokenTrouble::None);
    assert_eq!(trouble(1_790_000_000 - 3600), TokenTrouble::EndsIn(3_600_000));
    assert_eq!(trouble(1_790_000_000), TokenTrouble::Ended);

    // The server takes the old ones no more, and the connection ends.
    door.refused.lock().unwrap().insert(old.clone());
    let came = || door.came.lock().unwrap().len();
    tokio::select! {
        _ = ask() => panic!("nobody answers"),
        () = until("it is refused again and again", || came() >= 5) => {}
    }
    assert_eq!(trouble(1_789_000_000), TokenTrouble::Refused);
    let line = "NATS is not connected for want of good credentials (authorization violation)";
    assert_eq!(logs.count("WARN", line), 1, "{}", logs.text());
    assert!(logs.text().contains(path.to_str().unwrap()), "{}", logs.text());

    std::fs::write(&path, credentials_of(&new, &key)).unwrap();
    until("it is connected", || trouble(1_789_000_000) == TokenTrouble::None).await;
    assert_eq!(door.came.lock().unwrap().last().unwrap().0, new);
    assert_eq!(trouble(1_790_000_000), TokenTrouble::None);
    for secret in [key.seed().unwrap().as_str(), &old, &new] {
        assert!(!logs.text().contains(secret), "{}", logs.text());
    }
}

/// Nobody was told of their end.
#[tokio::test]
async fn a_person_is_told_of_the_end_of_credentials_an_hour_before() {
    let (logs, _guard) = Logs::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.creds");
    let key = KeyPair::new_user();
    let now_ms = || 1_790_000_000_000 - 3_600_000;
    std::fs::write(&path, credentials_of(&user("old", 1_790_000_000), &key)).unwrap();
    let nats = server_with(&[NOTHING], Some(path), Arc::default()).await;
    let (stop, shutdown) = tokio::sync::watch::channel(false);
    let credentials = Arc::clone(nats.credentials().unwrap());
    // The server's clock decides, which is looked at with the first question.
    assert_eq!(credentials.ahead_ms(), None);
    assert_eq!(ask(&nats).await, Some(0));
    let watch = tokio::spawn(credentials.watch(shutdown, now_ms));
    let line = "The credentials of NATS are good until 2026-09-21T22:13:20 in Shanghai, which is in 60 min";
    until("it is told", || logs.count("WARN", line) == 1).await;
    stop.send(true).unwrap();
    watch.await.unwrap();
    assert_eq!(nats.credentials().unwrap().ends_at_ms(), Some(1_790_000_000_000));
}
