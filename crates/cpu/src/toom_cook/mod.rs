//! Convolution with fewer multiplications (Winograd, Toom–Cook).
//!
//! A convolution is a product of polynomials: evaluate tiles of the input and the kernel at a few
//! points, multiply point by point, and read the outputs off the products. In two dimensions a tile
//! of 8x8 points yields 4x4 outputs of a 5x5 kernel with 64 multiplications in place of 400.

mod cover;
mod forward;
mod kernels;
mod layer;
mod points;
mod tiling;
mod transform;
mod weight_gradient;

pub(crate) use forward::{backward_input, forward};
pub(crate) use weight_gradient::backward_weights;

use alexnet_ops::ConvShape;

/// Whether this layer is better computed so.
pub(crate) fn suits(shape: &ConvShape) -> bool {
    let kernel = shape.kernel.div_ceil(shape.stride);
    (2..=7).contains(&kernel)
        && (shape.stride == 1 || shape.groups == 1 && shape.kernel >= shape.stride)
}
