//! A window of an image is resized with Pillow's antialiased bilinear filter, to the bit, fast: the
//! rule is [`alexnet_ops::Filter`]'s.
//!
//! Weights trained elsewhere were trained on Pillow's pixels, and give PyTorch's logits to 1e-4 only
//! on the same ones: libraries that round the filter's weights otherwise are a level off at up to a
//! quarter of the pixels (decision 011). Widths go first, then heights; each is rounded to whole
//! levels.
//!
//! Resizing just the window that a crop will keep gives the same pixels as resizing the whole
//! image and cropping then, but does less and needs no memory for the rest.

use std::array;
use std::cell::RefCell;
use std::ops::Range;

use alexnet_ops::{Axis, Filter, Grid, HALF_LEVEL, level_of};
use multiversion::multiversion;

use crate::image::Image;

/// A rectangle in an image, in its pixels; fractions of a pixel are meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Window {
    /// It along both axes of an image: across and down.
    pub(crate) fn axes(&self, image: &Image) -> [Axis; 2] {
        let Self { left, top, width, height } = *self;
        let across = Axis { len: image.width(), start: left, extent: width };
        [across, Axis { len: image.height(), start: top, extent: height }]
    }
}

/// Rows that are resized in width at a time: as many pixels, of four places each, fill a vector.
const ROWS: usize = 4;
const LANES: usize = 4 * ROWS;
/// Levels of a row that are summed up at a time when heights are resized.
const RUN: usize = 2 * LANES;

/// Memory that is used again, one for each loader thread.
#[derive(Default)]
struct Scratch {
    across: Filter,
    down: Filter,
    /// Pixels of [`ROWS`] rows that lie above each other, side by side.
    columns: Vec<[u8; LANES]>,
    /// The same, resized in their width.
    pixels: Vec<[u8; LANES]>,
    /// Rows resized in their width alone.
    rows: Vec<u8>,
    /// One row resized in both.
    row: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `window` of `image` brought to `size`, its width and height, both at least 1.
///
/// The filter also sees the pixels next to the window, where there are some.
pub(crate) fn resize(image: &Image, window: Window, size: (u32, u32)) -> Image {
    let mut pixels = Vec::with_capacity(size.0 as usize * size.1 as usize * 3);
    each_resized_row(image, window, size, false, |row| pixels.extend_from_slice(row));
    Image::new(size.0, size.1, pixels).expect("each row was shown")
}

/// Shows `each_row` the rows, (width, 3), of `window` resized as [`resize`] does, from the top;
/// mirrored, if told to `flip`.
pub(crate) fn each_resized_row(
    image: &Image,
    window: Window,
    size: (u32, u32),
    flip: bool,
    each_row: impl FnMut(&[u8]),
) {
    let [across, down] = window.axes(image);
    let (across, down) = (across.grid(size.0 as usize), down.grid(size.1 as usize));
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.across.set(&across, flip);
        scratch.down.set(&down, false);
        scratch.resize(image, [across, down], each_row);
    });
}

impl Scratch {
    /// With the filters of these grids, across and down.
    fn resize(&mut self, image: &Image, grids: [Grid; 2], mut each_row: impl FnMut(&[u8])) {
        let Self { across, down, columns, pixels, rows, row } = self;
        let [Range { start: left, end: right }, Range { start: top, end: bottom }] =
            grids.each_ref().map(Grid::seen);
        let width = grids[0].places;
        let (row_in, row_out) = (image.width() as usize * 3, width * 3);
        // Whole runs, and room for the fourth place of the last pixel.
        let stride = (row_out + 1).next_multiple_of(RUN);
        reserve(rows, (bottom - top).next_multiple_of(ROWS) * stride);
        reserve(row, stride);
        reserve(columns, right - left);
        reserve(pixels, width);
        let pixels = &mut pixels[..width];
        for at in (top..bottom).step_by(ROWS) {
            // The last row stands for those that are missing behind it.
            let seen = array::from_fn(|row| &image.rgb()[(at + row).min(bottom - 1) * row_in..]);
            let columns = &mut columns[..right - left];
            gather(columns, seen.map(|row| &row[left * 3..]));
            resize_widths(columns, pixels, across, left);
            spread(pixels, &mut rows[(at - top) * stride..][..ROWS * stride]);
        }
        for (first, weights) in down.places() {
            resize_height(&rows[(first - top) * stride..], &mut row[..stride], weights);
            each_row(&row[..row_out]);
        }
    }
}

/// Room for `len` items, whatever they are.
fn reserve<T: Clone + Default>(memory: &mut Vec<T>, len: usize) {
    if memory.len() < len {
        memory.resize(len, T::default());
    }
}

/// (width, rows, 4): the pixels of the `rows` that lie above each other side by side. The fourth
/// place holds whatever lies behind a pixel.
fn gather(columns: &mut [[u8; LANES]], rows: [&[u8]; ROWS]) {
    let Some((last, columns)) = columns.split_last_mut() else { return };
    // Nothing lies behind the last pixel of an image.
    let behind = columns.len() * 3;
    for (lanes, row) in last.as_chunks_mut::<4>().0.iter_mut().zip(rows) {
        lanes[..3].copy_from_slice(&row[behind..behind + 3]);
    }
    // As long as each other, so that the compiler looks at one length.
    let rows = rows.map(|row| &row[..behind + 3]);
    for (x, column) in columns.iter_mut().enumerate() {
        for (row, lanes) in rows.iter().zip(column.as_chunks_mut::<4>().0) {
            lanes.copy_from_slice(&row[x * 3..x * 3 + 4]);
        }
    }
}

/// Each of `pixels` is made of `columns`, of which the first is the image's at `left`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn resize_widths(
    columns: &[[u8; LANES]],
    pixels: &mut [[u8; LANES]],
    filter: &Filter,
    left: usize,
) {
    for ((seen, weights), pixel) in filter.places().zip(pixels) {
        let mut sums = [HALF_LEVEL; LANES];
        for (column, &weight) in columns[seen - left..].iter().zip(weights) {
            for lane in 0..LANES {
                sums[lane] += i32::from(column[lane]) * weight;
            }
        }
        for lane in 0..LANES {
            pixel[lane] = level_of(sums[lane]);
        }
    }
}

/// The `pixels` that lie above each other become `ROWS` rows of `out`.
fn spread(pixels: &[[u8; LANES]], out: &mut [u8]) {
    let stride = out.len() / ROWS;
    let (upper, lower) = out.split_at_mut(2 * stride);
    let (first, second) = upper.split_at_mut(stride);
    let (third, fourth) = lower.split_at_mut(stride);
    for (x, levels) in pixels.iter().enumerate() {
        // The next pixel's first place is written over this one's fourth.
        let places = x * 3..x * 3 + 4;
        first[places.clone()].copy_from_slice(&levels[..4]);
        second[places.clone()].copy_from_slice(&levels[4..8]);
        third[places.clone()].copy_from_slice(&levels[8..12]);
        fourth[places].copy_from_slice(&levels[12..]);
    }
}

/// The first of `rows`, as long as `out`, and those behind it, as many as `weights`, become one.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn resize_height(rows: &[u8], out: &mut [u8], weights: &[i32]) {
    let row_len = out.len();
    for (at, out) in out.as_chunks_mut::<RUN>().0.iter_mut().enumerate() {
        let mut sums = [HALF_LEVEL; RUN];
        for (row, &weight) in rows.chunks_exact(row_len).zip(weights) {
            let levels = &row.as_chunks::<RUN>().0[at];
            for lane in 0..RUN {
                sums[lane] += i32::from(levels[lane]) * weight;
            }
        }
        for lane in 0..RUN {
            out[lane] = level_of(sums[lane]);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::random::{Purpose, generator};

    /// Pillow's rule for one axis, output by output: the inputs seen and their weights.
    fn weights(len: u32, start: f64, extent: f64, out: u32, at: u32) -> Vec<(usize, i64)> {
        let scale = extent / f64::from(out);
        let support = scale.max(1.0);
        let centre = start + (f64::from(at) + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let behind = ((centre + support + 0.5) as usize).min(len as usize);
        let weight =
            |input: usize| (1.0 - ((input as f64 - centre + 0.5) * (1.0 / support)).abs()).max(0.0);
        let sum: f64 = (first..behind).map(weight).sum();
        let rounded = |input| (weight(input) / sum * 4_194_304.0 + 0.5) as i64;
        (first..behind).map(|input| (input, rounded(input))).collect()
    }

    fn plainly(image: &Image, window: Window, size: (u32, u32), flip: bool) -> Vec<u8> {
        let pixel = |x: usize, y: usize, colour: usize| {
            i64::from(image.rgb()[(y * image.width() as usize + x) * 3 + colour])
        };
        let level = |sum: i64| ((sum + 2_097_152) >> 22).clamp(0, 255);
        let mut pixels = Vec::new();
        for y in 0..size.1 {
            let down = weights(image.height(), window.top, window.height, size.1, y);
            for x in 0..size.0 {
                let x = if flip { size.0 - 1 - x } else { x };
                let across = weights(image.width(), window.left, window.width, size.0, x);
                pixels.extend((0..3).map(|colour| {
                    let row = |y| across.iter().map(|&(x, w)| pixel(x, y, colour) * w).sum();
                    level(down.iter().map(|&(y, w)| level(row(y)) * w).sum()) as u8
                }));
            }
        }
        pixels
    }

    #[test]
    fn any_window_becomes_what_pillows_rule_makes_of_it_pixel_by_pixel() {
        let mut random = generator(0, Purpose::Augment, 0, 0);
        for case in 0..400 {
            let side = |random: &mut rand_chacha::ChaCha8Rng| random.random_range(1..=70_u32);
            let (width, height) = (side(&mut random), side(&mut random));
            let size = (side(&mut random), side(&mut random));
            let rgb = (0..width * height * 3).map(|_| random.random()).collect();
            let image = Image::new(width, height, rgb).unwrap();
            // Half of the windows end between pixels, as those of evaluation do.
            let mut part = |side: u32| {
                let side = f64::from(side);
                let (a, b) = (random.random_range(0.0..side), random.random_range(0.0..side));
                let (start, end) = (a.min(b), a.max(b));
                if case % 2 == 0 { (start.floor(), end.ceil()) } else { (start, end + 1e-3) }
            };
            let ((left, right), (top, bottom)) = (part(width), part(height));
            let (right, bottom) = (right.min(width.into()), bottom.min(height.into()));
            let window = Window { left, top, width: right - left, height: bottom - top };
            let flip = case % 4 > 1;
            let mut pixels = Vec::new();
            each_resized_row(&image, window, size, flip, |row| pixels.extend_from_slice(row));
            let seen = pixels == plainly(&image, window, size, flip);
            assert!(seen, "{width} x {height}, {window:?} to {size:?}, flip: {flip}");
        }
    }
}
