//! A square table of shares as a picture, from two classes to many thousands.

use crate::picture::Picture;
use crate::text::{Style, label, write, write_upwards};

/// Sides of the table become about this, in pixels.
const TABLE: usize = 960;
/// Most pixels a cell's side has, and fewest for names to stand beside it.
const CELL_MAX: usize = 64;
const CELL_NAMED_MIN: usize = 16;
/// Fewest for a number to stand in it: four letters wide.
const CELL_NUMBERED_MIN: usize = 40;
/// Letters of a name that have room.
const NAME_LETTERS_MAX: usize = 24;
/// Around all, and between parts, in pixels.
const MARGIN: usize = 16;
const GAP: usize = 8;
/// The scale beside the table.
const SCALE: usize = 20;

const PAPER: [u8; 3] = [255; 3];
const INK: [u8; 3] = [32; 3];
const LINE: [u8; 3] = [150; 3];

/// From white over blue to nearly black: light falls evenly, so that it reads without colour too.
const COLOURS: [[u8; 3]; 5] =
    [[255, 255, 255], [198, 219, 239], [107, 174, 214], [8, 104, 172], [8, 29, 88]];

/// Shares of each row, as colours: what a class's images were taken for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatMap {
    /// Above all.
    pub title: String,
    /// What the rows are: from the top.
    pub rows: String,
    /// What the columns are: from the left.
    pub columns: String,
    /// Names of both.
    pub names: Vec<String>,
    /// (row, column, share from 0 to 1); others are 0.
    pub cells: Vec<(usize, usize, f64)>,
}

impl HeatMap {
    /// Draws the table. Where there are more cells than pixels, each pixel is the largest of its
    /// cells; names and numbers are left out where they have no room.
    #[must_use]
    pub fn draw(&self) -> Picture {
        let count = self.names.len().max(1);
        let cell = (TABLE / count).clamp(1, CELL_MAX);
        let per_pixel = count.div_ceil(TABLE);
        let table = count.div_ceil(per_pixel) * cell;
        let named = cell >= CELL_NAMED_MIN;
        let labels: Vec<String> = match named {
            true => self.names.iter().enumerate().map(|(at, name)| label(at, name)).collect(),
            false => Vec::new(),
        };
        let letters = labels.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let names = Style::Plain.width(letters.min(NAME_LETTERS_MAX));
        let line = Style::Plain.height() + GAP;
        let left = MARGIN + line + names + GAP;
        let top = MARGIN + 2 * line + names + GAP;
        let scale = left + table + 3 * GAP;
        let width = scale + SCALE + GAP + Style::Plain.width("100 %".len()) + MARGIN;
        let mut picture = Picture::blank(width, top + table + MARGIN, PAPER);
        let whole = width - 2 * MARGIN;
        write(&mut picture, &self.title, (MARGIN, MARGIN), whole, Style::Bold, INK);
        write(&mut picture, &self.columns, (left, MARGIN + line), whole - left, Style::Plain, INK);
        let at = (MARGIN, top + table);
        write_upwards(&mut picture, &self.rows, at, table, Style::Plain, INK);
        draw_names(&mut picture, &labels, (left, top), cell, names);
        picture.fill((left - 1, top - 1), (table + 2, table + 2), LINE);
        picture.fill((left, top), (table, table), PAPER);
        self.draw_cells(&mut picture, (left, top), cell, per_pixel);
        draw_scale(&mut picture, (scale, top), table);
        picture
    }

    fn draw_cells(
        &self,
        picture: &mut Picture,
        (left, top): (usize, usize),
        cell: usize,
        per_pixel: usize,
    ) {
        let mut cells = self.cells.clone();
        cells.retain(|&(row, column, _)| row.max(column) < self.names.len());
        cells.sort_by(|a, b| a.2.total_cmp(&b.2)); // the largest of a pixel is drawn last
        for (row, column, share) in cells {
            let at = (left + column / per_pixel * cell, top + row / per_pixel * cell);
            picture.fill(at, (cell, cell), colour(share));
            if cell >= CELL_NUMBERED_MIN {
                let number = format!("{:.0}", share * 100.0);
                let shift = |room: usize| cell.saturating_sub(room) / 2;
                let width = Style::Plain.width(number.len());
                let at = (at.0 + shift(width), at.1 + shift(Style::Plain.height()));
                let ink = if tone(share) > 0.5 { PAPER } else { INK };
                write(picture, &number, at, cell, Style::Plain, ink);
            }
        }
    }
}

/// The names of both sides, if there are any; `room` is the width of the widest.
fn draw_names(
    picture: &mut Picture,
    labels: &[String],
    (left, top): (usize, usize),
    cell: usize,
    room: usize,
) {
    for (index, name) in labels.iter().enumerate() {
        let shift = index * cell + (cell - Style::Plain.height()) / 2;
        let width = Style::Plain.width(name.chars().count()).min(room);
        let at = (left - GAP - width, top + shift);
        write(picture, name, at, room, Style::Plain, INK);
        write_upwards(picture, name, (left + shift, top - GAP), room, Style::Plain, INK);
    }
}

/// The colours from 100 % at the top to 0.
fn draw_scale(picture: &mut Picture, (left, top): (usize, usize), height: usize) {
    picture.fill((left - 1, top - 1), (SCALE + 2, height + 2), LINE);
    for y in 0..height {
        let share = 1.0 - y as f64 / height as f64;
        picture.fill((left, top + y), (SCALE, 1), colour(share));
    }
    let half = Style::Plain.height() / 2;
    for percent in [100, 75, 50, 25, 10, 0] {
        let y = top + height * (100 - percent) / 100;
        let at = (left + SCALE + GAP, y.saturating_sub(half));
        write(picture, &format!("{percent} %"), at, 100, Style::Plain, INK);
    }
}

/// How far from white a share is. Its root: a hundredth must be seen beside a whole.
fn tone(share: f64) -> f64 {
    share.clamp(0.0, 1.0).sqrt()
}

fn colour(share: f64) -> [u8; 3] {
    let place = tone(share) * (COLOURS.len() - 1) as f64;
    let below = (place as usize).min(COLOURS.len() - 2);
    let part = place - below as f64;
    [0, 1, 2].map(|at| {
        let [low, high] = [0, 1].map(|next| f64::from(COLOURS[below + next][at]));
        (low + (high - low) * part).round() as u8
    })
}
