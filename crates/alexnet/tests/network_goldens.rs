//! Whole networks equal PyTorch's: logits, losses, every gradient, and ten steps of both update
//! rules.
//!
//! `goldens/make_networks.py` states the models once more, from the literature, and writes what
//! PyTorch computes; parameters and images follow from a formula, so both sides start from the same
//! numbers.

use std::collections::HashMap;
use std::path::Path;

use alexnet::cpu::{Cpu, Isa};
use alexnet::network::{
    Array, Initialisation, Model, ModelConfig, ModelName, Network, ParameterRole, ParameterSpec,
    Pass, Plan, Purpose,
};
use alexnet::ops::conformance::values;
use alexnet::ops::{Device, Precision, Reference, SgdStep, UpdateRule};

/// Largest difference over the largest magnitude of a tensor.
const TOLERANCE: f64 = 1e-4;
const CLASSES: usize = 10;
const WIDTH: f32 = 1.0 / 8.0;
const SEED: u64 = 5;
const STEP: u64 = 3;
const SGD_STEPS: u64 = 10;
const FIRST_PARAMETER_SALT: u32 = 100;

struct Case {
    golden: &'static str,
    model: ModelName,
    batch_norm: bool,
    images: usize,
}

const CASES: [Case; 7] = [
    Case { golden: "original", model: ModelName::Original, batch_norm: false, images: 2 },
    Case { golden: "paper", model: ModelName::Paper, batch_norm: false, images: 2 },
    Case { golden: "caffe", model: ModelName::Caffe, batch_norm: false, images: 2 },
    Case { golden: "caffenet", model: ModelName::Caffenet, batch_norm: false, images: 2 },
    Case { golden: "modern", model: ModelName::Modern, batch_norm: false, images: 2 },
    Case { golden: "modern_batch_norm", model: ModelName::Modern, batch_norm: true, images: 4 },
    Case { golden: "torchvision", model: ModelName::Torchvision, batch_norm: false, images: 2 },
];

/// What the script wrote.
struct Goldens {
    tensors: HashMap<String, Vec<f64>>,
    /// Salt of each model's images: the script chooses them so that no ReLU or maximum hangs on
    /// rounding.
    salts: HashMap<String, u32>,
}

impl Goldens {
    fn tensor(&self, model: &str, output: &str) -> &[f64] {
        &self.tensors[&format!("{model}/{output}")]
    }
}

fn goldens() -> Goldens {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/networks.safetensors");
    let bytes = std::fs::read(path).expect("goldens/networks.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let floats = |data: &[u8]| {
        let words = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        words.map(f64::from).collect()
    };
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a header");
    let models = &header.metadata().as_ref().expect("metadata")["models"];
    let models: Vec<serde_json::Value> = serde_json::from_str(models).expect("a list of models");
    let salt = |model: &serde_json::Value| {
        let name = model["name"].as_str().expect("a name").to_owned();
        (name, model["salt"].as_u64().expect("a salt") as u32)
    };
    Goldens {
        tensors: tensors.iter().map(|(n, view)| (n.to_owned(), floats(view.data()))).collect(),
        salts: models.iter().map(salt).collect(),
    }
}

impl Case {
    /// The network with the script's parameters, and the batch it is shown: (N, H, W, 3) and
    /// labels.
    fn start<D: Device>(&self, device: D, goldens: &Goldens) -> (Network<D>, Vec<f32>, Vec<u32>) {
        let image_size = self.model.native_image_size();
        let config = ModelConfig {
            model: self.model,
            classes: CLASSES,
            image_size,
            width: WIDTH,
            batch_norm: self.batch_norm,
            dropout: None,
        };
        let model = Model::new(config).expect("a model");
        let plan = Plan::new(&model, self.images, Purpose::Gradients, Initialisation::Model);
        let mut network = Network::new(device, plan.expect("a plan"), 0);
        let mut weights = network.weights();
        let learned = weights.iter_mut().filter(|array| !array.name.contains("running"));
        for (array, salt) in learned.zip(FIRST_PARAMETER_SALT..) {
            array.values = starting_values(array, salt);
        }
        network.set_weights(&weights).expect("the network's own arrays");
        let labels = (0..self.images).map(|n| ((n * 3 + 1) % CLASSES) as u32).collect();
        (network, images(self.images, image_size, goldens.salts[self.golden]), labels)
    }
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

fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// Of an array, the 64 elements the script keeps.
fn sampled(values: &[f32]) -> Vec<f64> {
    (0..64).map(|j| f64::from(values[j * 7919 % values.len()])).collect()
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

fn assert_close(what: &str, expected: &[f64], found: &[f64]) {
    assert_eq!(expected.len(), found.len(), "{what}");
    let largest = expected.iter().fold(0.0_f64, |a, b| a.max(b.abs())).max(f64::MIN_POSITIVE);
    for (i, (e, f)) in expected.iter().zip(found).enumerate() {
        let error = (e - f).abs() / largest;
        assert!(error <= TOLERANCE, "{what}[{i}]: expected {e}, found {f}, error {error:.1e}");
    }
}

/// Norms and samples of all arrays beside the script's rows.
fn assert_arrays_close(what: &str, arrays: &[Array], norms: &[f64], samples: &[f64]) {
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
fn cpus() -> impl Iterator<Item = Cpu> {
    let with = |isa| Cpu::with(2, isa, Precision::F32).expect("threads start");
    Isa::available().into_iter().map(with)
}

fn check_one_pass<D: Device>(case: &Case, device: D, goldens: &Goldens) {
    let name = case.golden;
    let golden = |output: &str| goldens.tensor(name, output);
    let (mut network, images, labels) = case.start(device, goldens);
    let on = network.device().name();
    let logits = network.forward(&images, Pass::Evaluate);
    assert_close(&format!("{name} logits on {on}"), golden("logits"), &doubles(logits));
    let (losses, _) = network.gradient_step(&images, &labels, SEED, STEP);
    assert_close(&format!("{name} losses on {on}"), golden("losses"), &doubles(losses));
    let what = format!("{name} gradient on {on}");
    let (norms, samples) = (golden("gradient_norms"), golden("gradient_samples"));
    let gradients = network.gradients();
    assert_eq!(gradients.len(), norms.len(), "{name}");
    assert_arrays_close(&what, &gradients, norms, samples);
    let weights = network.weights();
    for statistic in ["running_mean", "running_var"] {
        let found = weights.iter().filter(|array| array.name.ends_with(statistic));
        for (layer, array) in found.enumerate() {
            let golden = golden(&format!("bn{}.{statistic}", layer + 1));
            assert_close(&format!("{name} {statistic} {layer}"), golden, &doubles(&array.values));
        }
    }
}

#[test]
fn logits_losses_and_gradients_of_every_model_equal_pytorch_s() {
    let goldens = goldens();
    for case in &CASES {
        check_one_pass(case, Reference::<f32>::new(), &goldens);
        cpus().for_each(|cpu| check_one_pass(case, cpu, &goldens));
    }
}

/// The figures `make_networks.py` trains with.
fn pytorch_rule(_: &ParameterSpec) -> SgdStep {
    let rule = UpdateRule::PyTorch;
    SgdStep { rule, learning_rate: 5e-5, momentum: 0.9, weight_decay: 5e-4 }
}

fn paper_rule(of: &ParameterSpec) -> SgdStep {
    let (learning_rate, weight_decay) = match of.role {
        ParameterRole::Weight => (1e-3, 5e-4),
        _ => (2e-3, 0.0),
    };
    SgdStep { rule: UpdateRule::Paper, learning_rate, momentum: 0.9, weight_decay }
}

fn check_training<D: Device>(
    case: &Case,
    device: D,
    rule: fn(&ParameterSpec) -> SgdStep,
    goldens: &Goldens,
) {
    let golden = |output: &str| goldens.tensor(case.golden, output);
    let (mut network, images, labels) = case.start(device, goldens);
    let on = network.device().name();
    let mut means = Vec::new();
    for step in 0..SGD_STEPS {
        let (losses, _) = network.gradient_step(&images, &labels, SEED, step);
        means.push(doubles(losses).iter().sum::<f64>() / losses.len() as f64);
        network.update(rule);
    }
    assert_close(&format!("{} losses on {on}", case.golden), golden("trained_losses"), &means);
    let what = format!("{} after ten steps on {on}", case.golden);
    let (norms, samples) = (golden("trained_norms"), golden("trained_samples"));
    assert_arrays_close(&what, &network.weights(), norms, samples);
}

#[test]
fn ten_steps_of_both_update_rules_equal_pytorch_s() {
    let goldens = goldens();
    let rules =
        [(&CASES[5], pytorch_rule as fn(&ParameterSpec) -> SgdStep), (&CASES[0], paper_rule)];
    for (case, rule) in rules {
        check_training(case, Reference::<f32>::new(), rule, &goldens);
        cpus().for_each(|cpu| check_training(case, cpu, rule, &goldens));
    }
}
