//! The weight gradient of a linear layer, `dW (out, in) = d_yᵀ (out, N) · x (N, in)`, with what
//! becomes of it fused to the product.
//!
//! The depth of the product is the batch, short enough to be summed at once, so a tile of the
//! gradient goes from registers straight to its use. The matrix is far larger than the caches and
//! is read and written once, along its rows: `x` is put into panels once, a piece takes a block of
//! columns whose panels stay in the outer cache, and of its rows 14 at a time cross that block.

use std::ops::Range;

use alexnet_ops::{LinearShape, SgdStep};

use crate::Context;
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::matmul::{LINE, Matrix, copy_left, copy_panels, share};
use crate::microkernel::{Finish, INTERVAL, Left, Right, VECTORS, multiply};
use crate::panels::PANEL;
use crate::sgd;
use crate::simd::Vector;

/// Rows of a piece: a multiple of every micro-kernel's.
const PIECE_ROWS: usize = 84;

/// Floats of `x` in panels that a piece keeps at hand: half of a 2 MiB outer cache.
const PANELS_FLOATS: usize = 1 << 18;

/// Floats of `x` put into panels at a time.
const COPIED_COLUMNS: usize = 8 * PANEL;

/// What becomes of the gradient.
pub(crate) trait Target: Sync {
    /// Takes the gradient of the `count` weights from `at` on.
    ///
    /// # Safety
    /// They are weights of the layer, and nobody else's meanwhile.
    unsafe fn take<V: Vector>(&self, at: usize, gradient: V, count: usize);

    /// Asks for what `take` will read at `at`, which may lie outside.
    #[inline(always)]
    fn ask<V: Vector>(&self, _at: usize) {}
}

/// It is stored.
pub(crate) struct Stored<'a>(pub(crate) Disjoint<'a, f32>);

impl Target for Stored<'_> {
    #[inline(always)]
    unsafe fn take<V: Vector>(&self, at: usize, gradient: V, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { gradient.store_part(self.0.at(at), count) };
    }
}

/// It is added to what is stored.
pub(crate) struct Added<'a>(pub(crate) Disjoint<'a, f32>);

impl Target for Added<'_> {
    #[inline(always)]
    unsafe fn take<V: Vector>(&self, at: usize, gradient: V, count: usize) {
        let sum = self.0.at(at);
        // SAFETY: the caller's promise.
        unsafe { V::load_part(sum, count).add(gradient).store_part(sum, count) };
    }

    #[inline(always)]
    fn ask<V: Vector>(&self, at: usize) {
        V::prefetch(self.0.start().wrapping_add(at));
    }
}

/// It is used for an update at once.
pub(crate) struct Update<'a> {
    pub(crate) weights: Disjoint<'a, f32>,
    pub(crate) velocity: Disjoint<'a, f32>,
    pub(crate) step: &'a SgdStep,
}

impl Target for Update<'_> {
    #[inline(always)]
    unsafe fn take<V: Vector>(&self, at: usize, gradient: V, count: usize) {
        let (weights, velocity) = (self.weights.at(at), self.velocity.at(at));
        // SAFETY: the caller's promise.
        unsafe {
            let (w, v) = (V::load_part(weights, count), V::load_part(velocity, count));
            let (w, v) = sgd::updated(self.step, w, v, gradient);
            w.store_part(weights, count);
            v.store_part(velocity, count);
        }
    }

    #[inline(always)]
    fn ask<V: Vector>(&self, at: usize) {
        V::prefetch(self.weights.start().wrapping_add(at));
        V::prefetch(self.velocity.start().wrapping_add(at));
    }
}

/// `d_y (N, out)`, `x (N, in)`: hands every weight's gradient to `target`.
pub(crate) fn weight_gradient<T: Target>(
    context: &Context,
    target: &T,
    d_y: &[f32],
    x: &[f32],
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    let d_y = Matrix::row_major(d_y, batch, outputs, outputs).transposed();
    let x = Matrix::row_major(x, batch, inputs, inputs);
    let mut panels = context.scratch.shared(0, batch * inputs.next_multiple_of(PANEL));
    let parts = Disjoint::new(&mut panels);
    context.threads.for_each(inputs.div_ceil(COPIED_COLUMNS), |_, piece| {
        let columns = piece * COPIED_COLUMNS..((piece + 1) * COPIED_COLUMNS).min(inputs);
        let end = columns.end.next_multiple_of(PANEL);
        // SAFETY: each piece has its own columns.
        let to = unsafe { parts.part(columns.start * batch..end * batch) };
        context.isa.dispatch(Panels { to, x, columns });
    });
    let width = (PANELS_FLOATS / batch / PANEL).max(1) * PANEL;
    let (down, across) = (outputs.div_ceil(PIECE_ROWS), inputs.div_ceil(width));
    context.threads.for_each(down * across, |worker, piece| {
        let rows = share(outputs, down, piece % down);
        let columns = piece / down * width..((piece / down + 1) * width).min(inputs);
        let mut scratch = context.scratch.own(worker, batch * (PIECE_ROWS + 2 * LINE));
        let left = copy_left(&mut scratch, d_y, &rows, &(0..batch));
        let panels = &panels;
        context.isa.dispatch(Piece { target, left, panels, rows, columns, shape });
    });
}

/// Columns of `x` to be put into panels.
struct Panels<'a> {
    to: &'a mut [f32],
    x: Matrix<'a>,
    columns: Range<usize>,
}

impl Kernel for Panels<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        copy_panels::<V>(self.to, self.x, &(0..self.x.rows()), &self.columns);
    }
}

/// Rows and columns of the gradient that one thread computes.
struct Piece<'a, T> {
    target: &'a T,
    left: Left,
    /// All of `x`.
    panels: &'a [f32],
    rows: Range<usize>,
    columns: Range<usize>,
    shape: &'a LinearShape,
}

impl<T: Target> Kernel for Piece<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { target, mut left, panels, rows, columns, shape } = self;
        let LinearShape { batch, inputs, .. } = *shape;
        let width = VECTORS * V::LANES;
        let blocks = rows.len().div_ceil(V::ROWS);
        for block in 0..blocks {
            let block = share(rows.len(), blocks, block);
            for column in columns.clone().step_by(width) {
                let start = panels[column * batch..][..width * batch].as_ptr();
                let right = Right { start, depth_stride: width };
                let tile = Tile {
                    target,
                    start: (rows.start + block.start) * inputs + column,
                    stride: inputs,
                    columns: width.min(columns.end - column),
                    rows_an_interval: V::ROWS.div_ceil(batch.div_ceil(INTERVAL)),
                };
                // SAFETY: the copies hold all of the batch; tiles do not overlap.
                unsafe { multiply::<V>(block.len(), batch, left, right, &tile) };
            }
            left.start = left.start.wrapping_add(block.len() * left.row_stride);
        }
    }
}

/// Where in the matrix a micro-kernel's sums belong.
struct Tile<'a, T> {
    target: &'a T,
    start: usize,
    stride: usize,
    columns: usize,
    /// While the sums are formed, the next tile's rows are asked for, a few at a time.
    rows_an_interval: usize,
}

impl<V: Vector, T: Target> Finish<V> for Tile<'_, T> {
    #[inline(always)]
    unsafe fn finish<const W: usize>(&self, row: usize, sums: [V; W]) {
        for (j, sum) in sums.into_iter().enumerate() {
            let (at, first) = (self.start + row * self.stride + j * V::LANES, j * V::LANES);
            if first < self.columns {
                // SAFETY: the caller's promise.
                unsafe { self.target.take(at, sum, V::LANES.min(self.columns - first)) };
            }
        }
    }

    #[inline(always)]
    fn interval(&self, rows: Range<usize>, interval: usize) {
        for i in 0..self.rows_an_interval {
            let row = rows.start + interval * self.rows_an_interval + i;
            let next = self.start + row * self.stride + VECTORS * V::LANES;
            self.target.ask::<V>(next);
            self.target.ask::<V>(next + V::LANES);
        }
    }
}
