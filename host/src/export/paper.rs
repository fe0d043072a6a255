//! A run on paper as a picture: its figures, what it was worth as time passed, and what each symbol earned.
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use rust_decimal::Decimal;

use super::chart::Bar;
use super::curve::Curves;
use super::svg::{Area, Failed, INK, Look, MARGIN, PALE, Painter, WIDTH, bold, letters, tone, write};
use crate::cli::cells::{money, percent, signed_money};
use crate::cli::shanghai;
use crate::paper::Report;

const HEADER: i32 = 178;
const CURVE: i32 = 420;
const TITLE: i32 = 36;
const ROW: i32 = 26;
/// More bars than these help nobody.
const MOST: usize = 15;

/// Draws a run.
///
/// # Errors
///
/// What the drawing library says.
pub(crate) fn picture(report: &Report, look: Look) -> Result<String, Failed> {
    let (earned, slipped) = (bars(report, |line| line.pnl), bars(report, |line| -line.slippage));
    let rows = i32::try_from(earned.len().max(slipped.len()).max(1))?;
    let height = HEADER + CURVE + TITLE + rows * ROW + 32;
    let mut text = String::new();
    {
        let size = (u32::try_from(WIDTH)?, u32::try_from(height)?);
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE)?;
        header(&root, report, look)?;
        let (_, below) = root.split_vertically(HEADER);
        let (curves, _) = below.split_vertically(CURVE);
        curve(&curves, report, look)?;
        let painter = Painter { look };
        let at = HEADER + CURVE;
        painter.bars(
            &root,
            ("P&L by symbol", "Nothing was traded"),
            &earned,
            (MARGIN, at),
        )?;
        let right = WIDTH / 2 + MARGIN / 2;
        painter.bars(
            &root,
            ("Better or worse than the reference", "Nothing was traded"),
            &slipped,
            (right, at),
        )?;
        root.present()?;
    }
    Ok(text)
}

fn bars(report: &Report, amount: impl Fn(&crate::paper::SymbolLine) -> Decimal) -> Vec<Bar> {
    let mut bars: Vec<Bar> = report
        .symbols
        .iter()
        .map(|line| Bar {
            label: line.symbol.to_string(),
            amount: amount(line),
            pct: None,
            others: false,
        })
        .collect();
    bars.sort_by(|a, b| {
        b.amount
            .abs()
            .cmp(&a.amount.abs())
            .then_with(|| a.label.cmp(&b.label))
    });
    if bars.len() > MOST + 1 {
        let rest = bars.split_off(MOST);
        bars.push(Bar {
            label: format!("{} others", rest.len()),
            amount: rest.iter().map(|bar| bar.amount).sum(),
            pct: None,
            others: true,
        });
    }
    bars
}

fn header(root: &Area<'_>, report: &Report, look: Look) -> Result<(), Failed> {
    write(root, "Paper trading", &bold(24.0, INK), (MARGIN, 36))?;
    let span = format!(
        "{} to {}",
        shanghai(report.from).replace('T', " "),
        shanghai(report.to).replace('T', " ")
    );
    write(
        root,
        &span,
        &letters(13.0, PALE, HPos::Right),
        (WIDTH - MARGIN, 36),
    )?;
    let ends = report.ends();
    let gain = report.end - report.start;
    let or_none = |figure: Option<Decimal>, unit: &str| {
        figure.map_or("none".to_owned(), |figure| {
            format!("{}{unit}", figure.round_dp(2))
        })
    };
    let figures = [
        (
            "Return",
            percent(Some(report.return_pct), true),
            signed_money(gain),
            tone(gain, look),
        ),
        (
            "Largest drawdown",
            percent(Some(report.max_drawdown_pct), false),
            report
                .max_drawdown_at
                .map_or("no loss at any time".to_owned(), |at| {
                    format!("on {}", at.trading_date())
                }),
            INK,
        ),
        (
            "Turnover",
            money(report.turnover),
            format!("{} of the worth", percent(Some(report.turnover_pct), false)),
            INK,
        ),
        (
            "Fees",
            money(report.fees.total()),
            format!("{} fills", report.fills),
            INK,
        ),
        (
            "Slippage",
            or_none(report.slippage_bps, " bp"),
            money(report.slippage),
            tone(-report.slippage, look),
        ),
        (
            "Fill rate",
            or_none(report.fill_rate_pct, " %"),
            "of the shares sent".to_owned(),
            INK,
        ),
    ];
    let room = (WIDTH - 2 * MARGIN) / i32::try_from(figures.len())?;
    for (place, (name, figure, more, colour)) in (0..).zip(&figures) {
        let x = MARGIN + place * room;
        write(root, name, &letters(13.0, PALE, HPos::Left), (x, 76))?;
        write(root, figure, &letters(20.0, *colour, HPos::Left), (x, 102))?;
        write(root, more, &letters(13.0, PALE, HPos::Left), (x, 126))?;
    }
    let told = format!(
        "{} signals: {} filled, {} partly, {} unfilled, {} rejected, {} denied by a gate, {} waited to the end",
        ends.signals, ends.filled, ends.partly, ends.unfilled, ends.rejected, ends.denied, ends.waited
    );
    write(root, &told, &letters(13.0, INK, HPos::Left), (MARGIN, 154))
}

fn curve(area: &Area<'_>, report: &Report, look: Look) -> Result<(), Failed> {
    let samples = &report.samples;
    let days = match (samples.first(), samples.last()) {
        (Some(first), Some(last)) => last.at.trading_date().0 - first.at.trading_date().0,
        _ => 0,
    };
    let moment = |place: usize| {
        let Some(sample) = samples.get(place) else {
            return String::new();
        };
        let text = shanghai(sample.at);
        let (date, time) = text.split_once('T').unwrap_or((&text, ""));
        let time = time.get(..5).unwrap_or_default();
        // Of a few days the hour matters, of many the day alone.
        if days == 0 {
            time.to_owned()
        } else if days < 8 {
            format!("{} {time}", date.get(5..).unwrap_or_default())
        } else {
            date.to_owned()
        }
    };
    let told = if samples.len() < 2 {
        "The quotes are of one moment, which makes no curve.".to_owned()
    } else {
        format!(
            "{} at the start, {} at the end",
            money(report.start),
            money(report.end)
        )
    };
    let curves = Curves {
        title: "Worth and drawdown",
        told: &told,
        points: samples
            .iter()
            .map(|sample| (sample.total_asset, sample.drawdown_pct))
            .collect(),
        moment: &moment,
        room: 0.0005,
        depth: 0.2,
    };
    curves.draw(area, look)
}
