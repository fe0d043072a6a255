//! What something was worth as time passed, and below it how far that lay under its highest before.
#![expect(
    clippy::float_arithmetic,
    reason = "plotters wants coordinates as floats; no figure is written from one"
)]

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use rust_decimal::Decimal;

use super::svg::{
    Area, BLUE, Failed, INK, LINE, Look, MARGIN, PALE, WIDTH, axis_percent, bold, letters, pixel, tone,
    whole_yuan, write,
};

/// Half of the last moment's label, which stands below the curve's end.
const HALF_A_LABEL: i32 = 34;

/// The curves of one picture.
pub(super) struct Curves<'a> {
    pub(super) title: &'a str,
    /// Told at the right of the title; below it where there is no curve.
    pub(super) told: &'a str,
    /// Worth in yuan and drawdown in percent, by time.
    pub(super) points: Vec<(Decimal, Decimal)>,
    /// What stands under a point.
    pub(super) moment: &'a dyn Fn(usize) -> String,
    /// The least room above and below a line, as a part of the worth.
    pub(super) room: f64,
    /// The least depth of the drawdown's axis, in percent.
    pub(super) depth: f64,
}

impl Curves<'_> {
    /// Draws them; of fewer than two points only what is told.
    pub(super) fn draw(&self, area: &Area<'_>, look: Look) -> Result<(), Failed> {
        let line = [(MARGIN, 26), (WIDTH - MARGIN, 26)];
        write(area, self.title, &bold(15.0, INK), (MARGIN, 10))?;
        area.draw(&PathElement::new(line, LINE))?;
        if self.points.len() < 2 {
            return write(area, self.told, &letters(13.0, PALE, HPos::Left), (MARGIN, 52));
        }
        let style = letters(13.0, PALE, HPos::Right);
        write(area, self.told, &style, (WIDTH - MARGIN, 10))?;
        let (_, plots) = area.split_vertically(36);
        let (upper, lower) = plots.split_vertically(250);
        self.worth(&upper)?;
        self.drawdown(&lower, look)
    }

    fn worth(&self, area: &Area<'_>) -> Result<(), Failed> {
        let values: Vec<f64> = self.points.iter().map(|(worth, _)| pixel(*worth)).collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // A flat line has room above and below it too.
        let room = ((high - low) * 0.08).max(high.abs() * self.room).max(1.0);
        let mut chart = ChartBuilder::on(area)
            .margin_left(MARGIN)
            .margin_right(MARGIN + HALF_A_LABEL)
            .margin_top(8)
            .set_label_area_size(LabelAreaPosition::Left, 120)
            .build_cartesian_2d(0..values.len() - 1, (low - room)..(high + room))?;
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

    fn drawdown(&self, area: &Area<'_>, look: Look) -> Result<(), Failed> {
        let values: Vec<f64> = self.points.iter().map(|(_, percent)| -pixel(*percent)).collect();
        let low = values.iter().copied().fold(-self.depth, f64::min) * 1.1;
        let colour = tone(Decimal::NEGATIVE_ONE, look);
        let mut chart = ChartBuilder::on(area)
            .margin_left(MARGIN)
            .margin_right(MARGIN + HALF_A_LABEL)
            .margin_bottom(6)
            .margin_top(16)
            .set_label_area_size(LabelAreaPosition::Left, 120)
            .set_label_area_size(LabelAreaPosition::Bottom, 30)
            .build_cartesian_2d(0..values.len() - 1, low..0.0)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE)
            .axis_style(LINE)
            .x_labels(values.len().min(8))
            .x_label_style(letters(12.0, PALE, HPos::Center))
            .x_label_formatter(&|place| (self.moment)(*place))
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
}
