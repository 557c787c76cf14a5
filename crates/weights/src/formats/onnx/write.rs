//! A table and its arrays become a graph.

use std::io::{self, Write};

use crate::ModelFile;

/// What may stand in the graph beside the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Normalisation: the input is then red, green and blue from 0 to 255, (N, 3, H, W).
    pub preprocess: bool,
    /// Softmax behind the logits: the output is then probabilities.
    pub softmax: bool,
}

/// Writes `file` as an ONNX model.
///
/// # Errors
/// As `out`, or when the file's table and arrays do not belong together.
pub(crate) fn write(_: &ModelFile, _: OnnxOptions, _: &mut dyn Write) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
