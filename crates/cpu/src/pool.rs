//! Pooling, vectorised over channels. `x (N, H, W, C)`, `y (N, P, Q, C)`.

use alexnet_ops::{AveragePoolShape, MaxPoolShape};
use rayon::prelude::*;

pub(crate) fn max_forward(y: &mut [f32], positions: &mut [u8], x: &[f32], shape: &MaxPoolShape) {
    let MaxPoolShape { out_h, out_w, channels, .. } = *shape;
    let (y, positions) = (&mut y[..shape.output_len()], &mut positions[..shape.output_len()]);
    let row = out_w * channels;
    let rows = y.par_chunks_mut(row).zip(positions.par_chunks_mut(row)).enumerate();
    rows.for_each(|(index, (y, positions))| {
        let (image, p) = (index / out_h, index % out_h);
        let cells = y.chunks_exact_mut(channels).zip(positions.chunks_exact_mut(channels));
        for (q, (y, positions)) in cells.enumerate() {
            y.fill(f32::NEG_INFINITY);
            positions.fill(0);
            for (tap, at) in window(shape, p, q) {
                let at = image * shape.in_h * shape.in_w * channels + at;
                raise(y, positions, &x[at..at + channels], tap);
            }
        }
    });
}

/// Takes each of a tap's channels that is larger than the best so far. The first tap holds position
/// 0 from the start, so −∞ in it needs no taking.
fn raise(best: &mut [f32], positions: &mut [u8], values: &[f32], tap: u8) {
    for ((best, position), &value) in best.iter_mut().zip(positions).zip(values) {
        let larger = value > *best || value.is_nan();
        *best = if larger { value } else { *best };
        *position = if larger { tap } else { *position };
    }
}

pub(crate) fn max_backward(d_x: &mut [f32], d_y: &[f32], positions: &[u8], shape: &MaxPoolShape) {
    let MaxPoolShape { out_h, out_w, channels, .. } = *shape;
    let (in_len, out_len) = (shape.in_h * shape.in_w * channels, out_h * out_w * channels);
    let d_x = &mut d_x[..shape.input_len()];
    let images =
        d_x.par_chunks_mut(in_len).zip(d_y.par_chunks(out_len).zip(positions.par_chunks(out_len)));
    images.for_each(|(d_x, (d_y, positions))| {
        d_x.fill(0.0);
        let cells = d_y.chunks_exact(channels).zip(positions.chunks_exact(channels));
        for (cell, (d_y, positions)) in cells.enumerate() {
            for (tap, at) in window(shape, cell / out_w, cell % out_w) {
                let d_x = &mut d_x[at..at + channels];
                for ((d_x, d_y), &position) in d_x.iter_mut().zip(d_y).zip(positions) {
                    *d_x += if position == tap { *d_y } else { 0.0 };
                }
            }
        }
    });
}

/// The taps of window (p, q) inside the image, in reading order: position in the window, first
/// channel's index.
fn window(shape: &MaxPoolShape, p: usize, q: usize) -> impl Iterator<Item = (u8, usize)> {
    let MaxPoolShape { in_h, in_w, channels, size, stride, .. } = *shape;
    let (top, left) = (p * stride, q * stride);
    let (rows, columns) = (size.min(in_h - top), size.min(in_w - left));
    (0..rows).flat_map(move |r| {
        (0..columns).map(move |s| ((r * size + s) as u8, ((top + r) * in_w + left + s) * channels))
    })
}

pub(crate) fn average_forward(y: &mut [f32], x: &[f32], shape: &AveragePoolShape) {
    let AveragePoolShape { in_h, in_w, out_h, out_w, channels, .. } = *shape;
    let images = y[..shape.output_len()]
        .par_chunks_mut(out_h * out_w * channels)
        .zip(x.par_chunks(in_h * in_w * channels));
    images.for_each(|(y, x)| {
        for (cell, y) in y.chunks_exact_mut(channels).enumerate() {
            y.fill(0.0);
            let share = for_each_input(shape, cell, |at| {
                y.iter_mut().zip(&x[at..at + channels]).for_each(|(y, x)| *y += x);
            });
            y.iter_mut().for_each(|y| *y *= share);
        }
    });
}

pub(crate) fn average_backward(d_x: &mut [f32], d_y: &[f32], shape: &AveragePoolShape) {
    let AveragePoolShape { in_h, in_w, out_h, out_w, channels, .. } = *shape;
    let images = d_x[..shape.input_len()]
        .par_chunks_mut(in_h * in_w * channels)
        .zip(d_y.par_chunks(out_h * out_w * channels));
    images.for_each(|(d_x, d_y)| {
        d_x.fill(0.0);
        for (cell, d_y) in d_y.chunks_exact(channels).enumerate() {
            let share = for_each_input(shape, cell, |_| ());
            for_each_input(shape, cell, |at| {
                let d_x = &mut d_x[at..at + channels];
                d_x.iter_mut().zip(d_y).for_each(|(d_x, d_y)| *d_x += d_y * share);
            });
        }
    });
}

/// Visits the first channel of every input a cell averages; returns one over their number.
fn for_each_input(shape: &AveragePoolShape, cell: usize, mut visit: impl FnMut(usize)) -> f32 {
    let rows = AveragePoolShape::window(cell / shape.out_w, shape.out_h, shape.in_h);
    let columns = AveragePoolShape::window(cell % shape.out_w, shape.out_w, shape.in_w);
    let share = 1.0 / (rows.len() * columns.len()) as f32;
    for row in rows {
        for column in columns.clone() {
            visit((row * shape.in_w + column) * shape.channels);
        }
    }
    share
}
