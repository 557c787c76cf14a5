//! A batch in parts, frozen layers and layer-wise rates are the step that they stand for.

use alexnet_cpu::Cpu;
use alexnet_network::{
    Array, Initialisation, Model, ModelConfig, ModelError, ModelName, Network, ParameterSpec, Pass,
    Plan, Purpose,
};
use alexnet_ops::conformance::values;
use alexnet_ops::{SgdStep, UpdateRule};

const IMAGES: usize = 16;
const CLASSES: usize = 5;
const SEED: u64 = 3;

fn config(batch_norm: bool) -> ModelConfig {
    let (model, image_size) = (ModelName::Modern, 63);
    ModelConfig { model, classes: CLASSES, image_size, width: 0.02, batch_norm, dropout: None }
}

fn plan(config: ModelConfig, batch: usize, purpose: Purpose) -> Plan {
    let model = Model::new(config).expect("a model");
    Plan::new(&model, batch, purpose, Initialisation::He).expect("a plan")
}

fn network(plan: Plan) -> Network<Cpu> {
    Network::new(Cpu::new(2).expect("threads"), plan, 7)
}

fn batch() -> (Vec<f32>, Vec<u32>) {
    let labels = (0..IMAGES).map(|n| (n % CLASSES) as u32).collect();
    (values(IMAGES * 63 * 63 * 3, 1, 2.0), labels)
}

fn sgd(_: &ParameterSpec) -> SgdStep {
    let rule = UpdateRule::PyTorch;
    SgdStep { rule, learning_rate: 0.01, momentum: 0.9, weight_decay: 5e-4 }
}

fn train(network: &mut Network<Cpu>, steps: u64) -> Vec<f32> {
    let (images, labels) = batch();
    network.set_label_smoothing(0.1);
    let mut all = Vec::new();
    for step in 0..steps {
        let stepped = network.train_step(&images, &labels, SEED, step, sgd);
        all.extend_from_slice(stepped.expect("finite").losses);
    }
    all
}

fn bits(arrays: &[Array], of: impl Fn(&str) -> bool) -> Vec<(String, Vec<u32>)> {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    let arrays = arrays.iter().filter(|array| of(&array.name));
    arrays.map(|array| (array.name.clone(), bits(&array.values))).collect()
}

/// The largest difference, as a share of the array's largest magnitude.
fn difference(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    let largest = one.iter().fold(f32::MIN_POSITIVE, |a, b| a.max(b.abs()));
    one.iter().zip(other).fold(0.0, |a, (x, y)| f32::max(a, (x - y).abs() / largest))
}

#[test]
fn a_batch_in_parts_is_the_whole_batch() {
    let mut whole = network(plan(config(false), IMAGES, Purpose::Training));
    let losses = train(&mut whole, 3);
    for part in [16, 8, 5, 1] {
        let mut parts = network(plan(config(false), part, Purpose::Accumulate));
        let error = difference(&losses, &train(&mut parts, 3));
        assert!(error < 1e-5, "losses in parts of {part}: {error}");
        let (images, _) = batch();
        let logits = [&mut whole, &mut parts].map(|n| n.forward(&images, Pass::Evaluate).to_vec());
        assert!(difference(&logits[0], &logits[1]) < 1e-5, "logits in parts of {part}");
        let both = [&whole, &parts].map(|n| [n.weights(), n.velocities()].concat());
        for (one, other) in both[0].iter().zip(&both[1]) {
            let error = difference(&one.values, &other.values);
            assert!(error < 1e-5, "{} in parts of {part}: {error}", one.name);
        }
    }
}

#[test]
fn parts_of_a_batch_with_batch_normalisation_are_normalised_by_themselves() {
    let learned = |part, purpose| {
        let mut network = network(plan(config(true), part, purpose));
        train(&mut network, 1);
        network.weights()
    };
    let whole = learned(IMAGES, Purpose::Training);
    let errors = [IMAGES, 8].map(|part| {
        let parts = learned(part, Purpose::Accumulate);
        whole
            .iter()
            .zip(&parts)
            .fold(0.0, |a, (x, y)| f32::max(a, difference(&x.values, &y.values)))
    });
    assert!(errors[0] < 1e-5 && errors[1] > 1e-3, "{errors:?}");
}

#[test]
fn a_plan_that_accumulates_counts_one_more_array_for_each_parameter_of_a_convolution() {
    let [stored, summed] =
        [Purpose::Gradients, Purpose::Accumulate].map(|purpose| plan(config(true), 4, purpose));
    let trained = |layer: &str| layer.starts_with("conv");
    let specs = stored.parameters.iter().filter(|spec| trained(&spec.layer));
    let running = |spec: &&ParameterSpec| !spec.tensors[0].name.contains("running");
    let floats: usize = specs.filter(running).map(ParameterSpec::len).sum();
    let biases = stored.parameters.iter().filter(|spec| !trained(&spec.layer));
    let biases: usize = biases.map(|spec| spec.tensors[0].shape[0]).sum::<usize>() / 2;
    assert_eq!(summed.bytes() - stored.bytes(), 4 * (floats + biases));
}

#[test]
fn frozen_layers_keep_their_bits_and_leave_the_others_gradients_as_they_were() {
    let cases: [&[&str]; 4] =
        [&["conv1"], &["conv1", "conv2", "conv3"], &["conv2", "fc6"], &["conv1", "fc7", "fc8"]];
    for batch_norm in [false, true] {
        for frozen in cases {
            check_frozen(batch_norm, frozen);
        }
    }
}

fn check_frozen(batch_norm: bool, frozen: &[&str]) {
    let what = format!("{frozen:?}, batch normalisation {batch_norm}");
    let all = plan(config(batch_norm), IMAGES, Purpose::Gradients);
    let some = all.clone().freeze(frozen).expect("such layers");
    let tensors = |is_frozen: bool| -> Vec<String> {
        let specs = some.parameters.iter().filter(|spec| spec.frozen == is_frozen);
        specs.flat_map(|spec| &spec.tensors).map(|tensor| tensor.name.clone()).collect()
    };
    let (still, learning) = (tensors(true), tensors(false));
    assert!(!still.is_empty() && some.bytes() < all.bytes(), "{what}");

    let (images, labels) = batch();
    let [mut all, mut part] = [all, some.clone()].map(network);
    let begun = part.weights();
    all.gradient_step(&images, &labels, SEED, 0).expect("finite");
    part.gradient_step(&images, &labels, SEED, 0).expect("finite");
    let gradients = part.gradients();
    assert!(gradients.iter().all(|array| learning.contains(&array.name)), "{what}");
    let expected = all.gradients();
    let expected: Vec<_> =
        expected.into_iter().filter(|array| learning.contains(&array.name)).collect();
    assert_eq!(gradients.len(), expected.len(), "{what}");
    // A frozen normalisation is another function in training.
    if !batch_norm {
        assert!(bits(&gradients, |_| true) == bits(&expected, |_| true), "{what}");
    }

    let mut fused = network(plan(config(batch_norm), IMAGES, Purpose::Training));
    fused = Network::new(
        Cpu::new(2).expect("threads"),
        fused.plan().clone().freeze(frozen).expect("layers"),
        7,
    );
    train(&mut fused, 3);
    let is_still = |name: &str| still.iter().any(|still| still == name);
    assert!(bits(&fused.weights(), is_still) == bits(&begun, is_still), "{what}");
    let moved = bits(&fused.weights(), |name| !is_still(name));
    assert!(moved.iter().zip(bits(&begun, |name| !is_still(name))).all(|(a, b)| *a != b), "{what}");
    let mut stored = network(some);
    train(&mut stored, 3);
    assert!(bits(&fused.weights(), |_| true) == bits(&stored.weights(), |_| true), "{what}");
}

#[test]
fn the_gradient_through_a_frozen_normalisation_is_its_slope() {
    // The loss a step further along the gradient of conv1, the normalisation of conv2 above it frozen.
    let plan = plan(config(true), IMAGES, Purpose::Gradients);
    let plan = plan.freeze(&["conv2", "conv3", "conv4", "conv5"]).expect("layers");
    let mut network = network(plan);
    let (images, labels) = batch();
    let mean = |network: &mut Network<Cpu>| {
        let stepped = network.gradient_step(&images, &labels, SEED, 0).expect("finite");
        stepped.losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / IMAGES as f64
    };
    let before = mean(&mut network);
    let gradient = network.gradients().swap_remove(0);
    let squared: f64 = gradient.values.iter().map(|&g| f64::from(g).powi(2)).sum();
    let step = 1e-3 / squared;
    let mut weights = network.weights();
    let values = weights[0].values.iter_mut().zip(&gradient.values);
    values.for_each(|(w, g)| *w -= step as f32 * g);
    network.set_weights(&weights).expect("its own");
    let slope = (before - mean(&mut network)) / step;
    assert!((slope / squared - 1.0).abs() < 0.05, "{slope} is not {squared}");
}

#[test]
fn the_slope_of_a_frozen_normalisation_is_that_of_the_weights_that_were_set_last() {
    let plan = plan(config(true), IMAGES, Purpose::Gradients);
    let plan = plan.freeze(&["conv2"]).expect("a layer");
    let (images, labels) = batch();
    let gradients = |mut network: Network<Cpu>| {
        network.gradient_step(&images, &labels, SEED, 0).expect("finite");
        bits(&network.gradients(), |_| true)
    };
    let mut set = network(plan.clone());
    let mut weights = set.weights();
    for array in weights.iter_mut().filter(|array| array.name.contains("running_var")) {
        array.values.iter_mut().for_each(|variance| *variance = 4.0);
    }
    set.set_weights(&weights).expect("its own");
    let made = Network::with_weights(Cpu::new(2).expect("threads"), plan.clone(), &weights);
    let [set, made] = [set, made.expect("its own")].map(gradients);
    assert!(set == made);
    assert!(set != gradients(network(plan)));
}

#[test]
fn layers_that_are_not_there_and_all_layers_cannot_be_frozen() {
    let plan = plan(config(false), 1, Purpose::Training);
    let unknown = plan.clone().freeze(&["conv9"]).expect_err("no such layer");
    assert!(matches!(unknown, ModelError::NoLayer { .. }), "{unknown}");
    assert!(unknown.to_string().contains("conv1, conv2"), "{unknown}");
    let all = plan.model.learned_layers();
    assert_eq!(plan.freeze(&all), Err(ModelError::NothingLearns));
}
