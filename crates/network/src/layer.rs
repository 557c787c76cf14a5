//! The rows a model's table is made of. A row says what the layer is; shapes follow from the rows
//! above it.

use alexnet_ops::{LrnRegion, Rounding, Saturation};

use crate::initial::Fill;

/// One row of a model's table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layer {
    /// Convolution.
    Conv(Conv),
    /// Linear layer; the first one flattens.
    Linear(Linear),
    /// `max(0, x)`.
    Relu,
    /// A curve that flattens out: none of the models has one.
    Saturation(Saturation),
    /// Local response normalisation: region, size, alpha (as it multiplies the plain sum), beta, k.
    Lrn(LrnRegion, usize, f32, f32, f32),
    /// Max pooling: size, stride, rounding.
    MaxPool(usize, usize, Rounding),
    /// Adaptive average pooling to a square of this side.
    AveragePool(usize),
    /// Batch normalisation, with PyTorch's ε and momentum.
    BatchNorm,
    /// Dropout at this rate.
    Dropout(f32, DropoutForm),
}

/// A convolution's row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv {
    /// Output channels at full width.
    pub maps: usize,
    /// Kernel side.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Zeros around the input.
    pub pad: usize,
    /// Blocks of channels that do not see each other.
    pub groups: usize,
    /// How windows that do not divide the input end.
    pub rounding: Rounding,
    /// Initial weights.
    pub weights: Fill,
    /// Initial biases.
    pub bias: Fill,
}

/// A linear layer's row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// Output features.
    pub units: Units,
    /// Initial weights.
    pub weights: Fill,
    /// Initial biases.
    pub bias: Fill,
}

/// How wide a linear layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// So many at full width.
    Hidden(usize),
    /// One for each class, at any width.
    Classes,
}

/// Where dropout makes up for the elements it drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropoutForm {
    /// At test time, by scaling all by the rate kept (paper §4.2).
    Classic,
    /// In training, by scaling the kept up (Caffe, PyTorch).
    Inverted,
}

impl DropoutForm {
    /// What kept elements are multiplied by in training.
    pub fn kept_scale(self, rate: f32) -> f32 {
        match self {
            Self::Classic => 1.0,
            Self::Inverted => 1.0 / (1.0 - rate),
        }
    }

    /// What all elements are multiplied by in evaluation.
    pub fn evaluation_scale(self, rate: f32) -> f32 {
        match self {
            Self::Classic => 1.0 - rate,
            Self::Inverted => 1.0,
        }
    }
}

impl Layer {
    /// The kind of layer, as `summary` prints it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conv(_) => "conv",
            Self::Linear(_) => "linear",
            Self::Relu => "relu",
            Self::Saturation(Saturation::Tanh) => "tanh",
            Self::Saturation(Saturation::Sigmoid) => "sigmoid",
            Self::Lrn(..) => "lrn",
            Self::MaxPool(..) => "max_pool",
            Self::AveragePool(_) => "average_pool",
            Self::BatchNorm => "batch_norm",
            Self::Dropout(..) => "dropout",
        }
    }

    /// Whether it is one of those the paper counts: conv1 to fc8.
    pub(crate) fn is_learned(&self) -> bool {
        matches!(self, Self::Conv(_) | Self::Linear(_))
    }

    /// The short name layers are numbered under: `conv1`, `relu1`, `pool2`.
    pub(crate) fn stem(&self) -> &'static str {
        match self {
            Self::Linear(_) => "fc",
            Self::MaxPool(..) => "pool",
            Self::AveragePool(_) => "avgpool",
            Self::BatchNorm => "bn",
            Self::Dropout(..) => "drop",
            _ => self.kind(),
        }
    }
}
