//! Operations in which element i depends on element i alone, and what surrounds a product.

use alexnet_ops::{Activation, DropoutKey, Saturation, SgdStep, UpdateRule, philox};

use crate::Engine;
use crate::driver::{Argument, Factor, Gpu, Launch, View, ViewMut};
use crate::pieces::pieces;
use crate::reduce::word;
use crate::scratch::Room;

/// A kernel of `y`, `x` and their length.
pub(crate) fn map(gpu: &Gpu, kernel: &str, y: ViewMut<'_, f32>, x: View<'_, f32>) {
    let len = y.len();
    assert_eq!(len, x.len());
    gpu.launch(kernel, Launch::threads(len), &[y.into(), x.into(), (len as u64).into()]);
}

pub(crate) fn saturation(gpu: &Gpu, y: ViewMut<'_, f32>, x: View<'_, f32>, curve: Saturation) {
    let kernel = match curve {
        Saturation::Tanh => "tanh_forward",
        Saturation::Sigmoid => "sigmoid_forward",
    };
    map(gpu, kernel, y, x);
}

pub(crate) fn saturation_backward(
    gpu: &Gpu,
    d: ViewMut<'_, f32>,
    y: View<'_, f32>,
    curve: Saturation,
) {
    let kernel = match curve {
        Saturation::Tanh => "tanh_backward",
        Saturation::Sigmoid => "sigmoid_backward",
    };
    map(gpu, kernel, d, y);
}

pub(crate) fn scale(gpu: &Gpu, y: ViewMut<'_, f32>, x: View<'_, f32>, factor: f32) {
    let len = y.len();
    assert_eq!(len, x.len());
    let arguments = [y.into(), x.into(), factor.into(), (len as u64).into()];
    gpu.launch("scale", Launch::threads(len), &arguments);
}

pub(crate) fn dropout(
    gpu: &Gpu,
    y: ViewMut<'_, f32>,
    x: View<'_, f32>,
    rate: f32,
    kept_scale: f32,
    key: DropoutKey,
) {
    let len = y.len();
    assert_eq!(len, x.len());
    if len == 0 {
        return;
    }
    // A thread a quad of the layer's elements, of which the first and last may be cut.
    let quads = (key.first + len - 1) / 4 - key.first / 4 + 1;
    let arguments = [
        y.into(),
        x.into(),
        kept_scale.into(),
        philox::drop_threshold(rate).into(),
        key.seed.into(),
        key.step.into(),
        key.layer.into(),
        (key.first as u64).into(),
        (len as u64).into(),
    ];
    gpu.launch("dropout", Launch::threads(quads), &arguments);
}

/// One step of gradient descent.
pub(crate) fn update(
    gpu: &Gpu,
    [weights, velocity]: [ViewMut<'_, f32>; 2],
    gradient: View<'_, f32>,
    step: &SgdStep,
) {
    let len = weights.len();
    assert!(velocity.len() == len && gradient.len() == len);
    let kernel = match step.rule {
        UpdateRule::Paper => "sgd_paper",
        UpdateRule::PyTorch => "sgd_pytorch",
    };
    let arguments = [
        weights.into(),
        velocity.into(),
        gradient.into(),
        step.learning_rate.into(),
        step.momentum.into(),
        step.weight_decay.into(),
        (len as u64).into(),
    ];
    gpu.launch(kernel, Launch::threads(len), &arguments);
}

/// `y (rows, channels) = activation(y + bias)`.
pub(crate) fn add_bias(
    engine: &mut Engine,
    mut y: ViewMut<'_, f32>,
    bias: View<'_, f32>,
    activation: Activation,
) {
    let channels = bias.len();
    assert!(y.len().is_multiple_of(channels));
    let relu = u32::from(activation == Activation::Relu);
    for rows in pieces(y.len() / channels, channels, engine.limits.elements) {
        let len = rows.len() * channels;
        let y = y.part(rows.start * channels..rows.end * channels);
        let sizes: [Argument<'_>; 3] = [word(channels), relu, word(len)].map(Argument::from);
        let arguments = [y.into(), bias.into(), sizes[0], sizes[1], sizes[2]];
        engine.gpu.launch("bias_activation", Launch::threads(len), &arguments);
    }
}

/// A factor of a product: as it is, or rounded to bf16 in this room.
pub(crate) fn rounded<'a>(
    gpu: &Gpu,
    bf16: bool,
    room: &'a mut Room,
    values: View<'a, f32>,
) -> Factor<'a> {
    if !bf16 {
        return Factor::F32(values);
    }
    let len = values.len();
    let mut narrow: ViewMut<'_, u16> = room.take(gpu, len);
    let arguments = [narrow.again().into(), values.into(), (len as u64).into()];
    gpu.launch("round_to_bf16", Launch::threads(len), &arguments);
    Factor::Bf16(narrow.into_read())
}
