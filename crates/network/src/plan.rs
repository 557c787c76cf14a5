//! The plan: every shape, size and parameter of a network at one batch size, computed once from its
//! table.

use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, ConvShape, LinearShape, LrnShape, MaxPoolShape,
    Saturation, output_size,
};

use crate::initial::{Fans, Fill, Initialisation};
use crate::layer::{Conv, DropoutForm, Layer, Linear, Units};
use crate::models::{Model, ModelError, in_range};
use crate::network::Pass;
use crate::order::Block;
use crate::places::{Back, Places};

/// Largest batch: the largest anyone has trained this network with (GradientFlow, 2019).
pub const BATCH_MAX: usize = 65_536;

/// PyTorch's defaults for batch normalisation.
const BATCH_NORM_EPSILON: f32 = 1e-5;
const BATCH_NORM_MOMENTUM: f32 = 0.1;

/// What the plan's buffers must serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What the backward pass reads is kept for it. A linear layer's weights are updated where their
    /// gradient is formed, and the gradient is not stored.
    Training,
    /// As training, but every gradient is kept until the update: to be looked at, or changed.
    Gradients,
    /// As that, and a step may have more images than the plan's batch: they are taken in parts, and
    /// the parts' gradients are summed. Batch normalisation normalises each part by itself.
    Accumulate,
    /// Nothing is kept but the last output, and weights are not expected to change often.
    Inference,
}

impl Purpose {
    /// Whether a backward pass follows.
    pub(crate) fn is_training(self) -> bool {
        self != Self::Inference
    }
}

/// How a network's steps run, and on what.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The configured table.
    pub model: Model,
    /// Images at most in one pass.
    pub batch: usize,
    /// What for.
    pub purpose: Purpose,
    /// The table's rows with their sizes.
    pub layers: Vec<LayerSummary>,
    /// Everything that is learned, and running statistics, in the order of the layers.
    pub parameters: Vec<ParameterSpec>,
    /// What runs, first to last. A ReLU right after its sums is part of their step.
    pub(crate) steps: Vec<Step>,
    /// Where their outputs are kept, and the gradients of these.
    pub(crate) places: Places,
}

/// A table's row with what follows from the rows above.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSummary {
    /// `conv1`, `relu1`, `fc6`…: learned layers are numbered together, the others by kind.
    pub name: String,
    /// The kind of layer.
    pub kind: &'static str,
    /// Output of one image: height, width, channels.
    pub output: [usize; 3],
    /// Learned values, without running statistics.
    pub parameters: usize,
    /// Multiply-adds of one image's forward pass, in convolutions and linear layers.
    pub macs: usize,
    /// Place of the step that computes it: a ReLU right after sums has theirs, and a layer that
    /// changes nothing has none.
    pub step: Option<usize>,
}

/// What a parameter is to the update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterRole {
    /// Weights of a convolution or linear layer.
    Weight,
    /// Their biases.
    Bias,
    /// Scale and shift of a batch normalisation.
    Affine,
    /// Running mean and variance: kept and saved, never updated by a gradient.
    Running,
}

/// One array of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// The layer that learns it: `conv1` to `fc8`. A batch normalisation belongs to the convolution
    /// before it.
    pub layer: String,
    /// What it is.
    pub role: ParameterRole,
    /// The file tensors it holds, end to end.
    pub tensors: Vec<TensorSpec>,
    /// Whether it stays as it is: [`Plan::freeze`].
    pub frozen: bool,
    pub(crate) block: Block,
    pub(crate) fans: Fans,
}

impl ParameterSpec {
    /// Values in the array.
    pub fn len(&self) -> usize {
        self.tensors.iter().map(TensorSpec::len).sum()
    }
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A tensor as files know it.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// `features.0.weight` or `conv1.weight`: see `docs/weights.md`.
    pub name: String,
    /// In the file's order: kernels (out, in/groups, height, width), linear (out, in).
    pub shape: Vec<usize>,
    pub(crate) fill: Fill,
}

impl TensorSpec {
    /// Values in the tensor.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One operation of a pass, at the plan's batch size. Indices are into the network's arrays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    Conv { shape: ConvShape, activation: Activation, weights: usize, bias: usize },
    Linear { shape: LinearShape, activation: Activation, weights: usize, bias: usize },
    Relu { len: usize },
    Saturation { curve: Saturation, len: usize },
    Lrn { shape: LrnShape },
    MaxPool { shape: MaxPoolShape, positions: usize },
    AveragePool { shape: AveragePoolShape },
    BatchNorm { shape: BatchNormShape, affine: usize, running: usize, statistics: usize },
    Dropout { rate: f32, form: DropoutForm, ordinal: u32, len: usize },
}

impl Step {
    /// The same step for `images` of the plan's `batch`.
    pub(crate) fn at(self, images: usize, batch: usize) -> Self {
        let part = |len: usize| len / batch * images;
        match self {
            Self::Conv { shape, activation, weights, bias } => {
                let shape = ConvShape { batch: images, ..shape };
                Self::Conv { shape, activation, weights, bias }
            }
            Self::Linear { shape, activation, weights, bias } => {
                let shape = LinearShape { batch: images, ..shape };
                Self::Linear { shape, activation, weights, bias }
            }
            Self::Relu { len } => Self::Relu { len: part(len) },
            Self::Saturation { curve, len } => Self::Saturation { curve, len: part(len) },
            Self::Lrn { shape } => Self::Lrn { shape: LrnShape { batch: images, ..shape } },
            Self::MaxPool { shape, positions } => {
                Self::MaxPool { shape: MaxPoolShape { batch: images, ..shape }, positions }
            }
            Self::AveragePool { shape } => {
                Self::AveragePool { shape: AveragePoolShape { batch: images, ..shape } }
            }
            Self::BatchNorm { shape, affine, running, statistics } => {
                let shape = BatchNormShape { rows: part(shape.rows), ..shape };
                Self::BatchNorm { shape, affine, running, statistics }
            }
            Self::Dropout { rate, form, ordinal, len } => {
                Self::Dropout { rate, form, ordinal, len: part(len) }
            }
        }
    }
}

impl Plan {
    /// Plans `model` for up to `batch` images at a time.
    ///
    /// # Errors
    /// When the image is too small for the table, or `batch` is not from 1 to [`BATCH_MAX`].
    pub fn new(
        model: &Model,
        batch: usize,
        purpose: Purpose,
        initialisation: Initialisation,
    ) -> Result<Self, ModelError> {
        in_range("the batch size", batch as f32, 1.0, BATCH_MAX as f32)?;
        let mut planner = Planner::new(model, batch, initialisation);
        for (index, row) in model.rows.iter().enumerate() {
            planner.add(index, row)?;
        }
        let mut plan = Self {
            model: model.clone(),
            batch,
            purpose,
            places: Places::default(),
            layers: planner.layers,
            parameters: planner.parameters,
            steps: planner.steps,
        };
        plan.places = Places::new(&plan.steps, plan.batch * plan.image_len(), plan.back());
        Ok(plan)
    }

    /// The same plan with layers (`conv1` to `fc8`) that never learn: their arrays have no gradient
    /// and no velocity, their batch normalisation normalises with its running statistics and leaves
    /// them alone, and the way back ends at the first layer that learns.
    ///
    /// # Errors
    /// When there is no such layer, or none is left that learns.
    pub fn freeze(mut self, layers: &[impl AsRef<str>]) -> Result<Self, ModelError> {
        for layer in layers.iter().map(AsRef::as_ref) {
            let mut own = self.parameters.iter_mut().filter(|spec| spec.layer == layer).peekable();
            if own.peek().is_none() {
                return Err(ModelError::NoLayer {
                    layer: layer.to_owned(),
                    layers: self.model.learned_layers().join(", "),
                });
            }
            own.for_each(|spec| spec.frozen = true);
        }
        if self.parameters.iter().all(|spec| spec.frozen) {
            return Err(ModelError::NothingLearns);
        }
        self.places = Places::new(&self.steps, self.batch * self.image_len(), self.back());
        Ok(self)
    }

    /// The way back, where there is one.
    pub(crate) fn back(&self) -> Option<Back> {
        let learns = |step: &Step| step.parameters().any(|p| !self.parameters[p].frozen);
        let lowest = self.steps.iter().position(learns).unwrap_or(self.steps.len());
        let fused = self.purpose == Purpose::Training;
        self.purpose.is_training().then_some(Back { lowest, fused })
    }

    /// Whether step `index` is a linear layer whose weights are updated where their gradient is
    /// formed.
    pub(crate) fn is_fused(&self, index: usize) -> bool {
        let fused = |weights: usize| self.has_velocity(weights) && !self.has_gradient(weights);
        matches!(self.steps[index], Step::Linear { weights, .. } if fused(weights))
    }

    /// Learned values.
    pub fn parameter_count(&self) -> usize {
        self.layers.iter().map(|layer| layer.parameters).sum()
    }

    /// Multiply-adds of one image's forward pass.
    pub fn macs(&self) -> usize {
        self.layers.iter().map(|layer| layer.macs).sum()
    }

    /// Values of one input image (H, W, 3).
    pub fn image_len(&self) -> usize {
        self.model.config.image_size.pow(2) * IMAGE_CHANNELS
    }

    /// Floats of activations, their gradients, parameters, their gradients, sums and momentum, in bytes:
    /// what the network's own arrays take.
    pub fn bytes(&self) -> usize {
        self.bytes_where(size_of::<f32>(), size_of::<f32>())
    }

    /// The same where values take so many bytes a number, and weights so many.
    pub fn bytes_where(&self, value_bytes: usize, weight_bytes: usize) -> usize {
        let parameter = |(index, spec): (usize, &ParameterSpec)| {
            let beside = [self.has_velocity(index), self.has_gradient(index), self.has_sum(index)];
            let beside = beside.into_iter().filter(|&is_there| is_there).count();
            let is_weight = spec.role == ParameterRole::Weight;
            let own = if is_weight { weight_bytes } else { size_of::<f32>() };
            (own + beside * size_of::<f32>()) * spec.len()
        };
        let parameters: usize = self.parameters.iter().enumerate().map(parameter).sum();
        parameters + self.places.lens.iter().sum::<usize>() * value_bytes
    }

    /// Whether all gradients are stored.
    pub(crate) fn keeps_gradients(&self) -> bool {
        matches!(self.purpose, Purpose::Gradients | Purpose::Accumulate)
    }

    /// Whether parameter `index` is trained.
    pub(crate) fn has_velocity(&self, index: usize) -> bool {
        let ParameterSpec { role, frozen, .. } = self.parameters[index];
        self.purpose.is_training() && role != ParameterRole::Running && !frozen
    }

    /// Whether its gradient is stored.
    pub(crate) fn has_gradient(&self, index: usize) -> bool {
        self.has_velocity(index) && (self.keeps_gradients() || !self.is_linear(index))
    }

    /// Whether its gradients of parts are summed in an array of their own. A linear layer's weights
    /// have theirs summed where they are formed.
    pub(crate) fn has_sum(&self, index: usize) -> bool {
        self.purpose == Purpose::Accumulate && self.has_velocity(index) && !self.is_linear(index)
    }

    /// Whether it is read far more often than written, and by an operation that can use that.
    pub(crate) fn is_settled(&self, index: usize) -> bool {
        !self.purpose.is_training() && self.is_linear(index)
    }

    /// Whether parameter `index` is a linear layer's weights.
    fn is_linear(&self, index: usize) -> bool {
        let of = |step: &Step| matches!(step, Step::Linear { weights, .. } if *weights == index);
        self.steps.iter().any(of)
    }
}

impl Step {
    /// Whether its output is its input, as dropout's is in evaluation where the training made up
    /// for it.
    pub(crate) fn is_identity(&self, pass: Pass) -> bool {
        match *self {
            Self::Dropout { rate, form, .. } => {
                pass == Pass::Evaluate && form.evaluation_scale(rate) == 1.0
            }
            _ => false,
        }
    }

    /// The parameters it reads.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = usize> + use<> {
        let both = match *self {
            Self::Conv { weights, bias, .. } | Self::Linear { weights, bias, .. } => {
                Some([weights, bias])
            }
            Self::BatchNorm { affine, running, .. } => Some([affine, running]),
            _ => None,
        };
        both.into_iter().flatten()
    }

    /// Whether its outputs have passed a ReLU.
    pub(crate) fn rectifies(&self) -> bool {
        matches!(
            self,
            Self::Relu { .. }
                | Self::Conv { activation: Activation::Relu, .. }
                | Self::Linear { activation: Activation::Relu, .. }
        )
    }

    /// Whether its backward pass reads what the forward pass read.
    pub(crate) fn reads_input_again(&self) -> bool {
        match self {
            Self::Conv { .. } | Self::Linear { .. } | Self::Lrn { .. } | Self::BatchNorm { .. } => {
                true
            }
            Self::Relu { .. }
            | Self::Saturation { .. }
            | Self::MaxPool { .. }
            | Self::AveragePool { .. }
            | Self::Dropout { .. } => false,
        }
    }

    /// Floats written.
    pub(crate) fn output_len(&self) -> usize {
        match self {
            Self::Conv { shape, .. } => shape.output_len(),
            Self::Linear { shape, .. } => shape.batch * shape.outputs,
            Self::Relu { len } | Self::Saturation { len, .. } | Self::Dropout { len, .. } => *len,
            Self::Lrn { shape } => shape.len(),
            Self::MaxPool { shape, .. } => shape.output_len(),
            Self::AveragePool { shape } => shape.output_len(),
            Self::BatchNorm { shape, .. } => shape.rows * shape.channels,
        }
    }
}

/// Channels of an input image.
const IMAGE_CHANNELS: usize = 3;

/// What grows while the table is read downwards.
struct Planner<'m> {
    model: &'m Model,
    batch: usize,
    initialisation: Initialisation,
    height: usize,
    width: usize,
    channels: usize,
    /// Names of the learned layers that are still to come.
    learned: std::vec::IntoIter<String>,
    kinds: Vec<&'static str>,
    /// The row from which torchvision counts `classifier.N` from 0.
    classifier_row: usize,
    layers: Vec<LayerSummary>,
    parameters: Vec<ParameterSpec>,
    steps: Vec<Step>,
}

impl<'m> Planner<'m> {
    fn new(model: &'m Model, batch: usize, initialisation: Initialisation) -> Self {
        let side = model.config.image_size;
        let pooled = model.rows.iter().position(|row| matches!(row, Layer::AveragePool(_)));
        Self {
            model,
            batch,
            initialisation,
            height: side,
            width: side,
            channels: IMAGE_CHANNELS,
            learned: model.learned_layers().into_iter(),
            kinds: Vec::new(),
            classifier_row: pooled.map_or(usize::MAX, |row| row + 1),
            layers: Vec::new(),
            parameters: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn add(&mut self, index: usize, row: &Layer) -> Result<(), ModelError> {
        let name = self.name(row);
        let (parameters_before, steps_before) = (self.parameters.len(), self.steps.len());
        let macs = match row {
            Layer::Conv(conv) => self.conv(index, &name, conv)?,
            Layer::Linear(linear) => self.linear(index, &name, linear),
            Layer::BatchNorm => self.batch_norm(index, &name),
            other => self.unlearned(&name, other)?,
        };
        let computed = self.steps.len() > steps_before || *row == Layer::Relu;
        let learned = self.parameters[parameters_before..].iter();
        let learned = learned.filter(|p| p.role != ParameterRole::Running);
        self.layers.push(LayerSummary {
            name,
            kind: row.kind(),
            output: [self.height, self.width, self.channels],
            parameters: learned.map(ParameterSpec::len).sum(),
            macs,
            step: computed.then(|| self.steps.len() - 1),
        });
        Ok(())
    }

    /// Layers that are not learned are counted by kind.
    fn name(&mut self, row: &Layer) -> String {
        if row.is_learned() {
            return self.learned.next().unwrap_or_default();
        }
        self.kinds.push(row.stem());
        let number = self.kinds.iter().filter(|&&stem| stem == row.stem()).count();
        format!("{}{number}", row.stem())
    }

    /// The layer's name in files.
    fn file_name(&self, index: usize, name: &str) -> String {
        if !self.model.config.model.is_single_tower() {
            name.to_owned()
        } else if index >= self.classifier_row {
            format!("classifier.{}", index - self.classifier_row)
        } else {
            format!("features.{index}")
        }
    }

    fn too_small(&self, name: &str) -> ModelError {
        let model = self.model.config.model;
        ModelError::TooSmall { model, size: self.model.config.image_size, layer: name.to_owned() }
    }

    fn conv(&mut self, index: usize, name: &str, conv: &Conv) -> Result<usize, ModelError> {
        let Conv { maps, kernel, stride, pad, groups, rounding, .. } = *conv;
        let size = |input| output_size(input, kernel, stride, pad, rounding);
        let (Some(out_h), Some(out_w)) = (size(self.height), size(self.width)) else {
            return Err(self.too_small(name));
        };
        let shape = ConvShape {
            batch: self.batch,
            in_h: self.height,
            in_w: self.width,
            in_c: self.channels,
            out_h,
            out_w,
            out_c: maps,
            kernel,
            stride,
            pad,
            groups,
        };
        let group_channels = self.channels / groups;
        let taps = kernel * kernel;
        let fans = Fans { fan_in: group_channels * taps, fan_out: maps * taps };
        let weights = Weights {
            shape: vec![maps, group_channels, kernel, kernel],
            block: Block { channels: group_channels, places: taps },
            fans,
            fill: conv.weights,
            bias: conv.bias,
        };
        let (weights, bias) = self.weights_and_bias(index, name, weights);
        (self.height, self.width, self.channels) = (out_h, out_w, maps);
        self.steps.push(Step::Conv { shape, activation: Activation::Identity, weights, bias });
        Ok(shape.macs() / self.batch)
    }

    fn linear(&mut self, index: usize, name: &str, linear: &Linear) -> usize {
        let (places, channels) = (self.height * self.width, self.channels);
        let inputs = places * channels;
        let outputs = match linear.units {
            Units::Hidden(units) => units,
            Units::Classes => self.model.config.classes,
        };
        let weights = Weights {
            shape: vec![outputs, inputs],
            block: Block { channels, places },
            fans: Fans { fan_in: inputs, fan_out: outputs },
            fill: linear.weights,
            bias: linear.bias,
        };
        let (weights, bias) = self.weights_and_bias(index, name, weights);
        (self.height, self.width, self.channels) = (1, 1, outputs);
        let shape = LinearShape { batch: self.batch, inputs, outputs };
        self.steps.push(Step::Linear { shape, activation: Activation::Identity, weights, bias });
        inputs * outputs
    }

    fn weights_and_bias(&mut self, index: usize, name: &str, of: Weights) -> (usize, usize) {
        let file = self.file_name(index, name);
        let (outputs, fans) = (of.shape[0], of.fans);
        let (fill, shape) = (self.initialisation.weights(of.fill), of.shape);
        let weight = TensorSpec { name: format!("{file}.weight"), shape, fill };
        let (fill, shape) = (self.initialisation.bias(of.bias), vec![outputs]);
        let bias = TensorSpec { name: format!("{file}.bias"), shape, fill };
        let first = self.parameters.len();
        let (role, tensors) = (ParameterRole::Weight, vec![weight]);
        self.parameters.push(ParameterSpec {
            layer: name.to_owned(),
            role,
            tensors,
            frozen: false,
            block: of.block,
            fans,
        });
        let (role, tensors) = (ParameterRole::Bias, vec![bias]);
        self.parameters.push(ParameterSpec {
            layer: name.to_owned(),
            role,
            tensors,
            frozen: false,
            block: PLAIN,
            fans,
        });
        (first, first + 1)
    }

    fn batch_norm(&mut self, index: usize, name: &str) -> usize {
        let file = self.file_name(index, name);
        let channels = self.channels;
        let tensor = |suffix: &str, value| TensorSpec {
            name: format!("{file}.{suffix}"),
            shape: vec![channels],
            fill: Fill::Constant(value),
        };
        let pairs = [
            (ParameterRole::Affine, vec![tensor("weight", 1.0), tensor("bias", 0.0)]),
            (ParameterRole::Running, vec![tensor("running_mean", 0.0), tensor("running_var", 1.0)]),
        ];
        let affine = self.parameters.len();
        let fans = Fans { fan_in: 1, fan_out: 1 };
        let layer =
            self.parameters.last().map_or_else(|| name.to_owned(), |last| last.layer.clone());
        self.parameters.extend(pairs.map(|(role, tensors)| ParameterSpec {
            layer: layer.clone(),
            role,
            tensors,
            frozen: false,
            block: PLAIN,
            fans,
        }));
        let shape = BatchNormShape {
            rows: self.batch * self.height * self.width,
            channels,
            epsilon: BATCH_NORM_EPSILON,
            momentum: BATCH_NORM_MOMENTUM,
        };
        let statistics = self.count(|step| matches!(step, Step::BatchNorm { .. }));
        self.steps.push(Step::BatchNorm { shape, affine, running: affine + 1, statistics });
        0
    }

    /// A layer without parameters or multiply-adds worth counting.
    fn unlearned(&mut self, name: &str, row: &Layer) -> Result<usize, ModelError> {
        let len = self.batch * self.height * self.width * self.channels;
        match *row {
            Layer::Relu => self.relu(len),
            Layer::Saturation(curve) => self.steps.push(Step::Saturation { curve, len }),
            Layer::MaxPool(size, stride, rounding) => {
                let out = |input| output_size(input, size, stride, 0, rounding);
                let (Some(out_h), Some(out_w)) = (out(self.height), out(self.width)) else {
                    return Err(self.too_small(name));
                };
                self.max_pool(out_h, out_w, size, stride);
            }
            Layer::AveragePool(side) => self.average_pool(side),
            Layer::Lrn(region, size, alpha, beta, k) => {
                let (batch, height, width) = (self.batch, self.height, self.width);
                let channels = self.channels;
                let shape =
                    LrnShape { batch, height, width, channels, region, size, alpha, beta, k };
                self.steps.push(Step::Lrn { shape });
            }
            Layer::Dropout(rate, form) => {
                let ordinal = self.count(|step| matches!(step, Step::Dropout { .. })) as u32;
                self.steps.push(Step::Dropout { rate, form, ordinal, len });
            }
            Layer::Conv(_) | Layer::Linear(_) | Layer::BatchNorm => {}
        }
        Ok(0)
    }

    /// Right after sums, ReLU joins their step; elsewhere it is one of its own.
    fn relu(&mut self, len: usize) {
        match self.steps.last_mut() {
            Some(Step::Conv { activation, .. } | Step::Linear { activation, .. }) => {
                *activation = Activation::Relu;
            }
            _ => self.steps.push(Step::Relu { len }),
        }
    }

    fn max_pool(&mut self, out_h: usize, out_w: usize, size: usize, stride: usize) {
        let shape = MaxPoolShape {
            batch: self.batch,
            in_h: self.height,
            in_w: self.width,
            out_h,
            out_w,
            channels: self.channels,
            size,
            stride,
        };
        let positions = self.count(|step| matches!(step, Step::MaxPool { .. }));
        (self.height, self.width) = (out_h, out_w);
        self.steps.push(Step::MaxPool { shape, positions });
    }

    /// To its own size, as at 224 pixels, an average pool does nothing and takes no step.
    fn average_pool(&mut self, side: usize) {
        if (self.height, self.width) != (side, side) {
            let shape = AveragePoolShape {
                batch: self.batch,
                in_h: self.height,
                in_w: self.width,
                out_h: side,
                out_w: side,
                channels: self.channels,
            };
            self.steps.push(Step::AveragePool { shape });
        }
        (self.height, self.width) = (side, side);
    }

    fn count(&self, is: impl Fn(&Step) -> bool) -> usize {
        self.steps.iter().filter(|step| is(step)).count()
    }
}

/// No order to change.
const PLAIN: Block = Block { channels: 1, places: 1 };

/// What a convolution or linear layer says of its weights.
struct Weights {
    shape: Vec<usize>,
    block: Block,
    fans: Fans,
    fill: Fill,
    bias: Fill,
}
