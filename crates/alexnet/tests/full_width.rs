//! A whole network at its full width beside the plain loops in f64. Not among the tests of every change, for the
//! plain loops take a minute:
//!
//!     cargo test --release -p alexnet --test full_width -- --ignored

use alexnet_cpu::Cpu;
use alexnet_network::{
    Array, Initialisation, Model, ModelConfig, ModelName, Network, Plan, Purpose,
};
use alexnet_ops::conformance::values;
use alexnet_ops::{Device, Reference};

const IMAGES: usize = 4;

/// Gradients may differ by so much of their norm. Sums in f32 are nearer, but one ReLU or one
/// maximum that rounding turns is worth 1e-3 and more, in the plain loops in f32 too: for these
/// images it turns none.
const LIMIT: f64 = 1e-4;

fn gradients<D: Device>(device: D, plan: &Plan) -> Vec<Array> {
    let images = values(IMAGES * plan.image_len(), 1, 2.0);
    let labels: Vec<u32> = (0..IMAGES as u32).map(|n| 37 * n).collect();
    let mut network = Network::new(device, plan.clone(), 7);
    network.gradient_step(&images, &labels, 5, 3).expect("finite");
    network.gradients()
}

#[test]
#[ignore = "takes a minute"]
fn gradients_of_modern_at_full_width_equal_those_in_f64() {
    let model = ModelName::Modern;
    let image_size = model.native_image_size();
    let config = ModelConfig {
        model,
        classes: 1000,
        image_size,
        width: 1.0,
        batch_norm: false,
        dropout: None,
    };
    let model = Model::new(config).expect("a model");
    let plan = Plan::new(&model, IMAGES, Purpose::Gradients, Initialisation::He).expect("a plan");
    let exact = gradients(Reference::<f64>::new(), &plan);
    let found = gradients(Cpu::new(0).expect("threads start"), &plan);
    let error = |(exact, found): (&Array, &Array)| {
        let wide = |array: &Array| array.values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let (exact_values, found) = (wide(exact), wide(found));
        let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
        let differences: Vec<f64> = exact_values.iter().zip(found).map(|(a, b)| a - b).collect();
        (exact.name.clone(), norm(&differences) / norm(&exact_values))
    };
    let errors = exact.iter().zip(&found).map(error);
    let too_far = errors.filter(|(_, error)| error.is_nan() || *error > LIMIT);
    let too_far: Vec<String> =
        too_far.map(|(name, error)| format!("{name}: {error:.1e}")).collect();
    assert!(too_far.is_empty(), "{too_far:?}");
}
