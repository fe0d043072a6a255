//! The judge: the broker's own ledger against what the backend was told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What the judge found wrong; nothing when all is well.
#[derive(Debug, Default)]
pub struct Verdict {
    /// A sentence each.
    pub faults: Vec<String>,
}

/// Compares. At most one accepted order for each client order id and each signal; every fill in
/// the ledger reported, and no more; nothing that the backend itself holds against the host.
#[must_use]
pub fn judge(ledger: &[Value], state: &Value) -> Verdict {
    let mut verdict = Verdict::default();
    let mut filled: BTreeMap<String, i64> = BTreeMap::new();
    let mut accepted: BTreeMap<String, usize> = BTreeMap::new();
    let mut live: BTreeSet<String> = BTreeSet::new();
    for line in ledger {
        let broker_id = text(&line["broker_order_id"]);
        match line["event"].as_str() {
            Some("accepted") => {
                *accepted.entry(text(&line["client_order_id"])).or_default() += 1;
                live.insert(broker_id);
            }
            Some("fill") => *filled.entry(broker_id).or_default() += number(&line["quantity"]),
            _ => {}
        }
    }
    for (id, count) in accepted.iter().filter(|(_, count)| **count > 1) {
        verdict
            .faults
            .push(format!("order {id} was accepted {count} times"));
    }
    let told = told(state, &mut verdict);
    for (broker_id, shares) in &filled {
        let reported = told.get(broker_id).copied().unwrap_or(0);
        if reported != *shares {
            verdict.faults.push(format!(
                "order {broker_id} has {shares} filled in the ledger and {reported} reported"
            ));
        }
    }
    for (broker_id, shares) in told
        .iter()
        .filter(|(id, shares)| **shares > 0 && !filled.contains_key(*id))
    {
        verdict.faults.push(format!(
            "{shares} shares of order {broker_id} were reported and never filled"
        ));
    }
    for violation in state["violations"].as_array().into_iter().flatten() {
        verdict.faults.push(format!("the backend: {violation}"));
    }
    verdict
}

/// Cumulative fill by the broker's order id, from the executions; each signal under one such id.
fn told(state: &Value, verdict: &mut Verdict) -> BTreeMap<String, i64> {
    let mut told = BTreeMap::new();
    for (signal, record) in state["signals"].as_object().into_iter().flatten() {
        let mut names = BTreeSet::new();
        for post in record["posts"].as_array().into_iter().flatten() {
            let body = &post["body"];
            if let Some(name) = body["qmt_order_id"].as_str() {
                names.insert(name.to_owned());
                if post["kind"] == "execution" {
                    let shares = number(&body["filled_size"]);
                    let so_far = told.entry(name.to_owned()).or_insert(0);
                    if shares < *so_far {
                        verdict
                            .faults
                            .push(format!("the fill of signal {signal} shrank to {shares}"));
                    }
                    *so_far = shares;
                }
            }
        }
        if names.len() > 1 {
            verdict.faults.push(format!(
                "signal {signal} became {} orders at the broker: {names:?}",
                names.len()
            ));
        }
    }
    told
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .or_else(|| value.to_string().trim_matches('"').parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_judge_can_say_no() {
        let accepted = json!({ "event": "accepted", "client_order_id": "C", "broker_order_id": "B" });
        let fill =
            json!({ "event": "fill", "client_order_id": "C", "broker_order_id": "B", "quantity": 100 });
        let post = |filled: i64| json!({ "kind": "execution", "body": { "qmt_order_id": "B", "filled_size": filled } });
        let state = |filled: i64| json!({ "signals": { "S": { "posts": [post(filled)] } } });
        let good = [accepted.clone(), fill.clone()];
        assert!(judge(&good, &state(100)).faults.is_empty());
        assert_eq!(
            judge(&[accepted.clone(), accepted, fill.clone()], &state(100))
                .faults
                .len(),
            1,
            "twice"
        );
        assert_eq!(judge(&good, &state(0)).faults.len(), 1, "lost");
        assert_eq!(judge(&good[..1], &state(100)).faults.len(), 1, "invented");
    }
}
