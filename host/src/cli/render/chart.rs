//! The pictures of a book in a terminal.

use std::cmp::Ordering;

use qt_core::portfolio::PortfolioError;
use rust_decimal::Decimal;
use unicode_width::UnicodeWidthStr;

use super::cells::{Style, money, padded, percent, rule, signed_money};
use crate::export::Export;
use crate::export::chart::{Bar, allocation, gains, length};

/// A terminal that nobody made wider has so many columns.
const WIDE: usize = 80;
/// Columns that bars take: as many as the labels leave of [`WIDE`], within these.
const BARS: (usize, usize) = (16, 36);
/// More bars than these do not fit a screen.
const MOST: usize = 10;
/// Columns that the curve takes at most.
const CURVE: usize = 60;
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Allocation, P&L by position, and the equity curve.
///
/// # Errors
///
/// A figure that cannot be worked out.
pub(crate) fn chart(export: &Export<'_>, style: &Style) -> Result<String, PortfolioError> {
    let holdings = export.holdings()?;
    let single = rule('-', WIDE);
    let mut text = format!("\nALLOCATION\n{single}");
    let parts = allocation(&holdings, MOST);
    if parts.is_empty() {
        text.push_str("no holdings\n");
    }
    bars(&mut text, &parts, style, |bar| {
        (
            format!("{:>18} {:>8}", money(bar.amount), percent(bar.pct, false)),
            Decimal::ZERO,
        )
    });
    text.push_str(&format!("\nP&L BY POSITION\n{single}"));
    let earned = gains(&holdings, MOST);
    if earned.is_empty() {
        text.push_str("no holdings\n");
    }
    bars(&mut text, &earned, style, |bar| {
        let pct = bar.pct.map_or_else(String::new, |pct| percent(Some(pct), true));
        (format!("{:>18} {pct:>8}", signed_money(bar.amount)), bar.amount)
    });
    text.push_str(&format!("\nEQUITY\n{single}"));
    text.push_str(&curve(export));
    Ok(text)
}

fn bars(text: &mut String, bars: &[Bar], style: &Style, figure: impl Fn(&Bar) -> (String, Decimal)) {
    let most = bars.iter().map(|bar| bar.drawn().abs()).max().unwrap_or_default();
    let label = |bar: &Bar| {
        if style.names {
            bar.label.clone()
        } else {
            bar.label.split(' ').next().unwrap_or_default().to_owned()
        }
    };
    let wide = bars
        .iter()
        .map(|bar| label(bar).width())
        .max()
        .unwrap_or_default();
    // 2 + 18 + 1 + 8 + 2 columns are the figures' and the gaps'.
    let room = WIDE.saturating_sub(wide + 31).clamp(BARS.0, BARS.1);
    let has = |sign: fn(Decimal) -> bool| bars.iter().any(|bar| !bar.drawn().is_zero() && sign(bar.drawn()));
    let losses = has(|amount| amount < Decimal::ZERO);
    // Losses and gains share the room, each on its side of an axis; without losses there is no axis.
    let side = if losses && has(|amount| amount > Decimal::ZERO) {
        room / 2
    } else {
        room
    };
    for bar in bars {
        let (figure, tone) = figure(bar);
        let long = length(bar.drawn(), most, u32::try_from(side).unwrap_or(u32::MAX));
        let blocks: String = std::iter::repeat_n('█', long.try_into().unwrap_or_default()).collect();
        // Nothing is painted where nothing is: colours around it would stay at the end of the line.
        let paint = |text: &str| {
            if text.is_empty() {
                String::new()
            } else {
                style.paint(text, tone)
            }
        };
        let is_loss = bar.drawn() < Decimal::ZERO;
        let (left, right) = if is_loss {
            (blocks.as_str(), "")
        } else {
            ("", blocks.as_str())
        };
        let left = if losses {
            format!("{}{}│", " ".repeat(side - left.width()), paint(left))
        } else {
            String::new()
        };
        let line = format!("{}  {figure}  {left}{}", padded(&label(bar), wide), paint(right));
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn curve(export: &Export<'_>) -> String {
    let rows = &export.equity;
    let [first, .., last] = rows.as_slice() else {
        return "The curve needs snapshots of two days; a running host stores one a day as it syncs positions.\n"
            .to_owned();
    };
    // The last days count most where not all fit.
    let seen = rows.get(rows.len().saturating_sub(CURVE)..).unwrap_or_default();
    let values = || seen.iter().map(|row| row.snapshot.total_asset);
    let (low, high) = (
        values().min().unwrap_or_default(),
        values().max().unwrap_or_default(),
    );
    let line: String = values()
        .map(|value| {
            let step = match high.cmp(&low) {
                Ordering::Greater => length(value.saturating_sub(low), high.saturating_sub(low), 7),
                _ => 3,
            };
            STEPS
                .get(usize::try_from(step).unwrap_or_default())
                .copied()
                .unwrap_or('█')
        })
        .collect();
    let worst = rows.iter().max_by_key(|row| row.drawdown_pct);
    let drawdown = match worst.filter(|row| row.drawdown_pct > Decimal::ZERO) {
        Some(row) => format!(
            "{} on {}",
            percent(Some(row.drawdown_pct), false),
            row.snapshot.day
        ),
        None => "none".to_owned(),
    };
    format!(
        "{line}\n{} {} to {} {}; between {} and {}\nLargest drawdown: {drawdown}; now {}\n",
        first.snapshot.day,
        money(first.snapshot.total_asset),
        last.snapshot.day,
        money(last.snapshot.total_asset),
        money(low),
        money(high),
        percent(Some(last.drawdown_pct), false)
    )
}
