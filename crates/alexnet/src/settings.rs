//! Every setting of a training run, decided: what was typed, or else the model's default.
//!
//! Written as `args.toml` beside a run's results; read back as [`TrainFlags`], it repeats the run.

use std::path::PathBuf;
use std::time::Duration;

use alexnet_data::{Augment, ColourNoise, MeanPart, Preprocess, View};
use alexnet_network::{BATCH_MAX, Initialisation, Model, ModelConfig, ModelName};
use alexnet_ops::UpdateRule;
use alexnet_train::{Recipe, RecipeMean, Saving, Schedule, SgdConfig, TrainConfig};
use serde::Serialize;

use crate::arguments::{THREADS_MAX, VAL_FRACTION_MAX};
use crate::device::{DeviceFlags, DeviceName, PrecisionName};
use crate::flags::{AugmentName, FitName, InitName, RuleName, SchedulerName, TrainFlags};
use crate::layer_rates::{EpochList, LayerRates, Layers, of_layers};
use crate::normalisation::{ColoursOf, Levels, Mean, NO_SCALING, Normalisation};

/// Largest learning rate, decay or factor: far beyond any that trains, and well within `f32`.
const RATE_MAX: f64 = 1e6;
/// Most of a target that is spread: beyond, the label is hardly a hint.
const SMOOTHING_MAX: f64 = 0.9;
/// Longest run and longest period.
const EPOCHS_MAX: f64 = 1e6;
/// Shortest time between drops or of a cycle: shorter ones would only burn time in counting cycles.
const PERIOD_MIN_EPOCHS: f64 = 0.01;
/// First cycle of warm restarts unless told, as SGDR's authors have it on CIFAR.
const FIRST_CYCLE_EPOCHS: f64 = 10.0;
/// Epochs a plateau waits unless told.
const PLATEAU_EPOCHS: u64 = 5;
/// Rates of `exponential-steps` unless told, and how far they fall: cuda-convnet2's for AlexNet.
const EXPONENTIAL_STEPS: u64 = 4;
const EXPONENTIAL_FALL: f64 = 250.0;
/// Time between two saves unless told: the most that is lost.
const SAVE_EVERY_MINUTES: f64 = 10.0;
/// Longest time between two saves: a year.
const MINUTES_MAX: f64 = 366.0 * 24.0 * 60.0;
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

    fn check(&self) -> Result<(), UsageError> {
        let rules = [
            ("epochs", self.epochs as f64, 1.0, EPOCHS_MAX),
            ("val-fraction", self.val_fraction, 0.0, VAL_FRACTION_MAX),
            ("lr", self.lr, 0.0, RATE_MAX),
            ("shared-crops", self.shared_crops as f64, 1.0, EPOCHS_MAX),
            ("colour-noise", self.colour_noise.into(), 0.0, RATE_MAX),
            ("momentum", self.momentum, 0.0, 1.0),
            ("weight-decay", self.weight_decay, 0.0, RATE_MAX),
            ("bias-lr-factor", self.bias_lr_factor, 0.0, RATE_MAX),
            ("bias-decay-factor", self.bias_decay_factor, 0.0, RATE_MAX),
            ("lr-step-size", self.lr_step_size, PERIOD_MIN_EPOCHS, EPOCHS_MAX),
            ("label-smoothing", self.label_smoothing.into(), 0.0, SMOOTHING_MAX),
            ("lars", self.lars, 0.0, RATE_MAX),
            ("lr-gamma", self.lr_gamma, 0.0, 1.0),
            ("lr-steps", self.lr_steps as f64, 1.0, EPOCHS_MAX),
            ("lr-power", self.lr_power, 0.0, RATE_MAX),
            ("lr-cycle-growth", self.lr_cycle_growth, 1.0, EPOCHS_MAX),
            ("lr-min", self.lr_min, 0.0, self.lr),
            ("warmup-epochs", self.warmup_epochs, 0.0, EPOCHS_MAX),
            ("batch-size", self.batch_size as f64, 1.0, BATCH_MAX as f64),
            ("save-every-minutes", self.save_every_minutes, 0.0, MINUTES_MAX),
            ("checkpoint-hist", self.checkpoint_hist as f64, 1.0, f64::INFINITY),
            ("print-freq", self.print_freq as f64, 1.0, f64::INFINITY),
            ("threads", self.threads as f64, 0.0, THREADS_MAX as f64),
            ("workers", self.workers as f64, 0.0, THREADS_MAX as f64),
        ];
        for (flag, value, least, most) in rules {
            if !(least..=most).contains(&value) {
                let problem =
                    format!("--{flag} is {value}: it must lie between {least} and {most}");
                return Err(UsageError(problem));
            }
        }
        if self.resize_size < self.image_size {
            return Err(UsageError(format!(
                "--resize-size is {}: it must be at least the image size, {}",
                self.resize_size, self.image_size
            )));
        }
        if matches!(self.mean, Mean::Image(_)) && !has_mean_image(self.fit, self.augment) {
            return Err(UsageError(format!(
                "--mean is {}: it needs --fit centre-square or warp, and --augment random-crop or \
                 none",
                self.mean
            )));
        }
        let of_weights = [
            ("mean", self.mean == Mean::Levels(Levels::Weights)),
            ("std", self.std == Levels::Weights),
        ];
        if let Some((flag, _)) = of_weights.iter().find(|of| of.1 && self.weights.is_none()) {
            return Err(UsageError(format!("--{flag} is weights, but there are no --weights")));
        }
        Ok(())
    }

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

/// Whether images and crops are such that each pixel of a crop has a mean.
fn has_mean_image(fit: FitName, augment: AugmentName) -> bool {
    fit != FitName::ShorterSide && augment != AugmentName::RandomResizedCrop
}

/// What holds where flags are empty, as far as it depends on others that are not.
struct Defaults {
    recipe: Recipe,
    model: ModelName,
    image_size: usize,
    resize_size: usize,
    rates: Rates,
    lr_min: f64,
    fit: FitName,
    augment: AugmentName,
    mean: Mean,
    std: Levels,
    colours: ColoursOf,
}

impl Defaults {
    fn of(flags: &TrainFlags) -> Self {
        let recipe = Recipe::of(flags.recipe.or(flags.model).unwrap_or(ModelName::Modern));
        let model = flags.model.unwrap_or(recipe.model);
        let native = model.native_image_size();
        let image_size = flags.image_size.unwrap_or(native);
        // 256 as everywhere since 2012, or as much in proportion.
        let resize_size =
            if image_size == native { 256 } else { image_size.saturating_mul(8).div_ceil(7) };
        let mut rates = Rates::of(&recipe, flags.epochs.unwrap_or(recipe.epochs));
        rates.scheduler = flags.lr_scheduler.unwrap_or(rates.scheduler);
        if rates.scheduler == SchedulerName::WarmRestarts {
            rates.period = FIRST_CYCLE_EPOCHS;
        }
        let lr_min = match rates.scheduler {
            SchedulerName::ExponentialSteps => {
                flags.lr.unwrap_or(recipe.sgd.learning_rate) / EXPONENTIAL_FALL
            }
            _ => 0.0,
        };
        let fit = flags.fit.unwrap_or(recipe.fit.into());
        let augment = flags.augment.unwrap_or(recipe.view.into());
        let (mean, std, colours) = colours_of(recipe.mean);
        let mean = match mean {
            // As near as it gets where there is no mean image.
            Mean::Image(_) if !has_mean_image(fit, augment) => Mean::Levels(Levels::Data),
            mean => mean,
        };
        Self {
            recipe,
            model,
            image_size,
            resize_size,
            rates,
            lr_min,
            fit,
            augment,
            mean,
            std,
            colours,
        }
    }
}

/// What a recipe's schedule says to each flag, for a run of so many epochs.
struct Rates {
    scheduler: SchedulerName,
    period: f64,
    drops: Vec<f64>,
    patience: u64,
}

impl Rates {
    fn of(recipe: &Recipe, epochs: u64) -> Self {
        let mut rates = Self {
            scheduler: SchedulerName::Constant,
            period: epochs as f64 / 3.0, // the rate drops twice, as torchvision's
            drops: Vec::new(),
            patience: PLATEAU_EPOCHS,
        };
        rates.scheduler = match recipe.schedule(epochs) {
            Schedule::Constant => SchedulerName::Constant,
            Schedule::Step { period, .. } => {
                rates.period = period;
                SchedulerName::Step
            }
            Schedule::Drops { at, .. } => {
                rates.drops = at.into_owned();
                SchedulerName::Drops
            }
            Schedule::ExponentialSteps { .. } => SchedulerName::ExponentialSteps,
            Schedule::Polynomial { .. } => SchedulerName::Polynomial,
            Schedule::Plateau { patience, .. } => {
                rates.patience = patience;
                SchedulerName::Plateau
            }
            Schedule::Cosine { .. } => SchedulerName::Cosine,
            Schedule::WarmRestarts { .. } => SchedulerName::WarmRestarts,
        };
        rates
    }
}

/// What a recipe's mean says to `--mean`, `--std` and `--colour-noise-from`.
fn colours_of(mean: RecipeMean) -> (Mean, Levels, ColoursOf) {
    match mean {
        RecipeMean::ImageAtCrop => (Mean::Image(MeanPart::Crop), NO_SCALING, ColoursOf::Data),
        RecipeMean::ImageCentre => (Mean::Image(MeanPart::Centre), NO_SCALING, ColoursOf::Data),
        RecipeMean::Imagenet => {
            (Mean::Levels(Levels::Imagenet), Levels::Imagenet, ColoursOf::Imagenet)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(flags: &TrainFlags) -> Result<Settings, UsageError> {
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

    #[test]
    fn defaults_are_the_published_recipes_main_figures() {
        use ModelName::{Caffe, Original, Paper, Torchvision};
        use SchedulerName::{Drops, Plateau, Step};
        // model, epochs, batch, decay, bias rate and decay factors, schedule, resize, crop
        let cases = [
            (Original, 91, 128, 5e-4, 2.0, 0.0, Drops, 256, 224),
            (Paper, 90, 128, 5e-4, 1.0, 0.0, Plateau, 256, 227),
            (Caffe, 90, 256, 5e-4, 2.0, 0.0, Step, 256, 227),
            (Torchvision, 90, 256, 1e-4, 1.0, 1.0, Step, 256, 224),
        ];
        for (model, epochs, batch, decay, bias_rate, bias_decay, schedule, resize, crop) in cases {
            let flags = TrainFlags { model: Some(model), ..TrainFlags::default() };
            let s = decide(&flags).expect("decided");
            assert_eq!(
                (s.epochs, s.batch_size, s.resize_size, s.image_size),
                (epochs, batch, resize, crop),
                "{model}"
            );
            assert_eq!(
                (s.weight_decay, s.bias_lr_factor, s.bias_decay_factor, s.lr_scheduler),
                (decay, bias_rate, bias_decay, schedule),
                "{model}"
            );
        }
    }

    #[test]
    fn a_recipe_holds_for_another_model_and_what_is_typed_holds_above_it() {
        let flags = TrainFlags {
            recipe: Some(ModelName::Original),
            model: Some(ModelName::Modern),
            lr: Some(0.02),
            ..TrainFlags::default()
        };
        let s = decide(&flags).expect("decided");
        assert_eq!((s.recipe, s.model), (ModelName::Original, ModelName::Modern));
        assert_eq!((s.batch_norm, s.image_size), (false, 224));
        assert_eq!((s.shared_crops, s.lr, s.lr_drops.to_string()), (32, 0.02, "24,50,78".into()));
        assert_eq!(s.layer_lr.to_string(), "conv1=0.1@66,conv1=0@71");
        let config = s.train_config(10).expect("a configuration");
        let factors = [65.9, 66.0, 71.0].map(|position| config.layer_factor("conv1", position));
        assert_eq!((factors, config.layer_factor("conv2", 80.0)), ([1.0, 0.1, 0.0], 1.0));
        // A third of the epochs: the drops come in a third of the time.
        let flags = TrainFlags { epochs: Some(30), ..flags };
        let s = decide(&flags).expect("decided");
        assert_eq!(s.colour_noise_epochs, 22);
        assert!((s.lr_drops.0[0] - 24.0 / 91.0 * 30.0).abs() < 1e-9, "{:?}", s.lr_drops);
    }

    #[test]
    fn layers_that_are_not_there_are_refused_by_flag_and_frozen_ones_stay() {
        let frozen = "conv".parse().expect("layers");
        let flags = TrainFlags { freeze: Some(frozen), ..TrainFlags::default() };
        let config = decide(&flags).expect("decided").train_config(2).expect("a configuration");
        assert!(config.is_frozen("conv5") && !config.is_frozen("fc6"));
        let flags = TrainFlags { freeze: Some("fc9".parse().expect("layers")), ..flags };
        let error = decide(&flags).expect("decided").train_config(2).expect_err("refused");
        assert!(error.0.starts_with("--freeze names \"fc9\": it must be one of conv1"), "{error}");
    }

    #[test]
    fn means_are_the_published_ones_where_images_and_crops_allow_it() {
        use ModelName::{Caffe, Caffenet, Modern, Original, Paper, Torchvision};
        let flags = |model| TrainFlags { model: Some(model), ..TrainFlags::default() };
        for (model, mean, std, colours) in [
            (Original, "image-centre", "1,1,1", ColoursOf::Data),
            (Paper, "image", "1,1,1", ColoursOf::Data),
            (Caffe, "image", "1,1,1", ColoursOf::Data),
            (Caffenet, "image", "1,1,1", ColoursOf::Data),
            (Modern, "imagenet", "imagenet", ColoursOf::Imagenet),
            (Torchvision, "imagenet", "imagenet", ColoursOf::Imagenet),
        ] {
            let s = decide(&flags(model)).expect("decided");
            assert_eq!(
                (s.mean.to_string(), s.std.to_string()),
                (mean.into(), std.into()),
                "{model}"
            );
            assert_eq!(s.colour_noise_from, colours, "{model}");
        }
        let anywhere = TrainFlags { fit: Some(FitName::ShorterSide), ..flags(Paper) };
        assert_eq!(decide(&anywhere).expect("decided").mean, Mean::Levels(Levels::Data));
        let typed = TrainFlags { mean: Some(Mean::Image(MeanPart::Crop)), ..anywhere };
        let refused = decide(&typed).expect_err("refused").to_string();
        assert!(refused.starts_with("--mean is image: it needs --fit"), "{refused}");
    }

    #[test]
    fn values_out_of_range_are_refused_by_flag() {
        let none = TrainFlags::default;
        let cases = [
            (TrainFlags { momentum: Some(1.5), ..none() }, "--momentum"),
            (TrainFlags { lr: Some(-1.0), ..none() }, "--lr"),
            (TrainFlags { lr: Some(f64::NAN), ..none() }, "--lr"),
            (TrainFlags { resize_size: Some(100), ..none() }, "--resize-size"),
            (TrainFlags { epochs: Some(0), ..none() }, "--epochs"),
            (TrainFlags { threads: Some(1 << 20), ..none() }, "--threads"),
            (TrainFlags { print_freq: Some(0), ..none() }, "--print-freq"),
            (TrainFlags { lr_steps: Some(0), ..none() }, "--lr-steps"),
            (TrainFlags { mean: Some(Mean::Levels(Levels::Weights)), ..none() }, "--mean"),
            (TrainFlags { lr_step_size: Some(1e-300), ..none() }, "--lr-step-size"),
        ];
        for (flags, named) in cases {
            let error = decide(&flags).expect_err(named).to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
