//! `.binaryproto`: the mean of the training images.

use std::io::{self, Write};

use crate::protobuf::{Fault, Slice};

/// The side in pixels and (side, side, 3) levels, red, green and blue, of a mean image.
///
/// # Errors
/// When it is malformed, not square or not of three colours.
pub(crate) fn read_mean(file: Slice) -> Result<(usize, Vec<f32>), Fault> {
    Err(file.fault("not read yet"))
}

/// Writes (side, side, 3) levels.
///
/// # Errors
/// As `out`.
pub(crate) fn write_mean(_side: usize, _levels: &[f32], _: &mut dyn Write) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
