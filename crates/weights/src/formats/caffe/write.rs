//! A table and its arrays become a trained net.

use std::io::{self, Write};

use crate::ModelFile;

/// Writes `file`, of model `caffe` or `caffenet`, as Caffe would.
///
/// # Errors
/// As `out`, or when the file's table and arrays do not belong together.
pub(crate) fn write(_: &ModelFile, _: &mut dyn Write) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
