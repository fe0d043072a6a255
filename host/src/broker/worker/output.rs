//! What a plugin in a worker writes to standard output and standard error: into the log, line by line, and not more
//! of it than anybody would read.

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use qt_plugin_api::LogLevel;

/// A longer line is cut into several.
const LONGEST: u64 = 2048;
/// Lines logged in [`PERIOD`].
const LINES: u32 = 20;
const PERIOD: Duration = Duration::from_secs(1);
/// A shorter account number would blot out half of what is said.
const SHORTEST_SECRET: usize = 4;

/// Lets so many lines pass in each [`PERIOD`], and counts the others.
#[derive(Debug)]
pub(super) struct Flood {
    most: u32,
    began: Instant,
    passed: u32,
    left_out: u64,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passing {
    /// How many were left out before it, where it is time to say so.
    pub(super) left_out: u64,
    /// It passes.
    pub(super) passes: bool,
}

impl Flood {
    /// At most so many lines in each period, the first of which begins at `now`.
    pub(super) const fn new(most: u32, now: Instant) -> Self {
        Self {
            most,
            began: now,
            passed: 0,
            left_out: 0,
        }
    }

    /// Takes note of a line.
    pub(super) fn line(&mut self, now: Instant) -> Passing {
        let mut left_out = 0;
        if now.duration_since(self.began) >= PERIOD {
            left_out = std::mem::take(&mut self.left_out);
            self.began = now;
            self.passed = 0;
        }
        let passes = self.passed < self.most;
        if passes {
            self.passed += 1;
        } else {
            self.left_out += 1;
        }
        Passing { left_out, passes }
    }

    /// How many were left out and not told yet.
    pub(super) const fn rest(&mut self) -> u64 {
        std::mem::replace(&mut self.left_out, 0)
    }
}

/// The limit for an author's log: what went wrong has room of its own, beside however much else is said.
#[derive(Debug)]
pub(super) struct Floods {
    plain: Flood,
    troubles: Flood,
}

impl Floods {
    /// As [`Flood::new`], for either.
    pub(super) const fn new(most: u32, now: Instant) -> Self {
        Self {
            plain: Flood::new(most, now),
            troubles: Flood::new(most, now),
        }
    }

    /// Takes note of a line of this weight.
    pub(super) fn line(&mut self, level: LogLevel, now: Instant) -> Passing {
        if level >= LogLevel::Warning {
            self.troubles.line(now)
        } else {
            self.plain.line(now)
        }
    }

    /// How many were left out and not told yet.
    pub(super) const fn rest(&mut self) -> u64 {
        self.plain.rest() + self.troubles.rest()
    }
}

/// What is said of lines that were left out.
pub(super) fn left_out(count: u64) -> String {
    format!("({count} more lines are left out)")
}

/// Which of the two it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Takes lines until the stream ends, on a thread of its own; `secret` does not reach the log.
pub(super) fn capture(
    stream: impl Read + Send + 'static,
    source: Source,
    secret: Option<String>,
) -> std::io::Result<()> {
    let secret = secret.filter(|secret| secret.len() >= SHORTEST_SECRET);
    crate::telemetry::thread("worker-output", move || {
        pass_on(stream, secret.as_deref(), Instant::now, |line| match source {
            Source::Out => tracing::info!(target: "plugin", part = "stdout", "{line}"),
            Source::Err => tracing::warn!(target: "plugin", part = "stderr", "{line}"),
        });
    })
    .map(drop)
}

fn pass_on(stream: impl Read, secret: Option<&str>, now: impl Fn() -> Instant, mut log: impl FnMut(&str)) {
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    let mut flood = Flood::new(LINES, now());
    loop {
        bytes.clear();
        match (&mut reader).take(LONGEST).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let line = flood.line(now());
        say_left_out(line.left_out, &mut log);
        if line.passes {
            log(&readable(&bytes, secret));
        }
    }
    say_left_out(flood.rest(), &mut log);
}

fn say_left_out(count: u64, log: &mut impl FnMut(&str)) {
    if count > 0 {
        log(&left_out(count));
    }
}

/// One line of text, whatever the bytes are.
fn readable(bytes: &[u8], secret: Option<&str>) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut line = String::new();
    for c in text.trim_end_matches(['\n', '\r']).chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    match secret {
        Some(secret) => line.replace(secret, "***"),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(bytes: &[u8], secret: Option<&str>) -> Vec<String> {
        let mut lines = Vec::new();
        let at = Instant::now();
        pass_on(bytes, secret, || at, |line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn any_bytes_become_lines_without_control_characters() {
        let lines = logged(b"plain\r\n\x1b[31mred\xff\n\0tail", None);
        assert_eq!(lines, ["plain", "\\u{1b}[31mred\u{fffd}", "\\u{0}tail"]);
    }

    #[test]
    fn what_went_wrong_is_not_lost_among_what_is_only_said() {
        let at = Instant::now();
        let mut floods = Floods::new(2, at);
        let mut passes = |level| floods.line(level, at).passes;
        assert_eq!(
            [
                passes(LogLevel::Info),
                passes(LogLevel::Debug),
                passes(LogLevel::Info)
            ],
            [true, true, false]
        );
        assert_eq!(
            [
                passes(LogLevel::Error),
                passes(LogLevel::Warning),
                passes(LogLevel::Error)
            ],
            [true, true, false]
        );
        assert_eq!(floods.rest(), 2);
        assert_eq!(
            floods.line(LogLevel::Info, at + PERIOD),
            Passing {
                left_out: 0,
                passes: true
            }
        );
    }

    #[test]
    fn a_flood_is_counted_and_an_endless_line_is_cut() {
        let lines = logged("x\n".repeat(1000).as_bytes(), None);
        assert_eq!(lines.len(), LINES as usize + 1);
        assert_eq!(lines.last().unwrap(), "(980 more lines are left out)");
        let lines = logged(&vec![b'y'; 5000], None);
        assert_eq!(
            lines.iter().map(String::len).collect::<Vec<_>>(),
            [2048, 2048, 904]
        );
    }

    #[test]
    fn the_account_number_is_masked() {
        assert_eq!(logged(b"login 10203040 ok\n", Some("10203040")), ["login *** ok"]);
    }
}
