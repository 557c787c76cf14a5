//! A graph of five layers, to be changed and damaged.

use alexnet_ops::conformance::values;

use crate::formats::found::Found;
use crate::formats::onnx::read;
use crate::formats::onnx::schema::{
    attribute, data_type, graph, model, node, operator_set, tensor, value,
};
use crate::protobuf::{Fault, Message, Slice};

/// Side of its images.
pub(super) const SIDE: u64 = 8;

/// Parts of a file: convolution, ReLU, pooling, flattening, linear layer.
#[derive(Clone)]
pub(super) struct Toy {
    pub(super) nodes: Vec<Message<'static>>,
    pub(super) initialisers: Vec<Message<'static>>,
    pub(super) inputs: Vec<Message<'static>>,
    pub(super) outputs: Vec<Message<'static>>,
    pub(super) graph_more: Message<'static>,
    pub(super) more: Message<'static>,
    pub(super) opset: u64,
}

impl Toy {
    pub(super) fn new() -> Self {
        let pool = [ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2])];
        Self {
            nodes: vec![
                op("Conv", &["images", "kernels", "biases"], "conv", &[]),
                op("Relu", &["conv"], "relu", &[]),
                op("MaxPool", &["relu"], "pool", &pool),
                op("Flatten", &["pool"], "flat", &[]),
                op("Gemm", &["flat", "matrix", "shift"], "logits", &[int("transB", 1)]),
            ],
            initialisers: vec![
                floats("kernels", &[2, 3, 3, 3]),
                floats("biases", &[2]),
                floats("matrix", &[4, 8]),
                floats("shift", &[4]),
            ],
            inputs: vec![end("images", data_type::FLOAT, &[1, 3, SIDE, SIDE])],
            outputs: vec![end("logits", data_type::FLOAT, &[1, 4])],
            graph_more: Message::new(),
            more: Message::new(),
            opset: 17,
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut inner = self.graph_more.clone();
        let parts = [
            (graph::NODE, &self.nodes),
            (graph::INITIALIZER, &self.initialisers),
            (graph::INPUT, &self.inputs),
            (graph::OUTPUT, &self.outputs),
        ];
        for (number, messages) in parts {
            for message in messages {
                inner = inner.message(number, message.clone());
            }
        }
        let operators = Message::new().varint(operator_set::VERSION, self.opset);
        let file = self.more.clone().varint(model::IR_VERSION, 8);
        let file = file.message(model::OPSET_IMPORT, operators).message(model::GRAPH, inner);
        let mut bytes = Vec::new();
        file.write_to(&mut bytes).expect("a vector takes all");
        bytes
    }

    pub(super) fn read(&self) -> Result<Found, Fault> {
        read(Slice::of_file(&self.bytes()))
    }
}

/// A node named as its output.
pub(super) fn op(
    op: &str,
    inputs: &[&str],
    output: &str,
    settings: &[Message<'static>],
) -> Message<'static> {
    let message = Message::new().text(node::OP_TYPE, op).text(node::NAME, output);
    let message = inputs.iter().fold(message, |message, input| message.text(node::INPUT, input));
    let message = message.text(node::OUTPUT, output);
    let settings = settings.iter().cloned();
    settings.fold(message, |message, setting| message.message(node::ATTRIBUTE, setting))
}

pub(super) fn int(name: &str, value: i64) -> Message<'static> {
    Message::new().text(attribute::NAME, name).varint(attribute::INT, value as u64)
}

pub(super) fn float(name: &str, value: f32) -> Message<'static> {
    Message::new().text(attribute::NAME, name).float(attribute::FLOAT, value)
}

pub(super) fn text(name: &str, value: &str) -> Message<'static> {
    Message::new().text(attribute::NAME, name).text(attribute::STRING, value)
}

pub(super) fn ints(name: &str, values: &[i64]) -> Message<'static> {
    let message = Message::new().text(attribute::NAME, name);
    message.varints(attribute::INTS, values.iter().map(|&value| value as u64))
}

/// A tensor's name, type and shape.
pub(super) fn head(name: &str, kind: u64, shape: &[u64]) -> Message<'static> {
    let message = Message::new().text(tensor::NAME, name).varint(tensor::DATA_TYPE, kind);
    message.varints(tensor::DIMS, shape.iter().copied())
}

/// Values that bf16 holds exactly.
pub(super) fn simple_values(len: usize) -> Vec<f32> {
    values(len, 3, 16.0).iter().map(|value| value.round() / 8.0).collect()
}

pub(super) fn floats(name: &str, shape: &[u64]) -> Message<'static> {
    let values = simple_values(shape.iter().product::<u64>() as usize);
    raw(name, shape, &values)
}

pub(super) fn raw(name: &str, shape: &[u64], values: &[f32]) -> Message<'static> {
    let bytes = bytemuck::cast_slice(values).to_vec();
    head(name, data_type::FLOAT, shape).bytes(tensor::RAW_DATA, bytes)
}

pub(super) fn integers(name: &str, integers: &[i64]) -> Message<'static> {
    let message = head(name, data_type::INT64, &[integers.len() as u64]);
    message.varints(tensor::INT64_DATA, integers.iter().map(|&integer| integer as u64))
}

/// An input or output of this type and shape.
pub(super) fn end(name: &str, kind: u64, sizes: &[u64]) -> Message<'static> {
    let shape = sizes.iter().fold(Message::new(), |shape, &size| {
        shape.message(value::DIM, Message::new().varint(value::DIM_VALUE, size))
    });
    let kind = Message::new().varint(value::ELEM_TYPE, kind).message(value::SHAPE, shape);
    Message::new()
        .text(value::NAME, name)
        .message(value::TYPE, Message::new().message(value::TENSOR_TYPE, kind))
}
