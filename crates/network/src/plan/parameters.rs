//! What a network learns: its arrays, and the tensors that files know them as.

use crate::initial::{Fans, Fill};
use crate::order::Block;

/// What a parameter is to the update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterRole {
    /// Weights of a convolution or linear layer.
    Weight,
    /// Their biases.
    Bias,
    /// Scale and shift of a batch normalisation.
    Affine,
    /// Running mean and variance: kept and saved, never updated by a gradient.
    Running,
}

/// One array of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// The layer that learns it: `conv1` to `fc8`. A batch normalisation belongs to the convolution
    /// before it.
    pub layer: String,
    /// What it is.
    pub role: ParameterRole,
    /// The file tensors it holds, end to end.
    pub tensors: Vec<TensorSpec>,
    /// Whether it stays as it is: [`Plan::freeze`].
    ///
    /// [`Plan::freeze`]: crate::Plan::freeze
    pub frozen: bool,
    pub(crate) block: Block,
    pub(crate) fans: Fans,
}

impl ParameterSpec {
    /// Values in the array.
    pub fn len(&self) -> usize {
        self.tensors.iter().map(TensorSpec::len).sum()
    }
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A tensor as files know it.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// `features.0.weight` or `conv1.weight`: see `docs/weights.md`.
    pub name: String,
    /// In the file's order: kernels (out, in/groups, height, width), linear (out, in).
    pub shape: Vec<usize>,
    pub(crate) fill: Fill,
}

impl TensorSpec {
    /// Values in the tensor.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
