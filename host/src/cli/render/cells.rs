//! Single figures as text, and tables of them.

use std::cmp::Ordering;

use qt_core::portfolio::{Position, round2};
use qt_market::{Price, Symbol, tick};
use rust_decimal::Decimal;
use unicode_width::UnicodeWidthStr;

const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const RESET: &str = "\u{1b}[0m";

/// Which colour a gain has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Colour {
    /// No colours: not a terminal, or `NO_COLOR`.
    #[default]
    None,
    /// Red is up and green is down, as Chinese traders read it.
    RedUp,
    /// Green is up and red is down.
    GreenUp,
}

/// How text is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Style {
    /// Colours of gains and losses.
    pub(crate) colour: Colour,
    /// True to show names beside symbols, where they are known.
    pub(crate) names: bool,
}

impl Style {
    /// `text` in the colour of the figure that it shows; what is shown as zero has none.
    #[must_use]
    pub(crate) fn paint(&self, text: &str, figure: Decimal) -> String {
        let up = match round2(figure).cmp(&Decimal::ZERO) {
            Ordering::Equal => return text.to_owned(),
            Ordering::Greater => true,
            Ordering::Less => false,
        };
        let colour = match self.colour {
            Colour::None => return text.to_owned(),
            Colour::RedUp if up => RED,
            Colour::GreenUp if !up => RED,
            Colour::RedUp | Colour::GreenUp => GREEN,
        };
        format!("{colour}{text}{RESET}")
    }
}

/// One field of a table.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    figure: Decimal,
}

impl Cell {
    /// Without a colour.
    pub(super) const fn plain(text: String) -> Self {
        Self {
            text,
            figure: Decimal::ZERO,
        }
    }

    /// In the colour of a gain or a loss.
    pub(super) const fn signed(text: String, figure: Decimal) -> Self {
        Self { text, figure }
    }
}

/// A table between rules, at least `width` wide; its first column to the left, the others right.
/// A column is at least as wide as `widths` says, and more where its content needs it.
pub(super) fn table(
    width: usize,
    headers: &[&str],
    widths: &[usize],
    rows: &[Vec<Cell>],
    style: &Style,
) -> String {
    let mut widths = widths.to_vec();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            // The first column ends with a gap, the others begin with one.
            let gap = if column == 0 { 1 } else { 2 };
            widths[column] = widths[column].max(cell.text.width() + gap);
        }
    }
    let double = rule('=', width.max(widths.iter().sum()));
    let header: Vec<_> = headers
        .iter()
        .map(|text| Cell::plain((*text).to_owned()))
        .collect();
    let mut text = double.clone();
    line(&mut text, &header, &widths, style);
    text.push_str(&double);
    for row in rows {
        line(&mut text, row, &widths, style);
    }
    text.push_str(&double);
    text
}

fn line(out: &mut String, cells: &[Cell], widths: &[usize], style: &Style) {
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if column == 0 {
            out.push_str(&padded(&cell.text, *width));
        } else {
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.text.width())));
            out.push_str(&style.paint(&cell.text, cell.figure));
        }
    }
    out.push('\n');
}

/// `text` and spaces up to `width` columns of a terminal, in which a Chinese character takes two.
pub(crate) fn padded(text: &str, width: usize) -> String {
    let mut padded = text.to_owned();
    padded.extend(std::iter::repeat_n(' ', width.saturating_sub(text.width())));
    padded
}

/// A line of one character.
pub(super) fn rule(character: char, width: usize) -> String {
    let mut rule: String = std::iter::repeat_n(character, width).collect();
    rule.push('\n');
    rule
}

/// A symbol, and its name where that is wanted and known. What a terminal would act on is left out.
pub(super) fn shown_name(position: &Position, style: &Style) -> String {
    match &position.name {
        Some(name) if style.names => {
            let name: String = name.chars().filter(|character| !character.is_control()).collect();
            format!("{} {name}", position.symbol)
        }
        _ => position.symbol.to_string(),
    }
}

/// ¥ and two decimal places, with separators: `¥43,200.00`, `¥-250.00`.
pub(crate) fn money(amount: Decimal) -> String {
    format!("¥{}", grouped(round2(amount)))
}

/// As [`money`], with the sign of a gain: `¥+7,450.00`.
pub(crate) fn signed_money(amount: Decimal) -> String {
    format!("¥{}{}", plus(round2(amount)), grouped(round2(amount)))
}

/// Signed, without ¥ and separators: `+7000.00`.
pub(super) fn signed_plain(amount: Decimal) -> String {
    format!("{}{}", plus(round2(amount)), round2(amount))
}

/// A price or a cost a share, to the places of the symbol's tick, without separators: `¥1850.00`.
pub(super) fn price(symbol: Symbol, price: Price) -> String {
    let places = tick(&symbol).scale().max(2);
    let mut rounded = price.round_dp(places);
    if rounded.is_zero() {
        // A negative zero would show its sign.
        rounded = Decimal::ZERO;
    }
    rounded.rescale(places);
    format!("¥{rounded}")
}

/// Percent with two decimal places, `n/a` where there is none.
pub(crate) fn percent(figure: Option<Decimal>, signed: bool) -> String {
    figure.map(round2).map_or_else(
        || "n/a".to_owned(),
        |figure| format!("{}{figure}%", if signed { plus(figure) } else { "" }),
    )
}

/// Percent as somebody wrote it, with one decimal place at least: `5.0%`, `2.25%`.
pub(super) fn short_percent(figure: Decimal) -> String {
    let mut figure = figure.normalize();
    if figure.scale() == 0 {
        figure.rescale(1);
    }
    format!("{figure}%")
}

fn plus(figure: Decimal) -> &'static str {
    if figure.is_sign_negative() { "" } else { "+" }
}

/// A number with a comma between thousands.
pub(crate) fn grouped(figure: Decimal) -> String {
    let text = figure.to_string();
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or(("", text.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut grouped = String::from(sign);
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped.push_str(fraction);
    grouped
}

/// A decimal as a JSON number with all its digits and no trailing zeros; never through a float.
#[must_use]
pub(crate) fn decimal_number(figure: Decimal) -> serde_json::Value {
    let text = digits(figure);
    // A decimal is always a JSON number; should that ever fail, its text still says it all.
    text.parse::<serde_json::Number>()
        .map_or(serde_json::Value::String(text), serde_json::Value::Number)
}

/// All digits of a figure, without trailing zeros.
pub(super) fn digits(figure: Decimal) -> String {
    figure.normalize().to_string()
}
