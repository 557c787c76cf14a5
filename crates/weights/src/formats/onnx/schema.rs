//! The part of `onnx.proto` that a network of this kind needs: fields by their numbers.

use crate::outline::Paths;

/// `ModelProto`: a file.
pub(super) mod model {
    pub(crate) const IR_VERSION: u32 = 1;
    pub(crate) const PRODUCER_NAME: u32 = 2;
    pub(crate) const PRODUCER_VERSION: u32 = 3;
    pub(crate) const GRAPH: u32 = 7;
    pub(crate) const OPSET_IMPORT: u32 = 8;
    pub(crate) const METADATA_PROPS: u32 = 14;
    pub(crate) const FUNCTIONS: u32 = 25;
}

/// `OperatorSetIdProto`: whose operators, and as of when.
pub(super) mod operator_set {
    pub(crate) const DOMAIN: u32 = 1;
    pub(crate) const VERSION: u32 = 2;
}

/// `StringStringEntryProto`: an entry of the metadata.
pub(super) mod entry {
    pub(crate) const KEY: u32 = 1;
    pub(crate) const VALUE: u32 = 2;
}

/// `GraphProto`.
pub(super) mod graph {
    pub(crate) const NODE: u32 = 1;
    pub(crate) const NAME: u32 = 2;
    pub(crate) const INITIALIZER: u32 = 5;
    pub(crate) const INPUT: u32 = 11;
    pub(crate) const OUTPUT: u32 = 12;
    pub(crate) const SPARSE_INITIALIZER: u32 = 15;
}

/// `NodeProto`: an operator with its inputs and outputs.
pub(super) mod node {
    pub(crate) const INPUT: u32 = 1;
    pub(crate) const OUTPUT: u32 = 2;
    pub(crate) const NAME: u32 = 3;
    pub(crate) const OP_TYPE: u32 = 4;
    pub(crate) const ATTRIBUTE: u32 = 5;
    pub(crate) const DOMAIN: u32 = 7;
}

/// `AttributeProto`: a setting of a node.
pub(super) mod attribute {
    pub(crate) const NAME: u32 = 1;
    pub(crate) const FLOAT: u32 = 2;
    pub(crate) const INT: u32 = 3;
    pub(crate) const STRING: u32 = 4;
    pub(crate) const TENSOR: u32 = 5;
    pub(crate) const GRAPH: u32 = 6;
    pub(crate) const INTS: u32 = 8;
    pub(crate) const GRAPHS: u32 = 11;
    pub(crate) const TYPE: u32 = 20;

    /// `AttributeType`: which of the fields holds it.
    pub(crate) const TYPE_FLOAT: u64 = 1;
    pub(crate) const TYPE_INT: u64 = 2;
    pub(crate) const TYPE_TENSOR: u64 = 4;
    pub(crate) const TYPE_INTS: u64 = 7;
}

/// `TensorProto`.
pub(super) mod tensor {
    pub(crate) const DIMS: u32 = 1;
    pub(crate) const DATA_TYPE: u32 = 2;
    pub(crate) const SEGMENT: u32 = 3;
    pub(crate) const FLOAT_DATA: u32 = 4;
    pub(crate) const INT32_DATA: u32 = 5;
    pub(crate) const INT64_DATA: u32 = 7;
    pub(crate) const NAME: u32 = 8;
    pub(crate) const RAW_DATA: u32 = 9;
    pub(crate) const EXTERNAL_DATA: u32 = 13;
    pub(crate) const DATA_LOCATION: u32 = 14;
}

/// Where a graph has its long lists of numbers.
pub(crate) const NUMBERS: &Paths = &[
    &[model::GRAPH, graph::INITIALIZER, tensor::RAW_DATA],
    &[model::GRAPH, graph::INITIALIZER, tensor::FLOAT_DATA],
    &[model::GRAPH, graph::INITIALIZER, tensor::INT32_DATA],
    &[model::GRAPH, graph::NODE, node::ATTRIBUTE, attribute::TENSOR, tensor::RAW_DATA],
    &[model::GRAPH, graph::NODE, node::ATTRIBUTE, attribute::TENSOR, tensor::FLOAT_DATA],
    &[model::GRAPH, graph::NODE, node::ATTRIBUTE, attribute::TENSOR, tensor::INT32_DATA],
];

/// `ValueInfoProto` and what is in it: an input or output and its shape.
pub(super) mod value {
    pub(crate) const NAME: u32 = 1;
    pub(crate) const TYPE: u32 = 2;
    /// In `TypeProto`.
    pub(crate) const TENSOR_TYPE: u32 = 1;
    /// In `TypeProto.Tensor`.
    pub(crate) const ELEM_TYPE: u32 = 1;
    /// In `TypeProto.Tensor`.
    pub(crate) const SHAPE: u32 = 2;
    /// In `TensorShapeProto`.
    pub(crate) const DIM: u32 = 1;
    /// In `TensorShapeProto.Dimension`: a number.
    pub(crate) const DIM_VALUE: u32 = 1;
    /// In `TensorShapeProto.Dimension`: a name for what is not fixed.
    pub(crate) const DIM_PARAM: u32 = 2;
}

/// `TensorProto.DataType`.
pub(super) mod data_type {
    pub(crate) const FLOAT: u64 = 1;
    pub(crate) const INT32: u64 = 6;
    pub(crate) const INT64: u64 = 7;
    pub(crate) const BOOL: u64 = 9;
    pub(crate) const FLOAT16: u64 = 10;
    pub(crate) const BFLOAT16: u64 = 16;

    /// A type's name, where it has one.
    pub(crate) fn name(data_type: u64) -> &'static str {
        const NAMES: [&str; 17] = [
            "of no type",
            "FLOAT",
            "UINT8",
            "INT8",
            "UINT16",
            "INT16",
            "INT32",
            "INT64",
            "STRING",
            "BOOL",
            "FLOAT16",
            "DOUBLE",
            "UINT32",
            "UINT64",
            "COMPLEX64",
            "COMPLEX128",
            "BFLOAT16",
        ];
        let name = usize::try_from(data_type).ok().and_then(|index| NAMES.get(index));
        name.copied().unwrap_or("of an unknown type")
    }
}

/// The metadata entry in which this program describes a file of its own.
pub(super) const METADATA_KEY: &str = "alexnet";
