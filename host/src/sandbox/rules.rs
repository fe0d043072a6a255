//! What a backend may expect of the posts about one order: their order, and that numbers only grow.

use rust_decimal::Decimal;
use serde_json::{Map, Value};

/// Statuses of an execution after which nothing more is filled.
const ENDS: [&str; 4] = ["filled", "partial_cancelled", "cancelled", "rejected"];

/// Where the posts about one order stand.
#[derive(Debug, Default)]
pub(super) struct Progress {
    submitted_as: Option<String>,
    filled: Decimal,
    avg_price: Option<Decimal>,
    last_execution: Option<String>,
    ended: bool,
    concluded: bool,
}

/// A number as the contract allows it: a JSON number, or one in a string.
pub(super) fn number(value: Option<&Value>) -> Option<Decimal> {
    let text = match value? {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    text.parse().ok().or_else(|| Decimal::from_scientific(&text).ok())
}

fn text<'a>(body: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    body.get(field).and_then(Value::as_str)
}

impl Progress {
    /// Takes a status post; gives what is wrong with it in its place.
    pub(super) fn status(&mut self, body: &Map<String, Value>) -> Vec<String> {
        let mut wrong = Vec::new();
        match text(body, "status") {
            Some("submitted") => self.submitted(text(body, "qmt_order_id"), &mut wrong),
            Some("failed" | "retry_pending") => {
                if !self.filled.is_zero() {
                    wrong.push(format!(
                        "reported as not placed after {} shares were filled",
                        self.filled
                    ));
                }
                if text(body, "last_error").is_none_or(str::is_empty) {
                    wrong.push("a status without success says no last_error".to_owned());
                }
                // What follows is about another attempt.
                *self = Self::default();
            }
            _ => {}
        }
        if body.contains_key("filled_qty") || body.contains_key("executed_at") {
            self.conclude(body, &mut wrong);
        }
        wrong
    }

    fn submitted(&mut self, broker_order_id: Option<&str>, wrong: &mut Vec<String>) {
        let Some(id) = broker_order_id.filter(|id| !id.is_empty()) else {
            wrong.push("submitted without qmt_order_id".to_owned());
            return;
        };
        match &self.submitted_as {
            Some(before) if before != id && !self.ended => {
                wrong.push(format!(
                    "submitted as {id} while {before} is open: two orders for one signal"
                ));
            }
            Some(before) if before != id && !self.filled.is_zero() => {
                wrong.push(format!(
                    "submitted as {id} although {before} filled {} shares",
                    self.filled
                ));
            }
            Some(before) if before == id => wrong.push(format!("submitted twice as {id} under two keys")),
            None if self.last_execution.is_some() => {
                wrong.push(format!("submitted as {id} after an execution was reported"));
            }
            _ => {}
        }
        *self = Self {
            submitted_as: Some(id.to_owned()),
            ..Self::default()
        };
    }

    fn conclude(&mut self, body: &Map<String, Value>, wrong: &mut Vec<String>) {
        if !self.ended {
            wrong.push("concluded before an execution ended the order".to_owned());
        }
        let said = number(body.get("filled_qty"));
        if said != Some(self.filled) {
            let said = said.map_or_else(|| "nothing".to_owned(), |n| n.to_string());
            wrong.push(format!(
                "concluded with filled_qty {said}, the last execution said {}",
                self.filled
            ));
        }
        if number(body.get("avg_price")) != self.avg_price {
            wrong.push("concluded with another avg_price than the last execution's".to_owned());
        }
        self.concluded = true;
    }

    /// Takes an execution; gives what is wrong with it in its place.
    pub(super) fn execution(&mut self, body: &Map<String, Value>) -> Vec<String> {
        let mut wrong = Vec::new();
        let status = text(body, "status").unwrap_or_default().to_owned();
        let filled = number(body.get("filled_size")).unwrap_or_default();
        let size = number(body.get("size")).unwrap_or_default();
        if self.submitted_as.is_none() && !filled.is_zero() {
            wrong.push("an execution with a fill before the order was reported as submitted".to_owned());
        }
        if filled < self.filled {
            wrong.push(format!("filled_size fell from {} to {filled}", self.filled));
        }
        if filled > size {
            wrong.push(format!("filled_size {filled} is more than the size {size}"));
        }
        if filled == self.filled && self.last_execution.as_deref() == Some(&status) {
            wrong.push(format!(
                "the execution {status} with {filled} shares came twice under two keys"
            ));
        }
        // A fill that comes after a cancel is true all the same and must be told.
        if self.ended && filled <= self.filled {
            wrong.push(format!("an execution {status} after the order had ended"));
        }
        let fits = match status.as_str() {
            "filled" => filled == size,
            "partial_filled" | "partial_cancelled" => !filled.is_zero() && filled < size,
            "cancelled" | "rejected" => filled.is_zero(),
            _ => false,
        };
        if !fits {
            wrong.push(format!(
                "status `{status}` does not fit {filled} of {size} shares"
            ));
        }
        self.filled = filled;
        self.avg_price = number(body.get("filled_price"));
        self.ended |= ENDS.contains(&status.as_str());
        self.last_execution = Some(status);
        wrong
    }

    /// Shares filled, as last reported.
    pub(super) const fn filled(&self) -> Decimal {
        self.filled
    }

    /// Whether an execution ended the order.
    pub(super) const fn ended(&self) -> bool {
        self.ended
    }

    /// The last execution's status.
    pub(super) fn last_execution(&self) -> Option<&str> {
        self.last_execution.as_deref()
    }

    /// Whether the status after the end came.
    pub(super) const fn concluded(&self) -> bool {
        self.concluded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    fn execution(status: &str, filled: u32) -> Map<String, Value> {
        body(json!({ "status": status, "filled_size": filled, "size": 300, "filled_price": "10.5" }))
    }

    fn submitted(id: &str) -> Map<String, Value> {
        body(json!({ "status": "submitted", "qmt_order_id": id }))
    }

    #[test]
    fn the_right_order_is_right() {
        let mut progress = Progress::default();
        assert!(progress.status(&submitted("Q1")).is_empty());
        assert!(progress.execution(&execution("partial_filled", 100)).is_empty());
        assert!(progress.execution(&execution("filled", 300)).is_empty());
        let end = body(json!({ "filled_qty": 300, "avg_price": 10.50, "executed_at": 1.0 }));
        assert_eq!(progress.status(&end), Vec::<String>::new());
        assert!(progress.concluded() && progress.ended());
    }

    #[test]
    fn what_is_out_of_place_is_said() {
        let mut early = Progress::default();
        assert_eq!(early.execution(&execution("partial_filled", 100)).len(), 1);
        let mut shrinking = Progress::default();
        shrinking.status(&submitted("Q1"));
        shrinking.execution(&execution("partial_filled", 200));
        assert!(shrinking.execution(&execution("partial_filled", 100))[0].contains("fell"));
        let mut unfinished = Progress::default();
        unfinished.status(&submitted("Q1"));
        let end = body(json!({ "filled_qty": 300, "avg_price": 10.5 }));
        assert_eq!(unfinished.status(&end).len(), 3);
        let mut double = Progress::default();
        double.status(&submitted("Q1"));
        assert!(double.status(&submitted("Q2"))[0].contains("two orders"));
        let mut again = Progress::default();
        again.status(&submitted("Q1"));
        again.execution(&execution("filled", 300));
        assert!(!again.execution(&execution("filled", 300)).is_empty());
    }

    #[test]
    fn a_fill_after_the_cancel_may_be_told() {
        let mut late = Progress::default();
        late.status(&submitted("Q1"));
        assert!(late.execution(&execution("cancelled", 0)).is_empty());
        assert!(late.execution(&execution("partial_cancelled", 100)).is_empty());
    }

    #[test]
    fn another_attempt_starts_anew() {
        let mut retried = Progress::default();
        retried.status(&submitted("Q1"));
        assert!(retried.execution(&execution("rejected", 0)).is_empty());
        assert!(
            retried
                .status(&body(json!({"status": "retry_pending", "last_error": "cash"})))
                .is_empty()
        );
        assert!(retried.status(&submitted("Q2")).is_empty());
    }
}
