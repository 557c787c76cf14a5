//! Shapes for tests: a fixed pseudo-random sample of all small ones, so that every meeting of tile
//! borders, paddings, strides and groups turns up.

use alexnet_ops::conformance::{Case, Levels};
use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, ConvShape, Dropout, DropoutKey, LinearShape,
    LossShape, LrnRegion, LrnShape, MaxPoolShape, Rounding, Saturation, SgdStep, UpdateRule,
    output_size,
};

/// Most multiply-adds of a sampled shape: what the plain loops do in a few milliseconds.
const MACS: usize = 4 << 20;

/// A generator of numbers that anyone can see through (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as usize >> 1
    }
    /// One of `least..=most`.
    fn within(&mut self, least: usize, most: usize) -> usize {
        least + self.next() % (most - least + 1)
    }
    /// Mostly small, at times around the largest tile.
    fn channels(&mut self) -> usize {
        if self.next().is_multiple_of(8) { self.within(63, 65) } else { self.within(1, 40) }
    }
    fn activation(&mut self) -> Activation {
        [Activation::Identity, Activation::Relu][self.next() % 2]
    }
    fn rule(&mut self) -> UpdateRule {
        [UpdateRule::Paper, UpdateRule::PyTorch][self.next() % 2]
    }
    fn curve(&mut self) -> Saturation {
        [Saturation::Tanh, Saturation::Sigmoid][self.next() % 2]
    }

    /// A convolution, unless the window does not fit or it is too much work.
    fn convolution(&mut self) -> Option<ConvShape> {
        let (batch, groups) = (self.within(1, 3), [1, 1, 2, 3][self.next() % 4]);
        let (in_h, in_w) = (self.within(1, 32), self.within(1, 32));
        let (in_c, out_c) = (self.channels(), self.channels());
        let (in_c, out_c) = (in_c.next_multiple_of(groups), out_c.next_multiple_of(groups));
        let (kernel, stride) = match self.next() % 10 {
            0 | 1 => (11, 4),
            2..6 => (self.within(1, 7), 1),
            _ => (self.within(1, 7), self.within(1, 4)),
        };
        let pad = self.next() % kernel;
        let rounding = [Rounding::Floor, Rounding::Ceil][self.next() % 2];
        let size = |input| output_size(input, kernel, stride, pad, rounding);
        let (out_h, out_w) = (size(in_h)?, size(in_w)?);
        let shape =
            ConvShape { batch, in_h, in_w, in_c, out_h, out_w, out_c, kernel, stride, pad, groups };
        (shape.macs() <= MACS).then_some(shape)
    }
}

pub(crate) fn convolutions(count: usize) -> Vec<Case> {
    let mut numbers = Numbers(1);
    let mut cases = Vec::new();
    while cases.len() < count {
        let activation = numbers.activation();
        cases.extend(numbers.convolution().map(|shape| Case::Conv(shape, activation)));
    }
    cases
}

pub(crate) fn linear_layers(count: usize) -> Vec<Case> {
    let mut numbers = Numbers(2);
    let case = |index: usize| {
        let batch =
            if index.is_multiple_of(3) { numbers.within(1, 9) } else { numbers.within(1, 70) };
        let (inputs, outputs) = match index % 5 {
            0 => (numbers.within(1, 600), numbers.channels()),
            1 => (numbers.channels(), numbers.within(1, 600)),
            _ => (numbers.channels(), numbers.channels()),
        };
        let shape = LinearShape { batch, inputs, outputs };
        match index % 4 {
            0 => Case::LinearUpdate(shape, step(numbers.rule())),
            _ => Case::Linear(shape, numbers.activation()),
        }
    };
    (0..count).map(case).collect()
}

/// Everything that is not a product, at every number of channels up to beyond the longest vector.
pub(crate) fn others() -> Vec<Case> {
    let mut numbers = Numbers(3);
    (1..=70).flat_map(|channels| others_of(&mut numbers, channels)).collect()
}

fn others_of(numbers: &mut Numbers, channels: usize) -> Vec<Case> {
    let mut side = || numbers.within(1, 9);
    let (height, width, out_h, out_w) = (side(), side(), side(), side());
    let (batch, size, stride) = (numbers.within(1, 3), numbers.within(1, 5), numbers.within(1, 4));
    let (in_h, in_w) = (height + size, width + size);
    let windows = |input| output_size(input, size, stride, 0, Rounding::Ceil).unwrap_or(1);
    let max = MaxPoolShape {
        batch,
        in_h,
        in_w,
        out_h: windows(in_h),
        out_w: windows(in_w),
        channels,
        size,
        stride,
    };
    let average = AveragePoolShape { batch, in_h, in_w, out_h, out_w, channels };
    let lrn = |region, channels| {
        let (alpha, beta, k) = (0.2, 0.75, 1.5);
        Case::Lrn(LrnShape { batch, height, width, channels, region, size, alpha, beta, k })
    };
    let rows = batch * height * width + 1;
    let norm = BatchNormShape { rows, channels, epsilon: 1e-5, momentum: 0.1 };
    let masked = |first| {
        let key = DropoutKey { seed: 5, step: 7, layer: 1, first };
        Dropout::Masked { rate: 0.4, kept_scale: 1.5, key }
    };
    // With one class there is nothing but rounding.
    let classes = channels.max(2);
    let loss = LossShape { images: batch, classes, mean_over: batch + 1, smoothing: 0.1 };
    let len = height * width * channels;
    vec![
        Case::MaxPool(max, Levels::Any),
        Case::MaxPool(max, Levels::Five),
        Case::AveragePool(average),
        lrn(LrnRegion::AcrossMaps { groups: 1 }, channels),
        lrn(LrnRegion::AcrossMaps { groups: 2 }, 2 * channels),
        lrn(LrnRegion::SameMap, channels),
        Case::BatchNorm(norm, Activation::Identity, None),
        Case::BatchNorm(norm, Activation::Relu, None),
        Case::Relu(len),
        Case::Saturation(len, numbers.curve()),
        Case::Dropout(len, masked(0)),
        Case::Dropout(len, Dropout::Scaled(0.7)),
        Case::SoftmaxCrossEntropy(loss, 3.0),
        Case::Dropout(len, masked(channels)),
        Case::Largest(len),
        Case::Sgd(len, step(numbers.rule()), None),
        Case::Sgd(len, step(numbers.rule()), Some(0.3)),
    ]
}

fn step(rule: UpdateRule) -> SgdStep {
    SgdStep { rule, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.05 }
}
