//! Caffe's `.caffemodel` and `.binaryproto` (BVLC/caffe, `src/caffe/proto/caffe.proto`).
//!
//! Caffe's images are blue, green, red, ours red, green, blue: kernels of the first convolution and
//! mean images are turned on their way in and out. All else is in the order of our own files.

mod blob;
mod fields;
mod mean;
mod read;
mod schema;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use mean::{read_mean, write_mean};
pub(crate) use read::read;
pub(crate) use schema::{NUMBERS, NUMBERS_OF_MEAN};
pub(crate) use write::write;

/// Colours of an image.
const COLOURS: usize = 3;

/// Exchanges the first and the last of every three planes of `plane` values.
fn turn_colours(values: &mut [f32], plane: usize) {
    for image in values.chunks_exact_mut(COLOURS * plane.max(1)) {
        let (first, rest) = image.split_at_mut(plane);
        first.swap_with_slice(&mut rest[plane..]);
    }
}
