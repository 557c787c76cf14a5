//! Everything that decides what a run computes. Two runs of one configuration on one data set end
//! with the same bits.

use alexnet_data::{Augment, Preprocess};
use alexnet_network::{Initialisation, ModelConfig, ParameterRole, ParameterSpec};
use alexnet_ops::{SgdStep, UpdateRule};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schedule::Schedule;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The network.
    pub model: ModelConfig,
    /// How its weights start.
    pub initialisation: Initialisation,
    /// Decides initial weights, order, augmentation and dropout.
    pub seed: u64,
    /// Passes over the training images.
    pub epochs: u64,
    /// Images in a step; the last step of an epoch may have fewer.
    pub batch_size: usize,
    /// The update.
    pub sgd: SgdConfig,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// Epochs over which the learning rate rises linearly to its first value.
    pub warmup_epochs: f64,
    /// Layers that do not learn at the common rate. Of a layer's entries the last whose epoch has
    /// come holds.
    #[serde(default)]
    pub layer_rates: Vec<LayerRate>,
    /// Epochs without a better validation top-1 after which the run ends; `None` is never.
    #[serde(default)]
    pub patience: Option<u64>,
    /// Share of the target that is spread over all classes.
    #[serde(default)]
    pub label_smoothing: f32,
    /// Images computed at a time; a step adds up the gradients of its batch. `None`: all of them.
    #[serde(default)]
    pub micro_batch: Option<usize>,
    /// The trust of layer-wise rates (LARS); `None` without them.
    #[serde(default)]
    pub layer_wise_trust: Option<f64>,
    /// How a training image is varied.
    pub augment: Augment,
    /// How an image becomes the network's input.
    pub preprocess: Preprocess,
}

/// A layer's own learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRate {
    /// `conv1` to `fc8`.
    pub layer: String,
    /// Factor on the common rate; 0 freezes the layer.
    pub factor: f64,
    /// From this epoch of the run on, counted from 0.
    pub from_epoch: f64,
}

/// Stochastic gradient descent with momentum, in one of its two forms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SgdConfig {
    /// The form.
    pub rule: UpdateRule,
    /// The schedule's starting point.
    pub learning_rate: f64,
    /// Share of the velocity kept at each step.
    pub momentum: f64,
    /// Pull of weights towards zero.
    pub weight_decay: f64,
    /// Factor on the learning rate of biases, and of batch normalisation's scale and shift: 2 in the
    /// 2012 code and in Caffe.
    pub bias_rate_factor: f64,
    /// Factor on the decay of biases and of batch normalisation: 0 in the 2012 code and in Caffe, 1
    /// in PyTorch.
    pub bias_decay_factor: f64,
}

impl SgdConfig {
    /// The figures of one update of a parameter of this role, at the schedule's `rate`.
    pub fn step(&self, role: ParameterRole, rate: f64) -> SgdStep {
        let (rate_factor, decay_factor) = match role {
            ParameterRole::Weight | ParameterRole::Running => (1.0, 1.0),
            ParameterRole::Bias | ParameterRole::Affine => {
                (self.bias_rate_factor, self.bias_decay_factor)
            }
        };
        SgdStep {
            rule: self.rule,
            learning_rate: (rate * rate_factor) as f32,
            momentum: self.momentum as f32,
            weight_decay: (self.weight_decay * decay_factor) as f32,
        }
    }
}

impl TrainConfig {
    /// Where these settings are not those a run began with, field by field, in words.
    pub(crate) fn differences_from(&self, begun: &Self) -> String {
        // By way of text, in which figures are as short as they were typed.
        let values = [begun, self].map(|config| {
            let text = serde_json::to_string(config).unwrap_or_default();
            serde_json::from_str(&text).unwrap_or_default()
        });
        let mut found = Vec::new();
        add_differences(&mut found, "", &values[0], &values[1]);
        found.join(", ")
    }

    /// The figures of one update of a parameter at the schedule's `rate`, `position` epochs into
    /// the run.
    pub fn update(&self, of: &ParameterSpec, rate: f64, position: f64) -> SgdStep {
        self.sgd.step(of.role, rate * self.layer_factor(&of.layer, position))
    }

    /// The factor on a layer's learning rate, `position` epochs into the run.
    pub fn layer_factor(&self, layer: &str, position: f64) -> f64 {
        let begun = |own: &&LayerRate| own.layer == layer && own.from_epoch <= position;
        self.layer_rates.iter().rev().find(begun).map_or(1.0, |own| own.factor)
    }

    /// Whether a layer never learns.
    pub fn is_frozen(&self, layer: &str) -> bool {
        let mut own = self.layer_rates.iter().filter(|own| own.layer == layer);
        self.layer_factor(layer, 0.0) == 0.0 && own.all(|own| own.factor == 0.0)
    }

    /// The learning rate of step `step_in_epoch` of `epoch`, when an epoch has `steps` steps.
    pub fn learning_rate(
        &self,
        memory: &crate::ScheduleMemory,
        epoch: u64,
        step_in_epoch: u64,
        steps: u64,
    ) -> f64 {
        let position = epoch as f64 + step_in_epoch as f64 / steps as f64;
        let factor = if position < self.warmup_epochs {
            (position + 1.0 / steps as f64) / self.warmup_epochs
        } else {
            let span = (self.epochs as f64 - self.warmup_epochs).max(f64::MIN_POSITIVE);
            self.schedule.factor(memory, position - self.warmup_epochs, span)
        };
        self.sgd.learning_rate * factor.min(1.0)
    }
}

/// Adds where two values differ, each place by its path.
fn add_differences(found: &mut Vec<String>, path: &str, begun: &Value, now: &Value) {
    match (begun, now) {
        (Value::Object(begun), Value::Object(now)) => {
            let added = now.keys().filter(|key| !begun.contains_key(*key));
            for key in begun.keys().chain(added) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let of = |fields: &serde_json::Map<String, Value>| {
                    fields.get(key).cloned().unwrap_or_default()
                };
                add_differences(found, &path, &of(begun), &of(now));
            }
        }
        _ if begun == now => {}
        // Of a mean image nobody wants to see the numbers.
        _ if begun.is_array() || now.is_array() => found.push(format!("{path} is another")),
        _ => found.push(format!("{path} was {begun} and is {now}")),
    }
}
