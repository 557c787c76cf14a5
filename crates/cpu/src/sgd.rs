//! One step of gradient descent on a vector of weights: the same roundings wherever it is computed.

use alexnet_ops::{SgdStep, UpdateRule};

use crate::simd::Vector;

/// The new weights and velocity. Products and sums are rounded one by one, as the plain formula in
/// [`UpdateRule`] says: so an update formed in a product's epilogue is the one formed from memory.
#[inline(always)]
pub(crate) fn updated<V: Vector>(step: &SgdStep, weights: V, velocity: V, gradient: V) -> (V, V) {
    let SgdStep { rule, learning_rate: rate, momentum, weight_decay } = *step;
    let kept = V::splat(momentum).mul(velocity);
    match rule {
        UpdateRule::Paper => {
            let decayed = kept.sub(V::splat(weight_decay * rate).mul(weights));
            let velocity = decayed.sub(V::splat(rate).mul(gradient));
            (weights.add(velocity), velocity)
        }
        UpdateRule::PyTorch => {
            let velocity = kept.add(gradient).add(V::splat(weight_decay).mul(weights));
            (weights.sub(V::splat(rate).mul(velocity)), velocity)
        }
    }
}
