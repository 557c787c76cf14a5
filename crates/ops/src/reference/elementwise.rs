//! Operations in which element i depends on element i alone: ReLU and the curves before it, dropout,
//! sums, the weight update. And what is asked of all elements together.

use crate::device::{Dropout, Saturation};
use crate::philox;
use crate::real::Real;
use crate::update::{SgdStep, UpdateRule};

/// `max(0, value)` of a number. 0 times what is not finite is NaN, so that it is seen.
pub(super) fn rectified<T: Real>(value: T) -> T {
    let rectified = if value < T::default() { T::default() } else { value };
    rectified + value * T::default()
}

pub(super) fn relu<T: Real>(y: &mut [T], x: &[T]) {
    for (out, &value) in y.iter_mut().zip(x) {
        *out = rectified(value);
    }
}

pub(super) fn relu_backward<T: Real>(d: &mut [T], y: &[T], factor: f32) {
    for (d, &value) in d.iter_mut().zip(y) {
        *d = if value <= T::default() { T::default() } else { *d * T::from_f32(factor) };
    }
}

pub(super) fn saturation<T: Real>(y: &mut [T], x: &[T], curve: Saturation) {
    let one = T::from_usize(1);
    for (out, &value) in y.iter_mut().zip(x) {
        *out = match curve {
            Saturation::Tanh => value.tanh(),
            Saturation::Sigmoid => one / (one + (-value).exp()),
        } + value * T::default(); // an infinity stays no number
    }
}

pub(super) fn saturation_backward<T: Real>(d: &mut [T], y: &[T], curve: Saturation) {
    let one = T::from_usize(1);
    for (d, &value) in d.iter_mut().zip(y) {
        *d = match curve {
            Saturation::Tanh => *d * (one - value * value),
            Saturation::Sigmoid => *d * value * (one - value),
        };
    }
}

pub(super) fn dropout<T: Real>(y: &mut [T], x: &[T], dropout: Dropout) {
    for (i, (out, &value)) in y.iter_mut().zip(x).enumerate() {
        let factor = match dropout {
            Dropout::Masked { rate, kept_scale, key } => {
                philox::keeps(key, rate, i).then_some(kept_scale)
            }
            Dropout::Scaled(factor) => Some(factor),
        };
        *out = factor.map_or(T::default(), |factor| value * T::from_f32(factor));
    }
}

pub(super) fn sgd<T: Real>(weights: &mut [T], velocity: &mut [T], gradient: &[T], step: &SgdStep) {
    let rate = T::from_f32(step.learning_rate);
    let momentum = T::from_f32(step.momentum);
    let decay = T::from_f32(step.weight_decay);
    for ((w, v), &g) in weights.iter_mut().zip(velocity).zip(gradient) {
        match step.rule {
            UpdateRule::Paper => {
                *v = momentum * *v - decay * rate * *w - rate * g;
                *w += *v;
            }
            UpdateRule::PyTorch => {
                *v = momentum * *v + g + decay * *w;
                *w = *w - rate * *v;
            }
        }
    }
}

pub(super) fn add<T: Real>(sums: &mut [T], values: &[T]) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

/// The largest magnitude; a NaN is larger than anything.
pub(super) fn largest<T: Real>(values: &[T]) -> T {
    let mut largest = T::default();
    for &value in values {
        let magnitude = if value < T::default() { -value } else { value };
        if magnitude.is_nan() {
            return magnitude;
        }
        if magnitude > largest {
            largest = magnitude;
        }
    }
    largest
}

pub(super) fn sum_of_squares<T: Real>(values: &[T]) -> f64 {
    values.iter().map(|value| value.to_f64() * value.to_f64()).sum()
}
