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
/// Widths of ASCII's letters from the space on, in hundredths of their size: DejaVu Sans', which with
/// Verdana, of the same widths, is the widest of the fonts that viewers usually have.
#[rustfmt::skip]
const ASCII_WIDTHS: [u8; 95] = [
    32, 41, 46, 84, 64, 96, 78, 28, 40, 40, 50, 84, 32, 37, 32, 34, // space to /
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 34, 34, 84, 84, 84, 54, // 0 to ?
    100, 69, 69, 70, 78, 64, 58, 78, 76, 30, 30, 66, 56, 87, 75, 79, // @ to O
    61, 79, 70, 64, 62, 74, 69, 99, 69, 62, 69, 40, 34, 40, 84, 50, // P to _
    50, 62, 64, 55, 64, 62, 36, 64, 64, 28, 28, 58, 28, 98, 64, 62, // ` to o
    64, 64, 42, 53, 40, 64, 60, 82, 60, 60, 53, 64, 34, 64, 84, // p to ~
];
/// Of other alphabets' letters on average, which in DejaVu Sans take 63 (Greek) to 69 (Cyrillic); of
/// signs, which fill a square; and of pictures.
const OTHER_WIDTH: u8 = 72;
const SQUARE_WIDTH: u8 = 100;
const PICTURE_WIDTH: u8 = 125;

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

/// About how wide a text is at most, in pixels: viewers' fonts differ.
pub(super) fn width_of(line: &str, size: u32) -> u32 {
    let hundredths: u32 = line.chars().map(letter_width).sum();
    (hundredths * size).div_ceil(100)
}

/// Of a letter, in hundredths of its size.
fn letter_width(letter: char) -> u32 {
    let width = match letter {
        ' '..='~' => ASCII_WIDTHS[letter as usize - ' ' as usize],
        '…' | '\u{2e80}'..='\u{1efff}' => SQUARE_WIDTH,
        '\u{1f000}'.. => PICTURE_WIDTH,
        _ => OTHER_WIDTH,
    };
    u32::from(width)
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
    if width_of(line, size) <= room {
        return line.to_owned();
    }
    let mut cut = String::new();
    for letter in line.chars() {
        cut.push(letter);
        if width_of(&format!("{cut}…"), size) > room {
            cut.pop();
            break;
        }
    }
    cut + "…"
}
