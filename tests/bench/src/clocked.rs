//! A backend that costs next to nothing, in this process, and notes when things happen.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::process::now_ns;
use crate::setup::Address;

const PATIENCE: Duration = Duration::from_secs(300);

/// What it holds and has seen.
#[derive(Debug, Default)]
pub struct Seen {
    waiting: VecDeque<String>,
    /// Signals in one answer at most.
    pub batch: usize,
    /// When the first request for signals arrived.
    pub first_asked_ns: Option<u64>,
    /// When the last byte of each answer with signals was written, and how many it had.
    pub answers: Vec<(u64, usize)>,
    /// Posts that were answered with success.
    pub posts: usize,
    /// When the first of them was.
    pub first_post_ns: Option<u64>,
    /// When the last of them was.
    pub last_post_ns: u64,
    /// Posts are told to come again later.
    pub refuses: bool,
    streams: Vec<TcpStream>,
    dead: bool,
}

/// The backend.
#[derive(Debug)]
pub struct Clocked {
    at: SocketAddr,
    shared: Arc<(Mutex<Seen>, Condvar)>,
}

impl Clocked {
    /// One on a free port, giving `batch` signals an answer.
    pub fn start(batch: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let backend = Self {
            at: listener.local_addr().unwrap(),
            shared: Arc::default(),
        };
        backend.seen().batch = batch;
        backend.serve(listener);
        backend
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        Address {
            base_url: format!("http://{}/api", self.at),
            token: "bench-token".into(),
        }
    }

    /// What it holds and has seen.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.0.lock().unwrap()
    }

    /// Puts signals on its list.
    pub fn add(&self, signals: impl Iterator<Item = String>) {
        self.seen().waiting.extend(signals);
    }

    /// Waits until `done`; panics with `what` when it takes too long.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut(&Seen) -> bool) {
        let began = Instant::now();
        let mut seen = self.seen();
        while !done(&seen) {
            assert!(
                began.elapsed() < PATIENCE,
                "waited too long until {what}: {} posts",
                seen.posts
            );
            seen = self
                .shared
                .1
                .wait_timeout(seen, Duration::from_millis(50))
                .unwrap()
                .0;
        }
    }

    /// Forgets what it has seen, not what it holds.
    pub fn forget(&self) {
        let mut seen = self.seen();
        seen.first_asked_ns = None;
        seen.answers.clear();
        (seen.posts, seen.first_post_ns, seen.last_post_ns) = (0, None, 0);
    }

    /// Closes the port and every connection.
    pub fn die(&self) {
        let mut seen = self.seen();
        seen.dead = true;
        for stream in seen.streams.drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
        drop(seen);
        // Wakes the one that accepts, which then closes the port.
        TcpStream::connect(self.at).ok();
        while TcpStream::connect(self.at).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Listens again on the same port.
    pub fn come_back(&self) {
        self.seen().dead = false;
        self.serve(TcpListener::bind(self.at).unwrap());
    }

    fn serve(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut seen = shared.0.lock().unwrap();
                if seen.dead {
                    return;
                }
                seen.streams.push(stream.try_clone().unwrap());
                drop(seen);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || connection(&stream, &shared));
            }
        });
    }
}

/// Answers one connection until it closes.
fn connection(stream: &TcpStream, shared: &(Mutex<Seen>, Condvar)) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let arrived = now_ns();
        let request = line.clone();
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).ok()?;
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
        }
        reader.by_ref().take(length).read_to_end(&mut Vec::new()).ok()?;
        let (answer, count) = answer(&request, arrived, &mut shared.0.lock().unwrap());
        writer.write_all(answer.as_bytes()).ok()?;
        let written = now_ns();
        let mut seen = shared.0.lock().unwrap();
        match count {
            Some(0) => {}
            Some(count) => seen.answers.push((written, count)),
            None if seen.refuses => {}
            None => {
                seen.posts += 1;
                seen.first_post_ns.get_or_insert(arrived);
                seen.last_post_ns = written;
            }
        }
        shared.1.notify_all();
    }
}

/// The answer, and for a request for signals how many it has.
fn answer(request: &str, arrived: u64, seen: &mut Seen) -> (String, Option<usize>) {
    if request.starts_with("GET ") && request.contains("/trader/signals") {
        seen.first_asked_ns.get_or_insert(arrived);
        let count = if request.contains("include_submitted=true") {
            0
        } else {
            seen.batch.min(seen.waiting.len())
        };
        let list: Vec<String> = seen.waiting.drain(..count).collect();
        let body = format!(
            r#"{{"success":true,"data":[{}],"count":{count}}}"#,
            list.join(",")
        );
        return (http("200 OK", "", &body), Some(count));
    }
    if seen.refuses {
        return (http("503 Service Unavailable", "retry-after: 1\r\n", "{}"), None);
    }
    (http("200 OK", "", r#"{"success":true}"#), None)
}

fn http(status: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{more}content-length: {length}\r\n\r\n{body}"
    )
}
