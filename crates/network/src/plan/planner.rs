//! A table read downwards: each row becomes its sizes, its parameters and a step.

use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, ConvShape, LinearShape, LrnShape, MaxPoolShape,
    output_size,
};

use super::{IMAGE_CHANNELS, LayerSummary, ParameterRole, ParameterSpec, Step, TensorSpec};
use crate::initial::{Fans, Fill, Initialisation};
use crate::layer::{Conv, Layer, Linear, Units};
use crate::models::{Model, ModelError};
use crate::order::Block;

/// PyTorch's defaults for batch normalisation.
const BATCH_NORM_EPSILON: f32 = 1e-5;
const BATCH_NORM_MOMENTUM: f32 = 0.1;

/// What grows while the table is read downwards.
pub(super) struct Planner<'m> {
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
    pub(super) layers: Vec<LayerSummary>,
    pub(super) parameters: Vec<ParameterSpec>,
    pub(super) steps: Vec<Step>,
}

impl<'m> Planner<'m> {
    pub(super) fn new(model: &'m Model, batch: usize, initialisation: Initialisation) -> Self {
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

    pub(super) fn add(&mut self, index: usize, row: &Layer) -> Result<(), ModelError> {
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
        let (activation, running) = (Activation::Identity, affine + 1);
        self.steps.push(Step::BatchNorm { shape, activation, affine, running, statistics });
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
            Some(
                Step::Conv { activation, .. }
                | Step::Linear { activation, .. }
                | Step::BatchNorm { activation, .. },
            ) => *activation = Activation::Relu,
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
