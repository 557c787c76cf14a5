//! Softmax and cross-entropy in one: the loss the paper calls multinomial logistic regression
//! (§3.5).

use crate::real::Real;
use crate::shape::LinearShape;

/// `logits (N, classes)`. With `p = softmax(logits)`: `losses[n] = −ln p[label]`, and the gradient
/// of the mean over the batch is `(p − onehot(label)) / N`. The largest logit is taken away first,
/// so that nothing overflows.
pub(super) fn softmax_cross_entropy<T: Real>(
    losses: &mut [T],
    d_logits: &mut [T],
    logits: &[T],
    labels: &[u32],
    shape: &LinearShape,
) {
    let (batch, classes) = (shape.batch, shape.outputs);
    for n in 0..batch {
        let row = &logits[n * classes..(n + 1) * classes];
        let label = labels[n] as usize;
        let largest = row.iter().fold(row[0], |a, &b| if b > a { b } else { a });
        let mut total = T::default();
        for &logit in row {
            total += (logit - largest).exp();
        }
        losses[n] = total.ln() - (row[label] - largest);
        for (class, &logit) in row.iter().enumerate() {
            let probability = (logit - largest).exp() / total;
            let target = T::from_usize(usize::from(class == label));
            d_logits[n * classes + class] = (probability - target) / T::from_usize(batch);
        }
    }
}
