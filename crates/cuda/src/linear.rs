//! The linear layer: three products, of `x (N, in)`, `weights (out, in)` and `y (N, out)`.
//!
//! Forward, a few images wait for the memory to give the weights, once, in one launch
//! (`kernels/linear_few.cu`); more of them, and where dropout drops, are a product of cuBLAS, and bias, ReLU
//! and dropout after it.
//!
//! The gradient of the weights is formed by the same sums in every operation, so an update that uses it
//! up at once has the bits of one that waits for the whole. In bf16 a kernel of our own forms it where
//! the update reads it (`kernels/linear_gradient.cu`); else it is formed some rows at a time.

use std::ops::Range;

use alexnet_ops::{Activation, Dropout, LinearShape, SgdStep, UpdateRule};

use crate::Engine;
use crate::driver::{BLOCK, EIGHT, Gpu, Lane, Launch, Matrix, Product, Reals, RealsMut, View};
use crate::elementwise::{add_bias_and_drop, factor, relu};
use crate::floats::{Floats, begin_whole};
use crate::pieces::{Limits, pieces};
use crate::reduce::{bias_gradient, word};
use crate::update::{Updated, figures, update};

/// Rows of a gradient that are formed together are a multiple of this, so that every piece begins
/// where the fastest products want their arrays to begin.
const ROWS: usize = 64;

/// Images up to which a gradient in bf16 is formed where it is used: with more of them the
/// multiplications take longer than the memory does, and cuBLAS multiplies faster.
const IMAGES_MAX: usize = 512;

/// `SIDE` and `DEPTH` of `kernels/linear_gradient.cu`, and the bytes that its blocks share: two
/// `Stage`s.
pub(crate) const SIDE: usize = 128;
pub(crate) const DEPTH: usize = 32;
const SHARED_BYTES: usize = 2 * 2 * DEPTH * (SIDE + 8) * size_of::<u16>();

/// The kernels of one image, of two, and so on.
const OF_FEW: [&str; 4] = ["linear_of_one", "linear_of_two", "linear_of_three", "linear_of_four"];

/// `OUTPUTS_EACH` of `kernels/linear_few.cu`.
pub(crate) const OUTPUTS_EACH: usize = 4;

/// Blocks with which nearly every one of an H200's 132 processors has two, and so 64 KB on their way: twice
/// what the memory gives it before the first of them comes.
const BLOCKS_ENOUGH: usize = 256;

fn matrix(row: usize) -> Matrix {
    Matrix { row, next: 0, turned: false }
}

fn turned(row: usize) -> Matrix {
    Matrix { turned: true, ..matrix(row) }
}

/// `y = dropout(activation(x · weightsᵀ + bias))`.
pub(crate) fn forward(
    engine: &mut Engine,
    y: &mut Floats,
    [x, weights, bias]: [&Floats; 3],
    how @ (activation, dropout): (Activation, Dropout),
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    let Engine { gpu, scratch, bf16, .. } = engine;
    let [for_x, for_weights] = &mut scratch.rounded;
    let x = factor(gpu, *bf16, for_x, x, batch * inputs);
    let weights = factor(gpu, *bf16, for_weights, weights, inputs * outputs);
    if let (Some(kernel), Dropout::Scaled(scale)) = (kernel_of_few([x, weights], shape), dropout) {
        let (launch, lanes) = lanes_of_few(shape);
        let sizes = [word(outputs), word(inputs), word(lanes), relu(activation)];
        let arrays = [y.values_mut(batch * outputs).into(), x.into(), weights.into()];
        let others = [bias.first(outputs).into(), (&sizes).into(), scale.into()];
        gpu.launch(kernel, launch, &[arrays, others].concat());
        return y.has_columns(outputs);
    }
    let product = Product {
        batch: 1,
        rows: batch,
        columns: outputs,
        depth: inputs,
        a: matrix(inputs),
        b: turned(inputs),
        c: matrix(outputs),
        adds: false,
    };
    gpu.multiply(y.values_mut(batch * outputs), x, weights, &product);
    add_bias_and_drop(engine, y, bias, how, [batch, outputs]);
}

/// The kernel of so few images, if one takes these factors.
fn kernel_of_few(factors: [Reals<'_>; 2], shape: &LinearShape) -> Option<&'static str> {
    let are_whole = shape.inputs.is_multiple_of(EIGHT) && factors.into_iter().all(begin_whole);
    OF_FEW.get(shape.batch.checked_sub(1)?).copied().filter(|_| are_whole)
}

/// How it is launched, with how many threads to an output: a warp, or more for fewer outputs.
fn lanes_of_few(shape: &LinearShape) -> (Launch, usize) {
    let blocks = |lanes: usize| (shape.outputs.div_ceil(OUTPUTS_EACH) * lanes).div_ceil(BLOCK);
    let all = [32, 64, 128, BLOCK];
    let lanes = all.into_iter().find(|&lanes| blocks(lanes) >= BLOCKS_ENOUGH).unwrap_or(BLOCK);
    let sums = OUTPUTS_EACH * shape.batch;
    (Launch::blocks(blocks(lanes)).sharing(|threads| threads * sums), lanes)
}

pub(crate) fn backward_input(
    engine: &mut Engine,
    d_x: &mut Floats,
    d_y: &Floats,
    weights: &Floats,
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    let product = Product {
        batch: 1,
        rows: batch,
        columns: inputs,
        depth: outputs,
        a: matrix(outputs),
        b: matrix(inputs),
        c: matrix(inputs),
        adds: false,
    };
    let Engine { gpu, scratch, bf16, .. } = engine;
    let [for_d_y, for_weights] = &mut scratch.rounded;
    let d_y = factor(gpu, *bf16, for_d_y, d_y, batch * outputs);
    let weights = factor(gpu, *bf16, for_weights, weights, inputs * outputs);
    gpu.multiply(d_x.values_mut(batch * inputs), d_y, weights, &product);
}

/// The gradient of the weights; with `adds`, added to what stands in `d_weights`.
pub(crate) fn backward_weights(
    engine: &mut Engine,
    d_weights: &mut Floats,
    [d_y, x]: [&Floats; 2],
    adds: bool,
    shape: &LinearShape,
) {
    let mut d_weights = d_weights.first_mut(shape.inputs * shape.outputs);
    let Engine { gpu, scratch, bf16, limits, .. } = engine;
    if let Some([d_y, x]) = narrow_factors([d_y, x], shape) {
        let (sizes, adds) = (numbers(shape), u32::from(adds).into());
        let arguments = [d_weights.into(), d_y.into(), x.into(), (&sizes).into(), adds];
        return gpu.launch("linear_gradient", squares(shape), &arguments);
    }
    let [for_d_y, for_x] = &mut scratch.rounded;
    let d_y = factor(gpu, *bf16, for_d_y, d_y, shape.batch * shape.outputs);
    let x = factor(gpu, *bf16, for_x, x, shape.batch * shape.inputs);
    for rows in gradient_rows(shape, limits) {
        let product = Product { adds, ..gradient_product(shape, &rows) };
        let gradient = d_weights.part(rows.start * shape.inputs..rows.end * shape.inputs);
        gpu.multiply(RealsMut::F32(gradient), from_column(d_y, rows.start), x, &product);
    }
}

/// The same and the update that follows.
pub(crate) fn backward_update(
    engine: &mut Engine,
    [weights, velocity]: [&mut Floats; 2],
    [d_y, x]: [&Floats; 2],
    step: &SgdStep,
    shape: &LinearShape,
) {
    let len = shape.inputs * shape.outputs;
    let mut updated = Updated::new(weights, velocity, len);
    let Engine { gpu, scratch, bf16, limits, guard, .. } = engine;
    let verdict = guard.verdict();
    if let Some(factors) = narrow_factors([d_y, x], shape) {
        let update = || update_at_once(gpu, updated, factors, step, shape, verdict);
        return gpu.beside(Lane::Updates, update);
    }
    let [for_d_y, for_x] = &mut scratch.rounded;
    let d_y = factor(gpu, *bf16, for_d_y, d_y, shape.batch * shape.outputs);
    let x = factor(gpu, *bf16, for_x, x, shape.batch * shape.inputs);
    for rows in gradient_rows(shape, limits) {
        let piece = rows.start * shape.inputs..rows.end * shape.inputs;
        let mut gradient = scratch.terms.take::<f32>(gpu, piece.len());
        let product = gradient_product(shape, &rows);
        let formed = RealsMut::F32(gradient.again());
        gpu.multiply(formed, from_column(d_y, rows.start), x, &product);
        update(gpu, updated.part(piece), gradient.read(), step, verdict);
    }
}

/// Both factors of the weights' gradient in bf16, where a kernel of our own takes them.
fn narrow_factors<'a>(
    [d_y, x]: [&'a Floats; 2],
    shape: &LinearShape,
) -> Option<[View<'a, u16>; 2]> {
    let LinearShape { batch, inputs, outputs } = *shape;
    let fits = [inputs, outputs].iter().all(|width| width.is_multiple_of(EIGHT));
    let [d_y, x] = [d_y.first_rounded(batch * outputs), x.first_rounded(batch * inputs)];
    (fits && batch <= IMAGES_MAX).then_some([d_y?, x?])
}

/// The gradient and the update in one launch.
fn update_at_once(
    gpu: &Gpu,
    Updated { weights, rounded, velocity }: Updated<'_>,
    [d_y, x]: [View<'_, u16>; 2],
    step: &SgdStep,
    shape: &LinearShape,
    verdict: View<'_, u32>,
) {
    let kernel = match step.rule {
        UpdateRule::Paper => "linear_update_paper",
        UpdateRule::PyTorch => "linear_update_pytorch",
    };
    let rounded = rounded.expect("weights of a device of bf16 have roundings").into();
    let (sizes, [rate, momentum, decay]) = (numbers(shape), figures(step));
    let arrays = [weights.into(), velocity.into(), rounded, d_y.into(), x.into()];
    let arguments =
        [&arrays[..], &[(&sizes).into(), rate, momentum, decay, verdict.into()]].concat();
    gpu.launch(kernel, squares(shape), &arguments);
}

/// `struct LinearShape` of the kernels.
fn numbers(shape: &LinearShape) -> [u32; 3] {
    [shape.batch, shape.outputs, shape.inputs].map(word)
}

/// A block for each square of the weights.
fn squares(shape: &LinearShape) -> Launch {
    let blocks = shape.outputs.div_ceil(SIDE) * shape.inputs.div_ceil(SIDE);
    Launch::blocks(blocks).sharing(|_| SHARED_BYTES / size_of::<f32>())
}

/// Rows of the weights' gradient that are formed together.
fn gradient_rows(
    shape: &LinearShape,
    limits: &Limits,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let outputs = shape.outputs;
    pieces(outputs.div_ceil(ROWS), ROWS * shape.inputs, limits.gradient)
        .map(move |blocks| blocks.start * ROWS..outputs.min(blocks.end * ROWS))
}

/// `d_weights (rows, in) = d_yᵀ (rows, N) · x (N, in)`.
fn gradient_product(shape: &LinearShape, rows: &Range<usize>) -> Product {
    Product {
        batch: 1,
        rows: rows.len(),
        columns: shape.inputs,
        depth: shape.batch,
        a: turned(shape.outputs),
        b: matrix(shape.inputs),
        c: matrix(shape.inputs),
        adds: false,
    }
}

/// A factor without its first columns.
fn from_column(factor: Reals<'_>, column: usize) -> Reals<'_> {
    factor.part(column..factor.len())
}

pub(crate) fn backward_bias(
    engine: &mut Engine,
    d_bias: &mut Floats,
    d_y: &Floats,
    shape: &LinearShape,
) {
    let LinearShape { batch, outputs, .. } = *shape;
    bias_gradient(engine, d_bias, d_y, [batch, outputs]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gradient_is_formed_in_pieces_of_whole_blocks_of_rows() {
        let shape = LinearShape { batch: 1, inputs: 10, outputs: 200 };
        let limits = Limits { gradient: 1_300, ..Limits::USUAL };
        let rows: Vec<_> = gradient_rows(&shape, &limits).collect();
        assert_eq!(rows, [0..128, 128..200]);
    }
}
