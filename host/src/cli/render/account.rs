//! Balances and today's P&L.

use qt_core::portfolio::{Account, TodayPnl};
use serde_json::{Value, json};

use super::cells::{Style, decimal_number as number, money, rule, signed_money};
use super::{NARROW, shanghai};
use crate::book::{BookSource, BookView};

/// The balances of a book, its account number masked unless it is wanted.
pub(crate) fn text(account: &Account, view: &BookView, style: &Style, with_number: bool) -> String {
    let double = rule('=', NARROW);
    let mut text = format!(
        "\n{double}ACCOUNT {}\n{double}\
         Total Assets:     {}\n\
         Cash:             {}\n\
         Available Cash:   {}\n\
         Frozen Cash:      {}\n\
         Market Value:     {}\n",
        shown_number(&account.account_id, with_number),
        money(account.total_asset),
        money(account.cash),
        money(account.available_cash),
        money(account.frozen_cash),
        money(account.market_value),
    );
    if matches!(view.source, BookSource::Broker { .. }) {
        text.push_str(&format!("Open Orders:      {}\n", open_orders(view)));
    }
    match &view.today {
        Ok(today) => text.push_str(&today_lines(today, style)),
        Err(reason) => text.push_str(&format!("Today's P&L:      n/a ({reason})\n")),
    }
    text.push_str(&format!("As Of:            {}\n{double}", shanghai(view.as_of)));
    text
}

/// Orders of this host that are not ended, and may hold cash or shares.
fn open_orders(view: &BookView) -> usize {
    view.orders.iter().filter(|order| !order.state.is_ended()).count()
}

fn today_lines(today: &TodayPnl, style: &Style) -> String {
    let mut text = String::new();
    if today.is_unknown() {
        text.push_str("Today's P&L:      n/a\n");
    } else {
        let total = style.paint(&signed_money(today.total), today.total);
        text.push_str(&format!(
            "Today's P&L:      {total}\n  \
               Overnight:      {}\n  \
               Trades:         {}\n  \
               Fees:           {}\n",
            style.paint(&signed_money(today.overnight), today.overnight),
            style.paint(&signed_money(today.trades), today.trades),
            money(-today.fees),
        ));
    }
    for unknown in &today.unknown {
        text.push_str(&format!("  without {}: {}\n", unknown.symbol, unknown.reason));
    }
    text
}

/// An account's number as it is to be shown.
fn shown_number(number: &str, whole: bool) -> String {
    if whole {
        // What a terminal would act on is left out all the same.
        number.chars().filter(|c| !c.is_control()).collect()
    } else {
        masked(number)
    }
}

/// An account's number with all but its end hidden.
pub(crate) fn masked(number: &str) -> String {
    let shown = if number.chars().count() >= 8 { 4 } else { 0 };
    let hidden = number.chars().count() - shown;
    number
        .chars()
        .enumerate()
        .map(|(place, c)| if place < hidden || c.is_control() { '*' } else { c })
        .collect()
}

/// The same for programs, with the contract's names.
pub(crate) fn json(account: &Account, view: &BookView, with_number: bool) -> Value {
    let source = match &view.source {
        BookSource::Broker { adapter } => adapter.clone(),
        BookSource::Journal { .. } => "journal".to_owned(),
        BookSource::File { path } => crate::system::shown(path),
    };
    json!({
        "account_id": shown_number(&account.account_id, with_number),
        "total_asset": number(account.total_asset),
        "cash": number(account.cash),
        "available_cash": number(account.available_cash),
        "frozen_cash": number(account.frozen_cash),
        "market_value": number(account.market_value),
        "today": view.today.as_ref().map_or(Value::Null, today_json),
        "today_problem": view.today.as_ref().err(),
        "open_orders": open_orders(view),
        "source": source,
        "as_of": shanghai(view.as_of),
    })
}

/// Today's P&L for programs; its sums are null where nothing of the day is known.
pub(crate) fn today_json(today: &TodayPnl) -> Value {
    let symbols: Value = today
        .symbols
        .iter()
        .map(|one| {
            json!({
                "symbol": one.symbol.to_string(),
                "overnight": number(one.overnight),
                "trades": number(one.trades),
                "fees": number(one.fees),
                "pnl": number(one.total),
            })
        })
        .collect();
    let unknown: Value = today
        .unknown
        .iter()
        .map(|one| json!({ "symbol": one.symbol.to_string(), "reason": one.reason }))
        .collect();
    let sum = |figure| {
        if today.is_unknown() {
            Value::Null
        } else {
            number(figure)
        }
    };
    json!({
        "pnl": sum(today.total),
        "overnight": sum(today.overnight),
        "trades": sum(today.trades),
        "fees": sum(today.fees),
        "symbols": symbols,
        "unknown": unknown,
    })
}

#[cfg(test)]
mod tests {
    use qt_core::portfolio::{Position, today};

    use super::*;

    #[test]
    fn a_day_of_which_nothing_is_known_is_null_and_not_0() {
        let held = |symbol: &str, previous_close: Option<i64>| Position {
            symbol: symbol.parse().unwrap(),
            name: None,
            total: 100,
            sellable: 100,
            frozen: 0,
            avg_cost: 10.into(),
            last_price: Some(11.into()),
            previous_close: previous_close.map(Into::into),
        };
        let (dark, bright) = (held("000001.SZ", None), held("000858.SZ", Some(11)));
        let day = today(std::slice::from_ref(&dark), &[]).unwrap();
        let json = today_json(&day);
        for figure in ["pnl", "overnight", "trades", "fees"] {
            assert_eq!(json.get(figure), Some(&Value::Null), "{figure}");
        }
        assert_eq!(json["unknown"][0]["symbol"], "000001.SZ");
        assert!(today_lines(&day, &Style::default()).starts_with("Today's P&L:      n/a\n"));
        // What is known to have earned nothing is 0.
        let day = today(&[dark, bright], &[]).unwrap();
        assert_eq!(today_json(&day)["pnl"].to_string(), "0");
        assert!(today_lines(&day, &Style::default()).starts_with("Today's P&L:      ¥+0.00\n"));
    }

    #[test]
    fn an_account_number_shows_its_end_at_most() {
        assert_eq!(masked("8881234567"), "******4567");
        assert_eq!(masked("1234567"), "*******");
        assert_eq!(masked(""), "");
    }
}
