//! What can be typed after `data`: its commands, and what each takes.

use std::path::PathBuf;
use std::sync::LazyLock;

use alexnet_data::{MAX_RESIZE_PIXELS, SampleSet};
use alexnet_network::ModelName;
use clap::builder::RangedI64ValueParser;
use clap::{Arg, Args, Subcommand, ValueEnum, value_parser};

use super::{Format, positive, share, threads};
use crate::flags::{FitName, TrainFlags};

#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Draw the built-in sample set as JPEG files in a folder
    Sample(SampleArguments),
    /// Say what a data set is: kind, splits, classes, sizes
    Info(InfoArguments),
    /// Read every image of a data set, and say what is wrong with it
    ///
    /// Errors spoil training or what is measured: images that cannot be decoded, one picture in
    /// several classes, or both learnt from and measured with. Warnings may be meant. Exits with 1
    /// if there are errors.
    Check(CheckArguments),
    /// Show training images as the network will see them, in one picture
    Preview(Box<PreviewArguments>),
    /// Write a data set as class folders or packed; ILSVRC-2012's files are checked first
    Prepare(PrepareArguments),
    /// Put a data set into a few large files, its images brought to size once
    Pack(PackArguments),
    /// Say what the colours of the training images are like
    Statistics(StatisticsArguments),
}

#[derive(Args)]
pub(crate) struct SampleArguments {
    /// Folder to make
    #[arg(default_value = crate::commands::sample::DEFAULT_FOLDER)]
    pub(crate) folder: PathBuf,
    /// Decides every image
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Training images a class
    #[arg(long, value_parser = images_a_class(), default_value_t = SET.train_per_class)]
    pub(crate) train_per_class: u32,
    /// Validation images a class
    #[arg(long, value_parser = images_a_class(), default_value_t = SET.val_per_class)]
    pub(crate) val_per_class: u32,
}

#[derive(Args)]
pub(crate) struct InfoArguments {
    /// Data set to describe, as `train` takes it
    pub(crate) data: PathBuf,
    /// Share of each class's training images to set aside as validation images, in place of val/
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) val_fraction: Option<f64>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Args)]
pub(crate) struct CheckArguments {
    /// Data set to check, as `train` takes it
    pub(crate) data: PathBuf,
    /// Side of the square the network sees, in pixels: smaller images are counted
    #[arg(long, visible_alias = "img-size", value_name = "PIXELS", value_parser = resize_pixels(),
        default_value_t = ModelName::Modern.native_image_size() as u32)]
    pub(crate) image_size: u32,
    /// Share of each class's training images to set aside as validation images, in place of val/
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) val_fraction: Option<f64>,
    /// Exit with 1 for warnings as well
    #[arg(long)]
    pub(crate) strict: bool,
    /// Threads that read images [default: one a core]
    #[arg(long, short = 'j', value_parser = threads)]
    pub(crate) workers: Option<usize>,
    /// How to print the result; JSON lists every case
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Args)]
#[command(mut_args = as_of_preview)]
pub(crate) struct PreviewArguments {
    /// PNG file to write
    #[arg(long, value_name = "FILE", default_value = "preview.png")]
    pub(crate) out: PathBuf,
    /// Training images to show, of different classes as far as there are any
    #[arg(long, value_name = "IMAGES", default_value_t = 8, value_parser = positive)]
    pub(crate) rows: usize,
    /// Epochs to show each image in, beside its evaluation view
    #[arg(long, value_name = "EPOCHS", default_value_t = 4, value_parser = positive)]
    pub(crate) views: usize,
    /// The first of these epochs
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u64).range(1..=EPOCH_MAX))]
    pub(crate) epoch: u64,
    #[command(flatten)]
    pub(crate) flags: TrainFlags,
}

/// Last epoch that can be asked for: no run is longer.
const EPOCH_MAX: u64 = 1_000_000;

/// `preview` takes all flags of `train`, so that a command line can be tried out, but lists only
/// those that change a picture.
fn as_of_preview(argument: Arg) -> Arg {
    let id = argument.get_id().as_str().to_owned();
    match (argument.get_help_heading(), id.as_str()) {
        (_, "resume") => argument.help("Show what a run is shown: its settings and data"),
        (Some("Training" | "Learning rate"), _) => argument.hide(true),
        (Some("Run"), "config" | "seed") | (Some("Model"), "model") => argument,
        (Some("Run" | "Model"), _) => argument.hide(true),
        _ => argument,
    }
}

/// How packed images are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EncodingName {
    /// As they are; without --resize-size only
    Original,
    /// JPEG files
    Jpeg,
    /// Bare pixels: nothing is left to decode
    Raw,
}

/// How a data set is packed. Empty means the default.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct PackFlags {
    /// How images are stored [default: raw]
    #[arg(long, value_enum)]
    pub(crate) encoding: Option<EncodingName>,
    /// Size images are brought to, in pixels [default: as they are]
    #[arg(long, value_name = "PIXELS", value_parser = resize_pixels())]
    pub(crate) resize_size: Option<u32>,
    /// How images of other shapes are brought to size [default: shorter-side]
    #[arg(long, value_enum)]
    pub(crate) fit: Option<FitName>,
    /// Quality of JPEG files, 1 to 100, with --encoding jpeg [default: 95]
    #[arg(long, value_parser = value_parser!(u8).range(1..=100))]
    pub(crate) quality: Option<u8>,
    /// Images in a shard [default: 1024]
    #[arg(long, value_parser = positive)]
    pub(crate) shard_images: Option<usize>,
}

#[derive(Args)]
pub(crate) struct PackArguments {
    #[command(flatten)]
    pub(crate) work: DataFlags,
    #[command(flatten)]
    pub(crate) pack: PackFlags,
}

/// What a data set can be prepared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Folders train/ and val/ with a folder for each class, as torchvision's ImageFolder reads them
    Tree,
    /// A packed set, as `data pack` makes it
    Pack,
}

#[derive(Args)]
pub(crate) struct PrepareArguments {
    #[command(flatten)]
    pub(crate) work: DataFlags,
    /// What to make
    #[arg(long, value_enum, default_value_t = Target::Tree)]
    pub(crate) to: Target,
    /// Do not compare ILSVRC-2012's files with their published MD5s
    #[arg(long)]
    pub(crate) no_verify: bool,
    #[command(flatten, next_help_heading = "With --to pack")]
    pub(crate) pack: PackFlags,
}

/// From which data set into which folder.
#[derive(Args)]
pub(crate) struct DataFlags {
    /// Data set, as `train` takes it
    pub(crate) data: PathBuf,
    /// Folder to make; one that an ended run left is gone on with
    pub(crate) out: PathBuf,
    /// Share of each class's training images to set aside as validation images, in place of val/
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) val_fraction: Option<f64>,
    /// Threads that work
    #[arg(long, short = 'j', default_value_t = 2, value_parser = threads)]
    pub(crate) workers: usize,
}

#[derive(Args)]
pub(crate) struct StatisticsArguments {
    /// Data set, as `train` takes it
    pub(crate) data: PathBuf,
    /// Size images are brought to first, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 256, value_parser = resize_pixels())]
    pub(crate) resize_size: u32,
    /// How images of other shapes are brought to size, and of which part the pixels count
    #[arg(long, value_enum, default_value_t = FitName::ShorterSide)]
    pub(crate) fit: FitName,
    /// Share of each class's training images to leave out, as in `train`
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) val_fraction: Option<f64>,
    /// Threads that read images
    #[arg(long, short = 'j', default_value_t = 2, value_parser = threads)]
    pub(crate) workers: usize,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

/// A size that images can be brought to.
fn resize_pixels() -> RangedI64ValueParser<u32> {
    value_parser!(u32).range(1..=i64::from(MAX_RESIZE_PIXELS))
}

/// What the sample set is drawn like unless told.
static SET: LazyLock<SampleSet> = LazyLock::new(SampleSet::default);

fn images_a_class() -> RangedI64ValueParser<u32> {
    value_parser!(u32).range(1..=PER_CLASS_MAX)
}

/// Most images of a class the sample set is drawn with.
const PER_CLASS_MAX: i64 = 100_000;
