//! Softmax and cross-entropy in one: the loss the paper calls multinomial logistic regression
//! (§3.5).

use crate::real::Real;
use crate::shape::LossShape;
use crate::softmax::rank;

/// `logits (N, classes)`; `ranks[n]` is [`rank`]'s. With `p = softmax(logits)` and targets t: `losses[n] = −Σ t · ln p`, and
/// the gradient of the mean over M images is `(p − t) / M`. The largest logit is taken away first,
/// so that nothing overflows.
pub(super) fn softmax_cross_entropy<T: Real>(
    [losses, ranks]: [&mut [T]; 2],
    d_logits: &mut [T],
    logits: &[T],
    labels: &[u32],
    shape: &LossShape,
) {
    let LossShape { images, classes, mean_over, smoothing } = *shape;
    let spread = T::from_f32(smoothing) / T::from_usize(classes);
    let certain = T::from_f32(1.0 - smoothing);
    for n in 0..images {
        let row = &logits[n * classes..(n + 1) * classes];
        let label = labels[n] as usize;
        let largest = row.iter().fold(row[0], |a, &b| if b > a { b } else { a });
        let mut total = T::default();
        for &logit in row {
            total += (logit - largest).exp();
        }
        ranks[n] = T::from_usize(rank(row, label));
        losses[n] = T::default();
        for (class, &logit) in row.iter().enumerate() {
            let probability = (logit - largest).exp() / total;
            let target = spread + if class == label { certain } else { T::default() };
            // Not the logarithm of the probability, which may be 0.
            losses[n] += target * (total.ln() - (logit - largest));
            d_logits[n * classes + class] = (probability - target) / T::from_usize(mean_over);
        }
    }
}
