//! Whole networks equal PyTorch's: logits, losses, every gradient, and steps with layer-wise rates.
//!
//! `goldens/make_networks.py` states the models once more, from the literature, and writes what
//! PyTorch computes; parameters and images follow from a formula, so both sides start from the same
//! numbers.

mod support {
    pub(crate) mod networks;
}

use alexnet::network::{ModelName, Network, ParameterSpec, Pass};
use alexnet::ops::{Device, Precision, Reference, SgdStep, UpdateRule};
use support::networks::{
    Described, Goldens, SEED, assert_arrays_close, assert_close, assert_within, cpus, doubles, gpu,
    gpu_in, norm, start,
};

const STEP: u64 = 3;

struct Case {
    golden: &'static str,
    model: ModelName,
    batch_norm: bool,
}

const CASES: [Case; 7] = [
    Case { golden: "original", model: ModelName::Original, batch_norm: false },
    Case { golden: "paper", model: ModelName::Paper, batch_norm: false },
    Case { golden: "caffe", model: ModelName::Caffe, batch_norm: false },
    Case { golden: "caffenet", model: ModelName::Caffenet, batch_norm: false },
    Case { golden: "modern", model: ModelName::Modern, batch_norm: false },
    Case { golden: "modern_batch_norm", model: ModelName::Modern, batch_norm: true },
    Case { golden: "torchvision", model: ModelName::Torchvision, batch_norm: false },
];

impl Case {
    fn start<D: Device>(
        &self,
        device: D,
        goldens: &Goldens<Described>,
    ) -> (Network<D>, Vec<f32>, Vec<u32>) {
        let described = goldens.list.iter().find(|model| model.name == self.golden);
        start(device, self.model, self.batch_norm, described.expect(self.golden))
    }
}

fn goldens() -> Goldens<Described> {
    Goldens::read("networks.safetensors", "models")
}

fn check_one_pass<D: Device>(case: &Case, device: D, goldens: &Goldens<Described>) {
    let name = case.golden;
    let golden = |output: &str| goldens.tensor(name, output);
    let (mut network, images, labels) = case.start(device, goldens);
    let on = network.device().name();
    let logits = network.forward(&images, Pass::Evaluate);
    assert_close(&format!("{name} logits on {on}"), golden("logits"), &doubles(logits));
    let losses = network.gradient_step(&images, &labels, SEED, STEP).expect("finite").losses;
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
        gpu().into_iter().for_each(|gpu| check_one_pass(case, gpu, &goldens));
    }
}

/// What eight layers of bf16 may add up to, of 4e-3 a rounding.
const TOLERANCE_BF16: f64 = 5e-2;

#[test]
fn in_bf16_on_a_gpu_logits_losses_and_norms_of_gradients_are_within_a_twentieth() {
    let goldens = goldens();
    for case in &CASES {
        let Some(gpu) = gpu_in(Precision::Bf16) else { return };
        let name = case.golden;
        let golden = |output: &str| goldens.tensor(name, output);
        let close = |what: &str, expected: &[f64], found: &[f64]| {
            assert_within(TOLERANCE_BF16, &format!("{name}: {what}"), expected, found);
        };
        let (mut network, images, labels) = case.start(gpu, &goldens);
        let logits = network.forward(&images, Pass::Evaluate);
        close("logits", golden("logits"), &doubles(logits));
        let losses = network.gradient_step(&images, &labels, SEED, STEP).expect("finite").losses;
        close("losses", golden("losses"), &doubles(losses));
        let norms: Vec<f64> = network.gradients().iter().map(|array| norm(&array.values)).collect();
        close("norms of gradients", golden("gradient_norms"), &norms);
    }
}

/// The figures `make_lars.py` trains with; the paper's algorithm has the rate inside the velocity.
fn lars(_: &ParameterSpec) -> SgdStep {
    let rule = UpdateRule::Paper;
    SgdStep { rule, learning_rate: 0.01, momentum: 0.9, weight_decay: 5e-4 }
}

fn check_lars<D: Device>(device: D, goldens: &Goldens<Described>) {
    let golden = |output: &str| goldens.tensor("modern", output);
    let (mut network, images, labels) = start(device, ModelName::Modern, false, &goldens.list[0]);
    network.set_layer_wise_rates(Some(0.1));
    let on = network.device().name();
    let mut means = Vec::new();
    for step in 0..golden("losses").len() as u64 {
        let stepped = network.train_step(&images, &labels, SEED, step, lars);
        let losses = stepped.expect("finite").losses;
        means.push(doubles(losses).iter().sum::<f64>() / losses.len() as f64);
    }
    assert_close(&format!("losses on {on}"), golden("losses"), &means);
    let (norms, samples) = (golden("norms"), golden("samples"));
    assert_arrays_close(&format!("layer-wise on {on}"), &network.weights(), norms, samples);
}

#[test]
fn three_steps_with_layer_wise_rates_equal_pytorch_s() {
    let goldens = Goldens::read("lars.safetensors", "models");
    check_lars(Reference::<f32>::new(), &goldens);
    cpus().for_each(|cpu| check_lars(cpu, &goldens));
    gpu().into_iter().for_each(|gpu| check_lars(gpu, &goldens));
}
