//! The book as a picture: allocation, P&L by position, and the equity curve with its drawdown.
#![expect(
    clippy::float_arithmetic,
    reason = "plotters wants coordinates as floats; no figure is written from one"
)]

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use unicode_width::UnicodeWidthChar;

use super::chart::{Bar, allocation, gains, length};
use super::curve::Curves;
use super::{EquityRow, Export};
use crate::cli::cells::{Colour, grouped, money, percent, signed_money};
use crate::cli::shanghai;

/// How the picture is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// Which colour a gain has.
    pub(crate) colour: Colour,
    /// Show the names that the broker gives.
    pub(crate) names: bool,
}

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Chinese names show wherever one of these is installed.
const FONT: &str = "'Noto Sans CJK SC', 'Noto Sans SC', 'Source Han Sans SC', 'PingFang SC', 'Microsoft YaHei', 'WenQuanYi Micro Hei', \
                    'SimHei', 'Segoe UI', 'Helvetica Neue', Arial, sans-serif";
/// Of a size of 1.24 the backend makes a letter of 1 pixel.
const PIXEL: f64 = 1.24;

const RED: RGBColor = RGBColor(0xD0, 0x34, 0x3C);
const GREEN: RGBColor = RGBColor(0x1E, 0x93, 0x54);
pub(super) const BLUE: RGBColor = RGBColor(0x3B, 0x6F, 0xB6);
pub(super) const INK: RGBColor = RGBColor(0x22, 0x26, 0x2B);
pub(super) const PALE: RGBColor = RGBColor(0x6B, 0x72, 0x7B);
pub(super) const LINE: RGBColor = RGBColor(0xD7, 0xDB, 0xE0);

pub(super) const WIDTH: i32 = 1280;
pub(super) const MARGIN: i32 = 32;
const GAP: i32 = 32;
const PANEL: i32 = (WIDTH - 2 * MARGIN - GAP) / 2;
const LABEL: i32 = 168;
const AMOUNT: i32 = 222;
const BAR: i32 = PANEL - LABEL - AMOUNT;
const ROW: i32 = 26;
const HEADER: i32 = 104;
const PANEL_TITLE: i32 = 36;
const CURVE: i32 = 420;
/// The same where there is no curve yet, and only says so.
const NO_CURVE: i32 = 84;
/// What percentages take at the end of a row.
const PCT: i32 = 72;
const NO_HOLDINGS: &str = "No holdings";
/// More bars than these help nobody.
const MOST: usize = 15;

/// Draws a book.
///
/// # Errors
///
/// What the drawing library says.
pub(super) fn picture(export: &Export<'_>, look: Look) -> Result<String, Failed> {
    let holdings = export.holdings()?;
    let (parts, earned) = (allocation(&holdings, MOST), gains(&holdings, MOST));
    let rows = i32::try_from(parts.len().max(earned.len()).max(1))?;
    let panels = PANEL_TITLE + rows * ROW + 24;
    let curve = if export.equity.len() < 2 { NO_CURVE } else { CURVE };
    let height = HEADER + panels + curve;
    let mut text = String::new();
    {
        let size = (u32::try_from(WIDTH)?, u32::try_from(height)?);
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE)?;
        header(&root, export, look)?;
        let painter = Painter { look };
        painter.allocation(&root, &parts, (MARGIN, HEADER))?;
        painter.gains(&root, &earned, (MARGIN + PANEL + GAP, HEADER))?;
        let (_, lower) = root.split_vertically(HEADER + panels);
        painter.curve(&lower, &export.equity)?;
        root.present()?;
    }
    Ok(text)
}

pub(super) fn letters(pixels: f64, colour: RGBColor, anchor: HPos) -> TextStyle<'static> {
    (FONT, pixels * PIXEL)
        .into_font()
        .color(&colour)
        .pos(Pos::new(anchor, VPos::Center))
}

pub(super) fn bold(pixels: f64, colour: RGBColor) -> TextStyle<'static> {
    (FONT, pixels * PIXEL, FontStyle::Bold)
        .into_font()
        .color(&colour)
        .pos(Pos::new(HPos::Left, VPos::Center))
}

pub(super) fn write(
    root: &Area<'_>,
    text: &str,
    style: &TextStyle<'_>,
    at: (i32, i32),
) -> Result<(), Failed> {
    Ok(root.draw_text(text, style, at)?)
}

fn header(root: &Area<'_>, export: &Export<'_>, look: Look) -> Result<(), Failed> {
    let totals = export.totals();
    write(root, "Portfolio", &bold(24.0, INK), (MARGIN, 36))?;
    let from = format!(
        "{} · {}",
        export.meta.source,
        shanghai(export.meta.as_of).replace('T', " ")
    );
    write(
        root,
        &from,
        &letters(13.0, PALE, HPos::Right),
        (WIDTH - MARGIN, 36),
    )?;
    let held = export.summary.first().map_or(0, |row| row.held);
    let positions = if held == 1 {
        "1 position".to_owned()
    } else {
        format!("{held} positions")
    };
    let figures = [
        (format!("{positions}, worth {}", money(totals.value)), INK),
        (
            format!(
                "P&L {} ({})",
                signed_money(totals.pnl),
                percent(totals.pnl_pct, true)
            ),
            tone(totals.pnl, look),
        ),
    ];
    let mut x = MARGIN;
    for (text, colour) in figures {
        write(root, &text, &letters(16.0, colour, HPos::Left), (x, 70))?;
        x += width_of(&text, 16) + 28;
    }
    if totals.unpriced > 0 {
        let text = format!("{} without a price, taken at cost", totals.unpriced);
        write(root, &text, &letters(13.0, PALE, HPos::Left), (x, 70))?;
    }
    Ok(())
}

/// The colour of a gain or a loss.
pub(super) const fn tone(figure: Decimal, look: Look) -> RGBColor {
    match (look.colour, figure.is_zero(), figure.is_sign_positive()) {
        (Colour::None, _, _) | (_, true, _) => INK,
        (Colour::RedUp, _, true) | (Colour::GreenUp, _, false) => RED,
        (Colour::RedUp, _, false) | (Colour::GreenUp, _, true) => GREEN,
    }
}

/// How wide a text is about, in letters of `pixels`: a Chinese one is a square.
fn width_of(text: &str, pixels: i32) -> i32 {
    text.chars().map(|letter| letter_width(letter, pixels)).sum()
}

fn letter_width(letter: char, pixels: i32) -> i32 {
    match letter.width() {
        Some(2) => pixels,
        Some(0) | None => 0,
        _ => pixels * 3 / 5,
    }
}

/// `text`, cut with an ellipsis where it is wider than `room`.
fn fitted(text: &str, pixels: i32, room: i32) -> String {
    if width_of(text, pixels) <= room {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut left = room - pixels;
    for letter in text.chars() {
        left -= letter_width(letter, pixels);
        if left < 0 {
            break;
        }
        cut.push(letter);
    }
    cut.push('…');
    cut
}

pub(super) struct Painter {
    pub(super) look: Look,
}

impl Painter {
    fn label(&self, bar: &Bar) -> String {
        let label = if self.look.names {
            bar.label.as_str()
        } else {
            bar.label.split(' ').next().unwrap_or_default()
        };
        fitted(label, 13, LABEL - 12)
    }

    fn title(&self, root: &Area<'_>, text: &str, (x, y): (i32, i32)) -> Result<(), Failed> {
        write(root, text, &bold(15.0, INK), (x, y + 10))?;
        Ok(root.draw(&PathElement::new([(x, y + 26), (x + PANEL, y + 26)], LINE))?)
    }

    fn nothing(&self, root: &Area<'_>, text: &str, (x, y): (i32, i32)) -> Result<(), Failed> {
        let style = letters(13.0, PALE, HPos::Left);
        write(root, text, &style, (x, y + PANEL_TITLE + ROW / 2))
    }

    fn allocation(&self, root: &Area<'_>, bars: &[Bar], at: (i32, i32)) -> Result<(), Failed> {
        self.title(root, "Allocation", at)?;
        if bars.is_empty() {
            return self.nothing(root, NO_HOLDINGS, at);
        }
        let most = largest(bars);
        for (row, bar) in (0..).zip(bars) {
            let (x, middle) = (at.0, at.1 + PANEL_TITLE + row * ROW + ROW / 2);
            let long = length(bar.drawn(), most, BAR.unsigned_abs()).cast_signed();
            self.bar(root, (x + LABEL, middle), (0, long), BLUE)?;
            let figures = [money(bar.amount), percent(bar.pct, false)];
            self.row(root, bar, &figures, INK, (x, middle))?;
        }
        Ok(())
    }

    fn gains(&self, root: &Area<'_>, bars: &[Bar], at: (i32, i32)) -> Result<(), Failed> {
        self.bars(root, ("P&L by position", NO_HOLDINGS), bars, at)
    }

    /// Bars to both sides of a zero, under a title; a sentence where there are none.
    pub(super) fn bars(
        &self,
        root: &Area<'_>,
        (title, none): (&str, &str),
        bars: &[Bar],
        at: (i32, i32),
    ) -> Result<(), Failed> {
        self.title(root, title, at)?;
        if bars.is_empty() {
            return self.nothing(root, none, at);
        }
        let gain = bars
            .iter()
            .map(Bar::drawn)
            .max()
            .unwrap_or_default()
            .max(Decimal::ZERO);
        let loss = bars
            .iter()
            .map(|bar| -bar.drawn())
            .max()
            .unwrap_or_default()
            .max(Decimal::ZERO);
        let span = gain.saturating_add(loss);
        let room = BAR.unsigned_abs();
        // Zero stands where both sides have the same scale.
        let left = length(loss, span, room).cast_signed();
        let zero = at.0 + LABEL + left;
        for (row, bar) in (0..).zip(bars) {
            let middle = at.1 + PANEL_TITLE + row * ROW + ROW / 2;
            let long = length(bar.drawn(), span, room).cast_signed();
            let colour = tone(bar.amount, self.look);
            let ends = if bar.amount.is_sign_negative() {
                (-long.min(left), 0)
            } else {
                (0, long.min(BAR - left))
            };
            self.bar(root, (zero, middle), ends, colour)?;
            let pct = bar.pct.map_or_else(String::new, |pct| percent(Some(pct), true));
            let figures = [signed_money(bar.amount), pct];
            self.row(root, bar, &figures, colour, (at.0, middle))?;
        }
        let bottom = at.1 + PANEL_TITLE + i32::try_from(bars.len())? * ROW;
        Ok(root.draw(&PathElement::new(
            [(zero, at.1 + PANEL_TITLE), (zero, bottom)],
            PALE,
        ))?)
    }

    fn bar(
        &self,
        root: &Area<'_>,
        (x, middle): (i32, i32),
        (from, to): (i32, i32),
        colour: RGBColor,
    ) -> Result<(), Failed> {
        if from == to {
            return Ok(());
        }
        let corners = [(x + from, middle - 8), (x + to, middle + 8)];
        Ok(root.draw(&Rectangle::new(corners, colour.filled()))?)
    }

    fn row(
        &self,
        root: &Area<'_>,
        bar: &Bar,
        [amount, pct]: &[String; 2],
        colour: RGBColor,
        (x, middle): (i32, i32),
    ) -> Result<(), Failed> {
        write(
            root,
            &self.label(bar),
            &letters(13.0, INK, HPos::Left),
            (x, middle),
        )?;
        let style = letters(13.0, colour, HPos::Right);
        write(root, amount, &style, (x + PANEL - PCT, middle))?;
        write(root, pct, &style, (x + PANEL, middle))
    }

    fn curve(&self, area: &Area<'_>, rows: &[EquityRow]) -> Result<(), Failed> {
        let told = match rows {
            [first, .., last] => {
                let worst = rows.iter().max_by_key(|row| row.drawdown_pct);
                let worst = match worst.filter(|row| row.drawdown_pct > Decimal::ZERO) {
                    Some(row) => format!(
                        "largest drawdown {} on {}",
                        percent(Some(row.drawdown_pct), false),
                        row.snapshot.day
                    ),
                    None => "no drawdown".to_owned(),
                };
                format!("{} to {}, {worst}", first.snapshot.day, last.snapshot.day)
            }
            few => format!(
                "The curve needs snapshots of two days; {}. A running host stores one a day as it syncs positions.",
                if few.is_empty() {
                    "none is stored yet"
                } else {
                    "one is stored so far"
                }
            ),
        };
        let day = |place| {
            rows.get(place)
                .map(|row: &EquityRow| row.snapshot.day.to_string())
                .unwrap_or_default()
        };
        let curves = Curves {
            title: "Equity and drawdown",
            told: &told,
            points: rows
                .iter()
                .map(|row| (row.snapshot.total_asset, row.drawdown_pct))
                .collect(),
            moment: &day,
            room: 0.002,
            depth: 0.5,
        };
        curves.draw(area, self.look)
    }
}

fn largest(bars: &[Bar]) -> Decimal {
    bars.iter().map(|bar| bar.drawn().abs()).max().unwrap_or_default()
}

/// A figure as a coordinate; one that no float holds is drawn at zero.
pub(super) fn pixel(figure: Decimal) -> f64 {
    figure.to_f64().unwrap_or_default()
}

/// What a mark of the drawdown's axis says; a zero has no sign.
pub(super) fn axis_percent(percent: f64) -> String {
    if percent > -0.05 {
        "0%".to_owned()
    } else {
        format!("{percent:.1}%")
    }
}

/// What a mark of the assets' axis says.
pub(super) fn whole_yuan(yuan: f64) -> String {
    let decimal = Decimal::try_from(yuan.round()).unwrap_or_default();
    format!("¥{}", grouped(decimal))
}
