//! Local response normalisation. The formulas stand in the reference; here each input's part
//! `t_j = dy_j · x_j · s_j^(−β−1)` is computed once and gathered by the elements of its window.

use alexnet_ops::LrnShape;
use rayon::prelude::*;

/// Places (all channels of one row and column) one thread takes at a time.
const BLOCK_PLACES: usize = 64;

pub(crate) fn across_maps_forward(y: &mut [f32], x: &[f32], groups: usize, shape: &LrnShape) {
    let channels = shape.channels;
    let block = BLOCK_PLACES * channels;
    let blocks = y[..shape.len()].par_chunks_mut(block).zip(x[..shape.len()].par_chunks(block));
    blocks.for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for c in 0..channels {
                let (first, end) = shape.tower(c, groups);
                y[c] = x[c] * power(sum(&x[shape.window(c, first, end)], shape), shape);
            }
        }
    });
}

pub(crate) fn across_maps_backward(
    d_x: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    groups: usize,
    shape: &LrnShape,
) {
    let channels = shape.channels;
    let block = BLOCK_PLACES * channels;
    let inputs = d_y[..shape.len()].par_chunks(block).zip(x[..shape.len()].par_chunks(block));
    let blocks = d_x[..shape.len()].par_chunks_mut(block).zip(inputs);
    blocks.for_each_init(
        || vec![0.0; channels],
        |parts, (d_x, (d_y, x))| {
            let places = d_y.chunks_exact(channels).zip(x.chunks_exact(channels));
            for (d_x, (d_y, x)) in d_x.chunks_exact_mut(channels).zip(places) {
                for c in 0..channels {
                    let (first, end) = shape.tower(c, groups);
                    let sum = sum(&x[shape.window(c, first, end)], shape);
                    d_x[c] = d_y[c] * power(sum, shape);
                    parts[c] = d_x[c] * x[c] / sum;
                }
                for c in 0..channels {
                    let (first, end) = shape.tower(c, groups);
                    let gathered: f32 = parts[shape.mirrored_window(c, first, end)].iter().sum();
                    d_x[c] -= twice_alpha_beta(shape) * x[c] * gathered;
                }
            }
        },
    );
}

pub(crate) fn same_map_forward(y: &mut [f32], x: &[f32], shape: &LrnShape) {
    let image = shape.height * shape.width * shape.channels;
    let images = y[..shape.len()].par_chunks_mut(image).zip(x.par_chunks(image));
    images.for_each(|(y, x)| {
        normalise_maps(y, x, shape);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x * power(*y, shape));
    });
}

pub(crate) fn same_map_backward(d_x: &mut [f32], d_y: &[f32], x: &[f32], shape: &LrnShape) {
    let image = shape.height * shape.width * shape.channels;
    let inputs = d_y[..shape.len()].par_chunks(image).zip(x.par_chunks(image));
    let images = d_x[..shape.len()].par_chunks_mut(image).zip(inputs);
    images.for_each_init(
        || (vec![0.0; image], vec![0.0; shape.channels]),
        |(parts, gathered), (d_x, (d_y, x))| {
            normalise_maps(parts, x, shape);
            for i in 0..image {
                d_x[i] = d_y[i] * power(parts[i], shape);
                parts[i] = d_x[i] * x[i] / parts[i];
            }
            for place in 0..shape.height * shape.width {
                gathered.fill(0.0);
                for_each_neighbour(place, shape, LrnShape::mirrored_window, |at| {
                    let part = &parts[at..at + shape.channels];
                    gathered.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
                });
                let at = place * shape.channels;
                let d_x = &mut d_x[at..at + shape.channels];
                for ((d_x, x), gathered) in d_x.iter_mut().zip(&x[at..]).zip(&*gathered) {
                    *d_x -= twice_alpha_beta(shape) * x * gathered;
                }
            }
        },
    );
}

/// `s = k + α Σ x²` over each place's square window of one image, into `sums`.
fn normalise_maps(sums: &mut [f32], x: &[f32], shape: &LrnShape) {
    for (place, sums) in sums.chunks_exact_mut(shape.channels).enumerate() {
        sums.fill(0.0);
        for_each_neighbour(place, shape, LrnShape::window, |at| {
            let values = &x[at..at + shape.channels];
            sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += x * x);
        });
        sums.iter_mut().for_each(|sum| *sum = shape.k + shape.alpha * *sum);
    }
}

/// Visits the first channel of every place in the square window around `place`.
fn for_each_neighbour(
    place: usize,
    shape: &LrnShape,
    window: impl Fn(&LrnShape, usize, usize, usize) -> std::ops::Range<usize>,
    mut visit: impl FnMut(usize),
) {
    for row in window(shape, place / shape.width, 0, shape.height) {
        for column in window(shape, place % shape.width, 0, shape.width) {
            visit((row * shape.width + column) * shape.channels);
        }
    }
}

fn sum(window: &[f32], shape: &LrnShape) -> f32 {
    shape.k + shape.alpha * window.iter().map(|x| x * x).sum::<f32>()
}

/// `s^−β`; two square roots for the β = 0.75 of every published AlexNet.
fn power(sum: f32, shape: &LrnShape) -> f32 {
    if shape.beta == 0.75 {
        let root = sum.sqrt();
        1.0 / (root * root.sqrt())
    } else {
        sum.powf(-shape.beta)
    }
}

fn twice_alpha_beta(shape: &LrnShape) -> f32 {
    2.0 * shape.alpha * shape.beta
}
