//! The way of the author's `tracing` events to the host's log.
//!
//! A plugin has statics of its own, so the host's subscriber is invisible to it: an event of `tracing` in a plugin goes
//! nowhere until the plugin installs a subscriber. [`install`] does, in one line of `open`:
//!
//! ```
//! # use qt_plugin_api::*;
//! # fn open(cx: &OpenContext) {
//! qt_plugin_api::trace::install(&cx.log);
//! tracing::info!(orders = 3, "the session stands");
//! # }
//! ```
//!
//! Level, target and fields arrive apart from the message; the spans around an event come as the field `spans`. What the
//! host would not write is not put together.

use std::{
    fmt::Debug,
    sync::{OnceLock, PoisonError, RwLock},
};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{
    Registry,
    layer::{Context, Layer, SubscriberExt},
    registry::LookupSpan,
};

use crate::services::{HostLog, LogLevel, WeakLog};

/// The log of the broker that was opened last. It must not keep the host's context alive: this static never ends.
static CURRENT: RwLock<Option<WeakLog>> = RwLock::new(None);

/// Sends every `tracing` event of this plugin to the host's log, whatever thread it comes from.
///
/// Says whether it does: not if the plugin has set a global subscriber of its own, which then wants [`layer`] in it. It
/// may be called by every `open`; the log of the latest one is used.
pub fn install(log: &HostLog) -> bool {
    static DONE: OnceLock<bool> = OnceLock::new();
    direct(log);
    *DONE.get_or_init(|| tracing::subscriber::set_global_default(Registry::default().with(HostLayer)).is_ok())
}

/// The layer alone, for a subscriber that the author puts together.
pub fn layer(log: &HostLog) -> HostLayer {
    direct(log);
    HostLayer
}

fn direct(log: &HostLog) {
    *CURRENT.write().unwrap_or_else(PoisonError::into_inner) = Some(log.downgrade());
}

fn current() -> Option<HostLog> {
    let current = CURRENT.read().unwrap_or_else(PoisonError::into_inner);
    current.as_ref()?.upgrade()
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warning,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        _ => LogLevel::Trace,
    }
}

/// Hands events to the host's log.
#[derive(Clone, Copy, Debug)]
pub struct HostLayer;

/// The fields of a span, kept until an event inside it is written.
struct SpanFields(Map<String, Value>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for HostLayer {
    /// The host's level may change while the plugin runs, so nothing is decided for ever.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // A span is kept whatever its level, since an error inside it wants to say where it happened.
        metadata.is_span() || current().is_some_and(|log| log.enabled(level(*metadata.level())))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().replace(SpanFields(fields.0));
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            record.record(&mut fields);
            if let Some(kept) = span.extensions_mut().get_mut::<SpanFields>() {
                kept.0.append(&mut fields.0);
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(log) = current() else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut fields = fields.0;
        let message = match fields.remove("message") {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let spans: Vec<Value> = context
            .event_scope(event)
            .map(|scope| {
                let spans = scope.from_root().map(|span| {
                    let mut kept = Map::from_iter([("name".to_owned(), Value::from(span.name()))]);
                    if let Some(own) = span.extensions().get::<SpanFields>() {
                        kept.extend(own.0.clone());
                    }
                    Value::Object(kept)
                });
                spans.collect()
            })
            .unwrap_or_default();
        if !spans.is_empty() {
            fields.insert("spans".to_owned(), Value::Array(spans));
        }
        let metadata = event.metadata();
        log.log_with(level(*metadata.level()), metadata.target(), &message, &fields);
    }
}

/// Fields as JSON, each in its own type where JSON has it.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }
}
