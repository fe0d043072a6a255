//! How the portfolio is shown: figures in, text out. Nothing here works anything out.
//!
//! Figures are rounded here and only here, once, half to even.

pub(crate) mod account;
pub(crate) mod cells;
pub(crate) mod chart;
pub(crate) mod data;
pub(crate) mod history;

use qt_core::UtcMillis;
use qt_core::portfolio::{
    GridSuggestion, Ladder, PositionFigures, PriceSource, RiskFigures, Sizing, Totals, Valuation,
};
use qt_market::Side;
use unicode_width::UnicodeWidthStr;

use cells::{
    Cell, Style, grouped, money, percent, price, rule, shown_name, signed_money, signed_plain, table,
};

const WIDE: usize = 100;
const MIDDLE: usize = 80;
const NARROW: usize = 60;

/// The table of positions.
#[must_use]
pub(crate) fn positions(book: &Valuation<'_>, style: &Style) -> String {
    let headers = ["Symbol", "Qty", "Avail", "Cost", "Price", "Value", "P&L", "P&L%"];
    let rows = book
        .positions
        .iter()
        .map(|figures| position_row(figures, style))
        .collect::<Vec<_>>();
    let mut text = String::from("\n");
    text.push_str(&table(
        WIDE,
        &headers,
        &[12, 8, 9, 10, 11, 13, 13, 10],
        &rows,
        style,
    ));
    text.push_str(&price_notes(&book.positions));
    if book.positions.iter().any(|figures| figures.position.total == 0) {
        text.push_str("0 shares: sold out today; no total and no risk counts it\n");
    }
    text
}

fn position_row(figures: &PositionFigures<'_>, style: &Style) -> Vec<Cell> {
    let position = figures.position;
    let symbol = position.symbol;
    vec![
        Cell::plain(shown_name(position, style)),
        Cell::plain(position.total.to_string()),
        Cell::plain(position.sellable.to_string()),
        Cell::plain(price(symbol, position.avg_cost)),
        Cell::plain(format!(
            "{}{}",
            price(symbol, figures.price),
            mark(figures.source)
        )),
        Cell::plain(money(figures.value)),
        Cell::signed(money(figures.pnl), figures.pnl),
        Cell::signed(percent(figures.pnl_pct, true), figures.pnl),
    ]
}

/// What stands behind a price, or a value, that is not the last price's.
const fn mark(source: PriceSource) -> &'static str {
    match source {
        PriceSource::Last => "",
        PriceSource::PreviousClose => "~",
        PriceSource::Cost => "*",
    }
}

/// A line under a table for each way in which a price is not the last one.
fn price_notes(figures: &[PositionFigures<'_>]) -> String {
    let mut notes = String::new();
    let is_there = |source: PriceSource| figures.iter().any(|figures| figures.source == source);
    if is_there(PriceSource::PreviousClose) {
        notes.push_str("~ no last price: valued at the previous close\n");
    }
    if is_there(PriceSource::Cost) {
        notes.push_str("* no price known: valued at cost\n");
    }
    notes
}

/// Totals and the `top` positions of most value. `last_sync` is when the broker was asked.
#[must_use]
pub(crate) fn summary(
    book: &Valuation<'_>,
    last_sync: Option<UtcMillis>,
    top: usize,
    style: &Style,
) -> String {
    let Totals {
        positions,
        value,
        cost,
        pnl,
        pnl_pct,
        ..
    } = book.totals;
    let double = rule('=', NARROW);
    let single = rule('-', NARROW);
    let synced = last_sync.map_or_else(|| "never".to_owned(), shanghai);
    let total_pnl = style.paint(&signed_money(pnl), pnl);
    let total_pct = style.paint(&percent(pnl_pct, true), pnl);
    let mut text = format!(
        "\n{double}PORTFOLIO SUMMARY\n{double}\
         Total Positions:  {positions}\n\
         Total Value:      {}\n\
         Total Cost:       {}\n\
         Total P&L:        {total_pnl}\n\
         Total P&L %:      {total_pct}\n\
         Last Sync:        {synced}\n{double}",
        money(value),
        money(cost),
    );
    text.push_str(&price_notes(&book.positions));
    text.push_str(&format!("\nTop Positions by Value:\n{single}"));
    let top = book.top(top);
    let widest = top
        .iter()
        .map(|figures| shown_name(figures.position, style).width())
        .max();
    let widest = widest.unwrap_or_default().max(14);
    // The figures behind a mark stand in line only where every row leaves room for one.
    let room = usize::from(top.iter().any(|figures| figures.source != PriceSource::Last));
    let digits = top.len().to_string().len();
    for (place, figures) in (1..).zip(top) {
        let pnl = style.paint(&format!("{:>10}", signed_plain(figures.pnl)), figures.pnl);
        let pct = style.paint(&format!("{:>7}", percent(figures.pnl_pct, true)), figures.pnl);
        let name = cells::padded(&shown_name(figures.position, style), widest);
        text.push_str(&format!(
            "{place:>digits$}. {name} Value={:>13}{:<room$} P&L={pnl} ({pct})\n",
            money(figures.value),
            mark(figures.source),
        ));
    }
    text
}

/// The line that a running host logs after each sync.
#[must_use]
pub(crate) fn portfolio_line(totals: &Totals) -> String {
    format!(
        "Portfolio: {} positions, Value={}, P&L={} ({})",
        totals.positions,
        money(totals.value),
        signed_money(totals.pnl),
        percent(totals.pnl_pct, true)
    )
}

/// The suggestion of a grid.
#[must_use]
pub(crate) fn grid(suggestion: &GridSuggestion<'_>, style: &Style) -> String {
    let figures = &suggestion.figures;
    let position = figures.position;
    let symbol = position.symbol;
    let double = rule('=', MIDDLE);
    let cost = price(symbol, position.avg_cost);
    let target = suggestion
        .target_cost
        .map_or_else(|| "n/a".to_owned(), |cost| price(symbol, cost));
    let reduction = suggestion
        .cost_reduction_pct
        .map_or_else(|| "n/a".to_owned(), cells::short_percent);
    let text = format!(
        "\n{double}GRID STRATEGY SUGGESTION FOR {}\n{double}\n\
         Current Position:\n  \
           Quantity:        {} shares\n  \
           Average Cost:    {cost}\n  \
           Current Price:   {}\n  \
           Unrealized P&L:  {}\n\n\
         Suggested Grid Parameters:\n  \
           Number of Grids:     {}\n  \
           Grid Spacing:        {}\n  \
           Buy Grid Size:       {} shares\n  \
           Sell Grid Size:      {} shares\n\n\
         Expected Outcome:\n  \
           Target Cost:         {target}\n  \
           Cost Reduction:      {}\n  \
           Max Position:        {} shares\n  \
           Estimated Duration:  {} days\n\n\
         Description:\n{}{double}",
        shown_name(position, style),
        grouped(position.total.into()),
        format_args!("{}{}", price(symbol, figures.price), mark(figures.source)),
        style.paint(&percent(figures.pnl_pct, true), figures.pnl),
        suggestion.grids,
        cells::short_percent(suggestion.spacing_pct),
        grouped(suggestion.buy_size.into()),
        grouped(suggestion.sell_size.into()),
        reduction,
        grouped(suggestion.max_position.into()),
        suggestion.duration_days,
        grid_description(suggestion, &cost, &target),
    );
    format!("{text}{}", price_notes(std::slice::from_ref(figures)))
}

/// What the grid is for, in words.
fn grid_description(suggestion: &GridSuggestion<'_>, cost: &str, target: &str) -> String {
    let spacing = suggestion.spacing_pct.normalize();
    let size = grouped(suggestion.buy_size.into());
    if suggestion.target_cost.is_none() {
        return format!(
            "  There is no cost to reduce: the average cost is {cost}, not above zero.\n  \
             A grid of {size} shares on {spacing}% dips and rallies would only trade the\n  \
             swings; every sale of what is held is a gain already\n"
        );
    }
    format!(
        "  Grid strategy to reduce cost from {cost} to {target} by buying {size} shares\n  \
           on {spacing}% dips and selling on rallies\n"
    )
}

/// The levels of a grid for `suggestion`, the highest sale first, so that it reads like a chart.
#[must_use]
pub(crate) fn ladder(suggestion: &GridSuggestion<'_>, ladder: &Ladder, style: &Style) -> String {
    let symbol = suggestion.figures.position.symbol;
    let row = |side: Side, level: &qt_core::portfolio::GridLevel| {
        let mark = if level.above_max { "!" } else { "" };
        let after = level
            .avg_cost_after
            .map_or_else(|| "-".to_owned(), |cost| price(symbol, cost));
        vec![
            Cell::plain(format!("{side} {}", level.level)),
            Cell::plain(price(symbol, level.price)),
            Cell::plain(grouped(level.size.into())),
            Cell::plain(format!("{}{mark}", grouped(level.position_after.into()))),
            Cell::plain(after),
        ]
    };
    let sells = ladder.sells.iter().rev().map(|level| row(Side::Sell, level));
    let buys = ladder.buys.iter().map(|level| row(Side::Buy, level));
    let rows: Vec<_> = sells.chain(buys).collect();
    let headers = ["Level", "Price", "Size", "Position", "Average Cost"];
    let table = table(MIDDLE, &headers, &[12, 12, 12, 14, 16], &rows, style);
    let mut text = titled(&format!("LEVELS AROUND {}", price(symbol, ladder.price)), &table);
    if ladder.buys.iter().any(|level| level.above_max) {
        text.push_str("! above the suggested largest position\n");
    }
    text
}

/// The table of risks.
#[must_use]
pub(crate) fn risk(risks: &[RiskFigures<'_>], style: &Style) -> String {
    let headers = [
        "Symbol",
        "Concentration",
        "Drawdown",
        "Liquidity Risk",
        "Risk Score",
    ];
    let rows: Vec<_> = risks
        .iter()
        .map(|risk| {
            vec![
                Cell::plain(shown_name(risk.figures.position, style)),
                Cell::plain(percent(Some(risk.concentration_pct), false)),
                Cell::plain(percent(Some(risk.drawdown_pct), false)),
                Cell::plain(percent(Some(risk.liquidity_pct), false)),
                Cell::plain(format!("{}/100", risk.score)),
            ]
        })
        .collect();
    let table = table(WIDE, &headers, &[12, 14, 13, 16, 12], &rows, style);
    titled("RISK ANALYSIS", &table)
}

/// What risk scores mean, for under the table.
#[must_use]
pub(crate) const fn risk_legend() -> &'static str {
    "Risk Score Interpretation:\n  \
     0-30:   Low risk\n  \
     31-60:  Medium risk (consider rebalancing)\n  \
     61-100: High risk (immediate action needed)\n"
}

/// How much of a symbol to buy.
#[must_use]
pub(crate) fn sizing(sizing: &Sizing, style: &Style) -> String {
    use qt_core::portfolio::SizeBasis;
    let rows: Vec<_> = sizing
        .options
        .iter()
        .map(|option| {
            let basis = match option.basis {
                SizeBasis::AllCash => "All cash".to_owned(),
                SizeBasis::CashShare => format!("{}% of cash", option.basis.percent()),
                SizeBasis::AssetShare => format!("{}% of assets", option.basis.percent()),
            };
            vec![
                Cell::plain(basis),
                Cell::plain(money(option.budget)),
                Cell::plain(grouped(option.shares.into())),
                Cell::plain(option.orders.to_string()),
                Cell::plain(money(option.amount)),
                Cell::plain(money(option.fees)),
                Cell::plain(money(option.total)),
                Cell::plain(percent(Some(option.concentration_pct), false)),
                Cell::plain(percent(Some(option.asset_pct), false)),
            ]
        })
        .collect();
    let headers = [
        "Buy with",
        "Budget",
        "Shares",
        "Orders",
        "Amount",
        "Fees",
        "Total",
        "Concentration",
        "Of assets",
    ];
    let table = table(WIDE, &headers, &[14, 14, 10, 8, 14, 10, 14, 15, 11], &rows, style);
    let title = format!(
        "SIZE OF A PURCHASE OF {} AT {} ({} shares held)",
        sizing.symbol,
        price(sizing.symbol, sizing.price),
        grouped(sizing.held.into())
    );
    titled(&title, &table)
}

/// A table under a title, with a rule above it that is as wide as the table's own.
fn titled(title: &str, table: &str) -> String {
    let rule = table.lines().next().unwrap_or_default();
    format!("\n{rule}\n{title}\n{table}")
}

/// A moment as people in Shanghai write it, to the second.
#[must_use]
pub(crate) fn shanghai(at: UtcMillis) -> String {
    let date = at.trading_date();
    let seconds = at.since_ms(date.start()) / 1000;
    format!(
        "{date}T{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests;
