//! Training and evaluation do the same whatever the plan keeps.

use alexnet_cpu::Cpu;
use alexnet_network::{
    Array, Initialisation, Model, ModelConfig, ModelName, Network, ParameterRole, ParameterSpec,
    Pass, Plan, Purpose,
};
use alexnet_ops::conformance::values;
use alexnet_ops::{Device, Reference, SgdStep, UpdateRule};

const SEED: u64 = 7;
const BATCH: usize = 3;
const CLASSES: usize = 5;
const STEPS: u64 = 4;

/// Every table, and the one with batch normalisation, a few maps wide.
fn configs() -> impl Iterator<Item = ModelConfig> {
    let plain = ModelName::ALL.map(|model| (model, false));
    plain.into_iter().chain([(ModelName::Modern, true)]).map(|(model, batch_norm)| {
        let small = matches!(model, ModelName::Modern | ModelName::Torchvision);
        let image_size = if small { 63 } else { model.native_image_size() };
        ModelConfig { model, classes: CLASSES, image_size, width: 0.02, batch_norm, dropout: None }
    })
}

fn network<D: Device>(device: D, config: ModelConfig, purpose: Purpose) -> Network<D> {
    let model = Model::new(config).expect("a model");
    let plan = Plan::new(&model, BATCH, purpose, Initialisation::He).expect("a plan");
    Network::new(device, plan, SEED)
}

/// The images and labels of a step; the last step has fewer.
fn batch(config: ModelConfig, step: u64) -> (Vec<f32>, Vec<u32>) {
    let count = if step + 1 == STEPS { BATCH - 1 } else { BATCH };
    let images = values(count * 3 * config.image_size.pow(2), step as u32, 2.0);
    (images, (0..count).map(|n| (n + step as usize) as u32 % CLASSES as u32).collect())
}

fn sgd(of: &ParameterSpec) -> SgdStep {
    let learning_rate = if of.role == ParameterRole::Weight { 0.01 } else { 0.02 };
    SgdStep { rule: UpdateRule::PyTorch, learning_rate, momentum: 0.9, weight_decay: 5e-4 }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// All that is learned, as bits.
fn learned<D: Device>(network: &Network<D>) -> Vec<(String, Vec<u32>)> {
    let arrays = network.weights().into_iter().chain(network.velocities());
    arrays.map(|Array { name, values, .. }| (name, bits(&values))).collect()
}

fn check_halves<D: Device + Clone>(device: &D, config: ModelConfig) {
    let what = format!("{config:?} on {}", device.name());
    let mut whole = network(device.clone(), config, Purpose::Training);
    let mut halves = network(device.clone(), config, Purpose::Gradients);
    for step in 0..STEPS {
        let (images, labels) = batch(config, step);
        let scores = whole.train_step(&images, &labels, SEED, step, sgd).expect("finite");
        let expected = [bits(scores.losses), bits(scores.ranks), bits(whole.logits())];
        let scores = halves.gradient_step(&images, &labels, SEED, step).expect("finite");
        assert!(scores.losses.iter().all(|loss| loss.is_finite()), "{what}: {scores:?}");
        let found = [bits(scores.losses), bits(scores.ranks), bits(halves.logits())];
        assert!(found == expected, "{what}, step {step}");
        halves.update(sgd);
        assert!(learned(&whole) == learned(&halves), "{what}, step {step}");
    }
    let trained = halves.velocities().len();
    assert_eq!((whole.gradients().len(), halves.gradients().len()), (trained - 3, trained));
}

#[test]
fn a_whole_step_has_the_bits_of_its_two_halves() {
    for config in configs() {
        check_halves(&Reference::<f32>::new(), config);
        check_halves(&Cpu::new(2).expect("threads"), config);
    }
}

#[test]
fn evaluation_gives_the_same_logits_while_training_and_in_a_plan_of_its_own() {
    let device = Cpu::new(2).expect("threads");
    for config in configs() {
        let mut training = network(device.clone(), config, Purpose::Training);
        let mut inference = network(device.clone(), config, Purpose::Inference);
        let (images, labels) = batch(config, 0);
        training.train_step(&images, &labels, SEED, 0, sgd).expect("finite");
        inference.set_weights(&training.weights()).expect("the same network's");
        let (one, other) = (
            bits(training.forward(&images, Pass::Evaluate)),
            bits(inference.forward(&images, Pass::Evaluate)),
        );
        assert!(one == other, "{config:?}");
    }
}

#[test]
fn a_step_gives_the_logits_of_its_own_pass_forward() {
    let device = Cpu::new(2).expect("threads");
    for config in configs().filter(|config| !config.batch_norm) {
        let mut network = network(device.clone(), config, Purpose::Training);
        for step in 0..2 {
            let (images, labels) = batch(config, step);
            let pass = Pass::Train { seed: SEED, step };
            let expected = bits(network.forward(&images, pass));
            network.train_step(&images, &labels, SEED, step, sgd).expect("finite");
            assert!(bits(network.logits()) == expected, "{config:?}, step {step}");
        }
    }
}

#[test]
fn a_step_whose_loss_is_no_number_updates_nothing() {
    let device = Cpu::new(2).expect("threads");
    for config in configs() {
        let mut network = network(device.clone(), config, Purpose::Training);
        let before = learned(&network);
        let (mut images, labels) = batch(config, 0);
        images[0] = f32::NAN;
        let error = network.train_step(&images, &labels, SEED, 0, sgd).expect_err("NaN");
        assert!(error.layer == "input" && error.repeats, "{config:?}: {error:?}");
        assert!(learned(&network) == before, "{config:?}");
    }
}
