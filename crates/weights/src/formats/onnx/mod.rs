//! ONNX: the network as a graph of operators (onnx.ai/onnx/operators).

mod graph;
mod node;
mod read;
mod schema;
mod tensor;
#[cfg(test)]
mod tests;
mod walk;
mod windows;
mod write;

pub(crate) use read::read;
pub use write::OnnxOptions;
pub(crate) use write::write;
