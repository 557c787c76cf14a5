//! Pillow's antialiased bilinear resizing, to the bit (`src/libImaging/Resample.c`).
//!
//! Weights trained elsewhere were trained on Pillow's pixels, and give PyTorch's logits to 1e-4 only
//! on the same ones: libraries that round the filter's weights otherwise are a level off at up to a
//! quarter of the pixels (decision 011). Widths go first, then heights; each is rounded to whole
//! levels.

use multiversion::multiversion;

use crate::resize::Window;

/// Bits of a weight behind the point: two below what sums of bytes leave in 32 bits.
const PRECISION_BITS: u32 = 32 - 8 - 2;
/// Half a level.
const HALF: i32 = 1 << (PRECISION_BITS - 1);
/// Rows that are resized in width at a time: as many pixels, of four places each, fill a vector.
const ROWS: usize = 4;
const LANES: usize = 4 * ROWS;
/// Levels of a row that are summed up at a time when heights are resized.
const RUN: usize = 2 * LANES;

/// What of an axis of the input makes each place of the output.
struct Filter {
    /// The first input of each output, and how many there are.
    seen: Vec<(usize, usize)>,
    /// Their weights, `stride` places for each output.
    weights: Vec<i32>,
    stride: usize,
}

impl Filter {
    /// `len` inputs, of which those from `start` on, `extent` of them, become `out` outputs.
    fn new(len: u32, start: f64, extent: f64, out: u32) -> Self {
        let scale = extent / f64::from(out);
        // An output sees one input to either side, or as many as it replaces.
        let support = scale.max(1.0);
        let stride = support.ceil() as usize * 2 + 1;
        let mut filter = Self { seen: Vec::new(), weights: vec![0; stride * out as usize], stride };
        for (at, weights) in filter.weights.chunks_exact_mut(stride).enumerate() {
            let centre = start + (at as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let count =
                ((centre + support + 0.5).min(f64::from(len)) as usize).saturating_sub(first);
            let weight = |at: usize| {
                let distance = ((first + at) as f64 - centre + 0.5) * (1.0 / support);
                (1.0 - distance.abs()).max(0.0)
            };
            let count = count.min(stride);
            let sum: f64 = (0..count).map(weight).sum();
            for (at, rounded) in weights[..count].iter_mut().enumerate() {
                let exact = weight(at) / sum * f64::from(1 << PRECISION_BITS);
                *rounded = (exact + 0.5) as i32;
            }
            filter.seen.push((first, count));
        }
        filter
    }

    /// For each output the first input, and the weights of it and those behind it.
    fn taps(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let weights = self.weights.chunks_exact(self.stride);
        self.seen.iter().zip(weights).map(|(&(first, count), weights)| (first, &weights[..count]))
    }
}

/// `window` of (height, width, 3) `pixels` with these `sides` as (height, width, 3) of `size` into
/// `out`; `rows` is memory.
pub(crate) fn resize(
    out: &mut [u8],
    rows: &mut Vec<u8>,
    pixels: &[u8],
    sides: (u32, u32),
    window: Window,
    size: (u32, u32),
) {
    let across = Filter::new(sides.0, window.left, window.width, size.0);
    let down = Filter::new(sides.1, window.top, window.height, size.1);
    let top = down.seen.iter().map(|&(first, _)| first).min().unwrap_or(0);
    let bottom = down.seen.iter().map(|&(first, count)| first + count).max().unwrap_or(0);
    let (row_in, row_out) = (sides.0 as usize * 3, size.0 as usize * 3);
    rows.clear();
    rows.resize((bottom - top) * row_out, 0);
    let mut columns = vec![[0; LANES]; sides.0 as usize];
    let seen = pixels[top * row_in..bottom * row_in].chunks(ROWS * row_in);
    for (seen, out) in seen.zip(rows.chunks_mut(ROWS * row_out)) {
        resize_widths(seen, out, &across, &mut columns);
    }
    for ((first, weights), out) in down.taps().zip(out.chunks_exact_mut(row_out)) {
        resize_height(&rows[(first - top) * row_out..], out, weights);
    }
}

/// Up to four `rows` of as many pixels as there are `columns` in width, to `out`, by one vector
/// instruction for four pixels.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn resize_widths(rows: &[u8], out: &mut [u8], filter: &Filter, columns: &mut [[u8; LANES]]) {
    // (width, rows, 4): the pixels above each other side by side.
    for (row, pixels) in rows.chunks_exact(columns.len() * 3).enumerate() {
        for (column, pixel) in columns.iter_mut().zip(pixels.as_chunks::<3>().0) {
            column[row * 4..row * 4 + 3].copy_from_slice(pixel);
        }
    }
    let row_out = filter.seen.len() * 3;
    for (x, (first, weights)) in filter.taps().enumerate() {
        let mut sums = [HALF; LANES];
        for (column, &weight) in columns[first..].iter().zip(weights) {
            for lane in 0..LANES {
                sums[lane] += i32::from(column[lane]) * weight;
            }
        }
        let levels = sums.map(to_level);
        for (pixel, out) in levels.as_chunks::<4>().0.iter().zip(out.chunks_exact_mut(row_out)) {
            out[x * 3..x * 3 + 3].copy_from_slice(&pixel[..3]);
        }
    }
}

/// The first of `rows`, as long as `out`, and those behind it, as many as `weights`, become one.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn resize_height(rows: &[u8], out: &mut [u8], weights: &[i32]) {
    let row_len = out.len();
    let (runs, rest) = out.as_chunks_mut::<RUN>();
    let behind = runs.len() * RUN;
    for (at, out) in runs.iter_mut().enumerate() {
        let mut sums = [HALF; RUN];
        for (row, &weight) in rows.chunks_exact(row_len).zip(weights) {
            let levels = &row.as_chunks::<RUN>().0[at];
            for lane in 0..RUN {
                sums[lane] += i32::from(levels[lane]) * weight;
            }
        }
        *out = sums.map(to_level);
    }
    for (at, out) in (behind..).zip(rest) {
        let seen = rows.iter().skip(at).step_by(row_len).zip(weights);
        *out = to_level(seen.fold(HALF, |sum, (&level, &weight)| sum + i32::from(level) * weight));
    }
}

fn to_level(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}
