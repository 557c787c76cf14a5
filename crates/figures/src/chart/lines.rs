//! Curves.

use std::ops::Range;

use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::{Axis, has_place};
use super::paper::{
    Area, COLOURS, Drawn, FAINT, Frame, GRID, INK, MARGIN, TEXT_SIZE, fitting, on_paper, shown,
    shown_marks, text, width_of,
};
use super::{Mark, Scale};
use crate::FigureError;

/// In pixels, legend included.
const SIZE: (u32, u32) = (820, 440);
/// Room for the names of values, in pixels: below and to the left.
const BELOW: u32 = 48;
const LEFT: u32 = 76;
/// The legend's widest, its line, and what lies around the line, in pixels.
const LEGEND_MAX: u32 = 260;
const SWATCH: i32 = 22;
const SWATCH_GAP: i32 = 8;
const LEGEND_LINE: i32 = 22;
/// Points of a series are shown as dots if there are not more.
const DOTS_MAX: usize = 40;
/// Values named on each axis, about.
const TICKS: (usize, usize) = (8, 7);
/// An axis of values shows zero if the smallest is so much smaller than the largest.
const ZERO_WITHIN: f64 = 0.5;

/// Series of points, each joined by a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LineChart {
    /// Above all.
    pub title: String,
    /// What runs from left to right, with its unit.
    pub x_label: String,
    /// What runs upwards, with its unit.
    pub y_label: String,
    /// In the order of the legend, which is left out for a single series without a name.
    pub series: Vec<Series>,
    /// Dashed lines from left to right.
    pub marks: Vec<Mark>,
    /// How values stand along the upright axis.
    pub y_scale: Scale,
}

/// One curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// (x, y), in the order they are joined. Points that are no finite numbers are left out; so are
    /// those not above zero on a logarithmic scale.
    pub points: Vec<(f64, f64)>,
}

impl LineChart {
    /// Draws the chart, as the text of an SVG file.
    ///
    /// # Errors
    /// When the chart library refuses, for which no cause is known.
    pub fn to_svg(&self) -> Result<String, FigureError> {
        let chart = self.legible();
        on_paper(SIZE, &chart.title, |area| {
            let names = || chart.series.iter().map(|series| width_of(&series.name, TEXT_SIZE));
            let wanted = match names().max().unwrap_or(0) {
                0 => 0,
                width => width + (SWATCH + 2 * SWATCH_GAP) as u32,
            };
            let legend_width = wanted.min(LEGEND_MAX);
            let (left, right) = area.split_horizontally(SIZE.0 - legend_width - MARGIN);
            chart.draw_curves(&left)?;
            if legend_width > 0 { chart.draw_legend(&right, legend_width) } else { Ok(()) }
        })
    }

    /// The same chart, its texts as they can stand in it.
    fn legible(&self) -> Self {
        let series = self.series.iter();
        let series = series.map(|it| Series { name: shown(&it.name), points: it.points.clone() });
        Self {
            title: shown(&self.title),
            x_label: shown(&self.x_label),
            y_label: shown(&self.y_label),
            series: series.collect(),
            marks: shown_marks(&self.marks),
            y_scale: self.y_scale,
        }
    }

    fn draw_curves(&self, area: &Area) -> Drawn {
        let (x, y) = (self.x_axis(), self.y_axis());
        let mut chart = ChartBuilder::on(area)
            .margin_left(MARGIN)
            .margin_right(MARGIN)
            .x_label_area_size(BELOW)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(x.clone(), y.clone())?;
        let label = text(TEXT_SIZE, INK, HPos::Center, VPos::Center);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(FAINT)
            .label_style(label.clone())
            .axis_desc_style(label)
            .x_label_formatter(&|value| x.label(*value))
            .y_label_formatter(&|value| y.label(*value))
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .draw()?;
        self.draw_marks(&mut chart, (&x, &y))?;
        for (index, series) in self.series.iter().enumerate() {
            let drawn = |&(at, value): &(f64, f64)| x.has_place(at) && y.has_place(value);
            let points: Vec<_> = series.points.iter().copied().filter(drawn).collect();
            let dots = if points.len() <= DOTS_MAX { 3 } else { 0 };
            let style = colour(index).stroke_width(2);
            let style = if dots > 0 { style.filled() } else { style };
            chart.draw_series(LineSeries::new(points, style).point_size(dots))?;
        }
        Ok(())
    }

    fn draw_marks(&self, chart: &mut Frame, (x, y): (&Axis, &Axis)) -> Drawn {
        let Range { start, end } = x.range();
        for Mark { name, value } in self.marks.iter().filter(|mark| y.has_place(mark.value)) {
            let ends = [(start, *value), (end, *value)];
            chart.draw_series(DashedLineSeries::new(ends, 6, 4, FAINT.stroke_width(1)))?;
            let style = text(TEXT_SIZE, FAINT, HPos::Right, VPos::Bottom);
            let name = Text::new(name.clone(), (-4, -3), style);
            chart.draw_series([EmptyElement::at((end, *value)) + name])?;
        }
        Ok(())
    }

    fn draw_legend(&self, area: &Area, width: u32) -> Drawn {
        let room = width - (SWATCH + 2 * SWATCH_GAP) as u32;
        for (index, series) in self.series.iter().enumerate() {
            let y = LEGEND_LINE * index as i32 + LEGEND_LINE / 2;
            let swatch = vec![(0, y), (SWATCH, y)];
            area.draw(&PathElement::new(swatch, colour(index).stroke_width(3)))?;
            let name = fitting(&series.name, room, TEXT_SIZE);
            let style = text(TEXT_SIZE, INK, HPos::Left, VPos::Center);
            area.draw(&Text::new(name, (SWATCH + SWATCH_GAP, y), style))?;
        }
        Ok(())
    }

    fn x_axis(&self) -> Axis {
        let points = self.series.iter().flat_map(|series| &series.points);
        let axis = Axis::over(points.clone().map(|&(x, _)| x), Scale::Linear, TICKS.0);
        // What only occurs in whole numbers, as epochs do, is named by whole numbers.
        let whole = points.map(|&(x, _)| x).all(|x| !axis.has_place(x) || x.fract() == 0.0);
        if whole { axis.naming_whole_values() } else { axis }
    }

    /// Zero is shown where it is near.
    fn y_axis(&self) -> Axis {
        let points = self.series.iter().flat_map(|series| &series.points);
        let marks = self.marks.iter().map(|mark| mark.value);
        let values = points.map(|&(_, y)| y).chain(marks);
        let values: Vec<f64> = values.filter(|&value| has_place(value, self.y_scale)).collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        let from_zero = self.y_scale == Scale::Linear && low >= 0.0 && low <= high * ZERO_WITHIN;
        let zero = from_zero.then_some(0.0);
        let axis = Axis::over(values.into_iter().chain(zero), self.y_scale, TICKS.1);
        if from_zero { axis.beginning_at(0.0) } else { axis }
    }
}

/// Colours begin again after the last.
fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}
