//! What can be typed after commands that take a table of layers, not weights: `summary`, `bench`.

use std::path::PathBuf;

use alexnet_network::ModelName;
use clap::{Args, ValueEnum};

use super::{Format, batch, positive, threads};
use crate::device::DeviceFlags;

/// Which network, where no weights say it.
#[derive(Args, Clone)]
pub(crate) struct ModelFlags {
    /// Table of layers: original, paper, caffe, caffenet, modern or torchvision
    #[arg(long, short, default_value = "modern")]
    pub(crate) model: ModelName,
    /// Batch normalisation after each convolution (modern only; there `train` has it by default)
    #[arg(long)]
    pub(crate) batch_norm: bool,
    /// Outputs of the last layer
    #[arg(long, default_value_t = 1000)]
    pub(crate) classes: usize,
    /// Input side in pixels [default: the model's own]
    #[arg(long, visible_alias = "img-size")]
    pub(crate) image_size: Option<usize>,
    /// Factor on maps and hidden units
    #[arg(long, default_value_t = 1.0)]
    pub(crate) width: f32,
}

#[derive(Args)]
pub(crate) struct SummaryArguments {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// Batch size that the memory is given for
    #[arg(long, short, default_value_t = 128, value_parser = batch)]
    pub(crate) batch_size: usize,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchTask {
    /// Training steps: forward, backward, update
    Train,
    /// Forward passes
    Infer,
    /// Decoding and augmentation, as in training
    Data,
}

#[derive(Args)]
pub(crate) struct BenchArguments {
    /// What to time
    #[arg(value_enum)]
    pub(crate) task: BenchTask,
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// Folder of images to time loading with [default: the built-in sample set, drawn in memory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Images in a step
    #[arg(long, short, default_value_t = 32, value_parser = batch)]
    pub(crate) batch_size: usize,
    /// Steps timed
    #[arg(long, default_value_t = 10, value_parser = steps)]
    pub(crate) steps: usize,
    /// Steps run before the clock starts
    #[arg(long, default_value_t = 2, value_parser = warmup_steps)]
    pub(crate) warmup_steps: usize,
    /// Threads that load images (data only)
    #[arg(long, short = 'j', default_value_t = 2, value_parser = threads)]
    pub(crate) workers: usize,
    /// What they make of images: numbers, or levels that a GPU resizes and normalises (data only)
    #[arg(long, value_enum, default_value_t = LoadedAs::Values)]
    pub(crate) loaded_as: LoadedAs,
    /// Time each operation of a GPU by itself too: kernels, products, convolutions
    #[arg(long)]
    pub(crate) operations: bool,
    /// Time whole steps and nothing else, neither layers nor what the machine could do at most
    #[arg(long, conflicts_with = "operations")]
    pub(crate) steps_only: bool,
    /// Have a GPU do one operation after the other, none beside another
    #[arg(long)]
    pub(crate) in_turn: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) device: DeviceFlags,
}

/// Most steps: the time of each is kept, and a million of the fastest take minutes.
const STEPS_MAX: usize = 1_000_000;

fn steps(text: &str) -> Result<usize, String> {
    positive(text).and_then(|_| warmup_steps(text))
}

fn warmup_steps(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > STEPS_MAX => Err(format!("it must be at most {STEPS_MAX}")),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

/// As what images leave the loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoadedAs {
    /// The network's numbers.
    Values,
    /// Bytes of the images, for a device that resizes.
    Levels,
}
