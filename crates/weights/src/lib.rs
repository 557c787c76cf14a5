//! The only place where bytes of weight files are laid out or read.
//!
//! A file is a safetensors container ([`container`]) with one metadata entry, `alexnet`: a JSON
//! text that says what the arrays are, and a checksum over all of it. [`ModelFile`] is such a file
//! that holds a trained network: its table, class names and preprocessing stand inside, so that it
//! predicts without anything beside it. Files are written beside their place, synced and renamed: a
//! reader finds the old one or the new one, whole.

#![forbid(unsafe_code)]

pub mod container;
pub mod formats;
mod model_file;
mod outline;
mod parallel;
pub mod protobuf;
mod stream;
mod values;

pub use container::WeightsError;
pub use model_file::ModelFile;
pub use stream::{FILE_BYTES_MAX, HEADER_BYTES_MAX, TENSORS_MAX};
