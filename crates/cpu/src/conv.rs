//! Convolution: which of the ways to compute it is taken.
//!
//! On processors with a matrix unit everything it can do goes there; unfolding is the way for all
//! else.

use alexnet_ops::{Activation, ConvShape};

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::array::Array;
use crate::isa::Isa;
use crate::reduce::column_sums;
use crate::{Context, unfolded};

pub(crate) fn forward(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    weights: &Array,
    bias: &[f32],
    activation: Activation,
    shape: &ConvShape,
) {
    #[cfg(target_arch = "x86_64")]
    if context.isa == Isa::Amx && amx::has_forward(shape) {
        return amx::forward(context, y, x, weights, bias, activation, shape);
    }
    unfolded::forward(context, y, x, weights, bias, activation, shape);
}

pub(crate) fn backward_input(
    context: &Context,
    d_x: &mut [f32],
    d_y: &[f32],
    weights: &Array,
    shape: &ConvShape,
) {
    #[cfg(target_arch = "x86_64")]
    if context.isa == Isa::Amx && amx::has_backward_input(shape) {
        return amx::backward_input(context, d_x, d_y, weights, shape);
    }
    unfolded::backward_input(context, d_x, d_y, weights, shape);
}

pub(crate) fn backward_weights(
    context: &Context,
    d_weights: &mut [f32],
    d_bias: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    shape: &ConvShape,
) {
    column_sums(context, &mut d_bias[..shape.out_c], &d_y[..shape.output_len()]);
    #[cfg(target_arch = "x86_64")]
    if context.isa == Isa::Amx && amx::has_forward(shape) {
        return amx::backward_weights(context, d_weights, d_y, x, shape);
    }
    unfolded::backward_weights(context, d_weights, d_y, x, shape);
}
