//! What asks the process to end: signals, the console, and the program itself.

use std::io;

use tokio::sync::watch;

/// What asked the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownCause {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM; on Windows the console was closed, the user logs off, or the system shuts down.
    Terminate,
    /// A person, by `qt-host stop`.
    Stopped,
    /// The program itself, through [`ShutdownSender::request`].
    Requested,
}

impl ShutdownCause {
    /// The exit code of a process that this cause ended without waiting: 128 and the signal's number.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate | Self::Stopped => 143,
            Self::Requested => 0,
        }
    }
}

/// Asks for a shutdown from inside the program.
#[derive(Debug, Clone)]
pub struct ShutdownSender(watch::Sender<Option<ShutdownCause>>);

impl ShutdownSender {
    /// Asks for a shutdown. The first cause stays.
    pub fn request(&self, cause: ShutdownCause) {
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(cause);
            first
        });
    }
}

/// Learns that a shutdown was asked for; any number of clones, in any runtime.
#[derive(Debug, Clone)]
pub struct ShutdownReceiver(watch::Receiver<Option<ShutdownCause>>);

impl ShutdownReceiver {
    /// The cause, once a shutdown was asked for.
    pub fn cause(&self) -> Option<ShutdownCause> {
        *self.0.borrow()
    }

    /// Waits until a shutdown is asked for. Safe to drop and to call again.
    pub async fn wait(&mut self) -> ShutdownCause {
        match self.0.wait_for(Option::is_some).await.map(|cause| *cause) {
            Ok(Some(cause)) => cause,
            // Nobody is left who could ask: waiting on is right, ending is not.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

/// A shutdown that only the program itself can ask for.
fn shutdown_channel() -> (ShutdownSender, ShutdownReceiver) {
    let (sender, receiver) = watch::channel(None);
    (ShutdownSender(sender), ShutdownReceiver(receiver))
}

/// Takes Ctrl-C and SIGTERM: the first asks for a shutdown, the second ends the process at once with code 130 or
/// 143. They are watched on a thread of their own, so that a busy runtime cannot delay the second one.
/// To be called once in a process; the sender serves the program itself.
pub fn shutdown() -> io::Result<(ShutdownSender, ShutdownReceiver)> {
    let (sender, receiver) = shutdown_channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let asks = sender.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                asks.request(signals.next().await);
                let again = signals.next().await;
                super::exit(again.exit_code());
            });
        })?;
    Ok((sender, receiver))
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> ShutdownCause {
        tokio::select! {
            _ = self.interrupt.recv() => ShutdownCause::Interrupt,
            _ = self.terminate.recv() => ShutdownCause::Terminate,
        }
    }
}

#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
    broken: tokio::signal::windows::CtrlBreak,
    closed: tokio::signal::windows::CtrlClose,
    logoff: tokio::signal::windows::CtrlLogoff,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_logoff, ctrl_shutdown};
        Ok(Self {
            interrupt: ctrl_c()?,
            broken: ctrl_break()?,
            closed: ctrl_close()?,
            logoff: ctrl_logoff()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    async fn next(&mut self) -> ShutdownCause {
        tokio::select! {
            _ = self.interrupt.recv() => ShutdownCause::Interrupt,
            // What a program sends that ends a group of processes, where Ctrl-C reaches none.
            _ = self.broken.recv() => ShutdownCause::Interrupt,
            _ = self.closed.recv() => ShutdownCause::Terminate,
            _ = self.logoff.recv() => ShutdownCause::Terminate,
            _ = self.shutdown.recv() => ShutdownCause::Terminate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_cause_of_a_shutdown_stays() {
        let (sender, mut receiver) = shutdown_channel();
        assert_eq!(receiver.cause(), None);
        let mut other = receiver.clone();
        sender.request(ShutdownCause::Terminate);
        sender.request(ShutdownCause::Requested);
        assert_eq!(receiver.wait().await, ShutdownCause::Terminate);
        assert_eq!(other.wait().await, ShutdownCause::Terminate);
        assert_eq!(receiver.cause(), Some(ShutdownCause::Terminate));
    }

    /// Set in the child that the test below starts: the test program itself, as a process that takes signals.
    #[cfg(unix)]
    const CHILD: &str = "QT_TEST_SIGNALS_CHILD";

    /// Run by the test below; by itself it has nothing to show.
    #[cfg(unix)]
    #[test]
    fn child_that_takes_signals() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let (_sender, mut receiver) = shutdown().unwrap();
        println!("\nready");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        println!("\nasked {:?}", runtime.block_on(receiver.wait()));
        loop {
            std::thread::park();
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_first_signal_asks_and_the_second_ends_at_once() {
        use rustix::process::{Pid, Signal, kill_process};
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};
        let cases = [
            (Signal::TERM, Signal::TERM, "asked Terminate", 143),
            (Signal::INT, Signal::INT, "asked Interrupt", 130),
            (Signal::TERM, Signal::INT, "asked Terminate", 130),
        ];
        for (first, second, asked, code) in cases {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "system::shutdown::tests::child_that_takes_signals",
                    "--nocapture",
                ])
                .env(CHILD, "1")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let pid = Pid::from_child(&child);
            let mut lines = BufReader::new(child.stdout.take().unwrap())
                .lines()
                .map(Result::unwrap);
            assert!(lines.any(|line| line == "ready"));
            kill_process(pid, first).unwrap();
            assert!(lines.any(|line| line == asked), "{asked}");
            kill_process(pid, second).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(code));
        }
    }
}
