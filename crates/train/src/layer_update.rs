//! How far an update moves each layer, to see gradients that vanish or explode.

use alexnet_network::{Array, ParameterRole, ParameterSpec};
use alexnet_ops::UpdateRule;

use crate::config::TrainConfig;

/// What one layer's weights do at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerUpdate {
    /// `conv1` to `fc8`.
    pub layer: String,
    /// How far a step at the common learning rate turns them, as a share of their length. What only
    /// makes them shorter, as decay does, is left out.
    pub relative: f64,
}

/// The updates of the layers that learn, `position` epochs into the run at the schedule's `rate`.
pub(crate) fn layer_updates(
    specs: &[ParameterSpec],
    (weights, velocities): (&[Array], &[Array]),
    config: &TrainConfig,
    rate: f64,
    position: f64,
) -> Vec<LayerUpdate> {
    let of = |spec: &ParameterSpec| {
        let factor = config.layer_factor(&spec.layer, position);
        if spec.role != ParameterRole::Weight || factor == 0.0 {
            return None;
        }
        let named = |arrays: &'_ [Array]| {
            let name = &spec.tensors.first()?.name;
            arrays.iter().position(|array| array.name == *name)
        };
        let (weights, velocity) = (&weights[named(weights)?], &velocities[named(velocities)?]);
        let scale = match config.sgd.rule {
            UpdateRule::Paper => 1.0 / factor, // the layer's own rate is in the velocity
            UpdateRule::PyTorch => rate,
        };
        let relative = scale * turn(&weights.values, &velocity.values)?;
        Some(LayerUpdate { layer: spec.layer.clone(), relative })
    };
    specs.iter().filter_map(of).collect()
}

/// Sums that are formed side by side.
const LANES: usize = 8;

/// The length of the part of `velocity` that stands upright on `weights`, as a share of the length of
/// those. `None` if one of the two is zero.
fn turn(weights: &[f32], velocity: &[f32]) -> Option<f64> {
    let (mut length, mut along, mut speed) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    // Sums side by side, for one would wait for each of its additions.
    for (weights, velocity) in weights.chunks(LANES).zip(velocity.chunks(LANES)) {
        for (lane, (&weight, &velocity)) in weights.iter().zip(velocity).enumerate() {
            let (weight, velocity) = (f64::from(weight), f64::from(velocity));
            length[lane] += weight * weight;
            along[lane] += weight * velocity;
            speed[lane] += velocity * velocity;
        }
    }
    let [length, along, speed] = [length, along, speed].map(|sums| sums.iter().sum::<f64>());
    let upright = (speed - along * along / length).max(0.0);
    (length > 0.0 && speed > 0.0).then(|| (upright / length).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_measured_and_a_decay_is_not() {
        let weights = [3.0, 0.0, 4.0];
        let cases: [(&[f32], Option<f64>); 4] = [
            (&[0.0, 0.5, 0.0], Some(0.1)),
            (&[-0.03, 0.0, -0.04], Some(0.0)),
            (&[-0.03, 0.5, -0.04], Some(0.1)),
            (&[0.0; 3], None),
        ];
        for (velocity, expected) in cases {
            let found = turn(&weights, velocity);
            let close =
                found.zip(expected).map(|(found, expected)| (found - expected).abs() < 1e-9);
            assert!(close.unwrap_or(found == expected), "{velocity:?}: {found:?}");
        }
    }
}
