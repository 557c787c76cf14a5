//! What runs: one operation of a pass with its sizes, what it reads, and what it writes.

use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, ConvShape, LinearShape, LrnShape, MaxPoolShape,
    Saturation,
};

use crate::layer::DropoutForm;
use crate::network::Pass;

/// One operation of a pass, at the plan's batch size. Indices are into the network's arrays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    Conv {
        shape: ConvShape,
        activation: Activation,
        weights: usize,
        bias: usize,
    },
    Linear {
        shape: LinearShape,
        activation: Activation,
        weights: usize,
        bias: usize,
    },
    Relu {
        len: usize,
    },
    Saturation {
        curve: Saturation,
        len: usize,
    },
    Lrn {
        shape: LrnShape,
    },
    MaxPool {
        shape: MaxPoolShape,
        positions: usize,
    },
    AveragePool {
        shape: AveragePoolShape,
    },
    BatchNorm {
        shape: BatchNormShape,
        activation: Activation,
        affine: usize,
        running: usize,
        statistics: usize,
    },
    Dropout {
        rate: f32,
        form: DropoutForm,
        ordinal: u32,
        len: usize,
    },
}

impl Step {
    /// The same step for `images` of the plan's `batch`.
    pub(crate) fn at(self, images: usize, batch: usize) -> Self {
        let part = |len: usize| len / batch * images;
        match self {
            Self::Conv { shape, activation, weights, bias } => {
                let shape = ConvShape { batch: images, ..shape };
                Self::Conv { shape, activation, weights, bias }
            }
            Self::Linear { shape, activation, weights, bias } => {
                let shape = LinearShape { batch: images, ..shape };
                Self::Linear { shape, activation, weights, bias }
            }
            Self::Relu { len } => Self::Relu { len: part(len) },
            Self::Saturation { curve, len } => Self::Saturation { curve, len: part(len) },
            Self::Lrn { shape } => Self::Lrn { shape: LrnShape { batch: images, ..shape } },
            Self::MaxPool { shape, positions } => {
                Self::MaxPool { shape: MaxPoolShape { batch: images, ..shape }, positions }
            }
            Self::AveragePool { shape } => {
                Self::AveragePool { shape: AveragePoolShape { batch: images, ..shape } }
            }
            Self::BatchNorm { shape, activation, affine, running, statistics } => {
                let shape = BatchNormShape { rows: part(shape.rows), ..shape };
                Self::BatchNorm { shape, activation, affine, running, statistics }
            }
            Self::Dropout { rate, form, ordinal, len } => {
                Self::Dropout { rate, form, ordinal, len: part(len) }
            }
        }
    }

    /// Whether its output is its input, as dropout's is in evaluation where the training made up
    /// for it.
    pub(crate) fn is_identity(&self, pass: Pass) -> bool {
        match *self {
            Self::Dropout { rate, form, .. } => {
                pass == Pass::Evaluate && form.evaluation_scale(rate) == 1.0
            }
            _ => false,
        }
    }

    /// What it multiplied by in training, of what it let through.
    pub(crate) fn kept_scale(&self) -> f32 {
        match *self {
            Self::Dropout { rate, form, .. } => form.kept_scale(rate),
            _ => 1.0,
        }
    }

    /// The parameters it reads.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = usize> + use<> {
        let both = match *self {
            Self::Conv { weights, bias, .. } | Self::Linear { weights, bias, .. } => {
                Some([weights, bias])
            }
            Self::BatchNorm { affine, running, .. } => Some([affine, running]),
            _ => None,
        };
        both.into_iter().flatten()
    }

    /// Whether its outputs have passed a ReLU.
    pub(crate) fn rectifies(&self) -> bool {
        matches!(
            self,
            Self::Relu { .. }
                | Self::Conv { activation: Activation::Relu, .. }
                | Self::Linear { activation: Activation::Relu, .. }
                | Self::BatchNorm { activation: Activation::Relu, .. }
        )
    }

    /// Whether its backward pass reads what the forward pass read.
    pub(crate) fn reads_input_again(&self) -> bool {
        match self {
            Self::Conv { .. } | Self::Linear { .. } | Self::Lrn { .. } | Self::BatchNorm { .. } => {
                true
            }
            Self::Relu { .. }
            | Self::Saturation { .. }
            | Self::MaxPool { .. }
            | Self::AveragePool { .. }
            | Self::Dropout { .. } => false,
        }
    }

    /// Floats written.
    pub(crate) fn output_len(&self) -> usize {
        match self {
            Self::Conv { shape, .. } => shape.output_len(),
            Self::Linear { shape, .. } => shape.batch * shape.outputs,
            Self::Relu { len } | Self::Saturation { len, .. } | Self::Dropout { len, .. } => *len,
            Self::Lrn { shape } => shape.len(),
            Self::MaxPool { shape, .. } => shape.output_len(),
            Self::AveragePool { shape } => shape.output_len(),
            Self::BatchNorm { shape, .. } => shape.rows * shape.channels,
        }
    }
}
