//! A network on a device: its arrays, and the passes over the plan's steps. Backward is forward
//! read upwards.

mod arrays;
mod brought;
mod health;
mod steps;

use std::collections::BTreeMap;

use alexnet_ops::{Bound, ConvPass, Device, Images, LossShape, SgdStep, SgdUpdate};

pub use self::arrays::{Array, LoadError};
use self::brought::Brought;
pub use self::health::NotFinite;
use self::health::{Look, Walk, looks};
use crate::initial::initial_values;
use crate::order::to_device;
use crate::places::is_pooled;
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

/// What a step of training is about.
#[derive(Clone, Copy)]
pub struct StepBatch<'b> {
    /// (N, H, W, 3)
    pub images: Images<'b>,
    /// (N)
    pub labels: &'b [u32],
    /// The run's seed.
    pub seed: u64,
    /// The training step, counted from the first of the run.
    pub step: u64,
}

/// What a step of training found of each of its images.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'n> {
    /// Cross-entropy (N).
    pub losses: &'n [f32],
    /// How many classes come before the label (N), whole numbers ([`alexnet_ops::rank`]).
    pub ranks: &'n [f32],
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
        Self {
            found: device.floats(looks.len().max(1)),
            host_found: vec![0.0; looks.len().max(1)],
            bounds: Vec::with_capacity(looks.len()),
            looks,
            parameters: parameters.map(|index| Parameter::new(&device, &plan, index)).collect(),
            values: plan.places.lens.iter().map(|&len| device.values(len)).collect(),
            positions,
            statistics,
            labels: device.labels(plan.batch),
            losses: device.floats(plan.batch),
            ranks: device.floats(plan.batch),
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

    /// Layer-wise rates for all weights ([`SgdStep::at_layer_wise_rate`]); biases and batch
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

    /// Logits (N, classes) of `images` (N, H, W, 3), N up to the plan's batch; any N with
    /// [`Purpose::Accumulate`].
    pub fn forward<'i>(&mut self, images: impl Into<Images<'i>>, pass: Pass) -> &[f32] {
        self.begin_forward(images, pass);
        self.logits()
    }

    /// Asks the device for a forward pass. [`Self::logits`] tells what came of it: where a device
    /// computes by itself, the host has time for other things between.
    pub fn begin_forward<'i>(&mut self, images: impl Into<Images<'i>>, pass: Pass) {
        let images = images.into();
        let of = images.count(self.plan.image_len());
        self.share = Share { first: 0, count: 0, of };
        for share in self.shares(of) {
            // What the part before has left is about to be written over.
            self.download_logits(self.share);
            self.share = share;
            self.forward_share(images, pass, share);
        }
    }

    /// Logits (N, classes) of the last pass forward, that of a step of training among them.
    pub fn logits(&mut self) -> &[f32] {
        self.download_logits(self.share);
        &self.host_logits[..self.share.of * self.classes()]
    }

    /// The parts in which a batch of `of` images is taken, and room for what they give.
    fn shares(&mut self, of: usize) -> impl Iterator<Item = Share> + use<D> {
        let batch = self.plan.batch;
        assert!(of <= batch || self.plan.purpose == Purpose::Accumulate, "{TOO_MANY}");
        if of > self.host_losses.len() {
            self.host_losses.resize(of, 0.0);
            self.host_ranks.resize(of, 0.0);
            self.host_logits.resize(of * self.classes(), 0.0);
        }
        (0..of).step_by(batch).map(move |first| Share { first, count: batch.min(of - first), of })
    }

    /// The list of steps, from a part of the images to its logits.
    fn forward_share(&mut self, images: Images<'_>, pass: Pass, share: Share) {
        self.enter(images, pass, share);
        let repeated = Repeated { count: share.count, seed: None };
        let repeated = Some(repeated).filter(|_| pass == Pass::Evaluate);
        self.repeat(repeated, 0, |network| network.forward_steps(pass, share));
    }

    /// The images of a part, to where the first step reads them.
    fn enter(&mut self, images: Images<'_>, pass: Pass, share: Share) {
        let Share { first, count, .. } = share;
        let place = self.plan.places.activations[0];
        let images = images.part(first..first + count, self.plan.image_len());
        self.upload(images, place, pass);
        self.tell(Part::Input);
    }

    /// Has the device do operations, which it may remember from an earlier time where they are repeated
    /// and nobody wants to know of their parts.
    fn repeat(
        &mut self,
        repeated: Option<Repeated>,
        step: u64,
        mut operations: impl FnMut(&mut Self),
    ) {
        let Some(repeated) = repeated.filter(|_| !self.is_watched()) else {
            return operations(self);
        };
        let mut recording = self.recordings.remove(&repeated).unwrap_or_default();
        while self.device.begin_repeat(&mut recording, step) {
            operations(self);
            if self.device.end_repeat(&mut recording) {
                break;
            }
        }
        self.recordings.insert(repeated, recording);
    }

    /// Whether somebody sees parts one by one.
    fn is_watched(&self) -> bool {
        self.watcher.is_some() || self.walk.is_some()
    }

    /// The steps, from the images on the device.
    fn forward_steps(&mut self, pass: Pass, share: Share) {
        let mut from = self.plan.places.activations[0];
        let mut index = 0;
        while index < self.plan.steps.len() {
            if self.plan.steps[index].is_identity(pass) {
                index += 1;
                continue;
            }
            let pooled = !self.is_watched() && is_pooled(&self.plan.steps, index);
            let last = index + usize::from(pooled);
            let to = self.plan.places.activations[last + 1];
            if pooled {
                self.forward_pooled(index, from, share);
            } else {
                self.forward_step(index, from, to, pass, share);
                self.tell(Part::Forward(index));
            }
            (from, index) = (to, last + 1);
        }
    }

    /// Logits of a part, once it went forward.
    fn download_logits(&mut self, share: Share) {
        let Share { first, count, .. } = share;
        let (classes, last) = (self.classes(), self.plan.places.activations[self.plan.steps.len()]);
        let logits = &mut self.host_logits[first * classes..(first + count) * classes];
        self.device.download(logits, &self.values[last]);
    }

    /// Losses and ranks of a part beside its logits.
    fn download_outputs(&mut self, share: Share) {
        self.download_logits(share);
        let images = share.first..share.first + share.count;
        self.device.download(&mut self.host_losses[images.clone()], &self.losses);
        self.device.download(&mut self.host_ranks[images], &self.ranks);
    }

    /// One step of training: forward, loss, backward, update by the figures `sgd` gives for each
    /// parameter. Returns what it found of each image. With [`Purpose::Accumulate`] there may be
    /// more images than the plan's batch: the step is that of all of them.
    ///
    /// # Errors
    /// When a loss, a gradient or a running statistic is not finite. Then nothing was updated:
    /// weights, velocities and running statistics are to the bit what they were.
    pub fn train_step<'i>(
        &mut self,
        images: impl Into<Images<'i>>,
        labels: &[u32],
        seed: u64,
        step: u64,
        sgd: impl Fn(&ParameterSpec) -> SgdStep,
    ) -> Result<Scores<'_>, NotFinite> {
        let batch = StepBatch { images: images.into(), labels, seed, step };
        self.begin_step(&batch, sgd);
        self.finish_step(&batch)
    }

    /// Asks the device for all of [`Self::train_step`], an update that it does only if everything is
    /// sound among the rest. [`Self::finish_step`] tells what came of it: where a device computes by
    /// itself, the host has time for other things between.
    pub fn begin_step(&mut self, batch: &StepBatch<'_>, sgd: impl Fn(&ParameterSpec) -> SgdStep) {
        self.form_and_judge(batch);
        if self.formed.is_ok() && self.sound != Some(false) {
            self.tell(Part::Check);
            self.update(sgd);
        }
        self.device.end_updates();
    }

    /// What came of the step that [`Self::begin_step`] has begun with the same batch.
    ///
    /// # Errors
    /// As [`Self::train_step`].
    pub fn finish_step(&mut self, batch: &StepBatch<'_>) -> Result<Scores<'_>, NotFinite> {
        self.check_step(batch)?;
        Ok(self.scores())
    }

    /// The first half of a training step, forward, loss and all gradients; [`Self::update`] is the
    /// second. Both halves together have the bits of [`Self::train_step`].
    ///
    /// # Errors
    /// As [`Self::train_step`].
    ///
    /// # Panics
    /// When the plan does not keep all gradients.
    pub fn gradient_step<'i>(
        &mut self,
        images: impl Into<Images<'i>>,
        labels: &[u32],
        seed: u64,
        step: u64,
    ) -> Result<Scores<'_>, NotFinite> {
        assert!(self.plan.keeps_gradients(), "{TOO_FEW}");
        let batch = StepBatch { images: images.into(), labels, seed, step };
        self.form_and_judge(&batch);
        self.device.end_updates();
        self.finish_step(&batch)
    }

    /// Moves every parameter that learns along its gradient.
    pub fn update(&mut self, sgd: impl Fn(&ParameterSpec) -> SgdStep) {
        for index in (self.lowest..self.plan.steps.len()).rev() {
            if self.plan.is_fused(index) {
                self.fused_update(index, &sgd);
                self.tell(Part::FusedUpdate(index));
            }
        }
        self.device.sgd_updates(self.parameters.iter_mut().filter_map(|parameter| {
            let Parameter { spec, values, velocity, gradient, .. } = parameter;
            let (velocity, gradient) = (velocity.as_mut()?, gradient.as_ref()?);
            let trust = self.trust.filter(|_| spec.role == ParameterRole::Weight);
            let (step, len) = (sgd(spec), spec.len());
            Some(SgdUpdate { weights: values, velocity, gradient, step, trust, len })
        }));
        self.tell(Part::Update);
    }

    /// What the last step found. Of a batch in parts it was fetched part by part.
    fn scores(&mut self) -> Scores<'_> {
        let Share { count, of, .. } = self.share;
        let (losses, ranks) = (&mut self.host_losses[..of], &mut self.host_ranks[..of]);
        if count == of {
            // It is there since the device judged, and the update goes on meanwhile.
            self.device.download_beside(losses, &self.losses);
            self.device.download_beside(ranks, &self.ranks);
        }
        Scores { losses, ranks }
    }

    /// Forward, loss and backward over every part of the batch, and the sum of what they give.
    /// Stops after losses that are not finite.
    fn form_gradients(&mut self, batch: &StepBatch<'_>) -> Result<(), NotFinite> {
        let of = batch.labels.len();
        assert!(self.plan.purpose.is_training(), "a plan for inference has no gradients");
        for share in self.shares(of) {
            self.share = share;
            let Share { first, count, .. } = share;
            self.device.upload_labels(&mut self.labels, &batch.labels[first..first + count]);
            self.enter(batch.images, batch.pass(), share);
            if count == of {
                self.repeat(self.repeated(batch), batch.step, |network| {
                    network.loss(batch, share);
                    network.backward(batch, share);
                });
            } else {
                self.loss(batch, share);
                self.check_losses(share)?;
                self.backward(batch, share);
                self.add_gradients(first == 0);
            }
        }
        if of > self.plan.batch {
            self.exchange_sums();
        }
        Ok(())
    }

    /// What forward, loss and backward of a batch that is taken as a whole repeat. A plan that may take
    /// one in parts has gradients and their sums change places.
    fn repeated(&self, batch: &StepBatch<'_>) -> Option<Repeated> {
        let (count, seed) = (batch.labels.len(), Some(batch.seed));
        (self.plan.purpose != Purpose::Accumulate).then_some(Repeated { count, seed })
    }

    /// A forward pass over images that are there, and the loss of each; leaves the logits' gradient for
    /// [`Self::backward`].
    fn loss(&mut self, batch: &StepBatch<'_>, share: Share) {
        let Share { first, count, of } = share;
        // What is computed once more keeps what was there the first time.
        if first == 0 && self.walk.is_none() {
            self.keep_running();
        }
        self.forward_steps(batch.pass(), share);
        let (classes, smoothing) = (self.classes(), self.label_smoothing);
        let shape = LossShape { images: count, classes, mean_over: of, smoothing };
        let (places, last) = (&self.plan.places, self.plan.steps.len());
        let (logits, d_logits) =
            steps::pair(&mut self.values, places.activations[last], places.gradients[last]);
        let found = [&mut self.losses, &mut self.ranks];
        self.device.softmax_cross_entropy(found, d_logits, logits, &self.labels, &shape);
        self.tell(Part::Loss);
    }

    /// The list of steps read upwards, from the gradient of the logits to that of the first
    /// weights that learn.
    fn backward(&mut self, batch: &StepBatch<'_>, share: Share) {
        for index in (self.lowest..self.plan.steps.len()).rev() {
            self.backward_step(index, batch.pass(), share);
            self.tell(Part::Backward(index));
        }
    }

    /// Adds the gradients of a part to the sums, or begins them.
    fn add_gradients(&mut self, is_first: bool) {
        if is_first {
            return self.exchange_sums();
        }
        for Parameter { spec, gradient, sum, .. } in &mut self.parameters {
            if let (Some(gradient), Some(sum)) = (gradient, sum) {
                self.device.add(sum, gradient, spec.len());
            }
        }
    }

    fn exchange_sums(&mut self) {
        for Parameter { gradient, sum, .. } in &mut self.parameters {
            if sum.is_some() {
                std::mem::swap(gradient, sum);
            }
        }
    }
}

const TOO_FEW: &str = "this plan keeps too few gradients";
const TOO_MANY: &str = "only a plan that accumulates takes more images than its batch";

impl StepBatch<'_> {
    fn pass(&self) -> Pass {
        Pass::Train { seed: self.seed, step: self.step }
    }
}

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
