//! What can be typed after `train`, and the same values read from a file.
//!
//! One struct is the command line and the file given with `-c`; a typed value is never overridden.
//! What is left empty, [`crate::settings`] decides.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use alexnet_data::Fit;
use alexnet_network::ModelName;
use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::arguments::{positive, threads};
use crate::device::{DeviceName, PrecisionName};
use crate::normalisation::{ColoursOf, Levels, Mean};

/// Largest settings file read.
const SETTINGS_BYTES_MAX: u64 = 1 << 20;
/// Everything `train` takes. Empty means: as the file says, or else the default.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TrainFlags {
    /// Folder with train/ and val/ (or valid/, validation/, test/), each with a folder for each
    /// class; or a packed set, lists, CIFAR, IDX: see docs/data.md [default: the built-in sample
    /// set]
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
    /// What products are formed in [default: f32]
    #[arg(long, value_enum, help_heading = "Run")]
    pub(crate) precision: Option<PrecisionName>,
    /// Threads that load images [default: one a core, at most 8]
    #[arg(long, short = 'j', value_parser = threads, help_heading = "Run")]
    pub(crate) workers: Option<usize>,
    /// Write a checkpoint every so many steps, beside one an epoch; 0 is never [default: 0]
    #[arg(long, value_name = "STEPS", help_heading = "Run")]
    pub(crate) save_every_steps: Option<u64>,
    /// Write a checkpoint after so many minutes; 0 is never [default: 10]
    #[arg(long, value_name = "MINUTES", help_heading = "Run")]
    pub(crate) save_every_minutes: Option<f64>,
    /// Keep the newest so many checkpoints [default: 3]
    #[arg(long, value_name = "CHECKPOINTS", value_parser = positive, help_heading = "Run")]
    pub(crate) checkpoint_hist: Option<usize>,
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

    /// Share of each class's training images to set aside and measure with, in place of val/; DATA
    /// may then hold the class folders itself
    #[arg(long, value_name = "SHARE", help_heading = "Images")]
    pub(crate) val_fraction: Option<f64>,
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

    /// How images of other shapes are brought to size [default: warp for caffe and caffenet;
    /// centre-square for original and paper; else shorter-side]
    #[arg(long, value_enum, visible_alias = "resize-mode", help_heading = "Images")]
    pub(crate) fit: Option<FitName>,
    /// Images in a row that share the place of their crop and their flip [default: 32 for original;
    /// else 1]
    #[arg(long, value_name = "IMAGES", help_heading = "Images")]
    pub(crate) shared_crops: Option<u64>,
    /// What is subtracted from pixels: image, the training images' mean, pixel by pixel, where the
    /// crop lies (Caffe); image-centre, its centre wherever the crop lies (the 2012 code); data, their
    /// mean colour; imagenet, torchvision's; or R,G,B, levels 0 to 255 [default: image for paper,
    /// caffe and caffenet; image-centre for original; imagenet for modern and torchvision]
    #[arg(long, value_name = "MEAN", help_heading = "Images")]
    pub(crate) mean: Option<Mean>,
    /// What pixels are then divided by: data, imagenet, or R,G,B, levels [default: imagenet for
    /// modern and torchvision; else 1,1,1]
    #[arg(long, value_name = "STD", help_heading = "Images")]
    pub(crate) std: Option<Levels>,
    /// Deviation of the noise along the principal colours; 0 is none [default: 0.1 for original and
    /// paper; else 0]
    #[arg(long, value_name = "SIGMA", help_heading = "Images")]
    pub(crate) colour_noise: Option<f32>,
    /// Whose principal colours [default: imagenet for modern and torchvision; else data]
    #[arg(long, value_enum, help_heading = "Images")]
    pub(crate) colour_noise_from: Option<ColoursOf>,
    /// Epochs with colour noise; 0 is all [default: 66 for original; else 0]
    #[arg(long, value_name = "EPOCHS", help_heading = "Images")]
    pub(crate) colour_noise_epochs: Option<u64>,
    /// Images of an epoch that may be unreadable, before the run ends [default: 10, or one in 10,000]
    #[arg(long, value_name = "IMAGES", help_heading = "Images")]
    pub(crate) max_unreadable: Option<u64>,

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
pub(crate) enum FitName {
    /// The shorter side to the size, crops anywhere (torchvision's)
    ShorterSide,
    /// The shorter side to the size, crops of the centre square (the paper's)
    CentreSquare,
    /// Both sides to the size, whatever the shape (Caffe's)
    Warp,
}

impl From<FitName> for Fit {
    fn from(name: FitName) -> Self {
        match name {
            FitName::ShorterSide => Self::ShorterSide,
            FitName::CentreSquare => Self::CentreSquare,
            FitName::Warp => Self::Warp,
        }
    }
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
}

/// The name of one folder: no path.
fn folder_name(text: &str) -> Result<String, String> {
    let mut parts = Path::new(text).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Ok(text.to_owned()),
        _ => Err("it must be the name of a folder; --project says where".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(typed: TrainFlags, text: &str) -> anyhow::Result<TrainFlags> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), text).expect("written");
        typed.over(file.path())
    }

    #[test]
    fn typed_flags_win_over_the_file() {
        let typed = TrainFlags { lr: Some(0.25), ..TrainFlags::default() };
        let merged = over(typed, "lr = 0.5\nbatch_size = 7\nmodel = \"paper\"").expect("merged");
        assert_eq!(
            (merged.lr, merged.batch_size, merged.model, merged.epochs),
            (Some(0.25), Some(7), Some(ModelName::Paper), None)
        );
    }

    #[test]
    fn a_key_that_is_no_flag_is_named() {
        let error = over(TrainFlags::default(), "learning-rate = 1").expect_err("refused");
        assert!(format!("{error:#}").contains("learning-rate"), "{error:#}");
    }
}
