//! Weights as other programs keep them, in and out.

mod caffe;
mod found;
mod onnx;

pub use onnx::OnnxOptions;
