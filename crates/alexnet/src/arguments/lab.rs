//! What can be typed after `lab`.

use std::path::PathBuf;

use alexnet_lab::Experiment;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, value_parser};

use super::{Format, share};
use crate::device::DeviceFlags;

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
