//! What `torch.save` writes: a state dict, or a checkpoint that holds one.
//!
//! The file is a pickle, a program for a machine that may be told to call anything. The reader used
//! here, `pytorch-reader`, has no such machine: it knows the few constructors that tensors need and
//! keeps everything else as an object without meaning.

mod read;
mod weigh;
mod write;

pub(crate) use read::read;
pub(crate) use write::write;

/// Where in the archive this program's own description stands, beside `data.pkl`.
const DESCRIPTION_ENTRY: &str = "alexnet.json";
