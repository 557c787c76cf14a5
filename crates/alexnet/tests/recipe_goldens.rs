//! Ten steps of each published recipe equal PyTorch's.
//!
//! `goldens/make_recipes.py` states the recipes once more, as what they do at ten moments of their
//! run: the rate, conv1's own, factors and decay of biases, dropout and normalisation where they
//! stand. Here the same moments go through [`Recipe`] and [`TrainConfig`], as in a run.

mod support {
    pub(crate) mod networks;
}

use alexnet::data::Preprocess;
use alexnet::network::{ModelConfig, ModelName};
use alexnet::ops::{Device, Reference};
use alexnet::train::{Recipe, ScheduleMemory, SgdConfig, TrainConfig};
use serde::Deserialize;
use support::networks::{
    Described, Goldens, SEED, assert_arrays_close, assert_close, cpus, doubles, gpu, start,
};

/// Steps of an epoch: the script's moments are hundredths.
const STEPS: u64 = 100;

/// What the script says of a recipe's run.
#[derive(Deserialize)]
struct Run {
    #[serde(flatten)]
    network: Described,
    /// The moments, in epochs.
    epochs: Vec<f64>,
    /// The rate that the recipe's first one stands for.
    base: f64,
}

/// The recipe as a run has it, but for the size of its first rate.
fn config(recipe: &Recipe, model: ModelConfig, base: f64) -> TrainConfig {
    let pixels = model.image_size as u32;
    TrainConfig {
        model,
        initialisation: alexnet::network::Initialisation::Model,
        seed: SEED,
        epochs: recipe.epochs,
        batch_size: recipe.batch_size,
        sgd: SgdConfig { learning_rate: base, ..recipe.sgd },
        schedule: recipe.schedule(recipe.epochs),
        warmup_epochs: recipe.warmup_epochs,
        layer_rates: recipe.layer_rates(recipe.epochs),
        patience: None,
        label_smoothing: recipe.label_smoothing,
        micro_batch: None,
        layer_wise_trust: None,
        augment: recipe.view.into(),
        preprocess: Preprocess {
            fit: recipe.fit,
            resize: pixels,
            crop: pixels,
            mean: [0.0; 3],
            std: [1.0; 3],
            mean_image: None,
        },
    }
}

fn check<D: Device>(model: ModelName, device: D, goldens: &Goldens<Run>) {
    let name = model.as_str();
    let run = goldens.list.iter().find(|run| run.network.name == name).expect(name);
    let recipe = Recipe::of(model);
    let (mut network, images, labels) = start(device, model, recipe.batch_norm, &run.network);
    let on = network.device().name();
    let config = config(&recipe, network.plan().model.config, run.base);
    network.set_label_smoothing(recipe.label_smoothing);
    let (mut memory, mut means) = (ScheduleMemory::default(), Vec::new());
    for (step, &moment) in run.epochs.iter().enumerate() {
        let (epoch, in_epoch) = (moment.floor(), (moment.fract() * STEPS as f64).round());
        let rate = config.learning_rate(&memory, epoch as u64, in_epoch as u64, STEPS);
        let stepped = network.gradient_step(&images, &labels, SEED, step as u64);
        let losses = stepped.expect("finite").losses;
        means.push(doubles(losses).iter().sum::<f64>() / losses.len() as f64);
        network.update(|of| config.update(of, rate, moment));
        // Validation improves until the second epoch; only the paper's plateau listens.
        config.schedule.end_epoch(&mut memory, if step == 0 { 0.9 } else { 0.5 });
    }
    assert_close(&format!("{name} losses on {on}"), goldens.tensor(name, "losses"), &means);
    let (norms, samples) = (goldens.tensor(name, "norms"), goldens.tensor(name, "samples"));
    let what = format!("{name} after ten steps on {on}");
    assert_arrays_close(&what, &network.weights(), norms, samples);
}

#[test]
fn ten_steps_of_every_recipe_equal_pytorch_s() {
    let goldens = Goldens::read("recipes.safetensors", "recipes");
    for model in ModelName::ALL {
        check(model, Reference::<f32>::new(), &goldens);
        cpus().for_each(|cpu| check(model, cpu, &goldens));
        gpu().into_iter().for_each(|gpu| check(model, gpu, &goldens));
    }
}
