//! Curves.

use std::ops::Range;

use plotters::coord::ranged1d::Ranged;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::{Axis, has_place};
use super::paper::{
    Area, COLOURS, Drawn, FAINT, Frame, GRID, INK, MARGIN, TEXT_SIZE, TITLE_HEIGHT, fitting,
    on_paper, shown, shown_marks, text, width_of,
};
use super::{Mark, Scale};
use crate::FigureError;

/// Names of series that are told apart, by seven colours and three kinds of line; series of further
/// names are not drawn.
pub const LINES_MAX: usize = COLOURS.len() * DASHES.len();

/// In pixels, legend included; a long legend makes a chart higher.
const WIDTH: u32 = 820;
const HEIGHT: u32 = 440;
/// Room for the names of values, in pixels: below and to the left.
const BELOW: u32 = 48;
const LEFT: u32 = 76;
/// The legend's widest, its line, and what lies around the line, in pixels.
const LEGEND_MAX: u32 = 260;
const SWATCH: i32 = 22;
const SWATCH_GAP: i32 = 8;
const LEGEND_LINE: i32 = 22;
/// Kinds of line, each after all colours of the one before: a dash and the gap after it, in pixels;
/// nothing for a line without gaps.
const DASHES: [Option<(u32, u32)>; 3] = [None, Some((9, 5)), Some((2, 4))];
/// How dark a faint line is beside a strong one.
const FAINT_OPACITY: f64 = 0.55;
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
    /// In the order of the legend, which is left out for a single series without a name. Those of
    /// one name look alike and are named once; of more than [`LINES_MAX`] names the first are drawn
    /// and the number of the others is said.
    pub series: Vec<Series>,
    /// What strong lines are, and faint ones; below the names in the legend.
    pub strengths: Option<[String; 2]>,
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
    /// Drawn thinner and paler.
    pub is_faint: bool,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug)]
struct Look {
    colour: RGBColor,
    dash: Option<(u32, u32)>,
    is_faint: bool,
}

impl LineChart {
    /// Draws the chart, as the text of an SVG file.
    ///
    /// # Errors
    /// When the chart library refuses, for which no cause is known.
    pub fn to_svg(&self) -> Result<String, FigureError> {
        let mut chart = self.legible();
        let names = chart.names();
        let shown = &names[..names.len().min(LINES_MAX)];
        chart.series.retain(|series| shown.contains(&series.name));
        let legend = chart.legend(names.len() - shown.len());
        let height = TITLE_HEIGHT + LEGEND_LINE as u32 * legend.len() as u32 + MARGIN;
        on_paper((WIDTH, height.max(HEIGHT)), &chart.title, |area| {
            let names = legend.iter().map(|(_, name)| width_of(name, TEXT_SIZE));
            let wanted = match names.max().unwrap_or(0) {
                0 => 0,
                width => width + (SWATCH + 2 * SWATCH_GAP) as u32,
            };
            let legend_width = wanted.min(LEGEND_MAX);
            let (left, right) = area.split_horizontally(WIDTH - legend_width - MARGIN);
            chart.draw_curves(&left)?;
            if legend_width > 0 { draw_legend(&right, &legend, legend_width) } else { Ok(()) }
        })
    }

    /// The names of its series, each once.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for series in &self.series {
            if !names.contains(&series.name) {
                names.push(series.name.clone());
            }
        }
        names
    }

    /// Lines of the legend; how many names were `left_out` is the last.
    fn legend(&self, left_out: usize) -> Vec<(Option<Look>, String)> {
        let named = |(place, name)| (Some(Look::of(place, false)), name);
        let mut legend: Vec<_> = self.names().into_iter().enumerate().map(named).collect();
        for (name, is_faint) in self.strengths.iter().flatten().zip([false, true]) {
            let look = Look { colour: INK, dash: None, is_faint };
            legend.push((Some(look), name.clone()));
        }
        if left_out > 0 {
            legend.push((None, format!("and {left_out} more, not drawn")));
        }
        legend
    }

    /// The same chart, its texts as they can stand in it.
    fn legible(&self) -> Self {
        let series = self.series.iter();
        let series = series.map(|it| Series { name: shown(&it.name), ..it.clone() });
        Self {
            title: shown(&self.title),
            x_label: shown(&self.x_label),
            y_label: shown(&self.y_label),
            series: series.collect(),
            strengths: self.strengths.as_ref().map(|names| names.each_ref().map(|it| shown(it))),
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
        let names = self.names();
        for series in &self.series {
            let place = names.iter().position(|name| *name == series.name).unwrap_or(0);
            let drawn = |&(at, value): &(f64, f64)| x.has_place(at) && y.has_place(value);
            let points: Vec<_> = series.points.iter().copied().filter(drawn).collect();
            draw_curve(&mut chart, points, Look::of(place, series.is_faint))?;
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

impl Look {
    /// That of the series with the name at `place`, below [`LINES_MAX`].
    fn of(place: usize, is_faint: bool) -> Self {
        let dash = DASHES[place / COLOURS.len() % DASHES.len()];
        Self { colour: COLOURS[place % COLOURS.len()], dash, is_faint }
    }

    fn stroke(self, width: u32) -> ShapeStyle {
        match self.is_faint {
            true => self.colour.mix(FAINT_OPACITY).stroke_width(width - 1),
            false => self.colour.stroke_width(width),
        }
    }
}

/// A line through points, which are dots if they are not too many.
fn draw_curve(chart: &mut Frame, points: Vec<(f64, f64)>, look: Look) -> Drawn {
    let style = look.stroke(2);
    if points.len() <= DOTS_MAX {
        let size = if look.is_faint { 2 } else { 3 };
        let dots = points.iter().map(|&point| Circle::new(point, size, style.filled()));
        chart.draw_series(dots)?;
    }
    match look.dash {
        None => chart.draw_series(LineSeries::new(points, style))?,
        Some((dash, gap)) => chart.draw_series(DashedLineSeries::new(points, dash, gap, style))?,
    };
    Ok(())
}

fn draw_legend(area: &Area, legend: &[(Option<Look>, String)], width: u32) -> Drawn {
    let room = width - (SWATCH + 2 * SWATCH_GAP) as u32;
    for (index, (look, name)) in legend.iter().enumerate() {
        let y = LEGEND_LINE * index as i32 + LEGEND_LINE / 2;
        let swatch = [(0, y), (SWATCH, y)];
        match look.map(|look| (look.stroke(3), look.dash)) {
            None => {}
            Some((style, None)) => area.draw(&PathElement::new(swatch, style))?,
            Some((style, Some((dash, gap)))) => {
                area.draw(&DashedPathElement::new(swatch, dash, gap, style))?;
            }
        }
        let name = fitting(name, room, TEXT_SIZE);
        let style = text(TEXT_SIZE, INK, HPos::Left, VPos::Center);
        area.draw(&Text::new(name, (SWATCH + SWATCH_GAP, y), style))?;
    }
    Ok(())
}
