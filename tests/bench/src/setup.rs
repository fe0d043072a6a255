//! What every measurement needs: the binaries, a host's configuration, a host.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::process::{self, Usage};

/// The files and sizes of a run.
#[derive(Debug)]
pub struct Setup {
    /// The host's binary.
    pub qt_host: PathBuf,
    /// The plugin that notes when it was called.
    pub bench_broker: PathBuf,
    /// Signals of the long measurement.
    pub signals_a_day: usize,
}

impl Setup {
    /// Everything lies beside this program.
    pub fn new() -> Self {
        Self {
            qt_host: qt_test_support::qt_host(),
            bench_broker: qt_test_support::plugin("bench_broker"),
            signals_a_day: 100_000,
        }
    }
}

/// Where a backend is, and its token.
#[derive(Debug, Clone)]
pub struct Address {
    /// `http://…/api`.
    pub base_url: String,
    /// The bearer token.
    pub token: String,
}

/// A folder with a configuration, on which hosts run one after the other.
#[derive(Debug)]
pub struct Desk<'a> {
    setup: &'a Setup,
    folder: tempfile::TempDir,
    config: Value,
}

impl<'a> Desk<'a> {
    /// A desk with the simulated broker.
    pub fn simulated(setup: &'a Setup, backend: &Address) -> Self {
        let broker = json!({ "cash": 100_000_000_000_i64, "positions":
            [{ "symbol": "000858.SZ", "quantity": 100, "avg_cost": 40, "last_price": 43.2 }] });
        Self::new(setup, backend, "simulated", |_| broker)
    }

    /// A desk with the broker that notes when it was called.
    pub fn noting(setup: &'a Setup, backend: &Address) -> Self {
        let mut desk = Self::new(
            setup,
            backend,
            "bench",
            |folder| json!({ "orders": folder.join("orders.bin") }),
        );
        desk.config["plugins"] = json!([setup.bench_broker]);
        desk
    }

    fn new(setup: &'a Setup, backend: &Address, broker: &str, block: impl FnOnce(&Path) -> Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = json!({
            "api_base_url": backend.base_url, "api_token": backend.token, "broker": broker, "poll_interval": 0.02,
            "data_dir": folder.path().join("data"), "log_level": "WARNING", "signals_stream": "off",
            "execution": { "position_sync_interval_seconds": 0, "heartbeat_interval_seconds": 0,
                           "reconcile_interval_seconds": 3600 },
        });
        config[broker] = block(folder.path());
        Self {
            setup,
            folder,
            config,
        }
    }

    /// Another value for a setting.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Starts a host.
    pub fn host(&self) -> Host {
        let config = self.folder.path().join("config.json");
        std::fs::write(&config, self.config.to_string()).unwrap();
        let log = std::fs::File::create(self.folder.path().join("host.log")).unwrap();
        let child = Command::new(&self.setup.qt_host)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Host(child)
    }

    /// The bytes of the journal, its write-ahead part included.
    pub fn journal_bytes(&self) -> u64 {
        let size = |name: &str| {
            let path = self.folder.path().join("data").join(name);
            path.metadata().map_or(0, |file| file.len())
        };
        size("journal.db") + size("journal.db-wal")
    }

    /// When the noting broker was called, in monotonic ns, in order.
    pub fn calls(&self) -> Vec<u64> {
        let bytes = std::fs::read(self.folder.path().join("orders.bin")).unwrap_or_default();
        let at = |record: &[u8]| u64::from_le_bytes(record[36..44].try_into().unwrap());
        bytes.chunks_exact(44).map(at).collect()
    }
}

/// A running host; killed when it goes out of scope.
#[derive(Debug)]
pub struct Host(Child);

impl Host {
    /// CPU and memory of it.
    pub fn usage(&self) -> Usage {
        process::usage(self.0.id()).expect("the host has ended")
    }

    /// True once it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(Some(_)))
    }

    /// Asks for its end and waits for it.
    pub fn stop(mut self) {
        process::terminate(self.0.id());
        self.0.wait().unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// `count` signals from number `first` on, each as JSON, at a limit in yuan.
pub fn signals(first: usize, count: usize, price: &str) -> impl Iterator<Item = String> {
    let price = price.to_owned();
    (first..first + count).map(move |n| {
        format!(
            r#"{{"order_id":"S{n:06}","symbol":"000858.SZ","action":"BUY","size":100,"price":{price},"status":"pending","is_executable":true,"mode":"live"}}"#
        )
    })
}
