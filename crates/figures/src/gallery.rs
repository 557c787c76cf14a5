//! Pictures in rows and columns, each with lines of its own.

use crate::FigureError;
use crate::contact_sheet::SHEET_PIXELS_MAX;
use crate::picture::Picture;
use crate::text::{Style, write};

/// Around the gallery, and between its pictures, in pixels.
const MARGIN: usize = 16;
const GAP: usize = 16;
/// Between lines of text.
const LEADING: usize = 4;
/// A picture and its lines are at least so wide: about 22 letters.
const CELL_MIN: usize = 180;
/// Pictures are enlarged to about this, so that one sees something.
const PICTURE_MIN: usize = 128;

const PAPER: [u8; 3] = [255; 3];
const INK: [u8; 3] = [32; 3];

/// Pictures with lines below each, on white.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gallery {
    /// Above all.
    pub title: String,
    /// Pictures in a row.
    pub columns: usize,
    /// Each with the lines below it, from the left.
    pub pictures: Vec<(Picture, Vec<String>)>,
}

impl Gallery {
    /// Draws the gallery. Lines that do not fit are cut off.
    ///
    /// # Errors
    /// A gallery of more than [`SHEET_PIXELS_MAX`] pixels.
    pub fn draw(&self) -> Result<Picture, FigureError> {
        let columns = self.columns.clamp(1, self.pictures.len().max(1));
        let side = self.pictures.iter().map(|(picture, _)| picture.width().max(picture.height()));
        let side = side.max().unwrap_or(0);
        let factor = PICTURE_MIN.div_ceil(side.max(1)).max(1);
        let lines = self.pictures.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0);
        let line = Style::Plain.height() + LEADING;
        let cell = ((side * factor).max(CELL_MIN), side * factor + LEADING + lines * line);
        let rows = self.pictures.len().div_ceil(columns);
        let top = MARGIN + Style::Bold.height() + GAP;
        let width = 2 * MARGIN + columns * (cell.0 + GAP) - GAP;
        let height = top + rows * (cell.1 + GAP) + MARGIN;
        if width.saturating_mul(height) > SHEET_PIXELS_MAX {
            return Err(FigureError::TooLarge { width, height });
        }
        let mut sheet = Picture::blank(width, height, PAPER);
        write(&mut sheet, &self.title, (MARGIN, MARGIN), width - 2 * MARGIN, Style::Bold, INK);
        for (index, (picture, lines)) in self.pictures.iter().enumerate() {
            let left = MARGIN + index % columns * (cell.0 + GAP);
            let top = top + index / columns * (cell.1 + GAP);
            sheet.paste(&picture.enlarged(factor), left, top);
            for (number, text) in lines.iter().enumerate() {
                let at = (left, top + side * factor + LEADING + number * line);
                write(&mut sheet, text, at, cell.0, Style::Plain, INK);
            }
        }
        Ok(sheet)
    }
}
