//! Every setting of a training run, decided: what was typed, or else the model's default.
//!
//! Written as `args.toml` beside a run's results; read back as [`TrainFlags`], it repeats the run.

use std::path::PathBuf;
use std::time::Duration;

use alexnet_data::{Augment, ColourNoise, MeanPart, Preprocess, View};
use alexnet_network::{BATCH_MAX, Initialisation, ModelConfig, ModelName};
use alexnet_ops::UpdateRule;
use alexnet_train::{Saving, Schedule, SgdConfig, TrainConfig};
use serde::Serialize;

use crate::arguments::{THREADS_MAX, VAL_FRACTION_MAX};
use crate::device::{DeviceFlags, DeviceName, PrecisionName};
use crate::flags::{AugmentName, FitName, InitName, RuleName, SchedulerName, TrainFlags};
use crate::normalisation::{ColoursOf, Levels, Mean, NO_SCALING, Normalisation};

/// Largest learning rate, decay or factor: far beyond any that trains, and well within `f32`.
const RATE_MAX: f64 = 1e6;
/// Longest run and longest period.
const EPOCHS_MAX: f64 = 1e6;
/// Shortest time between drops or of a cycle: shorter ones would only burn time in counting cycles.
const PERIOD_MIN_EPOCHS: f64 = 0.01;
/// First cycle of warm restarts unless told, as SGDR's authors have it on CIFAR.
const FIRST_CYCLE_EPOCHS: f64 = 10.0;
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
    pub(crate) model: ModelName,
    pub(crate) batch_norm: bool,
    pub(crate) width: f32,
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
    pub(crate) lr_scheduler: SchedulerName,
    pub(crate) lr_step_size: f64,
    pub(crate) lr_gamma: f64,
    pub(crate) lr_patience: u64,
    pub(crate) lr_cycle_growth: f64,
    pub(crate) lr_min: f64,
    pub(crate) warmup_epochs: f64,
}

impl Settings {
    /// What `flags` leave empty, decided.
    ///
    /// # Errors
    /// When a value makes no sense; the message names its flag.
    pub(crate) fn decide(flags: &TrainFlags, data: PathBuf) -> Result<Self, UsageError> {
        let model = flags.model.unwrap_or(ModelName::Modern);
        let defaults = Defaults::of(model);
        let native = model.native_image_size();
        let image_size = flags.image_size.unwrap_or(native);
        // 256 as everywhere since 2012, or as much in proportion.
        let resize_size =
            if image_size == native { 256 } else { image_size.saturating_mul(8).div_ceil(7) };
        let lr_scheduler = flags.lr_scheduler.unwrap_or(defaults.scheduler);
        let restarts = lr_scheduler == SchedulerName::WarmRestarts;
        let period = if restarts { FIRST_CYCLE_EPOCHS } else { defaults.step_epochs };
        let fit = flags.fit.unwrap_or(defaults.fit);
        let augment = flags.augment.unwrap_or(defaults.augment);
        let mean = match defaults.mean {
            // As near as it gets where there is no mean image.
            Mean::Image(_) if !has_mean_image(fit, augment) => Mean::Levels(Levels::Data),
            mean => mean,
        };
        let saving = Saving::default();
        let settings = Self {
            data,
            seed: flags.seed.unwrap_or(0),
            device: flags.device.unwrap_or_default(),
            threads: flags.threads.unwrap_or(0),
            precision: flags.precision.unwrap_or_default(),
            workers: flags.workers.unwrap_or(crate::machine::cores().min(WORKERS_MAX)),
            save_every_steps: flags.save_every_steps.unwrap_or(saving.every_steps),
            save_every_minutes: flags.save_every_minutes.unwrap_or(SAVE_EVERY_MINUTES),
            checkpoint_hist: flags.checkpoint_hist.unwrap_or(saving.kept),
            print_freq: flags.print_freq.unwrap_or(10),
            model,
            batch_norm: flags.batch_norm.unwrap_or(model == ModelName::Modern),
            width: flags.width.unwrap_or(1.0),
            init: flags.init.unwrap_or(InitName::Model),
            val_fraction: flags.val_fraction.unwrap_or(0.0),
            image_size,
            resize_size: flags.resize_size.unwrap_or(resize_size),
            fit,
            augment,
            shared_crops: flags.shared_crops.unwrap_or(defaults.shared_crops),
            mean: flags.mean.unwrap_or(mean),
            std: flags.std.unwrap_or(defaults.std),
            colour_noise: flags.colour_noise.unwrap_or(defaults.colour_noise),
            colour_noise_from: flags.colour_noise_from.unwrap_or(defaults.colours),
            colour_noise_epochs: flags.colour_noise_epochs.unwrap_or(defaults.colour_noise_epochs),
            max_unreadable: flags.max_unreadable,
            epochs: flags.epochs.unwrap_or(defaults.epochs),
            batch_size: flags.batch_size.unwrap_or(defaults.batch_size),
            update_rule: flags.update_rule.unwrap_or(defaults.rule),
            lr: flags.lr.unwrap_or(0.01),
            momentum: flags.momentum.unwrap_or(0.9),
            weight_decay: flags.weight_decay.unwrap_or(defaults.weight_decay),
            bias_lr_factor: flags.bias_lr_factor.unwrap_or(defaults.bias_lr_factor),
            bias_decay_factor: flags.bias_decay_factor.unwrap_or(defaults.bias_decay_factor),
            lr_scheduler,
            lr_step_size: flags.lr_step_size.unwrap_or(period),
            lr_gamma: flags.lr_gamma.unwrap_or(0.1),
            lr_patience: flags.lr_patience.unwrap_or(5),
            lr_cycle_growth: flags.lr_cycle_growth.unwrap_or(2.0),
            lr_min: flags.lr_min.unwrap_or(0.0),
            warmup_epochs: flags.warmup_epochs.unwrap_or(defaults.warmup_epochs),
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), UsageError> {
        let rules = [
            ("val-fraction", self.val_fraction, 0.0, VAL_FRACTION_MAX),
            ("lr", self.lr, 0.0, RATE_MAX),
            ("shared-crops", self.shared_crops as f64, 1.0, EPOCHS_MAX),
            ("colour-noise", self.colour_noise.into(), 0.0, RATE_MAX),
            ("momentum", self.momentum, 0.0, 1.0),
            ("weight-decay", self.weight_decay, 0.0, RATE_MAX),
            ("bias-lr-factor", self.bias_lr_factor, 0.0, RATE_MAX),
            ("bias-decay-factor", self.bias_decay_factor, 0.0, RATE_MAX),
            ("lr-step-size", self.lr_step_size, PERIOD_MIN_EPOCHS, EPOCHS_MAX),
            ("lr-gamma", self.lr_gamma, 0.0, 1.0),
            ("lr-cycle-growth", self.lr_cycle_growth, 1.0, EPOCHS_MAX),
            ("lr-min", self.lr_min, 0.0, self.lr),
            ("warmup-epochs", self.warmup_epochs, 0.0, EPOCHS_MAX),
            ("epochs", self.epochs as f64, 1.0, EPOCHS_MAX),
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
    pub(crate) fn train_config(&self, classes: usize) -> TrainConfig {
        let (mean, std) = self.normalisation().levels();
        TrainConfig {
            model: ModelConfig {
                model: self.model,
                classes,
                image_size: self.image_size,
                width: self.width,
                batch_norm: self.batch_norm,
            },
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
        }
    }

    fn augment(&self) -> Augment {
        let view = match self.augment {
            AugmentName::None => View::Centre,
            AugmentName::RandomCrop => View::RandomCrop,
            AugmentName::RandomResizedCrop => View::RandomResizedCrop,
        };
        let epochs = (self.colour_noise_epochs > 0).then_some(self.colour_noise_epochs);
        let scaled = self.model == ModelName::Original;
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

/// What differs between models where nothing is typed: the published recipes' main figures, and for
/// `modern` what trains well from a few thousand images.
struct Defaults {
    fit: FitName,
    augment: AugmentName,
    shared_crops: u64,
    colour_noise: f32,
    colour_noise_epochs: u64,
    mean: Mean,
    std: Levels,
    colours: ColoursOf,
    epochs: u64,
    batch_size: usize,
    rule: RuleName,
    weight_decay: f64,
    bias_lr_factor: f64,
    bias_decay_factor: f64,
    scheduler: SchedulerName,
    /// Between drops of the step schedule.
    step_epochs: f64,
    warmup_epochs: f64,
}

impl Defaults {
    fn of(model: ModelName) -> Self {
        let paper = Self {
            fit: FitName::CentreSquare,
            augment: AugmentName::RandomCrop,
            shared_crops: 1,
            colour_noise: 0.1,
            colour_noise_epochs: 0,
            mean: Mean::Image(MeanPart::Crop), // "from each pixel" (§2), before crops are taken
            std: NO_SCALING,
            colours: ColoursOf::Data,
            epochs: 90,
            batch_size: 128,
            rule: RuleName::Paper,
            weight_decay: 5e-4,
            bias_lr_factor: 1.0,
            bias_decay_factor: 0.0,
            scheduler: SchedulerName::Plateau,
            step_epochs: 30.0,
            warmup_epochs: 0.0,
        };
        match model {
            ModelName::Paper => paper,
            // The 2012 code: mini-batches of 32 shared a crop, the noise was switched off at epoch 67,
            // the mean did not move with the crop.
            ModelName::Original => Self {
                shared_crops: 32,
                mean: Mean::Image(MeanPart::Centre),
                colour_noise_epochs: 66,
                bias_lr_factor: 2.0,
                ..paper
            },
            ModelName::Caffe | ModelName::Caffenet => Self {
                fit: FitName::Warp,
                colour_noise: 0.0,
                batch_size: 256,
                bias_lr_factor: 2.0,
                scheduler: SchedulerName::Step,
                step_epochs: 20.0, // 100,000 iterations of 256 images
                ..paper
            },
            ModelName::Torchvision => Self {
                fit: FitName::ShorterSide,
                augment: AugmentName::RandomResizedCrop,
                colour_noise: 0.0,
                mean: Mean::Levels(Levels::Imagenet),
                std: Levels::Imagenet,
                colours: ColoursOf::Imagenet,
                batch_size: 256,
                rule: RuleName::Pytorch,
                weight_decay: 1e-4,
                bias_decay_factor: 1.0,
                scheduler: SchedulerName::Step,
                ..paper
            },
            ModelName::Modern => Self {
                fit: FitName::ShorterSide,
                augment: AugmentName::RandomResizedCrop,
                colour_noise: 0.0,
                mean: Mean::Levels(Levels::Imagenet),
                std: Levels::Imagenet,
                colours: ColoursOf::Imagenet,
                epochs: 30,
                batch_size: 32,
                rule: RuleName::Pytorch,
                scheduler: SchedulerName::Cosine,
                warmup_epochs: 1.0,
                ..paper
            },
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
        // model, batch, weight decay, bias rate and decay factors, epochs between drops, resize, crop
        let cases = [
            (Original, 128, 5e-4, 2.0, 0.0, 30.0, 256, 224),
            (Paper, 128, 5e-4, 1.0, 0.0, 30.0, 256, 227),
            (Caffe, 256, 5e-4, 2.0, 0.0, 20.0, 256, 227),
            (Torchvision, 256, 1e-4, 1.0, 1.0, 30.0, 256, 224),
        ];
        for (model, batch, decay, bias_rate, bias_decay, period, resize, crop) in cases {
            let flags = TrainFlags { model: Some(model), ..TrainFlags::default() };
            let s = decide(&flags).expect("decided");
            assert_eq!(
                (s.batch_size, s.resize_size, s.image_size),
                (batch, resize, crop),
                "{model}"
            );
            assert_eq!(
                (s.weight_decay, s.bias_lr_factor, s.bias_decay_factor, s.lr_step_size),
                (decay, bias_rate, bias_decay, period),
                "{model}"
            );
        }
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
            (TrainFlags { lr_step_size: Some(1e-300), ..none() }, "--lr-step-size"),
        ];
        for (flags, named) in cases {
            let error = decide(&flags).expect_err(named).to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
