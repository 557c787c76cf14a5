//! A network on a device: its arrays, and the passes over the plan's steps. Backward is forward
//! read upwards.

mod arrays;

use alexnet_ops::{ConvPass, Device, DropoutKey, LinearShape, SgdStep};

pub use self::arrays::{Array, LoadError};
use crate::initial::initial_values;
use crate::order::to_device;
use crate::places::reads_output_again;
use crate::plan::{ParameterSpec, Plan, Purpose, Step};

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
    /// A step's gradients, and the updates made with them on the way.
    Backward(usize),
    /// The updates of all that kept its gradient.
    Update,
}

/// Told of each part when the device has returned from it.
type Watcher = Box<dyn FnMut(Part) + Send>;

/// The figures of the update of a parameter.
type Sgd<'s> = &'s dyn Fn(&ParameterSpec) -> SgdStep;

/// One array of the network on the device. Which have a velocity and a gradient the plan says.
struct Parameter<D: Device> {
    spec: ParameterSpec,
    values: D::Floats,
    velocity: Option<D::Floats>,
    gradient: Option<D::Floats>,
}

/// A network that follows one plan on one device. All its arrays are made with it: a pass makes
/// none.
pub struct Network<D: Device> {
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
    losses: D::Floats,
    /// What the last pass gave, for the caller: (N, classes) and (N).
    host_logits: Vec<f32>,
    host_losses: Vec<f32>,
    watcher: Option<Watcher>,
}

impl<D: Device> Network<D> {
    /// A network with the initial weights of its table: a pure function of plan and seed.
    pub fn new(device: D, plan: Plan, seed: u64) -> Self {
        let mut network = Self::empty(device, plan);
        for (index, parameter) in network.parameters.iter_mut().enumerate() {
            let values = initial_parameter(&parameter.spec, seed, index as u64);
            network.device.upload(&mut parameter.values, &values);
        }
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
        for step in &plan.steps {
            match step {
                Step::MaxPool { shape, .. } => positions.push(device.bytes(shape.output_len())),
                Step::BatchNorm { shape, .. } => statistics.push(device.floats(2 * shape.channels)),
                _ => {}
            }
        }
        let parameters = 0..plan.parameters.len();
        Self {
            parameters: parameters.map(|index| Parameter::new(&device, &plan, index)).collect(),
            values: plan.places.lens.iter().map(|&len| device.floats(len)).collect(),
            positions,
            statistics,
            labels: device.labels(plan.batch),
            losses: device.floats(plan.batch),
            host_logits: vec![0.0; plan.batch * plan.model.config.classes],
            host_losses: vec![0.0; plan.batch],
            watcher: None,
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
            Part::Backward(0) => of(0, &[ConvPass::BackwardWeights]),
            Part::Backward(index) => {
                of(index, &[ConvPass::BackwardInput, ConvPass::BackwardWeights])
            }
            Part::Input | Part::Loss | Part::Update => 0,
        }
    }

    /// Has `watcher` told of each part of every pass from now on: to time them, for instance.
    pub fn watch(&mut self, watcher: impl FnMut(Part) + Send + 'static) {
        self.watcher = Some(Box::new(watcher));
    }

    fn tell(&mut self, part: Part) {
        if let Some(watcher) = &mut self.watcher {
            watcher(part);
        }
    }

    /// Logits (N, classes) of `images` (N, H, W, 3), N up to the plan's batch.
    pub fn forward(&mut self, images: &[f32], pass: Pass) -> &[f32] {
        let count = images.len() / self.plan.image_len();
        assert!(count <= self.plan.batch && images.len() == count * self.plan.image_len());
        let mut from = self.plan.places.activations[0];
        self.device.upload(&mut self.values[from], images);
        self.tell(Part::Input);
        for index in 0..self.plan.steps.len() {
            if self.plan.steps[index].is_identity(pass) {
                continue;
            }
            let to = self.plan.places.activations[index + 1];
            self.forward_step(index, from, to, count, pass);
            self.tell(Part::Forward(index));
            from = to;
        }
        let logits = &mut self.host_logits[..count * self.plan.model.config.classes];
        self.device.download(logits, &self.values[from]);
        logits
    }

    /// One step of training: forward, loss, backward, update by the figures `sgd` gives for each
    /// parameter. Returns each image's loss and logits. When a loss is not finite nothing is updated.
    pub fn train_step(
        &mut self,
        images: &[f32],
        labels: &[u32],
        seed: u64,
        step: u64,
        sgd: impl Fn(&ParameterSpec) -> SgdStep,
    ) -> (&[f32], &[f32]) {
        self.loss(images, labels, seed, step);
        if self.host_losses[..labels.len()].iter().all(|loss| loss.is_finite()) {
            self.backward(labels.len(), seed, step, Some(&sgd));
            self.update(sgd);
        }
        self.outputs(labels.len())
    }

    /// The first half of a training step, forward, loss and all gradients; [`Self::update`] is the
    /// second. Both halves together have the bits of [`Self::train_step`].
    ///
    /// # Panics
    /// When the plan's purpose is not [`Purpose::Gradients`].
    pub fn gradient_step(
        &mut self,
        images: &[f32],
        labels: &[u32],
        seed: u64,
        step: u64,
    ) -> (&[f32], &[f32]) {
        assert_eq!(self.plan.purpose, Purpose::Gradients, "this plan keeps too few gradients");
        self.loss(images, labels, seed, step);
        self.backward(labels.len(), seed, step, None);
        self.outputs(labels.len())
    }

    /// Moves every parameter that kept its gradient along it.
    pub fn update(&mut self, sgd: impl Fn(&ParameterSpec) -> SgdStep) {
        for Parameter { spec, values, velocity, gradient } in &mut self.parameters {
            if let (Some(velocity), Some(gradient)) = (velocity, gradient) {
                self.device.sgd_update(values, velocity, gradient, &sgd(spec), spec.len());
            }
        }
        self.tell(Part::Update);
    }

    /// Losses and logits of the last `count` images.
    fn outputs(&self, count: usize) -> (&[f32], &[f32]) {
        (&self.host_losses[..count], &self.host_logits[..count * self.classes()])
    }

    /// A forward pass and the loss of each image; leaves the logits' gradient for
    /// [`Self::backward`].
    fn loss(&mut self, images: &[f32], labels: &[u32], seed: u64, step: u64) {
        assert!(self.plan.purpose.is_training(), "a plan for inference has no gradients");
        self.forward(images, Pass::Train { seed, step });
        let shape = LinearShape { batch: labels.len(), inputs: 0, outputs: self.classes() };
        self.device.upload_labels(&mut self.labels, labels);
        let (places, last) = (&self.plan.places, self.plan.steps.len());
        let (logits, d_logits) =
            pair(&mut self.values, places.activations[last], places.gradients[last]);
        self.device.softmax_cross_entropy(&mut self.losses, d_logits, logits, &self.labels, &shape);
        self.device.download(&mut self.host_losses[..labels.len()], &self.losses);
        self.tell(Part::Loss);
    }

    /// The list of steps read upwards, from the gradient of the logits to that of the first
    /// weights. Weights that keep no gradient are updated on the way.
    fn backward(&mut self, count: usize, seed: u64, step: u64, sgd: Option<Sgd<'_>>) {
        for index in (0..self.plan.steps.len()).rev() {
            self.backward_step(index, count, seed, step, sgd);
            self.tell(Part::Backward(index));
        }
    }

    fn forward_step(&mut self, index: usize, from: usize, to: usize, count: usize, pass: Pass) {
        let (x, y) = pair(&mut self.values, from, to);
        let (device, values) = (&self.device, |p: usize| &self.parameters[p].values);
        match self.plan.steps[index].at(count, self.plan.batch) {
            Step::Conv { shape, activation, weights, bias } => {
                device.conv_forward(y, x, values(weights), values(bias), activation, &shape);
            }
            Step::Linear { shape, activation, weights, bias } => {
                device.linear_forward(y, x, values(weights), values(bias), activation, &shape);
            }
            Step::Relu { len } => device.relu_forward(y, x, len),
            Step::Saturation { curve, len } => device.saturation_forward(y, x, curve, len),
            Step::Lrn { shape } => device.lrn_forward(y, x, &shape),
            Step::MaxPool { shape, positions } => {
                device.max_pool_forward(y, &mut self.positions[positions], x, &shape);
            }
            Step::AveragePool { shape } => device.average_pool_forward(y, x, &shape),
            Step::BatchNorm { shape, affine, running, statistics } => match pass {
                Pass::Evaluate => {
                    device.batch_norm_evaluate(y, x, values(affine), values(running), &shape);
                }
                Pass::Train { .. } => {
                    let statistics = &mut self.statistics[statistics];
                    let (affine, running) = pair(&mut self.parameters, affine, running);
                    let running = &mut running.values;
                    device.batch_norm_train(y, statistics, running, x, &affine.values, &shape);
                }
            },
            Step::Dropout { rate, form, ordinal, len } => match pass {
                Pass::Evaluate => device.scale(y, x, form.evaluation_scale(rate), len),
                Pass::Train { seed, step } => {
                    let key = DropoutKey { seed, step, layer: ordinal };
                    device.dropout(y, x, rate, form.kept_scale(rate), key, len);
                }
            },
        }
    }

    /// Turns the gradient of step `index`'s output into that of its input, and takes its
    /// parameters' gradients.
    fn backward_step(
        &mut self,
        index: usize,
        count: usize,
        seed: u64,
        train_step: u64,
        sgd: Option<Sgd<'_>>,
    ) {
        let (device, places) = (&self.device, &self.plan.places);
        let [x, y] = [0, 1].map(|next| places.activations[index + next]);
        let [d_x, d_y] = [0, 1].map(|next| places.gradients[index + next]);
        let step = self.plan.steps[index].at(count, self.plan.batch);
        if reads_output_again(&self.plan.steps, index) {
            let (y, d_y) = pair(&mut self.values, y, d_y);
            device.relu_backward(d_y, y, step.output_len());
        }
        match step {
            Step::Conv { shape, weights, bias, .. } => {
                let (weights, d_bias) = weights_and_d_bias(&mut self.parameters, weights, bias);
                let d_weights = weights.gradient.as_mut().expect(KEPT);
                let [x, d_y_read] = [x, d_y].map(|place| &self.values[place]);
                device.conv_backward_weights(d_weights, d_bias, d_y_read, x, &shape);
                if index > 0 {
                    let (d_y, d_x) = pair(&mut self.values, d_y, d_x);
                    device.conv_backward_input(d_x, d_y, &weights.values, &shape);
                }
            }
            Step::Linear { shape, weights, bias, .. } => {
                let (weights, d_bias) = weights_and_d_bias(&mut self.parameters, weights, bias);
                let Parameter { spec, values, velocity, gradient } = weights;
                // With the weights of the forward pass, so before they move.
                if index > 0 {
                    let (d_y, d_x) = pair(&mut self.values, d_y, d_x);
                    device.linear_backward_input(d_x, d_y, values, &shape);
                }
                let [x, d_y] = [x, d_y].map(|place| &self.values[place]);
                if let Some(d_weights) = gradient {
                    device.linear_backward_weights(d_weights, d_bias, d_y, x, &shape);
                } else {
                    let (velocity, sgd) = (velocity.as_mut().expect(KEPT), sgd.expect(UPDATED));
                    let sgd = sgd(spec);
                    device.linear_backward_update(values, velocity, d_bias, d_y, x, &sgd, &shape);
                }
            }
            Step::Relu { .. } => {} // in place: the gradient stays where it is
            Step::Saturation { curve, len } => {
                let (y, d_y) = pair(&mut self.values, y, d_y);
                device.saturation_backward(d_y, y, curve, len); // in place
            }
            Step::Lrn { shape } => {
                let (x, d_y, d_x) = three(&mut self.values, x, d_y, d_x);
                device.lrn_backward(d_x, d_y, x, &shape);
            }
            Step::MaxPool { shape, positions } => {
                let (d_y, d_x) = pair(&mut self.values, d_y, d_x);
                device.max_pool_backward(d_x, d_y, &self.positions[positions], &shape);
            }
            Step::AveragePool { shape } => {
                let (d_y, d_x) = pair(&mut self.values, d_y, d_x);
                device.average_pool_backward(d_x, d_y, &shape);
            }
            Step::BatchNorm { shape, affine, statistics, .. } => {
                let statistics = &self.statistics[statistics];
                let Parameter { values, gradient, .. } = &mut self.parameters[affine];
                let d_affine = gradient.as_mut().expect(KEPT);
                let (x, d_y, d_x) = three(&mut self.values, x, d_y, d_x);
                device.batch_norm_backward(d_x, d_affine, d_y, x, values, statistics, &shape);
            }
            Step::Dropout { rate, form, ordinal, len } => {
                let key = DropoutKey { seed, step: train_step, layer: ordinal };
                let (d_y, d_x) = pair(&mut self.values, d_y, d_x);
                device.dropout(d_x, d_y, rate, form.kept_scale(rate), key, len);
            }
        }
    }
}

const KEPT: &str = "a plan for training says so of every learned parameter";
const UPDATED: &str = "a pass without updates is for plans that keep all gradients";

impl<D: Device> Parameter<D> {
    fn new(device: &D, plan: &Plan, index: usize) -> Self {
        let spec = plan.parameters[index].clone();
        let zeros = || device.floats(spec.len());
        let mut values = zeros();
        if plan.is_settled(index) {
            device.settle(&mut values);
        }
        Self {
            values,
            velocity: plan.has_velocity(index).then(zeros),
            gradient: plan.has_gradient(index).then(zeros),
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
    to_device(&values, spec.block)
}

/// Two different elements, the second to be written.
fn pair<T>(items: &mut [T], read: usize, write: usize) -> (&T, &mut T) {
    let [read, write] = items.get_disjoint_mut([read, write]).expect("two different places");
    (read, write)
}

/// Three different elements, the last to be written.
fn three<T>(items: &mut [T], one: usize, other: usize, write: usize) -> (&T, &T, &mut T) {
    let places = [one, other, write];
    let [one, other, write] = items.get_disjoint_mut(places).expect("three different places");
    (one, other, write)
}

/// A layer's weights, and the gradient of its bias.
fn weights_and_d_bias<D: Device>(
    parameters: &mut [Parameter<D>],
    weights: usize,
    bias: usize,
) -> (&mut Parameter<D>, &mut D::Floats) {
    let both = parameters.get_disjoint_mut([weights, bias]);
    let [weights, bias] = both.expect("two different places");
    (weights, bias.gradient.as_mut().expect(KEPT))
}
