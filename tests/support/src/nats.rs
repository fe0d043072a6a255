//! A real nats-server in a process of its own.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::wait_until;

/// Debian puts it where a user's path does not lead.
const PLACES: [&str; 2] = ["nats-server", "/usr/sbin/nats-server"];

/// What it is told besides.
const SETTINGS: &str = "settings.conf";

/// One with JetStream, on a port of its own; it ends with the value.
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    program: &'static str,
    folder: tempfile::TempDir,
    port: u16,
}

impl NatsServer {
    /// Nothing where the program is not installed, which is said; the gate installs it.
    ///
    /// # Panics
    /// When it is missing though `QT_NATS_NEEDED` is set.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// One with these settings besides.
    ///
    /// # Panics
    /// When it is missing though `QT_NATS_NEEDED` is set.
    #[must_use]
    pub fn start_with(settings: &str) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(SETTINGS), settings).unwrap();
        let started = PLACES
            .into_iter()
            .find_map(|program| Some((program, spawn(program, &folder, port)?)));
        let Some((program, child)) = started else {
            assert!(
                std::env::var_os("QT_NATS_NEEDED").is_none(),
                "nats-server is missing"
            );
            eprintln!("SKIPPED: nats-server is not installed (Debian has it in the package `nats-server`)");
            return None;
        };
        let server = Self {
            child,
            program,
            folder,
            port,
        };
        server.wait();
        Some(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends it as a loss of power would.
    ///
    /// # Panics
    /// When it is not there any more.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again with what it has kept.
    ///
    /// # Panics
    /// When it does not start.
    pub fn again(&mut self) {
        self.child = spawn(self.program, &self.folder, self.port).unwrap();
        self.wait();
    }

    fn wait(&self) {
        wait_until("nats-server listens", || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn(program: &str, folder: &tempfile::TempDir, port: u16) -> Option<Child> {
    let mut command = Command::new(program);
    command
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
        .arg(folder.path())
        .arg("-c")
        .arg(folder.path().join(SETTINGS));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}
