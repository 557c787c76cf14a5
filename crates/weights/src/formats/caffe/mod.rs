//! Caffe's `.caffemodel` and `.binaryproto` (BVLC/caffe, `src/caffe/proto/caffe.proto`).

mod mean;
mod read;
mod schema;
mod write;

pub(crate) use mean::{read_mean, write_mean};
pub(crate) use read::read;
pub(crate) use write::write;
