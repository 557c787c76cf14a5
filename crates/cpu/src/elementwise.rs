//! Operations in which element i depends on element i alone, in blocks over the threads.

use alexnet_ops::{DropoutKey, SgdStep, UpdateRule, philox};
use rayon::prelude::*;

/// Elements one thread takes at a time; a multiple of 4, the width of a Philox block.
const BLOCK: usize = 16 << 10;

/// `max(0, value)`; a NaN stays one.
pub(crate) fn rectified(value: f32) -> f32 {
    if value < 0.0 { 0.0 } else { value }
}

/// `visit(y block, x block, index of its first element)`.
fn for_each_block(y: &mut [f32], x: &[f32], visit: impl Fn(&mut [f32], &[f32], usize) + Sync) {
    let blocks = y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).enumerate();
    blocks.for_each(|(block, (y, x))| visit(y, x, block * BLOCK));
}

pub(crate) fn relu(y: &mut [f32], x: &[f32]) {
    for_each_block(y, x, |y, x, _| y.iter_mut().zip(x).for_each(|(y, &x)| *y = rectified(x)));
}

pub(crate) fn relu_backward(d: &mut [f32], y: &[f32]) {
    for_each_block(d, y, |d, y, _| {
        d.iter_mut().zip(y).for_each(|(d, &y)| *d = if y <= 0.0 { 0.0 } else { *d });
    });
}

pub(crate) fn scale(y: &mut [f32], x: &[f32], factor: f32) {
    for_each_block(y, x, |y, x, _| y.iter_mut().zip(x).for_each(|(y, x)| *y = x * factor));
}

pub(crate) fn dropout(y: &mut [f32], x: &[f32], rate: f32, kept_scale: f32, key: DropoutKey) {
    let threshold = philox::drop_threshold(rate);
    for_each_block(y, x, |y, x, first| {
        for (quad, (y, x)) in y.chunks_mut(4).zip(x.chunks(4)).enumerate() {
            let words = philox::dropout_words(key, first / 4 + quad);
            for ((y, x), word) in y.iter_mut().zip(x).zip(words) {
                *y = if word >= threshold { x * kept_scale } else { 0.0 };
            }
        }
    });
}

pub(crate) fn sgd(weights: &mut [f32], velocity: &mut [f32], gradient: &[f32], step: &SgdStep) {
    let SgdStep { rule, learning_rate: rate, momentum, weight_decay } = *step;
    let blocks = weights
        .par_chunks_mut(BLOCK)
        .zip(velocity.par_chunks_mut(BLOCK))
        .zip(gradient.par_chunks(BLOCK));
    blocks.for_each(|((weights, velocity), gradient)| {
        let elements = weights.iter_mut().zip(velocity).zip(gradient);
        match rule {
            UpdateRule::Paper => elements.for_each(|((w, v), g)| {
                *v = momentum * *v - weight_decay * rate * *w - rate * g;
                *w += *v;
            }),
            UpdateRule::PyTorch => elements.for_each(|((w, v), g)| {
                *v = momentum * *v + g + weight_decay * *w;
                *w -= rate * *v;
            }),
        }
    });
}
