//! What a file of any form says, before a model is recognised in it.

use alexnet_network::{Array, Layer};

use crate::model_file::Description;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Found {
    /// Tensors in the order of our files: kernels (out, in/groups, height, width) on red, green and
    /// blue, linear weights (out, in). Named as our models name them (`features.0.weight`) or by
    /// layer (`conv1.weight`, `fc6.bias`, and of the normalisation behind conv1 `bn1.weight`,
    /// `bn1.bias`, `bn1.running_mean`, `bn1.running_var`).
    pub(crate) arrays: Vec<Array>,
    /// The graph as a model's table, initial values aside, if the file has a graph.
    pub(crate) rows: Option<Vec<Layer>>,
    /// Side of the input in pixels, if the graph fixes it.
    pub(crate) image_size: Option<usize>,
    /// Class names, in the order of the outputs.
    pub(crate) classes: Option<Vec<String>>,
    /// What this program wrote into the file about it.
    pub(crate) description: Option<Description>,
}
