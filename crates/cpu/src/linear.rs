//! The linear layer: three matrix products. `x (N, in)`, `weights (out, in)`, `y (N, out)`.

use alexnet_ops::{Activation, LinearShape, Precision, SgdStep};

use crate::Context;
#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::array::Array;
use crate::disjoint::Disjoint;
use crate::few_images;
use crate::matmul::{Into, Matrix, matmul, matmul_panels};
use crate::panels::Panels;
use crate::reduce::column_sums;
use crate::weight_gradient::{Added, Stored, Target, Update, weight_gradient};
use crate::wide_rows::{Plain, Short, Shorten, WideRows};

pub(crate) fn forward(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    weights: &Array,
    bias: &[f32],
    activation: Activation,
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    #[cfg(target_arch = "x86_64")]
    if context.isa == crate::isa::Isa::Amx && amx::has_linear(shape) {
        return amx::linear_forward(context, y, x, weights, bias, activation, shape);
    }
    let bias = &bias[..outputs];
    if weights.settled && batch <= few_images::IMAGES {
        let of = (weights, bias, activation);
        match context.precision {
            Precision::Bf16 => return forward_few::<u16>(context, y, x, of, shape),
            // Where a larger batch was before, the last few of a set do with its panels, for the
            // same bits.
            Precision::F32
                if weights.has(WideRows::<f32>::form(shape))
                    || !weights.has(Panels::form(shape)) =>
            {
                return forward_few::<f32>(context, y, x, of, shape);
            }
            Precision::F32 => {}
        }
    }
    let (x, into) = (Matrix::row_major(x, batch, inputs, inputs), Into::Layer(bias, activation));
    if weights.settled {
        let panels = Panels::of(context, weights, shape);
        matmul_panels(context, y, outputs, x, (panels.values(), outputs), into);
    } else {
        let weights = Matrix::row_major(weights, outputs, inputs, inputs);
        matmul(context, y, outputs, x, weights.transposed(), into);
    }
}

/// [`forward`] of a few images by settled weights, kept as `W`.
fn forward_few<W: Shorten>(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    (weights, bias, activation): (&Array, &[f32], Activation),
    shape: &LinearShape,
) {
    let layer = (bias, activation);
    let weights = WideRows::<W>::of(context, weights, shape);
    if weights.are_short() {
        few_images::forward(context, y, x, weights.rows::<Short<W>>(), layer, shape.batch);
    } else {
        few_images::forward(context, y, x, weights.rows::<Plain<W>>(), layer, shape.batch);
    }
}

pub(crate) fn backward_input(
    context: &Context,
    d_x: &mut [f32],
    d_y: &[f32],
    weights: &[f32],
    shape: &LinearShape,
) {
    #[cfg(target_arch = "x86_64")]
    if context.isa == crate::isa::Isa::Amx && amx::has_linear(shape) {
        return amx::linear_backward_input(context, d_x, d_y, weights, shape);
    }
    let LinearShape { batch, inputs, outputs } = *shape;
    let d_y = Matrix::row_major(d_y, batch, outputs, outputs);
    let weights = Matrix::row_major(weights, outputs, inputs, inputs);
    matmul(context, d_x, inputs, d_y, weights, Into::Overwrite);
}

pub(crate) fn backward_weights(
    context: &Context,
    d_weights: &mut [f32],
    d_bias: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    shape: &LinearShape,
) {
    let d_weights = &mut d_weights[..shape.inputs * shape.outputs];
    gradient_to(context, &Stored(Disjoint::new(d_weights)), d_y, x, shape);
    backward_bias(context, d_bias, d_y, shape);
}

pub(crate) fn backward_add(
    context: &Context,
    d_weights: &mut [f32],
    d_bias: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    shape: &LinearShape,
) {
    let d_weights = &mut d_weights[..shape.inputs * shape.outputs];
    gradient_to(context, &Added(Disjoint::new(d_weights)), d_y, x, shape);
    backward_bias(context, d_bias, d_y, shape);
}

pub(crate) fn backward_update(
    context: &Context,
    [weights, velocity]: [&mut [f32]; 2],
    d_y: &[f32],
    x: &[f32],
    step: &SgdStep,
    shape: &LinearShape,
) {
    let len = shape.inputs * shape.outputs;
    let weights = Disjoint::new(&mut weights[..len]);
    let velocity = Disjoint::new(&mut velocity[..len]);
    gradient_to(context, &Update { weights, velocity, step }, d_y, x, shape);
}

fn gradient_to<T: Target>(
    context: &Context,
    target: &T,
    d_y: &[f32],
    x: &[f32],
    shape: &LinearShape,
) {
    #[cfg(target_arch = "x86_64")]
    if context.isa == crate::isa::Isa::Amx && amx::has_linear(shape) {
        return amx::linear_weight_gradient(context, target, d_y, x, shape);
    }
    weight_gradient(context, target, d_y, x, shape);
}

pub(crate) fn backward_bias(
    context: &Context,
    d_bias: &mut [f32],
    d_y: &[f32],
    shape: &LinearShape,
) {
    column_sums(context, &mut d_bias[..shape.outputs], &d_y[..shape.batch * shape.outputs]);
}
