//! Convolution: by cuDNN where `direct` can, else as matrix products. For these `kernels/unfold.cu`
//! lays out what each window sees as a row, and with M windows, L = R·S·C/groups and one matrix a group
//!
//! - forward is `y (M, K/g) = columns (M, L) · weightsᵀ (L, K/g)`,
//! - the input's gradient `columns (M, L) = d_y (M, K/g) · weights (K/g, L)`, folded back,
//! - the weights' gradient `d_weights (K/g, L) = d_yᵀ (K/g, M) · columns (M, L)`.
//!
//! Images are taken a few at a time, for the columns are R·S/stride² times as long as the input.

use std::ops::Range;

use alexnet_ops::{Activation, ConvShape};

use crate::driver::{Gpu, Launch, Matrix, Product, Reals, RealsMut, ViewMut};
use crate::elementwise::{add_bias, factor};
use crate::floats::Floats;
use crate::pieces::pieces;
use crate::reduce::{bias_gradient, word};
use crate::scratch::Room;
use crate::{Engine, direct};

/// A part of the batch: images, and what it has of everything.
struct Part {
    images: Range<usize>,
    /// M: windows of these images.
    rows: usize,
    /// In x.
    inputs: Range<usize>,
    /// In y.
    outputs: Range<usize>,
}

/// The parts that a batch is taken in.
fn parts(shape: &ConvShape, limit: usize) -> impl Iterator<Item = Part> + use<> {
    let windows = shape.out_h * shape.out_w;
    let (input, output) = (shape.in_h * shape.in_w * shape.in_c, windows * shape.out_c);
    let columns = windows * shape.kernel_len() * shape.groups;
    pieces(shape.batch, columns, limit).map(move |images| Part {
        rows: images.len() * windows,
        inputs: images.start * input..images.end * input,
        outputs: images.start * output..images.end * output,
        images,
    })
}

/// The shape as kernels take it: `struct Conv`.
fn numbers(shape: &ConvShape) -> [u32; 9] {
    let ConvShape { in_h, in_w, in_c, out_h, out_w, kernel, stride, pad, groups, .. } = *shape;
    [in_h, in_w, in_c, out_h, out_w, kernel, stride, pad, groups].map(word)
}

/// The unfolded inputs of `rows` windows, one matrix a group.
fn columns_matrix(shape: &ConvShape, rows: usize) -> Matrix {
    let len = shape.kernel_len();
    Matrix { row: len, next: rows * len, turned: false }
}

/// The weights, one matrix a group.
fn weights_matrix(shape: &ConvShape) -> Matrix {
    let len = shape.kernel_len();
    Matrix { row: len, next: shape.out_c / shape.groups * len, turned: false }
}

/// The outputs, in which each group's maps stand beside those of the others.
fn outputs_matrix(shape: &ConvShape) -> Matrix {
    Matrix { row: shape.out_c, next: shape.out_c / shape.groups, turned: false }
}

pub(crate) fn forward(
    engine: &mut Engine,
    y: &mut Floats,
    [x, weights, bias]: [&Floats; 3],
    activation: Activation,
    shape: &ConvShape,
) {
    forward_sums(engine, y, [x, weights], shape);
    let sizes = [shape.batch * shape.out_h * shape.out_w, shape.out_c];
    add_bias(engine, y, bias, activation, sizes);
}

/// The same without what follows the sums.
pub(crate) fn forward_sums(
    engine: &mut Engine,
    y: &mut Floats,
    [x, weights]: [&Floats; 2],
    shape: &ConvShape,
) {
    let mut sums = y.values_mut(shape.output_len());
    if !direct::forward(engine, sums.again(), x, weights, shape) {
        plain(engine, x, shape, |engine, x| forward_products(engine, sums, x, weights, shape));
    }
}

fn forward_products(
    engine: &mut Engine,
    mut y: RealsMut<'_>,
    x: Reals<'_>,
    weights: &Floats,
    shape: &ConvShape,
) {
    for part in parts(shape, engine.limits.columns) {
        let product = Product {
            batch: shape.groups,
            rows: part.rows,
            columns: shape.out_c / shape.groups,
            depth: shape.kernel_len(),
            a: columns_matrix(shape, part.rows),
            b: Matrix { turned: true, ..weights_matrix(shape) },
            c: outputs_matrix(shape),
            adds: false,
        };
        let Engine { gpu, scratch, bf16, .. } = engine;
        let x = x.part(part.inputs.clone());
        let columns = unfold(gpu, &mut scratch.columns, x, &part, shape);
        let room = &mut scratch.rounded[0];
        let weights = factor(gpu, *bf16, room, weights, shape.weights_len());
        gpu.multiply(y.part(part.outputs), columns, weights, &product);
    }
}

pub(crate) fn backward_input(
    engine: &mut Engine,
    d_x: &mut Floats,
    d_y: &Floats,
    weights: &Floats,
    shape: &ConvShape,
) {
    let mut d_x = d_x.values_mut(shape.input_len());
    if direct::backward_input(engine, d_x.again(), d_y, weights, shape) {
        return;
    }
    let d_y = d_y.values(shape.output_len());
    for part in parts(shape, engine.limits.columns) {
        let product = Product {
            batch: shape.groups,
            rows: part.rows,
            columns: shape.kernel_len(),
            depth: shape.out_c / shape.groups,
            a: outputs_matrix(shape),
            b: weights_matrix(shape),
            c: columns_matrix(shape, part.rows),
            adds: false,
        };
        let Engine { gpu, scratch, bf16, .. } = engine;
        let room = &mut scratch.rounded[0];
        let weights = factor(gpu, *bf16, room, weights, shape.weights_len());
        let len = shape.groups * part.rows * shape.kernel_len();
        let mut columns: ViewMut<'_, f32> = scratch.columns.take(gpu, len);
        let formed = RealsMut::F32(columns.again());
        gpu.multiply(formed, d_y.part(part.outputs), weights, &product);
        let inputs = part.inputs.len();
        let (folded, sizes) = (d_x.part(part.inputs), numbers(shape));
        let (rows, len) = (word(part.rows), word(inputs));
        let arguments =
            [folded.into(), columns.read().into(), (&sizes).into(), rows.into(), len.into()];
        gpu.launch("fold", Launch::threads(inputs), &arguments);
    }
}

pub(crate) fn backward_weights(
    engine: &mut Engine,
    [d_weights, d_bias]: [&mut Floats; 2],
    d_y: &Floats,
    x: &Floats,
    shape: &ConvShape,
) {
    let sizes = [shape.batch * shape.out_h * shape.out_w, shape.out_c];
    bias_gradient(engine, d_bias, d_y, sizes);
    let gradient = d_weights.first_mut(shape.weights_len());
    if !direct::backward_weights(engine, gradient, d_y, x, shape) {
        let d_y = d_y.values(shape.output_len());
        plain(engine, x, shape, |engine, x| {
            backward_weights_products(engine, d_weights, [d_y, x], shape);
        });
    }
}

/// Does what takes the input as it is, also where it was laid out for cuDNN, which then could not.
fn plain(
    engine: &mut Engine,
    x: &Floats,
    shape: &ConvShape,
    work: impl FnOnce(&mut Engine, Reals<'_>),
) {
    let Some(blocks) = x.laid_out() else {
        return work(engine, x.values(shape.input_len()));
    };
    let there = x.values(blocks.len(shape.batch));
    let mut room = engine.scratch.pictures.lend();
    let mut as_it_was = room.reals(&engine.gpu, shape.input_len(), engine.bf16);
    blocks.leave_input(&engine.gpu, as_it_was.again(), there);
    work(engine, as_it_was.into_read());
    engine.scratch.pictures.take_back(room);
}

fn backward_weights_products(
    engine: &mut Engine,
    d_weights: &mut Floats,
    [d_y, x]: [Reals<'_>; 2],
    shape: &ConvShape,
) {
    for part in parts(shape, engine.limits.columns) {
        let product = Product {
            batch: shape.groups,
            rows: shape.out_c / shape.groups,
            columns: shape.kernel_len(),
            depth: part.rows,
            a: Matrix { turned: true, ..outputs_matrix(shape) },
            b: columns_matrix(shape, part.rows),
            c: weights_matrix(shape),
            adds: part.images.start > 0,
        };
        let Engine { gpu, scratch, .. } = engine;
        let x = x.part(part.inputs.clone());
        let columns = unfold(gpu, &mut scratch.columns, x, &part, shape);
        let gradient = RealsMut::F32(d_weights.first_mut(shape.weights_len()));
        gpu.multiply(gradient, d_y.part(part.outputs), columns, &product);
    }
}

/// The columns of a part's images `x`.
fn unfold<'r>(
    gpu: &Gpu,
    room: &'r mut Room,
    x: Reals<'_>,
    part: &Part,
    shape: &ConvShape,
) -> Reals<'r> {
    let len = shape.groups * part.rows * shape.kernel_len();
    let (sizes, launch) = (numbers(shape), Launch::threads(len));
    let (rows, count) = (word(part.rows).into(), word(len).into());
    let mut columns = room.reals(gpu, len, x.is_bf16());
    let arguments = [columns.again().into(), x.into(), (&sizes).into(), rows, count];
    gpu.launch("unfold", launch, &arguments);
    columns.into_read()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_every_image_once_and_their_windows() {
        let shape = ConvShape {
            batch: 5,
            in_h: 4,
            in_w: 4,
            in_c: 6,
            out_h: 2,
            out_w: 2,
            out_c: 8,
            kernel: 3,
            stride: 1,
            pad: 0,
            groups: 2,
        };
        // An image has 4 windows of 9·6 inputs.
        let parts: Vec<Part> = parts(&shape, 2 * 4 * 54 + 1).collect();
        let images: Vec<_> = parts.iter().map(|part| part.images.clone()).collect();
        assert_eq!(images, [0..2, 2..4, 4..5]);
        assert_eq!((parts[1].inputs.clone(), parts[1].outputs.clone()), (192..384, 64..128));
        assert_eq!(parts.iter().map(|part| part.rows).collect::<Vec<_>>(), [8, 8, 4]);
    }
}
