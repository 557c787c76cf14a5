//! What can be typed after `train`, and the same values read from a file.
//!
//! One struct is the command line and the file given with `-c`; a typed value is never overridden.
//! What is left empty, [`crate::settings`] decides.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use alexnet_data::{Fit, View};
use alexnet_network::ModelName;
use alexnet_ops::UpdateRule;
use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::arguments::{WHOLE_MAX, batch, positive, threads};
use crate::device::{DeviceName, PrecisionName};
use crate::layer_rates::{EpochList, LayerRates, Layers};
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
    #[arg(long, value_parser = whole::<u64>, help_heading = "Run")]
    pub(crate) seed: Option<u64>,
    /// What computes: auto (the GPU if there is one, else the CPU), cpu, cuda, cuda:N or reference
    /// [default: auto]
    #[arg(long, help_heading = "Run")]
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
    #[arg(long, value_parser = whole::<u64>, value_name = "STEPS", help_heading = "Run")]
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

    /// Begin from what these weights learned, and from their model and preprocessing; a new last
    /// layer if they know not all classes of DATA
    #[arg(
        long,
        short,
        value_name = "FILE",
        visible_alias = "initial-checkpoint",
        conflicts_with = "resume",
        help_heading = "Run"
    )]
    pub(crate) weights: Option<PathBuf>,
    /// Print every setting as it would be used, and train nothing
    #[arg(long, help_heading = "Run")]
    #[serde(skip)]
    pub(crate) print_config: bool,

    /// Published way to train, whose figures hold where none are typed: original, paper, caffe,
    /// caffenet, modern or torchvision (docs/recipes.md) [default: the model's]
    #[arg(long, help_heading = "Model")]
    pub(crate) recipe: Option<ModelName>,
    /// Table of layers: original, paper, caffe, caffenet, modern or torchvision [default: the
    /// recipe's, or modern]
    #[arg(long, short, help_heading = "Model")]
    pub(crate) model: Option<ModelName>,
    /// Batch normalisation after each convolution [default: true for modern]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Model")]
    pub(crate) batch_norm: Option<bool>,
    /// Factor on maps and hidden units [default: 1]
    #[arg(long, help_heading = "Model")]
    pub(crate) width: Option<f32>,
    /// Share that dropout drops [default: 0.5, as the tables say]
    #[arg(long, visible_alias = "drop", help_heading = "Model")]
    pub(crate) dropout: Option<f32>,
    /// How weights start [default: model, as its table says]
    #[arg(long, value_enum, help_heading = "Model")]
    pub(crate) init: Option<InitName>,

    /// Share of each class's training images to set aside and measure with, in place of val/; DATA
    /// may then hold the class folders itself
    #[arg(long, value_name = "SHARE", help_heading = "Images")]
    pub(crate) val_fraction: Option<f64>,
    /// Side of the square the network sees, in pixels [default: the model's own]
    #[arg(long, value_parser = whole::<usize>, visible_aliases = ["img-size", "crop-size"], help_heading = "Images")]
    pub(crate) image_size: Option<usize>,
    /// Shorter side of images before the crop, in pixels [default: 256 at the model's own image
    /// size; else 8/7 of the image size]
    #[arg(long, value_parser = whole::<usize>, help_heading = "Images")]
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
    #[arg(long, value_parser = whole::<u64>, value_name = "IMAGES", help_heading = "Images")]
    pub(crate) shared_crops: Option<u64>,
    /// What is subtracted from pixels: image, the training images' mean, pixel by pixel, where the
    /// crop lies (Caffe); image-centre, its centre wherever the crop lies (the 2012 code); data, their
    /// mean colour; imagenet, torchvision's; weights, that of --weights; or R,G,B, levels 0 to 255 [default: weights
    /// with --weights; else image for paper,
    /// caffe and caffenet; image-centre for original; imagenet for modern and torchvision]
    #[arg(long, value_name = "MEAN", help_heading = "Images")]
    pub(crate) mean: Option<Mean>,
    /// What pixels are then divided by: data, imagenet, weights, or R,G,B, levels [default: weights
    /// with --weights; else imagenet for modern and torchvision, 1,1,1 for the others]
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
    #[arg(long, value_parser = whole::<u64>, value_name = "EPOCHS", help_heading = "Images")]
    pub(crate) colour_noise_epochs: Option<u64>,
    /// Images of an epoch that may be unreadable, before the run ends [default: 10, or one in 10,000]
    #[arg(long, value_parser = whole::<u64>, value_name = "IMAGES", help_heading = "Images")]
    pub(crate) max_unreadable: Option<u64>,

    /// Passes over the training images [default: 90; 91 for original; 30 for modern]
    #[arg(long, value_parser = whole::<u64>, help_heading = "Training")]
    pub(crate) epochs: Option<u64>,
    /// Images in a step [default: 128; for caffe, caffenet and torchvision 256; for modern 32]
    #[arg(long, short, value_parser = batch, help_heading = "Training")]
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

    /// Images computed at a time: a step adds up the gradients of its batch, which stays what it is,
    /// in less memory [default: all of the batch]
    #[arg(long, value_name = "IMAGES", value_parser = batch, help_heading = "Training")]
    pub(crate) micro_batch: Option<usize>,
    /// Share of the target that is spread over all classes [default: 0]
    #[arg(long, value_name = "SHARE", help_heading = "Training")]
    pub(crate) label_smoothing: Option<f32>,
    /// Layer-wise rates for large batches (LARS): the trust in them, about 0.001; 0 is none
    /// [default: 0]
    #[arg(long, value_name = "TRUST", help_heading = "Training")]
    pub(crate) lars: Option<f64>,
    /// Layers that do not learn, of conv1 to fc8; conv and fc stand for all of a kind [default: none]
    #[arg(long, value_name = "LAYERS", help_heading = "Training")]
    pub(crate) freeze: Option<Layers>,
    /// Factors on the learning rate of single layers, from an epoch on if one is given
    /// [default: conv1=0.1@66,conv1=0@71 of 91 epochs for original; else none]
    #[arg(long, value_name = "LAYER=FACTOR[@EPOCH],...", help_heading = "Training")]
    pub(crate) layer_lr: Option<LayerRates>,
    /// End after so many epochs without a better validation top-1; 0 is never [default: 0]
    #[arg(long, value_parser = whole::<u64>, value_name = "EPOCHS", help_heading = "Training")]
    pub(crate) patience: Option<u64>,

    /// How the learning rate moves [default: cosine for modern; drops for original; plateau for
    /// paper; else step]
    #[arg(long, value_enum, help_heading = "Learning rate")]
    pub(crate) lr_scheduler: Option<SchedulerName>,
    /// Epochs between drops, or of the first cycle of warm restarts [default: a third of the epochs,
    /// for caffe and caffenet two ninths; 10]
    #[arg(long, help_heading = "Learning rate")]
    pub(crate) lr_step_size: Option<f64>,
    /// Epochs at which the rate drops (drops) [default: 24,50,78 of 91]
    #[arg(long, value_name = "EPOCH,...", help_heading = "Learning rate")]
    pub(crate) lr_drops: Option<EpochList>,
    /// Factor of a drop (step, drops, plateau) [default: 0.1]
    #[arg(long, help_heading = "Learning rate")]
    pub(crate) lr_gamma: Option<f64>,
    /// Epochs without a better validation error before a drop (plateau) [default: 5]
    #[arg(long, value_parser = whole::<u64>, help_heading = "Learning rate")]
    pub(crate) lr_patience: Option<u64>,
    /// Each cycle of warm restarts is so many times as long as the last [default: 2]
    #[arg(long, help_heading = "Learning rate")]
    pub(crate) lr_cycle_growth: Option<f64>,
    /// Different rates from the first to --lr-min (exponential-steps) [default: 4]
    #[arg(long, value_parser = whole::<u64>, value_name = "STEPS", help_heading = "Learning rate")]
    pub(crate) lr_steps: Option<u64>,
    /// Power of the share of the run that is left (polynomial); 1 is a straight line [default: 1]
    #[arg(long, help_heading = "Learning rate")]
    pub(crate) lr_power: Option<f64>,
    /// Last learning rate (cosine, warm-restarts, polynomial, exponential-steps) [default: 0; for
    /// exponential-steps a 250th]
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

impl From<Fit> for FitName {
    fn from(fit: Fit) -> Self {
        match fit {
            Fit::ShorterSide => Self::ShorterSide,
            Fit::CentreSquare => Self::CentreSquare,
            Fit::Warp => Self::Warp,
        }
    }
}

impl From<View> for AugmentName {
    fn from(view: View) -> Self {
        match view {
            View::Centre | View::TenCrops => Self::None,
            View::RandomCrop => Self::RandomCrop,
            View::RandomResizedCrop => Self::RandomResizedCrop,
        }
    }
}

impl From<UpdateRule> for RuleName {
    fn from(rule: UpdateRule) -> Self {
        match rule {
            UpdateRule::Paper => Self::Paper,
            UpdateRule::PyTorch => Self::Pytorch,
        }
    }
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
    /// Drops at given epochs (the 2012 code's log)
    Drops,
    /// Drops when validation stops improving (the paper's rule)
    Plateau,
    /// A straight line down, or a power of it (Caffe's poly)
    Polynomial,
    /// Equal steps of one factor (cuda-convnet2's dexp)
    ExponentialSteps,
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
        let mut values = toml::Table::new();
        for (key, value) in file {
            let key = key.replace('_', "-");
            ensure!(!values.contains_key(&key), "{} says {key} twice: keep one", name());
            values.insert(key, value);
        }
        values.extend(toml::Table::try_from(&self)?);
        let merged: Self = values.try_into().with_context(name)?;
        let Self { config, resume, project, name, print_config, .. } = self;
        Ok(Self { config, resume, project, name, print_config, ..merged })
    }
}

/// A whole number that a settings file can hold as well: TOML's have a sign.
fn whole<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number: u64 = text.parse().map_err(|error| format!("{error}"))?;
    let fits = |number: &u64| *number <= WHOLE_MAX;
    let number = Some(number).filter(fits).and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("it must be at most {WHOLE_MAX}"))
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
    fn a_key_that_is_there_in_both_spellings_is_refused() {
        let error =
            over(TrainFlags::default(), "batch_size = 7\nbatch-size = 8").expect_err("refused");
        assert!(error.to_string().ends_with("says batch-size twice: keep one"), "{error:#}");
    }

    #[test]
    fn a_key_that_is_no_flag_is_named() {
        let error = over(TrainFlags::default(), "learning-rate = 1").expect_err("refused");
        assert!(format!("{error:#}").contains("learning-rate"), "{error:#}");
    }
}
