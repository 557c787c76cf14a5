//! A small run's settings, and states of it that no training was needed for.

#![allow(dead_code)] // Each test file uses its share.

use alexnet_data::{Fit, Preprocess, View};
use alexnet_network::{Array, Initialisation, ModelConfig, ModelName};
use alexnet_ops::UpdateRule;
use alexnet_train::{Checkpoint, Progress, Schedule, SgdConfig, TrainConfig};

/// Some run's settings, of which a test changes what matters to it.
pub(crate) fn config() -> TrainConfig {
    TrainConfig {
        model: ModelConfig {
            model: ModelName::Modern,
            classes: 2,
            image_size: 63,
            width: 0.02,
            batch_norm: true,
            dropout: None,
        },
        initialisation: Initialisation::Model,
        seed: 3,
        epochs: 4,
        batch_size: 8,
        sgd: SgdConfig {
            rule: UpdateRule::Paper,
            learning_rate: 0.02,
            momentum: 0.9,
            weight_decay: 5e-4,
            bias_rate_factor: 2.0,
            bias_decay_factor: 0.0,
        },
        schedule: Schedule::Constant,
        warmup_epochs: 0.0,
        layer_rates: Vec::new(),
        patience: None,
        label_smoothing: 0.0,
        micro_batch: None,
        layer_wise_trust: None,
        augment: View::RandomCrop.into(),
        preprocess: Preprocess {
            fit: Fit::ShorterSide,
            mean_image: None,
            resize: 70,
            crop: 63,
            mean: [120.0; 3],
            std: [60.0; 3],
        },
    }
}

/// The checkpoint of a step: four arrays of so many values, none like another step's.
pub(crate) fn checkpoint(step: u64, values: usize) -> Checkpoint {
    let array = |name: &str, sign: f32| {
        let value = |i: usize| sign * (step * 100_000 + i as u64) as f32;
        let values: Vec<_> = (0..values).map(value).collect();
        Array { name: name.to_owned(), shape: vec![values.len()], values }
    };
    Checkpoint {
        config: config(),
        dataset: "36 images, 12345678".into(),
        validation: Some("12 images, 87654321".into()),
        progress: Progress { epoch: step, step, ..Progress::default() },
        weights: vec![array("a", 1.0), array("b", 0.5)],
        momentum: vec![array("a", -1.0), array("b", -0.5)],
    }
}
