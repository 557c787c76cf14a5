//! What all charts share: the ground, the title, colours, text, the frame of axes.

use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Mark;
use super::axis::Axis;
use crate::{FigureError, legible};

pub(super) type Area<'s> = DrawingArea<SVGBackend<'s>, Shift>;
pub(super) type Frame<'a, 's> = ChartContext<'a, SVGBackend<'s>, Cartesian2d<Axis, Axis>>;

/// Okabe and Ito's colours, which colour-blind eyes tell apart, without the yellow that is lost on
/// white (jfly.uni-koeln.de/color).
pub(super) const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];
pub(super) const INK: RGBColor = RGBColor(32, 32, 32);
pub(super) const FAINT: RGBColor = RGBColor(110, 110, 110);
pub(super) const GRID: RGBColor = RGBColor(225, 225, 225);

/// Whatever the viewer has.
const FONT: &str = "sans-serif";
/// In pixels, as everything here.
pub(super) const TEXT_SIZE: u32 = 13;
const TITLE_SIZE: u32 = 17;
/// Room above the axes.
pub(super) const TITLE_HEIGHT: u32 = 40;
/// Around the chart.
pub(super) const MARGIN: u32 = 12;
/// Width of an average letter beside its height.
const LETTER: f64 = 0.56;

/// Lets `draw` draw on a white ground of `size` pixels, below a title.
pub(super) fn on_paper(
    size: (u32, u32),
    title: &str,
    draw: impl FnOnce(&Area) -> Drawn,
) -> Result<String, FigureError> {
    let mut svg = String::new();
    let drawn = (|| {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        let (above, below) = area.split_vertically(TITLE_HEIGHT);
        let at = (MARGIN as i32, (TITLE_HEIGHT / 2) as i32);
        above.draw(&Text::new(
            fitting(title, size.0 - 2 * MARGIN, TITLE_SIZE),
            at,
            text(TITLE_SIZE, INK, HPos::Left, VPos::Center),
        ))?;
        draw(&below)?;
        area.present()
    })();
    drawn.map_err(|error| FigureError::Svg(error.to_string()))?;
    Ok(svg)
}

/// How drawing goes.
pub(super) type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// The library takes the height of a line for a font's size, and writes the size of its letters.
const LINE_HEIGHT: f64 = 1.24;

/// Letters of a size and colour; which part of them is put at a point.
pub(super) fn text(size: u32, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    (FONT, f64::from(size) * LINE_HEIGHT).into_font().color(&colour).pos(Pos::new(h, v))
}

/// About how wide a text is, in pixels: viewers' fonts differ.
pub(super) fn width_of(line: &str, size: u32) -> u32 {
    (line.chars().count() as f64 * f64::from(size) * LETTER).ceil() as u32
}

/// A text that others chose, as it can stand in a chart.
pub(super) fn shown(text: &str) -> String {
    legible(text).into_owned()
}

/// Marks whose names can stand in a chart.
pub(super) fn shown_marks(marks: &[Mark]) -> Vec<Mark> {
    marks.iter().map(|mark| Mark { name: shown(&mark.name), value: mark.value }).collect()
}

/// `line`, or as much of it as goes into `room` pixels, its end cut off where that is seen.
pub(super) fn fitting(line: &str, room: u32, size: u32) -> String {
    let letters = (f64::from(room) / (f64::from(size) * LETTER)) as usize;
    if line.chars().count() <= letters {
        return line.to_owned();
    }
    line.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}
