//! Batch normalisation. `x, y (rows, C)`; the formulas stand in the reference.

use alexnet_ops::BatchNormShape;
use rayon::prelude::*;

use crate::reduce::sum_blocks;

/// Rows one thread normalises at a time.
const BLOCK_ROWS: usize = 64;

pub(crate) fn train(
    y: &mut [f32],
    statistics: &mut [f32],
    running: &mut [f32],
    x: &[f32],
    affine: &[f32],
    shape: &BatchNormShape,
) {
    let BatchNormShape { rows, channels, epsilon, momentum } = *shape;
    let x = &x[..rows * channels];
    let mut means = sum_blocks(x, channels, channels, |sums, row, _| {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
    });
    means.iter_mut().for_each(|mean| *mean /= rows as f64);
    let squares = sum_blocks(x, channels, channels, |sums, row, _| {
        for ((sum, mean), &x) in sums.iter_mut().zip(&means).zip(row) {
            *sum += (f64::from(x) - mean) * (f64::from(x) - mean);
        }
    });
    for c in 0..channels {
        let variance = (squares[c] / rows as f64) as f32;
        let unbiased = (squares[c] / (rows - 1).max(1) as f64) as f32;
        statistics[c] = means[c] as f32;
        statistics[channels + c] = 1.0 / (variance + epsilon).sqrt();
        running[c] += momentum * (means[c] as f32 - running[c]);
        running[channels + c] += momentum * (unbiased - running[channels + c]);
    }
    normalise(y, x, channels, |c| {
        let scale = affine[c] * statistics[channels + c];
        (statistics[c], scale, affine[channels + c])
    });
}

pub(crate) fn evaluate(
    y: &mut [f32],
    x: &[f32],
    affine: &[f32],
    running: &[f32],
    shape: &BatchNormShape,
) {
    let BatchNormShape { rows, channels, epsilon, .. } = *shape;
    normalise(y, &x[..rows * channels], channels, |c| {
        let scale = affine[c] / (running[channels + c] + epsilon).sqrt();
        (running[c], scale, affine[channels + c])
    });
}

/// `y = (x − mean) · scale + shift` with each channel's three figures.
fn normalise(
    y: &mut [f32],
    x: &[f32],
    channels: usize,
    figures: impl Fn(usize) -> (f32, f32, f32),
) {
    let figures: Vec<_> = (0..channels).map(figures).collect();
    let block = BLOCK_ROWS * channels;
    let blocks = y[..x.len()].par_chunks_mut(block).zip(x.par_chunks(block));
    blocks.for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for ((y, x), (mean, scale, shift)) in y.iter_mut().zip(x).zip(&figures) {
                *y = (x - mean) * scale + shift;
            }
        }
    });
}

pub(crate) fn backward(
    d_x: &mut [f32],
    d_affine: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    affine: &[f32],
    statistics: &[f32],
    shape: &BatchNormShape,
) {
    let BatchNormShape { rows, channels, .. } = *shape;
    let (x, d_y) = (&x[..rows * channels], &d_y[..rows * channels]);
    let (means, inverses) = statistics[..2 * channels].split_at(channels);
    let normal = |x: f32, c: usize| (x - means[c]) * inverses[c];
    let sums = sum_blocks(d_y, channels, 2 * channels, |sums, d_y, row| {
        let x = &x[row * channels..(row + 1) * channels];
        let (scales, shifts) = sums.split_at_mut(channels);
        for c in 0..channels {
            scales[c] += f64::from(d_y[c] * normal(x[c], c));
            shifts[c] += f64::from(d_y[c]);
        }
    });
    d_affine.iter_mut().zip(&sums).for_each(|(d, &sum)| *d = sum as f32);
    let (d_scale, d_shift) = d_affine[..2 * channels].split_at(channels);
    let block = BLOCK_ROWS * channels;
    let inputs = d_y.par_chunks(block).zip(x.par_chunks(block));
    let blocks = d_x[..rows * channels].par_chunks_mut(block).zip(inputs);
    blocks.for_each(|(d_x, (d_y, x))| {
        let places = d_y.chunks_exact(channels).zip(x.chunks_exact(channels));
        for (d_x, (d_y, x)) in d_x.chunks_exact_mut(channels).zip(places) {
            for c in 0..channels {
                let mean_part = (d_shift[c] + normal(x[c], c) * d_scale[c]) / rows as f32;
                d_x[c] = affine[c] * inverses[c] * (d_y[c] - mean_part);
            }
        }
    });
}
