//! What a file does not say is completed: by what the user knows, or as the network's makers had it.

use std::path::{Path, PathBuf};

use alexnet_data::{
    Fit, IMAGENET_MEAN, IMAGENET_STD, MeanImage, MeanPart, Preprocess, PreprocessError,
};
use alexnet_network::{ModelConfig, ModelName};

use super::found::Found;
use super::recognise::{Hints, recognise};
use super::{Format, caffe, protobuf};
use crate::container::WeightsError;
use crate::model_file::{Description, ModelFile};

/// What a user says of a file; it goes before what the file says and what is usual.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// The network, where several have the same tensors.
    pub model: Option<ModelName>,
    /// The input's side in pixels.
    pub image_size: Option<usize>,
    /// Class names in the order of the outputs.
    pub classes: Option<Vec<String>>,
    /// Caffe's file of the mean image, `.binaryproto`.
    pub mean_image: Option<PathBuf>,
}

/// Weights that were read.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// The network.
    pub file: ModelFile,
    /// The form of the file.
    pub format: Format,
    /// On one line, what was taken for what; none if the file itself says it all.
    pub taken: Option<String>,
}

/// ILSVRC-2012's mean level of red, green and blue, as Caffe's examples subtract it where there is no
/// mean image (BVLC/caffe, `python/caffe/imagenet/ilsvrc_2012_mean.npy`).
const CAFFE_MEAN: [f32; 3] = [122.678_92, 116.668_77, 104.006_99];

/// The network that was found in a file.
///
/// # Errors
/// When it is none of the six, or what is known does not go with it.
pub(super) fn complete(
    path: &Path,
    format: Format,
    found: Found,
    known: &Known,
) -> Result<Opened, WeightsError> {
    let malformed = |reason: String| WeightsError::Malformed { path: path.into(), reason };
    let (description, classes) = (found.description.clone(), found.classes.clone());
    let hints = Hints { model: known.model, image_size: known.image_size };
    let (config, weights) = recognise(found, hints)
        .map_err(|reason| WeightsError::Unrecognised { path: path.into(), reason })?;
    contradictions(&config, known).map_err(malformed)?;
    if let Some(names) = known.classes.as_ref().filter(|names| names.len() != config.classes) {
        let (given, outputs) = (names.len(), config.classes);
        return Err(WeightsError::ClassCount { path: path.into(), given, outputs });
    }
    let is_described = description.is_some();
    let (own_classes, own_preprocess) = match description {
        Some(Description { classes, preprocess, .. }) => (Some(classes), Some(preprocess)),
        None => (classes, None),
    };
    let named = known.classes.is_some() || own_classes.is_some();
    let classes = known.classes.clone().or(own_classes);
    let classes = classes.unwrap_or_else(|| (0..config.classes).map(|n| n.to_string()).collect());
    let mut preprocess = own_preprocess.unwrap_or_else(|| usual_preprocess(&config));
    if let Some(mean) = &known.mean_image {
        preprocess = with_mean_image(preprocess, mean)?;
    }
    let taken = (!is_described).then(|| {
        let names = if named { "" } else { " without names" };
        format!(
            "{}: {format}, model {}, {} classes{names}, {}",
            path.display(),
            in_words(&config),
            config.classes,
            preprocess_in_words(&preprocess)
        )
    });
    let description = Description { model: config, classes, preprocess };
    let file = ModelFile::new(description, weights).map_err(malformed)?;
    Ok(Opened { file, format, taken })
}

/// What is known must be so where the file says the same thing.
fn contradictions(config: &ModelConfig, known: &Known) -> Result<(), String> {
    if let Some(model) = known.model
        && model != config.model
    {
        return Err(format!("it says that it is {}, not {model}: leave --model out", config.model));
    }
    match known.image_size {
        Some(size) if size != config.image_size => Err(format!(
            "it says that its images have {} pixels, not {size}: leave --image-size out",
            config.image_size
        )),
        _ => Ok(()),
    }
}

/// The same with the mean image in a file of Caffe's.
fn with_mean_image(preprocess: Preprocess, path: &Path) -> Result<Preprocess, WeightsError> {
    let unfit = |reason| WeightsError::MeanImage { path: path.into(), reason };
    let (side, levels) = protobuf(path, caffe::NUMBERS_OF_MEAN, caffe::read_mean)?;
    let resize = preprocess.resize;
    let mean_image = Some(MeanImage { part: MeanPart::Crop, levels });
    let preprocess = Preprocess { mean_image, ..preprocess };
    match preprocess.check() {
        Ok(()) => Ok(preprocess),
        Err(PreprocessError::MeanImage { .. }) => {
            Err(unfit(format!("it has {side} pixels a side, images here {resize}")))
        }
        Err(error) => Err(unfit(error.to_string())),
    }
}

/// What the network's makers did to an image, with a level a colour in place of a mean image.
fn usual_preprocess(config: &ModelConfig) -> Preprocess {
    let (native, crop) = (config.model.native_image_size(), config.image_size);
    // 256 as everywhere since 2012, or as much in proportion.
    let resize = (crop * 256).div_ceil(native) as u32;
    let (fit, mean, std) = match config.model {
        ModelName::Modern | ModelName::Torchvision => {
            (Fit::ShorterSide, IMAGENET_MEAN, IMAGENET_STD)
        }
        ModelName::Caffe | ModelName::Caffenet => (Fit::Warp, CAFFE_MEAN, [1.0; 3]),
        ModelName::Original | ModelName::Paper => (Fit::CentreSquare, CAFFE_MEAN, [1.0; 3]),
    };
    Preprocess { fit, resize, crop: crop as u32, mean, std, mean_image: None }
}

fn in_words(config: &ModelConfig) -> String {
    let width =
        if config.width == 1.0 { String::new() } else { format!(" at width {}", config.width) };
    let batch_norm = if config.batch_norm { " with batch normalisation" } else { "" };
    format!("{}{width}{batch_norm}", config.model)
}

fn preprocess_in_words(preprocess: &Preprocess) -> String {
    let Preprocess { fit, resize, crop, mean, std, mean_image } = preprocess;
    let fit = match fit {
        Fit::ShorterSide => "shorter side",
        Fit::CentreSquare => "centre square",
        Fit::Warp => "both sides",
    };
    let levels = |levels: &[f32; 3]| levels.map(|level| format!("{level:.1}")).join(", ");
    let mean = match mean_image {
        Some(_) => "a mean image".to_owned(),
        None => format!("mean {}", levels(mean)),
    };
    format!("{fit} to {resize}, crop {crop}, {mean}, deviation {}", levels(std))
}
