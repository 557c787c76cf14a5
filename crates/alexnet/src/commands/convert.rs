//! `alexnet convert`: weights from one form to another.

use std::path::{Path, PathBuf};

use alexnet_data::read_names;
use alexnet_network::{Network, Pass};
use alexnet_ops::Reference;
use alexnet_predict::inference_plan;
use alexnet_weights::formats::{self, Format, Known, OnnxOptions};
use alexnet_weights::{ModelFile, WeightsError};
use anyhow::{Context, ensure};

use super::{open_weights, with_commas};
use crate::arguments::{ConvertArguments, FormatName};
use crate::settings::UsageError;
use crate::terminal::print;
use crate::{Ended, interrupt, places};

/// Largest difference of logits that passes, as a share of the largest logit.
const TOLERANCE: f32 = 1e-4;
/// A mean image stands beside a net of Caffe's, under its name with this end.
const MEAN_IMAGE_EXTENSION: &str = "mean.binaryproto";

pub(crate) fn run(arguments: &ConvertArguments) -> anyhow::Result<Ended> {
    let ConvertArguments { from, to, .. } = arguments;
    let format = format_of(arguments)?;
    let options =
        OnnxOptions { preprocess: arguments.with_preprocess, softmax: arguments.with_softmax };
    if options != OnnxOptions::default() && format != Format::Onnx {
        let reason =
            "--with-preprocess and --with-softmax need a graph: write ONNX, or leave them out";
        return Err(UsageError(reason.into()).into());
    }
    // A wish to stop waits until OUT is whole or not begun: whoever is ended in the midst leaves a part
    // of it behind, of hundreds of megabytes.
    interrupt::listen()?;
    check_places(arguments, format)?;
    let known = Known {
        model: arguments.model,
        image_size: arguments.image_size,
        classes: arguments.class_names.as_deref().map(read_names).transpose()?,
        mean_image: arguments.mean_image.clone(),
    };
    let file =
        open_weights(from, &known).map_err(|error| match class_names_of(arguments, &error) {
            Some(names) => error.context(names.display().to_string()),
            None => error,
        })?;
    // A network that cannot be made is not written either.
    inference_plan(from, &file, 1)?;
    if format == Format::Caffe && file.preprocess.mean_image.is_some() && places::is_stream(to) {
        let reason = "the mean image of these weights stands beside OUT: name a file as OUT";
        return Err(UsageError(reason.into()).into());
    }
    if interrupt::requested() {
        return Ok(Ended::Stopped);
    }
    formats::save(&file, to, format, options)?;
    let size = match places::is_stream(to) {
        true => String::new(),
        false => {
            let found = to.metadata().with_context(|| format!("cannot read {}", to.display()))?;
            format!(", {} bytes", with_commas(found.len() as usize))
        }
    };
    places::tell(to, &format!("{}: {format}{size}", to.display()))?;
    if let Some(mean) = mean_image(to, format)
        && formats::save_mean_image(&file, &mean)?
    {
        print(&format!("{}: its mean image", mean.display()))?;
    }
    if arguments.verify && !interrupt::requested() {
        verify(&file, from, to)?;
    }
    Ok(interrupt::ended())
}

/// Where the mean image goes that stands beside a net of Caffe's, if it has one.
fn mean_image(to: &Path, format: Format) -> Option<PathBuf> {
    (format == Format::Caffe && !places::is_stream(to))
        .then(|| to.with_extension(MEAN_IMAGE_EXTENSION))
}

/// What is read is not replaced, and what cannot be read again is not verified.
fn check_places(arguments: &ConvertArguments, format: Format) -> anyhow::Result<()> {
    let ConvertArguments { from, to, class_names, mean_image: subtracted, .. } = arguments;
    if arguments.verify && places::is_stream(to) {
        let to = to.display();
        let reason = format!("--verify reads OUT again, and {to} is no file: leave it out");
        return Err(UsageError(reason).into());
    }
    let mean = mean_image(to, format);
    let mut outputs = vec![("OUT", &**to)];
    outputs.extend(mean.as_deref().map(|mean| ("OUT's mean image", mean)));
    let read = [("--class-names", class_names), ("--mean-image", subtracted)];
    places::check(&outputs, places::given(read).chain([("IN", &**from)]))
}

fn format_of(arguments: &ConvertArguments) -> Result<Format, UsageError> {
    let typed = arguments.to_format.map(|name| match name {
        FormatName::Safetensors => Format::Safetensors,
        FormatName::Pytorch => Format::Pytorch,
        FormatName::Onnx => Format::Onnx,
        FormatName::Caffe => Format::Caffe,
    });
    typed.or_else(|| Format::of_name(&arguments.to)).ok_or_else(|| {
        let ends = Format::ALL.map(|format| format!(".{}", format.extensions()[0])).join(", ");
        UsageError(format!(
            "{} ends as no weights file does ({ends}): name the form with --to-format",
            arguments.to.display()
        ))
    })
}

/// The file of class names, if it is what is wrong.
fn class_names_of<'a>(
    arguments: &'a ConvertArguments,
    error: &anyhow::Error,
) -> Option<&'a PathBuf> {
    let is_theirs = matches!(error.downcast_ref(), Some(WeightsError::ClassCount { .. }));
    arguments.class_names.as_ref().filter(|_| is_theirs)
}

/// Reads what was written, and compares what the reference makes of one input with either.
fn verify(file: &ModelFile, from: &Path, to: &Path) -> anyhow::Result<()> {
    let known = Known {
        model: Some(file.config.model),
        image_size: Some(file.config.image_size),
        ..Known::default()
    };
    let written = formats::open(to, &known)?.file;
    let (expected, found) = (logits(file, from)?, logits(&written, to)?);
    let largest = expected.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
    let pairs = expected.iter().zip(&found);
    let difference = pairs.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    ensure!(
        difference <= TOLERANCE * largest && expected.len() == found.len(),
        "{} is not the network it was made of: logits up to {largest} differ by {difference}",
        to.display()
    );
    print(&format!("verified: largest difference {difference} of logits up to {largest}"))
}

/// What the reference makes of an image that rises and falls from place to place.
fn logits(file: &ModelFile, path: &Path) -> anyhow::Result<Vec<f32>> {
    let plan = inference_plan(path, file, 1)?;
    let image: Vec<f32> = (0..plan.image_len()).map(|at| (at as f32 * 0.37).sin()).collect();
    let mut network = Network::with_weights(Reference::<f32>::new(), plan, &file.weights)?;
    Ok(network.forward(&image, Pass::Evaluate).to_vec())
}
