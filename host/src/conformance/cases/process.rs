//! The plugin as a guest in a process: it closes, answers, and leaves the process and its folders alone.

use std::path::Path;
use std::time::{Duration, Instant};

use qt_plugin_api::{CancelResult, ConnectionState, OrderRequest, PlaceResult};
use rust_decimal::Decimal;

use super::super::Stop;
use super::super::bench::{Bench, Placed};
use super::super::probe::{Ask, Call};
use super::super::session::{Broken, LOOK, Session};

/// How long a plugin is left alone to see whether it ends its process by itself.
const LEFT_ALONE: Duration = Duration::from_secs(2);
/// A shorter number is found anywhere by chance.
const SHORTEST_SECRET: usize = 4;
/// What a panic writes to standard error.
const PANICKED: &[u8] = b"panicked at";

/// Every call that the plugin's capabilities allow, one after the other; a broken one ends it.
fn every_call(bench: &mut Bench<'_>, session: &Session) -> Result<(), Broken> {
    bench.say("made every call that it is made for");
    if bench.may_place() {
        let order = bench.buy(bench.subject.price);
        let answer = session.place(&order)?;
        if bench.subject.can("cancel") {
            let broker_order_id = match answer {
                PlaceResult::Accepted { broker_order_id } => broker_order_id,
                PlaceResult::Rejected { .. } | PlaceResult::Unknown { .. } => String::new(),
            };
            session.cancel(&Bench::cancel_request(&Placed {
                request: order,
                broker_order_id,
            }))?;
        }
    }
    for call in every_question(bench) {
        session.call(&Ask::Call(call))?;
    }
    Ok(())
}

/// Every call that changes nothing, those of the named interfaces among them: a plugin without one is not asked.
fn every_question(bench: &Bench<'_>) -> [Call; 7] {
    [
        Call::Connection,
        Call::Orders,
        Call::Trades,
        Call::Positions,
        Call::Account,
        Call::Quotes(vec![bench.subject.symbol.clone()]),
        Call::TradesSince(None),
    ]
}

pub(crate) fn closes(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    bench.say("closed it twice, then dropped it");
    let before = session.stderr().text.len();
    for ask in [Ask::Call(Call::Close), Ask::Call(Call::Close), Ask::Free] {
        session
            .call(&ask)
            .map_err(|broken| Stop::Fail(broken.text().to_owned()))?;
    }
    // A panic in `close` or `drop` has no other trace.
    session.drain();
    let said = session.stderr().text.split_off(before);
    if said.windows(PANICKED.len()).any(|bytes| bytes == PANICKED) {
        return Err(Stop::Fail(
            "it panicked while it was closed or dropped, as standard error shows".to_owned(),
        ));
    }
    Ok("closed twice and dropped".to_owned())
}

pub(crate) fn after_close(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    bench.say("closed it, and called it again");
    session.call(&Ask::Call(Call::Close))?;
    let fail = |text: &str| Err(Stop::Fail(format!("after the close, {text}")));
    if bench.may_place() {
        let order = bench.buy(bench.subject.price);
        if let PlaceResult::Accepted { broker_order_id } = session.place(&order)? {
            return fail(&format!("an order is accepted as {broker_order_id}"));
        }
        let unknown = Placed {
            request: order,
            broker_order_id: String::new(),
        };
        if session.cancel(&Bench::cancel_request(&unknown))? == CancelResult::Sent {
            return fail("a cancel is called sent");
        }
    }
    let lists = [
        ("orders", session.orders()?.is_ok()),
        ("trades", session.trades()?.is_ok()),
        ("positions", session.positions()?.is_ok()),
        ("account", session.account()?.is_ok()),
    ];
    if let Some((what, _)) = lists
        .iter()
        .find(|(what, answered)| *answered && bench.subject.can(what))
    {
        return fail(&format!(
            "the query for {what} is answered as if the session lasted"
        ));
    }
    if session.connection()? == ConnectionState::Connected {
        return fail("it calls itself connected");
    }
    Ok("every call is answered with an error or a no".to_owned())
}

/// Orders that no market takes: the answer may be anything but a panic.
fn odd_orders(bench: &mut Bench<'_>) -> Vec<OrderRequest> {
    let mut odd = |change: &dyn Fn(&mut OrderRequest)| {
        let mut order = bench.buy(bench.subject.price);
        change(&mut order);
        order
    };
    vec![
        odd(&|order| order.quantity = 0),
        odd(&|order| order.quantity = u64::MAX),
        odd(&|order| order.limit_price = None),
        odd(&|order| order.limit_price = Some(-Decimal::ONE)),
        odd(&|order| order.limit_price = Some(Decimal::MAX)),
        odd(&|order| order.limit_price = Some(Decimal::new(1, 28))),
        odd(&|order| order.symbol = String::new()),
        odd(&|order| order.symbol = "五粮液💥\0".to_owned()),
        odd(&|order| order.symbol = "9".repeat(10_000)),
        odd(&|order| order.client_order_id = String::new()),
        odd(&|order| order.not_after_ms = Some(i64::MIN)),
        odd(&|order| order.extras = "{\"not\": [\"json".to_owned()),
    ]
}

pub(crate) fn panics(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let contained = |broken: Broken| match broken {
        Broken::Panicked(text) => Stop::Fail(text),
        other => other.into(),
    };
    every_call(bench, &session).map_err(contained)?;
    let mut calls = 0;
    if bench.may_place() && bench.subject.is_paper() {
        bench.say("placed orders that no market takes");
        for order in odd_orders(bench) {
            session.place(&order).map_err(contained)?;
            calls += 1;
        }
        for call in every_question(bench) {
            session.call(&Ask::Call(call)).map_err(contained)?;
        }
    }
    Ok(format!("no panic, {calls} odd orders among the calls"))
}

pub(crate) fn survives(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    match every_call(bench, &session) {
        Ok(()) | Err(Broken::Panicked(_)) => {}
        Err(Broken::Died(text)) => return Err(Stop::Fail(text)),
        Err(late @ Broken::Late(_)) => return Err(late.into()),
    }
    bench.say(format!("left it alone for {} s", LEFT_ALONE.as_secs()));
    let until = Instant::now() + LEFT_ALONE;
    while Instant::now() < until {
        if let Some(status) = session.status() {
            return Err(Stop::Fail(format!("its process ended by itself ({status})")));
        }
        std::thread::sleep(LOOK);
    }
    Ok("the process lives".to_owned())
}

pub(crate) fn deadline(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    match every_call(bench, &session) {
        Ok(()) => Ok(format!(
            "every call came back within {} s",
            bench.subject.deadline.as_secs_f32()
        )),
        Err(Broken::Late(text)) => Err(Stop::Fail(text)),
        Err(other) => Err(other.into()),
    }
}

pub(crate) fn own_folder(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let elsewhere = bench.elsewhere();
    bench.say("opened it with another folder as current folder, home and place for temporary files");
    let session = bench.start(&bench.subject.config, Some(&elsewhere))?;
    every_call(bench, &session)?;
    session.call(&Ask::Call(Call::Close))?;
    let mut found = Vec::new();
    collect(&elsewhere, &elsewhere, &mut found);
    if found.is_empty() {
        return Ok("nothing was written elsewhere".to_owned());
    }
    found.sort();
    Err(Stop::Fail(format!(
        "it wrote outside its folder: {}",
        found.join(", ")
    )))
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).unwrap_or(&path).display().to_string());
        }
    }
}

pub(crate) fn quiet(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    every_call(bench, &session)?;
    session.call(&Ask::Call(Call::Close))?;
    session.drain();
    let captured = session.stdout();
    if captured.bytes == 0 {
        return Ok("nothing came".to_owned());
    }
    let begin = &captured.text[..captured.text.len().min(40)];
    Err(Stop::Fail(format!(
        "{} bytes came, beginning with `{}`",
        captured.bytes,
        begin.escape_ascii()
    )))
}

pub(crate) fn secret(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let account = bench
        .subject
        .account_id
        .clone()
        .filter(|id| id.len() >= SHORTEST_SECRET);
    let Some(account) = account else {
        return Err(Stop::NotApplicable(
            "no account number is configured that could be told".to_owned(),
        ));
    };
    let session = bench.open()?;
    every_call(bench, &session)?;
    bench.quiet(&session);
    session.drain();
    let tells = |bytes: &[u8]| {
        bytes
            .windows(account.len())
            .any(|part| part == account.as_bytes())
    };
    let place = if session.heard().log.iter().any(|line| tells(line.as_bytes())) {
        Some("a line of the log")
    } else if tells(&session.stdout().text) {
        Some("standard output")
    } else if tells(&session.stderr().text) {
        Some("standard error")
    } else {
        None
    };
    match place {
        Some(place) => Err(Stop::Fail(format!("the account number stands in {place}"))),
        None => Ok("neither log nor output tells it".to_owned()),
    }
}
