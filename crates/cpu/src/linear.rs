//! The linear layer: three matrix products. `x (N, in)`, `weights (out, in)`, `y (N, out)`.

use alexnet_ops::{Activation, LinearShape};

use crate::Context;
use crate::matmul::{Into, Matrix, matmul};
use crate::reduce::column_sums;

pub(crate) fn forward(
    y: &mut [f32],
    x: &[f32],
    weights: &[f32],
    bias: &[f32],
    activation: Activation,
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    let x = Matrix::row_major(x, batch, inputs, inputs);
    let weights = Matrix::row_major(weights, outputs, inputs, inputs);
    matmul(y, outputs, x, weights.transposed(), Into::Layer(bias, activation));
}

pub(crate) fn backward_input(d_x: &mut [f32], d_y: &[f32], weights: &[f32], shape: &LinearShape) {
    let LinearShape { batch, inputs, outputs } = *shape;
    let d_y = Matrix::row_major(d_y, batch, outputs, outputs);
    let weights = Matrix::row_major(weights, outputs, inputs, inputs);
    matmul(d_x, inputs, d_y, weights, Into::Overwrite);
}

pub(crate) fn backward_weights(
    context: &Context,
    d_weights: &mut [f32],
    d_bias: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    let rows = Matrix::row_major(d_y, batch, outputs, outputs);
    let x = Matrix::row_major(x, batch, inputs, inputs);
    matmul(d_weights, inputs, rows.transposed(), x, Into::Overwrite);
    column_sums(context, &mut d_bias[..outputs], &d_y[..batch * outputs]);
}
