//! ONNX: the network as a graph of operators (onnx.ai/onnx/operators).

mod read;
mod schema;
mod write;

pub(crate) use read::read;
pub use write::OnnxOptions;
pub(crate) use write::write;
