//! Batch normalisation (Ioffe and Szegedy 2015), with PyTorch's conventions: the batch is
//! normalised by its biased variance, the running variance is unbiased.
//!
//! `x, y (rows, C)`; `affine`, `running`, `statistics` hold 2·C values: see
//! [`crate::Device::batch_norm_train`].

use super::elementwise::rectified;
use crate::device::Activation;
use crate::real::Real;
use crate::shape::BatchNormShape;

pub(super) fn train<T: Real>(
    y: &mut [T],
    statistics: &mut [T],
    running: &mut [T],
    x: &[T],
    affine: &[T],
    activation: Activation,
    shape: &BatchNormShape,
) {
    let BatchNormShape { rows, channels, .. } = *shape;
    let (one, count) = (T::from_f32(1.0), T::from_usize(rows));
    let share = T::from_f32(shape.momentum);
    for c in 0..channels {
        let column = || (0..rows).map(|row| x[row * channels + c]);
        let mean = sum(column()) / count;
        let squares = sum(column().map(|value| (value - mean) * (value - mean)));
        let variance = squares / count;
        let unbiased = squares / T::from_usize((rows - 1).max(1));
        statistics[c] = mean;
        statistics[channels + c] = one / (variance + T::from_f32(shape.epsilon)).sqrt();
        running[c] = running[c] * (one - share) + mean * share;
        running[channels + c] = running[channels + c] * (one - share) + unbiased * share;
    }
    normalise(y, x, affine, statistics, activation, shape);
}

pub(super) fn evaluate<T: Real>(
    y: &mut [T],
    x: &[T],
    affine: &[T],
    running: &[T],
    activation: Activation,
    shape: &BatchNormShape,
) {
    let channels = shape.channels;
    let mut statistics = running[..2 * channels].to_vec();
    for value in &mut statistics[channels..] {
        *value = T::from_f32(1.0) / (*value + T::from_f32(shape.epsilon)).sqrt();
    }
    normalise(y, x, affine, &statistics, activation, shape);
}

/// `y = activation((x − mean) · inverse deviation · scale + shift)`.
fn normalise<T: Real>(
    y: &mut [T],
    x: &[T],
    affine: &[T],
    statistics: &[T],
    activation: Activation,
    shape: &BatchNormShape,
) {
    let channels = shape.channels;
    for row in 0..shape.rows {
        for c in 0..channels {
            let normal = (x[row * channels + c] - statistics[c]) * statistics[channels + c];
            let sum = normal * affine[c] + affine[channels + c];
            y[row * channels + c] = match activation {
                Activation::Identity => sum,
                Activation::Relu => rectified(sum),
            };
        }
    }
}

/// `dx = scale · inverse deviation · (dy − mean(dy) − normal · mean(dy · normal))`: mean and
/// variance depend on every row, which takes the gradient's mean and its component along the
/// normalised input away.
pub(super) fn backward<T: Real>(
    d_x: &mut [T],
    d_affine: &mut [T],
    d_y: &[T],
    x: &[T],
    affine: &[T],
    statistics: &[T],
    shape: &BatchNormShape,
) {
    let BatchNormShape { rows, channels, .. } = *shape;
    let count = T::from_usize(rows);
    for c in 0..channels {
        let (mean, inverse) = (statistics[c], statistics[channels + c]);
        let normal = |row: usize| (x[row * channels + c] - mean) * inverse;
        let d_shift = sum((0..rows).map(|row| d_y[row * channels + c]));
        let d_scale = sum((0..rows).map(|row| d_y[row * channels + c] * normal(row)));
        for row in 0..rows {
            let centred = d_y[row * channels + c] - d_shift / count - normal(row) * d_scale / count;
            d_x[row * channels + c] = affine[c] * inverse * centred;
        }
        d_affine[c] = d_scale;
        d_affine[channels + c] = d_shift;
    }
}

/// The sum, with what each addition rounds away carried to the next (Kahan): a channel's mean is
/// over so many places that `f32` would otherwise lose it.
fn sum<T: Real>(values: impl Iterator<Item = T>) -> T {
    let (mut sum, mut lost) = (T::default(), T::default());
    for value in values {
        let value = value - lost;
        let next = sum + value;
        lost = (next - sum) - value;
        sum = next;
    }
    sum
}
