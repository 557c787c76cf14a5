//! `alexnet convert`: weights from one form to another.

use std::path::Path;

use alexnet_network::{Network, Pass};
use alexnet_ops::Reference;
use alexnet_predict::inference_plan;
use alexnet_weights::ModelFile;
use alexnet_weights::formats::{self, Format, Known, OnnxOptions};
use anyhow::{Context, ensure};

use super::{open_weights, with_commas};
use crate::Ended;
use crate::arguments::{ConvertArguments, FormatName};
use crate::settings::UsageError;
use crate::terminal::print;

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
    let known = Known {
        model: arguments.model,
        image_size: arguments.image_size,
        classes: arguments.class_names.as_deref().map(class_names).transpose()?,
        mean_image: arguments.mean_image.clone(),
    };
    let file = open_weights(from, &known)?;
    // A network that cannot be made is not written either.
    inference_plan(from, &file, 1)?;
    formats::save(&file, to, format, options)?;
    let bytes = to.metadata().with_context(|| format!("cannot read {}", to.display()))?.len();
    print(&format!("{}: {format}, {} bytes", to.display(), with_commas(bytes as usize)))?;
    if format == Format::Caffe {
        let mean = to.with_extension(MEAN_IMAGE_EXTENSION);
        if formats::save_mean_image(&file, &mean)? {
            print(&format!("{}: its mean image", mean.display()))?;
        }
    }
    if arguments.verify {
        verify(&file, from, to)?;
    }
    Ok(Ended::Done)
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

/// The lines of a text file.
fn class_names(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = alexnet_data::read_text(path)?;
    let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    let empty = names.iter().position(String::is_empty);
    ensure!(
        empty.is_none(),
        "{}: line {} is empty: every line names a class",
        path.display(),
        empty.unwrap_or_default() + 1
    );
    Ok(names)
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
