//! Convolution with fewer multiplications (Winograd, Toom–Cook).
//!
//! A convolution is a product of polynomials: evaluate tiles of the input and the kernel at a few
//! points, multiply point by point, and read the outputs off the products. In two dimensions a tile
//! of 8x8 points yields 4x4 outputs of a 5x5 kernel with 64 multiplications in place of 400.
//!
//! Point by point the tiles of a block are the rows of a matrix and channels are its columns, so
//! what is multiplied are matrices, one pair for each pair of points. Tiles have 4 to 8 points and
//! share one transformed kernel, so a mixture of them covers an output of any size (`cover`).
//! Results are within 1e-5 (relative L2) of exact: 2e-6 to 6e-6 on AlexNet's layers.
//!
//! - `points`: the points and the matrices of the transforms, in exact arithmetic;
//! - `transform`: the transforms of one tile;
//! - `image`, `layer`, `tiling`: what is convolved, and where everything lies;
//! - `kernels`, `forward`, `weight_gradient`: the operations.

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

use alexnet_ops::{ConvPass, ConvShape};

pub(crate) use forward::{backward_input, forward};
pub(crate) use weight_gradient::backward_weights;

use crate::array::Direction;
use layer::Layer;
use tiling::Tiling;

/// Channels of a group that a layer of stride 1 needs, in and out. With fewer the transforms are a
/// large part of the work, and the roundings of narrow networks are left to the exact way: they are
/// trained on few images, where batch normalisation magnifies a difference of 4e-6.
const CHANNELS: (usize, usize) = (24, 64);

/// The same where squares of pixels are rearranged: the first layer, which gains most.
const CHANNELS_OF_SQUARES: (usize, usize) = (48, 24);

/// Taps of a side of the largest kernel: with eight points it yields two outputs a tile.
const KERNEL_MOST: usize = 7;

/// Whether this layer is better computed so: forward and its weight gradient, and for a stride of 1
/// its input gradient.
pub(crate) fn suits(shape: &ConvShape) -> bool {
    if !is_possible(shape) {
        return false;
    }
    let tiling = Tiling::new(Layer::new(shape, Direction::Forward));
    let Layer { in_channels, out_channels, .. } = tiling.layer;
    let points = tiling.multiplications();
    let taps = shape.out_h * shape.out_w * shape.kernel * shape.kernel;
    // The transforms take about half as long as the multiplications at least.
    let saves = 3 * points * in_channels <= 2 * taps * (shape.in_c / shape.groups);
    let least = if shape.stride == 1 { CHANNELS } else { CHANNELS_OF_SQUARES };
    saves && in_channels >= least.0 && out_channels >= least.1
}

/// Products that a pass sums up.
pub(crate) fn products(shape: &ConvShape, pass: ConvPass) -> usize {
    // The weight gradient is the forward pass' adjoint: the same products the other way round.
    let direction = match pass {
        ConvPass::Forward | ConvPass::BackwardWeights => Direction::Forward,
        ConvPass::BackwardInput => Direction::Backward,
    };
    let tiling = Tiling::new(Layer::new(shape, direction));
    let Layer { images, groups, in_channels, out_channels, .. } = tiling.layer;
    images * groups * tiling.multiplications() * in_channels * out_channels
}

/// Whether this layer can be computed so.
fn is_possible(shape: &ConvShape) -> bool {
    let kernel = shape.kernel.div_ceil(shape.stride);
    (2..=KERNEL_MOST).contains(&kernel) && (shape.stride == 1 || shape.groups == 1)
}
