//! The weights' update: its two forms, its figures, and when it may be done.

use serde::{Deserialize, Serialize};

/// The two forms of stochastic gradient descent with momentum in use for this network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateRule {
    /// `v ← m·v − d·r·w − r·g; w ← w + v` (paper §5): rate and decay inside the velocity.
    Paper,
    /// `v ← m·v + g + d·w; w ← w − r·v` (PyTorch's SGD): a new rate rescales the old velocity at
    /// once.
    PyTorch,
}

/// The figures of one update of one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Which form.
    pub rule: UpdateRule,
    /// r above, the parameter's own factor included.
    pub learning_rate: f32,
    /// m above.
    pub momentum: f32,
    /// d above, the parameter's own factor included.
    pub weight_decay: f32,
}

impl SgdStep {
    /// The step at a layer-wise rate (You, Gitman, Ginsburg 2017): of a parameter w with the gradient g,
    /// whose sums of squares are at hand, r is multiplied by `trust · |w| / (|g| + d · |w|)`. It stays
    /// where one of them is 0.
    pub fn at_layer_wise_rate(self, trust: f32, squares: [f64; 2]) -> Self {
        let [weights, gradient] = squares.map(f64::sqrt);
        if weights == 0.0 || gradient == 0.0 {
            return self;
        }
        let below = gradient + f64::from(self.weight_decay) * weights;
        let factor = (f64::from(trust) * weights / below) as f32;
        Self { learning_rate: self.learning_rate * factor, ..self }
    }
}

/// One update of one parameter of `len` elements.
#[derive(Debug)]
pub struct SgdUpdate<'a, F> {
    /// Written: the parameter.
    pub weights: &'a mut F,
    /// Written: its momentum.
    pub velocity: &'a mut F,
    /// Its gradient.
    pub gradient: &'a F,
    /// The figures.
    pub step: SgdStep,
    /// The coefficient of [`SgdStep::at_layer_wise_rate`], where the rate is one.
    pub trust: Option<f32>,
    /// Elements.
    pub len: usize,
}

/// How large a magnitude may be for an update to be sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// The largest that holds.
    pub largest: f32,
    /// Whether it is one of the product with the magnitude before.
    pub paired: bool,
}

impl Bound {
    /// Whether a magnitude holds, or its product with the one before. A NaN never does.
    pub fn holds(&self, before: f32, magnitude: f32) -> bool {
        (if self.paired { before * magnitude } else { magnitude }) <= self.largest
    }

    /// Whether all magnitudes hold, each its own bound.
    pub fn all_hold(bounds: &[Self], magnitudes: &[f32]) -> bool {
        let mut before = 0.0;
        bounds.iter().zip(magnitudes).all(|(bound, &magnitude)| {
            bound.holds(std::mem::replace(&mut before, magnitude), magnitude)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_wise_rate_is_trust_times_weights_over_gradient_and_decay_and_stays_without_either() {
        let (rule, momentum) = (UpdateRule::Paper, 0.9);
        let step = SgdStep { rule, learning_rate: 0.5, momentum, weight_decay: 0.25 };
        for (squares, expected) in [
            ([16.0, 9.0], 0.5 * 0.125 * 4.0 / (3.0 + 0.25 * 4.0)),
            ([16.0, 0.0], 0.5),
            ([0.0, 9.0], 0.5),
            ([0.0, 0.0], 0.5),
        ] {
            let found = step.at_layer_wise_rate(0.125, squares);
            assert_eq!(found, SgdStep { learning_rate: expected, ..step }, "{squares:?}");
        }
    }

    #[test]
    fn a_magnitude_holds_by_itself_or_with_the_one_before_and_what_is_no_number_never() {
        let [own, paired] = [false, true].map(|paired| Bound { largest: 6.0, paired });
        for (bounds, magnitudes, expected) in [
            ([own, own], [6.0, 6.0], true),
            ([own, own], [1.0, 6.5], false),
            ([own, paired], [3.0, 2.0], true),
            ([own, paired], [3.0, 2.5], false),
            ([paired, own], [9.0, 6.0], true), // nothing is before the first
            ([own, own], [f32::NAN, 0.0], false),
            ([own, paired], [0.0, f32::INFINITY], false),
        ] {
            let holds = Bound::all_hold(&bounds, &magnitudes);
            assert_eq!(holds, expected, "{bounds:?} {magnitudes:?}");
        }
    }
}
