//! Softmax and cross-entropy, an image at a time. `logits (N, classes)`.

use alexnet_ops::{LossShape, rank};

use crate::Context;
use crate::disjoint::Disjoint;

pub(crate) fn softmax_cross_entropy(
    context: &Context,
    found: [&mut [f32]; 2],
    d_logits: &mut [f32],
    logits: &[f32],
    labels: &[u32],
    shape: &LossShape,
) {
    let LossShape { images, classes, .. } = *shape;
    let [losses, ranks] = found.map(Disjoint::new);
    let d_logits = Disjoint::new(&mut d_logits[..images * classes]);
    context.threads.for_each(images, |_, image| {
        let row = image * classes..(image + 1) * classes;
        let (logits, label) = (&logits[row.clone()], labels[image] as usize);
        // SAFETY: every image has its own loss, its own rank and its own row.
        unsafe {
            losses.part(image..image + 1)[0] =
                loss_and_gradient(d_logits.part(row), logits, label, shape);
            ranks.part(image..image + 1)[0] = rank(logits, label) as f32;
        }
    });
}

/// One image's loss, and its gradient's share of the mean.
fn loss_and_gradient(d_logits: &mut [f32], logits: &[f32], label: usize, shape: &LossShape) -> f32 {
    let LossShape { classes, mean_over, smoothing, .. } = *shape;
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for (d, logit) in d_logits.iter_mut().zip(logits) {
        *d = (logit - largest).exp();
        total += *d;
    }
    let scale = 1.0 / (total * mean_over as f32);
    d_logits.iter_mut().for_each(|d| *d *= scale);
    d_logits[label] -= (1.0 - smoothing) / mean_over as f32;
    let loss = total.ln() - (logits[label] - largest);
    if smoothing == 0.0 {
        return loss;
    }
    let spread = smoothing / (classes * mean_over) as f32;
    d_logits.iter_mut().for_each(|d| *d -= spread);
    let mean = logits.iter().map(|logit| logit - largest).sum::<f32>() / classes as f32;
    (1.0 - smoothing) * loss + smoothing * (total.ln() - mean)
}
