//! Convolution: which of the ways to compute it is taken.

use alexnet_ops::{Activation, ConvPass, ConvShape, Precision};

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::array::Array;
use crate::reduce::column_sums;
use crate::{Context, toom_cook, unfolded};

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Fewer multiplications on the vector units.
    ToomCook,
    /// All multiplications on the matrix unit.
    Tiles,
    /// All multiplications on the vector units, of unfolded images: what can always be done.
    Unfolded,
}

fn way(context: &Context, shape: &ConvShape, pass: ConvPass) -> Way {
    let has_pass = pass != ConvPass::BackwardInput || shape.stride == 1;
    if suits_tiles(context, shape, pass) {
        Way::Tiles
    } else if has_pass && toom_cook::suits(shape) {
        Way::ToomCook
    } else {
        Way::Unfolded
    }
}

/// In bf16 the matrix unit takes half the time of Toom-Cook; in `f32`, where it multiplies three times,
/// as long or longer, but for an image or two: then reading Toom-Cook's larger weights is most of
/// the work (`docs/decisions/006-the-matrix-unit.md`).
#[cfg(target_arch = "x86_64")]
fn suits_tiles(context: &Context, shape: &ConvShape, pass: ConvPass) -> bool {
    const FEW_IMAGES: usize = 2;
    let pays = context.precision == Precision::Bf16
        || shape.batch <= FEW_IMAGES
        || !toom_cook::suits(shape);
    context.isa == crate::isa::Isa::Amx
        && pays
        && match pass {
            ConvPass::BackwardInput => amx::has_backward_input(shape),
            ConvPass::Forward | ConvPass::BackwardWeights => amx::has_forward(shape),
        }
}

#[cfg(not(target_arch = "x86_64"))]
fn suits_tiles(_: &Context, _: &ConvShape, _: ConvPass) -> bool {
    false
}

/// Products summed up in this pass.
pub(crate) fn products(context: &Context, shape: &ConvShape, pass: ConvPass) -> usize {
    match (way(context, shape, pass), context.precision) {
        (Way::ToomCook, _) => toom_cook::products(shape, pass),
        // `f32` by halves: three products of bf16 each.
        (Way::Tiles, Precision::F32) => 3 * shape.macs(),
        _ => shape.macs(),
    }
}

pub(crate) fn forward(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    weights: &Array,
    bias: &[f32],
    activation: Activation,
    shape: &ConvShape,
) {
    match way(context, shape, ConvPass::Forward) {
        #[cfg(target_arch = "x86_64")]
        Way::Tiles => amx::forward(context, y, x, weights, bias, activation, shape),
        Way::ToomCook => toom_cook::forward(context, y, x, weights, bias, activation, shape),
        _ => unfolded::forward(context, y, x, weights, bias, activation, shape),
    }
}

pub(crate) fn backward_input(
    context: &Context,
    d_x: &mut [f32],
    d_y: &[f32],
    weights: &Array,
    shape: &ConvShape,
) {
    match way(context, shape, ConvPass::BackwardInput) {
        #[cfg(target_arch = "x86_64")]
        Way::Tiles => amx::backward_input(context, d_x, d_y, weights, shape),
        Way::ToomCook => toom_cook::backward_input(context, d_x, d_y, weights, shape),
        _ => unfolded::backward_input(context, d_x, d_y, weights, shape),
    }
}

pub(crate) fn backward_weights(
    context: &Context,
    d_weights: &mut [f32],
    d_bias: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    shape: &ConvShape,
) {
    let way = way(context, shape, ConvPass::BackwardWeights);
    if way == Way::ToomCook {
        return toom_cook::backward_weights(context, d_weights, d_bias, d_y, x, shape);
    }
    column_sums(context, &mut d_bias[..shape.out_c], &d_y[..shape.output_len()]);
    match way {
        #[cfg(target_arch = "x86_64")]
        Way::Tiles => amx::backward_weights(context, d_weights, d_y, x, shape),
        _ => unfolded::backward_weights(context, d_weights, d_y, x, shape),
    }
}
