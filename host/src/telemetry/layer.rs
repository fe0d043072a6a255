//! Turns an event into one line, `YYYY-MM-DD HH:MM:SS [LEVEL] target: message key=value`.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::format::{JsonFields, JsonLine, LogFormat};
use super::level::LogLevel;
use super::queue::Queue;
use crate::clock::Clock;

/// Writes every event that is important enough into the queue.
pub struct LineLayer {
    least: LogLevel,
    format: LogFormat,
    queue: Arc<Queue>,
    /// Looked up with the first line: where the system names its zone, a whole tree of folders is read for it.
    zone: LazyLock<TimeZone>,
}

impl LineLayer {
    /// A layer that leaves out what is below `least`.
    pub fn new(least: LogLevel, format: LogFormat, queue: Arc<Queue>) -> Self {
        Self {
            least,
            format,
            queue,
            zone: LazyLock::new(TimeZone::system),
        }
    }
}

/// The account that a span's lines are about.
struct Account(String);

impl Visit for Account {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == super::ACCOUNT {
            self.0.clear();
            // Writing into a text cannot fail.
            let _ = Escaped(&mut self.0).write_fmt(format_args!("{value:?}"));
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LineLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut account = Account(String::new());
        attributes.record(&mut account);
        if let Some(span) = context.span(id).filter(|_| !account.0.is_empty()) {
            span.extensions_mut().insert(account);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        thread_local! {
            static TEXT: RefCell<Text> = RefCell::default();
        }
        TEXT.with(|text| {
            // An event from inside the formatting of another, on the same thread, finds the buffer taken.
            let Ok(mut text) = text.try_borrow_mut() else {
                return;
            };
            text.clear();
            event.record(&mut *text);
            let level = text.level(*event.metadata().level());
            if level >= self.least {
                if self.format == LogFormat::Json {
                    return self.push_json(event, level, &mut text, &context);
                }
                for span in context.event_scope(event).into_iter().flatten() {
                    if let Some(Account(account)) = span.extensions().get() {
                        // As above.
                        let _ = write!(text.fields, " {}={account}", super::ACCOUNT);
                    }
                }
                let second = Clock::system().now_ms().div_euclid(1000);
                let Text {
                    stamp,
                    message,
                    fields,
                    ..
                } = &mut *text;
                let time = stamp.at(second, &self.zone);
                self.queue
                    .push(level, time, event.metadata().target(), message, fields);
            }
        });
    }
}

impl LineLayer {
    /// The same event as an object. Its texts come as they are: an object's own escapes keep it one line.
    fn push_json<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
        event: &Event<'_>,
        level: LogLevel,
        text: &mut Text,
        context: &Context<'_, S>,
    ) {
        text.message.clear();
        let mut raw = Raw {
            message: std::mem::take(&mut text.message),
            fields: std::mem::take(&mut text.json),
        };
        event.record(&mut raw);
        let account = context.event_scope(event).into_iter().flatten().find_map(|span| {
            span.extensions()
                .get::<Account>()
                .map(|account| account.0.clone())
        });
        let moment = Timestamp::from_millisecond(Clock::system().now_ms()).unwrap_or(Timestamp::UNIX_EPOCH);
        let time = moment
            .to_zoned_datetime(self.zone.clone())
            .strftime("%Y-%m-%dT%H:%M:%S%.3f%:z")
            .to_string();
        self.queue.push_line(JsonLine {
            time: &time,
            level,
            target: event.metadata().target(),
            message: &raw.message,
            account: account.as_deref(),
            fields: &raw.fields,
        });
        text.message = raw.message;
        text.json = raw.fields;
        text.json.clear();
    }
}

/// An event's parts with their types.
struct Raw {
    message: String,
    fields: JsonFields,
}

impl Visit for Raw {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing into a text cannot fail.
            let _ = write!(self.message, "{value:?}");
        } else {
            self.fields.add(field.name(), &format!("{value:?}").into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.fields.add(field.name(), &value.into());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.add(field.name(), &value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.add(field.name(), &value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        // That it is critical stands in the level.
        if field.name() != "critical" {
            self.fields.add(field.name(), &value.into());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.fields.add(field.name(), &value.to_string().into());
    }
}

/// The local time of the last event, since formatting it anew costs more than the rest of the line.
#[derive(Default)]
struct Stamp {
    second: Option<i64>,
    text: String,
}

impl Stamp {
    fn at(&mut self, second: i64, zone: &TimeZone) -> &str {
        if self.second != Some(second) {
            let moment = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
            self.text = moment
                .to_zoned_datetime(zone.clone())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string();
            self.second = Some(second);
        }
        &self.text
    }
}

/// An event's message and its other fields.
#[derive(Default)]
struct Text {
    stamp: Stamp,
    message: String,
    fields: String,
    critical: bool,
    json: JsonFields,
}

impl Text {
    fn clear(&mut self) {
        self.message.clear();
        self.fields.clear();
        self.critical = false;
    }

    fn level(&self, level: Level) -> LogLevel {
        match level {
            Level::ERROR if self.critical => LogLevel::Critical,
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warning,
            Level::INFO => LogLevel::Info,
            _ => LogLevel::Debug,
        }
    }

    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing into a text cannot fail, only a value's own formatting can; then its part is missing.
        let _ = if field.name() == "message" {
            Escaped(&mut self.message).write_fmt(value)
        } else {
            let _ = write!(self.fields, " {}=", field.name());
            Escaped(&mut self.fields).write_fmt(value)
        };
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "critical" {
            self.critical = value;
        } else {
            self.add(field, format_args!("{value}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, format_args!("{value}"));
    }
}

/// Keeps a line one line: text from outside may hold line breaks and terminal codes, and nobody may forge a line.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !text.chars().any(char::is_control) {
            self.0.push_str(text);
            return Ok(());
        }
        for c in text.chars() {
            if c.is_control() {
                self.0.extend(c.escape_default());
            } else {
                self.0.push(c);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::tests::Memory;
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    fn said(least: LogLevel, say: impl FnOnce()) -> String {
        said_as(LogFormat::Text, least, say)
    }

    fn said_as(format: LogFormat, least: LogLevel, say: impl FnOnce()) -> String {
        let (console, file) = (Memory::default(), Memory::default());
        let queue = Queue::start(console.clone(), file.clone()).unwrap();
        let mut layer = LineLayer::new(least, format, Arc::clone(&queue));
        layer.zone = LazyLock::new(|| TimeZone::fixed(jiff::tz::offset(8)));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        assert!(queue.flush(std::time::Duration::from_secs(10)));
        assert_eq!(console.text(), file.text());
        file.text()
    }

    #[test]
    fn a_line_has_time_level_target_message_and_fields() {
        let text = said(LogLevel::Debug, || {
            tracing::warn!(target: "quantTrader", order_id = "ORD-1", size = 100, late = true, "Late by {} s", 3);
        });
        let (time, rest) = text.split_at(19);
        assert!(
            jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", time).is_ok(),
            "{time}"
        );
        assert_eq!(
            rest,
            " [WARNING] quantTrader: Late by 3 s order_id=ORD-1 size=100 late=true\n"
        );
    }

    #[test]
    fn lines_within_an_accounts_span_name_it_on_whatever_thread() {
        let text = said(LogLevel::Info, || {
            let span = super::super::of_account("SA-1/****0001\n[INFO] forged");
            let _inside = span.enter();
            tracing::info!(size = 100, "here");
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            let there = super::super::thread("there", move || {
                tracing::dispatcher::with_default(&dispatch, || tracing::info!("there"));
            });
            there.unwrap().join().unwrap();
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        let account = r" account=SA-1/****0001\n[INFO] forged";
        assert!(lines[0].ends_with(&format!(": here size=100{account}")), "{text}");
        assert!(lines[1].ends_with(&format!(": there{account}")), "{text}");
        let without = said(LogLevel::Info, || tracing::info!("nobody's"));
        assert!(without.ends_with(": nobody's\n"), "{without}");
    }

    #[test]
    fn a_line_of_json_has_everything_with_its_type_and_stays_one_line() {
        let text = said_as(LogFormat::Json, LogLevel::Info, || {
            let _inside = super::super::of_account("SA-1/****0001").entered();
            tracing::error!(target: "quantTrader", critical = true, size = 100, late = false, reason = "a\nb", "x\n\"y\" 券商");
            tracing::debug!("left out");
            tracing::info!("plain");
        });
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        let time = lines[0]["time"].as_str().unwrap();
        assert!(
            time.ends_with("+08:00") && time.parse::<Timestamp>().is_ok(),
            "{time}"
        );
        let expected = serde_json::json!({
            "time": time, "level": "CRITICAL", "target": "quantTrader", "message": "x\n\"y\" 券商", "account": "SA-1/****0001",
            "fields": { "size": 100, "late": false, "reason": "a\nb" },
        });
        assert_eq!(lines[0], expected);
        assert_eq!(lines[1]["message"], "plain");
        assert!(lines[1].get("fields").is_none());
    }

    #[test]
    fn levels_have_the_names_of_the_specification() {
        let text = said(LogLevel::Debug, || {
            tracing::debug!("a");
            tracing::info!("b");
            tracing::warn!("c");
            tracing::error!("d");
            tracing::error!(critical = true, "e");
            tracing::error!(critical = false, "f");
        });
        let levels: Vec<_> = text.lines().filter_map(|line| line.split(' ').nth(2)).collect();
        assert_eq!(
            levels,
            [
                "[DEBUG]",
                "[INFO]",
                "[WARNING]",
                "[ERROR]",
                "[CRITICAL]",
                "[ERROR]"
            ]
        );
    }

    #[test]
    fn at_critical_ordinary_errors_are_left_out() {
        let text = said(LogLevel::Critical, || {
            tracing::error!("ordinary");
            tracing::error!(critical = true, "act now");
        });
        assert_eq!(text.lines().count(), 1);
        assert!(text.ends_with("act now\n"), "{text}");
    }

    #[test]
    fn nobody_can_forge_a_line_or_send_terminal_codes() {
        let text = said(LogLevel::Info, || {
            tracing::info!(
                reason = "a\nb",
                "x\n2026-01-01 00:00:00 [INFO] forged\x1b[2J 券商"
            );
        });
        assert_eq!(text.lines().count(), 1);
        assert!(
            text.contains(r"x\n2026-01-01") && text.contains(r"\u{1b}[2J 券商 reason=a\nb"),
            "{text}"
        );
    }

    #[test]
    fn times_are_local_and_formatted_once_a_second() {
        let mut stamp = Stamp::default();
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        assert_eq!(stamp.at(1_766_378_096, &zone), "2025-12-22 12:34:56");
        assert_eq!(stamp.at(1_766_378_097, &zone), "2025-12-22 12:34:57");
        assert_eq!(stamp.at(-1, &zone), "1970-01-01 07:59:59");
    }
}
