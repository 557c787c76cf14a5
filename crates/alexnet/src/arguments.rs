//! What can be typed. Names follow torchvision's and timm's flags.

use std::path::PathBuf;
use std::sync::LazyLock;

use alexnet_data::SampleSet;
use alexnet_lab::Experiment;
use alexnet_network::ModelName;
use clap::builder::{PossibleValuesParser, RangedI64ValueParser, TypedValueParser};
use clap::{Arg, Args, Parser, Subcommand, ValueEnum, value_parser};

use crate::device::DeviceFlags;
use crate::flags::{FitName, TrainFlags};

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
  ALEXNET_CUDA_PATH  Folders to look for CUDA's libraries in, beside the usual ones";

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

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a person
    Table,
    /// One JSON document
    Json,
}

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
    #[arg(long, short, default_value_t = 32, value_parser = positive)]
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
    #[arg(long, short, default_value_t = 32, value_parser = positive)]
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
    #[arg(long, visible_alias = "img-size")]
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
    #[arg(long, short, default_value_t = 128, value_parser = positive)]
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
    #[arg(long, short, default_value_t = 32, value_parser = positive)]
    pub(crate) batch_size: usize,
    /// Steps timed
    #[arg(long, default_value_t = 10, value_parser = positive)]
    pub(crate) steps: usize,
    /// Steps run before the clock starts
    #[arg(long, default_value_t = 2)]
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
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) device: DeviceFlags,
}

/// As what images leave the loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoadedAs {
    /// The network's numbers.
    Values,
    /// Bytes of the images, for a device that resizes.
    Levels,
}

/// What the laboratory is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LabTask {
    /// What there is
    List,
    /// One experiment
    Experiment(Experiment),
}

#[derive(Args)]
pub(crate) struct LabArguments {
    /// Experiment to do, or list
    #[arg(value_name = "NAME", value_parser = lab_task())]
    pub(crate) task: LabTask,
    /// Data set to do it on, as `train` takes it; of a large one 1200 images of each split are used
    /// [default: the built-in sample set, drawn for it]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Share of each class's training images to set aside as validation images, in place of val/
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) val_fraction: Option<f64>,
    /// Times everything is done anew: with seeds 0, 1, 2… [default: 3 or 5, by experiment]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=SEEDS_MAX))]
    pub(crate) seeds: Option<u64>,
    /// Folder for drawings and for the result as JSON
    #[arg(long, value_name = "DIR", default_value = "runs/lab")]
    pub(crate) out: PathBuf,
    /// A few images and two epochs, to see that it works: its figures mean nothing
    #[arg(long)]
    pub(crate) quick: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) device: DeviceFlags,
}

/// Most seeds of an experiment.
const SEEDS_MAX: u64 = 1000;

/// `list`, or the name of an experiment.
fn lab_task() -> impl TypedValueParser<Value = LabTask> {
    let names = Experiment::ALL.map(Experiment::as_str);
    PossibleValuesParser::new(["list"].into_iter().chain(names))
        .map(|name| name.parse().map_or(LabTask::List, LabTask::Experiment))
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
    #[arg(long, visible_alias = "img-size", value_name = "PIXELS",
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
    #[arg(long, value_name = "PIXELS")]
    pub(crate) resize_size: Option<u32>,
    /// How images of other shapes are brought to size [default: shorter-side]
    #[arg(long, value_enum)]
    pub(crate) fit: Option<FitName>,
    /// Quality of JPEG files, 1 to 100 [default: 95]
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
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
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

/// What the sample set is drawn like unless told.
static SET: LazyLock<SampleSet> = LazyLock::new(SampleSet::default);

fn images_a_class() -> RangedI64ValueParser<u32> {
    value_parser!(u32).range(1..=PER_CLASS_MAX)
}

/// Most images of a class the sample set is drawn with.
const PER_CLASS_MAX: i64 = 100_000;

/// Most threads of a kind: beyond the cores of any machine this runs on.
pub(crate) const THREADS_MAX: usize = 1024;

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

/// One crop or ten.
fn crops(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "10" => Ok(10),
        _ => Err("it must be 1 or 10".into()),
    }
}

/// A count of at least one.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".into()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}
