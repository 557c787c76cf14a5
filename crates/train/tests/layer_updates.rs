//! What the trainer tells of each layer's updates is what the weights did.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

#[path = "support/state.rs"]
mod state;

use std::path::Path;

use alexnet_cpu::Cpu;
use alexnet_data::{Dataset, SampleSet, UnreadableImage};
use alexnet_network::{Array, ModelConfig};
use alexnet_ops::UpdateRule;
use alexnet_train::{
    EpochRow, LayerRate, LayerUpdate, Observer, RunFolder, SaveFailure, SgdConfig, StepReport,
    TrainConfig, Trainer,
};

/// Steps of an epoch.
const STEPS: u64 = 3;

/// Keeps what it is told of layers, and stops after so many steps.
struct Listener {
    layers: Vec<LayerUpdate>,
    steps_left: u64,
}

impl Observer for Listener {
    fn unreadable(&mut self, _: &UnreadableImage) {}
    fn step(&mut self, _: &StepReport) {
        self.steps_left -= 1;
    }
    fn validated(&mut self, _: u64, _: u64) {}
    fn layers(&mut self, updates: &[LayerUpdate]) {
        self.layers = updates.to_vec();
    }
    fn epoch(&mut self, _: &EpochRow, _: bool) {}
    fn not_saved(&mut self, _: &SaveFailure<'_>) {}
    fn stop(&mut self) -> bool {
        self.steps_left == 0
    }
}

/// Without momentum, so that a velocity is one step; conv2 at half the rate, fc7 at none.
fn config(rule: UpdateRule) -> TrainConfig {
    let own = |layer: &str, factor| LayerRate { layer: layer.into(), factor, from_epoch: 0.0 };
    let config = state::config();
    TrainConfig {
        model: ModelConfig { classes: 12, width: 0.05, ..config.model },
        epochs: 1,
        sgd: SgdConfig {
            rule,
            momentum: 0.0,
            weight_decay: 5e-2,
            bias_rate_factor: 1.0,
            ..config.sgd
        },
        layer_rates: vec![own("conv2", 0.5), own("fc7", 0.0)],
        ..config
    }
}

/// The kernels and matrices after so many steps, and what was told of them.
fn trained(data: &Dataset, place: &Path, rule: UpdateRule, steps: u64) -> (Vec<Array>, Listener) {
    let folder = RunFolder::create(place).unwrap();
    let mut trainer = Trainer::new(Cpu::new(1).unwrap(), config(rule), data, folder, 0).unwrap();
    let mut listener = Listener { layers: Vec::new(), steps_left: steps };
    trainer.run(&mut listener).unwrap();
    let mut weights = trainer.network().weights();
    weights.retain(|array| array.shape.len() > 1);
    (weights, listener)
}

/// How far `after` is turned from `before`, as a share of its length.
fn turn(before: &[f32], after: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    let along = dot(before, after) / dot(after, after);
    let upright = dot(before, before) - along * along * dot(after, after);
    (upright.max(0.0) / dot(after, after)).sqrt()
}

#[test]
fn each_layer_s_last_step_is_told_at_the_common_rate_and_frozen_layers_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let set = SampleSet { seed: 1, train_per_class: 2, val_per_class: 1, side: 72 };
    set.write(&folder.path().join("set"), &mut |_, _| true).unwrap();
    let data = alexnet_data::open(&folder.path().join("set"), None).unwrap();
    for rule in [UpdateRule::Paper, UpdateRule::PyTorch] {
        let run = |name: &str, steps| {
            trained(&data, &folder.path().join(format!("{name}-{rule:?}")), rule, steps)
        };
        let (before, _) = run("before", STEPS - 1);
        let (after, listener) = run("after", STEPS + 1);
        let names: Vec<&str> = listener.layers.iter().map(|l| l.layer.as_str()).collect();
        assert_eq!(names, ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc8"]);
        let pairs = before.iter().zip(&after).zip(["conv1", "conv2", "conv3", "conv4", "conv5"]);
        for ((before, after), name) in pairs {
            let told = listener.layers.iter().find(|told| told.layer == name).unwrap().relative;
            let factor = if name == "conv2" { 2.0 } else { 1.0 };
            let expected = turn(&before.values, &after.values) * factor;
            assert!((told / expected - 1.0).abs() < 0.01, "{rule:?} {name}: {told} {expected}");
        }
    }
}
