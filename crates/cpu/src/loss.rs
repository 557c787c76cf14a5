//! Softmax and cross-entropy, an image at a time. `logits (N, classes)`.

use alexnet_ops::LinearShape;

use crate::Context;
use crate::disjoint::Disjoint;

pub(crate) fn softmax_cross_entropy(
    context: &Context,
    losses: &mut [f32],
    d_logits: &mut [f32],
    logits: &[f32],
    labels: &[u32],
    shape: &LinearShape,
) {
    let (batch, classes) = (shape.batch, shape.outputs);
    let losses = Disjoint::new(&mut losses[..batch]);
    let d_logits = Disjoint::new(&mut d_logits[..batch * classes]);
    context.threads.for_each(batch, |_, image| {
        let row = image * classes..(image + 1) * classes;
        // SAFETY: every image has its own loss and its own row.
        let (loss, d_logits) =
            unsafe { (&mut losses.part(image..image + 1)[0], d_logits.part(row.clone())) };
        *loss = loss_and_gradient(d_logits, &logits[row], labels[image] as usize, batch);
    });
}

/// One image's loss, and its gradient's share of the mean over the batch.
fn loss_and_gradient(d_logits: &mut [f32], logits: &[f32], label: usize, batch: usize) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for (d, logit) in d_logits.iter_mut().zip(logits) {
        *d = (logit - largest).exp();
        total += *d;
    }
    let scale = 1.0 / (total * batch as f32);
    d_logits.iter_mut().for_each(|d| *d *= scale);
    d_logits[label] -= 1.0 / batch as f32;
    total.ln() - (logits[label] - largest)
}
