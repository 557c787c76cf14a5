//! A network on a device: its arrays, and the passes over the plan's steps. Backward is forward
//! read upwards.

use alexnet_ops::{Activation, Device, DropoutKey, LinearShape, SgdStep};

use crate::initial::initial_values;
use crate::order::{to_device, to_file};
use crate::plan::{ParameterRole, ParameterSpec, Plan, Purpose, Step};

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

/// A named array in the order of files.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The tensor's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, last index fastest.
    pub values: Vec<f32>,
}

/// Why arrays do not make this network's weights.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// A tensor is not there.
    #[error("tensor {name} of shape {shape:?} is missing")]
    Missing {
        /// The tensor.
        name: String,
        /// The shape it should have.
        shape: Vec<usize>,
    },
    /// A tensor has another shape.
    #[error("tensor {name} has shape {found:?}, but this network needs {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor belongs to no layer.
    #[error("tensor {0} belongs to no layer of this network")]
    Unknown(String),
}

/// One array of the network on the device. Those that are not trained have neither gradient nor
/// velocity.
struct Parameter<D: Device> {
    spec: ParameterSpec,
    values: D::Floats,
    training: Option<Training<D>>,
}

struct Training<D: Device> {
    gradient: D::Floats,
    velocity: D::Floats,
}

/// A network that follows one plan on one device.
pub struct Network<D: Device> {
    device: D,
    plan: Plan,
    parameters: Vec<Parameter<D>>,
    /// `activations[slot(i)]` is the input of step i: (N, H, W, C).
    activations: Vec<D::Floats>,
    /// Positions of each max pooling's maxima.
    positions: Vec<D::Bytes>,
    /// Batch statistics of each batch normalisation.
    statistics: Vec<D::Floats>,
    /// The gradient on its way up: each step reads one and writes the other.
    gradients: [D::Floats; 2],
    labels: D::Labels,
    losses: D::Floats,
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
        check_arrays(arrays, plan.parameters.iter())?;
        let mut network = Self::empty(device, plan);
        network.set_weights(arrays)?;
        Ok(network)
    }

    /// All arrays, all zero.
    fn empty(device: D, plan: Plan) -> Self {
        let trained = plan.purpose == Purpose::Training;
        let outputs = plan.output_lens();
        let input_len = plan.batch * plan.image_len();
        let largest = outputs.iter().copied().fold(input_len, usize::max);
        let activations: Vec<_> = match plan.purpose {
            Purpose::Training => {
                [input_len].iter().chain(&outputs).map(|&len| device.floats(len)).collect()
            }
            Purpose::Inference => {
                [input_len, largest, largest].map(|len| device.floats(len)).into()
            }
        };
        let gradient_len = if trained { largest } else { 0 };
        let (mut positions, mut statistics) = (Vec::new(), Vec::new());
        for step in &plan.steps {
            match step {
                Step::MaxPool { shape, .. } => positions.push(device.bytes(shape.output_len())),
                Step::BatchNorm { shape, .. } => statistics.push(device.floats(2 * shape.channels)),
                _ => {}
            }
        }
        let specs = plan.parameters.iter();
        let parameters = specs.map(|spec| Parameter::new(&device, spec, trained)).collect();
        Self {
            parameters,
            activations,
            positions,
            statistics,
            gradients: [device.floats(gradient_len), device.floats(gradient_len)],
            labels: device.labels(plan.batch),
            losses: device.floats(plan.batch),
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

    /// Logits (N, classes) of `images` (N, H, W, 3), N up to the plan's batch.
    pub fn forward(&mut self, images: &[f32], pass: Pass) -> Vec<f32> {
        let count = images.len() / self.plan.image_len();
        assert!(count <= self.plan.batch && images.len() == count * self.plan.image_len());
        self.device.upload(&mut self.activations[0], images);
        for index in 0..self.plan.steps.len() {
            self.forward_step(index, count, pass);
        }
        let mut logits = vec![0.0; count * self.classes()];
        self.device.download(&mut logits, &self.activations[self.slot(self.plan.steps.len())]);
        logits
    }

    /// One step of training but for the update: forward, loss, all gradients. Returns each image's
    /// loss and logits.
    pub fn train_step(
        &mut self,
        images: &[f32],
        labels: &[u32],
        seed: u64,
        step: u64,
    ) -> (Vec<f32>, Vec<f32>) {
        assert_eq!(self.plan.purpose, Purpose::Training, "a plan for inference has no gradients");
        let logits = self.forward(images, Pass::Train { seed, step });
        let losses = self.loss(labels);
        self.backward(labels.len(), seed, step);
        (losses, logits)
    }

    /// Loss of each image of the last forward pass; leaves the logits' gradient for
    /// [`Self::backward`].
    fn loss(&mut self, labels: &[u32]) -> Vec<f32> {
        let shape = LinearShape { batch: labels.len(), inputs: 0, outputs: self.classes() };
        self.device.upload_labels(&mut self.labels, labels);
        let logits = &self.activations[self.slot(self.plan.steps.len())];
        let d_logits = &mut self.gradients[0];
        self.device.softmax_cross_entropy(&mut self.losses, d_logits, logits, &self.labels, &shape);
        let mut losses = vec![0.0; labels.len()];
        self.device.download(&mut losses, &self.losses);
        losses
    }

    /// The list of steps read upwards, from the gradient of the logits to that of the first
    /// weights.
    fn backward(&mut self, count: usize, seed: u64, step: u64) {
        for index in (0..self.plan.steps.len()).rev() {
            self.backward_step(index, count, seed, step);
        }
    }

    /// Moves every trained parameter along its gradient, by the figures `sgd` gives for its role.
    pub fn update(&mut self, sgd: impl Fn(ParameterRole) -> SgdStep) {
        for parameter in &mut self.parameters {
            let Some(training) = &mut parameter.training else { continue };
            let (step, len) = (sgd(parameter.spec.role), parameter.spec.len());
            let Training { gradient, velocity } = training;
            self.device.sgd_update(&mut parameter.values, velocity, gradient, &step, len);
        }
    }

    fn slot(&self, step: usize) -> usize {
        match self.plan.purpose {
            Purpose::Training => step,
            Purpose::Inference => {
                if step == 0 {
                    0
                } else {
                    1 + step % 2
                }
            }
        }
    }

    fn forward_step(&mut self, index: usize, count: usize, pass: Pass) {
        let (from, to) = (self.slot(index), self.slot(index + 1));
        let (x, y) = pair(&mut self.activations, from, to);
        let (device, values) = (&self.device, |p: usize| &self.parameters[p].values);
        match self.plan.steps[index].at(count, self.plan.batch) {
            Step::Conv { shape, activation, weights, bias } => {
                device.conv_forward(y, x, values(weights), values(bias), activation, &shape);
            }
            Step::Linear { shape, activation, weights, bias } => {
                device.linear_forward(y, x, values(weights), values(bias), activation, &shape);
            }
            Step::Relu { len } => device.relu_forward(y, x, len),
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
    fn backward_step(&mut self, index: usize, count: usize, seed: u64, train_step: u64) {
        let device = &self.device;
        let (x, y) = (&self.activations[index], &self.activations[index + 1]);
        let [d_y, d_x] = &mut self.gradients;
        match self.plan.steps[index].at(count, self.plan.batch) {
            Step::Conv { shape, activation, weights, bias } => {
                if activation == Activation::Relu {
                    device.relu_backward(d_y, y, shape.output_len());
                }
                let (d_weights, d_bias) = gradients(&mut self.parameters, weights, bias);
                device.conv_backward_weights(d_weights, d_bias, d_y, x, &shape);
                if index > 0 {
                    device.conv_backward_input(d_x, d_y, &self.parameters[weights].values, &shape);
                }
            }
            Step::Linear { shape, activation, weights, bias } => {
                if activation == Activation::Relu {
                    device.relu_backward(d_y, y, shape.batch * shape.outputs);
                }
                let (d_weights, d_bias) = gradients(&mut self.parameters, weights, bias);
                device.linear_backward_weights(d_weights, d_bias, d_y, x, &shape);
                device.linear_backward_input(d_x, d_y, &self.parameters[weights].values, &shape);
            }
            Step::Relu { len } => {
                device.relu_backward(d_y, y, len);
                return; // in place: the gradient stays where it is
            }
            Step::Lrn { shape } => device.lrn_backward(d_x, d_y, x, &shape),
            Step::MaxPool { shape, positions } => {
                device.max_pool_backward(d_x, d_y, &self.positions[positions], &shape);
            }
            Step::AveragePool { shape } => device.average_pool_backward(d_x, d_y, &shape),
            Step::BatchNorm { shape, affine, statistics, .. } => {
                let statistics = &self.statistics[statistics];
                let Parameter { values, training, .. } = &mut self.parameters[affine];
                let d_affine = &mut training.as_mut().expect(TRAINED).gradient;
                device.batch_norm_backward(d_x, d_affine, d_y, x, values, statistics, &shape);
            }
            Step::Dropout { rate, form, ordinal, len } => {
                let key = DropoutKey { seed, step: train_step, layer: ordinal };
                device.dropout(d_x, d_y, rate, form.kept_scale(rate), key, len);
            }
        }
        self.gradients.swap(0, 1);
    }

    /// Weights and running statistics, in the order of files.
    pub fn weights(&self) -> Vec<Array> {
        self.arrays(|parameter| Some(&parameter.values))
    }

    /// Gradients of the last step, in the order of files.
    pub fn gradients(&self) -> Vec<Array> {
        self.arrays(|parameter| parameter.training.as_ref().map(|t| &t.gradient))
    }

    /// Momentum, in the order of files.
    pub fn velocities(&self) -> Vec<Array> {
        self.arrays(|parameter| parameter.training.as_ref().map(|t| &t.velocity))
    }

    /// Replaces all weights and running statistics, or none.
    ///
    /// # Errors
    /// When a tensor is missing, misshapen or unknown.
    pub fn set_weights(&mut self, arrays: &[Array]) -> Result<(), LoadError> {
        self.set_arrays(arrays, |parameter| Some(&mut parameter.values))
    }

    /// Replaces all momentum, or none.
    ///
    /// # Errors
    /// When a tensor is missing, misshapen or unknown.
    pub fn set_velocities(&mut self, arrays: &[Array]) -> Result<(), LoadError> {
        self.set_arrays(arrays, |parameter| parameter.training.as_mut().map(|t| &mut t.velocity))
    }

    fn arrays(&self, of: impl Fn(&Parameter<D>) -> Option<&D::Floats>) -> Vec<Array> {
        let mut arrays = Vec::new();
        for parameter in &self.parameters {
            let Some(floats) = of(parameter) else { continue };
            let mut values = vec![0.0; parameter.spec.len()];
            self.device.download(&mut values, floats);
            let values = to_file(&values, parameter.spec.block);
            let mut rest = &values[..];
            for tensor in &parameter.spec.tensors {
                let (own, others) = rest.split_at(tensor.len());
                let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
                arrays.push(Array { name, shape, values: own.to_vec() });
                rest = others;
            }
        }
        arrays
    }

    fn set_arrays(
        &mut self,
        arrays: &[Array],
        of: impl Fn(&mut Parameter<D>) -> Option<&mut D::Floats>,
    ) -> Result<(), LoadError> {
        let mut wanted = Vec::new();
        for (index, parameter) in self.parameters.iter_mut().enumerate() {
            if of(parameter).is_some() {
                wanted.push((index, parameter.spec.clone()));
            }
        }
        check_arrays(arrays, wanted.iter().map(|(_, spec)| spec))?;
        for (index, spec) in wanted {
            let mut values = Vec::with_capacity(spec.len());
            for tensor in &spec.tensors {
                let array = arrays.iter().find(|array| array.name == tensor.name);
                values.extend_from_slice(&array.expect("checked above").values);
            }
            let values = to_device(&values, spec.block);
            if let Some(floats) = of(&mut self.parameters[index]) {
                self.device.upload(floats, &values);
            }
        }
        Ok(())
    }
}

const TRAINED: &str = "a plan for training gives every learned parameter a gradient";

impl<D: Device> Parameter<D> {
    fn new(device: &D, spec: &ParameterSpec, trained: bool) -> Self {
        let zeros = || device.floats(spec.len());
        let training = (trained && spec.role != ParameterRole::Running)
            .then(|| Training { gradient: zeros(), velocity: zeros() });
        Self { spec: spec.clone(), values: zeros(), training }
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

/// The gradients of a layer's weights and bias.
fn gradients<D: Device>(
    parameters: &mut [Parameter<D>],
    weights: usize,
    bias: usize,
) -> (&mut D::Floats, &mut D::Floats) {
    let both = parameters.get_disjoint_mut([weights, bias]).expect("two different places");
    let [weights, bias] = both.map(|p| &mut p.training.as_mut().expect(TRAINED).gradient);
    (weights, bias)
}

/// Whether `arrays` are exactly the tensors of `specs`.
fn check_arrays<'s>(
    arrays: &[Array],
    specs: impl Iterator<Item = &'s ParameterSpec>,
) -> Result<(), LoadError> {
    let mut wanted = std::collections::BTreeMap::new();
    wanted.extend(specs.flat_map(|spec| &spec.tensors).map(|t| (t.name.as_str(), &t.shape)));
    for array in arrays {
        let Some(shape) = wanted.remove(array.name.as_str()) else {
            return Err(LoadError::Unknown(array.name.clone()));
        };
        if *shape != array.shape || array.values.len() != shape.iter().product() {
            let (name, found) = (array.name.clone(), array.shape.clone());
            return Err(LoadError::Shape { name, found, expected: shape.clone() });
        }
    }
    match wanted.pop_first() {
        Some((name, shape)) => {
            Err(LoadError::Missing { name: name.to_owned(), shape: shape.clone() })
        }
        None => Ok(()),
    }
}
