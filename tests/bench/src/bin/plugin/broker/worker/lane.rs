//! A round trip to a worker, `qt-host worker` with the real plugin, beside a bare one between two processes over a
//! socket pair with as many bytes each way.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use interprocess::local_socket::Stream;
use qt_plugin_api::PlaceResult;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::frame::{Answer, Numbered, Opened, Order, PROTOCOL, Reader, Writer};
use super::stream::{self, Patient};
use crate::calls;
use crate::table::{Cell, Table, percentile};

/// The argument that makes this program the other side of the bare ping-pong.
pub const ECHO: &str = "echo";
/// How much longer than the bare round trip one to a worker may take.
const MAY_TAKE: f64 = 2.0;
const ROUNDS: usize = 11;
const HOT: usize = 2_000;
const IDLE: usize = 60;
const PAUSE: Duration = Duration::from_millis(2);
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// What is said and answered in the bare ping-pong: the bytes that the lane's frames have.
const ASKED: usize = 58;
const ANSWERED: usize = 30;

/// The other side of the bare ping-pong, on standard input, which is a socket.
pub fn echo() {
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut asked = [0; ASKED];
    while socket.read_exact(&mut asked).is_ok() {
        socket.write_all(&asked[..ANSWERED]).unwrap();
    }
}

/// A round trip of some kind.
trait Trip {
    fn make(&mut self);
}

struct Bare {
    socket: UnixStream,
    child: Child,
}

impl Bare {
    fn start() -> Self {
        let (socket, other) = UnixStream::pair().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .arg(ECHO)
            .stdin(OwnedFd::from(other))
            .spawn()
            .unwrap();
        Self { socket, child }
    }
}

impl Trip for Bare {
    fn make(&mut self) {
        self.socket.write_all(&[7; ASKED]).unwrap();
        let mut answer = [0; ANSWERED];
        self.socket.read_exact(&mut answer).unwrap();
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A worker as the host starts it.
struct Worker {
    child: Child,
    writer: Writer<Shared>,
    reader: Reader<Patient>,
    number: u64,
    order: qt_plugin_api::OrderRequest,
    _others: Vec<Arc<Stream>>,
    _folder: tempfile::TempDir,
}

struct Shared(Arc<Stream>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        (&*self.0).flush()
    }
}

fn spawn(setup: &serde_json::Value) -> Child {
    let mut child = Command::new(qt_test_support::qt_host())
        .arg("worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let stdin = child.stdin.as_mut().unwrap();
    writeln!(stdin, "{setup}").unwrap();
    child
}

impl Worker {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plugin = qt_test_support::plugin("bench_broker");
        let socket = folder.path().join("s");
        let listening = stream::listen(&socket).unwrap();
        let setup = json!({
            "protocol": PROTOCOL, "socket": socket, "secret": "s", "plugin": plugin, "sha256": sha256(&plugin),
            "config": {}, "live": { "file": null, "broker": "bench", "plugin": "bench" },
            "data_dir": folder.path(), "account_id": null, "memory": null,
            "level": null, "now_ms": std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64,
        });
        let child = spawn(&setup);
        let mut streams = [None, None, None];
        let until = Instant::now() + STARTS_WITHIN;
        while streams.iter().any(Option::is_none) {
            let stream = stream::accept(&listening, until, || true).unwrap();
            let stream = Arc::new(stream.expect("the worker calls"));
            let hello = stream::greeting(&stream, STARTS_WITHIN).unwrap();
            streams[hello.role as usize] = Some(stream);
        }
        let [Some(orders), Some(control), Some(events)] = streams else {
            unreachable!("the loop filled them")
        };
        let gone = Arc::new(AtomicBool::new(false));
        let opened = Reader::new(Patient::new(Arc::clone(&control), Arc::clone(&gone))).read();
        let Opened(opened) = opened.unwrap();
        opened.unwrap();
        Self {
            child,
            writer: Writer::new(Shared(Arc::clone(&orders))),
            reader: Reader::new(Patient::new(orders, gone)),
            number: 0,
            order: calls::order("grid"),
            _others: vec![control, events],
            _folder: folder,
        }
    }
}

impl Trip for Worker {
    /// As the host does it: the order is copied into its frame.
    fn make(&mut self) {
        self.number += 1;
        let call = Numbered {
            number: self.number,
            what: Order::Place(self.order.clone()),
        };
        self.writer.write(&call).unwrap();
        let answer: Answer<PlaceResult> = self.reader.read().unwrap();
        assert_eq!(answer.number, self.number);
        assert!(matches!(answer.what, PlaceResult::Accepted { .. }));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn sha256(path: &Path) -> String {
    HEXLOWER.encode(&Sha256::digest(std::fs::read(path).unwrap()))
}

fn times(trip: &mut dyn Trip, count: usize, pause: Duration, into: &mut Vec<f64>) {
    for _ in 0..count {
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        let began = Instant::now();
        trip.make();
        into.push(began.elapsed().as_secs_f64() * 1e6);
    }
}

/// Rounds in turns, hot and after a pause.
pub fn measure() -> Vec<Table> {
    let (mut bare, mut worker) = (Bare::start(), Worker::start());
    let mut warm = Vec::new();
    times(&mut bare, HOT, Duration::ZERO, &mut warm);
    times(&mut worker, HOT, Duration::ZERO, &mut warm);
    let mut table = Table::new(
        "A round trip between two processes",
        &["when", "way", "p50 µs", "p99 µs", "p50 ratio", "p99 ratio"],
    );
    let mut judged = Table::new("Judged", &["what", "measured", "allowed", "kept"]);
    for (when, count, pause) in [("hot", HOT, Duration::ZERO), ("after 2 ms idle", IDLE, PAUSE)] {
        let (mut bare_us, mut worker_us) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            times(&mut bare, count, pause, &mut bare_us);
            times(&mut worker, count, pause, &mut worker_us);
        }
        let base = [percentile(&bare_us, 50), percentile(&bare_us, 99)];
        for (way, us) in [("bare socket pair", &bare_us), ("worker lane", &worker_us)] {
            let found = [percentile(us, 50), percentile(us, 99)];
            table.row(vec![
                when.into(),
                way.into(),
                Cell::Figure(found[0], 1),
                Cell::Figure(found[1], 1),
                Cell::Figure(found[0] / base[0], 2),
                Cell::Figure(found[1] / base[1], 2),
            ]);
        }
        for (at, percent) in [50, 99].into_iter().enumerate() {
            let ratio = percentile(&worker_us, percent) / base[at];
            judged.row(vec![
                format!("worker to bare, {when}, p{percent}").as_str().into(),
                Cell::Figure(ratio, 2),
                Cell::Figure(MAY_TAKE, 0),
                if ratio <= MAY_TAKE { "yes" } else { "NO" }.into(),
            ]);
        }
    }
    vec![table, judged]
}
