//! Networks at width 1/8, their parameters and images by the formula of PyTorch's side, and what that
//! computed with them.

use std::collections::HashMap;
use std::path::Path;

use alexnet::cpu::{Cpu, Isa};
use alexnet::cuda::Cuda;
use alexnet::network::{
    Array, Initialisation, Model, ModelConfig, ModelName, Network, Plan, Purpose,
};
use alexnet::ops::conformance::values;
use alexnet::ops::{Device, Precision};
use serde::Deserialize;

/// Largest difference over the largest magnitude of a tensor.
const TOLERANCE: f64 = 1e-4;
const CLASSES: usize = 10;
const WIDTH: f32 = 1.0 / 8.0;
pub(crate) const SEED: u64 = 5;
const FIRST_PARAMETER_SALT: u32 = 100;

/// What a script wrote: tensors, and a list of what it did.
pub(crate) struct Goldens<T> {
    tensors: HashMap<String, Vec<f64>>,
    pub(crate) list: Vec<T>,
}

/// What both scripts say of a network.
#[derive(Deserialize)]
pub(crate) struct Described {
    pub(crate) name: String,
    images: usize,
    /// Of the images: the script chooses it so that no ReLU or maximum hangs on rounding.
    salt: u32,
}

impl<T: for<'de> Deserialize<'de>> Goldens<T> {
    /// The file of this name, whose list is this entry of its metadata.
    pub(crate) fn read(name: &str, entry: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(name);
        let bytes = std::fs::read(path).expect(name);
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let floats = |data: &[u8]| {
            let words = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            words.map(f64::from).collect()
        };
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a header");
        let list = &header.metadata().as_ref().expect("metadata")[entry];
        Self {
            tensors: tensors.iter().map(|(n, view)| (n.to_owned(), floats(view.data()))).collect(),
            list: serde_json::from_str(list).expect("a list"),
        }
    }

    pub(crate) fn tensor(&self, model: &str, output: &str) -> &[f64] {
        &self.tensors[&format!("{model}/{output}")]
    }
}

/// A network with the script's parameters, and the batch it is shown: (N, H, W, 3) and labels.
pub(crate) fn start<D: Device>(
    device: D,
    model: ModelName,
    batch_norm: bool,
    described: &Described,
) -> (Network<D>, Vec<f32>, Vec<u32>) {
    let image_size = model.native_image_size();
    let config = ModelConfig {
        model,
        classes: CLASSES,
        image_size,
        width: WIDTH,
        batch_norm,
        dropout: None,
    };
    let model = Model::new(config).expect("a model");
    let count = described.images;
    let plan = Plan::new(&model, count, Purpose::Gradients, Initialisation::Model);
    let mut network = Network::new(device, plan.expect("a plan"), 0);
    let mut weights = network.weights();
    let learned = weights.iter_mut().filter(|array| !array.name.contains("running"));
    for (array, salt) in learned.zip(FIRST_PARAMETER_SALT..) {
        array.values = starting_values(array, salt);
    }
    network.set_weights(&weights).expect("the network's own arrays");
    let labels = (0..count).map(|n| ((n * 3 + 1) % CLASSES) as u32).collect();
    (network, images(count, image_size, described.salt), labels)
}

/// He's uniform range for weights; batch normalisation's scale lies around 1.
fn starting_values(array: &Array, salt: u32) -> Vec<f32> {
    let len = array.values.len();
    let is_scale = array.shape.len() == 1 && array.name.ends_with(".weight");
    if is_scale {
        return values(len, salt, 0.2).into_iter().map(|value| 1.0 + value).collect();
    }
    if array.name.ends_with(".bias") {
        return values(len, salt, 0.1);
    }
    values(len, salt, (6.0 / (len / array.shape[0]) as f64).sqrt() as f32)
}

/// The script counts (N, 3, H, W); the network takes (N, H, W, 3).
fn images(count: usize, side: usize, salt: u32) -> Vec<f32> {
    let planes = values(count * 3 * side * side, salt, 2.0);
    let mut images = Vec::with_capacity(planes.len());
    for image in planes.chunks_exact(3 * side * side) {
        for place in 0..side * side {
            images.extend((0..3).map(|channel| image[channel * side * side + place]));
        }
    }
    images
}

pub(crate) fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// Of an array, the 64 elements the script keeps.
fn sampled(values: &[f32]) -> Vec<f64> {
    (0..64).map(|j| f64::from(values[j * 7919 % values.len()])).collect()
}

pub(crate) fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

pub(crate) fn assert_close(what: &str, expected: &[f64], found: &[f64]) {
    assert_within(TOLERANCE, what, expected, found);
}

pub(crate) fn assert_within(tolerance: f64, what: &str, expected: &[f64], found: &[f64]) {
    assert_eq!(expected.len(), found.len(), "{what}");
    let largest = expected.iter().fold(0.0_f64, |a, b| a.max(b.abs())).max(f64::MIN_POSITIVE);
    for (i, (e, f)) in expected.iter().zip(found).enumerate() {
        let error = (e - f).abs() / largest;
        assert!(error <= tolerance, "{what}[{i}]: expected {e}, found {f}, error {error:.1e}");
    }
}

/// Norms and samples of all arrays beside the script's rows.
pub(crate) fn assert_arrays_close(what: &str, arrays: &[Array], norms: &[f64], samples: &[f64]) {
    let arrays = arrays.iter().filter(|array| !array.name.contains("running"));
    let largest_norm = norms.iter().copied().fold(0.0, f64::max);
    for ((array, norm_expected), samples) in arrays.zip(norms).zip(samples.chunks_exact(64)) {
        let what = format!("{what} of {}", array.name);
        if *norm_expected < 1e-12 * largest_norm {
            // A bias right before batch normalisation: the mean takes it away, and its gradient is
            // rounding alone.
            assert!(norm(&array.values) < TOLERANCE * largest_norm, "{what}");
            continue;
        }
        assert_close(&format!("norm of {what}"), &[*norm_expected], &[norm(&array.values)]);
        // Samples of an array are compared on the scale of its typical element at least.
        let typical = norm_expected / (array.values.len() as f64).sqrt();
        let mut expected = samples.to_vec();
        let mut found = sampled(&array.values);
        expected.push(typical);
        found.push(typical);
        assert_close(&what, &expected, &found);
    }
}

/// A processor for each set of instructions that this one has.
pub(crate) fn cpus() -> impl Iterator<Item = Cpu> {
    let with = |isa| Cpu::with(2, isa, Precision::F32).expect("threads start");
    Isa::available().into_iter().map(with)
}

/// The first GPU, if there is one.
pub(crate) fn gpu() -> Option<Cuda> {
    gpu_in(Precision::F32)
}

/// The same in this precision.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn gpu_in(precision: Precision) -> Option<Cuda> {
    match Cuda::new(0, precision) {
        Ok(gpu) => Some(gpu),
        Err(error) if error.is_absence() => {
            eprintln!("SKIPPED on a GPU: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
