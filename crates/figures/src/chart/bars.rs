//! Bars from left to right, one below the other.

use std::ops::Range;

use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::{Axis, rounded};
use super::paper::{
    Area, COLOURS, Drawn, FAINT, Frame, GRID, INK, MARGIN, TEXT_SIZE, TITLE_HEIGHT, fitting,
    on_paper, shown, shown_marks, text, width_of,
};
use super::{Mark, Scale};
use crate::FigureError;

/// Bars have names and values beside them if there are not more.
pub const BARS_NAMED_MAX: usize = 60;

/// Width, in pixels.
const WIDTH: u32 = 820;
/// Height of a bar with a name, and of all bars together if they have none, in pixels.
const BAR: u32 = 24;
const BARS_UNNAMED: u32 = 560;
/// Share of a bar's height that it fills.
const FILLED: f64 = 0.7;
/// The widest room for names, that for a bar's value, and that below and above, in pixels.
const NAMES_MAX: u32 = 260;
const VALUE: u32 = 64;
/// From a bar's end to its value.
const VALUE_GAP: i32 = 6;
const BELOW: u32 = 48;
const ABOVE: u32 = 24;
/// Height of a line of text above, for marks whose names would lie on what the bars are.
const LINE: u32 = 16;
/// Values named below, about.
const TICKS: usize = 8;

/// A bar for each of some things. Up to [`BARS_NAMED_MAX`] have their names and values beside them;
/// more are drawn as one outline, from the first at the top to the last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BarChart {
    /// Above all.
    pub title: String,
    /// What the values are, with their unit; below them.
    pub x_label: String,
    /// What the bars are; above their names.
    pub y_label: String,
    /// From the top: name and value. A value that is no finite number has a name but no bar.
    pub bars: Vec<(String, f64)>,
    /// Dashed lines from top to bottom.
    pub marks: Vec<Mark>,
}

impl BarChart {
    /// Draws the chart, as the text of an SVG file.
    ///
    /// # Errors
    /// When the chart library refuses, for which no cause is known.
    pub fn to_svg(&self) -> Result<String, FigureError> {
        let bars = match self.bars.len() as u32 {
            count if self.is_named() => count.max(1) * BAR,
            _ => BARS_UNNAMED,
        };
        let chart = self.legible();
        let size = (WIDTH, TITLE_HEIGHT + chart.above() + bars + BELOW + MARGIN);
        on_paper(size, &chart.title, |area| chart.draw_bars(area))
    }

    /// The same chart, its texts as they can stand in it.
    fn legible(&self) -> Self {
        Self {
            title: shown(&self.title),
            x_label: shown(&self.x_label),
            y_label: shown(&self.y_label),
            bars: self.bars.iter().map(|(name, value)| (shown(name), *value)).collect(),
            marks: shown_marks(&self.marks),
        }
    }

    fn is_named(&self) -> bool {
        self.bars.len() <= BARS_NAMED_MAX
    }

    /// Room for the bars' names.
    fn names_width(&self) -> u32 {
        let names = self.bars.iter().map(|(name, _)| width_of(name, TEXT_SIZE));
        if self.is_named() { names.max().unwrap_or(0).min(NAMES_MAX) } else { 0 }
    }

    fn margin_right(&self) -> u32 {
        if self.is_named() { VALUE } else { 2 * MARGIN }
    }

    /// Room above the bars: a line more if a mark's name would lie on what the bars are.
    fn above(&self) -> u32 {
        let label_end = (MARGIN + width_of(&self.y_label, TEXT_SIZE) + MARGIN) as i32;
        let x = self.x_axis();
        let drawn = self.marks.iter().filter(|mark| x.has_place(mark.value));
        let is_in_the_way = drawn.map(|mark| self.extent(mark, &x)).any(|it| it.start < label_end);
        if is_in_the_way { ABOVE + LINE } else { ABOVE }
    }

    /// From where to where a mark's name goes, in pixels from the left: its middle is at the mark,
    /// or as near as it can be within the picture.
    fn extent(&self, mark: &Mark, x: &Axis) -> Range<i32> {
        let sides = (MARGIN + self.names_width() + MARGIN, WIDTH - self.margin_right());
        let middle = x.map(&mark.value, (sides.0 as i32, sides.1 as i32));
        let width = width_of(&mark.name, TEXT_SIZE) as i32;
        let last = (WIDTH - MARGIN) as i32 - width;
        let start = (middle - width / 2).min(last).max(MARGIN as i32);
        start..start + width
    }

    fn draw_bars(&self, area: &Area) -> Drawn {
        let names = self.names_width();
        let label = text(TEXT_SIZE, INK, HPos::Left, VPos::Center);
        area.draw(&Text::new(self.y_label.as_str(), (MARGIN as i32, 8), label))?;
        let x = self.x_axis();
        let mut chart = ChartBuilder::on(area)
            .margin_left(MARGIN)
            .margin_right(self.margin_right())
            .margin_top(self.above())
            .x_label_area_size(BELOW)
            .y_label_area_size(names + MARGIN)
            .build_cartesian_2d(x.clone(), Axis::bare(0.0, self.bars.len().max(1) as f64))?;
        let label = text(TEXT_SIZE, INK, HPos::Center, VPos::Center);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(FAINT)
            .label_style(label.clone())
            .axis_desc_style(label)
            .x_label_formatter(&|value| x.label(*value))
            .x_desc(&self.x_label)
            .draw()?;
        if self.is_named() {
            self.draw_named(&mut chart, &x, names)?;
            self.draw_marks(&mut chart, &x)?;
            self.draw_values(&mut chart, &x)
        } else {
            self.draw_outline(&mut chart, &x)?;
            self.draw_marks(&mut chart, &x)
        }
    }

    fn draw_named(&self, chart: &mut Frame, x: &Axis, room: u32) -> Drawn {
        let left = x.range().start;
        for (index, (name, value)) in self.bars.iter().enumerate() {
            let middle = self.top(index) - 0.5;
            let style = text(TEXT_SIZE, INK, HPos::Right, VPos::Center);
            let name = Text::new(fitting(name, room, TEXT_SIZE), (-8, 0), style);
            chart.draw_series([EmptyElement::at((left, middle)) + name])?;
            if !x.has_place(*value) {
                continue;
            }
            let corners = [(0.0, middle - FILLED / 2.0), (*value, middle + FILLED / 2.0)];
            chart.draw_series([Rectangle::new(corners, COLOURS[0].filled())])?;
        }
        Ok(())
    }

    /// The bars' values beside them, each on a white ground: a mark's line may come by.
    fn draw_values(&self, chart: &mut Frame, x: &Axis) -> Drawn {
        for (index, &(_, value)) in self.bars.iter().enumerate() {
            if !x.has_place(value) {
                continue;
            }
            let digits = rounded(value);
            let end = VALUE_GAP + width_of(&digits, TEXT_SIZE) as i32;
            let half = TEXT_SIZE as i32 / 2 + 1;
            let ground = Rectangle::new([(VALUE_GAP - 2, -half), (end, half)], WHITE.filled());
            let style = text(TEXT_SIZE, FAINT, HPos::Left, VPos::Center);
            let place = (value.max(0.0), self.top(index) - 0.5);
            let digits = Text::new(digits, (VALUE_GAP, 0), style);
            chart.draw_series([EmptyElement::at(place) + ground + digits])?;
        }
        Ok(())
    }

    /// All bars without gaps.
    fn draw_outline(&self, chart: &mut Frame, x: &Axis) -> Drawn {
        let bars = self.bars.iter().enumerate();
        let corners = bars.flat_map(|(index, &(_, value))| {
            let value = if x.has_place(value) { value } else { 0.0 };
            [(value, self.top(index)), (value, self.top(index + 1))]
        });
        let ends = [(0.0, 0.0), (0.0, self.top(0))];
        let corners: Vec<_> = corners.chain(ends).collect();
        chart.draw_series([Polygon::new(corners, COLOURS[0].filled())])?;
        Ok(())
    }

    fn draw_marks(&self, chart: &mut Frame, x: &Axis) -> Drawn {
        let top = self.top(0);
        for mark in self.marks.iter().filter(|mark| x.has_place(mark.value)) {
            let Mark { name, value } = mark;
            let ends = [(*value, 0.0), (*value, top)];
            chart.draw_series(DashedLineSeries::new(ends, 6, 4, INK.stroke_width(1)))?;
            let style = text(TEXT_SIZE, FAINT, HPos::Center, VPos::Bottom);
            let Range { start, end } = self.extent(mark, x);
            let aside = (start + end) / 2 - chart.backend_coord(&(*value, top)).0;
            let name = Text::new(name.clone(), (aside, -4), style);
            chart.draw_series([EmptyElement::at((*value, top)) + name])?;
        }
        Ok(())
    }

    /// The upper edge of a bar's place.
    fn top(&self, index: usize) -> f64 {
        (self.bars.len() - index) as f64
    }

    /// Bars begin at zero.
    fn x_axis(&self) -> Axis {
        let values = self.bars.iter().map(|&(_, value)| value);
        let marks = self.marks.iter().map(|mark| mark.value);
        let axis = Axis::over(values.chain(marks).chain([0.0]), Scale::Linear, TICKS);
        let Range { start, end } = axis.range();
        // Without room beside zero where all bars go to one side.
        if -start < end * 0.05 { axis.beginning_at(0.0) } else { axis }
    }
}
