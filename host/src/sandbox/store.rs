//! What the sandbox knows: signals, the lists they stand in, and every post that arrived.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::rules::Progress;

/// The fields of a status post that are applied; the rest is recorded and ignored.
const APPLIED: [&str; 8] = [
    "status",
    "qmt_order_id",
    "retry_count",
    "last_error",
    "submitted_at",
    "executed_at",
    "filled_qty",
    "avg_price",
];

/// The kind of a post about an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PostKind {
    Status,
    Execution,
}

impl PostKind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Execution => "execution",
        }
    }
}

/// One post, however often it arrived.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) kind: PostKind,
    pub(super) key: Option<Box<str>>,
    pub(super) body: Box<RawValue>,
    pub(super) at_ms: i64,
    pub(super) arrivals: u32,
    /// How many of the arrivals got no answer.
    pub(super) unanswered: u32,
}

/// All that is known of one order id.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Where it stands in the list of signals; twice where a test wants it so.
    pub(super) entries: Vec<usize>,
    pub(super) applied: Map<String, Value>,
    pub(super) posts: Vec<Post>,
    pub(super) progress: Progress,
    pub(super) listed: u64,
}

/// A signal as it was given.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) asked: Box<RawValue>,
}

/// Numbers that are kept as they change, so that asking for them costs nothing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) signals: u64,
    pub(super) submitted: u64,
    pub(super) failed: u64,
    pub(super) retry_pending: u64,
    pub(super) executions: u64,
    pub(super) ended: u64,
    pub(super) concluded: u64,
    pub(super) arrivals: u64,
    pub(super) repeats: u64,
    pub(super) repeats_after_answer: u64,
}

/// A call without an order: the last body, and how often it came.
#[derive(Debug)]
pub(super) struct Sync {
    pub(super) count: u64,
    pub(super) last: Box<RawValue>,
}

/// The outcome of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    New,
    Repeat,
    UnknownOrder,
}

/// The sandbox's memory.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Valid tokens, each with its end in milliseconds where it has one.
    pub(super) tokens: HashMap<String, Option<i64>>,
    pub(super) entries: Vec<Entry>,
    pub(super) orders: HashMap<String, Record>,
    open: BTreeSet<usize>,
    submitted: BTreeSet<usize>,
    pub(super) violations: Vec<String>,
    pub(super) requests: BTreeMap<&'static str, u64>,
    pub(super) turned_away: BTreeMap<String, u64>,
    pub(super) syncs: BTreeMap<&'static str, Sync>,
    pub(super) counts: Counts,
}

/// More violations than this are counted among each other, not kept.
const MAX_VIOLATIONS: usize = 1000;

impl Store {
    /// Adds a signal under its `order_id`; one without gets a place in the list and can be posted about by nobody.
    pub(super) fn add(&mut self, fields: &Map<String, Value>) -> Result<String, serde_json::Error> {
        let asked = serde_json::value::to_raw_value(fields)?;
        let at = self.entries.len();
        let id = match fields.get("order_id") {
            Some(Value::String(id)) => id.clone(),
            _ => format!("(no order_id, entry {at})"),
        };
        let status = fields.get("status").and_then(Value::as_str).unwrap_or("pending");
        match status {
            "submitted" => self.submitted.insert(at),
            _ => self.open.insert(at),
        };
        self.entries.push(Entry {
            id: id.clone(),
            asked,
        });
        self.orders.entry(id.clone()).or_default().entries.push(at);
        self.counts.signals += 1;
        Ok(id)
    }

    /// The signals that can be taken, oldest first, as a JSON array, and how many they are.
    pub(super) fn list(&mut self, limit: usize, include_submitted: bool) -> (String, usize) {
        let held: &BTreeSet<usize> = &self.submitted;
        let chosen: Vec<usize> = if include_submitted {
            // Both are ordered, so that the first `limit` of each hold the first `limit` of all.
            let mut both: Vec<usize> = self
                .open
                .iter()
                .take(limit)
                .chain(held.iter().take(limit))
                .copied()
                .collect();
            both.sort_unstable();
            both.truncate(limit);
            both
        } else {
            self.open.iter().take(limit).copied().collect()
        };
        let mut text = String::with_capacity(chosen.len() * 400 + 2);
        text.push('[');
        for (n, at) in chosen.iter().enumerate() {
            if n > 0 {
                text.push(',');
            }
            let entry = &self.entries[*at];
            match self.orders.get_mut(&entry.id) {
                Some(record) => {
                    record.listed += 1;
                    text.push_str(&shown(entry, &record.applied));
                }
                None => text.push_str(entry.asked.get()),
            }
        }
        text.push(']');
        (text, chosen.len())
    }

    /// The signals that can be taken from a place in the list on, as messages of a stream: each with the place behind it.
    pub(super) fn pushed_from(&self, from: usize) -> Vec<String> {
        let open = self.open.range(from..).map(|at| {
            let entry = &self.entries[*at];
            let nothing = Map::new();
            let applied = self
                .orders
                .get(&entry.id)
                .map_or(&nothing, |record| &record.applied);
            let text = shown(entry, applied);
            // As one more field of the signal.
            match text.strip_suffix('}') {
                Some(fields) if fields.len() > 1 => format!("{fields},\"cursor\":\"{}\"}}", at + 1),
                _ => text,
            }
        });
        open.collect()
    }

    /// Records a post about an order and applies it if it is new.
    pub(super) fn post(
        &mut self,
        id: &str,
        kind: PostKind,
        key: Option<&str>,
        (raw, body): (Box<RawValue>, &Map<String, Value>),
        at_ms: i64,
    ) -> Recorded {
        let Some(record) = self.orders.get_mut(id) else {
            return Recorded::UnknownOrder;
        };
        self.counts.arrivals += 1;
        let mut wrong = Vec::new();
        if key.is_none() {
            wrong.push(format!("a {} without an Idempotency-Key", kind.as_str()));
        }
        if kind == PostKind::Execution && !body.get("execution_id").is_some_and(Value::is_string) {
            wrong.push("an execution without an execution_id".to_owned());
        }
        let same = |post: &&mut Post| post.kind == kind && key.is_some() && post.key.as_deref() == key;
        if let Some(post) = record.posts.iter_mut().find(same) {
            if post.body.get() != raw.get() {
                wrong.push(format!(
                    "the key {} came with another body",
                    key.unwrap_or_default()
                ));
            }
            self.counts.repeats += 1;
            if post.unanswered < post.arrivals {
                self.counts.repeats_after_answer += 1;
            }
            post.arrivals += 1;
            self.complain(id, wrong);
            return Recorded::Repeat;
        }
        let was_ended = record.progress.ended();
        wrong.extend(match kind {
            PostKind::Status => record.progress.status(body),
            PostKind::Execution => record.progress.execution(body),
        });
        let key = key.map(Box::from);
        record.posts.push(Post {
            kind,
            key,
            body: raw,
            at_ms,
            arrivals: 1,
            unanswered: 0,
        });
        match kind {
            PostKind::Status => self.apply_status(id, body),
            PostKind::Execution => {
                self.counts.executions += 1;
                self.counts.ended += u64::from(!was_ended && record.progress.ended());
                self.apply_end(id);
            }
        }
        self.complain(id, wrong);
        Recorded::New
    }

    /// Notes that the last post of this key got no answer.
    pub(super) fn unanswered(&mut self, id: &str, key: Option<&str>) {
        let posts = self.orders.get_mut(id).map(|record| &mut record.posts);
        let last = posts.and_then(|posts| posts.iter_mut().rev().find(|post| post.key.as_deref() == key));
        if let Some(post) = last {
            post.unanswered += 1;
        }
    }

    fn apply_status(&mut self, id: &str, body: &Map<String, Value>) {
        let Some(record) = self.orders.get_mut(id) else {
            return;
        };
        for field in APPLIED {
            if let Some(value) = body.get(field) {
                record.applied.insert(field.to_owned(), value.clone());
            }
        }
        self.counts.concluded += u64::from(body.contains_key("filled_qty"));
        let Some(status) = body.get("status").and_then(Value::as_str) else {
            return;
        };
        for at in &record.entries {
            self.open.remove(at);
            self.submitted.remove(at);
            match status {
                "retry_pending" => self.open.insert(*at),
                "submitted" => self.submitted.insert(*at),
                _ => false,
            };
        }
        match status {
            "submitted" => self.counts.submitted += 1,
            "failed" => self.counts.failed += 1,
            _ => self.counts.retry_pending += 1,
        }
    }

    /// An order that ended leaves the lists, and its signal takes the execution's word for a status.
    fn apply_end(&mut self, id: &str) {
        let Some(record) = self.orders.get_mut(id).filter(|record| record.progress.ended()) else {
            return;
        };
        for at in &record.entries {
            self.open.remove(at);
            self.submitted.remove(at);
        }
        if let Some(status) = record.progress.last_execution() {
            record.applied.insert("status".to_owned(), status.into());
        }
    }

    /// Records a call that is not about an order.
    pub(super) fn sync(&mut self, name: &'static str, body: Box<RawValue>) {
        match self.syncs.get_mut(name) {
            Some(sync) => {
                sync.count += 1;
                sync.last = body;
            }
            None => {
                self.syncs.insert(name, Sync { count: 1, last: body });
            }
        }
    }

    fn complain(&mut self, id: &str, wrong: Vec<String>) {
        let room = MAX_VIOLATIONS.saturating_sub(self.violations.len());
        self.violations
            .extend(wrong.into_iter().take(room).map(|text| format!("{id}: {text}")));
    }
}

/// A signal as it is listed: as given, with what was posted since on top.
fn shown(entry: &Entry, applied: &Map<String, Value>) -> String {
    if applied.is_empty() {
        return entry.asked.get().to_owned();
    }
    match serde_json::from_str::<Map<String, Value>>(entry.asked.get()) {
        Ok(mut fields) => {
            fields.extend(applied.clone());
            Value::Object(fields).to_string()
        }
        Err(_) => entry.asked.get().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn store(ids: &[&str]) -> Store {
        let mut store = Store::default();
        for id in ids {
            let fields = json!({ "order_id": id, "status": "pending", "size": 100 });
            store.add(fields.as_object().unwrap()).unwrap();
        }
        store
    }

    fn post(store: &mut Store, id: &str, kind: PostKind, key: &str, body: Value) -> Recorded {
        let raw = serde_json::value::to_raw_value(&body).unwrap();
        store.post(id, kind, Some(key), (raw, body.as_object().unwrap()), 0)
    }

    fn listed(store: &mut Store, include_submitted: bool) -> Vec<String> {
        let (text, count) = store.list(500, include_submitted);
        let list: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(list.len(), count);
        list.iter()
            .map(|signal| format!("{}:{}", signal["order_id"], signal["status"]).replace('"', ""))
            .collect()
    }

    #[test]
    fn lists_follow_the_status() {
        let mut store = store(&["A", "B", "C"]);
        let submitted = json!({ "status": "submitted", "qmt_order_id": "Q" });
        assert_eq!(
            post(&mut store, "B", PostKind::Status, "b1", submitted),
            Recorded::New
        );
        let failed = json!({ "status": "failed", "last_error": "bad" });
        post(&mut store, "C", PostKind::Status, "c1", failed);
        assert_eq!(listed(&mut store, false), ["A:pending"]);
        assert_eq!(listed(&mut store, true), ["A:pending", "B:submitted"]);
        let end = json!({ "status": "filled", "filled_size": 100, "size": 100, "execution_id": "e" });
        post(&mut store, "B", PostKind::Execution, "e", end);
        assert_eq!(listed(&mut store, true), ["A:pending"]);
        let retry = json!({ "status": "retry_pending", "last_error": "cash", "retry_count": 1 });
        post(&mut store, "A", PostKind::Status, "a1", retry);
        assert_eq!(listed(&mut store, false), ["A:retry_pending"]);
        assert_eq!(store.violations, Vec::<String>::new());
    }

    #[test]
    fn a_repeat_is_counted_and_changes_nothing() {
        let mut store = store(&["A"]);
        let submitted = json!({ "status": "submitted", "qmt_order_id": "Q" });
        post(&mut store, "A", PostKind::Status, "k", submitted.clone());
        store.unanswered("A", Some("k"));
        assert_eq!(
            post(&mut store, "A", PostKind::Status, "k", submitted.clone()),
            Recorded::Repeat
        );
        assert_eq!((store.counts.repeats, store.counts.repeats_after_answer), (1, 0));
        post(&mut store, "A", PostKind::Status, "k", submitted);
        assert_eq!((store.counts.repeats, store.counts.repeats_after_answer), (2, 1));
        let record = &store.orders["A"];
        assert_eq!((record.posts.len(), record.posts[0].arrivals), (1, 3));
        assert!(store.violations.is_empty());
        post(
            &mut store,
            "A",
            PostKind::Status,
            "k",
            json!({ "status": "failed", "last_error": "x" }),
        );
        assert!(
            store.violations[0].contains("another body"),
            "{:?}",
            store.violations
        );
    }

    #[test]
    fn what_is_not_known_and_what_has_no_id() {
        let mut store = store(&["A"]);
        assert_eq!(
            post(&mut store, "X", PostKind::Status, "k", json!({})),
            Recorded::UnknownOrder
        );
        store
            .add(json!({ "symbol": "600519.SH" }).as_object().unwrap())
            .unwrap();
        assert_eq!(store.list(500, false).1, 2);
        assert_eq!(store.list(1, false).1, 1);
    }
}
