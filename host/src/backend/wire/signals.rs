//! An answer with signals, taken apart one signal at a time: a bad one never spoils the others.

use std::collections::{BTreeMap, HashSet};

use qt_core::{InvalidSignal, Signal, SignalId, UtcMillis};
use qt_market::{Side, Symbol};
use serde_json::Value;

use super::field::{Fields, Problem};
use super::{WireError, message_of, number, shown};

/// The most signals that one answer may hold, by the contract.
pub(crate) const MAX_SIGNALS: usize = 500;
/// An order for more shares is a mistake.
const MAX_SIZE: i64 = 100_000_000;
/// Names of signals are not longer, in characters.
const MAX_ORDER_ID: usize = 128;
/// 2000-01-01 00:00 UTC: a signal that ended before is a mistake in units.
const YEAR_2000: UtcMillis = UtcMillis(946_684_800_000);
/// Where the backend says nothing.
const DEFAULT_PRIORITY: i64 = 1000;

/// Which signals of an answer are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// Those that wait to be executed.
    Pending,
    /// Those that the backend believes to be at the broker.
    Submitted,
}

/// Where signals are asked for, under the base address.
pub(crate) fn signals_path(limit: usize, view: View) -> String {
    let submitted = view == View::Submitted;
    format!(
        "trader/signals?limit={}&include_submitted={submitted}",
        limit.clamp(1, MAX_SIGNALS)
    )
}

/// What an answer held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SignalsAnswer {
    /// How many entries the answer had.
    pub(crate) entries: usize,
    /// Understood, in the order of the answer.
    pub(crate) taken: Vec<Signal>,
    /// Not understood.
    pub(crate) invalid: Vec<InvalidSignal>,
    /// The accounts that those with a name are for, where that could be read.
    pub(crate) invalid_for: BTreeMap<SignalId, String>,
    /// Left alone because `is_executable` is false.
    pub(crate) not_executable: usize,
    /// The sales of plans among these, with their plans: a purchase of such a plan cannot be told to come after all of its
    /// sales.
    pub(crate) sales_left: Vec<(Option<SignalId>, String)>,
    /// Left alone because `mode` is not `live`.
    pub(crate) not_live: usize,
    /// Left alone because of their `status`.
    pub(crate) other_status: usize,
    /// The names of those that are left alone for another reason than `is_executable`.
    pub(crate) passed_over: Vec<SignalId>,
    /// Names that came a second time: the first one counts. Each comes again here.
    pub(crate) duplicates: Vec<SignalId>,
    /// Entries beyond the limit, not looked at: they will come again.
    pub(crate) beyond_limit: usize,
}

impl SignalsAnswer {
    /// How many were left alone.
    pub(crate) const fn skipped(&self) -> usize {
        self.not_executable + self.not_live + self.other_status
    }
}

/// Takes an answer apart.
///
/// # Errors
///
/// The answer as a whole is not one with signals.
pub(crate) fn signals(answer: &Value, view: View) -> Result<SignalsAnswer, WireError> {
    let fields = answer
        .as_object()
        .ok_or_else(|| WireError::NotAnObject(shown(answer)))?;
    match fields.get("success") {
        None | Some(Value::Bool(true)) => {}
        Some(_) => return Err(WireError::NoSuccess(message_of(answer))),
    }
    let data = fields.get("data").ok_or(WireError::NoData)?;
    let data = data
        .as_array()
        .ok_or_else(|| WireError::DataNotAList(shown(data)))?;

    let mut found = SignalsAnswer {
        entries: data.len(),
        beyond_limit: data.len().saturating_sub(MAX_SIGNALS),
        ..SignalsAnswer::default()
    };
    let mut seen = HashSet::new();
    for (position, entry) in data.iter().take(MAX_SIGNALS).enumerate() {
        // A name counts from the first time, whatever became of that entry: two entries of one
        // name contradict each other, and the safe reading is never to trade on the second.
        if let Some(name) = entry.get("order_id").and_then(Value::as_str)
            && !seen.insert(name)
        {
            found.duplicates.push(SignalId(super::cut(name, MAX_ORDER_ID)));
            continue;
        }
        take_one(&mut found, entry, position, view);
    }
    Ok(found)
}

enum Verdict {
    Taken(Box<Signal>),
    NotExecutable,
    NotLive,
    OtherStatus,
}

fn take_one(found: &mut SignalsAnswer, entry: &Value, position: usize, view: View) {
    let Some(map) = entry.as_object() else {
        let reason = format!(
            "signal {} of the answer is {}: expected an object",
            position + 1,
            shown(entry)
        );
        found.invalid.push(InvalidSignal {
            id: None,
            reason,
            retry_count: 0,
        });
        return;
    };
    let fields = Fields(map);
    match judge(&fields, view) {
        Ok(Verdict::Taken(signal)) => found.taken.push(*signal),
        Ok(Verdict::NotExecutable) => {
            found.not_executable += 1;
            let is_sale = fields.optional("action", "BUY or SELL", side) != Ok(Some(Side::Buy));
            if let Some(plan) = fields.text("plan_id").ok().flatten().filter(|_| is_sale) {
                found.sales_left.push((order_id(&fields).ok(), plan));
            }
        }
        Ok(Verdict::NotLive) => {
            found.not_live += 1;
            found.passed_over.extend(order_id(&fields).ok());
        }
        Ok(Verdict::OtherStatus) => {
            found.other_status += 1;
            found.passed_over.extend(order_id(&fields).ok());
        }
        Err(reason) => {
            let id = order_id(&fields).ok();
            let reason = if id.is_some() {
                reason
            } else {
                format!("signal {} of the answer: {reason}", position + 1)
            };
            let account = fields.text("securities_account_id").ok().flatten();
            if let Some((id, account)) = id.clone().zip(account) {
                found.invalid_for.insert(id, account);
            }
            let retry_count = retry_count(&fields).unwrap_or(0);
            found.invalid.push(InvalidSignal {
                id,
                reason,
                retry_count,
            });
        }
    }
}

/// What is not ours to take is left alone before its other fields are looked at.
fn judge(fields: &Fields<'_>, view: View) -> Result<Verdict, Problem> {
    let mode = fields.required("mode", "`live`", Value::as_str)?;
    if mode != "live" {
        return Ok(Verdict::NotLive);
    }
    let status = fields.required("status", "`pending` or `retry_pending`", Value::as_str)?;
    let wanted = match view {
        View::Pending => matches!(status, "pending" | "retry_pending"),
        View::Submitted => status == "submitted",
    };
    if !wanted {
        return Ok(Verdict::OtherStatus);
    }
    // A backend may well clear the flag once a signal is submitted: then it says nothing.
    if view == View::Pending && !fields.required("is_executable", "true or false", Value::as_bool)? {
        return Ok(Verdict::NotExecutable);
    }
    read(fields).map(|signal| Verdict::Taken(Box::new(signal)))
}

/// One signal on its own, such as one of a file. What a backend says of where it stands may be left out there; `None`
/// where it is there and says that the signal is not to be carried out.
///
/// # Errors
///
/// The field, its value and what was expected.
pub(crate) fn signal(entry: &Value) -> Result<Option<Signal>, String> {
    let Some(map) = entry.as_object() else {
        return Err(format!("{} is no signal: expected an object", shown(entry)));
    };
    let mut map = map.clone();
    map.entry("mode").or_insert_with(|| "live".into());
    map.entry("status").or_insert_with(|| "pending".into());
    map.entry("is_executable").or_insert(Value::Bool(true));
    match judge(&Fields(&map), View::Pending)? {
        Verdict::Taken(signal) => Ok(Some(*signal)),
        Verdict::NotExecutable | Verdict::NotLive | Verdict::OtherStatus => Ok(None),
    }
}

fn read(fields: &Fields<'_>) -> Result<Signal, Problem> {
    Ok(Signal {
        id: order_id(fields)?,
        symbol: fields.required(
            "symbol",
            "six digits and .SH, .SZ or .BJ, such as 000858.SZ",
            symbol,
        )?,
        side: fields.required("action", "BUY or SELL", side)?,
        size: fields.required("size", "a whole number of shares from 1 to 100000000", size)?,
        price: fields.price("price")?,
        retry_count: retry_count(fields)?,
        strategy: fields.text("strategy")?,
        strategy_name: fields.text("strategy_name")?,
        created_at: fields.time("created_at")?,
        securities_account_id: fields.text("securities_account_id")?,
        account_id: fields.text("account_id")?,
        broker: fields.text("broker")?,
        activate_after: fields.time("activate_after")?,
        valid_until: valid_until(fields)?,
        execution_priority: fields
            .optional("execution_priority", "a whole number", number::whole)?
            .unwrap_or(DEFAULT_PRIORITY),
        reference_price: fields.price("reference_price")?,
        max_slippage_bps: fields.optional("max_slippage_bps", "a whole number from 0 to 10000", slippage)?,
        price_floor: fields.price("price_floor")?,
        price_ceiling: fields.price("price_ceiling")?,
        effective_limit_price: fields.price("effective_limit_price")?,
        plan_id: fields.text("plan_id")?,
    })
}

fn order_id(fields: &Fields<'_>) -> Result<SignalId, Problem> {
    let expected = "a text of 1 to 128 characters without control characters";
    fields.required("order_id", expected, |value| {
        let text = value.as_str()?;
        let fits = !text.trim().is_empty()
            && text.chars().count() <= MAX_ORDER_ID
            && !text.chars().any(char::is_control)
            // As a step of a path these two mean another place, however they are written.
            && !matches!(text, "." | "..");
        fits.then(|| SignalId(text.to_owned()))
    })
}

fn retry_count(fields: &Fields<'_>) -> Result<u32, Problem> {
    let count = |value: &Value| number::whole(value).and_then(|count| u32::try_from(count).ok());
    Ok(fields
        .optional("retry_count", "a whole number from 0 to 4294967295", count)?
        .unwrap_or(0))
}

fn valid_until(fields: &Fields<'_>) -> Result<Option<UtcMillis>, Problem> {
    let expected = "Unix seconds, milliseconds or an ISO 8601 time, after the year 2000";
    fields.optional("valid_until", expected, |value| {
        super::field::time(value).filter(|moment| *moment >= YEAR_2000)
    })
}

fn symbol(value: &Value) -> Option<Symbol> {
    value.as_str()?.parse().ok()
}

fn side(value: &Value) -> Option<Side> {
    let word = value.as_str()?;
    if word.eq_ignore_ascii_case("BUY") {
        Some(Side::Buy)
    } else if word.eq_ignore_ascii_case("SELL") {
        Some(Side::Sell)
    } else {
        None
    }
}

fn size(value: &Value) -> Option<i64> {
    number::whole(value).filter(|size| (1..=MAX_SIZE).contains(size))
}

fn slippage(value: &Value) -> Option<u32> {
    number::whole(value)
        .filter(|bps| (0..=10_000).contains(bps))
        .and_then(|bps| u32::try_from(bps).ok())
}
