//! Matrices in panels: the order in which the micro-kernel reads its second operand.
//!
//! A panel is two vectors of columns, `[k][2 · LANES]`; the last is one vector wide if that is
//! enough. A linear layer's settled weights are kept so, `[input][outputs of the panel]`.

use std::ops::Range;

use alexnet_ops::LinearShape;

use crate::Context;
use crate::array::{Array, Form, FormGuard};
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::matmul::{LINE, Matrix};
use crate::microkernel::VECTORS;
use crate::simd::Vector;

/// Columns of the widest panel there is; every panel's width divides it.
pub(crate) const PANEL: usize = 32;

/// Floats of `columns` columns of `rows` in panels, at most.
pub(crate) fn panels_len(rows: usize, columns: usize) -> usize {
    columns.next_multiple_of(PANEL) * rows
}

/// Vectors across the panel that begins where so many columns are left.
#[inline(always)]
pub(crate) fn vectors<V: Vector>(columns: usize) -> usize {
    if columns <= V::LANES { 1 } else { VECTORS }
}

/// A weight as it is kept.
pub(crate) trait Weight: Copy + Default + Send + Sync + 'static {
    fn of(value: f32) -> Self;
    fn wide(self) -> f32;
    fn is_finite(self) -> bool;
    /// # Safety
    /// `LANES` numbers can be read at `from`.
    unsafe fn load<V: Vector>(from: *const Self) -> V;
}

impl Weight for f32 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        self.is_finite()
    }
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load(from) }
    }
}

/// bf16.
impl Weight for u16 {
    /// The nearest bf16, of two the even one; a NaN stays one.
    #[inline(always)]
    fn of(value: f32) -> Self {
        let bits = value.to_bits();
        let quiet_nan = (bits >> 16) | 0x40;
        let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        (if value.is_nan() { quiet_nan } else { nearest }) as Self
    }
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self) << 16)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        self.wide().is_finite()
    }
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_bf16(from) }
    }
}

/// A linear layer's weights in panels of outputs, made anew when they were written.
pub(crate) struct Panels<'a>(FormGuard<'a>);

impl<'a> Panels<'a> {
    pub(crate) fn of(context: &Context, weights: &'a Array, shape: &LinearShape) -> Self {
        let LinearShape { inputs, outputs, .. } = *shape;
        Self(weights.form(Self::form(shape), panels_len(inputs, outputs), |to| {
            let matrix = Matrix::row_major(weights, outputs, inputs, inputs).transposed();
            write_panels(context, to, matrix);
        }))
    }

    /// Which form of the weights they are.
    pub(crate) fn form(shape: &LinearShape) -> Form {
        Form::Panels(LinearShape { batch: 0, ..*shape })
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.0
    }
}

/// Writes `matrix`, which runs along its rows' direction, the depth, in panels.
pub(crate) fn write_panels(context: &Context, to: &mut [f32], matrix: Matrix) {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    let to = Disjoint::new(to);
    context.threads.for_each(columns.div_ceil(PANEL), |_, group| {
        let columns = group * PANEL..(group * PANEL + PANEL).min(columns);
        let start = columns.start * rows;
        // SAFETY: each group has its own part.
        let to = unsafe { to.part(start..start + PANEL * rows) };
        context.isa.dispatch(Transpose { to, matrix, columns });
    });
}

/// Transposes columns of a matrix, which lie one after another, into panels; tells whether they are
/// finite.
pub(crate) struct Transpose<'a, W> {
    pub(crate) to: &'a mut [W],
    pub(crate) matrix: Matrix<'a>,
    pub(crate) columns: Range<usize>,
}

impl<W: Weight> Kernel for Transpose<'_, W> {
    type Output = bool;

    #[inline(always)]
    fn run<V: Vector>(self) -> bool {
        let Self { to, matrix, columns } = self;
        let rows = matrix.rows();
        let mut finite = true;
        for column in (0..columns.len()).step_by(VECTORS * V::LANES) {
            let left = columns.len() - column;
            let width = vectors::<V>(left) * V::LANES;
            let to = &mut to[column * rows..][..width * rows];
            for first in (0..rows).step_by(LINE) {
                let steps = LINE.min(rows - first);
                for i in 0..width {
                    let to = to[first * width + i..].iter_mut().step_by(width).take(steps);
                    if i < left {
                        let from = &matrix.from(first, columns.start + column + i)[..steps];
                        for (to, from) in to.zip(from) {
                            *to = W::of(*from);
                            finite &= to.is_finite();
                        }
                    } else {
                        to.for_each(|to| *to = W::default());
                    }
                }
            }
        }
        finite
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_rounded_to_the_nearest_bf16_and_ties_to_even() {
        let cases = [
            (0x3f80_0000, 0x3f80), // 1
            (0x3f80_7fff, 0x3f80), // below half
            (0x3f80_8000, 0x3f80), // a tie, down to even
            (0x3f81_8000, 0x3f82), // a tie, up to even
            (0x3f80_8001, 0x3f81),
            (0x7f7f_ffff, 0x7f80), // the largest number becomes infinite
            (0xff80_0000, 0xff80), // −∞
            (0x7f80_0001, 0x7fc0), // a NaN whose payload is in the lower half
        ];
        for (bits, half) in cases {
            assert_eq!(<u16 as Weight>::of(f32::from_bits(bits)), half, "{bits:#x}");
        }
    }
}
