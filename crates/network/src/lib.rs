//! AlexNet: its models as tables ([`models`]), the [`Plan`] made of one, and the [`Network`] that
//! follows the plan on a device, forward and backward.
//!
//! The only place where the order of layers is written. No file, clock, environment variable or
//! global is touched.

#![forbid(unsafe_code)]

mod initial;
mod layer;
pub mod models;
mod network;
mod order;
mod places;
mod plan;

pub use alexnet_ops::Images;
pub use initial::{Fill, Initialisation};
pub use layer::{Conv, DropoutForm, Layer, Linear, Units};
pub use models::{Model, ModelConfig, ModelError, ModelName};
pub use network::{Array, LoadError, Network, NotFinite, Part, Pass, Scores, StepBatch};
pub use plan::{BATCH_MAX, LayerSummary, ParameterRole, ParameterSpec, Plan, Purpose, TensorSpec};
