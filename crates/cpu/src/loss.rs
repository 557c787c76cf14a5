//! Softmax and cross-entropy, an image at a time. `logits (N, classes)`.

use alexnet_ops::LinearShape;
use rayon::prelude::*;

pub(crate) fn softmax_cross_entropy(
    losses: &mut [f32],
    d_logits: &mut [f32],
    logits: &[f32],
    labels: &[u32],
    shape: &LinearShape,
) {
    let (batch, classes) = (shape.batch, shape.outputs);
    let rows = d_logits[..batch * classes].par_chunks_mut(classes).zip(logits.par_chunks(classes));
    let images = losses[..batch].par_iter_mut().zip(labels.par_iter()).zip(rows);
    images.for_each(|((loss, &label), (d_logits, logits))| {
        let label = label as usize;
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0.0;
        for (d, logit) in d_logits.iter_mut().zip(logits) {
            *d = (logit - largest).exp();
            total += *d;
        }
        *loss = total.ln() - (logits[label] - largest);
        let scale = 1.0 / (total * batch as f32);
        d_logits.iter_mut().for_each(|d| *d *= scale);
        d_logits[label] -= 1.0 / batch as f32;
    });
}
