//! The six models, each a table to be read top to bottom beside the paper's figure 2.
//!
//! A new ablation is a changed row. Sources of the figures: `original` is config #145 of the code
//! that trained the 2012 network (computerhistory/AlexNet-Source-Code, `layers/layers-145.cfg`);
//! `paper` is the text of Krizhevsky, Sutskever and Hinton, NIPS 2012; `caffe` and `caffenet` are
//! BVLC's `bvlc_alexnet` and `bvlc_reference_caffenet`; `torchvision` is torchvision's `alexnet`
//! ("One weird trick", arXiv 1404.5997); `modern` is the single tower with the paper's widths that
//! today's descriptions draw.

use std::fmt;
use std::str::FromStr;

use alexnet_ops::LrnRegion::{AcrossMaps, SameMap};
use alexnet_ops::Rounding::{Ceil, Floor};
use serde::{Deserialize, Serialize};

use crate::initial::Fill::{self, Constant, KaimingFanOut, Normal, UniformFanIn};
use crate::layer::DropoutForm::{Classic, Inverted};
use crate::layer::{Conv, Layer, Linear, Units};
use Layer::{AveragePool, BatchNorm, Dropout, Lrn, MaxPool, Relu};

/// conv2, conv4 and conv5 see only the maps of their own tower (paper §3.5).
const TOWERS: usize = 2;

/// The 2012 code. 224 pixels and no padding, sizes rounded up; conv1 is normalised *before* it is
/// pooled and rectified; conv2 has a second normalisation the paper does not mention; the code
/// divides alpha by the window's size.
const ORIGINAL: &[Layer] = &[
    //   maps  kernel stride pad groups rounding weights bias
    conv(96, 11, 4, 0, 1, Ceil, Normal(0.01), 0.0),
    Lrn(AcrossMaps { groups: TOWERS }, 5, 1e-4 / 5.0, 0.75, 2.0),
    MaxPool(3, 2, Ceil),
    Relu,
    conv(256, 5, 1, 2, TOWERS, Floor, Normal(0.01), 1.0),
    Relu,
    Lrn(AcrossMaps { groups: TOWERS }, 5, 1e-4 / 5.0, 0.75, 2.0),
    Lrn(SameMap, 5, 1e-3 / 25.0, 0.75, 1.0),
    MaxPool(3, 2, Ceil),
    conv(384, 3, 1, 1, 1, Floor, Normal(0.03), 0.0),
    Relu,
    conv(384, 3, 1, 1, TOWERS, Floor, Normal(0.03), 1.0),
    Relu,
    conv(256, 3, 1, 1, TOWERS, Floor, Normal(0.03), 1.0),
    MaxPool(3, 2, Ceil),
    Relu,
    hidden(4096, Normal(0.01), 1.0),
    Relu,
    Dropout(0.5, Classic),
    hidden(4096, Normal(0.01), 1.0),
    Relu,
    Dropout(0.5, Classic),
    output(Normal(0.01), 0.0),
];

/// The paper's text, §3–5, where it differs from the code: every layer convolves, rectifies,
/// normalises, pools in that order; alpha is not divided; all weights start at deviation 0.01. 227
/// pixels, so that unpadded windows fit.
const PAPER: &[Layer] = &[
    conv(96, 11, 4, 0, 1, Floor, Normal(0.01), 0.0),
    Relu,
    Lrn(AcrossMaps { groups: TOWERS }, 5, 1e-4, 0.75, 2.0),
    MaxPool(3, 2, Floor),
    conv(256, 5, 1, 2, TOWERS, Floor, Normal(0.01), 1.0),
    Relu,
    Lrn(AcrossMaps { groups: TOWERS }, 5, 1e-4, 0.75, 2.0),
    MaxPool(3, 2, Floor),
    conv(384, 3, 1, 1, 1, Floor, Normal(0.01), 0.0),
    Relu,
    conv(384, 3, 1, 1, TOWERS, Floor, Normal(0.01), 1.0),
    Relu,
    conv(256, 3, 1, 1, TOWERS, Floor, Normal(0.01), 1.0),
    Relu,
    MaxPool(3, 2, Floor),
    hidden(4096, Normal(0.01), 1.0),
    Relu,
    Dropout(0.5, Classic),
    hidden(4096, Normal(0.01), 1.0),
    Relu,
    Dropout(0.5, Classic),
    output(Normal(0.01), 0.0),
];

/// BVLC's AlexNet: the normalisation window crosses the towers' border, k is 1, alpha is divided,
/// the non-zero biases are 0.1, dropout is inverted.
const CAFFE: &[Layer] = &[
    conv(96, 11, 4, 0, 1, Floor, Normal(0.01), 0.0),
    Relu,
    Lrn(AcrossMaps { groups: 1 }, 5, 1e-4 / 5.0, 0.75, 1.0),
    MaxPool(3, 2, Ceil),
    conv(256, 5, 1, 2, TOWERS, Floor, Normal(0.01), 0.1),
    Relu,
    Lrn(AcrossMaps { groups: 1 }, 5, 1e-4 / 5.0, 0.75, 1.0),
    MaxPool(3, 2, Ceil),
    conv(384, 3, 1, 1, 1, Floor, Normal(0.01), 0.0),
    Relu,
    conv(384, 3, 1, 1, TOWERS, Floor, Normal(0.01), 0.1),
    Relu,
    conv(256, 3, 1, 1, TOWERS, Floor, Normal(0.01), 0.1),
    Relu,
    MaxPool(3, 2, Ceil),
    hidden(4096, Normal(0.005), 0.1),
    Relu,
    Dropout(0.5, Inverted),
    hidden(4096, Normal(0.005), 0.1),
    Relu,
    Dropout(0.5, Inverted),
    output(Normal(0.01), 0.0),
];

/// BVLC's CaffeNet: as `caffe`, but pooled before it is normalised, and with biases of 1.
const CAFFENET: &[Layer] = &[
    conv(96, 11, 4, 0, 1, Floor, Normal(0.01), 0.0),
    Relu,
    MaxPool(3, 2, Ceil),
    Lrn(AcrossMaps { groups: 1 }, 5, 1e-4 / 5.0, 0.75, 1.0),
    conv(256, 5, 1, 2, TOWERS, Floor, Normal(0.01), 1.0),
    Relu,
    MaxPool(3, 2, Ceil),
    Lrn(AcrossMaps { groups: 1 }, 5, 1e-4 / 5.0, 0.75, 1.0),
    conv(384, 3, 1, 1, 1, Floor, Normal(0.01), 0.0),
    Relu,
    conv(384, 3, 1, 1, TOWERS, Floor, Normal(0.01), 1.0),
    Relu,
    conv(256, 3, 1, 1, TOWERS, Floor, Normal(0.01), 1.0),
    Relu,
    MaxPool(3, 2, Ceil),
    hidden(4096, Normal(0.005), 1.0),
    Relu,
    Dropout(0.5, Inverted),
    hidden(4096, Normal(0.005), 1.0),
    Relu,
    Dropout(0.5, Inverted),
    output(Normal(0.01), 0.0),
];

/// One tower, no normalisation across maps, any input from 63 pixels; dropout stands *before* fc6
/// and fc7. With batch normalisation, a [`BatchNorm`] row follows each convolution.
const MODERN: &[Layer] = &[
    conv(96, 11, 4, 2, 1, Floor, KaimingFanOut, 0.0),
    Relu,
    MaxPool(3, 2, Floor),
    conv(256, 5, 1, 2, 1, Floor, KaimingFanOut, 0.0),
    Relu,
    MaxPool(3, 2, Floor),
    conv(384, 3, 1, 1, 1, Floor, KaimingFanOut, 0.0),
    Relu,
    conv(384, 3, 1, 1, 1, Floor, KaimingFanOut, 0.0),
    Relu,
    conv(256, 3, 1, 1, 1, Floor, KaimingFanOut, 0.0),
    Relu,
    MaxPool(3, 2, Floor),
    AveragePool(6),
    Dropout(0.5, Inverted),
    hidden(4096, Normal(0.01), 0.0),
    Relu,
    Dropout(0.5, Inverted),
    hidden(4096, Normal(0.01), 0.0),
    Relu,
    output(Normal(0.01), 0.0),
];

/// torchvision's: narrower convolutions, PyTorch's default initial values.
const TORCHVISION: &[Layer] = &[
    default_conv(64, 11, 4, 2),
    Relu,
    MaxPool(3, 2, Floor),
    default_conv(192, 5, 1, 2),
    Relu,
    MaxPool(3, 2, Floor),
    default_conv(384, 3, 1, 1),
    Relu,
    default_conv(256, 3, 1, 1),
    Relu,
    default_conv(256, 3, 1, 1),
    Relu,
    MaxPool(3, 2, Floor),
    AveragePool(6),
    Dropout(0.5, Inverted),
    default_linear(Units::Hidden(4096)),
    Relu,
    Dropout(0.5, Inverted),
    default_linear(Units::Hidden(4096)),
    Relu,
    default_linear(Units::Classes),
];

const fn conv(
    maps: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
    groups: usize,
    rounding: alexnet_ops::Rounding,
    weights: Fill,
    bias: f32,
) -> Layer {
    let bias = Constant(bias);
    Layer::Conv(Conv { maps, kernel, stride, pad, groups, rounding, weights, bias })
}

const fn hidden(units: usize, weights: Fill, bias: f32) -> Layer {
    Layer::Linear(Linear { units: Units::Hidden(units), weights, bias: Constant(bias) })
}

const fn output(weights: Fill, bias: f32) -> Layer {
    Layer::Linear(Linear { units: Units::Classes, weights, bias: Constant(bias) })
}

const fn default_conv(maps: usize, kernel: usize, stride: usize, pad: usize) -> Layer {
    let (weights, bias) = (UniformFanIn, UniformFanIn);
    Layer::Conv(Conv { maps, kernel, stride, pad, groups: 1, rounding: Floor, weights, bias })
}

const fn default_linear(units: Units) -> Layer {
    Layer::Linear(Linear { units, weights: UniformFanIn, bias: UniformFanIn })
}

/// Which of the six tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelName {
    /// The 2012 code, config #145.
    Original,
    /// The paper's text.
    Paper,
    /// BVLC's `bvlc_alexnet`.
    Caffe,
    /// BVLC's `bvlc_reference_caffenet`.
    Caffenet,
    /// The single tower at the paper's widths.
    Modern,
    /// torchvision's `alexnet`.
    Torchvision,
}

impl ModelName {
    /// Every model, oldest first.
    pub const ALL: [Self; 6] =
        [Self::Original, Self::Paper, Self::Caffe, Self::Caffenet, Self::Modern, Self::Torchvision];

    /// The name as typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Paper => "paper",
            Self::Caffe => "caffe",
            Self::Caffenet => "caffenet",
            Self::Modern => "modern",
            Self::Torchvision => "torchvision",
        }
    }

    /// The input side, in pixels, the model was made for.
    pub fn native_image_size(self) -> usize {
        match self {
            Self::Original | Self::Modern | Self::Torchvision => 224,
            Self::Paper | Self::Caffe | Self::Caffenet => 227,
        }
    }

    /// Whether the layers are one tower, named in files as torchvision names them
    /// (`features.0.weight`). The others are named as Caffe names them (`conv1.weight`).
    pub fn is_single_tower(self) -> bool {
        matches!(self, Self::Modern | Self::Torchvision)
    }

    fn rows(self) -> &'static [Layer] {
        match self {
            Self::Original => ORIGINAL,
            Self::Paper => PAPER,
            Self::Caffe => CAFFE,
            Self::Caffenet => CAFFENET,
            Self::Modern => MODERN,
            Self::Torchvision => TORCHVISION,
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ModelName {
    type Err = ModelError;
    fn from_str(text: &str) -> Result<Self, ModelError> {
        let found = Self::ALL.into_iter().find(|name| name.as_str() == text);
        found.ok_or_else(|| ModelError::Unknown(text.to_owned()))
    }
}

/// What makes a network out of a table. Weights files carry it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The table.
    pub model: ModelName,
    /// Outputs of the last layer.
    pub classes: usize,
    /// Input side in pixels.
    pub image_size: usize,
    /// Factor on maps and hidden units: see [`scaled`].
    pub width: f32,
    /// A batch normalisation after each convolution; `modern` only.
    pub batch_norm: bool,
    /// The share that every dropout drops, where it is not the table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f32>,
}

/// Why a configuration makes no network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// No table of this name.
    #[error(
        "no model is called '{0}': choose one of original, paper, caffe, caffenet, modern, torchvision"
    )]
    Unknown(String),
    /// Out of range.
    #[error("{field} is {value}: it must lie between {least} and {most}")]
    Range {
        /// The configuration's field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// Smallest value allowed.
        least: String,
        /// Largest value allowed.
        most: String,
    },
    /// Only one table has the option.
    #[error(
        "model {0} has no batch normalisation: choose model modern, or leave batch normalisation off"
    )]
    NoBatchNorm(ModelName),
    /// A window does not fit what the layers above leave of the image.
    #[error("an image of {size} pixels is too small for model {model}: nothing is left at {layer}")]
    TooSmall {
        /// The table.
        model: ModelName,
        /// The image's side.
        size: usize,
        /// The layer that finds no window.
        layer: String,
    },
    /// A layer to be frozen is not there.
    #[error("no layer is called '{layer}': this network has {layers}")]
    NoLayer {
        /// Asked for.
        layer: String,
        /// What there is.
        layers: String,
    },
    /// Every layer is frozen.
    #[error("all layers are frozen: nothing is left to learn")]
    NothingLearns,
}

/// Largest number of classes: a hundred times ImageNet's.
pub const CLASSES_MAX: usize = 100_000;
/// Largest input side, pixels.
pub const IMAGE_SIZE_MAX: usize = 2048;
/// Largest width multiplier.
pub const WIDTH_MAX: f32 = 4.0;
/// Smallest width multiplier.
pub const WIDTH_MIN: f32 = 0.01;
/// Largest share dropped.
pub const DROPOUT_MAX: f32 = 0.95;
/// Maps and hidden units are multiples of this at every width.
pub const WIDTH_STEP: usize = 8;

/// `full` maps or units at `width`: to the nearest multiple of [`WIDTH_STEP`], halves up, and at
/// least one.
pub fn scaled(full: usize, width: f32) -> usize {
    let steps = (full as f64 * f64::from(width) / WIDTH_STEP as f64 + 0.5).floor() as usize;
    steps.max(1) * WIDTH_STEP
}

/// A table at its configured width and number of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What it was made from.
    pub config: ModelConfig,
    /// Its rows, first layer first.
    pub rows: Vec<Layer>,
}

impl Model {
    /// The configured table.
    ///
    /// # Errors
    /// When a figure is out of range or the table has no such option.
    pub fn new(config: ModelConfig) -> Result<Self, ModelError> {
        in_range("the number of classes", config.classes, 1, CLASSES_MAX)?;
        in_range("the image size", config.image_size, 1, IMAGE_SIZE_MAX)?;
        in_range("the width", config.width, WIDTH_MIN, WIDTH_MAX)?;
        in_range("dropout", config.dropout.unwrap_or(0.0), 0.0, DROPOUT_MAX)?;
        if config.batch_norm && config.model != ModelName::Modern {
            return Err(ModelError::NoBatchNorm(config.model));
        }
        let mut rows = Vec::new();
        for row in config.model.rows() {
            rows.push(configured(*row, &config));
            if config.batch_norm && matches!(row, Layer::Conv(_)) {
                rows.push(BatchNorm);
            }
        }
        Ok(Self { config, rows })
    }

    /// Names of the layers that learn, counted together, as the paper counts them: conv1 to fc8.
    #[must_use]
    pub fn learned_layers(&self) -> Vec<String> {
        let learned = self.rows.iter().filter(|row| row.is_learned()).zip(1..);
        learned.map(|(row, number)| format!("{}{number}", row.stem())).collect()
    }
}

pub(crate) fn in_range<T: PartialOrd + ToString>(
    field: &'static str,
    value: T,
    least: T,
    most: T,
) -> Result<(), ModelError> {
    if (&least..=&most).contains(&&value) {
        return Ok(());
    }
    let [value, least, most] = [value, least, most].map(|of| of.to_string());
    Err(ModelError::Range { field, value, least, most })
}

/// A table's row at the configured width and dropout.
fn configured(row: Layer, config: &ModelConfig) -> Layer {
    let width = config.width;
    match row {
        Layer::Conv(conv) => Layer::Conv(Conv { maps: scaled(conv.maps, width), ..conv }),
        Layer::Linear(linear @ Linear { units: Units::Hidden(units), .. }) => {
            Layer::Linear(Linear { units: Units::Hidden(scaled(units, width)), ..linear })
        }
        Layer::Dropout(rate, form) => Layer::Dropout(config.dropout.unwrap_or(rate), form),
        other => other,
    }
}
