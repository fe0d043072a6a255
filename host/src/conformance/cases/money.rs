//! Balances, holdings, and exact amounts.

use rust_decimal::Decimal;

use super::super::bench::Bench;
use super::super::{Stop, judge};

pub(crate) fn account(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    bench.say("asked for the account twice");
    let (first, second) = (session.account()??, session.account()??);
    for row in [&first, &second] {
        judge::account(row).map_err(Stop::Fail)?;
    }
    if first.account_id != second.account_id {
        return Err(Stop::Fail(
            "the account's number changes from one answer to the next".to_owned(),
        ));
    }
    Ok(format!(
        "{} yuan in cash, {} of them may be used",
        first.cash, first.available_cash
    ))
}

pub(crate) fn positions(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    if bench.may_place() {
        // A holding to look at, where there is none yet.
        let placed = bench.place_buy(&session)?;
        bench.settled(&session, &[placed])?;
    }
    bench.say("asked for the holdings");
    let rows = session.positions()??;
    judge::positions(&rows).map_err(Stop::Fail)?;
    Ok(format!("{} holdings", rows.len()))
}

pub(crate) fn bought_today(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let symbol = bench.subject.symbol.clone();
    let held = |rows: Vec<qt_plugin_api::PositionRow>| {
        let row = rows.into_iter().find(|row| row.symbol == symbol);
        row.map_or((0, 0), |row| (row.quantity, row.available_qty))
    };
    let before = held(session.positions()??);
    let placed = bench.place_buy(&session)?;
    let lists = bench.settled(&session, std::slice::from_ref(&placed))?;
    let filled = bench.row(&lists, &placed)?.filled_quantity;
    if filled == 0 {
        return Err(Stop::Inconclusive(format!(
            "nothing was bought at {}; --price names a price that fills",
            bench.subject.price
        )));
    }
    bench.say(format!("{filled} shares were bought; asked for the holdings"));
    let after = held(session.positions()??);
    if after.1 > after.0 {
        return Err(Stop::Inconclusive(
            "more may be sold than is held; see QT-C040".to_owned(),
        ));
    }
    if after.0 < before.0 + filled {
        return Err(Stop::Fail(format!(
            "{} were held, {filled} were bought, and {} are shown",
            before.0, after.0
        )));
    }
    if after.1 > before.1 {
        return Err(Stop::Fail(format!(
            "{} shares could be sold before {filled} were bought, and {} after: shares of today are offered for sale",
            before.1, after.1
        )));
    }
    Ok(format!(
        "{} may be sold, as before; {} are held",
        after.1, after.0
    ))
}

pub(crate) fn exact(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let has_account = bench.subject.can("account");
    let cash_before = if has_account {
        Some(session.account()??.cash)
    } else {
        None
    };
    let trades_before = bench.lists(&session)?.trades;
    let placed = bench.place_buy(&session)?;
    let lists = bench.settled(&session, std::slice::from_ref(&placed))?;
    let row = bench.row(&lists, &placed)?;
    if row.limit_price != placed.request.limit_price {
        return Err(Stop::Fail(format!(
            "the order was placed at {} and shows {}",
            bench.subject.price,
            row.limit_price
                .map_or_else(|| "no price".to_owned(), |price| price.to_string())
        )));
    }
    for trade in lists.trades.iter().filter(|trade| placed.is_of(trade)) {
        judge::exact("the price of a trade", trade.price).map_err(Stop::Fail)?;
        if trade.price > bench.subject.price || trade.price <= Decimal::ZERO {
            return Err(Stop::Fail(format!(
                "a buy at {} at most was traded at {}",
                bench.subject.price, trade.price
            )));
        }
    }
    let Some(before) = cash_before else {
        return Ok("the price came back as it went".to_owned());
    };
    let row = session.account()??;
    for (name, value) in [
        ("cash", row.cash),
        ("available_cash", row.available_cash),
        ("total_asset", row.total_asset),
    ] {
        judge::exact(name, value).map_err(Stop::Fail)?;
    }
    // Somebody else may trade on an account that is real.
    if bench.subject.is_paper() && bench.subject.can("trades") {
        let is_new = |trade: &&qt_plugin_api::TradeRow| !trades_before.contains(trade);
        let cost: Decimal = lists.trades.iter().filter(is_new).map(cost).sum();
        bench.say(format!(
            "cash was {before} and is {}; the trades cost {cost}",
            row.cash
        ));
        if before - row.cash != cost {
            return Err(Stop::Fail(format!(
                "cash went from {before} to {}, by {}, and the trades with their fees cost {cost}",
                row.cash,
                before - row.cash
            )));
        }
    }
    Ok("price and balances are exact".to_owned())
}

fn cost(trade: &qt_plugin_api::TradeRow) -> Decimal {
    let fees = [trade.commission, trade.stamp_tax, trade.transfer_fee];
    trade.price * Decimal::from(trade.quantity) + fees.into_iter().flatten().sum::<Decimal>()
}

pub(crate) fn quotes(bench: &mut Bench<'_>) -> Result<String, Stop> {
    /// No exchange lists it.
    const NOBODYS: &str = "999999.SH";
    let session = bench.open()?;
    let symbol = bench.subject.symbol.clone();
    bench.say(format!(
        "asked for the prices of {symbol} and {NOBODYS}, and of nothing"
    ));
    let Some(rows) = session.quotes(&[symbol.clone(), NOBODYS.to_owned()])? else {
        return Err(Stop::NotApplicable("it offers no broker.quotes/1".to_owned()));
    };
    let rows = rows?;
    judge::quotes(&rows, &[&symbol, NOBODYS]).map_err(Stop::Fail)?;
    if let Some(Ok(more)) = session.quotes(&[])?
        && let Some(row) = more.first()
    {
        return Err(Stop::Fail(format!("asked for nothing, it prices {}", row.symbol)));
    }
    match rows
        .iter()
        .find(|row| row.symbol == symbol)
        .map(|row| row.last_price)
    {
        Some(Some(price)) => Ok(format!("{symbol} is at {price} yuan")),
        _ => Err(Stop::Inconclusive(format!(
            "it knows no price of {symbol}; --symbol names one that it knows"
        ))),
    }
}
