//! Convolution as a matrix product over unfolded images ("im2col").
//!
//! A group's input patch under each output position becomes one row of R·S·C/groups values; then
//! forward is `unfolded · weightsᵀ`, the weight gradient `d_yᵀ · unfolded`, and the input gradient
//! `d_y · weights` folded back. Images are unfolded a few at a time into one scratch array.

use alexnet_ops::{Activation, ConvShape};

use crate::Context;
use crate::disjoint::Disjoint;
use crate::matmul::{Into, Matrix, matmul};

/// Floats unfolded at a time, unless one image alone needs more: 32 MiB, a share of the outer
/// cache.
const UNFOLDED_FLOATS: usize = 8 << 20;

/// Shared scratch for unfolded images.
const UNFOLDED: usize = 1;

pub(crate) fn forward(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    weights: &[f32],
    bias: &[f32],
    activation: Activation,
    shape: &ConvShape,
) {
    for_each_part(context, shape, |part, unfolded| {
        part.unfold(context, unfolded, x);
        let columns = part.output_columns();
        let into = Into::Layer(&bias[columns.clone()], activation);
        let y = &mut y[part.output_rows()][columns.start..];
        matmul(
            context,
            y,
            shape.out_c,
            part.unfolded(unfolded),
            part.weights(weights).transposed(),
            into,
        );
    });
}

pub(crate) fn backward_weights(
    context: &Context,
    d_weights: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    shape: &ConvShape,
) {
    d_weights[..shape.weights_len()].fill(0.0);
    for_each_part(context, shape, |part, unfolded| {
        part.unfold(context, unfolded, x);
        let d_weights = &mut d_weights[part.weights_range()];
        let d_y = part.output(d_y).transposed();
        matmul(
            context,
            d_weights,
            shape.kernel_len(),
            d_y,
            part.unfolded(unfolded),
            Into::Accumulate,
        );
    });
}

pub(crate) fn backward_input(
    context: &Context,
    d_x: &mut [f32],
    d_y: &[f32],
    weights: &[f32],
    shape: &ConvShape,
) {
    d_x[..shape.input_len()].fill(0.0);
    for_each_part(context, shape, |part, unfolded| {
        let (d_y, weights) = (part.output(d_y), part.weights(weights));
        matmul(context, unfolded, shape.kernel_len(), d_y, weights, Into::Overwrite);
        part.fold(context, d_x, unfolded);
    });
}

/// One group of a few whole images.
struct Part<'a> {
    shape: &'a ConvShape,
    first_image: usize,
    images: usize,
    group: usize,
}

/// Visits every part with a scratch array of its unfolded size.
fn for_each_part(context: &Context, shape: &ConvShape, mut visit: impl FnMut(&Part, &mut [f32])) {
    let image_len = shape.out_h * shape.out_w * shape.kernel_len();
    let images_at_once = (UNFOLDED_FLOATS / image_len).clamp(1, shape.batch);
    let mut scratch = context.scratch.shared(UNFOLDED, images_at_once * image_len);
    for first_image in (0..shape.batch).step_by(images_at_once) {
        let images = images_at_once.min(shape.batch - first_image);
        for group in 0..shape.groups {
            let part = Part { shape, first_image, images, group };
            visit(&part, &mut scratch[..images * image_len]);
        }
    }
}

impl Part<'_> {
    fn group_in(&self) -> usize {
        self.shape.in_c / self.shape.groups
    }
    fn group_out(&self) -> usize {
        self.shape.out_c / self.shape.groups
    }
    fn positions(&self) -> usize {
        self.images * self.shape.out_h * self.shape.out_w
    }
    fn output_rows(&self) -> std::ops::Range<usize> {
        let image = self.shape.out_h * self.shape.out_w * self.shape.out_c;
        self.first_image * image..(self.first_image + self.images) * image
    }
    fn output_columns(&self) -> std::ops::Range<usize> {
        self.group * self.group_out()..(self.group + 1) * self.group_out()
    }
    fn weights_range(&self) -> std::ops::Range<usize> {
        let len = self.group_out() * self.shape.kernel_len();
        self.group * len..(self.group + 1) * len
    }

    /// (positions, K/groups)
    fn output<'d>(&self, y: &'d [f32]) -> Matrix<'d> {
        let rows = &y[self.output_rows()][self.output_columns().start..];
        Matrix::row_major(rows, self.positions(), self.group_out(), self.shape.out_c)
    }
    /// (K/groups, R·S·C/groups)
    fn weights<'d>(&self, weights: &'d [f32]) -> Matrix<'d> {
        let len = self.shape.kernel_len();
        Matrix::row_major(&weights[self.weights_range()], self.group_out(), len, len)
    }
    /// (positions, R·S·C/groups)
    fn unfolded<'d>(&self, unfolded: &'d [f32]) -> Matrix<'d> {
        let len = self.shape.kernel_len();
        Matrix::row_major(unfolded, self.positions(), len, len)
    }

    /// Copies the patch under every output position to its row; taps outside the image read as
    /// zero.
    fn unfold(&self, context: &Context, unfolded: &mut [f32], x: &[f32]) {
        let ConvShape { in_h, in_w, in_c, out_h, out_w, kernel, .. } = *self.shape;
        let (run, first_channel) = (self.group_in(), self.group * self.group_in());
        let row_len = out_w * self.shape.kernel_len();
        let rows = Disjoint::new(unfolded);
        context.threads.for_each(self.images * out_h, |_, index| {
            // SAFETY: each piece has its own row of positions.
            let row = unsafe { rows.part(index * row_len..(index + 1) * row_len) };
            let (image, p) = (self.first_image + index / out_h, index % out_h);
            for (i, tap) in row.chunks_exact_mut(run).enumerate() {
                let (q, r, s) = (i / (kernel * kernel), i / kernel % kernel, i % kernel);
                match (self.shape.tap(p, r, in_h), self.shape.tap(q, s, in_w)) {
                    (Some(h), Some(w)) => {
                        let at = ((image * in_h + h) * in_w + w) * in_c + first_channel;
                        tap.copy_from_slice(&x[at..at + run]);
                    }
                    _ => tap.fill(0.0),
                }
            }
        });
    }

    /// Adds every row back to the patch it was unfolded from. One thread an image: patches overlap
    /// within it.
    fn fold(&self, context: &Context, d_x: &mut [f32], unfolded: &[f32]) {
        let ConvShape { in_h, in_w, in_c, out_h, out_w, kernel, .. } = *self.shape;
        let (run, first_channel) = (self.group_in(), self.group * self.group_in());
        let image_len = in_h * in_w * in_c;
        let images = Disjoint::new(&mut d_x[self.first_image * image_len..]);
        let unfolded_len = out_h * out_w * self.shape.kernel_len();
        context.threads.for_each(self.images, |_, index| {
            // SAFETY: each piece has its own image.
            let image = unsafe { images.part(index * image_len..(index + 1) * image_len) };
            let rows = &unfolded[index * unfolded_len..(index + 1) * unfolded_len];
            for (i, tap) in rows.chunks_exact(run).enumerate() {
                let (position, r, s) = (i / (kernel * kernel), i / kernel % kernel, i % kernel);
                let (p, q) = (position / out_w, position % out_w);
                if let (Some(h), Some(w)) = (self.shape.tap(p, r, in_h), self.shape.tap(q, s, in_w))
                {
                    let at = (h * in_w + w) * in_c + first_channel;
                    image[at..at + run].iter_mut().zip(tap).for_each(|(d, t)| *d += t);
                }
            }
        });
    }
}
