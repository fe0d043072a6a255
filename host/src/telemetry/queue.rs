//! Lines on their way to console and file. Whoever says something only copies it into memory: a slow disk, or a
//! terminal that stands still, never holds up an order.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::files::Sink;
use super::level::LogLevel;
use crate::clock::Clock;

/// Bytes that may wait for a place. More are dropped and counted: the memory of the machine is worth more.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// How long a writer waits for more after it wrote something, so that a thousand lines are not a thousand wake-ups.
/// A process that is killed loses at most so much of its log.
const GATHER: Duration = Duration::from_millis(5);

/// Console and file, each with a buffer and a thread of its own, so that neither waits for the other.
#[derive(Debug)]
pub struct Queue {
    console: Arc<Lane>,
    file: Arc<Lane>,
}

#[derive(Debug)]
struct Lane {
    state: Mutex<State>,
    /// Something waits.
    filled: Condvar,
    /// Everything is written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    dropped: u64,
    busy: bool,
    hurry: bool,
}

impl Queue {
    /// Starts both writers.
    pub fn start(console: impl Sink + 'static, file: impl Sink + 'static) -> std::io::Result<Arc<Self>> {
        let queue = Self {
            console: Lane::start("log-console", console)?,
            file: Lane::start("log-file", file)?,
        };
        Ok(Arc::new(queue))
    }

    /// Adds one line to both.
    pub fn push(&self, level: LogLevel, time: &str, target: &str, message: &str, fields: &str) {
        self.file
            .push(format_args!("{time} [{level}] {target}: {message}{fields}\n"));
        // The console's colours are put in by its sink: a line is the same for both up to there.
        self.console
            .push(format_args!("{time} [{level}] {target}: {message}{fields}\n"));
    }

    /// Adds a line that is whole already to both.
    pub fn push_line(&self, line: impl fmt::Display) {
        self.file.push(format_args!("{line}\n"));
        self.console.push(format_args!("{line}\n"));
    }

    /// Waits until both have written everything; false if that took longer than `timeout`.
    pub fn flush(&self, timeout: Duration) -> bool {
        let start = Clock::system().monotonic();
        let console = self.console.flush(timeout);
        self.file.flush(timeout.saturating_sub(start.elapsed())) && console
    }
}

impl Lane {
    fn start(name: &str, sink: impl Sink + 'static) -> std::io::Result<Arc<Self>> {
        let state = Mutex::new(State::default());
        let lane = Arc::new(Self {
            state,
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let inner = Arc::clone(&lane);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || inner.write_forever(sink))?;
        Ok(lane)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole lines behind: there is nothing to repair.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: fmt::Arguments<'_>) {
        let mut state = self.lock();
        if state.waiting.len() >= MAX_WAITING_BYTES {
            state.dropped += 1;
            return;
        }
        let was_empty = state.waiting.is_empty();
        // Writing into memory cannot fail.
        let _ = state.waiting.write_fmt(line);
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
    }

    fn flush(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        state.hurry = true;
        self.filled.notify_one();
        let pending = |state: &mut State| !state.waiting.is_empty() || state.busy;
        let (mut state, waited) = self
            .emptied
            .wait_timeout_while(state, timeout, pending)
            .unwrap_or_else(PoisonError::into_inner);
        state.hurry = false;
        !waited.timed_out()
    }

    fn write_forever(&self, mut sink: impl Sink) {
        let mut writing = Vec::new();
        loop {
            let dropped = {
                let mut state = self.lock();
                state.busy = false;
                if state.waiting.is_empty() {
                    self.emptied.notify_all();
                }
                state = self
                    .filled
                    .wait_while(state, |state| state.waiting.is_empty())
                    .unwrap_or_else(PoisonError::into_inner);
                std::mem::swap(&mut state.waiting, &mut writing);
                state.busy = true;
                std::mem::take(&mut state.dropped)
            };
            sink.write_lines(&writing);
            writing.clear();
            // A burst leaves a large buffer behind, which a program that runs for a year need not keep.
            writing.shrink_to(64 * 1024);
            if dropped > 0 {
                sink.write_lines(
                    format!(
                        "({dropped} log lines were dropped: they came faster than they could be written)\n"
                    )
                    .as_bytes(),
                );
            }
            self.gather();
        }
    }

    /// Lets a few more lines come together, unless somebody waits for the end.
    fn gather(&self) {
        let state = self.lock();
        let _ = self
            .filled
            .wait_timeout_while(state, GATHER, |state| !state.hurry);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A sink in memory.
    #[derive(Clone, Default)]
    pub(crate) struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Memory {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Sink for Memory {
        fn write_lines(&mut self, lines: &[u8]) {
            self.0.lock().unwrap().extend_from_slice(lines);
        }
    }

    /// A sink that stands still until it is let go.
    struct Stuck(std::sync::mpsc::Receiver<()>, Memory);

    impl Sink for Stuck {
        fn write_lines(&mut self, lines: &[u8]) {
            let _ = self.0.recv();
            self.1.write_lines(lines);
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let (console, file) = (Memory::default(), Memory::default());
        let queue = Queue::start(console.clone(), file.clone()).unwrap();
        for number in 0..5000 {
            queue.push(LogLevel::Info, "T", "t", &number.to_string(), "");
        }
        assert!(queue.flush(LONG));
        let expected: String = (0..5000)
            .map(|number| format!("T [INFO] t: {number}\n"))
            .collect();
        assert_eq!(file.text(), expected);
        assert_eq!(console.text(), expected);
    }

    #[test]
    fn a_stuck_console_holds_up_neither_speaker_nor_file() {
        let (go, wait) = std::sync::mpsc::channel();
        let (console, file) = (Memory::default(), Memory::default());
        let queue = Queue::start(Stuck(wait, console.clone()), file.clone()).unwrap();
        let message = "x".repeat(1024);
        let lines = 2 * MAX_WAITING_BYTES / 1024;
        for _ in 0..lines {
            queue.push(LogLevel::Info, "T", "t", &message, "");
            // The file's writer is given its turn, since this machine may have only one processor.
            if queue.file.lock().waiting.len() > MAX_WAITING_BYTES / 2 {
                assert!(queue.file.flush(LONG));
            }
        }
        assert!(!queue.console.flush(Duration::from_millis(1)));
        assert!(queue.file.flush(LONG));
        assert_eq!(file.text().lines().count(), lines);
        drop(go);
        assert!(queue.console.flush(LONG));
        let said = console.text();
        assert!(said.lines().count() < lines, "nothing was dropped");
        assert!(said.contains("log lines were dropped"));
    }
}
