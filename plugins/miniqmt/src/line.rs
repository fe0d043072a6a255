//! A line to the bridge: requests with ids and deadlines one way, answers and numbered events the other.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::frame::{self, Frame};

/// Events that wait for the host. Behind a full queue the line is not read on, so that nothing is dropped.
const EVENTS: usize = 10_000;
/// A line of standard error that is longer is cut.
const LONGEST_LINE: u64 = 2_000;

/// What the bridge tells by itself.
#[derive(Debug)]
pub(crate) enum News {
    /// An event, in its order.
    Event {
        /// Its kind.
        kind: String,
        /// Its content.
        data: Value,
    },
    /// Events were lost: the books must be compared.
    Gap,
    /// The line is gone, and why.
    Ended(String),
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    /// No byte of it left.
    #[error("{0}")]
    NotSent(String),
    /// It left, and nobody knows what became of it.
    #[error("{0}")]
    NoAnswer(String),
}

type Waiting = Mutex<HashMap<u64, Sender<Frame>>>;

/// One line, from its start to its end.
pub(crate) struct Line {
    writer: Mutex<Box<dyn Write + Send>>,
    waiting: Waiting,
    next: AtomicU64,
    /// The number of the last event that came.
    last_event: AtomicU64,
    ended: OnceLock<String>,
    cut: Box<dyn Fn() + Send + Sync>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of a line's first request: one that no line before it has used, so that an answer that was meant for another line
/// is nobody's here.
fn first_number() -> u64 {
    const BITS: u32 = 48;
    // The library's own seed of its tables: other numbers in each process, and in each call.
    let random = RandomState::new().build_hasher().finish();
    (random & ((1 << BITS) - 1)).max(1)
}

impl Line {
    /// Starts reading. `cut` ends whatever lies behind the streams.
    pub(crate) fn new(
        reader: Box<dyn Read + Send>,
        writer: Box<dyn Write + Send>,
        cut: Box<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<(Arc<Self>, Receiver<News>)> {
        let line = Arc::new(Self {
            writer: Mutex::new(writer),
            waiting: Mutex::default(),
            next: AtomicU64::new(first_number()),
            last_event: AtomicU64::new(0),
            ended: OnceLock::new(),
            cut,
        });
        let (tell, news) = mpsc::sync_channel(EVENTS);
        let own = Arc::clone(&line);
        std::thread::Builder::new()
            .name("miniqmt-line".into())
            .spawn(move || own.read(BufReader::with_capacity(1 << 16, reader), &tell))?;
        Ok((line, news))
    }

    fn read(&self, mut stream: impl Read, tell: &SyncSender<News>) {
        let why = loop {
            match frame::read(&mut stream) {
                Ok(frame) => {
                    if !self.take(frame, tell) {
                        break "nobody listens to it any more".to_owned();
                    }
                }
                Err(e) => break format!("the line to the bridge: {e}"),
            }
        };
        self.end(&why);
        tell.send(News::Ended(self.why_ended())).ok();
    }

    fn take(&self, frame: Frame, tell: &SyncSender<News>) -> bool {
        if let Some(number) = frame.re {
            let more = frame.more;
            let mut waiting = lock(&self.waiting);
            // Nobody waits for an answer that came too late.
            if let Some(asker) = waiting.get(&number) {
                asker.send(frame).ok();
                if !more {
                    waiting.remove(&number);
                }
            }
            return true;
        }
        if let Some(number) = frame.ev {
            let before = self.last_event.swap(number, Ordering::Relaxed);
            if before != 0 && number != before + 1 && tell.send(News::Gap).is_err() {
                return false;
            }
            let (kind, data) = (frame.kind, frame.data);
            return tell.send(News::Event { kind, data }).is_ok();
        }
        if let Some(next) = frame.gap {
            self.last_event.store(next.saturating_sub(1), Ordering::Relaxed);
            return tell.send(News::Gap).is_ok();
        }
        true
    }

    /// Sends a frame that nobody answers.
    pub(crate) fn tell(&self, frame: Value) -> Result<(), Lost> {
        if self.has_ended() {
            return Err(Lost::NotSent(self.why_ended()));
        }
        // Where this fails nobody can tell how much of it left.
        frame::write(&mut **lock(&self.writer), frame).map_err(|e| {
            let why = format!("the line to the bridge: {e}");
            self.end(&why);
            Lost::NoAnswer(why)
        })
    }

    /// Says that the bridge hangs. A child is killed with its line; beyond a relay it would hang on, and is started again there.
    pub(crate) fn restart(&self) {
        self.tell(serde_json::json!({ "op": "restart" })).ok();
    }

    /// Asks and waits for the answer, at most so long for each of its frames; its rows are those of all of them.
    pub(crate) fn ask(&self, op: &str, request: Value, within: Duration) -> Result<Frame, Lost> {
        let mut rows = Vec::new();
        let mut frame = self.ask_each(op, request, within, &mut |row| rows.push(row))?;
        frame.rows = rows;
        Ok(frame)
    }

    /// The same, each row handed on as it comes: the list of a long day is never held as it travels.
    pub(crate) fn ask_each(
        &self,
        op: &str,
        mut request: Value,
        within: Duration,
        each: &mut dyn FnMut(Value),
    ) -> Result<Frame, Lost> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        request["op"] = op.into();
        request["id"] = number.into();
        let (asker, answers) = mpsc::channel();
        lock(&self.waiting).insert(number, asker);
        let answer = self
            .tell(request)
            .and_then(|()| self.wait(op, &answers, within, each));
        lock(&self.waiting).remove(&number);
        answer
    }

    fn wait(
        &self,
        op: &str,
        answers: &Receiver<Frame>,
        within: Duration,
        each: &mut dyn FnMut(Value),
    ) -> Result<Frame, Lost> {
        let mut until = Instant::now() + within;
        let mut rows = 0;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match answers.recv_timeout(left) {
                Ok(mut frame) => {
                    rows += frame.raw_rows.len();
                    for row in std::mem::take(&mut frame.raw_rows) {
                        // It was read as JSON with its frame.
                        let row = serde_json::from_str(row.get());
                        each(row.map_err(|e| {
                            Lost::NoAnswer(format!("a row of the bridge cannot be read: {e}"))
                        })?);
                    }
                    if frame.more {
                        // A list that goes on is not late, however long the day was.
                        until = Instant::now() + within;
                        continue;
                    }
                    if frame.count.is_some_and(|count| count != rows) {
                        return Err(Lost::NoAnswer(format!(
                            "the bridge's answer has {rows} of {} rows",
                            frame.count.unwrap_or_default()
                        )));
                    }
                    return Ok(frame);
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Lost::NoAnswer(format!(
                        "the bridge has not answered ({op}) within {} s",
                        within.as_secs_f32()
                    )));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Lost::NoAnswer(self.why_ended())),
            }
        }
    }

    /// Says from which event on the next are counted.
    pub(crate) fn events_from(&self, next: u64) {
        self.last_event.store(next.saturating_sub(1), Ordering::Relaxed);
    }

    /// The number of the last event that came.
    pub(crate) fn last_event(&self) -> u64 {
        self.last_event.load(Ordering::Relaxed)
    }

    /// Ends it; requests that wait come back.
    pub(crate) fn end(&self, why: &str) {
        if self.ended.set(why.to_owned()).is_ok() {
            (self.cut)();
        }
        lock(&self.waiting).clear();
    }

    /// True once it has ended: nothing that is asked over it is answered any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Why it ended.
    pub(crate) fn why_ended(&self) -> String {
        self.ended
            .get()
            .cloned()
            .unwrap_or_else(|| "the line has ended".to_owned())
    }
}

/// Makes a line of a child's standard input and output. What it says on standard error goes to `said`, without
/// `secret`.
pub(crate) fn of_child(
    mut child: Child,
    said: impl Fn(&str) + Send + 'static,
    secret: String,
) -> std::io::Result<(Arc<Line>, Receiver<News>)> {
    let missing = || std::io::Error::other("the child has no streams");
    let writer = child.stdin.take().ok_or_else(missing)?;
    let reader = child.stdout.take().ok_or_else(missing)?;
    if let Some(stderr) = child.stderr.take() {
        std::thread::Builder::new()
            .name("miniqmt-stderr".into())
            .spawn(move || listen(BufReader::new(stderr), &said, &secret))?;
    }
    let child = Mutex::new(child);
    let cut = move || {
        let mut child = lock(&child);
        child.kill().ok();
        // It is dead now: nothing of it stays behind in the system's table.
        child.wait().ok();
    };
    Line::new(Box::new(reader), Box::new(writer), Box::new(cut))
}

/// How a child's streams are.
pub(crate) fn streams() -> (Stdio, Stdio, Stdio) {
    (Stdio::piped(), Stdio::piped(), Stdio::piped())
}

fn listen(mut stderr: impl BufRead, said: &impl Fn(&str), secret: &str) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stderr).take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                said(&without(text.trim_end(), secret));
            }
        }
    }
}

/// A text without a secret in it.
pub(crate) fn without(text: &str, secret: &str) -> String {
    const SHORTEST: usize = 4;
    if secret.len() < SHORTEST {
        return text.to_owned();
    }
    text.replace(secret, "***")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Cursor;

    fn line(frames: &[Value]) -> (Arc<Line>, Receiver<News>) {
        let bytes: Vec<u8> = frames
            .iter()
            .flat_map(|frame| frame::pack(frame.clone()).expect("packed"))
            .collect();
        Line::new(
            Box::new(Cursor::new(bytes)),
            Box::new(std::io::sink()),
            Box::new(|| {}),
        )
        .expect("a line")
    }

    #[test]
    fn a_gap_in_the_numbers_is_told_before_the_event_behind_it() {
        let event = |number: u64| json!({ "ev": number, "kind": "order", "data": number });
        let (_line, news) = line(&[event(4), event(5), event(8), json!({ "gap": 20 }), event(20)]);
        let told: Vec<String> = news
            .iter()
            .map(|news| match news {
                News::Event { data, .. } => data.to_string(),
                News::Gap => "gap".to_owned(),
                News::Ended(_) => "end".to_owned(),
            })
            .collect();
        assert_eq!(told, ["4", "5", "gap", "8", "gap", "20", "end"]);
    }

    /// The list of a long day takes longer than any one of its frames: it once had to be whole within the time of one answer,
    /// and an account with very many orders could not be compared with at all.
    #[test]
    fn a_list_that_goes_on_is_not_late_and_one_that_stops_is() {
        const WITHIN: Duration = Duration::from_secs(2);
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let (asked, number) = mpsc::channel();
        struct Heard(mpsc::Sender<u64>);
        impl Write for Heard {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let request: Value = serde_json::from_slice(&bytes[4..])?;
                self.0.send(request["id"].as_u64().expect("a number")).ok();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (line, _news) =
            Line::new(Box::new(reader), Box::new(Heard(asked)), Box::new(|| {})).expect("a line");
        let bridge = std::thread::spawn(move || {
            let mut parts = |last: bool| {
                let number: u64 = number.recv().expect("a request");
                for _ in 0..8 {
                    std::thread::sleep(WITHIN / 6);
                    let part = json!({ "re": number, "ok": true, "more": true, "rows": [1, 2] });
                    frame::write(&mut writer, part).expect("written");
                }
                if last {
                    frame::write(&mut writer, json!({ "re": number, "ok": true, "count": 16 }))
                        .expect("written");
                }
            };
            parts(true);
            parts(false);
            writer
        });
        let began = Instant::now();
        let answer = line.ask("orders", json!({}), WITHIN).expect("a whole list");
        assert_eq!(answer.rows.len(), 16);
        assert!(began.elapsed() > WITHIN, "{:?}", began.elapsed());
        let lost = line
            .ask("orders", json!({}), WITHIN)
            .expect_err("its end never comes");
        assert!(matches!(lost, Lost::NoAnswer(_)), "{lost:?}");
        drop(bridge.join());
    }

    #[test]
    fn two_lines_never_use_the_same_number_for_a_request() {
        let (one, two) = (first_number(), first_number());
        assert!(one.abs_diff(two) > 1_000_000, "{one} {two}");
        assert!(one < 1 << 48 && two < 1 << 48);
    }

    #[test]
    fn a_request_on_a_line_that_ended_was_not_sent() {
        let (line, news) = line(&[]);
        assert!(matches!(news.recv(), Ok(News::Ended(_))));
        let lost = line
            .ask("ping", json!({}), Duration::from_secs(5))
            .expect_err("ended");
        assert!(matches!(lost, Lost::NotSent(_)), "{lost:?}");
    }

    #[test]
    fn a_secret_does_not_reach_the_log() {
        assert_eq!(
            without("account 55000001 is lost", "55000001"),
            "account *** is lost"
        );
        assert_eq!(without("1 of 10", "1"), "1 of 10");
    }
}
