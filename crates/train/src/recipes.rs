//! The published ways to train these networks, each a table of every figure with its source.
//!
//! What is in a network's own table (initial weights and biases, dropout, local response
//! normalisation) stands in `alexnet_network`'s `models.rs`. Epochs are those of a whole run as
//! published; [`Recipe::schedule`] and [`Recipe::layer_rates`] bring them to a run of another length.

use std::borrow::Cow;

use alexnet_data::{Fit, View};
use alexnet_network::ModelName;
use alexnet_ops::UpdateRule;

use crate::config::{LayerRate, SgdConfig};
use crate::schedule::Schedule;

/// Every figure of a way to train.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The network it was published with, and its own name.
    pub model: ModelName,
    /// Where the figures are from.
    pub source: &'static str,
    /// Batch normalisation after each convolution.
    pub batch_norm: bool,

    /// How images of other shapes are brought to size.
    pub fit: Fit,
    /// What part of an image is shown in training.
    pub view: View,
    /// Images in a row that share a crop and a flip.
    pub shared_crops: u64,
    /// What is subtracted from pixels.
    pub mean: RecipeMean,
    /// Deviation of the noise along the principal colours; 0 is none.
    pub colour_noise: f32,
    /// Epochs with colour noise; `None` is all.
    pub colour_noise_epochs: Option<f64>,
    /// Crops that the published evaluation averages over.
    pub evaluation_crops: usize,

    /// Passes over the training images.
    pub epochs: u64,
    /// Images in a step.
    pub batch_size: usize,
    /// The update.
    pub sgd: SgdConfig,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// Epochs over which the rate rises to its first value.
    pub warmup_epochs: f64,
    /// Layers that do not learn at the common rate: name, factor, from which epoch on.
    pub layer_rates: &'static [(&'static str, f64, f64)],
    /// Share of the target that is spread over all classes.
    pub label_smoothing: f32,
}

/// What a recipe subtracts from pixels, and divides them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipeMean {
    /// The training images' mean, pixel by pixel, where the crop lies; no division.
    ImageAtCrop,
    /// The centre of that mean wherever the crop lies; no division.
    ImageCentre,
    /// ImageNet's mean and deviation of each colour.
    Imagenet,
}

/// The text of Krizhevsky, Sutskever and Hinton, NIPS 2012: batch, momentum and decay of §5; 90
/// cycles; the rate divided by 10 "when the validation error rate stopped improving", three times in
/// all, which is a plateau that waits; "an equal learning rate for all layers"; §4.1's crops of 227
/// of the 256-pixel centre, and its colour noise of deviation 0.1; ten crops at test time.
const PAPER: Recipe = Recipe {
    model: ModelName::Paper,
    source: "Krizhevsky, Sutskever, Hinton: NIPS 2012, sections 2, 4 and 5",
    batch_norm: false,
    fit: Fit::CentreSquare,
    view: View::RandomCrop,
    shared_crops: 1,
    mean: RecipeMean::ImageAtCrop, // "from each pixel" (§2), before crops are taken
    colour_noise: 0.1,
    colour_noise_epochs: None,
    evaluation_crops: 10,
    epochs: 90,
    batch_size: 128,
    sgd: SgdConfig {
        rule: UpdateRule::Paper,
        learning_rate: 0.01,
        momentum: 0.9,
        weight_decay: 5e-4,
        bias_rate_factor: 1.0,
        bias_decay_factor: 0.0,
    },
    schedule: Schedule::Plateau { patience: 5, gamma: 0.1 },
    warmup_epochs: 0.0,
    layer_rates: &[],
    label_smoothing: 0.0,
};

/// What differs from the paper in the code and logs of run #145 (computerhistory/AlexNet-Source-Code,
/// `layer-params-145.cfg` and its closing comments): biases learn twice as fast; the rate was cut by
/// hand at epochs 25, 51 and 79, and the run stopped at 91; conv1 was slowed at 67 and frozen at 72;
/// colour noise ended at 67. Mini-batches of 32 shared a crop; the mean did not move with it.
const ORIGINAL: Recipe = Recipe {
    model: ModelName::Original,
    source: "the 2012 code, config #145: layer-params-145.cfg and its log",
    shared_crops: 32,
    mean: RecipeMean::ImageCentre,
    colour_noise_epochs: Some(66.0),
    epochs: 91,
    sgd: SgdConfig { bias_rate_factor: 2.0, ..PAPER.sgd },
    schedule: Schedule::Drops { at: Cow::Borrowed(&[24.0, 50.0, 78.0]), gamma: 0.1 },
    layer_rates: &[("conv1", 0.1, 66.0), ("conv1", 0.0, 71.0)],
    ..PAPER
};

/// BVLC's `bvlc_alexnet`, `solver.prototxt` and `train_val.prototxt`: 450,000 iterations of 256
/// images, a tenth every 100,000; `lr_mult` 2 and `decay_mult` 0 for biases; images warped.
const CAFFE: Recipe = Recipe {
    model: ModelName::Caffe,
    source: "BVLC/caffe models/bvlc_alexnet: solver.prototxt, train_val.prototxt",
    fit: Fit::Warp,
    colour_noise: 0.0,
    evaluation_crops: 1,
    batch_size: 256,
    sgd: SgdConfig { bias_rate_factor: 2.0, ..PAPER.sgd },
    schedule: Schedule::Step { period: 20.0, gamma: 0.1 },
    ..PAPER
};

/// BVLC's `bvlc_reference_caffenet`: the same figures.
const CAFFENET: Recipe = Recipe {
    model: ModelName::Caffenet,
    source: "BVLC/caffe models/bvlc_reference_caffenet: solver.prototxt, train_val.prototxt",
    ..CAFFE
};

/// torchvision's `references/classification` as its README has it for AlexNet: `--lr 1e-2`, eight
/// processes of 32 images, a tenth every 30 of 90 epochs, decay 1e-4 of everything.
const TORCHVISION: Recipe = Recipe {
    model: ModelName::Torchvision,
    source: "pytorch/vision references/classification: README.md, train.py, presets.py",
    fit: Fit::ShorterSide,
    view: View::RandomResizedCrop,
    mean: RecipeMean::Imagenet,
    colour_noise: 0.0,
    evaluation_crops: 1,
    batch_size: 256,
    sgd: SgdConfig {
        rule: UpdateRule::PyTorch,
        weight_decay: 1e-4,
        bias_decay_factor: 1.0,
        ..PAPER.sgd
    },
    schedule: Schedule::Step { period: 30.0, gamma: 0.1 },
    ..PAPER
};

/// Today's usual form, for a few thousand images and more: batch normalisation with He's initial
/// values, a warm-up and half a cosine, decay of weights alone. Dropout and label smoothing were
/// varied in `records/2026-11-25-clothing-recipes`, at a quarter of the width only: there less
/// dropout is better, which says little of the whole network, so that the table's share stays.
const MODERN: Recipe = Recipe {
    model: ModelName::Modern,
    source: "this project: docs/recipes.md",
    batch_norm: true,
    epochs: 30,
    batch_size: 32,
    sgd: SgdConfig { weight_decay: 5e-4, bias_decay_factor: 0.0, ..TORCHVISION.sgd },
    schedule: Schedule::Cosine { floor: 0.0 },
    warmup_epochs: 1.0,
    ..TORCHVISION
};

impl Recipe {
    /// The recipe that was published with this model.
    #[must_use]
    pub fn of(model: ModelName) -> Self {
        match model {
            ModelName::Original => ORIGINAL,
            ModelName::Paper => PAPER,
            ModelName::Caffe => CAFFE,
            ModelName::Caffenet => CAFFENET,
            ModelName::Modern => MODERN,
            ModelName::Torchvision => TORCHVISION,
        }
    }

    /// How a run of `epochs` stretches what was published for [`Recipe::epochs`].
    fn stretch(&self, epochs: u64) -> f64 {
        epochs as f64 / self.epochs as f64
    }

    /// The schedule for a run of `epochs`: drops fall where they fell in proportion.
    #[must_use]
    pub fn schedule(&self, epochs: u64) -> Schedule {
        self.schedule.stretched(self.stretch(epochs))
    }

    /// The layers' own rates for a run of `epochs`.
    #[must_use]
    pub fn layer_rates(&self, epochs: u64) -> Vec<LayerRate> {
        let rate = |&(layer, factor, from): &(&str, f64, f64)| LayerRate {
            layer: layer.to_owned(),
            factor,
            from_epoch: from * self.stretch(epochs),
        };
        self.layer_rates.iter().map(rate).collect()
    }

    /// Epochs with colour noise in a run of `epochs`, to the nearest; `None` is all.
    #[must_use]
    pub fn colour_noise_epochs(&self, epochs: u64) -> Option<u64> {
        let nearest = |published: f64| (published * self.stretch(epochs)).round().max(1.0) as u64;
        self.colour_noise_epochs.map(nearest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_another_length_drops_its_rate_where_the_published_one_did_in_proportion() {
        let original = Recipe::of(ModelName::Original);
        assert_eq!(original.schedule(91), original.schedule);
        let half = original.schedule(45);
        let Schedule::Drops { at, gamma: 0.1 } = &half else { panic!("{half:?}") };
        let shares: Vec<f64> = at.iter().map(|at| (at / 45.0 * 91.0).round()).collect();
        assert_eq!(shares, [24.0, 50.0, 78.0]);
        assert_eq!(original.colour_noise_epochs(91), Some(66));
        assert_eq!(original.colour_noise_epochs(30), Some(22));
        let frozen = &original.layer_rates(182)[1];
        assert_eq!((&*frozen.layer, frozen.factor, frozen.from_epoch), ("conv1", 0.0, 142.0));
        assert_eq!(
            Recipe::of(ModelName::Torchvision).schedule(30),
            Schedule::Step { period: 10.0, gamma: 0.1 }
        );
        // A plateau knows no length.
        assert_eq!(Recipe::of(ModelName::Paper).schedule(30), PAPER.schedule);
    }
}
