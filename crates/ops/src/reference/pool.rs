//! Max pooling with the place of each maximum, and adaptive average pooling.
//!
//! `x (N, H, W, C)`, `y (N, P, Q, C)`; a position is `row · size + column` within its window.
//!
//! The 2012 code sends a window's gradient to *every* input equal to its maximum; PyTorch and
//! Caffe, and this code, to the first. In these networks ties are zeros that a ReLU made, whose
//! gradient the ReLU then stops either way.

use crate::real::Real;
use crate::shape::{AveragePoolShape, MaxPoolShape};

pub(super) fn max_forward<T: Real>(
    y: &mut [T],
    positions: &mut [u8],
    x: &[T],
    shape: &MaxPoolShape,
) {
    for_each_window(shape, |out, window| {
        let mut taps = window.into_iter();
        let Some((first, at)) = taps.next() else { return };
        let mut spoilt = T::default() + x[at] * T::default();
        let (mut best, mut position) = (x[at], first);
        for (tap, at) in taps {
            if x[at] > best || x[at].is_nan() {
                (best, position) = (x[at], tap);
            }
            // 0, or NaN.
            spoilt += x[at] * T::default();
        }
        (y[out], positions[out]) = (best + spoilt, position);
    });
}

pub(super) fn max_backward<T: Real>(
    d_x: &mut [T],
    d_y: &[T],
    positions: &[u8],
    shape: &MaxPoolShape,
) {
    d_x[..shape.input_len()].fill(T::default());
    for_each_window(shape, |out, window| {
        for (tap, at) in window {
            if tap == positions[out] {
                d_x[at] += d_y[out];
            }
        }
    });
}

/// Calls `visit(y index, [(position, x index)])` for every window, with the taps that lie inside
/// the input, in reading order.
fn for_each_window(shape: &MaxPoolShape, mut visit: impl FnMut(usize, Vec<(u8, usize)>)) {
    let MaxPoolShape { batch, in_h, in_w, out_h, out_w, channels, size, stride } = *shape;
    for n in 0..batch {
        for p in 0..out_h {
            for q in 0..out_w {
                for c in 0..channels {
                    let mut window = Vec::with_capacity(size * size);
                    for r in 0..size.min(in_h - p * stride) {
                        for s in 0..size.min(in_w - q * stride) {
                            let (row, column) = (p * stride + r, q * stride + s);
                            let at = ((n * in_h + row) * in_w + column) * channels + c;
                            window.push(((r * size + s) as u8, at));
                        }
                    }
                    visit(((n * out_h + p) * out_w + q) * channels + c, window);
                }
            }
        }
    }
}

pub(super) fn average_forward<T: Real>(y: &mut [T], x: &[T], shape: &AveragePoolShape) {
    y[..shape.output_len()].fill(T::default());
    for_each_share(shape, |out, at, share| y[out] += x[at] * share);
}

pub(super) fn average_backward<T: Real>(d_x: &mut [T], d_y: &[T], shape: &AveragePoolShape) {
    d_x[..shape.input_len()].fill(T::default());
    for_each_share(shape, |out, at, share| d_x[at] += d_y[out] * share);
}

/// Calls `visit(y index, x index, 1 / inputs averaged)` for every input of every cell.
fn for_each_share<T: Real>(shape: &AveragePoolShape, mut visit: impl FnMut(usize, usize, T)) {
    let AveragePoolShape { batch, in_h, in_w, out_h, out_w, channels } = *shape;
    for n in 0..batch {
        for p in 0..out_h {
            for q in 0..out_w {
                let rows = AveragePoolShape::window(p, out_h, in_h);
                let columns = AveragePoolShape::window(q, out_w, in_w);
                let share = T::from_f32(1.0) / T::from_usize(rows.len() * columns.len());
                for row in rows {
                    for column in columns.clone() {
                        for c in 0..channels {
                            let out = ((n * out_h + p) * out_w + q) * channels + c;
                            visit(out, ((n * in_h + row) * in_w + column) * channels + c, share);
                        }
                    }
                }
            }
        }
    }
}
