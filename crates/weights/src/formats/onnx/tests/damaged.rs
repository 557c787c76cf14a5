//! What is damaged, hostile or no network of this kind causes a fault that says where and what.

use alexnet_network::ModelName;

use super::models::{config, model_file, written};
use super::round_trips::anonymous;
use super::toy::{Toy, end, float, floats, head, int, integers, ints, op, raw, text};
use crate::formats::OnnxOptions;
use crate::formats::onnx::read;
use crate::formats::onnx::schema::{attribute, data_type, graph, model, node, tensor};
use crate::protobuf::{Message, Slice};

/// What is done to the toy, bytes that stand in the message the fault points at, and its words.
type Case = (fn(&mut Toy), &'static str, &'static str);

/// Bytes between a message's beginning and the word looked for.
const NEAR_BYTES: usize = 64;

fn fails(cases: &[Case]) {
    for (index, (change, word, reason)) in cases.iter().enumerate() {
        let mut toy = Toy::new();
        change(&mut toy);
        let bytes = toy.bytes();
        let fault = read(Slice::of_file(&bytes)).expect_err(reason);
        assert!(fault.reason.contains(reason), "case {index}: {fault}, not {reason}");
        let at = fault.offset as usize;
        let near = &bytes[at..bytes.len().min(at + NEAR_BYTES)];
        let found =
            word.is_empty() || near.windows(word.len()).any(|bytes| bytes == word.as_bytes());
        assert!(found, "case {index}: {fault}: '{word}' is not there");
    }
}

#[test]
fn the_toy_itself_is_read() {
    let found = Toy::new().read().expect("sound");
    let names: Vec<_> = found.arrays.iter().map(|array| array.name.as_str()).collect();
    assert_eq!(names, ["conv1.weight", "conv1.bias", "fc2.weight", "fc2.bias"]);
    assert_eq!(found.rows.expect("rows").len(), 4);
}

const NO_SEQUENCES: &[Case] = &[
    (|toy| toy.nodes[1] = op("Erf", &["conv"], "relu", &[]), "Erf", "'relu' (Erf) is no layer"),
    (
        |toy| toy.nodes[2] = op("MaxPool", &["conv"], "pool", &[]),
        "MaxPool",
        "reads 'conv', not what the layer before it gives",
    ),
    (
        |toy| toy.nodes[1] = op("Add", &["conv", "images"], "relu", &[]),
        "Add",
        "reads 'images', which is no initialiser",
    ),
    (
        |toy| toy.nodes.insert(2, op("Mul", &["relu", "relu"], "twice", &[])),
        "twice",
        "squares its input",
    ),
    (
        |toy| toy.nodes[1] = toy.nodes[1].clone().text(node::DOMAIN, "com.microsoft"),
        "Relu",
        "comes from 'com.microsoft'",
    ),
    (
        |toy| {
            let body = Message::new().text(attribute::NAME, "then_branch");
            let body = body.message(attribute::GRAPH, Message::new());
            toy.nodes[1] = op("If", &["conv"], "relu", &[body]);
        },
        "If",
        "holds a graph of its own",
    ),
    (
        |toy| toy.nodes.push(op("Conv", &["logits", "kernels"], "more", &[])),
        "more",
        "reads maps, but they are flattened",
    ),
    (
        |toy| {
            toy.nodes.push(op("Softmax", &["logits"], "probabilities", &[]));
            toy.nodes.push(op("Relu", &["probabilities"], "behind", &[]));
        },
        "behind",
        "stands behind the softmax",
    ),
    (|toy| drop(toy.nodes.pop()), "Conv", "'logits' is not what the last layer gives"),
    (|toy| toy.nodes.clear(), "kernels", "'logits' is not what the last layer gives"),
    (
        |toy| toy.more = Message::new().message(model::FUNCTIONS, Message::new().text(1, "fn")),
        "fn",
        "a function of the file's own",
    ),
    (|toy| toy.opset = 5, "Conv", "opset 5: from 6 on"),
    (|toy| toy.inputs.clear(), "Conv", "no input"),
    (|toy| toy.inputs.push(end("more", 1, &[1])), "more", "'more' is a second input"),
    (|toy| toy.outputs.push(end("more", 1, &[1])), "more", "'more' is a second output"),
    (|toy| toy.nodes = vec![op("Relu", &["images"], "relu", &[]); 4097], "Relu", "over 4096 nodes"),
];

#[test]
fn graphs_that_are_no_sequence_of_our_layers_are_refused() {
    fails(NO_SEQUENCES);
}

const OTHER_LAYERS: &[Case] = &[
    (
        |toy| toy.nodes[0] = op("Conv", &["images", "kernels"], "conv", &[int("group", 2)]),
        "Conv",
        "in 2 groups, but reads 3 channels",
    ),
    (
        |toy| toy.nodes[0] = op("Conv", &["images", "kernels"], "conv", &[int("group", 0)]),
        "Conv",
        "a size, stride, pad or number of groups",
    ),
    (
        |toy| {
            let gaps = ints("dilations", &[2, 2]);
            toy.nodes[0] = op("Conv", &["images", "kernels"], "conv", &[gaps]);
        },
        "Conv",
        "dilations",
    ),
    (
        |toy| {
            let same = text("auto_pad", "SAME_UPPER");
            toy.nodes[0] = op("Conv", &["images", "kernels"], "conv", &[same]);
        },
        "Conv",
        "pads by 'SAME_UPPER'",
    ),
    (
        |toy| {
            let pads = ints("pads", &[1, 1, 0, 0]);
            toy.nodes[0] = op("Conv", &["images", "kernels"], "conv", &[pads]);
        },
        "Conv",
        "pads its ends as no layer",
    ),
    (
        |toy| {
            let settings = [ints("kernel_shape", &[3, 3]), ints("pads", &[1, 1, 1, 1])];
            toy.nodes[2] = op("MaxPool", &["relu"], "pool", &settings);
        },
        "MaxPool",
        "pads before the first window",
    ),
    (
        |toy| {
            toy.nodes[2] = op("MaxPool", &["relu"], "pool", &[ints("kernel_shape", &[9, 9])]);
        },
        "MaxPool",
        "windows of 9, but maps of 6 come",
    ),
    (
        |toy| {
            toy.nodes[2] = op("MaxPool", &["relu"], "pool", &[ints("kernel_shape", &[3, 2])]);
        },
        "MaxPool",
        "no squares",
    ),
    (
        |toy| {
            toy.nodes[2] = op("AveragePool", &["relu"], "pool", &[ints("kernel_shape", &[4, 4])]);
            toy.nodes[1] = op("Relu", &["conv"], "relu", &[int("unheard_of", 1)]);
        },
        "Relu",
        "the setting 'unheard_of'",
    ),
    (
        |toy| {
            let settings = [ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2])];
            toy.nodes[2] = op("AveragePool", &["relu"], "pool", &settings);
        },
        "AveragePool",
        "no adaptive pooling",
    ),
    (|toy| toy.nodes[1] = op("LRN", &["conv"], "relu", &[int("size", 4)]), "LRN", "no odd window"),
    (
        |toy| {
            let inputs = ["conv", "biases", "biases", "biases", "biases"];
            let epsilon = float("epsilon", 1e-3);
            toy.nodes[1] = op("BatchNormalization", &inputs, "relu", &[epsilon]);
        },
        "BatchNormalization",
        "has epsilon 0.001",
    ),
    (
        |toy| {
            toy.nodes[4] = op("Gemm", &["flat", "matrix"], "logits", &[float("alpha", 2.0)]);
        },
        "Gemm",
        "no plain linear layer",
    ),
    (
        |toy| toy.nodes[4] = op("Gemm", &["flat", "matrix"], "logits", &[]),
        "Gemm",
        "takes 4 features to 8, but 8 come",
    ),
    (|toy| drop(toy.nodes.remove(3)), "", "reads 'flat', not what"),
    (|toy| toy.inputs[0] = end("images", 1, &[1, 4, 8, 8]), "images", "red, green and blue"),
    (|toy| toy.inputs[0] = end("images", 1, &[1, 3, 8, 9]), "images", "only squares"),
    (|toy| toy.inputs[0] = end("images", 1, &[1, 3, 9999, 9999]), "images", "1 to 2048"),
    (|toy| toy.inputs[0] = end("images", 2, &[1, 3, 8, 8]), "images", "are UINT8"),
];

#[test]
fn layers_that_our_networks_do_not_have_are_refused() {
    fails(OTHER_LAYERS);
}

const OTHER_TENSORS: &[Case] = &[
    (|toy| drop(toy.initialisers.remove(1)), "Conv", "reads 'biases', which is no initialiser"),
    (|toy| toy.initialisers.push(floats("biases", &[2])), "biases", "'biases' is there twice"),
    (
        |toy| toy.initialisers[1] = raw("biases", &[2], &[1.0, f32::NAN]),
        "", // points at the value itself
        "holds NaN at element 1",
    ),
    (
        |toy| toy.initialisers[1] = raw("biases", &[2], &[f32::INFINITY, 1.0]),
        "",
        "holds inf at element 0",
    ),
    (
        |toy| toy.initialisers[1] = raw("biases", &[2], &[1.0]),
        "biases",
        "2 values, but the file holds 1",
    ),
    (
        |toy| toy.initialisers[0] = raw("kernels", &[2, 3, 3, 1 << 62], &[1.0]),
        "kernels",
        "more than any memory holds",
    ),
    (
        |toy| toy.initialisers[0] = raw("kernels", &[2, 3, 3, u64::MAX], &[1.0]),
        "kernels",
        "a negative dimension",
    ),
    (
        |toy| toy.initialisers[0] = raw("kernels", &[1; 9], &[1.0]),
        "kernels",
        "more than 8 dimensions",
    ),
    (
        |toy| toy.initialisers[1] = head("biases", 11, &[2]).bytes(tensor::RAW_DATA, vec![0; 16]),
        "biases",
        "is DOUBLE, but only FLOAT",
    ),
    (
        |toy| {
            let outside = Message::new().text(1, "location").text(2, "weights.bin");
            toy.initialisers[1] =
                head("biases", 1, &[2]).message(tensor::EXTERNAL_DATA, outside).varint(14, 1);
        },
        "biases",
        "in another file: save the model as one file",
    ),
    (
        |toy| {
            toy.initialisers[1] =
                head("biases", 10, &[2]).varints(tensor::INT32_DATA, [1, 0x1_0000]);
        },
        "biases",
        "more than 16 bits",
    ),
    (
        |toy| toy.initialisers[1] = head("biases", 1, &[2]).varint(tensor::FLOAT_DATA, 1),
        "",
        "holds no whole numbers of 4 bytes",
    ),
    (|toy| toy.initialisers[1] = floats("biases", &[3]), "biases", "2 values are needed"),
    (
        |toy| {
            toy.graph_more =
                Message::new().message(graph::SPARSE_INITIALIZER, Message::new().text(9, "x"));
        },
        "x",
        "a sparse tensor",
    ),
    (
        |toy| {
            toy.nodes[3] = op("Reshape", &["pool", "shape"], "flat", &[]);
            toy.initialisers.push(integers("shape", &[1, 9]));
        },
        "Reshape",
        "only flattening is read",
    ),
    (
        |toy| toy.initialisers = (0..4097).map(|i| floats(&format!("t{i}"), &[])).collect(),
        "t4096",
        "over 4096 initialisers",
    ),
];

#[test]
fn tensors_that_are_not_as_they_say_are_refused() {
    fails(OTHER_TENSORS);
}

#[test]
fn a_small_tensor_of_many_layers_does_not_fill_the_memory() {
    let mut toy = Toy::new();
    // 4000 layers of one matrix of 64 KiB would be 250 MiB of arrays.
    toy.nodes.truncate(4);
    toy.initialisers.push(floats("first", &[128, 8]));
    toy.initialisers.push(floats("square", &[128, 128]));
    toy.nodes.push(op("Gemm", &["flat", "first"], "x0", &[int("transB", 1)]));
    for i in 0..4000 {
        toy.nodes.push(op("Gemm", &[&format!("x{i}"), "square"], &format!("x{}", i + 1), &[]));
    }
    let fault = toy.read().expect_err("too much");
    assert!(fault.reason.contains("'square' is shared by more layers"), "{fault}");
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let bytes = written(&model_file(config(ModelName::Modern, 0.01)), OnnxOptions::default());
    // Where its entry begins, what is before is a whole model of another program.
    let whole = anonymous(bytes.clone()).len();
    for len in (0..bytes.len()).filter(|&len| len != whole) {
        assert!(read(Slice::of_file(&bytes[..len])).is_err(), "{len} of {} bytes", bytes.len());
    }
}

#[test]
fn a_flipped_bit_anywhere_is_read_or_refused_but_no_panic() {
    let mut toy = Toy::new();
    toy.initialisers[1] =
        head("biases", data_type::FLOAT16, &[2]).varints(tensor::INT32_DATA, [1, 2]);
    let lrn = [int("size", 5), float("alpha", 1e-4), float("bias", 2.0)];
    toy.nodes[1] = op("LRN", &["conv"], "relu", &lrn);
    let bytes = toy.bytes();
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        refused += usize::from(read(Slice::of_file(&damaged)).is_err());
    }
    assert!(refused > bytes.len(), "only {refused} of {} bits matter", bytes.len() * 8);
}

#[test]
fn a_flipped_bit_in_a_written_model_is_read_or_refused_but_no_panic() {
    let options = OnnxOptions { preprocess: true, softmax: true };
    for model in [ModelName::Original, ModelName::Modern] {
        let mut config = config(model, 0.01);
        config.image_size = 100;
        let bytes = anonymous(written(&model_file(config), options));
        // Nodes stand at the beginning, ends at the end; most of the rest is values.
        let ends = (0..8 * 1024).chain(bytes.len() - 256..bytes.len());
        for at in ends.filter(|&at| at < bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            drop(read(Slice::of_file(&damaged)));
        }
    }
}
