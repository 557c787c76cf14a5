//! Max pooling and adaptive average pooling: `kernels/pool.cu`.

use alexnet_ops::{AveragePoolShape, MaxPoolShape};

use crate::driver::{Argument, Launch};
use crate::floats::Floats;
use crate::pieces::pieces;
use crate::reduce::{width, word};
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
    assert!(shape.size <= MaxPoolShape::SIZE_MAX, "a position fits a byte");
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

/// With rectified maxima: of their sums' gradient, which they let through where they are not 0.
pub(crate) fn max_backward(
    engine: &mut Engine,
    d_x: &mut Floats,
    d_y: &Floats,
    rectified: Option<&Floats>,
    positions: &Bytes,
    shape: &MaxPoolShape,
) {
    let (_, [input, output]) = max_numbers(shape, 0);
    let mut d_x = d_x.values_mut(shape.input_len());
    let read = [Some(d_y), rectified].map(|array| array.map(|a| a.values(shape.output_len())));
    let width = width(shape.channels);
    let (kernel, places) = match (shape.stride, rectified.is_some()) {
        (2, false) => ("max_pool_backward_by_two", by_two(shape)),
        (2, true) => ("rectified_max_pool_backward_by_two", by_two(shape)),
        (_, false) => ("max_pool_backward", shape.in_h * shape.in_w),
        (_, true) => ("rectified_max_pool_backward", shape.in_h * shape.in_w),
    };
    for images in pieces(shape.batch, input.max(output), engine.limits.elements) {
        let (numbers, _) = max_numbers(shape, images.len());
        let [inputs, outputs] = [input, output].map(|each| images.start * each..images.end * each);
        let threads = images.len() * places * shape.channels / width;
        let read = read.into_iter().flatten().map(|values| values.part(outputs.clone()).into());
        let positions = positions.view().part(outputs.clone()).into();
        let sizes: [Argument<'_>; 3] =
            [(&numbers).into(), word(width).into(), word(threads).into()];
        let written = [d_x.part(inputs).into()].into_iter();
        let arguments: Vec<_> = written.chain(read).chain([positions]).chain(sizes).collect();
        engine.gpu.launch(kernel, Launch::threads(threads), &arguments);
    }
}

/// Squares of two inputs by two.
fn by_two(shape: &MaxPoolShape) -> usize {
    shape.in_h.div_ceil(2) * shape.in_w.div_ceil(2)
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
