//! Convolution with fewer multiplications (Winograd, Toom–Cook).
//!
//! A convolution is a product of polynomials: evaluate tiles of the input and the kernel at a few
//! points, multiply point by point, and read the outputs off the products. In two dimensions a tile
//! of 8x8 points yields 4x4 outputs of a 5x5 kernel with 64 multiplications in place of 400.

mod cover;
mod forward;
mod image;
mod kernels;
mod layer;
mod points;
#[cfg(test)]
mod tests;
mod tiling;
mod transform;
mod weight_gradient;

pub(crate) use forward::{backward_input, forward};
pub(crate) use weight_gradient::backward_weights;

use alexnet_ops::ConvShape;

use crate::array::Direction;
use layer::Layer;
use tiling::Tiling;

/// Channels of a group that a layer needs, in and out. With fewer the transforms are a large part of the
/// work, and the roundings of narrow networks are left to the exact way: they are trained on few
/// images, where batch normalisation magnifies a difference of 4e-6.
const IN_CHANNELS: usize = 48;
const OUT_CHANNELS: usize = 64;

/// Taps of a side of the largest kernel: with eight points it yields two outputs a tile.
const KERNEL_MOST: usize = 7;

/// Whether this layer is better computed so: forward and its weight gradient, and for a stride of 1
/// its input gradient.
pub(crate) fn suits(shape: &ConvShape) -> bool {
    is_possible(shape)
        && {
            let Layer { in_channels, out_channels, .. } = Layer::new(shape, Direction::Forward);
            in_channels >= IN_CHANNELS && out_channels >= OUT_CHANNELS
        }
        && {
            let tiling = Tiling::new(Layer::new(shape, Direction::Forward));
            let channels = tiling.layer.in_channels * shape.groups;
            let products = tiling.rows.multiplications() * tiling.columns.multiplications();
            let taps = shape.out_h * shape.out_w * shape.kernel * shape.kernel;
            3 * products * channels <= 2 * taps * shape.in_c
        }
}

/// Whether this layer can be computed so.
fn is_possible(shape: &ConvShape) -> bool {
    let kernel = shape.kernel.div_ceil(shape.stride);
    (2..=KERNEL_MOST).contains(&kernel) && (shape.stride == 1 || shape.groups == 1)
}
