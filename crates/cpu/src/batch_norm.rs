//! Batch normalisation. `x, y (rows, C)`; the formulas stand in the reference.
//!
//! Forward and backward read their inputs twice: once for the sums over rows, once to write the
//! output. What is a channel's alone is computed between the two.

use std::ops::Range;

use alexnet_ops::{Activation, BatchNormShape};

use crate::Context;
use crate::disjoint::Disjoint;
use crate::elementwise::rectified;
use crate::isa::Kernel;
use crate::reduce::{Terms, part_of_rows, sum_rows};
use crate::simd::{LANES_MAX, Vector, for_each_vector};

/// Shared scratch the channels' figures are kept in.
const SCRATCH: usize = 2;

/// Floats of each array one thread takes at a time, in whole rows.
const BLOCK: usize = 16 << 10;

/// Σ x and Σ x², whose difference gives the variance in one pass: squares of `f32` are exact in
/// `f64`, so it is lost only to a mean some 10⁷ times the deviation.
#[derive(Clone, Copy)]
struct Moments<'a> {
    x: &'a [f32],
    channels: usize,
}

impl Terms<2> for Moments<'_> {
    #[inline(always)]
    fn add<V: Vector, const ROWS: usize>(
        self,
        [sums, squares]: &mut [&mut [f64]; 2],
        row: usize,
        columns: Range<usize>,
    ) {
        let len = columns.len();
        let x: [_; ROWS] = part_of_rows(self.x, self.channels, row, columns);
        let (sums, squares, x) = (&mut sums[..len], &mut squares[..len], x.map(|x| &x[..len]));
        for c in 0..len {
            let (mut sum, mut square) = (sums[c], squares[c]);
            for x in x {
                let x = f64::from(x[c]);
                sum += x;
                square += x * x;
            }
            (sums[c], squares[c]) = (sum, square);
        }
    }
}

pub(crate) fn train(
    context: &Context,
    y: &mut [f32],
    statistics: &mut [f32],
    running: &mut [f32],
    x: &[f32],
    affine: &[f32],
    activation: Activation,
    shape: &BatchNormShape,
) {
    let BatchNormShape { rows, channels, epsilon, momentum } = *shape;
    sum_rows(context, rows, channels, Moments { x, channels }, |[sums, squares]| {
        for c in 0..channels {
            let mean = sums[c] / rows as f64;
            let spread = (squares[c] - sums[c] * mean).max(0.0);
            let variance = (spread / rows as f64) as f32;
            let unbiased = (spread / (rows - 1).max(1) as f64) as f32;
            statistics[c] = mean as f32;
            statistics[channels + c] = 1.0 / (variance + epsilon).sqrt();
            running[c] += momentum * (mean as f32 - running[c]);
            running[channels + c] += momentum * (unbiased - running[channels + c]);
        }
    });
    let (means, inverses) = statistics[..2 * channels].split_at(channels);
    let scale = |c: usize| affine[c] * inverses[c];
    normalise(context, y, x, [means, affine], scale, activation, shape);
}

pub(crate) fn evaluate(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    affine: &[f32],
    running: &[f32],
    activation: Activation,
    shape: &BatchNormShape,
) {
    let (means, variances) = running[..2 * shape.channels].split_at(shape.channels);
    let scale = |c: usize| affine[c] / (variances[c] + shape.epsilon).sqrt();
    normalise(context, y, x, [means, affine], scale, activation, shape);
}

/// `y = activation((x − mean) · scale + shift)`, the shift from the second half of `affine`.
fn normalise(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    [means, affine]: [&[f32]; 2],
    scale: impl Fn(usize) -> f32,
    activation: Activation,
    shape: &BatchNormShape,
) {
    let (len, channels) = (shape.rows * shape.channels, shape.channels);
    let mut scales = context.scratch.shared(SCRATCH, channels);
    scales[..channels].iter_mut().enumerate().for_each(|(c, slot)| *slot = scale(c));
    let figures = [means, &scales[..channels], &affine[channels..2 * channels]];
    let (x, y) = (&x[..len], Disjoint::new(&mut y[..len]));
    for_each_block(context, shape, |range| {
        // SAFETY: blocks do not overlap.
        let y = unsafe { y.part(range.clone()) };
        context.isa.dispatch(Normalise { y, x: &x[range], figures, activation });
    });
}

/// Visits blocks of whole rows.
fn for_each_block(context: &Context, shape: &BatchNormShape, visit: impl Fn(Range<usize>) + Sync) {
    let BatchNormShape { rows, channels, .. } = *shape;
    let block_rows = (BLOCK / channels).max(1);
    context.threads.for_each(rows.div_ceil(block_rows), |_, block| {
        let end = ((block + 1) * block_rows).min(rows);
        visit(block * block_rows * channels..end * channels);
    });
}

struct Normalise<'a> {
    y: &'a mut [f32],
    x: &'a [f32],
    /// Each channel's mean, scale and shift.
    figures: [&'a [f32]; 3],
    activation: Activation,
}

impl Kernel for Normalise<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.activation {
            Activation::Identity => self.write(|sum| sum),
            Activation::Relu => self.write(rectified),
        }
    }
}

impl Normalise<'_> {
    #[inline(always)]
    fn write(self, activated: impl Fn(f32) -> f32) {
        let channels = self.figures[0].len();
        let [means, scales, shifts] = self.figures.map(|figures| &figures[..channels]);
        let rows = self.y.chunks_exact_mut(channels).zip(self.x.chunks_exact(channels));
        for (y, x) in rows {
            for c in 0..channels {
                y[c] = activated((x[c] - means[c]) * scales[c] + shifts[c]);
            }
        }
    }
}

/// Σ dy · (x − mean) and Σ dy.
#[derive(Clone, Copy)]
struct Gradients<'a> {
    d_y: &'a [f32],
    x: &'a [f32],
    means: &'a [f32],
}

impl Terms<2> for Gradients<'_> {
    #[inline(always)]
    fn add<V: Vector, const ROWS: usize>(
        self,
        [scales, shifts]: &mut [&mut [f64]; 2],
        row: usize,
        columns: Range<usize>,
    ) {
        for_each_vector::<V>(
            columns.len(),
            #[inline(always)]
            |at, count| {
                let channel = columns.start + at;
                let (mut scale, mut shift) = (V::zero(), V::zero());
                let mean = load::<V>(self.means, channel, count);
                for i in 0..ROWS {
                    let from = (row + i) * self.means.len() + channel;
                    let d_y = load::<V>(self.d_y, from, count);
                    scale = load::<V>(self.x, from, count).sub(mean).mul_add(d_y, scale);
                    shift = shift.add(d_y);
                }
                add_widened(&mut scales[at..at + count], scale);
                add_widened(&mut shifts[at..at + count], shift);
            },
        );
    }
}

/// `count` floats from `from[at]` on.
#[inline(always)]
fn load<V: Vector>(from: &[f32], at: usize, count: usize) -> V {
    // SAFETY: the slice has `count` floats.
    unsafe { V::load_lanes(from[at..at + count].as_ptr(), count) }
}

/// Adds the first lanes to as many totals.
#[inline(always)]
fn add_widened<V: Vector>(totals: &mut [f64], addends: V) {
    let mut lanes = [0.0_f32; LANES_MAX];
    // SAFETY: the array has room for any vector.
    unsafe { addends.store(lanes.as_mut_ptr()) };
    for (total, lane) in totals.iter_mut().zip(lanes) {
        *total += f64::from(lane);
    }
}

pub(crate) fn backward(
    context: &Context,
    d_x: &mut [f32],
    d_affine: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    affine: &[f32],
    statistics: &[f32],
    shape: &BatchNormShape,
) {
    let BatchNormShape { rows, channels, .. } = *shape;
    let (means, inverses) = statistics[..2 * channels].split_at(channels);
    let terms = Gradients { d_y, x, means };
    sum_rows(context, rows, channels, terms, |[scales, shifts]| {
        for c in 0..channels {
            d_affine[c] = (scales[c] * f64::from(inverses[c])) as f32;
            d_affine[channels + c] = shifts[c] as f32;
        }
    });
    let mut scratch = context.scratch.shared(SCRATCH, 3 * channels);
    let (factors, others) = scratch[..3 * channels].split_at_mut(channels);
    let (parts, slopes) = others.split_at_mut(channels);
    for c in 0..channels {
        factors[c] = affine[c] * inverses[c];
        parts[c] = d_affine[channels + c] / rows as f32;
        slopes[c] = inverses[c] * d_affine[c] / rows as f32;
    }
    let figures = [means, &*factors, &*parts, &*slopes];
    let len = rows * channels;
    let (d_y, x, d_x) = (&d_y[..len], &x[..len], Disjoint::new(&mut d_x[..len]));
    for_each_block(context, shape, |range| {
        // SAFETY: blocks do not overlap.
        let d_x = unsafe { d_x.part(range.clone()) };
        context.isa.dispatch(Backward { d_x, d_y: &d_y[range.clone()], x: &x[range], figures });
    });
}

/// `dx = factor · (dy − part − slope · (x − mean))`.
struct Backward<'a> {
    d_x: &'a mut [f32],
    d_y: &'a [f32],
    x: &'a [f32],
    /// Each channel's mean, factor, part and slope.
    figures: [&'a [f32]; 4],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let channels = self.figures[0].len();
        let [means, factors, parts, slopes] = self.figures.map(|figures| &figures[..channels]);
        let inputs = self.d_y.chunks_exact(channels).zip(self.x.chunks_exact(channels));
        for (d_x, (d_y, x)) in self.d_x.chunks_exact_mut(channels).zip(inputs) {
            for c in 0..channels {
                d_x[c] = factors[c] * (d_y[c] - parts[c] - slopes[c] * (x[c] - means[c]));
            }
        }
    }
}
