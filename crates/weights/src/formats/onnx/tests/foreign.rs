//! Other forms of the same graph, and files of another program.

use std::fs;
use std::path::PathBuf;

use alexnet_network::{
    Initialisation, Layer, Model, ModelConfig, ModelName, Network, Pass, Plan, Purpose,
};
use alexnet_ops::Reference;
use alexnet_ops::conformance::values;
use half::{bf16, f16};
use safetensors::SafeTensors;

use super::toy::{Toy, end, head, int, integers, op, raw, simple_values};
use crate::formats::found::Found;
use crate::formats::onnx::read;
use crate::formats::onnx::schema::{data_type, tensor};
use crate::protobuf::Slice;

/// What is done to the toy.
type Change = fn(&mut Toy);

/// Bytes of each number that `bytes` makes.
fn packed<const N: usize>(values: &[f32], bytes: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| bytes(value)).collect()
}

#[test]
fn the_same_graph_in_other_forms_is_the_same() {
    let changes: [(&str, Change); 10] = [
        ("a matrix (in, out)", |toy| {
            let values = simple_values(32);
            let turned: Vec<_> = (0..32).map(|i| values[i % 4 * 8 + i / 4]).collect();
            toy.initialisers[2] = raw("matrix", &[8, 4], &turned);
            toy.nodes[4] = op("Gemm", &["flat", "matrix", "shift"], "logits", &[]);
        }),
        ("MatMul and Add", |toy| {
            let values = simple_values(32);
            let turned: Vec<_> = (0..32).map(|i| values[i % 4 * 8 + i / 4]).collect();
            toy.initialisers[2] = raw("matrix", &[8, 4], &turned);
            toy.nodes[4] = op("MatMul", &["flat", "matrix"], "product", &[]);
            toy.nodes.push(op("Add", &["shift", "product"], "logits", &[]));
        }),
        ("Reshape", |toy| {
            toy.nodes[3] = op("Reshape", &["pool", "shape"], "flat", &[]);
            toy.initialisers.push(integers("shape", &[0, -1]));
        }),
        ("a computed shape", |toy| {
            let constants = [integers("zero", &[0]), integers("rest", &[-1])];
            toy.initialisers.extend(constants);
            toy.nodes.splice(
                3..4,
                [
                    op("Shape", &["pool"], "sizes", &[]),
                    op("Gather", &["sizes", "zero"], "count", &[]),
                    op("Concat", &["count", "rest"], "both", &[int("axis", 0)]),
                    op("Reshape", &["pool", "both"], "flat", &[]),
                ],
            );
        }),
        ("half precision", |toy| {
            let bytes = packed(&simple_values(54), |value| f16::from_f32(value).to_le_bytes());
            toy.initialisers[0] =
                head("kernels", data_type::FLOAT16, &[2, 3, 3, 3]).bytes(tensor::RAW_DATA, bytes);
        }),
        ("brain floats", |toy| {
            let bytes = packed(&simple_values(54), |value| bf16::from_f32(value).to_le_bytes());
            toy.initialisers[0] =
                head("kernels", data_type::BFLOAT16, &[2, 3, 3, 3]).bytes(tensor::RAW_DATA, bytes);
        }),
        ("half precision as integers", |toy| {
            let bits = simple_values(54);
            let bits = bits.iter().map(|&value| u64::from(f16::from_f32(value).to_bits()));
            toy.initialisers[0] = head("kernels", data_type::FLOAT16, &[2, 3, 3, 3])
                .varints(tensor::INT32_DATA, bits);
        }),
        ("packed floats", |toy| {
            let bytes = packed(&simple_values(54), f32::to_le_bytes);
            toy.initialisers[0] =
                head("kernels", data_type::FLOAT, &[2, 3, 3, 3]).bytes(tensor::FLOAT_DATA, bytes);
        }),
        ("floats one by one", |toy| {
            let message = head("kernels", data_type::FLOAT, &[2, 3, 3, 3]);
            let values = simple_values(54).into_iter();
            toy.initialisers[0] =
                values.fold(message, |message, value| message.float(tensor::FLOAT_DATA, value));
        }),
        ("initialisers among the inputs, and a softmax", |toy| {
            toy.inputs.insert(0, end("kernels", data_type::FLOAT, &[2, 3, 3, 3]));
            toy.nodes.push(op("Softmax", &["logits"], "probabilities", &[int("axis", 1)]));
            toy.outputs = vec![end("probabilities", data_type::FLOAT, &[1, 4])];
        }),
    ];
    let expected = Toy::new().read().expect("sound");
    for (name, change) in changes {
        let mut toy = Toy::new();
        change(&mut toy);
        assert_eq!(toy.read().as_ref(), Ok(&expected), "{name}");
    }
}

#[test]
fn a_layer_without_biases_has_zeros() {
    let mut toy = Toy::new();
    toy.nodes[0] = op("Conv", &["images", "kernels"], "conv", &[]);
    toy.nodes[4] = op("Gemm", &["flat", "matrix"], "logits", &[int("transB", 1)]);
    let found = toy.read().expect("sound");
    for (index, len) in [(1, 2), (3, 4)] {
        assert_eq!(found.arrays[index].values, vec![0.0; len]);
        assert_eq!(found.arrays[index].shape, [len]);
    }
}

fn golden(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../goldens/onnx");
    fs::read(folder.join(name)).expect("a golden")
}

/// Logits of two images (N, 3, S, S), `value`s of salts 1 and 2 times `scale`.
fn logits(found: &Found, image_size: usize, scale: f32) -> Vec<f32> {
    // Of the tables whose layers files call conv1 to fc8.
    let model = ModelName::Paper;
    let config = ModelConfig {
        model,
        classes: 10,
        image_size,
        width: 1.0,
        batch_norm: false,
        dropout: None,
    };
    let model = Model { config, rows: found.rows.clone().expect("rows") };
    let plan = Plan::new(&model, 2, Purpose::Inference, Initialisation::Model).expect("a plan");
    let network = Network::with_weights(Reference::<f32>::new(), plan, &found.arrays);
    let places = image_size * image_size;
    let images = [1, 2].map(|salt| values(3 * places, salt, scale));
    let pixels =
        images.iter().flat_map(|image| (0..3 * places).map(|i| image[i % 3 * places + i / 3]));
    let pixels: Vec<_> = pixels.collect();
    network.expect("its arrays").forward(&pixels, Pass::Evaluate).to_vec()
}

#[test]
fn pytorch_s_exports_give_pytorch_s_logits() {
    for (name, image_size, scale, lrns) in
        [("legacy", 227, 128.0, 2), ("dynamo", 224, 2.0, 0), ("dynamo_parts", 227, 128.0, 2)]
    {
        let found = read(Slice::of_file(&golden(&format!("{name}.onnx")))).expect("read");
        assert_eq!(found.image_size, Some(image_size), "{name}");
        let rows = found.rows.as_ref().expect("rows").iter();
        assert_eq!(rows.filter(|row| matches!(row, Layer::Lrn(..))).count(), lrns, "{name}");
        let expected = golden(&format!("{name}.safetensors"));
        let expected = SafeTensors::deserialize(&expected).expect("a golden");
        let (expected, _) = expected.tensor("logits").expect("logits").data().as_chunks::<4>();
        let expected: Vec<_> = expected.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let found = logits(&found, image_size, scale);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-4 * largest, "{name}: {found}, not {expected}");
        }
    }
}
