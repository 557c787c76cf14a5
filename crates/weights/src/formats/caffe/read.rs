//! A trained net becomes a table and its arrays.

use crate::formats::found::Found;
use crate::protobuf::{Fault, Slice};

/// What a `.caffemodel` says; kernels of the first convolution are turned from blue, green, red to
/// red, green, blue.
///
/// # Errors
/// When it is malformed, or its layers are not a sequence of this network's.
pub(crate) fn read(file: Slice) -> Result<Found, Fault> {
    Err(file.fault("not read yet"))
}
