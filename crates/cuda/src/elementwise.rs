//! Operations in which element i depends on element i alone, and what surrounds a product.

use alexnet_ops::{Activation, DropoutKey, Saturation, philox};

use crate::Engine;
use crate::driver::{Argument, EIGHT, Gpu, Launch, Reals, RealsMut, View, ViewMut};
use crate::floats::Floats;
use crate::pieces::pieces;
use crate::reduce::{Round, begin_sums, word};
use crate::scratch::{Room, Scratch};

/// A kernel of `y`, `x` and their length, a thread for eight.
pub(crate) fn map(gpu: &Gpu, kernel: &str, y: RealsMut<'_>, x: Reals<'_>) {
    let len = y.len();
    assert_eq!(len, x.len());
    gpu.launch(kernel, Launch::eights(len), &[y.into(), x.into(), (len as u64).into()]);
}

/// The same, a thread for each.
fn map_each(gpu: &Gpu, kernel: &str, y: RealsMut<'_>, x: Reals<'_>) {
    let len = y.len();
    assert_eq!(len, x.len());
    gpu.launch(kernel, Launch::threads(len), &[y.into(), x.into(), (len as u64).into()]);
}

/// Of rows of whole runs of eight, begins the sums down their columns: such a gradient is that of a bias,
/// too.
pub(crate) fn relu_backward(engine: &mut Engine, d: &mut Floats, y: &Floats, len: usize) {
    let are_whole = |columns: &usize| {
        let runs = columns.is_multiple_of(EIGHT) && len.is_multiple_of(*columns);
        runs && d.begins_whole() && y.begins_whole()
    };
    let Some(columns) = y.columns().filter(are_whole) else {
        return map(&engine.gpu, "relu_backward", d.values_mut(len), y.values(len));
    };
    let others = [y.values(len).into()];
    begin_sums(engine, "relu_backward_sums", d, &others, [len / columns, columns]);
}

pub(crate) fn saturation(gpu: &Gpu, y: RealsMut<'_>, x: Reals<'_>, curve: Saturation) {
    let kernel = match curve {
        Saturation::Tanh => "tanh_forward",
        Saturation::Sigmoid => "sigmoid_forward",
    };
    map_each(gpu, kernel, y, x);
}

pub(crate) fn saturation_backward(gpu: &Gpu, d: RealsMut<'_>, y: Reals<'_>, curve: Saturation) {
    let kernel = match curve {
        Saturation::Tanh => "tanh_backward",
        Saturation::Sigmoid => "sigmoid_backward",
    };
    map_each(gpu, kernel, d, y);
}

/// Adds f32 to f32.
pub(crate) fn add(gpu: &Gpu, sums: ViewMut<'_, f32>, terms: View<'_, f32>) {
    map(gpu, "add", RealsMut::F32(sums), Reals::F32(terms));
}

pub(crate) fn scale(gpu: &Gpu, y: RealsMut<'_>, x: Reals<'_>, factor: f32) {
    let len = y.len();
    assert_eq!(len, x.len());
    let arguments = [y.into(), x.into(), factor.into(), (len as u64).into()];
    gpu.launch("scale", Launch::eights(len), &arguments);
}

pub(crate) fn dropout(
    engine: &mut Engine,
    y: RealsMut<'_>,
    x: Reals<'_>,
    rate: f32,
    kept_scale: f32,
    key: DropoutKey,
) {
    let len = y.len();
    assert_eq!(len, x.len());
    if len == 0 {
        return;
    }
    let Engine { gpu, scratch, .. } = engine;
    let step = step_there(gpu, scratch, key.step);
    // A thread a quad of the layer's elements, of which the first and last may be cut.
    let quads = (key.first + len - 1) / 4 - key.first / 4 + 1;
    let arguments = [
        y.into(),
        x.into(),
        kept_scale.into(),
        philox::drop_threshold(rate).into(),
        key.seed.into(),
        step.into(),
        key.layer.into(),
        (key.first as u64).into(),
        (len as u64).into(),
    ];
    gpu.launch("dropout", Launch::threads(quads), &arguments);
}

/// The training step, on the device: so a graph has another one each time that it is launched.
pub(crate) fn step_there<'s>(gpu: &Gpu, scratch: &'s mut Scratch, step: u64) -> View<'s, u64> {
    let Scratch { step: room, step_is, .. } = scratch;
    if *step_is != Some(step) {
        // A graph would set it to this one for good.
        *step_is = (!gpu.gives_up()).then_some(step);
        let place: ViewMut<'_, u64> = room.take(gpu, 1);
        gpu.launch("note_step", Launch::threads(1), &[place.into(), step.into()]);
    }
    room.take(gpu, 1).into_read()
}

/// `y (rows, channels) = activation(y + bias)`.
pub(crate) fn add_bias(
    engine: &mut Engine,
    y: &mut Floats,
    bias: &Floats,
    activation: Activation,
    sizes: [usize; 2],
) {
    add_bias_and_scale(engine, y, bias, (activation, 1.0), sizes);
}

/// `y (rows, channels) = activation(y + bias) · factor`. Where nothing but the bias is wanted a normalisation
/// may follow, which needs the means: of rows of whole runs of eight, begins their sums.
pub(crate) fn add_bias_and_scale(
    engine: &mut Engine,
    y: &mut Floats,
    bias: &Floats,
    how @ (activation, factor): (Activation, f32),
    sizes @ [rows, channels]: [usize; 2],
) {
    let (bias, relu) = (bias.first(channels), relu(activation));
    let are_whole = channels.is_multiple_of(EIGHT) && y.begins_whole();
    let many = Round::of(sizes).blocks() >= engine.limits.blocks;
    if how == (Activation::Identity, 1.0) && are_whole && many {
        begin_sums(engine, "bias_sums", y, &[bias.into()], sizes);
        return y.has_columns(channels);
    }
    let mut values = y.values_mut(rows * channels);
    for rows in pieces(rows, channels, engine.limits.elements) {
        let len = rows.len() * channels;
        let y = values.part(rows.start * channels..rows.end * channels);
        let sizes: [Argument<'_>; 3] = [word(channels), relu, word(len)].map(Argument::from);
        let arguments = [y.into(), bias.into(), factor.into(), sizes[0], sizes[1], sizes[2]];
        engine.gpu.launch("bias_activation", Launch::eights(len), &arguments);
    }
    y.has_columns(channels);
}

/// Whether there is a ReLU, as kernels are told.
pub(crate) fn relu(activation: Activation) -> u32 {
    u32::from(activation == Activation::Relu)
}

/// A factor of a product: as it is, or in bf16, as it is kept or rounded in this room.
pub(crate) fn factor<'a>(
    gpu: &Gpu,
    bf16: bool,
    room: &'a mut Room,
    values: &'a Floats,
    len: usize,
) -> Reals<'a> {
    if !bf16 {
        return Reals::F32(values.first(len));
    }
    if let Some(rounded) = values.first_rounded(len) {
        return Reals::Bf16(rounded);
    }
    let mut narrow: ViewMut<'_, u16> = room.take(gpu, len);
    round(gpu, narrow.again(), values.first(len));
    Reals::Bf16(narrow.into_read())
}

pub(crate) fn round(gpu: &Gpu, rounded: ViewMut<'_, u16>, numbers: View<'_, f32>) {
    map(gpu, "round_to_bf16", RealsMut::Bf16(rounded), Reals::F32(numbers));
}

pub(crate) fn widen(gpu: &Gpu, numbers: ViewMut<'_, f32>, rounded: Reals<'_>) {
    map(gpu, "widen_bf16", RealsMut::F32(numbers), rounded);
}
