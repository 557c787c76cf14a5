//! Pooling, vectorised over channels. `x (N, H, W, C)`, `y (N, P, Q, C)`.
//!
//! Every output is gathered: a window takes the largest of its inputs, kept in a register together
//! with its position; an input sums the gradients of the windows that took it. So each array is
//! read once from memory and written once.

use std::ops::Range;

use alexnet_ops::{AveragePoolShape, MaxPoolShape};

use crate::Context;
use crate::array::Direction;
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::simd::Vector;

/// Rows of an image one thread writes at a time: neighbours read the same input.
const BAND_ROWS: usize = 8;

/// Visits bands of rows of every image: the image and the rows.
fn for_each_band(
    context: &Context,
    images: usize,
    rows: usize,
    visit: impl Fn(usize, Range<usize>) + Sync,
) {
    let bands = rows.div_ceil(BAND_ROWS);
    context.threads.for_each(images * bands, |_, piece| {
        let first = piece % bands * BAND_ROWS;
        visit(piece / bands, first..(first + BAND_ROWS).min(rows));
    });
}

pub(crate) fn max_forward(
    context: &Context,
    y: &mut [f32],
    positions: &mut [u8],
    x: &[f32],
    shape: &MaxPoolShape,
) {
    let (in_len, out_row) =
        (shape.in_h * shape.in_w * shape.channels, shape.out_w * shape.channels);
    let (y, positions) = (&mut y[..shape.output_len()], &mut positions[..shape.output_len()]);
    let (y, positions) = (Disjoint::new(y), Disjoint::new(positions));
    for_each_band(context, shape.batch, shape.out_h, |image, rows| {
        let first = image * shape.out_h;
        let out = (first + rows.start) * out_row..(first + rows.end) * out_row;
        // SAFETY: bands do not overlap.
        let (y, positions) = unsafe { (y.part(out.clone()), positions.part(out)) };
        let x = &x[image * in_len..(image + 1) * in_len];
        context.isa.dispatch(MaxForward { y, positions, x, rows, shape });
    });
}

/// A band of outputs from their image.
struct MaxForward<'a> {
    y: &'a mut [f32],
    positions: &'a mut [u8],
    x: &'a [f32],
    rows: Range<usize>,
    shape: &'a MaxPoolShape,
}

impl Kernel for MaxForward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let MaxPoolShape { in_h, in_w, out_w, channels, size, stride, .. } = *self.shape;
        let cells =
            self.y.chunks_exact_mut(channels).zip(self.positions.chunks_exact_mut(channels));
        for (cell, (y, positions)) in cells.enumerate() {
            let (top, left) = ((self.rows.start + cell / out_w) * stride, cell % out_w * stride);
            let (height, width) = (size.min(in_h - top), size.min(in_w - left));
            let window = Window { height, width, size, row: in_w * channels, column: channels };
            let x = &self.x[(top * in_w + left) * channels..][..window.len()];
            if (height, width, size) == (3, 3, 3) {
                // The size of these networks, with loops unrolled.
                let window = Window { height: 3, width: 3, size: 3, ..window };
                largest::<V>(y, positions, x, window);
            } else {
                largest::<V>(y, positions, x, window);
            }
        }
    }
}

/// The part of a square window that lies inside the image.
#[derive(Clone, Copy)]
struct Window {
    height: usize,
    width: usize,
    /// The whole window's side.
    size: usize,
    /// Floats from an input to the one below it, and to the one on its right.
    row: usize,
    column: usize,
}

impl Window {
    /// Floats from the first channel of the first input to the last channel of the last.
    #[inline(always)]
    fn len(self) -> usize {
        (self.height - 1) * self.row + self.width * self.column
    }
}

/// All channels of one output.
#[inline(always)]
fn largest<V: Vector>(y: &mut [f32], positions: &mut [u8], x: &[f32], window: Window) {
    let channels = window.column;
    assert!(y.len() == channels && positions.len() == channels && x.len() == window.len());
    for_each_group::<V>(channels, LargestAt { y, positions, x, window });
}

struct LargestAt<'a> {
    y: &'a mut [f32],
    positions: &'a mut [u8],
    x: &'a [f32],
    window: Window,
}

impl<V: Vector> Visit<V> for LargestAt<'_> {
    /// The first input holds position 0 from the start.
    #[inline(always)]
    unsafe fn visit<const N: usize>(&mut self, c: usize, count: usize) {
        let window = self.window;
        let (mut best, mut mark) = ([V::splat(f32::NEG_INFINITY); N], [V::zero(); N]);
        // 0, or NaN once an input was not finite.
        let mut spoilt = [V::zero(); N];
        for row in 0..window.height {
            for column in 0..window.width {
                let position = V::mark((row * window.size + column) as u8);
                for i in 0..N {
                    let at = row * window.row + column * window.column + c + i * V::LANES;
                    // SAFETY: the window's channels are in `x`.
                    let value = unsafe { V::load_lanes(self.x.as_ptr().add(at), count) };
                    (best[i], mark[i]) = best[i].or_larger(mark[i], value, position);
                    spoilt[i] = value.mul_add(V::zero(), spoilt[i]);
                }
            }
        }
        for i in 0..N {
            let at = c + i * V::LANES;
            // SAFETY: the channels are in `y` and `positions`.
            unsafe {
                best[i].add(spoilt[i]).store_lanes(self.y.as_mut_ptr().add(at), count);
                mark[i].store_marks(self.positions.as_mut_ptr().add(at), count);
            }
        }
    }
}

/// What is done with `N` vectors of channels at once.
trait Visit<V: Vector> {
    /// # Safety
    /// There are channels from `c` on for `N` vectors of `count` lanes; fewer than all if `N` is 1.
    unsafe fn visit<const N: usize>(&mut self, c: usize, count: usize);
}

/// Visits all channels, several vectors at once while there are: what is the same for each of them
/// is then done once.
#[inline(always)]
fn for_each_group<V: Vector>(channels: usize, mut visit: impl Visit<V>) {
    const GROUP: usize = 4;
    let mut c = 0;
    // SAFETY of every call: that many channels are left.
    while c + GROUP * V::LANES <= channels {
        // SAFETY: as above.
        unsafe { visit.visit::<GROUP>(c, V::LANES) };
        c += GROUP * V::LANES;
    }
    while c + V::LANES <= channels {
        // SAFETY: as above.
        unsafe { visit.visit::<1>(c, V::LANES) };
        c += V::LANES;
    }
    if c < channels {
        // SAFETY: as above.
        unsafe { visit.visit::<1>(c, channels - c) };
    }
}

pub(crate) fn max_backward(
    context: &Context,
    d_x: &mut [f32],
    d_y: &[f32],
    positions: &[u8],
    shape: &MaxPoolShape,
) {
    let (in_row, out_len) =
        (shape.in_w * shape.channels, shape.out_h * shape.out_w * shape.channels);
    let d_x = Disjoint::new(&mut d_x[..shape.input_len()]);
    for_each_band(context, shape.batch, shape.in_h, |image, rows| {
        let first = image * shape.in_h;
        let d_x_range = (first + rows.start) * in_row..(first + rows.end) * in_row;
        // SAFETY: bands do not overlap.
        let d_x = unsafe { d_x.part(d_x_range) };
        let out = image * out_len..(image + 1) * out_len;
        let (d_y, positions) = (&d_y[out.clone()], &positions[out]);
        context.isa.dispatch(MaxBackward { d_x, d_y, positions, rows, shape });
    });
}

/// A band of input gradients from their image's output gradients.
struct MaxBackward<'a> {
    d_x: &'a mut [f32],
    d_y: &'a [f32],
    positions: &'a [u8],
    rows: Range<usize>,
    shape: &'a MaxPoolShape,
}

impl Kernel for MaxBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let MaxPoolShape { in_w, out_h, out_w, channels, size, stride, .. } = *self.shape;
        assert!(self.d_y.len() == out_h * out_w * channels);
        assert!(self.positions.len() == self.d_y.len());
        for (index, d_x) in self.d_x.chunks_exact_mut(in_w * channels).enumerate() {
            let row = self.rows.start + index;
            let above = covering(row, size, stride, out_h);
            let mut left = 0..0;
            for (column, d_x) in d_x.chunks_exact_mut(channels).enumerate() {
                // Windows begin and end one at a time.
                left.end += usize::from(left.end < out_w && left.end * stride == column);
                left.start +=
                    usize::from(left.start < left.end && left.start * stride + size <= column);
                let (above, left) = (above.clone(), left.clone());
                let (d_y, positions, shape) = (self.d_y, self.positions, self.shape);
                let gather = Gather { d_x, d_y, positions, row, column, above, left, shape };
                for_each_group::<V>(channels, gather);
            }
        }
    }
}

/// The windows that hold row (or column) `at`, of `windows`.
fn covering(at: usize, size: usize, stride: usize, windows: usize) -> Range<usize> {
    (at + 1).saturating_sub(size).div_ceil(stride)..(at / stride + 1).min(windows)
}

/// One input's gradient from the windows that hold it.
struct Gather<'a> {
    d_x: &'a mut [f32],
    d_y: &'a [f32],
    positions: &'a [u8],
    row: usize,
    column: usize,
    above: Range<usize>,
    left: Range<usize>,
    shape: &'a MaxPoolShape,
}

impl<V: Vector> Visit<V> for Gather<'_> {
    #[inline(always)]
    unsafe fn visit<const N: usize>(&mut self, c: usize, count: usize) {
        let MaxPoolShape { out_w, channels, size, stride, .. } = *self.shape;
        let mut sums = [V::zero(); N];
        for p in self.above.clone() {
            for q in self.left.clone() {
                let (row, column) = (self.row - p * stride, self.column - q * stride);
                let position = V::mark((row * size + column) as u8);
                for (i, sum) in sums.iter_mut().enumerate() {
                    let at = (p * out_w + q) * channels + c + i * V::LANES;
                    // SAFETY: the channels of window (p, q) are in `d_y` and `positions`.
                    unsafe {
                        let d_y = V::load_lanes(self.d_y.as_ptr().add(at), count);
                        let mark = V::load_marks(self.positions.as_ptr().add(at), count);
                        *sum = sum.add(d_y.where_marked(mark, position));
                    }
                }
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            // SAFETY: the channels are in `d_x`.
            unsafe { sum.store_lanes(self.d_x.as_mut_ptr().add(c + i * V::LANES), count) };
        }
    }
}

pub(crate) fn average_forward(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    shape: &AveragePoolShape,
) {
    average(context, Direction::Forward, &mut y[..shape.output_len()], x, shape);
}

pub(crate) fn average_backward(
    context: &Context,
    d_x: &mut [f32],
    d_y: &[f32],
    shape: &AveragePoolShape,
) {
    average(context, Direction::Backward, &mut d_x[..shape.input_len()], d_y, shape);
}

/// Forward an output sums shares of the inputs it averages, backward an input sums shares of the
/// outputs that averaged it: which are found by the same rule with inputs and outputs exchanged.
fn average(
    context: &Context,
    direction: Direction,
    to: &mut [f32],
    from: &[f32],
    shape: &AveragePoolShape,
) {
    let AveragePoolShape { batch, in_h, in_w, out_h, out_w, channels } = *shape;
    let (inputs, outputs) = ([in_h, in_w], [out_h, out_w]);
    let (to_size, from_size) = match direction {
        Direction::Forward => (outputs, inputs),
        Direction::Backward => (inputs, outputs),
    };
    let (to_row, from_len) = (to_size[1] * channels, from_size[0] * from_size[1] * channels);
    let to = Disjoint::new(to);
    for_each_band(context, batch, to_size[0], |image, rows| {
        let first = image * to_size[0];
        // SAFETY: bands do not overlap.
        let to = unsafe { to.part((first + rows.start) * to_row..(first + rows.end) * to_row) };
        let from = &from[image * from_len..(image + 1) * from_len];
        context.isa.dispatch(Average { direction, to, to_size, from, from_size, rows, shape });
    });
}

/// A band of sums from their image.
struct Average<'a> {
    direction: Direction,
    to: &'a mut [f32],
    to_size: [usize; 2],
    from: &'a [f32],
    from_size: [usize; 2],
    rows: Range<usize>,
    shape: &'a AveragePoolShape,
}

impl Kernel for Average<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let channels = self.shape.channels;
        let ([to_h, to_w], [from_h, from_w]) = (self.to_size, self.from_size);
        if self.to_size == self.from_size {
            let first = self.rows.start * to_w * channels;
            self.to.copy_from_slice(&self.from[first..first + self.to.len()]);
            return;
        }
        for (cell, to) in self.to.chunks_exact_mut(channels).enumerate() {
            let (row, column) = (self.rows.start + cell / to_w, cell % to_w);
            to.fill(0.0);
            for from_row in AveragePoolShape::window(row, to_h, from_h) {
                for from_column in AveragePoolShape::window(column, to_w, from_w) {
                    let share = match self.direction {
                        Direction::Forward => share(row, column, self.shape),
                        Direction::Backward => share(from_row, from_column, self.shape),
                    };
                    let from = &self.from[(from_row * from_w + from_column) * channels..];
                    for (to, from) in to.iter_mut().zip(from) {
                        *to += from * share;
                    }
                }
            }
        }
    }
}

/// One over the inputs that output (p, q) averages.
#[inline(always)]
fn share(p: usize, q: usize, shape: &AveragePoolShape) -> f32 {
    let rows = AveragePoolShape::window(p, shape.out_h, shape.in_h).len();
    let columns = AveragePoolShape::window(q, shape.out_w, shape.in_w).len();
    1.0 / (rows * columns) as f32
}
