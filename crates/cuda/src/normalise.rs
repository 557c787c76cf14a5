//! Local response normalisation and batch normalisation: `kernels/lrn.cu`, `kernels/batch_norm.cu`.

use alexnet_ops::{Activation, BatchNormShape, ConvShape, LrnRegion, LrnShape};

use crate::driver::{Argument, BLOCK, EIGHT, Gpu, Launch, Reals, RealsMut, View, ViewMut};
use crate::elementwise::map_by;
use crate::floats::Floats;
use crate::pieces::pieces;
use crate::reduce::{Round, begin_sums, finish_rows, sum_columns, width, word};
use crate::scratch::Scratch;
use crate::{Engine, conv};

/// The window of all published tables: `FIVE` of `kernels/lrn.cu`.
const FIVE: usize = 5;
/// What each of a block's threads shows the others: of squares and of terms, two at either end of its run.
const SHOWN: usize = 8;

/// Maps of a tower, if neighbours are maps.
fn tower(shape: &LrnShape) -> Option<u32> {
    match shape.region {
        LrnRegion::AcrossMaps { groups } => Some(word(shape.channels / groups)),
        LrnRegion::SameMap => None,
    }
}

/// Whether kernels of whole runs are for it: windows of five over towers of eights.
fn is_five(shape: &LrnShape) -> bool {
    let by_eights = |maps: u32| (maps as usize).is_multiple_of(EIGHT);
    shape.size == FIVE && tower(shape).is_some_and(by_eights)
}

/// Calls one of these kernels with `arrays`, an output and its inputs; with a bias, one that rectifies what
/// it normalises.
fn launch_five(
    gpu: &Gpu,
    kernel: &str,
    arrays: &[Argument<'_>],
    bias: Option<&Floats>,
    shape: &LrnShape,
) {
    let LrnShape { channels, alpha, beta, k, .. } = *shape;
    let bias = bias.map(|bias| [bias.first(channels).into(), word(channels).into()]);
    let maps = tower(shape).map(Argument::from);
    let figures = [alpha.into(), beta.into(), k.into(), (shape.len() as u64).into()];
    let arguments = [arrays, bias.as_slice().as_flattened(), maps.as_slice(), &figures].concat();
    // A block's first and last threads have runs of the blocks beside it.
    let blocks = (shape.len() / EIGHT).div_ceil(BLOCK - 2);
    gpu.launch(kernel, Launch::blocks(blocks).sharing(|threads| SHOWN * threads), &arguments);
}

fn map_numbers(shape: &LrnShape) -> [u32; 3] {
    [shape.height, shape.width, shape.channels].map(word)
}

pub(crate) fn lrn_forward(engine: &mut Engine, y: &mut Floats, x: &Floats, shape: &LrnShape) {
    let LrnShape { size, alpha, beta, k, .. } = *shape;
    let size = word(size).into();
    let gpu = &engine.gpu;
    if is_five(shape) {
        let arrays = [y.values_mut(shape.len()).into(), x.values(shape.len()).into()];
        return launch_five(gpu, "lrn_five_forward", &arrays, None, shape);
    }
    if let Some(maps) = tower(shape) {
        let (len, width) = (shape.len(), width(maps as usize));
        let (y, x) = (y.values_mut(len).into(), x.values(len).into());
        let [alpha, beta, k] = [alpha, beta, k].map(Into::into);
        let sizes = [word(width).into(), (len as u64).into()];
        let arguments = [y, x, maps.into(), size, alpha, beta, k, sizes[0], sizes[1]];
        return gpu.launch("lrn_maps_forward", Launch::threads(len / width), &arguments);
    }
    let image = shape.len() / shape.batch;
    let (mut y, x) = (y.values_mut(shape.len()), x.values(shape.len()));
    for images in pieces(shape.batch, image, engine.limits.elements) {
        let part = images.start * image..images.end * image;
        let (len, numbers) = (part.len(), map_numbers(shape));
        let (y, x) = (y.part(part.clone()).into(), x.part(part).into());
        let [alpha, beta, k] = [alpha, beta, k].map(Into::into);
        let arguments = [y, x, (&numbers).into(), size, alpha, beta, k, word(len).into()];
        gpu.launch("lrn_map_forward", Launch::threads(len), &arguments);
    }
}

pub(crate) fn lrn_backward(
    engine: &mut Engine,
    d_x: &mut Floats,
    d_y: &Floats,
    x: &Floats,
    shape: &LrnShape,
) {
    let Engine { gpu, scratch, limits, .. } = engine;
    let len = shape.len();
    let (mut d_x, d_y, x) = (d_x.values_mut(len), d_y.values(len), x.values(len));
    if is_five(shape) {
        let arrays = [d_x.into(), d_y.into(), x.into()];
        return launch_five(gpu, "lrn_five_backward", &arrays, None, shape);
    }
    if let Some(maps) = tower(shape) {
        return across_maps_backward(gpu, d_x, d_y, x, maps, shape);
    }
    let image = shape.len() / shape.batch;
    for images in pieces(shape.batch, image, limits.elements) {
        let part = images.start * image..images.end * image;
        let d_x = d_x.part(part.clone());
        let (d_y, x) = (d_y.part(part.clone()), x.part(part));
        same_map_backward(gpu, scratch, d_x, d_y, x, shape);
    }
}

/// Where its kernels do so, bias and ReLU are left to the normalisation; sums are then as the convolution
/// leaves them.
pub(crate) fn conv_lrn_forward(
    engine: &mut Engine,
    [y, sums]: [&mut Floats; 2],
    x: &Floats,
    [weights, bias]: [&Floats; 2],
    (conv, lrn): (&ConvShape, &LrnShape),
) {
    assert_eq!((conv.output_len(), conv.out_c), (lrn.len(), lrn.channels));
    if !is_five(lrn) {
        conv::forward(engine, sums, [x, weights, bias], Activation::Relu, conv);
        return lrn_forward(engine, y, sums, lrn);
    }
    conv::forward_sums(engine, sums, [x, weights], conv);
    let arrays = [y.values_mut(lrn.len()).into(), sums.values(lrn.len()).into()];
    launch_five(&engine.gpu, "bias_lrn_five_forward", &arrays, Some(bias), lrn);
}

pub(crate) fn rectified_lrn_backward(
    engine: &mut Engine,
    d_x: &mut Floats,
    d_y: &Floats,
    [sums, bias]: [&Floats; 2],
    shape: &LrnShape,
) {
    let len = shape.len();
    if !is_five(shape) {
        lrn_backward(engine, d_x, d_y, sums, shape);
        let (d_x, sums) = (d_x.values_mut(len), sums.values(len));
        return map_by(&engine.gpu, "relu_backward", d_x, sums, 1.0);
    }
    let arrays = [d_x.values_mut(len).into(), d_y.values(len).into(), sums.values(len).into()];
    launch_five(&engine.gpu, "rectified_lrn_five_backward", &arrays, Some(bias), shape);
}

fn across_maps_backward(
    gpu: &Gpu,
    d_x: RealsMut<'_>,
    d_y: Reals<'_>,
    x: Reals<'_>,
    maps: u32,
    shape: &LrnShape,
) {
    let LrnShape { size, alpha, beta, k, .. } = *shape;
    let len = d_x.len();
    // A term and a power for each thread and each neighbour beyond the block.
    let launch = Launch::threads(len).sharing(|threads| 2 * (threads + size - 1));
    let arguments = [
        d_x.into(),
        d_y.into(),
        x.into(),
        maps.into(),
        word(size).into(),
        alpha.into(),
        beta.into(),
        k.into(),
        (len as u64).into(),
    ];
    gpu.launch("lrn_maps_backward", launch, &arguments);
}

fn same_map_backward(
    gpu: &Gpu,
    scratch: &mut Scratch,
    d_x: RealsMut<'_>,
    d_y: Reals<'_>,
    x: Reals<'_>,
    shape: &LrnShape,
) {
    let (len, numbers, size) = (d_x.len(), map_numbers(shape), word(shape.size));
    let mut terms: ViewMut<'_, f32> = scratch.terms.take(gpu, len);
    let arguments = [
        terms.again().into(),
        d_y.into(),
        x.into(),
        (&numbers).into(),
        size.into(),
        shape.alpha.into(),
        shape.beta.into(),
        shape.k.into(),
        word(len).into(),
    ];
    gpu.launch("lrn_map_terms", Launch::threads(len), &arguments);
    let arguments = [
        d_x.into(),
        terms.read().into(),
        d_y.into(),
        x.into(),
        (&numbers).into(),
        size.into(),
        shape.alpha.into(),
        shape.beta.into(),
        shape.k.into(),
        word(len).into(),
    ];
    gpu.launch("lrn_map_gather", Launch::threads(len), &arguments);
}

/// The outputs `y`, `statistics`, `running`, then the inputs.
pub(crate) fn batch_norm_train(
    engine: &mut Engine,
    [y, statistics, running]: [&mut Floats; 3],
    [x, affine]: [&Floats; 2],
    activation: Activation,
    shape: &BatchNormShape,
) {
    let BatchNormShape { rows, channels, epsilon, momentum } = *shape;
    let sizes = [rows, channels];
    // Sums and squares first.
    let mut found = statistics.first_mut(2 * channels);
    sum_columns(engine, found.part(0..channels), x, sizes);
    let Engine { gpu, scratch, .. } = engine;
    let round = Round::of(sizes);
    let partial: ViewMut<'_, f32> = scratch.sums[0].take(gpu, round.groups * channels);
    let (values, sums) = (x.values(rows * channels).into(), found.read().part(0..channels).into());
    let (all, numbers) = ((rows as u64).into(), round.numbers());
    let arguments = [partial.into(), values, sums, all, (&numbers).into()];
    gpu.launch("sum_centred_squares", round.launch(1), &arguments);
    let squares = found.part(channels..2 * channels);
    finish_rows(gpu, &mut scratch.sums, squares, [round.groups, channels]);
    let arguments = [
        found.again().into(),
        running.first_mut(2 * channels).into(),
        all,
        word(channels).into(),
        epsilon.into(),
        momentum.into(),
    ];
    gpu.launch("batch_norm_statistics", Launch::threads(channels), &arguments);
    apply(gpu, y, [x, affine], found.into_read(), activation, sizes);
}

pub(crate) fn batch_norm_evaluate(
    engine: &mut Engine,
    y: &mut Floats,
    x: &Floats,
    [affine, running]: [&Floats; 2],
    activation: Activation,
    shape: &BatchNormShape,
) {
    let BatchNormShape { rows, channels, epsilon, .. } = *shape;
    let Engine { gpu, scratch, .. } = engine;
    let mut statistics: ViewMut<'_, f32> = scratch.whole.take(gpu, 2 * channels);
    let arguments = [
        statistics.again().into(),
        running.first(2 * channels).into(),
        word(channels).into(),
        epsilon.into(),
    ];
    gpu.launch("batch_norm_running", Launch::threads(channels), &arguments);
    apply(gpu, y, [x, affine], statistics.into_read(), activation, [rows, channels]);
}

/// `y = activation((x − mean) · inverse deviation · scale + shift)`.
fn apply(
    gpu: &Gpu,
    y: &mut Floats,
    [x, affine]: [&Floats; 2],
    statistics: View<'_, f32>,
    activation: Activation,
    sizes @ [rows, channels]: [usize; 2],
) {
    let (len, round) = (rows * channels, Round::of_each(sizes));
    let (all, numbers) = ((rows as u64).into(), round.numbers());
    let arguments = [
        y.values_mut(len).into(),
        x.values(len).into(),
        affine.first(2 * channels).into(),
        statistics.into(),
        all,
        (&numbers).into(),
    ];
    let kernel = match activation {
        Activation::Identity => "batch_norm_apply",
        Activation::Relu => "batch_norm_relu_apply",
    };
    gpu.launch(kernel, round.launch(0), &arguments);
}

/// The outputs `d_x`, `d_affine`, then `d_y`, the gradient of what the activation made, `x`, `affine`,
/// `statistics`. What it gives back is the gradient of a convolution's bias, too.
pub(crate) fn batch_norm_backward(
    engine: &mut Engine,
    [d_x, d_affine]: [&mut Floats; 2],
    [d_y, x, affine, statistics]: [&Floats; 4],
    activation: Activation,
    shape: &BatchNormShape,
) {
    let BatchNormShape { rows, channels, .. } = *shape;
    let (sum, give_back) = match activation {
        Activation::Identity => ("sum_norm_gradients", "batch_norm_backward"),
        Activation::Relu => ("sum_rectified_norm_gradients", "rectified_batch_norm_backward"),
    };
    let Engine { gpu, scratch, .. } = engine;
    let (sizes, len) = ([rows, channels], rows * channels);
    let [affine, statistics] = [affine, statistics].map(|pair| pair.first(2 * channels).into());
    let read = [d_y.values(len).into(), x.values(len).into(), affine, statistics];
    let round = Round::of(sizes);
    let partial: ViewMut<'_, f32> = scratch.sums[0].take(gpu, round.groups * 2 * channels);
    let (all, numbers) = ((rows as u64).into(), round.numbers());
    let arguments = [&[partial.into()], &read[..], &[all, (&numbers).into()]].concat();
    gpu.launch(sum, round.launch(2), &arguments);
    let sums = d_affine.first_mut(2 * channels);
    finish_rows(gpu, &mut scratch.sums, sums, [round.groups, 2 * channels]);
    let others = [&read[..], &[d_affine.first(2 * channels).into()]].concat();
    begin_sums(engine, give_back, d_x, &others, sizes);
}
