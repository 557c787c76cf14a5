//! The linear layer: three products, of `x (N, in)`, `weights (out, in)` and `y (N, out)`.
//!
//! The gradient of the weights is formed some rows at a time, in every operation by the same rows: so
//! an update that uses each piece up at once has the bits of one that waits for the whole.

use std::ops::Range;

use alexnet_ops::{Activation, LinearShape, SgdStep};

use crate::Engine;
use crate::driver::{Matrix, Product, Reals, RealsMut};
use crate::elementwise::{Updated, add_bias, factor, update};
use crate::floats::Floats;
use crate::pieces::{Limits, pieces};
use crate::reduce::sum_rows;

/// Rows of a gradient that are formed together are a multiple of this, so that every piece begins
/// where the fastest products want their arrays to begin.
const ROWS: usize = 64;

fn matrix(row: usize) -> Matrix {
    Matrix { row, next: 0, turned: false }
}

fn turned(row: usize) -> Matrix {
    Matrix { turned: true, ..matrix(row) }
}

pub(crate) fn forward(
    engine: &mut Engine,
    y: &mut Floats,
    [x, weights, bias]: [&Floats; 3],
    activation: Activation,
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    let mut y = y.values_mut(batch * outputs);
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
    let Engine { gpu, scratch, bf16, .. } = engine;
    let [for_x, for_weights] = &mut scratch.rounded;
    let x = factor(gpu, *bf16, for_x, x, batch * inputs);
    let weights = factor(gpu, *bf16, for_weights, weights, inputs * outputs);
    gpu.multiply(y.again(), x, weights, &product);
    add_bias(engine, y, bias.first(outputs), activation);
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
    let [for_d_y, for_x] = &mut scratch.rounded;
    let d_y = factor(gpu, *bf16, for_d_y, d_y, shape.batch * shape.outputs);
    let x = factor(gpu, *bf16, for_x, x, shape.batch * shape.inputs);
    for rows in gradient_rows(shape, limits) {
        let product = Product { adds, ..gradient_product(shape, &rows) };
        let gradient = d_weights.part(rows.start * shape.inputs..rows.end * shape.inputs);
        gpu.multiply(RealsMut::F32(gradient), from_column(d_y, rows.start), x, &product);
    }
}

/// The same and the update that follows, piece by piece.
pub(crate) fn backward_update(
    engine: &mut Engine,
    [weights, velocity]: [&mut Floats; 2],
    [d_y, x]: [&Floats; 2],
    step: &SgdStep,
    shape: &LinearShape,
) {
    let len = shape.inputs * shape.outputs;
    let mut updated = Updated::new(weights, velocity, len);
    let Engine { gpu, scratch, bf16, limits, .. } = engine;
    let [for_d_y, for_x] = &mut scratch.rounded;
    let d_y = factor(gpu, *bf16, for_d_y, d_y, shape.batch * shape.outputs);
    let x = factor(gpu, *bf16, for_x, x, shape.batch * shape.inputs);
    for rows in gradient_rows(shape, limits) {
        let piece = rows.start * shape.inputs..rows.end * shape.inputs;
        let mut gradient = scratch.terms.take::<f32>(gpu, piece.len());
        let product = gradient_product(shape, &rows);
        let formed = RealsMut::F32(gradient.again());
        gpu.multiply(formed, from_column(d_y, rows.start), x, &product);
        update(gpu, updated.part(piece), gradient.read(), step);
    }
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
    let Engine { gpu, scratch, .. } = engine;
    let d_y = d_y.values(batch * outputs);
    sum_rows(gpu, &mut scratch.sums, d_bias.first_mut(outputs), d_y, [batch, outputs]);
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
