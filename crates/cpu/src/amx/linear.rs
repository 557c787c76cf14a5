//! Linear layers on the matrix unit: `x (N, in)`, `weights (out, in)`, `y (N, out)`.
//!
//! At a batch of some dozens the matrix of weights is nearly all there is to read, so it is read
//! once, as it lies, by each of the three products; the batch is small and laid out in tiles
//! beforehand. Sums are formed in blocks of 32x32.
//!
//! | product | A, rows | B, pairs of rows | sums over |
//! | --- | --- | --- | --- |
//! | yᵀ = W · xᵀ | weights, split as they are read | x | inputs |
//! | d_x = d_y · W | d_y | weights, split as they are read | outputs |
//! | dW = d_yᵀ · x | d_yᵀ | x | images |

use alexnet_ops::{Activation, LinearShape, Precision};

use super::split::{load, split, split_pairs, transpose};
use super::tiles::{BLOCK, BLOCK_SUMS, Block, DEPTH, ROW_BYTES, TILE, TILE_BYTES, Tiles};
use crate::Context;
use crate::disjoint::Disjoint;
use crate::simd::{Avx512, Vector};
use crate::weight_gradient::Target;

use std::arch::x86_64::*;

/// Outputs of a forward piece, and terms of its sums taken at a time: rows of weights are read 4 KiB
/// at a time, and a piece's tiles stay in the second cache.
const FORWARD_OUTPUTS: usize = 128;
const FORWARD_DEPTH: usize = 1024;

/// Inputs of a backward piece, and terms of its sums taken at a time: rows of weights are read 2 KiB
/// at a time.
const BACKWARD_INPUTS: usize = 512;
const BACKWARD_DEPTH: usize = 256;

/// Whether the matrix unit pays: below half a tile of images reading the weights is all.
pub(crate) fn has_linear(shape: &LinearShape) -> bool {
    const IMAGES_MIN: usize = 8;
    shape.batch >= IMAGES_MIN && shape.inputs.min(shape.outputs) >= BLOCK
}

/// Calls a function with the parts each factor is split into.
macro_rules! in_parts {
    ($context:ident, $function:ident($($argument:expr),*)) => {
        match $context.precision {
            Precision::F32 => $function::<2>($context, $($argument),*),
            Precision::Bf16 => $function::<1>($context, $($argument),*),
        }
    };
}

/// `y = activation(x · weightsᵀ + bias)`.
pub(crate) fn linear_forward(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    weights: &[f32],
    bias: &[f32],
    activation: Activation,
    shape: &LinearShape,
) {
    in_parts!(context, forward(y, x, weights, bias, activation, shape));
}

/// `d_x = d_y · weights`.
pub(crate) fn linear_backward_input(
    context: &Context,
    d_x: &mut [f32],
    d_y: &[f32],
    weights: &[f32],
    shape: &LinearShape,
) {
    in_parts!(context, backward_input(d_x, d_y, weights, shape));
}

/// Hands every weight's gradient to `target`.
pub(crate) fn linear_weight_gradient<T: Target>(
    context: &Context,
    target: &T,
    d_y: &[f32],
    x: &[f32],
    shape: &LinearShape,
) {
    in_parts!(context, weight_gradient(target, d_y, x, shape));
}

/// A matrix over a slice: element (i, j) at `i · stride + j`.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl Matrix<'_> {
    /// `len` elements of a row, if all of them are there.
    fn row(&self, row: usize, column: usize, len: usize) -> Option<&[f32]> {
        let inside = row < self.rows && column + len <= self.columns;
        inside.then(|| &self.values[row * self.stride + column..][..len])
    }

    /// Asks for the element below: rows are far apart, so the processor does not foresee them.
    #[inline]
    fn ask(&self, element: &f32) {
        let below = (&raw const *element).wrapping_add(self.stride);
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(below.cast()) };
    }

    /// Elements (row, column..column + 16), 0 outside.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load(&self, row: usize, column: usize) -> __m512 {
        let count = self.columns.saturating_sub(column).min(TILE);
        if row >= self.rows || count == 0 {
            return _mm512_setzero_ps();
        }
        let at = row * self.stride + column;
        // SAFETY: `count` elements are there.
        unsafe { load(self.values[at..at + count].as_ptr(), count) }
    }
}

/// Memory of A's tiles: lines of `depth` terms for each row, high parts then low parts.
#[derive(Clone, Copy)]
struct Lines {
    line_bytes: usize,
    row_bytes: usize,
}

impl Lines {
    /// An odd number of cache lines a row keeps the rows of a tile in different sets of the cache.
    fn new<const PARTS: usize>(depth: usize) -> Self {
        let lines = depth.div_ceil(DEPTH);
        Self { line_bytes: lines * ROW_BYTES, row_bytes: ((PARTS * lines) | 1) * ROW_BYTES }
    }
    fn floats(&self, rows: usize) -> usize {
        rows.next_multiple_of(BLOCK) * self.row_bytes / 4
    }

    /// Row `row` from rows of a matrix: terms `depth` on lie along the row.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn fill_row<const PARTS: usize>(&self, to: &mut [f32], from: Matrix, row: usize, depth: usize) {
        let (high, low) = to.split_at_mut(self.line_bytes / 4);
        let vectors = self.line_bytes / ROW_BYTES * 2;
        let inside = from.row(row, depth, self.line_bytes / ROW_BYTES * DEPTH);
        for i in 0..vectors {
            let values = match inside {
                Some(inside) => {
                    from.ask(&inside[i * TILE]);
                    // SAFETY: 16 floats.
                    unsafe { _mm512_loadu_ps(inside[i * TILE..][..TILE].as_ptr()) }
                }
                None => from.load(row, depth + i * TILE),
            };
            let parts = split(values);
            // SAFETY: 32 bytes each.
            unsafe {
                _mm256_storeu_si256(high[i * 8..][..8].as_mut_ptr().cast(), parts.0);
                if PARTS == 2 {
                    _mm256_storeu_si256(low[i * 8..][..8].as_mut_ptr().cast(), parts.1);
                }
            }
        }
    }

    /// Rows `first..first + 16`, from columns of a matrix: terms lie down the column.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn fill_columns<const PARTS: usize>(&self, to: &mut [f32], from: Matrix, first: usize) {
        for i in 0..self.line_bytes / 4 / 8 {
            let mut rows: [__m512; TILE] = std::array::from_fn(|j| from.load(i * TILE + j, first));
            transpose(&mut rows);
            for (row, to) in rows.iter().zip(to.chunks_exact_mut(self.row_bytes / 4)) {
                let (high, low) = split(*row);
                for (part, values) in [high, low].into_iter().enumerate().take(PARTS) {
                    let to = &mut to[part * self.line_bytes / 4 + i * 8..][..8];
                    // SAFETY: 32 bytes.
                    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), values) };
                }
            }
        }
    }
}

/// Memory of B's tiles: for each 16 columns the pairs of `depth` terms, high parts then low parts.
#[derive(Clone, Copy)]
struct Pairs {
    part_bytes: usize,
    column_bytes: usize,
}

impl Pairs {
    fn new<const PARTS: usize>(depth: usize) -> Self {
        let part_bytes = depth.div_ceil(DEPTH) * TILE_BYTES;
        Self { part_bytes, column_bytes: PARTS * part_bytes }
    }
    fn floats(&self, columns: usize) -> usize {
        columns.next_multiple_of(BLOCK) / TILE * self.column_bytes / 4
    }

    /// All columns from `column` on that `to` has room for: terms `depth` on lie down the columns of
    /// the matrix, which is read along its rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn fill<const PARTS: usize>(&self, to: &mut [f32], from: Matrix, column: usize, depth: usize) {
        for pair in 0..self.part_bytes / ROW_BYTES {
            let row = depth + 2 * pair;
            let width = to.len() / (self.column_bytes / 4) * TILE;
            let inside = from.row(row, column, width).zip(from.row(row + 1, column, width));
            for (tile, to) in to.chunks_exact_mut(self.column_bytes / 4).enumerate() {
                let (a, b) = match inside {
                    Some((a, b)) => {
                        from.ask(&b[tile * TILE]);
                        // SAFETY: 16 floats each.
                        unsafe {
                            let a = _mm512_loadu_ps(a[tile * TILE..][..TILE].as_ptr());
                            (a, _mm512_loadu_ps(b[tile * TILE..][..TILE].as_ptr()))
                        }
                    }
                    None => {
                        let column = column + tile * TILE;
                        (from.load(row, column), from.load(row + 1, column))
                    }
                };
                let (high, low) = split_pairs(a, b);
                self.store::<PARTS>(to, pair, [high, low]);
            }
        }
    }

    /// 16 columns that are rows `first..` of the matrix: terms lie along them.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn fill_transposed<const PARTS: usize>(&self, to: &mut [f32], from: Matrix, first: usize) {
        for step in 0..self.part_bytes / TILE_BYTES {
            let mut parts = [[_mm512_setzero_ps(); TILE]; 2];
            for j in 0..TILE {
                let a = split(from.load(first + j, step * DEPTH));
                let b = split(from.load(first + j, step * DEPTH + TILE));
                parts[0][j] = super::split::join(a.0, b.0);
                parts[1][j] = super::split::join(a.1, b.1);
            }
            parts.iter_mut().for_each(|part| transpose(part));
            for i in 0..TILE {
                let both = [parts[0][i], parts[1][i]].map(|v| _mm512_castps_si512(v));
                self.store::<PARTS>(to, step * TILE + i, both);
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn store<const PARTS: usize>(&self, to: &mut [f32], pair: usize, parts: [__m512i; 2]) {
        for (part, values) in parts.into_iter().enumerate().take(PARTS) {
            let to = &mut to[(part * self.part_bytes + pair * ROW_BYTES) / 4..][..TILE];
            // SAFETY: 64 bytes.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), values) };
        }
    }
}

/// The product of rows `row..row + 32` of A by columns `column..column + 32` of B.
struct Operands<'a> {
    lines: &'a [f32],
    a: Lines,
    pairs: &'a [f32],
    b: Pairs,
}

impl Operands<'_> {
    /// `steps` steps, from step `a_step` of A and `b_step` of B on.
    ///
    /// # Safety
    /// As [`Block::form`]; rows, columns and steps lie in the operands.
    unsafe fn multiply<const PARTS: usize>(
        &self,
        sums: &mut [f32],
        add: bool,
        [row, column]: [usize; 2],
        [a_step, b_step]: [usize; 2],
        steps: usize,
    ) {
        let a = self.lines.as_ptr().cast::<u8>();
        let a = a.wrapping_add(row * self.a.row_bytes + a_step * ROW_BYTES);
        let b = self.pairs.as_ptr().cast::<u8>();
        let b = b.wrapping_add(column / TILE * self.b.column_bytes + b_step * TILE_BYTES);
        let block = Block {
            steps,
            a: [a, a.wrapping_add(TILE * self.a.row_bytes)],
            a_stride: self.a.row_bytes,
            a_low: self.a.line_bytes,
            b: [b, b.wrapping_add(self.b.column_bytes)],
            b_low: self.b.part_bytes,
        };
        // SAFETY: the caller's promise.
        unsafe { block.form::<PARTS>(sums, add) };
    }
}

/// Where 16 sums of a row lie among blocks `(row block, column block)` of 32x32.
fn sums_at(row: usize, column: usize, column_blocks: usize) -> usize {
    let block = row / BLOCK * column_blocks + column / BLOCK;
    let tile = row % BLOCK / TILE * 2 + column % BLOCK / TILE;
    block * BLOCK_SUMS + (tile * TILE + row % TILE) * TILE
}

fn forward<const PARTS: usize>(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    weights: &[f32],
    bias: &[f32],
    activation: Activation,
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    let x = Matrix { values: x, rows: batch, columns: inputs, stride: inputs };
    let weights = Matrix { values: weights, rows: outputs, columns: inputs, stride: inputs };
    let b = Pairs::new::<PARTS>(inputs);
    let mut pairs = context.scratch.shared(0, b.floats(batch));
    let images = batch.next_multiple_of(BLOCK);
    for_each_part(context, &mut pairs, b.column_bytes, images / TILE, |to, column| {
        // SAFETY: the device computes with AMX.
        unsafe { b.fill_transposed::<PARTS>(to, x, column * TILE) };
    });
    let a = Lines::new::<PARTS>(FORWARD_DEPTH);
    let y = Disjoint::new(y);
    context.threads.for_each(outputs.div_ceil(FORWARD_OUTPUTS), |worker, piece| {
        let (first, rows) =
            (piece * FORWARD_OUTPUTS, FORWARD_OUTPUTS.min(outputs - piece * FORWARD_OUTPUTS));
        let (line_floats, sums_floats) = (a.floats(FORWARD_OUTPUTS), FORWARD_OUTPUTS * images);
        let mut own = context.scratch.own(worker, line_floats + sums_floats);
        let (lines, sums) = own.split_at_mut(line_floats);
        for depth in (0..inputs).step_by(FORWARD_DEPTH) {
            for (row, to) in
                lines.chunks_exact_mut(a.row_bytes / 4).take(FORWARD_OUTPUTS).enumerate()
            {
                // SAFETY: the device computes with AMX.
                unsafe { a.fill_row::<PARTS>(to, weights, first + row, depth) };
            }
            let steps = (inputs - depth).min(FORWARD_DEPTH).div_ceil(DEPTH);
            let operands = Operands { lines, a, pairs: &pairs, b };
            // SAFETY: the device computes with AMX.
            let _configured = unsafe { Tiles::configure(TILE) };
            for (block, sums) in sums.chunks_exact_mut(BLOCK_SUMS).enumerate() {
                let (row, column) = (block / (images / BLOCK), block % (images / BLOCK));
                let place = [row * BLOCK, column * BLOCK];
                let from = [0, depth / DEPTH];
                if row * BLOCK < rows {
                    // SAFETY: tiles are configured; the piece has this block.
                    unsafe { operands.multiply::<PARTS>(sums, depth > 0, place, from, steps) };
                }
            }
        }
        let finish = Finish { bias, activation, outputs, batch };
        // SAFETY: these outputs are this piece's own. The device computes with AMX.
        unsafe { finish.transposed(&y, sums, first, rows) };
    });
}

/// What becomes of a forward piece's sums `(outputs, images)`.
struct Finish<'a> {
    bias: &'a [f32],
    activation: Activation,
    outputs: usize,
    batch: usize,
}

impl Finish<'_> {
    /// # Safety
    /// Outputs `first..first + rows` of `y` are the caller's own.
    #[target_feature(enable = "avx512f")]
    unsafe fn transposed(&self, y: &Disjoint<f32>, sums: &[f32], first: usize, rows: usize) {
        let column_blocks = self.batch.div_ceil(BLOCK);
        for row in (0..rows).step_by(TILE) {
            let count = TILE.min(rows - row);
            let output = first + row;
            // SAFETY: `count` values are there.
            let bias = unsafe { load(self.bias[output..output + count].as_ptr(), count) };
            for image in (0..self.batch).step_by(TILE) {
                let mut tile: [__m512; TILE] = std::array::from_fn(|i| {
                    let at = sums_at(row + i, image, column_blocks);
                    // SAFETY: 16 sums.
                    unsafe { _mm512_loadu_ps(sums[at..at + TILE].as_ptr()) }
                });
                transpose(&mut tile);
                for (i, sums) in tile.iter().enumerate().take(self.batch - image) {
                    let mut value = _mm512_add_ps(*sums, bias);
                    if self.activation == Activation::Relu {
                        value = super::split::rectified(value);
                    }
                    let end = y.at((image + i) * self.outputs + output + count);
                    let lanes = super::split::lanes(count);
                    // SAFETY: the caller's promise.
                    unsafe { _mm512_mask_storeu_ps(end.wrapping_sub(count), lanes, value) };
                }
            }
        }
    }
}

fn backward_input<const PARTS: usize>(
    context: &Context,
    d_x: &mut [f32],
    d_y: &[f32],
    weights: &[f32],
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    let d_y = Matrix { values: d_y, rows: batch, columns: outputs, stride: outputs };
    let weights = Matrix { values: weights, rows: outputs, columns: inputs, stride: inputs };
    let a = Lines::new::<PARTS>(outputs);
    let mut lines = context.scratch.shared(0, a.floats(batch));
    let images = batch.next_multiple_of(BLOCK);
    for_each_part(context, &mut lines, a.row_bytes, images, |to, row| {
        // SAFETY: the device computes with AMX.
        unsafe { a.fill_row::<PARTS>(to, d_y, row, 0) };
    });
    let b = Pairs::new::<PARTS>(BACKWARD_DEPTH);
    let d_x = Disjoint::new(d_x);
    context.threads.for_each(inputs.div_ceil(BACKWARD_INPUTS), |worker, piece| {
        let first = piece * BACKWARD_INPUTS;
        let (pair_floats, sums_floats) = (b.floats(BACKWARD_INPUTS), images * BACKWARD_INPUTS);
        let mut own = context.scratch.own(worker, pair_floats + sums_floats);
        let (pairs, sums) = own.split_at_mut(pair_floats);
        for depth in (0..outputs).step_by(BACKWARD_DEPTH) {
            // SAFETY: the device computes with AMX.
            unsafe { b.fill::<PARTS>(pairs, weights, first, depth) };
            let steps = (outputs - depth).min(BACKWARD_DEPTH).div_ceil(DEPTH);
            let operands = Operands { lines: &lines, a, pairs, b };
            // SAFETY: the device computes with AMX.
            let _configured = unsafe { Tiles::configure(TILE) };
            for (block, sums) in sums[..sums_floats].chunks_exact_mut(BLOCK_SUMS).enumerate() {
                let (row, column) =
                    (block / (BACKWARD_INPUTS / BLOCK), block % (BACKWARD_INPUTS / BLOCK));
                let (place, from) = ([row * BLOCK, column * BLOCK], [depth / DEPTH, 0]);
                // SAFETY: tiles are configured; the operands have this block.
                unsafe { operands.multiply::<PARTS>(sums, depth > 0, place, from, steps) };
            }
        }
        let columns = BACKWARD_INPUTS.min(inputs - first);
        for row in 0..batch {
            for column in (0..columns).step_by(TILE) {
                let count = TILE.min(columns - column);
                let at = row * inputs + first + column;
                // SAFETY: these inputs are this piece's own.
                let to = unsafe { d_x.part(at..at + count) };
                to.copy_from_slice(&sums[sums_at(row, column, BACKWARD_INPUTS / BLOCK)..][..count]);
            }
        }
    });
}

fn weight_gradient<const PARTS: usize>(
    context: &Context,
    target: &impl Target,
    d_y: &[f32],
    x: &[f32],
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    let d_y = Matrix { values: d_y, rows: batch, columns: outputs, stride: outputs };
    let x = Matrix { values: x, rows: batch, columns: inputs, stride: inputs };
    let (a, b) = (Lines::new::<PARTS>(batch), Pairs::new::<PARTS>(batch));
    let mut lines = context.scratch.shared(0, a.floats(outputs));
    let mut pairs = context.scratch.shared(1, b.floats(inputs));
    let rows = outputs.next_multiple_of(BLOCK) / TILE;
    for_each_part(context, &mut lines, TILE * a.row_bytes, rows, |to, row| {
        // SAFETY: the device computes with AMX.
        unsafe { a.fill_columns::<PARTS>(to, d_y, row * TILE) };
    });
    let columns = inputs.next_multiple_of(BLOCK) / TILE;
    for_each_part(context, &mut pairs, b.column_bytes, columns, |to, column| {
        // SAFETY: the device computes with AMX.
        unsafe { b.fill::<PARTS>(to, x, column * TILE, 0) };
    });
    let steps = batch.div_ceil(DEPTH);
    let across = inputs.div_ceil(GRADIENT_COLUMNS);
    context.threads.for_each(outputs.div_ceil(BLOCK) * across, |worker, piece| {
        // Pieces that follow each other share columns of x.
        let (row, column) =
            (piece % outputs.div_ceil(BLOCK) * BLOCK, piece / outputs.div_ceil(BLOCK));
        let first = column * GRADIENT_COLUMNS;
        let width = GRADIENT_COLUMNS.min(inputs - first);
        let mut sums = context.scratch.own(worker, BLOCK * GRADIENT_COLUMNS);
        let operands = Operands { lines: &lines, a, pairs: &pairs, b };
        // SAFETY: the device computes with AMX.
        let _configured = unsafe { Tiles::configure(TILE) };
        let blocks = sums.chunks_exact_mut(BLOCK_SUMS).take(width.div_ceil(BLOCK));
        for (block, sums) in blocks.enumerate() {
            let place = [row, first + block * BLOCK];
            // The update will want these rows of weights and velocity.
            for i in 0..BLOCK.min(outputs - row) {
                let at = (row + i) * inputs + place[1];
                target.ask::<Avx512>(at);
                target.ask::<Avx512>(at + TILE);
            }
            // SAFETY: tiles are configured; the operands have this block.
            unsafe { operands.multiply::<PARTS>(sums, false, place, [0, 0], steps) };
        }
        let take = Take { target, sums: &sums, first: row * inputs + first, stride: inputs };
        context.isa.dispatch(TakeRows { take, rows: BLOCK.min(outputs - row), width });
    });
}

/// Inputs of a piece of the weight gradient: the rows of weights and velocity it goes along.
const GRADIENT_COLUMNS: usize = 256;

/// Hands a piece's sums to the target.
struct Take<'a, T> {
    target: &'a T,
    sums: &'a [f32],
    first: usize,
    stride: usize,
}

struct TakeRows<'a, T> {
    take: Take<'a, T>,
    rows: usize,
    width: usize,
}

impl<T: Target> crate::isa::Kernel for TakeRows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Take { target, sums, first, stride } = self.take;
        for row in 0..self.rows {
            for column in (0..self.width).step_by(V::LANES) {
                let count = V::LANES.min(self.width - column);
                let lane = column % TILE;
                let at = sums_at(row, column - lane, GRADIENT_COLUMNS / BLOCK) + lane;
                // SAFETY: a row has 16 sums side by side; this piece's weights are its own.
                unsafe {
                    let gradient = V::load(sums[at..at + V::LANES].as_ptr());
                    target.take(first + row * stride + column, gradient, count);
                }
            }
        }
    }
}

/// Fills `parts` ranges of `bytes` each, over all threads.
fn for_each_part(
    context: &Context,
    memory: &mut [f32],
    bytes: usize,
    parts: usize,
    fill: impl Fn(&mut [f32], usize) + Sync,
) {
    let (floats, memory) = (bytes / 4, Disjoint::new(memory));
    context.threads.for_each(parts, |_, part| {
        // SAFETY: every part has a range of its own.
        fill(unsafe { memory.part(part * floats..(part + 1) * floats) }, part);
    });
}
