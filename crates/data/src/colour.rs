//! Colours shifted along the directions in which the training images' colours differ (paper §4.1).

use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::random::{Purpose, generator};

/// Noise along the principal components of the training images' colours: to every pixel of an image
/// is added `Σ αᵢ σᵢ pᵢ`, where each `αᵢ` is drawn once an image from a normal distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColourNoise {
    /// The deviation of each `α`: 0.1 in the paper.
    pub sigma: f32,
    /// `σᵢ pᵢ`, one row a component: red, green, blue, in grey levels.
    pub components: [[f32; 3]; 3],
    /// Whether the image is then divided by `1 + sigma`, as in the 2012 code.
    pub scaled: bool,
    /// Only in the first so many epochs: 66 in the 2012 run.
    pub epochs: Option<u64>,
}

/// What is done to the colours of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tint {
    /// Added to red, green and blue, in grey levels.
    pub(crate) shift: [f32; 3],
    /// What is left once the mean is subtracted is divided by this.
    pub(crate) divisor: f32,
}

impl Tint {
    pub(crate) const NONE: Tint = Tint { shift: [0.0; 3], divisor: 1.0 };
}

impl ColourNoise {
    /// The components of the ILSVRC-2012 training images as cuda-convnet2 ships them
    /// (`make-data/input_meta`: `color_pca`): unit vectors and deviations.
    #[must_use]
    pub fn imagenet(sigma: f32, scaled: bool, epochs: Option<u64>) -> Self {
        let deviations = [121.780_06, 37.093_89, 19.720_833];
        let directions = [
            [-0.563_510_5, -0.576_184_4, -0.592_003],
            [-0.712_579_4, -0.023_541_67, 0.701_196_3],
            [0.417_955_13, -0.816_980_6, 0.397_311_18],
        ];
        let row = |i: usize| directions[i].map(|part: f32| part * deviations[i]);
        Self { sigma, components: [row(0), row(1), row(2)], scaled, epochs }
    }

    /// The draw of one image: the same for the same arguments.
    pub(crate) fn draw(&self, seed: u64, epoch: u64, sample: u64) -> Tint {
        if self.epochs.is_some_and(|epochs| epoch >= epochs) {
            return Tint::NONE;
        }
        let mut random = generator(seed, Purpose::Colour, epoch, sample);
        let mut shift = [0.0; 3];
        for component in self.components {
            let drawn: f32 = StandardNormal.sample(&mut random);
            let alpha = drawn * self.sigma;
            shift.iter_mut().zip(component).for_each(|(shift, part)| *shift += alpha * part);
        }
        Tint { shift, divisor: if self.scaled { 1.0 + self.sigma } else { 1.0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The covariance of the shifts is `σ² Σ cᵢ cᵢᵀ`.
    #[test]
    fn shifts_are_distributed_along_the_components() {
        let noise = ColourNoise::imagenet(0.1, true, Some(3));
        let draws: Vec<[f32; 3]> =
            (0..20_000).map(|sample| noise.draw(5, 1, sample).shift).collect();
        let count = draws.len() as f64;
        for a in 0..3 {
            let mean = draws.iter().map(|shift| f64::from(shift[a])).sum::<f64>() / count;
            assert!(mean.abs() < 0.2, "colour {a}: mean {mean}");
            for b in 0..3 {
                let found =
                    draws.iter().map(|s| f64::from(s[a]) * f64::from(s[b])).sum::<f64>() / count;
                let products = noise.components.map(|c| f64::from(c[a]) * f64::from(c[b]));
                let expected = 0.01 * products.iter().sum::<f64>();
                // Five standard errors of a covariance of 20,000 draws.
                let close = (found - expected).abs() < 0.05 * 75.0;
                assert!(close, "colours {a} and {b}: {found} against {expected}");
            }
        }
    }

    #[test]
    fn a_draw_depends_on_seed_epoch_and_sample_and_ends_with_its_epochs() {
        let noise = ColourNoise::imagenet(0.1, true, Some(3));
        let first = noise.draw(5, 1, 7);
        assert_eq!(first, noise.draw(5, 1, 7));
        assert_eq!(first.divisor, 1.1);
        for (seed, epoch, sample) in [(6, 1, 7), (5, 2, 7), (5, 1, 8)] {
            assert_ne!(first, noise.draw(seed, epoch, sample), "{seed} {epoch} {sample}");
        }
        assert_eq!(noise.draw(5, 3, 7), Tint::NONE);
    }
}
