//! What settings mean to those that act on them: training, its saving, the pixels, the device.

use std::time::Duration;

use alexnet_data::{Augment, ColourNoise, Preprocess, View};
use alexnet_network::{Initialisation, Model, ModelConfig, ModelName};
use alexnet_ops::UpdateRule;
use alexnet_train::{Saving, Schedule, SgdConfig, TrainConfig};

use super::{Settings, UsageError};
use crate::device::DeviceFlags;
use crate::flags::{AugmentName, InitName, RuleName, SchedulerName};
use crate::layer_rates::of_layers;
use crate::normalisation::Normalisation;

impl Settings {
    /// How pixels are normalised.
    pub(crate) fn normalisation(&self) -> Normalisation {
        let Self { mean, std, colour_noise_from, .. } = *self;
        let colours = (self.colour_noise > 0.0).then_some(colour_noise_from);
        Normalisation { mean, std, colours }
    }

    /// What to compute, for so many classes. What [`Settings::normalisation`] has of the training
    /// images is yet to come.
    ///
    /// # Errors
    /// When a flag names a layer that the model has not.
    pub(crate) fn train_config(&self, classes: usize) -> Result<TrainConfig, UsageError> {
        let (mean, std) = self.normalisation().levels();
        let model = ModelConfig {
            model: self.model,
            classes,
            image_size: self.image_size,
            width: self.width,
            batch_norm: self.batch_norm,
            dropout: self.dropout,
        };
        let layer_rates = match Model::new(model) {
            Ok(model) => of_layers(&self.freeze, &self.layer_lr, &model.learned_layers()),
            Err(_) => Ok(Vec::new()), // it is refused with a reason when it is planned
        };
        Ok(TrainConfig {
            model,
            layer_rates: layer_rates.map_err(UsageError)?,
            patience: (self.patience > 0).then_some(self.patience),
            label_smoothing: self.label_smoothing,
            micro_batch: self.micro_batch,
            layer_wise_trust: (self.lars > 0.0).then_some(self.lars),
            initialisation: match self.init {
                InitName::Model => Initialisation::Model,
                InitName::He => Initialisation::He,
            },
            seed: self.seed,
            epochs: self.epochs,
            batch_size: self.batch_size,
            sgd: SgdConfig {
                rule: match self.update_rule {
                    RuleName::Paper => UpdateRule::Paper,
                    RuleName::Pytorch => UpdateRule::PyTorch,
                },
                learning_rate: self.lr,
                momentum: self.momentum,
                weight_decay: self.weight_decay,
                bias_rate_factor: self.bias_lr_factor,
                bias_decay_factor: self.bias_decay_factor,
            },
            schedule: self.schedule(),
            warmup_epochs: self.warmup_epochs,
            augment: self.augment(),
            preprocess: Preprocess {
                fit: self.fit.into(),
                resize: pixels(self.resize_size),
                crop: pixels(self.image_size),
                mean,
                std,
                mean_image: None,
            },
        })
    }

    fn augment(&self) -> Augment {
        let view = match self.augment {
            AugmentName::None => View::Centre,
            AugmentName::RandomCrop => View::RandomCrop,
            AugmentName::RandomResizedCrop => View::RandomResizedCrop,
        };
        let epochs = (self.colour_noise_epochs > 0).then_some(self.colour_noise_epochs);
        let scaled = self.recipe == ModelName::Original;
        let colour = ColourNoise::imagenet(self.colour_noise, scaled, epochs);
        Augment {
            view,
            shared: self.shared_crops,
            colour: (self.colour_noise > 0.0).then_some(colour),
        }
    }

    fn schedule(&self) -> Schedule {
        let (period, gamma) = (self.lr_step_size, self.lr_gamma);
        let floor = self.lr_min / self.lr.max(f64::MIN_POSITIVE);
        match self.lr_scheduler {
            SchedulerName::Constant => Schedule::Constant,
            SchedulerName::Step => Schedule::Step { period, gamma },
            SchedulerName::Drops => Schedule::Drops { at: self.lr_drops.0.clone().into(), gamma },
            SchedulerName::ExponentialSteps => {
                Schedule::ExponentialSteps { steps: self.lr_steps, floor }
            }
            SchedulerName::Polynomial => Schedule::Polynomial { power: self.lr_power, floor },
            SchedulerName::Plateau => Schedule::Plateau { patience: self.lr_patience, gamma },
            SchedulerName::Cosine => Schedule::Cosine { floor },
            SchedulerName::WarmRestarts => {
                Schedule::WarmRestarts { period, growth: self.lr_cycle_growth, floor }
            }
        }
    }

    /// When the run is saved, and what is kept.
    pub(crate) fn saving(&self) -> Saving {
        let by_time = self.save_every_minutes > 0.0;
        Saving {
            every_steps: self.save_every_steps,
            every: by_time.then(|| Duration::from_secs_f64(self.save_every_minutes * 60.0)),
            kept: self.checkpoint_hist,
        }
    }

    /// The share of the training images that is set aside to measure with.
    pub(crate) fn val_fraction(&self) -> Option<f64> {
        (self.val_fraction > 0.0).then_some(self.val_fraction)
    }

    /// Device, threads and precision.
    pub(crate) fn device_flags(&self) -> DeviceFlags {
        let Self { device, threads, precision, .. } = *self;
        DeviceFlags { device, threads, precision }
    }
}

/// A size in pixels; one too large for any image stays too large.
fn pixels(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use crate::flags::TrainFlags;
    use crate::settings::tests::decide;

    #[test]
    fn layers_that_are_not_there_are_refused_by_flag_and_frozen_ones_stay() {
        let frozen = "conv".parse().expect("layers");
        let flags = TrainFlags { freeze: Some(frozen), ..TrainFlags::default() };
        let config = decide(&flags).expect("decided").train_config(2).expect("a configuration");
        assert!(config.is_frozen("conv5") && !config.is_frozen("fc6"));
        let flags = TrainFlags { freeze: Some("fc9".parse().expect("layers")), ..flags };
        let error = decide(&flags).expect_err("refused");
        assert!(error.0.starts_with("--freeze names \"fc9\": it must be one of conv1"), "{error}");
    }
}
