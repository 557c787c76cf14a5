//! What can be typed. Names follow torchvision's and timm's flags.

mod data;
mod lab;
mod tables;
mod trained;

use alexnet_cpu::THREADS_MAX;
use alexnet_network::BATCH_MAX;
use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use self::data::{
    CheckArguments, DataCommand, EncodingName, InfoArguments, PackArguments, PackFlags,
    PrepareArguments, PreviewArguments, SampleArguments, StatisticsArguments, Target,
};
pub(crate) use self::lab::{LabArguments, LabTask};
pub(crate) use self::tables::{BenchArguments, BenchTask, LoadedAs, ModelFlags, SummaryArguments};
pub(crate) use self::trained::{
    ConvertArguments, EvalArguments, FiguresArguments, FormatName, PredictArguments, PredictFormat,
};
use crate::flags::TrainFlags;

/// AlexNet, whole: trains, evaluates and predicts on a folder of images. No Python, no framework.
#[derive(Parser)]
#[command(name = "alexnet", version, max_term_width = 100, after_help = ENVIRONMENT)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is read beside the flags.
const ENVIRONMENT: &str = "Environment:
  ALEXNET_ISA        Instructions the processor computes with: portable, neon, avx2, avx512 or amx
                     [default: the richest it has]
  ALEXNET_CUDA_PATH  Folders to look for CUDA's libraries in, beside the usual ones
  ALEXNET_CACHE_DIR  Folder that keeps kernels compiled for a GPU; empty keeps nothing
                     [default: the user's cache]";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Train a network on a folder of images
    #[command(after_help = ENVIRONMENT)]
    Train(Box<TrainFlags>),
    /// Measure the loss and accuracy of weights
    #[command(after_help = ENVIRONMENT)]
    Eval(EvalArguments),
    /// Draw a run: curves, first-layer filters, what was taken for what
    #[command(after_help = ENVIRONMENT)]
    Figures(FiguresArguments),
    /// Say what images show
    #[command(after_help = ENVIRONMENT)]
    Predict(PredictArguments),
    /// Turn weights into another form: safetensors, PyTorch, ONNX or Caffe
    ///
    /// Forms are told by content, and of OUT by the end of its name. What IN does not say of itself
    /// (which network, class names, how images become its input) is as its makers had it, and said
    /// on one line.
    #[command(visible_alias = "export")]
    Convert(ConvertArguments),
    /// Show a model's layers, sizes and costs
    Summary(SummaryArguments),
    /// Measure speed on this machine
    #[command(after_help = ENVIRONMENT)]
    Bench(BenchArguments),
    /// Put a published claim to the test, in minutes
    ///
    /// `alexnet lab list` says what there is, what was published, and how long each takes. Small
    /// networks are trained with several seeds; the result stands beside the published one with its
    /// spread, and with an honest word where nothing shows at this scale.
    #[command(after_help = ENVIRONMENT)]
    Lab(LabArguments),
    /// Say what this machine computes with, what is missing, and what to do about it
    #[command(after_help = ENVIRONMENT)]
    Doctor,
    /// Make, inspect, prepare and pack data sets
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a person
    Table,
    /// One JSON document
    Json,
}

/// A number of threads, 0 included.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > THREADS_MAX => Err(format!("it must be at most {THREADS_MAX}")),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

/// Most of the images that may be set aside.
pub(crate) const VAL_FRACTION_MAX: f64 = 0.9;

/// A share of images to set aside.
fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if 0.0 < share && share <= VAL_FRACTION_MAX => Ok(share),
        Ok(_) => Err(format!("it must lie above 0 and be at most {VAL_FRACTION_MAX}")),
        Err(error) => Err(format!("{error}")),
    }
}

/// Largest whole number that a settings file can hold.
pub(crate) const WHOLE_MAX: u64 = i64::MAX as u64;

/// A count of at least one.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".into()),
        Ok(count) if count as u64 > WHOLE_MAX => Err(format!("it must be at most {WHOLE_MAX}")),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

/// A number of images that a network can be shown at a time.
pub(crate) fn batch(text: &str) -> Result<usize, String> {
    match positive(text) {
        Ok(count) if count > BATCH_MAX => Err(format!("it must be at most {BATCH_MAX}")),
        other => other,
    }
}
