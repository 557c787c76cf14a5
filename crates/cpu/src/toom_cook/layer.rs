//! What is convolved: every direction and stride brought to a convolution of stride 1.
//!
//! - The input gradient is a convolution of the output gradient with kernels turned around.
//! - A stride of s becomes 1 when squares of s·s pixels are seen as one pixel of s·s·C channels
//!   ("space to depth"): 11x11 kernels of stride 4 on 3 channels become 3x3 kernels on 48, of whose
//!   12x12 taps the last row and column are zero. Images are rearranged so a few rows at a time,
//!   where they are used.

use alexnet_ops::ConvShape;

use super::image::Image;
use super::transform::Sides;
use crate::array::Direction;
use crate::isa::{Isa, Kernel};
use crate::simd::Vector;

/// A convolution of stride 1; channels are those of one group.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    pub(super) images: usize,
    pub(super) groups: usize,
    pub(super) input: Sides,
    pub(super) in_channels: usize,
    pub(super) output: Sides,
    pub(super) out_channels: usize,
    pub(super) kernel: usize,
    /// Where the first window begins: so many pixels before the image.
    pad: isize,
    /// The convolution's own geometry, if pixels are rearranged.
    squares: Option<ConvShape>,
}

impl Layer {
    pub(super) fn new(shape: &ConvShape, direction: Direction) -> Self {
        let inner = Self {
            images: shape.batch,
            groups: shape.groups,
            input: (shape.in_h, shape.in_w),
            in_channels: shape.in_c / shape.groups,
            output: (shape.out_h, shape.out_w),
            out_channels: shape.out_c / shape.groups,
            kernel: shape.kernel,
            pad: shape.pad as isize,
            squares: None,
        };
        match direction {
            Direction::Backward => Self {
                input: inner.output,
                in_channels: inner.out_channels,
                output: inner.input,
                out_channels: inner.in_channels,
                pad: shape.kernel as isize - 1 - inner.pad,
                ..inner
            },
            Direction::Forward if shape.stride == 1 => inner,
            Direction::Forward => {
                let kernel = shape.kernel.div_ceil(shape.stride);
                Self {
                    input: (shape.out_h + kernel - 1, shape.out_w + kernel - 1),
                    in_channels: shape.stride * shape.stride * shape.in_c,
                    kernel,
                    pad: 0,
                    squares: Some(*shape),
                    ..inner
                }
            }
        }
    }

    /// Whether pixels are rearranged.
    pub(super) fn is_rearranged(&self) -> bool {
        self.squares.is_some()
    }

    /// Floats of an image's rearranged rows, if it is rearranged.
    pub(super) fn squares_len(&self, rows: usize) -> usize {
        if self.squares.is_some() { rows * self.input.1 * self.in_channels } else { 0 }
    }

    /// Image `image` of `x`, the channels of `group`. If it is rearranged, rows `rows` are, in
    /// `squares`, and only they may be used.
    ///
    /// # Safety
    /// `squares` is [`Self::squares_len`] long and nobody else's.
    pub(super) unsafe fn input_image(
        &self,
        isa: Isa,
        x: &[f32],
        (image, group): (usize, usize),
        rows: std::ops::Range<usize>,
        squares: *mut f32,
    ) -> Image {
        let (height, width) = self.input;
        let Some(shape) = &self.squares else {
            let channels = self.groups * self.in_channels;
            let image = &x[image * height * width * channels..][..height * width * channels];
            return Image {
                start: image[group * self.in_channels..].as_ptr().cast_mut(),
                sides: self.input,
                pixel_stride: channels,
                pad: self.pad,
            };
        };
        let len = shape.in_h * shape.in_w * shape.in_c;
        let row_len = width * self.in_channels;
        let (first, last) = (rows.start, rows.end.min(height));
        // SAFETY: as many rows as the caller promises room for.
        let to = unsafe { std::slice::from_raw_parts_mut(squares, (last - first) * row_len) };
        let x = &x[image * len..][..len];
        isa.dispatch(Rearrange { to, x, first, row_len, shape });
        Image {
            start: squares.wrapping_sub(first * row_len),
            sides: (last, width),
            pixel_stride: self.in_channels,
            pad: 0,
        }
    }

    /// Image `image` of `y`, the channels of `group`: where outputs lie, and their gradients.
    pub(super) fn output_image(&self, y: *const f32, (image, group): (usize, usize)) -> Image {
        let (height, width) = self.output;
        let channels = self.groups * self.out_channels;
        let first = image * height * width * channels + group * self.out_channels;
        Image {
            start: y.wrapping_add(first).cast_mut(),
            sides: self.output,
            pixel_stride: channels,
            pad: 0,
        }
    }

    /// Where in the weights `(K, R, S, C/groups)` of `shape` tap (`row`, `column`) of the kernel
    /// from input channel `from` to output channel `to` of a group lies; nowhere if it is zero.
    pub(super) fn weight(
        shape: &ConvShape,
        direction: Direction,
        (row, column): Sides,
        (group, from, to): (usize, usize, usize),
    ) -> Option<usize> {
        let (channels, last) = (shape.in_c / shape.groups, shape.kernel - 1);
        let (row, column, from, to) = match direction {
            Direction::Backward => (last - row, last - column, to, from),
            Direction::Forward => {
                let (pixel, channel) = (from / channels, from % channels);
                let row = row * shape.stride + pixel / shape.stride;
                (row, column * shape.stride + pixel % shape.stride, channel, to)
            }
        };
        let kernel = group * (shape.out_c / shape.groups) + to;
        let tap = (kernel * shape.kernel + row) * shape.kernel + column;
        (row <= last && column <= last).then_some(tap * channels + from)
    }
}

/// Rows of squares of `x (H, W, C)` from row `first` on: of each the pixels in reading order.
struct Rearrange<'a> {
    to: &'a mut [f32],
    x: &'a [f32],
    first: usize,
    row_len: usize,
    shape: &'a ConvShape,
}

impl Kernel for Rearrange<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        for (row, to) in self.to.chunks_exact_mut(self.row_len).enumerate() {
            rearrange_row::<V>(to, self.x, self.first + row, self.shape);
        }
    }
}

/// Row `row` of squares of `x (H, W, C)`: for each the pixels in reading order.
#[inline(always)]
fn rearrange_row<V: Vector>(to: &mut [f32], x: &[f32], row: usize, shape: &ConvShape) {
    let (side, run) = (shape.stride, shape.stride * shape.in_c);
    let squares = to.len() / (side * run);
    // The row of pixels that begins `pad` before the image; columns of it that exist.
    let (before, row_len) = (shape.pad * shape.in_c, shape.in_w * shape.in_c);
    for inner in 0..side {
        let Some(y) = shape.tap(row, inner, shape.in_h) else {
            (0..squares).for_each(|square| to[(square * side + inner) * run..][..run].fill(0.0));
            continue;
        };
        let pixels = &x[y * row_len..][..row_len];
        for square in 0..squares {
            let to = &mut to[(square * side + inner) * run..][..run];
            let (first, end) = (square * run, (square + 1) * run);
            if first >= before && end <= before + row_len {
                copy::<V>(to, &pixels[first - before..end - before]);
            } else {
                for (i, to) in to.iter_mut().enumerate() {
                    let at = (first + i).checked_sub(before);
                    *to = at.and_then(|at| pixels.get(at)).copied().unwrap_or(0.0);
                }
            }
        }
    }
}

/// A copy of a few floats, for which a call would take longer.
#[inline(always)]
fn copy<V: Vector>(to: &mut [f32], from: &[f32]) {
    let len = to.len().min(from.len());
    for first in (0..len).step_by(V::LANES) {
        let count = V::LANES.min(len - first);
        // SAFETY: so many floats are in both.
        unsafe {
            let values = V::load_part(from.as_ptr().add(first), count);
            values.store_part(to.as_mut_ptr().add(first), count);
        }
    }
}
