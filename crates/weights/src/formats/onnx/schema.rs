//! The part of `onnx.proto` that a network of this kind needs: fields by their numbers.
