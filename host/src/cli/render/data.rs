//! The same figures for programs: JSON and CSV. Decimals are written with all their digits.
//!
//! Positions have the names of the backend's contract, so that one reader reads both.

use qt_core::UtcMillis;
use qt_core::portfolio::{
    GridLevel, GridSuggestion, Ladder, PositionFigures, PriceSource, RiskFigures, SizeOption, Sizing,
    Valuation,
};
use qt_market::Side;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::cells::{decimal_number as number, digits};
use super::shanghai;

fn optional(figure: Option<Decimal>) -> Value {
    figure.map_or(Value::Null, number)
}

const fn source_word(source: PriceSource) -> &'static str {
    match source {
        PriceSource::Last => "last",
        PriceSource::PreviousClose => "previous_close",
        PriceSource::Cost => "cost",
    }
}

fn position(figures: &PositionFigures<'_>) -> Value {
    let position = figures.position;
    json!({
        "symbol": position.symbol.to_string(),
        "name": position.name,
        "quantity": position.total,
        "available_qty": position.sellable,
        "frozen_qty": position.frozen,
        "avg_cost": number(position.avg_cost),
        "current_price": number(figures.price),
        "price_source": source_word(figures.source),
        "cost": number(figures.cost),
        "market_value": number(figures.value),
        "unrealized_pnl": number(figures.pnl),
        "unrealized_pnl_pct": optional(figures.pnl_pct),
    })
}

/// All positions, as an array.
#[must_use]
pub(crate) fn positions_json(book: &Valuation<'_>) -> Value {
    book.positions.iter().map(position).collect()
}

/// Totals and the `top` positions of most value.
#[must_use]
pub(crate) fn summary_json(book: &Valuation<'_>, last_sync: Option<UtcMillis>, top: usize) -> Value {
    let totals = book.totals;
    json!({
        "total_positions": totals.positions,
        "total_value": number(totals.value),
        "total_cost": number(totals.cost),
        "total_pnl": number(totals.pnl),
        "total_pnl_pct": optional(totals.pnl_pct),
        "unpriced_positions": totals.unpriced,
        "last_sync": last_sync.map(shanghai),
        "top_positions": book.top(top).iter().map(position).collect::<Value>(),
    })
}

/// The suggestion of a grid, with its levels where they are wanted.
#[must_use]
pub(crate) fn grid_json(suggestion: &GridSuggestion<'_>, ladder: Option<&Ladder>) -> Value {
    let figures = &suggestion.figures;
    let mut value = json!({
        "symbol": figures.position.symbol.to_string(),
        "quantity": figures.position.total,
        "avg_cost": number(figures.position.avg_cost),
        "current_price": number(figures.price),
        "price_source": source_word(figures.source),
        "unrealized_pnl_pct": optional(figures.pnl_pct),
        "grids": suggestion.grids,
        "spacing_pct": number(suggestion.spacing_pct),
        "buy_size": suggestion.buy_size,
        "sell_size": suggestion.sell_size,
        "target_cost": optional(suggestion.target_cost),
        "cost_reduction_pct": optional(suggestion.cost_reduction_pct),
        "max_position": suggestion.max_position,
        "estimated_duration_days": suggestion.duration_days,
    });
    if let Some(ladder) = ladder {
        value["levels_around"] = number(ladder.price);
        value["buys"] = ladder.buys.iter().map(level).collect();
        value["sells"] = ladder.sells.iter().map(level).collect();
    }
    value
}

fn level(level: &GridLevel) -> Value {
    json!({
        "level": level.level,
        "price": number(level.price),
        "size": level.size,
        "position_after": level.position_after,
        "avg_cost_after": optional(level.avg_cost_after),
        "above_max_position": level.above_max,
    })
}

/// The risk of each position, as an array.
#[must_use]
pub(crate) fn risk_json(risks: &[RiskFigures<'_>]) -> Value {
    risks
        .iter()
        .map(|risk| {
            json!({
                "symbol": risk.figures.position.symbol.to_string(),
                "concentration_pct": number(risk.concentration_pct),
                "drawdown_pct": number(risk.drawdown_pct),
                "liquidity_risk_pct": number(risk.liquidity_pct),
                "risk_score": risk.score,
                "risk_level": risk.level.as_str(),
            })
        })
        .collect()
}

/// How much of a symbol to buy.
#[must_use]
pub(crate) fn sizing_json(sizing: &Sizing) -> Value {
    let options: Value = sizing
        .options
        .iter()
        .map(|option| {
            json!({
                "basis": option.basis.as_str(),
                "budget": number(option.budget),
                "shares": option.shares,
                "orders": option.orders,
                "amount": number(option.amount),
                "fees": number(option.fees),
                "total": number(option.total),
                "concentration_pct": number(option.concentration_pct),
                "asset_pct": number(option.asset_pct),
            })
        })
        .collect();
    json!({
        "symbol": sizing.symbol.to_string(),
        "price": number(sizing.price),
        "held": sizing.held,
        "options": options,
    })
}

fn optional_digits(figure: Option<Decimal>) -> String {
    figure.map(digits).unwrap_or_default()
}

/// A CSV text with a header line.
pub(super) fn csv<const N: usize>(headers: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    // Writing into memory fails only for rows of unequal length, which the types rule out.
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(headers).ok();
    for row in rows {
        writer.write_record(row).ok();
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// All positions.
#[must_use]
pub(crate) fn positions_csv(book: &Valuation<'_>) -> String {
    let headers = [
        "symbol",
        "name",
        "quantity",
        "available_qty",
        "frozen_qty",
        "avg_cost",
        "current_price",
        "price_source",
        "cost",
        "market_value",
        "unrealized_pnl",
        "unrealized_pnl_pct",
    ];
    let row = |figures: &PositionFigures<'_>| {
        let position = figures.position;
        [
            position.symbol.to_string(),
            position.name.clone().unwrap_or_default(),
            position.total.to_string(),
            position.sellable.to_string(),
            position.frozen.to_string(),
            digits(position.avg_cost),
            digits(figures.price),
            source_word(figures.source).to_owned(),
            digits(figures.cost),
            digits(figures.value),
            digits(figures.pnl),
            optional_digits(figures.pnl_pct),
        ]
    };
    csv(headers, book.positions.iter().map(row))
}

/// The risk of each position.
#[must_use]
pub(crate) fn risk_csv(risks: &[RiskFigures<'_>]) -> String {
    let headers = [
        "symbol",
        "concentration_pct",
        "drawdown_pct",
        "liquidity_risk_pct",
        "risk_score",
        "risk_level",
    ];
    let row = |risk: &RiskFigures<'_>| {
        [
            risk.figures.position.symbol.to_string(),
            digits(risk.concentration_pct),
            digits(risk.drawdown_pct),
            digits(risk.liquidity_pct),
            risk.score.to_string(),
            risk.level.as_str().to_owned(),
        ]
    };
    csv(headers, risks.iter().map(row))
}

/// How much of a symbol to buy.
#[must_use]
pub(crate) fn sizing_csv(sizing: &Sizing) -> String {
    let headers = [
        "basis",
        "budget",
        "shares",
        "orders",
        "amount",
        "fees",
        "total",
        "concentration_pct",
        "asset_pct",
    ];
    let row = |option: &SizeOption| {
        [
            option.basis.as_str().to_owned(),
            digits(option.budget),
            option.shares.to_string(),
            option.orders.to_string(),
            digits(option.amount),
            digits(option.fees),
            digits(option.total),
            digits(option.concentration_pct),
            digits(option.asset_pct),
        ]
    };
    csv(headers, sizing.options.iter().map(row))
}

/// The levels of a grid.
#[must_use]
pub(crate) fn ladder_csv(ladder: &Ladder) -> String {
    let headers = [
        "side",
        "level",
        "price",
        "size",
        "position_after",
        "avg_cost_after",
        "above_max_position",
    ];
    let row = |(side, level): (Side, &GridLevel)| {
        [
            side.to_string(),
            level.level.to_string(),
            digits(level.price),
            level.size.to_string(),
            level.position_after.to_string(),
            optional_digits(level.avg_cost_after),
            level.above_max.to_string(),
        ]
    };
    let sells = ladder.sells.iter().map(|level| (Side::Sell, level));
    csv(
        headers,
        ladder
            .buys
            .iter()
            .map(|level| (Side::Buy, level))
            .chain(sells)
            .map(row),
    )
}
