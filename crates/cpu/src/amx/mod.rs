//! The matrix unit of x86-64 (AMX): products of tiles of bf16, summed in `f32`.
//!
//! A tile is 16 rows of 64 bytes. One instruction multiplies 16x32 by 32x16 values: sixteen times
//! the multiply-adds a cycle of the vector units, but of 8-bit significands. Where `f32` is asked
//! for, each factor is split into a sum of two bf16 values, `x = high + low` with `|x − high − low|
//! ≤ 2⁻¹⁷ |x|`, and three products are summed: `high·low + low·high + high·high`. What is left out is as
//! small as what the split rounds away, so results are within 5e-6 (relative L2) of exact ones, as
//! near as the Toom-Cook tiles of the vector units. Where bf16
//! is asked for, the high parts alone are multiplied.
//!
//! An infinite factor has no low part (`∞ − ∞`): it makes its sums NaN.

mod conv;
mod conv_weights;
mod linear;
mod raster;
mod split;
mod tiles;

pub(crate) use conv::{backward_input, forward, has_backward_input, has_forward};
pub(crate) use conv_weights::backward_weights;
pub(crate) use linear::{
    has_linear, linear_backward_input, linear_forward, linear_weight_gradient,
};
pub(crate) use tiles::is_available;
