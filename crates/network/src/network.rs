//! A network on a device: its arrays, and the passes over the plan's steps. Backward is forward
//! read upwards.

mod arrays;
mod brought;
mod forward;
mod health;
mod steps;
mod training;

use std::collections::BTreeMap;

use alexnet_ops::{Bound, ConvPass, Device};

pub use self::arrays::{Array, LoadError};
use self::brought::Brought;
pub use self::health::NotFinite;
use self::health::{Look, Walk, looks};
pub use self::training::{Scores, StepBatch};
use crate::initial::initial_values;
use crate::order::to_device;
use crate::plan::{ParameterRole, ParameterSpec, Plan, Step};

/// What a forward pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Dropout drops, batch normalisation uses the batch and moves its running statistics.
    Train {
        /// The run's seed.
        seed: u64,
        /// The training step, counted from the first of the run.
        step: u64,
    },
    /// Nothing is random, nothing is remembered.
    Evaluate,
}

/// A part of a pass, as a watcher hears of it. Numbers are those of [`LayerSummary::step`].
///
/// [`LayerSummary::step`]: crate::LayerSummary::step
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The images are on the device.
    Input,
    /// A step's output is there.
    Forward(usize),
    /// The losses, and the gradient of the logits.
    Loss,
    /// A step's gradients, but for weights that are updated where their gradient is formed.
    Backward(usize),
    /// Everything is known to be finite.
    Check,
    /// A linear layer's weights are updated where their gradient is formed.
    FusedUpdate(usize),
    /// The updates of all that kept its gradient.
    Update,
}

/// The part of a batch that a pass is over.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// Images before it.
    first: usize,
    /// Its images.
    count: usize,
    /// Images of the batch.
    of: usize,
}

/// A run of operations that is the same whenever it comes, but for the step of its dropout masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Repeated {
    /// Images.
    count: usize,
    /// Of the run, where it is forward, loss and backward of a step of training; nothing where it is a
    /// pass of evaluation.
    seed: Option<u64>,
    /// Whether they came as levels: the device may have laid them out in another way then.
    by_levels: bool,
}

/// Told of each part when the device has returned from it.
type Watcher = Box<dyn FnMut(Part) + Send>;

/// One array of the network on the device. Which have a velocity and a gradient the plan says.
struct Parameter<D: Device> {
    spec: ParameterSpec,
    values: D::Floats,
    velocity: Option<D::Floats>,
    gradient: Option<D::Floats>,
    /// Of the gradients of a batch's parts.
    sum: Option<D::Floats>,
}

/// A network that follows one plan on one device. All its arrays are made with it: a pass makes
/// none.
pub struct Network<D: Device> {
    /// What the device may remember, gone before it.
    recordings: BTreeMap<Repeated, D::Recording>,
    device: D,
    plan: Plan,
    parameters: Vec<Parameter<D>>,
    /// Activations (N, H, W, C) and their gradients, where the plan's places say.
    values: Vec<D::Floats>,
    /// Positions of each max pooling's maxima.
    positions: Vec<D::Bytes>,
    /// Batch statistics of each batch normalisation.
    statistics: Vec<D::Floats>,
    labels: D::Labels,
    /// What the last step found of each image, (N) each.
    losses: D::Floats,
    ranks: D::Floats,
    /// The same, and what the last pass gave (N, classes), for the caller.
    host_losses: Vec<f32>,
    host_ranks: Vec<f32>,
    host_logits: Vec<f32>,
    /// Losses and ranks that are on their way to the host.
    coming: [u64; 2],
    /// Scale and variance of each frozen batch normalisation, without shift and mean, by the number of
    /// its statistics.
    frozen_norms: BTreeMap<usize, [D::Floats; 2]>,
    /// Running statistics of each batch normalisation as they were before the step.
    running_before: Vec<D::Floats>,
    /// The first step that learns.
    lowest: usize,
    /// What must be sound before an update, and the largest magnitude of each.
    looks: Vec<Look>,
    found: D::Floats,
    host_found: Vec<f32>,
    /// Of each look.
    bounds: Vec<Bound>,
    /// What became of the step that was begun, and whether it was found sound, if that is known.
    formed: Result<(), NotFinite>,
    sound: Option<bool>,
    /// Levels that the device has.
    brought: Option<Brought>,
    /// The last part of the last batch.
    share: Share,
    label_smoothing: f32,
    /// The trust coefficient of layer-wise rates.
    trust: Option<f32>,
    watcher: Option<Watcher>,
    walk: Option<Walk>,
}

impl<D: Device> Network<D> {
    /// A network with the initial weights of its table: a pure function of plan and seed.
    pub fn new(device: D, plan: Plan, seed: u64) -> Self {
        let mut network = Self::empty(device, plan);
        for (index, parameter) in network.parameters.iter_mut().enumerate() {
            let values = initial_parameter(&parameter.spec, seed, index as u64);
            network.device.upload(&mut parameter.values, &values);
        }
        network.take_frozen_norms();
        network
    }

    /// A network with the weights and running statistics of a file. Its arrays are compared with
    /// the plan before memory is taken, so that a file's claims do not decide how much.
    ///
    /// # Errors
    /// When a tensor is missing, misshapen or unknown.
    pub fn with_weights(device: D, plan: Plan, arrays: &[Array]) -> Result<Self, LoadError> {
        arrays::check(arrays, plan.parameters.iter())?;
        let mut network = Self::empty(device, plan);
        network.set_weights(arrays)?;
        Ok(network)
    }

    /// All arrays, all zero.
    fn empty(device: D, plan: Plan) -> Self {
        let (mut positions, mut statistics) = (Vec::new(), Vec::new());
        let (mut running_before, mut frozen_norms) = (Vec::new(), BTreeMap::new());
        for step in &plan.steps {
            match step {
                Step::MaxPool { shape, .. } => positions.push(device.bytes(shape.output_len())),
                Step::BatchNorm { shape, affine, statistics: number, .. } => {
                    let floats = || device.floats(2 * shape.channels);
                    statistics.push(floats());
                    running_before.push(floats());
                    if plan.parameters[*affine].frozen {
                        frozen_norms.insert(*number, [floats(), floats()]);
                    }
                }
                _ => {}
            }
        }
        let parameters = 0..plan.parameters.len();
        let looks = looks(&plan);
        let input = match plan.steps.first() {
            Some(Step::Conv { shape, .. }) => device.input_len(shape),
            _ => 0,
        };
        let lens = plan.places.lens.iter().enumerate().map(|(place, &len)| {
            if place == plan.places.activations[0] { len.max(input) } else { len }
        });
        Self {
            found: device.floats(looks.len().max(1)),
            host_found: vec![0.0; looks.len().max(1)],
            bounds: Vec::with_capacity(looks.len()),
            looks,
            parameters: parameters.map(|index| Parameter::new(&device, &plan, index)).collect(),
            values: lens.map(|len| device.values(len)).collect(),
            positions,
            statistics,
            labels: device.labels(plan.batch),
            losses: device.floats(plan.batch),
            ranks: device.floats(plan.batch),
            coming: [0; 2],
            host_losses: vec![0.0; plan.batch],
            host_ranks: vec![0.0; plan.batch],
            host_logits: vec![0.0; plan.batch * plan.model.config.classes],
            frozen_norms,
            running_before,
            lowest: plan.back().map_or(plan.steps.len(), |back| back.lowest),
            recordings: BTreeMap::new(),
            formed: Ok(()),
            sound: None,
            brought: None,
            share: Share { first: 0, count: 0, of: 0 },
            label_smoothing: 0.0,
            trust: None,
            watcher: None,
            walk: None,
            device,
            plan,
        }
    }

    /// The plan followed.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The device followed on.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Classes told apart.
    pub fn classes(&self) -> usize {
        self.plan.model.config.classes
    }

    /// Products of two factors that the device sums up in a part of a pass over a whole batch.
    pub fn products(&self, part: Part) -> usize {
        let of = |index: usize, passes: &[ConvPass]| match self.plan.steps[index] {
            Step::Conv { shape, .. } => {
                passes.iter().map(|&pass| self.device.conv_products(&shape, pass)).sum()
            }
            Step::Linear { shape, .. } => shape.batch * shape.inputs * shape.outputs * passes.len(),
            _ => 0,
        };
        match part {
            Part::Forward(index) => of(index, &[ConvPass::Forward]),
            Part::Backward(index) if self.plan.is_fused(index) => {
                of(index, &[ConvPass::BackwardInput])
            }
            Part::Backward(index) if index == self.lowest => {
                of(index, &[ConvPass::BackwardWeights])
            }
            Part::Backward(index) => {
                of(index, &[ConvPass::BackwardInput, ConvPass::BackwardWeights])
            }
            Part::FusedUpdate(index) => of(index, &[ConvPass::BackwardWeights]),
            Part::Input | Part::Loss | Part::Check | Part::Update => 0,
        }
    }

    /// Has `watcher` told of each part of every pass from now on, when the device is done with it: to
    /// time them, for instance. A device that computes while the next part is asked for has less to do
    /// at a time then.
    pub fn watch(&mut self, watcher: impl FnMut(Part) + Send + 'static) {
        self.watcher = Some(Box::new(watcher));
    }

    fn tell(&mut self, part: Part) {
        if self.walk.is_some() {
            self.inspect(part);
        } else if let Some(watcher) = &mut self.watcher {
            self.device.finish();
            watcher(part);
        }
    }

    /// Spreads the share `smoothing` of every training target over all classes, as PyTorch's
    /// `label_smoothing`. Losses are then those of the smoothed targets, as PyTorch reports them.
    pub fn set_label_smoothing(&mut self, smoothing: f32) {
        // What is remembered has the one of before.
        self.recordings.clear();
        self.label_smoothing = smoothing;
    }

    /// Layer-wise rates for all weights ([`alexnet_ops::SgdStep::at_layer_wise_rate`]); biases and batch
    /// normalisation keep theirs. With [`UpdateRule::Paper`] it is that paper's algorithm.
    ///
    /// [`UpdateRule::Paper`]: alexnet_ops::UpdateRule::Paper
    ///
    /// # Panics
    /// When the plan does not keep all gradients.
    pub fn set_layer_wise_rates(&mut self, trust: Option<f32>) {
        assert!(trust.is_none() || self.plan.keeps_gradients(), "{TOO_FEW}");
        self.trust = trust;
    }
}

const TOO_FEW: &str = "this plan keeps too few gradients";

impl<D: Device> Parameter<D> {
    fn new(device: &D, plan: &Plan, index: usize) -> Self {
        let spec = plan.parameters[index].clone();
        let zeros = || device.floats(spec.len());
        let mut values = match spec.role {
            ParameterRole::Weight => device.weights(spec.len()),
            _ => zeros(),
        };
        if plan.is_settled(index) {
            device.settle(&mut values);
        }
        Self {
            values,
            velocity: plan.has_velocity(index).then(zeros),
            gradient: plan.has_gradient(index).then(zeros),
            sum: plan.has_sum(index).then(zeros),
            spec,
        }
    }
}

/// The initial values of parameter `index`, in the device's order.
fn initial_parameter(spec: &ParameterSpec, seed: u64, index: u64) -> Vec<f32> {
    let mut values = Vec::with_capacity(spec.len());
    for tensor in &spec.tensors {
        values.extend(initial_values(tensor.fill, spec.fans, tensor.len(), seed, index));
    }
    to_device(&mut values, spec.block);
    values
}
