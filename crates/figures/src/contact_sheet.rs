//! Many small pictures in rows, each row with a caption.

use crate::FigureError;
use crate::picture::Picture;
use crate::text::{Style, write};

/// The most pixels a sheet may have: 300 MB.
pub const SHEET_PIXELS_MAX: usize = 100_000_000;

/// Around the sheet, in pixels.
const MARGIN: usize = 16;
/// Between pictures that stand beside each other, and between lines of text.
const GAP: usize = 6;
/// Between a row's caption and the next row.
const ROW_GAP: usize = 14;
/// Pictures that are smaller are enlarged, so that one sees something and captions have room.
const PICTURE_MIN: usize = 128;

const PAPER: [u8; 3] = [255; 3];
const INK: [u8; 3] = [32; 3];

/// A sheet of pictures on white.
///
/// ```text
/// title
/// column     column     column
/// [picture]  [picture]  [picture]
/// caption
/// [picture]  [picture]  [picture]
/// caption
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContactSheet {
    /// Above all.
    pub title: String,
    /// A heading for each column.
    pub columns: Vec<String>,
    /// From the top.
    pub rows: Vec<SheetRow>,
}

/// One row of a sheet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SheetRow {
    /// Below the pictures.
    pub caption: String,
    /// From the left.
    pub pictures: Vec<Picture>,
}

impl ContactSheet {
    /// Draws the sheet. Each picture is there pixel for pixel; if all have sides below 128 pixels,
    /// each of their pixels is a square of several. Text that does not fit is cut off.
    ///
    /// # Errors
    /// A sheet of more than [`SHEET_PIXELS_MAX`] pixels.
    pub fn draw(&self) -> Result<Picture, FigureError> {
        let places = Places::of(self);
        let (width, height) = places.size(self);
        if width.saturating_mul(height) > SHEET_PIXELS_MAX {
            return Err(FigureError::TooLarge { width, height });
        }
        let mut sheet = Picture::blank(width, height, PAPER);
        let whole = width - 2 * MARGIN;
        write(&mut sheet, &self.title, (MARGIN, MARGIN), whole, Style::Bold, INK);
        for (column, heading) in self.columns.iter().enumerate() {
            let at = (places.left(column), places.headings());
            write(&mut sheet, heading, at, places.cell.0, Style::Plain, INK);
        }
        for (index, SheetRow { caption, pictures }) in self.rows.iter().enumerate() {
            let top = places.top(index);
            for (column, picture) in pictures.iter().enumerate() {
                let picture = picture.enlarged(places.factor);
                sheet.paste(&picture, places.left(column), top);
            }
            let below = top + places.cell.1 + GAP;
            write(&mut sheet, caption, (MARGIN, below), whole, Style::Plain, INK);
        }
        Ok(sheet)
    }
}

/// Where everything is.
struct Places {
    /// How many pixels a side each pixel of a picture becomes.
    factor: usize,
    /// Width and height that each picture has room for.
    cell: (usize, usize),
}

impl Places {
    fn of(sheet: &ContactSheet) -> Self {
        let pictures = || sheet.rows.iter().flat_map(|row| &row.pictures);
        let width = pictures().map(Picture::width).max().unwrap_or(0);
        let height = pictures().map(Picture::height).max().unwrap_or(0);
        let factor = PICTURE_MIN.div_ceil(width.max(height).max(1));
        Self { factor, cell: (width * factor, height * factor) }
    }

    fn size(&self, sheet: &ContactSheet) -> (usize, usize) {
        let in_rows = sheet.rows.iter().map(|row| row.pictures.len()).max().unwrap_or(0);
        let columns = sheet.columns.len().max(in_rows).max(1);
        let width = self.left(columns) - GAP + MARGIN;
        (width, self.top(sheet.rows.len()) - ROW_GAP + MARGIN)
    }

    fn headings(&self) -> usize {
        MARGIN + Style::Bold.height() + GAP
    }

    fn left(&self, column: usize) -> usize {
        MARGIN + column * (self.cell.0 + GAP)
    }

    fn top(&self, row: usize) -> usize {
        let row_height = self.cell.1 + GAP + Style::Plain.height() + ROW_GAP;
        self.headings() + Style::Plain.height() + GAP + row * row_height
    }
}
