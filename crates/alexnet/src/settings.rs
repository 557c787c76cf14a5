//! Every setting of a training run, decided: what was typed, or else the model's default.
//!
//! Written as `args.toml` beside a run's results; read back as [`TrainFlags`], it repeats the run.

mod defaults;
mod limits;
mod meaning;
mod typed;

use std::path::PathBuf;

use alexnet_network::ModelName;
use alexnet_train::Saving;
use serde::Serialize;

use self::defaults::{Defaults, EXPONENTIAL_STEPS};
use crate::device::{DeviceName, PrecisionName};
use crate::flags::{AugmentName, FitName, InitName, RuleName, SchedulerName, TrainFlags};
use crate::layer_rates::{EpochList, LayerRates, Layers};
use crate::normalisation::{ColoursOf, Levels, Mean};

/// Time between two saves unless told: the most that is lost.
const SAVE_EVERY_MINUTES: f64 = 10.0;
/// More loader threads than this are of no use before decoding is the limit.
const WORKERS_MAX: usize = 8;

/// A value that was typed makes no sense.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// The flags of the same names, each with a value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Settings {
    pub(crate) data: PathBuf,
    /// What the run begins from, if not from nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weights: Option<PathBuf>,
    pub(crate) seed: u64,
    pub(crate) device: DeviceName,
    pub(crate) threads: usize,
    pub(crate) precision: PrecisionName,
    pub(crate) workers: usize,
    pub(crate) save_every_steps: u64,
    /// 0 means never.
    pub(crate) save_every_minutes: f64,
    pub(crate) checkpoint_hist: usize,
    pub(crate) print_freq: usize,
    pub(crate) recipe: ModelName,
    pub(crate) model: ModelName,
    pub(crate) batch_norm: bool,
    pub(crate) width: f32,
    /// `None`: as the model's table says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dropout: Option<f32>,
    pub(crate) init: InitName,
    /// 0 means none.
    pub(crate) val_fraction: f64,
    pub(crate) image_size: usize,
    pub(crate) resize_size: usize,
    pub(crate) fit: FitName,
    pub(crate) augment: AugmentName,
    pub(crate) shared_crops: u64,
    pub(crate) mean: Mean,
    pub(crate) std: Levels,
    /// 0 means none.
    pub(crate) colour_noise: f32,
    pub(crate) colour_noise_from: ColoursOf,
    /// 0 means all.
    pub(crate) colour_noise_epochs: u64,
    /// `None`: as many as the data set's size allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_unreadable: Option<u64>,
    pub(crate) epochs: u64,
    pub(crate) batch_size: usize,
    pub(crate) update_rule: RuleName,
    pub(crate) lr: f64,
    pub(crate) momentum: f64,
    pub(crate) weight_decay: f64,
    pub(crate) bias_lr_factor: f64,
    pub(crate) bias_decay_factor: f64,
    /// `None`: the batch at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) micro_batch: Option<usize>,
    pub(crate) label_smoothing: f32,
    /// 0 means none.
    pub(crate) lars: f64,
    pub(crate) freeze: Layers,
    pub(crate) layer_lr: LayerRates,
    /// 0 means for ever.
    pub(crate) patience: u64,
    pub(crate) lr_scheduler: SchedulerName,
    pub(crate) lr_step_size: f64,
    pub(crate) lr_drops: EpochList,
    pub(crate) lr_gamma: f64,
    pub(crate) lr_patience: u64,
    pub(crate) lr_cycle_growth: f64,
    pub(crate) lr_steps: u64,
    pub(crate) lr_power: f64,
    pub(crate) lr_min: f64,
    pub(crate) warmup_epochs: f64,
}

impl Settings {
    /// What `flags` leave empty, decided.
    ///
    /// # Errors
    /// When a value makes no sense; the message names its flag.
    pub(crate) fn decide(flags: &TrainFlags, data: PathBuf) -> Result<Self, UsageError> {
        let defaults = Defaults::of(flags);
        let Defaults { recipe, rates, model, image_size, .. } = defaults;
        let epochs = flags.epochs.unwrap_or(recipe.epochs);
        let saving = Saving::default();
        let settings = Self {
            data,
            weights: flags.weights.clone(),
            seed: flags.seed.unwrap_or(0),
            device: flags.device.unwrap_or_default(),
            threads: flags.threads.unwrap_or(0),
            precision: flags.precision.unwrap_or_default(),
            workers: flags.workers.unwrap_or(crate::machine::cores().min(WORKERS_MAX)),
            save_every_steps: flags.save_every_steps.unwrap_or(saving.every_steps),
            save_every_minutes: flags.save_every_minutes.unwrap_or(SAVE_EVERY_MINUTES),
            checkpoint_hist: flags.checkpoint_hist.unwrap_or(saving.kept),
            print_freq: flags.print_freq.unwrap_or(10),
            recipe: recipe.model,
            model,
            batch_norm: flags.batch_norm.unwrap_or(recipe.batch_norm && model == recipe.model),
            dropout: flags.dropout,
            width: flags.width.unwrap_or(1.0),
            init: flags.init.unwrap_or(InitName::Model),
            val_fraction: flags.val_fraction.unwrap_or(0.0),
            image_size,
            resize_size: flags.resize_size.unwrap_or(defaults.resize_size),
            fit: defaults.fit,
            augment: defaults.augment,
            shared_crops: flags.shared_crops.unwrap_or(recipe.shared_crops),
            mean: flags.mean.unwrap_or(defaults.mean),
            std: flags.std.unwrap_or(defaults.std),
            colour_noise: flags.colour_noise.unwrap_or(recipe.colour_noise),
            colour_noise_from: flags.colour_noise_from.unwrap_or(defaults.colours),
            colour_noise_epochs: flags
                .colour_noise_epochs
                .unwrap_or(recipe.colour_noise_epochs(epochs).unwrap_or(0)),
            max_unreadable: flags.max_unreadable,
            epochs,
            batch_size: flags.batch_size.unwrap_or(recipe.batch_size),
            update_rule: flags.update_rule.unwrap_or(recipe.sgd.rule.into()),
            lr: flags.lr.unwrap_or(recipe.sgd.learning_rate),
            momentum: flags.momentum.unwrap_or(recipe.sgd.momentum),
            weight_decay: flags.weight_decay.unwrap_or(recipe.sgd.weight_decay),
            bias_lr_factor: flags.bias_lr_factor.unwrap_or(recipe.sgd.bias_rate_factor),
            bias_decay_factor: flags.bias_decay_factor.unwrap_or(recipe.sgd.bias_decay_factor),
            micro_batch: flags.micro_batch,
            label_smoothing: flags.label_smoothing.unwrap_or(recipe.label_smoothing),
            lars: flags.lars.unwrap_or(0.0),
            freeze: flags.freeze.clone().unwrap_or_default(),
            layer_lr: flags.layer_lr.clone().unwrap_or(LayerRates(recipe.layer_rates(epochs))),
            patience: flags.patience.unwrap_or(0),
            lr_scheduler: rates.scheduler,
            lr_step_size: flags.lr_step_size.unwrap_or(rates.period),
            lr_drops: flags.lr_drops.clone().unwrap_or(EpochList(rates.drops)),
            lr_gamma: flags.lr_gamma.unwrap_or(0.1),
            lr_patience: flags.lr_patience.unwrap_or(rates.patience),
            lr_cycle_growth: flags.lr_cycle_growth.unwrap_or(2.0),
            lr_steps: flags.lr_steps.unwrap_or(EXPONENTIAL_STEPS),
            lr_power: flags.lr_power.unwrap_or(1.0),
            lr_min: flags.lr_min.unwrap_or(defaults.lr_min),
            warmup_epochs: flags.warmup_epochs.unwrap_or(recipe.warmup_epochs),
        };
        settings.check()?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn decide(flags: &TrainFlags) -> Result<Settings, UsageError> {
        Settings::decide(flags, "photos".into())
    }

    #[test]
    fn settings_come_back_from_their_own_file() {
        for model in ModelName::ALL {
            let flags = TrainFlags { model: Some(model), ..TrainFlags::default() };
            let settings = decide(&flags).expect("decided");
            let file = tempfile::NamedTempFile::new().expect("a file");
            let text = toml::to_string(&settings).expect("text");
            std::fs::write(file.path(), text).expect("written");
            let again = TrainFlags::default().over(file.path()).expect("read");
            assert_eq!(again.data, Some("photos".into()));
            assert_eq!(decide(&again).expect("decided"), settings, "{model}");
        }
    }
}
