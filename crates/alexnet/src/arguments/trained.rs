//! What can be typed after commands on what was trained: `eval`, `figures`, `predict`, `convert`.

use std::path::PathBuf;

use alexnet_network::ModelName;
use clap::{Args, ValueEnum};

use super::{Format, batch, positive, threads};
use crate::device::DeviceFlags;

/// How predictions are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PredictFormat {
    /// For a person
    Table,
    /// One JSON array
    Json,
    /// One JSON object a line
    Jsonl,
    /// path, rank, index, class, probability
    Csv,
}

#[derive(Args)]
pub(crate) struct EvalArguments {
    /// Folder with val/ (or valid/, validation/, test/), or with a folder for each class
    pub(crate) data: PathBuf,
    /// Weights to measure; several are measured together, as an ensemble
    #[arg(long, short, required = true, num_args = 1.., value_name = "FILE")]
    pub(crate) weights: Vec<PathBuf>,
    /// Folder beneath DATA to measure on
    #[arg(long, value_name = "NAME")]
    pub(crate) split: Option<String>,
    /// Measure even if DATA lacks images of some of the weights' classes
    #[arg(long)]
    pub(crate) allow_missing_classes: bool,
    /// Crops of each image: 1, the centre; or 10, the corners, the centre and all mirrored, whose
    /// probabilities are averaged
    #[arg(long, default_value_t = 1, value_parser = crops)]
    pub(crate) crops: usize,
    /// Images in a pass
    #[arg(long, short, default_value_t = 32, value_parser = batch)]
    pub(crate) batch_size: usize,
    /// Threads that load images
    #[arg(long, short = 'j', default_value_t = 2, value_parser = threads)]
    pub(crate) workers: usize,
    /// Write a CSV file with a line an image: path, label, predicted, probability, correct, rank,
    /// top5
    #[arg(long, value_name = "FILE")]
    pub(crate) predictions: Option<PathBuf>,
    /// Write a CSV file with a line a class: images, top-1 and top-5 accuracy, what it was most often
    /// taken for
    #[arg(long, value_name = "FILE")]
    pub(crate) per_class: Option<PathBuf>,
    /// Write a CSV file with a line a class and a column a class: how many of the one were taken for
    /// the other
    #[arg(long, value_name = "FILE")]
    pub(crate) confusion: Option<PathBuf>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) device: DeviceFlags,
}

#[derive(Args)]
pub(crate) struct FiguresArguments {
    /// Folders of runs; of several, the curves are drawn on common charts, and no more
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// Folder to write to [default: RUN/figures; of several runs figures]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Where the run's data set is now [default: where it was]
    #[arg(long, value_name = "DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Wrong answers to show
    #[arg(long, value_name = "IMAGES", default_value_t = 24)]
    pub(crate) mistakes: usize,
    /// Images in a pass
    #[arg(long, short, default_value_t = 32, value_parser = batch)]
    pub(crate) batch_size: usize,
    /// Threads that load images
    #[arg(long, short = 'j', default_value_t = 2, value_parser = threads)]
    pub(crate) workers: usize,
    #[command(flatten)]
    pub(crate) device: DeviceFlags,
}

#[derive(Args)]
pub(crate) struct PredictArguments {
    /// Images, or folders of images
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Weights to use
    #[arg(long, short, value_name = "FILE")]
    pub(crate) weights: PathBuf,
    /// Classes to print for each image
    #[arg(long, short = 'k', visible_alias = "topk", default_value_t = 5, value_parser = positive)]
    pub(crate) top_k: usize,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = PredictFormat::Table)]
    pub(crate) format: PredictFormat,
    /// Print the network's raw outputs as well (JSON formats)
    #[arg(long)]
    pub(crate) logits: bool,
    /// Images in a pass
    #[arg(long, short, default_value_t = 32, value_parser = batch)]
    pub(crate) batch_size: usize,
    /// Threads that load images
    #[arg(long, short = 'j', default_value_t = 2, value_parser = threads)]
    pub(crate) workers: usize,
    #[command(flatten)]
    pub(crate) device: DeviceFlags,
}

/// A form of weights file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    /// This program's own, which other programs read too (.safetensors)
    Safetensors,
    /// A state dict as `torch.save` writes it (.pth, .pt)
    Pytorch,
    /// A graph with its weights (.onnx)
    Onnx,
    /// A trained net of model caffe or caffenet (.caffemodel)
    Caffe,
}

#[derive(Args)]
pub(crate) struct ConvertArguments {
    /// Weights of any form
    #[arg(value_name = "IN")]
    pub(crate) from: PathBuf,
    /// File to write
    #[arg(value_name = "OUT")]
    pub(crate) to: PathBuf,
    /// Form to write [default: as OUT's name ends]
    #[arg(long, value_enum)]
    pub(crate) to_format: Option<FormatName>,
    /// Which network IN is, where its tensors are those of several
    #[arg(long, short)]
    pub(crate) model: Option<ModelName>,
    /// Input side of IN in pixels [default: the model's own]
    #[arg(long, visible_alias = "img-size", value_name = "PIXELS", value_parser = positive)]
    pub(crate) image_size: Option<usize>,
    /// Text file with the classes' names, one a line, in the order of the outputs
    #[arg(long, value_name = "FILE")]
    pub(crate) class_names: Option<PathBuf>,
    /// Mean image of Caffe's to subtract (.binaryproto)
    #[arg(long, value_name = "FILE")]
    pub(crate) mean_image: Option<PathBuf>,
    /// ONNX: take red, green and blue from 0 to 255 and normalise them in the graph
    #[arg(long)]
    pub(crate) with_preprocess: bool,
    /// ONNX: give probabilities in place of logits
    #[arg(long)]
    pub(crate) with_softmax: bool,
    /// Read OUT again and compare what it and IN make of one input
    #[arg(long)]
    pub(crate) verify: bool,
}

/// One crop or ten.
fn crops(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "10" => Ok(10),
        _ => Err("it must be 1 or 10".into()),
    }
}
