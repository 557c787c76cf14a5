//! Local response normalisation (paper §3.3), across maps and within one map.
//!
//! With `s_i = k + α Σ_{j ∈ window(i)} x_j²`, forward is `y_i = x_i · s_i^−β`. An input acts
//! through its own numerator and through every sum it is part of, so `dx_i = dy_i · s_i^−β − 2αβ ·
//! x_i · Σ_{j : i ∈ window(j)} dy_j · x_j · s_j^(−β−1)`.
//!
//! Both forms are this formula over a list of neighbours; they differ in the list alone.

use crate::real::Real;
use crate::shape::LrnShape;

pub(super) fn across_maps_forward<T: Real>(y: &mut [T], x: &[T], groups: usize, shape: &LrnShape) {
    for at in 0..shape.len() {
        y[at] = x[at] * denominator(x, &map_neighbours(at, groups, shape), shape).1;
    }
}

pub(super) fn across_maps_backward<T: Real>(
    d_x: &mut [T],
    d_y: &[T],
    x: &[T],
    groups: usize,
    shape: &LrnShape,
) {
    backward(d_x, d_y, x, shape, |at| map_neighbours(at, groups, shape));
}

pub(super) fn same_map_forward<T: Real>(y: &mut [T], x: &[T], shape: &LrnShape) {
    for at in 0..shape.len() {
        y[at] = x[at] * denominator(x, &place_neighbours(at, shape), shape).1;
    }
}

pub(super) fn same_map_backward<T: Real>(d_x: &mut [T], d_y: &[T], x: &[T], shape: &LrnShape) {
    backward(d_x, d_y, x, shape, |at| place_neighbours(at, shape));
}

fn backward<T: Real>(
    d_x: &mut [T],
    d_y: &[T],
    x: &[T],
    shape: &LrnShape,
    neighbours: impl Fn(usize) -> Vec<usize>,
) {
    let twice_alpha_beta = T::from_f32(2.0) * T::from_f32(shape.alpha) * T::from_f32(shape.beta);
    d_x[..shape.len()].fill(T::default());
    for j in 0..shape.len() {
        let window = neighbours(j);
        let (sum, power) = denominator(x, &window, shape);
        d_x[j] += d_y[j] * power;
        for i in window {
            d_x[i] += -(twice_alpha_beta * x[i] * d_y[j] * x[j] * power / sum);
        }
    }
}

/// `(s, s^−β)` over a window.
fn denominator<T: Real>(x: &[T], window: &[usize], shape: &LrnShape) -> (T, T) {
    let mut squares = T::default();
    for &i in window {
        squares += x[i] * x[i];
    }
    let sum = T::from_f32(shape.k) + T::from_f32(shape.alpha) * squares;
    (sum, sum.powf(-T::from_f32(shape.beta)))
}

/// The same place in the neighbouring maps of the element's tower.
fn map_neighbours(at: usize, groups: usize, shape: &LrnShape) -> Vec<usize> {
    let (place, channel) = (at / shape.channels, at % shape.channels);
    let (first, end) = shape.tower(channel, groups);
    shape.window(channel, first, end).map(|c| place * shape.channels + c).collect()
}

/// The neighbouring places of the element's map.
fn place_neighbours(at: usize, shape: &LrnShape) -> Vec<usize> {
    let (place, channel) = (at / shape.channels, at % shape.channels);
    let (image, place) =
        (place / (shape.height * shape.width), place % (shape.height * shape.width));
    let (row, column) = (place / shape.width, place % shape.width);
    let mut neighbours = Vec::new();
    for r in shape.window(row, 0, shape.height) {
        for q in shape.window(column, 0, shape.width) {
            let at = (image * shape.height + r) * shape.width + q;
            neighbours.push(at * shape.channels + channel);
        }
    }
    neighbours
}
