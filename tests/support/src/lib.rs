//! What the end-to-end tests share: the real binaries, a backend in a process of its own, and the judge.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod dice;
mod judge;
pub mod museum;
mod nats;
mod python;
mod system;
mod xtquant;

pub use dice::Dice;
pub use judge::{Verdict, judge};
pub use nats::NatsServer;
pub use python::{python, python_with};
pub use system::{ABORT, EXIT_3, KILLED, SEGFAULT, STACK_OVERFLOW, children, kill_9, runs};
pub use xtquant::{ACCOUNT, Counter, XTQUANT, system_python, xtquant};

/// What a host says once it trades.
const STARTED: &str = "quantTrader started";

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// How many signals of a backend are asked for at a time: after a long soak all of them at once take too long.
const PAGE: usize = 1000;

/// A binary or plugin beside the tests, or beside a program of ours.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    // Tests lie in `deps`, a folder below what they start; what lies beside them there may be of another build.
    let folder = exe.parent().unwrap();
    let folder = if folder.ends_with("deps") {
        folder.parent().unwrap()
    } else {
        folder
    };
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{name} is missing: run the tests by `cargo all-tests`, which builds it"
    );
    path
}

/// The host's binary.
#[must_use]
pub fn qt_host() -> PathBuf {
    built(&format!("qt-host{}", std::env::consts::EXE_SUFFIX))
}

/// A plugin's file.
#[must_use]
pub fn plugin(name: &str) -> PathBuf {
    built(&format!(
        "{}{name}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    ))
}

/// Polls until `done`, or panics with what was waited for.
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(15));
    }
}

/// The embedded backend in a process of its own.
#[derive(Debug)]
pub struct Backend {
    child: Child,
    /// `http://…/api`.
    pub base_url: String,
    /// The bearer token.
    pub token: String,
    /// What logs in beside the name `sandbox`.
    pub password: String,
    address: String,
}

impl Backend {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with more arguments.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn with(arguments: &[&str]) -> Self {
        let mut child = Command::new(qt_host())
            .args(["sandbox", "--listen", "127.0.0.1:0", "--json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let base_url = said["api_base_url"].as_str().unwrap().to_owned();
        let address = base_url
            .trim_start_matches("http://")
            .trim_end_matches("/api")
            .to_owned();
        Self {
            child,
            token: said["api_token"].as_str().unwrap().to_owned(),
            password: said["password"].as_str().unwrap().to_owned(),
            base_url,
            address,
        }
    }

    fn call(&self, method: &str, path: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    /// Adds a signal, or a list of them.
    pub fn add(&self, signal: &Value) {
        self.call("POST", "/sandbox/signals", &signal.to_string());
    }

    /// Adds signals exactly as given, with whatever is wrong in them.
    pub fn add_raw(&self, signals: &Value) {
        self.call("POST", "/sandbox/signals?raw=true", &signals.to_string());
    }

    /// A new token, as a person gets one.
    #[must_use]
    pub fn log_in(&self) -> String {
        let login = json!({ "username": "sandbox", "password": self.password });
        let answer = self.call("POST", "/api/user/login", &login.to_string());
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Makes every token that there is invalid.
    pub fn revoke(&self) {
        self.call("POST", "/sandbox/revoke", "");
    }

    /// Gives its user another password.
    pub fn change_password(&mut self, password: &str) {
        self.call(
            "POST",
            "/sandbox/password",
            &json!({ "password": password }).to_string(),
        );
        password.clone_into(&mut self.password);
    }

    /// Puts a fault in force.
    pub fn fault(&self, fault: &Value) {
        self.call("POST", "/sandbox/faults", &fault.to_string());
    }

    /// Ends every stream of signals without a word.
    pub fn cut_streams(&self) {
        self.call("POST", "/sandbox/streams/cut", "");
    }

    /// How much it saw, as counts: costs it nothing, however much that is.
    #[must_use]
    pub fn summary(&self) -> Value {
        self.call("GET", "/sandbox/summary", "")
    }

    /// Everything that it saw.
    #[must_use]
    pub fn state(&self) -> Value {
        let mut all = Value::Null;
        for from in (0..).step_by(PAGE) {
            let path = format!("/sandbox/state?from={from}&count={PAGE}");
            let mut page = self.call("GET", &path, "");
            let is_last = page["order"].as_array().unwrap().len() < PAGE;
            if from > 0 {
                let (signals, order) = (page["signals"].take(), page["order"].take());
                all["signals"]
                    .as_object_mut()
                    .unwrap()
                    .extend(signals.as_object().unwrap().clone());
                all["order"]
                    .as_array_mut()
                    .unwrap()
                    .extend(order.as_array().unwrap().clone());
            } else {
                all = page;
            }
            if is_last {
                break;
            }
        }
        all
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A data folder, a configuration, and the hosts that run on them.
///
/// Its hosts live at ten in the morning in Shanghai, so that no run meets midnight there by chance.
#[derive(Debug)]
pub struct Desk {
    folder: tempfile::TempDir,
    clock_offset_ms: i64,
}

/// The variable that moves a host's clock, in milliseconds.
pub const CLOCK_OFFSET: &str = "QT_TEST_CLOCK_OFFSET_MS";

/// From now to ten o'clock in Shanghai of the same day there.
///
/// # Panics
/// When the clock stands before 1970.
#[must_use]
pub fn to_ten_in_shanghai_ms() -> i64 {
    const HOUR_MS: i64 = 3_600_000;
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let in_shanghai = i64::try_from(since.as_millis()).unwrap() + 8 * HOUR_MS;
    10 * HOUR_MS - in_shanghai.rem_euclid(24 * HOUR_MS)
}

impl Desk {
    /// A desk on `backend`; `more` is laid over the configuration.
    ///
    /// # Panics
    /// When its files cannot be written.
    #[must_use]
    pub fn new(backend: &Backend, more: &Value) -> Self {
        let desk = Self {
            folder: tempfile::tempdir().unwrap(),
            clock_offset_ms: to_ten_in_shanghai_ms(),
        };
        desk.configure(backend, more);
        desk
    }

    /// Lets whatever is started from here on live so much later.
    pub fn let_pass(&mut self, time: Duration) {
        self.clock_offset_ms += i64::try_from(time.as_millis()).unwrap();
    }

    /// Sets the wall clock of hosts that run, and of those to come, so far off from where it was.
    ///
    /// # Panics
    /// When it cannot be written. The first call must come before the host's start, or the host looks nowhere.
    pub fn set_clock(&self, off_ms: i64) {
        let fresh = self.path("clock.new");
        std::fs::write(&fresh, off_ms.to_string()).unwrap();
        // Windows refuses it for as long as a host reads the old one.
        wait_until("the clock is set", || {
            let renamed = std::fs::rename(&fresh, self.path("clock"));
            assert!(cfg!(windows) || renamed.is_ok(), "{renamed:?}");
            renamed.is_ok()
        });
    }

    /// The binary with this desk's configuration and time.
    ///
    /// # Panics
    /// When it was not built.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(qt_host());
        self.dress(&mut command);
        command
    }

    fn dress(&self, command: &mut Command) {
        command
            .arg("--config")
            .arg(self.config())
            .env(CLOCK_OFFSET, self.clock_offset_ms.to_string())
            .stdin(Stdio::null());
        if self.path("clock").exists() {
            command.env("QT_TEST_CLOCK_FILE", self.path("clock"));
        }
    }

    /// Writes the configuration anew.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, backend: &Backend, more: &Value) {
        let mut config = json!({
            "api_base_url": backend.base_url, "api_token": backend.token, "poll_interval": 0.05, "broker": "simulated",
            // What a test counts came by one way; those about the stream switch it on.
            "data_dir": self.path("data"), "signals_stream": "off",
            "execution": { "unknown_settle_seconds": 0.6, "unknown_poll_seconds": 0.1, "call_deadline_seconds": 0.25,
                           "reconcile_interval_seconds": 0.2, "heartbeat_interval_seconds": 0 },
            "simulated": { "cash": 10_000_000, "ledger": self.ledger_path(),
                           "positions": [{ "symbol": "000858.SZ", "quantity": 100_000, "avg_cost": 40, "last_price": 43.2 }] },
        });
        lay_over(&mut config, more);
        std::fs::write(self.config(), config.to_string()).unwrap();
    }

    /// A path within the desk's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path("config.json")
    }

    /// The simulated broker's ledger.
    #[must_use]
    pub fn ledger_path(&self) -> PathBuf {
        self.path("ledger.jsonl")
    }

    /// The ledger's whole lines.
    #[must_use]
    pub fn ledger(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.ledger_path()).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Starts a host; `failpoints` as the `fail` crate writes them.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn host(&self, failpoints: &str) -> Host {
        let mut command = self.command();
        command.env("FAILPOINTS", failpoints);
        self.start(command)
    }

    /// Starts a host with more arguments, and with points at which it is to die or to wait.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn host_with(&self, arguments: &[&str], failpoints: &str) -> Host {
        let mut command = self.command();
        command.args(arguments).env("FAILPOINTS", failpoints);
        self.start(command)
    }

    /// Starts a host by a shell that first does `before`, such as setting a limit that the host inherits.
    ///
    /// # Panics
    /// When it cannot be started.
    #[cfg(unix)]
    #[must_use]
    pub fn host_after(&self, before: &str) -> Host {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{before}; exec \"$0\" \"$@\""))
            .arg(qt_host());
        self.dress(&mut command);
        self.start(command)
    }

    fn start(&self, mut command: Command) -> Host {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("host.log"))
            .unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut stop = self.command();
        stop.arg("stop");
        Host {
            child,
            stop,
            log: self.path("host.log"),
            said_before: self.log().matches(STARTED).count(),
        }
    }

    /// Runs another command on the same configuration.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Runs `login` with the password on standard input, as a script does.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn log_in(&self, password: &str, arguments: &[&str]) -> Output {
        let mut child = self
            .command()
            .args(["login", "--username", "sandbox", "--password-stdin"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // One that refuses its command line reads nothing.
        writeln!(stdin, "{password}").ok();
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// Writes a file that is its owner's alone; where it lies.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn private(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        path
    }

    /// Runs another command, which must end well; what it printed.
    ///
    /// # Panics
    /// When it does not.
    pub fn done(&self, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        assert!(
            out.status.success(),
            "{arguments:?} ended with {:?}: {}{}\n{}",
            out.status.code(),
            String::from_utf8_lossy(&out.stderr),
            String::from_utf8_lossy(&out.stdout),
            self.log()
        );
        String::from_utf8(out.stdout).unwrap()
    }

    /// Runs another command with `--json`, which must end well; what it printed.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.done(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// Runs another command, which must end with `code`; what it said on standard error.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(
            out.status.code(),
            Some(code),
            "{arguments:?}: {said}\n{}",
            self.log()
        );
        said
    }

    /// `STATE CODE` of a signal's order, `STATE` where no gate stopped it, nothing where there is none.
    ///
    /// # Panics
    /// When the orders cannot be listed.
    #[must_use]
    pub fn verdict(&self, id: &str) -> String {
        let orders = self.json(&["orders", "--since", "2000-01-01"]);
        let mut orders = orders.as_array().expect("a list").iter();
        let order = orders.find(|order| order["signal"] == id);
        let words = order.map(|order| [&order["state"], &order["code"]]);
        let words = words.into_iter().flatten().filter_map(Value::as_str);
        words.collect::<Vec<_>>().join(" ")
    }

    /// How many orders the broker's ledger holds.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.ledger()
            .iter()
            .filter(|line| line["event"] == "accepted")
            .count()
    }

    /// Starts a host and waits until it trades.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn trading(&self) -> Host {
        let mut host = self.host("");
        host.trades();
        host
    }

    /// Where the last host that was started serves its metrics.
    ///
    /// # Panics
    /// When it serves none.
    #[must_use]
    pub fn metrics_address(&self) -> String {
        let mut address = None;
        wait_until("the metrics are served", || {
            let log = self.log();
            let found = log
                .rsplit("Metrics: http://")
                .next()
                .filter(|_| log.contains("Metrics: http://"));
            address = found
                .and_then(|rest| rest.split_once("/metrics"))
                .map(|(address, _)| address.to_owned());
            address.is_some()
        });
        address.unwrap()
    }

    /// What the hosts have said so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("host.log")).unwrap_or_default()
    }
}

/// A GET without a library: the status and the body.
///
/// # Panics
/// When nobody answers.
#[must_use]
pub fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// A purchase of 100 shares at 43.50 yuan, with whatever else `more` says of it.
///
/// # Panics
/// When `more` is no object.
#[must_use]
pub fn purchase(id: &str, more: &Value) -> Value {
    let mut signal =
        json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 });
    for (key, value) in more.as_object().expect("an object") {
        signal[key] = value.clone();
    }
    signal
}

fn lay_over(base: &mut Value, more: &Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                lay_over(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, more) => *base = more.clone(),
    }
}

/// A running host; killed when it goes out of scope.
#[derive(Debug)]
pub struct Host {
    child: Child,
    /// `qt-host stop`, where there are no signals.
    stop: Command,
    log: PathBuf,
    said_before: usize,
}

impl Host {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it trades.
    ///
    /// # Panics
    /// When it ends before.
    pub fn trades(&mut self) {
        wait_until("the host has started", || {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(!self.has_ended(), "the host has ended: {log}");
            log.matches(STARTED).count() > self.said_before
        });
    }

    /// Waits until it ends by itself; its exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn ends(&mut self) -> Option<i32> {
        assert!(self.dies_within(PATIENCE), "the host does not end");
        self.child.wait().unwrap().code()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// True once it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits until it dies by itself, at most `patience`; true if it did.
    pub fn dies_within(&mut self, patience: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < patience {
            if self.has_ended() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Asks it to end as the system does, and waits; its exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(mut self) -> Option<i32> {
        // Before it has started, nobody in it listens.
        wait_until("the host has started", || {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            log.matches(STARTED).count() > self.said_before || self.has_ended()
        });
        if !self.has_ended() {
            system::ask_to_end(&self.child, &mut self.stop);
        }
        assert!(self.dies_within(PATIENCE), "the host does not end");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}
