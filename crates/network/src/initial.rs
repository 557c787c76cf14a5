//! Initial weights and biases.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal, Uniform};
use serde::{Deserialize, Serialize};

/// How one parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// All the same.
    Constant(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
    /// Normal with deviation √(2 / fan-out): He et al. 2015, keeping the gradients' size.
    KaimingFanOut,
    /// Normal with deviation √(2 / fan-in): He et al. 2015, keeping the activations' size.
    KaimingFanIn,
    /// Uniform within ±1/√fan-in: PyTorch's default for weights and biases.
    UniformFanIn,
}

/// Whether a model starts as its table says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Initialisation {
    /// As the table says.
    #[default]
    Model,
    /// He (Kaiming) normal by fan-in for all weights, zero for all biases.
    He,
}

impl Initialisation {
    /// What `fill` becomes for weights.
    pub(crate) fn weights(self, fill: Fill) -> Fill {
        match self {
            Self::Model => fill,
            Self::He => Fill::KaimingFanIn,
        }
    }
    /// What `fill` becomes for biases.
    pub(crate) fn bias(self, fill: Fill) -> Fill {
        match self {
            Self::Model => fill,
            Self::He => Fill::Constant(0.0),
        }
    }
}

/// Inputs and outputs that one weight tensor connects, as PyTorch counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fans {
    /// Values summed for one output: R·S·C/groups.
    pub(crate) fan_in: usize,
    /// R·S·K.
    pub(crate) fan_out: usize,
}

/// `len` initial values. A pure function of its arguments: parameter `index` of a network has a
/// stream of its own.
pub(crate) fn initial_values(
    fill: Fill,
    fans: Fans,
    len: usize,
    seed: u64,
    index: u64,
) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(index);
    let mut normal = |deviation: f32| -> Vec<f32> {
        let unit = StandardNormal.sample_iter(&mut random);
        unit.take(len).map(|value: f32| value * deviation).collect()
    };
    let kaiming = |fan: usize| (2.0 / fan as f32).sqrt();
    match fill {
        Fill::Constant(value) => vec![value; len],
        Fill::Normal(deviation) => normal(deviation),
        Fill::KaimingFanOut => normal(kaiming(fans.fan_out)),
        Fill::KaimingFanIn => normal(kaiming(fans.fan_in)),
        Fill::UniformFanIn => {
            let bound = 1.0 / (fans.fan_in as f32).sqrt();
            match Uniform::new_inclusive(-bound, bound) {
                Ok(uniform) => uniform.sample_iter(&mut random).take(len).collect(),
                Err(_) => vec![0.0; len], // no inputs, no bound
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_values_have_the_deviation_their_rule_says() {
        let fans = Fans { fan_in: 50, fan_out: 200 };
        let cases = [
            (Fill::Constant(0.1), 0.0, 0.1),
            (Fill::Normal(0.01), 0.01, 0.0),
            (Fill::KaimingFanIn, 0.2, 0.0),
            (Fill::KaimingFanOut, 0.1, 0.0),
            (Fill::UniformFanIn, (1.0_f64 / 50.0 / 3.0).sqrt(), 0.0),
        ];
        for (fill, deviation, mean) in cases {
            let values = initial_values(fill, fans, 100_000, 3, 1);
            let found = values.iter().map(|&v| f64::from(v)).sum::<f64>() / 1e5;
            let squares = values.iter().map(|&v| (f64::from(v) - found).powi(2)).sum::<f64>();
            assert!((found - mean).abs() < 2e-3, "{fill:?}: mean {found}");
            assert!(
                ((squares / 1e5).sqrt() - deviation).abs() < 0.01 * deviation + 1e-6,
                "{fill:?}"
            );
        }
    }

    #[test]
    fn seed_and_index_each_give_other_values_and_the_same_give_the_same() {
        let fans = Fans { fan_in: 1, fan_out: 1 };
        let values = |seed, index| initial_values(Fill::Normal(1.0), fans, 8, seed, index);
        assert_eq!(values(1, 2), values(1, 2));
        assert_ne!(values(1, 2), values(2, 2));
        assert_ne!(values(1, 2), values(1, 3));
    }
}
