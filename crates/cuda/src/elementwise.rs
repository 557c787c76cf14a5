//! Operations in which element i depends on element i alone, and what surrounds a product.

use alexnet_ops::{Activation, Dropout, DropoutKey, Saturation, philox};

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

/// A kernel of `y`, `x`, a factor and their length, a thread for eight.
pub(crate) fn map_by(gpu: &Gpu, kernel: &str, y: RealsMut<'_>, x: Reals<'_>, factor: f32) {
    let len = y.len();
    assert_eq!(len, x.len());
    let arguments = [y.into(), x.into(), factor.into(), (len as u64).into()];
    gpu.launch(kernel, Launch::eights(len), &arguments);
}

/// Of rows of whole runs of eight, begins the sums down their columns: such a gradient is that of a bias,
/// too.
pub(crate) fn relu_backward(
    engine: &mut Engine,
    d: &mut Floats,
    y: &Floats,
    factor: f32,
    len: usize,
) {
    let are_whole = |columns: &usize| {
        let runs = columns.is_multiple_of(EIGHT) && len.is_multiple_of(*columns);
        runs && d.begins_whole() && y.begins_whole()
    };
    let Some(columns) = y.columns().filter(are_whole) else {
        return map_by(&engine.gpu, "relu_backward", d.values_mut(len), y.values(len), factor);
    };
    let others = [y.values(len).into(), factor.into()];
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

pub(crate) fn dropout(engine: &mut Engine, y: RealsMut<'_>, x: Reals<'_>, dropout: Dropout) {
    let len = y.len();
    assert_eq!(len, x.len());
    let Engine { gpu, scratch, .. } = engine;
    match dropout {
        Dropout::Scaled(factor) => map_by(gpu, "scale", y, x, factor),
        Dropout::Masked { rate, kept_scale, key } => {
            let step = step_there(gpu, scratch, key.step);
            let masks = mask_arguments(step, [rate, kept_scale], key);
            let arguments = [&[y.into(), x.into()], &masks[..], &[(len as u64).into()]].concat();
            gpu.launch("dropout", Launch::eights(len), &arguments);
        }
    }
}

/// What kernels are told of masks, in their order, where the training step stands among the rest.
fn mask_arguments<'a>(
    step: View<'a, u64>,
    [rate, kept_scale]: [f32; 2],
    DropoutKey { seed, layer, first, .. }: DropoutKey,
) -> [Argument<'a>; 6] {
    let threshold = philox::drop_threshold(rate).into();
    [kept_scale.into(), threshold, seed.into(), step.into(), layer.into(), (first as u64).into()]
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
    add_bias_and_drop(engine, y, bias, (activation, NOTHING_DROPPED), sizes);
}

/// What dropout does where there is none.
pub(crate) const NOTHING_DROPPED: Dropout = Dropout::Scaled(1.0);

/// `y (rows, channels) = dropout(activation(y + bias))`. Where nothing but the bias is wanted a normalisation
/// may follow, which needs the means: of rows of whole runs of eight, begins their sums.
pub(crate) fn add_bias_and_drop(
    engine: &mut Engine,
    y: &mut Floats,
    bias: &Floats,
    how @ (activation, dropout): (Activation, Dropout),
    sizes @ [rows, channels]: [usize; 2],
) {
    let (bias, relu) = (bias.first(channels), relu(activation));
    let are_whole = channels.is_multiple_of(EIGHT) && y.begins_whole();
    let many = Round::of(sizes).blocks() >= engine.limits.blocks;
    if how == (Activation::Identity, NOTHING_DROPPED) && are_whole && many {
        begin_sums(engine, "bias_sums", y, &[bias.into()], sizes);
        return y.has_columns(channels);
    }
    let mut values = y.values_mut(rows * channels);
    let Engine { gpu, scratch, limits, .. } = engine;
    for rows in pieces(rows, channels, limits.elements) {
        let len = rows.len() * channels;
        let y = values.part(rows.start * channels..rows.end * channels);
        let arrays = [y.into(), bias.into()];
        let sizes: [Argument<'_>; 3] = [word(channels), relu, word(len)].map(Argument::from);
        match dropout {
            Dropout::Scaled(factor) => {
                let arguments = [&arrays, &[factor.into()][..], &sizes].concat();
                gpu.launch("bias_activation", Launch::eights(len), &arguments);
            }
            Dropout::Masked { rate, kept_scale, key } => {
                let key = DropoutKey { first: key.first + rows.start * channels, ..key };
                let step = step_there(gpu, scratch, key.step);
                let masks = mask_arguments(step, [rate, kept_scale], key);
                let arguments = [&arrays, &masks[..], &sizes].concat();
                gpu.launch("bias_dropout", Launch::eights(len), &arguments);
            }
        }
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
