//! New tokens: how they come, and how few logins that takes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::watch;

use super::super::client::{Answer, Caller, TokenTrouble, call_name, route};
use super::super::keeper::{self, KeeperLinks};
use super::super::sync::{BookSync, Outcome};
use super::super::wire::View;
use super::*;
use crate::clock::Clock;
use crate::config::Secret;
use crate::secrets::{Kept, Keyring, Source, StoreKind};

const PASSWORD: &str = "pass-SECRET-word";

/// A backend that knows its tokens.
#[derive(Clone, Default)]
struct Tokens {
    valid: Arc<Mutex<HashSet<String>>>,
    logins: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    /// What a login is answered instead of a token.
    instead: Arc<Mutex<Option<u16>>>,
    /// A login gives tokens that are no good.
    gives_bad: Arc<AtomicBool>,
    /// What is answered to a token that is no good; 401 where nothing is set.
    refusal: Arc<Mutex<Option<u16>>>,
}

impl Tokens {
    fn serve(&self, server: &Server) {
        let tokens = self.clone();
        server.always(move |asked| Some(tokens.answer(asked)));
    }

    fn answer(&self, asked: &Asked) -> Reply {
        if asked.target.ends_with("/user/login") {
            let number = self.logins.fetch_add(1, Ordering::SeqCst);
            if let Some(status) = *self.instead.lock().unwrap() {
                return Reply::new(status, r#"{"detail":"no"}"#);
            }
            let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
            assert_eq!(body, json!({"username": "wang", "password": PASSWORD}));
            assert!(!asked.headers.contains_key("authorization"));
            let token = format!("login-{number}");
            if !self.gives_bad.load(Ordering::SeqCst) {
                self.valid.lock().unwrap().insert(token.clone());
            }
            let body =
                json!({"access_token": token, "token_type": "bearer", "user": {"id": 7, "username": "wang"}});
            return Reply::new(200, body.to_string());
        }
        let token = asked.headers["authorization"].to_str().unwrap();
        if self
            .valid
            .lock()
            .unwrap()
            .contains(token.trim_start_matches("Bearer "))
        {
            // Whoever it is, he may not.
            if asked.target.ends_with("/heartbeat") {
                return Reply::new(403, r#"{"detail":"no right to it"}"#);
            }
            return Reply::new(200, r#"{"success":true,"data":[],"count":0}"#);
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Reply::new(self.refusal.lock().unwrap().unwrap_or(401), "{}")
    }

    fn logins(&self) -> usize {
        self.logins.load(Ordering::SeqCst)
    }
}

struct Bench {
    server: Server,
    tokens: Tokens,
    client: Arc<Client>,
    _folder: tempfile::TempDir,
    ring: Keyring,
    _stop: watch::Sender<bool>,
}

fn kept(token: &str) -> Kept {
    Kept {
        token: Secret::new(token.to_owned()),
        username: Some("wang".to_owned()),
        password: Some(Secret::new(PASSWORD.to_owned())),
        user_id: None,
        at_ms: 0,
    }
}

/// A host whose token is no good from the start, with a password.
async fn bench() -> Bench {
    let server = Server::start().await;
    let tokens = Tokens::default();
    tokens.serve(&server);
    let folder = tempfile::tempdir().unwrap();
    let ring = Keyring::in_folder(folder.path(), &server.address).typed(Secret::new("passphrase".to_owned()));
    ring.write(&kept(SECRET), Some(StoreKind::File)).unwrap();
    let (source, found) = Source::of_keyring(ring.clone());
    assert!(found.can_log_in);
    let client = server.client();
    let (stop, shutdown) = watch::channel(false);
    tokio::spawn(keeper::run(KeeperLinks {
        client: Arc::clone(&client),
        source,
        can_log_in: true,
        shutdown,
        now_ms: || Clock::system().now_ms(),
    }));
    // The first thing that it does.
    let mut renewal = client.renewal().subscribe();
    renewal.wait_for(|renewal| renewal.is_possible).await.unwrap();
    Bench {
        server,
        tokens,
        client,
        _folder: folder,
        ring,
        _stop: stop,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_calls_are_refused_there_is_one_login_and_no_caller_knows() {
    let bench = bench().await;
    let calls = (0..60).map(|_| {
        let client = Arc::clone(&bench.client);
        tokio::spawn(async move { client.signals(1, View::Pending).await })
    });
    for answer in join_all(calls).await {
        assert!(matches!(answer.unwrap(), Answer::Done(_)));
    }
    assert_eq!(bench.tokens.logins(), 1);
    let refused = bench.tokens.refused.load(Ordering::SeqCst);
    println!("60 calls at once, {refused} refused with 401, 1 login");
    // The next start finds the new token.
    let wait = async {
        loop {
            let (kept, kind) = bench.ring.read().unwrap().unwrap();
            if kept.token.expose() == "login-0" {
                return (kept, kind);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (now_kept, kind) = tokio::time::timeout(PATIENCE, wait).await.unwrap();
    assert_eq!(kind, StoreKind::File);
    assert_eq!(now_kept.user_id.as_deref(), Some("7"));
    assert!(now_kept.credentials().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_password_is_tried_once_and_again_when_another_is_kept() {
    let bench = bench().await;
    *bench.tokens.instead.lock().unwrap() = Some(401);
    for _ in 0..20 {
        let answer = bench.client.signals(1, View::Pending).await;
        assert_eq!(answer, Answer::TokenRefused { status: 401 });
    }
    assert_eq!(bench.tokens.logins(), 1);
    *bench.tokens.instead.lock().unwrap() = None;
    // Another token, which is no better, and the password that is good now.
    bench.ring.write(&kept("another"), Some(StoreKind::File)).unwrap();
    let wait = async {
        while !matches!(bench.client.signals(1, View::Pending).await, Answer::Done(_)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
    assert_eq!(bench.tokens.logins(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_cannot_log_anybody_in_is_asked_again_later_and_nobody_waits_for_that() {
    let bench = bench().await;
    *bench.tokens.instead.lock().unwrap() = Some(503);
    let answer = bench.client.signals(1, View::Pending).await;
    assert_eq!(answer, Answer::TokenRefused { status: 401 });
    for _ in 0..20 {
        let answer = bench.client.signals(1, View::Pending).await;
        assert_eq!(answer, Answer::TokenRefused { status: 401 });
    }
    assert_eq!(bench.tokens.logins(), 1, "the next try is not before 2 s");
    *bench.tokens.instead.lock().unwrap() = None;
    let mut changes = bench.client.token_changes();
    tokio::time::timeout(PATIENCE, changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(
        bench.client.signals(1, View::Pending).await,
        Answer::Done(_)
    ));
    assert_eq!(bench.tokens.logins(), 2);
    assert!(bench.server.asked().len() > 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_put_into_its_file_is_taken_up() {
    let server = Server::start().await;
    let tokens = Tokens::default();
    tokens.serve(&server);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, SECRET).unwrap();
    let (source, _) = Source::of_file(&path);
    let client = server.client();
    let (_stop, shutdown) = watch::channel(false);
    tokio::spawn(keeper::run(KeeperLinks {
        client: Arc::clone(&client),
        source,
        can_log_in: false,
        shutdown,
        now_ms: || Clock::system().now_ms(),
    }));
    let answer = client.signals(1, View::Pending).await;
    assert_eq!(answer, Answer::TokenRefused { status: 401 });
    tokens.valid.lock().unwrap().insert("from-a-person".to_owned());
    let mut changes = client.token_changes();
    // A file that is being written is empty for a moment, and an empty one is no token.
    std::fs::write(&path, "").unwrap();
    std::fs::write(&path, "from-a-person\n").unwrap();
    tokio::time::timeout(PATIENCE, changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(client.signals(1, View::Pending).await, Answer::Done(_)));
    assert_eq!(tokens.logins(), 0);
}

/// A gateway's answer while a backend is replaced says nothing about the password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_a_gateway_answers_with_404_is_tried_again() {
    let bench = bench().await;
    *bench.tokens.instead.lock().unwrap() = Some(404);
    let answer = bench.client.signals(1, View::Pending).await;
    assert_eq!(answer, Answer::TokenRefused { status: 401 });
    assert_eq!(bench.tokens.logins(), 1);
    *bench.tokens.instead.lock().unwrap() = None;
    let mut changes = bench.client.token_changes();
    tokio::time::timeout(PATIENCE, changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(
        bench.client.signals(1, View::Pending).await,
        Answer::Done(_)
    ));
}

/// It led to a login each half minute for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_forbidden_while_signals_are_given_leads_to_no_login() {
    let bench = bench().await;
    bench.tokens.valid.lock().unwrap().insert(SECRET.to_owned());
    let sync = BookSync::new(Arc::clone(&bench.client), None);
    let forbidden = Outcome::Failed("403: no right to it".to_owned());
    for _ in 0..3 {
        assert_eq!(sync.heartbeat(&super::sync::beat()).await, forbidden);
    }
    assert_eq!(bench.tokens.logins(), 0);
    assert!(!bench.client.is_token_refused());
    // A token that is revoked is told from that, by whichever call it is found out, and followed by one login.
    *bench.tokens.refusal.lock().unwrap() = Some(403);
    bench.tokens.valid.lock().unwrap().clear();
    for _ in 0..3 {
        assert_eq!(sync.heartbeat(&super::sync::beat()).await, forbidden);
    }
    assert_eq!(bench.tokens.logins(), 1);
}

/// Signals came out of a store on the way: every report was refused for itself, and nobody logged in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_is_answered_401_leads_to_a_login_where_signals_are_still_given() {
    let bench = bench().await;
    let tokens = bench.tokens.clone();
    bench.server.always(move |asked| {
        let is_stored = asked.method == Method::GET;
        Some(if is_stored {
            Reply::new(200, r#"{"success":true,"data":[],"count":0}"#)
        } else {
            tokens.answer(asked)
        })
    });
    assert!(matches!(
        bench.client.signals(1, View::Pending).await,
        Answer::Done(_)
    ));
    let answer = bench.client.post(super::reporter::failed_post("S1")).await;
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    assert_eq!(bench.tokens.logins(), 1);
}

/// A token that was good for signals alone counted as one that had stood: its refusal was followed by a login at once, each time.
#[tokio::test]
async fn what_a_token_is_good_for_besides_does_not_make_its_refusal_news() {
    let server = Server::start().await;
    let client = server.client();
    let told = || {
        let renewal = *client.renewal().borrow();
        (renewal.refused, renewal.accepted)
    };
    let post = || client.post(super::reporter::failed_post("S1"));
    assert!(matches!(client.signals(1, View::Pending).await, Answer::Done(_)));
    server.then([Reply::new(401, "{}")]);
    assert_eq!(post().await, Answer::TokenRefused { status: 401 });
    assert_eq!(told(), (1, 0));
    // One that was good for reports, too, and is revoked.
    client.set_token(Token::new("another").unwrap());
    assert!(matches!(post().await, Answer::Done(_)));
    server.then([Reply::new(401, "{}")]);
    assert_eq!(post().await, Answer::TokenRefused { status: 401 });
    assert_eq!(told(), (2, 2));
}

/// Calls that share a figure shared this, too: where one of them was always refused, each of its rounds was a new login.
#[test]
fn each_route_is_granted_by_itself_and_figures_count_them_by_their_kinds() {
    use reqwest::Method;
    let routes = [
        (Method::GET, "trader/signals?limit=1", "signals", "signals"),
        (Method::POST, "trader/positions/sync", "positions/sync", "sync"),
        (
            Method::POST,
            "trader/positions/cleanup",
            "positions/cleanup",
            "sync",
        ),
        (
            Method::POST,
            "trader/positions/snapshot",
            "positions/snapshot",
            "sync",
        ),
        (Method::POST, "trader/account/sync", "account/sync", "sync"),
        (Method::POST, "trader/executions", "executions", "executions"),
        (Method::POST, "trader/heartbeat", "heartbeat", "heartbeat"),
        (Method::PUT, "trader/signals/S1/status", "status", "status"),
        (Method::POST, "trader/signals", "other", "other"),
        (Method::POST, "trader/new/call", "other", "other"),
    ];
    for (method, path, by_itself, figure) in routes {
        let found = (route(&method, path), call_name(&method, path));
        assert_eq!(found, (by_itself, figure), "{method} {path}");
    }
}

/// It was found out by the next call, half a minute later, and the token was taken for one that had stood until then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_refusal_of_the_token_that_a_login_gave_is_noted_with_the_call_that_it_was_for() {
    let bench = bench().await;
    bench.tokens.gives_bad.store(true, Ordering::SeqCst);
    let answer = bench.client.signals(1, View::Pending).await;
    assert_eq!(answer, Answer::TokenRefused { status: 401 });
    assert_eq!(bench.tokens.logins(), 1);
    let (_, number) = bench.client.token_claims();
    assert_eq!((number, bench.client.renewal().borrow().refused), (2, 2));
    assert_eq!(bench.client.renewal().borrow().accepted, 0);
    // Of which nobody was told, since the login went well.
    assert_eq!(bench.client.token_trouble(0), TokenTrouble::None);
    bench.client.token_refused(Caller::Poller, true);
    assert_eq!(bench.client.token_trouble(0), TokenTrouble::RefusedYet);
}

/// A keyring in a file that holds an old login, that login, and who looks at it.
fn with_old_login(address: &str) -> (tempfile::TempDir, Keyring, Kept, Source) {
    let folder = tempfile::tempdir().unwrap();
    let ring = Keyring::in_folder(folder.path(), address).typed(Secret::new("passphrase".to_owned()));
    let old = kept("old");
    ring.write(&old, Some(StoreKind::File)).unwrap();
    let (source, _) = Source::of_keyring(ring.clone());
    (folder, ring, old, source)
}

/// One that reads and refuses the write: the folder is a file by then.
#[test]
fn a_login_that_cannot_be_kept_is_not_followed_by_the_old_one() {
    let (_folder, ring, old, mut source) = with_old_login("https://unkept.test.invalid/api");
    let fresh = Kept {
        at_ms: 1000,
        ..kept("fresh")
    };
    // The file's name in a folder's way: it can be read until then, and not be replaced.
    let bytes = std::fs::read(ring.file()).unwrap();
    std::fs::remove_file(ring.file()).unwrap();
    std::fs::create_dir(ring.file()).unwrap();
    source.keep(&fresh, &old).unwrap_err();
    std::fs::remove_dir(ring.file()).unwrap();
    std::fs::write(ring.file(), bytes).unwrap();
    for _ in 0..3 {
        assert!(source.look().is_none(), "the old login was taken for a new one");
    }
    // One that a person puts there afterwards is new.
    let newer = Kept {
        at_ms: 2000,
        ..kept("newer")
    };
    ring.write(&newer, Some(StoreKind::File)).unwrap();
    assert_eq!(source.look().unwrap().token.expose(), "newer");
    assert!(source.look().is_none());
}

#[test]
fn a_login_that_a_person_made_meanwhile_is_not_overwritten() {
    let (_folder, ring, old, mut source) = with_old_login("https://meanwhile.test.invalid/api");
    let persons = Kept {
        password: Some(Secret::new("another".to_owned())),
        ..kept("persons")
    };
    ring.write(&persons, Some(StoreKind::File)).unwrap();
    source.keep(&kept("hosts"), &old).unwrap();
    assert_eq!(ring.read().unwrap().unwrap().0.token.expose(), "persons");
    assert_eq!(source.look().unwrap().token.expose(), "persons");
}
