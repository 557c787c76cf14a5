//! Training settings: typed flags, over a file's values, over the model's defaults.
//!
//! One struct is the command line, the file given with `-c`, and the `args.toml` a run leaves
//! behind; there every value is filled in, so a run can be repeated from it alone. A typed value is
//! never overridden.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use alexnet_data::{Augment, Preprocess};
use alexnet_network::{BATCH_MAX, Initialisation, ModelConfig, ModelName};
use alexnet_ops::UpdateRule;
use alexnet_train::{Schedule, SgdConfig, TrainConfig};
use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::arguments::{THREADS_MAX, positive, threads};
use crate::device::{DeviceFlags, DeviceName};

/// Everything `train` takes. Empty means: as the file says, or else the default.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TrainFlags {
    /// Folder with train/ and val/ (or valid/, validation/, test/), each with a folder for each
    /// class [default: the built-in sample set]
    pub(crate) data: Option<PathBuf>,

    /// Read settings from a TOML file; typed flags win
    #[arg(long, short, value_name = "FILE", conflicts_with = "resume", help_heading = "Run")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
    /// Continue a run from its newest whole checkpoint
    #[arg(long, value_name = "RUN", help_heading = "Run")]
    #[serde(skip)]
    pub(crate) resume: Option<PathBuf>,
    /// Folder of runs [default: runs/train]
    #[arg(long, value_name = "DIR", conflicts_with = "resume", help_heading = "Run")]
    #[serde(skip)]
    pub(crate) project: Option<PathBuf>,
    /// Name of the run's folder [default: exp1, exp2, …]
    #[arg(long, value_parser = folder_name, conflicts_with = "resume", help_heading = "Run")]
    #[serde(skip)]
    pub(crate) name: Option<String>,
    /// Decides initial weights, order, augmentation and dropout [default: 0]
    #[arg(long, help_heading = "Run")]
    pub(crate) seed: Option<u64>,
    /// What computes
    #[arg(long, value_enum, help_heading = "Run")]
    pub(crate) device: Option<DeviceName>,
    /// Threads that compute; 0 means one a core. Results are the same for any number
    #[arg(long, value_parser = threads, help_heading = "Run")]
    pub(crate) threads: Option<usize>,
    /// Threads that load images [default: one a core, at most 8]
    #[arg(long, short = 'j', value_parser = threads, help_heading = "Run")]
    pub(crate) workers: Option<usize>,
    /// Write a checkpoint every so many steps, beside one an epoch
    #[arg(long, value_name = "STEPS", help_heading = "Run")]
    pub(crate) save_every_steps: Option<u64>,
    /// Steps between two lines of plain output [default: 10]
    #[arg(long, value_name = "STEPS", value_parser = positive, help_heading = "Run")]
    pub(crate) print_freq: Option<usize>,

    /// Table of layers: original, paper, caffe, caffenet, modern or torchvision [default: modern]
    #[arg(long, short, help_heading = "Model")]
    pub(crate) model: Option<ModelName>,
    /// Batch normalisation after each convolution [default: true for modern]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Model")]
    pub(crate) batch_norm: Option<bool>,
    /// Factor on maps and hidden units [default: 1]
    #[arg(long, help_heading = "Model")]
    pub(crate) width: Option<f32>,
    /// How weights start [default: model, as its table says]
    #[arg(long, value_enum, help_heading = "Model")]
    pub(crate) init: Option<InitName>,

    /// Side of the square the network sees, in pixels [default: the model's own]
    #[arg(long, visible_aliases = ["img-size", "crop-size"], help_heading = "Images")]
    pub(crate) image_size: Option<usize>,
    /// Shorter side of images before the crop, in pixels [default: 256 at the model's own image
    /// size; else 8/7 of the image size]
    #[arg(long, help_heading = "Images")]
    pub(crate) resize_size: Option<usize>,
    /// How training images are varied [default: random-resized-crop for modern and torchvision; else
    /// random-crop]
    #[arg(long, value_enum, help_heading = "Images")]
    pub(crate) augment: Option<AugmentName>,

    /// Passes over the training images [default: 90; 30 for modern]
    #[arg(long, help_heading = "Training")]
    pub(crate) epochs: Option<u64>,
    /// Images in a step [default: 128; for caffe, caffenet and torchvision 256; for modern 32]
    #[arg(long, short, value_parser = positive, help_heading = "Training")]
    pub(crate) batch_size: Option<usize>,
    /// Form of the update: the paper's (rate and decay inside the velocity) or PyTorch's [default:
    /// pytorch for modern and torchvision; else paper]
    #[arg(long, value_enum, help_heading = "Training")]
    pub(crate) update_rule: Option<RuleName>,
    /// Learning rate the schedule starts from [default: 0.01]
    #[arg(long, help_heading = "Training")]
    pub(crate) lr: Option<f64>,
    /// Share of the velocity kept at each step [default: 0.9]
    #[arg(long, help_heading = "Training")]
    pub(crate) momentum: Option<f64>,
    /// Pull of weights towards zero [default: 0.0005; 0.0001 for torchvision]
    #[arg(long, visible_alias = "wd", help_heading = "Training")]
    pub(crate) weight_decay: Option<f64>,
    /// Factor on the learning rate of biases and batch normalisation [default: 2 for original,
    /// caffe, caffenet; else 1]
    #[arg(long, help_heading = "Training")]
    pub(crate) bias_lr_factor: Option<f64>,
    /// Factor on the decay of biases and batch normalisation [default: 1 for torchvision; else 0]
    #[arg(long, help_heading = "Training")]
    pub(crate) bias_decay_factor: Option<f64>,

    /// How the learning rate moves [default: cosine for modern; plateau for original and paper; else
    /// step]
    #[arg(long, value_enum, help_heading = "Learning rate")]
    pub(crate) lr_scheduler: Option<SchedulerName>,
    /// Epochs between drops, or of the first cycle of warm restarts [default: 30, for caffe and
    /// caffenet 20; 10]
    #[arg(long, help_heading = "Learning rate")]
    pub(crate) lr_step_size: Option<f64>,
    /// Factor of a drop (step, plateau) [default: 0.1]
    #[arg(long, help_heading = "Learning rate")]
    pub(crate) lr_gamma: Option<f64>,
    /// Epochs without a better validation error before a drop (plateau) [default: 5]
    #[arg(long, help_heading = "Learning rate")]
    pub(crate) lr_patience: Option<u64>,
    /// Each cycle of warm restarts is so many times as long as the last [default: 2]
    #[arg(long, help_heading = "Learning rate")]
    pub(crate) lr_cycle_growth: Option<f64>,
    /// Lowest learning rate of the cosines [default: 0]
    #[arg(long, help_heading = "Learning rate")]
    pub(crate) lr_min: Option<f64>,
    /// Epochs over which the rate rises to its first value [default: 0; 1 for modern]
    #[arg(long, visible_alias = "lr-warmup-epochs", help_heading = "Learning rate")]
    pub(crate) warmup_epochs: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum InitName {
    /// As the model's table says
    Model,
    /// He (Kaiming) normal, zero biases
    He,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AugmentName {
    /// Centre crops, as in evaluation
    None,
    /// Random crops and flips (the paper's)
    RandomCrop,
    /// Random areas and aspect ratios, and flips (torchvision's)
    RandomResizedCrop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RuleName {
    Paper,
    Pytorch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SchedulerName {
    /// Never moves
    Constant,
    /// Drops every so many epochs
    Step,
    /// Drops when validation stops improving (the paper's rule)
    Plateau,
    /// Half a cosine over the run
    Cosine,
    /// Cosines that begin anew
    WarmRestarts,
}

impl TrainFlags {
    /// The flags over the values of the file they name.
    pub(crate) fn with_file(self) -> anyhow::Result<Self> {
        match self.config.clone() {
            Some(path) => self.over(&path),
            None => Ok(self),
        }
    }

    /// The flags over the values of a TOML file.
    pub(crate) fn over(self, path: &Path) -> anyhow::Result<Self> {
        let name = || path.display().to_string();
        let file = fs::File::open(path).with_context(|| format!("cannot read {}", name()))?;
        let mut text = String::new();
        let limited = file.take(SETTINGS_BYTES_MAX).read_to_string(&mut text);
        limited.with_context(|| format!("cannot read {}", name()))?;
        let file: toml::Table = toml::from_str(&text).with_context(name)?;
        let mut values: toml::Table =
            file.into_iter().map(|(key, value)| (key.replace('_', "-"), value)).collect();
        values.extend(toml::Table::try_from(&self)?);
        let merged: Self = values.try_into().with_context(name)?;
        let Self { config, resume, project, name, .. } = self;
        Ok(Self { config, resume, project, name, ..merged })
    }

    /// Every empty place filled with the model's default.
    pub(crate) fn filled(self) -> Self {
        let model = self.model.unwrap_or(ModelName::Modern);
        let defaults = Defaults::of(model);
        let image_size = self.image_size.unwrap_or(model.native_image_size());
        let scheduler = self.lr_scheduler.unwrap_or(defaults.scheduler);
        let restarts = scheduler == SchedulerName::WarmRestarts;
        let period = if restarts { 10.0 } else { defaults.step_epochs };
        Self {
            seed: self.seed.or(Some(0)),
            device: self.device.or(Some(DeviceName::Auto)),
            threads: self.threads.or(Some(0)),
            workers: self.workers.or(Some(crate::machine::cores().min(WORKERS_MAX))),
            save_every_steps: self.save_every_steps.or(Some(0)),
            print_freq: self.print_freq.or(Some(10)),
            model: Some(model),
            batch_norm: self.batch_norm.or(Some(model == ModelName::Modern)),
            width: self.width.or(Some(1.0)),
            init: self.init.or(Some(InitName::Model)),
            image_size: Some(image_size),
            resize_size: self.resize_size.or(Some(if image_size == model.native_image_size() {
                256 // as everywhere since 2012
            } else {
                image_size.saturating_mul(8).div_ceil(7)
            })),
            augment: self.augment.or(Some(defaults.augment)),
            epochs: self.epochs.or(Some(defaults.epochs)),
            batch_size: self.batch_size.or(Some(defaults.batch_size)),
            update_rule: self.update_rule.or(Some(defaults.rule)),
            lr: self.lr.or(Some(0.01)),
            momentum: self.momentum.or(Some(0.9)),
            weight_decay: self.weight_decay.or(Some(defaults.weight_decay)),
            bias_lr_factor: self.bias_lr_factor.or(Some(defaults.bias_lr_factor)),
            bias_decay_factor: self.bias_decay_factor.or(Some(defaults.bias_decay_factor)),
            lr_scheduler: Some(scheduler),
            lr_step_size: self.lr_step_size.or(Some(period)),
            lr_gamma: self.lr_gamma.or(Some(0.1)),
            lr_patience: self.lr_patience.or(Some(5)),
            lr_cycle_growth: self.lr_cycle_growth.or(Some(2.0)),
            lr_min: self.lr_min.or(Some(0.0)),
            warmup_epochs: self.warmup_epochs.or(Some(defaults.warmup_epochs)),
            ..self
        }
    }

    /// What to compute, for so many classes. Call on [`filled`](Self::filled) flags.
    pub(crate) fn train_config(&self, classes: usize) -> Result<TrainConfig, UsageError> {
        let filled = self.clone().filled();
        filled.check()?;
        let model = filled.model.unwrap_or(ModelName::Modern);
        let number = |value: Option<f64>| value.unwrap_or_default();
        let image_size = filled.image_size.unwrap_or_default();
        let (mean, std) = Defaults::of(model).normalisation;
        Ok(TrainConfig {
            model: ModelConfig {
                model,
                classes,
                image_size,
                width: filled.width.unwrap_or_default(),
                batch_norm: filled.batch_norm.unwrap_or_default(),
            },
            initialisation: match filled.init {
                Some(InitName::He) => Initialisation::He,
                _ => Initialisation::Model,
            },
            seed: filled.seed.unwrap_or_default(),
            epochs: filled.epochs.unwrap_or_default(),
            batch_size: filled.batch_size.unwrap_or_default(),
            sgd: SgdConfig {
                rule: match filled.update_rule {
                    Some(RuleName::Paper) => UpdateRule::Paper,
                    _ => UpdateRule::PyTorch,
                },
                learning_rate: number(filled.lr),
                momentum: number(filled.momentum),
                weight_decay: number(filled.weight_decay),
                bias_rate_factor: number(filled.bias_lr_factor),
                bias_decay_factor: number(filled.bias_decay_factor),
            },
            schedule: filled.schedule(),
            warmup_epochs: number(filled.warmup_epochs),
            augment: match filled.augment {
                Some(AugmentName::RandomCrop) => Augment::RandomCrop,
                Some(AugmentName::RandomResizedCrop) => Augment::RandomResizedCrop,
                _ => Augment::None,
            },
            preprocess: Preprocess {
                resize: pixels(filled.resize_size),
                crop: pixels(Some(image_size)),
                mean,
                std,
            },
        })
    }

    fn schedule(&self) -> Schedule {
        let number = |value: Option<f64>| value.unwrap_or_default();
        let (period, gamma) = (number(self.lr_step_size), number(self.lr_gamma));
        let floor = number(self.lr_min) / number(self.lr).max(f64::MIN_POSITIVE);
        match self.lr_scheduler {
            Some(SchedulerName::Step) => Schedule::Step { period, gamma },
            Some(SchedulerName::Plateau) => {
                Schedule::Plateau { patience: self.lr_patience.unwrap_or_default(), gamma }
            }
            Some(SchedulerName::Cosine) => Schedule::Cosine { floor },
            Some(SchedulerName::WarmRestarts) => {
                Schedule::WarmRestarts { period, growth: number(self.lr_cycle_growth), floor }
            }
            Some(SchedulerName::Constant) | None => Schedule::Constant,
        }
    }

    fn check(&self) -> Result<(), UsageError> {
        let rules = [
            ("lr", self.lr, 0.0, RATE_MAX),
            ("momentum", self.momentum, 0.0, 1.0),
            ("weight-decay", self.weight_decay, 0.0, RATE_MAX),
            ("bias-lr-factor", self.bias_lr_factor, 0.0, RATE_MAX),
            ("bias-decay-factor", self.bias_decay_factor, 0.0, RATE_MAX),
            ("lr-step-size", self.lr_step_size, PERIOD_MIN_EPOCHS, EPOCHS_MAX),
            ("lr-gamma", self.lr_gamma, 0.0, 1.0),
            ("lr-cycle-growth", self.lr_cycle_growth, 1.0, EPOCHS_MAX),
            ("lr-min", self.lr_min, 0.0, self.lr.unwrap_or(RATE_MAX)),
            ("warmup-epochs", self.warmup_epochs, 0.0, EPOCHS_MAX),
            ("epochs", self.epochs.map(|epochs| epochs as f64), 1.0, EPOCHS_MAX),
            ("batch-size", self.batch_size.map(|size| size as f64), 1.0, BATCH_MAX as f64),
            ("threads", self.threads.map(|count| count as f64), 0.0, THREADS_MAX as f64),
            ("workers", self.workers.map(|count| count as f64), 0.0, THREADS_MAX as f64),
        ];
        for (flag, value, least, most) in rules {
            let value = value.unwrap_or(least);
            if !(least..=most).contains(&value) {
                let problem =
                    format!("--{flag} is {value}: it must lie between {least} and {most}");
                return Err(UsageError(problem));
            }
        }
        let (resize, crop) = (self.resize_size.unwrap_or(0), self.image_size.unwrap_or(0));
        if resize < crop {
            let problem =
                format!("--resize-size is {resize}: it must be at least the image size, {crop}");
            return Err(UsageError(problem));
        }
        Ok(())
    }

    /// Device and threads.
    pub(crate) fn device_flags(&self) -> DeviceFlags {
        DeviceFlags {
            device: self.device.unwrap_or_default(),
            threads: self.threads.unwrap_or_default(),
        }
    }
}

/// Largest learning rate, decay or factor: far beyond any that trains, and well within `f32`.
const RATE_MAX: f64 = 1e6;
/// Longest run and longest period.
const EPOCHS_MAX: f64 = 1e6;
/// Largest settings file read.
const SETTINGS_BYTES_MAX: u64 = 1 << 20;
/// Shortest time between drops or of a cycle: shorter ones would only burn time in counting cycles.
const PERIOD_MIN_EPOCHS: f64 = 0.01;
/// A value that was typed makes no sense.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// A size in pixels; one too large for any image stays too large.
fn pixels(size: Option<usize>) -> u32 {
    u32::try_from(size.unwrap_or_default()).unwrap_or(u32::MAX)
}

/// The name of one folder: no path.
fn folder_name(text: &str) -> Result<String, String> {
    let mut parts = Path::new(text).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Ok(text.to_owned()),
        _ => Err("it must be the name of a folder; --project says where".into()),
    }
}

/// More loader threads than this are of no use before decoding is the limit.
const WORKERS_MAX: usize = 8;

/// ImageNet's mean and deviation in grey levels, as torchvision has them.
const IMAGENET_LEVELS: ([f32; 3], [f32; 3]) =
    ([0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0], [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0]);
/// Channel means of the 2012 training set's mean image; no scaling: raw grey levels, as in the
/// paper (§2).
const PAPER_LEVELS: ([f32; 3], [f32; 3]) = ([127.305, 119.715, 104.913], [1.0; 3]);
/// Channel means in CaffeNet's `train_val.prototxt`, here in RGB order.
const CAFFE_LEVELS: ([f32; 3], [f32; 3]) = ([123.0, 117.0, 104.0], [1.0; 3]);

/// What differs between models where nothing is typed: the published recipes' main figures, and for
/// `modern` what trains well from a few thousand images.
struct Defaults {
    augment: AugmentName,
    normalisation: ([f32; 3], [f32; 3]),
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
            augment: AugmentName::RandomCrop,
            normalisation: PAPER_LEVELS,
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
            ModelName::Original => Self { bias_lr_factor: 2.0, ..paper },
            ModelName::Caffe | ModelName::Caffenet => Self {
                normalisation: CAFFE_LEVELS,
                batch_size: 256,
                bias_lr_factor: 2.0,
                scheduler: SchedulerName::Step,
                step_epochs: 20.0, // 100,000 iterations of 256 images
                ..paper
            },
            ModelName::Torchvision => Self {
                augment: AugmentName::RandomResizedCrop,
                normalisation: IMAGENET_LEVELS,
                batch_size: 256,
                rule: RuleName::Pytorch,
                weight_decay: 1e-4,
                bias_decay_factor: 1.0,
                scheduler: SchedulerName::Step,
                ..paper
            },
            ModelName::Modern => Self {
                augment: AugmentName::RandomResizedCrop,
                normalisation: IMAGENET_LEVELS,
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

    fn written(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), text).expect("written");
        file
    }

    #[test]
    fn typed_flags_win_over_the_file_and_the_file_over_defaults() {
        let file = written("lr = 0.5\nbatch_size = 7\nmodel = \"paper\"");
        let typed = TrainFlags { lr: Some(0.25), ..TrainFlags::default() };
        let filled = typed.over(file.path()).expect("merged").filled();
        assert_eq!(
            (filled.lr, filled.batch_size, filled.model, filled.bias_decay_factor),
            (Some(0.25), Some(7), Some(ModelName::Paper), Some(0.0))
        );
    }

    #[test]
    fn filled_flags_come_back_from_their_own_file() {
        let filled = TrainFlags::default().filled();
        let file = written(&toml::to_string(&filled).expect("text"));
        assert_eq!(TrainFlags::default().over(file.path()).expect("read"), filled);
    }

    #[test]
    fn a_key_that_is_no_flag_is_named() {
        let file = written("learning-rate = 1");
        let error = TrainFlags::default().over(file.path()).expect_err("refused");
        assert!(format!("{error:#}").contains("learning-rate"), "{error:#}");
    }

    #[test]
    fn values_out_of_range_are_refused_by_flag() {
        let cases = [
            (TrainFlags { momentum: Some(1.5), ..TrainFlags::default() }, "--momentum"),
            (TrainFlags { lr: Some(-1.0), ..TrainFlags::default() }, "--lr"),
            (TrainFlags { lr: Some(f64::NAN), ..TrainFlags::default() }, "--lr"),
            (TrainFlags { resize_size: Some(100), ..TrainFlags::default() }, "--resize-size"),
            (TrainFlags { epochs: Some(0), ..TrainFlags::default() }, "--epochs"),
            (TrainFlags { threads: Some(1 << 20), ..TrainFlags::default() }, "--threads"),
            (TrainFlags { lr_step_size: Some(1e-300), ..TrainFlags::default() }, "--lr-step-size"),
        ];
        for (flags, named) in cases {
            let error = flags.filled().train_config(2).expect_err(named).to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
