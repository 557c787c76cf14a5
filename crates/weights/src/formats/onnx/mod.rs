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
pub(crate) use schema::NUMBERS;
pub use write::OnnxOptions;
pub(crate) use write::write;

/// The decimal number that a float stands for: 1e-4, not the 9.99999975e-5 that it is. What is
/// multiplied by it for a file is then the same again when a reader divides.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
