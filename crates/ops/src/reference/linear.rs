//! The linear layer. `x (N, in)`, `weights (out, in)`, `y (N, out)`.

use crate::device::Activation;
use crate::real::Real;
use crate::shape::LinearShape;

pub(super) fn forward<T: Real>(
    y: &mut [T],
    x: &[T],
    weights: &[T],
    bias: &[T],
    activation: Activation,
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    for n in 0..batch {
        for o in 0..outputs {
            let mut sum = bias[o];
            for i in 0..inputs {
                sum += x[n * inputs + i] * weights[o * inputs + i];
            }
            y[n * outputs + o] = match activation {
                Activation::Identity => sum,
                Activation::Relu => super::elementwise::rectified(sum),
            };
        }
    }
}

pub(super) fn backward_input<T: Real>(
    d_x: &mut [T],
    d_y: &[T],
    weights: &[T],
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    d_x[..batch * inputs].fill(T::default());
    for n in 0..batch {
        for o in 0..outputs {
            for i in 0..inputs {
                d_x[n * inputs + i] += d_y[n * outputs + o] * weights[o * inputs + i];
            }
        }
    }
}

pub(super) fn backward_weights<T: Real>(
    d_weights: &mut [T],
    d_bias: &mut [T],
    d_y: &[T],
    x: &[T],
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    d_weights[..outputs * inputs].fill(T::default());
    for n in 0..batch {
        for o in 0..outputs {
            for i in 0..inputs {
                d_weights[o * inputs + i] += d_y[n * outputs + o] * x[n * inputs + i];
            }
        }
    }
    sum_rows(&mut d_bias[..outputs], &d_y[..batch * outputs]);
}

/// The sum of all rows of `rows (any, columns)`: a bias meets every row, so its gradient is their
/// sum.
pub(super) fn sum_rows<T: Real>(sums: &mut [T], rows: &[T]) {
    sums.fill(T::default());
    for row in rows.chunks_exact(sums.len()) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
}
