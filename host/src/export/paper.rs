//! A run on paper as a picture: its figures, what it was worth as time passed, and what each symbol earned.
#![expect(
    clippy::float_arithmetic,
    reason = "plotters wants coordinates as floats; no figure is written from one"
)]

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use rust_decimal::Decimal;

use super::chart::Bar;
use super::svg::{
    Area, BLUE, Failed, INK, LINE, Look, MARGIN, PALE, Painter, WIDTH, axis_percent, bold, letters, pixel,
    tone, whole_yuan, write,
};
use crate::cli::cells::{money, percent, signed_money};
use crate::cli::shanghai;
use crate::paper::{Report, Sample};

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
    write(area, "Worth and drawdown", &bold(15.0, INK), (MARGIN, 10))?;
    area.draw(&PathElement::new([(MARGIN, 26), (WIDTH - MARGIN, 26)], LINE))?;
    if report.samples.len() < 2 {
        let style = letters(13.0, PALE, HPos::Left);
        return write(
            area,
            "The quotes are of one moment, which makes no curve.",
            &style,
            (MARGIN, 52),
        );
    }
    let span = format!(
        "{} at the start, {} at the end",
        money(report.start),
        money(report.end)
    );
    write(
        area,
        &span,
        &letters(13.0, PALE, HPos::Right),
        (WIDTH - MARGIN, 10),
    )?;
    let (_, plots) = area.split_vertically(36);
    let (upper, lower) = plots.split_vertically(250);
    worth(&upper, &report.samples)?;
    drawdown(&lower, &report.samples, look)
}

fn worth(area: &Area<'_>, samples: &[Sample]) -> Result<(), Failed> {
    let values: Vec<f64> = samples.iter().map(|sample| pixel(sample.total_asset)).collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // A flat line has room above and below it too.
    let room = ((high - low) * 0.08).max(high.abs() * 0.0005).max(1.0);
    let mut chart = ChartBuilder::on(area)
        .margin_left(MARGIN)
        .margin_right(MARGIN + 34)
        .margin_top(8)
        .set_label_area_size(LabelAreaPosition::Left, 120)
        .build_cartesian_2d(0..samples.len() - 1, (low - room)..(high + room))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(LINE)
        .axis_style(LINE)
        .y_labels(5)
        .y_label_style(letters(12.0, PALE, HPos::Right))
        .y_label_formatter(&|yuan| whole_yuan(*yuan))
        .draw()?;
    chart.draw_series(LineSeries::new(
        values.into_iter().enumerate(),
        BLUE.stroke_width(2),
    ))?;
    Ok(())
}

fn drawdown(area: &Area<'_>, samples: &[Sample], look: Look) -> Result<(), Failed> {
    let values: Vec<f64> = samples.iter().map(|sample| -pixel(sample.drawdown_pct)).collect();
    let low = values.iter().copied().fold(-0.2, f64::min) * 1.1;
    let colour = tone(Decimal::NEGATIVE_ONE, look);
    let days = match (samples.first(), samples.last()) {
        (Some(first), Some(last)) => last.at.trading_date().0 - first.at.trading_date().0,
        _ => 0,
    };
    let label = |place: &usize| {
        let Some(sample) = samples.get(*place) else {
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
    let mut chart = ChartBuilder::on(area)
        .margin_left(MARGIN)
        .margin_right(MARGIN + 34)
        .margin_bottom(6)
        .margin_top(16)
        .set_label_area_size(LabelAreaPosition::Left, 120)
        .set_label_area_size(LabelAreaPosition::Bottom, 30)
        .build_cartesian_2d(0..samples.len() - 1, low..0.0)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(LINE)
        .axis_style(LINE)
        .x_labels(samples.len().min(8))
        .x_label_style(letters(12.0, PALE, HPos::Center))
        .x_label_formatter(&label)
        .y_labels(3)
        .y_label_style(letters(12.0, PALE, HPos::Right))
        .y_label_formatter(&|percent| axis_percent(*percent))
        .draw()?;
    chart.draw_series(
        AreaSeries::new(values.into_iter().enumerate(), 0.0, colour.mix(0.25))
            .border_style(colour.stroke_width(1)),
    )?;
    Ok(())
}
