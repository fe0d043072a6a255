//! HTTPS against a server of ours: whose certificate counts, where a token goes, and how long anything may take.

use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use reqwest::Certificate;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::super::client::{Answer, Cause, LoginAnswer};
use super::super::wire::View;
use super::*;
use crate::config::Secret;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate's parameters for the names of this machine.
fn here() -> CertificateParams {
    CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
}

/// What the server does with a request.
#[derive(Clone)]
enum Does {
    /// Answers with these bytes.
    Answers(String),
    /// Nothing, once it has accepted the connection.
    NoHandshake,
    /// Reads and says nothing.
    Stalls,
    /// Begins an answer and stops.
    StopsMidway,
    /// Sends a byte of an endless answer now and then.
    Drips,
}

fn ok() -> Does {
    let body = r#"{"success":true,"data":[],"count":0}"#;
    Does::Answers(format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

struct TlsServer {
    address: SocketAddr,
    /// The heads and bodies of what was asked.
    asked: Arc<Mutex<Vec<String>>>,
}

impl TlsServer {
    async fn start(issuer: &Issuer, params: CertificateParams, does: Does) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, log, does) = (acceptor.clone(), Arc::clone(&log), does.clone());
                tokio::spawn(async move {
                    if matches!(does, Does::NoHandshake) {
                        tokio::time::sleep(PATIENCE).await;
                        return;
                    }
                    // A client that does not trust us ends the handshake.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, log, does).await;
                    }
                });
            }
        });
        Self { address, asked }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/api", self.address.port())
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    log: Arc<Mutex<Vec<String>>>,
    does: Does,
) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !request.windows(4).any(|part| part == b"\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&piece[..count]),
        }
    }
    log.lock()
        .unwrap()
        .push(String::from_utf8_lossy(&request).into_owned());
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{";
    let done = match does {
        Does::Answers(answer) => {
            stream.write_all(answer.as_bytes()).await.ok();
            stream.shutdown().await.ok();
            return;
        }
        Does::NoHandshake | Does::Stalls => Ok(()),
        Does::StopsMidway => stream.write_all(begun.as_bytes()).await,
        Does::Drips => {
            let mut done = stream.write_all(begun.as_bytes()).await;
            while done.is_ok() {
                done = stream.write_all(b" ").await;
                stream.flush().await.ok();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            done
        }
    };
    done.ok();
    stream.flush().await.ok();
    tokio::time::sleep(PATIENCE).await;
}

fn root(issuer: &Issuer) -> Certificate {
    Certificate::from_der(issuer.der()).unwrap()
}

fn client(url: &str, roots: Vec<Certificate>) -> Client {
    let settings = ClientSettings {
        roots,
        connect_timeout: Duration::from_millis(600),
        read_timeout: Duration::from_millis(700),
        call_timeout: Duration::from_millis(1500),
        ..settings_at(url)
    };
    Client::new(&settings).unwrap()
}

fn why(answer: Answer) -> (Cause, String) {
    match answer {
        Answer::NotKnown { why, cause, .. } => (cause, why),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_named_authority_is_trusted_and_no_other() {
    let ours = authority();
    let server = TlsServer::start(&ours, here(), ok()).await;
    let good = client(&server.url(), vec![root(&ours)]);
    assert!(matches!(good.signals(1, View::Pending).await, Answer::Done(_)));
    assert!(server.asked()[0].contains(SECRET));
    // Another authority's name, and the system's own list, which does not have ours.
    for roots in [vec![root(&authority())], Vec::new()] {
        let (cause, said) = why(client(&server.url(), roots).signals(1, View::Pending).await);
        assert_eq!(cause, Cause::Unreachable);
        assert!(
            said.contains("from no authority that is trusted here") && said.contains("`ca_certificate`"),
            "{said}"
        );
    }
    assert_eq!(server.asked().len(), 1, "nobody else was shown the token");
}

#[tokio::test]
async fn a_certificate_of_another_name_or_time_is_none() {
    let ours = authority();
    let mut ended = here();
    ended.not_before = date_time_ymd(2001, 1, 1);
    ended.not_after = date_time_ymd(2002, 1, 1);
    let mut later = here();
    later.not_before = date_time_ymd(2090, 1, 1);
    later.not_after = date_time_ymd(2091, 1, 1);
    let other = CertificateParams::new(["backend.example".to_owned()]).unwrap();
    for (params, words) in [
        (other, "for another name than `api_base_url`"),
        (ended, "certificate has ended"),
        (later, "begins later than now"),
    ] {
        let server = TlsServer::start(&ours, params, ok()).await;
        let client = client(&server.url(), vec![root(&ours)]);
        let (_, said) = why(client.signals(1, View::Pending).await);
        assert!(said.contains(words), "{said}");
        assert!(server.asked().is_empty());
    }
}

#[tokio::test]
async fn what_does_not_speak_tls_is_said_to_be_so() {
    let plain = Server::start().await;
    let url = plain.address.replace("http://127.0.0.1", "https://localhost");
    let (_, said) = why(client(&url, vec![root(&authority())])
        .signals(1, View::Pending)
        .await);
    assert!(said.contains("does not speak TLS"), "{said}");
    assert!(plain.asked().is_empty());
}

#[tokio::test]
async fn a_redirect_carries_neither_token_nor_password_to_another_place() {
    let ours = authority();
    let elsewhere = TlsServer::start(&ours, here(), ok()).await;
    let plain = Server::start().await;
    let mut tried = 0;
    for status in [301, 302, 303, 307, 308] {
        for target in [
            elsewhere.url(),
            // The same machine by another name, and without TLS.
            format!("https://127.0.0.1:{}/api", elsewhere.address.port()),
            plain.address.clone(),
        ] {
            let answer = format!(
                "HTTP/1.1 {status} Elsewhere\r\nlocation: {target}/trader/signals\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            let server = TlsServer::start(&ours, here(), Does::Answers(answer)).await;
            let client = client(&server.url(), vec![root(&ours)]);
            let (cause, said) = why(client.signals(1, View::Pending).await);
            assert_eq!(cause, Cause::Status(status));
            assert!(said.contains("not followed"), "{said}");
            let login = client
                .log_in("wang", &Secret::new("the-PASS-word".to_owned()))
                .await;
            assert!(matches!(login, LoginAnswer::NotKnown { .. }), "{login:?}");
            tried += 2;
        }
    }
    assert!(elsewhere.asked().is_empty() && plain.asked().is_empty());
    println!("{tried} redirected calls, none of which reached another place");
}

#[tokio::test]
async fn a_redirect_on_the_same_place_is_followed_with_the_token() {
    let ours = authority();
    // Where it points is the same server, which then points on until the hops are used up.
    let answer =
        "HTTP/1.1 307 There\r\nlocation: /api/there\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let server = TlsServer::start(&ours, here(), Does::Answers(answer.to_owned())).await;
    let (cause, _) = why(client(&server.url(), vec![root(&ours)])
        .signals(1, View::Pending)
        .await);
    assert_eq!(cause, Cause::Status(307));
    let asked = server.asked();
    assert!((2..=5).contains(&asked.len()), "{asked:?}");
    assert!(asked.iter().all(|head| head.contains(SECRET)), "{asked:?}");
}

#[tokio::test]
async fn no_call_takes_longer_than_it_may() {
    let ours = authority();
    for (does, cause) in [
        (Does::NoHandshake, Cause::Unreachable),
        (Does::Stalls, Cause::Timeout),
        (Does::StopsMidway, Cause::Timeout),
        (Does::Drips, Cause::Timeout),
    ] {
        let server = TlsServer::start(&ours, here(), does).await;
        let client = client(&server.url(), vec![root(&ours)]);
        let call = client.signals(1, View::Pending);
        let answer = tokio::time::timeout(PATIENCE, call)
            .await
            .expect("it ends by itself");
        let (seen, said) = why(answer);
        assert_eq!(seen, cause, "{said}");
    }
}

#[test]
fn a_file_that_holds_no_certificates_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = |name: &str, content: Option<&str>| {
        let path = folder.path().join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let sources = crate::config::Sources {
            file: Some(folder.path().join("config.json")),
            ..Default::default()
        };
        std::fs::write(
            folder.path().join("config.json"),
            serde_json::json!({ "ca_certificate": name }).to_string(),
        )
        .unwrap();
        crate::config::load(&sources, crate::config::Purpose::Look)
            .unwrap()
            .config
    };
    let pem = authority().pem();
    let settings = ClientSettings::of(&config("good.pem", Some(&pem)), "https://h/api").unwrap();
    assert_eq!(settings.roots.len(), 1);
    let broken = pem.replace('M', "*");
    for (name, content, words) in [
        ("absent.pem", None, "cannot be read"),
        ("empty.pem", Some(""), "holds no certificate"),
        ("text.pem", Some("hello"), "holds no certificate"),
        ("broken.pem", Some(&*broken), "is not PEM"),
    ] {
        let error = ClientSettings::of(&config(name, content), "https://h/api").unwrap_err();
        let said = error.to_string();
        assert!(said.contains(name) && said.contains(words), "{said}");
    }
}

/// A server of NATS that greets, and then speaks TLS; whether a client trusts it.
async fn greets_over_tls(issuer: &Issuer, ca_certificate: Option<&std::path::Path>) -> bool {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = KeyPair::generate().unwrap();
    let certificate = here().signed_by(&key, issuer).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.der().to_vec())],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut shaken = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let info = r#"INFO {"server_id":"N","version":"2.9.10","proto":1,"max_payload":1048576,"headers":true,"tls_required":true}"#;
        stream.write_all(format!("{info}\r\n").as_bytes()).await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        match acceptor.accept(stream).await {
            Ok(mut secured) => secured.read_u8().await.is_ok(),
            Err(_) => false,
        }
    });
    let nats = crate::config::Nats {
        url: format!("tls://localhost:{port}"),
        credentials: None,
        signals_stream: "S".to_owned(),
        signals_subject: "s.>".to_owned(),
        consumer: "c".to_owned(),
        names_consumer: true,
        begin: crate::config::NatsBegin::New,
        reports_subject: "r".to_owned(),
    };
    let nats = super::super::nats::Nats::new(&nats, ca_certificate).unwrap();
    tokio::select! {
        is_trusted = &mut shaken => is_trusted.unwrap(),
        // Whoever does not trust goes first.
        _ = nats.look() => shaken.await.unwrap(),
    }
}

/// The authority of one's own counted for HTTPS alone.
#[tokio::test]
async fn nats_is_trusted_by_the_configured_authority_and_by_no_other() {
    let (own, other) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, own.pem()).unwrap();
    assert!(greets_over_tls(&own, Some(&path)).await);
    assert!(!greets_over_tls(&other, Some(&path)).await);
    assert!(!greets_over_tls(&own, None).await);
}
