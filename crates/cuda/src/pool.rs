//! Max pooling and adaptive average pooling: `kernels/pool.cu`.

use alexnet_ops::{AveragePoolShape, MaxPoolShape};

use crate::driver::{Argument, EIGHT, Launch, ViewMut};
use crate::floats::Floats;
use crate::pieces::pieces;
use crate::reduce::{Begun, Round, width, word};
use crate::{Bytes, Engine};

/// Elements of an image in the input and in the output.
type PerImage = [usize; 2];

fn max_numbers(shape: &MaxPoolShape, images: usize) -> ([u32; 8], PerImage) {
    let MaxPoolShape { in_h, in_w, out_h, out_w, channels, size, stride, .. } = *shape;
    let numbers = [images, in_h, in_w, out_h, out_w, channels, size, stride].map(word);
    (numbers, [in_h * in_w * channels, out_h * out_w * channels])
}

/// With a bias: of sums, to whose maxima it is added before their ReLU.
pub(crate) fn max_forward(
    engine: &mut Engine,
    y: &mut Floats,
    positions: &mut Bytes,
    x: &Floats,
    bias: Option<&Floats>,
    shape: &MaxPoolShape,
) {
    assert!(shape.size <= MaxPoolShape::SIZE_MAX, "a position fits seven bits");
    let (_, [input, output]) = max_numbers(shape, 0);
    let (mut y, x) = (y.values_mut(shape.output_len()), x.values(shape.input_len()));
    let width = width(shape.channels);
    for images in pieces(shape.batch, input.max(output), engine.limits.elements) {
        let (numbers, _) = max_numbers(shape, images.len());
        let [inputs, outputs] = [input, output].map(|each| images.start * each..images.end * each);
        let threads = outputs.len() / width;
        let arrays = [
            y.part(outputs.clone()).into(),
            positions.view_mut().into_part(outputs).into(),
            x.part(inputs).into(),
        ];
        let sizes: [Argument<'_>; 3] =
            [(&numbers).into(), word(width).into(), word(threads).into()];
        let bias = bias.map(|bias| bias.first(shape.channels).into());
        let kernel = if bias.is_some() { "bias_max_pool_forward" } else { "max_pool_forward" };
        let arguments: Vec<_> = arrays.into_iter().chain(bias).chain(sizes).collect();
        engine.gpu.launch(kernel, Launch::threads(threads), &arguments);
    }
}

/// Of maxima that were `rectified`, only those above 0 let their gradient through.
pub(crate) fn max_backward(
    engine: &mut Engine,
    d_x: &mut Floats,
    d_y: &Floats,
    rectified: bool,
    positions: &Bytes,
    shape: &MaxPoolShape,
) {
    let are_whole = d_x.begins_whole() && d_y.begins_whole() && positions.view().begins_whole();
    if are_whole && (shape.size, shape.stride, width(shape.channels)) == (3, 2, EIGHT) {
        return max_backward_of_threes(engine, d_x, d_y, rectified, positions, shape);
    }
    let (_, [input, output]) = max_numbers(shape, 0);
    let mut d_x = d_x.values_mut(shape.input_len());
    let (d_y, positions) = (d_y.values(shape.output_len()), positions.first(shape.output_len()));
    let (width, rectified) = (width(shape.channels), u32::from(rectified));
    for images in pieces(shape.batch, input.max(output), engine.limits.elements) {
        let (numbers, _) = max_numbers(shape, images.len());
        let [inputs, outputs] = [input, output].map(|each| images.start * each..images.end * each);
        let threads = inputs.len() / width;
        let arguments = [
            d_x.part(inputs).into(),
            d_y.part(outputs.clone()).into(),
            positions.part(outputs).into(),
            (&numbers).into(),
            rectified.into(),
            word(width).into(),
            word(threads).into(),
        ];
        engine.gpu.launch("max_pool_backward", Launch::threads(threads), &arguments);
    }
}

/// The same of whole runs of eight channels and windows of three by three at every second place, by squares
/// of two inputs by two; begins the sums down the channels, for such a gradient is that of a bias, too.
fn max_backward_of_threes(
    engine: &mut Engine,
    d_x: &mut Floats,
    d_y: &Floats,
    rectified: bool,
    positions: &Bytes,
    shape: &MaxPoolShape,
) {
    let (_, [input, output]) = max_numbers(shape, 0);
    let Engine { gpu, scratch, limits, .. } = engine;
    let sizes = [shape.batch * shape.in_h * shape.in_w, shape.channels];
    let rounds: Vec<_> = pieces(shape.batch, input.max(output), limits.elements)
        .map(|images| {
            let squares = images.len() * shape.in_h.div_ceil(2) * shape.in_w.div_ceil(2);
            (images, squares, Round::of_squares([squares, shape.channels]))
        })
        .collect();
    let groups = rounds.iter().map(|(_, _, round)| round.groups).sum();
    let mut sums: ViewMut<'_, f32> = scratch.begun.take(gpu, groups * shape.channels);
    let mut gradient = d_x.values_mut(shape.input_len());
    let (d_y, positions) = (d_y.values(shape.output_len()), positions.first(shape.output_len()));
    let mut first = 0;
    for (images, squares, round) in rounds {
        let (numbers, columns) = (max_numbers(shape, images.len()).0, round.numbers());
        let [inputs, outputs] = [input, output].map(|each| images.start * each..images.end * each);
        let own = first * shape.channels..(first + round.groups) * shape.channels;
        let arguments = [
            sums.part(own).into(),
            gradient.part(inputs).into(),
            d_y.part(outputs.clone()).into(),
            positions.part(outputs).into(),
            (&numbers).into(),
            u32::from(rectified).into(),
            (squares as u64).into(),
            (&columns).into(),
        ];
        gpu.launch("max_pool_backward_of_threes", round.launch(1), &arguments);
        first += round.groups;
    }
    scratch.begun_of = Some(Begun::of(d_x, sizes, groups));
}

fn average_numbers(shape: &AveragePoolShape, images: usize) -> ([u32; 6], PerImage) {
    let AveragePoolShape { in_h, in_w, out_h, out_w, channels, .. } = *shape;
    let numbers = [images, in_h, in_w, out_h, out_w, channels].map(word);
    (numbers, [in_h * in_w * channels, out_h * out_w * channels])
}

pub(crate) fn average_forward(
    engine: &mut Engine,
    y: &mut Floats,
    x: &Floats,
    shape: &AveragePoolShape,
) {
    let (_, [input, output]) = average_numbers(shape, 0);
    let (mut y, x) = (y.values_mut(shape.output_len()), x.values(shape.input_len()));
    for images in pieces(shape.batch, input.max(output), engine.limits.elements) {
        let (numbers, _) = average_numbers(shape, images.len());
        let [inputs, outputs] = [input, output].map(|each| images.start * each..images.end * each);
        let len = outputs.len();
        let (y, x) = (y.part(outputs), x.part(inputs));
        let arguments = [y.into(), x.into(), (&numbers).into(), word(len).into()];
        engine.gpu.launch("average_pool_forward", Launch::threads(len), &arguments);
    }
}

pub(crate) fn average_backward(
    engine: &mut Engine,
    d_x: &mut Floats,
    d_y: &Floats,
    shape: &AveragePoolShape,
) {
    let (_, [input, output]) = average_numbers(shape, 0);
    let (mut d_x, d_y) = (d_x.values_mut(shape.input_len()), d_y.values(shape.output_len()));
    for images in pieces(shape.batch, input.max(output), engine.limits.elements) {
        let (numbers, _) = average_numbers(shape, images.len());
        let [inputs, outputs] = [input, output].map(|each| images.start * each..images.end * each);
        let len = inputs.len();
        let (d_x, d_y) = (d_x.part(inputs), d_y.part(outputs));
        let arguments = [d_x.into(), d_y.into(), (&numbers).into(), word(len).into()];
        engine.gpu.launch("average_pool_backward", Launch::threads(len), &arguments);
    }
}
